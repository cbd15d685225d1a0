"""One line on stderr for work that takes longer than a moment."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable


def reporter(what: str, total: int, *, unit: str = "images") -> Callable[[int], None]:
    """A function to call with the amount done so far.

    It prints what, how much of `total` (0: unknown), the rate and the time left: on a
    terminal one line that is rewritten, in a log file a line every ten seconds; nothing
    for work done within a second.
    """
    start = time.monotonic()
    last = start
    first: int | None = None
    terminal = sys.stderr.isatty()
    shown = False

    def report(done: int) -> None:
        nonlocal last, first, shown
        now = time.monotonic()
        first = done if first is None else first  # what an earlier run did has no rate
        finished = done == total and shown
        if now - last < (1.0 if terminal else 10.0) and not finished:
            return
        last, shown = now, True
        rate = (done - first) / (now - start)
        line = f"{what}: {done:,} of {total:,} {unit}" if total else f"{what}: {done:,}"
        line += f", {rate:,.0f}/s"
        if total and rate:
            line += f", {(total - done) / rate:,.0f} s left"
        end = "\n" if finished or not terminal else ""
        print(
            f"\r{line}\033[K" if terminal else line,
            end=end,
            file=sys.stderr,
            flush=True,
        )

    return report
