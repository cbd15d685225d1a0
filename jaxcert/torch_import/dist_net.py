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

from jaxcert.errors import InputError

Arrays = dict[str, np.ndarray]


def convert_state_dict(
    arrays: Arrays, image_shape: tuple[int, int, int]
) -> tuple[dict, dict, dict]:
    """(params, state, facts) of `models.dist_net`; image_shape is (H, W, C).

    All names may start with `module.`. facts are the keys of config.model that the arrays
    show: depth, width, num_classes, hidden, learn_scale. Values keep their type, float32 or
    float64. Raises InputError naming a tensor that is missing, unknown, of a wrong shape,
    of another type, or not finite.
    """
    if all(name.startswith("module.") for name in arrays):
        arrays = {k.removeprefix("module."): v for k, v in arrays.items()}
    facts = _facts(arrays)
    shapes = _shapes(facts, math.prod(image_shape))
    _check_names(arrays, shapes)
    _check_shapes(arrays, shapes, image_shape)
    _check_values(arrays)
    params, means = {}, {}
    for i in range(facts["depth"] - (2 if facts["hidden"] else 1)):
        params[f"dist_{i}"] = {"kernel": arrays[f"fc_dist.{i}.weight"].T}
        means[f"shift_{i}"] = {"mean": arrays[f"fc_dist.{i}.mean_shift.running_mean"]}
    params["dist_0"] = {"kernel": _first(arrays["fc_dist.0.weight"], image_shape)}
    if facts["hidden"]:
        params["head"] = {
            "linear": _linear(arrays, "fc_linear.0"),
            "final": _linear(arrays, "fc_final"),
        }
    else:
        last = _linear(arrays, f"fc_dist.{facts['depth'] - 1}")
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
    if name not in arrays:
        raise _missing(name)
    if arrays[name].ndim != 2:
        raise InputError(
            f"{name} has shape {arrays[name].shape}, a distance net has a matrix there: "
            "export the state dict again."
        )
    return len(arrays[name])


def _shapes(facts: dict, inputs: int) -> dict[str, tuple[int, ...]]:
    """Every tensor of a network with these facts."""
    width, classes, hidden = facts["width"], facts["num_classes"], facts["hidden"]
    shapes: dict[str, tuple[int, ...]] = {}
    layers = facts["depth"] - (2 if hidden else 1)
    for i in range(layers):
        shapes[f"fc_dist.{i}.weight"] = (width, width if i else inputs)
        shapes[f"fc_dist.{i}.mean_shift.running_mean"] = (width,)
    if hidden:
        shapes |= _linear_shapes("fc_linear.0", hidden, width)
        shapes |= _linear_shapes("fc_final", classes, hidden)
    else:
        shapes |= _linear_shapes(f"fc_dist.{layers}", classes, width)
    if facts["learn_scale"]:
        shapes["scalar"] = (1,)
    return shapes


def _linear_shapes(name: str, rows: int, columns: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (rows, columns), f"{name}.bias": (rows,)}


def _check_names(arrays: Arrays, shapes: dict) -> None:
    missing = [name for name in shapes if name not in arrays]
    unknown = [name for name in arrays if name not in shapes]
    if missing:
        raise _missing(missing[0])
    if unknown:
        raise InputError(
            f"the state dict has {unknown[0]}, which is no tensor of an MLP or hybrid of "
            "L_inf-dist-net-v2 or SortNet: give the state dict of one of these."
        )


def _check_shapes(arrays: Arrays, shapes: dict, image_shape) -> None:
    for name, shape in shapes.items():
        if arrays[name].shape == shape:
            continue
        fix = "export the state dict again"
        if name == "fc_dist.0.weight":
            fix = f"set model.image_shape, which is {tuple(image_shape)}"
        raise InputError(
            f"{name} has shape {arrays[name].shape}, this network {shape}: {fix}."
        )


def _check_values(arrays: Arrays) -> None:
    for name, array in arrays.items():
        if array.dtype not in (np.float32, np.float64):
            raise InputError(
                f"{name} has values of type {array.dtype}: export the float32 ones that "
                "were trained."
            )
        if not (np.abs(array) <= np.finfo(np.float32).max).all():  # NaN is not, either
            raise InputError(
                f"{name} has a value that is no finite float32 number: give the state dict "
                "of a training that went well."
            )


def _first(weight: np.ndarray, image_shape: tuple[int, int, int]) -> np.ndarray:
    """[O, C H W] -> [H W C, O]"""
    height, width, channels = image_shape
    cube = weight.reshape(-1, channels, height, width).transpose(2, 3, 1, 0)
    return cube.reshape(-1, len(weight))


def _linear(arrays: Arrays, name: str) -> dict[str, np.ndarray]:
    return {"kernel": arrays[f"{name}.weight"].T, "bias": arrays[f"{name}.bias"]}


def _missing(name: str) -> InputError:
    return InputError(
        f"the state dict lacks {name}: export all tensors of an MLP or hybrid of "
        "L_inf-dist-net-v2 or SortNet."
    )
