"""Run the benchmark suite on a CPU: one table, one JSON file.

python -m benchmarks.run --budget 540 --out FILE

Cells run in the order of their value, each within its time box; one that overruns is
ended, marked, and the next one starts. FILE is rewritten after every stage of a row, so
an interrupted run leaves a valid file. All sides are pinned to one core. The run is
void if the same version timed twice differs by more than 3% in the median, or the
machine is loaded; it is written all the same. On a GPU: benchmarks.campaign.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks import floors, measure, processes, table
from benchmarks.processes import Failed, Overrun, Worker
from benchmarks.suite import PLAN, Cell, Row, label

VOID_STATUS = 3
_SAME_LIBRARY = {"strong": "peer", "jaxcert-again": "jaxcert"}


def main(argv: list[str] | None = None) -> int:
    options = _options(argv)
    result = run(
        cells=options.cells.split(",") if options.cells else [c.name for c in PLAN],
        budget=options.budget,
        out=Path(options.out).resolve(),
        tiny=options.tiny,
    )
    print("\n" + table.text(result))
    print(f"\nwritten: {options.out}")
    if result["void"]:
        print(f"this run is VOID and must not be quoted: {result['void']}")
        return VOID_STATUS
    return 1 if faults(result) else 0


def run(
    *, cells: list[str], budget: float, out: Path, tiny: bool = False
) -> dict[str, Any]:
    """Run the named cells for at most `budget` seconds, and return the JSON that `out`
    holds."""
    end = time.monotonic() + budget
    out.parent.mkdir(parents=True, exist_ok=True)
    folder = out.parent / f"{out.stem}.work"
    folder.mkdir(exist_ok=True)
    result = header("cpu", tiny=tiny) | dict(budget=budget)
    team = Team("cpu", folder, tiny=tiny)
    chosen = set(cells) if tiny else {*cells, "aa"}
    try:
        for cell in (c for c in PLAN if c.name in chosen):
            if not tiny:
                team.stop()  # fresh processes, so that peak memory is the cell's own
            deadline = min(end, time.monotonic() + cell.box)
            _cell(cell, result, team, deadline=deadline, out=out)
    finally:
        team.stop()
    result["void"] = "" if tiny else void(result)
    write(result, out)
    if not faults(result):
        shutil.rmtree(folder)  # the workers' logs
    return result


class Team:
    """Running workers by side; the only state of a run besides its result.

    In a tiny run, where no time counts, sides of one library share a process.
    """

    def __init__(
        self, device: str, folder: Path, *, tiny: bool, cache: Path | None = None
    ):
        self.device, self.folder, self.tiny = device, folder, tiny
        self.cache = cache
        pinned = device == "cpu" and not tiny
        self.core = max(os.sched_getaffinity(0)) if pinned else None
        self.workers: dict[str, Worker] = {}

    def get(
        self, sides: tuple[str, ...], result: dict[str, Any], *, deadline: float
    ) -> list[Worker]:
        """Return workers of these sides, started if need be; they import at the same
        time."""
        for side, worker in list(self.workers.items()):
            if worker.process.poll() is not None:
                processes.stop(self.workers.pop(side))
        new = [side for side in sides if side not in self.workers]
        for side in new:
            shared = _SAME_LIBRARY.get(side) if self.tiny else None
            if shared in self.workers:
                worker = self.workers[shared]._replace(side=side)
            else:
                worker = self.start(side)
            self.workers[side] = worker
            processes.send(worker, do="hello", device=self.device)
        for side in new:
            try:
                answer = processes.receive(self.workers[side], deadline=deadline)
            except Failed as error:
                if side.startswith("jaxcert"):
                    raise
                result["skipped"][side] = f"failed: {error}"
                continue
            result["versions"] |= answer["versions"]
            if side == "jaxcert":
                result["device_name"] = _device_name(self.device, answer["name"])
        failed = result["skipped"]
        return [self.workers[side] for side in sides if side not in failed]

    def start(self, side: str, number: int | None = None) -> Worker:
        """Start one more worker; a numbered one is for compiling and takes any core."""
        return processes.start(
            side,
            device=self.device,
            core=self.core if number is None else None,
            folder=self.folder,
            cache=self.cache,
        )

    def stop(self) -> None:
        for worker in self.workers.values():
            processes.stop(worker)
        self.workers.clear()


def _cell(
    cell: Cell, result: dict[str, Any], team: Team, *, deadline: float, out: Path
) -> None:
    rows = cell.module().rows("cpu", team.tiny)
    for left, row in zip(range(len(rows), 0, -1), rows, strict=True):
        started = time.monotonic()
        if started >= deadline:
            result["skipped"][label(cell, row)] = "no time left"
            write(result, out)
            continue
        soft = started + (deadline - started) / left
        attempt(cell, row, result, team, soft=soft, deadline=deadline, out=out)


def attempt(
    cell: Cell,
    row: Row,
    result: dict[str, Any],
    team: Team,
    *,
    soft: float,
    deadline: float,
    out: Path,
) -> None:
    """Measure a row into the last of result["rows"], or say in result["skipped"] why not.
    A team in which something failed or hung is ended, and the row says where."""
    place, name = len(result["rows"]), label(cell, row)

    def save(entry: dict[str, Any]) -> None:
        result["rows"][place:] = [entry]
        _against_need(result)
        result["load"] = max(result["load"], os.getloadavg()[0])
        write(result, out)

    started = time.monotonic()
    try:
        measure.row(
            row,
            team.get(sides(row), result, deadline=deadline),
            cell=cell,
            device=team.device,
            soft=soft,
            deadline=deadline,
            folder=team.folder,
            tiny=team.tiny,
            ceilings=ceilings(result),
            save=save,
        )
    except (Overrun, Failed) as error:
        team.stop()
        _mark(result, place, name, error)
        write(result, out)
    status = result["rows"][place]["status"] if place < len(result["rows"]) else ""
    print(f"{name}: {status} {time.monotonic() - started:.0f} s", flush=True)


def sides(row: Row) -> tuple[str, ...]:
    torch = importlib.util.find_spec("torch") is not None
    return tuple(s for s in row.sides if torch or s.startswith("jaxcert"))


def _mark(result: dict[str, Any], place: int, name: str, error: Exception) -> None:
    """Mark a row that did not finish: one that ran over its box stays `cut` and names
    the side that did not answer, and one that failed says why."""
    if isinstance(error, Overrun):
        if place < len(result["rows"]):
            result["rows"][place]["why"] = f"{error} did not answer and was ended"
        else:
            result["skipped"][name] = f"no time left: {error} did not start"
    elif place < len(result["rows"]):
        result["rows"][place]["status"] = f"failed: {error}"
    else:
        result["skipped"][name] = f"failed: {error}"


def faults(result: dict[str, Any]) -> list[str]:
    """Return what failed or computed something else; running out of time is not a
    fault."""
    states = [*(row["status"] for row in result["rows"]), *result["skipped"].values()]
    expected = ("ok", "cut", "no time left")
    return [s for s in states if not s.startswith(expected)]


def ceilings(result: dict[str, Any]) -> floors.Ceilings | None:
    """Return the ceilings: on a GPU those that this run measured, else the H200's; none
    on a CPU."""
    if result["device"] == "cpu":
        return None
    rates, bandwidth = dict(floors.H200.rates), floors.H200.bandwidth
    for row in result["rows"]:
        kind = row["shape"].get("ceiling")
        if kind == "copy" and "bytes_per_s" in row:
            bandwidth = row["bytes_per_s"]
        elif kind and "flops_per_s" in row:
            rates[kind] = row["flops_per_s"]
    return floors.Ceilings(rates, bandwidth)


def _against_need(result: dict[str, Any]) -> None:
    """Return the images per second of the input over those of the training step."""
    rates = {r["cell"]: r["items_per_s"] for r in result["rows"] if "items_per_s" in r}
    for row in result["rows"]:
        if row["cell"] == "input" and "items_per_s" in row and "train_step" in rates:
            row["over_need"] = row["items_per_s"] / rates["train_step"]


def void(result: dict[str, Any]) -> str:
    """Return why the run must not be quoted; "" if it may."""
    faults = []
    if result["device"] == "cpu" and result["load"] > result["cores"] + 1:
        faults.append(f"load average {result['load']:.1f} on {result['cores']} cores")
    twice = [
        row["ratio"] for row in result["rows"] if row["cell"] == "aa" and "ratio" in row
    ]
    if not twice:
        faults.append("the same version was not timed twice")
    for spread in (s for ratio in twice for s in ratio.values()):
        if abs(spread["median"] - 1) > 0.03:
            faults.append(f"the same version twice gave {spread['median']:.3f}")
    return "; ".join(faults)


def header(device: str, *, tiny: bool) -> dict[str, Any]:
    """Return a result without rows: what is run where, from which commit."""
    return dict(
        format="jaxcert-benchmarks-1",
        device=device,
        device_name="unknown",
        tiny=tiny,
        commit=_commit(),
        started=time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        cores=len(os.sched_getaffinity(0)),
        load=os.getloadavg()[0],
        versions={},
        flags=_flags(device),
        void="not finished",
        rows=[],
        skipped={},
    )


def _flags(device: str) -> str:
    if device == "gpu":
        return "defaults; jax without preallocation, at most 40% of the memory"
    return "one core, OMP_NUM_THREADS=1, --xla_cpu_multi_thread_eigen=false"


def _device_name(device: str, name: str) -> str:
    if device == "gpu":
        return name
    info = Path("/proc/cpuinfo")
    for line in info.read_text().splitlines() if info.exists() else []:
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return name


def _commit() -> str:
    def git(*words: str) -> str:
        return subprocess.run(
            ["git", *words], cwd=processes.ROOT, capture_output=True, text=True
        ).stdout.strip()

    try:
        changed = "+" if git("status", "--porcelain") else ""
        return (git("rev-parse", "--short", "HEAD") or "unknown") + changed
    except OSError:
        return "unknown"


def write(result: dict[str, Any], out: Path) -> None:
    """Write the result whole or not at all, whatever kills the run."""
    part = out.with_name(out.name + ".part")
    part.write_text(json.dumps(rounded(result), indent=1) + "\n")
    os.replace(part, out)


def rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, dict):
        return {k: rounded(v) for k, v in value.items()}
    return [rounded(v) for v in value] if isinstance(value, list) else value


def _options(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.run",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    names = ",".join(c.name for c in PLAN)
    parser.add_argument("--budget", type=float, default=540, help="seconds in all")
    parser.add_argument("--out", required=True, help="JSON file of the results")
    parser.add_argument(
        "--cells", default="", help=f"some of {names} (aa always runs); default all"
    )
    parser.add_argument(
        "--tiny",
        action="store_true",
        help="smallest sizes: are the outputs of all sides equal? Times mean nothing",
    )
    options = parser.parse_args(argv)
    if not 0 <= options.budget <= 7 * 24 * 3600:  # false for NaN
        parser.error(
            f"--budget must be 0 to 604800 seconds, a week, not {options.budget:g}"
        )
    try:
        Path(options.out).resolve().parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        parser.error(
            f"{options.out} cannot be written ({error.strerror}): name another --out"
        )
    unknown = set(filter(None, options.cells.split(","))) - set(names.split(","))
    if unknown:
        parser.error(f"no cell is called {sorted(unknown)[0]!r}; there are {names}")
    return options


if __name__ == "__main__":
    sys.exit(main())
