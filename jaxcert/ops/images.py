"""Pixels as numbers."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from jaxcert.errors import InputError

Array = jax.Array


def unit(image: Array, dtype=jnp.float32) -> Array:
    """Image in [0, 1]: uint8 becomes the correctly rounded quotient v / 255 in `dtype`.

    Floating images are only cast; other integers are refused (InputError). XLA turns a
    division by a constant into a product with its reciprocal, which is not that
    quotient, hence the table.
    """
    image = jnp.asarray(image)
    if jnp.issubdtype(image.dtype, jnp.integer) and image.dtype != jnp.uint8:
        raise InputError(f"images are uint8 or floats in [0, 1], not {image.dtype}.")
    if image.dtype != jnp.uint8:
        return image.astype(dtype)
    return jnp.asarray(np.arange(256) / 255.0, dtype)[image]
