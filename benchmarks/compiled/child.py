"""Compile one program and write its row: `python -m benchmarks.compiled.child NAME FILE`.

A process of its own, started by `__main__` with `target.ENVIRONMENT`: a compiler that fails
or crashes takes nothing else with it.
"""

from __future__ import annotations

import faulthandler
import json
import re
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from benchmarks.compiled import count, hlo, products, programs, target

_LINE = re.compile(
    r'(?:[\w.\-]+/)*((?:jaxcert|benchmarks)/(?:\w+/)*\w+\.py)(?:", line |"?:)(\d+)'
)
"""A line of the repository, as Python, `File "x/jaxcert/y.py", line 3`, or XLA,
`"x/jaxcert/y.py":3:8`, names it."""


def row(name: str, *, keep: Path | None = None) -> dict[str, Any]:
    """Return the row of a program that compiles. keep: a file for the compiled text."""
    program, devices = programs.find(name)
    started = time.process_time()
    with target.as_gpu():
        built = program.build(devices)
        lowered = time.process_time()
        compiled = built.lowered.compile()
    spent = time.process_time() - lowered
    text = compiled.as_text()
    if keep:
        keep.write_text(text)
    counted = count.count(hlo.read(text), program.loops)
    memory = compiled.memory_analysis()
    once = memory.argument_size_in_bytes + memory.output_size_in_bytes
    found = count.summary(counted)
    floor = built.floor_bytes
    return dict(
        program=name,
        what=program.what,
        devices=devices,
        shape=built.shape,
        status="ok",
        unit=program.unit,
        items=built.items,
        kernels=found.pop("kernels"),
        bytes=found["bytes"],
        bytes_per_item=found.pop("bytes") / built.items,
        floor_bytes=once if floor is None else floor,
        floor="arguments and results" if floor is None else "benchmarks/floors.py",
        slower_flops=slower(found["flops"], program.unit),
        temp_bytes=memory.temp_size_in_bytes,
        argument_bytes=memory.argument_size_in_bytes,
        compile_cpu_s=spent,
        lower_cpu_s=lowered - started,
        **found,
    )


def slower(flops: dict[str, float], unit: str) -> float:
    """Return the FLOPs of products in units slower than the one they are meant for."""
    units = products.UNITS[products.UNITS.index(unit) + 1 :]
    return sum(flops.get(u, 0) for u in units)


def failed(name: str, error: BaseException) -> dict[str, Any]:
    """Return the row of a program that does not compile: the message, and the line that
    asked for it."""
    told = str(error).strip().splitlines() or [""]
    said = f"{type(error).__name__}: {told[0][:300]}"
    trace = "".join(traceback.format_exception(error))
    where = getattr(error, "source", "") or last_line(trace)
    return dict(program=name, status=f"failed: {said}", source=where)


def last_line(text: str, *, innermost_first: bool = False) -> str:
    """Return the innermost line of the library that a traceback, or a message of XLA,
    names: `jaxcert/ops/conv.py:103`; of this package if there is none."""
    lines = _LINE.findall(text)
    if innermost_first:
        lines = lines[::-1]
    ours = [line for line in lines if line[0].startswith("jaxcert/")] or lines
    return ":".join(ours[-1]) if ours else ""


def main(name: str, file: str) -> None:
    faulthandler.enable()
    out = Path(file)
    try:
        found = row(name, keep=out.with_suffix(".hlo"))
    except Exception as error:
        traceback.print_exc()
        found = failed(name, error)
    out.write_text(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
