"""Statistics of randomized smoothing, float64 on the host.

p is the probability that the base classifier votes for a class under noise. From k of n
votes, Clopper & Pearson (1934) give the lower bound p_lower with

    P(Binomial(n, p_lower) >= k) = alpha,   so   P(p_lower > p) <= alpha  for every p,

and Cohen et al. (2019, arXiv:1902.02918) the radius sigma * Phi^-1(p_lower). Everything that
ends in a certificate is rounded in the safe direction: p_lower and radii down, tail probabilities
and p-values up, each by more than the error of scipy's functions.

Compared with sums of 40 digits (n from 100 to 2^31, alpha from 1e-300 to 0.999) the
beta function has a relative error of 2e-4 n eps. Its inverse stops early, where the
rounding of 1 - tail times n hides the rest: its error is 1.5 eps in the tail and 0.15 n
eps relative in a small p_lower, and it fails altogether below alpha = 1e-150 and,
often, at 999 misses. So its result is moved outwards by more, and counts only if the
beta function itself then proves it.

For means of bounded variables, which are not votes, there are the bounds of Hoeffding
(1963) and of Maurer and Pontil, Empirical Bernstein Bounds and Sample Variance
Penalization (2009).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from jaxcert.certificates import norms
from jaxcert.errors import InputError

_EPS = float(np.finfo(np.float64).eps)
_SLACK = 1e-12
"""The relative slack where errors do not grow with n."""


def clopper_pearson_lower(k: ArrayLike, n: ArrayLike, alpha: ArrayLike) -> np.ndarray:
    """Return the one-sided lower confidence bound of p at level 1 - alpha, rounded
    down.

    k successes of n are broadcast. The bound is 0 for k = 0 and alpha^(1/n) for k = n.
    Raises InputError unless 0 <= k <= n, n >= 1 and 0 < alpha < 1.
    """
    k, n, alpha = _checked(k, n, alpha)
    tail = upper_tail(k, n, alpha)
    shape = np.maximum(k, 1), n - k + 1
    bound = np.maximum(special.betaincinv(*shape, alpha) * (1 - _slack(n)), 0.0)
    # above 1/2 only the tail matters, which is proven
    proven = (k > 0) & (bound < 0.5) & (special.betainc(*shape, bound) <= alpha)
    below_half = np.where(proven, bound, 0.0)
    return np.where(tail < 0.5, np.nextafter(1 - tail, 0.0), below_half)


def smoothing_radius(
    k: ArrayLike,
    n: ArrayLike,
    alpha: ArrayLike,
    sigma: ArrayLike,
    least_tail: float = 0.0,
) -> np.ndarray:
    """Return sigma * Phi^-1(p_lower) rounded down, in the units of sigma; 0 where
    p_lower <= 1/2. least_tail: that of the noise (`norms`), 0 where it is exact.

    It is computed from the upper tail 1 - p_lower, which stays accurate where p_lower
    is nearly 1 (there 1e-9 in p_lower can be the whole of 1 - p_lower).
    """
    law: dict[str, Any] = dict(noise="gaussian", norm="l2", d=1)
    law |= dict(sigma=np.asarray(sigma, np.float64), least_tail=least_tail)
    return norms.radius(upper_tail(k, n, alpha), **law)


def max_radius(
    n: ArrayLike, alpha: ArrayLike, sigma: ArrayLike, least_tail: float = 0.0
) -> np.ndarray:
    """Return the radius if all n votes agree, the largest that any image can get."""
    return smoothing_radius(n, n, alpha, sigma, least_tail)


def min_n_for_any_radius(alpha: float) -> int:
    """Return the fewest votes that certify a radius above 0 if all agree:
    alpha^(1/n) > 1/2."""
    n = max(1, math.floor(-math.log2(alpha)) - 1)
    while max_radius(n, alpha, 1.0) == 0:
        n += 1
    return n


def once(function: Callable[..., np.ndarray], *columns: np.ndarray) -> np.ndarray:
    """Return function(*columns), columns [B] of numbers, computed once for equal rows of them."""
    if not len(columns[0]):
        return np.zeros(0)
    table = np.stack([np.asarray(c, np.float64) for c in columns], 1)
    _, first, where = np.unique(table, axis=0, return_index=True, return_inverse=True)
    return function(*(c[first] for c in columns))[where.reshape(-1)]


def hoeffding_lower(
    values: ArrayLike, low: float, high: float, alpha: float
) -> np.ndarray:
    """Return the lower confidence bound [...] at level 1 - alpha of the mean of n
    independent variables in [low, high], rounded down, from one draw of each, [n,...].

    It is mean - (high - low) sqrt(ln(1 / alpha) / (2 n)), at least low. Raises
    InputError for a value outside [low, high], NaN included, and unless 0 < alpha < 1.
    """
    values = _bounded(values, low, high, alpha, least=1)
    return hoeffding_of(values.mean(0), None, len(values), low, high, alpha)


def hoeffding_of(
    mean: ArrayLike, variance: Any, n: int, low: float, high: float, alpha: float
) -> np.ndarray:
    """Return `hoeffding_lower` from the mean [...] of n values; their variance is not needed."""
    width = (high - low) * math.sqrt(-math.log(alpha) / (2 * n))
    return _below_mean(mean, n, low, high, width)


def empirical_bernstein_lower(
    values: ArrayLike, low: float, high: float, alpha: float
) -> np.ndarray:
    """Return such a bound as `hoeffding_lower` does, for n >= 2 i.i.d. variables
    (Maurer & Pontil, Theorem 4):

    mean - sqrt(2 V ln(2 / alpha) / n) - 7 (high - low) ln(2 / alpha) / (3 (n - 1)),

    with V the sample variance. It is far above Hoeffding's where the deviation is small
    next to the range. The larger of the two holds at 1 - 2 alpha only.
    """
    values = _bounded(values, low, high, alpha, least=2)
    found = values.mean(0), values.var(0, ddof=1)
    return bernstein_of(*found, len(values), low, high, alpha)


def bernstein_of(
    mean: ArrayLike, variance: Any, n: int, low: float, high: float, alpha: float
) -> np.ndarray:
    """Return `empirical_bernstein_lower` from the mean and the sample variance [...]."""
    log = math.log(2) - math.log(alpha)
    # deviations from a mean that is slightly wrong only add to V
    variance = np.asarray(variance, np.float64) * (1 + _slack(n))
    width = np.sqrt(2 * variance * log / n) + 7 * (high - low) * log / (3 * (n - 1))
    return _below_mean(mean, n, low, high, width)


def predict_pvalue(count1: ArrayLike, count2: ArrayLike) -> np.ndarray:
    """Return the p-value of the two-sided exact test that the two top classes are
    equally likely, rounded up.

    count1, count2: their votes. It is min(1, 2 P(Binomial(count1 + count2,
    1/2) >= larger)).
    """
    count1, count2 = np.asarray(count1, np.int64), np.asarray(count2, np.int64)
    larger, smaller = np.maximum(count1, count2), np.minimum(count1, count2)
    tail = special.betainc(np.maximum(larger, 1), smaller + 1, 0.5)
    slack = _slack(larger + smaller)
    return np.where(larger == 0, 1.0, np.minimum(2 * tail * (1 + slack), 1.0))


def radius_sensitivity(p: ArrayLike, sigma: ArrayLike) -> np.ndarray:
    """Return d radius / d p = sigma / phi(Phi^-1(p)), the gain of radius for a small
    gain of p."""
    z = special.ndtri(np.asarray(p, np.float64))
    return np.asarray(sigma) * math.sqrt(2 * math.pi) * np.exp(z * z / 2)


def trivial_acr(
    share: float, n: int, alpha: float, sigma: float, least_tail: float = 0.0
) -> float:
    """Return the average certified radius of a CONSTANT classifier (Sun et al., Theorem
    1).

    It always votes for the most frequent class, which `share` of the images have, and
    so gets the largest radius on those.
    """
    return float(share * max_radius(n, alpha, sigma, least_tail))


def smallest_n_above(
    acr: float, share: float, sigma: float, alpha: float, least_tail: float = 0.0
) -> float:
    """Return the number of samples with which that constant classifier has a larger
    average radius than `acr`; inf where a float64 cannot hold their number, or the
    noise cannot show such a radius.

    It is floor(ln alpha / ln Phi(acr / (share sigma))) + 1. The paper prints the ratio
    upside down, which gives 2 whatever the numbers.
    """
    z = acr / (share * sigma)
    log_p, tail = special.log_ndtr(z), special.ndtr(-z)
    if log_p == 0 or tail <= least_tail:
        return math.inf
    if least_tail:  # tails are raised by a quarter of it
        log_p = math.log1p(least_tail / 4 - tail)
    return math.floor(math.log(alpha) / log_p) + 1


def upper_tail(k: ArrayLike, n: ArrayLike, alpha: ArrayLike) -> np.ndarray:
    """Return 1 - p_lower, rounded up; 1 where nothing is proven. Arguments and errors
    are those of `clopper_pearson_lower`.

    Where the inverse fails, the tail for one vote less is proven instead.
    """
    k, n, alpha = _checked(k, n, alpha)
    tail = np.ones(k.shape)
    for fewer in (0, 1):
        k_used = np.maximum(k - fewer, 1)
        inside = special.betainccinv(n - k_used + 1, k_used, alpha)
        inside = inside * (1 + _SLACK) + 8 * _EPS
        proven = special.betaincc(n - k + 1, np.maximum(k, 1), inside) <= alpha
        tail = np.where(proven & (k > 0), np.minimum(inside, tail), tail)
    # all agree: 1 - alpha^(1/n), good to a few ulp
    all_agree = np.minimum(-np.expm1(np.log(alpha) / n) * (1 + _SLACK), 1.0)
    return np.where(k == n, all_agree, tail)


def _below_mean(
    mean: ArrayLike, n: int, low: float, high: float, width: ArrayLike
) -> np.ndarray:
    """Return mean - width, less the rounding of n additions."""
    lost = (n + 2) * _EPS * max(abs(low), abs(high))
    width = np.asarray(width) * (1 + _SLACK)
    return np.maximum(np.asarray(mean) - width - lost, low)


def _bounded(
    values: ArrayLike, low: float, high: float, alpha: float, *, least: int
) -> np.ndarray:
    values = np.asarray(values, np.float64)
    if values.ndim < 1 or len(values) < least:
        raise InputError(f"a bound of a mean needs draws: {least} or more.")
    if not ((low <= values) & (values <= high)).all():
        raise InputError(
            f"a bound of a mean needs values in [{low}, {high}]: some are outside or NaN."
        )
    _check_alpha(alpha)
    return values


def _slack(n: ArrayLike) -> np.ndarray:
    """Return the relative slack of a small p_lower and of p-values, six times the
    largest error found at any n."""
    return _SLACK + np.asarray(n) * _EPS


def _checked(k: ArrayLike, n: ArrayLike, alpha: ArrayLike) -> tuple[np.ndarray, ...]:
    k, n, alpha = np.broadcast_arrays(
        np.asarray(k, np.int64), np.asarray(n, np.int64), np.asarray(alpha, np.float64)
    )
    if (k < 0).any() or (k > n).any() or (n < 1).any():
        raise InputError("votes k and samples n must satisfy 0 <= k <= n and n >= 1.")
    _check_alpha(alpha)
    return k, n, alpha


def _check_alpha(alpha: ArrayLike) -> None:
    alpha = np.asarray(alpha)
    if not ((alpha > 0) & (alpha < 1)).all():
        raise InputError(
            "alpha is a probability of error: give a number between 0 and 1."
        )
