"""Search at the scale of rounding, for certificates that forget that of the computer.

As Jin, Ohrimenko and Rubinstein, Getting a-Round Guarantees: Floating-Point Attacks on
Certified Robustness (2022, arXiv:2205.10159): go the whole certified radius in the direction
in which the boundary is nearest, and there round the pixels in many ways. For a classifier
whose certificate is exact, as a linear one, the boundary is within a rounding of that place,
and the logits there are wrong by a rounding.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from jaxcert import random_keys
from jaxcert.attacks.pgd import per_image, project
from jaxcert.attacks.rays import margins, rays
from jaxcert.interfaces import Array

SCALES = 12
"""Pixels move by up to 1, 2, 4, ... units in the last place, in turn. In l2 a move across the
ray costs no distance."""


def rounding(
    logits: Callable[[Array], Array],
    image: Array,
    label: Array,
    *,
    eps: Array | float,
    norm: str,
    start: Array | float = 0.0,
    steps: int = 100,
) -> Array:
    """Images as of `pgd.pgd`; arguments as there, but start: offset of a random ray; steps:
    roundings that are tried, after two rays for each class."""
    eps = per_image(eps, image)
    classes = jax.eval_shape(logits, image).shape[1]
    options = dict(eps=eps[:, 0, 0, 0], norm=norm, start=start)
    end = rays(logits, image, label, steps=2 * classes, **options)
    key = random_keys.key(0)
    unit = jnp.finfo(image.dtype).eps

    def attempt(best, number):
        at, top = best
        # the same for all images
        draw = jax.random.fold_in(key, number), image.shape[1:], image.dtype
        ulps = 2 ** (number % SCALES) * jax.random.uniform(*draw, -1, 1)
        moved = project(end + unit * end * ulps, image, eps, norm)
        margin = margins(logits(moved), label)
        better = margin > top
        at = jnp.where(better.reshape(-1, 1, 1, 1), moved, at)
        return (at, jnp.where(better, margin, top)), None

    first = end, margins(logits(end), label)
    return lax.scan(attempt, first, jnp.arange(steps))[0][0]
