"""State dicts of the ResNets that the smoothing papers train (Cohen et al. 2019) -> our trees.

    theirs                                       ours
    conv1.weight [W,C,k,k], bn1                  stem.kernel [k,k,C,W], stem_bn
    layer<s>.0.conv<j>.weight, bn<j>             stage<s>_first: conv<j>.kernel, bn<j>
    layer<s>.0.downsample.0.weight, downsample.1 stage<s>_first: shortcut.kernel, shortcut_bn
    layer<s>.<i>.conv<j>.weight, bn<j>           stage<s>_rest: the same, stacked at i - 1
    fc.weight [K,F], .bias                       head.kernel [F,K], .bias
    bn: weight, bias                             scale, bias
    bn: running_mean, running_var                batch_stats: mean, var

A block has two convolutions for CIFAR (models/resnet.py) and in torchvision's ResNet-18 and 34
(models/resnet18.py), and three from ResNet-50 on (models/resnet50.py). The CIFAR ResNets of
Yerlan Idelbayev (akamaster), whose names are `linear` for fc and `shortcut` for downsample, are
read as well: where the shortcuts have no tensors (his option A) they are those of shortcut="pad".

mean and std are in no state dict: the network follows a normalisation without
parameters. MACER's own code has none, so give mean 0 and std 1 for its checkpoints;
Idelbayev's has ImageNet's, (0.485, 0.456, 0.406) and (0.229, 0.224, 0.225).
"""

from __future__ import annotations

import re
from collections import Counter
from functools import partial

from jaxcert.errors import InputError
from jaxcert.torch_import import state_dict, wrapping
from jaxcert.torch_import.state_dict import Arrays, Shapes

CIFAR = "a CIFAR ResNet of basic blocks"
IMAGENET = "an ImageNet ResNet of bottleneck blocks"
IMAGENET_BASIC = "an ImageNet ResNet of basic blocks"
STEM = {CIFAR: 3, IMAGENET: 7, IMAGENET_BASIC: 7}  # side of the stem's kernel

Layers = dict[str, tuple[str, str, tuple[int, ...]]]
"""The map from our name of a convolution to theirs, that of its normalisation, and the
shape."""


def convert_state_dict(
    arrays: Arrays, image_shape: tuple[int, int, int]
) -> tuple[dict, dict, dict]:
    """Return (params, state, facts) of `models.resnet`; image_shape is (H, W, C).

    The network may be wrapped (torch_import/wrapping.py). facts are the keys of config.model
    that the arrays show: depth, width, num_classes, shortcut. Values keep their type, float32
    or float64. Raises InputError naming a tensor that is missing, unknown, of a wrong shape, of
    another type, or not finite.
    """
    arrays = found(arrays, CIFAR)
    stages = stages_of(arrays)
    if stages != stages[:1] * 3:
        raise InputError(
            f"the state dict has {stages} blocks in its {len(stages)} stages where {CIFAR} has "
            "three stages of equally many: give the state dict of one."
        )
    projects = any(".downsample." in name for name in arrays)
    facts = dict(shortcut="conv" if projects else "pad")
    params, state, facts = convert(arrays, image_shape, stages, CIFAR, facts)
    return params, state, {"depth": 6 * stages[0] + 2} | facts


def found(arrays: Arrays, network: str) -> Arrays:
    """Return the network's own tensors, by the names of torchvision."""
    anchors = "fc.weight", "linear.weight"
    arrays = wrapping.network_in(arrays, *anchors, network=network)
    return {
        re.sub(r"^linear\.", "fc.", name).replace(".shortcut.", ".downsample."): array
        for name, array in arrays.items()
        if not name.endswith("num_batches_tracked")
    }


def stages_of(arrays: Arrays) -> tuple[int, ...]:
    """Return the number of blocks of each stage."""
    names = [re.match(r"layer(\d+)\.(\d+)\.", name) for name in arrays]
    blocks = Counter(stage for stage, _ in {(int(m[1]), int(m[2])) for m in names if m})
    return tuple(blocks[stage] for stage in sorted(blocks)) or (1, 1, 1)


