"""GloRo training of LiResNet in PyTorch.

`peer`: eager, NCHW, the power iterations of all blocks as one grouped convolution, ten
steps, loss, accuracy and certified accuracy read back in every step, as the published
code, which also differentiates the ten steps. `strong`: channels last, as many steps as
jaxcert's side, nothing read back; on a GPU bfloat16 autocast of the network (norms in
float32) and the whole step as a CUDA graph.
"""

from __future__ import annotations

import contextlib
import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from benchmarks import liresnet, weights
from benchmarks.peers.resnet_torch import nchw
from benchmarks.peers.train_torch import graphed
from benchmarks.suite import Job, Row


def peer(row: Row, device: str) -> Job:
    where = "cuda" if device == "gpu" else "cpu"
    net, optimizer = _fresh(row, where, steps=liresnet.PUBLISHED_STEPS)
    image, label = _batch(row, where)

    def run():
        loss, logits, bound = _update(net, optimizer, image, label)
        radius = _radius(logits.detach(), bound.detach(), label)
        return (
            loss.item(),
            (radius > 0).float().mean().item(),
            (radius > liresnet.EPS).float().mean().item(),
        )

    return Job(run, lambda reference: _output(row, where))


def strong(row: Row, device: str) -> Job:
    where = "cuda" if device == "gpu" else "cpu"
    net, optimizer = _fresh(row, where, channels_last=True)
    image, label = _batch(row, where, channels_last=True)

    def step():
        _update(net, optimizer, image, label, low=where == "cuda")

    if where == "cuda":
        step = graphed(step)

    def run():
        step()
        if where == "cuda":
            torch.cuda.synchronize()

    return Job(run, lambda reference: _output(row, where, channels_last=True))


class LiResNet(nn.Module):
    def __init__(self, shape, *, steps: int):
        super().__init__()
        params, state = liresnet.parameters(shape)
        power = {name: state["power"][name]["vector"] for name in state["power"]}
        blocks = params["blocks"]
        self.steps, self.depth = steps, shape["depth"]
        self.stem_weight, self.stem_bias = _conv_weights(params["stem"])
        self.weights = nn.ParameterList(_oihw(k) for k in blocks["kernel"])
        self.gains = nn.ParameterList(_parameter(g) for g in blocks["gain"])
        self.biases = nn.ParameterList(_parameter(b) for b in blocks["bias"])
        self.neck_weight, self.neck_bias = _conv_weights(params["neck"])
        self.dense_weight = _parameter(params["neck_dense"]["kernel"].T)
        self.dense_bias = _parameter(params["neck_dense"]["bias"])
        self.head_weight = _parameter(params["head"]["kernel"].T)
        self.head_bias = _parameter(params["head"]["bias"])
        self.register_buffer("stem_x", nchw(power["stem"], "cpu"))
        self.register_buffer("neck_x", nchw(power["neck"], "cpu"))
        self.register_buffer("dense_x", torch.from_numpy(power["neck_dense"]))
        stacked = nchw(power["blocks"][:, 0], "cpu")  # [D,W,n,n]
        self.register_buffer("blocks_x", stacked.flatten(0, 1)[None].contiguous())
        delta = torch.zeros_like(self.weights[0])
        nn.init.dirac_(delta)
        self.register_buffer("delta", delta)

    def kernels(self) -> list[torch.Tensor]:
        """Return I + D^(-1/2) g (.) W of every block."""
        scale = 1 / math.sqrt(self.depth)
        return [
            self.delta + w * (scale * g)[:, None, None, None]
            for w, g in zip(self.weights, self.gains, strict=True)
        ]

    def forward(self, x: torch.Tensor, kernels: list[torch.Tensor]) -> torch.Tensor:
        """Map [B,3,n,n] to logits."""
        x = F.conv2d(x - 0.5, self.stem_weight, self.stem_bias, stride=2, padding=2)
        x = _maxmin(x)
        for kernel, bias in zip(kernels, self.biases, strict=True):
            x = _maxmin(F.conv2d(x, kernel, bias, padding=1))
        x = _maxmin(F.conv2d(x, self.neck_weight, self.neck_bias, stride=4))
        x = _maxmin(F.linear(x.flatten(1), self.dense_weight, self.dense_bias))
        return F.linear(x, self.rows(), self.head_bias)

    def rows(self) -> torch.Tensor:
        return self.head_weight / self.head_weight.norm(dim=1, keepdim=True)

    def lipschitz(self, kernels: list[torch.Tensor]) -> torch.Tensor:
        """Return the constants [K,K] of z_i - z_j, and move the carried vectors."""
        stacked = torch.cat(kernels)
        norms = [
            self._norm(self.stem_x, self.stem_weight, stride=2, padding=2, rest=1),
            self._norm(self.neck_x, self.neck_weight, stride=4),
            self._norm(self.blocks_x, stacked, padding=1, groups=self.depth).prod(),
            self._dense_norm(),
        ]
        rows = self.rows()
        distances = (rows[:, None] - rows[None]).norm(dim=2)
        return math.prod(norms) * distances

    def _norm(self, carried, weight, *, stride=1, padding=0, groups=1, rest=0):
        """Return the norm of each group of a convolution; `rest`: what the adjoint
        needs to reach the input's side."""
        how = dict(stride=stride, padding=padding, groups=groups)
        with torch.no_grad():
            x = carried
            for _ in range(self.steps):
                x = F.conv2d(x, weight, **how)
                x = F.conv_transpose2d(x, weight, output_padding=rest, **how)
                grouped = x.reshape(groups, -1)
                length = grouped.norm(dim=1, keepdim=True).clamp_min(1e-10)
                x = (grouped / length).reshape(x.shape)
            carried.copy_(x)
        return F.conv2d(x, weight, **how).reshape(groups, -1).norm(dim=1)

    def _dense_norm(self):
        weight = self.dense_weight
        with torch.no_grad():
            x = self.dense_x
            for _ in range(self.steps):
                x = F.linear(F.linear(x, weight), weight.T)
                x = x / x.norm().clamp_min(1e-10)
            self.dense_x.copy_(x)
        return F.linear(x, weight).norm()


