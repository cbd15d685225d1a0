"""State dicts of LipConvNet with LOT (Xu et al. 2022) or BRO (Lai et al. 2025) -> our trees.

    theirs                                       ours
    layer<s>.<i>.conv.weight [O,I,k,k], .bias    conv<s>_<i>.kernel [k,k,I,O], .bias
    layer<s>.<i>.activation.theta [1,O/2,1,1]    act<s>_<i>.theta [O/2]               (hh1)
    layer<s>.<i>.activation.theta<j> [O/2]       act<s>_<i>.theta<j>, j = 0, 1, 2     (hh2)
    last_layer.weight [K,F,1,1], .bias           last.kernel [1,1,F,K], .bias  (orthogonal)
    last_layer.weight [K,F], .bias               last.kernel [F,K], .bias             (lln)

Layers of LOT's residual variant are named in_block, hidden_block.<i> and out_block, or
block where a stage has one, and mix by the sigmoid of res_lamda_logit, which is held at
0. A weight of BRO is [c,rank,k,k] with c the larger number of channels, which is ours
turned by 180 degrees, see nn/bro.py. mean and std are in no state dict, and MaxMin has
no tensors.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

import numpy as np

from jaxcert.errors import InputError
from jaxcert.torch_import import state_dict, wrapping
from jaxcert.torch_import.state_dict import Arrays, Shapes

NETWORK = "LipConvNet with LOT or BRO"


def convert_state_dict(
    arrays: Arrays, image_shape: tuple[int, int, int]
) -> tuple[dict, dict, dict]:
    """Return (params, state, facts) of `models.lip_convnet`; image_shape is (H, W, C).

    The network may be wrapped (torch_import/wrapping.py). facts are the keys of
    config.model
    that the arrays show: stages, blocks, width, num_classes, conv, activation, head,
    residual; and polar, which is the same in all originals. Values keep their type,
    float32 or float64. Raises InputError naming a tensor that is missing, unknown, of a
    wrong shape, of another type, or not finite.
    """
    arrays = wrapping.network_in(arrays, "last_layer.bias", network=NETWORK)
    facts = _facts(arrays)
    side = 2 ** facts["stages"]
    if tuple(image_shape[:2]) != (side, side):
        raise InputError(
            f"the state dict is of a network for images of {side}x{side}: set "
            f"model.image_shape, which is {tuple(image_shape)}."
        )
    state_dict.check(arrays, facts, _shapes, network=NETWORK, image_shape=image_shape)
    _check_mixing(arrays)
    turned = facts["conv"] == "bro"
    params = {}
    for theirs, stage, i in _layers(facts):
        params[f"conv{stage}_{i}"] = _conv(arrays, f"{theirs}.conv", turned)
        angles = {
            leaf: arrays[f"{theirs}.activation.{leaf}"].reshape(-1)
            for leaf in _angles(facts["activation"])
        }
        if angles:
            params[f"act{stage}_{i}"] = angles
    if facts["head"] == "lln":
        params["last"] = state_dict.linear(arrays, "last_layer")
    else:
        params["last"] = _conv(arrays, "last_layer", turned)
    return params, {}, facts


def _layers(facts: dict) -> Iterator[tuple[str, int, int]]:
    """Return (their name, stage from 1, layer from 0) of every layer, in the order of
    the network."""
    blocks = facts["blocks"]
    for stage in range(1, facts["stages"] + 1):
        for i in range(blocks):
            name = str(i)
            if facts["residual"]:
                name = _residual_name(i, blocks)
            yield f"layer{stage}.{name}", stage, i


def _residual_name(i: int, blocks: int) -> str:
    if blocks == 1:
        return "block"
    if i == 0:
        return "in_block"
    return "out_block" if i == blocks - 1 else f"hidden_block.{i - 1}"


def _facts(arrays: Arrays) -> dict:
    found = [re.match(r"layer(\d+)\.(.+)\.conv\.", name) for name in arrays]
    layers = {(int(m[1]), m[2]) for m in found if m}
    stages = Counter(stage for stage, _ in layers) or {1: 1}
    facts = dict(
        stages=max(stages),
        blocks=max(stages.values()),
        residual=any(re.match(r"layer\d+\.(\w*block|res_lamda)", n) for n in arrays),
    )
    *_, (last, _, _) = _layers(facts)
    rows, columns, _, _ = _shape_of(arrays, f"{last}.conv.weight", 4)
    (features,) = _shape_of(arrays, f"{last}.conv.bias", 1)
    (classes,) = _shape_of(arrays, "last_layer.bias", 1)
    head = arrays.get("last_layer.weight", np.empty(0))
    # the last layer has twice as many inputs as outputs, and BRO the larger number first
    conv = "bro" if rows > columns else "lot"
    return facts | dict(
        width=features // 2 ** facts["stages"],
        num_classes=classes,
        conv=conv,
        polar="newton_schulz",
        activation=_activation(arrays),
        head="lln" if head.ndim == 2 else "orthogonal",
    )


def _shape_of(arrays: Arrays, name: str, axes: int) -> tuple[int, ...]:
    return state_dict.shape_of(arrays, name, axes, NETWORK)


def _activation(arrays: Arrays) -> str:
    leaves = {name.rpartition(".")[2] for name in arrays if ".activation." in name}
    if not leaves:
        return "maxmin"
    return "hh1" if "theta" in leaves else "hh2"


def _angles(activation: str) -> tuple[str, ...]:
    hh2 = ("theta0", "theta1", "theta2")
    return {"maxmin": (), "hh1": ("theta",), "hh2": hh2}[activation]


def _shapes(facts: dict, image_shape: tuple[int, int, int]) -> Shapes:
    """Return the shape of every tensor of a network with these facts."""
    shapes: Shapes = {}
    c_in = image_shape[-1]
    for theirs, stage, i in _layers(facts):
        width, kernel_size = facts["width"] * 2 ** (stage - 1), 3
        if i == facts["blocks"] - 1:  # stride 2 is space-to-depth
            width, c_in = 2 * width, 4 * c_in
            kernel_size = 1 if stage == facts["stages"] else 3
        shape = _weight_shape(facts["conv"], width, c_in, kernel_size)
        shapes[f"{theirs}.conv.weight"] = shape
        shapes[f"{theirs}.conv.bias"] = (width,)
        for leaf in _angles(facts["activation"]):
            shape = (1, width // 2, 1, 1) if leaf == "theta" else (width // 2,)
            shapes[f"{theirs}.activation.{leaf}"] = shape
        if facts["residual"]:
            shapes[f"layer{stage}.res_lamda_logit"] = (1,)
        c_in = width
    head = facts["num_classes"], c_in
    if facts["head"] == "orthogonal":
        head = _weight_shape(facts["conv"], *head, 1)
    return shapes | {
        "last_layer.weight": head,
        "last_layer.bias": (facts["num_classes"],),
    }


def _weight_shape(conv: str, c_out: int, c_in: int, k: int) -> tuple[int, ...]:
    if conv == "lot":
        return c_out, c_in, k, k
    rank = min(c_in, c_out)
    if c_in == c_out:
        rank = max(1, c_in // 8)  # the only one that models.lip_convnet has
    return max(c_in, c_out), rank, k, k


def _check_mixing(arrays: Arrays) -> None:
    for name, array in arrays.items():
        if name.endswith("res_lamda_logit") and array[0] != 0:
            raise InputError(
                f"{name} is {array[0]}, of layers that do not mix by half with their input: "
                "such networks are not imported, give one that the original has trained."
            )


def _conv(arrays: Arrays, name: str, turned: bool) -> dict[str, np.ndarray]:
    layer = state_dict.conv(arrays, name)
    if turned:
        layer["kernel"] = layer["kernel"][::-1, ::-1]
    return layer
