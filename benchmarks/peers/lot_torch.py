"""LOT in PyTorch: one convolution, and a training step of LipConvNet.

`peer`: whole complex64 spectrum, batched complex products, ten Newton steps, automatic
differentiation through all of them, as the published code. `strong`: half the spectrum,
no product whose result is known or unused.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F

from benchmarks import weights
from benchmarks.orthogonal_conv import kernel_of, layers_of
from benchmarks.suite import Job, Row

JITTER, STEPS = 1e-4, 10
Conv = Callable[..., torch.Tensor]


def peer(row: Row, device: str) -> Job:
    return _job(row, device, conv_whole_spectrum)


def strong(row: Row, device: str) -> Job:
    return _job(row, device, conv_half_spectrum)


def conv_whole_spectrum(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor
) -> torch.Tensor:
    """Convolve x [B,I,n,n] with a weight [O,I,k,k], -> [B,O,n,n]."""
    n, k = x.shape[-1], weight.shape[-1]
    x = F.pad(x, (k // 2,) * 4)
    m = x.shape[-1]
    shift = torch.arange(m, device=x.device) * (k // 2)
    phase = torch.exp(-2j * torch.pi * (shift[:, None] + shift) / m)
    spectrum = phase * torch.fft.fft2(weight, s=(m, m)).conj()
    f = spectrum.permute(2, 3, 0, 1).reshape(m * m, *weight.shape[:2])
    eye = torch.eye(f.shape[1], dtype=f.dtype, device=f.device)
    s = f @ f.conj().transpose(1, 2) + JITTER * eye
    c = s.abs().square().sum((1, 2), keepdim=True).sqrt() + JITTER
    y, z = s / c, eye.expand_as(s)
    for _ in range(STEPS):
        t = 1.5 * eye - 0.5 * (z @ y)
        y, z = y @ t, t @ z
    q = z @ f / c.sqrt()
    signal = torch.fft.fft2(x).permute(2, 3, 1, 0).reshape(m * m, x.shape[1], -1)
    out = (q @ signal).reshape(m, m, q.shape[1], -1).permute(3, 2, 0, 1)
    return _crop(torch.fft.ifft2(out).real, n, k) + bias[:, None, None]


def conv_half_spectrum(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor
) -> torch.Tensor:
    n, k = x.shape[-1], weight.shape[-1]
    x = F.pad(x, (k // 2,) * 4)
    m = x.shape[-1]
    h = m // 2 + 1
    shift = torch.arange(m, device=x.device) * (k // 2)
    phase = torch.exp(-2j * torch.pi * (shift[:, None] + shift[:h]) / m)
    spectrum = phase * torch.fft.rfft2(weight, s=(m, m)).conj()
    f = spectrum.permute(2, 3, 0, 1).reshape(m * h, *weight.shape[:2])
    eye = torch.eye(f.shape[1], dtype=f.dtype, device=f.device)
    s = f @ f.mH + JITTER * eye
    c = torch.linalg.matrix_norm(s, keepdim=True) + JITTER
    s = s / c
    z = 1.5 * eye - 0.5 * s
    y = s @ z
    for step in range(1, STEPS):
        t = torch.baddbmm(eye, z, y, beta=1.5, alpha=-0.5)
        y, z = (y @ t if step < STEPS - 1 else y), t @ z
    q = z @ (f / c.sqrt())
    signal = torch.fft.rfft2(x).permute(2, 3, 1, 0).reshape(m * h, x.shape[1], -1)
    out = (q @ signal).reshape(m, h, q.shape[1], -1).permute(3, 2, 0, 1)
    return _crop(torch.fft.irfft2(out, s=(m, m)), n, k) + bias[:, None, None]


def _crop(x: torch.Tensor, n: int, k: int) -> torch.Tensor:
    r = k // 2
    return x[..., r : r + n, r : r + n]


def _job(row: Row, device: str, conv: Conv) -> Job:
    where = "cuda" if device == "gpu" else "cpu"
    build = _network if "blocks" in row.shape else _layer
    return build(row.shape, where, conv)


def _layer(shape, where: str, conv: Conv) -> Job:
    b, n, c = shape["batch"], shape["side"], shape["channels"]
    x = _nchw(weights.normal(b, n, n, c, seed=1), where)
    out = _nchw(weights.normal(b, n, n, c, seed=2), where)
    weight = _weight(kernel_of(shape), where)
    bias = torch.zeros(c, device=where)
    whole = shape["pass"] == "step"

    def compute() -> dict[str, torch.Tensor]:
        if not whole:
            with torch.no_grad():
                return dict(y=conv(x, weight, bias))
        leaves = [x.detach().requires_grad_(), weight.detach().requires_grad_()]
        y = conv(*leaves, bias)
        dx, dw = torch.autograd.grad(y, leaves, out)
        return dict(y=y.detach(), dx=dx, dkernel=dw)

    def output(reference):
        found = compute()
        arrays = {k: found[k].permute(0, 2, 3, 1) for k in found if k != "dkernel"}
        if whole:
            arrays["dkernel"] = found["dkernel"].permute(2, 3, 1, 0)
        return {name: a.cpu().numpy() for name, a in arrays.items()}

    return Job(lambda: (compute(), _wait(where)), output)


def _network(shape, where: str, conv: Conv) -> Job:
    """Return a step of forward, cross-entropy, backward and SGD with momentum; the
    batch is already there."""
    side = 2 ** shape["stages"]
    image = _nchw(weights.images(shape["batch"], side), where)
    label = torch.from_numpy(weights.labels(shape["batch"])).long().to(where)

    def fresh():
        raw = weights.lot(layers_of(shape))
        flat = [t for a in raw for t in (_weight(a.kernel, where), _vector(a, where))]
        leaves = [p.requires_grad_() for p in flat]
        return leaves, torch.optim.SGD(leaves, lr=0.1, momentum=0.9)

    def step(leaves, optimizer) -> tuple[torch.Tensor, torch.Tensor]:
        logits = _lip_convnet(image, leaves, conv, shape)
        loss = F.cross_entropy(logits, label)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss, (logits.argmax(1) == label).float().mean()

    state = fresh()

    def run():
        loss, accuracy = step(*state)
        return loss.item(), accuracy.item()

    def output(reference):
        leaves, optimizer = fresh()
        loss, _ = step(leaves, optimizer)
        first, last = (leaves[i].detach().permute(2, 3, 1, 0) for i in (0, -2))
        found = dict(loss=loss.detach(), first=first, last=last)
        return {name: a.cpu().numpy() for name, a in found.items()}

    return Job(run, output)


def _lip_convnet(x, leaves, conv: Conv, shape) -> torch.Tensor:
    """Apply the MaxMin network: the last layer of each stage is strided by
    space-to-depth."""
    mean = torch.tensor(weights.MEAN, device=x.device)[:, None, None]
    x = (x - mean) / weights.LOT_STD
    pairs = list(zip(leaves[::2], leaves[1::2], strict=True))
    for i, (weight, bias) in enumerate(pairs[:-1]):
        if (i + 1) % shape["blocks"] == 0:
            x = F.pixel_unshuffle(x, 2)
        x = conv(x, weight, bias)
        a, b = x.chunk(2, 1)
        x = torch.cat([torch.maximum(a, b), torch.minimum(a, b)], 1)
    return conv(x, *pairs[-1]).flatten(1)


def _nchw(x: np.ndarray, where: str) -> torch.Tensor:
    return torch.from_numpy(x).to(where).permute(0, 3, 1, 2).contiguous()


def _weight(kernel: np.ndarray, where: str) -> torch.Tensor:
    return torch.from_numpy(kernel).to(where).permute(3, 2, 0, 1).contiguous()


def _vector(layer: weights.Affine, where: str) -> torch.Tensor:
    return torch.from_numpy(layer.bias).to(where)


def _wait(where: str) -> None:
    if where == "cuda":
        torch.cuda.synchronize()
