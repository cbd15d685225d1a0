"""Compiles the programs of a campaign for an H200, to see before there is one that they
compile.

python -m benchmarks.compiled.campaign [NAME ...]

NAME is a cell and the number of a row, such as smoothing.0; without names all are compiled,
each by a process of its own. Needs what benchmarks.compiled needs, and no GPU.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import Any
from unittest import mock

from benchmarks import processes
from benchmarks.compiled import target
from benchmarks.suite import PLAN, Cell, Row, label
from jaxcert.errors import InputError


def programs() -> dict[str, tuple[Cell, Row]]:
    """Return, by NAME, cell and row of the GPU's rows that have a program."""
    return {
        f"{cell.name}.{i}": (cell, row)
        for cell in PLAN
        if cell.name != "input"  # gathers of the loader, many small ones
        for i, row in enumerate(cell.module().rows("gpu", False))
    }


def lower(name: str) -> Any:
    """Return the program of a row with its arguments on an H200. Nothing of the row
    runs, and what it computes beforehand runs on the CPU."""
    cell, row = programs()[name]
    on_device = dict(
        data_mesh=lambda: target.mesh(1), replicate=lambda tree, mesh: target.on(tree)
    )
    with target.as_gpu(), mock.patch.multiple("jaxcert.sharding", **on_device):
        program = cell.module().jaxcert(row, "gpu").program()
        return program.jitted.lower(*target.on(program.args), **program.static)


def main(names: list[str]) -> int:
    target.check()
    known = programs()
    unknown = [name for name in names if name not in known]
    if unknown:
        raise InputError(
            f"no row is called {unknown[0]!r}; there are {', '.join(known)}."
        )
    failed = 0
    for name in names or known:
        started = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-m", __spec__.name, "--here", name],
            cwd=processes.ROOT,
            env=os.environ | target.ENVIRONMENT,
            capture_output=True,
            text=True,
        )
        lines = done.stderr.strip().splitlines() or [f"ended with {done.returncode}"]
        said = next((line for line in lines[::-1] if "Error" in line), lines[-1])
        state = "ok" if done.returncode == 0 else f"failed: {said[:300]}"
        failed += done.returncode != 0
        seconds = time.monotonic() - started
        print(f"{name} {label(*known[name])}: {state} {seconds:.0f} s", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--here"]:
        with target.as_gpu():
            lower(sys.argv[2]).compile()
        sys.exit()
    try:
        sys.exit(main(sys.argv[1:]))
    except InputError as error:
        sys.exit(f"error: {error}")
