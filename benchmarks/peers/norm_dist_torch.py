"""Distances in PyTorch.

`peer`: on a CPU torch.cdist; on a GPU norm_dist.cu, tiled as the published kernels, built
by torch's loader when it is first needed. Without nvcc and ninja the row notes that and
goes without a peer. `strong`, without new kernels: on a CPU differences of a few outputs at
a time, which stay in the cache, computed again for the gradient of finite p (faster than
cdist at every p); on a GPU torch.cdist, whose gradient needs B x D x O floats.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks import weights
from benchmarks.norm_dist import PROBE, batches, named, sizes_of
from benchmarks.suite import Job, Row

BLOCK = 4  # outputs at a time
Distance = Callable[[torch.Tensor, torch.Tensor, float], torch.Tensor]


def peer(row: Row, device: str) -> Job:
    return _job(row, device, tiled if device == "gpu" else torch.cdist)


def strong(row: Row, device: str) -> Job:
    return _job(row, device, torch.cdist if device == "gpu" else in_blocks)


def tiled(x: torch.Tensor, w: torch.Tensor, p: float) -> torch.Tensor:
    """Return distances [B,O] of x [B,D] to w [O,D] on a GPU."""
    return _Tiled.apply(x.contiguous(), w, p)


def in_blocks(x: torch.Tensor, w: torch.Tensor, p: float) -> torch.Tensor:
    return _InBlocks.apply(x, w, p)


class _Tiled(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, w, p):
        b, o = len(x), len(w)
        y, ctx.p = x.new_zeros(b, o), p
        if math.isfinite(p):
            _call("forward", x, w, y, sizes=(b, x.shape[1], o, p))
            ctx.save_for_backward(x, w, y)
            return y
        index = None
        if any(ctx.needs_input_grad):
            index = x.new_empty(b, o, dtype=torch.int32)
        _call("forward_inf", x, w, y, index, sizes=(b, x.shape[1], o))
        ctx.save_for_backward(x, w, index)
        return y

    @staticmethod
    def backward(ctx, g):
        x, w, saved = ctx.saved_tensors
        g, gx, gw = g.contiguous(), torch.zeros_like(x), torch.zeros_like(w)
        sizes = (len(x), x.shape[1], len(w))
        if math.isfinite(ctx.p):
            _call("backward", x, w, saved, g, gx, gw, sizes=(*sizes, ctx.p))
        else:
            _call("backward_inf", saved, g, gx, gw, sizes=sizes)
        return gx, gw, None


class _InBlocks(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, w, p):
        parts, index, ctx.p = [], [], p
        for rows in w.split(BLOCK):
            d = (x[:, None] - rows).abs_()
            if math.isfinite(p):
                parts.append(_powers(d, p).sum(2))
            elif any(ctx.needs_input_grad):
                largest, at = d.max(2)
                parts.append(largest)
                index.append(at)
            else:
                parts.append(d.amax(2))
        y = torch.cat(parts, 1)
        if math.isfinite(p):
            y.pow_(1 / p)
        ctx.save_for_backward(x, w, torch.cat(index, 1) if index else y)
        return y

    @staticmethod
    def backward(ctx, g):
        x, w, saved = ctx.saved_tensors
        if math.isinf(ctx.p):
            right = x.gather(1, saved) >= w.t().gather(0, saved)
            v = torch.where(right, g, -g)
            gx = torch.zeros_like(x).scatter_add_(1, saved, v)
            gw = torch.zeros_like(w.t()).scatter_add_(0, saved, -v)
            return gx, gw.t(), None
        gx, gw = torch.zeros_like(x), []
        parts = (w.split(BLOCK), saved.split(BLOCK, 1), g.split(BLOCK, 1))
        for rows, y, g_of in zip(*parts, strict=True):
            d = x[:, None] - rows
            v = _powers((d / y[..., None]).abs_(), ctx.p - 1)
            v.copysign_(d).mul_(g_of[..., None])
            gx += v.sum(1)
            gw.append(-v.sum(0))
        return gx, torch.cat(gw), None


def _powers(a: torch.Tensor, n: float) -> torch.Tensor:
    """Return a^n for a >= 0; `a` is used up."""
    if n == 8:
        return a.mul_(a).mul_(a).mul_(a)
    if n == 7:
        square = a * a
        return a.mul_(square).mul_(square.mul_(square))
    return a.log2_().mul_(n).exp2_()


def _call(name: str, *arrays: torch.Tensor | None, sizes: tuple) -> None:
    stream = torch.cuda.current_stream().cuda_stream
    addresses = (0 if a is None else a.data_ptr() for a in arrays)
    getattr(_kernels(), name)(*addresses, *sizes, stream)


@functools.cache
def _kernels():
    """Build and return norm_dist.cu. Raises what the loader raises without a compiler."""
    from torch.utils.cpp_extension import load

    source = Path(__file__).with_name("norm_dist.cu")
    return load("norm_dist_kernels", [str(source)], extra_cuda_cflags=["-O3"])


def _job(row: Row, device: str, distance: Distance) -> Job:
    shape, where = row.shape, "cuda" if device == "gpu" else "cpu"
    p, layers = float(shape["p"]), weights.distances(sizes_of(shape))
    ws = [torch.from_numpy(w).to(where).t().contiguous() for w in layers]
    pairs = batches(shape)
    ring = [tuple(torch.from_numpy(a).to(where) for a in pair) for pair in pairs]
    turn = itertools.cycle(ring)

    def forward(x, ws) -> torch.Tensor:
        for w in ws[:-1]:
            y = distance(x, w, p)
            x = y - y.mean(0)
        return distance(x, ws[-1], p)

    def compute(x, g):
        if shape["pass"] == "forward":
            with torch.no_grad():
                return forward(x, ws), []
        # nobody needs the gradient of a net's images
        leaves = ws if len(ws) > 1 else [x, *ws]
        leaves = [a.detach().requires_grad_() for a in leaves]
        y = forward(x if len(ws) > 1 else leaves[0], leaves[-len(ws) :])
        return y.detach(), list(torch.autograd.grad(y, leaves, g))

    def output(reference):
        y, gradients = compute(*ring[0])
        gradients[-len(ws) :] = [a.t() for a in gradients[-len(ws) :]]
        arrays = [a[:PROBE].cpu().numpy() for a in gradients]
        return named(y.cpu().numpy(), arrays)

    return Job(lambda: (compute(*next(turn)), _wait(where)), output)


def _wait(where: str) -> None:
    if where == "cuda":
        torch.cuda.synchronize()
