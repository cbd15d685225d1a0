"""Sets of generated images: the npz files of Wang et al., or our shards.

Wang et al., Better Diffusion Models Further Improve Adversarial Training (2023): `image`
uint8 [M,H,W,C] and `label`, saved by numpy without compression and SORTED: by class and, in
the file of 1M, by the confidence of a classifier. So a part of it is always drawn, never
cut off. Altstidl et al. draw 1M at random from the file of 5M to compare amounts by one
rule: `count` does this. Sub-sets of one seed are nested, the 1M are among the 5M.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from jaxcert.data import files, write
from jaxcert.data.sources import Source, checked
from jaxcert.errors import InputError, home
from jaxcert.progress import Progress

_RECORDS = 256  # read at a time


class Rows:
    """Some rows of a mapped array, in the given order; the others are never read."""

    def __init__(self, array: np.ndarray, rows: np.ndarray):
        self.array, self.rows = array, rows
        self.shape = (len(rows), *array.shape[1:])
        self.dtype = array.dtype

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: np.ndarray) -> np.ndarray:
        return self.array[self.rows[index]]


def open_generated(path: str | Path, *, count: int = 0, seed: int = 0) -> Source:
    """Generated images of an npz file, which stays on disk, or of a folder of shards, which
    is read into memory.

    count: that many, drawn without replacement by `seed`; 0: all. Raises InputError for a
    set that is missing, damaged, unfinished, empty, smaller than `count`, or not uint8.
    """
    path = home(path)
    if not path.exists():
        raise InputError(
            f"there are no generated images at {path}: check --config.data.generated."
        )
    if count < 0:
        raise InputError(f"data.generated_count is {count}: give 0 (all) or more.")
    source = (_shards if path.is_dir() else _npz)(path, count, seed)
    some = source.image[np.arange(min(_RECORDS, len(source.label)))]
    if some.max(initial=0) <= 1:
        raise InputError(
            f"{path} has no pixel above 1 of 255 in its first images: it holds floats cast to "
            "whole numbers; save round(255 x)."
        )
    return source


def size(path: str | Path) -> int:
    """Number of images of a set, without reading them. Raises as `open_generated`."""
    path = home(path)
    if path.is_dir():
        return write.read_header(path).get("count", 0)
    return len(open_generated(path).label)


def draw(size: int, count: int, *, seed: int, name: str) -> np.ndarray:
    """Positions of a uniform sample of `count` out of `size`, ascending."""
    if count > size:
        raise InputError(
            f"data.generated_count is {count:,}, but {name} has {size:,} images: give "
            "fewer, or a larger set."
        )
    return np.sort(np.random.default_rng(seed).permutation(size)[:count])


def _npz(path: Path, count: int, seed: int) -> Source:
    source = checked(*files.read_npz(path), num_classes=0, name=str(path))
    if source.image.dtype != np.uint8:
        raise InputError(f"{path} has float images: save them as uint8.")
    if not count:
        return source
    rows = draw(len(source.label), count, seed=seed, name=str(path))
    return source._replace(image=Rows(source.image, rows), label=source.label[rows])


def _shards(folder: Path, count: int, seed: int) -> Source:
    header = write.read_header(folder)
    if not header["done"]:
        raise InputError(
            f"{folder} is not finished: run the command that writes it again, it continues."
        )
    size, shape = header["count"], tuple(header["image_shape"])
    rows = draw(size, count or size, seed=seed, name=str(folder))
    _check_memory(folder, len(rows) * int(np.prod(shape)))
    image = np.empty((len(rows), *shape), np.uint8)
    label = np.empty(len(rows), np.int32)
    line = Progress(f"read {folder}", size)
    seen = taken = 0
    for path in write.shards(folder, header):
        for part in _blocks(path, shape):
            last = int(np.searchsorted(rows, seen + len(part[1])))
            chosen = rows[taken:last] - seen
            image[taken:last], label[taken:last] = part[0][chosen], part[1][chosen]
            seen, taken = seen + len(part[1]), last
            line.update(seen)
    if seen != size:
        raise InputError(
            f"{folder} holds {seen:,} images, not the {size:,} of its {write.HEADER}: a "
            "shard is missing; copy it again."
        )
    return checked(image, label, num_classes=header["num_classes"], name=str(folder))


def _blocks(
    path: Path, shape: tuple[int, ...]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Images [n,H,W,C] and labels [n] of some records at a time, in order."""
    pixels = int(np.prod(shape))
    with write.open_shard(path) as reader:
        records = reader.num_records()
        for first in range(0, records, _RECORDS):
            image, label = [], []
            for data in reader.read(first, min(first + _RECORDS, records)):
                n, rest = divmod(len(data), 4 + pixels)
                if rest:
                    raise ValueError
                label.append(np.frombuffer(data, "<i4", n))
                image.append(np.frombuffer(data, np.uint8, offset=4 * n))
            yield np.concatenate(image).reshape(-1, *shape), np.concatenate(label)


def _check_memory(folder: Path, needed: int) -> None:
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if needed > 0.9 * memory:
        raise InputError(
            f"{folder} takes {needed / 1e9:.0f} GB of the {memory / 1e9:.0f} GB of memory: "
            "set --config.data.generated_count, or give the npz file, which stays on disk."
        )
