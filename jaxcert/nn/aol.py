"""AOL: almost-orthogonal layers.

Prach and Lampert, "Almost-Orthogonal Layers for Efficient General-Purpose Lipschitz
Networks" (ECCV 2022, arXiv:2208.03160). An ordinary convolution with zero padding; input
channel i of its kernel P is divided by the root of a row sum of |P^T P|:

    d_i = 1 / sqrt(e + sum_j sum_p |C_ij(p)|)        e = 1e-6
    C_ij(p) = sum_o sum_a P_i,o(a) P_j,o(a + p)      correlation at all offsets p
    y = conv(x, d_i P_i) + bias

diag(d)^-2 - P^T P is diagonally dominant, so |P diag(d)| <= 1. Dense: k = 1.

P -> `kernel` [k,k,C_in,C_out], sum of |C| -> `row_sums`. Kernels start orthogonal in their
centre and zero around it, biases at zero. A layer with more inputs than outputs repeats
the rows of a square orthogonal matrix in turn, where the original draws them.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxcert.nn import _layer, liresnet
from jaxcert.ops import linalg, spectral

Array = jax.Array

EPSILON = 1e-6


def row_sums(kernel: Array, q: Array | None = None) -> Array:
    """Return sum_j sum_p |C_ij(p)| q_j / q_i of a kernel [k,k,I,O], which is [I]; q [I]
    is positive, all ones if not given."""
    k = kernel.shape[0]
    images, filters = kernel.transpose(2, 0, 1, 3), kernel.swapaxes(2, 3)
    correlation = liresnet.conv(images, filters, padding=k - 1, precision=linalg.EXACT)
    sums = jnp.abs(correlation).sum((1, 2))
    return sums.sum(1) if q is None else linalg.product(sums, q) / q


def rescaled(kernel: Array) -> Array:
    """Return the kernel with entries d_i P_i [k,k,C_in,C_out], whose norm is at most 1
    up to rounding."""
    return kernel * jax.lax.rsqrt(row_sums(kernel) + EPSILON)[:, None]


class Aol(_layer.Parametrised):
    """An AOL layer, see above."""

    def on_images(self, x, k):
        shape = (k, k, x.shape[-1], self.features)
        kernel = self.param("kernel", init_kernel, shape)
        kernel = kernel.astype(linalg.wide(x.dtype))
        bias = self.param("bias", nn.initializers.zeros, shape[3:]).astype(x.dtype)
        side = jnp.asarray(x.shape[1])
        q, _ = _layer.prepared(self, lambda: (rescaled(kernel), side))
        return liresnet.conv(x, q, padding=k // 2) + bias

    def bound(self, tight: bool = True) -> float:
        """Return the proven norm of the prepared kernel with zero padding, which is
        often below 1."""
        kernel, side = self.get_variable("prepared", "q")
        return spectral.conv_bound(
            np.asarray(kernel), int(side), padding=len(kernel) // 2, tight=tight
        )

    proven_by = _layer.by_conv
    bias_gain = _layer.bias_at_output


class Conv(Aol, _layer.ConvShell):
    """A 1-Lipschitz convolution."""


class Dense(Aol, _layer.DenseShell):
    """A 1-Lipschitz dense layer."""


def init_kernel(key, shape):
    """Draw a kernel that is orthogonal in its centre and zero around it."""
    k, _, c_in, c_out = shape
    size = min(c_in, c_out)
    matrix = nn.initializers.orthogonal()(key, (size, c_out))
    centre = matrix[np.arange(c_in) % size]
    return jnp.zeros(shape).at[k // 2, k // 2].set(centre)
