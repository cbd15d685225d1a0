"""The result file: rows of programs, each compiled by a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path
from typing import Any

from benchmarks.compiled import target
from benchmarks.compiled.child import last_line
from jaxcert.errors import InputError

ROOT = Path(__file__).parents[2]
FORMAT = "jaxcert-compiled-1"
LIMIT = 3600
"""The number of seconds after which a compilation is ended."""
CHILD = (sys.executable, "-m", "benchmarks.compiled.child")
_NOT_OURS = ("XLA_FLAGS", "JAX_DISABLE_MOST_OPTIMIZATIONS", "JAX_ENABLE_X64")
"""Environment variables that would change what is compiled."""


def default() -> Path:
    return (
        ROOT
        / "benchmarks"
        / "results"
        / f"{time.strftime('%Y-%m-%d')}-compiled-h200.json"
    )


def open(path: Path) -> dict[str, Any]:
    """Return the result that the file holds, or an empty one, and make a folder for it.
    Raises InputError for a file of another kind, or where no folder can be made."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"{path} cannot be written ({error.strerror}): name another --out."
        ) from None
    found = dict(format=FORMAT, device="NVIDIA H200, compiled for and not run", rows=[])
    if path.exists():
        try:
            found = json.loads(path.read_text())
            there = found["format"]
        except (ValueError, KeyError, TypeError):
            there = "no result"
        if there != FORMAT:
            raise InputError(f"{path} is {there} and not {FORMAT}: name another --out.")
    return found | dict(commit=_commit(), versions=_versions())


def missing(result: dict[str, Any], names: list[str]) -> list[str]:
    """Return those of these programs that have no compiled row of this commit; all of
    them if files were changed since."""
    there = {
        row["program"]
        for row in result["rows"]
        if row["status"] == "ok"
        and (row["commit"], row["jax"]) == (result["commit"], result["versions"]["jax"])
        and not row["commit"].endswith("+")
    }
    return [name for name in names if name not in there]


def compile_all(
    names: list[str],
    result: dict[str, Any],
    out: Path,
    *,
    jobs: int,
    keep: str | None = None,
) -> None:
    """Compile these programs, and write each row into the result and the file as it
    comes."""
    waiting, running = list(names), []
    began, done = time.monotonic(), 0
    with tempfile.TemporaryDirectory() as folder:
        try:
            while waiting or running:
                while waiting and len(running) < jobs:
                    running.append(_Child(waiting.pop(0), Path(folder)))
                time.sleep(0.1)
                for child in [c for c in running if c.ended()]:
                    running.remove(child)
                    row = child.row() | dict(
                        commit=result["commit"], jax=result["versions"]["jax"]
                    )
                    if keep:
                        child.keep(Path(keep))
                    put(result, row, out)
                    done += 1
                    left = (time.monotonic() - began) / done * (len(names) - done)
                    print(
                        f"[{done}/{len(names)}] {row['program']}: {brief(row)}; "
                        f"about {left / 60:.0f} min left",
                        flush=True,
                    )
        finally:
            for child in running:
                child.process.kill()


def put(result: dict[str, Any], row: dict[str, Any], out: Path) -> None:
    """Replace the row of a program, and write the file whole or not at all."""
    rows = {r["program"]: r for r in result["rows"]} | {row["program"]: row}
    result["rows"] = list(rows.values())
    part = out.with_name(out.name + ".part")
    part.write_text(json.dumps(_rounded(result), indent=1) + "\n")
    os.replace(part, out)


def brief(row: dict[str, Any]) -> str:
    if row["status"] != "ok":
        return f"{row['status']} {row['source']}".strip()
    return (
        f"{row['kernels']:,} kernels, {row['bytes'] / 1e9:.3g} GB, "
        f"{row['bytes_per_item'] / 1e6:.4g} MB an item, "
        f"{row['temp_bytes'] / 1e9:.3g} GB temporaries, "
        f"compiled in {row['compile_cpu_s']:.0f} CPU s, "
        f"estimate {1e3 * row['estimate_s']:.4g} ms"
    )


class _Child:
    """A process that compiles one program."""

    def __init__(self, name: str, folder: Path):
        self.name, self.started = name, time.monotonic()
        self.out = folder / f"{name}.json"
        self.log = folder / f"{name}.log"
        kept = {
            k: v
            for k, v in os.environ.items()
            if k not in _NOT_OURS and not k.startswith("JAX_COMPILATION_CACHE")
        }
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [*CHILD, name, str(self.out)],
                cwd=ROOT,
                env=kept | target.ENVIRONMENT,
                stdout=log,
                stderr=log,
            )

    def ended(self) -> bool:
        if self.process.poll() is None and time.monotonic() - self.started > LIMIT:
            self.process.kill()
            self.process.wait()
        return self.process.poll() is not None

    def row(self) -> dict[str, Any]:
        if self.out.exists():
            return json.loads(self.out.read_text())
        code = self.process.returncode
        how = signal.Signals(-code).name if code < 0 else f"exit status {code}"
        if time.monotonic() - self.started > LIMIT:
            how = f"not compiled after {LIMIT} s"
        log = self.log.read_text(errors="replace")
        where = last_line(log, innermost_first="Fatal Python error" in log)
        return dict(program=self.name, status=f"crashed: {how}", source=where)

    def keep(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        text = self.out.with_suffix(".hlo")
        if text.exists():
            (folder / f"{self.name}.hlo").write_text(text.read_text())
        (folder / f"{self.name}.log").write_text(self.log.read_text(errors="replace"))


def _commit() -> str:
    """Return the commit of what is compiled, with a + if that was changed since; rows
    and budgets may change."""

    def git(*words: str) -> str:
        done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True)
        return done.stdout.strip()

    made_here = (":!benchmarks/results", ":!benchmarks/compiled/budgets.json")
    try:
        at = git("rev-parse", "--short", "HEAD") or "unknown"
        sources = ("jaxcert", "configs", "benchmarks", *made_here)
        return at + ("+" if git("status", "--porcelain", "--", *sources) else "")
    except OSError:
        return "unknown"


def _versions() -> dict[str, str]:
    found = {}
    for name in ("jax", "jaxlib", target.PLUGIN.replace("_", "-"), "flax"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "none"
    return found


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, dict):
        return {k: _rounded(v) for k, v in value.items()}
    return [_rounded(v) for v in value] if isinstance(value, list) else value
