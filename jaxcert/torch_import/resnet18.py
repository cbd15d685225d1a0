"""State dicts of ResNets for ImageNet with basic blocks (models/resnet18.py) -> our trees.

The names are those of torchvision, see torch_import/resnet.py.
"""

from __future__ import annotations

from jaxcert.torch_import import resnet
from jaxcert.torch_import.state_dict import Arrays


def convert_state_dict(
    arrays: Arrays, image_shape: tuple[int, int, int]
) -> tuple[dict, dict, dict]:
    """Return (params, state, facts) of `models.resnet18`, as torch_import/resnet.py
    does, but with `stages` for depth and without `shortcut`."""
    arrays = resnet.found(arrays, resnet.IMAGENET_BASIC)
    stages = resnet.stages_of(arrays)
    given = arrays, image_shape, stages, resnet.IMAGENET_BASIC, {}
    params, state, facts = resnet.convert(*given)
    return params, state, {"stages": stages} | facts
