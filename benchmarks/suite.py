"""What a cell consists of, and the plan of a run: cells by value, each with a time box."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

SIDES = ("jaxcert", "peer", "strong")


class Row(NamedTuple):
    """One line of the table: a workload at one size."""

    workload: str
    shape: dict[str, Any]
    """all that both sides need to build it"""
    dtype: str
    tolerance: dict[str, float] = {}
    """output -> the greatest max |a - b| / max |b|; a greater error voids the row"""
    flops: float = 0.0
    bytes: float = 0.0
    rate: str = "float32"
    """which peak of floors.Ceilings the flops meet"""
    items: float = 0.0
    """images, samples or dispatches per call: gives items per second"""
    sides: tuple[str, ...] = SIDES


class Job(NamedTuple):
    """A workload built on one side."""

    run: Callable[[], Any]
    """once, until the result is there"""
    output: Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]] | None = None
    """reference -> outputs to compare. The reference is what jaxcert's side returned
    ({} on that side itself); its keys that start with `input_` are inputs."""


class Cell(NamedTuple):
    name: str
    peers: str | None
    """file in peers/"""
    box: dict[str, float]
    """seconds per device; the cell is cut there"""


PLAN = (
    Cell("micro", None, dict(cpu=25, gpu=30)),
    Cell("aa", None, dict(cpu=25, gpu=20)),
    Cell("smoothing", "smoothing_torch", dict(cpu=80, gpu=75)),
    Cell("norm_dist", "norm_dist_torch", dict(cpu=85, gpu=95)),
    Cell("orthogonal_conv", "lot_torch", dict(cpu=118, gpu=70)),
    Cell("liresnet", "liresnet_torch", dict(cpu=60, gpu=55)),
    Cell("train_step", "train_torch", dict(cpu=45, gpu=60)),
    Cell("sampler", "sampler_torch", dict(cpu=35, gpu=60)),
    Cell("diffusion_classifier", "diffusion_classifier_torch", dict(cpu=47, gpu=45)),
    Cell("input", None, dict(cpu=20, gpu=30)),
)


def relative_error(a: np.ndarray, b: np.ndarray) -> float:
    """max |a - b| / max |b|; inf where shapes differ or a value is not finite."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if a.shape != b.shape or not (np.isfinite(a).all() and np.isfinite(b).all()):
        return float("inf")
    return float(np.abs(a - b).max() / max(np.abs(b).max(), 1e-30))
