"""Diffusion classifiers: Chen, Dong, Shao, Hao, Yang, Su and Zhu, Diffusion Models are
Certifiably Robust Classifiers (2024, arXiv:2402.02316).

    logit_y = - sum_t W_t mean_pixels (h(x_t, s_t, y) - target_t)^2          one sum for all

| kind | x_t | target_t |
|---|---|---|
| DC, diffusion classifier | x + s_t eps_t | x |
| EPNDC, exact posterior (appendix A.6) | x_tau + r_t eps_t | x_tau - (s_tau^2 / r_t) eps_t |
| APNDC, approximated posterior (eq. 16) | x0 + s_t eps_t | x0 = h(x_tau, s_tau, none) |
| APNDC from the noisy image (remark 3.5) | x_tau + r_t eps_t | x0 |
| DiffPure, then DC | x0 + s_t eps_t | x0 |

with r_t = sqrt(s_t^2 - s_tau^2), levels above s_tau, or above 0 for the kinds with DC in
their name. All classes share eps_t: the difference of two logits then has less variance.

| paper | here |
|---|---|
| h(x, sigma, y) | denoise |
| x, x_tau | x [B,H,W,C] in [-1, 1], clean or with noise of sigma_tau |
| sigma_t, W_t | Levels.sigma, Levels.weight |
| s_t or r_t; s_tau^2 / r_t | Levels.noise; Levels.pull |
| T' | count |

The paper has EPNDC as a sum of w_t |m_q - m_p|^2 over two Gaussian means of x_t. With
s = s_{t+1}, m_q - m_p = ((s^2 - s_t^2) / s^2)(target - h): the form used here, which has no
cancellation. In it the weight of EPNDC's ELBO tends to that of DC, ds / s^3, as levels get
dense, so all kinds share their weightings:

    edm         lambda(s) p(s) ds    the loss of training; p: density of its sigma
    paper       the same without the factor 1 / s of p, as printed
    elbo        ds / s^3             (eq. 5)
    uniform     1
    stabilised  edm times (s^2 - s_tau^2) / s^2: falls as the target gets noisier
    repo        what the authors' code computes, with its grid

What `repo` has beyond edm: the exponent of p multiplied by P_std^2 where it is
to be divided; the last point of the grid left out; p and ds taken one grid point below the
level (two in APNDC from the noisy image); for EPNDC lambda too, a finite-difference factor
that diverges at s_tau, and the first 5 steps skipped for that reason. `drop_below` leaves
out such levels by their sigma, not by their number.

A mean over pixels, a sum over levels. sigma is in the scale of [-1, 1]: sigma_tau is twice
the sigma of randomized smoothing.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxcert.diffusion import edm
from jaxcert.diffusion.edm import Denoise
from jaxcert.errors import InputError, above, one_of
from jaxcert.interfaces import Array, Keys

Noise = Callable[[Array], Array]
"""index of a level -> normal draws [B,H,W,C] of all images at that level"""

P_MEAN, P_STD = -1.2, 1.2
"""ln sigma in EDM's training"""

LOWEST = 1e-4
"""The lowest level of DC, because no network is asked at 0."""

WEIGHTINGS = ("edm", "paper", "elbo", "uniform", "stabilised", "repo")


class Levels(NamedTuple):
    """The levels of a diffusion classifier, rising; arrays are float64 [T]."""

    sigma: np.ndarray
    """what h is told"""
    weight: np.ndarray
    noise: np.ndarray
    """standard deviation of x_t"""
    pull: np.ndarray
    """how far the target moves against eps"""


class Classifier(NamedTuple):
    """What is known of a diffusion classifier before its input."""

    levels: Levels
    num_classes: int
    denoise_at: float | None = None
    """sigma of the one-step estimate that is the target; None: the input is the target"""
    from_input: bool = True
    """whether x_t is made of the input, or of that estimate"""

    @property
    def evaluations(self) -> int:
        """The number of evaluations of the denoiser for all classes at all levels."""
        return self.overhead + len(self.levels.sigma) * self.num_classes

    @property
    def overhead(self) -> int:
        """The number of evaluations for an image beside those of its levels."""
        return int(self.denoise_at is not None)


