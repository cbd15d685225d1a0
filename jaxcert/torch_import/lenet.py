"""State dicts of the LeNet that the smoothing papers train on MNIST -> our trees.

    theirs                                       ours
    conv<j>.weight [O,I,5,5], .bias              conv<j>.kernel [5,5,I,O], .bias
    fc<j>.weight [O,I], .bias                    fc<j>.kernel [I,O], .bias

They flatten the last images as C,H,W and we as H,W,C, so the inputs of fc1 change places.
"""

from __future__ import annotations

from jaxcert.torch_import import state_dict, wrapping
from jaxcert.torch_import.state_dict import Arrays, Shapes

NETWORK = "LeNet with convolutions of 20 and 50 channels"


def convert_state_dict(
    arrays: Arrays, image_shape: tuple[int, int, int]
) -> tuple[dict, dict, dict]:
    """Return (params, state, facts) of `models.lenet`; image_shape is (H, W, C).

    The network may be wrapped (torch_import/wrapping.py). num_classes is the only fact
    that the arrays show. Values keep their type, float32 or float64. Raises InputError
    naming a tensor that is missing, unknown, of a wrong shape, of another type, or not
    finite.
    """
    arrays = wrapping.network_in(arrays, "fc2.weight", network=NETWORK)
    classes, _ = state_dict.shape_of(arrays, "fc2.weight", 2, NETWORK)
    facts = dict(num_classes=classes)
    state_dict.check(arrays, facts, _shapes, network=NETWORK, image_shape=image_shape)
    flat = arrays["fc1.weight"].reshape(500, 50, *_last_sides(image_shape))
    params = {
        "conv1": state_dict.conv(arrays, "conv1"),
        "conv2": state_dict.conv(arrays, "conv2"),
        "fc1": {
            "kernel": state_dict.nhwc(flat).reshape(500, -1).T,
            "bias": arrays["fc1.bias"],
        },
        "fc2": state_dict.linear(arrays, "fc2"),
    }
    return params, {}, facts


def _shapes(facts: dict, image_shape: tuple[int, int, int]) -> Shapes:
    """Return the shape of every tensor of a network with these facts."""
    height, width = _last_sides(image_shape)
    shapes: Shapes = {
        "conv1.weight": (20, image_shape[-1], 5, 5),
        "conv1.bias": (20,),
        "conv2.weight": (50, 20, 5, 5),
        "conv2.bias": (50,),
    }
    shapes |= state_dict.linear_shapes("fc1", 500, 50 * height * width)
    return shapes | state_dict.linear_shapes("fc2", facts["num_classes"], 500)


def _last_sides(image_shape: tuple[int, int, int]) -> tuple[int, ...]:
    """Return the height and the width of the last images."""
    return tuple(((side - 4) // 2 - 4) // 2 for side in image_shape[:2])
