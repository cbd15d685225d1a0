"""Augmentation on the device: random crop, mirror and cutout, a function of the key.

Every image draws its own crop offset, mirror and hole, so a batch does not depend on how it
is spread over devices. Crop and mirror together are one gather from the uint8 image. Cutout:
DeVries and Taylor, Improved Regularization of Convolutional Neural Networks with Cutout
(2017), with black for their mean pixel.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxcert.errors import InputError
from jaxcert.interfaces import Array, Batch, Key
from jaxcert.ops.images import unit


def augment(
    key: Key,
    batch: Batch,
    *,
    crop: int = 0,
    crop_fill: str = "zero",
    flip: bool = False,
    cutout: int = 0,
    generated_crop: int | None = None,
) -> Batch:
    """The batch with its images augmented and as float32 in [0, 1].

    crop: images shift by -crop..crop pixels in each direction, uniformly (pad by `crop`,
    then cut out the old size). What comes in is black ('zero') or the border repeated
    ('edge'). generated_crop: the same for generated images, None: as the real ones.
    flip: left-right mirror with probability 1/2. cutout: side of a black square centred at
    a random pixel, cut off at the border. Without any of these the images are only scaled.

    Raises InputError for an unknown `crop_fill`, a negative size or a crop that could move
    an image out of view.
    """
    image = batch["image"]
    generated_crop = crop if generated_crop is None else generated_crop
    _check(
        image.shape, crop_fill, crop=crop, generated_crop=generated_crop, cutout=cutout
    )
    key_crop, key_flip, key_hole = jax.random.split(key, 3)
    if crop or generated_crop or flip:
        size = jnp.where(batch["real"], crop, generated_crop)
        shift = _shift(key_crop, size)
        mirror = jax.random.bernoulli(key_flip, shape=size.shape) & flip
        image = _move(image, shift, mirror, fill=crop_fill)
    image = unit(image)
    if cutout:
        image = jnp.where(_hole(key_hole, image.shape, cutout), 0.0, image)
    return {**batch, "image": image}


def _shift(key: Key, size: Array) -> Array:
    """int [B,2], uniform in -size..size of each image."""
    size = size[:, None]
    return jax.random.randint(key, (len(size), 2), -size, size + 1)


def _move(image: Array, shift: Array, mirror: Array, *, fill: str) -> Array:
    """out[b,y,x] = image[b, y + shift[b,0], x + shift[b,1]], x counted from the right where
    `mirror`: [B,H,W,C] -> [B,H,W,C]."""
    b, h, w, c = image.shape
    column = jnp.where(mirror[:, None], w - 1 - jnp.arange(w), jnp.arange(w))
    y = jnp.arange(h) + shift[:, :1]
    x = column + shift[:, 1:]
    flat = jnp.clip(y, 0, h - 1)[:, :, None] * w + jnp.clip(x, 0, w - 1)[:, None, :]
    # One gather per image, batched: a gather over [B*H*W] would not stay on its device.
    moved = jax.vmap(lambda pixels, at: pixels[at])(image.reshape(b, h * w, c), flat)
    if fill == "edge":
        return moved
    inside = ((y >= 0) & (y < h))[:, :, None] & ((x >= 0) & (x < w))[:, None, :]
    return jnp.where(inside[..., None], moved, jnp.zeros((), image.dtype))


def _hole(key: Key, shape: tuple[int, ...], side: int) -> Array:
    """bool [B,H,W,1], true in a square of `side` pixels centred at a uniform pixel."""
    b, h, w, _ = shape
    key_y, key_x = jax.random.split(key)

    def covered(key: Key, size: int) -> Array:
        first = jax.random.randint(key, (b, 1), 0, size) - side // 2
        return (jnp.arange(size) >= first) & (jnp.arange(size) < first + side)

    return (covered(key_y, h)[:, :, None] & covered(key_x, w)[:, None, :])[..., None]


def _check(shape: tuple[int, ...], crop_fill: str, **sizes: int) -> None:
    if crop_fill not in ("zero", "edge"):
        raise InputError(
            f"data.augment.crop_fill is {crop_fill!r}: give 'zero' or 'edge'."
        )
    for name, size in sizes.items():
        if size < 0 or (name != "cutout" and size >= min(shape[1:3])):
            raise InputError(
                f"data.augment has a {name} of {size} pixels for images of "
                f"{shape[1]} x {shape[2]}: give 0 or more and less than the side."
            )
