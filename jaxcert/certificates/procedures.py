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

Giving up an image claims nothing, and costs no alpha. `draw` may end with `TimeUp`
(deadlines.py): radii and sequence then answer by the looks that they have, of which the same
holds, and the others end as well, without an answer.

That is with `rival` single. certify, two_stage and sequence take the others of `runner_up.py`,
which bound the other classes as well: each of these statements then holds for every bound, at
its part of alpha.

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
from jaxcert.certificates import (
    looking,
    norms,
    pilots,
    rechecking,
    runner_up,
    sequential,
    statistics,
)
from jaxcert.certificates.pilots import PILOT, RadiusOf, second_stage
from jaxcert.certificates.runner_up import SINGLE, Rival
from jaxcert.errors import InputError

NAMES = ("certify", "predict", "radii", "two_stage", "sequence")
Draw = Callable[[np.ndarray, Any, Any], np.ndarray]


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
    selection: np.ndarray | None = None
    """int64 [B,K]: the votes of the selection"""
    rivals: np.ndarray | None = None
    """int64 [B,J]: the most votes of another class at each look, -1 where not taken"""


def certify(
    draw: Draw,
    images: int,
    *,
    n0: int,
    n: int,
    alpha: float,
    radius_of: RadiusOf,
    rival: Rival = SINGLE,
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
    chosen = runner_up.choose(
        rival, selection, n0=n0, n=n, alpha=alpha, radius_of=radius_of
    )
    k, other = chosen.votes(counts, n)
    both, level = chosen.both, chosen.level
    radius = statistics.once(
        lambda k, other, both, level: runner_up.radius(
            k, other, n, both, level, radius_of
        ),
        *(k, other * both, both, level),
    )
    return Decided(
        chosen.selected,
        radius > 0,
        radius,
        statistics.once(
            lambda k, level: statistics.clopper_pearson_lower(k, n, level), k, level
        ),
        np.full(images, n),
        counts,
        selection.sum(1) == 0,
        selection=selection,
    )


def recheck_certify(c: Certificates, rows: np.ndarray):
    chosen, fits = rechecking.chosen(c, rows)
    proven, holds = rechecking.bounded(c, rows, c.n[rows], chosen)
    return proven, holds & fits & rechecking.has_all_samples(c, rows)


def predict(
    draw: Draw, images: int, *, n: int, alpha: float, undrawn: bool = False
) -> Decided:
    """PREDICT (Cohen et al. 2019, section 3.2.1): the class with most of n votes; abstain unless a
    binomial test of the two largest counts rejects p = 1/2 at the level alpha. undrawn: that of
    `runner_up.Rival`."""
    counts = draw(np.arange(images), 0, n)
    sure = statistics.predict_pvalue(*two_most(counts, n, undrawn)) <= alpha
    failed = counts.sum(1) == 0
    zero, all_n = np.zeros(images), np.full(images, n)
    return Decided(counts.argmax(1), sure, zero, None, all_n, counts, failed)


def two_most(
    counts: np.ndarray, n: Any, undrawn: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Return (the largest of votes [B,K] of n samples, the most that another class may have);
    undrawn: samples without a class may be for that one."""
    second, first = np.sort(counts, 1)[:, -2:].T
    return first, np.minimum(second + undrawn * (n - counts.sum(1)), first)


def tested(c: Certificates, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (p-values float64 [R] of the binomial test of PREDICT, bool [R]: whether the predicted
    class has most of all n votes)."""
    counts = rechecking.column(c, "counts")[rows]
    first, second = two_most(counts, c.n[rows], rechecking.rival(c).undrawn)
    top = counts[np.arange(len(rows)), c.predicted[rows]] == first
    fits = top & rechecking.has_all_samples(c, rows)
    return statistics.predict_pvalue(first, second), fits


def recheck_predict(c: Certificates, rows: np.ndarray):
    p, fits = tested(c, rows)
    holds = fits & (p <= rechecking.alpha_of(c)) & (c.radius[rows] == 0)
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
    choose = partial(runner_up.single, alpha=alpha)
    walk = looking.Walk(draw, images, n0, looks, choose)
    bounds = boundaries(p0, looks, alpha)
    needed = np.append(np.asarray(p0, np.float64), 0.0)
    following = np.vstack([bounds, np.add(looks, 1)])  # nothing follows the last
    for j, rows, k, _ in walk.looks():
        done = reached(walk.agreeing[rows], bounds)
        # even if all votes to come agree
        best = k[:, None] + np.subtract(looks[j + 1 :], looks[j])
        open_ = (best >= following[done, j + 1 :]).any(1)
        walk.stop(rows, ~open_ | (looking.likely_at_most(k, looks, j) < needed[done]))
    done = reached(walk.agreeing, bounds)
    radius = np.concatenate([[0.0], values])[done]
    p_lower = np.concatenate([[0.0], p0])[done]
    return _walked(walk, done > 0, radius, p_lower)


def recheck_radii(c: Certificates, rows: np.ndarray):
    looks, tried = rechecking.looks(c), rechecking.radii(c)
    _check_spending(c, looks)
    if not len(tried):
        raise InputError(
            "the record's procedure.radii are empty: certify into another file with --out."
        )
    alpha = rechecking.alpha_of(c)
    p0 = norms.p_needed(tried, **rechecking.law(c))
    agreeing, grows = rechecking.path(c, rows, looks)
    done = reached(agreeing, boundaries(p0, looks, alpha))
    grows &= rechecking.selection_fits(c, rows)
    proven = np.append(tried, 0.0)[done - 1]
    holds = grows & (done > 0) & (c.radius[rows] <= proven)
    if c.p_lower is not None:
        needed = np.append(p0, 0.0)[done - 1]
        holds &= c.p_lower[rows] <= needed + rechecking.ROUNDING
    return proven, holds & np.isin(c.radius[rows], tried)


def _check_spending(c: Certificates, looks: tuple[int, ...]) -> None:
    """Raises InputError where the header spends alpha in another way than these looks do."""
    stated = rechecking.stated(c, "spending", rechecking.procedure(c))
    wanted = sequential.spending(looks, rechecking.alpha_of(c))
    if stated is not None and not (
        isinstance(stated, list)
        and len(stated) == len(wanted)
        and all(type(x) is float for x in stated)
        and np.allclose(stated, wanted, rtol=1e-12, atol=0)
        and stated[-1] <= wanted[-1]
    ):
        raise rechecking.contradiction(f"spending {stated} of alpha at its looks")


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
    rival: Rival = SINGLE,
) -> Decided:
    """Certify each image with as many votes as those of a pilot ask for, see above."""
    rows = np.arange(images)
    first = draw(
        np.tile(rows, 2), np.repeat([0, n0], images), np.repeat([n0, PILOT], images)
    )
    selection, pilot = first[:images], first[images:]
    chosen = runner_up.choose(
        rival, selection, n0=n0, n=n, alpha=alpha, radius_of=radius_of
    )
    both, level = chosen.both, chosen.level
    k, other = chosen.votes(pilot, PILOT)
    size = statistics.once(
        partial(second_stage, n=n, rho=rho, radius_of=radius_of),
        *(k, other * both, both, level),
    ).astype(np.int64)
    counts = np.zeros_like(pilot)
    some = np.flatnonzero(size)
    if len(some):
        counts[some] = draw(some, n0 + PILOT, size[some])
    agreeing, others = chosen.votes(counts, size)
    used = np.maximum(size, 1)
    radius = runner_up.radius(agreeing, others, used, both, level, radius_of)
    radius = np.where(size > 0, radius, 0.0)
    return Decided(
        chosen.selected,
        radius > 0,
        radius,
        statistics.clopper_pearson_lower(agreeing, used, level),
        PILOT + size,
        counts,
        selection.sum(1) == 0,
        np.stack([k, agreeing], 1),
        selection,
        np.stack([other, others], 1),
    )


def recheck_two_stage(c: Certificates, rows: np.ndarray):
    asked = rechecking.procedure(c)
    pilot, k = rechecking.votes_at(c, rows, 2).T
    chosen, fits = rechecking.chosen(c, rows)
    first, others = rechecking.rivals(c, rows, chosen, 2).T
    given: dict[str, Any] = dict(
        n=rechecking.whole(c, "n", asked, 1),
        rho=rechecking.number(c, "rho", asked),
        radius_of=rechecking.radius_of(c),
    )
    first_k, first_other = np.clip(pilot, 0, PILOT), np.clip(first, 0, PILOT)
    rule = pilots.rule_of(c, alpha=rechecking.alpha_of(c), **given)
    if rule is None:
        n = second_stage(first_k, first_other, chosen.both, chosen.level, **given)
    else:
        n = rule[first_k]
    proven, holds = rechecking.bounded(c, rows, n, chosen)
    counted = chosen.votes(rechecking.column(c, "counts")[rows], n)[1]
    holds &= fits & (~chosen.both | ((first >= 0) & (first + pilot <= PILOT)))
    holds &= ~chosen.both | (others == counted)
    holds &= (pilot >= 0) & (pilot <= PILOT) & (n > 0)
    holds &= c.n[rows] == n + PILOT
    holds &= k == rechecking.column(c, "counts")[rows, c.predicted[rows]]
    return proven, holds & (rechecking.whole(c, "pilot", asked) == PILOT)


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
    rival: Rival = SINGLE,
) -> Decided:
    """Certify each image from votes at looks until the radius is good enough, see
    above. bound: 'union', which is tighter with few looks, or 'mixture', which would
    hold at any vote."""
    n = looks[-1]
    choose = partial(
        runner_up.choose, rival, n0=n0, n=n, alpha=alpha, radius_of=radius_of
    )
    walk = looking.Walk(draw, images, n0, looks, choose)
    p_lower, p_upper = np.zeros(images), np.ones(images)

    def lower_of(j):
        return lambda k, level: looking.look_lower(looks, j, level, bound, k)

    def hope(k, other, both, level):
        return runner_up.radius(k, other, n, both, level, radius_of)

    for j, rows, k, other in walk.looks():
        look = looks[j]
        both, level = walk.chosen.both[rows], walk.chosen.level[rows]
        lower = statistics.once(lower_of(j), k, level)
        p_lower[rows] = np.maximum(p_lower[rows], lower)
        hopeless = looking.likely_at_most(k, looks, j)
        if both.any():
            above = 1 - statistics.once(lower_of(j), look - other, level)
            p_upper[rows] = np.minimum(p_upper[rows], above)
            beaten = hopeless < looking.likely_at_least(other, looks, j)
            hopeless = np.where(both, beaten, hopeless < 0.5)
        else:
            hopeless = hopeless < 0.5
        sure = runner_up.of_bounds(1 - p_lower[rows], p_upper[rows], both, radius_of)
        hoped = statistics.once(
            hope, k * n // look, other * n // look * both, both, level
        )
        walk.stop(rows, ((sure > 0) & (sure >= (1 - rho) * hoped)) | hopeless)
    radius = runner_up.of_bounds(1 - p_lower, p_upper, walk.chosen.both, radius_of)
    return _walked(walk, radius > 0, radius, p_lower)


