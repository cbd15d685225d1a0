"""State dicts of LiResNet++ (Hu et al. 2024) and BRONet (Lai et al. 2025) -> our trees.

    theirs                                       ours
    stem.0.weight [W,C,5,5], .bias               stem.kernel, .bias
    conv.weights [D,W,R,3,3]                     blocks.kernel [D,3,3,R,W]
    conv.gamma [D,W,1,1,1], conv.bias [D,W]      blocks.gain, .bias [D,W]
    neck.kernel [W, W 4 4]                       neck.kernel [4,4,W,W]
    neck.weight, neck.bias                       neck_dense.kernel, .bias
    linear.weights [L,N,N]                       stack.kernel [L,N,N], turned
    linear.gamma [L,N,1], linear.bias            stack.gain, .bias [L,N]
    head.weight, .bias                           head.kernel, .bias
    conv.running_mean [D,W]                      batch_stats: blocks.mean
    stem.0.init_x [1,C,n,n]                      power: stem.vector
    conv.init_x [1, D W, m, m] (LiResNet++)      power: blocks.vector [D,1,m,m,W]

R is W for LiResNet++ and the rank of the reflectors for BRONet, whose kernels are ours
turned by 180 degrees, see nn/bro.py: torch_import/bronet.py turns them. Identities and
linear.eval_weight follow from the rest. No state dict says that activations are MinMax,
that the rows of the head are normalised, and that the reflectors are I + D^(-1/2) g (.)
V.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from jaxcert.errors import InputError
from jaxcert.torch_import import state_dict, wrapping
from jaxcert.torch_import.state_dict import Arrays, Shapes

LIRESNET_PP = "LiResNet++"
BRONET = "BRONet with reflectors, Cholesky neck and dense stack"


def convert_state_dict(
    arrays: Arrays, image_shape: tuple[int, int, int]
) -> tuple[dict, dict, dict]:
    """Return (params, state, facts) of `models.liresnet_pp`; image_shape is (H, W, C).

    The network may be wrapped (torch_import/wrapping.py). facts are the keys of config.model
    that the arrays show: depth, width, dense, dense_depth, num_classes. Values keep their type,
    float32 or float64. Raises InputError naming a tensor that is missing, unknown, of a wrong
    shape, of another type, or not finite.
    """
    return convert(arrays, image_shape, LIRESNET_PP)


def convert(arrays: Arrays, image_shape, network: str) -> tuple[dict, dict, dict]:
    """Return (params, state, facts) of LIRESNET_PP or BRONET, whose kernels are not yet
    turned."""
    arrays = wrapping.network_in(arrays, "conv.weights", network=network)
    weights = state_dict.shape_of(arrays, "conv.weights", 5, network)
    facts = _facts(arrays, weights, network)
    shapes_of = partial(_shapes, _rank(weights, network), network)
    state_dict.check(
        arrays,
        facts,
        shapes_of,
        network=network,
        image_shape=image_shape,
        derived=r"(conv|linear)\.identity|linear\.eval_weight|conv\.I_(low|full)",
    )
    depth, width = facts["depth"], facts["width"]
    patches = arrays["neck.kernel"].reshape(width, width, 4, 4)
    params = {
        "stem": state_dict.conv(arrays, "stem.0"),
        "blocks": {
            "kernel": state_dict.hwio(arrays["conv.weights"]),
            "gain": arrays["conv.gamma"].reshape(depth, width),
            "bias": arrays["conv.bias"],
        },
        "neck": {"kernel": state_dict.hwio(patches)},
        "neck_dense": state_dict.linear(arrays, "neck"),
        "stack": _stack(arrays, facts),
        "head": state_dict.linear(arrays, "head"),
    }
    power = {"stem": {"vector": state_dict.nhwc(arrays["stem.0.init_x"])}}
    if network == LIRESNET_PP:
        vectors = state_dict.grouped(arrays["conv.init_x"], depth)
        power["blocks"] = {"vector": vectors}
    means = {"blocks": {"mean": arrays["conv.running_mean"]}}
    return params, {"batch_stats": means, "power": power}, facts


def _stack(arrays: Arrays, facts: dict) -> dict[str, np.ndarray]:
    if not facts["dense_depth"]:
        n, dtype = facts["dense"], arrays["head.weight"].dtype
        sizes = {"kernel": (0, n, n), "gain": (0, n), "bias": (0, n)}
        return {name: np.zeros(size, dtype) for name, size in sizes.items()}
    return {
        "kernel": arrays["linear.weights"].swapaxes(1, 2),
        "gain": arrays["linear.gamma"][..., 0],
        "bias": arrays["linear.bias"],
    }


def _facts(arrays: Arrays, weights: tuple[int, ...], network: str) -> dict:
    depth, width = weights[:2]
    classes, dense = state_dict.shape_of(arrays, "head.weight", 2, network)
    dense_depth = 0
    if any(name.startswith("linear.") for name in arrays):
        dense_depth = state_dict.shape_of(arrays, "linear.weights", 3, network)[0]
    return dict(
        depth=depth,
        width=width,
        dense=dense,
        dense_depth=dense_depth,
        num_classes=classes,
    )


def _rank(weights: tuple[int, ...], network: str) -> int:
    width, rank = weights[1:3]
    if rank != width if network == LIRESNET_PP else rank >= width:
        there = "as many" if network == LIRESNET_PP else "fewer"
        raise InputError(
            f"conv.weights has shape {weights}, for {width} channels {rank} columns where "
            f"{network} has {there}: give the state dict of one, or a config of the other."
        )
    return rank


def _shapes(rank: int, network: str, facts: dict, image_shape) -> Shapes:
    """Return the shape of every tensor of a network with these facts."""
    side, _, channels = image_shape
    depth, width, dense = facts["depth"], facts["width"], facts["dense"]
    stack = facts["dense_depth"]
    shapes: Shapes = {
        "stem.0.init_x": (1, channels, side, side),
        "stem.0.weight": (width, channels, 5, 5),
        "stem.0.bias": (width,),
        "conv.weights": (depth, width, rank, 3, 3),
        "conv.gamma": (depth, width, 1, 1, 1),
        "conv.bias": (depth, width),
        "conv.running_mean": (depth, width),
        "neck.kernel": (width, 16 * width),
    }
    if network == LIRESNET_PP:
        shapes["conv.init_x"] = (1, depth * width, side // 2, side // 2)
    shapes |= state_dict.linear_shapes("neck", dense, width * (side // 8) ** 2)
    if stack:
        shapes |= {
            "linear.weights": (stack, dense, dense),
            "linear.gamma": (stack, dense, 1),
            "linear.bias": (stack, dense),
        }
    return shapes | state_dict.linear_shapes("head", facts["num_classes"], dense)
