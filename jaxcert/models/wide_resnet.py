"""Wide ResNets, WRN-d-k (Zagoruyko and Komodakis 2016, arXiv 1605.07146), d = 6n + 4.

    stem 3x3 -> 3 stages of n blocks, k `width`, 2k and 4k `width` channels
             -> relu(bn) -> mean over pixels -> linear
    block: shortcut + conv2(relu(bn2(conv1(relu(bn1(x))))))

The shortcut is x. Where a block changes the channels it is a 1x1 convolution of relu(bn1(x)), in
the second and third stage with stride 2, as in the code of the authors and most after it. There is
no dropout. Input is in [0, 1]; the normalisation by `mean` and `std` is the first layer, and
TRADES and others who train on [0, 1] as it is have mean 0 and std 1. WRN-28-10 has 36,479,194
parameters.

As in models/resnet.py the equal blocks of a stage have stacked weights.
"""

from __future__ import annotations

import jax.numpy as jnp
from flax import linen as nn

from jaxcert.errors import InputError, whole_from
from jaxcert.interfaces import Model
from jaxcert.models._parts import (
    check_channels,
    check_dtype,
    check_sizes,
    conv,
    dense,
    normalize,
)
from jaxcert.models.resnet import repeat
from jaxcert.nn.activations import relu
from jaxcert.nn.adapter import from_linen
from jaxcert.nn.batch_norm import BatchNorm


def make(
    depth: int = 28,
    widen: int = 10,
    num_classes: int = 10,
    image_shape: tuple[int, int, int] = (32, 32, 3),
    width: int = 16,
    mean: tuple[float, ...] = (0.4914, 0.4822, 0.4465),
    std: tuple[float, ...] = (0.2023, 0.1994, 0.2010),
    dtype: str = "float32",
) -> Model:
    """Return the Model of WRN-depth-widen; width: the channels of the stem. dtype "bfloat16"
    holds for weights and activations between the normalisation and the mean over pixels;
    statistics and logits stay float32. Float64 images make all of it float64. Raises InputError
    for a depth that is not 6n + 4, and for sizes that no such network can have."""
    if depth < 10 or depth % 6 != 4:
        raise InputError(f"depth {depth} is not 6n + 4: take 10, 16, 28, 34 or 70.")
    whole_from(1, of="model", widen=widen)
    check_dtype(dtype)
    check_sizes(image_shape, num_classes, width)
    check_channels(image_shape, mean, std)
    shape = depth // 6, widen, num_classes, width
    module = WideResNet(*shape, tuple(mean), tuple(std), dtype)
    return from_linen(module, image_shape=image_shape, num_classes=num_classes)


class WideResNet(nn.Module):
    """Map images [B,H,W,C] in [0, 1] to logits [B,K]; `blocks` per stage."""

    blocks: int
    widen: int
    num_classes: int
    width: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    dtype: str

    @nn.compact
    def __call__(self, x, train: bool):
        wide = x.dtype
        x = normalize(x, self.mean, self.std)
        x = x if wide == jnp.float64 else x.astype(self.dtype)
        x = conv(self.width, dtype=x.dtype, name="stem")(x)
        for stage in range(3):
            features, stride = self.widen * self.width * 2**stage, 2 if stage else 1
            name = f"stage{stage + 1}"
            x = Block(features, stride, name=f"{name}_first")(x, train)
            if self.blocks > 1:
                rest = Block(features, name=f"{name}_rest")
                x = repeat(rest, x, train, times=self.blocks - 1)
        x = relu(BatchNorm(name="head_bn")(x, train), train)
        x = x.astype(wide).mean((1, 2))
        return dense(self.num_classes, inputs=x.shape[-1], dtype=wide, name="head")(x)


class Block(nn.Module):
    """A block, see above, [B,H,W,C] -> [B,H / stride,W / stride,features]."""

    features: int
    stride: int = 1

    @nn.compact
    def __call__(self, x, train: bool):
        active = relu(BatchNorm(name="bn1")(x, train), train)
        first = conv(self.features, stride=self.stride, dtype=x.dtype, name="conv1")
        y = relu(BatchNorm(name="bn2").after(first, active, train), train)
        y = conv(self.features, dtype=x.dtype, name="conv2")(y)
        if x.shape[-1] != self.features or self.stride > 1:
            how = dict(size=1, stride=self.stride, dtype=x.dtype)
            x = conv(self.features, **how, name="shortcut")(active)
        return x + y
