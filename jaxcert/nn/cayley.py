"""Cayley layers.

Trockman and Kolter, "Orthogonalizing Convolutional Layers with the Cayley Transform"
(ICLR 2021, arXiv:2104.07167). As LOT, with the Cayley transform in place of the polar factor:

    F <- alpha F / |F|_Fro      one norm over all frequencies of the half spectrum
    Q  = cayley(F)              ops.linalg.cayley, exactly orthogonal, no iteration

alpha is a trained scalar that starts at |F|_Fro. In LipConvNets a layer of stride 2 halves
the kernel: 3 -> 1.
"""

from __future__ import annotations

import math

import jax.numpy as jnp

from jaxcert.nn import _layer, lot
from jaxcert.ops import linalg
from jaxcert.ops.linalg import Pair


def orthogonal_kernel(kernel, alpha, side: int) -> Pair:
    """Return Q of a kernel [k,k,C_in,C_out] for images of `side` x `side`, in the shape
    of LOT's."""
    if kernel.shape[0] == 1:
        w = kernel[0].transpose(0, 2, 1)  # F, the same at every frequency
        norm = _norm(Pair(w, None)) * math.sqrt(side * (side // 2 + 1))
        return Pair(linalg.cayley(alpha * w / norm), None)
    f = lot.frequency_response(kernel, side + kernel.shape[0] - 1)
    scale = alpha / _norm(f)
    q = linalg.cayley(scale * linalg.as_complex(f))
    return Pair(q.real, q.imag)


class Cayley(_layer.Parametrised):
    """A Cayley layer, see above."""

    def on_images(self, x, k):
        side, shape = x.shape[1], (k, k, x.shape[-1], self.features)
        kernel = self.param("kernel", _layer.init_uniform, shape)
        bias = self.param("bias", _layer.init_bias, shape[3:], shape).astype(x.dtype)

        def start(key):
            whole = side if k == 1 else side + k - 1
            return _norm(lot.frequency_response(kernel, whole))

        alpha = self.param("alpha", start).astype(linalg.wide(x.dtype))
        kernel = kernel.astype(alpha.dtype)
        q = _layer.prepared(self, lambda: orthogonal_kernel(kernel, alpha, side))
        return lot.conv(x, q, kernel_size=k) + bias

    bound = lot.Lot.bound
    proven_by = _layer.by_gram
    bias_gain = _layer.bias_at_output


class Conv(Cayley, _layer.ConvShell):
    """A 1-Lipschitz convolution; one of stride 2 has a kernel of half the size."""

    def on_images(self, x, k):
        return super().on_images(x, max(k // 2, 1) if self.stride == 2 else k)


class Dense(Cayley, _layer.DenseShell):
    """A 1-Lipschitz dense layer."""


def _norm(f: Pair):
    return jnp.sqrt(sum(jnp.sum(part**2) for part in f if part is not None))
