"""Group normalisation in one pass against its definition in float64."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import jax.test_util
import numpy as np
import pytest

from jaxcert.nn import group_norm

EPS = 1e-6


def defined(x, groups):
    """By two passes, in float64."""
    x = np.float64(x)
    split = x.reshape(len(x), -1, groups, x.shape[-1] // groups)
    mean, var = (f(split, (1, 3), keepdims=True) for f in (np.mean, np.var))
    return ((split - mean) / np.sqrt(var + EPS)).reshape(x.shape)


def normed(images, groups, *, act=group_norm.identity, kept=None, params=None, **moved):
    """With dropout at 0.25 where `kept`; params: scale and bias, 1 and 0 by default."""
    module = group_norm.GroupNorm(groups, EPS)
    params = params or dict(
        scale=np.ones(sum(x.shape[-1] for x in images)),
        bias=np.zeros(sum(x.shape[-1] for x in images)),
    )
    params = jax.tree.map(lambda v: jnp.asarray(v, images[0].dtype), params)
    scaling = module.apply({"params": params}, *images, **moved)
    return group_norm.apply(act, 0.25 * (kept is not None), images, scaling, kept)


def hard_images():
    """name -> (image, error that is allowed): roundings of x itself are some 6e-8 of a mean
    and allow as many standard deviations; those of a first pixel that is far off count
    as often as there are pixels, 4096."""
    z = np.random.default_rng(0).standard_normal((1, 64, 64, 8))
    first, half = z.copy(), z.copy()
    first[:, 0, 0] += 1e4
    half[..., ::2] += 1e4
    return {
        "ordinary": (z, 1e-6),
        "large mean": (z + 1e3, 3e-4),
        "larger mean": (z + 1e4, 3e-3),
        "small": (1e-3 * z + 30, 2e-2),
        "channels far apart": (z + 1e3 * np.arange(8), 3e-6),
        "every second channel": (half, 1e-6),
        "first pixel far off": (first, 1e-3),
        "first pixel not with the mean": (np.where(first > 5e3, 0, z + 1e3), 1e-3),
        "constant": (np.full_like(z, 7.0), 0.0),
    }


@pytest.mark.parametrize("name", hard_images())
def test_one_pass_loses_no_digits_that_matter(name):
    image, error = hard_images()[name]
    x = jnp.asarray(image, jnp.float32)
    y = np.asarray(jax.jit(lambda x: normed((x,), 4))(x), np.float64)
    expected = defined(x, 4)
    size = max(1.0, np.abs(expected).max())
    assert np.abs(y - expected).max() <= error * size


def test_groups_lie_across_the_border_of_two_images():
    z = np.random.default_rng(0).standard_normal((2, 4, 4, 12)) * np.arange(1, 13)
    x = jnp.asarray(z, jnp.float32)
    parts = x[..., :5], x[..., 5:]
    y = jax.jit(lambda parts: normed(parts, 3))(parts)  # the second group has both
    np.testing.assert_allclose(y, defined(x, 3), atol=2e-6)


def test_what_is_added_and_modulates_is_for_each_image_and_channel():
    random = np.random.default_rng(0)
    x = jnp.asarray(random.standard_normal((2, 4, 4, 6)), jnp.float32)
    added, a, b = jnp.asarray(random.standard_normal((3, 2, 6)), jnp.float32)
    y = jax.jit(lambda x: normed((x,), 2, added=added, modulation=(a, b)))(x)
    expected = defined(x + added[:, None, None], 2)
    expected = expected * (1 + a[:, None, None]) + b[:, None, None]
    np.testing.assert_allclose(y, expected, atol=3e-6)


def test_result_of_bfloat16_images_alone_is_rounded():
    x = np.random.default_rng(0).normal(3, 1, (1, 8, 8, 4))
    x = jnp.asarray(x, jnp.bfloat16)
    y = jax.jit(lambda x: normed((x,), 2))(x)
    assert y.dtype == jnp.bfloat16
    expected = defined(x.astype(jnp.float32), 2)
    np.testing.assert_allclose(np.float32(y), expected, rtol=2**-8, atol=1e-6)


@pytest.mark.parametrize("act", [group_norm.silu, group_norm.identity])
def test_gradients_are_those_of_finite_differences(x64, act):
    random = np.random.default_rng(0)
    at = dict(
        images=tuple(random.standard_normal((2, 3, 3, c)) + 1 for c in (2, 4)),
        params=dict(scale=random.standard_normal(6), bias=random.standard_normal(6)),
        added=random.standard_normal((2, 6)),
        modulation=tuple(random.standard_normal((2, 2, 6))),
    )
    kept = random.uniform(size=(2, 3, 3, 6)) < 0.75
    weight = random.standard_normal(kept.shape)

    def loss(at):
        return (weight * normed(groups=2, act=act, kept=kept, **at)).sum()

    jax.test_util.check_grads(jax.jit(loss), (at,), order=1, modes=["rev"], eps=1e-5)


def test_a_dropped_pixel_is_zero_and_the_others_keep_the_mean():
    x = jnp.asarray(np.random.default_rng(0).standard_normal((1, 4, 4, 4)), jnp.float32)
    kept = np.arange(64).reshape(x.shape) % 4 > 0
    y, whole = normed((x,), 2, kept=kept), normed((x,), 2)
    np.testing.assert_allclose(y, np.where(kept, whole / 0.75, 0), rtol=1e-6)
