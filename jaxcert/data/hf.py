"""Data sets of images by the package `datasets`: those of the Hugging Face Hub, and folders of
parquet files on this machine.

The pictures are decoded here, as those of folders are (pictures.py), so that what is grey, turned
or transparent is the same for both. Versions of `datasets` from 4 on run no code of a data set.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxcert.data import pictures, resizing
from jaxcert.errors import InputError, home
from jaxcert.progress import Progress

_IMAGES = ("image", "img")
_LABELS = ("label", "labels", "fine_label")
_SPLITS = {"train": ("train",), "test": ("test", "validation")}
"""Names that our splits have there; the first one that a data set has is opened."""


def read(
    name: str,
    split: str,
    *,
    dir: str = "",
    download: bool = True,
    labels: bool = True,
    resize: tuple[int, ...] = (),
) -> tuple[np.ndarray, np.ndarray | None, int]:
    """(image uint8 or float32 [N,H,W,C], label int32 [N], classes) of `name` or `name:config`.

    name: of the Hub, such as uoft-cs/cifar10, or a folder of parquet files. Split test is the
    split validation where there is no test. The columns are image or img, and label, labels or
    fine_label. dir: the cache of `datasets`, empty: its default. labels: whether there must be
    some; if not, label is None and classes 0 where there are none, or all are -1. resize: as of
    `resizing.fit`. Raises InputError if the package is missing, and for a data set that cannot
    be had or is none of labelled images of one size.
    """
    found = _loaded(name, dir, download)
    theirs = next((known for known in _SPLITS[split] if known in found), None)
    if theirs is None:
        raise InputError(
            f"hf:{name} has no split {split}: it has {', '.join(map(str, found))}."
        )
    data = found[theirs]
    column = _column(name, data, _IMAGES)
    image = _pixels(f"hf:{name}", data, column, resize)
    known = [key for key in _LABELS if key in data.column_names]
    if not known and not labels:
        return image, None, 0
    key = _column(name, data, _LABELS)
    label = _whole(name, data[key])
    if not labels and (label == -1).all():
        return image, None, 0
    classes = getattr(data.features[key], "num_classes", None)
    if classes is None:  # plain numbers: the splits share the classes
        every = [
            _whole(name, part[key])
            for part in found.values()
            if key in part.column_names
        ]
        classes = 1 + max(int(one.max(initial=-1)) for one in every)
    return image, label, classes


def _loaded(name: str, dir: str, download: bool) -> Mapping[str, Any]:
    """Return the splits of a data set, of which pictures are bytes still."""
    try:
        import datasets  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise InputError(
            f"hf:{name} needs the package datasets: pip install 'jaxcert[hf]'."
        ) from None
    path, _, config = name.partition(":")
    local = home(path)
    how: dict[str, Any] = {"cache_dir": dir or None}
    if (
        local.is_dir()
    ):  # by itself it would look for splits in the names of all folders above
        path, how["data_files"], config = "parquet", _files(local, config), ""
    if not download:
        how["download_config"] = datasets.DownloadConfig(local_files_only=True)
    try:
        found = datasets.load_dataset(path, config or None, **how)
    except Exception as error:  # of the network, of the Hub, of files
        why = str(error).strip().partition("\n")[0] or type(error).__name__
        raise InputError(
            f"hf:{name} cannot be opened ({why}): check the name, the network and "
            "--config.data.dir."
        ) from None
    return {
        split: data.cast_column(key, datasets.Image(decode=False))
        if isinstance(data.features.get(key := _known(data, _IMAGES)), datasets.Image)
        else data
        for split, data in found.items()
    }


def _files(folder: Path, config: str) -> dict[str, list[str]]:
    """Return the parquet files of each split in a folder, or in its sub-folder of the config or
    `data`. Raises InputError where there are none."""
    places = [folder / config] if config else [folder, folder / "data"]
    for place in places:
        found = {
            split: sorted(map(str, place.glob(f"{split}*.parquet")))
            for split in ("train", "test", "validation")
        }
        if any(found.values()):
            return {split: paths for split, paths in found.items() if paths}
    raise InputError(
        f"there are no train*.parquet and test*.parquet in {places[0]}: name their folder, or "
        "give folder:DIR for pictures."
    )


def _known(data: Any, names: tuple[str, ...]) -> str:
    return next((name for name in names if name in data.column_names), "")


def _column(name: str, data: Any, names: tuple[str, ...]) -> str:
    if not (found := _known(data, names)):
        raise InputError(
            f"hf:{name} has the columns {', '.join(data.column_names)} and none called "
            f"{' or '.join(names)}: save its arrays as npz."
        )
    return found


def _whole(name: str, column: Any) -> np.ndarray:
    label = np.asarray(list(column))
    if label.ndim != 1 or label.dtype.kind not in "iu":
        raise InputError(
            f"hf:{name} has labels that are no whole numbers: save them so."
        )
    return label.astype(np.int64)


def _pixels(name: str, data: Any, column: str, resize: tuple[int, ...]) -> np.ndarray:
    line, image = Progress(f"read {name}", len(data)), None
    if not len(data):
        raise InputError(f"{name} has no images: give at least one.")
    for row, given in enumerate(data.select_columns([column])):
        expected = None if image is None else image.shape[1:]
        pixels = _picture(given[column], f"image {row} of {name}", expected, resize)
        if image is None:
            image = np.empty((len(data), *pixels.shape), pixels.dtype)
        if pixels.shape != image.shape[1:] or pixels.dtype != image.dtype:
            raise InputError(
                f"image {row} of {name} is {pixels.dtype} {pixels.shape}, those before it "
                f"{image.dtype} {image.shape[1:]}: bring all to one kind and, as by "
                "--config.data.resize=64, to one size."
            )
        image[row] = pixels
        line.update(row + 1)
    assert image is not None
    return image


def _picture(
    given: Any, name: str, expected: tuple[int, ...] | None, resize: tuple[int, ...]
) -> np.ndarray:
    """Return the pixels [H,W,C] of what stands in a column of images."""
    if not isinstance(given, Mapping):  # an array
        pixels = np.asarray(given, np.uint8)
        pixels = pixels[..., None] if pixels.ndim == 2 else pixels
        return resizing.fit(pixels, resize, name)
    if not given.get("bytes"):  # a path, to wherever the data set says
        raise InputError(f"{name} has no bytes of its own: give folder:DIR instead.")
    return pictures.decoded(io.BytesIO(given["bytes"]), name, expected, resize)
