"""Projected gradient ascent in l_inf: Madry et al., Towards Deep Learning Models Resistant to
Adversarial Attacks (2018), with the settings of Zhang et al. (2022).

    x_0 = P(x + clip(N(0, (eps/4)^2), -eps/2, eps/2))
    x_{t+1} = P(x_t + eps/4 sign grad CE(z(x_t), y)),

P the projection on the l_inf ball of x and on valid pixels; sign(0) = 0. The last iterate is
the answer, as in their code. Gradients of distance nets at p = infinity reach few pixels, so
the attack is weak there: the accuracy under it is an optimistic upper bound.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jax import lax

from jaxcert.interfaces import Array


def pgd(
    logits: Callable[[Array], Array],
    image: Array,
    label: Array,
    *,
    eps: Array | float,
    start: Array | float = 0.0,
    steps: int = 100,
) -> Array:
    """Images [B,H,W,C] in [0, 1] within l_inf distance eps (pixels) of the given ones that
    try to lose the class label [B]. logits: image -> [B,K]; start: offset of the first."""

    def loss(moved):
        each = optax.softmax_cross_entropy_with_integer_labels
        return each(logits(moved), label).sum()

    def project(moved):
        return jnp.clip(jnp.clip(moved, image - eps, image + eps), 0, 1)

    def step(moved, _):
        return project(moved + eps / 4 * jnp.sign(jax.grad(loss)(moved))), None

    return lax.scan(step, project(image + start), length=steps)[0]
