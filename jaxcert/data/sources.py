"""Data sets by name, as arrays.

`digits` comes with the library: Optical Recognition of Handwritten Digits, E. Alpaydin and
C. Kaynak (1998), UCI Machine Learning Repository, CC BY 4.0; the 1,797 grey images of 8x8
pixels that scikit-learn ships, grey levels v of 0..16 stored as round(255 v / 16), with a
stratified split into 1,000 for training and 797 for testing.
"""

from __future__ import annotations

import os
import warnings
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxcert.certificate import NO_LABEL
from jaxcert.data import archives, files, hf, pictures, resizing, tfds
from jaxcert.errors import InputError, home, one_of

NAMES = (
    "digits, mnist, cifar10, cifar100, cifar10_c:<corruption>, tfds:<name>, hf:<name>, "
    "npz:<folder>, npy:<folder> and folder:<folder>"
)

_CIFAR10 = "airplane automobile bird cat deer dog frog horse ship truck".split()
_CHUNK = 1 << 14  # images looked at together
_MOST_CLASSES = 1 << 24
_RESIZED = ("folder", "hf", "tfds")
"""Kinds of data sets whose images may have several sizes and are resized one by one."""


class Source(NamedTuple):
    """N images, with labels or without, in their own order."""

    image: Any
    """uint8, or float32 in [0, 1], [N,H,W,C]: an array, or what is indexed like one by an
    array of positions without lying in memory"""
    label: np.ndarray
    """int32 [N]; -1 everywhere: the images have no labels"""
    num_classes: int
    """0: nothing says how many there are"""
    name: str
    files: tuple[tuple[str, str], ...] = ()
    """name and digest of the files of a generated set, in their order"""
    class_names: tuple[str, ...] = ()
    """names of the classes in the order of their numbers; (): they are not known"""

    @property
    def labelled(self) -> bool:
        """Return whether the classes are known: of all images, or of none."""
        return bool(self.label[0] != NO_LABEL)

    def __repr__(self) -> str:
        size = " x ".join(map(str, self.image.shape))
        classes = f"{self.num_classes} classes" if self.labelled else "no labels"
        kind = f"{size} {self.image.dtype}, {classes}"
        return f"Source({self.name!r}, {kind})"


def of(data: Any, split: str, **how: Any) -> Source:
    """Return the split that a section config.data names; how: as of `open`, in place of what
    the section says. Raises InputError as `open`."""
    asked = {key: data[key] for key in ("dir", "download", "resize", "pad")}
    return open(data.name, split, **(asked | how))


def open(
    name: str,
    split: str,
    *,
    dir: str = "",
    download: bool = True,
    resize: tuple[int, ...] = (),
    pad: int = 0,
    labels: bool = True,
) -> Source:
    """One split, 'train' or 'test', of a data set.

    name: digits | mnist | cifar10 | cifar100 | cifar10_c:<corruption>[:severity], CIFAR-10 with
        other test images | tfds:<name>[:config] | hf:<name>[:config] | npz:, npy: or
        folder:<path> (see `jaxcert.data.files` and `jaxcert.data.pictures`)
    dir: where archives are; empty: $JAXCERT_DATA or ~/.cache/jaxcert (tfds, hf: their default)
    download: fetch an archive that is not there
    resize: (side,): the short side of every image is resized to it and a square cut out of
        the centre, in (256, 224) one of side 224; (): as they are (data/resizing.py)
    pad: side to which images are filled up with black, 0: as they are. An isometry, so
        radii keep their meaning.
    labels: whether there must be some. If not, hf, npz, npy and folder may have images alone.

    Raises InputError for an unknown name or split, data that is missing or damaged, images
    that are neither uint8 nor floats in [0, 1], or labels that do not fit them.
    """
    one_of(("train", "test"), split=split)
    resizing.check(resize)
    kind, _, rest = name.partition(":")
    classes, names = 0, ()
    if name == "digits":
        image, label, classes = *_digits(split), 10
    elif name == "mnist":
        image, label = archives.read_mnist(split, folder=_folder(dir), fetch=download)
        classes = 10
    elif name in ("cifar10", "cifar100"):
        folder = _folder(dir)
        image, label = archives.read_cifar(name, split, folder=folder, fetch=download)
        classes = int(name.removeprefix("cifar"))
        names = _CIFAR10 if classes == 10 else ()
    elif kind == "cifar10_c" and rest:
        if split == "test":
            image, label = archives.read_cifar10_c(rest, folder=_folder(dir))
        else:
            how = dict(folder=_folder(dir), fetch=download)
            image, label = archives.read_cifar("cifar10", split, **how)
        classes, names = 10, _CIFAR10
    elif kind == "hf" and rest:
        how = dict(dir=dir, download=download, labels=labels, resize=resize)
        image, label, classes = hf.read(rest, split, **how)
    elif kind == "tfds" and rest:
        image, label, classes = tfds.read(rest, split, dir=dir, resize=resize)
    elif kind == "folder" and rest:
        how = dict(labels=labels, resize=resize)
        folder = _there(kind, rest)
        image, label, classes = pictures.read_folder(folder, split, **how)
        names = pictures.classes(folder) if classes else ()
    elif kind in ("npz", "npy") and rest:
        image, label, classes = _own(kind, _there(kind, rest), split, labels)
    else:
        raise InputError(f"no data set is called {name!r}: there are {NAMES}.")
    source = checked(image, label, num_classes=classes, name=name)
    source = source._replace(class_names=tuple(names))
    if resize and kind not in _RESIZED:
        image = [resizing.fit(pixels, resize, name) for pixels in source.image]
        source = source._replace(image=np.stack(image))
    return _pad(source, pad)


