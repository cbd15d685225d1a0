"""Votes that are looked at more than once: the walk from look to look, and bounds of the
probabilities that hold at all looks together."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import ArrayLike

from jaxcert.certificates import sequential, statistics
from jaxcert.certificates.deadlines import TimeUp
from jaxcert.certificates.runner_up import Chosen

_FUTILE = 0.01
"""The level, over all looks, at which an image is given up because its p is below what
it needs."""


class Walk:
    """The votes at the looks, for the images that are still undecided."""

    def __init__(
        self,
        draw: Callable,
        images: int,
        n0: int,
        looks: tuple[int, ...],
        choose: Callable[[np.ndarray], Chosen],
    ):
        self._draw, self._n0, self._looks = draw, n0, looks
        self._active = np.ones(images, bool)
        self.selection = draw(np.arange(images), 0, n0)
        self.chosen = choose(self.selection)
        self.failed = self.selection.sum(1) == 0
        self.counts = np.zeros_like(self.selection)
        self.n = np.zeros(images, np.int64)
        self.agreeing = np.full((images, len(looks)), -1, np.int64)
        self.rivals = np.full((images, len(looks)), -1, np.int64)

    def looks(self) -> Iterator[tuple[int, np.ndarray, np.ndarray, np.ndarray]]:
        """Yield, for each look until the time is up, its number, the rows that are still
        undecided, their votes so far for the selected class, and the most that another class
        has."""
        for j in range(len(self._looks)):
            try:
                found = self._look(j)
            except TimeUp:
                return
            yield j, *found

    def _look(self, j: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        rows = np.flatnonzero(self._active)
        before = self._looks[j - 1] if j else 0
        if len(rows):
            size = self._looks[j] - before
            self.counts[rows] += self._draw(rows, self._n0 + before, size)
        k, rival = self.chosen.at(rows).votes(self.counts[rows], self._looks[j])
        self.agreeing[rows, j], self.rivals[rows, j] = k, rival
        self.n[rows] = self._looks[j]
        return rows, k, rival

    def stop(self, rows: np.ndarray, decided: np.ndarray) -> None:
        self._active[rows[decided | self.failed[rows]]] = False


def sequence_lower(
    agreeing: np.ndarray, looks: tuple[int, ...], alpha: ArrayLike, bound: str
) -> np.ndarray:
    """Return p_lower [B], rounded down, from the votes [B,J] at the looks, which are -1
    where not taken. alpha: one number, or one for each row."""
    lower, alpha = np.zeros(len(agreeing)), np.broadcast_to(alpha, len(agreeing))
    for j, k in enumerate(agreeing.T):
        rows = k >= 0
        lower[rows] = np.maximum(
            lower[rows], look_lower(looks, j, alpha[rows], bound, k[rows])
        )
    return lower


def sequence_upper(
    votes: np.ndarray, looks: tuple[int, ...], alpha: ArrayLike, bound: str
) -> np.ndarray:
    """Return the upper bound [B] of a probability, rounded up, from such votes [B,J]."""
    others = np.where(votes < 0, -1, np.asarray(looks) - votes)
    return 1 - sequence_lower(others, looks, alpha, bound)


def look_lower(looks: tuple[int, ...], j: int, alpha: ArrayLike, bound: str, k):
    """Return the bound of k votes at look j, at a level at which all looks hold
    together."""
    if bound == "union":
        level = np.asarray(alpha) / len(looks)
        lower = statistics.clopper_pearson_lower(k, looks[j], level)
    else:
        lower = sequential.mixture_lower(k, looks[j], alpha)
    # 1 - p_lower is formed next, and rounds by half a unit of 1
    return np.maximum(lower - 2**-52, 0.0)


def likely_at_most(k: np.ndarray, looks: tuple[int, ...], j: int) -> np.ndarray:
    """Return an upper confidence bound of p from k votes at look j, at the level _FUTILE /
    looks."""
    return 1 - likely_at_least(looks[j] - k, looks, j)


def likely_at_least(k: np.ndarray, looks: tuple[int, ...], j: int) -> np.ndarray:
    """Return a lower confidence bound of p from k votes at look j, at the level _FUTILE /
    looks."""
    level = _FUTILE / len(looks)
    return statistics.once(
        lambda k: statistics.clopper_pearson_lower(k, looks[j], level), k
    )
