"""CERTIFY in PyTorch.

`peer`: as the published code, a Python loop over batches, predictions copied to the host
and counted there, one by one. `strong`: batch normalisation folded, channels last,
counting on the device; on a GPU the row's bfloat16 and one CUDA graph per batch, or, where
the row says so, noise, network and counting as one program of torch.compile.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import torch
from scipy.stats import beta, norm

from benchmarks.peers.resnet_torch import folded, nchw, network
from benchmarks.suite import Job, Row

Count = Callable[[int], np.ndarray]  # samples -> votes [K]


def peer(row: Row, device: str) -> Job:
    where = "cuda" if device == "gpu" else "cpu"
    model = network(row.shape).eval().to(where)
    image = _image(row, where)
    batch, classes = 1000, model.head.out_features

    def count(samples: int) -> np.ndarray:
        votes = np.zeros(classes, int)
        with torch.no_grad():
            while samples > 0:
                size = min(batch, samples)
                samples -= size
                copies = image.repeat(size, 1, 1, 1)
                noise = torch.randn_like(copies) * row.shape["sigma"]
                for vote in model(copies + noise).argmax(1).cpu().numpy():
                    votes[vote] += 1
        return votes

    return _job(row, where, model, count)


def strong(row: Row, device: str) -> Job:
    where = "cuda" if device == "gpu" else "cpu"
    low = row.dtype == "bfloat16" and where == "cuda"
    model = network(row.shape)
    logits = folded(model, where, torch.bfloat16 if low else torch.float32)
    image, numbers = _image(row, where), model.head.out_features
    size = 4000 if where == "cuda" and image.shape[-1] <= 32 else 1000
    classes = torch.arange(numbers, device=where)

    @torch.no_grad()
    def votes_of(samples: int) -> torch.Tensor:
        noise = torch.randn(samples, *image.shape[1:], device=where)
        found = logits(image + row.shape["sigma"] * noise).argmax(1)
        return (found[:, None] == classes).sum(0)  # bincount cannot be captured

    if row.shape.get("strong") == "torch.compile":
        # on a CPU it needs a C++ compiler, so there the program is only captured
        backend = "inductor" if where == "cuda" else "eager"
        compiled = torch.compile(votes_of, dynamic=False, backend=backend)
        whole = functools.partial(compiled, size)
    else:
        whole = graphed(votes_of, size) if where == "cuda" else None

    def count(samples: int) -> np.ndarray:
        parts = [whole() if whole else votes_of(size) for _ in range(samples // size)]
        if samples % size:
            parts.append(votes_of(samples % size))
        return torch.stack(parts).sum(0).cpu().numpy()

    return _job(row, where, logits, count)


def graphed(votes_of, size: int) -> Callable[[], torch.Tensor]:
    """Return one batch of noise, forward pass and count as a CUDA graph."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            votes_of(size)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        votes = votes_of(size)

    def replay() -> torch.Tensor:
        graph.replay()
        return votes.clone()

    return replay


def _job(row: Row, where: str, logits, count: Count) -> Job:
    n0, n, alpha = row.shape["n0"], row.shape["n"], 0.001

    def certify() -> tuple[int, float, np.ndarray]:
        selected = count(n0).argmax()
        votes = count(n)
        agreeing = votes[selected]
        p_lower = beta.ppf(alpha, agreeing, n - agreeing + 1) if agreeing else 0.0
        if p_lower < 0.5:
            return -1, 0.0, votes
        return selected, row.shape["sigma"] * norm.ppf(p_lower), votes

    def output(reference):
        x = nchw(reference["input_noisy"], where)
        with torch.no_grad():
            found = logits(x).cpu().numpy()
        return dict(logits=found, share=certify()[2] / n)

    return Job(certify, output)


def _image(row: Row, where: str) -> torch.Tensor:
    from benchmarks.smoothing import image_of

    return nchw(image_of(row.shape), where)
