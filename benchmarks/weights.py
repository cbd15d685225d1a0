"""Weights and inputs, as numpy, that every side of a comparison starts from."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from benchmarks import floors

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
LOT_STD = 0.2507
DISTANCE = 0.25
"""The deviation of the weights of distances, with which |x - w|^64 fits float32, as no
peer scales it."""


class ConvNorm(NamedTuple):
    """The weights of a convolution [k,k,C_in,C_out] and of its batch normalisation,
    with running statistics."""

    kernel: np.ndarray
    scale: np.ndarray
    bias: np.ndarray
    mean: np.ndarray
    var: np.ndarray


class Affine(NamedTuple):
    kernel: np.ndarray
    bias: np.ndarray


def resnet(depth: int, *, classes: int = 10) -> tuple[list[ConvNorm], Affine]:
    """Return convolutions in the order of floors.resnet_convs, and the linear head.

    Branches are damped so that 54 blocks of random weights keep the activations' size
    and noise changes the class.
    """
    blocks, head = (depth - 2) // 2, (64, classes)
    return _resnet(floors.resnet_convs(depth), blocks=blocks, head=head, seed=depth)


def resnet50(stages: tuple[int, ...]) -> tuple[list[ConvNorm], Affine]:
    """Return the same for a bottleneck ResNet, in the order of floors.imagenet_convs."""
    convs, blocks = floors.imagenet_convs(stages), sum(stages)
    head = (convs[-1].c_out, 1000)
    return _resnet(convs, blocks=blocks, head=head, seed=blocks)


def _resnet(convs, *, blocks: int, head: tuple[int, int], seed: int):
    rng, damping, layers = np.random.default_rng(seed), blocks**-0.5, []
    for c in convs:
        std = np.sqrt(2 / (c.kernel**2 * c.c_in))
        layers.append(
            ConvNorm(
                kernel=_normal(rng, c.kernel, c.kernel, c.c_in, c.c_out) * std,
                scale=_near(rng, damping if c.reads_residual else 1.0, c.c_out),
                bias=0.1 * _normal(rng, c.c_out),
                mean=0.1 * _normal(rng, c.c_out),
                var=_near(rng, 1.0, c.c_out),
            )
        )
    kernel = _normal(rng, *head) / np.float32(head[0] ** 0.5)
    return layers, Affine(kernel, _normal(rng, head[1]))


def lot(layers: list[floors.Torus]) -> list[Affine]:
    """Return raw kernels of LOT layers; k = 1 for those whose torus has no padding."""
    rng = np.random.default_rng(len(layers))
    out = []
    for t in layers:
        k = 1 if t.side == 1 else 3
        std = 1 / np.sqrt(k * k * t.c_in)
        kernel = _normal(rng, k, k, t.c_in, t.c_out) * np.float32(std)
        out.append(Affine(kernel, 0.1 * _normal(rng, t.c_out)))
    return out


def distances(sizes: list[int]) -> list[np.ndarray]:
    """Return the weights [D,O] of layers with these numbers of inputs, and of outputs."""
    rng = np.random.default_rng(len(sizes))
    scale = np.float32(DISTANCE)
    return [scale * _normal(rng, d, o) for d, o in pairwise(sizes)]


def liresnet(*, depth: int, width: int, dense: int, side: int) -> tuple[Any, Any]:
    """Return (params, state) of jaxcert.models.liresnet; the vectors of the power
    iterations are random, as at the start of a training."""
    rng = np.random.default_rng(depth)
    half, flat = side // 2, 2 * width * (side // 8) ** 2

    def affine(*shape: int) -> dict[str, np.ndarray]:
        std = np.float32(np.prod(shape[:-1]) ** -0.5)
        kernel = _normal(rng, *shape) * std
        return {"kernel": kernel, "bias": std * _normal(rng, shape[-1])}

    blocks = {
        "kernel": _normal(rng, depth, 3, 3, width, width) / np.float32(9 * width),
        "gain": _near(rng, 1.0, (depth, width)),
        "bias": np.float32(0.1) * _normal(rng, depth, width),
    }
    params = {
        "stem": affine(5, 5, 3, width),
        "blocks": blocks,
        "neck": affine(4, 4, width, 2 * width),
        "neck_dense": affine(flat, dense),
        "head": affine(dense, 10),
    }
    inputs = {
        "stem": (1, side, side, 3),
        "blocks": (depth, 1, half, half, width),
        "neck": (1, half, half, width),
        "neck_dense": (1, flat),
    }
    power = {name: {"vector": _normal(rng, *shape)} for name, shape in inputs.items()}
    return params, {"power": power}


def images(count: int, side: int) -> np.ndarray:
    """Return float32 images [count,side,side,3] in [0, 1]."""
    rng = np.random.default_rng(side)
    return rng.random((count, side, side, 3), np.float32)


def labels(count: int, *, classes: int = 10) -> np.ndarray:
    return np.random.default_rng(count).integers(0, classes, count).astype(np.int32)


def normal(*shape: int, seed: int) -> np.ndarray:
    return _normal(np.random.default_rng(seed), *shape)


def resnet_tree(layers: list[ConvNorm], head: Affine) -> tuple[Any, Any]:
    """Return (params, state) of jaxcert.models.resnet; equal blocks are stacked."""
    same, first = ("conv1", "conv2"), ("conv1", "shortcut", "conv2")
    per_stage = (len(layers) - 3) // 6  # a stem and two shortcuts, three stages
    stages = [[f, *[same] * (per_stage - 1)] for f in (same, first, first)]
    return _tree(layers, head, stages)


def resnet50_tree(
    layers: list[ConvNorm], head: Affine, stages: tuple[int, ...]
) -> tuple[Any, Any]:
    """Return (params, state) of jaxcert.models.resnet50."""
    same = ("conv1", "conv2", "conv3")
    first = ("conv1", "conv2", "shortcut", "conv3")
    return _tree(layers, head, [[first, *[same] * (n - 1)] for n in stages])


def _tree(layers, head, stages: list[list[tuple[str, ...]]]) -> tuple[Any, Any]:
    """Return (params, state) of these layers. stages: for every stage and block the
    names of its layers in their order."""
    rest = iter(layers)
    stem = next(rest)
    params = {"stem": {"kernel": stem.kernel}, "stem_bn": _scale(stem)}
    stats = {"stem_bn": _running(stem)}
    for stage, names in enumerate(stages, 1):
        blocks = [_block(rest, block) for block in names]
        params[f"stage{stage}_first"], stats[f"stage{stage}_first"] = blocks[0]
        if blocks[1:]:
            params[f"stage{stage}_rest"], stats[f"stage{stage}_rest"] = _stack(
                blocks[1:]
            )
    params["head"] = {"kernel": head.kernel, "bias": head.bias}
    return params, {"batch_stats": stats}


def _block(layers, names: tuple[str, ...]) -> tuple[dict, dict]:
    norms = dict(conv1="bn1", conv2="bn2", conv3="bn3", shortcut="shortcut_bn")
    params, stats = {}, {}
    for name in names:
        layer = next(layers)
        params[name] = {"kernel": layer.kernel}
        params[norms[name]], stats[norms[name]] = _scale(layer), _running(layer)
    return params, stats


def _stack(trees: list[Any]) -> Any:
    first = trees[0]
    if isinstance(first, tuple):
        return tuple(_stack([t[i] for t in trees]) for i in range(len(first)))
    if isinstance(first, dict):
        return {name: _stack([t[name] for t in trees]) for name in first}
    return np.stack(trees)


def _scale(layer: ConvNorm) -> dict[str, np.ndarray]:
    return {"scale": layer.scale, "bias": layer.bias}


def _running(layer: ConvNorm) -> dict[str, np.ndarray]:
    return {"mean": layer.mean, "var": layer.var}


def _near(rng, value: float, count: int | tuple[int, ...]) -> np.ndarray:
    return (value * rng.uniform(0.8, 1.2, count)).astype(np.float32)


def _normal(rng, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape, np.float32)
