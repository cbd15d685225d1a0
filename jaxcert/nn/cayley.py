"""Cayley layers.

Trockman and Kolter, "Orthogonalizing Convolutional Layers with the Cayley Transform" (ICLR
2021). As LOT, with the Cayley transform in place of the polar factor:

    F <- alpha F / |F|_Fro      one norm over all frequencies of the half spectrum
    Q  = cayley(F)              ops.linalg.cayley, exactly orthogonal, no iteration

alpha is a trained scalar that starts at |F|_Fro. In LipConvNets a layer of stride 2 halves
the kernel: 3 -> 1.
"""

from __future__ import annotations

import math

import jax.numpy as jnp
from flax import linen as nn

from jaxcert.nn import lot
from jaxcert.ops import linalg
from jaxcert.ops.linalg import Pair


def orthogonal_kernel(kernel, alpha, side: int) -> Pair:
    """Q of a kernel [k,k,C_in,C_out] for images of `side` x `side`, shaped as LOT's."""
    if kernel.shape[0] == 1:
        w = kernel[0].transpose(0, 2, 1)  # F at each of the frequencies of the norm
        norm = _norm(Pair(w, None)) * math.sqrt(side * (side // 2 + 1))
        return Pair(linalg.cayley(alpha * w / norm), None)
    f = lot.frequency_response(kernel, side + kernel.shape[0] - 1)
    scale = alpha / _norm(f)
    q = linalg.cayley(scale * (f.re + 1j * f.im))
    return Pair(q.real, q.imag)


class Conv(nn.Module):
    """1-Lipschitz convolution; stride 2 is space-to-depth before a stride-1 layer."""

    features: int
    kernel_size: int = 3
    stride: int = 1

    @nn.compact
    def __call__(self, x):
        k = self.kernel_size
        if self.stride == 2:
            x, k = lot.space_to_depth(x), max(k // 2, 1)
        shape = (k, k, x.shape[-1], self.features)
        q, bias = _kernel_and_bias(self, shape, x.shape[1], x.dtype)
        return lot.conv(x, q, kernel_size=k) + bias

    bound = lot.Conv.bound


class Dense(nn.Module):
    """1-Lipschitz dense layer [B,C_in] -> [B,features]."""

    features: int

    @nn.compact
    def __call__(self, x):
        shape = (1, 1, x.shape[-1], self.features)
        q, bias = _kernel_and_bias(self, shape, 1, x.dtype)
        return x @ q.re[0].T.astype(x.dtype) + bias

    bound = lot.Conv.bound


def _kernel_and_bias(module: nn.Module, shape, side: int, dtype):
    kernel = module.param("kernel", lot.init_uniform, shape)
    bias = module.param("bias", lot.init_bias, (shape[-1],), shape).astype(dtype)

    def start(key):
        whole = side if shape[0] == 1 else side + shape[0] - 1
        return _norm(lot.frequency_response(kernel, whole))

    alpha = module.param("alpha", start).astype(linalg.wide(dtype))
    kernel = kernel.astype(alpha.dtype)
    return lot.prepared(module, lambda: orthogonal_kernel(kernel, alpha, side)), bias


def _norm(f: Pair):
    return jnp.sqrt(sum(jnp.sum(part**2) for part in f if part is not None))