def _update(net: LiResNet, optimizer, image, label, *, low: bool = False):
    """Return (loss, logits, pairwise constants) of one training step."""
    kernels = net.kernels()
    autocast = contextlib.nullcontext()
    if (
        low
    ):  # weights change in every step, so that a cache of cast weights would be stale
        autocast = torch.autocast(
            image.device.type, torch.bfloat16, cache_enabled=False
        )
    with autocast:
        logits = net(image, kernels)
    logits, bound = logits.float(), net.lipschitz(kernels)
    loss = F.cross_entropy(logits + liresnet.EPS * bound[label], label)
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(net.parameters(), liresnet.CLIP)
    optimizer.step()
    return loss, logits, bound


def _radius(logits, bound, label) -> torch.Tensor:
    """Return min_j (z_y - z_j) / K_yj."""
    margin = logits.gather(1, label[:, None]) - logits
    own = F.one_hot(label, logits.shape[1]).bool()
    return (margin / bound[label]).masked_fill(own, torch.inf).amin(1)


def _maxmin(x: torch.Tensor) -> torch.Tensor:
    a, b = x.chunk(2, 1)
    return torch.cat([torch.maximum(a, b), torch.minimum(a, b)], 1)


def _fresh(row: Row, where: str, *, steps: int = 0, channels_last: bool = False):
    net = LiResNet(row.shape, steps=steps or row.shape["power_steps"])
    net = net.to(where, memory_format=_layout(channels_last))
    optimizer = torch.optim.AdamW(
        net.parameters(),
        lr=liresnet.RATE,
        weight_decay=liresnet.DECAY,
        foreach=channels_last or None,
        capturable=channels_last and where == "cuda",
    )
    return net, optimizer


def _batch(row: Row, where: str, *, channels_last: bool = False):
    image = nchw(weights.images(row.shape["batch"], row.shape["side"]), where)
    label = torch.from_numpy(weights.labels(row.shape["batch"])).long().to(where)
    return image.contiguous(memory_format=_layout(channels_last)), label


def _layout(channels_last: bool) -> torch.memory_format:
    return torch.channels_last if channels_last else torch.contiguous_format


def _output(row: Row, where: str, *, channels_last: bool = False):
    """Return the outputs of two steps from the initial weights, with as many power
    steps as jaxcert's side."""
    net, optimizer = _fresh(row, where, channels_last=channels_last)
    batch = _batch(row, where, channels_last=channels_last)
    low = channels_last and where == "cuda"
    loss, *_ = _update(net, optimizer, *batch, low=low)
    ends = (net.stem_weight, net.head_weight)
    norms = [p.detach().norm().item() for p in ends]
    stem, head = (optimizer.state[p]["exp_avg"].clone() for p in ends)
    after, *_ = _update(net, optimizer, *batch, low=low)
    found = dict(loss=loss.detach(), next_loss=after.detach(), head=head.T)
    found |= dict(stem=stem.permute(2, 3, 1, 0))
    return dict(norms=np.array(norms), **{k: a.cpu().numpy() for k, a in found.items()})


def _conv_weights(layer) -> tuple[nn.Parameter, nn.Parameter]:
    return _oihw(layer["kernel"]), _parameter(layer["bias"])


def _oihw(kernel: np.ndarray) -> nn.Parameter:
    return _parameter(kernel.transpose(3, 2, 0, 1))


def _parameter(array: np.ndarray) -> nn.Parameter:
    return nn.Parameter(
        torch.from_numpy(array).clone(memory_format=torch.contiguous_format)
    )
