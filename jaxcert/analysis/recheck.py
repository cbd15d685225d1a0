"""A second look at every radius: recomputed from the evidence in the record.

The certifier's own numbers are not trusted, only its evidence: vote counts (smoothing)
or logits (Lipschitz networks), and what the header says of the procedure.

CERTIFY: k = votes for the PREDICTED class, p_lower = Clopper-Pearson bound of k of n at
    the header's alpha, radius <= that of p_lower under the header's noise and norm;
    without a radius no prediction.
PREDICT: the predicted class has most votes and passes the test; radius = 0.
Radii: a radius is one of procedure.radii, and it and all below are proven by the votes at
    procedure.looks, of which the last taken are those for the predicted class.
Two-stage: as CERTIFY, with as many votes as the pilot's votes ask for.
Sequence: radius <= that of the largest bound of the votes at procedure.looks.
Lipschitz: radius <= min_j (z_y - z_j - 2 s) / pairwise[y, j], y the predicted class,
    z its logits, s = procedure.logit_slack (how far each logit may be off), pairwise
    [K,K] (or one number for all pairs) the proven bounds of the header.
Interval: a radius is at most the largest of procedure.radii whose least margin, the least
    lower bound of z_y - z_j on its box, is above 2 s; margins do not grow with the box and
    are at most z_y - z_j, up to 2 s; the predicted class has the largest logit.

A prediction without evidence, or of an unknown procedure, does not hold: every certifier
of the library writes its evidence. Only tables of locuslab/smoothing, which have none,
are not re-checked.

Before the rows comes the header: what contradicts itself is refused (recheck_header.py).
This finds a wrong formula, a wrong row or a damaged file. It cannot tell whether votes
and logits are those of the network. docs/recheck.md lists what is seen and what is not.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from jaxcert.analysis import recheck_header
from jaxcert.certificate import Certificates
from jaxcert.certificates import norms, procedures, statistics
from jaxcert.errors import InputError
from jaxcert.records import SAME

_ROUNDING = 1e-13
"""In units of sigma. Another version of scipy may differ by a few ulp; statistics rounds
down by ten times more."""

_ROWS = 1 << 14
"""Rows whose evidence is copied at a time: that of a million is gigabytes."""


class Recheck(NamedTuple):
    """checked: rows with evidence. failing: positions (not indices) of the rows that do
    not hold. proven: float64 [N], the radius that the evidence proves, nan where there
    is none. reason: why no row could be compared with evidence, else empty. notes:
    sentences on what could not be checked, or is missing."""

    checked: int
    failing: np.ndarray
    proven: np.ndarray
    reason: str = ""
    notes: tuple[str, ...] = ()

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
        lacks = (
            "evidence" if c.agreeing is None else "word on what its votes are to show"
        )
        return Recheck(0, rows[:0], proven, f"the table holds no {lacks}")
    recheck_header.check(c)
    check, reason = _check_for(c)
    if check is None:
        return Recheck(len(rows), rows, proven, reason)
    with np.errstate(invalid="ignore", divide="ignore"):
        holds = np.ones(len(rows), bool)
        for begin in range(0, max(len(rows), 1), _ROWS):  # the header also without rows
            part = slice(begin, begin + _ROWS)
            proven[rows[part]], holds[part] = check(c, rows[part])
    notes = (*recheck_header.notes(c), *_less_checkable(c, rows))
    return Recheck(len(rows), rows[~holds], proven, notes=notes)


def _check_for(c: Certificates) -> tuple[Callable | None, str]:
    votes = ("counts", "agreeing")
    checks = {
        "certify": (_certify, "counts"),
        "predict": (_predict, "counts"),
        "radii": (_tried, *votes),
        "two_stage": (_two_stage, *votes),
        "sequence": (_sequence, *votes),
        "margin": (_lipschitz, "logits"),
        "interval": (_interval, "logits"),
    }
    name = _procedure(c).get("name")
    check, *needs = checks.get(str(name), (None,))
    if check is None:
        return None, f"no re-check is known for the procedure {name!r}"
    for column in needs:
        if getattr(c, column) is None:
            return None, f"its rows have no {column}"
    return check, ""


def _certify(c: Certificates, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    n = c.n[rows]
    proven, holds = _bounded(c, rows, n)
    return proven, holds & _as_many_as_asked(c, rows)


def _as_many_as_asked(c: Certificates, rows: np.ndarray) -> np.ndarray:
    """Stopping when it suits is not what alpha allows for."""
    if c.header.get("format") is None and "n" not in _procedure(c):
        return np.ones(len(rows), bool)  # of rows that were never in a file
    return c.n[rows] == _number(c, "n", _procedure(c))


def _bounded(c: Certificates, rows: np.ndarray, n: np.ndarray):
    """The radius that the votes for the predicted class prove, as if n were fixed."""
    alpha, k = _number(c, "alpha", c.header), c.counts[rows, c.predicted[rows]]
    proven = _radius_of(c)(statistics.upper_tail(k, np.maximum(n, k), alpha))
    holds = (proven > 0) & (c.radius[rows] <= proven + _rounding(c)) & (k <= n)
    if c.p_lower is not None:
        p_lower = statistics.clopper_pearson_lower(k, np.maximum(n, k), alpha)
        holds &= c.p_lower[rows] <= p_lower + _ROUNDING
    return proven, holds


def _two_stage(c: Certificates, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    procedure = _procedure(c)
    _votes_at(c, 2)
    if not _number(c, "n", procedure) >= 1:
        raise InputError(
            "the record's header has n below 1: certify into another file with --out."
        )
    pilot, k = c.agreeing[rows].T
    n = procedures.second_stage(
        np.clip(pilot, 0, procedures.PILOT),
        n=int(_number(c, "n", procedure)),
        alpha=_number(c, "alpha", c.header),
        rho=_number(c, "rho", procedure),
        radius_of=_radius_of(c),
    )
    proven, holds = _bounded(c, rows, n)
    holds &= (pilot >= 0) & (pilot <= procedures.PILOT) & (n > 0)
    holds &= (c.n[rows] == n + procedures.PILOT) & (
        k == c.counts[rows, c.predicted[rows]]
    )
    return proven, holds & (_number(c, "pilot", procedure) == procedures.PILOT)


def _tried(c: Certificates, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    looks, radii = _looks(c), np.sort(_radii(c))
    if not len(radii):
        raise InputError(
            "the record's procedure.radii are none: certify into another file with --out."
        )
    alpha = _number(c, "alpha", c.header)
    p0 = norms.p_needed(radii, **_law(c))
    agreeing, grows = _path(c, rows, looks)
    done = procedures.reached(agreeing, procedures.boundaries(p0, looks, alpha))
    proven = np.append(radii, 0.0)[done - 1]
    holds = grows & (done > 0) & (c.radius[rows] <= proven)
    if c.p_lower is not None:
        needed = np.append(p0, 0.0)[done - 1]
        holds &= c.p_lower[rows] <= needed + _ROUNDING
    return proven, holds & np.isin(c.radius[rows], radii)


def _sequence(c: Certificates, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    looks, alpha = _looks(c), _number(c, "alpha", c.header)
    agreeing, grows = _path(c, rows, looks)
    bound = str(_procedure(c).get("bound"))
    p_lower = procedures.sequence_lower(agreeing, looks, alpha, bound)
    proven = _radius_of(c)(1 - p_lower)
    holds = grows & (proven > 0) & (c.radius[rows] <= proven + _rounding(c))
    if c.p_lower is not None:
        holds &= c.p_lower[rows] <= p_lower + _ROUNDING
    return proven, holds & (bound in ("union", "mixture"))


def _path(c: Certificates, rows: np.ndarray, looks: tuple[int, ...]):
    """(agreeing [R,J], at most the looks; bool [R]: they can be votes at these looks, end
    where the row's n says and at the votes for the predicted class)."""
    _votes_at(c, len(looks))
    agreeing, predicted = c.agreeing[rows], c.predicted[rows]
    taken = agreeing >= 0
    last = np.maximum(taken.sum(1) - 1, 0)
    fits = taken[:, 0] & (np.diff(taken.astype(int), axis=1) <= 0).all(1)
    steps = np.diff(np.maximum(agreeing, 0), axis=1, prepend=0)
    size = np.diff(looks, prepend=0)
    fits &= (~taken | ((steps >= 0) & (steps <= size))).all(1)
    fits &= c.n[rows] == np.asarray(looks)[last]
    fits &= agreeing[np.arange(len(rows)), last] == c.counts[rows, predicted]
    return np.minimum(agreeing, looks), fits


def _votes_at(c: Certificates, looks: int) -> None:
    if c.agreeing.shape[1] != looks:
        raise InputError(
            f"the record's rows have votes at {c.agreeing.shape[1]} looks where its "
            f"procedure has {looks}: certify into another file with --out."
        )


def _looks(c: Certificates) -> tuple[int, ...]:
    looks, n = _procedure(c).get("looks"), _number(c, "n", _procedure(c))
    whole = isinstance(looks, list | tuple) and all(type(x) is int for x in looks)
    if (
        not whole
        or not looks
        or looks[0] < 1
        or (np.diff(looks) <= 0).any()
        or looks[-1] != n
    ):
        raise InputError(
            f"the record's procedure.looks are {looks}, no rising numbers of votes up to "
            f"{n}: certify into another file with --out."
        )
    return tuple(looks)


def _law(c: Certificates) -> dict[str, Any]:
    """Noise, norm, sigma and size of the images, as `norms` takes them."""
    procedure = _procedure(c)
    noise = procedure.get("noise", "gaussian")
    norm = c.header.get("norm", "l2")
    norms.check(noise, norm)
    d = int(_number(c, "d", procedure)) if norm == "linf" else 1
    model = c.header.get("model")
    shape = model.get("image_shape") if isinstance(model, dict) else None
    if d < 1 or (norm == "linf" and shape is not None and d != math.prod(shape)):
        raise InputError(
            f"the record's header has d {d} for images of {shape}: certify into another "
            "file with --out."
        )
    least = _number(c, "least_tail", procedure) if "least_tail" in procedure else 0.0
    alpha = max(_number(c, "alpha", c.header), 1e-300)
    n = _number(c, "n", procedure) if "n" in procedure else c.n.max(initial=1)
    least = norms.least_of(noise, n, alpha, least)
    sigma = _number(c, "sigma", c.header)
    return dict(noise=noise, norm=norm, sigma=sigma, d=d, least_tail=least)


def _radius_of(c: Certificates) -> Callable[[np.ndarray], np.ndarray]:
    return partial(norms.radius, **_law(c))


def _rounding(c: Certificates) -> float:
    return _ROUNDING * _number(c, "sigma", c.header)


def _predict(c: Certificates, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    second, first = np.sort(c.counts[rows], 1)[:, -2:].T
    top = c.counts[rows, c.predicted[rows]] == first
    sure = statistics.predict_pvalue(first, second) <= _number(c, "alpha", c.header)
    holds = top & sure & (c.radius[rows] == 0) & _as_many_as_asked(c, rows)
    return np.zeros(len(rows)), holds


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
    # what rounding asks for. Where it is not, as no certifier writes, the slack still counts.
    rounding = 4 * np.finfo(float).eps * np.abs(logits).max(1, keepdims=True)
    rounding = np.minimum(rounding, slack)
    most = radius(margin - 2 * slack * (1 - SAME) + rounding) * (1 + SAME)
    holds = (margin >= 0).all(1) & (c.radius[rows] <= most)
    if "n" in _procedure(c):  # bounds of an expectation
        holds &= _as_many_as_asked(c, rows)
    return radius(margin - 2 * slack), holds


def _interval(c: Certificates, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    radius, y, logits = c.radius[rows], c.predicted[rows], c.logits[rows]
    tried, slack = np.sort(_radii(c)), _number(c, "logit_slack", _procedure(c))
    others = np.arange(logits.shape[1]) != y[:, None]
    at_image = logits[np.arange(len(y)), y] - np.where(others, logits, -np.inf).max(1)
    # the slack of a row that another device appended: see `_lipschitz`
    least_sure, most_wrong = 2 * slack * (1 - SAME), 2 * slack * (1 + SAME)
    proven, fits = np.zeros(len(rows)), at_image >= 0
    if c.margins is not None:  # of version 0.1, of the row's own radius
        margins = np.where(others, c.margins[rows], np.inf).min(1)
        proven = np.where(margins > least_sure, radius, 0.0)
        fits &= ~(margins > at_image + most_wrong)
    if c.least_margins is not None:
        least = c.least_margins[rows]
        if least.shape[1] != len(tried):
            raise InputError(
                f"the record's rows have margins of {least.shape[1]} radii where its "
                f"procedure tried {len(tried)}: certify into another file with --out."
            )
        sure = least > least_sure
        largest = np.where(sure, tried, 0.0).max(1, initial=0.0)
        proven = np.where(np.isnan(least).all(1), proven, largest)
        # of the image and of every smaller box that was looked at
        before = np.fmin.accumulate(np.column_stack([at_image, least[:, :-1]]), axis=1)
        fits &= ~(least > before + most_wrong).any(1)
    holds = fits & (radius <= proven) & ((radius == 0) | np.isin(radius, tried))
    return np.where(fits, proven, 0.0), holds


def _less_checkable(c: Certificates, rows: np.ndarray) -> list[str]:
    """A sentence if rows of the interval certificate keep less than was looked at: the
    margins up to the first radius that fails."""
    if c.logits is None or _procedure(c).get("name") != "interval":
        return []
    tried, radius = np.sort(_radii(c)), c.radius[rows]
    least = c.least_margins
    known = (
        np.zeros((len(rows), len(tried)), bool)
        if least is None
        else ~np.isnan(least)[rows]
    )
    needed = np.minimum((tried <= radius[:, None]).sum(1), len(tried) - 1)
    seen = (known | (np.arange(len(tried)) > needed[:, None])).all(1)
    less = int((~seen & (radius > 0)).sum())
    if not less:
        return []
    return [
        f"{less} rows keep the margins of their own radius only, as version 0.1 wrote them: "
        "a radius that was raised after certification is not seen there"
    ]


def _pairwise(c: Certificates, classes: int) -> np.ndarray:
    try:
        bound = np.asarray(c.header.get("pairwise_bound"), np.float64)
        pairwise = np.broadcast_to(bound, (classes, classes))
        off_diagonal = pairwise[~np.eye(classes, dtype=bool)]
    except (ValueError, TypeError):
        pairwise = off_diagonal = np.array([np.nan])
    symmetric = np.allclose(pairwise, pairwise.T, rtol=2 * SAME, atol=0, equal_nan=True)
    if not (off_diagonal >= 0).all() or bound.ndim not in (0, 2) or not symmetric:
        raise InputError(
            f"the record's pairwise_bound is no bound for {classes} classes: certify "
            "into another file with --out."
        )
    return pairwise


def _radii(c: Certificates) -> np.ndarray:
    given = _procedure(c).get("radii", ())
    given = given.tolist() if isinstance(given, np.ndarray) else given
    numbers = isinstance(given, list | tuple) and all(
        type(r) in (int, float) and 0 <= r <= sys.float_info.max for r in given
    )
    if not numbers:
        raise InputError(
            "the record's procedure.radii are no numbers: certify into another file with "
            "--out."
        )
    return np.asarray(given, np.float64)


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
