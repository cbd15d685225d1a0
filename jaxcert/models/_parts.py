"""What networks share: layers with PyTorch's conventions, checks, the bound of a chain."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import random

from jaxcert.errors import InputError, one_of, whole_from
from jaxcert.interfaces import Bound, LayerBound, Tell
from jaxcert.nn._layer import Layer

FAN_OUT = nn.initializers.variance_scaling(2.0, "fan_out", "normal")
"""The initialisation N(0, 2 / (k k c_out)) of the convolutions of the CIFAR ResNets."""

FAN_IN = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")
"""The initialisation uniform(-1, 1) / sqrt(inputs), PyTorch's default for weights."""


def conv(features: int, *, size: int = 3, stride: int = 1, dtype, name: str) -> nn.Conv:
    """Return a convolution without bias, padded by (size - 1) / 2 on EVERY side: XLA's
    "SAME" pads stride 2 by (0, 1), which would be another network."""
    return nn.Conv(
        features,
        (size, size),
        strides=stride,
        padding=(size - 1) // 2,
        use_bias=False,
        kernel_init=FAN_OUT,
        dtype=dtype,
        name=name,
    )


def dense(features: int, *, inputs: int, dtype, name: str) -> nn.Dense:
    """Return a dense layer that starts as PyTorch's."""
    return nn.Dense(
        features,
        kernel_init=FAN_IN,
        bias_init=bias_init(inputs),
        dtype=dtype,
        name=name,
    )


def bias_init(inputs: int):
    """Return PyTorch's default initialiser of biases, uniform(-1, 1) / sqrt(inputs of
    the layer)."""
    bound = 1 / math.sqrt(inputs)

    def init(key, shape, dtype=jnp.float32):
        return random.uniform(key, shape, dtype, -bound, bound)

    return init


def normalize(x, mean, std):
    """Return (x - mean) / std per channel, in the type of x [B,H,W,C]."""
    return (x - np.asarray(mean, x.dtype)) / np.asarray(std, x.dtype)


def check_dtype(dtype: str) -> None:
    """Raises InputError unless dtype is float32 or bfloat16."""
    one_of(("float32", "bfloat16"), of="model", dtype=dtype)


def computed(x, dtype: str):
    """Return images in the type that a network computes in: `dtype`, except that
    float64 stays."""
    return x if x.dtype == jnp.float64 else x.astype(dtype)


def check_sizes(image_shape, num_classes: int, width: int = 1) -> None:
    """Raises InputError unless image_shape is (H, W, C), all sizes are at least 1 and there
    are at least two classes."""
    check_shape(image_shape)
    whole_from(2, of="model", num_classes=num_classes)
    whole_from(1, of="model", width=width)


def check_shape(image_shape) -> None:
    """Raises InputError unless image_shape is (H, W, C) with whole numbers from 1 up."""
    if len(image_shape) != 3:
        raise InputError(
            f"model.image_shape must be (H,W,C), not {tuple(image_shape)}."
        )
    for size in image_shape:
        whole_from(1, of="model", image_shape=size)


def check_channels(image_shape, mean, std) -> None:
    """Raises InputError unless mean and std have one positive entry per channel."""
    channels = image_shape[-1]
    if len(mean) != channels or len(std) != channels or min(std) <= 0:
        raise InputError(
            f"mean {tuple(mean)} and std {tuple(std)} do not fit images of "
            f"{channels} channels: give {channels} numbers each, std above 0."
        )


class Averaged(NamedTuple):
    """The Layer x -> (x + layer(x)) / 2."""

    layer: Layer

    @property
    def name(self) -> str | None:
        return self.layer.name  # pyright: ignore[reportAttributeAccessIssue]

    @property
    def kind(self) -> str:
        return f"averaged {_kind(self.layer)}"

    def proven_by(self, tight: bool = True) -> str:
        return self.layer.proven_by(tight)

    def bounds(self, tight: bool = True) -> list[Callable[[], float]]:
        """Return the function that computes (1 + the bound of the layer) / 2."""
        bounds = self.layer.bounds(tight)
        return [lambda: (1 + math.prod(bound() for bound in bounds)) / 2]

    def bias_gain(self) -> float:
        """Return the layer's own gain: its output is halved when it is added to the
        image, but rounds before that."""
        return self.layer.bias_gain()


def bound_of(
    layers: Sequence[Layer], head: np.ndarray, *, tight: bool, tell: Tell | None
) -> Bound:
    """Return the proven constants of a chain: the norms of its layers, then the head's
    [K,K]."""
    found, proofs = (), [each for layer in layers for each in _proofs(layer, tight)]
    for *named, proof in proofs:
        found += (LayerBound(*named, float(proof())),)
        if tell:
            tell(len(found), len(proofs))
    norms = [each.bound for each in found]
    gain = max([1.0, *(layer.bias_gain() for layer in layers)])
    if not np.isfinite([*norms, head.max(), gain]).all():
        return Bound(np.full(head.shape, np.inf), math.inf, found, head)
    growth = math.prod(max(norm, 1.0) for norm in norms) * max(float(head.max()), 1.0)
    rounding = 1 + 4 * (len(norms) + 1) * np.finfo(np.float64).eps
    return Bound(math.prod(norms) * rounding * head, growth * gain, found, head)


def of_normalisation(std: float) -> LayerBound:
    """Return the constant of (x - mean) / std."""
    bound = float(np.nextafter(1 / std, math.inf))
    return LayerBound("normalisation", "normalisation", "exact", bound)


def _proofs(layer, tight: bool) -> list[tuple]:
    """Return (name, kind, method, function that computes it) of each bound of a layer."""
    proofs, name = layer.bounds(tight), layer.name or ""
    names = [name] if len(proofs) == 1 else [f"{name}_{i}" for i in range(len(proofs))]
    kind, method = _kind(layer), layer.proven_by(tight)
    pairs = zip(names, proofs, strict=True)
    return [(each, kind, method, proof) for each, proof in pairs]


def _kind(layer) -> str:
    """Return the file and the class of a layer, such as lot.Conv."""
    made = type(layer)
    found = f"{made.__module__.rpartition('.')[2]}.{made.__name__}"
    return getattr(layer, "kind", found)
