"""Laws of the noise, and the grid sampler's exactness."""

from __future__ import annotations

from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

from jaxcert.certificates import noise, norms
from jaxcert.errors import InputError

SIGMA = 0.25


def drawn(name, image, samples, sigma=SIGMA):
    keys = jax.random.split(jax.random.key(0), samples)
    return jax.jit(jax.vmap(noise.law(name, sigma), (0, None)))(keys, image)


@pytest.mark.parametrize("name", list(norms.RADII))
def test_noise_has_the_law_it_is_named_after(name):
    image = jnp.full((4, 4, 1), 0.5)
    noisy, sure = drawn(name, image, 4000)
    z = np.asarray(noisy - image, np.float64).ravel()
    assert np.all(sure)
    assert abs(z.mean()) < 5 * SIGMA / len(z) ** 0.5
    np.testing.assert_allclose(z.std(), SIGMA, rtol=0.02)
    b = norms.scale(name, SIGMA)
    law = {"uniform": stats.uniform(-b, 2 * b), "laplace": stats.laplace(scale=b)}.get(
        name, stats.norm(scale=SIGMA)
    )
    if name == "grid":  # smear the steps of 1/255
        z = z + np.random.default_rng(0).uniform(-0.5, 0.5, z.shape) / 255
    assert stats.kstest(z, law.cdf).pvalue > 1e-4
    assert np.abs(np.corrcoef(z.reshape(4000, 16).T) - np.eye(16)).max() < 0.1


def test_thresholds_enclose_the_exact_quantiles():
    """Against 60-digit sums of the series of erf."""
    lower, upper = noise._thresholds(0.1)
    words = [[(int(h) << 32) | int(w) for h, w in ends.T] for ends in (lower, upper)]
    half = lower.shape[1] // 2
    grid = Fraction(0.1) * 255
    for at in range(0, lower.shape[1], 23):
        i = at + 1 - half  # noise is at least i where u >= T_i
        exact = _phi((i - Fraction(1, 2)) / grid) * 2**64
        if exact < 2**64 - 1:
            assert words[0][at] <= exact <= words[1][at]
            tail = min(exact, 2**64 - exact)
            assert words[1][at] - words[0][at] <= 1e-12 * float(tail) + 3


def _phi(x: Fraction) -> Fraction:
    """Phi(x) to 30 digits, |x| < 9.5: Phi = 1/2 + phi(x) (x + x^3/3 + x^5/15 + ...)."""
    from decimal import Decimal, getcontext

    getcontext().prec = 80
    x = Decimal(x.numerator) / Decimal(x.denominator)
    term, total, k = x, x, 1
    while abs(term) > Decimal(10) ** -70:
        k += 2
        term = term * x * x / k
        total += term
    pi = Decimal(
        "3.14159265358979323846264338327950288419716939937510582097494459230781640"
    )
    density = (-x * x / 2).exp() / (2 * pi).sqrt()
    return Fraction(Decimal("0.5") + density * total)


def test_grid_noise_has_exact_probabilities():
    """Of every noise value, against Phi; 10 million draws."""
    sigma = 0.01  # 2.55 steps
    noisy, _ = drawn("grid", jnp.zeros((50, 50, 1)), 4000, sigma)
    number = np.round(np.asarray(noisy) * 255).astype(int).ravel()
    values = np.arange(-10, 11)
    grid = 255 * sigma
    p = special.ndtr((values + 0.5) / grid) - special.ndtr((values - 0.5) / grid)
    count = np.array([(number == v).sum() for v in values])
    error = np.sqrt(p * (1 - p) / number.size)
    assert (np.abs(count / number.size - p) < 5.5 * error).all()


def test_grid_noise_is_exact_in_every_pixel():
    """x + noise lies on the grid for every 8-bit image, and does not depend on x."""
    levels = jnp.arange(256, dtype=jnp.float32).reshape(16, 16, 1) / 255
    key = jax.random.key(5)
    law = noise.law("grid", SIGMA)
    numbers = []
    for image in (levels, jnp.zeros_like(levels)):
        noisy, _ = law(key, image)
        exact = np.asarray(noisy, np.float64) * 255
        assert np.abs(exact - np.round(exact)).max() < 1e-4
        numbers.append(np.round(exact) - np.round(np.asarray(image, np.float64) * 255))
    np.testing.assert_array_equal(*numbers)


def test_what_cannot_be_drawn_exactly_is_no_vote():
    lower, upper = noise._thresholds(SIGMA)
    u = np.zeros((2, 3, 1, 1), np.uint32)
    u[:, 0] = lower[:, 400].reshape(2, 1, 1)  # in the gap
    u[:, 1] = 0  # below the range
    u[:, 2] = 2**32 - 1  # above it
    passed = noise._count_below(jnp.asarray(lower), jnp.asarray(u))
    assert passed.ravel()[0] == 401 and passed.ravel()[2] == lower.shape[1]
    for number in range(3):
        image = jnp.zeros((1, 1, 1))
        bits = jnp.asarray(u[:, number])[:, None]
        one = _with_bits(lower, upper, bits.reshape(2, 1, 1, 1), image)
        assert not one


def _with_bits(lower, upper, bits, image):
    original = jax.random.bits
    try:
        jax.random.bits = lambda key, shape, dtype: bits
        return bool(noise._grid(jnp.asarray(lower), jnp.asarray(upper), None, image)[1])
    finally:
        jax.random.bits = original


def test_grid_noise_wants_images_on_the_grid():
    noise.check_grid(np.arange(256, dtype=np.uint8))
    noise.check_grid((np.arange(256) / 255).astype(np.float32))
    noise.check_grid(np.arange(256) / 255)
    near = np.full((2, 2), np.float32(239 / 255))
    for image in (
        np.full((2, 2), 0.501, np.float32),
        near.astype(np.float16),
        near + 1e-6,
    ):
        with pytest.raises(InputError, match="multiples of 1/255"):
            noise.check_grid(image)
