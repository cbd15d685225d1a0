"""Batch normalisation with the running statistics of PyTorch.

Ioffe & Szegedy 2015: y = scale * (x - mean) / sqrt(var + eps) + bias, per channel over
all other axes. Batches are normalised with the biased variance, while the running one
takes the unbiased variance (flax's own module stores the biased one):

    running <- (1 - momentum) * running + momentum * batch

Under jit over a sharded batch the statistics are those of the whole batch.

Behind a convolution w that has no bias, the running ones are one with it:

    y = w' * x + b',  w' = w scale / sqrt(var + eps),  b' = bias - mean scale / sqrt(var + eps)

`Model.prepare` computes w' and b' once, and evaluation of a prepared state reads them.
"""

from __future__ import annotations

import jax.numpy as jnp
from flax import linen as nn
from jax import lax

from jaxcert.ops.conv import arrange, conv


class BatchNorm(nn.Module):
    """[..., C] -> [..., C] in the type of the input; statistics in float32 or wider."""

    momentum: float = 0.1
    eps: float = 1e-5

    @nn.compact
    def __call__(self, x, train: bool):
        channels = x.shape[-1]
        scale = self.param("scale", nn.initializers.ones, (channels,))
        bias = self.param("bias", nn.initializers.zeros, (channels,))
        running_mean = self.variable(
            "batch_stats", "mean", jnp.zeros, (channels,), jnp.float32
        )
        running_var = self.variable(
            "batch_stats", "var", jnp.ones, (channels,), jnp.float32
        )
        wide = jnp.promote_types(x.dtype, jnp.float32)
        mean, var = running_mean.value.astype(wide), running_var.value.astype(wide)
        if train:
            mean, var = _moments(x.astype(wide))
            if not self.is_initializing():
                count = x.size // channels
                unbiased = var * (count / max(count - 1, 1))
                running_mean.value = self._updated(running_mean.value, mean)
                running_var.value = self._updated(running_var.value, unbiased)
        factor = scale * lax.rsqrt(var + self.eps)
        return (x.astype(wide) * factor + (bias - mean * factor)).astype(x.dtype)

    def after(self, layer: nn.Conv, x, train: bool):
        """self(layer(x), train), layer padded by zeros, (k - 1) / 2 on every side."""
        if not train and self.has_variable("prepared", "kernel"):
            kernel, bias = (
                self.get_variable("prepared", name).astype(x.dtype)
                for name in ("kernel", "bias")
            )
            return conv(x, kernel, stride=layer.strides) + bias
        y = self(layer(x), train)
        if self.is_mutable_collection("prepared"):
            self._fold(layer, x)
        return y

    def _fold(self, layer: nn.Conv, x) -> None:
        scale, bias = (self.get_variable("params", name) for name in ("scale", "bias"))
        mean, var = (self.get_variable("batch_stats", name) for name in ("mean", "var"))
        factor = scale / jnp.sqrt(var.astype(scale.dtype) + self.eps)
        kernel = arrange(
            layer.get_variable("params", "kernel") * factor, x, stride=layer.strides
        )
        self.put_variable("prepared", "kernel", kernel)
        self.put_variable("prepared", "bias", bias - mean * factor)

    def _updated(self, running, batch):
        new = (1 - self.momentum) * running + self.momentum * lax.stop_gradient(batch)
        return new.astype(running.dtype)


def _moments(x):
    """Mean and biased variance in one pass over x: a second pass costs a third of a
    training step on a CPU, and what cancels is below eps for inputs of this scale."""
    axes = tuple(range(x.ndim - 1))
    mean = x.mean(axes)
    return mean, jnp.maximum(jnp.square(x).mean(axes) - jnp.square(mean), 0)
