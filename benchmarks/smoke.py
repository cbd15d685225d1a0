"""The checks with which a campaign begins: what is timed must be right.

CHECKS: name -> function(tiny) -> {output: dict(error, tolerance)}; the names need no jax.
"""

from __future__ import annotations

import functools
import importlib
from typing import Any

import numpy as np

from benchmarks.suite import Row, relative_error

POWERS = ("inf", 8, 64.3)
SIZES = dict(
    small=dict(inputs=64, outputs=64, batch=64),
    layer=dict(inputs=5120, outputs=5120, batch=512),
)


def names(device: str) -> list[str]:
    """Return the names of the checks for a device; those of kernels need a GPU."""
    return [n for n in CHECKS if device == "gpu" or not n.startswith("kernels")]


def names_of(module: str, device: str) -> list[str]:
    return importlib.import_module(module).names(device)


def _kernels(shape: dict[str, Any], p: str | int | float, tiny: bool) -> dict[str, Any]:
    """Check forward pass and gradients of one layer, by the Mosaic kernels against XLA."""
    from benchmarks import norm_dist

    found = []
    for implementation in ("xla", "mosaic_gpu"):
        row = norm_dist.row_of(shape, p, "step", implementation)
        found.append(norm_dist.jaxcert(row, "gpu").output({}))
    return _errors(*found, row)


def _certify(tiny: bool) -> dict[str, Any]:
    """Check a thousand samples of one image, with the same noise, in bfloat16 against
    float32."""
    from benchmarks import smoothing

    depth, side, n = (8, 8, 20) if tiny else (110, 32, 1000)
    low, exact = (smoothing.row_of(depth, side, n, d) for d in ("bfloat16", "float32"))
    found = [smoothing.jaxcert(row, "").output({}) for row in (exact, low)]
    return _errors(*found, low)


def _errors(exact, found, row: Row) -> dict[str, Any]:
    """Return the errors of the row's outputs; JSON has no infinity."""
    return {
        name: dict(
            error=min(relative_error(np.asarray(found[name]), exact[name]), 1e30),
            tolerance=tolerance,
        )
        for name, tolerance in row.tolerance.items()
    }


CHECKS = {"CERTIFY ResNet in bfloat16": _certify} | {
    f"kernels p={p} {size}": functools.partial(_kernels, shape, p)
    for size, shape in SIZES.items()
    for p in POWERS
}
