"""SLL: residual layers from a semidefinite condition.

Araujo, Havens, Delattre, Allauzen and Hu, "A Unified Algebraic Perspective on Lipschitz
Neural Networks" (ICLR 2023, arXiv:2303.03169).

    y   = x - 2 K^T diag(t) relu(K x + b)
    t_i = 1 / sum_j |K K^T|_ij q_j / q_i        q = exp(log_q); 0 where the sum is 0

|K K^T| of a convolution is its correlation with itself, absolute and summed over offsets.
diag(t)^-1 - K K^T is diagonally dominant, so |W| <= 1 for W = diag(sqrt(t)) K.

A bound of |W| is enough. For two inputs relu(u) - relu(u') = D (u - u') with D diagonal
in [0, 1], so the outputs differ by J (x - x') with J = I - 2 W^T D W, symmetric, and
0 <= W^T D W <= |W|^2: the layer has the Lipschitz constant max(1, 2 |W|^2 - 1). `bound`
proves |W| for the t that the layer uses, including its rounding: where |W|^2 is
1 + delta the constant is 1 + 2 delta.

K -> `kernel` [k,k,C,C], C = max(C_in, features): fewer inputs are padded with zeros, of
more outputs the first `features` are kept, both contractions. Kernels start as Xavier
normal and biases uniform, as the original. Its convolution multiplies and divides by the
same q_i, so that q has no effect; ours follows the paper and starts at q = 1, the same map.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxcert.nn import _layer, aol, liresnet
from jaxcert.ops import linalg, spectral

Array = jax.Array


def multipliers(kernel: Array, log_q: Array) -> Array:
    """Return t [H] of a kernel [k,k,C,H]."""
    sums = aol.row_sums(kernel.swapaxes(2, 3), jnp.exp(log_q))
    positive = sums > 0
    return jnp.where(positive, 1 / jnp.where(positive, sums, 1.0), 0.0)


def residual(x: Array, kernel: Array, bias: Array, t: Array, *, features: int) -> Array:
    """Return the first `features` channels of x - 2 K^T (t relu(K x + b)): [B,n,n,C],
    kernel [k,k,C,H], bias [H], t [H] or scalar -> [B,n,n,features]; k is odd."""
    padding = len(kernel) // 2
    hidden = t * jax.nn.relu(liresnet.conv(x, kernel, padding=padding) + bias)
    back = transposed(kernel)[..., :features]
    return x[..., :features] - 2 * liresnet.conv(hidden, back, padding=padding)


def residual_bound(kernel: np.ndarray, t: np.ndarray, side: int, tight: bool) -> float:
    """Return max(1, 2 |W|^2 - 1) for images of `side` x `side`, W = sqrt(t) K; inf
    where an entry is not finite or t is negative."""
    if not (np.isfinite(t).all() and (t >= 0).all() and np.isfinite(kernel).all()):
        return float("inf")
    w = np.asarray(kernel, np.float64) * np.sqrt(np.asarray(t, np.float64))
    norm = spectral.conv_bound(w, side, padding=len(kernel) // 2, tight=tight)
    # the rounding of each entry of w, then of the other operations
    norm += 2.0**-51 * np.linalg.norm(w, axis=(2, 3)).sum()
    return float(max(1.0, (2 * norm * norm - 1) * (1 + 2.0**-49)))


def transposed(kernel: Array) -> Array:
    """Return the kernel of the adjoint of a convolution of stride 1 and padding k // 2,
    k odd."""
    return kernel[::-1, ::-1].swapaxes(2, 3)


def padded(x: Array, features: int) -> Array:
    """Return x [...,C] with zero channels appended up to `features`."""
    more = max(features - x.shape[-1], 0)
    return jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, more)])


class Sll(_layer.Parametrised):
    """An SLL layer, see above."""

    def on_images(self, x, k):
        x = padded(x, self.features)
        c, side = x.shape[-1], jnp.asarray(x.shape[1])
        xavier = nn.initializers.variance_scaling(1.0, "fan_avg", "normal")
        kernel = self.param("kernel", xavier, (k, k, c, c))
        bias = self.param("bias", init_bias, (c,), k * k * c).astype(x.dtype)
        log_q = self.param("log_q", nn.initializers.zeros, (c,))
        kernel, log_q = (a.astype(linalg.wide(x.dtype)) for a in (kernel, log_q))
        t, _ = _layer.prepared(self, lambda: (multipliers(kernel, log_q), side))
        kernel, t = kernel.astype(x.dtype), t.astype(x.dtype)
        return residual(x, kernel, bias, t, features=self.features)

    def bound(self, tight: bool = True) -> float:
        """Return a proven Lipschitz constant of the prepared layer. The norm on a torus
        gives 1 up to rounding, so that a tighter one would cost time and change
        nothing."""
        t, side = self.get_variable("prepared", "q")
        kernel = self.get_variable("params", "kernel")
        return residual_bound(kernel, t, int(side), tight=False)

    proven_by = _layer.by_torus

    def bias_gain(self) -> float:
        """Return 4 sqrt(max t), which is above 2 |W| sqrt(max t) because |W| is about
        1: the bias adds 2 W^T sqrt(t) (relu(K x + b) - relu(K x))."""
        t, _ = self.get_variable("prepared", "q")
        return 4 * float(np.sqrt(np.max(t)))


class Conv(Sll, _layer.ConvShell):
    """A 1-Lipschitz residual convolution."""


class Dense(Sll, _layer.DenseShell):
    """A 1-Lipschitz residual dense layer."""


def init_bias(key, shape, fan_in: int):
    """Draw uniform(-1, 1) / sqrt(fan_in)."""
    bound = 1 / math.sqrt(fan_in)
    return jax.random.uniform(key, shape, minval=-bound, maxval=bound)
