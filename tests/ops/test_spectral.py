"""Bounds of convolutions against the dense operator, on kernels that try to break them."""

from __future__ import annotations

import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import Golden, golden_files
from refusals import names

from jaxcert.errors import InputError
from jaxcert.ops import spectral

SHAPES = [  # kernel, stride, padding, side, channels in and out
    (3, 1, 1, 4, 2, 2),
    (3, 1, 1, 3, 1, 3),
    (3, 1, 1, 5, 3, 1),
    (5, 2, 2, 8, 2, 2),
    (4, 4, 0, 8, 2, 3),
    (1, 1, 0, 3, 2, 2),
    (2, 1, 0, 4, 2, 2),
    (3, 2, 1, 5, 1, 2),
]
EACH = 260


@partial(jax.jit, static_argnums=(1, 2, 3))
def dense(kernel, stride, padding, side):
    """The operator, transposed: [inputs, outputs]."""
    eye = jnp.eye(side * side * kernel.shape[2], dtype=kernel.dtype)
    y = jax.lax.conv_general_dilated(
        eye.reshape(-1, side, side, kernel.shape[2]),
        kernel,
        (stride, stride),
        [(padding, padding)] * 2,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    return y.reshape(len(eye), -1)


def kernels(shape, count):
    """Random, of rank one, repeated top values, sparse, tiny, huge, nearly the identity."""
    draw = np.random.default_rng(0)
    k, _, c_in, c_out = shape
    middle = np.zeros(shape)
    middle[k // 2, k // 2] = np.eye(c_in, c_out)
    for i in range(count):
        x = draw.normal(size=shape)
        match i % 8:
            case 1:
                a, b = draw.normal(size=(2, k))
                u, v = draw.normal(size=c_in), draw.normal(size=c_out)
                x = np.einsum("a,b,c,d->abcd", a, b, u, v)
            case 2:
                x = middle * 2.0 ** draw.integers(-3, 3)
            case 3:
                x = np.where(draw.random(shape) < 0.8, 0, x)
            case 4:
                x *= 1e-30
            case 5:
                x *= 1e30
            case 6:
                x = middle + 0.05 * x
            case 7:
                x = np.sign(x) * 2.0 ** draw.integers(-40, 3, shape)
        yield x


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_no_kernel_has_a_norm_above_its_bounds(x64, shape):
    k, stride, padding, side, c_in, c_out = shape
    how = dict(stride=stride, padding=padding)
    for kernel in kernels((k, k, c_in, c_out), EACH):
        scale = np.abs(kernel).max() or 1.0
        operator = dense(jnp.asarray(kernel / scale), stride, padding, side)
        norm = np.linalg.svd(np.asarray(operator), compute_uv=False).max() * scale
        tight = spectral.conv_bound(kernel, side, **how)
        loose = spectral.conv_bound(kernel, side, tight=False, **how)
        assert norm * (1 - 1e-13) <= tight <= loose
        if side % stride == 0:
            assert tight <= norm * (1 + 1e-6)


def test_factorisation_refuses_what_is_below_the_norm(x64):
    for kernel in kernels((3, 3, 2, 2), 16):
        kernel = kernel / np.abs(kernel).max(initial=1e-300)
        band = spectral.stride_one(kernel, 4, stride=1, padding=1)
        norm = np.linalg.norm(np.asarray(dense(jnp.asarray(kernel), 1, 1, 4)), 2)
        assert spectral.cholesky_error(band, norm**2 * (1 - 1e-6)) == np.inf
        assert spectral.cholesky_error(band, norm**2 * (1 + 1e-6)) < 1e-9


def test_a_low_estimate_takes_a_larger_excess_and_none_proves_less(x64, monkeypatch):
    (kernel,) = kernels((3, 3, 2, 2), 1)
    band = spectral.stride_one(kernel, 4, stride=1, padding=1)
    norm = np.linalg.norm(np.asarray(dense(jnp.asarray(kernel), 1, 1, 4)), 2)
    for low, most in ((0, 1e-7), (3e-6, 1e-5), (3e-3, 1e-2), (0.5, np.inf)):
        estimate = norm**2 * (1 - low)
        monkeypatch.setattr(spectral, "largest_eigenvalue", lambda _, e=estimate: e)
        found = spectral.band_bound(band, below=np.inf)
        assert norm <= found <= norm * np.sqrt(1 + most) * (1 + 1e-12)
    loose = spectral.conv_bound(kernel, 4, padding=1, tight=False)
    assert spectral.conv_bound(kernel, 4, padding=1) == loose


def test_zero_and_infinite_kernels():
    zero = np.zeros((3, 3, 2, 2))
    assert spectral.conv_bound(zero, 4, padding=1) == 0
    zero[0, 0, 0, 0] = np.inf
    assert spectral.conv_bound(zero, 4, padding=1) == np.inf
    zero[0, 0, 0, 0] = np.nan
    assert spectral.conv_bound(zero, 4, padding=1) == np.inf


def test_largest_and_smallest_numbers_are_bounded():
    huge = np.full((3, 3, 1, 1), 1.7e308)
    assert spectral.conv_bound(huge, 4, padding=1) == np.inf
    assert spectral.norm_bound(np.diag([1e308, 1e-308])) == pytest.approx(1e308)
    smallest = np.full((5, 1), 5e-324)  # the norm is 5^(1/2) of it, which is not stored
    assert spectral.norm_bound(smallest) >= 3 * 5e-324


def test_taps_that_see_zeros_alone_do_not_count():
    corner = np.zeros((3, 3, 1, 1))
    corner[0, 0] = 1.0
    assert spectral.conv_bound(corner, 1, padding=1) == 0
    ones = np.ones((3, 3, 1, 1))
    ones[1, 1] = 1e-12
    assert spectral.conv_bound(ones, 1, padding=1) == pytest.approx(1e-12, rel=1e-6)


@pytest.mark.parametrize("k, side, padding", [(5, 2, 0), (2, 4, 2), (3, 4, -1)])
def test_convolutions_without_outputs_or_inputs_are_refused(k, side, padding):
    with pytest.raises(InputError, match=names(f"{k}x{k}", padding, f"{side}x{side}")):
        spectral.conv_bound(np.ones((k, k, 1, 1)), side, padding=padding)


@pytest.mark.golden("lipschitz_l2")
def test_bounds_lie_between_the_norm_and_gram_iteration(x64):
    for path in golden_files("lipschitz_l2", "later_layers*.npz"):
        g = Golden(path)
        kernel, side = g["gram_kernel"].transpose(2, 3, 1, 0), int(g["gram_n"])
        zero_padded = float(g["gram_true_zero"])
        padding = len(kernel) // 2
        tight = spectral.conv_bound(kernel, side, padding=padding)
        assert zero_padded * (1 - 1e-12) <= tight <= zero_padded * (1 + 1e-6)
        loose = spectral.conv_bound(kernel, side, padding=padding, tight=False)
        assert tight <= loose
        # theirs is of a torus of n + 2, ours of any larger one
        for name in [n for n in g if n.startswith("gram_circular_big_k")]:
            assert zero_padded <= g[name] * (1 + 1e-9)
        # a torus of exactly the image, as if its borders were full of zeros
        taps, reach = kernel.transpose(0, 1, 3, 2), side - padding
        band = spectral.Band(taps, padding, reach, reach)
        circular = spectral.torus_bound(band)
        assert np.isclose(circular, g["gram_true_circular"], rtol=1e-9)
        matrix = spectral.norm_bound(g["gram_dense"])
        assert np.isclose(matrix, g["gram_dense_true"], rtol=1e-9)
        for name in g:
            if re.fullmatch(r"gram_circular_k\d+", name):
                assert circular <= g[name] * (1 + 1e-9)
            if re.fullmatch(r"gram_dense_k\d+", name):
                assert matrix <= g[name] * (1 + 1e-9)
