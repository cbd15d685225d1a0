"""LeNet for MNIST, as the smoothing papers with MNIST results train it.

conv 5x5 (20) - relu - max 2x2 - conv 5x5 (50) - relu - max 2x2 - linear 500 - relu -
linear; convolutions unpadded, no normalisation of the input in [0, 1].
"""

from __future__ import annotations

from flax import linen as nn

from jaxcert.errors import InputError
from jaxcert.interfaces import Model
from jaxcert.models._parts import FAN_IN, bias_init, check_sizes, dense
from jaxcert.nn.adapter import from_linen


def make(
    num_classes: int = 10, image_shape: tuple[int, int, int] = (28, 28, 1)
) -> Model:
    """Return the Model. Raises InputError for images below 16x16, because two poolings
    would leave nothing of them."""
    check_sizes(image_shape, num_classes)
    if min(image_shape[:2]) < 16:
        raise InputError(f"lenet needs images of 16x16 or more, not {image_shape[:2]}.")
    module = LeNet(num_classes)
    return from_linen(module, image_shape=image_shape, num_classes=num_classes)


class LeNet(nn.Module):
    """Map images [B,H,W,C] in [0, 1] to logits [B,K], in the type of the input."""

    num_classes: int

    @nn.compact
    def __call__(self, x, train: bool):
        for features, name in ((20, "conv1"), (50, "conv2")):
            layer = nn.Conv(
                features,
                (5, 5),
                padding="VALID",
                kernel_init=FAN_IN,
                bias_init=bias_init(25 * x.shape[-1]),
                dtype=x.dtype,
                name=name,
            )
            x = nn.max_pool(nn.relu(layer(x)), (2, 2), strides=(2, 2))
        x = x.reshape(len(x), -1)
        x = nn.relu(dense(500, inputs=x.shape[-1], dtype=x.dtype, name="fc1")(x))
        return dense(self.num_classes, inputs=500, dtype=x.dtype, name="fc2")(x)
