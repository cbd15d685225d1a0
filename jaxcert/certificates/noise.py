"""Noise of smoothing, drawn on the device.

| noise | drawn as | ends at | certificates up to |
|---|---|---|---|
| gaussian | 2^23 values of float32 | -5.42, 5.22 sigma | 1 - p = 1e-6: 4.75 sigma |
| laplace  | 2^23 values of float32 | 15.5, 16.6 b      | 1 - p = 1e-6: 13.1 b |
| uniform  | 2^23 values of float32 | b (1 - 2^-22)     | 1 - p = 1e-6: b (1 - 2e-6) |
| grid     | 64 bits a pixel        | as the table goes | as n goes |

gaussian, uniform, laplace: x + scale * Z in float32, as in the papers. In floating point
    that is not quite a shift of one law: the last bits of x + Z depend on x (Jin et al.
    2022; Voracek & Hein 2023). Moreover Z takes 2^23 values, none beyond the ends. For a
    half-space across one pixel, just inside the printed radius, whatever the number of
    votes that agree, enumeration of all values gives the exact rate of false certificates:
    at most 1.001 alpha for n = 10^4, 1.007 alpha for 10^5 (1.005 alpha where all votes
    agree) and 1.06 alpha for 10^6 with gaussian and laplace noise at alpha = 0.001; 1.002,
    1.01 and 1.12 with uniform noise. Above n = 1 / `least_tail`, 10^6, tails are raised by
    more than the probability of two values (norms.exact_tail), and the rate is at most alpha.
    grid: x + N / 255 with N the nearest integer to 255 sigma Z, for images whose pixels are
    multiples of 1/255. k + N is exact in integers and equals k + 255 sigma Z rounded, so
    the certificate is that of the base classifier "round to the grid, then f" under exact
    Gaussian noise, to the last bit (the construction of Voracek & Hein 2023).

N comes from 64 random bits u: N = i where T_i <= u < T_i+1, T_i = 2^64 Phi((i - 1/2) /
(255 sigma)). float64 knows T_i up to 2e-13 of its distance to the nearer end of the
range; where u falls into such a gap, or beyond the last i, the sample counts as a vote for
no class, which can only lower p_lower. With sigma up to 1 that happens to fewer than one
sample of 3,072 pixels in 10^6.
"""

from __future__ import annotations

import functools
import math
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.random import define_prng_impl
from jax.tree_util import Partial
from scipy import special

from jaxcert.certificates import norms
from jaxcert.errors import InputError
from jaxcert.interfaces import Array, Key

_GAP = Fraction(1, 5 * 10**12)
"""The relative error of Phi in float64: ten times what a comparison with 40 digits
found, up to 9.4 sigma."""

_WIDEST = 16

_TAILS = {
    "gaussian": lambda z: special.ndtr(-z),
    "uniform": lambda z: np.maximum(1 - z, 0) / 2,
    "laplace": lambda z: np.exp(-z) / 2,
}
"""The tail P(Z > z) of each noise at scale 1."""


def law(noise: str, sigma: float) -> Partial:
    """Return the function that draws noise: (key, image [H,W,C] in [0, 1]) -> (noisy
    image, bool: whether it could be drawn)."""
    if noise == "grid":
        return Partial(_grid, *_thresholds(sigma))
    scale = np.float32(norms.scale(noise, sigma))
    return Partial(
        {"uniform": _uniform, "laplace": _laplace}.get(noise, _gaussian), scale
    )


@functools.lru_cache(maxsize=8)
def least_tail(noise: str) -> float:
    """Return the smallest 1 - p that votes under drawn noise prove; 0 for exact noise.

    It is 1e-6, or eight times the probability of the law beyond the last number that
    the generator draws, where that is more. Both ends come from the sampler itself, at
    its extreme bits.
    """
    if noise == "grid":
        return 0.0
    z = np.abs(_ends(noise)) / norms.scale(noise, 1.0)
    return max(norms.LEAST_TAIL, 8 * float(_TAILS[noise](z).max()))


def _ends(noise: str) -> np.ndarray:
    """Return float64 [2], the noise of std 1 for bits that are all 0 and for bits that
    are all 1."""
    image = jnp.zeros((2, 1, 1), jnp.float32)
    drawn, _ = law(noise, 1.0)(counting_key(0, 2**32 - 1), image)
    return np.asarray(drawn, np.float64).ravel()


def counting_key(start: int, step: int) -> Key:
    """Return a key that counts instead of being random: number i drawn from it has the
    bits start + i step mod 2^32, the first of them where fewer are taken."""
    bits = jnp.asarray(np.array([start, step], np.uint32))
    return jax.random.wrap_key_data(bits, impl=_COUNTING)


