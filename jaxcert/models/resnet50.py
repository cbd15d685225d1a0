"""ResNets with bottleneck blocks for ImageNet (He et al. 2016): 50 layers by default.

    stem 7x7 of stride 2 -> max 3x3 of stride 2
         -> stages of 3, 4, 6, 3 blocks, 4, 8, 16 and 32 `width` channels
         -> mean over pixels -> linear
    block: relu(shortcut(x) + conv3(relu(conv2(relu(conv1(x)))))), 1x1, 3x3 and 1x1,
           each convolution with a batch normalisation

The stride of a stage is in the 3x3 convolution of its first block, as in torchvision and
the code of Cohen et al. (2019), and not in the first 1x1 as in the paper. The first block
of every stage has a strided 1x1 convolution and a batch normalisation for its shortcut.
Input is in [0, 1], images of 224x224 that were resized to 256 and cut out in the centre;
the normalisation by `mean` and `std` is the first layer. With the defaults there are
25,557,032 parameters.

As in models/resnet.py the equal blocks of a stage have stacked weights.
"""

from __future__ import annotations

import jax.numpy as jnp
from flax import linen as nn

from jaxcert.errors import InputError
from jaxcert.interfaces import Model
from jaxcert.models._parts import (
    check_channels,
    check_dtype,
    check_sizes,
    conv,
    dense,
    normalize,
)
from jaxcert.models.resnet import Block as BasicBlock
from jaxcert.models.resnet import repeat
from jaxcert.nn.activations import relu
from jaxcert.nn.adapter import from_linen
from jaxcert.nn.batch_norm import BatchNorm


def make(
    stages: tuple[int, ...] = (3, 4, 6, 3),
    num_classes: int = 1000,
    image_shape: tuple[int, int, int] = (224, 224, 3),
    width: int = 64,
    mean: tuple[float, ...] = (0.485, 0.456, 0.406),
    std: tuple[float, ...] = (0.229, 0.224, 0.225),
    dtype: str = "float32",
) -> Model:
    """Return the Model. stages: the number of blocks of each; (3, 4, 23, 3) makes 101
    layers. dtype "bfloat16" holds for weights and activations between the normalisation
    and the mean over pixels; statistics and logits stay float32. Float64 images make
    all of it float64. Raises InputError for sizes that no such network can have."""
    shapes = tuple(stages), num_classes, image_shape, width
    return of_blocks(False, *shapes, tuple(mean), tuple(std), dtype)


def of_blocks(
    basic: bool, stages, num_classes, image_shape, width, mean, std, dtype
) -> Model:
    """Return the Model of bottleneck blocks, or of the basic ones of models/resnet18.py; the
    other arguments, and errors, as of `make`."""
    if not stages or min(stages) < 1:
        raise InputError(f"stages {tuple(stages)} has no block: take (3, 4, 6, 3).")
    check_dtype(dtype)
    check_sizes(image_shape, num_classes, width)
    check_channels(image_shape, mean, std)
    module = ResNet(stages, num_classes, width, mean, std, dtype, basic)
    return from_linen(module, image_shape=image_shape, num_classes=num_classes)


class ResNet(nn.Module):
    """Map images [B,H,W,C] in [0, 1] to logits [B,K]."""

    stages: tuple[int, ...]
    num_classes: int
    width: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    dtype: str
    basic: bool = False

    @nn.compact
    def __call__(self, x, train: bool):
        block = BasicBlock if self.basic else Block
        wide = x.dtype
        x = normalize(x, self.mean, self.std)
        x = x if wide == jnp.float64 else x.astype(self.dtype)
        stem = conv(self.width, size=7, stride=2, dtype=x.dtype, name="stem")
        x = relu(BatchNorm(name="stem_bn").after(stem, x, train), train)
        x = nn.max_pool(x, (3, 3), strides=(2, 2), padding=((1, 1), (1, 1)))
        for i, blocks in enumerate(self.stages):
            width, stride, stage = self.width * 2**i, 2 if i else 1, f"stage{i + 1}"
            x = block(width, stride, name=f"{stage}_first")(x, train)
            if blocks > 1:
                rest = block(width, name=f"{stage}_rest")
                x = repeat(rest, x, train, times=blocks - 1)
        x = x.astype(wide).mean((1, 2))
        return dense(self.num_classes, inputs=x.shape[-1], dtype=wide, name="head")(x)


class Block(nn.Module):
    """A bottleneck block, [B,H,W,C] -> [B,H / stride,W / stride,4 width]."""

    width: int
    stride: int = 1

    @nn.compact
    def __call__(self, x, train: bool):
        features, pointwise = 4 * self.width, dict(size=1, dtype=x.dtype)
        first = conv(self.width, **pointwise, name="conv1")
        second = conv(self.width, stride=self.stride, dtype=x.dtype, name="conv2")
        third = conv(features, **pointwise, name="conv3")
        y = relu(BatchNorm(name="bn1").after(first, x, train), train)
        y = relu(BatchNorm(name="bn2").after(second, y, train), train)
        y = BatchNorm(name="bn3").after(third, y, train)
        if y.shape != x.shape:
            project = conv(features, **pointwise, stride=self.stride, name="shortcut")
            x = BatchNorm(name="shortcut_bn").after(project, x, train)
        return relu(x + y, train)
