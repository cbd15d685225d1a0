"""The rows of every certificate. This file needs numpy alone.

Every certificate of the library fills `Certificates`, and what reports, compares or re-checks
certificates reads nothing else. `jaxcert.records` keeps them in files.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

ABSTAIN, ERROR = -1, -2
ATTACKS = ("pgd", "apgd")
"""Methods whose records hold distances that attacks found, no certificates."""


class Certificates(NamedTuple):
    """Rows of N images; arrays are numpy."""

    index: np.ndarray
    """int64 [N], position in the data set's own order"""
    label: np.ndarray
    """int32 [N]"""
    predicted: np.ndarray
    """int32 [N]; -1 abstains, -2 an error such as a NaN; the radius of both is 0"""
    radius: np.ndarray
    """float64 [N]: no valid image at distance < radius in `norm` changes the PREDICTED
    class"""
    n: np.ndarray
    """int64 [N], samples used (1 if deterministic)"""
    seconds: np.ndarray
    """float64 [N]"""
    radius_paper: np.ndarray | None = None
    """float64 [N], what the original code would print: for comparison with published
    tables only"""
    p_lower: np.ndarray | None = None
    """float64 [N], lower confidence bound of the predicted class' probability"""
    counts: np.ndarray | None = None
    """int64 [N,K], votes of the estimation stage"""
    agreeing: np.ndarray | None = None
    """int64 [N,J], votes for the class that was tried, in all, at each look of
    procedure.looks; -1: not taken"""
    changed: np.ndarray | None = None
    """int64 [N], votes among the n0 of the selection that float32 instead of bfloat16
    changes"""
    logits: np.ndarray | None = None
    """float64 [N,K]"""
    least_margins: np.ndarray | None = None
    """float64 [N,J], the least lower bound of z_predicted - z_j over the other classes on
    the box of each of the J radii that were tried; nan where a box was not looked at"""
    margins: np.ndarray | None = None
    """float64 [N,K], of version 0.1, which wrote no `least_margins`: lower bounds of
    z_predicted - z_j on the box of this radius; nan where the radius is 0"""
    distance: np.ndarray | None = None
    """float64 [N], of an attack: that of the nearest image found in another class than
    predicted; nan: none was found"""
    header: dict[str, Any] = {}

    @property
    def correct(self) -> np.ndarray:
        """bool [N]; abstentions and errors are wrong."""
        return self.predicted == self.label


def concatenate(parts: Iterable[Certificates]) -> Certificates:
    """Rows of several records of one request, sorted by index."""
    parts = list(parts)
    columns = {}
    for name in Certificates._fields[:-1]:
        values = [getattr(part, name) for part in parts]
        columns[name] = (
            None if any(v is None for v in values) else np.concatenate(values)
        )
    order = np.argsort(columns["index"], kind="stable")
    return Certificates(
        **{k: None if v is None else v[order] for k, v in columns.items()},
        header=parts[0].header,
    )