def _counted(key, width: int, shape) -> Array:
    bits = key[0] + key[1] * jnp.arange(math.prod(shape), dtype=jnp.uint32)
    kind = jnp.dtype(f"uint{width}")
    bits = bits.reshape(shape) >> max(32 - width, 0)
    return bits.astype(kind) * (kind.type(2**32 + 1) if width == 64 else 1)


def _refused(*_):
    raise NotImplementedError("a counting key is neither split nor folded")


_COUNTING = define_prng_impl(
    key_shape=(2,),
    seed=_refused,
    split=_refused,
    random_bits=_counted,
    fold_in=_refused,
    name="counting",
    tag="counting",
)


def check_grid(image: np.ndarray) -> None:
    """Raises InputError unless pixels are the float32 or float64 nearest to k / 255."""
    if image.dtype == np.uint8:
        return
    pixel = np.clip(np.round(image.astype(np.float64) * 255), 0, 255) / 255
    if (
        image.dtype not in (np.float32, np.float64)
        or not (image == pixel.astype(image.dtype)).all()
    ):
        raise InputError(
            "grid noise needs pixels that are multiples of 1/255, as in 8-bit images: give "
            "uint8 images, or certify.noise=gaussian."
        )


def _gaussian(scale, key: Key, image: Array):
    return image + scale * jax.random.normal(key, image.shape, image.dtype), True


def _uniform(scale, key: Key, image: Array):
    return image + scale * jax.random.uniform(
        key, image.shape, image.dtype, -1, 1
    ), True


def _laplace(scale, key: Key, image: Array):
    return image + scale * jax.random.laplace(key, image.shape, image.dtype), True


def _grid(lower: Array, upper: Array, key: Key, image: Array):
    """Draw an image with grid noise. lower, upper: uint32 [2,T], the gaps around the
    thresholds as high and low words."""
    lower, upper = jnp.asarray(lower), jnp.asarray(upper)
    u = jax.random.bits(key, (2, *image.shape), jnp.uint32)
    passed = _count_below(lower, u)
    last = jnp.maximum(passed - 1, 0)
    sure = _at_most(upper[:, last], u) & (passed > 0) & (passed < lower.shape[1])
    number = passed - lower.shape[1] // 2
    pixel = jnp.round(image * 255).astype(jnp.int32) + number
    return pixel.astype(image.dtype) / 255, sure.all()


def _count_below(thresholds: Array, u: Array) -> Array:
    """Return how many of the sorted thresholds [2,T] are at most u [2,...], by
    bisection."""
    low = jnp.zeros(u.shape[1:], jnp.int32)
    high = jnp.full(u.shape[1:], thresholds.shape[1], jnp.int32)
    for _ in range(thresholds.shape[1].bit_length()):
        middle = jnp.minimum((low + high) // 2, thresholds.shape[1] - 1)
        up = (low < high) & _at_most(thresholds[:, middle], u)
        low, high = jnp.where(up, middle + 1, low), jnp.where(up, high, middle)
    return low


def _at_most(a: Array, b: Array) -> Array:
    """Return whether a <= b, each 64 bits as (high, low) words."""
    return (a[0] < b[0]) | ((a[0] == b[0]) & (a[1] <= b[1]))


@functools.lru_cache(maxsize=8)
def _thresholds(sigma: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the (lower, upper) ends of the gaps around T_i, uint32 [2,T], with i from
    1 - T/2 to T/2.

    T_i below 1/2 are computed, and the others are 2^64 minus these, because the law is
    symmetric.
    """
    grid = 255 * sigma
    if sigma > _WIDEST:
        raise InputError(
            f"noise of sigma {sigma:g} is too wide for a table of its values: give at most "
            f"{_WIDEST}, or certify.noise=gaussian."
        )
    most = math.ceil(9.4 * grid) + 1
    i = np.arange(-most, 1)
    below = special.ndtr((i - 0.5) / grid)
    exact = [Fraction(float(p)) * 2**64 for p in below]
    low = [math.floor(t * (1 - _GAP)) for t in exact]
    high = [math.ceil(t * (1 + _GAP)) + 1 for t in exact]
    lower = low + [2**64 - t for t in reversed(high)]
    upper = high + [2**64 - t for t in reversed(low)]
    top = 2**64 - 1

    def halves(ends: list[int]) -> np.ndarray:
        parts = [[min(t, top) >> 32, min(t, top) & 0xFFFFFFFF] for t in ends]
        return np.array(parts, np.uint32).T

    return halves(lower), halves(upper)
