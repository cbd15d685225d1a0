"""What the converters share: checks of a state dict, and the layout of its tensors."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np

from jaxcert.errors import InputError

Arrays = dict[str, np.ndarray]
Shapes = dict[str, tuple[int, ...]]
ImageShape = tuple[int, int, int]

_WORDS = dict(
    num_classes="number of classes",
    stages="number of stages",
    blocks="number of blocks",
    hidden="number of hidden units",
    dense="width of the dense layers",
    dense_depth="number of dense layers",
    embedding="width of the embedding",
    augment_labels="number of augmentation labels",
)
"""The meaning of the facts whose name does not say it."""


def shape_of(arrays: Arrays, name: str, axes: int, network: str) -> tuple[int, ...]:
    """Return the shape of a tensor that sizes are read from. Raises InputError if its
    axes do not fit."""
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
    facts: dict,
    shapes_of: Callable[[dict, ImageShape], Shapes],
    *,
    network: str,
    image_shape: ImageShape,
    derived: str = "(?!)",
) -> None:
    """Raises InputError unless the tensors are those of `shapes_of(facts,
    image_shape)`, finite and of float32 or float64. It names the first tensor that is
    not, and the axis.

    derived: the pattern of names of buffers that say nothing new, which are ignored.
    """
    shapes = shapes_of(facts, image_shape)
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
            others = _others(facts, image_shape, shapes_of, name)
            raise _wrong_shape(
                name, arrays[name].shape, shape, others, network, image_shape
            )
    for name in shapes:
        _check_values(name, arrays[name])


def _others(facts: dict, image_shape: ImageShape, shapes_of, name: str):
    """Return pairs (what, the shape that the tensor would have in a network with another
    `what`)."""
    height, width, channels = image_shape
    changed = [("image", facts, (2 * height, 2 * width, channels))]
    changed += [("image", facts, (height, width, channels + 1))]
    changed += [
        (_WORDS.get(key, key), facts | {key: 2 * value}, image_shape)
        for key, value in facts.items()
        if isinstance(value, int) and not isinstance(value, bool)
    ]
    found = [(what, shapes_of(*given).get(name)) for what, *given in changed]
    return [(what, shape) for what, shape in found if shape is not None]


def _wrong_shape(
    name: str, found, expected, others, network: str, image_shape: ImageShape
) -> InputError:
    start = f"{name} has shape {found}, this network {expected}"
    if len(found) != len(expected):
        return InputError(f"{start}: export the state dict again.")
    axes = [axis for axis, size in enumerate(expected) if found[axis] != size]
    follows = {
        axis: [
            what
            for what, other in others
            if other[axis : axis + 1] != (expected[axis],)
        ]
        for axis in axes
    }
    axis = next((axis for axis in axes if "image" not in follows[axis]), None)
    if axis is None:
        return InputError(
            f"{start}: set model.image_shape, which is {tuple(image_shape)}, to that of the "
            "images that it was trained with."
        )
    kernel = len(expected) > 3 and axis >= len(expected) - 2
    fixed = "size of the kernel" if kernel else "number of channels or features"
    what = " and ".join(dict.fromkeys(follows[axis])) or fixed
    return InputError(f"{start}, another {what}: give the state dict of {network}.")


def _check_values(name: str, array: np.ndarray) -> None:
    if array.dtype not in (np.float32, np.float64):
        raise InputError(
            f"{name} has values of type {array.dtype}: export the float32 ones that "
            "were trained."
        )
    if not (np.abs(array) <= np.finfo(np.float32).max).all():  # neither is NaN
        raise InputError(
            f"{name} has a value that is no finite float32 number: give the state dict "
            "of a training that did not diverge."
        )
    if name.endswith("running_var") and (array < 0).any():
        raise InputError(
            f"{name} has a value below 0, which is no variance: export the state dict again."
        )


def _missing(name: str, network: str) -> InputError:
    if name.endswith(("init_x", "init_layer")):
        return InputError(
            f"the state dict lacks {name}, the vector that power iteration continues from: "
            "export all of model.state_dict(), buffers as well as parameters."
        )
    return InputError(f"the state dict lacks {name}: export all tensors of {network}.")


def linear_shapes(name: str, rows: int, columns: int) -> Shapes:
    """Return the shapes of the tensors of a linear layer, by name."""
    return {f"{name}.weight": (rows, columns), f"{name}.bias": (rows,)}


def linear(arrays: Arrays, name: str) -> dict[str, np.ndarray]:
    """Return the parameters of a linear layer, transposed to [inputs, outputs]."""
    return {"kernel": arrays[f"{name}.weight"].T, "bias": arrays[f"{name}.bias"]}


def conv(arrays: Arrays, name: str) -> dict[str, np.ndarray]:
    """Return the parameters of a convolution, with the kernel as [k,k,I,O]."""
    return {
        "kernel": hwio(arrays[f"{name}.weight"]),
        "bias": arrays[f"{name}.bias"],
    }


def stacked(trees) -> dict:
    """Return the tree {layer: {leaf: array}} of equal blocks, whose arrays have a first axis for
    the block."""
    return {
        layer: {
            leaf: np.stack([tree[layer][leaf] for tree in trees]) for leaf in leaves
        }
        for layer, leaves in trees[0].items()
    }


def hwio(weight: np.ndarray) -> np.ndarray:
    """Transpose kernels [..., O,I,k,k] to [..., k,k,I,O]."""
    return np.moveaxis(weight, (-4, -3), (-1, -2))


def nhwc(images: np.ndarray) -> np.ndarray:
    """Transpose images [B,C,H,W] to [B,H,W,C]."""
    return np.moveaxis(images, 1, -1)


def grouped(image: np.ndarray, groups: int) -> np.ndarray:
    """Split one image whose channels are those of all groups, [1, G C, H, W] ->
    [G,1,H,W,C]."""
    _, channels, height, width = image.shape
    return nhwc(image.reshape(groups, channels // groups, height, width))[:, None]
