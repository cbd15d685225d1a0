"""Cayley layers against the original."""

from __future__ import annotations

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import Golden, close, golden_files

from jaxcert.nn import cayley, lot
from jaxcert.ops import linalg


@pytest.mark.golden("lipschitz_l2")
def test_dense_equals_the_original(x64):
    for path in golden_files("lipschitz_l2", "heads_certificates_cr*.npz"):
        g = Golden(path)
        weight = g["cayley_linear_weight"]
        params = {
            "kernel": jnp.asarray(weight.T[None, None]),
            "bias": jnp.asarray(g["cayley_linear_bias"]),
            "alpha": jnp.asarray(g["cayley_linear_alpha"].reshape(())),
        }
        layer, x = cayley.Dense(len(weight)), jnp.asarray(g["cayley_linear_x"])
        y, vjp = jax.vjp(lambda p, x, m=layer: m.apply({"params": p}, x), params, x)
        grads, gx = vjp(jnp.asarray(g["cayley_linear_gy"]))
        close(y, g["cayley_linear_y"])
        close(gx, g["cayley_linear_gx"])
        close(grads["kernel"][0, 0].T, g["cayley_linear_g_weight"])
        close(grads["bias"], g["cayley_linear_g_bias"])
        close(grads["alpha"].reshape(1), g["cayley_linear_g_alpha"].reshape(1))
        _check_all_read(g)


@pytest.mark.slow
@pytest.mark.golden("lipschitz_l2")
def test_convolution_equals_the_original(x64):
    for path in golden_files("lipschitz_l2", "later_layers*.npz"):
        g = Golden(path)
        for case in sorted({n[:-2] for n in g if re.match("cayley.*_x$", n)}):
            x = jnp.asarray(np.moveaxis(g[f"{case}_x"], 1, -1))
            weight = g[f"{case}_weight"]
            params = {
                "kernel": jnp.asarray(weight.transpose(2, 3, 1, 0)),
                "bias": jnp.asarray(g[f"{case}_bias"]),
                "alpha": jnp.asarray(g[f"{case}_alpha"].reshape(())),
            }
            layer = cayley.Conv(len(weight), kernel_size=weight.shape[2])
            y, vjp = jax.vjp(lambda p, x, m=layer: m.apply({"params": p}, x), params, x)
            grads, gx = vjp(jnp.asarray(np.moveaxis(g[f"{case}_gy"], 1, -1)))
            close(y, np.moveaxis(g[f"{case}_y"], 1, -1))
            close(gx, np.moveaxis(g[f"{case}_gx"], 1, -1))
            close(grads["kernel"].transpose(3, 2, 0, 1), g[f"{case}_g_weight"])
            close(grads["bias"], g[f"{case}_g_bias"])
            close(grads["alpha"].reshape(1), g[f"{case}_g_alpha"].reshape(1))
        _check_all_read(g)


def _check_all_read(g):
    cayley = [name for name in g if name.startswith("cayley")]
    assert cayley and not set(cayley) & set(g.unread())


@pytest.mark.parametrize("stride", [1, 2])
def test_layers_start_with_their_kernel_unscaled(stride):
    layer, x = cayley.Conv(5, stride=stride), jnp.zeros((1, 8, 8, 3))
    params = layer.init(jax.random.key(0), x)["params"]
    kernel, side = params["kernel"], 8 // stride
    q = cayley.orthogonal_kernel(kernel, params["alpha"], side)
    f = lot.frequency_response(kernel, side + kernel.shape[0] - 1)
    expected = linalg.cayley(f.re + 1j * f.im)
    ours = np.asarray(q.re) + (0 if q.im is None else 1j * np.asarray(q.im))
    np.testing.assert_allclose(
        np.broadcast_to(ours, expected.shape), expected, atol=1e-5
    )
