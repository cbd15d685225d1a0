"""A second look at every radius: recomputed from the evidence in the record.

The certifier's own numbers are not trusted, only its evidence: vote counts (smoothing)
or logits (Lipschitz networks), and what the header says of the procedure.

CERTIFY: k = votes for the PREDICTED class, p_lower = Clopper-Pearson bound of k of n at
    the header's alpha, radius <= sigma Phi^-1(p_lower); without a radius no prediction.
PREDICT: the predicted class has most votes and passes the test; radius = 0.
Lipschitz: radius <= min_j (z_y - z_j - 2 s) / pairwise[y, j], y the predicted class,
    z its logits, s = procedure.logit_slack (how far each logit may be off), pairwise
    [K,K] (or one number for all pairs) the proven bounds of the header.
Interval: a radius is one of procedure.radii, and its margins, the lower bounds of z_y - z_j
    on the box, are all above 2 s; at radius 0 the predicted class has the largest logit.

A prediction without evidence, or of an unknown procedure, does not hold: every certifier
of the library writes its evidence. Only tables of locuslab/smoothing, which have none,
are not re-checked.

This finds a wrong formula, a wrong row or a damaged file. It cannot tell whether votes
and logits are those of the network.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from jaxcert.certificates import statistics
from jaxcert.errors import InputError
from jaxcert.records import SAME, Certificates

_ROUNDING = 1e-13
"""In units of sigma. Another version of scipy may differ by a few ulp; statistics rounds
down by ten times more."""


class Recheck(NamedTuple):
    """checked: rows with evidence. failing: positions (not indices) of the rows that do
    not hold. proven: float64 [N], the radius that the evidence proves, nan where there
    is none. reason: why no row could be compared with evidence, else empty."""

    checked: int
    failing: np.ndarray
    proven: np.ndarray
    reason: str = ""

    @property
    def holds(self) -> bool:
        """Nothing contradicts the evidence (there may be none)."""
        return not len(self.failing)


def recheck(c: Certificates) -> Recheck:
    """Compare every row with what its evidence proves.

    Raises InputError if the header lacks what its evidence needs, or has nonsense
    there.
    """
    rows = np.flatnonzero(c.predicted >= 0)
    proven = np.full(len(c.index), np.nan)
    if c.header.get("format") == "tsv":
        return Recheck(0, rows[:0], proven, "the table holds no evidence")
    check, reason = _check_for(c)
    if check is None:
        return Recheck(len(rows), rows, proven, reason)
    with np.errstate(invalid="ignore", divide="ignore"):
        proven[rows], holds = check(c, rows)
    return Recheck(len(rows), rows[~holds], proven)


def _check_for(c: Certificates) -> tuple[Callable | None, str]:
    checks = {
        "certify": (_certify, "counts"),
        "predict": (_predict, "counts"),
        "margin": (_lipschitz, "logits"),
        "interval": (_interval, "logits"),
    }
    name = _procedure(c).get("name")
    check, needs = checks.get(str(name), (None, ""))
    if check is None:
        return None, f"no re-check is known for the procedure {name!r}"
    if getattr(c, needs) is None:
        return None, f"its rows have no {needs}"
    return check, ""


def _certify(c: Certificates, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    alpha, sigma = _number(c, "alpha", c.header), _number(c, "sigma", c.header)
    k, n = c.counts[rows, c.predicted[rows]], c.n[rows]
    proven = statistics.smoothing_radius(k, n, alpha, sigma)
    holds = (proven > 0) & (c.radius[rows] <= proven + _ROUNDING * sigma)
    if "n" in _procedure(c):  # stopping when it suits is not what alpha allows for
        holds &= n == _number(c, "n", _procedure(c))
    if c.p_lower is not None:
        p_lower = statistics.clopper_pearson_lower(k, n, alpha)
        holds &= c.p_lower[rows] <= p_lower + _ROUNDING
    return proven, holds


def _predict(c: Certificates, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    second, first = np.sort(c.counts[rows], 1)[:, -2:].T
    top = c.counts[rows, c.predicted[rows]] == first
    sure = statistics.predict_pvalue(first, second) <= _number(c, "alpha", c.header)
    return np.zeros(len(rows)), top & sure & (c.radius[rows] == 0)


def _lipschitz(c: Certificates, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    logits, y = c.logits[rows], c.predicted[rows]
    slack = _number(c, "logit_slack", {"logit_slack": 0.0} | _procedure(c))
    pairwise = _pairwise(c, logits.shape[1])[y]
    margin = logits[np.arange(len(rows)), y][:, None] - logits
    others = np.arange(logits.shape[1]) != y[:, None]

    def radius(margin):
        ratio = margin / pairwise
        ratio = np.where(np.isnan(ratio), 0.0, ratio)  # 0 / 0, inf / inf: no proof
        return np.maximum(np.where(others, ratio, np.inf).min(1), 0.0)

    # The same sums in another order may round differently. A row that another device
    # appended was certified with its own bound and slack, which differ from the
    # header's by SAME at most (`records.Writer` sees to that): so much of the radius may
    # exceed the header's evidence, and so much of the slack, which is a million times
    # what rounding asks for.
    rounding = 4 * np.finfo(float).eps * np.abs(logits).max(1, keepdims=True)
    most = radius(margin - 2 * slack * (1 - SAME) + rounding) * (1 + SAME)
    holds = (margin >= 0).all(1) & (c.radius[rows] <= most)
    return radius(margin - 2 * slack), holds


def _interval(c: Certificates, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    radius, y, logits = c.radius[rows], c.predicted[rows], c.logits[rows]
    holds = radius == 0
    if c.margins is not None:
        margins = c.margins[rows]
        others = np.arange(margins.shape[1]) != y[:, None]
        slack = _number(c, "logit_slack", _procedure(c))
        # the slack of a row that another device appended: see `_lipschitz`
        sure = (np.where(others, margins, np.inf) > 2 * slack * (1 - SAME)).all(1)
        holds |= sure & np.isin(radius, _radii(c))
    holds &= logits[np.arange(len(y)), y] == logits.max(1)
    return np.where(holds, radius, 0.0), holds


def _pairwise(c: Certificates, classes: int) -> np.ndarray:
    try:
        bound = np.asarray(c.header.get("pairwise_bound"), np.float64)
        pairwise = np.broadcast_to(bound, (classes, classes))
        off_diagonal = pairwise[~np.eye(classes, dtype=bool)]
    except (ValueError, TypeError):
        off_diagonal = np.array([np.nan])
    if not (off_diagonal >= 0).all() or bound.ndim not in (0, 2):
        raise InputError(
            f"the record's pairwise_bound is no bound for {classes} classes: certify "
            "into another file with --out."
        )
    return pairwise


def _radii(c: Certificates) -> np.ndarray:
    try:
        return np.asarray(_procedure(c).get("radii"), np.float64)
    except (ValueError, TypeError, OverflowError):
        raise InputError(
            "the record's procedure.radii are no numbers: certify into another file with "
            "--out."
        ) from None


def _procedure(c: Certificates) -> dict[str, Any]:
    procedure = c.header.get("procedure")
    return procedure if isinstance(procedure, dict) else {}


def _number(c: Certificates, name: str, where: dict[str, Any]) -> float:
    value = where.get(name)
    if type(value) not in (int, float) or not 0 <= value < np.inf:
        raise InputError(
            f"the record's header has {name} {value!r}: certify into another file with "
            "--out."
        )
    return value
