"""Layers whose Lipschitz constant is estimated in training and proven for certificates.

Hu, Zou, Wang, Leino and Fredrikson, "Unlocking Deterministic Robustness Certification on
ImageNet" (2023). A residual block without an activation inside is one convolution,

    A_l = I + D^(-1/2) g_l (.) W_l        D blocks, g_l one factor per output channel,

so that the bound of a block is |A_l| instead of 1 + |g_l (.) W_l|.

Every layer here is an `Estimated` of nn/_layer.py: `norm(train)` takes power iteration
from a carried vector, and `bounds` proves its bounds with ops.spectral.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxcert.nn import _layer
from jaxcert.ops import linalg, spectral

Array = jax.Array


class Power(NamedTuple):
    """How the norms are estimated by power iteration."""

    steps: int = 2
    """the number of steps in each training step"""
    steps_evaluated: int = 500
    """the number of steps for `radius_paper`, from the carried vector, which they leave
    alone"""
    differentiated: bool = False
    """True differentiates through the steps, as the paper's code does; False at their
    result alone"""
    start: Callable = nn.initializers.normal(1.0)


def conv(
    x: Array, kernel: Array, *, stride: int = 1, padding: int = 0, precision=None
) -> Array:
    """Convolve x [B,n,n,C_in] with a kernel [k,k,C_in,C_out] and zero padding.
    precision None is the default of the process, which images and features need."""
    return jax.lax.conv_general_dilated(
        x,
        kernel.astype(x.dtype),
        (stride, stride),
        [(padding, padding)] * 2,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        precision=precision,
    )


class BoundedConv(_layer.Single):
    """A convolution of images [B,side,side,C_in] with a bias, whose kernel starts
    orthogonal."""

    features: int
    inputs: tuple[int, int]
    """(side, C_in)"""
    kernel_size: int
    stride: int
    padding: int
    power: Power = Power()

    def setup(self):
        side, channels = self.inputs
        shape = (self.kernel_size, self.kernel_size, channels, self.features)
        orthogonal = nn.initializers.orthogonal(column_axis=-1)
        self.kernel = self.param("kernel", orthogonal, shape)
        self.bias = self.param("bias", _layer.init_bias, shape[3:], shape)
        self.vector = _carried(self, (1, side, side, channels))

    def __call__(self, x):
        return self._linear(x) + self.bias.astype(x.dtype)

    def norm(self, train: bool) -> Array:
        return _estimated(self, self._linear, train)

    def bound(self, tight: bool = True) -> float:
        return spectral.conv_bound(
            np.asarray(self.kernel),
            self.inputs[0],
            stride=self.stride,
            padding=self.padding,
            tight=tight,
        )

    proven_by = _layer.by_conv
    bias_gain = _layer.bias_at_output

    def _linear(self, x):
        return conv(x, self.kernel, stride=self.stride, padding=self.padding)


class BoundedDense(_layer.Single):
    """A dense layer [B,inputs] -> [B,features] that starts as PyTorch's."""

    features: int
    inputs: int
    power: Power = Power()

    def setup(self):
        shape = (1, 1, self.inputs, self.features)
        start = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")
        self.kernel = self.param("kernel", start, shape[2:])
        self.bias = self.param("bias", _layer.init_bias, shape[3:], shape)
        self.vector = _carried(self, (1, self.inputs))

    def __call__(self, x):
        return self._linear(x) + self.bias.astype(x.dtype)

    def norm(self, train: bool) -> Array:
        return _estimated(self, self._linear, train)

    def bound(self, tight: bool = True) -> float:
        return spectral.norm_bound(np.asarray(self.kernel))

    proven_by = _layer.by_gram
    bias_gain = _layer.bias_at_output

    def _linear(self, x):
        return x @ self.kernel.astype(x.dtype)


