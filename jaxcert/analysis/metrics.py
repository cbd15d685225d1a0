"""What a certificate record says about a classifier. Functions of `records.Certificates`.

certified accuracy at r = share of all images with predicted = label and radius >= r;
at r = 0 it is the clean accuracy of the certified classifier: abstaining is wrong. Where the
labels are not known, the share counts every image with a class, and what needs to know whether
it is the right one is nan or None.

PREDICT names classes and certifies nothing: what needs a radius is nan in its `summary`. So
is what a record that tried some radii alone would say of others.

Randomized smoothing certifies an image if p_lower > 1/2. Shares over p_lower are read off
that column; published tables have none, there p_lower = Phi(radius / sigma), which holds
for Gaussian noise. The share k/N of the votes, which Sun et al. (2024) draw, is above it.

The average certified radius (ACR) comes last: Sun et al. (2024) show that a classifier
that always answers the same class can have a larger one than any robust network, as it
grows without bound with the number of samples on images that are easy anyway.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from jaxcert.certificate import (
    ABSTAIN,
    ERROR,
    Certificates,
    certified_accuracy,
    certified_share,
    certifies,
    share_is_known,
)
from jaxcert.certificates import norms, runner_up, statistics


class Summary(NamedTuple):
    """One record in numbers. Shares are of all N images, at the R radii asked for."""

    images: int
    radii: np.ndarray
    """float64 [R]"""
    certified: np.ndarray
    """float64 [R], `certified_share`"""
    certified_error: np.ndarray
    """float64 [R], its standard error; 0 at shares of 0 and 1, where none can be estimated"""
    certified_low: np.ndarray
    """float64 [R], with `certified_high` its 95 % interval"""
    certified_high: np.ndarray
    certified_lower: np.ndarray
    """float64 [R], what holds with 99.9 % although each certificate may fail with
    alpha; nan where alpha is unknown"""
    wrong_certified: np.ndarray
    """float64 [R], share certified for a class that is not the label"""
    abstention: float
    error: float
    mean_radius: float
    """of the images that count; nan if there is none"""
    median_radius: float
    acr: float
    acr_error: float
    acr_share: float | None
    """part of the ACR from images with p_lower > 0.99; None without sigma"""
    trivial_acr: float | None
    """ACR of a constant classifier; None unless Gaussian noise with known sigma, alpha and n
    was certified by CERTIFY"""
    trivial_n: float | None
    """samples with which its ACR would be larger than this record's; None as above"""
    changed: float | None
    """share of the n0 votes that float32 instead of bfloat16 changes; None where that was not
    looked at"""
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
    """Numbers of the C classes that occur among the labels."""

    label: np.ndarray
    """int32 [C]"""
    images: np.ndarray
    """int64 [C]"""
    certified: np.ndarray
    """float64 [C,R], share of the class' images"""
    acr: np.ndarray
    """float64 [C]"""


def summary(c: Certificates, radii: ArrayLike) -> Summary:
    """Return all numbers of a record at the given radii; the record must have a row."""
    radii, count = np.asarray(radii, np.float64), len(c.index)
    stated = 1.0 if certifies(c) else np.nan
    known = 1.0 if c.labelled else np.nan
    at = np.where(share_is_known(c, radii), 1.0, np.nan)
    certified = certified_share(c, radii)
    low, high = interval(certified, count)
    of_table = c.header.get("format") == "tsv"
    alpha = c.header.get("alpha") or (np.nan if of_table else 0.0)
    if "familywise" in c.header:  # its level may depend on the votes
        alpha = np.nan
    right = c.radius[c.counted] if c.counted.any() else np.array([np.nan])
    wrong = c.radius[(c.predicted >= 0) & ~c.correct]
    n0 = c.procedure.get("n0")
    return Summary(
        images=count,
        radii=radii,
        certified=certified,
        certified_error=standard_error(certified, count),
        certified_low=low,
        certified_high=high,
        certified_lower=certified_accuracy_lower_bound(certified, count, alpha=alpha),
        wrong_certified=known * at * (wrong >= radii[:, None]).sum(1) / count,
        abstention=float(np.mean(c.predicted == ABSTAIN)),
        error=float(np.mean(c.predicted == ERROR)),
        mean_radius=stated * float(np.mean(right)),
        median_radius=stated * float(np.median(right)),
        acr=known * stated * acr(c),
        acr_error=known * stated * float(np.std(c.radius * c.correct) / np.sqrt(count)),
        acr_share=acr_share(c) if c.labelled else None,
        trivial_acr=trivial_acr(c) if c.labelled else None,
        trivial_n=trivial_n(c) if c.labelled else None,
        changed=float(c.changed.mean() / n0) if n0 and c.changed is not None else None,
        paper=None if c.radius_paper is None else paper(c, radii),
    )


