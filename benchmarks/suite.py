"""What a cell consists of, and the plan of a run: cells by value, each with a time box on a CPU."""

from __future__ import annotations

import importlib
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
    """for each output the greatest max |a - b| / max |b|; a greater error voids the row"""
    flops: float = 0.0
    bytes: float = 0.0
    rate: str = "float32"
    """the peak of floors.Ceilings that the FLOPs are measured by"""
    items: float = 0.0
    """the images, samples or dispatches per call, for items per second"""
    sides: tuple[str, ...] = SIDES
    warm: tuple[str, ...] = SIDES[:1]
    """the sides that compile for long, which a campaign does before"""


class Program(NamedTuple):
    """A jitted function and what a job calls it with."""

    jitted: Any
    args: tuple
    static: dict[str, Any] = {}
    loops: int = 1
    """how often the loop whose length is an argument runs; 0: that depends on values"""


class Job(NamedTuple):
    """A workload built on one side."""

    run: Callable[[], Any]
    """runs the workload once and waits for its result"""
    output: Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]] | None = None
    """reference -> outputs to compare. The reference is what jaxcert's side returned
    ({} on that side itself); its keys that start with `input_` are inputs."""
    program: Callable[[], Program] | None = None
    """what jaxcert's side compiles for `run`, if that takes long; nothing is run"""


class Cell(NamedTuple):
    name: str
    """a file here, or the name of a module"""
    peers: str | None
    """file in peers/"""
    box: float
    """seconds of a run on a CPU; the cell is cut there"""

    def module(self):
        return importlib.import_module(
            self.name if "." in self.name else f"benchmarks.{self.name}"
        )


def label(cell: Cell, row: Row) -> str:
    """Return the name of a row, in results and where a row is skipped."""
    sizes = " ".join(f"{k}={v}" for k, v in row.shape.items())
    return f"{cell.name}: {row.workload} {sizes} {row.dtype}"


def first_call(module: Any, name: str, run: Callable[[], Any]) -> Program:
    """Return the arguments of the first call of the jitted function `module.name` by
    `run`; that call and what follows are not made."""

    class Called(Exception):
        pass

    def note(*args, **static):
        raise Called(args, static)

    jitted = getattr(module, name)
    setattr(module, name, note)
    try:
        run()
    except Called as call:
        return Program(jitted, *call.args)
    finally:
        setattr(module, name, jitted)
    raise AssertionError(f"{name} was not called")


PLAN = (
    Cell("micro", None, 25),
    Cell("aa", None, 25),
    Cell("smoothing", "smoothing_torch", 80),
    Cell("norm_dist", "norm_dist_torch", 85),
    Cell("orthogonal_conv", "lot_torch", 118),
    Cell("liresnet", "liresnet_torch", 60),
    Cell("train_step", "train_torch", 45),
    Cell("sampler", "sampler_torch", 35),
    Cell("diffusion_classifier", "diffusion_classifier_torch", 47),
    Cell("input", None, 20),
)


def relative_error(a: np.ndarray, b: np.ndarray) -> float:
    """Return max |a - b| / max |b|; inf where shapes differ or a value is not finite."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if a.shape != b.shape or not (np.isfinite(a).all() and np.isfinite(b).all()):
        return float("inf")
    return float(np.abs(a - b).max() / max(np.abs(b).max(), 1e-30))
