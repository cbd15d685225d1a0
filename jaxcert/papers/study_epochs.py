"""Finds the best epoch of a run in its evaluations, and the gap of clean accuracy there."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from jaxcert.analysis.metrics import summary
from jaxcert.papers.study_groups import Cell
from jaxcert.papers.study_runs import Run


class Epochs(NamedTuple):
    """The epochs of a run at which its evaluations certify most test images, and the last."""

    best: float
    last: float
    gap: float | None
    """clean accuracy on training minus test images at the best one"""


def epochs_of(run: Run, radius: float) -> Epochs | None:
    """Return when a run was best; None without two evaluations."""
    key = f"certified_{radius:.3g}"
    lines = [line for line in run.evaluations if key in line and "epoch" in line]
    if len(lines) < 2:
        return None
    best = max(lines, key=lambda line: line[key])  # the first of equals
    seen = {line["step"]: line for line in run.seen if "certified_0" in line}
    gap = None
    if best["step"] in seen and "certified_0" in best:
        gap = seen[best["step"]]["certified_0"] - best["certified_0"]
    return Epochs(best["epoch"], lines[-1]["epoch"], gap)


def clean_gap(cell: Cell, radius: float) -> float | None:
    """Return the mean clean gap of a cell's runs; None where one does not say it."""
    gaps = []
    for run in cell.runs.values():
        found = epochs_of(run, radius)
        if found is not None and found.gap is not None:
            gaps.append(found.gap)
        elif run.train is not None:
            train, test = (
                summary(c, [0.0]).certified[0] for c in (run.train, run.test)
            )
            gaps.append(train - test)
        else:
            return None
    return float(np.mean(gaps))
