"""Measure one row: build, compare the outputs, time in turn, reduce to ratios.

Sides answer in turn and the order reverses every round, so slow drifts of the machine
meet all of them. A ratio is jaxcert's time over the peer's of the SAME round; the row
quotes the median over rounds: CPU seconds on a CPU (they hold on a loaded machine), wall
seconds on a GPU.
"""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import processes
from benchmarks.floors import Ceilings, seconds
from benchmarks.processes import Failed, Worker
from benchmarks.suite import Cell, Row, label, relative_error

ROUNDS = dict(cpu=(7, 11), gpu=(3, 10))
"""The number of rounds that a valid row has, and the most if there is time."""
SHORTEST = dict(cpu=0.3, gpu=0.2)
"""The least seconds of a timed stretch; faster jobs are repeated within it."""


def row(
    row: Row,
    workers: list[Worker],
    *,
    cell: Cell,
    device: str,
    soft: float,
    deadline: float,
    folder: Path,
    tiny: bool,
    ceilings: Ceilings | None,
    save: Callable[[dict[str, Any]], None],
) -> None:
    """Fill a result and `save` it after each stage, so that an interruption leaves what
    was done.

    The first worker is the reference. A peer that fails leaves the row without it; the
    reference's failure or an overrun is raised for the caller to mark. After `soft` only
    the rounds that a valid row needs are run, after `deadline` none.
    """
    result: dict[str, Any] = dict(
        cell=cell.name,
        label=label(cell, row),
        workload=row.workload,
        shape=row.shape,
        dtype=row.dtype,
        status="cut",
        sides={},
    )
    save(result)
    workers = _build(result, row, workers, cell, device=device, deadline=deadline)
    save(result)
    workers = _compare(result, row, workers, deadline=deadline, folder=folder)
    save(result)
    least, most = (2, 2) if tiny else ROUNDS[device]
    shortest = 0.0 if tiny else SHORTEST[device]
    ends = [deadline] * least + [soft] * (most - least)
    rounds = _rounds(workers, ends, device=device, shortest=shortest)
    _reduce(result, row, rounds, device=device, ceilings=ceilings)
    if result["status"] == "cut" and len(rounds["wall"]) >= least:
        result["status"] = "ok"
    save(result)


def _build(result, row, workers, cell, *, device, deadline) -> list[Worker]:
    built = []
    request = dict(do="build", cell=list(cell), row=row._asdict(), device=device)
    if device == "gpu":  # all at the same time, as there are cores for that
        for worker in workers:
            with contextlib.suppress(Failed):  # `receive` reports this
                processes.send(worker, **request)
    for worker in workers:
        sent = {} if device == "gpu" else request
        answer = _try(result, worker, workers[0], deadline, **sent)
        if answer:
            result["sides"][worker.side] = dict(compile_s=answer["compile_s"])
            built.append(worker)
    return built


def _compare(result, row, workers, *, deadline, folder) -> list[Worker]:
    """Compare the outputs of every side with the reference's; a mismatch voids the row."""
    files: list[Path] = []
    agreement, kept = {}, []
    for worker in workers:
        reference = str(files[0]) if files else ""
        file = folder / f"output-{worker.side}.npz"
        request = dict(do="output", reference=reference, to=str(file))
        answer = _try(result, worker, workers[0], deadline, **request)
        if not answer:
            continue
        kept.append(worker)
        if not answer["names"]:
            return workers
        files.append(file)
        if reference:
            agreement[worker.side] = _errors(files[0], file, row.tolerance)
    for file in files:
        file.unlink()
    if agreement:
        result["agreement"] = agreement
    if not all(a["ok"] for a in agreement.values()):
        result["status"] = "mismatch"
    return kept


def _errors(reference: Path, file: Path, tolerance: dict[str, float]) -> dict[str, Any]:
    """Return the error that uses most of its tolerance."""
    with np.load(reference) as a, np.load(file) as b:
        errors = {name: relative_error(b[name], a[name]) for name in tolerance}
    worst = max(errors, key=lambda name: errors[name] / tolerance[name])
    error, allowed = min(errors[worst], 1e30), tolerance[worst]  # JSON has no infinity
    return dict(error=error, where=worst, tolerance=allowed, ok=error <= allowed)


def _rounds(workers, ends, *, device, shortest) -> dict[str, list[dict[str, float]]]:
    """Return wall, cpu and peak_bytes of every side, per round; round i begins only if
    it is likely to end by ends[i]."""
    rounds: dict[str, list[dict[str, float]]] = dict(wall=[], cpu=[], peak_bytes=[])

    def timed(worker: Worker, times: int) -> dict[str, float]:
        request = dict(do="time", times=times, device=device)
        return processes.ask(worker, deadline=ends[0], **request)

    once = {w.side: timed(w, 1)["wall"] for w in workers}
    times = {side: max(1, round(shortest / wall)) for side, wall in once.items()}
    expected = sum(times[side] * wall for side, wall in once.items())
    for number, end in enumerate(ends):
        start = time.monotonic()
        if start + 1.3 * expected > end:
            break
        order = workers if number % 2 == 0 else workers[::-1]
        answers = {w.side: timed(w, times[w.side]) for w in order}
        for name, values in rounds.items():
            values.append({side: a[name] for side, a in answers.items()})
        expected = time.monotonic() - start
    return rounds


def _reduce(result, row, rounds, *, device, ceilings) -> None:
    result["rounds"] = len(rounds["wall"])
    if not rounds["wall"]:
        return
    sides = list(rounds["wall"][0])
    first = sides[0] if "jaxcert" not in sides else "jaxcert"
    for side in sides:
        entry = result["sides"].setdefault(side, {})
        for clock in ("wall", "cpu"):
            entry[clock] = _spread([r[side] for r in rounds[clock]])
        entry["peak_bytes"] = max(int(r[side]) for r in rounds["peak_bytes"])
    others = [side for side in sides if side != first]
    wall = {s: _ratio(rounds["wall"], first, s) for s in others}
    cpu = {s: _ratio(rounds["cpu"], first, s) for s in others}
    if others:
        result["ratio"] = cpu if device == "cpu" else wall
        result["wall_ratio"] = wall
        result["loaded"] = device == "cpu" and any(
            abs(wall[s]["median"] / cpu[s]["median"] - 1) > 0.1 for s in others
        )
    median = result["sides"][first]["wall"]["median"]
    if row.items:
        result["items_per_s"] = row.items / median
    if row.flops:
        result["flops_per_s"] = row.flops / median
    if row.bytes:
        result["bytes_per_s"] = row.bytes / median
    if ceilings and (row.flops or row.bytes):
        floor = seconds(row.flops, row.bytes, ceilings, rate=row.rate)
        result["floor"] = dict(seconds=floor, fraction=floor / median)


def _ratio(rounds, a: str, b: str) -> dict[str, float]:
    return _spread([r[a] / max(r[b], 1e-9) for r in rounds])


def _spread(values: list[float]) -> dict[str, float]:
    return dict(median=statistics.median(values), min=min(values), max=max(values))


def _try(result, worker, first, deadline, **request) -> dict[str, Any] | None:
    """Ask a worker, note the failure of a peer and raise that of the reference. Without
    a request it was sent before."""
    try:
        if request:
            processes.send(worker, **request)
        return processes.receive(worker, deadline=deadline)
    except Failed as error:
        if worker is first:
            raise
        result["sides"].setdefault(worker.side, {})["error"] = str(error)
        return None
