"""What the converters share: checks of a state dict, and the layout of its tensors."""

from __future__ import annotations

import re
from collections.abc import Collection

import numpy as np

from jaxcert.errors import InputError

Arrays = dict[str, np.ndarray]
Shapes = dict[str, tuple[int, ...]]


def stripped(arrays: Arrays) -> Arrays:
    """Without `module.`, where all names start with it."""
    if all(name.startswith("module.") for name in arrays):
        return {k.removeprefix("module."): v for k, v in arrays.items()}
    return arrays


def unwrapped(arrays: Arrays) -> Arrays:
    """The network behind a normalisation, as the smoothing papers store it: without the
    `1.` of Sequential and the `module.` of DataParallel, in any order, an empty entry of
    part 0, and the counts of batches, which nothing reads. Raises InputError for a part 0
    with values."""
    found = {}
    for name, array in arrays.items():
        if re.match(r"(module\.)?0\.", name):
            if array.size:
                raise InputError(
                    f"the state dict has {name} in front of the network: leave it out, a "
                    "normalisation is what model.mean and std say."
                )
        elif not name.endswith("num_batches_tracked"):
            found[name] = array
    for prefix in ("module.", "1.", "module."):
        if all(name.startswith(prefix) for name in found):
            found = {k.removeprefix(prefix): v for k, v in found.items()}
    return found


def shape_of(arrays: Arrays, name: str, axes: int, network: str) -> tuple[int, ...]:
    """Shape of a tensor that sizes are read off. Raises InputError."""
    if name not in arrays:
        raise _missing(name, network)
    shape = arrays[name].shape
    if len(shape) != axes or 0 in shape:
        raise InputError(
            f"{name} has shape {shape} where {network} has {axes} axes, none of them empty: "
            "export the state dict again."
        )
    return shape


def check(
    arrays: Arrays,
    shapes: Shapes,
    *,
    network: str,
    image_shape: tuple[int, int, int],
    of_images: Collection[str],
    derived: str = "(?!)",
) -> None:
    """Raises InputError unless the tensors are those of `shapes`, finite and of float32 or
    float64, naming the first that is not.

    of_images: names whose shapes follow from image_shape. derived: pattern of the names of
    buffers that say nothing new, with which nothing is done.
    """
    for name in shapes:
        if name not in arrays:
            raise _missing(name, network)
    for name in arrays:
        if name not in shapes and not re.fullmatch(derived, name):
            raise InputError(
                f"the state dict has {name}, which is no tensor of {network}: give the state "
                "dict of one of these."
            )
    for name, shape in shapes.items():
        if arrays[name].shape != shape:
            fix = "export the state dict again"
            if name in of_images:
                fix = f"set model.image_shape, which is {tuple(image_shape)}"
            raise InputError(
                f"{name} has shape {arrays[name].shape}, this network {shape}: {fix}."
            )
    for name in shapes:
        _check_values(name, arrays[name])


def _check_values(name: str, array: np.ndarray) -> None:
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
    if name.endswith("running_var") and (array < 0).any():
        raise InputError(
            f"{name} has a value below 0, which is no variance: export the state dict again."
        )


def _missing(name: str, network: str) -> InputError:
    if name.endswith(("init_x", "init_layer")):
        return InputError(
            f"the state dict lacks {name}, the vector that power iteration goes on from: "
            "export all of model.state_dict(), buffers as well as parameters."
        )
    return InputError(f"the state dict lacks {name}: export all tensors of {network}.")


def linear_shapes(name: str, rows: int, columns: int) -> Shapes:
    return {f"{name}.weight": (rows, columns), f"{name}.bias": (rows,)}


def linear(arrays: Arrays, name: str) -> dict[str, np.ndarray]:
    return {"kernel": arrays[f"{name}.weight"].T, "bias": arrays[f"{name}.bias"]}


def conv(arrays: Arrays, name: str) -> dict[str, np.ndarray]:
    return {
        "kernel": hwio(arrays[f"{name}.weight"]),
        "bias": arrays[f"{name}.bias"],
    }


def hwio(weight: np.ndarray) -> np.ndarray:
    """[..., O,I,k,k] -> [..., k,k,I,O]"""
    return np.moveaxis(weight, (-4, -3), (-1, -2))


def nhwc(images: np.ndarray) -> np.ndarray:
    """[B,C,H,W] -> [B,H,W,C]"""
    return np.moveaxis(images, 1, -1)


def grouped(image: np.ndarray, groups: int) -> np.ndarray:
    """One image whose channels are those of all groups, [1, G C, H, W] -> [G,1,H,W,C]."""
    _, channels, height, width = image.shape
    return nhwc(image.reshape(groups, channels // groups, height, width))[:, None]
