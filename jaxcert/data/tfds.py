"""Data sets that TensorFlow Datasets has prepared, read without TensorFlow.

Only data sets written with `file_format=array_record` can be read so. Building the stock
ones needs TensorFlow once, in whatever environment: `tfds build cifar10
--file_format=array_record`.
"""

from __future__ import annotations

import numpy as np

from jaxcert.data import resizing
from jaxcert.errors import InputError
from jaxcert.progress import Progress

_CHUNK = 512  # records read at a time


def read(
    name: str, split: str, *, dir: str = "", resize: tuple[int, ...] = ()
) -> tuple[np.ndarray, np.ndarray, int]:
    """(image uint8 [N,H,W,C], label int32 [N], classes) of `name` or `name/config`.

    `dir` is TFDS's data_dir, empty: its default. resize: as of `resizing.fit`. Raises InputError
    if tensorflow_datasets
    is missing, the data set is not prepared, or it is no set of labelled images of one
    size.
    """
    try:
        import tensorflow_datasets as tfds
    except ImportError:
        raise InputError(
            f"tfds:{name} needs tensorflow-datasets: pip install 'jaxcert[tfds]'."
        ) from None
    full = name.replace(":", "/")
    try:
        builder = tfds.builder(full, data_dir=dir or None)
    except (tfds.core.DatasetNotFoundError, ValueError):  # ValueError: the config
        raise InputError(
            f"TensorFlow Datasets knows no {full}: check the name and --config.data.dir."
        ) from None
    try:
        source = builder.as_data_source(split=split)
    except (AssertionError, NotImplementedError, FileNotFoundError):
        raise InputError(
            f"{full} is not prepared as array_record in {builder.data_dir}: run `tfds build "
            f"{full} --file_format=array_record` where TensorFlow is installed, and give its "
            "folder by --config.data.dir."
        ) from None
    except ValueError:
        raise InputError(
            f"{full} has no split {split!r}: it has {', '.join(builder.info.splits)}."
        ) from None
    features = builder.info.features
    label = features["label"] if {"image", "label"} <= set(features) else None
    if not hasattr(label, "num_classes"):
        raise InputError(
            f"{full} has the features {', '.join(features)}: give a data set with `image` "
            "and a class `label`."
        )
    return *_arrays(source, full, resize), label.num_classes


def _arrays(
    source, name: str, resize: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray]:
    size = len(source)
    line = Progress(f"read {name}", size)
    label = np.empty(size, np.int32)
    image: np.ndarray | None = None
    for first in range(0, size, _CHUNK):
        rows = range(first, min(first + _CHUNK, size))
        for row, record in zip(rows, source.__getitems__(list(rows)), strict=True):
            pixels = resizing.fit(np.asarray(record["image"]), resize, name)
            if image is None:
                image = np.empty((size, *pixels.shape), pixels.dtype)
            if pixels.shape != image.shape[1:]:
                raise InputError(
                    f"{name} has images of {pixels.shape} and of {image.shape[1:]}: bring them "
                    "to one size, as by --config.data.resize=64."
                )
            image[row], label[row] = pixels, record["label"]
        line.update(rows.stop)
    return image, label