def convert(arrays: Arrays, image_shape, stages, network: str, facts: dict):
    """Return (params, state, facts) of the network's own tensors, which complete the
    facts that are known already."""
    width, *_ = state_dict.shape_of(arrays, "conv1.weight", 4, network)
    classes, _ = state_dict.shape_of(arrays, "fc.weight", 2, network)
    facts = facts | dict(width=width, num_classes=classes)
    shapes_of = partial(_shapes, stages, network)
    state_dict.check(arrays, facts, shapes_of, network=network, image_shape=image_shape)
    stem, blocks, _ = _layers(stages, network, facts, image_shape)
    params, means = _trees(arrays, stem)
    for number, stage in enumerate(blocks, start=1):
        first, *rest = (_trees(arrays, block) for block in stage)
        params[f"stage{number}_first"], means[f"stage{number}_first"] = first
        if rest:
            stacked = (state_dict.stacked(trees) for trees in zip(*rest, strict=True))
            params[f"stage{number}_rest"], means[f"stage{number}_rest"] = stacked
    params["head"] = state_dict.linear(arrays, "fc")
    return params, {"batch_stats": means}, facts


def _layers(stages, network: str, facts: dict, image_shape):
    """Return the layers of the stem and of the blocks of each stage, and the number of
    features before the head."""
    size, growth = STEM[network], 4 if network == IMAGENET else 1
    width, pads = facts["width"], facts.get("shortcut") == "pad"
    stem: Layers = {"stem": ("conv1", "bn1", (width, image_shape[-1], size, size))}
    blocks, c_in = [], width
    for s, count in enumerate(stages):
        stage, inner = [], width * 2**s
        for i in range(count):
            stage.append(_block(f"layer{s + 1}.{i}", c_in, inner, growth, pads))
            c_in = growth * inner
        blocks.append(stage)
    return stem, blocks, c_in


def _block(name: str, c_in: int, inner: int, growth: int, pads: bool) -> Layers:
    out = growth * inner
    shapes = [(inner, c_in, 3, 3), (out, inner, 3, 3)]
    if growth > 1:
        shapes = [(inner, c_in, 1, 1), (inner, inner, 3, 3), (out, inner, 1, 1)]
    layers: Layers = {
        f"conv{j}": (f"{name}.conv{j}", f"{name}.bn{j}", shape)
        for j, shape in enumerate(shapes, start=1)
    }
    if c_in != out and not pads:
        theirs = f"{name}.downsample.0", f"{name}.downsample.1"
        layers["shortcut"] = (*theirs, (out, c_in, 1, 1))
    return layers


def _shapes(stages, network: str, facts: dict, image_shape) -> Shapes:
    """Return the shape of every tensor of a network with these facts."""
    stem, blocks, features = _layers(stages, network, facts, image_shape)
    shapes: Shapes = {}
    for layers in (stem, *(block for stage in blocks for block in stage)):
        for conv, norm, shape in layers.values():
            shapes[f"{conv}.weight"] = shape
            for leaf in ("weight", "bias", "running_mean", "running_var"):
                shapes[f"{norm}.{leaf}"] = shape[:1]
    return shapes | state_dict.linear_shapes("fc", facts["num_classes"], features)


def _trees(arrays: Arrays, layers: Layers) -> tuple[dict, dict]:
    """Return (params, running statistics)."""
    params, means = {}, {}
    for ours, (conv, norm, _) in layers.items():
        bn = ours.replace("conv", "bn") if ours.startswith("conv") else f"{ours}_bn"
        params[ours] = {"kernel": state_dict.hwio(arrays[f"{conv}.weight"])}
        params[bn] = {"scale": arrays[f"{norm}.weight"], "bias": arrays[f"{norm}.bias"]}
        means[bn] = {
            "mean": arrays[f"{norm}.running_mean"],
            "var": arrays[f"{norm}.running_var"],
        }
    return params, means
