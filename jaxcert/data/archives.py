"""The published archives of MNIST, CIFAR-10, CIFAR-100 and CIFAR-10-C, read with numpy alone.

MNIST (LeCun, Cortes, Burges): idx files, big-endian header then bytes. CIFAR (Krizhevsky,
Learning Multiple Layers of Features from Tiny Images, 2009): the binary version, records of
one label byte (CIFAR-100: a coarse one, then the fine one that counts) and 3,072 bytes in
CHW order; or the pickled version, through an unpickler that knows nothing but arrays. CIFAR-10-C
(Hendrycks and Dietterich, Benchmarking Neural Network Robustness to Common Corruptions and
Perturbations, 2019, arXiv 1903.12261): <corruption>.npy with the test images at the severities 1
to 5, one after the other, and labels.npy.

Checksums of gzip, lengths and labels decide whether a file is taken. A member with another
md5 than the published one is taken with a warning: re-encoded copies are common and differ
in a few pixels. That is for files found here; `download` is stricter.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import math
import os
import pickle
import tarfile
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxcert.data import download, files
from jaxcert.errors import InputError

Arrays = tuple[np.ndarray, np.ndarray]


class _Cifar(NamedTuple):
    archive: str
    md5: str
    folder: str
    train: dict[str, str]
    """member -> md5"""
    test: dict[str, str]
    label_key: bytes = b""
    """of the pickled version"""


_CIFAR_URL = "https://www.cs.toronto.edu/~kriz/"
_MNIST_URL = "https://storage.googleapis.com/cvdf-datasets/mnist/"
_MNIST_MIRROR = "https://ossci-datasets.s3.amazonaws.com/mnist/"
"""Where the same files are; it is asked where the first address fails."""

_CIFAR = {
    "cifar10": (
        _Cifar(
            archive="cifar-10-binary.tar.gz",
            md5="c32a1d4ab5d03f1284b67883e8d87530",
            folder="cifar-10-batches-bin",
            train={
                "data_batch_1.bin": "5dd7e06a14cb22eb9f671a540d1b7c25",
                "data_batch_2.bin": "5ea93a67294ea407fff1d09f752e9692",
                "data_batch_3.bin": "942cd6a4bcdd0dd3c604fbe906cb4421",
                "data_batch_4.bin": "ae636b3ba5c66a11e91e8cb52e771fcb",
                "data_batch_5.bin": "53f37980c15c3d472c316c40844f3f0d",
            },
            test={"test_batch.bin": "803d5f7f4d78ea53de84dbe85f74fb6d"},
        ),
        _Cifar(
            archive="cifar-10-python.tar.gz",
            md5="c58f30108f718f92721af3b95e74349a",
            folder="cifar-10-batches-py",
            train={
                "data_batch_1": "c99cafc152244af753f735de768cd75f",
                "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
                "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
                "data_batch_4": "634d18415352ddfa80567beed471001a",
                "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
            },
            test={"test_batch": "40351d587109b95175f43aff81a1287e"},
            label_key=b"labels",
        ),
    ),
    "cifar100": (
        _Cifar(
            archive="cifar-100-binary.tar.gz",
            md5="03b5dce01913d631647c71ecec9e9cb8",
            folder="cifar-100-binary",
            train={"train.bin": "6172c7755cfe09b2fe270c85cebc1b15"},
            test={"test.bin": "4499cfba6c016c1be1438163640a0898"},
        ),
        _Cifar(
            archive="cifar-100-python.tar.gz",
            md5="eb9058c3a382ffc7106e4002c42a8d85",
            folder="cifar-100-python",
            train={"train": "16019d7e3df5f24257cddd939b257f8d"},
            test={"test": "f0ef6b0ae62326f3e7ffdfab6717acfc"},
            label_key=b"fine_labels",
        ),
    ),
}

_MNIST = {  # split -> its two files: stem, md5 packed (the download), md5 unpacked
    "train": (
        (
            "train-images-idx3-ubyte",
            "f68b3c2dcbeaaa9fbdd348bbdeb94873",
            "6bbc9ace898e44ae57da46a324031adb",
        ),
        (
            "train-labels-idx1-ubyte",
            "d53e105ee54ea40749a09fcbcd1e9432",
            "a25bea736e30d166cdddb491f175f624",
        ),
    ),
    "test": (
        (
            "t10k-images-idx3-ubyte",
            "9fb629c4189551a2d022fa330f9573f3",
            "2646ac647ad5339dbf082846283269ea",
        ),
        (
            "t10k-labels-idx1-ubyte",
            "ec29112dd5afa0611ce80d1b7f02629c",
            "27ae3e4e09519cfbb04c329615203637",
        ),
    ),
}

_AGAIN = "copy it again, or remove it, then it is downloaded"
"""The advice for a file that is downloaded where it is missing."""
_LARGEST = 1 << 28
"""The most bytes that an archive may unpack to; the published ones have up to 186 MB."""
_SIZES = {"train": 50_000, "test": 10_000}  # of CIFAR
_SEVERITIES = 5  # of CIFAR-10-C
_MNIST_SIZES = {"train": 60_000, "test": 10_000}


def read_cifar(name: str, split: str, *, folder: Path, fetch: bool) -> Arrays:
    """(uint8 [N,32,32,3], int32 [N]) of 'cifar10' or 'cifar100', in published order.

    `folder` holds an archive or what was in it, or is one of the two itself. Raises
    InputError if there is none (and `fetch` is off), or if it is cut off or damaged.
    """
    found = _find_cifar(name, folder)
    if found is None:
        kind = _CIFAR[name][0]
        if not fetch:
            raise _missing(name, folder, kind.archive)
        path = download.fetch(
            _CIFAR_URL + kind.archive, folder / kind.archive, md5=kind.md5
        )
        found = kind, path
    kind, path = found
    members = kind.train if split == "train" else kind.test
    contents = _members(path, list(members))
    parts = []
    for member in members:
        decode = _unpickled if kind.label_key else _records
        parts.append(decode(contents[member], f"{member} of {path}", name, kind))
    image = np.concatenate([part[0] for part in parts])
    label = np.concatenate([part[1] for part in parts]).astype(np.int32)
    if len(image) != _SIZES[split]:
        raise InputError(
            f"{path} has {len(image):,} images for {split}, not {_SIZES[split]:,}: "
            "it is cut off; copy it again."
        )
    for member, md5 in members.items():
        _compare_md5(contents[member], md5, f"{member} of {path}")
    image = image.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(image), label


def read_mnist(split: str, *, folder: Path, fetch: bool) -> Arrays:
    """(uint8 [N,28,28,1], int32 [N]) in published order, from gzip or unpacked idx files in
    `folder` or its usual sub-folders. Raises InputError as `read_cifar`."""
    arrays = []
    for (stem, packed, unpacked), rank in zip(_MNIST[split], (3, 1), strict=True):
        path = _find_idx(stem, folder)
        if path is None:
            if not fetch:
                raise _missing("mnist", folder, f"{stem}.gz")
            urls = [f"{place}{stem}.gz" for place in (_MNIST_URL, _MNIST_MIRROR)]
            path = download.fetch_any(urls, folder / "mnist" / f"{stem}.gz", md5=packed)
        data = _unzip(path) if path.suffix == ".gz" else _content(path)
        arrays.append(_idx(data, rank, path))
        _compare_md5(data, unpacked, str(path))
    image, label = arrays
    wanted = _MNIST_SIZES[split]
    if len(image) != wanted or len(label) != wanted or image.shape[1:] != (28, 28):
        raise InputError(
            f"the MNIST files for {split} in {folder} hold images {image.shape} and labels "
            f"{label.shape}, not {wanted:,} of 28 x 28: copy them again."
        )
    _check_labels(label, 10, f"the MNIST labels in {folder}")
    return image[..., None], label.astype(np.int32)


def read_cifar10_c(name: str, *, folder: Path) -> Arrays:
    """(uint8 [N,32,32,3], int32 [N]) of a corruption, or `corruption:severity`, of CIFAR-10-C:
    the test images at severity 1, ..., 5, or at one of them. `folder` holds the npy files, or the
    folder CIFAR-10-C of them. Raises InputError for what is not there or damaged."""
    corruption, _, severity = name.partition(":")
    place = next(
        (p for p in (folder / "CIFAR-10-C", folder) if (p / "labels.npy").is_file()),
        None,
    )
    if place is None:
        raise InputError(
            f"there is no CIFAR-10-C in {folder}: unpack CIFAR-10-C.tar of "
            "https://zenodo.org/records/2535967 there, or name its folder by --config.data.dir."
        )
    there = sorted(p.stem for p in place.glob("*.npy") if p.stem != "labels")
    if corruption not in there:
        raise InputError(
            f"{place} has no corruption {corruption!r}: it has {', '.join(there)}."
        )
    levels = [str(level) for level in range(1, _SEVERITIES + 1)]
    if severity not in ("", *levels):
        raise InputError(
            f"cifar10_c:{name} has the severity {severity!r}: give 1 to {_SEVERITIES}, or none "
            "for all of them."
        )
    image, label = (
        files.read_array(place / f"{stem}.npy") for stem in (corruption, "labels")
    )
    size = _SIZES["test"]
    whole = (size * _SEVERITIES, 32, 32, 3), (size * _SEVERITIES,)
    if (image.shape, label.shape) != whole or {image.dtype.kind, label.dtype.kind} - {
        *"iu"
    }:
        raise InputError(
            f"{place / corruption}.npy has {image.dtype} {image.shape}, and labels.npy "
            f"{label.shape}, not {whole[0][0]:,} images of 32 x 32 x 3: copy them again."
        )
    _check_labels(label, 10, f"{place / 'labels.npy'}")
    if severity:
        part = slice((int(severity) - 1) * size, int(severity) * size)
        image, label = image[part], label[part]
    return image, np.asarray(label, np.int32)


def _missing(name: str, folder: Path, file: str) -> InputError:
    return InputError(
        f"no {name} is in {folder}: put {file} there, name its folder by --config.data.dir "
        "or $JAXCERT_DATA, or fetch it by --config.data.download=True."
    )


def _find_cifar(name: str, folder: Path) -> tuple[_Cifar, Path] | None:
    for kind in _CIFAR[name]:
        first = next(iter(kind.train))
        if folder.is_file() and kind.archive == folder.name:
            return kind, folder
        for place in (folder, folder / name):
            for path in (place / kind.folder, place / kind.archive, place):
                if path.is_file() or (path / first).is_file():
                    return kind, path
    return None


def _find_idx(stem: str, folder: Path) -> Path | None:
    for place in (folder, folder / "mnist", folder / "MNIST" / "raw"):
        for name in (stem, stem.replace("-idx", ".idx")):
            for path in (place / name, place / f"{name}.gz"):
                if path.is_file():
                    return path
    return None


def _members(path: Path, names: list[str]) -> dict[str, bytes]:
    """Return the contents of files in a folder or in a tar.gz, by their last name."""
    if path.is_dir():
        found = {n: _content(path / n) for n in names if (path / n).is_file()}
    else:
        found = dict(_tar_members(path, names))
    for name in names:
        if name not in found:
            raise InputError(f"{path} has no {name}: it is cut off; copy it again.")
    return found


def _tar_members(path: Path, names: list[str]) -> Iterator[tuple[str, bytes]]:
    whole = _unzip(path)  # to its end, where gzip's checksum is
    try:
        with tarfile.open(fileobj=io.BytesIO(whole), mode="r:") as tar:
            for member in tar:
                name = os.path.basename(member.name)
                if name in names and member.isfile():
                    yield name, tar.extractfile(member).read()
    except Exception:  # a damaged table of contents can raise anything
        raise InputError(f"{path} is cut off or damaged: {_AGAIN}.") from None


def _records(data: bytes, what: str, name: str, kind: _Cifar) -> Arrays:
    labels = 1 if name == "cifar10" else 2
    if not data or len(data) % (labels + 3072):
        raise InputError(
            f"{what} has {len(data):,} bytes, no whole number of records: copy it again."
        )
    records = np.frombuffer(data, np.uint8).reshape(-1, labels + 3072)
    label = records[:, labels - 1]
    _check_labels(label, 10 if name == "cifar10" else 100, what)
    return records[:, labels:], label


def _unpickled(data: bytes, what: str, name: str, kind: _Cifar) -> Arrays:
    try:
        content = _ArrayUnpickler(io.BytesIO(data), encoding="bytes").load()
        image, label = content[b"data"], np.asarray(content[kind.label_key])
        good = image.dtype == np.uint8 and image.shape == (len(label), 3072)
        good = good and label.ndim == 1 and len(label) and label.dtype.kind in "iu"
    except Exception:  # a damaged pickle can raise anything
        good = False
    if not good:
        raise InputError(
            f"{what} is no batch of {name} as published: copy it again, or use "
            f"{_CIFAR[name][0].archive}."
        )
    _check_labels(label, 10 if name == "cifar10" else 100, what)
    return image, label


class _ArrayUnpickler(pickle.Unpickler):
    """An unpickler that knows numpy arrays and bytes alone, so that a pickle from
    elsewhere cannot run code."""

    def find_class(self, module: str, name: str):
        if (module.removeprefix("numpy."), name) in (
            ("core.multiarray", "_reconstruct"),
            ("_core.multiarray", "_reconstruct"),
        ):
            return np._core.multiarray._reconstruct
        if module == "numpy" and name in ("ndarray", "dtype"):
            return getattr(np, name)
        if (module, name) == ("_codecs", "encode"):
            return lambda text, encoding: text.encode("latin-1")
        raise pickle.UnpicklingError(f"{module}.{name}")


def _unzip(path: Path) -> bytes:
    try:
        with gzip.open(path) as file:
            data = file.read(_LARGEST + 1)
    except (EOFError, zlib.error, gzip.BadGzipFile):
        raise InputError(f"{path} is cut off or damaged: {_AGAIN}.") from None
    if len(data) > _LARGEST:
        raise InputError(
            f"{path} unpacks to more than {_LARGEST >> 20} MB, which no published archive "
            f"does: {_AGAIN}."
        )
    return data


def _content(path: Path) -> bytes:
    if path.stat().st_size > _LARGEST:
        raise InputError(
            f"{path} has more than {_LARGEST >> 20} MB, which no published file has: copy it "
            "again."
        )
    return path.read_bytes()


def _idx(data: bytes, rank: int, path: Path) -> np.ndarray:
    """Return the uint8 array of `rank` axes in an idx file: magic 0x0000_08_rank, then
    the sizes, big-endian."""
    header = np.frombuffer(data[: 4 + 4 * rank], ">u4") if len(data) > 4 * rank else [0]
    if header[0] != 0x0800 + rank:
        raise InputError(f"{path} is no idx file of MNIST: {_AGAIN}.")
    shape = tuple(int(n) for n in header[1:])
    if len(data) != 4 + 4 * rank + math.prod(shape):
        raise InputError(f"{path} is cut off: {_AGAIN}.")
    return np.frombuffer(data, np.uint8, offset=4 + 4 * rank).reshape(shape)


def _check_labels(label: np.ndarray, num_classes: int, what: str) -> None:
    if label.min() < 0 or label.max() >= num_classes:
        raise InputError(
            f"{what} has the label {label.max() if label.min() >= 0 else label.min()}, "
            f"outside 0..{num_classes - 1}: it is damaged; copy it again."
        )


def _compare_md5(data: bytes, md5: str, what: str) -> None:
    found = hashlib.md5(data, usedforsecurity=False).hexdigest()
    if found != md5:
        warnings.warn(
            f"{what} differs from the published file (md5 {found}, not {md5}); "
            "it is used as it is.",
            stacklevel=4,
        )
