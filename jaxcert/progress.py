"""One line of progress with throughput and remaining time, on stderr."""

from __future__ import annotations

import sys
import time


class Progress:
    """`with Progress("certify", 1000, "images") as line: line.update(17, "72 % so far")`.

    On a terminal the line is rewritten in place; in a log file a new one appears every
    half minute. `start` is what an earlier run had done: it does not count as speed.
    """

    def __init__(self, what: str, total: int, unit: str, *, start: int = 0):
        self._what, self._total, self._unit = what, total, unit
        self._start, self._began = start, time.monotonic()
        self._terminal = sys.stderr.isatty()
        self._last, self._done, self._note = 0.0, start, ""

    def update(self, done: int, note: str = "") -> None:
        """`done` of the total, counted from zero and including `start`."""
        self._done, self._note = done, note
        now = time.monotonic()
        if now - self._last > (0.2 if self._terminal else 30.0):
            self._last = now
            self._print()

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        if self._done > self._start:
            self._print()
        if self._terminal:
            sys.stderr.write("\n")

    def _print(self) -> None:
        seconds = max(time.monotonic() - self._began, 1e-9)
        rate = (self._done - self._start) / seconds
        left = clock((self._total - self._done) / rate) if rate else "?"
        text = f"{self._what} {self._done}/{self._total} {self._unit}, {rate:.3g}/s, {left} left"
        text += f", {self._note}" if self._note else ""
        sys.stderr.write(f"\r{text}\x1b[K" if self._terminal else f"{text}\n")
        sys.stderr.flush()


def clock(seconds: float) -> str:
    """3725 -> 1:02:05"""
    minutes, seconds = divmod(int(seconds + 0.5), 60)
    hours, minutes = divmod(minutes, 60)
    return (
        f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
    )
