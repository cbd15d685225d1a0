"""Batch normalisation with the running statistics of PyTorch.

Ioffe & Szegedy 2015: y = scale * (x - mean) / sqrt(var + eps) + bias, per channel over
all other axes. Batches are normalised with the biased variance, while the running one
takes the unbiased variance (flax's own module stores the biased one):

    running <- (1 - momentum) * running + momentum * batch

Under jit over a sharded batch the statistics are those of the whole batch.
"""

from __future__ import annotations

import jax.numpy as jnp
from flax import linen as nn
from jax import lax


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

    def _updated(self, running, batch):
        new = (1 - self.momentum) * running + self.momentum * lax.stop_gradient(batch)
        return new.astype(running.dtype)


def _moments(x):
    """Mean and biased variance in one pass over x: a second pass costs a third of a
    training step on a CPU, and what cancels is below eps for inputs of this scale."""
    axes = tuple(range(x.ndim - 1))
    mean = x.mean(axes)
    return mean, jnp.maximum(jnp.square(x).mean(axes) - jnp.square(mean), 0)
