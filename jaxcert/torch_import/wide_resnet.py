"""State dicts of Wide ResNets -> our trees (models/wide_resnet.py).

    theirs                                       ours
    conv1.weight [W,C,3,3]                       stem.kernel [3,3,C,W]
    block<s>.layer.0.bn<j>, conv<j>.weight       stage<s>_first: bn<j>, conv<j>.kernel
    block<s>.layer.0.convShortcut.weight         stage<s>_first: shortcut.kernel
    block<s>.layer.<i>.bn<j>, conv<j>.weight     stage<s>_rest: the same, stacked at i - 1
    bn1                                          head_bn
    fc.weight [K,F], .bias                       head.kernel [F,K], .bias

The names are those of the PyTorch code of xternalz, which TRADES and most of RobustBench took. mean
and std are in no state dict, and TRADES has none: give mean 0 and std 1 for its checkpoints.
"""

from __future__ import annotations

import re

from jaxcert.errors import InputError
from jaxcert.torch_import import state_dict, wrapping
from jaxcert.torch_import.state_dict import Arrays, Shapes

_NETWORK = "a Wide ResNet"
_LEAVES = {"weight": "scale", "bias": "bias"}
_MEANS = {"running_mean": "mean", "running_var": "var"}


def convert_state_dict(
    arrays: Arrays, image_shape: tuple[int, int, int]
) -> tuple[dict, dict, dict]:
    """Return (params, state, facts) of `models.wide_resnet`; image_shape is (H, W, C).

    The network may be wrapped (torch_import/wrapping.py). facts are the keys of config.model
    that the arrays show: depth, widen, width, num_classes. Values keep their type. Raises
    InputError naming a tensor that is missing, unknown, of a wrong shape, of another type, or not
    finite, and for a network that is no WRN-d-k.
    """
    arrays = {
        name: array
        for name, array in wrapping.network_in(
            arrays, "fc.weight", network=_NETWORK
        ).items()
        if not name.endswith("num_batches_tracked")
    }
    width, *_ = state_dict.shape_of(arrays, "conv1.weight", 4, _NETWORK)
    classes, _ = state_dict.shape_of(arrays, "fc.weight", 2, _NETWORK)
    first = "block1.layer.0.conv1.weight"
    wide, *_ = state_dict.shape_of(arrays, first, 4, _NETWORK)
    if wide % width:
        raise InputError(
            f"{first} has {wide} channels, which is no multiple of the {width} of the stem, as of "
            "every WRN-d-k: give the state dict of one."
        )
    names = [re.match(r"block\d+\.layer\.(\d+)\.", name) for name in arrays]
    blocks = 1 + max(int(m[1]) for m in names if m)
    facts = dict(depth=6 * blocks + 4, widen=wide // width)
    facts |= dict(width=width, num_classes=classes)
    how = dict(network=_NETWORK, image_shape=image_shape)
    state_dict.check(arrays, facts, _shapes, **how)
    params, means = {"stem": _kernel(arrays, "conv1")}, {}
    for s in (1, 2, 3):
        trees = [_block(arrays, f"block{s}.layer.{i}") for i in range(blocks)]
        params[f"stage{s}_first"], means[f"stage{s}_first"] = trees[0]
        if blocks > 1:
            rest = zip(*trees[1:], strict=True)
            stacked = (state_dict.stacked(some) for some in rest)
            params[f"stage{s}_rest"], means[f"stage{s}_rest"] = stacked
    params["head_bn"], means["head_bn"] = _norm(arrays, "bn1")
    params["head"] = state_dict.linear(arrays, "fc")
    return params, {"batch_stats": means}, facts


def _shapes(facts: dict, image_shape) -> Shapes:
    """Return the shape of every tensor of a network with these facts."""
    width, blocks = facts["width"], facts["depth"] // 6
    shapes: Shapes = {"conv1.weight": (width, image_shape[-1], 3, 3)}
    c_in = width
    for s in range(3):
        features = facts["widen"] * width * 2**s
        for i in range(blocks):
            name = f"block{s + 1}.layer.{i}"
            shapes |= _norm_shapes(f"{name}.bn1", c_in)
            shapes[f"{name}.conv1.weight"] = (features, c_in, 3, 3)
            shapes |= _norm_shapes(f"{name}.bn2", features)
            shapes[f"{name}.conv2.weight"] = (features, features, 3, 3)
            # the stride of the others changes the shape as well
            if c_in != features:
                shapes[f"{name}.convShortcut.weight"] = (features, c_in, 1, 1)
            c_in = features
    shapes |= _norm_shapes("bn1", c_in)
    return shapes | state_dict.linear_shapes("fc", facts["num_classes"], c_in)


def _norm_shapes(name: str, channels: int) -> Shapes:
    return {f"{name}.{leaf}": (channels,) for leaf in (*_LEAVES, *_MEANS)}


def _kernel(arrays: Arrays, name: str) -> dict:
    return {"kernel": state_dict.hwio(arrays[f"{name}.weight"])}


def _norm(arrays: Arrays, name: str) -> tuple[dict, dict]:
    params = {ours: arrays[f"{name}.{leaf}"] for leaf, ours in _LEAVES.items()}
    return params, {ours: arrays[f"{name}.{leaf}"] for leaf, ours in _MEANS.items()}


def _block(arrays: Arrays, name: str) -> tuple[dict, dict]:
    """Return (params, running statistics) of a block."""
    params, means = {}, {}
    for j in (1, 2):
        params[f"conv{j}"] = _kernel(arrays, f"{name}.conv{j}")
        params[f"bn{j}"], means[f"bn{j}"] = _norm(arrays, f"{name}.bn{j}")
    if f"{name}.convShortcut.weight" in arrays:
        params["shortcut"] = _kernel(arrays, f"{name}.convShortcut")
    return params, means
