"""Several certificate records side by side, at the same images.

No model is best at every radius (Sun et al., "Average Certified Radius is a Poor Metric for
Randomized Smoothing", 2024), so two questions stand in for one mean:

envelope    max over records of the certified accuracy at r, and which record has it: what
            one can get by choosing the model (and sigma) for the radius that is asked for;
            that record is best if the interval of its difference to every other says so
difference  certified accuracy at r minus that of a baseline, by default Gaussian training
            at the same sigma: what a method gains there, and where it loses

The interval of a difference is the paired bootstrap's: images are drawn with replacement
and both records are measured on the same draw, which removes what is hard or easy about an
image for both. An image contributes -1, 0 or 1 to the difference, so the counts of the
three in a draw of N images are multinomial and are drawn as such: the same law as drawing
images, without the images.

What no image shows, no draw of them shows: without an image that differs the interval would
be [0, 0]. So one image gained and one lost are added to those that are drawn from, as Bonett
and Price ("Adjusted Wald Confidence Interval for a Difference of Binomial Proportions Based
on Paired Data", 2012) add them. The interval of N equal images is then about +-3 / N, as the
rule of three has it.

PREDICT certifies nothing: its records are not compared.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from jaxcert.certificate import (
    Certificates,
    certified_accuracy,
    certifies,
    share_is_known,
)

BASELINE = "gaussian"
"""The method whose training adds noise and nothing else."""
_DRAWS = 10_000


class Envelope(NamedTuple):
    images: int
    """that all records have"""
    certified: np.ndarray
    """float64 [R], of the best record"""
    winner: np.ndarray
    """int64 [R], its position, the first of equals; -1 where none certifies an image"""
    rivals: Sequence[Sequence[int]] = ()
    """at each radius the positions that `rivals` finds, where they were asked for"""


class Difference(NamedTuple):
    """A record minus its baseline, in shares of the images that both have."""

    baseline: str
    images: int
    difference: np.ndarray
    """float64 [R]"""
    low: np.ndarray
    """float64 [R], with `high` the 95 % interval; nan where one of them tried no such radius"""
    high: np.ndarray

    @property
    def worse(self) -> np.ndarray:
        """Return bool [R]: whether the difference and its whole interval are below 0."""
        return self.high < 0


def common(records: Sequence[Certificates]) -> list[Certificates] | None:
    """Return the rows of the images that all records have, in one order; None if there
    is none, or if labels are not known or differ, as those of two data sets do."""
    index = records[0].index
    for c in records[1:]:
        index = np.intersect1d(index, c.index)
    if not len(index):
        return None
    parts = [_take(c, index) for c in records]
    same = all(c.labelled for c in records)
    same &= all(np.array_equal(part.label, parts[0].label) for part in parts)
    for key in ("dataset", "split"):
        same &= len({c.header[key] for c in records if key in c.header}) <= 1
    return parts if same else None


def why_not_comparable(one: Certificates, other: Certificates, name: str) -> str:
    """Return why `one` cannot be compared with `other`, which has that name, in a few words:
    what `one` has. Empty where they can be compared."""
    if not certifies(one):
        return "classes without radii, as PREDICT finds"
    if not certifies(other):
        return f"no radii of {name}, which is of PREDICT, to compare with"
    if not (one.labelled and other.labelled):
        return "no labels, so that no share of it is better than another"
    if common([one, other]) is not None:
        return ""
    for key in ("dataset", "split"):
        first, second = one.header.get(key), other.header.get(key)
        if first != second and key in one.header and key in other.header:
            return f"the {key} {first} where {name} has {second}"
    if not np.isin(one.index, other.index).any():
        return f"no image in common with {name}"
    return f"other labels than {name}, as images of another data set have"


def envelope(records: Sequence[Certificates], radii: ArrayLike) -> Envelope | None:
    """Return the best record at each radius; None where `common` finds no images."""
    kept = np.array([i for i, c in enumerate(records) if certifies(c)])
    parts = common([records[i] for i in kept]) if len(kept) else None
    if parts is None:
        return None
    shares = np.nan_to_num([certified_accuracy(part, radii) for part in parts])
    best = shares.max(0)
    winner = np.where(best > 0, kept[shares.argmax(0)], -1)
    return Envelope(len(parts[0].index), best, winner)


def rivals(
    records: Sequence[Certificates], radii: ArrayLike, best: Envelope
) -> list[list[int]]:
    """Return, at each radius, the positions of the records that cannot be told apart from
    the winner of the envelope: those whose difference to it may be 0 by its interval, or is not
    known."""
    radii = np.asarray(radii, np.float64)
    kept = [i for i, c in enumerate(records) if certifies(c)]
    found: list[list[int]] = [[] for _ in radii]
    for winner in np.unique(best.winner[best.winner >= 0]):
        won = np.flatnonzero(best.winner == winner)
        for other in kept:
            if other == winner:
                continue
            minus = difference(records[winner], records[other], radii[won])
            for j, low in zip(won, minus.low, strict=True):
                if not low > 0:
                    found[j].append(other)
    return found


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

    name: what to call the baseline. None where they are not comparable (`why_not_comparable`).
    """
    if why_not_comparable(c, baseline, name):
        return None
    parts = common([c, baseline])
    radii = np.asarray(radii, np.float64)[:, None]
    ours, theirs = (part.correct & (part.radius >= radii) for part in parts)  # [R,N]
    images = ours.shape[1]
    gained, lost = (ours & ~theirs).sum(1), (theirs & ~ours).sum(1)
    low, high = _interval(gained, lost, images, draws, seed)
    both = share_is_known(c, radii[:, 0]) & share_is_known(baseline, radii[:, 0])
    values = ((gained - lost) / images, low, high)
    return Difference(name, images, *(np.where(both, v, np.nan) for v in values))


