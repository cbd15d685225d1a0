"""Auto-PGD: Croce and Hein, Reliable Evaluation of Adversarial Robustness with an Ensemble of
Diverse Parameter-free Attacks (2020, arXiv:2003.01690).

    z = P(x_k + eta d(grad f(x_k)))
    x_{k+1} = P(x_k + alpha (z - x_k) + (1 - alpha) (x_k - x_{k-1})),    alpha = 0.75,

with x_1 = z, P and d as in pgd.py, and eta = 2 eps at first. After w_j steps (`checkpoints`)
eta is halved and x_{k+1} is the best point so far, where `stuck`. The answer is the point of
the largest loss, so with `dlr`, or with two classes, one of another class if any was seen.

Their code rounds the periods to steps, we round the w_j as the paper does; every number is
of one image, as there.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from jaxcert.attacks.pgd import direction, per_image, project
from jaxcert.attacks.rays import margins
from jaxcert.errors import InputError
from jaxcert.interfaces import Array

ALPHA = 0.75
RHO = 0.75


class Point(NamedTuple):
    image: Array  # [B,H,W,C]
    value: Array  # [B], the loss
    gradient: Array  # [B,H,W,C]


class State(NamedTuple):
    now: Point
    before: Array  # [B,H,W,C], x_{k-1}
    best: Point
    size: Array  # [B], eta
    rises: Array  # [B], steps that raised the loss since the last checkpoint
    size_then: Array  # [B], eta and the best loss at the last checkpoint
    best_then: Array


def dlr(logits: Array, label: Array) -> Array:
    """Difference of logits ratio [B], positive where the class is not label [B]:

        -(z_y - max_{j != y} z_j) / (z_(1) - z_(3)),    z_(1) >= z_(2) >= ... sorted.

    Raises InputError for fewer than three classes: take `cross_entropy` there."""
    if logits.shape[1] < 3:
        raise InputError(
            f"the loss dlr needs at least 3 classes, not {logits.shape[1]}: take "
            "cross_entropy."
        )
    top = lax.top_k(logits, 3)[0]
    return margins(logits, label) / (top[:, 0] - top[:, 2] + 1e-12)


cross_entropy = optax.softmax_cross_entropy_with_integer_labels
"""(logits [B,K], label [B]) -> [B]"""


def apgd(
    logits: Callable[[Array], Array],
    image: Array,
    label: Array,
    *,
    eps: Array | float,
    norm: str,
    loss: Callable[[Array, Array], Array] = dlr,
    start: Array | float = 0.0,
    steps: int = 100,
) -> Array:
    """Images and arguments as of `pgd.pgd`, by a loss of one's choice. Raises InputError as the
    loss does."""
    eps = per_image(eps, image)

    def total(moved):
        value = loss(logits(moved), label)
        return value.sum(), value

    def evaluated(moved):
        (_, value), gradient = jax.value_and_grad(total, has_aux=True)(moved)
        return Point(moved, value, gradient)

    def step(state, now):
        alpha, period = now
        x = state.now.image
        move = _column(state.size) * direction(state.now.gradient, norm)
        z = project(x + move, image, eps, norm)
        moved = x + alpha * (z - x) + (1 - alpha) * (x - state.before)
        after = evaluated(project(moved, image, eps, norm))
        best = _where(after.value > state.best.value, after, state.best)
        rises = state.rises + (after.value > state.now.value)
        same = (state.size == state.size_then) & (best.value == state.best_then)
        due = period > 0
        halve = due & stuck(rises, period, same)
        return State(
            now=_where(halve, best, after),
            before=x,
            best=best,
            size=jnp.where(halve, state.size / 2, state.size),
            rises=jnp.where(due, 0, rises),
            size_then=jnp.where(due, state.size, state.size_then),
            best_then=jnp.where(due, best.value, state.best_then),
        ), None

    first = evaluated(project(image + start, image, eps, norm))
    size = 2 * eps[:, 0, 0, 0]
    none = jnp.zeros(len(image), jnp.int32)
    state = State(first, first.image, first, size, none, size, first.value)
    alpha = np.where(np.arange(steps) == 0, 1.0, ALPHA).astype(first.image.dtype)
    return lax.scan(step, state, (alpha, periods(steps)))[0].best.image


def stuck(rises: Array, period: Array | int, same: Array) -> Array:
    """Return whether eta is halved at the end of a period of so many steps: fewer than RHO of them
    raised the loss, or neither eta nor the best loss changed (`same`)."""
    return (rises < RHO * period) | same


def checkpoints(steps: int) -> list[int]:
    """w_j = ceil(p_j steps): p_0 = 0, p_1 = 0.22, p_{j+1} = p_j + max(p_j - p_{j-1} - 0.03,
    0.06)."""
    found, p, period = [], 22, 22  # in hundredths: they are exact
    while p <= 100:
        found.append(math.ceil(p * steps / 100))
        period = max(period - 3, 6)
        p += period
    return sorted(set(found))


def periods(steps: int) -> np.ndarray:
    """int32 [steps]: at the last step of a period its length, 0 at the others."""
    ends = checkpoints(steps)
    found = np.zeros(steps, np.int32)
    found[np.array(ends) - 1] = np.diff([0, *ends])
    return found


def _column(x: Array) -> Array:
    return x[:, None, None, None]


def _where(condition: Array, one: Point, other: Point) -> Point:
    def choose(a, b):
        return jnp.where(condition.reshape(-1, *[1] * (a.ndim - 1)), a, b)

    return jax.tree.map(choose, one, other)
