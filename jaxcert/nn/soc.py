"""SOC: skew orthogonal convolutions.

Singla and Feizi, "Skew Orthogonal Convolutions" (ICML 2021, arXiv:2105.11417). The exponential
of a skew matrix is orthogonal; with zero padding the convolution by A = (M - M^T) / 2 is skew.

    M^T     M with its channels swapped and its taps reversed
    A       <- mu A / s,   s = min of the spectral norms of the unfoldings of A
    y       = sum_{j < J} A^j x / j! + bias
    |y - y'| <= (1 + |A|^J / J!) |x - x'|

The last line: A is normal with imaginary eigenvalues i a, |a| <= |A|, so the sum
differs from exp(A), an isometry, by the largest |exp(i a) - sum_{j < J} (i a)^j / j!|.
That is the Taylor remainder of a function whose derivatives all have modulus 1, at most
|a|^J / J!. s is an estimate (power iteration from carried vectors); `bound` proves |A|
of the kernel that results.

M -> `kernel` [k,k,C,C], C = max(C_in, features): fewer inputs are padded with zeros, of
more outputs the first `features` are kept. J = 6 in training and 13 in evaluation; mu = 0.7,
and 1 for k = 1. Kernels start normal and biases uniform, as the original. Of its four
unfoldings we take [k C, k C] and [C, k k C]: A is skew, so the others have the same norms.
It takes one power step in a training pass, 50 in every 200th and none in evaluation; ours
takes one and, in evaluation, 500.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxcert.nn import _layer, liresnet
from jaxcert.nn.cpl import carried_norm, is_training
from jaxcert.nn.sll import init_bias, padded, transposed
from jaxcert.ops import spectral

Array = jax.Array

TERMS_TRAINING = 6
TERMS = 13


def skew(kernel: Array) -> Array:
    """Return (M - M^T) / 2 of M [k,k,C,C] with k odd, which is exactly skew also after
    rounding."""
    return (kernel - transposed(kernel)) / 2


def unfoldings(kernel: Array) -> tuple[Array, Array]:
    """Return the matrices [k C, k C] (row and output by column and input) and
    [C, k k C]."""
    k, _, c, _ = kernel.shape
    by_row = kernel.transpose(0, 3, 1, 2).reshape(k * c, k * c)
    return by_row, kernel.transpose(3, 0, 1, 2).reshape(c, k * k * c)


def exponential(x: Array, kernel: Array, *, terms: int) -> Array:
    """Return sum_{j < terms} A^j x / j! (by Horner's rule) of images [B,n,n,C], kernel
    [k,k,C,C], k odd."""

    def step(y, j):
        return x + liresnet.conv(y, kernel, padding=len(kernel) // 2) / j, None

    return liresnet.chain(step, x, jnp.arange(terms - 1, 0, -1, dtype=x.dtype))[0]


class Soc(_layer.Parametrised):
    """An SOC layer, see above."""

    def on_images(self, x, k):
        x = padded(x, self.features)
        side, c = x.shape[2:]
        start = nn.initializers.normal(1 / math.sqrt(c))
        kernel = self.param("kernel", start, (k, k, c, c))
        bias = self.param("bias", init_bias, (self.features,), self.features)

        def compute():
            a = skew(kernel)
            norms = [
                carried_norm(
                    self, f"vector{i}", lambda v, m=matrix: m @ v, matrix.shape[1:]
                )
                for i, matrix in enumerate(unfoldings(a))
            ]
            mu = 1.0 if k == 1 else 0.7
            scale = mu / jnp.maximum(jnp.minimum(*norms), 1e-10)
            return a * scale, jnp.asarray(side)

        a, _ = _layer.prepared(self, compute)
        terms = TERMS_TRAINING if is_training(self) else TERMS
        y = exponential(x, a.astype(x.dtype), terms=terms)
        return y[..., : self.features] + bias.astype(x.dtype)

    def bound(self, tight: bool = True) -> float:
        """Return a proven Lipschitz constant of the prepared layer; |A|^J / J! is so
        small that the norm on a torus suffices."""
        kernel, side = self.get_variable("prepared", "q")
        norm = spectral.conv_bound(
            np.asarray(kernel), int(side), padding=len(kernel) // 2, tight=False
        )
        rest = math.prod(norm / j for j in range(1, TERMS + 1))
        return (1 + rest) * (1 + 2.0**-48)

    proven_by = _layer.by_torus
    bias_gain = _layer.bias_at_output


class Conv(Soc, _layer.ConvShell):
    """A 1-Lipschitz convolution."""


class Dense(Soc, _layer.DenseShell):
    """A 1-Lipschitz dense layer."""