def baselines(
    records: Sequence[Certificates], chosen: Sequence[int] = ()
) -> list[int | None]:
    """Position of each record's baseline; None for a baseline itself and where there is none.

    chosen: positions of the baselines; else the records that the method `gaussian` trained
    and that have radii. A baseline serves the records of its own sigma (without smoothing:
    of no sigma).
    """
    if not chosen:
        of_method = (i for i, c in enumerate(records) if method_of(c) == BASELINE)
        chosen = [i for i in of_method if certifies(records[i])]
    found = []
    for i, c in enumerate(records):
        same = [j for j in chosen if _same_sigma(c, records[j])]
        found.append(None if i in chosen or not same else same[0])
    return found


def against(
    names: Sequence[str],
    records: Sequence[Certificates],
    radii: ArrayLike,
    chosen: Sequence[int] = (),
) -> list[tuple[Difference | None, str]]:
    """Each record's difference to its baseline, and what it has instead of one where a
    baseline was chosen or found; chosen as in `baselines`."""
    serving = baselines(records, chosen)
    found: list[tuple[Difference | None, str]] = []
    for i, (c, at) in enumerate(zip(records, serving, strict=True)):
        if at is None:
            listed = [] if i in chosen else chosen
            there = [f"{names[j]} has {_sigma_words(records[j])}" for j in listed]
            why = f"{_sigma_words(c)} where {' and '.join(there)}" if there else ""
            found.append((None, why))
            continue
        why = why_not_comparable(c, records[at], names[at])
        minus = None if why else difference(c, records[at], radii, name=names[at])
        found.append((minus, why))
    if any(at is None and i not in chosen for i, at in enumerate(serving)):
        return found  # which names every baseline
    for i in set(chosen) - set(serving):
        here = (j for j in serving if j is not None)
        first = [names[j] for j in here if _same_sigma(records[i], records[j])]
        why = f"{first[0]} is the baseline of its sigma" if first else ""
        found[i] = None, why or "no record of its sigma to be the baseline of"
    return found


def method_of(c: Certificates) -> str | None:
    """Return the method that trained the network, as its config says; None for a record
    without a config."""
    config = c.header.get("config")
    method = config.get("method") if isinstance(config, dict) else None
    return method.get("name") if isinstance(method, dict) else None


def _interval(gained, lost, images: int, draws: int, seed: int):
    """2.5 and 97.5 % points of the bootstrap's difference, each float64 [R], with an image
    gained and one lost added to those that were seen."""
    same = images - gained - lost
    images += 2
    chances = np.stack([gained + 1, lost + 1, same], 1) / images
    drawn = np.random.default_rng(seed).multinomial(
        images, chances, size=(draws, len(chances))
    )
    differences = (drawn[..., 0] - drawn[..., 1]) / images
    return np.quantile(differences, [0.025, 0.975], axis=0)


def _same_sigma(one: Certificates, other: Certificates) -> bool:
    """Return whether two sigmas are equal in float32: noise is drawn in it, and a
    header may state the rounded value."""
    first, second = (c.header.get("sigma") for c in (one, other))
    if not (first and second):
        return not (first or second)
    return math.isclose(first, second, rel_tol=1e-6)


def _sigma_words(c: Certificates) -> str:
    sigma = c.header.get("sigma")
    return f"sigma {sigma:g}" if sigma else "no stated sigma"


def _take(c: Certificates, index: np.ndarray) -> Certificates:
    """Return what comparisons read of the rows of these images, in this order."""
    order = np.argsort(c.index)
    rows = order[np.searchsorted(c.index, index, sorter=order)]
    names = ("index", "label", "predicted", "radius", "n", "seconds")
    return Certificates(**{k: getattr(c, k)[rows] for k in names}, header=c.header)