def checked(
    image: Any, label: np.ndarray | None, *, num_classes: int, name: str
) -> Source:
    """The arrays as a Source, after a look at all of their labels and, for floats, pixels.

    image [N,H,W,C] or [N,H,W]; label None: there are none; num_classes 0: the largest label
    + 1. Raises InputError.
    """
    if image.ndim == 3:
        image = image[..., None]
    if image.ndim != 4:
        raise InputError(
            f"{name} has images of shape {image.shape}: give [N,H,W,C] or [N,H,W]."
        )
    if label is not None and label.shape != image.shape[:1]:
        raise InputError(
            f"{name} has {len(image):,} images and labels of shape {label.shape}: give one "
            "label per image."
        )
    if not len(image):
        raise InputError(f"{name} has no images: give at least one.")
    if 0 in image.shape:
        raise InputError(
            f"{name} has images of {times(image.shape[1:])}, without a pixel: give larger ones."
        )
    if label is not None:
        num_classes = _classes(label, num_classes, name)
    else:
        label = np.full(len(image), NO_LABEL, np.int32)
    if image.dtype != np.uint8:
        image = _unit_floats(image, name)
    return Source(image, np.asarray(label, np.int32), num_classes, name)


def _classes(label: np.ndarray, num_classes: int, name: str) -> int:
    """Return the number of classes, by the labels where it is 0. Raises InputError for labels
    that are none of them."""
    if label.dtype.kind not in "iu":
        raise InputError(f"{name} has {label.dtype} labels: give whole numbers.")
    low, high = int(label.min()), int(label.max())
    if low < 0 or (num_classes and high >= num_classes):
        known = f"in 0..{num_classes - 1}" if num_classes else "from 0 up"
        raise InputError(
            f"{name} has the label {low if low < 0 else high}: give labels {known}."
        )
    if high >= _MOST_CLASSES:
        raise InputError(
            f"{name} has the label {high}, more than there are classes anywhere: give numbers "
            "of classes from 0."
        )
    return num_classes or high + 1


def checked_bytes(image: Any, label: np.ndarray, *, name: str) -> Source:
    """`checked` of generated images, which are uint8. Raises InputError."""
    source = checked(image, label, num_classes=0, name=name)
    if source.image.dtype != np.uint8:
        raise InputError(f"{name} has float images: save them as uint8.")
    return source


def check_model(
    source: Source,
    *,
    image_shape: tuple[int, int, int],
    num_classes: int,
    exactly: bool = False,
    split: str = "",
) -> None:
    """Raises InputError unless images and labels, if there are any, are those a model takes;
    one of 0 classes takes no labels. It may have classes that the labels lack only where these
    are arrays (npz, npy), with a warning, and not if `exactly`. split: that of the source, where
    the training images are of the model's shape."""
    shape = tuple(source.image.shape[1:])
    if shape != tuple(image_shape):
        side = image_shape[0]
        padded = max(shape[:2]) <= side and tuple(image_shape) == (side, side, shape[2])
        how = f", as by --config.data.pad={side}" if padded else ""
        train = f", or train with --config.model.image_shape='{str(shape).replace(' ', '')}'"
        raise InputError(
            f"{source.name} has {split and split + ' '}images of {times(shape)}, the model "
            f"takes {times(image_shape)}: give images of that size{how}"
            f"{'' if split else train}."
        )
    if not source.labelled:
        return
    # the arrays of a part of a data set may lack the last classes
    partly = source.name.startswith(("npz:", "npy:"))
    more = source.num_classes < num_classes and (exactly or not partly)
    if num_classes and (source.num_classes > num_classes or more):
        raise InputError(
            f"{source.name} has {source.num_classes} classes, the model {num_classes}: train "
            f"with --config.model.num_classes={source.num_classes}, or give data of the model's "
            "classes."
        )
    if source.num_classes < num_classes:
        warnings.warn(
            f"{source.name} has labels to {source.num_classes - 1} alone, the model "
            f"{num_classes} classes: unless this is a part of a data set, train with "
            f"--config.model.num_classes={source.num_classes}.",
            stacklevel=2,
        )


