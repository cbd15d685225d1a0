"""What the areas share: drawn arrays, files, derivatives, and layers in the layout of the
originals (NCHW and OIHW)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np


def single(array):
    """Float64 numbers that float32 has."""
    return np.asarray(array, np.float32).astype(np.float64)


def normal(draw, *shape, scale=1.0):
    return single(scale * draw.normal(size=shape))


def pulled(function, cotangent, **arrays):
    """(y, gradients by name) of function(**arrays) along a cotangent."""
    arrays = {k: jnp.asarray(v) for k, v in arrays.items()}
    y, pull = jax.vjp(lambda arrays: function(**arrays), arrays)
    return y, pull(jnp.asarray(cotangent))[0]


def layer(draw, name, function, x, **params):
    """A layer under its names: {name}_x, _y, _gy, _gx, and _{p}, _g_{p} of a parameter."""
    shape = jax.eval_shape(function, x, **params).shape
    gy = normal(draw, *shape)
    y, grads = jax.jit(
        lambda **a: pulled(lambda x, **params: function(x, **params), gy, **a)
    )(x=x, **params)
    gx = grads.pop("x")
    found = dict(x=x, y=y, gy=gy, gx=gx) | params
    found |= {f"g_{p}": grad for p, grad in grads.items()}
    return {f"{name}_{key}": value for key, value in found.items()}


def conv(x, w, *, stride=1, padding=0):
    return jax.lax.conv_general_dilated(
        x, w, (stride, stride), [(padding, padding)] * 2,
        dimension_numbers=("NCHW", "OIHW", "NCHW"), precision="highest",
    )  # fmt: skip


def per_channel(v):
    return jnp.reshape(v, (1, -1, 1, 1))


def dense_of(function, *shape):
    """Matrix of a linear function of one image."""
    basis = jnp.eye(int(np.prod(shape))).reshape(-1, *shape)
    return np.asarray(function(basis)).reshape(len(basis), -1).T


def cross_entropy(z, y):
    return (jax.nn.logsumexp(z, 1) - z[jnp.arange(len(y)), y]).mean()


def maxmin(x):
    a, b = jnp.split(x, 2, 1)
    return jnp.concatenate([jnp.maximum(a, b), jnp.minimum(a, b)], 1)


def unit_rows(w):
    return w / jnp.sqrt((w * w).sum(1, keepdims=True))


def pairs_of(rows):
    """|w_i - w_j|, with no gradient where i = j."""
    own = jnp.eye(len(rows), dtype=bool)
    square = ((rows[:, None] - rows[None]) ** 2).sum(2)
    return jnp.where(own, 0.0, jnp.sqrt(jnp.where(own, 1.0, square)))


def radius(z, pairwise, y):
    """min over j != y of (z_y - z_j) / K_yj"""
    own = jnp.eye(z.shape[1], dtype=bool)[y]
    margin = z[jnp.arange(len(y)), y][:, None] - z
    return jnp.where(own, jnp.inf, margin / jnp.where(own, 1.0, pairwise[y])).min(1)
