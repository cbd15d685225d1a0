"""The same version twice, in two processes: a ratio other than 1 comes from the
machine."""

from __future__ import annotations

from benchmarks import orthogonal_conv
from benchmarks.suite import Job, Row


def rows(device: str, tiny: bool) -> list[Row]:
    size = dict(channels=4, side=4, batch=2)
    if not tiny:
        size = dict(channels=64, side=16, batch=64)
    shape = {**size, "pass": "forward"}
    sides = ("jaxcert", "jaxcert-again")
    return [Row("A/A", shape, "float32", tolerance=dict(y=1e-12), sides=sides)]


def jaxcert(row: Row, device: str) -> Job:
    return orthogonal_conv.jaxcert(row, device)
