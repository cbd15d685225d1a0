"""LOT: layer-wise orthogonal training.

Xu, Li and Li, "LOT: Layer-wise Orthogonal Training on improving l2 certified robustness"
(NeurIPS 2022). Every frequency of a convolution on a torus is a matrix; LOT replaces it
by its polar factor:

    F(u,v) = sum_ab V[a,b] exp(2 pi i (u(a-s) + v(b-s)) / m)       V: the raw kernel
    Q(u,v) = (F F^H)^(-1/2) F                                      [C_out, C_in]
    y      = crop(DFT^-1(Q DFT(pad(x)))) + bias

with (k-1)/2 zeros on every side, m = n + k - 1 the padded side, s = k // 2. Padding is an
isometry, Q a contraction, cropping a contraction: the layer is 1-Lipschitz in l2.

V -> `kernel` [k,k,C_in,C_out] (HWIO), Q -> `q`. The inverse root takes ten Newton-Schulz
steps in training and in evaluation. Unlike the original we keep the half of the spectrum
that a real signal needs, and evaluation computes Q once (`prepared`), not per batch.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxcert.ops import linalg, spectral
from jaxcert.ops.linalg import Pair

Array = jax.Array

JITTER = 1e-4
STEPS = 10


def polar_factor(f: Pair, *, steps: int = STEPS) -> Pair:
    """Q = (F F^H)^(-1/2) F for F [..., C_out, C_in].

    S = F F^H + 1e-4 I is divided by c = |S|_Fro + 1e-4 so that Newton-Schulz converges:
    Q = Z F / sqrt(c).
    """
    s = linalg.gram(f)
    s = Pair(s.re + JITTER * jnp.eye(s.re.shape[-1], dtype=s.re.dtype), s.im)
    square = sum(
        jnp.sum(part**2, (-2, -1), keepdims=True) for part in s if part is not None
    )
    c = jnp.sqrt(square) + JITTER
    z = linalg.newton_schulz_inverse_sqrt(_scale(s, 1 / c), steps=steps)
    return _scale(linalg.matmul(z, f), 1 / jnp.sqrt(c))


def frequency_response(kernel: Array, side: int) -> Pair:
    """F over the half spectrum of a torus of `side` x `side`.

    kernel [k,k,C_in,C_out] -> [side * (side // 2 + 1), C_out, C_in]; the frequency index
    is u * (side // 2 + 1) + v.
    """
    k = kernel.shape[0]
    shift = np.arange(k) - k // 2
    angle = 2 * np.pi / side
    u, v = np.arange(side), np.arange(side // 2 + 1)
    phase = angle * (
        (u[:, None] * shift)[:, None, :, None] + (v[:, None] * shift)[None, :, None, :]
    ).reshape(-1, k * k)
    taps = kernel.transpose(0, 1, 3, 2).reshape(k * k, -1)
    shape = (len(phase), kernel.shape[3], kernel.shape[2])
    re, im = (
        (jnp.asarray(f(phase), kernel.dtype) @ taps).reshape(shape)
        for f in (np.cos, np.sin)
    )
    return Pair(re, im)


def orthogonal_kernel(kernel: Array, side: int) -> Pair:
    """Q of a kernel [k,k,C_in,C_out] for images of `side` x `side` before padding.

    k > 1: [m * (m // 2 + 1), C_out, C_in] with m = side + k - 1. k = 1: every frequency
    is the same real matrix, [1, C_out, C_in].
    """
    if kernel.shape[0] == 1:
        return polar_factor(Pair(kernel[0].transpose(0, 2, 1), None))
    return polar_factor(frequency_response(kernel, side + kernel.shape[0] - 1))


def conv(x: Array, q: Pair, *, kernel_size: int) -> Array:
    """Apply Q of a k x k kernel to images [B,n,n,C_in] -> [B,n,n,C_out]; k is odd."""
    if kernel_size == 1:
        return x @ q.re[0].T
    b, n, _, c = x.shape
    r = kernel_size // 2
    m = n + 2 * r
    x = jnp.pad(x, ((0, 0), (r, r), (r, r), (0, 0)))
    x = jnp.fft.rfft2(x, axes=(1, 2)).transpose(1, 2, 0, 3).reshape(-1, b, c)
    y = linalg.matmul(Pair(x.real, x.imag), Pair(*(_t(part) for part in q)))
    y = jax.lax.complex(y.re, y.im).reshape(m, m // 2 + 1, b, -1).transpose(2, 0, 1, 3)
    return jnp.fft.irfft2(y, s=(m, m), axes=(1, 2))[:, r : r + n, r : r + n]


def space_to_depth(x: Array) -> Array:
    """[B,2h,2w,C] -> [B,h,w,4C], new channel 4c + 2*row + column (the original's order)."""
    b, h, w, c = x.shape
    x = x.reshape(b, h // 2, 2, w // 2, 2, c).transpose(0, 1, 3, 5, 2, 4)
    return x.reshape(b, h // 2, w // 2, 4 * c)


class Conv(nn.Module):
    """1-Lipschitz convolution; stride 2 is space-to-depth before a stride-1 layer.

    Square layers start at the identity, others at PyTorch's convolution default.
    """

    features: int
    kernel_size: int = 3
    stride: int = 1

    @nn.compact
    def __call__(self, x):
        if self.stride == 2:
            x = space_to_depth(x)
        k, c = self.kernel_size, x.shape[-1]
        kernel = self.param("kernel", init_kernel, (k, k, c, self.features))
        bias = self.param("bias", init_bias, (self.features,), kernel.shape)
        q = prepared(
            self, lambda: orthogonal_kernel(kernel.astype(x.dtype), x.shape[1])
        )
        return conv(x, q, kernel_size=k) + bias.astype(x.dtype)

    def bound(self, tight: bool = True) -> float:
        """Proven Lipschitz constant of the prepared layer (float64, at most about 1)."""
        re, im = self.get_variable("prepared", "q")
        return spectral.norm_bound(np.asarray(re) if im is None else re + 1j * im)


class Dense(nn.Module):
    """1-Lipschitz dense layer [B,C_in] -> [B,features]: LOT of a 1x1 kernel."""

    features: int

    @nn.compact
    def __call__(self, x):
        kernel = self.param("kernel", init_kernel, (1, 1, x.shape[-1], self.features))
        bias = self.param("bias", init_bias, (self.features,), kernel.shape)
        q = prepared(self, lambda: orthogonal_kernel(kernel.astype(x.dtype), 1))
        return x @ q.re[0].T + bias.astype(x.dtype)

    bound = Conv.bound


def prepared(module: nn.Module, compute) -> Pair:
    """The explicit kernel: stored by `Model.prepare`, read if stored, else computed."""
    if module.has_variable("prepared", "q"):
        return module.get_variable("prepared", "q")
    q = compute()
    if module.is_mutable_collection("prepared"):
        module.put_variable("prepared", "q", q)
    return q


def init_kernel(key, shape):
    k, _, c_in, c_out = shape
    if c_in == c_out:
        return jnp.zeros(shape).at[k // 2, k // 2].set(jnp.eye(c_in))
    return init_uniform(key, shape)


def init_uniform(key, shape):
    """PyTorch's default of a convolution, [k,k,C_in,C_out]."""
    bound = 1 / math.sqrt(math.prod(shape[:3]))
    return jax.random.uniform(key, shape, minval=-bound, maxval=bound)


def init_bias(key, shape, kernel_shape):
    k, _, c_in, c_out = kernel_shape
    bound = 0.0 if c_in == c_out else 1 / math.sqrt(k * k * c_in)
    return jax.random.uniform(key, shape, minval=-bound, maxval=bound)


def _scale(a: Pair, factor: Array) -> Pair:
    return Pair(a.re * factor, None if a.im is None else a.im * factor)


def _t(x: Array) -> Array:
    return jnp.swapaxes(x, -1, -2)
