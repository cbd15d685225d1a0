"""State dicts of the LeNet that the smoothing papers train on MNIST -> our trees.

    theirs                                       ours
    conv<j>.weight [O,I,5,5], .bias              conv<j>.kernel [5,5,I,O], .bias
    fc<j>.weight [O,I], .bias                    fc<j>.kernel [I,O], .bias

They flatten the last images as C,H,W and we as H,W,C, so the inputs of fc1 change places.
"""

from __future__ import annotations

from jaxcert.torch_import import state_dict
from jaxcert.torch_import.state_dict import Arrays

NETWORK = "LeNet with convolutions of 20 and 50 channels"


def convert_state_dict(
    arrays: Arrays, image_shape: tuple[int, int, int]
) -> tuple[dict, dict, dict]:
    """(params, state, facts) of `models.lenet`; image_shape is (H, W, C).

    All names may start with `1.`, `module.` or both. The fact that the arrays show is
    num_classes. Values keep their type, float32 or float64. Raises InputError naming a
    tensor that is missing, unknown, of a wrong shape, of another type, or not finite.
    """
    arrays = state_dict.unwrapped(arrays)
    classes, _ = state_dict.shape_of(arrays, "fc2.weight", 2, NETWORK)
    height, width = (((side - 4) // 2 - 4) // 2 for side in image_shape[:2])
    shapes = {
        "conv1.weight": (20, image_shape[-1], 5, 5),
        "conv1.bias": (20,),
        "conv2.weight": (50, 20, 5, 5),
        "conv2.bias": (50,),
    }
    shapes |= state_dict.linear_shapes("fc1", 500, 50 * height * width)
    shapes |= state_dict.linear_shapes("fc2", classes, 500)
    state_dict.check(
        arrays,
        shapes,
        network=NETWORK,
        image_shape=image_shape,
        of_images=("conv1.weight", "fc1.weight"),
    )
    flat = arrays["fc1.weight"].reshape(500, 50, height, width)
    params = {
        "conv1": state_dict.conv(arrays, "conv1"),
        "conv2": state_dict.conv(arrays, "conv2"),
        "fc1": {
            "kernel": state_dict.nhwc(flat).reshape(500, -1).T,
            "bias": arrays["fc1.bias"],
        },
        "fc2": state_dict.linear(arrays, "fc2"),
    }
    return params, {}, dict(num_classes=classes)