def _folder(dir: str) -> Path:
    """Return the folder of the archives. One that was named must exist, so that a typo
    does not start a download into a new folder."""
    named = dir or os.environ.get("JAXCERT_DATA", "")
    folder = home(named or "~/.cache/jaxcert")
    if named and not folder.exists():
        raise InputError(
            f"there is no folder {folder}: create it, or correct --config.data.dir or "
            "$JAXCERT_DATA."
        )
    return folder


def _digits(split: str) -> tuple[np.ndarray, np.ndarray]:
    with resources.as_file(resources.files("jaxcert.data") / "digits.npz") as path:
        with np.load(path, allow_pickle=False) as file:
            chosen = file[split]
            return file["image"][chosen], file["label"][chosen].astype(np.int32)


def _there(kind: str, name: str) -> Path:
    """Return the folder of the user's own data. Raises InputError if it is none."""
    path = home(name)
    if path.is_dir():
        return path
    wanted = {
        "npz": "train.npz and test.npz.",
        "npy": "train_image.npy, train_label.npy and those of test.",
        "folder": "train/<class>/ and test/<class>/.",
    }
    raise InputError(f"{kind}:{path} is no folder: give one with {wanted[kind]}")


def _own(
    kind: str, path: Path, split: str, labels: bool
) -> tuple[Any, np.ndarray | None, int]:
    """Open both splits of the user's own data, which share the classes: the largest
    label of either, + 1. labels: whether there must be some."""
    if kind == "npz":
        read = lambda s, **how: files.read_npz(path / f"{s}.npz", **how)  # noqa: E731
        file = "{}.npz"
    else:
        read, file = partial(files.read_npy, path), "{}_label.npy"
    image, label = read(split, labels=labels)
    _check_levels(image, f"{kind}:{path}")
    if label is None:
        return image, None, 0
    others = [s for s in ("train", "test") if s != split]
    there = [s for s in others if (path / file.format(s)).is_file()]
    found = [label, *(read(s, labels=False)[1] for s in there)]
    whole = (x for x in found if x is not None and x.size and x.dtype.kind in "iu")
    highest = [int(x.max()) for x in whole]
    return image, label, max(highest, default=-1) + 1


def _check_levels(image: Any, name: str) -> None:
    """Raises InputError for bytes that are all 0 and 1: they stand for black and white,
    but would be read as two blacks."""
    if image.dtype != np.uint8:
        return
    highest = 0
    for first in range(0, len(image), _CHUNK):
        highest = max(highest, int(image[first : first + _CHUNK].max(initial=0)))
        if highest > 1:
            return
    if highest == 1:
        raise InputError(
            f"{name} has no pixel above 1 of 255: save round(255 x) as uint8, or floats in "
            "[0, 1]."
        )


def _unit_floats(image: Any, name: str) -> np.ndarray:
    """Return float32 images in memory: floats of any width are rare and small enough."""
    if image.dtype.kind != "f":
        raise InputError(
            f"{name} has {image.dtype} images: give uint8, or floats in [0, 1]."
        )
    for first in range(0, len(image), _CHUNK):
        chunk = image[first : first + _CHUNK]
        outside = ~((chunk >= 0) & (chunk <= 1))  # true for NaN as well
        if outside.any():
            value = chunk[outside][0]
            raise InputError(
                f"{name} has a pixel {value} in image {first + np.argwhere(outside)[0, 0]}: "
                "give floats in [0, 1], or uint8."
            )
    return np.asarray(image, np.float32)


def _pad(source: Source, side: int) -> Source:
    height, width = source.image.shape[1:3]
    if not side or height == width == side:
        return source
    if side < max(height, width):
        raise InputError(
            f"config.data.pad is {side}, but {source.name} has images of {height} x {width}: "
            "give a larger side, or 0."
        )
    needed = len(source.label) * side**2 * source.image.shape[3]
    if needed * source.image.dtype.itemsize > host_memory():
        raise InputError(
            f"config.data.pad {side} makes {needed:,} pixel values of {source.name}, more than "
            "memory holds: give a smaller side, or 0."
        )
    before = (side - height) // 2, (side - width) // 2
    widths = [
        (b, side - size - b) for b, size in zip(before, (height, width), strict=True)
    ]
    image = np.pad(source.image, [(0, 0), *widths, (0, 0)])
    return source._replace(image=image)


def host_memory() -> int:
    """Return the bytes of memory of this machine."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def times(shape) -> str:
    """Return a shape as text: '28 x 28 x 1'."""
    return " x ".join(str(n) for n in shape)