def recheck_sequence(c: Certificates, rows: np.ndarray):
    looks = rechecking.looks(c)
    agreeing, grows = rechecking.path(c, rows, looks)
    asked = rechecking.procedure(c)
    bound = str(asked.get("bound"))
    mixture = rechecking.stated(c, "mixture", asked) if bound == "mixture" else None
    if mixture is not None and mixture != list(sequential.MIXTURE):
        raise rechecking.contradiction(f"the mixture {mixture}")
    chosen, fits = rechecking.chosen(c, rows)
    p_lower = looking.sequence_lower(agreeing, looks, chosen.level, bound)
    p_upper = np.ones(len(rows))
    if chosen.both.any():
        others, grow = rechecking.rival_path(c, rows, looks, chosen)
        p_upper = looking.sequence_upper(others, looks, chosen.level, bound)
        fits &= ~chosen.both | grow
    proven = runner_up.of_bounds(
        1 - p_lower, p_upper, chosen.both, rechecking.radius_of(c)
    )
    holds = grows & (proven > 0) & (c.radius[rows] <= proven + rechecking.rounding(c))
    if c.p_lower is not None:
        holds &= c.p_lower[rows] <= p_lower + rechecking.ROUNDING
    return proven, holds & fits & (bound in ("union", "mixture"))


def _walked(walk: looking.Walk, answered, radius, p_lower) -> Decided:
    """Return the decisions at the end of a walk."""
    return Decided(
        walk.chosen.selected,
        answered,
        radius,
        p_lower,
        walk.n,
        walk.counts,
        walk.failed,
        walk.agreeing,
        walk.selection,
        walk.rivals,
    )


def unanswered(images: int, num_classes: int) -> Decided:
    """Return the decisions of a procedure whose time was up before it could answer."""
    no, zero = np.zeros(images, bool), np.zeros(images)
    none = np.zeros((images, num_classes), np.int64)
    n = np.zeros(images, np.int64)
    return Decided(n, no, zero, zero, n, none, no, selection=none)


def recheck(c: Certificates, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (proven, holds) by the procedure that the header names, see rechecking.py."""
    name = rechecking.name_of(c, NAMES)
    rechecking.need(c, "counts")
    if name not in ("certify", "predict"):
        rechecking.need(c, "agreeing")
    return globals()[f"recheck_{name}"](c, rows)
