"""Laws of the noise, and the grid sampler's exactness."""

from __future__ import annotations

import functools
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from refusals import names
from scipy import special, stats

from jaxcert.certificates import noise, norms, statistics
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


@functools.lru_cache(maxsize=3)
def every_value(name):
    """All 2^23 equally likely values, rising, of noise of scale 1."""
    return enumerated(noise.law(name, 1.0), 2**23)


def enumerated(draw, count):
    """What `draw` makes of numbers 0, 2^32 / count ... of the generator, rising."""
    image = jnp.zeros((count, 1, 1), jnp.float32)
    z, _ = jax.jit(draw)(noise.counting_key(0, 2**32 // count), image)
    return np.sort(np.asarray(z, np.float64).ravel())


LAWS = {
    "gaussian": stats.norm(),
    "uniform": stats.uniform(-(3**0.5), 2 * 3**0.5),
    "laplace": stats.laplace(scale=0.5**0.5),
}


def check_values(z, law):
    """Each is its quantile to about one part in 2^23, and they are as many."""
    share = (np.arange(len(z)) + 0.5) / len(z)
    assert np.abs(law.cdf(z) - share).max() < 1 / len(z)
    assert len(np.unique(z)) > 0.99 * len(z)


@pytest.mark.parametrize("name", LAWS)
def test_every_value_of_float32_noise_is_a_quantile_of_its_law(name):
    check_values(every_value(name), LAWS[name])


@pytest.mark.parametrize("how", ["drawn", "rounded"])
def test_noise_in_bfloat16_is_noticed(monkeypatch, how):
    """Drawn in bfloat16, or in float32 and rounded."""
    fine = enumerated(noise.law("gaussian", 1.0), 2**16)
    check_values(fine, LAWS["gaussian"])

    def coarse(scale, key, image):
        drawn = jax.random.normal(key, image.shape, jnp.bfloat16).astype(jnp.float32)
        fine = jax.random.normal(key, image.shape, image.dtype)
        rounded = jax.lax.reduce_precision(fine, 8, 7)
        return image + scale * (drawn if how == "drawn" else rounded), True

    monkeypatch.setattr(noise, "_gaussian", coarse)
    draw, count = noise.law("gaussian", 1.0), 2**16  # of which float32 makes as many
    with pytest.raises(AssertionError):
        check_values(enumerated(draw, count), LAWS["gaussian"])
    if how == "drawn":  # it ends at 2.5 sigma, and certificates with it
        noise.least_tail.cache_clear()
        expected = 8 * special.ndtr(-2.515625)
        np.testing.assert_allclose(noise.least_tail("gaussian"), expected)
        noise.least_tail.cache_clear()


def test_noise_ends_where_its_largest_values_are():
    for name in LAWS:
        assert noise.least_tail(name) == 1e-6
        z = every_value(name)
        ends = np.sort(np.ravel(noise._ends(name)))
        np.testing.assert_array_equal(ends, z[[0, -1]])
    assert noise.least_tail("grid") == 0


STATED = {10**4: 1.001, 10**5: 1.007, 10**6: 1.06, 10**7: 1.0, 10**8: 1.0}
STATED_UNIFORM = STATED | {10**4: 1.002, 10**5: 1.01, 10**6: 1.12}
"""n -> most false radii in units of alpha, as noise.py has it."""


@pytest.mark.parametrize("name", LAWS)
def test_a_half_space_is_certified_falsely_as_rarely_as_stated(name):
    """x + z < r, x just nearer to its border than the radius of k of n votes: how often k
    votes or more agree, by enumeration of all values."""
    z, alpha = every_value(name), 0.001
    norm = "l2" if name == "gaussian" else "l1"
    for n, stated in (STATED_UNIFORM if name == "uniform" else STATED).items():
        law = dict(noise=name, norm=norm, sigma=1.0, d=1)
        if norms.relies_on_tail(noise.least_tail(name), n, alpha):
            law["least_tail"] = noise.least_tail(name)
        misses = np.geomspace(40, 0.49 * n, 300).astype(int)
        misses = np.unique([*range(40), *misses])
        tail = statistics.upper_tail(n - misses, n, alpha)
        misses, tail = misses[tail < 0.499], tail[tail < 0.499]
        r = norms.radius(tail, **law)
        for beyond in _shares_beyond(z, r):
            rate = stats.binom.cdf(misses, n, beyond) / alpha
            assert rate.max() <= stated
            if n == 10**5:
                assert rate[0] <= 1.0055  # where all agree
    # no end, and n of 1e8 is no certificate at all
    r = norms.radius(statistics.upper_tail(10**8, 10**8, alpha), **law | END)
    assert min(s.item() for s in _shares_beyond(z, r)) == 0


END = dict(least_tail=0.0)


def _shares_beyond(z, r):
    """P(z >= r) and P(z <= -r)."""
    above = len(z) - np.searchsorted(z, r)
    return above / len(z), np.searchsorted(z, -r, side="right") / len(z)


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


def test_one_pixel_that_cannot_be_drawn_is_enough():
    lower, upper = noise._thresholds(SIGMA)
    inside = np.array([[2**31], [2**31]], np.uint32)
    gap = lower[:, 400:401]
    image = jnp.zeros((2, 1, 1))
    for second, drawn in ((inside, True), (gap, False)):
        bits = jnp.asarray(np.concatenate([inside, second], 1)).reshape(2, 2, 1, 1)
        assert _with_bits(lower, upper, bits, image) == drawn


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
        with pytest.raises(
            InputError, match=names("grid", "1/255", "certify.noise=gaussian")
        ):
            noise.check_grid(image)
