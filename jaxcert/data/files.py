"""Data sets of one's own: npz and npy files, and folders of pictures.

npz:<folder>     train.npz and test.npz, each with the arrays `image` and `label`
npy:<folder>     train_image.npy, train_label.npy, test_image.npy, test_label.npy
folder:<folder>  train/<class>/*.png and test/<class>/*.png (see data/pictures.py)

Images to certify may have no labels: then the array `label`, or its file, is not there.
Images are uint8, or floats in [0, 1], [N,H,W,C] or [N,H,W]; labels whole numbers from 0.
Arrays are mapped, never read whole, which needs npz files that are not compressed: the
members of a zip file that are only stored lie in it as they are, an npy header and then the
array. (numpy itself reads a member whole, whatever its `mmap_mode` says.) Their checksums
are compared once by each process, of generated images as `generated.py` says. Nothing that
is read here can run code.
"""

from __future__ import annotations

import math
import os
import struct
import zipfile
import zlib
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from jaxcert.errors import InputError, check_file
from jaxcert.progress import Progress

Arrays = tuple[Any, Any]
"""Images and their labels, or None where there are none."""

_BOTH = ("image", "label")

_LOCAL_HEADER = struct.Struct("<4s22xHH")  # signature, ..., length of name, of extra
_BLOCK = 1 << 24  # bytes of which a checksum is taken at a time
_ENCRYPTED = 1  # flag of a zip file's member


def read_npz(path: Path, *, whole: bool = True, labels: bool = True) -> Arrays:
    """(image, label) of one npz file, mapped. `whole`: compare the checksum of the images
    too, for which all of them are read; that of the labels is always compared. labels: whether
    there must be some; if not, label is None where there are none. Raises InputError for a file
    that is missing, no npz, compressed, cut off, damaged, or without the arrays."""
    members = _members(path, _BOTH if labels else ("image",))
    image, label = (
        _map_member(path, members[f"{name}.npy"], check=whole or name == "label")
        if f"{name}.npy" in members
        else None
        for name in _BOTH
    )
    return image, label


def is_compressed(path: Path) -> bool:
    """Return whether an npz file is one that can be unpacked, and has to be. Raises as
    `read_npz`."""
    return any(
        info.compress_type != zipfile.ZIP_STORED and not info.flag_bits & _ENCRYPTED
        for info in _members(path).values()
    )


def digest(path: Path) -> str:
    """Return the checksums that an npz file holds of its images and its labels. Raises
    as `read_npz`."""
    members = _members(path)
    return "".join(f"{members[f'{name}.npy'].CRC:08x}" for name in _BOTH)


def _members(path: Path, needed: tuple[str, ...] = _BOTH) -> dict[str, zipfile.ZipInfo]:
    check_file(path)
    try:
        with zipfile.ZipFile(path) as archive:
            members = {info.filename: info for info in archive.infolist()}
    except PermissionError:
        raise
    except Exception:  # a damaged table of contents can raise anything
        raise InputError(f"{path} is no npz file, or cut off: copy it again.") from None
    there = ", ".join(name.removesuffix(".npy") for name in members) or "nothing"
    for name in needed:
        if f"{name}.npy" not in members:
            raise InputError(
                f"{path} has no array `{name}` but {there}: save it by "
                "np.savez(path, image=..., label=...)."
            )
    return members


def read_npy(folder: Path, split: str, *, labels: bool = True) -> Arrays:
    """Return (image, label) of one split, mapped; labels as of `read_npz`. Raises InputError
    for missing or bad files."""
    arrays: list[Any] = []
    for what in _BOTH:
        path = folder / f"{split}_{what}.npy"
        if not os.path.lexists(path):
            if what == "label" and not labels:
                arrays.append(None)
                continue
            raise InputError(
                f"there is no {path}: npy:{folder} wants {split}_image.npy and "
                f"{split}_label.npy."
            )
        arrays.append(read_array(path))
    return arrays[0], arrays[1]


def read_array(path: Path) -> np.ndarray:
    """Return the array of an npy file, mapped. Raises InputError for another file."""
    check_file(path)
    array = _map(path, 0, path.stat().st_size)
    if array is None:
        raise InputError(
            f"{path} is no array of numbers, or cut off: save it by np.save."
        )
    return array


def _map_member(path: Path, info: zipfile.ZipInfo, *, check: bool) -> np.ndarray:
    if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & _ENCRYPTED:
        raise InputError(
            f"{path} is compressed and cannot be mapped: save it again by np.savez instead "
            "of np.savez_compressed."
        )
    start = _start(path, info)
    array = None if start is None else _map(path, start, info.file_size)
    stat = path.stat()
    identity = info.file_size, stat.st_size, stat.st_mtime_ns
    if array is None or (check and info.CRC != _checksum(path, start, *identity)):
        raise InputError(
            f"{path} is damaged or cut off in {info.filename}: copy it again."
        )
    return array


def _start(path: Path, info: zipfile.ZipInfo) -> int | None:
    """Return where the content of a member begins; None if the file has no such member
    there."""
    if info.header_offset < 0:  # the front of the file is missing
        return None
    with open(path, "rb") as file:
        file.seek(info.header_offset)
        header = file.read(_LOCAL_HEADER.size)
    if len(header) < _LOCAL_HEADER.size:
        return None
    signature, name, extra = _LOCAL_HEADER.unpack(header)
    if signature != b"PK\x03\x04":
        return None
    return info.header_offset + _LOCAL_HEADER.size + name + extra


@lru_cache(maxsize=64)
def _checksum(path: Path, start: int, size: int, *_identity: int) -> int:
    """Return the CRC-32 of a part of a file. `_identity` tells the file from a later
    one of its name."""
    line = Progress(f"check {path.name}", size, unit="bytes") if size > 2**30 else None
    checksum, left = 0, size
    with open(path, "rb") as file:
        file.seek(start)
        while left and (block := file.read(min(_BLOCK, left))):
            checksum, left = zlib.crc32(block, checksum), left - len(block)
            if line:
                line.update(size - left)
    return checksum


def _map(path: Path, start: int, size: int) -> np.ndarray | None:
    """Map the npy array in `size` bytes of a file from `start`; None if that is not
    exactly one array of numbers. What the header says is compared with the size before
    an array is made of it."""
    try:
        with open(path, "rb") as file:
            file.seek(start)
            version = np.lib.format.read_magic(file)
            read = (
                np.lib.format.read_array_header_1_0
                if version == (1, 0)
                else np.lib.format.read_array_header_2_0
            )
            shape, fortran, dtype = read(file)
            offset = file.tell()
    except PermissionError:
        raise
    except Exception:  # a damaged header can raise anything, deep brackets MemoryError
        return None
    count = math.prod(shape)  # np.prod goes round at 2**64
    if dtype.hasobject or not dtype.itemsize or any(n < 0 for n in shape):
        return None
    if offset - start + count * dtype.itemsize != size:
        return None
    if os.path.getsize(path) < start + size:
        return None
    try:
        if not count:
            return np.empty(shape, dtype)
        return np.memmap(path, dtype, "r", offset, shape, "F" if fortran else "C")
    except (ValueError, OverflowError, MemoryError):  # sizes that no address has
        return None
