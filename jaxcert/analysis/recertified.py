"""Writes the result of certifying images of a record again (`certificates/recertifying.py`)."""

from __future__ import annotations

import textwrap
from pathlib import Path

import numpy as np

REFUTED = 0.001
"""The p-value below which the claims of a record are taken for false."""
_SHOWN = 5


def text(path: Path, with_class: int, checked, found) -> str:
    """Return the lines of a report on the record at `path`. with_class: how many of its images
    have a class; checked: a `recheck.Recheck` of it; found: a `recertifying.Again`."""
    arithmetic = f"{checked.checked:,} predictions and radii follow from the evidence in the record"
    if checked.reason:
        arithmetic = f"not checked: {checked.reason}"
    lines = [str(path), f"  arithmetic: {arithmetic}"]
    again = (
        f"  certified again: {len(found.index):,} of {with_class:,} images with a class"
    )
    again += f", {found.n:,} fresh votes each" if found.n else ""
    lines.append(f"{again}, seed {found.seed}")
    worst = np.argsort(found.p_value, kind="stable")
    if found.n:
        lines.append(f"  p-value of all claims on them: {found.p:.3g}")
    else:
        lines.append(f"  otherwise than the record: {(found.p_value == 0).sum():,}")
    for i in worst[found.p_value[worst] < 1][:_SHOWN]:
        value = f"p-value {found.p_value[i]:.3g}; " if found.n else ""
        named = f"image {found.index[i]}, class {found.predicted[i]}"
        line = f"{named}: {value}{found.said[i]}"
        indents = dict(initial_indent="    ", subsequent_indent="      ")
        lines += textwrap.wrap(line, 100, **indents)
    reached = "sampling" if found.n else "network, computed by the library itself"
    said = "the record claims more than is true"
    if found.p >= REFUTED:
        said = "nothing contradicts the record"
    return "\n".join([*lines, f"  level reached: {reached}; {said}"])
