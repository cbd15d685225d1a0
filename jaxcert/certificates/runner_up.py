"""Radii of smoothing from the votes of all classes: the runner-up bound.

CERTIFY (Cohen et al. 2019, arXiv:1902.02918) bounds p_A, the probability of the selected class A,
from below and takes 1 - p_A for the best of the others. The votes of all classes are counted
anyway, and Theorem 1 of the paper takes a bound of every other class as well:

    p_A >= L(c_A, n, alpha / K),   p_j <= U(c_j, n, alpha / K) for the K - 1 others,
    p_B = max_j min(U_j, 1 - L),   R = sigma / 2 (Phi^-1(L) - Phi^-1(p_B)),   abstain at R <= 0.

L and U are the exact bounds of Clopper and Pearson. A is selected on other votes, so given A each
of the K statements is false with probability at most alpha / K, and all hold together with
probability at least 1 - alpha (Bonferroni), whatever the votes of the classes have to do with each
other. p_A may be below 1/2. Votes for no class count in n only, and the smoothed classifier names
the most probable of the K classes. With `grid` noise, of which a sample in a million cannot be
drawn and might have been for any class, they count for the other class as well. `norms.radius`
has the radius of two points for every noise.

| certify.rival | p_B | alpha of each bound |
|---|---|---|
| single    | 1 - L, as in CERTIFY; the default | alpha |
| runner_up | as above | alpha / K |
| auto      | per image the one of these that the votes of the SELECTION would give more | its own |

auto: which of the two is used depends on votes that are not counted afterwards. Given these, the
radius is false with probability at most alpha by either, hence also without: the choice costs
nothing.

Many classes: `buckets` m > 0 puts the other classes into m buckets by the votes of the selection,
and bounds every bucket as one class, whose probability is at least that of each class in it
(Delattre et al., AISTATS 2025). alpha is then split into 1 + m equal parts. The class with most
votes goes first, each into the bucket that has the fewest votes, and of these the fewest
classes, so far.

Two classes: p_B <= 1 - p_A needs no second bound, so all three are `single` at the full alpha.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from jaxcert.certificates import statistics
from jaxcert.errors import InputError, one_of, whole_from

NAMES = ("single", "runner_up", "auto")
PROCEDURES = ("certify", "two_stage", "sequence")
"""The procedures that take another rival than `single`."""
_MORE = 1 + 1e-9
"""How many times the radius of `single` that of the runner-up must be, so that `auto` chooses it:
equal ones are told from each other by no rounding."""


class Rival(NamedTuple):
    """How the probability of the best of the other classes is bounded."""

    name: str = "single"
    buckets: int = 0
    """the number of buckets; 0: every class is bounded by itself"""
    undrawn: bool = False
    """whether samples without a class may be some whose noise could not be drawn"""


SINGLE = Rival()


class Chosen(NamedTuple):
    """The class of each of B images, and which bounds count, by the votes of the selection."""

    selected: np.ndarray
    """int64 [B], the class A"""
    both: np.ndarray
    """bool [B]: whether the other classes are bounded too"""
    level: np.ndarray
    """float64 [B], the alpha of each bound"""
    bucket: np.ndarray | None
    """int64 [B,K], the bucket of every class, -1 for A; None: every class is its own"""
    undrawn: np.ndarray
    """bool [B]: whether samples without a class count for the others"""

    def at(self, rows: np.ndarray) -> Chosen:
        return Chosen(*(None if x is None else x[rows] for x in self))  # pyright: ignore

    def votes(self, counts: np.ndarray, n: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
        """Return (k, rival) int64 [B]: of the votes [B,K] of n samples those for A, and the most
        that another class, or bucket, may have."""
        rows = np.arange(len(counts))
        k = counts[rows, self.selected]
        others = counts.copy()
        others[rows, self.selected] = 0
        if self.bucket is not None:
            others = _by_bucket(others, self.bucket)
        left = np.maximum(n - counts.sum(1), 0)
        return k, others.max(1) + np.where(self.undrawn, left, 0)


def check(rival: Rival, procedure: str, num_classes: int) -> None:
    """Raises InputError for an unknown rival, and for one that the procedure does not take."""
    one_of(NAMES, rival=rival.name)
    whole_from(0, buckets=rival.buckets)
    if rival.buckets and rival.name == "single":
        raise InputError(
            "certify.buckets are of the classes that certify.rival=runner_up or auto bounds: give "
            "one of these, or no buckets."
        )
    if rival.buckets >= num_classes:
        raise InputError(
            f"certify.buckets {rival.buckets} are more than the {num_classes - 1} other classes: "
            "give fewer, or 0, with which every class is bounded by itself."
        )
    if rival.name != "single" and procedure not in PROCEDURES:
        raise InputError(
            f"procedure {procedure} bounds one class alone: give certify.rival=single, or "
            f"certify.procedure {', '.join(PROCEDURES[:-1])} or {PROCEDURES[-1]}."
        )


def bounds(rival: Rival, num_classes: int) -> int:
    """Return how many bounds of one image hold together, over which alpha is divided, where its
    other classes are bounded."""
    if rival.name == "single" or num_classes == 2:
        return 1
    return 1 + (rival.buckets or num_classes - 1)


def single(selection: np.ndarray, alpha: float) -> Chosen:
    """Return what the votes [B,K] of the selection choose where A alone is bounded."""
    images = len(selection)
    level, none = np.full(images, alpha), np.zeros(images, bool)
    return Chosen(selection.argmax(1), none, level, None, none)


def choose(
    rival: Rival,
    selection: np.ndarray,
    *,
    n0: int,
    n: int,
    alpha: float,
    radius_of: Callable[..., np.ndarray],
) -> Chosen:
    """Return what the votes [B,K] of the n0 samples of the selection choose.

    For `auto` they stand for votes of n samples with the same shares, rounded down, and the
    runner-up is chosen where its radius of these is larger than that of `single`, at their own
    levels. n: the most samples that can count.
    """
    split, chosen = bounds(rival, selection.shape[1]), single(selection, alpha)
    if split == 1:
        return chosen
    both = np.ones(len(selection), bool)
    chosen = chosen._replace(both=both, level=np.full(len(selection), alpha / split))
    chosen = chosen._replace(undrawn=np.full(len(selection), rival.undrawn))
    if rival.buckets:
        found = _buckets(selection, chosen.selected, rival.buckets)
        chosen = chosen._replace(bucket=found)
    if rival.name != "auto":
        return chosen
    k, other = (x.astype(np.int64) * n // n0 for x in chosen.votes(selection, n0))
    one = radius_of(statistics.upper_tail(k, n, alpha))
    both = radius(k, other, n, both, chosen.level, radius_of) > one * _MORE
    return chosen._replace(both=both, level=np.where(both, alpha / split, alpha))


def radius(
    k: ArrayLike,
    rival: ArrayLike,
    n: ArrayLike,
    both: np.ndarray,
    level: ArrayLike,
    radius_of: Callable[..., np.ndarray],
) -> np.ndarray:
    """Return the radius that k votes for A and `rival` votes for another class or bucket prove
    of n, where `both` are bounded, else k alone; 0 where they prove none. All are broadcast.

    level: the alpha of each bound; radius_of: `norms.radius` of a law.
    """
    tail = statistics.upper_tail(k, n, level)
    if not both.any():
        return radius_of(tail)
    return of_bounds(tail, upper(rival, n, level), both, radius_of)


def of_bounds(
    tail: np.ndarray, p_upper: np.ndarray, both: np.ndarray, radius_of: Callable
) -> np.ndarray:
    """Return the radius that 1 - p_A <= tail, and where `both` also p_j <= p_upper for every
    other class, prove."""
    found = radius_of(tail)
    # p_upper counts as tail at most in norms.radius
    return np.where(both, radius_of(tail, p_upper), found) if both.any() else found


def upper(k: ArrayLike, n: ArrayLike, alpha: ArrayLike) -> np.ndarray:
    """Return the upper confidence bound of Clopper and Pearson at the level 1 - alpha from k of
    n votes, rounded up: 1 minus the lower bound of the n - k others."""
    return statistics.upper_tail(np.asarray(n) - np.asarray(k), n, alpha)


def _buckets(selection: np.ndarray, selected: np.ndarray, number: int) -> np.ndarray:
    """Return the bucket int64 [B,K] of every class, -1 for the selected one."""
    images, classes = selection.shape
    rows = np.arange(images)
    left = selection.astype(np.int64)
    left[rows, selected] = -1  # comes last
    order = np.argsort(-left, 1, kind="stable")
    found = np.full((images, classes), -1, np.int64)
    load = np.zeros((images, number), np.int64)
    for position in range(classes - 1):
        each = order[:, position]
        into = load.argmin(1)  # votes first, then classes, then the lowest number
        found[rows, each] = into
        load[rows, into] += left[rows, each] * classes + 1
    return found


def _by_bucket(votes: np.ndarray, bucket: np.ndarray) -> np.ndarray:
    """Return the votes int64 [B,M] of the buckets."""
    number = int(bucket.max(initial=0)) + 1
    return np.stack([np.where(bucket == b, votes, 0).sum(1) for b in range(number)], 1)
