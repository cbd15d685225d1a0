"""The page on Chen et al. (2024): finished certificates beside the published numbers."""

from __future__ import annotations

import json
from pathlib import Path

from jaxcert import records
from jaxcert.analysis.facts import in_words
from jaxcert.errors import InputError
from jaxcert.papers import chen
from jaxcert.papers.exhibits import write

TITLE = "Diffusion Models are Certifiably Robust Classifiers"
VOTES = "votes_*.json"


def show(workdir: str | Path) -> Path:
    """Write the page of the records in a workdir and directly below it into the workdir, and
    return its path. Raises InputError without a record of the paper's classifiers, and for a
    damaged file."""
    workdir = Path(workdir)
    folders = [workdir, *sorted(p for p in workdir.glob("*") if p.is_dir())]
    found, votes = [], []
    for folder in folders:
        for path in sorted(folder.glob("*.jsonl")):
            if path.name == "metrics.jsonl":
                continue
            c = records.load(path)
            one = chen.record(path.stem, c) if len(c.index) else None
            found += [one] if one else []
        votes += [_votes(path) for path in sorted(folder.glob(VOTES))]
    if not (found or votes):
        raise InputError(
            f"{workdir} has no record of a diffusion classifier: certify an EDM with a row of "
            "configs/diffusion_classifier, or give --scale."
        )
    sets = sorted({str(r.certificates.header.get("dataset")) for r in found})
    lead = [
        "Chen, Dong, Shao, Hao, Yang, Su and Zhu (2024), arXiv:2402.02316.",
        f"Records: {len(found)}{', of ' if sets else ''}{in_words(sets) if sets else ''}.",
    ]
    return write(workdir, TITLE, lead, chen.exhibits(found, votes))


def _votes(path: Path) -> dict:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if not all(type(row["right"]) is float for k in _ROWS for row in found[k]):
            raise TypeError
        found["dataset"], found["sigma"], found["images"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise InputError(
            f"{path} is not what --scale measures: delete it, and give --scale again."
        ) from None
    return found


_ROWS = ("levels", "searches")
