"""Mosaic kernels: interpreted against float64, and lowered for CUDA at full size."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import close

from jaxcert.ops.norm_dist import mosaic_gpu

GENERAL = 64.3  # a traced p
SEVERAL_TILES = (66, 67, 70)  # B, D, O
ODD = (5, 37, 70)


def inputs(shape, seed=0):
    """x [D,B], w [D,O], g [B,O] in float32."""
    b, d, o = shape
    draw = np.random.default_rng(seed).standard_normal
    return tuple(draw(s).astype(np.float32) for s in ((d, b), (d, o), (b, o)))


def traced(p):
    return jnp.float32(p) if isinstance(p, float) else p


def differences(x, w):
    return x.astype(np.float64)[:, :, None] - w[:, None, :]


def distance(x, w, p):
    d = np.abs(differences(x, w))
    return d.max(0) if p is None else (d**p).sum(0) ** (1 / p)


def gradients(x, w, g, p):
    """Of the distance, zero where it is zero."""
    d, y = differences(x, w), distance(x, w, p)
    power = np.where(y > 0, (np.abs(d) / np.where(y > 0, y, 1)) ** (p - 1), 0)
    v = np.where(d >= 0, g, -g) * power
    return v.sum(2), -v.sum(1)


def kernel_gradients(x, w, g, p):
    y = mosaic_gpu.forward(x, w, traced(p), interpret=True)
    return mosaic_gpu.backward(x, w, y, g, traced(p), interpret=True)


def close_gradients(actual, expected, p):
    # y, its inverse, the difference and their product are each rounded, and the power
    # carries p times that
    for a, e in zip(actual, expected, strict=True):
        close(a, e, 4 * 2.0**-24 * max(p, 8))


@pytest.mark.parametrize("shape", [ODD, SEVERAL_TILES])
@pytest.mark.parametrize("p", [None, 8, GENERAL])
def test_values_are_the_distances(p, shape):
    x, w, _ = inputs(shape)
    y = mosaic_gpu.forward(x, w, traced(p), interpret=True)
    assert y.dtype == jnp.float32
    # the root divides the error of the sum by p
    np.testing.assert_allclose(y, distance(x, w, p), rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("p", [1, 3, 1.0, 300.0])
def test_other_powers(p):
    x, w, g = inputs((3, 5, 4))
    w[1, 2] = x[1, 0]  # its sign counts at p = 1
    y = mosaic_gpu.forward(x, w, traced(p), interpret=True)
    np.testing.assert_allclose(y, distance(x, w, p), rtol=2e-6)
    close_gradients(kernel_gradients(x, w, g, p), gradients(x, w, g, p), p)


@pytest.mark.slow
@pytest.mark.parametrize("p", [8, GENERAL])
def test_gradients_are_those_of_the_distance(p):
    x, w, g = inputs(SEVERAL_TILES, seed=1)
    close_gradients(kernel_gradients(x, w, g, p), gradients(x, w, g, p), p)


def test_index_is_the_first_of_equal_maxima():
    # few values, so that every maximum is attained several times
    rng = np.random.default_rng(2)
    x, w = (rng.integers(-1, 2, s).astype(np.float32) for s in ((37, 5), (37, 70)))
    w[:, 0] = x[:, 0]  # all distances are zero: the first input
    y, index = mosaic_gpu.forward_index(x, w, interpret=True)
    d = np.abs(differences(x, w))
    np.testing.assert_array_equal(y, d.max(0))
    np.testing.assert_array_equal(index, d.argmax(0))
    assert index.dtype == jnp.int32


@pytest.mark.parametrize(
    "p", [1, 8, pytest.param(1.0, marks=pytest.mark.slow), GENERAL]
)
def test_zero_distance_has_zero_gradient(p):
    x, _, g = inputs((3, 5, 3))
    y = mosaic_gpu.forward(x, x, traced(p), interpret=True)
    np.testing.assert_array_equal(np.diag(y), 0)
    gx, gw = mosaic_gpu.backward(
        x, x, y, np.diag(np.diag(g)), traced(p), interpret=True
    )
    np.testing.assert_array_equal(gx, 0)
    np.testing.assert_array_equal(gw, 0)


@pytest.mark.parametrize("p", [None, 1, 8, GENERAL])
def test_nan_reaches_what_it_touches_and_nothing_else(p):
    x, w, g = inputs((3, 5, 4))
    x[2, 1] = np.nan
    y = mosaic_gpu.forward(x, w, traced(p), interpret=True)
    touched = np.arange(3)[:, None].repeat(4, 1) == 1
    np.testing.assert_array_equal(np.isnan(y), touched)
    if p is None:
        y, index = mosaic_gpu.forward_index(x, w, interpret=True)
        np.testing.assert_array_equal(np.isnan(y), touched)
        assert (np.asarray(index) < 5).all()
    else:
        gx, gw = mosaic_gpu.backward(x, w, y, g, traced(p), interpret=True)
        np.testing.assert_array_equal(np.isnan(gx), touched[:, 0] * np.ones((5, 1)))
        assert np.isnan(gw).all()


D_B, D_O, B_O, SCALAR = (5120, 512), (5120, 5120), (512, 5120), ()


@pytest.mark.parametrize(
    "function, shapes, kernels",
    [
        (partial(mosaic_gpu.forward, p=None), (D_B, D_O), 1),
        (partial(mosaic_gpu.forward, p=8), (D_B, D_O), 1),
        (mosaic_gpu.forward, (D_B, D_O, SCALAR), 2),
        (mosaic_gpu.forward_index, (D_B, D_O), 1),
        (partial(mosaic_gpu.backward, p=8), (D_B, D_O, B_O, B_O), 2),
        (mosaic_gpu.backward, (D_B, D_O, B_O, B_O, SCALAR), 2),
    ],
)
def test_kernels_of_full_size_lower_without_a_gpu(function, shapes, kernels):
    arguments = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    lowered = jax.jit(function).trace(*arguments).lower(lowering_platforms=("cuda",))
    assert lowered.as_text().count("@mosaic_gpu") == kernels
