"""Statistics of procedures that look at the votes more than once, float64 on the host.

X_1, X_2, ... are independent votes, 1 with probability p: the base classifier names the
class that was selected beforehand, from other votes. k of the first t are 1.

Group-sequential test of p <= p0 (Jennison & Turnbull 2000; spending after Lan & DeMets
    1983) with looks n_1 < ... < n_J: reject at the first look with k_j >= c_j. c_j is
    the smallest count for which

        P_p0(k_1 >= c_1 or ... or k_j >= c_j)  <=  alpha (n_j / n_J)^power.

    Level: under p = p0 the probability that any look rejects is at most alpha. Under p <
    p0 it is no larger: X_i = 1[U_i < p] for common uniform U_i falls with p, and so does
    every k_j. So a true p <= p0 is rejected with probability at most alpha.

Confidence sequence (Robbins 1970): E_t(p) = B(k + 1/2, t - k + 1/2) / B(1/2, 1/2) /
    (p^k (1 - p)^(t - k)) is a likelihood ratio of a mixture to p, a nonnegative martingale
    of mean 1 under p. By Ville's inequality it ever reaches 1 / alpha with probability at
    most alpha; so {p: E_t(p) < 1 / alpha}, an interval, holds p at all t at once, and its
    lower end is a bound at whatever t one stops, for whatever reason.

Everything is rounded in the safe direction: boundaries up, lower bounds down.
"""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

FIRST_LOOK = 100
POWER = 0.3
"""The power of the spending function. It gives a third of alpha to looks up to 1/40 of
the votes, when most images are decided."""

MIXTURE = (0.5, 0.5)
"""The Beta distribution over which `log_e_value` mixes."""

_SLACK = 1e-9
"""The relative slack of a crossing probability. Its terms are sums and products of
positive numbers, each good to `4 eps` times the width of a distribution: below 1e-10
for 10^7 votes."""
_NOTHING = 1e-25
"""The probability that is left out of a distribution on either side, and added to what
is spent."""


def looks(n: int, first: int = FIRST_LOOK) -> tuple[int, ...]:
    """Return the looks: first, 2 first, 4 first, ... below n, and n."""
    before = []
    while first < n:
        before.append(first)
        first *= 2
    return (*before, n)


def spending(looks: tuple[int, ...], alpha: float, power: float = POWER) -> list[float]:
    """Return the alpha that a test may have spent at each look."""
    return [alpha * (look / looks[-1]) ** power for look in looks]


@functools.lru_cache(maxsize=512)
def boundary(
    p0: float, looks: tuple[int, ...], alpha: float, power: float = POWER
) -> tuple[np.ndarray, float]:
    """Return (c, spent): the counts int64 [J] that reject p <= p0 at each look,
    look + 1 where none does, and the probability under p0 that any of them is reached,
    at most alpha."""
    if p0 >= 1:
        return np.array(looks, np.int64) + 1, 0.0
    counts, spent = np.zeros(len(looks), np.int64), 0.0
    low, alive = 0, np.ones(1)  # the distribution of k before any look
    allowed = spending(looks, alpha, power)
    for j, (before, look) in enumerate(zip((0, *looks), looks, strict=False)):
        first, step = _binomial(look - before, p0)
        low, alive = low + first, np.convolve(alive, step)
        tail = np.cumsum(alive[::-1])[::-1] * (1 + _SLACK)  # P(k >= low + i, alive)
        budget = allowed[j] - spent - _NOTHING
        above = int(np.searchsorted(-tail, -budget))  # first with tail <= budget
        spent += (tail[above] if above < len(tail) else 0.0) + _NOTHING
        counts[j] = low + above if above < len(tail) else look + 1
        alive = alive[:above]
        kept = int(np.searchsorted(np.cumsum(alive), _NOTHING))
        low, alive = low + kept, alive[kept:]
        spent += _NOTHING
    counts.flags.writeable = False
    return counts, float(spent)


def _binomial(n: int, p: float) -> tuple[int, np.ndarray]:
    """Return (k_0, probabilities of k_0, k_0 + 1, ...) of Binomial(n, p), without 1e-30
    of it, which by Bernstein's inequality lies more than 12 standard deviations plus 60
    away from the mean."""
    width = 12 * np.sqrt(n * p * (1 - p)) + 60
    mode = min(int((n + 1) * p), n)
    low, high = max(0, int(mode - width)), min(n, int(mode + width) + 1)
    k = np.arange(mode, high)
    up = np.cumprod((n - k) / (k + 1) * (p / (1 - p)))
    k = np.arange(mode, low, -1)
    down = np.cumprod(k / (n - k + 1) * ((1 - p) / p))
    weight = np.concatenate([down[::-1], [1.0], up])
    return low, weight / weight.sum()


def log_e_value(k: ArrayLike, t: ArrayLike, p0: ArrayLike) -> np.ndarray:
    """Return ln E_t(p0) of k of t votes, broadcast."""
    k, t = np.asarray(k, np.float64), np.asarray(t, np.float64)
    a, b = MIXTURE
    mixed = special.betaln(k + a, t - k + b) - special.betaln(a, b)
    return mixed - special.xlogy(k, p0) - special.xlog1py(t - k, -np.asarray(p0))


def mixture_lower(k: ArrayLike, t: ArrayLike, alpha: ArrayLike) -> np.ndarray:
    """Return the lower end of the confidence sequence at level 1 - alpha, rounded down;
    0 where no p is ruled out."""
    k, t = np.broadcast_arrays(np.asarray(k, np.int64), np.asarray(t, np.int64))
    # ln E is a difference of logarithms of gamma functions of t
    error = 1e-12 + 16 * np.finfo(float).eps * t * np.log(t + 2.0)
    wanted = -np.log(alpha) + error
    low, high = np.zeros(k.shape), k / t
    with np.errstate(divide="ignore"):
        for _ in range(60):  # E falls with p below k / t
            middle = (low + high) / 2
            ruled_out = log_e_value(k, t, middle) >= wanted
            low, high = (
                np.where(ruled_out, middle, low),
                np.where(ruled_out, high, middle),
            )
    return low
