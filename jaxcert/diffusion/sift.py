"""Sift-and-Refine: APNDC for many classes, Chen et al., Diffusion Models are Certifiably
Robust Classifiers (2024, arXiv:2402.02316).

    sift    S(y) = sum over levels so far of W_t mean_pixels (h(x_t, s_t, y) - x0)^2
            while more than `keep` classes are left, drop y with S(y) > min S + threshold;
            after the last level the `keep` least go on
    refine  logit_y = - sum over other levels of the same terms; of dropped classes -999

x_t = x0 + s_t eps_t and x0 = h(x_tau, s_tau, none), as in jaxcert/diffusion/classifiers.py,
with levels 0 ... 49 to sift and 50 ... 175 to refine.

What the authors' code has and `repaired` has not:
- x0 is estimated at level 0.5 whatever sigma_tau is (right for sigma 0.25 of smoothing);
- W_t has the step ds of a grid of 1001 points, not of the levels visited, so the threshold
  5e-5 belongs to that grid: `repaired` takes it per ds, 0.02 ds for the step of its levels;
- levels rise from sigma_tau; `repaired` takes those nearest to 1.3 sigma_tau first, which
  on mixtures of Gaussians neither saved evaluations nor cost accuracy;
- the density of `repo`, and a mean over the levels of refine.
The paper's text compares one level at a time; their code, and this one, the sums.

Dropping a class never costs soundness: jaxcert/diffusion/racing.py.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from jaxcert.diffusion.classifiers import Classifier, Levels, Noise, anchors, apndc
from jaxcert.diffusion.edm import Denoise
from jaxcert.diffusion.racing import best, closest_first, eliminate, smallest
from jaxcert.errors import above, whole_from, within
from jaxcert.interfaces import Array

SIFT, REFINE = 50, 126
"""levels of each"""

DROPPED = -999.0
"""The logit of a class that was sifted out."""


class Sieve(NamedTuple):
    """What is known of Sift-and-Refine before its input."""

    classifier: Classifier
    """its first SIFT levels sift, the others refine"""
    order: np.ndarray
    """of the levels that sift"""
    threshold: float
    keep: int


class Sifted(NamedTuple):
    """What Sift-and-Refine answers for a batch of B images."""

    label: Array
    """int32 [B]; -1: the denoiser gave a number that is not finite"""
    logits: Array
    """[B,K]; NaN where there is no class"""
    evaluations: Array
    """int32 [B], of the denoiser"""


def repaired(
    num_classes: int,
    sigma_tau: float,
    *,
    weighting: str = "edm",
    threshold: float = 0.02,
    keep: int = 10,
    sigma_end: float = 3.0,
) -> Sieve:
    """APNDC's own levels and weights. threshold: per unit of sigma. Raises InputError for
    impossible numbers."""
    above(0, sigma_tau=sigma_tau)
    above(sigma_tau, sigma_end=sigma_end)
    whole_from(1, keep=keep)
    within("[0, inf]", threshold=threshold)
    sift, refine = (
        apndc(num_classes, n, sigma_tau, weighting=weighting, sigma_end=sigma_end)
        for n in (SIFT, REFINE)
    )
    joined = zip(sift.levels, refine.levels, strict=True)
    levels = Levels(*map(np.concatenate, joined))
    order = closest_first(sift.levels, 1.3 * sigma_tau)
    step = (sigma_end - sigma_tau) / SIFT
    return Sieve(sift._replace(levels=levels), order, threshold * step, keep)


def sift_and_refine(
    denoise: Denoise, sieve: Sieve, x: Array, noise: Noise, *, block: int
) -> Sifted:
    """Classify images x [B,H,W,C] in [-1, 1]. block: (image, class) pairs in one
    forward pass; dropped classes take no place in one."""
    classifier = sieve.classifier
    fixed = anchors(denoise, classifier, x)

    def near(losses, visits, alive):
        total = losses.sum(0)
        least = jnp.where(alive, total, jnp.inf).min(-1, keepdims=True)
        return alive & (total <= least + sieve.threshold)

    def all_of_them(losses, visits, alive):
        return alive

    through = partial(eliminate, denoise, classifier, fixed, noise, block=block)
    sifted = through(order=sieve.order, rule=near, stop=sieve.keep)
    kept = smallest(sifted.losses.sum(0), sifted.alive, sieve.keep)
    order = np.arange(len(sieve.order), len(classifier.levels.sigma))
    refined = through(order=order, rule=all_of_them, alive=kept, stop=0)
    loss = refined.losses.sum(0)
    label = best(loss, refined.alive)
    logits = jnp.where(refined.alive, -loss, DROPPED)
    return Sifted(
        label=label,
        logits=jnp.where(label[:, None] < 0, jnp.nan, logits),
        evaluations=sifted.evaluations + refined.evaluations + classifier.overhead,
    )