def paper(c: Certificates, radii: ArrayLike) -> Paper:
    """Return what the paper prints of a record that has `radius_paper`."""
    some = (c.radius > 0) & (c.radius_paper > 0)
    ratio = c.radius[some] / c.radius_paper[some] if some.any() else np.array([np.nan])
    theirs = certified_share(c._replace(radius=c.radius_paper), radii)
    return Paper(theirs, float(np.median(ratio)), float(ratio.min()))


def standard_error(share: ArrayLike, count: int) -> np.ndarray:
    """Return the binomial standard error of a share of `count` images: what another
    draw of test images would change (2.2 points at 50 % of 500)."""
    share = np.asarray(share, np.float64)
    return np.sqrt(share * (1 - share) / count)


def interval(share: ArrayLike, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the 95 % interval of Clopper and Pearson of a share of `count` images. It
    never has length 0, also for shares of 0 and 1; nan for nan."""
    right = np.round(np.asarray(share, np.float64) * count, 6)
    wrong = count - right
    with np.errstate(invalid="ignore"):
        low = special.betaincinv(np.maximum(right, 1e-9), wrong + 1, 0.025)
        high = special.betaincinv(right + 1, np.maximum(wrong, 1e-9), 0.975)
    return np.where(right == 0, 0.0, low), np.where(wrong == 0, 1.0, high)


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
    if np.isnan(alpha):
        return np.full(np.shape(accuracy), np.nan)
    if alpha:
        false = np.ceil(special.bdtrik(1 - rho, count, alpha))
        false += (
            special.bdtr(false, count, alpha) < 1 - rho
        )  # the root was rounded down
    return np.maximum(np.asarray(accuracy, np.float64) - false / count, 0.0)


def share_at_max_radius(c: Certificates) -> float:
    """Return the share of images at the largest radius of the record, where n limits
    it."""
    return float(np.mean(c.radius == c.radius.max()))


def vote_probability(c: Certificates, *, sigma: float | None = None):
    """Lower bound of the predicted class' probability, float64 [N], nan where nothing is
    predicted. None for a record that has neither p_lower nor radii of Gaussian noise of
    known sigma.

    sigma: the header's if not given.
    """
    sigma = c.header.get("sigma") if sigma is None else sigma
    if c.p_lower is not None:
        return np.where(c.predicted >= 0, c.p_lower, np.nan)
    if not sigma or not _is_gaussian(c) or not certifies(c):
        return None
    return np.where(c.predicted >= 0, special.ndtr(c.radius / sigma), np.nan)


def survival(c: Certificates, values: np.ndarray, p: ArrayLike) -> np.ndarray:
    """Share of images that are correct with a value >= p, for each p; float64 [P], nan where
    the labels are not known.

    values [N]: `vote_probability`, for the survival form of the data that Sun et al. (2024)
    released, or `vote_share`: 1 minus that is their Figure 3."""
    reached = np.sort(values[c.correct])
    below = np.searchsorted(reached, np.asarray(p, np.float64), side="left")
    share = (len(reached) - below) / len(c.index)
    return share if c.labelled else np.full(share.shape, np.nan)


def vote_share(c: Certificates) -> np.ndarray | None:
    """k/N, the share of the N votes that the predicted class has, float64 [N]; nan where
    nothing is predicted. p_lower is its lower bound, up to 0.7 points below it for n =
    100,000.

    None unless the number of votes was fixed beforehand (CERTIFY and PREDICT) and is known. Of
    a table that is told sigma, alpha and n it is recovered from the radius, up to what
    three digits of that allow."""
    rows = np.arange(len(c.index))
    n = np.maximum(c.n, 1)
    if certifies(c) and certify_numbers(c) is None:
        return None
    if c.counts is not None:
        k = c.counts[rows, np.maximum(c.predicted, 0)]
    elif c.agreeing is not None and c.agreeing.shape[1] == 1:
        k = c.agreeing[:, 0]
    elif certifies(c):
        n, alpha, sigma = certify_numbers(c)
        # p_lower of k votes is where k or more of n have probability alpha
        k = special.bdtrik(1 - alpha, n, special.ndtr(c.radius / sigma)) + 1
        k = np.minimum(np.round(k), n)
    else:
        return None
    return np.where(c.predicted >= 0, k / n, np.nan)


def per_class(c: Certificates, radii: ArrayLike) -> PerClass:
    """Return certified accuracy and ACR of each class that occurs among the labels."""
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
    """Return the part of the ACR that comes from images with p_lower > p; None without
    p_lower and sigma."""
    probability = vote_probability(c)
    if probability is None:
        return None
    radius = c.radius[c.correct]
    easy = probability[c.correct] > p
    return float(radius[easy].sum() / radius.sum()) if radius.any() else 0.0


def trivial_acr(c: Certificates) -> float | None:
    """ACR of a classifier that always answers these labels' most frequent class (Sun et
    al., Theorem 1), as far as the record's noise shows it; None as in `Summary`."""
    known = certify_numbers(c)
    if known is None:
        return None
    return statistics.trivial_acr(_largest_share(c), *known, least_tail(c))


