"""BRONet: LiResNet++ with block reflector orthogonal convolutions as its backbone.

Lai, Huang, Kung and Chen, "Enhancing Certified Robustness via Block Reflector Orthogonal
Layers and Logit Annealing Loss" (2025, arXiv:2505.15174). Every layer behind the stem is
orthogonal, so only the stem's norm is estimated in training.
"""

from __future__ import annotations

from flax import linen as nn

from jaxcert.interfaces import Model
from jaxcert.models._parts import check_dtype
from jaxcert.models.liresnet import check_liresnet
from jaxcert.models.liresnet_pp import LiResNetPP, check_neck
from jaxcert.nn import adapter, bro, liresnet
from jaxcert.nn.activations import maxmin


def make(
    *,
    image_shape: tuple[int, int, int] = (32, 32, 3),
    num_classes: int = 10,
    depth: int = 12,
    width: int = 512,
    dense: int = 2048,
    dense_depth: int = 8,
    ratio: float = 0.5,
    power_steps: int = 2,
    power_steps_evaluated: int = 500,
    dtype: str = "float32",
) -> Model:
    """Images [B,H,W,C] in [0,1] -> logits [B,K]; the side is a multiple of 8.

    ratio: rank of the reflected blocks by the width. dtype: see models/liresnet.py; the
    products over frequencies stay float32. Raises InputError where a layer is undefined.
    """
    steps = power_steps, power_steps_evaluated
    check_liresnet(image_shape, num_classes, depth, width, dense, steps)
    check_neck(image_shape, width, dense, dense_depth)
    bro.rank_of(width, width, ratio)
    check_dtype(dtype)
    power = liresnet.Power(
        power_steps, power_steps_evaluated, start=nn.initializers.ones
    )
    blocks = bro.Blocks(depth, (image_shape[0] // 2, width), maxmin, ratio)
    return adapter.from_linen(
        LiResNetPP(
            tuple(image_shape),
            num_classes,
            width,
            dense,
            dense_depth,
            blocks,
            power,
            dtype,
        ),
        image_shape=image_shape,
        num_classes=num_classes,
        norm="l2",
    )
