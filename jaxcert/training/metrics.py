"""metrics.jsonl: one line per logging interval or evaluation, readable with pandas."""

from __future__ import annotations

import json
import os
from pathlib import Path


class MetricWriter:
    """Appends to `<workdir>/metrics.jsonl`; a resumed run drops lines of steps it repeats."""

    def __init__(self, workdir: str | Path, *, resume_step: int):
        path = Path(workdir) / "metrics.jsonl"
        kept = []
        if path.exists():
            kept = [
                line
                for line in path.read_text().splitlines()
                if _step(line) <= resume_step
            ]
        fresh = path.with_suffix(".tmp")
        fresh.write_text("".join(line + "\n" for line in kept))
        os.replace(fresh, path)
        self._file = open(path, "a")

    def write(self, step: int, split: str, values: dict[str, float]) -> None:
        self._file.write(json.dumps({"step": step, "split": split, **values}) + "\n")
        self._file.flush()

    def close(self) -> None:
        self._file.close()


def _step(line: str) -> float:
    try:
        return json.loads(line)["step"]
    except (ValueError, KeyError, TypeError):
        return float("inf")  # cut off by a kill: dropped
