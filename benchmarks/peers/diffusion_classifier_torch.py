"""APNDC in PyTorch with the DDPM++ of sampler_torch.

`peer`: one vote and one class at a time, its levels as one batch, float32. `strong`: all
pairs of votes and classes of a level in one batch, in the row's type on a GPU.
"""

from __future__ import annotations

import numpy as np
import torch

from benchmarks import diffusion_classifier, sampler
from benchmarks.peers.resnet_torch import nchw
from benchmarks.peers.sampler_torch import Network, preconditioned
from benchmarks.suite import Job, Row


def peer(row: Row, device: str) -> Job:
    where = "cuda" if device == "gpu" else "cpu"
    denoise = preconditioned(Network(row, where, torch.float32, fused=False))
    return _job(row, where, denoise, _one_by_one)


def strong(row: Row, device: str) -> Job:
    where = "cuda" if device == "gpu" else "cpu"
    low = row.dtype == "bfloat16" and where == "cuda"
    dtype = torch.bfloat16 if low else torch.float32
    denoise = preconditioned(Network(row, where, dtype, fused=True))
    return _job(row, where, denoise, _level_by_level)


def _job(row: Row, where: str, denoise, logits) -> Job:
    x, noise = diffusion_classifier.given(row.shape)
    levels = diffusion_classifier.law(row.shape).levels
    x = nchw(x, where)
    noise = torch.stack([nchw(each, where) for each in noise])
    sigma, weight = (
        torch.tensor(np.float32(v), device=where) for v in (levels.sigma, levels.weight)
    )

    @torch.no_grad()
    def run():
        level = torch.full((len(x),), diffusion_classifier.SIGMA_TAU, device=where)
        none = torch.full((len(x),), -1, device=where)
        found = logits(denoise, denoise(x, level, none), noise, sigma, weight)
        if where == "cuda":
            torch.cuda.synchronize()
        return found

    return Job(run, lambda reference: dict(logits=run().float().cpu().numpy()))


def _one_by_one(denoise, clean, noise, sigma, weight):
    rows = []
    for vote in range(len(clean)):
        at = clean[vote] + sigma[:, None, None, None] * noise[:, vote]
        row = []
        for label in range(sampler.CLASSES):
            labels = torch.full((len(sigma),), label, device=at.device)
            error = ((denoise(at, sigma, labels) - clean[vote]) ** 2).mean((1, 2, 3))
            row.append(-(weight * error).sum())
        rows.append(torch.stack(row))
    return torch.stack(rows)


def _level_by_level(denoise, clean, noise, sigma, weight):
    votes, classes = len(clean), sampler.CLASSES
    labels = torch.arange(classes, device=clean.device).repeat(votes)
    target = clean.repeat_interleave(classes, 0)
    total = torch.zeros(votes * classes, device=clean.device)
    for t in range(len(sigma)):
        at = (clean + sigma[t] * noise[t]).repeat_interleave(classes, 0)
        level = sigma[t].expand(len(at))
        error = ((denoise(at, level, labels) - target) ** 2).mean((1, 2, 3))
        total = total - weight[t] * error
    return total.reshape(votes, classes)
