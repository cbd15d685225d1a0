"""One line of progress with throughput and remaining time, on stderr."""

from __future__ import annotations

import sys
import time


class Progress:
    """`line = Progress("certify", 1000)`, then `line.update(17, "72 % so far")` and so on.

    On a terminal the line is rewritten in place, in a log file a new one appears every ten
    seconds; work done within a second prints nothing. total 0: unknown. start: what an
    earlier run had done, which does not count as speed; nor does, from the second update
    on, what came before the first one, when programs are compiled.
    """

    def __init__(self, what: str, total: int, unit: str = "images", *, start: int = 0):
        self._what, self._total, self._unit, self._start = what, total, unit, start
        self._began = self._last = time.monotonic()
        self._first: tuple[float, int] | None = None
        self._terminal = sys.stderr.isatty()
        self._shown = False

    def update(self, done: int, note: str = "") -> None:
        """`done` of the total, including `start`."""
        now = time.monotonic()
        self._first = self._first or (now, done)
        finished = done == self._total and (self._shown or now - self._began > 1.0)
        if now - self._last < (1.0 if self._terminal else 10.0) and not finished:
            return
        self._last, self._shown = now, True
        known = done > self._first[1]
        since, before = self._first if known else (self._began, self._start)
        rate = (done - before) / max(now - since, 1e-9)
        text = f"{self._what}: {done:,}"
        text += f" of {self._total:,} {self._unit}" if self._total else f" {self._unit}"
        if known or finished:
            text += f", {rate:,.3g}/s" if rate < 100 else f", {rate:,.0f}/s"
        if known and done < self._total:
            text += f", {clock((self._total - done) / rate)} left"
        text += f", {note}" if note else ""
        if self._terminal:
            text = f"\r{text}\033[K"
        end = "\n" if finished or not self._terminal else ""
        print(text, end=end, file=sys.stderr, flush=True)


def say(text: str) -> None:
    """Print a line on stderr, at once."""
    print(text, file=sys.stderr, flush=True)


def clock(seconds: float) -> str:
    """Return seconds as a clock shows them: 3725 -> 1:02:05."""
    minutes, seconds = divmod(int(seconds + 0.5), 60)
    hours, minutes = divmod(minutes, 60)
    start = f"{hours}:{minutes:02d}" if hours else str(minutes)
    return f"{start}:{seconds:02d}"
