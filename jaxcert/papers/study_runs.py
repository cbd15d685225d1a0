"""Finished runs as a study of generated images (study.py) reads them.

A workdir has config.json and certificates.jsonl (test images), and may have train.jsonl
(certified training images, for the generalisation gap) and metrics.jsonl (evaluations during
training, for the best epoch).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from jaxcert import records
from jaxcert.analysis.facts import Reference
from jaxcert.certificate import ATTACKS, Certificates, certifies
from jaxcert.errors import InputError

TEST, TRAIN = "certificates.jsonl", "train.jsonl"


class Run(NamedTuple):
    name: str
    config: dict[str, Any]
    test: Certificates
    train: Certificates | None = None
    evaluations: tuple[dict[str, float], ...] = ()
    """lines of metrics.jsonl about the test split"""
    seen: tuple[dict[str, float], ...] = ()
    """those about the training split"""
    reference: Reference | None = None


def read(workdir: str | Path) -> Run:
    """Read a finished run. Raises InputError for a missing or damaged file, and for a
    record that holds attacks, no certificate, or the wrong split."""
    path = Path(workdir)
    config = _config(path)
    test = _load(path / TEST, "test")
    train = None
    if (path / TRAIN).is_file():
        train = _load(path / TRAIN, "train")
        for key in ("checkpoint", "norm", "method", "sigma"):
            if train.header.get(key) != test.header.get(key):
                raise InputError(
                    f"{path} has test and train certificates with different {key}: certify "
                    "both with the same network and settings."
                )
    lines = evaluations(path, "test"), evaluations(path, "train")
    return Run(str(workdir), config, test, train, *lines)


def _config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads((path / "config.json").read_text(encoding="utf-8"))
        data = config["data"]
        numbers = config["seed"], data["epochs"], data["generated_count"]
        names = config["model"]["name"], config["method"]["name"], data["generated"]
        if {type(v) for v in numbers} != {int} or {type(v) for v in names} != {str}:
            raise TypeError
        if data["epochs"] < 1 or not 0 <= data["generated_share"] <= 1:
            raise ValueError
    except (OSError, ValueError, TypeError, KeyError):
        raise InputError(
            f"{path} has no config.json of a run of jaxcert.train: name workdirs."
        ) from None
    return config


def _load(path: Path, split: str) -> Certificates:
    c = records.load(path)
    if not len(c.index):
        raise InputError(f"{path} holds no certificate yet: finish `jaxcert.certify`.")
    if c.header.get("method") in ATTACKS or not certifies(c):
        raise InputError(
            f"{path} holds no radii: a study compares certificates, make them with "
            "`jaxcert.certify`."
        )
    if c.header.get("split", split) != split:
        raise InputError(
            f"{path} is of the split {c.header['split']}, not {split}: certify that split "
            "with --config.certify.split and --out."
        )
    return c


def evaluations(workdir: str | Path, split: str) -> tuple[dict[str, float], ...]:
    """Return the numbers of each line of metrics.jsonl about a split, without lines that a
    kill cut off; none without the file."""
    path, found = Path(workdir) / "metrics.jsonl", []
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    for line in text.splitlines():
        try:
            values = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(values, dict) and values.get("split") == split:
            found.append({k: v for k, v in values.items() if type(v) in (int, float)})
    return tuple(found)
