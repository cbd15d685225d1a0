"""AOL: the rescaled kernel against the original and its bound."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import Golden, close, golden_files

from jaxcert.nn import aol


@pytest.mark.golden("lipschitz_l2")
def test_rescaled_kernel_equals_the_original_in_value_and_gradient(x64):
    for path in golden_files("lipschitz_l2", "later_layers*.npz"):
        g = Golden(path)
        kernel, gy = (
            jnp.asarray(g[n].transpose(2, 3, 1, 0)) for n in ("aol_weight", "aol_gy")
        )
        y, vjp = jax.vjp(aol.rescaled, kernel)
        close(y.transpose(3, 2, 0, 1), g["aol_out"])
        close(vjp(gy)[0].transpose(3, 2, 0, 1), g["aol_gweight"])


def test_weighted_row_sums_dominate_the_gram_matrix_at_every_frequency(x64):
    key = jax.random.key(0)
    kernel = jax.random.normal(key, (3, 3, 4, 5))
    q = jnp.exp(jax.random.normal(key, (4,)))
    at = np.exp(2j * np.pi * np.outer(np.arange(8), np.arange(3)) / 8)
    f = np.einsum("ua,vb,abio->uvio", at, at, kernel)
    gram = f @ f.conj().swapaxes(2, 3)
    for sums in (aol.row_sums(kernel), aol.row_sums(kernel, q)):
        assert np.linalg.eigvalsh(np.diag(sums) - gram).min() >= -1e-12


@pytest.mark.parametrize("c_in,c_out", [(4, 4), (3, 8), (8, 4)])
def test_layers_start_with_norm_one(c_in, c_out):
    layer, x = aol.Conv(c_out), jnp.zeros((1, 4, 4, c_in))
    variables = jax.jit(layer.init)(jax.random.key(0), x)
    bound = layer.apply(variables, method="bound")
    assert bound == pytest.approx(1, abs=1e-5)


def test_bound_of_a_kernel_that_is_not_finite_is_infinite():
    layer, x = aol.Dense(2), jnp.zeros((1, 3))
    _, prepared = layer.apply(
        {"params": {"kernel": jnp.full((1, 1, 3, 2), jnp.nan), "bias": jnp.zeros(2)}},
        x,
        mutable=["prepared"],
    )
    assert layer.apply(prepared, method="bound") == np.inf
