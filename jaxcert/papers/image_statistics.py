"""How good, and how new, generated images are.

Heusel et al., GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash
Equilibrium (2017, arXiv:1706.08500): the Frechet distance of two sets of features with means
m, m' and covariances S, S' (of n - 1),

    |m - m'|^2 + tr(S + S' - 2 (S S')^(1/2)).

It is 0 for equal moments, and larger the fewer images it is estimated from. They take the
features of an Inception network; here they are whatever is given, so numbers compare only
under the same features.

Whether a model repeats its training images is read off l2 distances to the nearest of
them: those of generated images beside those of test images, which nobody memorised.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import numpy as np
from scipy import linalg

from jaxcert.errors import InputError

CLOSEST = 0.01
"""The share of the test images that are called close to a training image."""

_BLOCK = 2048  # rows looked at together


class Moments(NamedTuple):
    mean: np.ndarray
    """[D]"""
    covariance: np.ndarray
    """[D,D]"""


class Closeness(NamedTuple):
    """How near images are to the training images, by distances to the nearest one."""

    median: float
    close: float
    """share nearer than the closest `CLOSEST` of the test images, the quantile of their
    distances; about `CLOSEST` for images from the same law"""
    closer: float
    """share nearer than every test image"""
    copies: int
    """at distance 0"""


def moments(features: np.ndarray) -> Moments:
    """Return the moments of features [N,D]. Raises InputError for fewer than two rows
    or what is not finite."""
    if features.ndim != 2 or len(features) < 2:
        raise InputError(
            f"features of shape {features.shape} have no covariance: give [N,D] with N of "
            "at least 2."
        )
    mean = features.mean(0, dtype=np.float64)
    if not np.isfinite(mean).all():
        raise InputError("some features are not finite: correct what computes them.")
    total = np.zeros((len(mean), len(mean)))
    for first in range(0, len(features), _BLOCK):
        away = features[first : first + _BLOCK] - mean
        total += away.T @ away
    return Moments(mean, total / (len(features) - 1))


def frechet_distance(a: Moments, b: Moments) -> float:
    """Return the Frechet distance of two normal laws with these moments. Raises
    InputError for laws of other dimensions."""
    if a.mean.shape != b.mean.shape:
        raise InputError(
            f"one set has {len(a.mean)} features, the other {len(b.mean)}: give the same."
        )
    # S S' has the eigenvalues of the symmetric S^(1/2) S' S^(1/2)
    values, vectors = linalg.eigh(a.covariance)
    root = vectors * np.sqrt(np.maximum(values, 0)) @ vectors.T
    product = linalg.eigvalsh(root @ b.covariance @ root)
    both = np.sqrt(np.maximum(product, 0)).sum()
    traces = np.trace(a.covariance) + np.trace(b.covariance)
    return float(((a.mean - b.mean) ** 2).sum() + traces - 2 * both)


def nearest(points: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the l2 distance [N] from each of `points` [N,...] to the nearest of
    `others` [M,...], and its position [N], in float64, so that distances of uint8
    images are exact."""
    points, others = (x.reshape(len(x), -1) for x in (points, others))
    best, position = np.full(len(points), np.inf), np.zeros(len(points), int)
    for start in range(0, len(others), _BLOCK):
        there = others[start : start + _BLOCK].astype(np.float64)
        length = (there**2).sum(1)
        for first in range(0, len(points), _BLOCK):
            rows = slice(first, first + _BLOCK)
            here = points[rows].astype(np.float64)
            squares = (here**2).sum(1)[:, None] + length - 2 * here @ there.T
            at = squares.argmin(1)
            found = squares[np.arange(len(at)), at]
            better = found < best[rows]
            best[rows] = np.where(better, found, best[rows])
            position[rows] = np.where(better, start + at, position[rows])
    return np.sqrt(np.maximum(best, 0)), position


def closeness(distance: np.ndarray, test: np.ndarray) -> Closeness:
    """Return the closeness of images, from distances to the nearest training image of
    the images [N] and of test images [M]."""
    return Closeness(
        median=float(np.median(distance)),
        close=float((distance < np.quantile(test, CLOSEST)).mean()),
        closer=float((distance < test.min()).mean()),
        copies=int((distance == 0).sum()),
    )


def repeats(image: np.ndarray) -> int:
    """Return how many images [N,...] are equal to an earlier one."""
    seen = {hashlib.blake2b(each.tobytes(), digest_size=16).digest() for each in image}
    return len(image) - len(seen)


def class_counts(label: np.ndarray, num_classes: int) -> np.ndarray:
    """Return the number of images of each class, int [K]."""
    return np.bincount(label, minlength=num_classes)
