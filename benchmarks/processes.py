"""Worker processes: start, ask with a deadline, end by their own id."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[1]


class Overrun(Exception):
    """The deadline passed before the answer came."""


class Failed(Exception):
    """The worker answered with an error, or died."""


class Worker(NamedTuple):
    side: str
    process: subprocess.Popen
    buffer: bytearray


def start(
    side: str,
    *,
    device: str,
    core: int | None,
    folder: Path,
    cache: Path | None = None,
) -> Worker:
    """Start one side in a process, on a CPU pinned to `core`, if any, and
    single-threaded.

    side: peer, strong, or anything that begins with jaxcert. folder: where its log
    goes. cache: the folder that keeps compiled programs.
    """
    env = {**os.environ, "PYTHONPATH": _path()}
    if device == "cpu":
        env |= dict(
            JAX_PLATFORMS="cpu",
            CUDA_VISIBLE_DEVICES="",
            OMP_NUM_THREADS="1",
            MKL_NUM_THREADS="1",
            OPENBLAS_NUM_THREADS="1",
            XLA_FLAGS="--xla_cpu_multi_thread_eigen=false",
        )
    else:
        env |= dict(
            JAX_PLATFORMS="cuda,cpu",
            XLA_PYTHON_CLIENT_PREALLOCATE="false",
            XLA_PYTHON_CLIENT_MEM_FRACTION=".4",
        )
    if cache is not None:
        env |= dict(
            JAX_COMPILATION_CACHE_DIR=str(cache / "jax"),
            JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS="0",
            JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES="-1",
            TORCHINDUCTOR_CACHE_DIR=str(cache / "inductor"),
            TRITON_CACHE_DIR=str(cache / "triton"),
            TORCH_EXTENSIONS_DIR=str(cache / "extensions"),
        )
    with open(folder / f"{side}.log", "ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env=env,
            cwd=ROOT,
            bufsize=0,
            start_new_session=True,
        )
    if core is not None:  # before its first import, because threads inherit it
        os.sched_setaffinity(process.pid, {core})
    return Worker(side, process, bytearray())


def send(worker: Worker, **request: Any) -> None:
    try:
        line = json.dumps(dict(side=worker.side, **request)) + "\n"
        worker.process.stdin.write(line.encode())
    except BrokenPipeError:
        raise Failed(f"{worker.side} ended") from None


def receive(worker: Worker, *, deadline: float) -> dict[str, Any]:
    """Return the next answer. Raises Overrun at `deadline` (of time.monotonic), or
    Failed."""
    fd = worker.process.stdout.fileno()
    while b"\n" not in worker.buffer:
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([fd], [], [], left)[0]:
            raise Overrun(worker.side)
        data = os.read(fd, 1 << 16)
        if not data:
            raise Failed(f"{worker.side} ended with {worker.process.wait()}")
        worker.buffer.extend(data)
    line, _, rest = bytes(worker.buffer).partition(b"\n")
    worker.buffer[:] = rest
    answer = json.loads(line)
    if "error" in answer:
        raise Failed(f"{worker.side}: {answer['error']}")
    return answer


def ask(worker: Worker, *, deadline: float, **request: Any) -> dict[str, Any]:
    send(worker, **request)
    return receive(worker, deadline=deadline)


def stop(worker: Worker) -> None:
    """End the worker and what it started (loader processes share its session)."""
    if (
        worker.process.poll() is None
    ):  # otherwise its id may belong to another process by now
        os.killpg(worker.process.pid, signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):  # it is stuck in a driver
            worker.process.wait(timeout=2)
    worker.process.stdin.close()
    worker.process.stdout.close()


class Task(NamedTuple):
    """A request that any worker of a side can answer."""

    key: str
    side: str
    request: dict[str, Any]


def each(
    tasks: list[Task],
    *,
    start: Callable[[str, int], Worker],
    count: int,
    deadline: float,
    done: Callable[[str, dict[str, Any] | Exception], None],
) -> None:
    """Collect the answers of tasks, which `count` workers begin in their order at the
    same time.

    start: maps (side, number of a worker) to a Worker. done: called with the key and
    the answer, or the reason why there is none: Failed, or at the deadline Overrun,
    also for tasks that were not begun.
    """
    waiting, busy, idle = list(tasks), {}, []
    free = list(range(count))

    def leave(worker: Worker) -> None:
        stop(worker)
        free.append(busy.pop(worker.process.pid)[2])

    try:
        while waiting or busy:
            left = deadline - time.monotonic()
            if left <= 0:
                break
            while waiting and free:
                task, number = waiting.pop(0), free.pop(0)
                same = [w for w in idle if w.side == task.side]
                worker = same[0] if same else start(task.side, number)
                idle = [w for w in idle if w is not worker]
                busy[worker.process.pid] = worker, task, number
                with contextlib.suppress(Failed):  # `receive` reports the failure
                    send(worker, **task.request)
            workers = {w.process.stdout.fileno(): w for w, _, _ in busy.values()}
            for fd in select.select(list(workers), [], [], left)[0]:
                worker = workers[fd]
                key = busy[worker.process.pid][1].key
                try:
                    answer = receive(worker, deadline=deadline)
                except (Failed, Overrun) as error:
                    done(key, error)
                    leave(worker)
                    continue
                done(key, answer)
                free.append(busy.pop(worker.process.pid)[2])
                idle.append(worker)
        for key in [t.key for _, t, _ in busy.values()] + [t.key for t in waiting]:
            done(key, Overrun(key))
    finally:
        for worker in [*idle, *(w for w, _, _ in busy.values())]:
            stop(worker)


def _path() -> str:
    old = os.environ.get("PYTHONPATH")
    return f"{ROOT}{os.pathsep}{old}" if old else str(ROOT)
