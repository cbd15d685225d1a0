"""Images of many files, read where they lie on disk.

A shard is an npz file that is not compressed, or an ArrayRecord file as `data/write.py`
writes it. Both hold the bytes of every image as they are, so it is enough to know where
each image begins: opening reads headers and labels, a batch copies its images out of maps.

ArrayRecord is the records format of Riegeli. A file is cut into blocks of 65,536 bytes; each
begins with a header of 24 bytes, wherever that falls, and what is between the headers is one
sequence of chunks. A chunk has a header of 40 bytes (its hash; the size of the data, their
hash; type and number of records; the size of the records) and data: for one record that is
not compressed a zero, the length of the list of sizes, this list, then the record. Grain's
reader gives whole records only, 64 images for the one that is wanted.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxcert.data import files
from jaxcert.data.sources import checked_bytes
from jaxcert.errors import InputError

try:
    import resource
except ImportError:  # Windows: nothing limits the open files there
    resource = None

_BLOCK, _BLOCK_HEADER = 1 << 16, 24
_CONTENT = _BLOCK - _BLOCK_HEADER
_CHUNK_HEADER = struct.Struct("<8xQ8s8sQ")
_PLAIN = b"r" + (1).to_bytes(7, "little")  # the type of a chunk, and one record
_RECORDS = 32  # whose hashes are compared at a time

_OTHER_FILES = 256  # that a process has open beside the shards
_MAPPED = 3 << 29  # bytes of the files that count as resident; then they are let go
_AROUND = 1 << 16  # bytes that the system maps with the one that is asked for


class Shard(NamedTuple):
    """One file: where its images begin, and what they are."""

    path: Path
    shape: tuple[int, int, int]
    begin: np.ndarray
    """int64 [n], bytes from the beginning of the file"""
    label: np.ndarray
    """int32 [n]"""
    digest: str
    """of images and labels, from the checksums that the file holds of them"""
    in_blocks: bool
    """whether a header of a block may lie within an image"""


class Images:
    """uint8 [M,H,W,C] of shards in order, indexed by an array of positions, which gives a
    new array. The files stay mapped. What was read of them counts as resident until 1.5 GB
    were touched and is let go then; it stays in the system's cache of files.
    """

    dtype = np.dtype(np.uint8)

    def __init__(self, shards: list[Shard]):
        self.paths = [shard.path for shard in shards]
        self.maps = _mapped(self.paths)
        self.views = [memoryview(m) for m in self.maps]
        sizes = np.cumsum([0, *(len(view) for view in self.views)], dtype=np.int64)
        self.base, self.total = sizes[:-1], int(sizes[-1])
        self.begin = np.concatenate(
            [base + shard.begin for base, shard in zip(self.base, shards, strict=True)]
        )
        self.in_blocks = np.array([shard.in_blocks for shard in shards])
        self.shape = (len(self.begin), *shards[0].shape)
        self.touched = 0

    def __len__(self) -> int:
        return len(self.begin)

    def __getitem__(self, index: np.ndarray) -> np.ndarray:
        shard, begin = self._places(index)
        self._let_go(len(begin))
        views, pixels = self.views, int(np.prod(self.shape[1:]))
        broken = self.in_blocks[shard] & (begin % _BLOCK + pixels > _BLOCK)
        shard, begin = shard.tolist(), begin.tolist()
        parts = [views[n][b : b + pixels] for n, b in zip(shard, begin, strict=True)]
        for row in np.flatnonzero(broken).tolist():
            view, pieces = views[shard[row]], _pieces(begin[row], pixels)
            parts[row] = b"".join([view[first:last] for first, last in pieces])
        flat = np.frombuffer(b"".join(parts), np.uint8)
        return flat.reshape(len(begin), *self.shape[1:])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """Return all images, in memory."""
        return self[np.arange(len(self))].astype(dtype or self.dtype)

    def path_of(self, position: int) -> Path:
        return self.paths[int(self._places(np.array([position]))[0][0])]

    def _places(self, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return, for each image, the number of its file and where it begins there."""
        at = self.begin[index]
        shard = np.searchsorted(self.base, at, side="right") - 1
        return shard, at - self.base[shard]

    def _let_go(self, images: int) -> None:
        per_image = _AROUND + int(np.prod(self.shape[1:]))
        self.touched += images * per_image
        if min(self.touched, self.total) > _MAPPED:
            self.touched = images * per_image
            if hasattr(mmap, "MADV_DONTNEED"):
                for each in self.maps:
                    each.madvise(mmap.MADV_DONTNEED)


