"""The rows of every certificate. This file needs numpy alone.

Every certificate of the library fills `Certificates`, and what reports, compares or re-checks
certificates reads nothing else. `jaxcert.records` keeps them in files.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

ABSTAIN, ERROR = -1, -2
NO_LABEL = -1
"""Label of an image whose class is not known; null in a file."""
ATTACKS = ("pgd", "apgd", "rays", "rounding")
"""Methods whose records hold distances that attacks found, no certificates."""


class Certificates(NamedTuple):
    """Rows of N images, as numpy arrays.

    index int64 [N]; label int32 [N], -1 without labels; predicted int32 [N], -1 abstains and -2
    is an error; radius float64 [N], within which no valid image, in the norm of the header,
    changes the predicted class; n int64 [N], the samples that were used; seconds float64 [N]. The
    other columns are evidence, None where the certificate has none of the kind: radius_paper,
    p_lower, counts, agreeing, selection, rivals, changed, logits, least_margins, margins, means,
    variances and distance, each said at its field. header: what was asked for, and what it was
    computed with.
    """

    index: np.ndarray
    """int64 [N], position in the data set's own order"""
    label: np.ndarray
    """int32 [N]; -1: not known"""
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
    selection: np.ndarray | None = None
    """int64 [N,K], votes of the selection"""
    rivals: np.ndarray | None = None
    """int64 [N,J], the most votes that another class has at each look,
    where these are bounded too; -1: not taken"""
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
    means: np.ndarray | None = None
    """float64 [N,K], of a diffusion classifier: the means of the sampled margins over each class"""
    variances: np.ndarray | None = None
    """float64 [N,K], the variances of these samples"""
    distance: np.ndarray | None = None
    """float64 [N], of an attack: that of the nearest image found in another class than
    predicted; nan: none was found"""
    header: dict[str, Any] = {}

    @property
    def correct(self) -> np.ndarray:
        """Return bool [N]; abstentions, errors and images without a label are not correct."""
        return (self.predicted == self.label) & (self.label != NO_LABEL)

    @property
    def counted(self) -> np.ndarray:
        """Return bool [N], the images that shares count: those that are correct or, where the
        labels are not known, those that have a class, right or wrong."""
        return self.correct if self.labelled else self.predicted >= 0

    @property
    def procedure(self) -> dict[str, Any]:
        """Return what the header says of the procedure; {} where it says nothing."""
        found = self.header.get("procedure")
        return found if isinstance(found, dict) else {}

    @property
    def labelled(self) -> bool:
        """Return whether the class of every image is known."""
        return not (self.label == NO_LABEL).any()

    def __repr__(self) -> str:
        facts = [f"{len(self.index):,} images"]
        facts += [str(self.header[k]) for k in ("method", "norm") if k in self.header]
        if len(self.index):
            if self.labelled:
                facts.append(f"{100 * self.correct.mean():.1f} % correct")
            facts.append(f"{(self.predicted < 0).sum():,} without a class")
            facts.append(f"median radius {np.median(self.radius):.3g}")
        return f"Certificates({', '.join(facts)})"


def concatenate(parts: Iterable[Certificates]) -> Certificates:
    """Return the rows of several records of one request, sorted by index."""
    parts = list(parts)
    columns: dict[str, Any] = {}
    for name in Certificates._fields[:-1]:
        values = [getattr(part, name) for part in parts]
        columns[name] = (
            None if any(v is None for v in values) else np.concatenate(values)
        )
    order = np.argsort(columns["index"], kind="stable")
    columns = {k: None if v is None else v[order] for k, v in columns.items()}
    return Certificates(**columns, header=parts[0].header)


def certified_accuracy(c: Certificates, radii: ArrayLike) -> np.ndarray:
    """Return the share of images that are correct with radius >= r, for each r; float64
    [R], nan at radii of which the record says nothing (see `share_is_known`), and at all radii
    where an image has no label."""
    return certified_share(c, radii) if c.labelled else np.full(np.shape(radii), np.nan)


def certified_share(c: Certificates, radii: ArrayLike) -> np.ndarray:
    """Return the certified accuracy or, where an image has no label, the share of images whose
    class, right or wrong, is certified with radius >= r, for each r; float64 [R], nan at radii
    of which the record says nothing."""
    radii = np.asarray(radii, np.float64)
    reached = np.sort(c.radius[c.counted])
    below = np.searchsorted(reached, radii, side="left")
    share = (len(reached) - below) / len(c.index)
    return np.where(share_is_known(c, radii), share, np.nan)


def certifies(c: Certificates) -> bool:
    """Return whether the record has radii; one of PREDICT has classes alone."""
    return c.procedure.get("name") != "predict"


def tried(c: Certificates) -> np.ndarray | None:
    """Return the radii, rising float64 [T], at which a record says what is certified if
    it tried some alone; None if it has the radius of every image."""
    given = c.procedure.get("radii")
    if not isinstance(given, list | tuple) or not given:
        return None
    radii = [r for r in given if type(r) in (int, float)]
    if c.header.get("method") == "interval":  # classes are known without a box
        radii = [0.0, *radii]
    return np.unique(np.asarray(radii, np.float64))


def share_is_known(c: Certificates, radii: ArrayLike) -> np.ndarray:
    """Return bool [R]: whether the record says what share is certified at each of these
    radii. One of PREDICT speaks of 0 alone, one that tried some radii of these alone:
    at others, what the next one above has is only a lower bound. A radius up to 1e-9 of
    it below one that was tried is that one (0.15 and 3 * 0.05); above it nothing was
    tried."""
    radii = np.asarray(radii, np.float64)
    if not certifies(c):
        return radii == 0
    known = tried(c)
    if known is None:
        return np.ones(radii.shape, bool)
    next_up = np.append(known, np.inf)[np.searchsorted(known, radii)]
    return next_up <= radii * (1 + 1e-9)
