"""A config for a data set of one's own, written after a look at its images."""

from __future__ import annotations

from typing import Any

import numpy as np

from jaxcert.data import sources
from jaxcert.errors import InputError
from jaxcert.progress import Progress

_CHUNK = 1 << 10
_MODELS = (
    # largest side, name, what it takes besides classes, shape, mean and std
    (28, "small_cnn", "width=32,  # channels of the first of two convolutions"),
    (64, "resnet", "depth=20,  # 20, 56, 110: better and slower"),
    (2**14, "resnet18", "stages=(2, 2, 2, 2),  # (3, 4, 6, 3) is ResNet-34"),
)
_BATCH = 128
_FLAT = 1e-4
"""A channel with a smaller deviation is everywhere the same, and is divided by 1."""


def write(name: str, *, dir: str = "", resize: tuple[int, ...] = ()) -> str:
    """Return the text of a config file that trains a classifier of a data set with noise and
    certifies it by smoothing. name, dir, resize: as of `sources.open`, which is looked at whole.

    Raises InputError for a data set without labels or test images, or with a single class, and
    as `sources.open`.
    """
    train, test = (
        sources.open(name, split, dir=dir, resize=resize) for split in ("train", "test")
    )
    classes = max(train.num_classes, test.num_classes)
    if classes < 2:
        raise InputError(f"{name} has a single class: give images of two classes.")
    shape = tuple(int(size) for size in train.image.shape[1:])
    if tuple(test.image.shape[1:]) != shape:
        raise InputError(
            f"{name} has images of {sources.times(shape)} for training and of "
            f"{sources.times(test.image.shape[1:])} for testing: bring them to one size, as by "
            "--resize 64."
        )
    mean, std = _moments(train.image, name)
    counts = np.bincount(train.label, minlength=classes)
    model, more = next((m, w) for side, m, w in _MODELS if max(shape[:2]) <= side)
    step = max(1, len(test.label) // 500)
    return _TEXT.format(
        name=name,
        data=_data(name, dir, resize),
        train=f"{len(train.label):,}",
        test=f"{len(test.label):,}",
        size=sources.times(shape),
        classes=classes,
        counts=" to ".join(f"{n:,}" for n in sorted({counts.min(), counts.max()})),
        model=model,
        more=more,
        shape=shape,
        mean=_numbers(mean),
        std=_numbers(np.where(std < _FLAT, 1.0, std)),
        batch=min(_BATCH, 2 ** (len(train.label).bit_length() - 1)),
        epochs=int(np.clip(400_000 // len(train.label), 20, 100)),
        crop=min(shape[:2]) // 8,
        step=step,
        stop=4 * step,
        few=min(32, len(train.label)),
    )


def _data(name: str, dir: str, resize: tuple[int, ...]) -> str:
    given: dict[str, Any] = {"name": name, "dir": dir, "resize": resize}
    return ", ".join(f"{key}={value!r}" for key, value in given.items() if value)


def _moments(image: Any, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation of each channel, of pixels in [0, 1]."""
    line = Progress(f"look at {name}", len(image))
    total, squares, scale = 0.0, 0.0, 255 if image.dtype == np.uint8 else 1
    for first in range(0, len(image), _CHUNK):
        part = np.asarray(image[first : first + _CHUNK], np.float64) / scale
        total = total + part.sum((0, 1, 2))
        squares = squares + (part**2).sum((0, 1, 2))
        line.update(min(first + _CHUNK, len(image)))
    count = len(image) * image.shape[1] * image.shape[2]
    mean = total / count
    return mean, np.sqrt(np.maximum(squares / count - mean**2, 0))


def _numbers(values: np.ndarray) -> tuple[float, ...]:
    return tuple(float(f"{v:.4g}") for v in values)


_TEXT = '''"""Smoothing on {name}: {train} images of {size} for training, {test} for testing.

    jaxcert train --config FILE:0.25 --workdir runs/mine
    jaxcert certify --workdir runs/mine
    jaxcert serve --workdir runs/mine --config.certify.procedure=sequence

The word after the colon is sigma, the noise of training and of the certificate: more of it gives
larger radii and lower accuracy. {classes} classes, with {counts} training images each. The
settings are a start and nothing that was tuned; jaxcert --help and docs/howto/config.md say more.
"""

from jaxcert.config import base, words

WORDS = {{"sigma": {{"0.12": 0.12, "0.25": 0.25, "0.50": 0.5, "1.00": 1.0}}}}
ROWS = tuple(WORDS["sigma"])


def get_config(arg=""):
    sigma = words(arg, **WORDS).sigma or 0.25
    config = base()
    config.model = dict(
        name="{model}",
        {more}
        num_classes={classes},
        image_shape={shape},  # height, width, channels
        mean={mean},  # of the training images, pixels in [0, 1]
        std={std},
    )
    # other methods (macer, consistency, smoothmix, ...) certify more and train longer
    config.method = dict(name="gaussian", sigma=sigma, m=1)
    config.data.update(
        {data}, batch={batch}, epochs={epochs}
    )
    # crop moves images by up to so many pixels. flip=True only if a mirrored image has its class
    config.data.augment.update(crop={crop}, flip=False)
    config.optim.update(
        name="sgd", lr=0.05, momentum=0.9, weight_decay=1e-4, schedule="cosine"
    )
    config.checkpoint.every_epochs = 5
    config.certify.update(
        name="smoothing",
        procedure="certify",  # sequence: fewer samples, and answers by a deadline
        sigma=sigma,
        n0=100,
        n=10_000,  # samples of each image; papers take 100,000
        alpha=0.001,  # the probability that a certificate is wrong
        step={step},  # every so many-th test image; 1: all
        radii=tuple(x * sigma for x in (0.0, 0.5, 1.0, 1.5, 2.0)),
    )
    # what --tiny does, to see in seconds that everything fits
    config.tiny = dict(
        data=dict(epochs=1, batch={few}, epoch_images={few}),
        certify=dict(n0=10, n=100, stop={stop}),
    )
    return config
'''
