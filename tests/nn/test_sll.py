"""Residual layers with the transposed kernel: SLL and CPL."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import Golden, close, golden_files

from jaxcert.nn import cpl, liresnet, sll


@pytest.mark.golden("lipschitz_l2")
def test_residual_layer_equals_the_original_in_value_and_gradients(x64):
    for path in golden_files("lipschitz_l2", "later_layers*.npz"):
        g = Golden(path)
        x, gy = (jnp.asarray(np.moveaxis(g[n], 1, -1)) for n in ("sll_x", "sll_gy"))
        kernel = jnp.asarray(g["sll_kernel"].transpose(2, 3, 1, 0))
        bias = jnp.asarray(g["sll_bias"].reshape(-1))
        # q cancels in the original: no gradient, and the same output as for q = 1
        rounding = 1e-12 * np.abs(g["sll_g_kernel"]).max()
        assert np.abs(g["sll_g_q"]).max() <= rounding and g["sll_q"].any()

        def layer(x, kernel, bias):
            t = sll.multipliers(kernel, jnp.zeros(kernel.shape[3]))
            return sll.residual(x, kernel, bias, t, features=x.shape[-1])

        y, vjp = jax.vjp(layer, x, kernel, bias)
        gx, gk, gb = vjp(gy)
        close(np.moveaxis(y, -1, 1), g["sll_y"])
        close(np.moveaxis(gx, -1, 1), g["sll_gx"])
        close(gk.transpose(3, 2, 0, 1), g["sll_g_kernel"])
        close(gb, g["sll_g_bias"].reshape(-1))
        assert not [name for name in g.unread() if name.startswith("sll")]


def test_rows_of_zeros_have_no_multiplier_and_finite_gradients():
    kernel = jax.random.normal(jax.random.key(0), (3, 3, 2, 4)).at[..., 1].set(0.0)

    def total(kernel):
        t = sll.multipliers(kernel, jnp.zeros(4))
        return t.sum(), t

    gradient, t = jax.grad(total, has_aux=True)(kernel)
    assert t[1] == 0 and (np.delete(t, 1) > 0).all()
    assert np.isfinite(gradient).all()


def jacobian_norm(kernel, t, side):
    """Largest possible: with every unit on, I - 2 K^T t K."""
    c = kernel.shape[2]
    basis = jnp.eye(side * side * c).reshape(-1, side, side, c)
    on = jnp.full(kernel.shape[3], 1e3)
    y = sll.residual(basis, kernel, on, t, features=c)
    y = y - sll.residual(0 * basis[:1], kernel, on, t, features=c)
    return np.linalg.norm(np.asarray(y).reshape(len(basis), -1), 2)


@pytest.mark.parametrize("too_large", [0.5, 1.0, 1.5, 8.0])
def test_bound_holds_and_is_tight_for_any_multiplier(x64, too_large):
    kernel = jax.random.normal(jax.random.key(1), (3, 3, 2, 2))
    basis = jnp.eye(32).reshape(-1, 4, 4, 2)
    dense = liresnet.conv(basis, kernel, padding=1).reshape(32, -1)
    norm = np.linalg.norm(np.asarray(dense), 2)
    t = jnp.asarray(too_large / norm**2)
    bound = sll.residual_bound(np.asarray(kernel), np.asarray(t), 4, tight=True)
    expected = max(1.0, 2 * too_large - 1)
    assert jacobian_norm(kernel, t, 4) <= bound + 1e-12
    assert expected <= bound <= expected * (1 + 1e-5)


def test_bound_of_what_is_not_finite_is_infinite():
    kernel = np.ones((1, 1, 2, 2))
    for t in (np.inf, np.nan, -1.0):
        assert sll.residual_bound(kernel, np.asarray(t), 1, tight=False) == np.inf
    nan = np.full_like(kernel, np.nan)
    assert sll.residual_bound(nan, np.asarray(1.0), 1, tight=False) == np.inf


@pytest.mark.parametrize("features", [2, 3, 5])
@pytest.mark.parametrize("module", [sll, cpl])
def test_a_kernel_of_zeros_pads_or_crops_the_channels(module, features):
    layer, x = module.Conv(features), jax.random.normal(jax.random.key(0), (1, 2, 2, 3))
    variables = jax.jit(layer.init)(jax.random.key(1), x)
    params = {**variables["params"], "kernel": 0 * variables["params"]["kernel"]}
    state = {k: v for k, v in variables.items() if k == "power"}
    y = layer.apply({"params": params, **state}, x)
    expected = jnp.pad(x, [(0, 0)] * 3 + [(0, 2)])[..., :features]
    np.testing.assert_array_equal(y, expected)


def test_carried_vector_moves_in_training_alone():
    layer, x = cpl.Conv(3), jax.random.normal(jax.random.key(0), (2, 4, 4, 3))
    variables = dict(jax.jit(layer.init)(jax.random.key(1), x))
    variables.pop("prepared")
    kernel = jax.random.normal(jax.random.key(2), (3, 3, 3, 3))
    variables["params"] = {**variables["params"], "kernel": kernel}
    y, after = layer.apply(variables, x, mutable=["power"])
    assert not np.array_equal(after["power"]["vector"], variables["power"]["vector"])
    _, prepared = layer.apply(variables, x, mutable=["prepared"])
    assert set(prepared) == {"prepared"}
    # the training pass has taken one step from the vector of another kernel
    assert np.abs(layer.apply({**variables, **prepared}, x) - y).max() > 1e-4
    np.testing.assert_allclose(
        layer.apply({**variables, **prepared}, x), layer.apply(variables, x), atol=1e-5
    )


@pytest.mark.parametrize("module", [sll, cpl])
def test_a_bias_adds_at_most_its_gain(x64, module):
    """With a small kernel t is large, and a bias adds far more than its own norm."""
    layer, x = module.Dense(4), jax.random.normal(jax.random.key(0), (50, 4))
    variables = layer.init(jax.random.key(1), x)
    params = {**variables["params"], "bias": jnp.zeros(4)}
    params["kernel"] = 0.05 * params["kernel"]
    variables = {**variables, "params": params}
    variables.pop("prepared", None)
    _, prepared = layer.apply(variables, x, mutable=["prepared"])
    gain = layer.apply({**variables, **prepared}, method="bias_gain")
    without = layer.apply({**variables, **prepared}, x)
    added = {}
    for size in (1e-3, 1.0, 1e3):
        moved = {**params, "bias": jnp.full(4, size)}
        y = layer.apply({**variables, **prepared, "params": moved}, x)
        added[size] = np.linalg.norm(y - without, axis=1).max() / (2 * size)
    assert 1 < max(added.values()) <= gain
