"""Procedures of randomized smoothing: how many votes, and what they prove.

| procedure | votes | answer |
|---|---|---|
| certify   | n | radius of the Clopper-Pearson bound (Cohen et al. 2019) |
| predict   | n | the class alone (Cohen et al. 2019) |
| radii     | until decided, at most n | largest of the given radii that is proven |
| two_stage | a pilot chooses N <= n   | radius, about 1 - rho of what n votes would prove |
| sequence  | until good enough, at most n | the same, at whatever vote it stops |

First n0 votes of each image select a class; none of them counts afterwards. Then for every
image, on its own, the answer is wrong with probability at most alpha:

certify: P(p_lower > p) <= alpha, one bound of fresh votes.
radii: radius r is true if p > p0(r). Each p <= p0(r) is tested by a group-sequential test
    at FULL level alpha, all on the same votes, and r_k is claimed if the tests of r_1 ...
    r_k all reject. Let r_m be the smallest false one: a false claim needs the test of r_m
    to reject, which it does with probability at most alpha. There is no correction for the
    number of radii (fixed sequence: Maurer et al. 1995). two_stage: N is a function of the
    pilot's votes, and the bound is one of N fresh votes
    at level alpha: given the pilot it fails with probability at most alpha, hence also
    without.
sequence: the bounds at all looks hold together with 1 - alpha, so the largest does, and
    stopping may depend on anything.

Giving up an image claims nothing, and costs no alpha.

Each procedure has its re-check below it: what the votes in a record prove, by the header's
numbers alone (rechecking.py). Every image that it predicts must have

certify: p_lower and radius of at most those of k of n votes, k those for the PREDICTED class.
predict: most votes for the predicted class, which pass the test, and radius 0.
radii: a radius of procedure.radii that, as all below, the votes at the looks prove.
two_stage: as certify, with as many votes as the pilot's votes ask for.
sequence: a radius of at most that of the largest bound of the votes at the looks.

A procedure knows nothing of networks: `draw(rows, start, size)` gives it the votes
[len(rows), K] of samples start ... start + size - 1 of some images (numbers or one per
row). So tests run the same code on simulated votes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from jaxcert.certificate import Certificates
from jaxcert.certificates import norms, rechecking, sequential, statistics
from jaxcert.errors import InputError, one_of, within

NAMES = ("certify", "predict", "radii", "two_stage", "sequence")
PILOT = 1000
"""The number of votes in the first stage of `two_stage`."""
_FUTILE = 0.01
"""The level, over all looks, at which an image is given up because its p is below what
it needs."""

Draw = Callable[[np.ndarray, Any, Any], np.ndarray]
RadiusOf = Callable[[Any], np.ndarray]
"""The function from upper bounds of 1 - p to radii."""


class Decided(NamedTuple):
    """Decisions for a batch of B images."""

    selected: np.ndarray
    """int64 [B]"""
    answered: np.ndarray
    """bool [B]: whether the class is proven; else the procedure abstains"""
    radius: np.ndarray
    """float64 [B]"""
    p_lower: np.ndarray | None
    """float64 [B]"""
    n: np.ndarray
    """int64 [B]: the number of votes, without those of the selection"""
    counts: np.ndarray
    """int64 [B,K]: the votes from which the answer follows"""
    failed: np.ndarray
    """bool [B]: whether no vote of the selection was finite"""
    agreeing: np.ndarray | None = None
    """int64 [B,J]: votes for the selected class at each look, -1 where not taken"""


def certify(
    draw: Draw, images: int, *, n0: int, n: int, alpha: float, radius_of: RadiusOf
) -> Decided:
    """CERTIFY (Cohen et al. 2019, section 3.2.2), for `images` images.

    c_A, the selected class, has most of the first n0 votes. Of n fresh votes k are for c_A, and
    p_lower = LowerConfBound(k, n, 1 - alpha) is the bound of Clopper and Pearson. The radius is
    `radius_of`(1 - p_lower), sigma Phi^-1(p_lower) for Gaussian noise; abstain where it is 0.
    """
    rows = np.arange(images)
    # both stages at once: which class is counted is decided afterwards
    both = draw(
        np.tile(rows, 2), np.repeat([0, n0], images), np.repeat([n0, n], images)
    )
    selection, counts = both[:images], both[images:]
    selected = selection.argmax(1)
    k = counts[rows, selected]
    radius = _once_per_count(lambda k: radius_of(statistics.upper_tail(k, n, alpha)), k)
    return Decided(
        selected,
        radius > 0,
        radius,
        _once_per_count(lambda k: statistics.clopper_pearson_lower(k, n, alpha), k),
        np.full(images, n),
        counts,
        selection.sum(1) == 0,
    )


def recheck_certify(c: Certificates, rows: np.ndarray):
    proven, holds = rechecking.bounded(c, rows, c.n[rows])
    return proven, holds & rechecking.has_all_samples(c, rows)


def predict(draw: Draw, images: int, *, n: int, alpha: float) -> Decided:
    """PREDICT (Cohen et al. 2019, section 3.2.1): the class with most of n votes; abstain unless a
    binomial test of the two largest counts rejects p = 1/2 at the level alpha."""
    counts = draw(np.arange(images), 0, n)
    second, first = np.sort(counts, 1)[:, -2:].T
    sure = statistics.predict_pvalue(first, second) <= alpha
    failed = counts.sum(1) == 0
    zero, all_n = np.zeros(images), np.full(images, n)
    return Decided(counts.argmax(1), sure, zero, None, all_n, counts, failed)


def recheck_predict(c: Certificates, rows: np.ndarray):
    alpha = rechecking.alpha_of(c)
    counts = rechecking.column(c, "counts")[rows]
    second, first = np.sort(counts, 1)[:, -2:].T
    top = counts[np.arange(len(rows)), c.predicted[rows]] == first
    passes = statistics.predict_pvalue(first, second) <= alpha
    holds = top & passes & (c.radius[rows] == 0) & rechecking.has_all_samples(c, rows)
    return np.zeros(len(rows)), holds


def radii(
    draw: Draw,
    images: int,
    *,
    n0: int,
    p0: Sequence[float] | np.ndarray,
    values: Sequence[float],
    looks: tuple[int, ...],
    alpha: float,
) -> Decided:
    """Certify each image at the largest of given radii that is proven, see above.
    values: the radii, rising; p0: the p that each needs."""
    walk = _Walk(draw, images, n0, looks)
    bounds = boundaries(p0, looks, alpha)
    needed = np.append(np.asarray(p0, np.float64), 0.0)
    following = np.vstack([bounds, np.add(looks, 1)])  # nothing follows the last
    for j in range(len(looks)):
        rows, k = walk.look(j)
        done = reached(walk.agreeing[rows], bounds)
        # even if all votes to come agree
        best = k[:, None] + np.subtract(looks[j + 1 :], looks[j])
        open_ = (best >= following[done, j + 1 :]).any(1)
        walk.stop(rows, ~open_ | (_upper_bound(k, looks, j) < needed[done]))
    done = reached(walk.agreeing, bounds)
    radius = np.concatenate([[0.0], values])[done]
    p_lower = np.concatenate([[0.0], p0])[done]
    return walk.decided(done > 0, radius, p_lower)


def recheck_radii(c: Certificates, rows: np.ndarray):
    looks, tried = rechecking.looks(c), rechecking.radii(c)
    if not len(tried):
        raise InputError(
            "the record's procedure.radii are empty: certify into another file with --out."
        )
    alpha = rechecking.alpha_of(c)
    p0 = norms.p_needed(tried, **rechecking.law(c))
    agreeing, grows = rechecking.path(c, rows, looks)
    done = reached(agreeing, boundaries(p0, looks, alpha))
    proven = np.append(tried, 0.0)[done - 1]
    holds = grows & (done > 0) & (c.radius[rows] <= proven)
    if c.p_lower is not None:
        needed = np.append(p0, 0.0)[done - 1]
        holds &= c.p_lower[rows] <= needed + rechecking.ROUNDING
    return proven, holds & np.isin(c.radius[rows], tried)


def boundaries(
    p0: Sequence[float] | np.ndarray, looks: tuple[int, ...], alpha: float
) -> np.ndarray:
    """Return int64 [R,J], the counts that reject p <= p0 at each look."""
    return np.stack([sequential.boundary(float(p), looks, alpha)[0] for p in p0])


def reached(agreeing: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    """Return int64 [B], how many radii of bounds [R,J], from the first on, are proven
    by the votes [B,J] at the looks."""
    proven = (agreeing[:, None, :] >= bounds).any(2)
    return np.cumprod(proven, 1).sum(1)


def two_stage(
    draw: Draw,
    images: int,
    *,
    n0: int,
    n: int,
    alpha: float,
    rho: float,
    radius_of: RadiusOf,
) -> Decided:
    """Certify each image with as many votes as those of a pilot ask for, see above."""
    rows = np.arange(images)
    first = draw(
        np.tile(rows, 2), np.repeat([0, n0], images), np.repeat([n0, PILOT], images)
    )
    selection, pilot = first[:images], first[images:]
    selected = selection.argmax(1)
    k = pilot[rows, selected]
    size = _once_per_count(
        lambda k: second_stage(k, n=n, alpha=alpha, rho=rho, radius_of=radius_of), k
    )
    counts = np.zeros_like(pilot)
    some = np.flatnonzero(size)
    if len(some):
        counts[some] = draw(some, n0 + PILOT, size[some])
    agreeing = counts[rows, selected]
    used = np.maximum(size, 1)
    radius = np.where(
        size > 0, radius_of(statistics.upper_tail(agreeing, used, alpha)), 0.0
    )
    return Decided(
        selected,
        radius > 0,
        radius,
        statistics.clopper_pearson_lower(agreeing, used, alpha),
        PILOT + size,
        counts,
        selection.sum(1) == 0,
        np.stack([k, agreeing], 1),
    )


def recheck_two_stage(c: Certificates, rows: np.ndarray):
    asked = rechecking.procedure(c)
    pilot, k = rechecking.votes_at(c, rows, 2).T
    if not rechecking.number(c, "n", asked) >= 1:
        raise InputError(
            "the record's header has n below 1: certify into another file with --out."
        )
    n = second_stage(
        np.clip(pilot, 0, PILOT),
        n=int(rechecking.number(c, "n", asked)),
        alpha=rechecking.alpha_of(c),
        rho=rechecking.number(c, "rho", asked),
        radius_of=rechecking.radius_of(c),
    )
    proven, holds = rechecking.bounded(c, rows, n)
    holds &= (pilot >= 0) & (pilot <= PILOT) & (n > 0)
    holds &= c.n[rows] == n + PILOT
    holds &= k == rechecking.column(c, "counts")[rows, c.predicted[rows]]
    return proven, holds & (rechecking.number(c, "pilot", asked) == PILOT)


def second_stage(
    k: np.ndarray, *, n: int, alpha: float, rho: float, radius_of: RadiusOf
) -> np.ndarray:
    """Return int64 [B], how many votes should prove 1 - rho of the radius that n votes
    would, if their share stays that of the pilot's k [B] votes; 0 where not even n
    would prove one."""
    sizes = np.unique(np.geomspace(min(100, n), n, 80).astype(np.int64))
    expected = k[:, None] * sizes // PILOT
    radius = radius_of(statistics.upper_tail(expected, sizes, alpha))
    enough = radius >= (1 - rho) * radius[:, -1:]
    return np.where(radius[:, -1] > 0, sizes[enough.argmax(1)], 0)


def sequence(
    draw: Draw,
    images: int,
    *,
    n0: int,
    looks: tuple[int, ...],
    alpha: float,
    rho: float,
    bound: str,
    radius_of: RadiusOf,
) -> Decided:
    """Certify each image from votes at looks until the radius is good enough, see
    above. bound: 'union', which is tighter with few looks, or 'mixture', which would
    hold at any vote."""
    walk, n = _Walk(draw, images, n0, looks), looks[-1]
    p_lower = np.zeros(images)

    def hope(k):
        return radius_of(statistics.upper_tail(k, n, alpha))

    for j, look in enumerate(looks):
        rows, k = walk.look(j)
        lower = _once_per_count(partial(_look_lower, looks, j, alpha, bound), k)
        p_lower[rows] = np.maximum(p_lower[rows], lower)
        sure = radius_of(1 - p_lower[rows])
        hoped = _once_per_count(hope, k * n // look)
        enough = (sure > 0) & (sure >= (1 - rho) * hoped)
        walk.stop(rows, enough | (_upper_bound(k, looks, j) < 0.5))
    radius = radius_of(1 - p_lower)
    return walk.decided(radius > 0, radius, p_lower)


def recheck_sequence(c: Certificates, rows: np.ndarray):
    looks, alpha = rechecking.looks(c), rechecking.alpha_of(c)
    agreeing, grows = rechecking.path(c, rows, looks)
    bound = str(rechecking.procedure(c).get("bound"))
    p_lower = sequence_lower(agreeing, looks, alpha, bound)
    proven = rechecking.radius_of(c)(1 - p_lower)
    holds = grows & (proven > 0) & (c.radius[rows] <= proven + rechecking.rounding(c))
    if c.p_lower is not None:
        holds &= c.p_lower[rows] <= p_lower + rechecking.ROUNDING
    return proven, holds & (bound in ("union", "mixture"))


def sequence_lower(
    agreeing: np.ndarray, looks: tuple[int, ...], alpha: float, bound: str
) -> np.ndarray:
    """Return p_lower [B], rounded down, from the votes [B,J] at the looks, which are -1
    where not taken."""
    lower = np.zeros(len(agreeing))
    for j, k in enumerate(agreeing.T):
        rows = k >= 0
        lower[rows] = np.maximum(
            lower[rows], _look_lower(looks, j, alpha, bound, k[rows])
        )
    return lower


def _look_lower(looks: tuple[int, ...], j: int, alpha: float, bound: str, k):
    """Return the bound of k votes at look j, at a level at which all looks hold
    together."""
    if bound == "union":
        level = alpha / len(looks)
        lower = statistics.clopper_pearson_lower(k, looks[j], level)
    else:
        lower = sequential.mixture_lower(k, looks[j], alpha)
    # 1 - p_lower is formed next, and rounds by half a unit of 1
    return np.maximum(lower - 2**-52, 0.0)


def _upper_bound(k: np.ndarray, looks: tuple[int, ...], j: int) -> np.ndarray:
    """Return an upper confidence bound of p at the level _FUTILE / looks."""
    look, level = looks[j], _FUTILE / len(looks)
    return 1 - _once_per_count(
        lambda k: statistics.clopper_pearson_lower(look - k, look, level), k
    )


def _once_per_count(function: Callable, k: np.ndarray) -> np.ndarray:
    """Return function(k), computed once for equal numbers of votes."""
    values, where = np.unique(k, return_inverse=True)
    return function(values)[where] if len(k) else np.zeros(0)


class _Walk:
    """The votes at the looks, for the images that are still undecided."""

    def __init__(self, draw: Draw, images: int, n0: int, looks: tuple[int, ...]):
        self._draw, self._n0, self._looks = draw, n0, looks
        self._active = np.ones(images, bool)
        selection = draw(np.arange(images), 0, n0)
        self._failed = selection.sum(1) == 0
        self._selected = selection.argmax(1)
        self._counts = np.zeros_like(selection)
        self._n = np.zeros(images, np.int64)
        self.agreeing = np.full((images, len(looks)), -1, np.int64)

    def look(self, j: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the rows that are still undecided, and their votes so far for the
        selected class."""
        rows = np.flatnonzero(self._active)
        before = self._looks[j - 1] if j else 0
        if len(rows):
            size = self._looks[j] - before
            self._counts[rows] += self._draw(rows, self._n0 + before, size)
        k = self._counts[rows, self._selected[rows]]
        self.agreeing[rows, j], self._n[rows] = k, self._looks[j]
        return rows, k

    def stop(self, rows: np.ndarray, decided: np.ndarray) -> None:
        self._active[rows[decided | self._failed[rows]]] = False

    def decided(self, answered, radius, p_lower) -> Decided:
        return Decided(
            self._selected,
            answered,
            radius,
            p_lower,
            self._n,
            self._counts,
            self._failed,
            self.agreeing,
        )


