"""Two convolutions for images of 8x8 to 28x28: trains in seconds on a CPU.

conv 3x3 (width) - bn - relu - conv 3x3 stride 2 (2 width) - bn - relu - mean over
pixels - linear. Input is in [0, 1]; the normalisation is the first layer.
"""

from __future__ import annotations

from flax import linen as nn

from jaxcert.interfaces import Model
from jaxcert.models._parts import check_channels, check_sizes, conv, dense, normalize
from jaxcert.nn.adapter import from_linen
from jaxcert.nn.batch_norm import BatchNorm


def make(
    num_classes: int = 10,
    image_shape: tuple[int, int, int] = (8, 8, 1),
    width: int = 32,
    mean: tuple[float, ...] = (0.3,),
    std: tuple[float, ...] = (0.37,),
) -> Model:
    """Return the Model. mean and std are per channel; the defaults are those of the
    digits."""
    check_sizes(image_shape, num_classes, width)
    check_channels(image_shape, mean, std)
    module = SmallCnn(num_classes, width, tuple(mean), tuple(std))
    return from_linen(module, image_shape=image_shape, num_classes=num_classes)


class SmallCnn(nn.Module):
    """Map images [B,H,W,C] in [0, 1] to logits [B,K], in the type of the input."""

    num_classes: int
    width: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @nn.compact
    def __call__(self, x, train: bool):
        x = normalize(x, self.mean, self.std)
        x = conv(self.width, dtype=x.dtype, name="conv1")(x)
        x = nn.relu(BatchNorm(name="bn1")(x, train))
        x = conv(2 * self.width, stride=2, dtype=x.dtype, name="conv2")(x)
        x = nn.relu(BatchNorm(name="bn2")(x, train))
        x = x.mean((1, 2))
        return dense(self.num_classes, inputs=x.shape[-1], dtype=x.dtype, name="head")(
            x
        )
