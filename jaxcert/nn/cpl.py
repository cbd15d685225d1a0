"""CPL: convex potential layers.

Meunier, Delattre, Araujo and Allauzen, "A Dynamical System Perspective for Lipschitz Neural
Networks" (ICML 2022, arXiv:2110.12690). A step of gradient descent on a convex potential:

    y = x - 2 t K^T relu(K x + b),    t = 1 / (s^2 + e),    e = 1e-4

s: estimate of |K| (zero padding) by power iteration from a carried vector, one step in each
training pass and 500 in evaluation. The layer has the Lipschitz constant
max(1, 2 t |K|^2 - 1) (nn/sll.py), and `bound` puts a proven |K| there: an estimate that is
too small costs a larger constant, never a wrong one.

K -> `kernel` [k,k,C,C], with padding and cropping of channels as SLL. Kernels and biases
start as the original's, PyTorch's defaults. The original draws the carried vector and takes
100 steps in evaluation. Ours starts after 100 steps, because one step from a draw is far
below |K|, and takes 500, because 100 can leave 2 % in the constant of each layer.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxcert.nn import _layer, liresnet, sll
from jaxcert.ops import linalg

Array = jax.Array

EPSILON = 1e-4
STEPS_AT_START = 100
STEPS = 500


class Cpl(_layer.Parametrised):
    """A CPL layer, see above."""

    def on_images(self, x, k):
        x = sll.padded(x, self.features)
        side, c = x.shape[2:]
        kernel = self.param("kernel", _layer.init_uniform, (k, k, c, c))
        bias = self.param("bias", sll.init_bias, (c,), k * k * c).astype(x.dtype)

        def compute():
            def linear(v):
                return liresnet.conv(v, kernel, padding=k // 2)

            norm = carried_norm(self, "vector", linear, (1, side, side, c))
            return 1 / (norm**2 + EPSILON), jnp.asarray(side)

        t, _ = _layer.prepared(self, compute)
        kernel, t = kernel.astype(x.dtype), t.astype(x.dtype)
        return sll.residual(x, kernel, bias, t, features=self.features)

    def bound(self, tight: bool = True) -> float:
        """Return a proven Lipschitz constant of the prepared layer. With tight=False it
        is far above 1 on small images, because the norm on a torus enters squared and
        doubled."""
        t, side = self.get_variable("prepared", "q")
        kernel = self.get_variable("params", "kernel")
        return sll.residual_bound(kernel, t, int(side), tight)

    proven_by = _layer.by_conv
    bias_gain = sll.Sll.bias_gain


class Conv(Cpl, _layer.ConvShell):
    """A 1-Lipschitz residual convolution."""


class Dense(Cpl, _layer.DenseShell):
    """A 1-Lipschitz residual dense layer."""


def carried_norm(module: nn.Module, name: str, linear, shape: tuple[int, ...]) -> Array:
    """Return an estimate of the norm of `linear`, a linear function of arrays of
    `shape`.

    A pass that may write the collection `power` is a training pass and takes one step,
    whose vector is kept. Any other takes 500 steps from the kept vector and leaves it
    alone.
    """

    def start():
        drawn = jax.random.normal(module.make_rng("params"), shape)
        return linalg.power_iteration(linear, drawn, steps=STEPS_AT_START)[1]

    vector = module.variable("power", name, start)
    train = is_training(module)
    steps = 1 if train else STEPS
    norm, after = linalg.power_iteration(linear, vector.value, steps=steps)
    if train:
        vector.value = after
    return norm


def is_training(module: nn.Module) -> bool:
    """Return whether this pass may write the collection `power`, as training passes may."""
    return module.is_mutable_collection("power") and not module.is_initializing()
