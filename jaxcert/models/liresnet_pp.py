"""LiResNet++: the network of Hu, Leino, Wang and Fredrikson (2024, arXiv:2310.02513).

"A Recipe for Improved Certifiable Robustness: Capacity and Data". Images minus 0.5, then

    stem    5x5 convolution of stride 2 to `width` channels, MinMax            side / 2
    blocks  `depth` linear residual blocks, centred (nn/liresnet.py)
    neck    4x4 convolution of stride 4 to `width`, flattened, dense to `dense`, MinMax
    stack   `dense_depth` dense layers of `dense`, each with MinMax
    head    normalised rows (nn/heads.py)

Neck and stack are Cholesky-orthogonal (nn/cholesky.py). z_i - z_j has the constant

    |stem| prod |A_l| |neck conv| |neck dense| prod |Q_l| |w_i - w_j|.
"""

from __future__ import annotations

import math

from flax import linen as nn

from jaxcert.errors import InputError, whole_from
from jaxcert.interfaces import Model
from jaxcert.models._parts import bound_of, check_dtype, computed
from jaxcert.models.liresnet import check_liresnet
from jaxcert.nn import adapter, cholesky, liresnet
from jaxcert.nn.activations import maxmin
from jaxcert.nn.heads import LLN


def make(
    *,
    image_shape: tuple[int, int, int] = (32, 32, 3),
    num_classes: int = 10,
    depth: int = 12,
    width: int = 512,
    dense: int = 2048,
    dense_depth: int = 8,
    power_steps: int = 2,
    power_steps_evaluated: int = 500,
    dtype: str = "float32",
) -> Model:
    """Return the Model of images [B,H,W,C] in [0,1] -> logits [B,K]; the side is a
    multiple of 8.

    power_steps: how many steps of power iteration each training step takes, 10 in the
    original. dtype: see models/liresnet.py. Raises InputError for sizes at which a
    layer is undefined.
    """
    steps = power_steps, power_steps_evaluated
    sizes = image_shape, num_classes, width, dense, dense_depth
    check(*sizes, depth=depth, power_steps=steps, dtype=dtype)
    power = liresnet.Power(*steps, start=nn.initializers.ones)
    inside = (image_shape[0] // 2, width)
    blocks = liresnet.Blocks(depth, inside, maxmin, power, centred=True)
    return network(*sizes, blocks, power, dtype)


def check(
    image_shape, num_classes, width, dense, dense_depth, *, depth, power_steps, dtype
) -> None:
    """Raises InputError for sizes or a dtype that no such network can have.
    power_steps: in training and in evaluation."""
    check_liresnet(image_shape, num_classes, depth, width, dense, power_steps)
    inputs = width * (image_shape[0] // 8) ** 2
    if dense > inputs:
        raise InputError(
            f"model.dense is {dense}, but its rows are orthogonal and the neck hands them only "
            f"{inputs} numbers, so there are at most as many: widen the blocks or narrow "
            "the dense layers."
        )
    whole_from(0, of="model", dense_depth=dense_depth)
    check_dtype(dtype)


def network(image_shape, num_classes, *parts) -> Model:
    """Return the Model of a LiResNetPP, which takes these arguments in this order."""
    module = LiResNetPP(tuple(image_shape), num_classes, *parts)
    sizes = dict(image_shape=image_shape, num_classes=num_classes)
    return adapter.from_linen(module, **sizes, norm="l2")


class LiResNetPP(nn.Module):
    """The flax module. blocks: the module of its backbone, nn/liresnet.py or nn/bro.py."""

    image_shape: tuple[int, int, int]
    num_classes: int
    width: int
    dense: int
    dense_depth: int
    blocks: nn.Module
    power: liresnet.Power
    dtype: str = "float32"

    def setup(self):
        side, _, channels = self.image_shape
        w, pixels = self.width, (side // 8) ** 2
        self.stem = liresnet.BoundedConv(w, (side, channels), 5, 2, 2, self.power)
        self.neck = cholesky.PatchConv(w, w)
        self.neck_dense = cholesky.Dense(self.dense, w * pixels)
        self.stack = cholesky.DenseStack(self.dense_depth, self.dense, maxmin)
        self.head = LLN(self.num_classes, self.dense)

    def __call__(self, x, train=False):
        wide = x.dtype
        x = maxmin(self.stem(computed(x - 0.5, self.dtype)))
        x = self.neck(self.blocks(x, train))
        # in the order (C, H, W), as the original
        x = x.transpose(0, 3, 1, 2).reshape(len(x), -1)
        return self.head(self.stack(maxmin(self.neck_dense(x))).astype(wide))

    def lipschitz(self, train=False):
        layers = self.stem, self.neck, self.neck_dense, self.blocks, self.stack
        norms = [layer.norm(train).prod() for layer in layers]
        return math.prod(norms) * self.head.pairwise()

    def lipschitz_bound(self, tight=True, tell=None):
        layers = self.stem, self.blocks, self.neck, self.neck_dense, self.stack
        return bound_of(layers, self.head.pairwise_bound(), tight=tight, tell=tell)