class Blocks(nn.Module):
    """All residual blocks, which map x to activation(A_l x + b_l) for l = 1..depth.

    centred (Hu et al. 2024): in training the mean of the branch (A_l - I) x over images
    and pixels is subtracted, in evaluation its running mean. A shift changes no bound.
    """

    depth: int
    inputs: tuple[int, int]
    """(side, W)"""
    activation: Callable[[Array], Array]
    power: Power = Power()
    centred: bool = False

    def setup(self):
        side, width = self.inputs
        shape = (self.depth, 3, 3, width, width)
        start = nn.initializers.normal(1 / (9 * width))
        self.kernel = self.param("kernel", start, shape)
        self.gain = self.param("gain", nn.initializers.ones, (self.depth, width))
        self.bias = self.param("bias", nn.initializers.zeros, (self.depth, width))
        self.vector = _carried(self, (self.depth, 1, side, side, width))
        if self.centred:
            self.mean = running_mean(self, (self.depth, width))

    def __call__(self, x, train=False):
        def block(x, each):
            kernel, bias = each
            return self.activation(conv(x, kernel, padding=1) + bias), None

        def centred(x, each):
            kernel, bias = each
            branch = conv(x, kernel, padding=1)
            mean = branch.mean((0, 1, 2), linalg.wide(x.dtype))
            shift = (bias - mean).astype(x.dtype)
            return self.activation(x + branch + shift), mean

        dtype, bias = x.dtype, jnp.asarray(self.bias)
        if self.centred and train:
            each = self.branches().astype(dtype), bias.astype(linalg.wide(dtype))
            x, means = chain(centred, x, each)
            follow(self.mean, means)
            return x
        bias = bias - self.mean.value if self.centred else bias
        each = self.kernels().astype(dtype), bias.astype(dtype)
        return chain(block, x, each)[0]

    def branches(self) -> Array:
        """Return D^(-1/2) g (.) W of all blocks, [D,3,3,W,W]."""
        kernel = jnp.asarray(self.kernel)
        return kernel * self.gain[:, None, None, None, :] / math.sqrt(self.depth)

    def kernels(self) -> Array:
        """Return A of all blocks, [D,3,3,W,W]."""
        branches = self.branches()
        return branches.at[:, 1, 1].add(jnp.eye(self.inputs[1], dtype=branches.dtype))

    def norm(self, train: bool) -> Array:
        """Return the estimated norms of all blocks, [D]."""

        def apply(x, kernel):
            return conv(x, kernel, padding=1)

        return _estimated(self, apply, train, self.kernels())

    def bounds(self, tight: bool = True) -> list[Callable[[], float]]:
        """Return the function that computes the bound of each block."""
        kernels = np.asarray(self.kernels(), np.float64)
        how = dict(padding=1, tight=tight)
        return [partial(spectral.conv_bound, k, self.inputs[0], **how) for k in kernels]

    proven_by = _layer.by_conv
    bias_gain = _layer.bias_at_output


def chain(block: Callable, x: Array, each):
    """Run lax.scan over a stack of layers, unrolled on a CPU, where XLA computes the
    gradient of a convolution inside a loop thirty times slower than outside."""
    return jax.lax.scan(block, x, each, unroll=jax.default_backend() == "cpu")


def running_mean(module: nn.Module, shape: tuple[int, ...]):
    """Return the variable with the mean that a centred layer subtracts in evaluation."""
    return module.variable("batch_stats", "mean", jnp.zeros, shape, jnp.float32)


def follow(mean, found: Array) -> None:
    """Move a running mean one step towards the mean of a batch."""
    found = jax.lax.stop_gradient(found)
    moved = mean.value + 0.1 * (found - mean.value)
    mean.value = moved.astype(mean.value.dtype)


def _carried(module: nn.Module, shape: tuple[int, ...]):
    def start():
        return module.power.start(module.make_rng("params"), shape)

    return module.variable("power", "vector", start)


def _estimated(module, linear, train: bool, stack: Array | None = None) -> Array:
    """Return an estimate of the norm of linear(x), or of the norms [D] of
    linear(x, member) for the members of a stack."""
    power, carried = module.power, module.vector
    steps = power.steps if train else power.steps_evaluated

    def norm(x, *member):
        return linalg.power_iteration(
            lambda x: linear(x, *member),
            x,
            steps=steps,
            differentiated=train and power.differentiated,
        )

    x = carried.value.astype(module.kernel.dtype)
    value, vector = norm(x) if stack is None else _each(norm, x, stack)
    if train:
        carried.value = vector
    return value


def _each(function: Callable, *stacks: Array):
    """Return `function` mapped over the leading axis: unrolled on a CPU, where a
    batched stack of convolutions is slow and a loop is slower (see `chain`), and
    batched elsewhere."""

    def one_by_one(*stacks):
        found = [function(*each) for each in zip(*stacks, strict=True)]
        return jax.tree.map(lambda *each: jnp.stack(each), *found)

    return jax.lax.platform_dependent(
        *stacks, cpu=one_by_one, default=jax.vmap(function)
    )
