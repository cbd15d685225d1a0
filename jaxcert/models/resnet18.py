"""ResNets with basic blocks for ImageNet (He et al. 2016): 18 layers by default, 34 with
stages (3, 4, 6, 3), as in torchvision.

    stem 7x7 of stride 2 -> max 3x3 of stride 2
         -> stages of 2, 2, 2, 2 blocks, `width`, 2, 4 and 8 `width` channels
         -> mean over pixels -> linear

The blocks are those of models/resnet.py, and everything else is as in models/resnet50.py. With the
defaults there are 11,689,512 parameters.
"""

from __future__ import annotations

from jaxcert.interfaces import Model
from jaxcert.models import resnet50


def make(
    stages: tuple[int, ...] = (2, 2, 2, 2),
    num_classes: int = 1000,
    image_shape: tuple[int, int, int] = (224, 224, 3),
    width: int = 64,
    mean: tuple[float, ...] = (0.485, 0.456, 0.406),
    std: tuple[float, ...] = (0.229, 0.224, 0.225),
    dtype: str = "float32",
) -> Model:
    """Return the Model. stages: the number of blocks of each. dtype, and errors, as of
    `resnet50.make`."""
    shapes = tuple(stages), num_classes, image_shape, width
    return resnet50.of_blocks(True, *shapes, tuple(mean), tuple(std), dtype)
