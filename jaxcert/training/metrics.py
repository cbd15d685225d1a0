"""metrics.jsonl: one line per logging interval or evaluation, readable with pandas."""

from __future__ import annotations

import json
import os
from pathlib import Path


class MetricWriter:
    """Appends to `<workdir>/metrics.jsonl`; a resumed run drops lines of steps it repeats."""

    def __init__(self, workdir: str | Path, *, resume_step: int):
        self._path = Path(workdir) / "metrics.jsonl"
        lines = self._path.read_text().splitlines() if self._path.exists() else []
        fresh = self._path.with_suffix(".tmp")
        fresh.write_text("".join(f"{x}\n" for x in lines if _step(x) <= resume_step))
        os.replace(fresh, self._path)

    def write(self, step: int, split: str, values: dict[str, float]) -> None:
        with open(self._path, "a") as file:
            file.write(json.dumps({"step": step, "split": split, **values}) + "\n")


def _step(line: str) -> float:
    try:
        return json.loads(line)["step"]
    except (ValueError, KeyError, TypeError):
        return float("inf")  # cut off by a kill: dropped
