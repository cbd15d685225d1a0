"""Folders of pictures: train/<class>/*.png and test/<class>/*.png, also jpg, bmp, webp,
pgm and ppm. Pictures to certify may have no classes: test/*.png, or *.png.

Classes are numbered in the order of the names of train's sub-folders. What a system or a
program leaves behind is passed over: names that begin with a dot (`.ipynb_checkpoints`,
`._x.png`, `.DS_Store`), `__MACOSX`, `Thumbs.db` and the like. Other files that are no
pictures are counted in a warning.

What becomes of the kinds of pictures:

    grey of 1 or 8 bits           one channel, uint8
    grey of 16 bits               one channel, float32 v / 65535
    colour, palette, CMYK         three channels, uint8, as Pillow converts them; of 16 bits
                                  a channel the upper 8
    transparency                  passed over where all pixels are opaque, else refused
    an EXIF orientation           turned as it says, which is how viewers show it
    other kinds, several frames   refused
"""

from __future__ import annotations

import math
import os
import warnings
from pathlib import Path
from typing import BinaryIO

import numpy as np

from jaxcert.data import resizing
from jaxcert.errors import InputError
from jaxcert.progress import Progress

_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".pgm", ".ppm")
_LEFT_BEHIND = (
    "__MACOSX",
    "@eaDir",
    "$RECYCLE.BIN",
    "System Volume Information",
    "lost+found",
    "Thumbs.db",
    "desktop.ini",
)
_GREY_16 = ("I", "I;16", "I;16B", "I;16L", "I;16N")
_COLOUR = ("RGB", "RGBA", "RGBX", "P", "PA", "CMYK", "YCbCr")
_GREY = ("1", "L", "LA")


def read_folder(
    folder: Path, split: str, *, labels: bool = True, resize: tuple[int, ...] = ()
) -> tuple[np.ndarray, np.ndarray | None, int]:
    """(image [N,H,W,C], uint8 or for grey pictures of 16 bits float32, label int32 [N],
    number of classes) of one split.

    labels: whether the pictures must be in folders of classes; if not, and where they lie beside
    each other, label is None and there are 0 classes. resize: as of `resizing.fit`.

    Raises InputError for missing folders, no pictures, a picture that is damaged or of a
    kind that is not read, or pictures of several sizes or kinds that are not resized.
    """
    files, place = None, folder / split
    if not labels:
        files, place = _without_classes(folder, split)
    files, known = files or _pictures(folder, split), files is None
    line = Progress(f"read {place}", len(files))
    image: np.ndarray | None = None
    for number, (path, _) in enumerate(files):
        expected = None if image is None else image.shape[1:]
        pixels = _read(path, expected, resize)
        if image is None:
            _check_memory(place, len(files), pixels)
            image = np.empty((len(files), *pixels.shape), pixels.dtype)
        if pixels.dtype != image.dtype:
            raise InputError(
                f"{path} and the pictures before it are not both of 16 bits: bring all to "
                "one kind."
            )
        image[number] = pixels
        line.update(number + 1)
    if not known:
        return image, None, 0
    return (
        image,
        np.array([label for _, label in files], np.int32),
        len(classes(folder)),
    )


def classes(folder: Path) -> list[str]:
    """Return the names of the classes in the order of their numbers: train's
    sub-folders."""
    return [place.name for place in _folders(folder / "train")]


def _without_classes(
    folder: Path, split: str
) -> tuple[list[tuple[Path, int]] | None, Path]:
    """Return (pictures without classes, where they lie): in folder/split, or for the split test
    in the folder itself; None where there is a folder of classes, or no picture."""
    place = folder / split
    if split == "test" and not place.is_dir() and not (folder / "train").is_dir():
        place = folder
    if not place.is_dir() or _folders(place):
        return None, place
    files, _ = _sorted_out(place)
    return [(path, 0) for path in files] or None, place


def _sorted_out(place: Path) -> tuple[list[Path], list[Path]]:
    """Return (the pictures of a folder in the order of their names, what else is there)."""
    there = [p for p in sorted(place.iterdir()) if not _left_behind(p.name)]
    files = [path for path in there if path.suffix.lower() in _SUFFIXES]
    return files, [path for path in there if path not in files]


def _pictures(folder: Path, split: str) -> list[tuple[Path, int]]:
    for name in ("train", split):
        if not (folder / name).is_dir():
            raise InputError(
                f"there is no folder {folder / name}: folder:{folder} wants pictures in "
                f"{name}/<class>/."
            )
    names, files, others = classes(folder), [], []
    for place in _folders(folder / split):
        if place.name not in names:
            raise InputError(
                f"{place} is a class that {folder / 'train'} has not: add or remove it."
            )
        label, (found, more) = names.index(place.name), _sorted_out(place)
        files += [(path, label) for path in found]
        others += more
    if not files:
        raise InputError(
            f"there are no pictures in {folder / split}/<class>/: "
            f"they may end in {', '.join(_SUFFIXES)}."
        )
    if others:
        warnings.warn(
            f"{len(others):,} entries of {folder / split}/<class>/ are not read, the first "
            f"is {others[0]}: pictures end in {', '.join(_SUFFIXES)}.",
            stacklevel=2,
        )
    return files


