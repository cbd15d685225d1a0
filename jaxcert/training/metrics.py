"""metrics.jsonl: one line per logging interval or evaluation, readable with pandas."""

from __future__ import annotations

import json
import os
from pathlib import Path

from jaxcert.errors import InputError


class MetricWriter:
    """Appends to `<workdir>/metrics.jsonl`; a resumed run drops lines of steps it repeats.

    Raises InputError for a file that is not text.
    """

    def __init__(self, workdir: str | Path, *, resume_step: int):
        self._path = Path(workdir) / "metrics.jsonl"
        lines = _lines(self._path) if self._path.exists() else []
        fresh = self._path.with_suffix(".tmp")
        fresh.write_text("".join(f"{x}\n" for x in lines if _step(x) <= resume_step))
        os.replace(fresh, self._path)

    def write(self, step: int, split: str, values: dict[str, float]) -> None:
        with open(self._path, "a") as file:
            file.write(json.dumps({"step": step, "split": split, **values}) + "\n")


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        raise InputError(
            f"{path} is not text: move it away, the run continues without it."
        ) from None


def _step(line: str) -> float:
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return float("inf")  # cut off by a kill: dropped
