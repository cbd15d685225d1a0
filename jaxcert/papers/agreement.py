"""A record of CERTIFY against the log that its authors released of the same network, image by
image.

Two certifications of one network differ by their draws alone, and by n and alpha. So of every
image the votes are compared: given both numbers of votes against the class, those of the record
are hypergeometric. An image is beyond the draws if a two-sided p-value is below 0.001, which one
image in 1,000 is by chance. A log has radii of three digits and no votes: of the counts that
such a radius stands for, the one nearest to the record's is taken.

Where the two name different classes, or one abstains, the votes of one side for the class of the
other are known from above alone: all that are not for its own class, or the most with which
CERTIFY abstains. Of the counts up to that bound, the one nearest to the other side's is taken.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import special

from jaxcert.analysis import metrics
from jaxcert.analysis.compare import common, why_not_comparable
from jaxcert.certificate import Certificates, certifies
from jaxcert.certificates.statistics import smoothing_radius
from jaxcert.errors import InputError

LEVEL = 0.001
"""An image is beyond the draws below this p-value."""
_FEW = 0.1
"""Share of votes against the class up to which these are counted one by one."""


class Agreement(NamedTuple):
    """Numbers of the N images that a record and a log both have, of which S have one class in
    both."""

    index: np.ndarray
    """int64 [N], in the data set"""
    classes: np.ndarray
    """int32 [N,2], of the record and the log; -1 abstains"""
    radius: np.ndarray
    """float64 [N,2]"""
    votes: np.ndarray | None
    """float64 [N,2], shares of the votes for the class; nan where the classes differ. None where
    the record is of no such votes"""
    p_value: np.ndarray | None
    """float64 [N], of equal votes for one class; nan where both abstain"""
    mean: float
    """of the S differences of radii, record minus log; nan for none"""
    half: float
    """half its 95 % interval"""
    of_settings: float | None
    """the mean difference that other n and alpha make, for the votes of the log"""

    @property
    def same(self) -> np.ndarray:
        """Return bool [N]: the classes agree, and are no abstentions."""
        return (self.classes[:, 0] == self.classes[:, 1]) & (self.classes[:, 0] >= 0)

    @property
    def beyond(self) -> int | None:
        """Return how many images are beyond the draws."""
        if self.p_value is None:
            return None
        return int((self.p_value < LEVEL).sum())

    @property
    def beyond_by_chance(self) -> int:
        """Return the most that are beyond the draws with 99.9 % if all differences are draws."""
        images = 0 if self.p_value is None else int((~np.isnan(self.p_value)).sum())
        return int(np.ceil(special.bdtrik(0.999, images, LEVEL))) if images else 0


def agreement(record: Certificates, log: Certificates, *, name: str = "the log"):
    """Return the `Agreement` of a record with a log that is told its sigma, alpha and n.

    Raises InputError for two sigmas, a record without radii, and none or other images."""
    if why := why_not_comparable(record, log, name):
        raise InputError(f"the record does not compare with {name}: it has {why}.")
    ours, theirs = (c.header.get("sigma") for c in (record, log))
    if ours is None or abs(ours - theirs) > 1e-6 * theirs:
        raise InputError(
            f"the record is of sigma {ours}, and {name} of {theirs}: compare records of one "
            "sigma."
        )
    index = np.intersect1d(record.index, log.index)
    a, b = common([record, log])
    classes = np.stack([a.predicted, b.predicted], 1)
    same = (a.predicted == b.predicted) & (a.predicted >= 0)
    radius = np.stack([a.radius, b.radius], 1)
    gained = (a.radius - b.radius)[same]
    mean = float(gained.mean()) if len(gained) else np.nan
    spread = gained.std(ddof=1) / np.sqrt(len(gained)) if len(gained) > 1 else np.nan
    found = dict(mean=mean, half=float(1.96 * spread), index=index)
    votes = p_value = of_settings = None
    known = metrics.certify_numbers(record)
    share = metrics.vote_share(record) if certifies(record) else None
    if known is not None and share is not None:
        n, alpha, sigma = known
        place = np.argsort(record.index)
        place = place[np.searchsorted(record.index, index, sorter=place)]
        low, high, n_log, alpha_log = counts_of(log._replace(radius=b.radius))
        ours, theirs = classes.T >= 0
        k = np.where(ours, np.round(share[place] * n), _most_unproven(n, alpha))
        most = np.where(theirs, n_log - low, _most_unproven(n_log, alpha_log))
        nearest = np.round(k / n * n_log)
        # of the class of the log, or else of that of the record, which has at most so many
        k_log = np.where(
            same | ~ours, np.clip(nearest, low, high), np.minimum(nearest, most)
        )
        votes = np.where(same[:, None], np.stack([k / n, k_log / n_log], 1), np.nan)
        p_value = np.where(
            ours | theirs, _p_value(n - k, n, n_log - k_log, n_log), np.nan
        )
        k, low, high = k[same], low[same], high[same]
        middle = np.round((low + high) / 2)
        by_record = smoothing_radius(np.round(middle / n_log * n), n, alpha, sigma)
        by_log = smoothing_radius(middle, n_log, alpha_log, sigma)
        of_settings = float(np.mean(by_record - by_log)) if same.any() else None
    return Agreement(
        classes=classes,
        radius=radius,
        votes=votes,
        p_value=p_value,
        of_settings=of_settings,
        **found,
    )


def _most_unproven(n: int, alpha: float) -> float:
    """Return the most votes of n that do not prove a majority, so that CERTIFY abstains."""
    return float(np.ceil(special.bdtrik(1 - alpha, n, 0.5)))


def counts_of(log: Certificates) -> tuple[np.ndarray, np.ndarray, int, float]:
    """Return the least and largest count of votes that each radius of three digits stands for,
    float64 [N], n and alpha."""
    n, alpha, sigma = metrics.certify_numbers(log)
    unit = 10.0 ** (np.floor(np.log10(np.maximum(log.radius, 1e-9))) - 2)
    low, high = (
        special.bdtrik(
            1 - alpha, n, special.ndtr((log.radius + sign * unit / 2) / sigma)
        )
        + 1
        for sign in (-1, 1)
    )
    low = np.clip(np.ceil(low), 0, n)
    return low, np.clip(np.floor(high), low, n), n, alpha


def _p_value(against, n, against_log, n_log) -> np.ndarray:
    """Return the two-sided p-value of equal probabilities, from votes against a class, float64
    [N]. Few of them are binomial given their sum, which is conservative; of many the difference
    is normal."""
    both, part = against + against_log, n / (n + n_log)
    counted = both.astype(np.int64)  # of 0 that many or more are certain
    least = np.minimum(
        special.bdtr(against, counted, part),
        np.where(against > 0, special.bdtrc(against - 1, counted, part), 1.0),
    )
    few = np.minimum(1.0, 2 * least)
    pooled = both / (n + n_log)
    spread = np.sqrt(pooled * (1 - pooled) * (1 / n + 1 / n_log))
    z = np.abs(against / n - against_log / n_log) / np.maximum(spread, 1e-300)
    return np.where(pooled <= _FEW, few, 2 * special.ndtr(-z))
