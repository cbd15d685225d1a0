"""FLOPs and bytes of each workload, and the least time a device can take for them.

Pure Python, counted from the architectures; a FLOP is a real multiplication or addition
(of distances an instruction of one lane), M = 1e6. floor = max(FLOPs / rate, bytes /
bandwidth). A row reports the fraction floor / measured seconds.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

IMAGE = 3 * 32 * 32


class Ceilings(NamedTuple):
    """The peaks of a device: FLOP/s by kind of product, and bytes/s of a copy
    (read + write)."""

    rates: dict[str, float]
    bandwidth: float


H200 = Ceilings(
    dict(
        bfloat16=790e12,
        tf32=395e12,
        tf32x3=130e12,
        float32=67e12,
        issue=132 * 1.98e9 * 128,
        special=132 * 1.98e9 * 16,
    ),
    4.3e12,
)
"""bfloat16 and bandwidth were measured with random data, float32 is from the data
sheet; TF32 is taken as half of bfloat16 and tf32x3 (float32 by three TF32 products) as
a third of that. issue (any instruction) and special (log2 and exp2) are processors x
clock x lanes of the data sheet."""


class Conv(NamedTuple):
    """A k x k convolution whose OUTPUT is side x side."""

    side: int
    c_in: int
    c_out: int
    kernel: int
    stride: int = 1
    reads_residual: bool = False


def seconds(
    flops: float, n_bytes: float, ceilings: Ceilings, *, rate: str = "float32"
) -> float:
    return max(flops / ceilings.rates[rate], n_bytes / ceilings.bandwidth)


# --- ResNets for 32x32 images ------------------------------------------------------


def resnet_convs(depth: int, *, side: int = 32) -> list[Conv]:
    """Return the convolutions of depth 6n + 2: stem, three stages of n basic blocks
    with 16, 32, 64 channels."""
    blocks = (depth - 2) // 6
    convs = [Conv(side, 3, 16, 3)]
    for stage, width in enumerate((16, 32, 64)):
        out = side >> stage
        for block in range(blocks):
            first = stage > 0 and block == 0
            c_in, stride = (width // 2, 2) if first else (width, 1)
            convs.append(Conv(out, c_in, width, 3, stride))
            if first:
                convs.append(Conv(out, c_in, width, 1, 2))
            convs.append(Conv(out, width, width, 3, reads_residual=True))
    return convs


def resnet_parameters(depth: int, *, classes: int = 10) -> int:
    convs = resnet_convs(depth)
    weights = sum(c.kernel**2 * c.c_in * c.c_out for c in convs)
    return weights + sum(2 * c.c_out for c in convs) + 64 * classes + classes


def resnet_macs(depth: int, *, side: int = 32, classes: int = 10) -> int:
    return _macs(resnet_convs(depth, side=side)) + 64 * classes


def resnet_conv_outputs(depth: int, *, side: int = 32) -> int:
    """Return the number of elements that all convolutions write."""
    return sum(c.side**2 * c.c_out for c in resnet_convs(depth, side=side))


def certify(depth: int, samples: int, *, itemsize: int, side: int = 32):
    """Return (flops, bytes) of `samples` forward passes with the noise made on the
    chip."""
    elements = _moved(resnet_convs(depth, side=side))
    return 2.0 * resnet_macs(depth, side=side) * samples, elements * itemsize * samples


def certify_imagenet(stages: tuple[int, ...], samples: int, *, itemsize: int):
    """Return the same for a bottleneck ResNet of width 64 and images of 224x224."""
    convs = imagenet_convs(stages)
    macs = _macs(convs) + convs[-1].c_out * 1000
    return 2.0 * macs * samples, _moved(convs) * itemsize * samples


def imagenet_convs(stages: tuple[int, ...]) -> list[Conv]:
    """Return the stem, then blocks of 1x1, 3x3 and 1x1; a stage's stride is in its
    first 3x3."""
    convs, c_in = [Conv(112, 3, 64, 7, 2)], 64
    for stage, blocks in enumerate(stages):
        side, width = 56 >> stage, 64 << stage
        for block in range(blocks):
            stride = 2 if stage > 0 and block == 0 else 1
            convs.append(Conv(side * stride, c_in, width, 1))
            convs.append(Conv(side, width, width, 3, stride))
            if block == 0:
                convs.append(Conv(side, c_in, 4 * width, 1, stride))
            convs.append(Conv(side, width, 4 * width, 1, reads_residual=True))
            c_in = 4 * width
    return convs


def _macs(convs: list[Conv]) -> int:
    return sum((c.side * c.kernel) ** 2 * c.c_in * c.c_out for c in convs)


def _moved(convs: list[Conv]) -> int:
    """Return the number of elements that cross the memory for one image.

    Convolution, bias, ReLU and residual sum are one kernel: it reads its input and, at
    the end of a block, the residual; it writes its output.
    """
    elements = 0
    for c in convs:
        out = c.side**2 * c.c_out
        elements += (c.side * c.stride) ** 2 * c.c_in + out + c.reads_residual * out
    return elements


TRAIN_PASSES = 15.5
"""How often a convolution's output crosses the memory in a training step: forward 4.5
(conv reads and writes, normalisation reads and writes, half a residual), backward 11
(sums for the normalisation 2, its gradient 3, input gradient 2, weight gradient 2,
residual 2)."""


def train(depth: int, images: int, *, itemsize: int, side: int = 32):
    """Return (flops, bytes) of forward and backward, which are three forward passes of
    products."""
    elements = TRAIN_PASSES * resnet_conv_outputs(depth, side=side)
    macs = resnet_macs(depth, side=side)
    return 6.0 * macs * images, elements * itemsize * images


# --- LOT -----------------------------------------------------------------------------


class Torus(NamedTuple):
    """A LOT convolution on a padded torus of side x side."""

    side: int
    c_in: int
    c_out: int

    @property
    def complex_frequencies(self) -> float:
        """Return how many frequencies of the half spectrum have complex matrices, one
        of each conjugate pair."""
        return (self.side**2 - self.real_frequencies) / 2

    @property
    def real_frequencies(self) -> int:
        """Return how many are self-conjugate: 0 and, on even sides, the crossings of
        the Nyquist lines."""
        return 1 if self.side % 2 else 4 if self.side > 1 else 1


def lot_layers(
    blocks: int, *, stages: int = 5, width: int = 32, classes: int = 10
) -> list[Torus]:
    """Return the layers of LipConvNet on images of side 2^stages, and its 1x1 head."""
    layers, c_in = [], 3
    for stage in range(stages):
        side, c = 1 << (stages - stage), width << stage
        for _ in range(blocks - 1):
            layers.append(Torus(side + 2, c_in, c))
            c_in = c
        pad = 0 if stage == stages - 1 else 2
        layers.append(Torus(side // 2 + pad, 4 * c_in, 2 * c))
        c_in = 2 * c
    return layers + [Torus(1, c_in, classes)]


def lot_as_written(layers: list[Torus], batch: int) -> tuple[float, float]:
    """Return the real FLOPs (orthogonalisation, application), forward, of the published
    form.

    It has the full spectrum and complex products of 8 FLOPs per term: F F^H, ten Newton
    steps of three products, and Z F.
    """
    orthogonal = apply = 0.0
    for t in layers:
        terms = 30 * t.c_out**3 + 2 * t.c_out**2 * t.c_in
        orthogonal += 8.0 * t.side**2 * terms
        apply += 8.0 * t.side**2 * t.c_in * t.c_out * batch
    return orthogonal, apply


def lot_least(layers: list[Torus], batch: int) -> float:
    """Return the real FLOPs, forward, of the same function where its symmetry is used.

    It takes one frequency of each conjugate pair, three real products for a complex
    one, and real matrices at self-conjugate frequencies; the first step needs two
    products fewer (Z = I), the last step one.
    """
    flops = 0.0
    for t in layers:
        terms = 27 * t.c_out**3 + 2 * t.c_out**2 * t.c_in + t.c_in * t.c_out * batch
        flops += (6.0 * t.complex_frequencies + 2.0 * t.real_frequencies) * terms
    return flops


# --- LiResNet ------------------------------------------------------------------------


def liresnet_macs(
    depth: int, width: int, dense: int, *, side: int = 32, classes: int = 10
) -> dict[str, int]:
    """Return the multiplications of one image, part by part; stem and neck are strided
    by 2 and 4."""
    half, eighth = side // 2, side // 8
    return dict(
        stem=half**2 * 5**2 * 3 * width,
        blocks=depth * half**2 * 3**2 * width**2,
        neck=eighth**2 * 4**2 * width * 2 * width,
        neck_dense=eighth**2 * 2 * width * dense,
        head=dense * classes,
    )


def liresnet_train(
    depth: int, width: int, dense: int, *, side: int, batch: int, power_steps: int
) -> float:
    """Return the real FLOPs of a training step: three forward passes of the batch, less
    the gradient of the images; for the norms 2 power_steps + 1 passes of one image
    through all but the head, and the gradient of the last."""
    macs = liresnet_macs(depth, width, dense, side=side)
    network = batch * (3 * sum(macs.values()) - macs["stem"])
    norms = (2 * power_steps + 2) * (sum(macs.values()) - macs["head"])
    return 2.0 * (network + norms)


# --- distances -----------------------------------------------------------------------


def dist_net(inputs: int, width: int, depth: int, *, classes: int = 10) -> list[int]:
    """Return the numbers of inputs of every layer of an l_inf-dist net, and of the
    outputs."""
    return [inputs, *[width] * (depth - 1), classes]


def dist_evaluations(sizes: list[int], batch: int) -> float:
    """Return how many differences x_i - w_io a forward or a backward pass has."""
    return float(batch * sum(d * o for d, o in pairwise(sizes)))


def distances(
    sizes: list[int], batch: int, p: str | int | float, *, step: bool
) -> tuple[float, float, str]:
    """Return (instructions, bytes, kind of instruction) of float32 distances; p "inf",
    8, any.

    Per evaluation of a forward pass
        inf: subtract, maximum; for a step subtract, compare, select value and index
        8: subtract, 3 multiplications, add
        else: log2 and exp2, the others at their side
    and of a backward pass
        inf: none
        8: subtract, times 1/y, 4 multiplications, times g, 2 additions
        else: log2 and exp2, one power for both gradients.
    Every array and in a step every gradient crosses the memory once.
    """
    if p == "inf":
        each, rate = (4 if step else 2), "issue"
    elif p == 8:
        each, rate = (5 + 9 if step else 5), "issue"
    else:
        each, rate = (2 + 2 if step else 2), "special"
    elements = sum(batch * d + d * o + batch * o for d, o in pairwise(sizes))
    n_bytes = 4.0 * elements * (2 if step else 1)
    return each * dist_evaluations(sizes, batch), n_bytes, rate
