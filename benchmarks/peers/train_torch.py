"""Gaussian training in PyTorch.

`peer`: eager, NCHW, a float32 batch copied from the host in every step, loss and top-1
and top-5 accuracy read back in every step, as the published loop; decoding and
augmentation are not counted against it. `strong`: channels last, data on the device,
nothing read back; on a GPU bfloat16 autocast and the whole step as a CUDA graph.
"""

from __future__ import annotations

import contextlib

import numpy as np
import torch
import torch.nn.functional as F

from benchmarks import train_step, weights
from benchmarks.peers.resnet_torch import ResNet, nchw
from benchmarks.suite import Job, Row

RING = 16  # different batches; the published loader's workers are not timed


def peer(row: Row, device: str) -> Job:
    where = "cuda" if device == "gpu" else "cpu"
    images, labels = _batches(row.shape)
    images, labels = nchw(images, "cpu"), torch.from_numpy(labels).long()
    batches = list(
        zip(
            images.split(row.shape["batch"]),
            labels.split(row.shape["batch"]),
            strict=True,
        )
    )
    if where == "cuda":
        batches = [(x.pin_memory(), y.pin_memory()) for x, y in batches]
    model, optimizer = _fresh(row, where)

    def run():
        for i in range(row.shape["steps"]):
            x, y = (t.to(where, non_blocking=True) for t in batches[i % len(batches)])
            x = x + torch.randn_like(x) * row.shape["sigma"]
            logits = model(x)
            loss = F.cross_entropy(logits, y)
            _read(logits, y, loss)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    return Job(run, lambda reference: _output(row, where, reference))


def strong(row: Row, device: str) -> Job:
    where = "cuda" if device == "gpu" else "cpu"
    images, labels = _batches(row.shape)
    images = nchw(images, where).contiguous(memory_format=torch.channels_last)
    labels = torch.from_numpy(labels).long().to(where)
    size = row.shape["batch"]
    model, optimizer = _fresh(row, where, channels_last=True)
    x, y = images[:size].clone(), labels[:size].clone()

    def step():
        noise = torch.randn_like(x) * row.shape["sigma"]
        _update(row, where, model, optimizer, x + noise, y)

    if where == "cuda":
        step = graphed(step)

    def run():
        for i in range(row.shape["steps"]):
            at = (i * size) % len(images)
            x.copy_(images[at : at + size])
            y.copy_(labels[at : at + size])
            step()
        if where == "cuda":
            torch.cuda.synchronize()

    return Job(run, lambda reference: _output(row, where, reference, True))


def _update(row: Row, where: str, model, optimizer, x, y) -> torch.Tensor:
    low = row.dtype == "bfloat16" and where == "cuda"
    autocast = contextlib.nullcontext()
    if (
        low
    ):  # weights change in every step, so that a cache of cast weights would be stale
        autocast = torch.autocast("cuda", torch.bfloat16, cache_enabled=False)
    with autocast:
        loss = F.cross_entropy(model(x), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss


def graphed(step):
    """Return the whole step, optimizer included, as one CUDA graph."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay


def _read(logits: torch.Tensor, y: torch.Tensor, loss: torch.Tensor) -> tuple:
    """Return loss, top-1 and top-5 accuracy on the host, with three synchronisations."""
    top = logits.topk(5, 1).indices == y[:, None]
    return (
        loss.item(),
        top[:, :1].float().sum().item() / len(y),
        top.float().sum().item() / len(y),
    )


def _fresh(row: Row, where: str, *, channels_last: bool = False):
    layout = torch.channels_last if channels_last else torch.contiguous_format
    model = ResNet(row.shape["depth"]).train().to(where, memory_format=layout)
    optimizer = torch.optim.SGD(
        model.parameters(),
        lr=train_step.RATE,
        momentum=train_step.MOMENTUM,
        weight_decay=train_step.DECAY,
    )
    return model, optimizer


def _batches(shape) -> tuple[np.ndarray, np.ndarray]:
    """Return float32 images and labels of the first batches of the epoch."""
    chosen = train_step.order(shape)[:RING].reshape(-1)
    images = train_step.uint8_images(shape)[chosen].astype(np.float32) / 255
    return images, weights.labels(shape["data"])[chosen]


def _output(row: Row, where: str, reference, channels_last: bool = False):
    """Return the outputs of one step on the noisy images of the reference, from the
    initial weights."""
    model, optimizer = _fresh(row, where, channels_last=channels_last)
    x = nchw(reference["input_noisy"], where)
    if channels_last:
        x = x.contiguous(memory_format=torch.channels_last)
    y = torch.from_numpy(weights.labels(row.shape["data"]))
    y = y[train_step.order(row.shape)[0]].long().to(where)
    before = _ends(model)
    loss = _update(
        row if channels_last else row._replace(dtype="float32"),
        where,
        model,
        optimizer,
        x,
        y,
    )
    found = train_step.changes(before, _ends(model))
    var = model.stem.norm.running_var.cpu().numpy()
    return dict(loss=loss.detach().cpu().numpy(), var=var, **found)


def _ends(model: ResNet) -> dict[str, np.ndarray]:
    stem = model.stem.conv.weight.detach().permute(2, 3, 1, 0)
    return dict(
        stem=stem.cpu().numpy().copy(),
        head=model.head.weight.detach().T.cpu().numpy().copy(),
    )
