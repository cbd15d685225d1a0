"""LiResNet, the network of GloroNets in Altstidl et al. (2023).

Hu, Zou, Wang, Leino and Fredrikson (2023, arXiv:2301.12549). Images minus 0.5, then

    stem    5x5 convolution of stride 2 to `width` channels              side / 2
    blocks  `depth` linear residual blocks (nn/liresnet.py)
    neck    4x4 convolution of stride 4 to 2 width, flattened, dense to `dense`
    head    normalised rows (nn/heads.py)

each followed by MinMax, except for the head. Sizes XS, S, M, L: depth 6, 12, 18 of
width 128, depth 18 of width 256. z_i - z_j has the Lipschitz constant

    |stem| prod |A_l| |neck conv| |neck dense| |w_i - w_j|.
"""

from __future__ import annotations

import math

from flax import linen as nn

from jaxcert.errors import InputError, whole_from
from jaxcert.interfaces import Model
from jaxcert.models._parts import bound_of, check_dtype, check_sizes, computed
from jaxcert.nn import adapter, liresnet
from jaxcert.nn.activations import maxmin
from jaxcert.nn.heads import LLN


def make(
    *,
    image_shape: tuple[int, int, int] = (32, 32, 3),
    num_classes: int = 10,
    depth: int = 12,
    width: int = 128,
    dense: int = 512,
    power_steps: int = 2,
    power_steps_evaluated: int = 500,
    differentiated: bool = False,
    dtype: str = "float32",
) -> Model:
    """Return the Model of images [B,H,W,C] in [0,1] -> logits [B,K]; the side is a
    multiple of 8.

    power_steps: how many steps of power iteration each training step takes; the
    original takes 10 and differentiates them. dtype "bfloat16" holds for weights and
    activations between the images and the logits, in training; norms stay float32, and
    float64 images are computed in float64. Raises InputError for sizes at which a layer
    is undefined.
    """
    steps = power_steps, power_steps_evaluated
    check_liresnet(image_shape, num_classes, depth, width, dense, steps)
    check_dtype(dtype)
    power = liresnet.Power(power_steps, power_steps_evaluated, differentiated)
    sizes = tuple(image_shape), num_classes, depth, width, dense
    module = LiResNet(*sizes, power=power, dtype=dtype)
    return adapter.from_linen(
        module, image_shape=image_shape, num_classes=num_classes, norm="l2"
    )


def check_liresnet(image_shape, num_classes, depth, width, dense, power_steps) -> None:
    """Raises InputError for sizes that make no network. power_steps: in training and in
    evaluation."""
    check_sizes(image_shape, num_classes, width)
    side, columns, _ = image_shape
    if side != columns or side % 8:
        raise InputError(
            f"liresnet takes square images whose side is a multiple of 8, not {side}x"
            f"{columns}: set data.pad."
        )
    whole_from(1, of="model", depth=depth, dense=dense)
    counts = zip(("power_steps", "power_steps_evaluated"), power_steps, strict=True)
    whole_from(1, of="model", **dict(counts))
    if width % 2 or dense % 2:
        raise InputError(
            f"model.width and model.dense must be even, not {width} and {dense}: MinMax pairs "
            "channels."
        )


class LiResNet(nn.Module):
    """The flax module of the network, see above."""

    image_shape: tuple[int, int, int]
    num_classes: int
    depth: int
    width: int
    dense: int
    power: liresnet.Power
    dtype: str = "float32"

    def setup(self):
        side, _, channels = self.image_shape
        half, w, power = side // 2, self.width, self.power
        self.stem = liresnet.BoundedConv(w, (side, channels), 5, 2, 2, power)
        self.blocks = liresnet.Blocks(self.depth, (half, w), maxmin, power)
        self.neck = liresnet.BoundedConv(2 * w, (half, w), 4, 4, 0, power)
        self.neck_dense = liresnet.BoundedDense(
            self.dense, 2 * w * (side // 8) ** 2, power
        )
        self.head = LLN(self.num_classes, self.dense)

    def __call__(self, x, train=False):
        wide = x.dtype
        x = maxmin(self.stem(computed(x - 0.5, self.dtype)))
        x = maxmin(self.neck(self.blocks(x)))
        # in the order (C, H, W), as the original
        x = x.transpose(0, 3, 1, 2).reshape(len(x), -1)
        return self.head(maxmin(self.neck_dense(x)).astype(wide))

    def lipschitz(self, train=False):
        layers = self.stem, self.neck, self.neck_dense, self.blocks
        norms = [layer.norm(train).prod() for layer in layers]
        return math.prod(norms) * self.head.pairwise()

    def lipschitz_bound(self, tight=True, tell=None):
        layers = self.stem, self.blocks, self.neck, self.neck_dense
        return bound_of(layers, self.head.pairwise_bound(), tight=tight, tell=tell)
