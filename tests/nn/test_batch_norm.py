"""Batch normalisation: what it computes is checked against torch in the golden tests of
models; here are the corners that those do not reach."""

from __future__ import annotations

from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcert.nn.batch_norm import BatchNorm

VARIABLES = {
    "params": {
        "scale": np.array([2.0, 1.0], np.float32),
        "bias": np.array([0.5, -1.0], np.float32),
    },
    "batch_stats": {
        "mean": np.array([0.2, 0.0], np.float32),
        "var": np.array([4.0, 1.0], np.float32),
    },
}


def _apply(x, train, **kwargs):
    mutable = ["batch_stats"] if train else False
    return BatchNorm(**kwargs).apply(VARIABLES, x, train, mutable=mutable)


def test_running_variance_is_unbiased():
    x = np.array([[0.0, 1.0], [2.0, 3.0], [4.0, 8.0]], np.float32)
    _, after = _apply(x, True, momentum=0.25)
    expected = 0.75 * VARIABLES["batch_stats"]["var"] + 0.25 * x.var(0, ddof=1)
    np.testing.assert_allclose(after["batch_stats"]["var"], expected, rtol=1e-6)


def test_evaluation_uses_the_running_statistics():
    x = np.array([[0.2, 1.0], [2.2, 3.0]], np.float32)
    standard = (x - [0.2, 0.0]) / np.sqrt([4 + 1e-5, 1 + 1e-5])
    expected = [2.0, 1.0] * standard + [0.5, -1.0]
    np.testing.assert_allclose(_apply(x, False), expected, rtol=1e-5, atol=1e-6)


def test_constant_channel_is_finite_with_its_gradient():
    x = jnp.full((8, 2), 123.4, jnp.float32)
    gradient = jax.grad(lambda x: _apply(x, True)[0].sum())(x)
    assert np.isfinite(_apply(x, True)[0]).all() and np.isfinite(gradient).all()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_output_has_the_type_of_the_input_and_statistics_are_float32(dtype):
    x = jnp.linspace(0, 1, 12).reshape(6, 2).astype(dtype)
    y, after = _apply(x, True)
    assert y.dtype == dtype
    assert after["batch_stats"]["mean"].dtype == jnp.float32


def _plain(x, scale, bias):
    """The same in one formula, differentiated by JAX."""
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    mean, var = wide.mean((0, 1)), wide.var((0, 1))
    y = scale * (wide - mean) / jnp.sqrt(var + 1e-5) + bias
    return y.astype(x.dtype)


def _own(x, scale, bias):
    """As on an accelerator."""
    variables = {**VARIABLES, "params": {"scale": scale, "bias": bias}}
    with mock.patch.object(jax, "default_backend", lambda: "gpu"):
        return BatchNorm().apply(variables, x, True, mutable=["batch_stats"])[0]


def _drawn(dtype):
    random = np.random.default_rng(0)
    x, weight = 0.7 + random.standard_normal((2, 12, 3, 2))
    return jnp.asarray(x, dtype), weight


@pytest.mark.parametrize(
    "dtype, tolerance", [("bfloat16", 1e-2), ("float32", 1e-5), ("float64", 1e-12)]
)
def test_gradients_are_those_of_the_formula(dtype, tolerance, x64):
    x, weight = _drawn(dtype)
    wide = jnp.promote_types(dtype, "float32")
    scale, bias = (v.astype(wide) for v in VARIABLES["params"].values())
    own, plain = (
        jax.jit(jax.grad(lambda *a, f=f: (f(*a) * weight).sum(), (0, 1, 2)))(
            x, scale, bias
        )
        for f in (_own, _plain)
    )
    for a, b in zip(own, plain, strict=True):
        assert a.dtype == b.dtype
        a, b = np.float64(a), np.float64(b)
        np.testing.assert_allclose(a, b, atol=tolerance * np.abs(b).max())


def test_gradients_of_gradients_are_those_of_the_formula(x64):
    """Also per image of a vmap."""
    x, weight = _drawn("float64")
    scale, bias = (v.astype("float64") for v in VARIABLES["params"].values())

    def length(f, x):
        inner = jax.grad(lambda *a: (jnp.sin(f(*a)) * weight).sum(), (0, 1))
        dx, dscale = inner(x, scale, bias)
        return (dx**2).sum() + (dscale**2).sum()

    stacked = jnp.stack([x, 2 * x])
    own, plain = (
        jax.jit(jax.vmap(jax.grad(lambda x, f=f: length(f, x))))(stacked)
        for f in (_own, _plain)
    )
    np.testing.assert_allclose(own, plain, rtol=1e-9, atol=1e-12)


def test_only_numbers_of_the_type_of_the_input_are_kept_for_the_gradient():
    x, _ = _drawn("bfloat16")
    params = VARIABLES["params"].values()
    kept = jax.tree.leaves(jax.eval_shape(lambda x: jax.vjp(_own, x, *params)[1], x))
    large = [leaf.dtype for leaf in kept if leaf.size >= x.size]
    assert large == [jnp.bfloat16]
