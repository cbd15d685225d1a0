"""metrics.jsonl: one line per logging interval or evaluation, readable with pandas."""

from __future__ import annotations

import json
import time
from pathlib import Path

from jaxcert.errors import InputError, replacing
from jaxcert.training.trackers import Trackers


class MetricWriter:
    """Appends to `<workdir>/metrics.jsonl`; a resumed run drops lines of steps it repeats.

    Each line has `step`, `split`, `epoch` (epochs done), the values, and two times of training
    so far, in all sessions of the run: `seconds`, and `cpu_seconds` of all cores of this
    process, evaluation and compiling included. trackers: programs that get every line as well.
    Raises InputError for a file that is not text.
    """

    def __init__(
        self,
        workdir: str | Path,
        *,
        resume_step: int,
        per_epoch: int,
        trackers: Trackers | None = None,
    ):
        self._trackers = trackers
        self._path, self._per_epoch = Path(workdir) / "metrics.jsonl", per_epoch
        lines = _lines(self._path) if self._path.exists() else []
        kept = [x for x in lines if _step(x) <= resume_step]
        with replacing(self._path) as fresh:
            fresh.write_text("".join(f"{x}\n" for x in kept))
        last = kept[-1] if kept else "{}"
        self._began = time.monotonic() - _number(last, "seconds")
        self._used = time.process_time() - _number(last, "cpu_seconds")

    def write(self, step: int, split: str, values: dict[str, float]) -> None:
        line = {"step": step, "split": split, "epoch": step / self._per_epoch, **values}
        line["seconds"] = round(time.monotonic() - self._began, 2)
        line["cpu_seconds"] = round(time.process_time() - self._used, 2)
        with open(self._path, "a") as file:
            file.write(json.dumps(line) + "\n")
        if self._trackers is not None:
            del line["step"], line["split"]
            self._trackers.write(step, split, line)


class Speed:
    """Measures images per second between two readings, without what is not training."""

    def __init__(self, batch: int, step: int):
        self._batch = batch
        self.restart(step)

    def restart(self, step: int) -> None:
        """Start anew at a step: what came before it, such as compiling, evaluating and
        saving, does not count."""
        self._since = step, time.monotonic()

    def read(self, step: int) -> float | None:
        """Return images per second since the last reading or restart; None if there was
        no step."""
        (before, then), now = self._since, time.monotonic()
        self._since = step, now
        if step == before:
            return None
        return (step - before) * self._batch / max(now - then, 1e-9)


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


def _number(line: str, key: str) -> float:
    """Return a time in a line of metrics.jsonl; 0 for a line of an older version."""
    value = json.loads(line).get(key)
    return float(value) if isinstance(value, int | float) else 0.0
