"""BRO: block reflector orthogonal layers.

Lai, Huang, Kung and Chen, "Enhancing Certified Robustness via Block Reflector Orthogonal
Layers and Logit Annealing Loss" (2025, arXiv:2505.15174). At every frequency of the padded
torus (nn/lot.py)

    W = I - 2 V (V^H V + e I)^-1 V^H,   e = jitter mean diag(V^H V)

for V [c, rank], c the larger number of channels, of which W keeps the first C_out rows
and C_in columns. W is orthogonal without iteration, and a contraction for e > 0. A
dense layer is the same with one real V.

V -> `kernel` [k,k,rank,c]. The original does not conjugate the spectrum of V, so its kernels
are ours turned by 180 degrees; where V is centred does not matter to W.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxcert.errors import within
from jaxcert.nn import _layer, lot
from jaxcert.nn.liresnet import chain, follow, running_mean
from jaxcert.ops import linalg, spectral
from jaxcert.ops.linalg import Pair

Array = jax.Array

RATIO = 0.125
"""The rank of a square layer of LipConvNet, as a share of its channels."""


def orthogonal_kernel(kernel: Array, side: int, *, jitter: float = 1e-5) -> Pair:
    """Return the whole W of a kernel [k,k,rank,c] for images of `side` x `side`: [F,c,c],
    with the frequencies F of nn/lot.py."""
    if kernel.shape[0] == 1:
        v = Pair(kernel[0].transpose(0, 2, 1), None)
    else:
        v = lot.frequency_response(kernel, side + kernel.shape[0] - 1)
    return linalg.block_reflector(v, jitter=jitter)


def rank_of(c_in: int, c_out: int, ratio: float) -> int:
    """Return the rank of a layer: for a square one `ratio` of its channels (all but one
    for ratio 1), else the smaller number of channels. Raises InputError for another
    ratio."""
    if c_in != c_out:
        return min(c_in, c_out)
    within("(0, 1]", of="model", ratio=ratio)
    return max(1, min(int(ratio * c_in), c_in - 1))


class Bro(_layer.Parametrised):
    """A block reflector layer. It starts as minus the identity on the first `rank`
    channels and the identity on the others."""

    ratio: float = RATIO

    def on_images(self, x, k):
        c_in, c_out = x.shape[-1], self.features
        shape = (k, k, rank_of(c_in, c_out, self.ratio), max(c_in, c_out))
        kernel = self.param("kernel", _start, shape).astype(linalg.wide(x.dtype))
        bias = self.param("bias", _bias_start, (c_out,), shape).astype(x.dtype)

        def compute():
            q = orthogonal_kernel(kernel, x.shape[1])
            return jax.tree.map(lambda part: part[:, :c_out, :c_in], q)

        return lot.conv(x, _layer.prepared(self, compute), kernel_size=k) + bias

    bound = lot.Lot.bound
    proven_by = _layer.by_gram
    bias_gain = _layer.bias_at_output


class Conv(Bro, _layer.ConvShell):
    """A 1-Lipschitz convolution."""


class Dense(Bro, _layer.DenseShell):
    """A 1-Lipschitz dense layer."""


def _start(key, shape):
    k, _, rank, c = shape
    return jnp.zeros(shape).at[k // 2, k // 2].set(jnp.eye(rank, c))


def _bias_start(key, shape, kernel_shape):
    bound = 1 / math.sqrt(math.prod(kernel_shape[:3]))
    return jax.random.uniform(key, shape, minval=-bound, maxval=bound)


class Blocks(nn.Module):
    """Backbone of BRONet: x -> activation(W_l * x + b_l - mean), l = 1..depth, with

        V_l = I + D^(-1/2) g_l (.) raw_l

    of 3x3 and rank `ratio` times the width. In training the mean is taken over images
    and pixels, in evaluation it is the running mean.
    """

    depth: int
    inputs: tuple[int, int]
    """(side, W)"""
    activation: Callable[[Array], Array]
    ratio: float = 0.5

    def setup(self):
        width = self.inputs[1]
        rank = rank_of(width, width, self.ratio)
        start = nn.initializers.normal(1 / (9 * width))
        self.kernel = self.param("kernel", start, (self.depth, 3, 3, rank, width))
        self.gain = self.param("gain", nn.initializers.ones, (self.depth, width))
        self.bias = self.param("bias", nn.initializers.zeros, (self.depth, width))
        self.mean = running_mean(self, (self.depth, width))

    def __call__(self, x, train=False):
        conv = partial(lot.conv, kernel_size=3)
        # spectra are larger than the arrays that they come from
        if jax.default_backend() != "cpu":
            conv = jax.checkpoint(conv)

        def block(x, each):
            q, bias, running = each
            y = conv(x, q)
            mean = y.mean((0, 1, 2), linalg.wide(y.dtype)) if train else running
            return self.activation(y + (bias - mean).astype(y.dtype)), mean

        dtype = linalg.wide(x.dtype)
        cast = [a.astype(dtype) for a in (self.bias, self.mean.value)]
        x, means = chain(block, x, (self._q(), *cast))
        if train:
            follow(self.mean, means)
        return x

    def norm(self, train: bool) -> Array:
        """Return [D] ones: every block counts as exactly 1-Lipschitz, as in the paper."""
        return jnp.ones(self.depth)

    def bounds(self, tight: bool = True) -> list[Callable[[], float]]:
        """Return the function that computes the bound of each block."""

        def bound(re, im):
            return spectral.norm_bound(np.asarray(re) + 1j * np.asarray(im))

        re, im = self._q()
        assert im is not None  # the kernels are 3 x 3
        return [partial(bound, *each) for each in zip(re, im, strict=True)]

    proven_by = _layer.by_gram
    bias_gain = _layer.bias_at_output

    def _q(self) -> Pair:
        """Return W of all blocks, [D,F,W,W]."""

        def each(kernel):
            return orthogonal_kernel(kernel, self.inputs[0], jitter=1e-7)

        return _layer.prepared(self, lambda: jax.lax.map(each, self.kernels()))

    def kernels(self) -> Array:
        """Return V of all blocks, [D,3,3,rank,W]."""
        kernel = jnp.asarray(self.kernel)
        branch = kernel * self.gain[:, None, None, None, :] / math.sqrt(self.depth)
        eye = jnp.eye(*kernel.shape[3:], dtype=branch.dtype)
        return branch.at[:, 1, 1].add(eye)
