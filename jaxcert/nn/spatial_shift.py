"""Blocks of LipNeXt: rotations of the channels around a shift of the tokens.

Hu, Hu and Fredrikson, "LipNeXt: Scaling up Lipschitz-based Certified Robustness to
Billion-parameter Models" (2026, arXiv:2601.18513). For x [B,H,W',C], orthogonal R and M
[C,C], p [H,W',1] and b [C]

    x -> act(S((x + p) R^T) R M^T + b)

S shifts some channels by one token, `act` takes the absolute value of some. Shifts,
products with R and M and the two sums keep distances, and |x_i| is 1-Lipschitz. There is no
convolution. R M^T is one matrix of the step, so a token takes two products.

R stands in a block twice. The constant of a block is |R| |R M^T| of the matrices that are
there, which are orthogonal up to rounding: training/manifold.py keeps everything that is
called `orthogonal` so.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxcert.nn import _layer
from jaxcert.nn.liresnet import chain
from jaxcert.ops import linalg, spectral

Array = jax.Array


def tokens(x: Array, patch: int, channels: int) -> Array:
    """Return images [B,H,W,C] as [B,H/patch,W/patch,channels]: the numbers of each patch
    in one token, followed by zeros."""
    b, h, w, c = x.shape
    x = x.reshape(b, h // patch, patch, w // patch, patch, c).swapaxes(2, 3)
    x = x.reshape(b, h // patch, w // patch, patch * patch * c)
    return jnp.pad(x, ((0, 0),) * 3 + ((0, channels - x.shape[-1]),))


def spatial_shift(x: Array, count: int) -> Array:
    """Return x [B,H,W',C] with the first four groups of `count` channels moved by one
    token down, up, right and left. What leaves an image enters it on the other side, so
    that this is a permutation."""
    down, up, right, left, rest = jnp.split(x, [i * count for i in range(1, 5)], -1)
    moved = (
        jnp.roll(down, 1, 1),
        jnp.roll(up, -1, 1),
        jnp.roll(right, 1, 2),
        jnp.roll(left, -1, 2),
    )
    return jnp.concatenate([*moved, rest], -1)


def partial_abs(x: Array, count: int) -> Array:
    """Return |x_i| for the first `count` channels and x_i for the others."""
    return jnp.where(jnp.arange(x.shape[-1]) < count, jnp.abs(x), x)


def _times(x: Array, matrix: Array) -> Array:
    """Return x @ matrix of [...,C] and [C,C] as one product of two matrices, of which the
    gradient is also one. On a CPU that of several axes is a tenth slower."""
    return (x.reshape(-1, x.shape[-1]) @ matrix).reshape(x.shape)


class Orthogonal(nn.Module):
    """Square matrices [...,C,C] that start as random rotations, or reflections."""

    shape: tuple[int, ...]

    def setup(self):
        def start(key, shape):
            return jax.random.orthogonal(key, shape[-1], shape[:-2])

        self.kernel = self.param("kernel", start, self.shape)


class Blocks(nn.Module):
    """All blocks, [B,H,W',C] -> [B,H,W',C]."""

    depth: int
    inputs: tuple[int, int, int]
    """(H, W', C), of tokens"""
    shifted: int
    """the number of channels that move in each of the four directions"""
    bent: int
    """the number of channels of which the absolute value is taken"""

    def setup(self):
        height, width, channels = self.inputs
        zeros = nn.initializers.zeros
        self.orthogonal = Orthogonal((self.depth, 2, channels, channels))
        self.position = self.param("position", zeros, (self.depth, height, width, 1))
        self.bias = self.param("bias", zeros, (self.depth, channels))

    def __call__(self, x):
        def block(x, each):
            return partial_abs(self.before_activation(x, each), self.bent), None

        return chain(block, x, self.arrays(x.dtype))[0]

    def before_activation(self, x: Array, each: tuple[Array, ...]) -> Array:
        """Return S((x + p) R^T) R M^T + b for one member of `arrays`."""
        r, q, position, bias = each
        turned = spatial_shift(_times(x + position, r.T), self.shifted)
        return _times(turned, q) + bias

    def arrays(self, dtype) -> tuple[Array, ...]:
        """Return R [D,C,C], R M^T [D,C,C], p and b of all blocks in `dtype`."""
        found = *self._matrices(), self.position, self.bias
        return tuple(jnp.asarray(a).astype(dtype) for a in found)

    def norm(self, train: bool) -> Array:
        """Return [D,2], the norms of R and R M^T; in training ones, as in the paper."""
        if train:
            return jnp.ones((self.depth, 2), self.orthogonal.kernel.dtype)
        r, q = self._matrices()
        both = jnp.stack([jnp.asarray(r), q], 1)
        gram = linalg.product(both, jnp.swapaxes(both, -1, -2))
        return jnp.sqrt(jnp.linalg.eigvalsh(gram).max(-1))

    def bounds(self, tight: bool = True) -> list[Callable[[], float]]:
        """Return the functions that compute the bounds of R and of R M^T, block by
        block."""
        pairs = zip(*map(np.asarray, self._matrices()), strict=True)
        return [partial(spectral.norm_bound, a) for pair in pairs for a in pair]

    proven_by = _layer.by_gram

    def bias_gain(self) -> float:
        """Return max(1, sqrt(C / tokens)): p is added to all channels at its token, and not,
        as a bias is, at every token to its channel; it counts as one."""
        height, width, channels = self.inputs
        return max(1.0, math.sqrt(channels / (height * width)))

    def _matrices(self) -> tuple[Array, Array]:
        """Return R and R M^T, [D,C,C] each."""
        r, m = (self.orthogonal.kernel[:, i] for i in range(2))

        def compute():
            how = linalg.iterated(r.dtype)
            return linalg.product(r, jnp.swapaxes(m, -1, -2), how)

        return r, _layer.prepared(self, compute)
