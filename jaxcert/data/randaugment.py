"""RandAugment: a few random operations of one common magnitude, on the device.

Cubuk, Zoph, Shlens and Le, RandAugment: Practical automated data augmentation with a
reduced search space (2020): N operations (`operations`) one after the other, each drawn
uniformly with replacement from the paper's 14, all of magnitude M (`magnitude`), counted in
thirtieths of the ranges below; the nine of `SIGNED` go either way with probability 1/2.

    shear     x + 0.3 (m / 30) y about the upper left corner
    translate 150/331 (m / 30) of the side, whole pixels
    rotate    m degrees about the centre
    brightness, color, contrast, sharpness
              b + (1 + 0.9 m / 30) (x - b), b: black, gray, mean gray, smoothed
    posterize keeps 8 - 4 m / 30 bits, rounded
    solarize  255 - x where x >= 255 (1 - m / 30)
    autocontrast, equalize, identity: no magnitude

These are the operations of Pillow, nearest pixel and black outside, over the ranges and
with the defaults (N = 2, M = 9) of torchvision. We differ: every one is integer arithmetic,
so an image is the same on every device. Pillow computes the blends in float32 and
autocontrast in float64 and cuts off, thus may be one level lower where the exact result is
whole.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from jaxcert.errors import InputError, within
from jaxcert.interfaces import Array, Key

STEPS = 30
"""The magnitude at the end of every range."""


def randaugment(
    key: Key, image: Array, *, operations: int = 2, magnitude: int = 9
) -> Array:
    """uint8 [H,W,C] -> uint8 [H,W,C] after `operations` random ones, C = 1 or 3.

    Raises InputError for other images and for a magnitude outside 0..30.
    """
    if image.dtype != jnp.uint8 or image.shape[-1] not in (1, 3):
        raise InputError(
            "data.augment.randaugment is for uint8 images of 1 or 3 channels, not "
            f"{image.dtype} of {image.shape[-1]}: give 0."
        )
    within(f"[0, {STEPS}]", magnitude=magnitude)
    chosen, either_way = SIGNED + UNSIGNED, len(SIGNED)

    def step(pixels: Array, key: Key) -> tuple[Array, None]:
        key_operation, key_sign = jax.random.split(key)
        index = jax.random.randint(key_operation, (), 0, len(chosen))
        negative = jax.random.bernoulli(key_sign) & (index < either_way)
        m = jnp.where(negative, -magnitude, magnitude)
        return jax.lax.switch(index, chosen, pixels, m), None

    keys = jax.random.split(key, operations)
    return jax.lax.scan(step, image.astype(jnp.int32), keys)[0].astype(jnp.uint8)


# Operations: (int32 [H,W,C] in 0..255, m int32 scalar in -30..30) -> the same


def shear_x(image: Array, m: Array) -> Array:
    return _warp(image, m, lambda k: (1, 0.3 * k / STEPS, 0, 0, 1, 0))


def shear_y(image: Array, m: Array) -> Array:
    return _warp(image, m, lambda k: (1, 0, 0, 0.3 * k / STEPS, 1, 0))


def translate_x(image: Array, m: Array) -> Array:
    unit = 150 / 331 * image.shape[1] / STEPS
    return _warp(image, m, lambda k: (1, 0, -int(unit * k), 0, 1, 0))


def translate_y(image: Array, m: Array) -> Array:
    unit = 150 / 331 * image.shape[0] / STEPS
    return _warp(image, m, lambda k: (1, 0, 0, 0, 1, -int(unit * k)))


def rotate(image: Array, m: Array) -> Array:
    """Rotate an image counterclockwise."""
    v, u = image.shape[0] / 2, image.shape[1] / 2

    def inverse(degrees):
        c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
        return (c, -s, u - c * u + s * v, s, c, v - s * u - c * v)

    return _warp(image, m, inverse)


def brightness(image: Array, m: Array) -> Array:
    return _blend(0, image, m)


def color(image: Array, m: Array) -> Array:
    return _blend(_gray(image), image, m)


def contrast(image: Array, m: Array) -> Array:
    gray = _gray(image)
    mean = (2 * jnp.sum(gray, dtype=jnp.int32) + gray.size) // (2 * gray.size)
    return _blend(mean, image, m)


def sharpness(image: Array, m: Array) -> Array:
    h, w, _ = image.shape
    if min(h, w) < 3:
        return image
    rows = image[:-2] + image[1:-1] + image[2:]
    around = rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:]
    smooth = (2 * (around + 4 * image[1:-1, 1:-1]) + 13) // 26  # rounded thirteenths
    return _blend(image.at[1:-1, 1:-1].set(smooth), image, m)  # the border stays


def identity(image: Array, m: Array) -> Array:
    return image


def posterize(image: Array, m: Array) -> Array:
    dropped = (8 * m + STEPS) // (2 * STEPS)  # 4 m / 30 rounded, never a tie
    return image >> dropped << dropped


def solarize(image: Array, m: Array) -> Array:
    return jnp.where(image * STEPS < 255 * (STEPS - m), image, 255 - image)


def autocontrast(image: Array, m: Array) -> Array:
    low, high = image.min((0, 1)), image.max((0, 1))
    stretched = (image - low) * 255 // jnp.maximum(high - low, 1)
    return jnp.where(high > low, stretched, image)


def equalize(image: Array, m: Array) -> Array:
    channel = jnp.arange(image.shape[2])
    count = jnp.zeros((256, len(channel)), jnp.int32).at[image, channel].add(1)
    below = jnp.cumsum(count, 0) - count  # pixels of a channel under a level
    step = below[image.max((0, 1)), channel] // 255
    table = jnp.minimum((step // 2 + below) // jnp.maximum(step, 1), 255)
    return jnp.where(step > 0, table[image, channel], image)


WARPS = (shear_x, shear_y, translate_x, translate_y, rotate)
SIGNED = (*WARPS, brightness, color, contrast, sharpness)
UNSIGNED = (identity, posterize, solarize, autocontrast, equalize)


def _warp(image: Array, m: Array, inverse: Callable) -> Array:
    """Return out[y,x] = image at (a x + b y + c, d x + e y + f) = inverse(m), between
    pixel centres. The nearest pixel is found in 65536ths of a pixel, as Pillow does.

    The nearest pixel is found in 65536ths of a pixel, as Pillow does.
    """
    h, w, c = image.shape
    table = np.array([inverse(k) for k in range(-STEPS, STEPS + 1)], np.float64)
    table = table.reshape(-1, 2, 3)
    table[:, :, 2] += table[:, :, 0] / 2 + table[:, :, 1] / 2
    table = np.floor(table * 65536 + 0.5).astype(np.int32)
    at = jnp.asarray(table)[m + STEPS]
    y, x = jnp.arange(h)[:, None], jnp.arange(w)
    column = (at[0, 0] * x + at[0, 1] * y + at[0, 2]) >> 16
    row = (at[1, 0] * x + at[1, 1] * y + at[1, 2]) >> 16
    inside = (row >= 0) & (row < h) & (column >= 0) & (column < w)
    flat = jnp.clip(row, 0, h - 1) * w + jnp.clip(column, 0, w - 1)
    return jnp.where(inside[..., None], image.reshape(h * w, c)[flat], 0)


def _blend(base: Array, image: Array, m: Array) -> Array:
    """Return base + (1 + 0.9 m / 30) (image - base), clipped to the levels 0 to 255."""
    return jnp.clip((100 * base + (100 + 3 * m) * (image - base)) // 100, 0, 255)


def _gray(image: Array) -> Array:
    """Return the luma of RGB by ITU-R 601, [H,W,1], in 65536ths and rounded."""
    if image.shape[-1] == 1:
        return image
    red, green, blue = jnp.split(image, 3, axis=-1)
    return (19595 * red + 38470 * green + 7471 * blue + 32768) >> 16
