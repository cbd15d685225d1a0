"""LipNeXt, a 1-Lipschitz network of dense products and shifts.

Hu, Hu and Fredrikson, "LipNeXt: Scaling up Lipschitz-based Certified Robustness to
Billion-parameter Models" (2026, arXiv:2601.18513). Images minus 0.5, then

    tokens  patches of `patch` x `patch` pixels, zero-padded to `width` channels
    blocks  `depth` blocks of two rotations around a shift (nn/spatial_shift.py)
    pool    the l2 norm of each channel over all tokens
    head    a linear layer (nn/heads.py)

z_i - z_j has the constant prod |R_l| |R_l M_l^T| |w_i - w_j|, in training |w_i - w_j|.
Sizes are written L32W1024 for depth 32 and width 1024.
"""

from __future__ import annotations

import math

from flax import linen as nn

from jaxcert.errors import InputError, whole_from, within
from jaxcert.interfaces import Model
from jaxcert.models._parts import bound_of, check_dtype, check_sizes, computed
from jaxcert.nn import adapter
from jaxcert.nn.heads import Linear
from jaxcert.nn.spatial_shift import Blocks, tokens
from jaxcert.ops import linalg


def make(
    *,
    image_shape: tuple[int, int, int] = (32, 32, 3),
    num_classes: int = 10,
    depth: int = 32,
    width: int = 1024,
    patch: int = 4,
    shift: float = 0.125,
    bend: float = 0.5,
    dtype: str = "float32",
) -> Model:
    """Return the Model of images [B,H,W,C] in [0,1] -> logits [B,K].

    shift: the share of the channels that moves in each of four directions; bend: the share
    of which the absolute value is taken. dtype: see models/liresnet.py; R M^T, pooling and
    head stay float32. Raises InputError for sizes at which a layer is undefined.
    """
    check_sizes(image_shape, num_classes, width)
    check_dtype(dtype)
    whole_from(1, of="model", depth=depth, patch=patch)
    height, columns, channels = image_shape
    if height % patch or columns % patch or min(height, columns) < 2 * patch:
        raise InputError(
            f"model.patch {patch} does not cut images of {height}x{columns} into at least 2x2 "
            "tokens, which the shifts mix: give a divisor of both sides below them, or set "
            "data.pad."
        )
    if patch**2 * channels > width:
        raise InputError(
            f"model.width {width} is less than the {patch**2 * channels} numbers of a patch: "
            "give more, or a smaller model.patch."
        )
    within("(0, 0.25]", of="model", shift=shift)
    within("(0, 1]", of="model", bend=bend)
    module = LipNeXt(
        num_classes=num_classes,
        patch=patch,
        depth=depth,
        inputs=(height // patch, columns // patch, width),
        shifted=_part(width, shift, "shift"),
        bent=_part(width, bend, "bend"),
        dtype=dtype,
    )
    sizes = dict(image_shape=image_shape, num_classes=num_classes)
    return adapter.from_linen(module, **sizes, norm="l2")


def _part(width: int, share: float, key: str) -> int:
    """Return share * width. Raises InputError if that is no whole number."""
    channels = round(share * width)
    if not math.isclose(share * width, channels):  # 100 * 0.07 is not 7 in floats
        raise InputError(
            f"model.width {width} has no whole number of channels in model.{key} {share}: give a "
            f"width that {share} times it is a whole number of, or another share."
        )
    return channels


class LipNeXt(nn.Module):
    """The flax module of the network, see above."""

    num_classes: int
    patch: int
    depth: int
    inputs: tuple[int, int, int]
    shifted: int
    bent: int
    dtype: str = "float32"

    def setup(self):
        self.blocks = Blocks(self.depth, self.inputs, self.shifted, self.bent)
        self.head = Linear(self.num_classes, self.inputs[2])

    def __call__(self, x, train=False):
        wide = x.dtype
        x = tokens(computed(x - 0.5, self.dtype), self.patch, self.inputs[2])
        x = self.blocks(x).astype(wide)
        return self.head(linalg.safe_norm(x, axis=(1, 2)))

    def lipschitz(self, train=False):
        return self.blocks.norm(train).prod() * self.head.pairwise()

    def lipschitz_bound(self, tight=True, tell=None):
        head = self.head.pairwise_bound()
        return bound_of([self.blocks], head, tight=tight, tell=tell)