def recheck(c: Certificates, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (proven, holds) by the procedure that the header names, see rechecking.py."""
    name = rechecking.name_of(c, NAMES)
    rechecking.need(c, "counts")
    if name not in ("certify", "predict"):
        rechecking.need(c, "agreeing")
    return globals()[f"recheck_{name}"](c, rows)


def tail_if_all_agree(name: str, n: int, alpha: float, bound: str) -> float:
    """Return the 1 - p that n votes prove if all are for one class."""
    if name == "sequence":
        looks = sequential.looks(n)
        lower = sequence_lower(np.array([looks]), looks, alpha, bound)
        return 1 - float(lower[0])
    return float(statistics.upper_tail(n, n, alpha))


def too_few(
    name: str, n: int, alpha: float, bound: str, radius_of: RadiusOf, radii
) -> str:
    """Return the error for n votes that certify nothing, even if all agree. radii:
    those that procedure 'radii' tries, rising."""
    reach = float(radius_of(tail_if_all_agree(name, 100_000, alpha, bound)))
    enough = statistics.min_n_for_any_radius(alpha)
    if name == "radii":
        smaller = ", or smaller radii" if n >= enough and radii[0] > 0 else ""
        return (
            f"n {n} samples certify none of the radii at alpha {alpha}, even if all agree: "
            f"take more{smaller} (100000 reach nearly {reach:.3g})."
        )
    while not radius_of(tail_if_all_agree(name, enough, alpha, bound)) > 0:
        enough += 1  # a sequence needs more, because its bound is wider
    return (
        f"n {n} samples certify no radius at alpha {alpha}, even if all agree: take more, at "
        f"least {enough} (100000 reach {reach:.3g})."
    )


def check_bound(bound: str) -> None:
    """Raises InputError for an unknown bound."""
    one_of(("union", "mixture"), bound=bound)


def check_rho(rho: float) -> None:
    within("(0, 1)", rho=rho)