def trivial_n(c: Certificates) -> float | None:
    """Samples from which that classifier has a larger ACR than this record; inf where a
    float64 cannot hold their number or noise does not show so much, None as in `Summary`."""
    known = certify_numbers(c)
    if known is None:
        return None
    _, alpha, sigma = known
    given = acr(c), _largest_share(c), sigma, alpha
    n = statistics.smallest_n_above(*given)
    return n if n == np.inf else statistics.smallest_n_above(*given, least_tail(c, n))


def noise_of(c: Certificates) -> str:
    """Return the noise that was added to the images; tables do not say it and have
    Gaussian noise."""
    return str(c.procedure.get("noise") or "gaussian")


def _is_gaussian(c: Certificates) -> bool:
    """Return whether radius = sigma Phi^-1(p_lower), which also holds for noise on the
    grid of 8-bit images."""
    return c.header.get("norm", "l2") == "l2" and noise_of(c) in ("gaussian", "grid")


def certify_numbers(c: Certificates) -> tuple[int, float, float] | None:
    """(n, alpha, sigma) of CERTIFY with Gaussian noise: all votes agreeing gives the radius
    `statistics.max_radius` there, or what drawn noise shows (`least_tail`); other
    procedures stop earlier or prove less."""
    sigma, alpha, n = c.header.get("sigma"), c.header.get("alpha"), int(c.n.max())
    name = c.procedure.get("name", "certify")
    if not (sigma and alpha and n and _is_gaussian(c) and name == "certify"):
        return None
    return n, alpha / _split(c), sigma


def most_provable(c: Certificates) -> float:
    """Return the radius that all votes agreeing prove in a record of CERTIFY with Gaussian noise;
    infinity for others."""
    known = certify_numbers(c)
    if known is None:
        return float("inf")
    return float(statistics.max_radius(*known, least_tail(c)))


def _split(c: Certificates) -> int:
    """Return over how many bounds of one image alpha is divided where all votes agree."""
    if c.procedure.get("rival") != "runner_up":
        return 1
    return runner_up.bounds(
        runner_up.Rival("runner_up"), c.header.get("num_classes", 2)
    )


def least_tail(c: Certificates, n: int | None = None) -> float:
    """The least tail probability that the record's noise shows (`norms.LEAST_TAIL`), for its own
    n or another; 0 for tables, whose noise others drew."""
    if c.header.get("format") == "tsv":
        return 0.0
    stated = c.procedure.get("least_tail") or 0.0
    n = int(c.n.max()) if n is None else n
    return norms.least_tail_of(noise_of(c), n, c.header["alpha"], stated)


def _largest_share(c: Certificates) -> float:
    """Return the share of images that the most frequent label has."""
    return float(np.unique(c.label, return_counts=True)[1].max() / len(c.label))


def _rows(c: Certificates, keep: np.ndarray) -> Certificates:
    columns = {
        name: None if value is None else value[keep]
        for name, value in zip(c._fields[:-1], c[:-1], strict=True)
    }
    return Certificates(**columns, header=c.header)
