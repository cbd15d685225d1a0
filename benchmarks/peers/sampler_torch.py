"""DDPM++ and EDM's sampler in PyTorch.

`peer`: NCHW in float32, resampling by depthwise convolutions, attention by two products and
a softmax, a Python loop of float64 updates. `strong`: channels last, pooling and nearest
neighbours, PyTorch's fused attention, float32 updates; on a GPU the row's bfloat16, and one
CUDA graph for an evaluation.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F

from benchmarks import sampler
from benchmarks.peers.resnet_torch import nchw
from benchmarks.suite import Job, Row

Denoise = Callable[..., torch.Tensor]  # (x [B,3,H,W], sigma [B], label [B])


class Network:
    """F with the weights of a state dict; `fused` takes the form of `strong`."""

    def __init__(self, row: Row, where: str, dtype: torch.dtype, *, fused: bool):
        self.shape, self.dtype, self.fused = row.shape, dtype, fused
        self.weights = {}
        for name, array in sampler.state_dict(row.shape).items():
            tensor = torch.from_numpy(array).to(where)
            if name.startswith(("enc", "dec")) and "affine" not in name:
                tensor = tensor.to(dtype)
            if fused and tensor.ndim == 4:
                tensor = tensor.to(memory_format=torch.channels_last)
            self.weights[name] = tensor

    def __call__(self, x, c_noise, label):
        shape, side = self.shape, self.shape["side"]
        e = self._embedding(c_noise, label)
        x = x.to(self.dtype)
        if self.fused:
            x = x.contiguous(memory_format=torch.channels_last)
        levels = [side >> i for i in range(len(shape["multipliers"]))]
        kept = []
        for n in levels:
            if n == side:
                x = self._conv(f"enc.{n}x{n}_conv", x)
            else:
                x = self._block(f"enc.{n}x{n}_down", x, e, "down")
            kept.append(x)
            for i in range(shape["blocks"]):
                x = self._block(f"enc.{n}x{n}_block{i}", x, e)
                kept.append(x)
        for n in levels[::-1]:
            if n == levels[-1]:
                x = self._block(f"dec.{n}x{n}_in0", x, e)
                x = self._block(f"dec.{n}x{n}_in1", x, e)
            else:
                x = self._block(f"dec.{n}x{n}_up", x, e, "up")
            for i in range(shape["blocks"] + 1):
                x = torch.cat([x, kept.pop()], 1)
                x = self._block(f"dec.{n}x{n}_block{i}", x, e)
        x = F.silu(self._norm(f"dec.{side}x{side}_aux_norm", x))
        return self._conv(f"dec.{side}x{side}_aux_conv", x)

    def _embedding(self, c_noise, label):
        half = self.shape["width"] // 2
        i = torch.arange(half, device=c_noise.device, dtype=torch.float32)
        angle = c_noise[:, None] * 1e-4 ** (i / (half - 1))
        e = torch.cat([angle.sin(), angle.cos()], 1)
        known = (label >= 0)[:, None]  # -1: no class
        one_hot = F.one_hot(label.long().clamp(min=0), sampler.CLASSES).float() * known
        e = e + self._linear("map_label", one_hot * math.sqrt(sampler.CLASSES))
        e = F.silu(self._linear("map_layer0", e))
        return F.silu(self._linear("map_layer1", e))

    def _block(self, name, x, e, resample=""):
        h = F.silu(self._norm(f"{name}.norm0", x))
        h = self._conv(f"{name}.conv0", self._resampled(name, h, resample))
        affine = self._linear(f"{name}.affine", e).to(x.dtype)[:, :, None, None]
        h = F.silu(self._norm(f"{name}.norm1", h + affine))
        h = self._conv(f"{name}.conv1", h)
        x = self._resampled(name, x, resample)
        if f"{name}.skip.weight" in self.weights:
            x = self._conv(f"{name}.skip", x)
        x = (x + h) * math.sqrt(0.5)
        if f"{name}.qkv.weight" in self.weights:
            y = self._attended(
                self._conv(f"{name}.qkv", self._norm(f"{name}.norm2", x))
            )
            x = (x + self._conv(f"{name}.proj", y)) * math.sqrt(0.5)
        return x

    def _resampled(self, name, x, resample):
        if not resample:
            return x
        if self.fused:
            if resample == "down":
                return F.avg_pool2d(x, 2)
            return F.interpolate(x, scale_factor=2, mode="nearest")
        kernel = self.weights[f"{name}.conv0.resample_filter"]
        kernel, channels = kernel.repeat(x.shape[1], 1, 1, 1), x.shape[1]
        if resample == "down":
            return F.conv2d(x, kernel, stride=2, groups=channels)
        return F.conv_transpose2d(x, 4 * kernel, stride=2, groups=channels)

    def _attended(self, qkv):
        """Return the attention of one head; the rows of qkv are (channel, which of q,
        k, v)."""
        batch, rows, height, width = qkv.shape
        q, k, v = qkv.reshape(batch, rows // 3, 3, height * width).unbind(2)
        if self.fused:
            q, k, v = (a.transpose(1, 2)[:, None] for a in (q, k, v))
            y = F.scaled_dot_product_attention(q, k, v)[:, 0].transpose(1, 2)
        else:
            logits = torch.einsum("bcq,bck->bqk", q, k / math.sqrt(rows // 3))
            weights = logits.float().softmax(-1).to(v.dtype)
            y = torch.einsum("bqk,bck->bcq", weights, v)
        return y.reshape(batch, rows // 3, height, width)

    def _conv(self, name, x):
        weight = self.weights[f"{name}.weight"]
        bias, padding = self.weights[f"{name}.bias"], weight.shape[-1] // 2
        return F.conv2d(x, weight, bias, padding=padding)

    def _norm(self, name, x):
        groups = min(32, x.shape[1] // 4)
        weight, bias = self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]
        return F.group_norm(x, groups, weight, bias, 1e-6)

    def _linear(self, name, x):
        return F.linear(x, self.weights[f"{name}.weight"], self.weights[f"{name}.bias"])


def peer(row: Row, device: str) -> Job:
    where = "cuda" if device == "gpu" else "cpu"
    network = Network(row, where, torch.float32, fused=False)
    return _job(row, where, preconditioned(network), torch.float64)


def strong(row: Row, device: str) -> Job:
    where = "cuda" if device == "gpu" else "cpu"
    low = row.dtype == "bfloat16" and where == "cuda"
    dtype = torch.bfloat16 if low else torch.float32
    denoise = preconditioned(Network(row, where, dtype, fused=True))
    if where == "cuda":
        denoise = graphed(denoise, _given(row, where))
    return _job(row, where, denoise, torch.float32)


def preconditioned(network: Network) -> Denoise:
    def denoise(x, sigma, label):
        s = sigma[:, None, None, None]
        total = (s**2 + 0.25).sqrt()
        f = network(x / total, sigma.log() / 4, label).float()
        return 0.25 / total**2 * x + 0.5 * s / total * f

    return denoise


def graphed(denoise: Denoise, given: tuple[torch.Tensor, ...]) -> Denoise:
    """Return an evaluation as a CUDA graph for tensors of the shapes of `given`."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    fixed = [tensor.clone() for tensor in given]
    with torch.cuda.stream(stream), torch.no_grad():
        for _ in range(3):
            denoise(*fixed)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph), torch.no_grad():
        result = denoise(*fixed)

    def replay(*new):
        for here, tensor in zip(fixed, new, strict=True):
            here.copy_(tensor)
        graph.replay()
        return result

    return replay


