"""Votes that are counted until a deadline.

A count of many votes is cut into pieces, and before each piece the clock is asked. Where no time
is left `TimeUp` ends the count, and what was counted of it is thrown away: a bound is one of a
number of votes that was fixed beforehand, so no part of them proves anything. Procedures whose
bounds hold at all their looks together catch it and answer from the looks that they have; when
and why they stop does not matter to these bounds. All others have no certificate then.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

_SMALL = 16
"""A piece that takes less than this part of the time left is followed by one of twice the
size."""


class TimeUp(Exception):
    """Raised where a count would not end before the deadline."""


def in_pieces(
    draw: Callable[[np.ndarray, Any, Any], np.ndarray],
    left: Callable[[], float],
    piece: int,
) -> Callable[[np.ndarray, Any, Any], np.ndarray]:
    """Return the same votes as those of `draw`, counted in pieces.

    draw: (rows [A], start, size) -> votes [A,K], as of `procedures.py`. left: the seconds that
    are left. piece: how many votes of each row are counted at first before the clock is asked.
    The count raises TimeUp before a piece that would take longer than there is left, by what the
    largest piece so far took.
    """
    size, largest, took = piece, 1, 0.0

    def counted(rows, start, count) -> np.ndarray:
        nonlocal size, largest, took
        start, count = (
            np.broadcast_to(x, rows.shape).astype(np.int64) for x in (start, count)
        )
        done, votes = np.zeros_like(count), None
        while votes is None or (done < count).any():
            part = np.minimum(count - done, size)
            asked = max(int(part.sum()), 1)
            if (before := left()) <= took * max(1.0, asked / largest):
                raise TimeUp
            found = draw(rows, start + done, part)
            votes, done = found if votes is None else votes + found, done + part
            after = left()
            if asked >= largest:
                largest, took = asked, before - after
            if (before - after) * _SMALL < after:
                size *= 2
        return votes

    return counted
