"""What a certificate record says about a classifier. Functions of `records.Certificates`.

certified accuracy at r = share of all images with predicted = label and radius >= r;
at r = 0 it is the clean accuracy of the certified classifier: abstaining is wrong.

Randomized smoothing certifies an image if p_lower > 1/2, where radius = sigma *
Phi^-1(p_lower). Shares over p_lower are computed from radius / sigma, which published
tables have as well.

The average certified radius (ACR) comes last: Sun et al. (2024) show that a classifier
that always answers the same class can have a larger one than any robust network, as it
grows without bound with the number of samples on images that are easy anyway.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from jaxcert.certificates import statistics
from jaxcert.records import ABSTAIN, ERROR, Certificates

ATTACKS = ("pgd", "apgd")
"""Methods whose records hold distances that attacks found, no certificates."""


class Summary(NamedTuple):
    """One record in numbers; shares are of all N images, R the radii asked for."""

    images: int
    radii: np.ndarray
    """float64 [R]"""
    certified: np.ndarray
    """float64 [R], certified accuracy"""
    certified_error: np.ndarray
    """float64 [R], its standard error"""
    certified_lower: np.ndarray
    """float64 [R], what holds with 99.9 % although each certificate may fail with
    alpha"""
    wrong_certified: np.ndarray
    """float64 [R], share certified for a class that is not the label"""
    abstention: float
    error: float
    mean_radius: float
    """of the correct images; nan if there is none"""
    median_radius: float
    acr: float
    acr_error: float
    acr_share: float | None
    """part of the ACR from images with p_lower > 0.99; None without sigma"""
    trivial_acr: float | None
    """ACR of a constant classifier; None without sigma, alpha and n"""
    paper: Paper | None = None
    """None where the record has no radii of a paper"""


class Paper(NamedTuple):
    """What a paper prints of the same network, by estimates of its constants."""

    certified: np.ndarray
    """float64 [R]"""
    median_ratio: float
    """radius by the paper's, over images that have both; nan without any"""
    least_ratio: float


class PerClass(NamedTuple):
    """Rows of the classes that occur, C of them."""

    label: np.ndarray
    """int32 [C]"""
    images: np.ndarray
    """int64 [C]"""
    certified: np.ndarray
    """float64 [C,R], share of the class' images"""
    acr: np.ndarray
    """float64 [C]"""


def summary(c: Certificates, radii: ArrayLike) -> Summary:
    """All numbers of a record at the given radii; c must have a row."""
    certified = certified_accuracy(c, radii)
    count = len(c.index)
    return Summary(
        images=count,
        radii=np.asarray(radii, np.float64),
        certified=certified,
        certified_error=standard_error(certified, count),
        certified_lower=certified_accuracy_lower_bound(
            certified, count, alpha=c.header.get("alpha") or 0.0
        ),
        wrong_certified=wrong_but_certified(c, radii) / count,
        abstention=abstention_rate(c),
        error=error_rate(c),
        mean_radius=mean_radius(c),
        median_radius=median_radius(c),
        acr=acr(c),
        acr_error=float(np.std(c.radius * c.correct) / np.sqrt(count)),
        acr_share=acr_share(c),
        trivial_acr=trivial_acr(c),
        paper=None if c.radius_paper is None else paper(c, radii),
    )


def paper(c: Certificates, radii: ArrayLike) -> Paper:
    """Of a record that has `radius_paper`."""
    some = (c.radius > 0) & (c.radius_paper > 0)
    ratio = c.radius[some] / c.radius_paper[some] if some.any() else np.array([np.nan])
    theirs = certified_accuracy(c._replace(radius=c.radius_paper), radii)
    return Paper(theirs, float(np.median(ratio)), float(ratio.min()))


def certified_accuracy(c: Certificates, radii: ArrayLike) -> np.ndarray:
    """Share of images that are correct with radius >= r, for each r; float64 [R]."""
    reached = np.sort(c.radius[c.correct])
    below = np.searchsorted(reached, np.asarray(radii, np.float64), side="left")
    return (len(reached) - below) / len(c.index)


def attacked_accuracy(c: Certificates, radii: ArrayLike) -> np.ndarray:
    """Share of images that are correct and were not moved to another class within r;
    float64 [R]. An upper bound of every certified accuracy."""
    moved = np.sort(np.where(c.correct, c.distance, np.nan))  # nan comes last
    lost = np.searchsorted(moved, np.asarray(radii, np.float64), side="right")
    return (c.correct.sum() - lost) / len(c.index)


def contradicted(c: Certificates, attacks: Certificates) -> np.ndarray:
    """Indices of images whose certified class an attack changes inside the radius."""
    _, mine, theirs = np.intersect1d(c.index, attacks.index, return_indices=True)
    same = c.predicted[mine] == attacks.predicted[theirs]
    return c.index[mine][same & (attacks.distance[theirs] < c.radius[mine])]


