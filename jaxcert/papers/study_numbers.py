"""The numbers of a study (study.py) of generated training images.

Altstidl et al., "Raising the Bar for Certified Adversarial Robustness with Diffusion
Models" (2023, arXiv:2305.10388):

gap   certified accuracy on training images minus that on test images, at one radius
gain  certified accuracy minus that of the same system without generated images

A cell's numbers are means over seeds, with the 95 % interval of Student's t. A single run has
its binomial standard error instead, and the gain of one run over another that of paired
images, to which one gained and one lost are added (see compare), as one right and one wrong
image are to both sides of a gap (Agresti and Caffo 2000). A gain is paired by seed where both
cells have the same seeds; else the variance over seeds is pooled.

Seeds that agree show no variance, and shares of 0 and 1 no error. There the 95 % interval is
that of the images of one run: Clopper and Pearson's of a share, 1.96 standard errors of a
difference.

The paper prints one run of each cell and measures its gap at the best epoch; here it is that
of the certified checkpoint.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from jaxcert.analysis.compare import common
from jaxcert.analysis.metrics import interval, standard_error, summary
from jaxcert.certificate import Certificates, share_is_known
from jaxcert.papers.study_groups import Cell, Study


class Estimate(NamedTuple):
    mean: np.ndarray
    """float64 [R]"""
    error: np.ndarray
    """float64 [R], standard error"""
    half: np.ndarray
    """float64 [R], half the 95 % interval over seeds; of one run the standard error"""
    low: np.ndarray
    """float64 [R], with `high` the 95 % interval, never of length 0"""
    high: np.ndarray
    over: str
    """what `error` is over: seeds, paired seeds, images or paired images"""
    seeds: int


def accuracy(cell: Cell, radii: np.ndarray) -> Estimate:
    """Return the certified accuracy of a cell."""
    found = [summary(run.test, radii) for run in cell.runs.values()]
    shares = [s.certified for s in found]
    ends = interval(np.mean(shares, 0), found[0].images)
    return _estimate(shares, found[0].certified_error, ends)


def gap(cell: Cell, radii: np.ndarray) -> Estimate | None:
    """Return the generalisation gap over the seeds that certified training images; None
    if none did."""
    runs = [run for run in cell.runs.values() if run.train is not None]
    if not runs:
        return None
    pairs = [(summary(r.train, radii), summary(r.test, radii)) for r in runs]
    error = np.hypot(*(s.certified_error for s in pairs[0]))
    never_0 = np.hypot(*(_error_of_a_side(s.certified, s.images) for s in pairs[0]))
    gaps = [a.certified - b.certified for a, b in pairs]
    return _estimate(gaps, error, _ends(gaps, never_0))


def baseline(study: Study, cell: Cell) -> Cell | None:
    """Return the cell without generated images that `cell` is compared with; None for
    itself."""
    if not cell.generated.share:
        return None
    same = (c for c in study.cells if c[:3] == cell[:3] and not c.generated.share)
    return next(same, None)


def gain(cell: Cell, base: Cell, radii: np.ndarray) -> Estimate:
    """Return the certified accuracy minus that of `base`, on the same images."""
    shares = [
        {seed: summary(run.test, radii).certified for seed, run in c.runs.items()}
        for c in (cell, base)
    ]
    ours, theirs = shares
    first, second = len(ours), len(theirs)
    one, other = (next(iter(c.runs.values())).test for c in (cell, base))
    of_images = _paired_error(one, other, radii)
    if ours.keys() == theirs.keys() or first == second == 1:
        pairs = zip(sorted(ours), sorted(theirs), strict=True)
        gains = [ours[i] - theirs[j] for i, j in pairs]
        found = _estimate(gains, of_images, _ends(gains, of_images))
        return found._replace(over=f"paired {found.over}")
    spread, free = 0.0, first + second - 2
    for each in (list(s.values()) for s in shares):
        spread = spread + np.sum((each - np.mean(each, 0)) ** 2, 0)
    error = np.sqrt(spread / free * (1 / first + 1 / second))
    mean = np.mean(list(ours.values()), 0) - np.mean(list(theirs.values()), 0)
    half, ends = stats.t.ppf(0.975, free) * error, _ends([mean], of_images)
    return Estimate(mean, error, half, *_wider(mean, half, ends), "seeds", first)


def best(study: Study, system: str) -> tuple[Cell, Cell] | None:
    """(without, with generated images): of the cells with a baseline the one that certifies
    most, chosen on these very images; None if there is no such pair."""
    pairs = [
        (base, cell)
        for cell in study.cells
        if cell.system == system and (base := baseline(study, cell)) is not None
    ]
    return max(pairs, key=lambda p: certified(study, p[1]), default=None)


def pairs_of(study: Study) -> dict[int, tuple[Cell, Cell]]:
    """Return, by the position of a system, its cells without and with generated images."""
    found = {i: best(study, name) for i, name in enumerate(study.systems)}
    return {i: pair for i, pair in found.items() if pair}


def usual_share(study: Study) -> float:
    """Return the share that most cells with generated images have; 0 without any."""
    shares = Counter(c.generated.share for c in study.cells if c.generated.share)
    return max(shares, key=lambda s: (shares[s], s), default=0.0)


def by(cells: Iterable[Cell], key: Callable) -> list[tuple[Any, list[Cell]]]:
    """Group cells, in the order of their first."""
    found: dict[Any, list[Cell]] = {}
    for cell in cells:
        found.setdefault(key(cell), []).append(cell)
    return list(found.items())


def certified(study: Study, cell: Cell) -> float:
    """Return the mean at the study's radius; -1 where the record tried no such radius."""
    return float(np.nan_to_num(accuracy(cell, study.radii).mean[study.at], nan=-1.0))


