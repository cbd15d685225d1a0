"""CIFAR ResNets of depth 6n + 2 (He et al. 2016), the base classifiers of smoothing.

    stem 3x3 -> 3 stages of n basic blocks, `width`, 2 and 4 `width` channels
             -> mean over pixels -> linear
    block: relu(shortcut(x) + bn2(conv2(relu(bn1(conv1(x))))))

Where a block changes the shape (stride 2 in its first convolution), the shortcut of "conv" is
a strided 1x1 convolution and a batch normalisation, as in the code that Cohen et al. (2019)
and their successors train, and the paper's option B; "pad" is its option A, which the paper
takes for CIFAR: every second pixel, and channels of zeros, half of the new ones on each side,
as in the code of Yerlan Idelbayev (akamaster). Input is in [0, 1]; the
normalisation by `mean` and `std` is the first layer. Depth 110 has 1,730,714
parameters, 1,727,962 of them with "pad".

The blocks after the first of a stage are equal, so they are one block with stacked
weights [n - 1, ...]. A prepared state has one kernel and bias for each convolution and its
batch normalisation (nn/batch_norm.py).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax

from jaxcert.errors import InputError, one_of
from jaxcert.interfaces import Model
from jaxcert.models._parts import (
    check_channels,
    check_dtype,
    check_sizes,
    conv,
    dense,
    normalize,
)
from jaxcert.nn.activations import relu
from jaxcert.nn.adapter import from_linen
from jaxcert.nn.batch_norm import BatchNorm


def make(
    depth: int = 110,
    num_classes: int = 10,
    image_shape: tuple[int, int, int] = (32, 32, 3),
    width: int = 16,
    mean: tuple[float, ...] = (0.4914, 0.4822, 0.4465),
    std: tuple[float, ...] = (0.2023, 0.1994, 0.2010),
    dtype: str = "float32",
    shortcut: str = "conv",
) -> Model:
    """Return the Model. shortcut: "conv" or "pad". dtype "bfloat16" holds for weights
    and activations between the normalisation and the mean over pixels; statistics and
    logits stay float32. Float64 images make all of it float64. Raises InputError for a
    depth that is not 6n + 2, an unknown shortcut, or an odd width of which "pad" cannot
    put half on each side."""
    if depth < 8 or depth % 6 != 2:
        raise InputError(f"depth {depth} is not 6n + 2: take 8, 20, 56 or 110.")
    check_dtype(dtype)
    one_of(("conv", "pad"), of="model", shortcut=shortcut)
    check_sizes(image_shape, num_classes, width)
    if shortcut == "pad" and width % 2:
        raise InputError(f"shortcut 'pad' needs an even width, not {width}.")
    check_channels(image_shape, mean, std)
    shape = depth // 6, num_classes, width
    module = ResNet(*shape, tuple(mean), tuple(std), dtype, shortcut)
    return from_linen(module, image_shape=image_shape, num_classes=num_classes)


class ResNet(nn.Module):
    """Map images [B,H,W,C] in [0, 1] to logits [B,K]; `blocks` per stage."""

    blocks: int
    num_classes: int
    width: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    dtype: str
    shortcut: str

    @nn.compact
    def __call__(self, x, train: bool):
        wide = x.dtype
        x = normalize(x, self.mean, self.std)
        x = x if wide == jnp.float64 else x.astype(self.dtype)
        stem = conv(self.width, dtype=x.dtype, name="stem")
        x = relu(BatchNorm(name="stem_bn").after(stem, x, train), train)
        for stage in range(3):
            features, stride = self.width * 2**stage, 1 if stage == 0 else 2
            name = f"stage{stage + 1}_first"
            x = Block(features, stride, self.shortcut, name=name)(x, train)
            if self.blocks > 1:
                rest = Block(features, name=f"stage{stage + 1}_rest")
                x = repeat(rest, x, train, times=self.blocks - 1)
        x = x.astype(wide).mean((1, 2))
        return dense(self.num_classes, inputs=x.shape[-1], dtype=wide, name="head")(x)


class Block(nn.Module):
    """A basic block, see above."""

    features: int
    stride: int = 1
    shortcut: str = "conv"

    @nn.compact
    def __call__(self, x, train: bool):
        first = conv(self.features, stride=self.stride, dtype=x.dtype, name="conv1")
        second = conv(self.features, dtype=x.dtype, name="conv2")
        y = relu(BatchNorm(name="bn1").after(first, x, train), train)
        y = BatchNorm(name="bn2").after(second, y, train)
        if y.shape != x.shape and self.shortcut == "pad":
            half = (self.features - x.shape[-1]) // 2
            x = x[:, :: self.stride, :: self.stride]
            x = jnp.pad(x, ((0, 0), (0, 0), (0, 0), (half, half)))
        elif y.shape != x.shape:
            project = conv(
                self.features,
                size=1,
                stride=self.stride,
                dtype=x.dtype,
                name="shortcut",
            )
            x = BatchNorm(name="shortcut_bn").after(project, x, train)
        return relu(x + y, train)


def repeat(block: Block, x, train: bool, *, times: int):
    """Apply the block `times` times, each time with its own slice of the stacked
    weights."""
    form = _form(block)
    if form == "slices":
        return _unrolled(block, x, train, times)
    scan = nn.scan(
        lambda block, x, _: (block(x, train), None),
        variable_axes={"params": 0, "batch_stats": 0, "prepared": 0},
        split_rngs={"params": True},
        length=times,
        unroll=times if form == "unrolled" else 1,
    )
    return scan(block, x, None)[0]


def _form(block: nn.Module) -> str:
    """Return how equal blocks are computed. "slices" computes one after the other on
    static slices of the weights, because a loop on a GPU copies the activation that it
    carries in every block, and what its gradient needs into stacks. "unrolled" does the
    same by the scan itself, for a CPU, where gradients of convolutions in a loop are 70
    times slower. "loop" compiles fastest and is for what nobody differentiates, the
    initialisation and a CPU's folded blocks."""
    if block.is_initializing():
        return "loop"
    if jax.default_backend() != "cpu":
        return "slices"
    folded = "prepared" in block.variables or block.is_mutable_collection("prepared")
    return "loop" if folded else "unrolled"


def _unrolled(block: nn.Module, x, train: bool, times: int):
    """Apply the blocks unrolled. Prepared kernels are kept block by block, because
    slices would be copied at every pass."""
    alone = block.clone(parent=None, name=None)
    changing = [
        n for n in ("batch_stats", "prepared") if block.is_mutable_collection(n)
    ]

    @jax.jit  # traced once for all blocks
    def one_block(variables, x):
        return alone.apply(variables, x, train, mutable=changing)

    stacked = dict(block.variables)
    prepared, changed = dict(stacked.pop("prepared", {})), []
    for i, variables in enumerate(_unstacked(stacked, times)):
        if str(i) in prepared:
            variables["prepared"] = prepared[str(i)]
        x, after = one_block(variables, x)
        changed.append(after.get("batch_stats", {}))
        if "prepared" in after:
            block.put_variable("prepared", str(i), after["prepared"])
    for name, value in jax.tree.map(lambda *a: jnp.stack(a), *changed).items():
        block.put_variable("batch_stats", name, value)
    return x


def _unstacked(tree, times: int) -> list:
    """Return the slices along the first axis, whose gradients are stacked only once."""
    leaves, structure = jax.tree.flatten(tree)
    slices = [[a[0] for a in lax.split(leaf, [1] * times)] for leaf in leaves]
    return [structure.unflatten(each) for each in zip(*slices, strict=True)]
