"""State dicts of L_inf-dist-net-v2 and SortNet (Zhang et al. 2022a, 2022b) -> our trees.

    theirs                                       ours
    fc_dist.<i>.weight [O,D]                     dist_<i>.kernel [D,O]
    fc_dist.<i>.mean_shift.running_mean [O]      mean_shift: shift_<i>.mean
    fc_dist.<last>.weight, .bias (no hybrid)     last.kernel, bias
    fc_linear.0.weight, .bias (hybrid)           head.linear.kernel, .bias
    fc_final.weight, .bias (hybrid)              head.final.kernel, .bias
    scalar [1] (where it is learnt)              scale []

They flatten an image as C,H,W and we as H,W,C, so the inputs of the first layer change
places. The head's weights are the stored ones: both sides divide by sqrt(D) in use. rho,
mean and std are in no state dict, nor is a scalar that is not learnt; that one cancels in
every radius.
"""

from __future__ import annotations

import math
import re

import numpy as np

from jaxcert.torch_import import state_dict, wrapping
from jaxcert.torch_import.state_dict import Arrays, Shapes

NETWORK = "an MLP or hybrid of L_inf-dist-net-v2 or SortNet"


def convert_state_dict(
    arrays: Arrays, image_shape: tuple[int, int, int]
) -> tuple[dict, dict, dict]:
    """Return (params, state, facts) of `models.dist_net`; image_shape is (H, W, C).

    The network may be wrapped (torch_import/wrapping.py). facts are the keys of config.model
    that the arrays show: depth, width, num_classes, hidden, learn_scale. Values keep their
    type, float32 or float64. Raises InputError naming a tensor that is missing, unknown, of a
    wrong shape, of another type, or not finite.
    """
    arrays = wrapping.network_in(arrays, "fc_dist.0.weight", network=NETWORK)
    facts = _facts(arrays)
    state_dict.check(arrays, facts, _shapes, network=NETWORK, image_shape=image_shape)
    params, means = {}, {}
    for i in range(facts["depth"] - (2 if facts["hidden"] else 1)):
        params[f"dist_{i}"] = {"kernel": arrays[f"fc_dist.{i}.weight"].T}
        means[f"shift_{i}"] = {"mean": arrays[f"fc_dist.{i}.mean_shift.running_mean"]}
    params["dist_0"] = {"kernel": _first(arrays["fc_dist.0.weight"], image_shape)}
    if facts["hidden"]:
        params["head"] = {
            "linear": state_dict.linear(arrays, "fc_linear.0"),
            "final": state_dict.linear(arrays, "fc_final"),
        }
    else:
        last = state_dict.linear(arrays, f"fc_dist.{facts['depth'] - 1}")
        params |= {"last": {"kernel": last["kernel"]}, "bias": last["bias"]}
    if facts["learn_scale"]:
        params["scale"] = arrays["scalar"].reshape(())
    return params, {"mean_shift": means}, facts


def _facts(arrays: Arrays) -> dict:
    layers = sum(bool(re.fullmatch(r"fc_dist\.\d+\.weight", name)) for name in arrays)
    hybrid = any(name.startswith(("fc_linear.", "fc_final.")) for name in arrays)
    depth = layers + 2 if hybrid else max(layers, 2)
    return dict(
        depth=depth,
        width=_rows(arrays, "fc_dist.0.weight"),
        num_classes=_rows(
            arrays, "fc_final.weight" if hybrid else f"fc_dist.{depth - 1}.weight"
        ),
        hidden=_rows(arrays, "fc_linear.0.weight") if hybrid else 0,
        learn_scale="scalar" in arrays,
    )


def _rows(arrays: Arrays, name: str) -> int:
    return state_dict.shape_of(arrays, name, 2, NETWORK)[0]


def _shapes(facts: dict, image_shape: tuple[int, int, int]) -> Shapes:
    """Return the shape of every tensor of a network with these facts."""
    inputs = math.prod(image_shape)
    width, classes, hidden = facts["width"], facts["num_classes"], facts["hidden"]
    shapes: Shapes = {}
    layers = facts["depth"] - (2 if hidden else 1)
    for i in range(layers):
        shapes[f"fc_dist.{i}.weight"] = (width, width if i else inputs)
        shapes[f"fc_dist.{i}.mean_shift.running_mean"] = (width,)
    if hidden:
        shapes |= state_dict.linear_shapes("fc_linear.0", hidden, width)
        shapes |= state_dict.linear_shapes("fc_final", classes, hidden)
    else:
        shapes |= state_dict.linear_shapes(f"fc_dist.{layers}", classes, width)
    if facts["learn_scale"]:
        shapes["scalar"] = (1,)
    return shapes


def _first(weight: np.ndarray, image_shape: tuple[int, int, int]) -> np.ndarray:
    """Reorder the inputs of the first layer, [O, C H W] -> [H W C, O]."""
    height, width, channels = image_shape
    cube = weight.reshape(-1, channels, height, width).transpose(2, 3, 1, 0)
    return cube.reshape(-1, len(weight))
