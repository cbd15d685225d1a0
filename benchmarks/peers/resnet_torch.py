"""ResNets in PyTorch, with the weights of benchmarks.weights."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from benchmarks import weights


class ConvNorm(nn.Module):
    def __init__(self, layer: weights.ConvNorm, stride: int):
        super().__init__()
        k, _, c_in, c_out = layer.kernel.shape
        self.conv = nn.Conv2d(c_in, c_out, k, stride, padding=k // 2, bias=False)
        self.norm = nn.BatchNorm2d(c_out)
        tensors = [torch.from_numpy(a) for a in layer]
        with torch.no_grad():
            self.conv.weight.copy_(tensors[0].permute(3, 2, 0, 1))
            self.norm.weight.copy_(tensors[1])
            self.norm.bias.copy_(tensors[2])
            self.norm.running_mean.copy_(tensors[3])
            self.norm.running_var.copy_(tensors[4])

    def forward(self, x):
        return self.norm(self.conv(x))

    def fold(self) -> None:
        self.conv = fuse_conv_bn_eval(self.conv, self.norm)
        self.norm = nn.Identity()


class Block(nn.Module):
    def __init__(self, layers: list[weights.ConvNorm], stride: int):
        super().__init__()
        self.first = ConvNorm(layers[0], stride)
        self.second = ConvNorm(layers[-1], 1)
        self.shortcut = ConvNorm(layers[1], stride) if len(layers) == 3 else None

    def forward(self, x):
        y = self.second(F.relu(self.first(x), inplace=True))
        return F.relu(y + (x if self.shortcut is None else self.shortcut(x)))


class Bottleneck(nn.Module):
    def __init__(self, layers: list[weights.ConvNorm], stride: int):
        super().__init__()
        self.first = ConvNorm(layers[0], 1)
        self.second = ConvNorm(layers[1], stride)
        self.third = ConvNorm(layers[-1], 1)
        self.shortcut = ConvNorm(layers[2], stride) if len(layers) == 4 else None

    def forward(self, x):
        y = F.relu(self.first(x), inplace=True)
        y = self.third(F.relu(self.second(y), inplace=True))
        return F.relu(y + (x if self.shortcut is None else self.shortcut(x)))


class Normalised(nn.Module):
    """A network after the normalisation of [B,3,H,W] in [0, 1]. As in the published
    layer, mean and deviation are built anew as whole batches in every call."""

    def __init__(self, head: weights.Affine):
        super().__init__()
        self.head = nn.Linear(*head.kernel.shape)
        with torch.no_grad():
            self.head.weight.copy_(torch.from_numpy(head.kernel).T)
            self.head.bias.copy_(torch.from_numpy(head.bias))
        self.register_buffer("mean", torch.tensor(weights.MEAN))
        self.register_buffer("std", torch.tensor(weights.STD))

    def forward(self, x):
        return self.after_normalisation(self._normalise(x))

    def _normalise(self, x):
        b, _, h, w = x.shape
        mean, std = (
            v.repeat(b, h, w, 1).permute(0, 3, 1, 2) for v in (self.mean, self.std)
        )
        return (x - mean) / std


class ResNet50(Normalised):
    """A ResNet of bottleneck blocks; stages: how many of them in each."""

    def __init__(self, stages: tuple[int, ...]):
        layers, head = weights.resnet50(stages)
        super().__init__(head)
        rest, blocks = iter(layers), []
        self.stem = ConvNorm(next(rest), 2)
        for stage, count in enumerate(stages):
            for i in range(count):
                own = [next(rest) for _ in range(4 if i == 0 else 3)]
                blocks.append(Bottleneck(own, 2 if stage > 0 and i == 0 else 1))
        self.blocks = nn.Sequential(*blocks)

    def after_normalisation(self, x):
        x = F.max_pool2d(F.relu(self.stem(x)), 3, 2, 1)
        return self.head(self.blocks(x).mean((2, 3)))


class ResNet(Normalised):
    """A ResNet for CIFAR-10."""

    def __init__(self, depth: int):
        layers, head = weights.resnet(depth)
        super().__init__(head)
        rest = iter(layers)
        self.stem = ConvNorm(next(rest), 1)
        blocks = []
        for stage in range(3):
            for i in range((depth - 2) // 6):
                changes = stage > 0 and i == 0
                own = [next(rest) for _ in range(3 if changes else 2)]
                blocks.append(Block(own, 2 if changes else 1))
        self.blocks = nn.Sequential(*blocks)

    def after_normalisation(self, x):
        x = self.blocks(F.relu(self.stem(x)))
        return self.head(F.avg_pool2d(x, x.shape[-1]).flatten(1))


def network(shape: dict[str, Any]) -> Normalised:
    """Return the network of a row's shape."""
    if "depth" in shape:
        return ResNet(shape["depth"])
    return ResNet50(tuple(shape["stages"]))


def folded(model: Normalised, where: str, dtype: torch.dtype):
    """Return an inference function without batch normalisations, channels last; noise
    and normalisation stay float32."""
    model = model.eval()
    for module in list(model.modules()):
        if isinstance(module, ConvNorm):
            module.fold()
    mean, std = (v.to(where)[:, None, None] for v in (model.mean, model.std))
    model = model.to(where, dtype, memory_format=torch.channels_last)

    def logits(x):
        x = ((x - mean) / std).to(dtype, memory_format=torch.channels_last)
        return model.after_normalisation(x).float()

    return logits


def nchw(x, where: str) -> torch.Tensor:
    return torch.tensor(x, device=where).permute(0, 3, 1, 2).contiguous()