def clean_accuracy(c: Certificates) -> float:
    """Certified accuracy at 0: abstentions and errors are wrong."""
    return float(np.mean(c.correct))


def abstention_rate(c: Certificates) -> float:
    """Share of images for which the procedure names no class."""
    return float(np.mean(c.predicted == ABSTAIN))


def error_rate(c: Certificates) -> float:
    """Share of images that could not be evaluated (a NaN, say)."""
    return float(np.mean(c.predicted == ERROR))


def wrong_but_certified(c: Certificates, radii: ArrayLike) -> np.ndarray:
    """Images certified at radius >= r for a class that is not the label; int64 [R]."""
    radius = c.radius[(c.predicted >= 0) & ~c.correct]
    return (radius >= np.asarray(radii, np.float64)[:, None]).sum(1)


def standard_error(share: ArrayLike, count: int) -> np.ndarray:
    """Binomial standard error of a share of `count` images: what another draw of test
    images would change (2.2 points at 50 % of 500)."""
    share = np.asarray(share, np.float64)
    return np.sqrt(share * (1 - share) / count)


def certified_accuracy_lower_bound(
    accuracy: ArrayLike, count: int, *, alpha: float, rho: float = 0.001
) -> np.ndarray:
    """Certified accuracy on these images that holds with probability 1 - rho.

    Each of `count` certificates is false with probability at most alpha, independently:
    the number of false ones is at most the (1 - rho) quantile q of Binomial(count,
    alpha), and the bound is accuracy - q / count. Cohen et al. (2019, appendix) bound
    q by Bernstein's inequality; the quantile itself is never looser.
    """
    false = 0.0
    if alpha:
        false = np.ceil(special.bdtrik(1 - rho, count, alpha))
        false += (
            special.bdtr(false, count, alpha) < 1 - rho
        )  # the root was rounded down
    return np.maximum(np.asarray(accuracy, np.float64) - false / count, 0.0)


def mean_radius(c: Certificates) -> float:
    """Of the correct images; nan if there is none."""
    return float(np.mean(c.radius[c.correct])) if c.correct.any() else float("nan")


def median_radius(c: Certificates) -> float:
    """Of the correct images; nan if there is none."""
    return float(np.median(c.radius[c.correct])) if c.correct.any() else float("nan")


def share_at_max_radius(c: Certificates) -> float:
    """Share of images at the largest radius of the record, where n limits it."""
    return float(np.mean(c.radius == c.radius.max()))


def p_lower_survival(
    c: Certificates, p: ArrayLike, *, sigma: float | None = None
) -> np.ndarray:
    """Share of images that are correct with p_lower >= p, p in [1/2, 1); [P].

    This is the SURVIVAL form; the figures of Sun et al. (2024) draw 1 minus it. sigma:
    the header's if not given.
    """
    sigma = c.header["sigma"] if sigma is None else sigma
    return certified_accuracy(c, sigma * special.ndtri(np.asarray(p, np.float64)))


def per_class(c: Certificates, radii: ArrayLike) -> PerClass:
    """Certified accuracy and ACR of each class that occurs among the labels."""
    labels, images = np.unique(c.label, return_counts=True)
    parts = [_rows(c, c.label == label) for label in labels]
    return PerClass(
        label=labels,
        images=images,
        certified=np.array([certified_accuracy(part, radii) for part in parts]),
        acr=np.array([acr(part) for part in parts]),
    )


def acr(c: Certificates) -> float:
    """Average certified radius: mean over ALL images of radius if correct, else 0.

    Never compare methods by it alone. With smoothing it rewards many samples on easy
    images: print `trivial_acr` and `acr_share` beside it.
    """
    return float(np.mean(np.where(c.correct, c.radius, 0.0)))


def acr_share(c: Certificates, *, p: float = 0.99) -> float | None:
    """Part of the ACR that comes from images with p_lower > p; None without sigma."""
    sigma = c.header.get("sigma")
    if not sigma:
        return None
    radius = c.radius[c.correct]
    easy = radius > sigma * special.ndtri(p)
    return float(radius[easy].sum() / radius.sum()) if radius.any() else 0.0


def trivial_acr(c: Certificates) -> float | None:
    """ACR of a classifier that always answers these labels' most frequent class (Sun et
    al., Theorem 1); None without sigma, alpha and n."""
    sigma, alpha, n = c.header.get("sigma"), c.header.get("alpha"), int(c.n.max())
    if not (sigma and alpha and n):
        return None
    share = np.unique(c.label, return_counts=True)[1].max() / len(c.label)
    return statistics.trivial_acr(float(share), n, alpha, sigma)


def _rows(c: Certificates, keep: np.ndarray) -> Certificates:
    columns = {
        name: None if value is None else value[keep]
        for name, value in zip(c._fields[:-1], c[:-1], strict=True)
    }
    return Certificates(**columns, header=c.header)
