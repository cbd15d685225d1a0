"""Cells and checks that cost nothing, for tests of the campaign: they need no jax.

What a row does is its workload: `works`, `fails`, `hangs`, `hangs once`, or `compiles` for as
long as its shape says. Every attempt leaves a file beside those of the shape's folder.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from types import SimpleNamespace

from benchmarks.suite import Job, Program, Row

ROWS: list[tuple[str, dict]] = []
FOREVER = 1000


def rows(device, tiny):
    folder = os.environ["FAKE_FOLDER"]
    words = os.environ["FAKE_ROWS"].split(",")
    shapes = [dict(folder=folder, number=i) for i in range(len(words))]
    return [
        Row(word, shape, "float32", sides=("jaxcert",))
        for word, shape in zip(words, shapes, strict=True)
    ]


def jaxcert(row, device):
    name = row.workload.replace(" ", "-")

    def attempt(what):
        folder = Path(row.shape["folder"])
        number = len(list(folder.glob(f"{what}-{row.shape['number']}-*")))
        (folder / f"{what}-{row.shape['number']}-{number}-{name}").touch()
        return number

    def run():
        number = attempt("run")
        if name == "fails":
            raise ValueError("planted in a row")
        if name == "hangs" or (name == "hangs-once" and number == 0):
            time.sleep(FOREVER)
        if name == "kills-itself":
            os._exit(9)

    def compile():
        attempt("compile")
        cache = Path(os.environ["JAX_COMPILATION_CACHE_DIR"])
        cache.mkdir(parents=True, exist_ok=True)
        (cache / name).touch()
        if name == "compiles-long":
            time.sleep(FOREVER)

    lowered = SimpleNamespace(compile=compile)
    jitted = SimpleNamespace(lower=lambda: lowered)
    return Job(run, program=lambda: Program(jitted, ()))


def names(device):
    return os.environ.get("FAKE_CHECKS", "right").split(",")


CHECKS = {
    "right": lambda tiny: dict(y=dict(error=1e-6, tolerance=1e-5)),
    "wrong": lambda tiny: dict(y=dict(error=1e-4, tolerance=1e-5)),
    "crashes": lambda tiny: 1 / 0,
}