def confusion(cell: Cell, radius: float) -> np.ndarray:
    """float64 [2,2], shares of images, mean over seeds: rows correct and wrong, columns
    certified and not; nan where a record does not say what is certified at this radius."""
    tables = []
    for run in cell.runs.values():
        if not share_is_known(run.test, [radius]).all():
            return np.full((2, 2), np.nan)
        held = (run.test.radius >= radius) & (run.test.predicted >= 0)
        right = run.test.correct
        rows = [(right & held, right & ~held), (~right & held, ~right & ~held)]
        tables.append(np.mean(rows, -1))
    return np.mean(tables, 0)


def lost_since_best(cell: Cell, radius: float) -> float | None:
    """Certified accuracy at the best evaluation of training minus that at the last, mean
    over seeds; None without two evaluations of each run."""
    key = f"certified_{radius:.3g}"
    series = [
        [line[key] for line in run.evaluations if key in line]
        for run in cell.runs.values()
    ]
    if any(len(values) < 2 for values in series):
        return None
    return float(np.mean([max(values) - values[-1] for values in series]))


def correlation(points: Sequence[tuple[float, float]]) -> float:
    """Return Pearson's r; nan for fewer than three points, or where all have one
    coordinate."""
    x, y = np.transpose(points) if len(points) else ([0.0], [0.0])
    if len(points) < 3 or min(np.ptp(x), np.ptp(y)) < 1e-9:  # rounding alone
        return math.nan
    return float(stats.pearsonr(x, y)[0])


def _estimate(values: Sequence[np.ndarray], error, ends) -> Estimate:
    """Return the mean over the first axis with its errors. error: standard error of one
    run, ends: the 95 % interval of the mean over images."""
    values = np.array(values)
    seeds, mean = len(values), values.mean(0)
    if seeds == 1:
        return Estimate(mean, error, error, *ends, "images", 1)
    error = values.std(0, ddof=1) / math.sqrt(seeds)
    half = stats.t.ppf(0.975, seeds - 1) * error
    return Estimate(mean, error, half, *_wider(mean, half, ends), "seeds", seeds)


def _wider(mean: np.ndarray, half: np.ndarray, ends):
    """Return mean -+ half, or `ends` where that has no length."""
    some = half > 1e-12
    low, high = ends
    return np.where(some, mean - half, low), np.where(some, mean + half, high)


def _ends(values: Sequence[np.ndarray], error: np.ndarray):
    mean = np.mean(values, 0)
    return mean - 1.96 * error, mean + 1.96 * error


def _error_of_a_side(share: np.ndarray, images: int) -> np.ndarray:
    """Return the standard error with one right and one wrong image more."""
    return standard_error((share * images + 1) / (images + 2), images + 2)


def _paired_error(one: Certificates, other: Certificates, radii) -> np.ndarray:
    radii = np.asarray(radii, np.float64)[:, None]
    ours, theirs = (
        part.correct & (part.radius >= radii) for part in common([one, other])
    )
    gained, lost = (ours & ~theirs).sum(1) + 1, (theirs & ~ours).sum(1) + 1
    images = ours.shape[1] + 2
    return np.sqrt(gained + lost - (gained - lost) ** 2 / images) / images
