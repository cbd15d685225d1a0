"""One campaign on a GPU that is there for minutes: smoke, warm, timings, results.

    python -m benchmarks.campaign --minutes 9 --out FOLDER

1. smoke, 60 s at most: every Mosaic kernel of the distances against XLA, CERTIFY in
   bfloat16 against float32. Where numbers are wrong the campaign ends and says so.
2. warm, until half of the time: processes only compile the programs of the rows, those
   that take longest first, into a compilation cache in FOLDER. They run nothing.
3. timings: the rows of benchmarks.suite in the order of their value, the first of every
   cell before the second of any, in turn with the peers in PyTorch where torch is there.
   A row that hangs is ended with its processes; one that fails says why; one for which
   the time left is too short is skipped by name.
4. results: FOLDER/DATE-DEVICE-campaign.json, rewritten after every row and small enough
   to be committed to benchmarks/results; FOLDER/autotuning.tar.gz, what XLA found out
   about its kernels. Where benchmarks/results has a compiled-h200.json, its estimates
   are given beside the measured times.

It ends within the minutes given, and needs no network, no data, neither grain nor
ml_collections nor orbax; without torch rows have no peers. Started again with the same
FOLDER it continues: finished rows are kept, then come those not begun, then those that
failed, and last those that hung. On a machine that copies this folder, runs one command
and returns the content of $OUT:

    python -m benchmarks.campaign --minutes 9 --out "$OUT"

and to go on there, with what it returned in `before/`:

    cp -r before/. "$OUT" && python -m benchmarks.campaign --minutes 9 --out "$OUT"

(Its `cache` folder may be missing, as it is large; autotuning.tar.gz then saves a part.)
`--device cpu --tiny` rehearses all of it on any machine; its times mean nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tarfile
import time
from itertools import zip_longest
from pathlib import Path
from typing import Any

from benchmarks import floors, processes, run, smoke, table
from benchmarks.processes import Failed, Overrun, Task
from benchmarks.suite import PLAN, Cell, Row, label

FORMAT = "jaxcert-campaign-1"
SMOKE_S, WARM_SHARE = 60, 0.48
"""The most seconds of the smoke test, and the share of the time for compilation."""
LAST_S = 6
"""Seconds for ending processes and writing files."""
ROW_S = dict(gpu=12, cpu=8)
"""Seconds that a compiled row should get, besides its tracing."""
HANGS_S = dict(gpu=50, cpu=60)
"""The most seconds of a compiled row; after that it counts as hanging."""
COMPILE_S = {
    "LOT training step": 150,
    "DDPM++ training step": 110,
    "Gaussian training": 60,
    "DDPM++ sampling": 60,
    "APNDC": 60,
    "GloRo training step": 50,
    "DDPM++": 40,
    "CERTIFY": 30,
}
"""CPU seconds of a compilation on an H200's machine, by the start of the workload's
name."""
OTHERS_S = 10
RESULTS = processes.ROOT / "benchmarks/results"
_DAY = 24 * 3600
COMPILED: dict[str, tuple[str, dict[str, Any], str]] = {
    "certify_resnet110": ("CERTIFY ResNet-110", {}, "bfloat16"),
    "certify_resnet110_float32": ("CERTIFY ResNet-110", {}, "float32"),
    "certify_resnet50": ("CERTIFY ResNet-50, torch.compile", {}, "bfloat16"),
    "train_gaussian": ("Gaussian training ResNet-110", {}, "bfloat16"),
    "train_lot_l": ("LOT training step", dict(blocks=8, width=32), "float32"),
    "train_liresnet_l": ("GloRo training step LiResNet", dict(depth=18), "float32"),
    "train_liresnet_s": ("GloRo training step LiResNet", dict(depth=12), "float32"),
    "evaluate_ddpmpp": ("DDPM++ evaluation", {}, "bfloat16"),
    "sample_ddpmpp": ("DDPM++ sampling, 18 steps", {}, "bfloat16"),
    "train_ddpmpp": ("DDPM++ training step alone", {}, "bfloat16"),
}
"""The rows that do the same for every image as a program of benchmarks.compiled:
workload, part of the shape, and dtype."""
_AUTOTUNING = "xla_gpu_per_fusion_autotune_cache_dir"
Rows = list[tuple[Cell, Row]]


def main(argv: list[str] | None = None) -> int:
    options = _options(argv)
    try:
        result = campaign(
            device=options.device,
            seconds=60 * options.minutes,
            folder=Path(options.out).resolve(),
            tiny=options.tiny,
        )
    except Failed as error:
        print(f"the campaign cannot start: {error}", file=sys.stderr)
        return 2
    except Overrun as error:
        minutes = f"--minutes {options.minutes:g}"
        print(f"{error} did not start within {minutes}: give more.", file=sys.stderr)
        return 2
    print("\n" + table.text(result))
    if result["void"]:
        print(f"these times are VOID and must not be quoted: {result['void']}")
    wrong = result["smoke"].get("wrong")
    if wrong:
        print(f"smoke: {wrong}. Nothing was timed.", file=sys.stderr)
    return 1 if wrong or run.faults(result) else 0


def campaign(
    *,
    device: str,
    seconds: float,
    folder: Path,
    tiny: bool,
    cells: tuple[Cell, ...] = PLAN,
    checks: str = "benchmarks.smoke",
) -> dict[str, Any]:
    """Run for at most `seconds`, and return the result that the folder holds.

    checks: a module with `names(device)` and CHECKS. Raises Failed if the device is
    missing, or the folder belongs to another campaign or cannot be written.
    """
    start = time.monotonic()
    end = start + seconds - LAST_S
    work, cache = folder / "work", folder / "cache"
    try:
        work.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        why = f"{folder} cannot be written ({error.strerror})"
        raise Failed(f"{why}: name another --out") from None
    out, result = _opened(folder, device, tiny)
    _unpack(folder / "autotuning.tar.gz", cache)
    rows = _rows(cells, device, tiny)
    team = run.Team(device, work, tiny=tiny, cache=cache)
    try:
        team.get(("jaxcert",), result, deadline=end)
        _smoke(result, team, checks, deadline=min(end, start + SMOKE_S))
        run.write(result, out)
        if not result["smoke"].get("wrong"):
            left = _order(rows, result)
            _warm(left, result, team, deadline=start + WARM_SHARE * seconds)
            run.write(result, out)
            left.sort(key=lambda pair: _cold(*pair, result))  # the compiled ones first
            _timings(left, rows, result, team, end=end, out=out)
            result["void"] = "" if tiny else run.void(result)
    except Failed as error:
        if device == "gpu" and not result["versions"]:
            raise Failed(
                f"there is no GPU that jax can use ({error}): rehearse with --device cpu "
                "--tiny, or install jaxcert[cuda13]."
            ) from None
        raise
    finally:
        team.stop()
        _pack(cache, folder / "autotuning.tar.gz")
    _annotate(result, rows)
    places = {label(*pair): place for place, pair in enumerate(rows)}
    result["rows"].sort(key=lambda row: places.get(row["label"], len(places)))
    run.write(result, out)
    print(f"\nwritten: {out}", flush=True)
    return result


def _rows(cells: tuple[Cell, ...], device: str, tiny: bool) -> Rows:
    """Return the rows by value: the first of every cell, then the second ones."""
    columns = [[(c, row) for row in c.module().rows(device, tiny)] for c in cells]
    return [pair for pairs in zip_longest(*columns) for pair in pairs if pair]


def _order(rows: Rows, result: dict[str, Any]) -> Rows:
    """Sort rows: those without a result, those that failed, and last those that hung."""
    states = {row["label"]: row["status"] for row in result["rows"]}
    failed = {name for name, why in result["skipped"].items() if "failed" in why}

    def rank(pair: tuple[Cell, Row]) -> int:
        name = label(*pair)
        if name in states:
            return 2 if states[name] == "cut" else 1
        return 1 if name in failed else 0

    finished = {name for name, state in states.items() if state in ("ok", "mismatch")}
    return sorted((pair for pair in rows if label(*pair) not in finished), key=rank)


def _smoke(
    result: dict[str, Any], team: run.Team, checks: str, *, deadline: float
) -> None:
    """Run the checks side by side. A check that ends with an error or not in time is
    reported and shown by its rows; wrong numbers end the campaign."""
    names = smoke.names_of(checks, team.device)
    before = result["smoke"].get("checks", {})
    found = {n: c for n, c in before.items() if n in names and c["status"] == "ok"}
    result["smoke"] = dict(checks=found)
    started = time.monotonic()

    def done(name: str, answer: dict[str, Any] | Exception) -> None:
        if isinstance(answer, Exception):
            late = isinstance(answer, Overrun)
            found[name] = dict(status="no time left" if late else f"failed: {answer}")
        else:
            errors = answer["errors"]
            wrong = any(e["error"] > e["tolerance"] for e in errors.values())
            found[name] = dict(status="wrong" if wrong else "ok", errors=errors)
        print(f"smoke: {name}: {found[name]['status']}", flush=True)

    request = dict(do="smoke", module=checks, tiny=team.tiny)
    tasks = [
        Task(n, "jaxcert-smoke", request | dict(check=n))
        for n in names
        if n not in found
    ]
    count = _count(team.device)
    processes.each(tasks, start=team.start, count=count, deadline=deadline, done=done)
    result["seconds"]["smoke"] += time.monotonic() - started
    wrong = [name for name, check in found.items() if check["status"] == "wrong"]
    if wrong:
        result["smoke"]["wrong"] = f"{', '.join(wrong)} computes something else"


def _warm(rows: Rows, result: dict[str, Any], team: run.Team, *, deadline: float):
    """Compile what the rows need, side by side, the longest first."""
    kept = result["warm"] if any(team.cache.glob("jax/*")) else {}
    warm = {name: entry for name, entry in kept.items() if entry["status"] == "ok"}
    result["warm"] = warm
    started = time.monotonic()

    def done(key: str, answer: dict[str, Any] | Exception) -> None:
        if isinstance(answer, Exception):
            late = isinstance(answer, Overrun)
            warm[key] = dict(status="no time left" if late else f"failed: {answer}")
        else:
            warm[key] = dict(status="ok", **answer)
        print(f"warm: {key}: {warm[key]['status']}", flush=True)

    tasks = []
    for cell, row in sorted(rows, key=lambda pair: -_compile_s(pair[1])):
        for side, key in _compiles(cell, row).items():
            if key not in warm:
                request = dict(cell=list(cell), row=row._asdict(), device=team.device)
                name = "jaxcert-warm" if side == "jaxcert" else side
                tasks.append(Task(key, name, dict(do="warm", **request)))
    count = _count(team.device)
    processes.each(tasks, start=team.start, count=count, deadline=deadline, done=done)
    result["seconds"]["warm"] += time.monotonic() - started


def _timings(
    left: Rows,
    rows: Rows,
    result: dict[str, Any],
    team: run.Team,
    *,
    end: float,
    out: Path,
) -> None:
    """Measure the remaining rows, as long as there is time for one."""
    started, device, result["skipped"] = time.monotonic(), team.device, {}
    for cell, row in left:
        name = label(cell, row)
        before = [r for r in result["rows"] if r["label"] == name]
        need, now = _need(cell, row, result, device), time.monotonic()
        if now + need > end:
            if not before:
                result["skipped"][name] = (
                    f"no time left: it needs about {need:.0f} s and there are "
                    f"{max(0, end - now):.0f} s"
                )
            print(f"{name}: skipped, needs about {need:.0f} s", flush=True)
            continue
        result["rows"] = [r for r in result["rows"] if r["label"] != name]
        try:  # a start after a row that hung does not count for this row
            team.get(run.sides(row), result, deadline=end)
        except (Failed, Overrun) as error:
            team.stop()
            late = isinstance(error, Overrun)
            why = "no time left" if late else "failed"
            result["skipped"][name] = f"{why}: its processes did not start ({error})"
            continue
        now = time.monotonic()
        run.attempt(
            cell,
            row,
            result,
            team,
            soft=now + need,
            deadline=min(end, now + need + HANGS_S[device]),
            out=out,
        )
        if time.monotonic() >= end:
            _interrupted(name, result)
        tries = 1 + sum(r.get("tries", 1) for r in before)
        for entry in result["rows"]:
            if entry["label"] == name:
                entry |= dict(tries=tries, commit=result["commit"])
        _annotate(result, rows)
        run.write(result, out)
    result["seconds"]["timings"] += time.monotonic() - started


def _interrupted(name: str, result: dict[str, Any]) -> None:
    """Treat a row that was running at the end as not begun, because it did not hang."""
    last = result["rows"][-1:]
    if last and last[0]["label"] == name and last[0]["status"] == "cut":
        result["rows"].pop()
        result["skipped"][name] = "no time left: it was begun and not over"


def _compiles(cell: Cell, row: Row) -> dict[str, str]:
    """Return, by side, the names of what is compiled before a row."""
    name = label(cell, row)
    return {side: f"{name} [{side}]" for side in run.sides(row) if side in row.warm}


def _cold(cell: Cell, row: Row, result: dict[str, Any]) -> bool:
    """Return whether something of a row is not compiled yet. Peers that do not compile
    are left out."""
    for side, name in _compiles(cell, row).items():
        status = result["warm"].get(name, {}).get("status", "")
        if status != "ok" and not (side != "jaxcert" and status.startswith("failed")):
            return True
    return False


def _need(cell: Cell, row: Row, result: dict[str, Any], device: str) -> float:
    """Return the seconds that a row needs, with tracing, which is done again."""
    names = _compiles(cell, row).values()
    again = sum(result["warm"].get(name, {}).get("trace_s", 0) for name in names)
    if result["tiny"]:
        return 1 + 1.5 * again
    cold = _compile_s(row) if _cold(cell, row, result) else 0
    return ROW_S[device] + 1.5 * again + cold


def _compile_s(row: Row) -> float:
    fits = (s for name, s in COMPILE_S.items() if row.workload.startswith(name))
    return next(fits, OTHERS_S)


def _count(device: str) -> int:
    """Return how many processes compile side by side."""
    cores = len(os.sched_getaffinity(0))
    return max(2, min(8, cores // 2 if device == "gpu" else cores))


def _annotate(result: dict[str, Any], rows: Rows) -> None:
    """Add floors by the ceilings measured so far, and estimates of compiled programs."""
    peaks, programs = run.ceilings(result), compiled(RESULTS)
    by_name = {label(*pair): pair[1] for pair in rows}
    for entry in result["rows"]:
        row, side = by_name.get(entry["label"]), entry["sides"].get("jaxcert", {})
        if row is None or "wall" not in side:
            continue
        median = side["wall"]["median"]
        if peaks and (row.flops or row.bytes):
            floor = floors.seconds(row.flops, row.bytes, peaks, rate=row.rate)
            entry["floor"] = dict(seconds=floor, fraction=floor / median)
        expected = estimate(row, programs) if result["device"] == "gpu" else None
        if expected:
            entry["estimate"] = dict(seconds=expected, ratio=median / expected)


def compiled(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the rows of the newest compiled-h200.json of the folder, by program."""
    files = sorted(folder.glob("*-compiled-h200.json"))
    rows = json.loads(files[-1].read_text())["rows"] if files else []
    return {row["program"]: row for row in rows if row.get("estimate_s")}


