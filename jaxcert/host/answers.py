"""Turns the answers of classifiers outside of JAX into classes."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from jaxcert.errors import InputError

NONE = -1
"""A vote for no class."""


def classes_of(answer: Any, images: int, num_classes: int, who: str) -> np.ndarray:
    """Return the classes int64 [B] of an answer, given as classes [B] or logits [B,K]; -1 for
    a negative class, and with a warning where logits are not finite.

    who: the classifier, as a sentence begins with it. Raises InputError for a class of
    num_classes or more, and for an answer of another shape or type.
    """
    try:
        found = np.asarray(answer)
    except ValueError:  # rows of unequal length
        found = np.array(None)
    shape, kind = found.shape, found.dtype.kind
    if shape == (images,) and kind in "iu":
        if found.max() >= num_classes:
            raise InputError(
                f"{who} gives class {found.max()} where num_classes is {num_classes}, and "
                "classes count from 0: give the number of its classes."
            )
        return np.where(found < 0, NONE, found).astype(np.int64)
    if shape == (images, num_classes) and kind == "f":
        finite = np.isfinite(found).all(1)
        if not finite.all():
            warnings.warn(
                f"{who} gives logits that are not finite for some noisy images, which are "
                "votes for no class: look at its weights, and at what it makes of pixels "
                "outside [0, 1].",
                stacklevel=2,
            )
        return np.where(finite, found.argmax(1), NONE)
    if len(shape) == 2 and len(found) == images and kind == "f":
        raise InputError(
            f"{who} gives {shape[1]} outputs for {num_classes} classes: give "
            f"num_classes={shape[1]}, or the classifier of {num_classes}."
        )
    raise InputError(
        f"{who} gives {found.dtype} {list(shape)} for {images} images: it must give classes, "
        f"integers [{images}], or logits, floats [{images}, {num_classes}]."
    )


def first_line(error: BaseException) -> str:
    """Return the first line of what an exception says, without its full stop."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__).rstrip(".:")[:300]
