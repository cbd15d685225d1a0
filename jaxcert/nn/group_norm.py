"""Group normalisation (Wu & He 2018) as a scale and a shift for each channel of an image.

    y = act((x - mean_g) scale / sqrt(var_g + eps) + bias),  g the group of the channel

`GroupNorm` reads an image once, for its statistics, and `apply` once more, with all that
follows: what is added to x for a whole channel moves its mean, and what scales and shifts
y scales and shifts `scale` and `bias`. Several images stand for the concatenation of their
channels, which nobody needs to make: groups follow from the statistics of channels,

    mean_c = K + E(x - K)                  mean_g = E_c mean_c
    var_c  = E(x - K)^2 - (E(x - K))^2     var_g  = E_c (var_c + (mean_c - mean_g)^2)

where K is the first pixel of the channel, without which the digits of a large mean
would cancel. With it the relative error of var_c is at most of the order of the number
of pixels times a rounding, where the first pixel alone is far from the others, and a
few roundings for most images.

Gradients keep x and compute the rest again, and do so twice, once for their sums and
once for the gradient of x, so that each reads two narrow arrays and passes none to the
other.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax

from jaxcert.interfaces import Array


class Scaling(NamedTuple):
    """The affine map (x - center) factor + offset of each channel; [B,C] each, float32
    or wider."""

    center: Array
    factor: Array
    offset: Array


class GroupNorm(nn.Module):
    """Return the Scaling that normalises images [B,H,W,C_i], which stand for their
    concatenation [B,H,W,C].

    added: [B,C], to be normalised with the image. modulation: (a, b), [B,C] each:
    y (1 + a) + b.
    """

    groups: int
    eps: float

    @nn.compact
    def __call__(self, *images: Array, added=None, modulation=None) -> Scaling:
        channels = sum(x.shape[-1] for x in images)
        scale = self.param("scale", nn.initializers.ones, (channels,))
        bias = self.param("bias", nn.initializers.zeros, (channels,))
        found = [moments(x) for x in images]
        mean, var = (jnp.concatenate(m, -1) for m in zip(*found, strict=True))
        if added is not None:
            mean = mean + added
        center, var = _of_groups(mean, var, self.groups)
        if added is not None:
            center = center - added
        factor = scale * lax.rsqrt(var + self.eps)
        offset = jnp.broadcast_to(bias, factor.shape).astype(factor.dtype)
        if modulation is not None:
            a, b = modulation
            factor, offset = factor * (1 + a), offset * (1 + a) + b
        return Scaling(center, factor, offset)


@jax.custom_vjp
def moments(x: Array) -> tuple[Array, Array]:
    """Return mean and biased variance [B,C] over the pixels of x [B,H,W,C], in float32
    or wider."""
    wide = jnp.promote_types(x.dtype, jnp.float32)
    first = x[:, :1, :1].astype(wide)
    off = x.astype(wide) - first
    mean, square = off.mean((1, 2)), jnp.square(off).mean((1, 2))
    return first[:, 0, 0] + mean, jnp.maximum(square - jnp.square(mean), 0)


def _moments_forward(x):
    mean, var = moments(x)
    return (mean, var), (x, mean)


def _moments_backward(kept, gradient):
    x, mean = kept
    for_mean, for_var = (g[:, None, None] for g in gradient)
    d = for_mean + 2 * for_var * (x.astype(mean.dtype) - mean[:, None, None])
    return ((d / (x.shape[1] * x.shape[2])).astype(x.dtype),)


moments.defvjp(_moments_forward, _moments_backward)


def _of_groups(mean: Array, var: Array, groups: int) -> tuple[Array, Array]:
    """Return mean and variance [B,C] of the group of each channel, again from
    differences to the first one."""
    batch, channels = mean.shape
    mean, var = (v.reshape(batch, groups, -1) for v in (mean, var))
    first = lax.stop_gradient(mean[..., :1])
    off = mean - first
    between = off.mean(-1, keepdims=True)
    square = (var + jnp.square(off)).mean(-1, keepdims=True)
    found = first + between, jnp.maximum(square - jnp.square(between), 0)
    mean, var = (jnp.broadcast_to(v, mean.shape) for v in found)
    return mean.reshape(batch, channels), var.reshape(batch, channels)


def silu(z: Array) -> Array:
    """Return z sigmoid(z)."""
    return z * nn.sigmoid(z)


def identity(z: Array) -> Array:
    """Return z."""
    return z


def _silu_slope(z: Array) -> Array:
    s = nn.sigmoid(z)
    return s * (1 + z * (1 - s))


_SLOPES = {silu: _silu_slope, identity: jnp.ones_like}


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def apply(
    act, rate: float, images: tuple[Array, ...], scaling: Scaling, kept: Array | None
) -> Array:
    """Return act of the scaled images, [B,H,W,C] in their type; act is silu or the
    identity. kept: the entries that dropout at `rate` keeps, bool [B,H,W,C], or None."""
    scaled = [act(_scaled(x, s)[1]).astype(x.dtype) for x, s in _each(images, scaling)]
    y = scaled[0] if len(scaled) == 1 else jnp.concatenate(scaled, -1)
    return y if kept is None else jnp.where(kept, y / (1 - rate), 0)


def _each(images, scaling):
    """Yield each image with its columns of the scaling."""
    start = 0
    for x in images:
        here = slice(start, start := start + x.shape[-1])
        yield x, Scaling(*(v[:, here] for v in scaling))


def _scaled(x: Array, scaling: Scaling) -> tuple[Array, Array]:
    """Return x - center, and x scaled."""
    center, factor, offset = (v[:, None, None] for v in scaling)
    off = x.astype(center.dtype) - center
    return off, off * factor + offset


def _apply_forward(act, rate, *given):
    return apply(act, rate, *given), given


def _apply_backward(act, rate, given, gradient):
    images, scaling, kept = given

    def through(images, gradient, kept):
        """Yield for each image x - center, its scaling, and the gradient with respect to
        the scaled image."""
        wide = gradient.astype(scaling.center.dtype)
        if kept is not None:
            wide = jnp.where(kept, wide / (1 - rate), 0)
        start = 0
        for x, s in _each(images, scaling):
            here = wide[..., start : (start := start + x.shape[-1])]
            off, z = _scaled(x, s)
            yield off, s, here * _SLOPES[act](z)

    sums = []
    for off, s, d in through(images, gradient, kept):
        total = d.sum((1, 2))
        sums.append(Scaling(-s.factor * total, (d * off).sum((1, 2)), total))
    # without the barrier d would be stored in float32 for both of its uses
    again = lax.optimization_barrier((images, gradient, kept))
    for_images = tuple(
        (d * s.factor[:, None, None]).astype(gradient.dtype)
        for _, s, d in through(*again)
    )
    for_scaling = jax.tree.map(lambda *v: jnp.concatenate(v, -1), *sums)
    return for_images, for_scaling, None


apply.defvjp(_apply_forward, _apply_backward)
