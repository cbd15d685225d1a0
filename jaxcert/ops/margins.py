"""From logits and pairwise Lipschitz constants to radii, and the losses written with them.

`pairwise` [K,K] holds a Lipschitz constant of every difference z_i - z_j with respect to
pixels. Losses and `radius_paper` come from `radius`, certificates from `proven_radius`,
which rounds every step towards a smaller radius.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

Array = jax.Array


def radius(logits: Array, pairwise: Array, y: Array) -> Array:
    """Return the signed radius of class y: min over j != y of
    (z_y - z_j) / pairwise[y, j].

    logits [B,K], pairwise [K,K], y int [B] -> [B]. In a loss y is the label.
    """
    own = jax.nn.one_hot(y, logits.shape[-1], dtype=bool)
    margin = jnp.take_along_axis(logits, y[:, None], 1) - logits
    return jnp.min(
        jnp.where(own, jnp.inf, margin / jnp.where(own, 1.0, pairwise[y])), 1
    )


def proven_radius(
    logits: np.ndarray, pairwise: np.ndarray, y: np.ndarray, slack: float
) -> np.ndarray:
    """Return the radius of the prediction y: min over j != y of (z_y - z_j - 2
    slack) / pairwise[y, j], never above the exact value of these float64 numbers; 0
    where that proves nothing.

    logits [B,K] each of which may be off by slack, pairwise [K,K], y int [B] -> [B].
    """
    rows = np.arange(len(logits))
    with np.errstate(all="ignore"):
        least = np.nextafter(logits[rows, y], -np.inf)[:, None]
        margin = np.nextafter(least - np.nextafter(logits + 2 * slack, np.inf), -np.inf)
        ratio = np.nextafter(margin / pairwise[y], -np.inf)
    # nothing is proven without a margin, or where the margin is NaN
    ratio = np.where(margin > 0, np.nan_to_num(ratio, nan=0.0), 0.0)
    ratio[rows, y] = np.inf
    return np.maximum(ratio.min(1), 0.0)


def training_radius(
    epoch: Array | int, epochs: int, *, eps: float, start: float, end: float
) -> Array:
    """Return the radius of the margin losses: eps * (start + (end - start) * min(2
    epoch/epochs, 1)).

    As in Hu et al. (2023), it is constant within an epoch; epochs count from 0.
    """
    return eps * (start + (end - start) * jnp.minimum(2.0 * epoch / epochs, 1.0))