class Anchors(NamedTuple):
    """Images that the levels of one input are made of, [B,H,W,C] each."""

    base: Array
    """what noise is added to"""
    target: Array


def dc(
    num_classes: int,
    count: int,
    *,
    weighting: str = "edm",
    sigma_end: float = 3.0,
    drop_below: float = 0.0,
) -> Classifier:
    """Return DC, the classifier of clean images.

    Here and below there are `count` levels evenly spaced up to sigma_end, less those not above
    sigma_tau + drop_below; under 'repo' there are count points of a grid, of which the code uses
    count - 2 (APNDC from the noisy image: 3, EPNDC: 7 less).

    Raises InputError for levels that are none.
    """
    s, at, step = _grid(count, LOWEST, sigma_end, weighting)
    weight = _weight(weighting, s, at, step)
    levels = Levels(s, weight, noise=s, pull=np.zeros_like(s))
    return Classifier(_above(levels, drop_below), num_classes)


def epndc(
    num_classes: int,
    count: int,
    sigma_tau: float,
    *,
    weighting: str = "edm",
    sigma_end: float = 3.0,
    drop_below: float = 0.0,
) -> Classifier:
    """target = x_tau - (s_tau^2 / r) eps. Raises InputError as dc does."""
    s, at, step = _grid(count, _noised(sigma_tau), sigma_end, weighting, first=6)
    r = np.sqrt(s**2 - sigma_tau**2)
    if weighting == "repo":
        finite = (s + at) ** 2 * r**2 / (4 * s**2 * (at**2 - sigma_tau**2))
        weight = _weight("repo", at, at, step) * finite
    else:
        weight = _weight(weighting, s, at, step, sigma_tau)
    levels = Levels(s, weight, noise=r, pull=sigma_tau**2 / r)
    return Classifier(_above(levels, sigma_tau + drop_below), num_classes)


def apndc(
    num_classes: int,
    count: int,
    sigma_tau: float,
    *,
    noise_from: str = "denoised",
    weighting: str = "edm",
    sigma_end: float = 3.0,
    drop_below: float = 0.0,
) -> Classifier:
    """target = x0 = h(x_tau, s_tau, none). noise_from: 'denoised' (x_t = x0 + s eps) or
    'noisy' (x_t = x_tau + r eps). Raises InputError as dc does."""
    one_of(("denoised", "noisy"), noise_from=noise_from)
    noisy = noise_from == "noisy"
    lag = 2 if noisy else 1
    s, at, step = _grid(count, _noised(sigma_tau), sigma_end, weighting, lag, lag)
    weight = _weight(weighting, s, at, step, sigma_tau)
    noise = np.sqrt(s**2 - sigma_tau**2) if noisy else s
    levels = Levels(s, weight, noise, pull=np.zeros_like(s))
    levels = _above(levels, sigma_tau + drop_below)
    return Classifier(levels, num_classes, float(sigma_tau), from_input=noisy)


def diffpure(
    num_classes: int, count: int, sigma_tau: float, **levels: Any
) -> Classifier:
    """DC of the one-step estimate x0, with levels from 0 (Chen et al. 2024). Keywords and
    errors as of dc."""
    clean = dc(num_classes, count, **levels)
    return clean._replace(denoise_at=float(_noised(sigma_tau)), from_input=False)


