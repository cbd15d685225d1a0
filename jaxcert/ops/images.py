"""Pixels as numbers."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxcert.errors import InputError

Array = jax.Array

ROUNDING = 2.0**-20
"""How far a pixel may lie outside [0, 1]: the rounding of some float32 operations on a
pixel inside."""


def unit(image: ArrayLike, dtype=jnp.float32) -> Array:
    """Return an image in [0, 1]: uint8 becomes the correctly rounded quotient v / 255
    in `dtype`.

    Floating images are only cast. Raises InputError for other integers. The quotients
    come from a table, because XLA turns a division by a constant into a product with
    its reciprocal, which differs.
    """
    image = jnp.asarray(image)
    if jnp.issubdtype(image.dtype, jnp.integer) and image.dtype != jnp.uint8:
        raise InputError(
            f"images are uint8 or floats in [0, 1], not {image.dtype}: convert them."
        )
    if image.dtype != jnp.uint8:
        return image.astype(dtype)
    return jnp.asarray(np.arange(256) / 255.0, dtype)[image]


def check_range(image) -> None:
    """Raises InputError for a finite pixel that is outside [0, 1] by more than
    rounding, because networks and their certificates are for images in that range. A
    pixel that is not finite is an error of its image alone."""
    ends = outside(image)
    if ends:
        raise InputError(
            f"the images have pixels from {ends[0]:.7g} to {ends[1]:.7g}, outside [0, 1], where "
            "this certificate holds: bring them into that range, or give uint8."
        )


def outside(image) -> tuple[float, float] | None:
    """Return the (lowest, highest) finite pixel if one lies outside [0, 1] by more than
    rounding, else None."""
    image = np.asarray(image)
    if image.dtype.kind in "iub":  # uint8 is v / 255; `unit` refuses other integers
        return None
    known = image[np.isfinite(image)]
    low, high = float(known.min(initial=0)), float(known.max(initial=1))
    return None if -ROUNDING <= low and high <= 1 + ROUNDING else (low, high)
