"""Batch normalisation: what it computes is checked against torch in the golden tests of
models; here are the corners that those do not reach."""

from __future__ import annotations

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
