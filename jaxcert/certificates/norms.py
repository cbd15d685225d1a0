"""Radii of smoothing: how far an image may be changed, given the probability of a vote.

p = P(f(x + delta) = c) of the class c that is voted for; every other class has at most
1 - p. Where p > 1/2, the smoothed classifier names c at distance < radius from x.

| noise, std sigma per pixel     | l2              | l1             | linf                    |
|--------------------------------|-----------------|----------------|-------------------------|
| gaussian, grid                 | sigma Phi^-1(p) | as l2          | as l2, over sqrt(d)     |
| uniform on [-b, b], b=sqrt(3) sigma | -          | 2 b (p - 1/2)  | 2 b (1 - (3/2 - p)^(1/d)) |
| laplace, scale b=sigma/sqrt(2) | -               | -b ln(2 (1-p)) | -                       |

l2: Cohen et al. (2019). A ball of another norm lies in an l2 ball: |e|_2 <= |e|_1
and <= sqrt(d) |e|_inf. Uniform: a shift by e leaves the share prod(1 - |e_i| / 2 b) of the
cube, so p falls by at most one minus that, which |e|_1 / 2 b (Yang et al. 2020) and the
d-th power bound. Laplace: Teng et al. (2020). d: numbers in an image. The only known radius
for Laplace noise in l_inf is an approximation, so it is left out.

Two points: where also p_upper, a bound of the probability of EVERY other class, is proven,
p >= p_lower = 1 - tail need not exceed 1/2. With D = p_lower - p_upper > 0, the same class is
named at distance < radius in these proven cases (`radius` with `p_upper`):

| noise, norm    | radius                                                            |
|----------------|-------------------------------------------------------------------|
| gaussian, grid | sigma / 2 (Phi^-1(p_lower) - Phi^-1(p_upper)), over sqrt(d) in linf |
| uniform, l1    | b D                                                               |
| uniform, linf  | 2 b (1 - (1 - D / 2)^(1/d))                                       |
| laplace, l1    | max(b / 2 ln(p_lower / p_upper), -b ln(1 - D))                    |

Gaussian: Cohen et al. (2019, arXiv:1902.02918), Theorem 1. Uniform: p falls and the other rises
by at most the share of the cube that a shift loses, so the class stays while twice that share is
below D. Laplace: Teng et al. (2020); a shift by r changes every probability by a factor of at
most e^(r/b), also that of the complement of a class. With p_upper = tail all of them are the
radii above.

Everything is computed from the tail 1 - p, which keeps its digits where p is nearly 1, and
rounded in the safe direction.

Drawn noise is bounded, and no number of votes shows a tail smaller than the probability
beyond its ends. `least_tail` (noise.least_tail; 0: exact noise) is the limit: a tail is
raised by a quarter of it, which is more than the probability of two values of the
generator, and counts as least_tail at least.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from jaxcert.errors import InputError, one_of

RADII = {
    "gaussian": ("l2", "l1", "linf"),
    "grid": ("l2", "l1", "linf"),
    "uniform": ("l1", "linf"),
    "laplace": ("l1",),
}
"""The norms that each noise certifies."""
LEAST_TAIL = 1e-6
"""Tail probabilities of float32 noise below this are not relied on: a single value of
the sampler already has the probability 2^-23."""
_SCALE = {"uniform": math.sqrt(3.0), "laplace": math.sqrt(0.5)}
_DOWN, _UP = 1 - 1e-14, 1 + 1e-14
"""Factors that round down and up, by some thirty times the error of the functions
below."""
_LOST = 1e-14
"""The same for a difference, as a share of the numbers that are subtracted."""


def scale(noise: str, sigma: float) -> float:
    """Return b of uniform and Laplace noise, as the float32 number with which noise is
    drawn; else sigma."""
    if noise not in _SCALE:
        return sigma
    with np.errstate(over="ignore"):  # an overflow to inf is refused
        return float(np.float32(_SCALE[noise] * sigma))


def check(noise: str, norm: str) -> None:
    """Raises InputError for a pair of noise and norm without a radius."""
    one_of(RADII, noise=noise)
    if norm not in RADII[noise]:
        can = " or ".join(RADII[noise])
        raise InputError(
            f"{noise} noise certifies no radius in norm {norm!r}: give certify.norm {can}, "
            "or other noise."
        )


def radius(
    tail: ArrayLike,
    p_upper: ArrayLike | None = None,
    *,
    noise: str,
    norm: str,
    sigma: float,
    d: int,
    least_tail: float = 0.0,
) -> np.ndarray:
    """Return the radius that follows from a proven 1 - p <= tail, in the units of
    sigma; 0 from 1/2 on.

    p_upper: where given, a proven bound of the probability of every other class; the radius
    is that of two points, and 0 where p_upper is not below 1 - tail. Raises InputError for a pair
    of noise and norm without a theorem.
    """
    check(noise, norm)
    b, tail = scale(noise, sigma), exact_tail(tail, least_tail)
    if p_upper is not None:
        other = np.minimum(exact_tail(p_upper, least_tail), tail)
        return _two_point(tail, other, noise, norm, b, d)
    t = np.minimum(tail, 0.5)
    with np.errstate(divide="ignore"):
        found = {
            ("uniform", "l1"): lambda: 2 * b * (0.5 - t),
            ("uniform", "linf"): lambda: -2 * b * np.expm1(np.log(0.5 + t) / d),
            ("laplace", "l1"): lambda: -b * np.log(2 * t),
        }.get((noise, norm), lambda: -b * special.ndtri(t) / _shrink(norm, d))()
    return np.where(tail < 0.5, np.maximum(found, 0.0) * _DOWN, 0.0)


def _two_point(tail, other, noise: str, norm: str, b: float, d: int) -> np.ndarray:
    """Return the radius of two points, where 1 - p <= tail and every other class has at most
    the probability `other`, rounded down also where two nearly equal numbers are subtracted."""
    other = np.maximum(other, 1e-300)
    total = np.minimum((tail + other) * _UP, 1.0)  # 1 - D
    p = np.maximum(1 - tail * _UP, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        if noise == "uniform":
            share = np.maximum((1 - total) / 2 - 4e-16, 0.0)
            found = 2 * b * share
            if norm == "linf":
                found = -2 * b * np.expm1(np.log1p(-share) / d)
        elif noise == "laplace":
            log_p, log_other = np.log(p), np.log(other)
            ratio = log_p - log_other - _LOST * (1 - log_p - log_other)
            found = np.maximum(b / 2 * ratio, -b * np.log(total))
        else:
            z, z_other = -special.ndtri(tail), -special.ndtri(other)
            lost = _LOST * (np.abs(z) + np.abs(z_other))
            found = b / 2 * (z + z_other - lost) / _shrink(norm, d)
    return np.where(total < 1, _DOWN * np.maximum(found, 0.0), 0.0)


def p_needed(
    r: ArrayLike,
    *,
    noise: str,
    norm: str,
    sigma: float,
    d: int,
    least_tail: float = 0.0,
) -> np.ndarray:
    """Return p0 such that p > p0 proves radius r, rounded up; 1 where no p does. Raises InputError
    for a pair of noise and norm without a theorem."""
    check(noise, norm)
    b, r = scale(noise, sigma), np.asarray(r, np.float64)
    inside = np.minimum(r / (2 * b), 1.0)
    with np.errstate(divide="ignore"):
        found = {
            ("uniform", "l1"): lambda: 0.5 + inside,
            ("uniform", "linf"): lambda: 1.5 - np.exp(d * np.log1p(-inside)) * _DOWN**4,
            ("laplace", "l1"): lambda: 1 - 0.5 * np.exp(-r / b),
        }.get((noise, norm), lambda: special.ndtr(r / b * _shrink(norm, d) * _UP))()
    p0 = np.where(r > 0, found * _UP, 0.5)
    return np.where(1 - p0 < least_tail, 1.0, np.minimum(p0 + least_tail / 4, 1.0))


def relies_on_tail(least_tail: float, n: float, alpha: float) -> bool:
    """Return whether n votes suffice to distinguish drawn noise from exact noise; if
    so, radii must respect `least_tail`."""
    return n * least_tail > min(1.0, -math.log(alpha))


def least_tail_of(noise: str, n: float, alpha: float, stated: float = 0.0) -> float:
    """Return the `least_tail` that holds for a record of n votes that states this one,
    or none, as records of version 0.1 do."""
    if noise != "grid" and relies_on_tail(LEAST_TAIL, n, alpha):
        return max(stated, LEAST_TAIL)
    return stated


def exact_tail(tail: ArrayLike, least_tail: float) -> np.ndarray:
    """Return the tail of exact noise that a tail of drawn noise proves."""
    tail = np.asarray(tail, np.float64) + least_tail / 4
    return np.maximum(tail, least_tail)


def exact_p_lower(p_lower: ArrayLike, least_tail: float) -> np.ndarray:
    """Return the lower bound of p of exact noise that one of drawn noise proves, rounded
    down."""
    p_lower = np.asarray(p_lower, np.float64)
    if not least_tail:
        return p_lower
    p_lower = 1 - exact_tail(np.nextafter(1 - p_lower, 2), least_tail)
    return np.maximum(np.nextafter(p_lower, 0), 0.0)


def _shrink(norm: str, d: int) -> float:
    return math.sqrt(d) if norm == "linf" else 1.0
