"""Layers of the U-Nets that denoise: blocks, attention, resampling, noise levels.

DDPM++ and NCSN++ are of Song, Sohl-Dickstein, Kingma, Kumar, Ermon and Poole, Score-Based
Generative Modeling through Stochastic Differential Equations (2021), ADM of Dhariwal and
Nichol, Diffusion Models Beat GANs on Image Synthesis (2021). A block is

    h = conv0(silu(norm0(x)))                               x, h: image, features
    h = silu(norm1(h + affine(e)))                          DDPM++, NCSN++
    h = silu(norm1(h) (1 + a) + b),   (a, b) = affine(e)    ADM
    y = s (skip(x) + conv1(dropout(h)))
    z = s (y + proj(softmax(q k^T / sqrt(c)) v)),   (q, k, v) = qkv(norm(y))

where e embeds noise level and class, c is the number of channels of a head, and a block
that resamples does so in front of conv0 and skip. Images are [B,H,W,C]. The types are those
of x; statistics, softmax and everything before a block's `affine` are float32 or wider.

The originals interleave q, k and v channel by channel; here they are three thirds.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxcert.interfaces import Array

Init = Callable[..., Array]

_ZEROS = nn.initializers.zeros


def _xavier(gain: float) -> Init:
    """gain * uniform(-1, 1) sqrt(6 / (fan in + fan out))"""
    return nn.initializers.variance_scaling(gain**2, "fan_avg", "uniform")


def _no_bias(inputs: int) -> Init:
    return _ZEROS


def _pytorch_bias(inputs: int) -> Init:
    """uniform(-1, 1) / sqrt(inputs), PyTorch's default"""
    return lambda key, shape, dtype=jnp.float32: jax.random.uniform(
        key, shape, dtype, -1 / math.sqrt(inputs), 1 / math.sqrt(inputs)
    )


class Family(NamedTuple):
    """What differs between the blocks of the papers."""

    eps: float
    """of normalisations"""
    scale: float
    """s, of every sum with a skip"""
    modulated: bool
    """the embedding scales and shifts"""
    resampled_skip: bool
    """a skip that is resampled has a convolution even if the width stays"""
    head_channels: int | None
    """least channels of a head; None: one head"""
    taps: tuple[int, ...]
    """of the filter that resamples, along each axis"""
    kernel: Init
    last: Init
    """of what is added to a skip, and of the output"""
    qkv: Init
    bias: Callable[[int], Init]

    def heads(self, channels: int) -> int:
        return 1 if self.head_channels is None else channels // self.head_channels


DDPMPP = Family(
    eps=1e-6,
    scale=math.sqrt(0.5),
    modulated=False,
    resampled_skip=True,
    head_channels=None,
    taps=(1, 1),
    kernel=_xavier(1.0),
    last=_xavier(1e-5),
    qkv=_xavier(math.sqrt(0.2)),
    bias=_no_bias,
)
NCSNPP = DDPMPP._replace(taps=(1, 3, 3, 1))
_FAN_IN = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")
ADM = Family(
    eps=1e-5,
    scale=1.0,
    modulated=True,
    resampled_skip=False,
    head_channels=64,
    taps=(1, 1),
    kernel=_FAN_IN,
    last=_ZEROS,
    qkv=_FAN_IN,
    bias=_pytorch_bias,
)


class Block(nn.Module):
    """(x [B,H,W,C], embedding [B,E]) -> [B,H',W',features]; heads 0: no attention."""

    family: Family
    features: int
    heads: int = 0
    resample: str | None = None  # 'down' | 'up'
    dropout: float = 0.0

    @nn.compact
    def __call__(self, x: Array, embedding: Array, train: bool) -> Array:
        family, features = self.family, self.features
        resampled = partial(_RESAMPLE[self.resample], taps=family.taps)
        h = nn.silu(group_norm(family, x, "norm0"))
        h = conv(family, features, resampled(h), "conv0")
        widths = 2 * features if family.modulated else features
        affine = dense(family, widths, embedding, "affine")
        affine = affine.astype(x.dtype)[:, None, None]
        if family.modulated:
            a, b = jnp.split(affine, 2, -1)
            h = group_norm(family, h, "norm1") * (1 + a) + b
        else:
            h = group_norm(family, h + affine, "norm1")
        h = nn.Dropout(self.dropout, deterministic=not train)(nn.silu(h))
        h = conv(family, features, h, "conv1", last=True)
        x = resampled(x)
        if x.shape[-1] != features or (self.resample and family.resampled_skip):
            x = dense(family, features, x, "skip")
        x = (x + h) * family.scale
        if self.heads:
            x = Attention(family, self.heads, name="attention")(x)
        return x


