"""From logits and pairwise Lipschitz constants to radii, and the losses written with them.

`pairwise` [K,K] holds a Lipschitz constant of every difference z_i - z_j with respect to
pixels. All radii of Lipschitz networks in the library come from `radius`.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

Array = jax.Array


def radius(logits: Array, pairwise: Array, y: Array) -> Array:
    """Signed radius of class y: min over j != y of (z_y - z_j) / pairwise[y, j].

    logits [B,K], pairwise [K,K], y int [B] -> [B]. In a loss y is the label, in a
    certificate the prediction.
    """
    own = jax.nn.one_hot(y, logits.shape[-1], dtype=bool)
    margin = jnp.take_along_axis(logits, y[:, None], 1) - logits
    return jnp.min(
        jnp.where(own, jnp.inf, margin / jnp.where(own, 1.0, pairwise[y])), 1
    )


def training_radius(
    epoch: Array | int, epochs: int, *, eps: float, start: float, end: float
) -> Array:
    """Radius of the margin losses: eps * (start + (end - start) * min(2 epoch/epochs, 1)).

    Hu et al. (2023): constant within an epoch, epochs counted from 0.
    """
    return eps * (start + (end - start) * jnp.minimum(2.0 * epoch / epochs, 1.0))
