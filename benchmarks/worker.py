"""A process that runs one side of a comparison: `python -m benchmarks.worker`.

Reads a JSON request per line and answers with a JSON line: `hello`, `build`, `output`,
`time`. Anything a library prints goes to stderr, so answers stay readable.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import sys
import time
import traceback
from typing import Any

import numpy as np

from benchmarks.suite import PLAN, Job, Row


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    jobs: dict[str, Job] = {}
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = _ACTIONS[request.pop("do")](jobs, **request)
        except Exception as error:  # the parent must hear of it, whatever it is
            traceback.print_exc()
            answer = {"error": f"{type(error).__name__}: {error}"[:300]}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def _hello(jobs: dict[str, Job], *, side: str, device: str) -> dict[str, Any]:
    """Start the library; its versions and the device it sees."""
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
    jobs: dict[str, Job], *, side: str, cell: str, row: dict[str, Any], device: str
) -> dict[str, Any]:
    """Build a job and run it once: compilation and the first call."""
    jobs.pop(side, None)
    start = time.perf_counter()
    if side.startswith("jaxcert"):
        make = importlib.import_module(f"benchmarks.{cell}").jaxcert
    else:
        peers = next(c.peers for c in PLAN if c.name == cell)
        make = getattr(importlib.import_module(f"benchmarks.peers.{peers}"), side)
    jobs[side] = make(Row(**row), device)
    jobs[side].run()
    return dict(compile_s=time.perf_counter() - start)


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
    """Device memory at its highest, of this process; on a CPU its resident set."""
    if device == "cpu":
        return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if side.startswith("jaxcert"):
        import jax

        return int((jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use", 0))
    import torch

    return int(torch.cuda.max_memory_allocated())


_ACTIONS = dict(hello=_hello, build=_build, output=_output, time=_time)

if __name__ == "__main__":
    main()
