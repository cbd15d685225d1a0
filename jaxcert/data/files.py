"""Data sets of one's own: npz and npy files, and folders of pictures.

npz:<folder>     train.npz and test.npz, each with the arrays `image` and `label`
npy:<folder>     train_image.npy, train_label.npy, test_image.npy, test_label.npy
folder:<folder>  train/<class>/*.png and test/<class>/*.png (also jpg, bmp, webp, pgm, ppm)

Images are uint8, or floats in [0, 1], [N,H,W,C] or [N,H,W]; labels whole numbers from 0.
Arrays are mapped, never read whole, which needs npz files that are not compressed: the
members of a zip file that are only stored lie in it as they are, an npy header and then the
array. (numpy itself reads a member whole, whatever its `mmap_mode` says.)
"""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path

import numpy as np

from jaxcert.errors import InputError
from jaxcert.progress import Progress

Arrays = tuple[np.ndarray, np.ndarray]

_PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".pgm", ".ppm")
_LOCAL_HEADER = struct.Struct("<4s22xHH")  # signature, ..., length of name, of extra


def read_npz(path: Path) -> Arrays:
    """(image, label) of one npz file, the images mapped. Raises InputError for a file that
    is missing, no npz, compressed, cut off, or without the two arrays."""
    if not path.is_file():
        raise InputError(f"there is no file {path}: check the path.")
    try:
        with zipfile.ZipFile(path) as archive:
            members = {info.filename: info for info in archive.infolist()}
    except zipfile.BadZipFile:
        raise InputError(f"{path} is no npz file, or cut off: copy it again.") from None
    there = ", ".join(name.removesuffix(".npy") for name in members) or "nothing"
    for name in ("image", "label"):
        if f"{name}.npy" not in members:
            raise InputError(
                f"{path} has no array `{name}` but {there}: save it by "
                "np.savez(path, image=..., label=...)."
            )
    image, label = (
        _map_member(path, members[f"{name}.npy"]) for name in ("image", "label")
    )
    return image, label


def read_npy(folder: Path, split: str) -> Arrays:
    """(image, label) of one split, mapped. Raises InputError for missing or bad files."""
    arrays = []
    for what in ("image", "label"):
        path = folder / f"{split}_{what}.npy"
        if not path.is_file():
            raise InputError(
                f"there is no {path}: npy:{folder} wants {split}_image.npy and "
                f"{split}_label.npy."
            )
        try:
            arrays.append(np.load(path, mmap_mode="r", allow_pickle=False))
        except (ValueError, EOFError):
            raise InputError(
                f"{path} is no array of numbers, or cut off: save it by np.save."
            ) from None
    return arrays[0], arrays[1]


def read_folder(folder: Path, split: str) -> Arrays:
    """(image uint8 [N,H,W,C], label) of one split; classes are numbered in the order of
    the names of train's sub-folders. Grey pictures have C = 1, all others become RGB.

    Raises InputError for missing folders, no pictures, or pictures of several sizes.
    """
    from PIL import Image, UnidentifiedImageError

    files = _pictures(folder, split)
    line = Progress(f"read {folder / split}", len(files))
    image: np.ndarray | None = None
    for number, (path, _) in enumerate(files):
        try:
            with Image.open(path) as opened:
                mode = "L" if opened.mode in ("1", "L") else "RGB"
                pixels = np.asarray(opened.convert(mode))
        except (UnidentifiedImageError, OSError):
            raise InputError(
                f"{path} is no picture that can be read: remove it."
            ) from None
        pixels = pixels.reshape(*pixels.shape[:2], -1)
        if image is None:
            image = np.empty((len(files), *pixels.shape), np.uint8)
        if pixels.shape != image.shape[1:]:
            raise InputError(
                f"{path} is {pixels.shape}, the pictures before it {image.shape[1:]} "
                "(height, width, channels): bring all to one size and kind."
            )
        image[number] = pixels
        line.update(number + 1)
    return image, np.array([label for _, label in files], np.int32)


def _pictures(folder: Path, split: str) -> list[tuple[Path, int]]:
    for name in ("train", split):
        if not (folder / name).is_dir():
            raise InputError(
                f"there is no folder {folder / name}: folder:{folder} wants pictures in "
                f"{name}/<class>/."
            )
    classes = sorted(p.name for p in (folder / "train").iterdir() if p.is_dir())
    files = []
    for place in sorted(p for p in (folder / split).iterdir() if p.is_dir()):
        if place.name not in classes:
            raise InputError(
                f"{place} is a class that {folder / 'train'} has not: add or remove it."
            )
        label = classes.index(place.name)
        names = (p for p in place.iterdir() if p.suffix.lower() in _PICTURES)
        files += [(path, label) for path in sorted(names)]
    if not files:
        raise InputError(
            f"there are no pictures in {folder / split}/<class>/: "
            f"they may end in {', '.join(_PICTURES)}."
        )
    return files


def _map_member(path: Path, info: zipfile.ZipInfo) -> np.ndarray:
    if info.compress_type != zipfile.ZIP_STORED:
        raise InputError(
            f"{path} is compressed and cannot be mapped: save it again by np.savez instead "
            "of np.savez_compressed."
        )
    try:
        with open(path, "rb") as file:
            file.seek(info.header_offset)
            signature, name, extra = _LOCAL_HEADER.unpack(file.read(_LOCAL_HEADER.size))
            if signature != b"PK\x03\x04":
                raise ValueError
            file.seek(name + extra, 1)
            start = file.tell()
            version = np.lib.format.read_magic(file)
            read = (
                np.lib.format.read_array_header_1_0
                if version == (1, 0)
                else np.lib.format.read_array_header_2_0
            )
            shape, fortran, dtype = read(file)
            offset = file.tell()
        count = int(np.prod(shape))
        if dtype.hasobject or offset - start + count * dtype.itemsize != info.file_size:
            raise ValueError
        if not count:
            return np.empty(shape, dtype)
        order = "F" if fortran else "C"
        return np.memmap(path, dtype, "r", offset, shape, order)
    except (ValueError, struct.error):
        raise InputError(
            f"{path} is damaged or cut off in {info.filename}: copy it again."
        ) from None