def _folders(place: Path) -> list[Path]:
    found = (p for p in place.iterdir() if p.is_dir() and not _left_behind(p.name))
    return sorted(found, key=lambda p: p.name)


def _left_behind(name: str) -> bool:
    return name.startswith(".") or name in _LEFT_BEHIND


def _read(
    path: Path, expected: tuple[int, ...] | None, resize: tuple[int, ...]
) -> np.ndarray:
    if not path.is_file():
        raise InputError(f"{path} is no file but is called a picture: remove it.")
    return decoded(path, path, expected, resize)


def decoded(
    file: Path | BinaryIO,
    path: Path | str,
    expected: tuple[int, ...] | None = None,
    resize: tuple[int, ...] = (),
    *,
    network: bool = False,
) -> np.ndarray:
    """Return one picture as an array [H,W,C], as the table above has it. path: what to call it;
    resize: as of `resizing.fit`; network: whether a network expects that shape, and not the
    pictures before. Raises InputError for one that is damaged or of a kind that is not read; a
    size other than expected is refused before it is decoded, if it is not resized."""
    from PIL import Image, ImageOps

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(file) as opened:
                _check_kind(path, opened)
                sides = opened.size
                same = expected is None or sorted(sides) == sorted(expected[:2])
                if same or resize:
                    opened.load()
                    picture = ImageOps.exif_transpose(opened)
                    pixels = resizing.fit(_pixels(path, picture), resize, str(path))
                    if expected is None or pixels.shape == expected:
                        return pixels
                    sides, channels = pixels.shape[1::-1], pixels.shape[2]
                else:
                    channels = 1 if opened.mode in _GREY + _GREY_16 else 3
    except InputError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise InputError(
            f"{path} says that it has more pixels than {Image.MAX_IMAGE_PIXELS:,}, no image "
            "of a data set has: remove it."
        ) from None
    except Exception as error:  # a damaged picture can raise anything
        if isinstance(error, PermissionError | FileNotFoundError):
            raise
        raise InputError(
            f"{path} is no picture that can be read: "
            f"{'send another file' if network else 'remove it'}."
        ) from None
    shape = (sides[1], sides[0], channels)
    if network:
        raise InputError(
            f"{path} is {shape}, and the network takes {expected} (height, width, channels): "
            "send one like that; a server that is started with --config.data.resize changes sizes."
        )
    how = ""
    if expected is not None and shape[:2] != expected[:2]:
        how = "; --config.data.resize=64 (--resize 64 of configs --new) makes them 64 x 64"
    raise InputError(
        f"{path} is {shape}, the pictures before it {expected} (height, width, channels): "
        f"bring all to one size and kind{how}."
    )


def _check_kind(path: Path | str, opened) -> None:
    frames = getattr(opened, "n_frames", 1)
    if frames > 1 and opened.format != "MPO":  # a photograph with its small copies
        raise InputError(f"{path} has {frames} frames: save one of them as a picture.")
    # other formats keep any 32-bit numbers in the modes of 16-bit grey
    known = opened.mode not in _GREY_16 or opened.format in ("PNG", "PPM")
    if not known or opened.mode not in _GREY + _GREY_16 + _COLOUR:
        raise InputError(
            f"{path} has pixels of the kind {opened.mode}, which is not read: save it as "
            "grey or RGB."
        )


def _pixels(path: Path | str, picture) -> np.ndarray:
    if picture.mode in _GREY_16:
        return (np.asarray(picture).astype(np.float32) / np.float32(65535))[..., None]
    if picture.mode in ("LA", "PA", "RGBA") or "transparency" in picture.info:
        alpha = np.asarray(picture.convert("RGBA"))[..., 3]
        if (alpha < 255).any():
            raise InputError(
                f"{path} has transparent pixels, whose colour depends on what is behind "
                "them: put it on a background."
            )
    pixels = np.asarray(picture.convert("L" if picture.mode in _GREY else "RGB"))
    return pixels.reshape(*pixels.shape[:2], -1)


def _check_memory(place: Path, count: int, pixels: np.ndarray) -> None:
    needed = count * pixels.nbytes
    if not hasattr(os, "sysconf"):  # Windows does not say
        return
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if needed > 0.9 * memory:
        raise InputError(
            f"{count:,} pictures of {math.prod(pixels.shape):,} values in {place} take "
            f"{needed / 1e9:.0f} GB of the {memory / 1e9:.0f} GB of memory: make them smaller."
        )
