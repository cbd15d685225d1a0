"""Images of several sizes brought to one: the short side resized, the centre cut out.

`fit` does what torchvision's Resize and CenterCrop do to a picture of Pillow: bilinear, over as
many pixels as the picture shrinks by. A radius is then one of the resized image: how far the
picture itself may change is not said.
"""

from __future__ import annotations

import numpy as np

from jaxcert.errors import InputError

_LONGEST = 64
"""The most that a side may be of the other."""


def check(resize: tuple[int, ...]) -> None:
    """Raises InputError for values of data.resize that are no sizes."""
    whole = all(type(size) is int and 0 < size <= 2**14 for size in resize)
    if not whole or len(resize) > 2 or resize[1:] > resize[:1]:
        given = ",".join(map(str, resize))
        raise InputError(
            f"data.resize is {given}: give the short side, 224, or that and the side of the part "
            "that is cut out of the centre, 256,224."
        )


def fit(pixels: np.ndarray, resize: tuple[int, ...], name: str) -> np.ndarray:
    """Return an image [H,W,C], uint8 or float32 in [0, 1], with its short side resized to
    resize[0] and a square of the side resize[-1] cut out of its centre; the image itself for an
    empty resize. Raises InputError for one that is more than 64 times as long as it is wide."""
    if not resize:
        return pixels
    height, width = pixels.shape[:2]
    short, side = min(height, width), resize[-1]
    if not 0 < max(height, width) <= _LONGEST * short:
        raise InputError(
            f"{name} has {height} x {width} pixels, of which no square can be cut out: remove it."
        )
    # rounded down, as there
    sizes = [resize[0] * size // short for size in (height, width)]
    if sizes != [height, width]:
        pixels = _resized(pixels, *sizes)
    top, left = (round((size - side) / 2.0) for size in sizes)
    return pixels[top : top + side, left : left + side]


def _resized(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    from PIL import Image

    channels = [
        Image.fromarray(channel).resize((width, height), Image.Resampling.BILINEAR)
        for channel in np.moveaxis(np.ascontiguousarray(pixels), -1, 0)
    ]
    found = np.stack([np.asarray(channel) for channel in channels], -1)
    return found if found.dtype == np.uint8 else np.clip(found, 0, 1)
