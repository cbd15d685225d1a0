"""Projected gradient ascent: Madry et al., Towards Deep Learning Models Resistant to
Adversarial Attacks (2018, arXiv:1706.06083), with the settings of Zhang et al. (2022).

    x_0 = P(x + start),    x_{t+1} = P(x_t + eps/4 d(grad CE(z(x_t), y))),

P the projection on the ball of x and on valid pixels. In l_inf d is the sign, with sign(0)
= 0; in l2 the gradient of an image over its norm, 0 where it is 0. The last iterate is the
answer, as in their code. Gradients of distance nets at p = infinity reach few pixels, so
the attack is weak there: the accuracy under it is an optimistic upper bound.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jax import lax

from jaxcert.interfaces import Array, Keys


def pgd(
    logits: Callable[[Array], Array],
    image: Array,
    label: Array,
    *,
    eps: Array | float,
    norm: str,
    start: Array | float = 0.0,
    steps: int = 100,
) -> Array:
    """Images [B,H,W,C] in [0, 1] within distance eps (pixels; a number or [B]) of the given
    ones that try to lose the class label [B]. logits: image -> [B,K]; norm: 'linf' | 'l2';
    start: offset of the first."""
    eps = per_image(eps, image)

    def loss(moved):
        each = optax.softmax_cross_entropy_with_integer_labels
        return each(logits(moved), label).sum()

    def step(moved, _):
        moved = moved + eps / 4 * direction(jax.grad(loss)(moved), norm)
        return project(moved, image, eps, norm), None

    first = project(image + start, image, eps, norm)
    return lax.scan(step, first, length=steps)[0]


def random_start(keys: Keys, image: Array, eps: Array | float, norm: str) -> Array:
    """Draw offsets [B,H,W,C] in the ball of radius eps/2: clip(N(0, (eps/4)^2), -eps/2,
    eps/2) in l_inf, length eps/2 in a random direction in l2."""
    eps = per_image(eps, image)
    noise = jax.vmap(lambda key: jax.random.normal(key, image.shape[1:]))(keys)
    if norm == "linf":
        return jnp.clip(eps / 4 * noise, -eps / 2, eps / 2)
    return eps / 2 * direction(noise, norm)


def per_image(eps: Array | float, image: Array) -> Array:
    """Return a number, or one for each image [B], as [B,1,1,1] in the type of the
    images."""
    eps = jnp.broadcast_to(jnp.asarray(eps, image.dtype), len(image))
    return eps.reshape(-1, 1, 1, 1)


def direction(gradient: Array, norm: str) -> Array:
    """Return the direction [B,H,W,C] of steepest ascent, of length 1 in the norm."""
    if norm == "linf":
        return jnp.sign(gradient)
    # divided by the largest entry first: squares of a small gradient are 0 in float32
    largest = jnp.abs(gradient).max((1, 2, 3), keepdims=True)
    scaled = gradient / jnp.where(largest > 0, largest, 1)
    return scaled / jnp.where(largest > 0, _norm(scaled), 1)


def project(moved: Array, image: Array, eps: Array, norm: str) -> Array:
    """Project onto the ball of radius eps [B,1,1,1] around the image and onto [0, 1].
    Clipping to the box comes last: the image is in the box, so no pixel gets farther
    from it."""
    if norm == "linf":
        return jnp.clip(jnp.clip(moved, image - eps, image + eps), 0, 1)
    away = moved - image
    length = _norm(away)
    shrunk = image + away * (eps / jnp.where(length > eps, length, 1))
    return jnp.clip(jnp.where(length > eps, shrunk, moved), 0, 1)


def _norm(x: Array) -> Array:
    return jnp.sqrt((x**2).sum((1, 2, 3), keepdims=True))
