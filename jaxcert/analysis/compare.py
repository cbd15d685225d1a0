"""Several certificate records side by side, at the same images.

No model is best at every radius (Sun et al., "Average Certified Radius is a Poor Metric for
Randomized Smoothing", 2024), so two questions stand in for one mean:

envelope    max over records of the certified accuracy at r, and which record has it: what
            one can get by choosing the model (and sigma) for the radius that is asked for
difference  certified accuracy at r minus that of a baseline, by default Gaussian training
            at the same sigma: what a method gains there, and where it loses

The interval of a difference is the paired bootstrap's: images are drawn with replacement
and both records are measured on the same draw, which removes what is hard or easy about an
image for both. An image contributes -1, 0 or 1 to the difference, so the counts of the
three in a draw of N images are multinomial and are drawn as such: the same law as drawing
images, without the images.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from jaxcert.analysis.metrics import certified_accuracy
from jaxcert.records import Certificates

BASELINE = "gaussian"
"""Method whose training adds noise and nothing else."""
_DRAWS = 10_000


class Envelope(NamedTuple):
    images: int
    """that all records have"""
    certified: np.ndarray
    """float64 [R], of the best record"""
    winner: np.ndarray
    """int64 [R], its position, the first of equals; -1 where none certifies an image"""


class Difference(NamedTuple):
    """A record minus its baseline, in shares of the images of both."""

    baseline: str
    images: int
    difference: np.ndarray
    """float64 [R]"""
    low: np.ndarray
    """float64 [R], with `high` the 95 % interval"""
    high: np.ndarray

    @property
    def worse(self) -> np.ndarray:
        """bool [R], below the baseline, be it by chance: the interval tells."""
        return self.difference < 0


def common(records: Sequence[Certificates]) -> list[Certificates] | None:
    """The rows of the images that all records have, in one order; None if there is none, or
    labels differ, as those of two data sets do."""
    index = records[0].index
    for c in records[1:]:
        index = np.intersect1d(index, c.index)
    if not len(index):
        return None
    parts = [_take(c, index) for c in records]
    same = all(np.array_equal(part.label, parts[0].label) for part in parts)
    for key in ("dataset", "split"):
        same &= len({c.header[key] for c in records if key in c.header}) <= 1
    return parts if same else None


def envelope(records: Sequence[Certificates], radii: ArrayLike) -> Envelope | None:
    """Best record per radius; None where `common` finds no images."""
    parts = common(records)
    if parts is None:
        return None
    shares = np.array([certified_accuracy(part, radii) for part in parts])
    best = shares.max(0)
    winner = np.where(best > 0, shares.argmax(0), -1)
    return Envelope(len(parts[0].index), best, winner)


def difference(
    c: Certificates,
    baseline: Certificates,
    radii: ArrayLike,
    *,
    name: str = BASELINE,
    draws: int = _DRAWS,
    seed: int = 0,
) -> Difference | None:
    """c minus baseline at each radius, with the 95 % interval of the paired bootstrap.

    name: what to call the baseline. None where `common` finds no images.
    """
    parts = common([c, baseline])
    if parts is None:
        return None
    radii = np.asarray(radii, np.float64)[:, None]
    ours, theirs = (part.correct & (part.radius >= radii) for part in parts)  # [R,N]
    images = ours.shape[1]
    gained, lost = (ours & ~theirs).sum(1), (theirs & ~ours).sum(1)
    low, high = _interval(gained, lost, images, draws, seed)
    return Difference(name, images, (gained - lost) / images, low, high)


def baselines(
    records: Sequence[Certificates], chosen: Sequence[int] = ()
) -> list[int | None]:
    """Position of each record's baseline; None for a baseline itself and where there is none.

    chosen: positions of the baselines; else the records that the method `gaussian` trained.
    A baseline serves the records of its own sigma (without smoothing: of no sigma).
    """
    chosen = chosen or [i for i, c in enumerate(records) if method_of(c) == BASELINE]
    found = []
    for i, c in enumerate(records):
        same = [j for j in chosen if _same_sigma(c, records[j])]
        found.append(None if i in chosen or not same else same[0])
    return found


def method_of(c: Certificates) -> str | None:
    """What trained the network, as its config says; None for a record without one."""
    config = c.header.get("config")
    method = config.get("method") if isinstance(config, dict) else None
    return method.get("name") if isinstance(method, dict) else None


def _interval(gained, lost, images: int, draws: int, seed: int):
    """2.5 and 97.5 % points of the bootstrap's difference, each float64 [R]."""
    same = images - gained - lost
    chances = np.stack([gained, lost, same], 1) / images
    drawn = np.random.default_rng(seed).multinomial(
        images, chances, size=(draws, len(chances))
    )
    differences = (drawn[..., 0] - drawn[..., 1]) / images
    return np.quantile(differences, [0.025, 0.975], axis=0)


def _same_sigma(one: Certificates, other: Certificates) -> bool:
    """Noise is drawn in float32, whose rounding of sigma a header may state."""
    first, second = (c.header.get("sigma") for c in (one, other))
    if not (first and second):
        return not (first or second)
    return math.isclose(first, second, rel_tol=1e-6)


def _take(c: Certificates, index: np.ndarray) -> Certificates:
    """What comparisons read of the rows of these images, in this order."""
    order = np.argsort(c.index)
    rows = order[np.searchsorted(c.index, index, sorter=order)]
    names = ("index", "label", "predicted", "radius", "n", "seconds")
    return Certificates(**{k: getattr(c, k)[rows] for k in names}, header=c.header)
