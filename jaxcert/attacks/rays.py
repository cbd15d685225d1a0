"""Search along rays for the nearest image of another class.

As in RayS (Chen and Gu, RayS: A Ray Searching Method for Hard-label Adversarial Attack, 2020,
arXiv:2006.12792) the nearest such point of a ray is found by halving, and a ray counts only
where it is nearer than the best. The rays are those of DeepFool (Moosavi-Dezfooli et al.,
2016, arXiv:1511.04599): from the image x in the direction of steepest ascent, in the norm, of
z_j - z_y, one class j after the other, at x first and from then on at the best point. The
turn of y itself takes the ray through `start`.

A class that a ray leaves again is seen at SHARES of the way alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxcert.attacks.pgd import direction, per_image, project
from jaxcert.interfaces import Array

SHARES = 3
HALVINGS = 8


class Best(NamedTuple):
    image: Array
    """[B,H,W,C], the nearest one of another class, or of the largest margin if there is none"""
    margin: Array
    """[B,1,1,1], above 0 in another class"""
    reach: Array
    """[B,1,1,1], how far rays go: to the nearest one, or eps"""


def rays(
    logits: Callable[[Array], Array],
    image: Array,
    label: Array,
    *,
    eps: Array | float,
    norm: str,
    start: Array | float = 0.0,
    steps: int = 100,
) -> Array:
    """Images as of `pgd.pgd`, the nearest ones found; arguments as there, but start: offset of
    a random ray; steps: rays, each of about a dozen evaluations."""
    eps = per_image(eps, image)

    def margin(moved, other=None):
        """Return max_j z_j - z_y or that of one class, [B,1,1,1]."""
        return margins(logits(moved), label, other).reshape(-1, 1, 1, 1)

    classes = jax.eval_shape(logits, image).shape[1]

    def ray(best, number):
        # the first round looks from the image, all others from the best point
        at = jnp.where(number < classes, image, best.image)
        other = jnp.full_like(label, number % classes)
        up = jax.grad(lambda moved: margin(moved, other).sum())(at)
        own = (other == label).reshape(-1, 1, 1, 1)
        away = direction(jnp.where(own, start, up), norm)

        def point(share):
            return project(image + share * best.reach * away, image, eps, norm)

        shares = jnp.arange(1, SHARES + 1, dtype=image.dtype) / SHARES
        # images first, which may be split over devices
        tried = jax.vmap(point, out_axes=1)(shares).reshape(-1, *image.shape[1:])
        lost = margins(logits(tried), jnp.repeat(label, SHARES)) > 0
        lost = lost.reshape(-1, SHARES, 1, 1, 1)
        found, first = lost.any(1), lost.argmax(1).astype(image.dtype)
        # without one the halving stays at the end of the ray
        low = jnp.where(found, first / SHARES, 1)
        high = jnp.where(found, (first + 1) / SHARES, 1)

        def halve(ends, _):
            low, high = ends
            middle = (low + high) / 2
            lost = margin(point(middle)) > 0
            return (jnp.where(lost, low, middle), jnp.where(lost, middle, high)), None

        (_, high), _ = lax.scan(halve, (low, high), length=HALVINGS)
        moved = point(high)
        top = margin(moved)
        reach = jnp.where(found, _length(moved - image, norm), best.reach)
        nearer = found & ((best.margin <= 0) | (reach < best.reach))
        better = nearer | (~found & (best.margin <= 0) & (top > best.margin))
        new = Best(moved, top, reach)
        return jax.tree.map(lambda a, b: jnp.where(better, a, b), new, best), None

    first = Best(image, margin(image), eps)
    return lax.scan(ray, first, jnp.arange(steps))[0].image


def margins(logits: Array, label: Array, other: Array | None = None) -> Array:
    """Return z_j - z_y [B] of logits [B,K] and y = label [B], for the classes j = other [B], or
    for the largest of all others."""
    mine = jnp.take_along_axis(logits, label[:, None], 1)[:, 0]
    if other is None:
        own = jax.nn.one_hot(label, logits.shape[1], dtype=bool)
        return jnp.where(own, -jnp.inf, logits).max(1) - mine
    return jnp.take_along_axis(logits, other[:, None], 1)[:, 0] - mine


def _length(away: Array, norm: str) -> Array:
    """Return the norms [B,1,1,1] of differences [B,H,W,C]."""
    order = jnp.inf if norm == "linf" else 2
    flat = away.reshape(len(away), -1)
    return jnp.linalg.norm(flat, order, axis=1).reshape(-1, 1, 1, 1)
