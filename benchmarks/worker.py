"""A process that runs one side of a comparison: `python -m benchmarks.worker`.

Reads a JSON request per line and answers with a JSON line: `hello`, `build`, `output`,
`time`, and for a campaign `warm` and `smoke`. Anything a library prints goes to stderr,
so answers stay readable. It ends with the process that started it, whatever it is
doing.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import json
import os
import resource
import signal
import sys
import time
import traceback
from typing import Any

import numpy as np

from benchmarks.suite import Cell, Job, Row


def main() -> None:
    _end_with_parent()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    jobs: dict[str, Job] = {}
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = _ACTIONS[request.pop("do")](jobs, **request)
        except Exception as error:  # the parent must be told of any error
            traceback.print_exc()
            answer = {"error": f"{type(error).__name__}: {error}"[:300]}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def _end_with_parent() -> None:
    """End this process with its parent (on Linux), because a worker that is left behind
    would hold the device and a core."""
    parent_death = 1  # PR_SET_PDEATHSIG
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(parent_death, signal.SIGKILL)


def _hello(jobs: dict[str, Job], *, side: str, device: str) -> dict[str, Any]:
    """Start the library, and return its versions and the device that it sees."""
    if side.startswith("jaxcert"):
        import flax
        import jax

        found = jax.devices()[0]
        if device == "gpu" and found.platform != "gpu":
            raise RuntimeError(f"jax sees no GPU but {found.platform}")
        name, versions = found.device_kind, dict(jax=jax.__version__)
        versions["flax"] = flax.__version__
    else:
        import torch

        name, versions = "cpu", dict(torch=torch.__version__)
        if device == "gpu":
            name = torch.cuda.get_device_name()
            versions["cudnn"] = str(torch.backends.cudnn.version())
        else:
            torch.set_num_threads(1)
    versions |= dict(python=sys.version.split()[0], numpy=np.__version__)
    return dict(name=name, versions=versions)


def _build(
    jobs: dict[str, Job], *, side: str, cell: list, row: dict[str, Any], device: str
) -> dict[str, Any]:
    """Build a job and run it once: compilation and the first call."""
    jobs.pop(side, None)
    _free(side, device)
    start = time.perf_counter()
    jobs[side] = _job(side, cell, row, device)
    jobs[side].run()
    return dict(compile_s=time.perf_counter() - start)


def _warm(
    jobs: dict[str, Job], *, side: str, cell: list, row: dict[str, Any], device: str
) -> dict[str, float]:
    """Compile what a job needs into the persistent caches. On jaxcert's side nothing of
    it runs; elsewhere it runs once. Return the seconds before compilation, and of
    compilation."""
    start = time.perf_counter()
    job = _job(side, cell, row, device)
    if not side.startswith("jaxcert"):
        job.run()
        return dict(trace_s=0.0, compile_s=time.perf_counter() - start)
    lowered = None
    if job.program:
        program = job.program()
        lowered = program.jitted.lower(*program.args, **program.static)
    middle = time.perf_counter()
    if lowered:
        lowered.compile()
    return dict(trace_s=middle - start, compile_s=time.perf_counter() - middle)


def _smoke(
    jobs: dict[str, Job], *, side: str, module: str, check: str, tiny: bool
) -> dict[str, Any]:
    """Return what a check of `module.CHECKS` finds: error and tolerance by name."""
    return dict(errors=importlib.import_module(module).CHECKS[check](tiny))


def _job(side: str, cell: list, row: dict[str, Any], device: str) -> Job:
    whole = Cell(*cell)
    if side.startswith("jaxcert"):
        module, name = whole.module(), "jaxcert"
    else:
        module = importlib.import_module(f"benchmarks.peers.{whole.peers}")
        name = side
    return getattr(module, name)(Row(**row), device)


def _free(side: str, device: str) -> None:
    """Free what the previous job held, because other processes share the device's
    memory."""
    gc.collect()
    if device == "gpu" and not side.startswith("jaxcert"):
        import torch

        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def _output(
    jobs: dict[str, Job], *, side: str, reference: str, to: str
) -> dict[str, list[str]]:
    """Write the arrays to compare to an npz file."""
    if jobs[side].output is None:
        return dict(names=[])
    known: dict[str, np.ndarray] = {}
    if reference:
        with np.load(reference) as file:
            known = {name: file[name] for name in file.files}
    arrays = jobs[side].output(known)
    np.savez(to, **arrays)
    return dict(names=list(arrays))


def _time(
    jobs: dict[str, Job], *, side: str, times: int, device: str
) -> dict[str, float]:
    run = jobs[side].run
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(times):
        run()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return dict(wall=wall / times, cpu=cpu / times, peak_bytes=_peak(side, device))


def _peak(side: str, device: str) -> int:
    """Return the peak of device memory of this process; on a CPU that of its resident
    set."""
    if device == "cpu":
        return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if side.startswith("jaxcert"):
        import jax

        return int((jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use", 0))
    import torch

    return int(torch.cuda.max_memory_allocated())


_ACTIONS = dict(
    hello=_hello, build=_build, output=_output, time=_time, warm=_warm, smoke=_smoke
)

if __name__ == "__main__":
    main()
