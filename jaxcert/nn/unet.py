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
that resamples does so before conv0 and skip. Images are [B,H,W,C]. The types are those
of x; statistics, softmax and everything before a block's `affine` are float32 or wider.

The originals interleave q, k and v channel by channel; here they are three thirds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial, reduce
from operator import add
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxcert.interfaces import Array
from jaxcert.nn.group_norm import GroupNorm, Scaling, apply, identity, silu
from jaxcert.ops import conv as ops_conv

Init = Callable[..., Array]

_ZEROS = nn.initializers.zeros


def _xavier(gain: float) -> Init:
    """Return an initialiser that draws gain * uniform(-1, 1) sqrt(6 /
    (fan in + fan out))."""
    return nn.initializers.variance_scaling(gain**2, "fan_avg", "uniform")


def _no_bias(inputs: int) -> Init:
    return _ZEROS


def _pytorch_bias(inputs: int) -> Init:
    """Return an initialiser that draws uniform(-1, 1) / sqrt(inputs), PyTorch's
    default."""
    return lambda key, shape, dtype=jnp.float32: jax.random.uniform(
        key, shape, dtype, -1 / math.sqrt(inputs), 1 / math.sqrt(inputs)
    )


class Family(NamedTuple):
    """The choices in which the blocks of the papers differ."""

    eps: float
    """eps of the normalisations"""
    scale: float
    """s, the factor of every sum with a skip"""
    modulated: bool
    """True if the embedding scales and shifts"""
    resampled_skip: bool
    """True if a skip that is resampled has a convolution even where the width stays"""
    head_channels: int | None
    """the least number of channels of a head; None: one head"""
    taps: tuple[int, ...]
    """the filter that resamples, along each axis"""
    kernel: Init
    last: Init
    """initialiser of the layers that are added to a skip, and of the output"""
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
    """Map images [B,H,W,C_i], which stand for their concatenation, and an embedding
    [B,E] to [B,H',W',features]; heads 0: no attention."""

    family: Family
    features: int
    heads: int = 0
    resample: str | None = None  # 'down' | 'up'
    dropout: float = 0.0

    @nn.compact
    def __call__(self, images: tuple[Array, ...], embedding: Array, train: bool):
        family, features, s = self.family, self.features, self.family.scale
        resampled = partial(_RESAMPLE[self.resample], taps=family.taps)
        scaling = group_norm(family, images, "norm0")
        shape = 3, 3, sum(x.shape[-1] for x in images), features
        given = images, scaling, None, *weights(family, shape, "conv0")
        h = _recomputed(partial(_normed_conv, train, resampled, 0.0))(*given)
        widths = 2 * features if family.modulated else features
        affine = dense(family, widths, embedding, "affine")
        if family.modulated:
            moved = dict(modulation=jnp.split(affine, 2, -1))
        else:
            moved = dict(added=affine)
        scaling = group_norm(family, (h,), "norm1", **moved)
        rate = self.dropout if train else 0.0
        kept = _Kept(rate, name="Dropout_0")(h.shape) if rate else None
        # s is folded into the weights, and the convolution adds one bias for both terms
        kernel, bias = weights(
            family, (3, 3, features, features), "conv1", init=family.last
        )
        channels = sum(x.shape[-1] for x in images)
        if channels != features or (self.resample and family.resampled_skip):
            rows, more = weights(family, (channels, features), "skip")
            bias = bias + more
            if self.resample == "up":
                x = resampled(_product(images, s * rows))
            else:
                x = _product([resampled(x) for x in images], s * rows)
        else:
            x = s * resampled(jnp.concatenate(images, -1))
        given = (h,), scaling, kept, s * kernel, s * bias
        x = x + _recomputed(partial(_normed_conv, train, _as_it_is, rate))(*given)
        if self.heads:
            x = Attention(family, self.heads, name="attention")(x)
        return x


class _Kept(nn.Module):
    """Draw which entries of an array dropout at `rate` keeps: bool."""

    rate: float

    @nn.compact
    def __call__(self, shape: tuple[int, ...]) -> Array:
        return jax.random.bernoulli(self.make_rng("dropout"), 1 - self.rate, shape)


def _normed_conv(train, resampled, rate, images, scaling, kept, *layer) -> Array:
    y = apply(silu, rate, images, scaling, kept)
    return _conv(train, resampled(y), *layer)


def _recomputed(f: Callable) -> Callable:
    """Return f with a gradient that computes everything inside f again. On an
    accelerator this costs two of 40 reads and writes of an image and saves two of the
    five arrays that a block keeps for its gradient; a CPU keeps them, because time
    counts more there."""
    return f if jax.default_backend() == "cpu" else jax.checkpoint(f)


def _product(images: Sequence[Array], kernel: Array) -> Array:
    """Apply a linear layer to the channels of images [B,H,W,C_i] that stand for their
    concatenation. It is never formed: each image is multiplied by its rows of the
    kernel."""
    ends = np.cumsum([x.shape[-1] for x in images])[:-1]
    rows = jnp.split(kernel.astype(images[0].dtype), ends)
    return reduce(add, (x @ w for x, w in zip(images, rows, strict=True)))


