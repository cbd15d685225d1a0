"""Batch normalisation with the running statistics of PyTorch.

Ioffe & Szegedy 2015: y = scale * (x - mean) / sqrt(var + eps) + bias, per channel over
all other axes. Batches are normalised with the biased variance, while the running
variance is the unbiased one (flax's own module stores the biased one):

    running <- (1 - momentum) * running + momentum * batch

Under jit over a sharded batch the statistics are those of the whole batch.

After a convolution w without a bias, evaluation folds them into it:

    y = w' * x + b',  w' = w scale / sqrt(var + eps),  b' = bias - mean scale / sqrt(var + eps)

`Model.prepare` computes w' and b' once, and evaluation of a prepared state reads them.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax

from jaxcert.ops.conv import arrange, conv


class BatchNorm(nn.Module):
    """Normalise [..., C] per channel, in the type of the input, with statistics in
    float32 or wider."""

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
        if train:
            # a CPU computes in float32 and would gain nothing
            on_cpu = jax.default_backend() == "cpu"
            form = _normalised if on_cpu else _narrowly_kept
            y, mean, var = form(self.eps, x, scale, bias)
            if not self.is_initializing():
                count = x.size // channels
                unbiased = var * (count / max(count - 1, 1))
                running_mean.value = self._updated(running_mean.value, mean)
                running_var.value = self._updated(running_var.value, unbiased)
            return y
        mean, var = running_mean.value.astype(wide), running_var.value.astype(wide)
        factor = scale * lax.rsqrt(var + self.eps)
        return (x.astype(wide) * factor + (bias - mean * factor)).astype(x.dtype)

    def after(self, layer: nn.Conv, x, train: bool):
        """Return self(layer(x), train) for a convolution with zero padding of
        (k - 1) / 2 on every side."""
        stride = layer.strides
        assert isinstance(stride, int)  # the same along both sides
        if not train and self.has_variable("prepared", "kernel"):
            kernel, bias = (
                self.get_variable("prepared", name).astype(x.dtype)
                for name in ("kernel", "bias")
            )
            return conv(x, kernel, stride=stride) + bias
        y = self(layer(x), train)
        if self.is_mutable_collection("prepared"):
            self._fold(layer, stride, x)
        return y

    def _fold(self, layer: nn.Conv, stride: int, x) -> None:
        scale, bias = (self.get_variable("params", name) for name in ("scale", "bias"))
        mean, var = (self.get_variable("batch_stats", name) for name in ("mean", "var"))
        factor = scale / jnp.sqrt(var.astype(scale.dtype) + self.eps)
        kernel = layer.get_variable("params", "kernel") * factor
        kernel = arrange(kernel, x, stride=stride)
        # in the type of their reader, bfloat16, or else a loop would convert at every pass
        bias = bias - mean * factor
        self.put_variable("prepared", "kernel", kernel.astype(x.dtype))
        self.put_variable("prepared", "bias", bias.astype(x.dtype))

    def _updated(self, running, batch):
        new = (1 - self.momentum) * running + self.momentum * lax.stop_gradient(batch)
        return new.astype(running.dtype)


def _normalised(eps: float, x, scale, bias):
    """Return (y, mean, var): x normalised by the statistics of its batch, and these
    statistics in the wide type."""
    mean, var = _moments(x)
    factor = scale * lax.rsqrt(var + eps)
    y = x.astype(mean.dtype) * factor + (bias - mean * factor)
    return y.astype(x.dtype), mean, var


def _forward(eps, x, scale, bias):
    y, mean, var = _normalised(eps, x, scale, bias)
    return (y, mean, var), (x, scale, mean, var)


def _backward(eps, kept, gradients):
    """Return the gradients in two passes over x and dy. With
    z = (x - mean) / sqrt(var + eps), and means over the batch,

    dx = scale / sqrt(var + eps) (dy - mean dy - z mean (dy z))
         + (d mean + 2 (x - mean) d var) / count,

    d scale = sum dy z, d bias = sum dy.
    """
    x, scale, mean, var = kept
    dy, d_mean, d_var = gradients
    dy, axes, count = dy.astype(mean.dtype), tuple(range(x.ndim - 1)), x[..., 0].size
    away, over_std = x.astype(mean.dtype) - mean, lax.rsqrt(var + eps)
    d_bias, d_scale = dy.sum(axes), (dy * away).sum(axes) * over_std
    factor = scale * over_std
    shift = (d_mean - factor * d_bias) / count
    slope = (2 * d_var - factor * over_std * d_scale) / count
    dx = factor * dy + shift + slope * away
    return dx.astype(x.dtype), d_scale.astype(scale.dtype), d_bias.astype(scale.dtype)


_narrowly_kept = jax.custom_vjp(_normalised, nondiff_argnums=(0,))
"""`_normalised`, whose gradient keeps x in its own type instead of the wide one of the
statistics: that halves the memory traffic of a training step in bfloat16."""
_narrowly_kept.defvjp(_forward, _backward)


def _moments(x):
    """Return mean and biased variance from one pass over x: a second pass costs a third
    of a training step on a CPU, and the error of cancellation is below eps for inputs
    of this scale."""
    wide, axes = (
        x.astype(jnp.promote_types(x.dtype, jnp.float32)),
        tuple(range(x.ndim - 1)),
    )
    mean = wide.mean(axes)
    return mean, jnp.maximum(jnp.square(wide).mean(axes) - jnp.square(mean), 0)
