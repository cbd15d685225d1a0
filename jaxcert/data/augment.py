"""Augmentation on the device: crops, mirror, RandAugment and cutout, a function of the key.

Every image draws its own crop offset, mirror, operations and hole, so a batch does not
depend on how it is spread over devices. Crop and mirror together are one gather from the
uint8 image. RandAugment: data/randaugment.py. Cutout: DeVries and Taylor, Improved
Regularization of Convolutional Neural Networks with Cutout (2017), with black for their
mean pixel.

The resized crop is torchvision's for ImageNet: a part of the image, its share of the area
uniform in 0.08..1 and the logarithm of its width / height uniform between those of 3/4 and
4/3, enlarged to the side of the image. Where we differ: the image that is stored is
already the centre of 224x224 of one resized to 256, not the whole photograph, and pixels
just outside the part are seen by the bilinear weights at its border.
"""

from __future__ import annotations

import math
from functools import partial

import jax
import jax.numpy as jnp

from jaxcert.data import augment_pipe
from jaxcert.data import randaugment as operations
from jaxcert.errors import InputError, one_of, within
from jaxcert.interfaces import Array, Batch, Key
from jaxcert.ops.images import unit

_PIPES = {"edm": augment_pipe.edm, "shift": augment_pipe.shift}

_SHARE, _RATIO, _TRIES = (0.08, 1.0), (3 / 4, 4 / 3), 10
"""Of resized crops: share of the area, width / height, draws until the part fits."""


def augment(
    key: Key,
    batch: Batch,
    *,
    crop: int = 0,
    crop_fill: str = "zero",
    flip: bool = False,
    cutout: int = 0,
    generated_crop: int | None = None,
    randaugment: float = 0.0,
    resized_crop: bool = False,
    pipe: str = "",
    pipe_probability: float = 0.12,
) -> Batch:
    """The batch with its images augmented and as float32 in [0, 1].

    crop: images shift by -crop..crop pixels in each direction, uniformly (pad by `crop`,
    then cut out the old size). What comes in is black ('zero') or the border repeated
    ('edge'). generated_crop: the same for generated images, None: as the real ones.
    flip: left-right mirror with probability 1/2. randaugment: probability with which a real
    image then goes through two operations of RandAugment of magnitude 9. cutout: side of a
    black square centred at a random pixel, cut off at the border. resized_crop: before the
    mirror, a random part of the image is enlarged to the whole; uint8 images stay whole
    numbers. pipe: for diffusion models, 'edm' or 'shift' of data/augment_pipe.py, each
    transformation with `pipe_probability`; the batch then has its labels as `augment`,
    float32 [B,9], and 'edm' may leave [0, 1] a little. Without any of these the images are
    only scaled.

    Raises InputError for an unknown `crop_fill` or `pipe`, a negative size, a crop that
    could move an image out of view, both kinds of crops, no probability and RandAugment of
    other than uint8 images of 1 or 3 channels.
    """
    image = batch["image"]
    generated_crop = crop if generated_crop is None else generated_crop
    sides = image.shape[1:3]
    one_of(("zero", "edge"), of="data.augment", crop_fill=crop_fill)
    shifts = {"crop": crop, "generated_crop": generated_crop}
    within(f"[0, {min(sides) - 1}]", of="data.augment", **shifts)
    # a larger hole is all of the image, wherever its centre is
    within(f"[0, {2 * max(sides) - 2}]", of="data.augment", cutout=cutout)
    chances = {"randaugment": randaugment, "pipe_probability": pipe_probability}
    within("[0, 1]", of="data.augment", **chances)
    one_of(("", *_PIPES), of="data.augment", pipe=pipe)
    if resized_crop and (crop or generated_crop):
        raise InputError(
            f"data.augment has resized_crop and a crop of {crop or generated_crop} pixels: "
            "give one of them."
        )
    key_crop, key_flip, key_hole = jax.random.split(key, 3)
    if resized_crop:
        image = _enlarge(image, *_part(key_crop, image.shape[:3]))
    if crop or generated_crop or flip:
        size = jnp.where(batch["real"], crop, generated_crop)
        shift = _shift(key_crop, size)
        mirror = jax.random.bernoulli(key_flip, shape=size.shape) & flip
        image = _move(image, shift, mirror, fill=crop_fill)
    if randaugment:
        key_operations = jax.random.fold_in(key, 3)
        image = _randaugment(key_operations, image, batch["real"], randaugment)
    image, labels = unit(image), {}
    if pipe:
        draws = augment_pipe.draw(jax.random.fold_in(key, 4), len(image))
        moved, label = _PIPES[pipe](2 * image - 1, draws, pipe_probability)
        image, labels = (moved + 1) / 2, {"augment": label.astype(jnp.float32)}
    if cutout:
        image = jnp.where(_hole(key_hole, image.shape, cutout), 0.0, image)
    return {**batch, "image": image, **labels}


