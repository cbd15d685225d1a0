"""Layers of denoising U-Nets against the original block, and what each of them means."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import jax.test_util
import numpy as np
import pytest
from conftest import Golden, close, golden_each

from jaxcert.nn import group_norm, unet

TAPS = [(1, 1), (1, 3, 3, 1)]


@pytest.mark.golden("diffusion")
@golden_each("diffusion", "adm_block_multihead*.npz")
def test_block_with_several_heads_is_the_original(x64, file):
    golden = Golden(file)
    channels = golden["y"].shape[1]
    side, after = golden["x"].shape[2], golden["y"].shape[2]
    resample = {side: "", side // 2: "down", 2 * side: "up"}[after]

    def kernel(name):
        weight = golden[f"param/{name}.weight"]
        if weight.ndim == 2:
            return weight.T
        weight = weight.transpose(2, 3, 1, 0)
        return weight[0, 0] if weight.shape[0] == 1 else weight

    params = {
        name: {"kernel": kernel(name), "bias": golden[f"param/{name}.bias"]}
        for name in ("conv0", "affine", "conv1", "skip", "qkv", "proj")
        if f"param/{name}.weight" in golden
    } | {
        name: {
            "scale": golden[f"param/{name}.weight"],
            "bias": golden[f"param/{name}.bias"],
        }
        for name in ("norm0", "norm1", "norm2")
    }
    for name in [name for name in golden if name.endswith("resample_filter")]:
        np.testing.assert_array_equal(golden[name], 0.25)
    qkv, rest = params.pop("qkv"), {k: params.pop(k) for k in ("norm2", "proj")}
    x = np.float64(golden["x"].transpose(0, 2, 3, 1))
    e = np.float64(golden["emb"])

    def error(heads):
        ours = np.arange(3 * channels).reshape(heads, -1, 3).transpose(2, 0, 1).ravel()
        inside = dict(norm=rest["norm2"], proj=rest["proj"])
        inside["qkv"] = {leaf: array[..., ours] for leaf, array in qkv.items()}
        variables = {"params": {**params, "attention": inside}}
        block = unet.Block(unet.ADM, channels, heads, resample=resample)
        y = jax.jit(lambda x, e: block.apply(variables, (x,), e, train=False))(x, e)
        return np.abs(y.transpose(0, 3, 1, 2) - golden["y"]).max()

    # the number of heads is in no shape: one divisor of the channels gives the output
    tolerance = 2e-5 * np.abs(golden["y"]).max()
    divisors = [heads for heads in range(1, channels) if channels % heads == 0]
    assert sum(error(heads) <= tolerance for heads in divisors) == 1
    assert golden.unread() == []


def test_gradients_of_a_block_are_those_of_finite_differences(x64):
    block = unet.Block(unet.ADM, 8, heads=2, resample="up")
    random = np.random.default_rng(0)
    x, e = random.standard_normal((2, 2, 2, 4)), random.standard_normal((2, 3))
    x = x[..., :1], x[..., 1:]  # a group lies across their border
    shapes = jax.eval_shape(lambda: block.init(jax.random.key(0), x, e, False))
    at = jax.tree.map(lambda a: random.standard_normal(a.shape), (shapes, x, e))

    def loss(at):
        return jnp.sin(block.apply(*at, train=False)).sum()

    jax.test_util.check_grads(jax.jit(loss), (at,), order=1, modes=["rev"], eps=1e-5)


def _block_on(device, monkeypatch):
    """(output, gradients, number of arrays like an image that are kept for them) of a
    block in training, as if on that device."""
    monkeypatch.setattr(jax, "default_backend", lambda: device)
    block = unet.Block(unet.DDPMPP, 8, heads=1, dropout=0.3)
    random = np.random.default_rng(0)
    z = random.standard_normal((2, 4, 4, 12)).astype(np.float32)
    x, e = (z[..., :5], z[..., 5:]), random.standard_normal((2, 3)).astype(np.float32)
    key = jax.random.key(0)
    shapes = jax.eval_shape(lambda: block.init(key, x, e, False))
    at = jax.tree.map(
        lambda a: random.standard_normal(a.shape).astype(np.float32), (shapes, x, e)
    )

    def apply(at):
        return block.apply(*at, train=True, rngs={"dropout": key})

    @jax.jit
    def both(at):
        y, pull = jax.vjp(apply, at)
        return y, pull(jnp.cos(y))

    kept = jax.tree.leaves(jax.eval_shape(lambda at: jax.vjp(apply, at)[1], at))
    return *both(at), sum(a.shape[:3] == (2, 4, 4) for a in kept)


def test_accelerators_keep_less_for_the_same_gradients(monkeypatch):
    y, gradients, kept = _block_on("cpu", monkeypatch)
    same_y, same_gradients, fewer = _block_on("gpu", monkeypatch)
    close(same_y, y, 1e-5)
    jax.tree.map(partial(close, tolerance=1e-4), same_gradients, gradients)
    assert fewer <= kept - 2  # what both convolutions read


def test_attention_forgets_the_bias_of_its_keys():
    random = np.random.default_rng(0)
    x = random.standard_normal((1, 2, 2, 8)).astype(np.float32)
    attention = unet.Attention(unet.DDPMPP._replace(last=unet.DDPMPP.kernel), heads=2)
    params = attention.init(jax.random.key(0), x)
    params = jax.tree.map(lambda a: random.standard_normal(a.shape), params)

    def output(at):
        return attention.apply(params | {"params": params["params"] | dict(qkv=at)}, x)

    def slope(bias):
        at = dict(params["params"]["qkv"])
        return jax.jacobian(lambda b: output(at | dict(bias=b)))(bias)

    slopes = np.asarray(jax.jit(slope)(params["params"]["qkv"]["bias"]))
    for_q, for_k, for_v = (np.abs(s).max() for s in np.split(slopes, 3, -1))
    assert for_k == 0 and min(for_q, for_v) > 1e-3


@pytest.mark.parametrize("taps", TAPS)
def test_resampling_is_a_depthwise_convolution_and_its_transpose(x64, taps):
    x = np.random.default_rng(0).standard_normal((2, 6, 4, 3))
    border = (len(taps) - 2) // 2
    kernel = np.outer(taps, taps) / sum(taps) ** 2
    padded = np.pad(x, ((0, 0), (border, border), (border, border), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, kernel.shape, (1, 2))
    expected = np.einsum("bhwcij,ij->bhwc", windows[:, ::2, ::2], kernel)
    np.testing.assert_allclose(unet.downsample(x, taps), expected, atol=1e-12)
    np.testing.assert_allclose(
        unet.downsample(padded, taps, pad=False), expected, atol=1e-12
    )
    y = np.random.default_rng(1).standard_normal((2, 3, 2, 3))
    up = unet.upsample(y, taps)
    np.testing.assert_allclose((up * x).sum(), 4 * (y * expected).sum())


@pytest.mark.parametrize("taps", TAPS)
def test_resampling_keeps_a_constant_image_but_at_a_border_of_zeros(taps):
    ones = jnp.ones((1, 8, 8, 1))
    inside = np.s_[:, 1:-1, 1:-1] if len(taps) > 2 else np.s_[:]
    for resampled in (unet.downsample(ones, taps), unet.upsample(ones, taps)):
        np.testing.assert_allclose(resampled[inside], 1, rtol=1e-6)


def test_attention_follows_a_permutation_of_the_pixels():
    random = np.random.default_rng(0)
    x = random.standard_normal((2, 4, 4, 16)).astype(np.float32)
    attention = unet.Attention(unet.DDPMPP._replace(last=unet.DDPMPP.kernel), heads=2)
    order = random.permutation(16)

    @jax.jit
    def apply(x):
        return attention.apply(attention.init(jax.random.key(0), x), x)

    def permuted(x):
        return x.reshape(2, 16, 16)[:, order].reshape(x.shape)

    np.testing.assert_allclose(apply(permuted(x)), permuted(apply(x)), atol=1e-5)


def test_sinusoids_fall_from_1_to_a_ten_thousandth_in_the_order_of_the_family():
    c = np.float32([0.7])
    song = unet.sinusoids(c, 6, adm=False)[0]
    f = np.array([1, 1e-2, 1e-4])
    np.testing.assert_allclose(song, [*np.sin(f * 0.7), *np.cos(f * 0.7)], rtol=1e-5)
    adm = unet.sinusoids(c, 4, adm=True)[0]
    f = np.array([1, 1e-2])
    np.testing.assert_allclose(adm, [*np.cos(f * 0.7), *np.sin(f * 0.7)], rtol=1e-5)


def test_statistics_of_bfloat16_images_have_float32_digits():
    x = jnp.asarray(np.random.default_rng(0).normal(3, 1, (1, 64, 64, 8)), jnp.bfloat16)

    def normed(x):
        norm = unet.nn.GroupNorm(2, epsilon=1e-6)
        return norm.apply(norm.init(jax.random.key(0), x), x)

    class Norm(unet.nn.Module):
        @unet.nn.compact
        def __call__(self, x):
            scaling = unet.group_norm(unet.DDPMPP, (x,), "norm")
            return group_norm.apply(group_norm.identity, 0.0, (x,), scaling, None)

    narrow = Norm().apply(Norm().init(jax.random.key(0), x), x)
    assert narrow.dtype == jnp.bfloat16
    wide = normed(x.astype(jnp.float32))
    # only the result is rounded, by at most half of its last of 8 bits
    np.testing.assert_allclose(np.float32(narrow), wide, rtol=2**-8, atol=1e-6)


@pytest.mark.parametrize("channels, groups", [(16, 4), (128, 32), (144, 16), (3, 3)])
def test_groups_of_a_normalisation_divide_its_channels(channels, groups):
    class Norm(unet.nn.Module):
        @unet.nn.compact
        def __call__(self, x):
            scaling = unet.group_norm(unet.DDPMPP, (x,), "norm")
            return group_norm.apply(group_norm.identity, 0.0, (x,), scaling, None)

    x = np.random.default_rng(0).standard_normal((1, 4, 4, channels)).astype(np.float32)
    y = np.asarray(Norm().apply(Norm().init(jax.random.key(0), x), x))
    split = y.reshape(16, groups, -1)
    if groups < channels:
        assert np.abs(split[..., 0].mean(0)).max() > 1e-3  # not by channel
    np.testing.assert_allclose(split.mean((0, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(split.std((0, 2)), 1, rtol=1e-4)
