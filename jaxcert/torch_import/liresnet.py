"""State dicts of LiResNet (Hu et al. 2023, the snapshot of its preprint) -> our trees.

    theirs                                       ours
    stem.0.weight [W,C,5,5], .bias               stem.kernel, .bias
    backbone.<2l>.weight [W,W,3,3]               blocks.kernel[l] [3,3,W,W]
    backbone.<2l>.affine [W,1,1,1], .bias        blocks.gain[l], .bias[l] [W]
    neck.0.weight [2W,W,4,4], .bias              neck.kernel, .bias
    neck.3.weight, .bias                         neck_dense.kernel, .bias
    head.weight, .bias                           head.kernel, .bias
    stem.0.init_x, neck.0.init_x, neck.3.init_x  power: stem, neck, neck_dense .vector
    init_layer [1, D W, n, n]                    power: blocks.vector [D,1,n,n,W]

Their code has one power iteration for all blocks, that of `init_layer`;
backbone.<2l>.init_x is unused there and backbone.<2l>.identity a constant. No state
dict says that activations are MinMax and that the rows of the head are normalised.
"""

from __future__ import annotations

import re

import numpy as np

from jaxcert.torch_import import state_dict, wrapping
from jaxcert.torch_import.state_dict import Arrays, Shapes

NETWORK = "LiResNet with linear residual blocks"


def convert_state_dict(
    arrays: Arrays, image_shape: tuple[int, int, int]
) -> tuple[dict, dict, dict]:
    """Return (params, state, facts) of `models.liresnet`; image_shape is (H, W, C).

    The network may be wrapped (torch_import/wrapping.py). facts are the keys of config.model
    that the arrays show: depth, width, dense, num_classes. Values keep their type, float32 or
    float64. Raises InputError naming a tensor that is missing, unknown, of a wrong shape, of
    another type, or not finite.
    """
    arrays = wrapping.network_in(arrays, "stem.0.weight", network=NETWORK)
    facts = _facts(arrays)
    state_dict.check(
        arrays,
        facts,
        _shapes,
        network=NETWORK,
        image_shape=image_shape,
        derived=r"backbone\.\d+\.(identity|init_x)",
    )
    depth, width = facts["depth"], facts["width"]
    blocks = [f"backbone.{2 * i}" for i in range(depth)]
    params = {
        "stem": state_dict.conv(arrays, "stem.0"),
        "blocks": {
            "kernel": np.stack(
                [state_dict.hwio(arrays[f"{b}.weight"]) for b in blocks]
            ),
            "gain": np.stack([arrays[f"{b}.affine"].reshape(width) for b in blocks]),
            "bias": np.stack([arrays[f"{b}.bias"] for b in blocks]),
        },
        "neck": state_dict.conv(arrays, "neck.0"),
        "neck_dense": state_dict.linear(arrays, "neck.3"),
        "head": state_dict.linear(arrays, "head"),
    }
    power = {
        "stem": {"vector": state_dict.nhwc(arrays["stem.0.init_x"])},
        "blocks": {"vector": state_dict.grouped(arrays["init_layer"], depth)},
        "neck": {"vector": state_dict.nhwc(arrays["neck.0.init_x"])},
        "neck_dense": {"vector": arrays["neck.3.init_x"]},
    }
    return params, {"power": power}, facts


def _facts(arrays: Arrays) -> dict:
    found = [re.match(r"backbone\.(\d+)\.", name) for name in arrays]
    depth = max((int(m[1]) for m in found if m), default=0) // 2 + 1
    width = state_dict.shape_of(arrays, "backbone.0.weight", 4, NETWORK)[0]
    classes, dense = state_dict.shape_of(arrays, "head.weight", 2, NETWORK)
    return dict(depth=depth, width=width, dense=dense, num_classes=classes)


def _shapes(facts: dict, image_shape: tuple[int, int, int]) -> Shapes:
    """Return the shape of every tensor of a network with these facts."""
    side, _, channels = image_shape
    depth, width, dense = facts["depth"], facts["width"], facts["dense"]
    half, flat = side // 2, 2 * width * (side // 8) ** 2
    shapes: Shapes = {
        "stem.0.init_x": (1, channels, side, side),
        "stem.0.weight": (width, channels, 5, 5),
        "stem.0.bias": (width,),
        "init_layer": (1, depth * width, half, half),
    }
    for i in range(depth):
        shapes[f"backbone.{2 * i}.weight"] = (width, width, 3, 3)
        shapes[f"backbone.{2 * i}.affine"] = (width, 1, 1, 1)
        shapes[f"backbone.{2 * i}.bias"] = (width,)
    shapes |= {
        "neck.0.weight": (2 * width, width, 4, 4),
        "neck.0.bias": (2 * width,),
        "neck.0.init_x": (1, width, half, half),
        "neck.3.init_x": (1, flat),
    }
    shapes |= state_dict.linear_shapes("neck.3", dense, flat)
    return shapes | state_dict.linear_shapes("head", facts["num_classes"], dense)
