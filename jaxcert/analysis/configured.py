"""Reads what a run's config and workdir say beside its record: radii, published numbers,
gradient norms."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jaxcert.analysis.facts import Reference
from jaxcert.certificate import Certificates
from jaxcert.errors import InputError


def gradients(path: str | Path, c: Certificates) -> dict[str, Any] | None:
    """Return gradient_norms.json of the workdir; None without it, or if it is of
    another checkpoint."""
    path = Path(path)
    file = (path if path.is_dir() else path.parent) / "gradient_norms.json"
    if not file.is_file():
        return None
    try:
        found = json.loads(file.read_text("utf-8"))
        same = found["checkpoint"] == c.header.get("checkpoint")
        numbers = [found["ratio"], found["ratio_error"]]
        numbers += [found[kind][key] for kind in _KINDS for key in ("images", "mean")]
        if not all(n is None or isinstance(n, int | float) for n in numbers):
            raise TypeError
    except (ValueError, KeyError, TypeError, RecursionError):
        raise InputError(
            f"{file} is not what jaxcert.gradient_norms writes: run it again, or delete it."
        ) from None
    return found if same else None


_KINDS = ("easy", "hard")


def metrics_of(path: str | Path) -> list[dict[str, Any]]:
    """Return the lines of metrics.jsonl of a workdir that have a step, a split and an epoch; []
    without such a file. Lines that a kill left are passed over."""
    file, found = Path(path) / "metrics.jsonl", []
    if not file.is_file():
        return []
    for text in file.read_text("utf-8", errors="replace").splitlines():
        try:
            line = json.loads(text)
            float(line["step"])
            float(line["epoch"])
            str(line["split"])
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
            continue
        found.append(line)
    return found


def reference(config: dict[str, Any]) -> Reference | None:
    """Return the `reference` of a config: paper, table, clean and, at `radius`,
    certified accuracy in percent."""
    given = config.get("reference") or {}
    certified = {}
    try:
        if not isinstance(given, dict):
            raise TypeError
        if given.get("clean"):
            certified[0.0] = float(given["clean"]) / 100
        if given.get("certified"):
            certified[float(given["radius"])] = float(given["certified"]) / 100
    except (KeyError, TypeError, ValueError, OverflowError):
        raise InputError(
            f"the config's reference is {given}: clean, certified and radius must be "
            "numbers, correct them there."
        ) from None
    if not certified:
        return None
    table = [f"Table {given['table']}"] if given.get("table") else []
    return Reference(", ".join([str(given.get("paper", "")), *table]), certified)


def radii_of(path: str | Path, config: dict[str, Any], c: Certificates) -> list[float]:
    radii: list[float] = []
    sections = {
        "its config": (config.get("certify"), "give others with --radii"),
        "its procedure": (
            c.header.get("procedure"),
            "certify into another file with --out",
        ),
    }
    for where, (section, advice) in sections.items():
        given = section.get("radii") if isinstance(section, dict) else None
        given = () if given is None else given
        if not isinstance(given, list | tuple) or not all(map(_is_radius, given)):
            raise InputError(
                f"{path} names radii in {where} that are no numbers from 0 up: {advice}."
            )
        radii += given
    return radii


def _is_radius(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value <= sys.float_info.max


def usual_radii(certificates: Sequence[Certificates]) -> list[float]:
    """Return the radii of the literature: smoothing 0, 0.25, ...; l2 0, 36/255, ...; linf 0, 1/255,
    2/255, 4/255, ..."""
    largest = max(float(c.radius.max()) for c in certificates)
    header = certificates[0].header
    if header.get("norm") == "linf":
        grid = [0.0, *(2**i / 255 for i in range(8))]
    elif header.get("sigma") or header.get("method") == "smoothing":
        grid = [0.25 * i for i in range(21)]
    else:
        return [0.0, 36 / 255, 72 / 255, 108 / 255, 1.0]
    return [r for r in grid if r <= largest] or [0.0]