def _given(row: Row, where: str) -> tuple[torch.Tensor, ...]:
    x, sigma, label = sampler.batch(row.shape)
    return nchw(x, where), *(torch.tensor(a, device=where) for a in (sigma, label))


def _job(row: Row, where: str, denoise: Denoise, wide: torch.dtype) -> Job:
    x, sigma, label = _given(row, where)
    start = nchw(sampler.latent(row.shape), where).to(wide)

    def call():
        if row.shape["steps"]:
            return _sampled(denoise, start, label, row.shape["steps"])
        return denoise(x, sigma, label)

    @torch.no_grad()
    def run():
        image = call()
        if where == "cuda":
            torch.cuda.synchronize()
        return image

    def output(reference):
        image = run().float().permute(0, 2, 3, 1)
        return dict(image=image.cpu().numpy())

    return Job(run, output)


def _sampled(denoise: Denoise, latent, label, steps: int):
    """Sample by Heun's deterministic method; latent is in the type of the updates."""
    ends = (
        sampler.SIGMA_MAX ** (1 / sampler.RHO),
        sampler.SIGMA_MIN ** (1 / sampler.RHO),
    )
    levels = np.append(np.linspace(*ends, steps) ** sampler.RHO, 0.0)

    def slope(x, level):
        sigma = torch.full((len(x),), level, device=x.device)
        return (x - denoise(x.float(), sigma, label).to(x.dtype)) / level

    x = latent * levels[0]
    for now, after in zip(levels[:-1], levels[1:], strict=True):
        first = slope(x, now)
        ahead = x + (after - now) * first
        if after:
            ahead = x + (after - now) * (first + slope(ahead, after)) / 2
        x = ahead
    return x