def estimate(row: Row, programs: dict[str, dict[str, Any]]) -> float | None:
    """Return the seconds of a row by the compiled program that does the same work."""
    names = (
        name
        for name, (workload, shape, dtype) in COMPILED.items()
        if (row.workload, row.dtype) == (workload, dtype)
        and shape.items() <= row.shape.items()
    )
    found = programs.get(next(names, ""))
    return found and found["estimate_s"] * row.items / found["items"]


def _opened(folder: Path, device: str, tiny: bool) -> tuple[Path, dict[str, Any]]:
    """Return the file and the result of the campaign in the folder, or of a new one."""
    fresh = run.header(device, tiny=tiny) | dict(
        format=FORMAT, smoke={}, warm={}, seconds=dict(smoke=0.0, warm=0.0, timings=0.0)
    )
    found = sorted(folder.glob("*-campaign.json"))
    if not found:
        return folder / f"{fresh['started'][:10]}-{device}-campaign.json", fresh
    try:
        old = json.loads(found[-1].read_text())
    except ValueError:
        old = {}
    if not isinstance(old, dict) or old.get("format") != FORMAT:
        raise Failed(f"{found[-1]} is damaged, or no campaign: name another --out")
    if (old["device"], old["tiny"]) != (device, tiny):
        kind = f"--device {old['device']}{' --tiny' if old['tiny'] else ''}"
        raise Failed(f"{folder} has a campaign with {kind}: name another --out")
    names = ("rows", "skipped", "smoke", "warm", "seconds", "started")
    if old["commit"] != fresh["commit"]:  # what was right or fast before may not be now
        old |= dict(smoke={}, warm={})
    return found[-1], fresh | {name: old[name] for name in names}


def _pack(cache: Path, file: Path) -> None:
    found = cache / "jax" / _AUTOTUNING
    if found.is_dir() and any(found.iterdir()):
        with tarfile.open(file, "w:gz") as archive:
            archive.add(found, arcname=_AUTOTUNING)


def _unpack(file: Path, cache: Path) -> None:
    if file.exists() and not (cache / "jax" / _AUTOTUNING).exists():
        with tarfile.open(file) as archive:
            archive.extractall(cache / "jax", filter="data")


def _options(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.campaign",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--minutes", type=float, required=True, help="in all")
    parser.add_argument("--device", choices=("gpu", "cpu"), default="gpu")
    parser.add_argument(
        "--out", required=True, help="folder of the results; a campaign in it goes on"
    )
    parser.add_argument(
        "--tiny", action="store_true", help="smallest sizes, two rounds: a rehearsal"
    )
    options = parser.parse_args(argv)
    if not 0 < options.minutes <= _DAY / 60:  # false for NaN
        parser.error(
            f"--minutes must be above 0 and at most {_DAY // 60}, not {options.minutes:g}"
        )
    return options


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # workers are ended
    sys.exit(main())
