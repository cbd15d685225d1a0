"""Sets of generated images: the npz files of Wang et al., or folders of shards.

Wang et al., Better Diffusion Models Further Improve Adversarial Training (2023): `image`
uint8 [M,H,W,C] and `label`, saved by numpy without compression and SORTED: by class and, in
the file of 1M, by the confidence of a classifier. So a part of it is always drawn, never
cut off. Altstidl et al. draw 1M at random from the file of 5M to compare amounts by one
rule: `count` does this. Sub-sets of one seed are nested, the 1M are among the 5M.

A folder holds the shards of `jaxcert.generate` or `jaxcert.convert`, or npz files of the same
layout, read in the natural order of their names (2 before 10). Their images stay on disk
and are shuffled as one set.

Opening a set reads headers and all labels. Up to 1 GiB, the checksums of the images are
compared too, which reads them; beyond it only those of the first and the last record of each
shard are, and an image that went bad on disk would not be noticed. What the files hold is
written down when a run begins, by their own checksums, and compared when it continues.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import zip_longest
from pathlib import Path

import numpy as np

from jaxcert.data import files, shards, write
from jaxcert.data.sources import Source, checked_bytes, times
from jaxcert.errors import InputError, home, whole_from
from jaxcert.progress import Progress, say

_FIRST = 256  # images that are looked at
_THREADS = 16  # that read headers
_WHOLE = 1 << 30  # bytes up to which the checksums of images are compared


class Rows:
    """Some rows, in the given order, of what is indexed like an array; the others are
    never read."""

    def __init__(self, array: np.ndarray | shards.Images, rows: np.ndarray):
        self.array, self.rows = array, rows
        self.shape = (len(rows), *array.shape[1:])
        self.dtype = array.dtype

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: np.ndarray) -> np.ndarray:
        return self.array[self.rows[index]]


def part(source: Source, rows: np.ndarray) -> Source:
    """Return some images of a source; those that do not lie in memory stay where they are."""
    in_memory = type(source.image) is np.ndarray
    image = source.image[rows] if in_memory else Rows(source.image, rows)
    return source._replace(image=image, label=source.label[rows])


def open_generated(path: str | Path, *, count: int = 0, seed: int = 0) -> Source:
    """Generated images of an npz file or a folder of shards, which stay on disk.

    count: that many, drawn without replacement by `seed`; 0: all. Raises InputError for a
    set that is missing, damaged, unfinished, empty, smaller than `count`, or not uint8.
    """
    path = home(path)
    if not path.exists():
        raise InputError(
            f"there are no generated images at {path}: check --config.data.generated."
        )
    whole_from(0, of="data", generated_count=count)
    source = _folder(path) if path.is_dir() else _npz(path)
    if count:
        rows = draw(len(source.label), count, seed=seed, name=str(path))
        source = part(source, rows)
    some = source.image[np.arange(min(_FIRST, len(source.label)))]
    if some.max(initial=0) <= 1:
        raise InputError(
            f"{path} has no pixel above 1 of 255 in its first images: it holds floats cast to "
            "whole numbers; save round(255 x)."
        )
    return source


def size(path: str | Path) -> int:
    """Return the number of images of a set, without reading them. Raises as
    `open_generated`."""
    path = home(path)
    if (path / write.HEADER).is_file():
        header = write.read_header(path)
        if not header["done"]:
            raise _unfinished(path)
        return header["count"]
    return len(open_generated(path).label)


def draw(size: int, count: int, *, seed: int, name: str) -> np.ndarray:
    """Draw the positions of a uniform sample of `count` out of `size`, ascending."""
    if count > size:
        raise InputError(
            f"data.generated_count is {count:,}, but {name} has {size:,} images: give "
            "fewer, or a larger set."
        )
    return np.sort(np.random.default_rng(seed).permutation(size)[:count])


def compare(source: Source, path: Path, *, begun: bool, writes: bool = True) -> None:
    """Compare the names and digests of a set's files with those in `path`, if a run has
    begun and wrote them there, or write them. Raises InputError if they differ, or if what
    stands there cannot be read."""
    if begun and path.is_file():
        try:
            known = [(str(n), str(value)) for n, value in json.loads(path.read_text())]
        except (ValueError, TypeError, RecursionError):
            raise InputError(
                f"{path} is damaged, so the generated images cannot be compared with those "
                "the run began with: restore it, or name another --workdir."
            ) from None
        for before, now in zip_longest(known, source.files):
            if before != now:
                raise InputError(
                    f"{(now or before)[0]} of {source.name} is not what this run began with: "
                    "restore the generated images, or name another --workdir."
                )
    elif writes:
        part = path.with_name(path.name + ".part")
        part.write_text(json.dumps(source.files, indent=0) + "\n")
        part.replace(path)


def where(image: np.ndarray | Rows | shards.Images, position: int) -> str:
    """Return the file that an image comes from where it is one of several shards, else
    ''."""
    while isinstance(image, Rows):
        image, position = image.array, image.rows[position]
    if isinstance(image, shards.Images):
        return str(image.path_of(position))
    return ""


def _npz(path: Path) -> Source:
    if files.is_compressed(path):
        raise InputError(
            f"{path} is compressed and cannot be mapped: unpack it once by python -m "
            f"jaxcert.convert --generated {path} --out FOLDER."
        )
    image, label = files.read_npz(path, whole=path.stat().st_size <= _WHOLE)
    source = checked_bytes(image, label, name=str(path))
    return source._replace(files=((path.name, files.digest(path)),))


def _folder(folder: Path) -> Source:
    """Open the shards of a folder, in order, as one set."""
    ours = (folder / write.HEADER).exists() or any(folder.glob(f"*{write.SUFFIX}"))
    loose = _npz_files(folder)
    if ours and loose:  # such as the file that was converted
        say(
            f"warning: {loose[0]} is not read, because shards of jaxcert.generate or "
            "jaxcert.convert lie beside it"
        )
        loose = []
    header = {} if loose else write.read_header(folder)
    if header and not header["done"]:
        raise _unfinished(folder)
    paths = loose or write.shards(folder, header)
    whole = sum(path.stat().st_size for path in paths) <= _WHOLE
    read = partial(shards.of_records, header=header) if header else shards.of_npz
    found: list[shards.Shard] = []
    line = Progress(f"open {folder}", len(paths), "shards")
    for shard in _at_once(partial(read, whole=whole), paths):
        if found and shard.shape != found[0].shape:
            raise InputError(
                f"{shard.path} has images of {times(shard.shape)}, {found[0].path.name} of "
                f"{times(found[0].shape)}: keep images of one shape in a folder."
            )
        found.append(shard)
        line.update(len(found))
    size = sum(len(shard.label) for shard in found)
    if header and size != header["count"]:
        beyond = _beyond(found, header)
        if beyond:
            raise InputError(
                f"{beyond} has images beyond the {header['count']:,} of {folder / write.HEADER}: "
                "delete it, and run the command that wrote the folder again."
            )
        raise InputError(
            f"{folder} holds {size:,} images, not the {header['count']:,} of its "
            f"{write.HEADER}: a shard is missing; run the command that wrote it again."
        )
    label = np.concatenate([shard.label for shard in found])
    return Source(
        shards.Images(found),
        label,
        header.get("num_classes") or int(label.max()) + 1,
        str(folder),
        tuple((shard.path.name, shard.digest) for shard in found),
    )


def _beyond(found: list[shards.Shard], header: dict) -> Path | None:
    """Return the first shard that is not, or not all, among the images of a header."""
    for place, shard in enumerate(found):
        if write.number_of(shard.path) != place:  # one is missing before it
            return None
        if len(shard.label) > header["count"] - place * header["per_shard"]:
            return shard.path
    return None


def _unfinished(folder: Path) -> InputError:
    return InputError(
        f"{folder} is not finished: run the command that writes it again, it continues."
    )


def _at_once(read: Callable, paths: list[Path]) -> Iterator[shards.Shard]:
    """Yield the shards in order while several are being read, because the waiting times
    of a disk add up."""
    pool = ThreadPoolExecutor(_THREADS)
    try:
        yield from pool.map(read, paths)
    finally:
        pool.shutdown(cancel_futures=True)


def _npz_files(folder: Path) -> list[Path]:
    """Return the npz files of a folder, in the natural order of their names."""

    def natural(path: Path) -> tuple:
        parts = re.split(r"(\d+)", path.name, flags=re.ASCII)
        return [int(p) if i % 2 else p for i, p in enumerate(parts)], path.name

    paths = (p for p in folder.glob("*.npz") if not p.name.startswith("."))
    return sorted(paths, key=natural)