def of_npz(path: Path, *, whole: bool) -> Shard:
    """The shard in an npz file; `whole`: compare the checksum of the images too. Raises
    InputError as `files.read_npz` and `sources.checked`."""
    image, label = files.read_npz(path, whole=whole)
    found = checked_bytes(image, label, name=str(path))
    if not found.image.flags.c_contiguous:
        raise InputError(
            f"{path} has its images in Fortran's order: save np.ascontiguousarray(image)."
        )
    pixels = int(np.prod(found.image.shape[1:]))
    begin = image.offset + pixels * np.arange(len(label), dtype=np.int64)
    digest = files.digest(path)
    return Shard(path, found.image.shape[1:], begin, found.label, digest, False)


def of_records(path: Path, header: dict[str, Any], *, whole: bool) -> Shard:
    """The shard in an ArrayRecord file of a folder with `header`; `whole`: compare the
    hashes of all records, not only of the first and the last. Raises InputError for a file
    that is damaged, empty, or of other images."""
    shape, per_record = tuple(header["image_shape"]), header["per_record"]
    pixels = int(np.prod(shape))
    begin, label, digest = [], [], hashlib.sha256()
    with open_records(path) as reader, open(path, "rb", buffering=0) as file:
        records = reader.num_records()
        if not records:
            raise ValueError
        reader.read([0, records - 1])
        for first in range(0, records if whole else 0, _RECORDS):
            reader.read(first, min(first + _RECORDS, records))
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
        at = _CHUNK_HEADER.size  # after the chunk that signs the file
        for number in range(records):
            start = _content(file, at, _CHUNK_HEADER.size + 24 + 4 * per_record)
            size, content, kind, decoded = _CHUNK_HEADER.unpack_from(start)
            n, rest = divmod(decoded, 4 + pixels)
            before = _CHUNK_HEADER.size + size - decoded  # header, zero, sizes
            plain = kind == _PLAIN and start[_CHUNK_HEADER.size] == 0
            if rest or not plain or not 0 < before - _CHUNK_HEADER.size < 24:
                raise ValueError
            if not n or n > per_record or (n < per_record and number < records - 1):
                raise ValueError
            label.append(np.frombuffer(start, "<i4", n, before))
            begin.append(at + before + 4 * n + pixels * np.arange(n, dtype=np.int64))
            digest.update(content)
            at += _CHUNK_HEADER.size + size
        begin = np.concatenate(begin)
        begin += _BLOCK_HEADER * (begin // _CONTENT + 1)
        if begin[-1] + pixels > os.path.getsize(path):
            raise ValueError
    label = np.concatenate(label).astype(np.int32)
    low, high = label.min(), label.max()
    classes = header["num_classes"]  # 0: it is not known
    if low < 0 or (classes and high >= classes):
        label, known = (low, "below 0") if low < 0 else (high, f"above {classes - 1}")
        raise InputError(f"{path} has the label {label}, {known}: {_AGAIN}.")
    return Shard(path, shape, begin, label, digest.hexdigest()[:16], True)


_AGAIN = "delete it and run the command that wrote the folder again, which replaces it"


@contextmanager
def open_records(path: Path) -> Iterator[Any]:
    """Open an ArrayRecord reader. Raises InputError where the file turns out to be
    damaged."""
    from array_record.python import array_record_module

    try:
        reader = array_record_module.ArrayRecordReader(
            str(path), "readahead_buffer_size:0,max_parallelism:0"
        )
        yield reader
        reader.close()
    except (ValueError, RuntimeError, IndexError, struct.error):
        raise InputError(f"{path} is cut off or damaged: {_AGAIN}.") from None


def _content(file: Any, at: int, size: int) -> bytes:
    """Return `size` bytes from position `at` of the content of the blocks, fewer at the
    end."""
    begin = at + _BLOCK_HEADER * (at // _CONTENT + 1)
    parts = []
    for first, last in _pieces(begin, size):
        file.seek(first)
        parts.append(file.read(last - first))
    return b"".join(parts)


def _pieces(begin: int, size: int) -> Iterator[tuple[int, int]]:
    """Yield (start, end) of the pieces, between the headers of blocks, in which `size`
    bytes of content lie that begin at `begin`."""
    while begin % _BLOCK + size > _BLOCK:
        end = begin - begin % _BLOCK + _BLOCK
        yield begin, end
        begin, size = end + _BLOCK_HEADER, size - (end - begin)
    yield begin, begin + size


def _mapped(paths: list[Path]) -> list[mmap.mmap]:
    _allow(len(paths) + _OTHER_FILES, paths[0].parent)
    maps = []
    for path in paths:
        with open(path, "rb") as file:
            maps.append(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    return maps


def _allow(count: int, folder: Path) -> None:
    """Raise this process' limit of open files to `count`, because a mapped file stays
    open."""
    if resource is None:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= count:
        return
    if hard != resource.RLIM_INFINITY and hard < count:
        raise InputError(
            f"{folder} has {count - _OTHER_FILES:,} shards, and a process may open {hard:,} "
            f"files here: raise the limit to {count:,} (`ulimit -n`)."
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))
