"""ResNets in plain PyTorch with torchvision's names, behind a normalisation."""

from __future__ import annotations

import torch
from torch import nn


def conv(c_in, c_out, size, stride=1):
    return nn.Conv2d(c_in, c_out, size, stride, (size - 1) // 2, bias=False)


class Block(nn.Module):
    """Two convolutions, or the three of a bottleneck with four times as many channels."""

    def __init__(self, c_in, width, stride, bottleneck):
        super().__init__()
        out = 4 * width if bottleneck else width
        if bottleneck:
            shapes = [(c_in, width, 1), (width, width, 3, stride), (width, out, 1)]
        else:
            shapes = [(c_in, width, 3, stride), (width, out, 3)]
        self.count = len(shapes)
        for j, shape in enumerate(shapes, start=1):
            setattr(self, f"conv{j}", conv(*shape))
            setattr(self, f"bn{j}", nn.BatchNorm2d(shape[1]))
        self.downsample = nn.Sequential()
        if c_in != out or stride > 1:
            shortcut = conv(c_in, out, 1, stride), nn.BatchNorm2d(out)
            self.downsample = nn.Sequential(*shortcut)

    def forward(self, x):
        y = x
        for j in range(1, self.count + 1):
            y = getattr(self, f"bn{j}")(getattr(self, f"conv{j}")(y))
            y = y.relu() if j < self.count else y
        return (y + self.downsample(x)).relu()


class ResNet(nn.Module):
    """large: a stem for images of ImageNet's size, as all bottleneck networks have it."""

    def __init__(self, stages, width, classes, *, bottleneck, channels=3, large=None):
        super().__init__()
        large = bottleneck if large is None else large
        size, stride = (7, 2) if large else (3, 1)
        self.conv1 = conv(channels, width, size, stride)
        self.bn1 = nn.BatchNorm2d(width)
        self.pool = nn.MaxPool2d(3, 2, 1) if large else nn.Identity()
        self.names, c_in = [], width
        for s, blocks in enumerate(stages):
            layer = []
            for i in range(blocks):
                stride = 2 if s and not i else 1
                layer.append(Block(c_in, width * 2**s, stride, bottleneck))
                c_in = width * 2**s * (4 if bottleneck else 1)
            self.names.append(f"layer{s + 1}")
            setattr(self, self.names[-1], nn.Sequential(*layer))
        self.fc = nn.Linear(c_in, classes)

    def forward(self, x):
        x = self.pool(self.bn1(self.conv1(x)).relu())
        for name in self.names:
            x = getattr(self, name)(x)
        return self.fc(x.mean((2, 3)))


class WideBlock(nn.Module):
    """A block of WRN-d-k by the names of TRADES."""

    def __init__(self, c_in, out, stride):
        super().__init__()
        self.bn1, self.conv1 = nn.BatchNorm2d(c_in), conv(c_in, out, 3, stride)
        self.bn2, self.conv2 = nn.BatchNorm2d(out), conv(out, out, 3)
        self.convShortcut = conv(c_in, out, 1, stride) if c_in != out else None

    def forward(self, x):
        active = self.bn1(x).relu()
        y = self.conv2(self.bn2(self.conv1(active)).relu())
        return y + (self.convShortcut(active) if self.convShortcut else x)


class WideResNet(nn.Module):
    def __init__(self, depth, widen, width, num_classes, channels=3):
        super().__init__()
        self.conv1, c_in = conv(channels, width, 3), width
        for s in range(3):
            out, blocks = widen * width * 2**s, []
            for i in range(depth // 6):
                blocks.append(WideBlock(c_in, out, 2 if s and not i else 1))
                c_in = out
            stage = nn.Module()
            stage.layer = nn.Sequential(*blocks)
            setattr(self, f"block{s + 1}", stage)
        self.bn1, self.fc = nn.BatchNorm2d(c_in), nn.Linear(c_in, num_classes)

    def forward(self, x):
        x = self.conv1(x)
        for block in (self.block1, self.block2, self.block3):
            x = block.layer(x)
        return self.fc(self.bn1(x).relu().mean((2, 3)))


class Normalize(nn.Module):
    def __init__(self, mean, std):
        super().__init__()
        self.mean, self.std = (
            torch.tensor(v, dtype=torch.float64)[:, None, None] for v in (mean, std)
        )

    def forward(self, x):
        return (x - self.mean.to(x)) / self.std.to(x)


def randomized(network, seed=0):
    """Statistics and scales off their start, where a mix-up would not show."""
    draw = torch.Generator().manual_seed(seed)
    for name, tensor in network.state_dict().items():
        if name.endswith(("running_var", "weight")) and tensor.ndim == 1:
            tensor.uniform_(0.5, 1.5, generator=draw)
        elif tensor.is_floating_point():
            spread = 0.1 if tensor.ndim == 1 else tensor[0].numel() ** -0.5
            tensor.normal_(0, spread, generator=draw)
    return network