class Attention(nn.Module):
    """[B,H,W,C] -> [B,H,W,C], every pixel to every pixel."""

    family: Family
    heads: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        channels = x.shape[-1]
        y = group_norm(self.family, x, "norm")
        qkv = dense(self.family, 3 * channels, y, "qkv", kernel=self.family.qkv)
        heads = qkv.reshape(len(x), -1, 3, self.heads, channels // self.heads)
        q, k, v = jnp.moveaxis(heads, 2, 0)
        # jax.nn.dot_product_attention has a float32 softmax in float64 as well
        wide = jnp.promote_types(x.dtype, jnp.float32)
        logits = jnp.einsum("bqhc,bkhc->bhqk", q, k, preferred_element_type=wide)
        weights = nn.softmax(logits / math.sqrt(q.shape[-1])).astype(x.dtype)
        y = jnp.einsum("bhqk,bkhc->bqhc", weights, v).reshape(x.shape)
        return (x + dense(self.family, channels, y, "proj", last=True)) * (
            self.family.scale
        )


def conv(
    family: Family, features: int, x: Array, name: str, *, padding=1, last=False
) -> Array:
    """3x3 convolution; `last` ones start at, or near, zero."""
    return nn.Conv(
        features,
        (3, 3),
        padding=padding,
        kernel_init=family.last if last else family.kernel,
        bias_init=_ZEROS if last else family.bias(9 * x.shape[-1]),
        dtype=x.dtype,
        name=name,
    )(x)


def dense(
    family: Family, features: int, x: Array, name: str, *, kernel=None, last=False
) -> Array:
    """Linear layer on the last axis, for images a 1x1 convolution."""
    return nn.Dense(
        features,
        kernel_init=kernel or (family.last if last else family.kernel),
        bias_init=_ZEROS if last else family.bias(x.shape[-1]),
        dtype=x.dtype,
        name=name,
    )(x)


def group_norm(family: Family, x: Array, name: str) -> Array:
    """Over min(32, C / 4) groups; where they do not divide C, over what divides both."""
    channels = x.shape[-1]
    return nn.GroupNorm(
        math.gcd(min(32, channels // 4), channels),
        epsilon=family.eps,
        dtype=x.dtype,
        use_fast_variance=False,  # E x^2 - (E x)^2 has too few digits beside this eps
        name=name,
    )(x)


def downsample(x: Array, taps: tuple[int, ...], *, pad: bool = True) -> Array:
    """Filtered by taps / sum(taps) along both axes, every second pixel kept:
    [B,H,W,C] -> [B,H/2,W/2,C], zeros around; not `pad`: no zeros, so x has that border."""
    border = (len(taps) - 2) // 2
    for axis in (1, 2):
        if pad:
            widths = [(border, border) if i == axis else (0, 0) for i in range(4)]
            x = jnp.pad(x, widths)
        size = x.shape[axis] - 2 * border
        shifted = (
            tap / sum(taps) * jax.lax.slice_in_dim(x, i, i + size - 1, 2, axis)
            for i, tap in enumerate(taps)
        )
        x = sum(shifted)
    return x


def upsample(x: Array, taps: tuple[int, ...]) -> Array:
    """4 times the transpose of `downsample`: [B,H,W,C] -> [B,2H,2W,C]."""
    batch, height, width, channels = x.shape
    shape = batch, 2 * height, 2 * width, channels
    like = jax.ShapeDtypeStruct(shape, x.dtype)
    (y,) = jax.linear_transpose(partial(downsample, taps=taps), like)(x)
    return 4 * y


def _as_it_is(x: Array, taps: tuple[int, ...]) -> Array:
    return x


_RESAMPLE = {"down": downsample, "up": upsample, None: _as_it_is}


def sinusoids(c_noise: Array, channels: int, *, adm: bool) -> Array:
    """[B] -> [B,channels]: sines and cosines of f c_noise, f falling from 1 to 1e-4.

    ADM stops one step short of 1e-4 and has the cosines first.
    """
    count = channels // 2
    i = jnp.arange(count, dtype=c_noise.dtype)
    f = 1e-4 ** (i / (count if adm else count - 1))
    return _waves(c_noise[:, None] * f, cosines_first=adm)


class Fourier(nn.Module):
    """[B] -> [B,channels]: sines and cosines of 2 pi f c_noise at random frequencies f,
    which are never trained: collection `constants`."""

    channels: int

    @nn.compact
    def __call__(self, c_noise: Array) -> Array:
        def draw():
            key = self.make_rng("params")
            return 16 * jax.random.normal(key, (self.channels // 2,))

        f = self.variable("constants", "freqs", draw).value.astype(c_noise.dtype)
        return _waves(2 * math.pi * c_noise[:, None] * f, cosines_first=False)


def _waves(angle: Array, *, cosines_first: bool) -> Array:
    waves = jnp.sin(angle), jnp.cos(angle)
    return jnp.concatenate(waves[::-1] if cosines_first else waves, -1)