def logits(denoise: Denoise, classifier: Classifier, x: Array, noise: Noise) -> Array:
    """Return logits [B,K] of images x [B,H,W,C] in [-1, 1], with the B*K pairs of one
    level at a time."""
    fixed = anchors(denoise, classifier, x)
    shape = len(x), classifier.num_classes
    pairs = jnp.indices(shape, jnp.int32).reshape(2, -1)

    def subtract(total, t):
        return total - losses_at(denoise, classifier, fixed, t, noise(t))(*pairs), None

    start = jnp.zeros(pairs.shape[1], x.dtype)
    order = jnp.arange(len(classifier.levels.sigma))
    return jax.lax.scan(subtract, start, order)[0].reshape(shape)


def anchors(denoise: Denoise, classifier: Classifier, x: Array) -> Anchors:
    """Return the anchors of images, with at most one evaluation per image."""
    if classifier.denoise_at is None:
        return Anchors(x, x)
    level = jnp.full(len(x), classifier.denoise_at, x.dtype)
    clean = denoise(x, level, None)
    return Anchors(x if classifier.from_input else clean, clean)


def losses_at(
    denoise: Denoise, classifier: Classifier, fixed: Anchors, t: Array, eps: Array
) -> Callable[[Array, Array], Array]:
    """Level t with draws eps [B,H,W,C]: (image [R], class [R]) of R pairs ->
    W_t mean_pixels (h(x_t, s_t, y) - target_t)^2, [R]."""
    at = jax.tree.map(lambda v: jnp.asarray(v, eps.dtype)[t], classifier.levels)
    x_t = fixed.base + at.noise * eps
    target = fixed.target - at.pull * eps

    def losses(image: Array, label: Array) -> Array:
        sigma = jnp.full(image.shape, at.sigma)
        error = denoise(x_t[image], sigma, label) - target[image]
        return at.weight * (error**2).mean((1, 2, 3))

    return losses


def draws(keys: Keys, like: Array) -> Noise:
    """Draw noise for images [B,H,W,C], each from its own key, so that it depends on no
    other image."""

    def noise(t: Array) -> Array:
        at_level = jax.vmap(jax.random.fold_in, (0, None))(keys, t)
        normal = functools.partial(
            jax.random.normal, shape=like.shape[1:], dtype=like.dtype
        )
        return jax.vmap(normal)(at_level)

    return noise


def density(sigma: np.ndarray, weighting: str = "edm") -> np.ndarray:
    """Return p(sigma) of EDM's training, or what 'repo' and 'paper' make of it."""
    z = np.log(sigma) - P_MEAN
    z = z * P_STD if weighting == "repo" else z / P_STD
    p = np.exp(-(z**2) / 2) / (P_STD * np.sqrt(2 * np.pi))
    return p if weighting == "paper" else p / sigma


def _noised(sigma_tau):
    above(0, sigma_tau=sigma_tau)
    return sigma_tau


def _grid(count, start, end, weighting, first=1, lag=1):
    """Return the levels, where each takes its density, and the step. first, lag: of
    'repo'."""
    one_of(WEIGHTINGS, weighting=weighting)
    above(start, sigma_end=end)
    repo = weighting == "repo"
    least = first + 2 if repo else 1
    if count < least:
        raise InputError(
            f"{count} levels: weighting {weighting!r} needs {least} or more."
        )
    points = np.linspace(start, end, count if repo else count + 1)
    step = points[1] - points[0]
    if repo:
        return points[first:-1], points[first - lag : -1 - lag], step
    return points[1:], points[1:], step


def _weight(weighting, s, at, step, sigma_tau=0.0):
    if weighting == "uniform":
        return np.ones_like(s)
    if weighting == "elbo":
        return step / s**3
    weight = edm.loss_weight(s) * density(at, weighting) * step
    if weighting == "stabilised":
        weight = weight * (s**2 - sigma_tau**2) / s**2
    return weight


def _above(levels, least):
    kept = levels.sigma > least
    if not kept.any():
        raise InputError(
            f"no level is above {least:.4g}: give a smaller drop_below, a larger sigma_end "
            "or more levels."
        )
    return Levels(*(v[kept] for v in levels))
