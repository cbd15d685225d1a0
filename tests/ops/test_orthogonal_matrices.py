"""Orthogonal matrices of any: by Cholesky factors and by block reflections."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import Golden, close, golden_files

from jaxcert.ops import linalg
from jaxcert.ops.linalg import Pair


@pytest.mark.golden("lipschitz_l2")
def test_cholesky_is_the_originals_in_value_and_gradient(x64):
    for path in golden_files("lipschitz_l2", "liresnet_pp_layers*.npz"):
        g = Golden(path)
        y, pull = jax.vjp(linalg.cholesky_orthogonal, jnp.asarray(g["chol_x"]))
        close(y, g["chol_y"])
        close(pull(jnp.asarray(g["chol_gy"]))[0], g["chol_gx"])
        values = np.linalg.svd(np.asarray(y), compute_uv=False)
        close([values.min(), values.max()], g["chol_sv_minmax"])
        assert values.max() < 1


@pytest.mark.parametrize("imaginary", [False, True])
def test_block_reflector_is_a_contraction_and_nearly_orthogonal(x64, imaginary):
    draw = np.random.default_rng(0)
    re, im = draw.normal(size=(2, 5, 6, 3))
    w = linalg.block_reflector(
        Pair(jnp.asarray(re), jnp.asarray(im) if imaginary else None), jitter=1e-5
    )
    assert (w.im is not None) == imaginary
    dense = np.asarray(w.re) + (1j * np.asarray(w.im) if imaginary else 0)
    values = np.linalg.svd(dense, compute_uv=False)
    assert (values <= 1 + 1e-12).all() and (values > 0.99).all()
    v = re + (1j * im if imaginary else 0)  # V is reflected, W V = -V for no jitter
    np.testing.assert_allclose(dense @ v, -v, atol=1e-3)


@pytest.mark.parametrize("imaginary", [False, True])
def test_gradient_of_a_block_reflector_is_that_of_its_formula(x64, imaginary):
    re, im = np.random.default_rng(0).normal(size=(2, 2, 5, 3))
    re[1, :, 0] = re[1, :, 1] + 1e-2 * re[1, :, 0]  # nearly of rank 2
    im = im * imaginary
    weight = np.random.default_rng(1).normal(size=(2, 2, 5, 5))

    def value(w):
        return sum(jnp.vdot(a, b) for a, b in zip(weight, w, strict=True))

    def formula(v):
        v = v.re + 1j * v.im
        adjoint = v.conj().swapaxes(1, 2)
        p = adjoint @ v
        e = 0.1 * jnp.trace(p, axis1=1, axis2=2).real[:, None, None] / 3
        w = jnp.eye(5) - 2 * v @ jnp.linalg.inv(p + e * jnp.eye(3)) @ adjoint
        return Pair(w.real, w.imag)

    def ours(v):
        w = linalg.block_reflector(v if imaginary else Pair(v.re, None), jitter=0.1)
        return w if imaginary else Pair(w.re, jnp.zeros_like(w.re))

    v = Pair(jnp.asarray(re), jnp.asarray(im))
    found, expected = (
        jax.jit(jax.value_and_grad(lambda v, f=f: value(f(v))))(v)
        for f in (ours, formula)
    )
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-10)
    np.testing.assert_allclose(found[1].re, expected[1].re, rtol=1e-8, atol=1e-10)
    if imaginary:
        np.testing.assert_allclose(found[1].im, expected[1].im, rtol=1e-8, atol=1e-10)
