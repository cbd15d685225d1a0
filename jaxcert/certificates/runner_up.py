"""Radii of smoothing from the votes of all classes: the runner-up bound.

CERTIFY (Cohen et al. 2019, arXiv:1902.02918) bounds p_A, the probability of the selected class A,
from below and takes 1 - p_A for the best of the others. The votes of all classes are counted
anyway, and Theorem 1 of the paper takes a bound of every other class as well:

    p_A >= L(c_A, n, alpha / 2),   p_B = max_j min(U(c_j, n, alpha / 2), 1 - L) over the others,
    R = sigma / 2 (Phi^-1(L) - Phi^-1(p_B)),   abstain at R <= 0.

L and U are the exact bounds of Clopper and Pearson. A is selected on other votes, so given A the
most probable of the other classes, j*, is one class, though nobody knows which. R is true as soon
as two statements are: p_A >= L, and p_j* <= U(c_j*). Each is false with probability at most
alpha / 2, so both hold together with probability at least 1 - alpha (Bonferroni), whatever the
votes have to do with each other. Then p_B is at least U(c_j*) or 1 - L, hence at least p_j*, and
with it at least the probability of every other class. So alpha is divided by 2 for any number of
classes. p_A may be below 1/2. Votes for no class count in n only, and the smoothed classifier
names the most probable of the K classes. With `grid` noise, of which a sample in a million cannot
be drawn and might have been for any class, they count for the other class as well. `norms.radius`
has the radius of two points for every noise.

| certify.rival | p_B | alpha of each bound |
|---|---|---|
| single    | 1 - L, as in CERTIFY; the default | alpha |
| runner_up | as above | alpha / 2 |
| auto      | per image the one of these that the votes of the SELECTION would give more | its own |

auto: which of the two is used depends on votes that are not counted afterwards. Given these, the
radius is false with probability at most alpha by either, hence also without: the choice costs
nothing.

Two classes: p_B <= 1 - p_A needs no second bound, so all three are `single` at the full alpha.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from jaxcert.certificates import statistics
from jaxcert.errors import InputError, one_of

NAMES = ("single", "runner_up", "auto")
PROCEDURES = ("certify", "two_stage", "sequence")
"""The procedures that take another rival than `single`."""
_MORE = 1 + 1e-9
"""How many times the radius of `single` that of the runner-up must be, so that `auto` chooses it:
equal ones are told from each other by no rounding."""


class Rival(NamedTuple):
    """How the probability of the best of the other classes is bounded."""

    name: str = "single"
    undrawn: bool = False
    """whether samples without a class may be some whose noise could not be drawn"""


SINGLE = Rival()


class Chosen(NamedTuple):
    """The class of each of B images, and which bounds count, by the votes of the selection."""

    selected: np.ndarray
    """int64 [B], the class A"""
    both: np.ndarray
    """bool [B]: whether the best of the other classes is bounded too"""
    level: np.ndarray
    """float64 [B], the alpha of each bound"""
    undrawn: np.ndarray
    """bool [B]: whether samples without a class count for the others"""

    def at(self, rows: np.ndarray) -> Chosen:
        return Chosen(*(x[rows] for x in self))

    def votes(self, counts: np.ndarray, n: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
        """Return (k, rival) int64 [B]: of the votes [B,K] of n samples those for A, and the most
        that another class may have."""
        rows = np.arange(len(counts))
        k = counts[rows, self.selected]
        others = counts.copy()
        others[rows, self.selected] = 0
        left = np.maximum(n - counts.sum(1), 0)
        return k, others.max(1) + np.where(self.undrawn, left, 0)


def check(rival: Rival, procedure: str) -> None:
    """Raises InputError for an unknown rival, and for one that the procedure does not take."""
    one_of(NAMES, rival=rival.name)
    if rival.name != "single" and procedure not in PROCEDURES:
        raise InputError(
            f"procedure {procedure} bounds one class alone: give certify.rival=single, or "
            f"certify.procedure {', '.join(PROCEDURES[:-1])} or {PROCEDURES[-1]}."
        )


def bounds(rival: Rival, num_classes: int) -> int:
    """Return how many bounds of one image must hold together, over which alpha is divided, where
    the best of its other classes is bounded: that one's and the selected one's."""
    return 1 if rival.name == "single" or num_classes == 2 else 2


def single(selection: np.ndarray, alpha: float) -> Chosen:
    """Return what the votes [B,K] of the selection choose where A alone is bounded."""
    images = len(selection)
    level, none = np.full(images, alpha), np.zeros(images, bool)
    return Chosen(selection.argmax(1), none, level, none)


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
    """Return the radius that k votes for A and `rival` votes for another class prove
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