def _shift(key: Key, size: Array) -> Array:
    """Draw shifts int [B,2], uniform in -size..size for each image."""
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


def _part(key: Key, shape: tuple[int, int, int]) -> tuple[Array, Array]:
    """Draw the top left corner and the height and width of a part of each image, int
    [B,2] each, by the law of torchvision: the first of ten draws that fits, or else the
    largest part of an allowed ratio in the centre."""
    b, *sides = shape
    keys, sides = jax.random.split(key, 3), jnp.asarray(sides)
    low, high = _RATIO
    share = jax.random.uniform(keys[0], (b, _TRIES), minval=_SHARE[0], maxval=_SHARE[1])
    log_ratio = jax.random.uniform(
        keys[1], (b, _TRIES), minval=math.log(low), maxval=math.log(high)
    )
    root = jnp.exp(log_ratio / 2)
    sizes = jnp.stack([1 / root, root], -1) * jnp.sqrt(share * sides.prod())[..., None]
    sizes = jnp.round(sizes).astype(int)
    fits = ((sizes > 0) & (sizes <= sides)).all(-1)
    first = jnp.argmax(fits, 1)[:, None, None]
    size = jnp.take_along_axis(sizes, first, 1)[:, 0]
    corner = jax.random.randint(keys[2], (b, 2), 0, jnp.maximum(sides - size, 0) + 1)
    whole = jnp.round(jnp.minimum(sides, sides[::-1] / jnp.array([low, 1 / high])))
    whole = whole.astype(int)
    found = fits.any(1)[:, None]
    return (
        jnp.where(found, corner, (sides - whole) // 2),
        jnp.where(found, size, whole),
    )


def _enlarge(image: Array, corner: Array, size: Array) -> Array:
    """Enlarge that part of each image bilinearly to the size of the image: [B,H,W,C] ->
    the same, in its type."""
    sides = jnp.asarray(image.shape[1:3])

    def one(image: Array, corner: Array, size: Array) -> Array:
        scale = sides / size
        return jax.image.scale_and_translate(
            image, image.shape, (0, 1), scale, -corner * scale, "linear", antialias=True
        )

    enlarged = jax.vmap(one)(image.astype(jnp.float32), corner, size)
    whole = image.dtype == jnp.uint8
    enlarged = jnp.round(enlarged) if whole else enlarged
    # weights that round may leave the range
    return jnp.clip(enlarged, 0, 255 if whole else 1).astype(image.dtype)


def _randaugment(key: Key, image: Array, real: Array, probability: float) -> Array:
    """Apply RandAugment to each real image with `probability`: uint8 [B,H,W,C] -> the
    same."""

    def one(key: Key, image: Array, real: Array) -> Array:
        key_chosen, key_operations = jax.random.split(key)
        chosen = real & jax.random.bernoulli(key_chosen, probability)
        transform = partial(operations.randaugment, key_operations)
        return jax.lax.cond(chosen, transform, lambda image: image, image)

    keys = jax.random.split(key, len(image))
    # Over the batch at once every operation is computed for every image. One by one only
    # those drawn are: ten times faster on a CPU, though several CPU devices then each do
    # the whole batch.
    return jax.lax.platform_dependent(
        keys,
        image,
        real,
        cpu=lambda *batch: jax.lax.map(lambda image: one(*image), batch),
        default=jax.vmap(one),
    )


def _hole(key: Key, shape: tuple[int, ...], side: int) -> Array:
    """Draw masks bool [B,H,W,1] that are true in a square of `side` pixels centred at a
    uniform pixel."""
    b, h, w, _ = shape
    key_y, key_x = jax.random.split(key)

    def covered(key: Key, size: int) -> Array:
        first = jax.random.randint(key, (b, 1), 0, size) - side // 2
        return (jnp.arange(size) >= first) & (jnp.arange(size) < first + side)

    return (covered(key_y, h)[:, :, None] & covered(key_x, w)[:, None, :])[..., None]
