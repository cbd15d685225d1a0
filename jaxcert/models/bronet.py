"""BRONet: LiResNet++ with block reflector orthogonal convolutions as its backbone.

Lai, Huang, Kung and Chen, "Enhancing Certified Robustness via Block Reflector Orthogonal
Layers and Logit Annealing Loss" (2025, arXiv:2505.15174). Every layer after the stem is
orthogonal, so only the stem's norm is estimated in training.
"""

from __future__ import annotations

from flax import linen as nn

from jaxcert.interfaces import Model
from jaxcert.models import liresnet_pp
from jaxcert.nn import bro, liresnet
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
    """Return the Model of images [B,H,W,C] in [0,1] -> logits [B,K]; the side is a
    multiple of 8.

    ratio: the rank of the reflected blocks as a share of the width. dtype: see
    models/liresnet.py; the products over frequencies stay float32. Raises InputError
    for sizes at which a layer is undefined.
    """
    steps = power_steps, power_steps_evaluated
    sizes = image_shape, num_classes, width, dense, dense_depth
    liresnet_pp.check(*sizes, depth=depth, power_steps=steps, dtype=dtype)
    bro.rank_of(width, width, ratio)
    power = liresnet.Power(*steps, start=nn.initializers.ones)
    blocks = bro.Blocks(depth, (image_shape[0] // 2, width), maxmin, ratio)
    return liresnet_pp.network(*sizes, blocks, power, dtype)
