"""LOT layers against the original and against the dense operator."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import Golden, close, golden_files

from jaxcert.nn import lot
from jaxcert.ops import spectral

orthogonal_kernel = jax.jit(lot.orthogonal_kernel, static_argnums=1)


def nhwc(x):
    return jnp.asarray(np.moveaxis(x, 1, -1))


@pytest.mark.golden("lipschitz_l2")
def test_layers_equal_the_original_in_value_gradient_and_spectrum(x64):
    for path in golden_files("lipschitz_l2", "lot_conv*.npz"):
        g = Golden(path)
        for case in sorted({name.split("_")[0] for name in g}):
            _, features, k, stride, _ = g[f"{case}_meta"]
            x, weight = nhwc(g[f"{case}_x"]), g[f"{case}_weight"]
            params = {
                "kernel": jnp.asarray(weight.transpose(2, 3, 1, 0)),
                "bias": jnp.asarray(g[f"{case}_bias"]),
            }
            layer = lot.Conv(int(features), kernel_size=int(k), stride=int(stride))
            gy = nhwc(g[f"{case}_gy"])
            y, gp, gx = _value_and_gradients(layer, params, x, gy)
            close(y, nhwc(g[f"{case}_y"]))
            close(gx, nhwc(g[f"{case}_gx"]))
            close(gp["kernel"].transpose(3, 2, 0, 1), g[f"{case}_g_weight"])
            close(gp["bias"], g[f"{case}_g_bias"])
            _check_spectrum(g, case, params["kernel"], x.shape[1] // int(stride))
        assert not g.unread()


@partial(jax.jit, static_argnums=0)
def _value_and_gradients(layer, params, x, gy):
    y, vjp = jax.vjp(lambda p, x: layer.apply({"params": p}, x), params, x)
    return y, *vjp(gy)


def _check_spectrum(g, case, kernel, side):
    q = orthogonal_kernel(kernel, side)
    dense = np.asarray(q.re) + (0 if q.im is None else 1j * np.asarray(q.im))
    values = np.linalg.svd(dense, compute_uv=False)
    rank = min(dense.shape[1:])
    expected = g[f"{case}_ortho_sv_minmax"]
    close([values[:, :rank].min(), values.max()], expected)
    if f"{case}_ortho_spectrum_re" in g:
        full = g[f"{case}_ortho_spectrum_re"] + 1j * g[f"{case}_ortho_spectrum_im"]
        close(_full_spectrum(dense, side + kernel.shape[0] - 1), full)


def _full_spectrum(half, m):
    """All m * m frequencies from those that we keep: Q(-u,-v) = conj Q(u,v)."""
    if len(half) == 1:  # a 1x1 kernel
        return np.broadcast_to(half, (m * m, *half.shape[1:]))
    half = half.reshape(m, m // 2 + 1, *half.shape[1:])
    u, v = -np.arange(m), -np.arange(m // 2 + 1, m) % m
    rest = half[u][:, v].conj()
    return np.concatenate([half, rest], 1).reshape(m * m, *half.shape[2:])


@pytest.mark.golden("lipschitz_l2")
def test_dense_equals_the_one_by_one_layer_of_the_original(x64):
    for path in golden_files("lipschitz_l2", "lot_conv*.npz"):
        g = Golden(path)
        cases = [
            name.removesuffix("_meta")
            for name in g
            if name.endswith("_meta") and (g[name][2:] == 1).all()
        ]
        assert cases  # of kernel, stride and side 1
        for case in cases:
            weight = jnp.asarray(g[f"{case}_weight"].transpose(2, 3, 1, 0))
            params = {"kernel": weight, "bias": jnp.asarray(g[f"{case}_bias"])}
            x = jnp.asarray(g[f"{case}_x"][:, :, 0, 0])
            layer = lot.Dense(weight.shape[-1])
            close(layer.apply({"params": params}, x), g[f"{case}_y"][:, :, 0, 0])


@pytest.mark.parametrize("c_in,c_out,k,stride,n", [(3, 4, 3, 1, 5), (2, 8, 3, 2, 6)])
def test_dense_operator_is_a_contraction_below_the_bound(
    x64, c_in, c_out, k, stride, n
):
    layer = lot.Conv(c_out, kernel_size=k, stride=stride)
    shape = (n, n, c_in)
    params = jax.jit(layer.init)(jax.random.key(1), jnp.zeros((1, *shape)))["params"]
    flat = jnp.eye(n * n * c_in).reshape(-1, *shape)
    operator = jax.jit(layer.apply)({"params": params}, flat) - params["bias"]
    norm = np.linalg.norm(np.asarray(operator).reshape(len(flat), -1), 2)
    prepared = _prepare(layer, params, jnp.zeros((1, *shape)))
    bound = layer.apply({"params": params, **prepared}, method="bound")
    assert norm <= bound <= 1 + 1e-10
    assert norm > 0.5  # a wrong FFT would lose most of the signal


def test_square_layers_start_as_the_identity():
    x = jax.random.normal(jax.random.key(0), (2, 4, 4, 6))
    y, _ = jax.jit(lot.Conv(6).init_with_output)(jax.random.key(1), x)
    np.testing.assert_allclose(y, x, atol=2e-4)  # ten steps leave 1 - 1e-4


def test_evaluation_reads_the_prepared_kernel_and_gives_the_same_output():
    layer, x = lot.Conv(4), jax.random.normal(jax.random.key(0), (2, 4, 4, 3))
    params = jax.jit(layer.init)(jax.random.key(1), x)["params"]
    prepared = _prepare(layer, params, x[:1])
    apply = jax.jit(layer.apply)
    y = apply({"params": params, **prepared}, x)
    np.testing.assert_allclose(y, apply({"params": params}, x), atol=1e-6)
    other = jax.tree.map(lambda a: 2 * a, prepared)  # it really is what is read
    assert np.abs(apply({"params": params, **other}, x) - y).max() > 0.1


@partial(jax.jit, static_argnums=0)
def _prepare(layer, params, x):
    return layer.apply({"params": params}, x, mutable=["prepared"])[1]


def test_float32_agrees_with_float64_to_single_precision():
    kernel = jax.random.normal(jax.random.key(0), (3, 3, 8, 8)) / 9
    single = orthogonal_kernel(kernel, 6)
    with jax.enable_x64(True):
        double = orthogonal_kernel(kernel.astype(jnp.float64), 6)
        error = max(np.abs(a - b).max() for a, b in zip(single, double, strict=True))
    assert error < 1e-4


@pytest.mark.parametrize("shape", [(5, 3, 7), (2, 6, 2), (1, 1, 1), (3, 8, 8)])
@pytest.mark.parametrize("scale", [1.0, 1e-30, 1e30])
def test_norm_bound_is_above_the_svd_and_tight(shape, scale):
    draw = np.random.default_rng(0)
    for trial in range(20):
        a = draw.normal(size=shape) + 1j * draw.normal(size=shape) * (trial % 2)
        if trial % 3 == 0:
            a[:] = a[:, :, :1] @ a[:, :1, :]  # rank one
        norm = np.linalg.svd(a * scale, compute_uv=False).max()
        assert norm <= spectral.norm_bound(a * scale) <= norm * (1 + 1e-12)


def test_norm_bound_of_zero_is_zero_and_of_nan_is_infinite():
    assert spectral.norm_bound(np.zeros((1, 2, 2))) == 0
    assert spectral.norm_bound(np.full((1, 2, 2), np.nan)) == np.inf
