"""Class racing: classes of a diffusion classifier drop out as soon as they look lost, so a
vote takes tens of evaluations, not thousands. Successive elimination (Maron and Moore,
Hoeffding Races, 1993; Even-Dar, Mannor and Mansour, 2006) on the terms of
jaxcert/diffusion/classifiers.py.

    delta_t(y) = l_t(y) - l_t(leader),   l_t(y) = W_t mean_pixels (h(x_t, s_t, y) - target_t)^2
    y drops out after m levels if  mean_t delta_t(y) > c sqrt(var_t delta_t(y) / m)

The leader has the least sum so far. A level's noise is shared by all classes, so the
differences are paired and vary less than their terms, and levels have independent noise.
Levels are visited by how close ln s_t is to a centre: 1.3 sigma_tau for APNDC, 1.8
sigma_tau for EPNDC, whose target is noisier below, and 0.5 for DC after DiffPure. With c = 2
and these, on mixtures of Gaussians with 10 classes and 126 levels, a vote of APNDC takes 44
to 60 evaluations of 1261 and agrees with the full classifier on 96 to 99 in 100 votes.

Soundness. A vote is a function of its noisy image and its own key, and keys are
independent: whatever the race returns, votes of an image are i.i.d. draws of one random
base classifier. P(vote = y | noisy image) lies in [0, 1], and that is all the theorem of
randomized smoothing asks of it, so CERTIFY holds for the race as it holds for the full
classifier. A wrong elimination costs accuracy, never soundness. (How votes share forward
passes may change them by rounding, as for any base classifier.)

Shapes are fixed, work is not: at each level the (vote, class) pairs still alive are moved
to the front and evaluated in full blocks, as many as there are.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxcert.diffusion import classifiers
from jaxcert.diffusion.classifiers import Anchors, Classifier, Levels, Noise
from jaxcert.diffusion.edm import Denoise
from jaxcert.errors import InputError, above, whole_from, within
from jaxcert.interfaces import Array

Rule = Callable[[Array, Array, Array], Array]
"""(losses [L,B,K] in the order of visits, 0 where not evaluated; visits so far []; alive
bool [B,K]) -> alive"""


class Race(NamedTuple):
    """Where the classes of B votes stand in a race."""

    alive: Array
    """bool [B,K]; none where the denoiser gave a number that is not finite"""
    losses: Array
    """[L,B,K] in the order of visits; 0 where not evaluated"""
    evaluations: Array
    """int32 [B], (vote, class) pairs given to the denoiser"""


def race(
    denoise: Denoise,
    classifier: Classifier,
    x: Array,
    noise: Noise,
    *,
    order: np.ndarray,
    rule: Rule,
    block: int,
    start: Callable[[Anchors], Array] | None = None,
) -> tuple[Array, Array]:
    """Classes int32 [B] of images x [B,H,W,C] in [-1, 1], and evaluations int32 [B].

    -1: the denoiser gave a number that is not finite. order: indices of levels
    (closest_first). rule: confident. block: pairs in one forward pass. start:
    who races, bool [B,K]; None: all.
    Evaluations count the one-step estimate of the image, not the empty places of a block.
    Raises InputError for an order or a block that is none.
    """
    fixed = classifiers.anchors(denoise, classifier, x)
    alive = None if start is None else start(fixed)
    eliminated = partial(eliminate, denoise, classifier, fixed, noise)
    end = eliminated(order=order, rule=rule, block=block, alive=alive)
    label = best(end.losses.sum(0), end.alive)
    return label, end.evaluations + classifier.overhead


def closest_first(levels: Levels, center: float) -> np.ndarray:
    """Return the indices of levels by |ln sigma - ln center|. Raises InputError for no
    center."""
    above(0, center=center)
    return np.argsort(np.abs(np.log(levels.sigma / center)), kind="stable")


def confident(c: float, min_levels: int = 3) -> Rule:
    """Drops a class whose mean difference to the leader exceeds c standard errors, after
    min_levels or more. c=inf drops none. Raises InputError for impossible numbers."""
    within("[0, inf]", c=c)
    whole_from(2, min_levels=min_levels)  # as a standard error needs

    def rule(losses, visits, alive):
        leader = best(losses.sum(0), alive)[None, :, None]
        delta = losses - jnp.take_along_axis(losses, leader, -1)
        mean = delta.sum(0) / visits
        visited = (jnp.arange(len(losses)) < visits)[:, None, None]
        variance = jnp.where(visited, (delta - mean) ** 2, 0).sum(0) / (visits - 1)
        lost = mean > c * jnp.sqrt(variance / visits)
        return alive & ~(lost & (visits >= min_levels))

    return rule


def eliminate(
    denoise: Denoise,
    classifier: Classifier,
    fixed: Anchors,
    noise: Noise,
    *,
    order: np.ndarray,
    rule: Rule,
    block: int,
    alive: Array | None = None,
    stop: int = 1,
) -> Race:
    """Visit the levels of `order`. A vote stops once at most `stop` classes are left."""
    order = np.asarray(order)
    if not len(order) or order.min() < 0 or order.max() >= len(classifier.levels.sigma):
        raise InputError("order must hold indices of the classifier's levels.")
    whole_from(1, block=block)
    shape = len(fixed.base), classifier.num_classes
    if alive is None:
        alive = jnp.ones(shape, bool)
    finite = jax.tree.map(lambda a: jnp.isfinite(a).all((1, 2, 3)), fixed)
    positions = jnp.asarray(order, jnp.int32)

    def racing(alive):
        return alive.sum(-1, keepdims=True) > stop

    def on(state):
        visits, now = state
        return (visits < len(order)) & racing(now.alive).any()

    def visit(state):
        visits, now = state
        t, wanted = positions[visits], now.alive & racing(now.alive)
        at_level = classifiers.losses_at(denoise, classifier, fixed, t, noise(t))
        new = _in_blocks(at_level, wanted, block, now.losses.dtype)
        losses = now.losses.at[visits].set(new)
        kept = rule(losses, visits + 1, now.alive)
        kept = kept & jnp.isfinite(new).all(-1, keepdims=True)
        return visits + 1, Race(
            alive=jnp.where(racing(now.alive), kept, now.alive),
            losses=losses,
            evaluations=now.evaluations + wanted.sum(-1, dtype=jnp.int32),
        )

    start = Race(
        alive=alive & (finite.base & finite.target)[:, None],
        losses=jnp.zeros((len(order), *shape), fixed.base.dtype),
        evaluations=jnp.zeros(shape[0], jnp.int32),
    )
    return jax.lax.while_loop(on, visit, (jnp.int32(0), start))[1]


def best(total: Array, alive: Array) -> Array:
    """Return int32 [B]: the class of the least value in [B,K] among those alive, -1
    where none is."""
    least = jnp.where(alive, total, jnp.inf).argmin(-1)
    return jnp.where(alive.any(-1), least, -1).astype(jnp.int32)


def smallest(total: Array, alive: Array, most: int | Array) -> Array:
    """Return bool [B,K]: whether fewer than `most` of those alive come before a class."""
    place = jnp.where(alive, total, jnp.inf).argsort(-1).argsort(-1)
    return alive & (place < most)


def _in_blocks(losses, wanted, block, dtype):
    """Return losses(vote, class) [B,K] where they are wanted, 0 elsewhere."""
    size, block = wanted.size, min(block, wanted.size)
    padded = -(-size // block) * block
    pairs = jnp.nonzero(wanted.ravel(), size=padded, fill_value=size)[0]

    def evaluate(i, out):
        pair = jax.lax.dynamic_slice(pairs.astype(jnp.int32), (i * block,), (block,))
        vote, label = jnp.divmod(jnp.minimum(pair, size - 1), wanted.shape[1])
        return out.at[pair].set(losses(vote, label), mode="drop")

    blocks = (wanted.sum(dtype=jnp.int32) + block - 1) // block
    out = jax.lax.fori_loop(0, blocks, evaluate, jnp.zeros(size, dtype))
    return out.reshape(wanted.shape)
