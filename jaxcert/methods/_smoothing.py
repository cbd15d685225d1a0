"""What the training methods of smoothing share: noise and its order.

Order: noise-major. The m noisy copies of B images are one batch [m*B, ...], all images
with noise 0 first, so BatchNorm sees the statistics of all copies.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from jaxcert.errors import InputError
from jaxcert.interfaces import Array, Key


def draw_noise(key: Key, image: Array, sigma: float, m: int) -> Array:
    """m draws of N(0, sigma^2 I) for every image: [m,B,H,W,C] in the type of image."""
    return sigma * jax.random.normal(key, (m, *image.shape), image.dtype)


def add_noise(image: Array, noise: Array) -> Array:
    """image [B,H,W,C] + noise [m,B,H,W,C] -> [m*B,H,W,C]; not clipped to [0, 1]."""
    return (image + noise).reshape(-1, *image.shape[1:])


def noisy_copies(key: Key, image: Array, sigma: float, m: int) -> Array:
    """m noisy copies of every image, [m*B,H,W,C]."""
    return add_noise(image, draw_noise(key, image, sigma, m))


def repeat_labels(label: Array, m: int) -> Array:
    """Labels [B] of the copies, [m*B]."""
    return jnp.tile(label, m)


def check_noise(sigma: float, m: int) -> None:
    """Raises InputError for a noise that a method cannot train with."""
    if not 0 < sigma < math.inf:
        raise InputError(f"sigma {sigma} is not above 0: give the noise's std.")
    if m < 1 or m != int(m):
        raise InputError(f"m {m} is no number of noisy copies: give 1, 2, 4 ...")