class Attention(nn.Module):
    """Attention of every pixel to every pixel, [B,H,W,C] -> [B,H,W,C].

    The bias of k adds the same number to all logits of a query, which does not change
    their softmax, so it is left out; the weights of a query sum to 1, so the bias of v
    is added after them.
    """

    family: Family
    heads: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        family, batch, channels = self.family, len(x), x.shape[-1]
        s = family.scale
        y = apply(identity, 0.0, (x,), group_norm(family, (x,), "norm"), None)
        # jax states no type for a custom_vjp with nondiff_argnums
        y = y.reshape(batch, -1, channels)  # pyright: ignore[reportAttributeAccessIssue]
        kernel, bias = weights(family, (channels, 3 * channels), "qkv", init=family.qkv)
        # one product for all three would have to be split, which copies it
        thirds = jnp.split(kernel.astype(x.dtype), 3, -1)
        for_q, _, for_v = jnp.split(bias, 3)
        q, k, v = (y @ third for third in thirds)
        q, k, v = (
            a.reshape(batch, -1, self.heads, channels // self.heads)
            for a in (q + for_q.astype(x.dtype), k, v)
        )
        # jax.nn.dot_product_attention has a float32 softmax in float64 as well
        wide = jnp.promote_types(x.dtype, jnp.float32)
        logits = jnp.einsum("bqhc,bkhc->bhqk", q, k, preferred_element_type=wide)
        chosen = nn.softmax(logits / math.sqrt(q.shape[-1])).astype(x.dtype)
        y = jnp.einsum("bhqk,bkhc->bqhc", chosen, v).reshape(x.shape)
        kernel, bias = weights(family, (channels, channels), "proj", init=family.last)
        bias = bias + for_v @ kernel
        y = y @ (s * kernel).astype(x.dtype) + (s * bias).astype(x.dtype)
        return s * x + y


class _Weights(nn.Module):
    shape: tuple[int, ...]
    kernel: Init
    bias: Init

    @nn.compact
    def __call__(self) -> tuple[Array, Array]:
        return (
            self.param("kernel", self.kernel, self.shape),
            self.param("bias", self.bias, self.shape[-1:]),
        )


def weights(
    family: Family, shape: tuple[int, ...], name: str, *, init: Init | None = None
) -> tuple[Array, Array]:
    """Return the kernel [..., inputs, features] and the bias of a layer, for a caller
    that computes with them itself; with `last` as `init` the bias is zero."""
    bias = _ZEROS if init is family.last else family.bias(math.prod(shape[:-1]))
    return _Weights(shape, init or family.kernel, bias, name=name)()


def conv(
    family: Family, features: int, x: Array, name: str, train: bool, *, last=False
) -> Array:
    """Apply a 3x3 convolution; a `last` one starts at, or near, zero."""
    shape = 3, 3, x.shape[-1], features
    init = family.last if last else None
    return _conv(train, x, *weights(family, shape, name, init=init))


def _conv(train: bool, x: Array, kernel: Array, bias: Array) -> Array:
    kernel = kernel.astype(x.dtype)
    # the form that is fastest for an evaluation has slow gradients of its kernel
    kernel = kernel if train else ops_conv.arrange(kernel, x)
    return ops_conv.conv(x, kernel) + bias.astype(x.dtype)


def dense(family: Family, features: int, x: Array, name: str) -> Array:
    """Apply a linear layer, [B,inputs] -> [B,features]."""
    kernel, bias = weights(family, (x.shape[-1], features), name)
    return x @ kernel.astype(x.dtype) + bias.astype(x.dtype)


def group_norm(
    family: Family, images: tuple[Array, ...], name: str, **moved
) -> Scaling:
    """Normalise over min(32, C / 4) groups, or where that does not divide C, over their
    greatest common divisor."""
    channels = sum(x.shape[-1] for x in images)
    groups = math.gcd(min(32, channels // 4), channels)
    return GroupNorm(groups, family.eps, name=name)(*images, **moved)


def downsample(x: Array, taps: tuple[int, ...], *, pad: bool = True) -> Array:
    """Filter by taps / sum(taps) along both axes and keep every second pixel: [B,H,W,C]
    -> [B,H/2,W/2,C], with zero padding. Without `pad` x brings that border itself."""
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
        x = reduce(add, shifted)
    return x


def upsample(x: Array, taps: tuple[int, ...]) -> Array:
    """Return 4 times the transpose of `downsample`: [B,H,W,C] -> [B,2H,2W,C]."""
    batch, height, width, channels = x.shape
    shape = batch, 2 * height, 2 * width, channels
    like = jax.ShapeDtypeStruct(shape, x.dtype)
    (y,) = jax.linear_transpose(partial(downsample, taps=taps), like)(x)
    return 4 * y


def _as_it_is(x: Array, taps: tuple[int, ...] = ()) -> Array:
    return x


_RESAMPLE = {"down": downsample, "up": upsample, None: _as_it_is}


def sinusoids(c_noise: Array, channels: int, *, adm: bool) -> Array:
    """Return sines and cosines of f c_noise for f falling from 1 to 1e-4, [B] ->
    [B,channels].

    ADM stops one step short of 1e-4 and has the cosines first.
    """
    count = channels // 2
    i = jnp.arange(count, dtype=c_noise.dtype)
    f = 1e-4 ** (i / (count if adm else count - 1))
    return _waves(c_noise[:, None] * f, cosines_first=adm)


class Fourier(nn.Module):
    """Return sines and cosines of 2 pi f c_noise, [B] -> [B,channels], at random
    frequencies f in the collection `constants`, which are never trained."""

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
