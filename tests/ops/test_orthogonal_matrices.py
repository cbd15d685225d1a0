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
