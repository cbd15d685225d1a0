"""Shards of images on disk, and the conversion of an npz file into them.

A folder holds `images.json`, which says of what the images are made, and files
shard-00000-<digest of that>.array_record, ... Each ArrayRecord record is `per_record` images:
their labels as little-endian int32, then their pixels. A shard appears by a rename once it
is whole, so a folder that was being written when the machine went down holds whole shards
only, and the same command continues after the last of them.
"""

from __future__ import annotations

import errno
import hashlib
import json
import lzma
import os
import re
import shutil
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from jaxcert.data import files
from jaxcert.data.shards import open_records
from jaxcert.data.sources import checked_bytes
from jaxcert.errors import InputError, whole_from
from jaxcert.progress import Progress

FORMAT = "jaxcert-images-1"
HEADER = "images.json"
SUFFIX = ".array_record"

_CHUNK = 1 << 13  # images converted at a time


class Writer:
    """Appends uint8 images [n,H,W,C] with labels [n] to a folder of shards.

    `request` says what is being written (JSON). A folder with the same request is
    continued: `written` images are there already, `done` says whether that is all. Raises
    InputError if the folder has images of another request.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        image_shape: tuple[int, int, int],
        num_classes: int,
        request: dict[str, Any],
        per_record: int = 64,
        per_shard: int = 1 << 16,
    ):
        self.folder = Path(folder)
        self.header: dict[str, Any] = {
            "format": FORMAT,
            "image_shape": list(image_shape),
            "num_classes": num_classes,
            "per_record": per_record,
            "per_shard": -(-per_shard // per_record) * per_record,
            "request": json.loads(json.dumps(request)),
        }
        self.written = 0
        self.done = False
        self._file: Any = None
        self._in_shard = 0
        self._image = np.empty((0, *image_shape), np.uint8)
        self._label = np.empty(0, np.int32)
        self.folder.mkdir(parents=True, exist_ok=True)
        if (self.folder / HEADER).exists() or _shards(self.folder):
            self._continue()
        else:
            self._write_header(done=False)

    def append(self, image: np.ndarray, label: np.ndarray) -> None:
        """Add images. They become safe one shard at a time; a crash loses those that
        are pending."""
        size = self.header["per_record"]
        self._image = np.concatenate([self._image, image])
        self._label = np.concatenate([self._label, label.astype(np.int32)])
        whole = len(self._label) // size * size
        for first in range(0, whole, size):
            self._record(slice(first, first + size))
        self._image, self._label = self._image[whole:], self._label[whole:]

    def close(self) -> None:
        """Finish the last shard and mark the folder as whole."""
        if len(self._label):
            self._record(slice(None))
        self._finish_shard()
        self._write_header(done=True, count=self.written)
        self.done = True

    def _record(self, rows: slice) -> None:
        from array_record.python import array_record_module

        if self._file is None:
            self._file = array_record_module.ArrayRecordWriter(
                str(self._part()), "group_size:1,uncompressed"
            )
        label = self._label[rows].astype("<i4")
        with _disk_errors(self._part()):
            self._file.write(label.tobytes() + self._image[rows].tobytes())
        self._in_shard += len(label)
        if self._in_shard == self.header["per_shard"]:
            self._finish_shard()

    def _finish_shard(self) -> None:
        if self._file is None:
            return
        part = self._part()
        with _disk_errors(part):
            self._file.close()
        self._file = None
        with open(part, "rb") as file:
            os.fsync(file.fileno())
        part.replace(part.with_name(f"{part.stem}-{_origin(self.header)}{SUFFIX}"))
        self.written += self._in_shard
        self._in_shard = 0

    def _part(self) -> Path:
        """Return the path of the shard that is being written."""
        return (
            self.folder / f"shard-{self.written // self.header['per_shard']:05d}.part"
        )

    def _continue(self) -> None:
        found = self._found()
        if not found["done"] and not _shards(self.folder):
            # nothing is there to be kept
            self._write_header(done=False)
            return
        there, here = _flat(found), _flat(self.header)
        for key in (*here, *found.get("request", {})):
            if there.get(key) != here.get(key):
                raise InputError(
                    f"{self.folder} holds images with {key} {there.get(key)}, not {here.get(key)}: "
                    "name another folder by --out."
                )
        per_shard = self.header["per_shard"]
        paths = shards(self.folder, found)
        if found["done"]:  # others are no part of them
            paths = [p for p in paths if number_of(p) * per_shard < found["count"]]
        whole = [number_of(path) for path in paths] == list(range(len(paths)))
        if found["done"] and whole and len(paths) == -(-found["count"] // per_shard):
            self.done, self.written = True, found["count"]
            return
        for number, path in enumerate(paths):
            if number_of(path) != number:  # one is missing: it comes next
                break
            # Only the very last shard is shorter; then just the header was missing.
            if images_in(path, self.header) < per_shard:
                path.unlink()
                break
            self.written = (number + 1) * per_shard

    def _found(self) -> dict[str, Any]:
        """Return the header that is there; a damaged one is known by the names of its
        shards."""
        try:
            return read_header(self.folder)
        except InputError:
            names = [path.stem for path in _shards(self.folder)]
            origin = _origin(self.header)
            if names and all(name.endswith(f"-{origin}") for name in names):
                return {**self.header, "done": False}
        raise InputError(
            f"{self.folder} has an {HEADER} or shards of other origin: name another folder by "
            "--out."
        )

    def _write_header(self, **more: Any) -> None:
        part = self.folder / (HEADER + ".part")
        with open(part, "w") as file:
            file.write(json.dumps({**self.header, **more}, indent=1) + "\n")
            file.flush()
            os.fsync(file.fileno())
        part.replace(self.folder / HEADER)


def convert(
    path: str | Path,
    folder: str | Path,
    *,
    seed: int = 0,
    per_record: int = 64,
    per_shard: int = 1 << 16,
) -> int:
    """Write the images of an npz file as shards, in an order shuffled by `seed`.

    Published files are sorted by class; here every prefix is a uniform sample. The npz is
    mapped and gathered from, never read whole; one that is compressed is unpacked beside the
    shards first, and what was unpacked is removed at the end. Returns the number of images.
    Raises InputError for a bad npz (see `files.read_npz`), a folder with other images, or a
    disk too small to unpack on.
    """
    path, folder = Path(path), Path(folder)
    whole_from(0, seed=seed)
    with _mappable(path, folder) as npz:
        source = checked_bytes(*files.read_npz(npz), name=str(path))
        size, shape = len(source.label), source.image.shape[1:]
        writer = Writer(
            folder,
            image_shape=shape,
            num_classes=source.num_classes,
            request={**_identity(path), "seed": seed},
            per_record=per_record,
            per_shard=per_shard,
        )
        if writer.done:
            return writer.written
        order = np.random.default_rng(seed).permutation(size)
        line = Progress(f"convert {path.name}", size)
        for first in range(writer.written, size, _CHUNK):
            rows = order[first : first + _CHUNK]
            by_place = np.argsort(rows)  # the file is read forwards
            image = np.empty((len(rows), *shape), np.uint8)
            image[by_place] = source.image[rows[by_place]]
            writer.append(image, source.label[rows])
            line.update(first + len(rows))
        writer.close()
        return writer.written


@contextmanager
def _mappable(path: Path, folder: Path) -> Iterator[Path]:
    """Return the npz file itself if it can be mapped, else one that holds its two
    arrays unpacked."""
    if not files.is_compressed(path):
        yield path
        return
    unpacked = folder / "unpacked.npz.part"
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with zipfile.ZipFile(path) as packed, zipfile.ZipFile(unpacked, "w") as stored:
            members = [packed.getinfo(f"{name}.npy") for name in ("image", "label")]
            needed = sum(m.file_size for m in members)
            free = shutil.disk_usage(folder).free
            if needed > free:
                raise InputError(
                    f"{path} unpacks to {needed / 1e9:.1f} GB, and {folder} has "
                    f"{free / 1e9:.1f} GB free: name a larger place by --out."
                )
            for member in members:
                with (
                    packed.open(member) as source,
                    stored.open(member.filename, "w", force_zip64=True) as target,
                ):
                    shutil.copyfileobj(source, target, 1 << 24)
        yield unpacked
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError):
        raise InputError(f"{path} is damaged or cut off: copy it again.") from None
    finally:
        unpacked.unlink(missing_ok=True)


def _identity(path: Path) -> dict[str, Any]:
    """Return what tells one npz file from another of the same name, without reading it."""
    with zipfile.ZipFile(path) as archive:
        checksums = {info.filename: info.CRC for info in archive.infolist()}
    return {"npz": path.name, "bytes": path.stat().st_size, "crc32": checksums}


def shards(folder: Path, header: dict[str, Any]) -> list[Path]:
    """Return the shards of a folder, in order. Raises InputError if one is of other
    images than its header says."""
    paths = _shards(folder)
    origin = _origin(header)
    for path in paths:
        if not path.stem.endswith(f"-{origin}"):
            raise InputError(
                f"{path} is not of the images that {folder / HEADER} describes: keep images "
                "of different origin in folders of their own."
            )
    return paths


def _shards(folder: Path) -> list[Path]:
    found = (p for p in folder.glob(f"shard-*{SUFFIX}") if number_of(p) is not None)
    return sorted(found, key=lambda path: (number_of(path), path.name))


def number_of(path: Path) -> int | None:
    """Return the number of a shard; None for another file."""
    match = re.fullmatch(r"shard-(\d{5}|[1-9]\d{5,14})-.*", path.stem, re.ASCII)
    return int(match[1]) if match else None


def _flat(header: dict[str, Any]) -> dict[str, Any]:
    """Return a header with the keys of its request beside the others."""
    return {**header, **header.get("request", {}), "request": None}


def _origin(header: dict[str, Any]) -> str:
    """Return the digest of what tells images from others: all but how far they are
    written."""
    named = {k: v for k, v in header.items() if k not in ("done", "count")}
    return hashlib.sha256(json.dumps(named, sort_keys=True).encode()).hexdigest()[:8]


def read_header(folder: Path) -> dict[str, Any]:
    """Read the header of a folder of shards. Raises InputError if there is none."""
    header: dict[str, Any] = {}
    if (folder / HEADER).is_file():
        try:
            header = json.loads((folder / HEADER).read_text("utf-8"))
        except (ValueError, RecursionError, MemoryError):  # deep brackets
            pass
    if not _is_header(header):
        if os.path.lexists(folder / HEADER) or _shards(folder):
            raise InputError(
                f"{folder} has no {HEADER} of ours, or a damaged one: restore it, or run the "
                "command that wrote the folder again."
            )
        raise InputError(
            f"{folder} has no {HEADER} of ours and no npz files: it is no folder of generated "
            "images; write one by `python -m jaxcert.generate` or `convert`."
        )
    return header


def _is_header(header: Any) -> bool:
    """Return whether a header has all fields, each of its type and in its range."""

    def whole(value: Any, low: int) -> bool:
        return type(value) is int and low <= value < 2**48

    if not isinstance(header, dict) or header.get("format") != FORMAT:
        return False
    shape, done = header.get("image_shape"), header.get("done")
    sizes = (header.get(key) for key in ("per_record", "per_shard"))
    return (
        isinstance(done, bool)
        and isinstance(shape, list)
        and len(shape) == 3
        and all(whole(n, 1) for n in (*shape, *sizes))
        and header["per_shard"] % header["per_record"] == 0
        and whole(header.get("num_classes"), 0)
        and whole(header.get("count", 0 if not done else None), 0)
        and isinstance(header.get("request", {}), dict)
    )


def images_in(path: Path, header: dict[str, Any]) -> int:
    """Return the number of images in one shard. Raises InputError if it is damaged."""
    with open_records(path) as reader:
        records = reader.num_records()
        last = len(reader.read([records - 1])[0]) if records else 0
    if not records:
        return 0
    per_image = 4 + int(np.prod(header["image_shape"]))
    return (records - 1) * header["per_record"] + last // per_image


@contextmanager
def _disk_errors(path: Path) -> Iterator[None]:
    """Turn the error of a full disk into the exception that Python's own files raise."""
    try:
        yield
    except RuntimeError as error:
        text = os.strerror(errno.ENOSPC)
        if text not in str(error):
            raise
        raise OSError(errno.ENOSPC, text, str(path)) from None
