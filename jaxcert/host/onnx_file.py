"""ONNX files as base classifiers, run by onnxruntime, which is imported where one is given."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from jaxcert.errors import InputError, check_file
from jaxcert.host.answers import classes_of, first_line
from jaxcert.interfaces import HostVote

FIXED_BY = "digest: sha256 of the ONNX file and the files of its weights"
_TYPES = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
}
_LOCATION = re.compile(rb"\n\x08location\x12")
"""How the entry of a tensor begins whose numbers are in another file; what follows is the
length of that file's name, and the name."""


def classifier(path: Path, name: str = "") -> HostVote:
    """Return the HostVote of an ONNX file; see `classifiers.on_host`."""
    try:
        import onnxruntime
    except ImportError:
        raise InputError(
            "an ONNX file is run by onnxruntime, which cannot be imported here: install it by "
            "pip install 'jaxcert[onnx]'."
        ) from None
    check_file(path)
    known = digest(path)
    try:
        providers = onnxruntime.get_available_providers()
        session = onnxruntime.InferenceSession(str(path), providers=providers)
    except Exception as error:  # any: its exceptions have no class in common
        raise InputError(
            f"{path} is no ONNX file that onnxruntime can run: {first_line(error)}."
        ) from error
    inputs, output = session.get_inputs(), session.get_outputs()[0].name
    (given,) = inputs if len(inputs) == 1 else (None,)
    if given is None or given.type not in _TYPES or len(given.shape) != 4:
        told = ", ".join(f"{x.name}: {x.type} {x.shape}" for x in inputs)
        raise InputError(
            f"{path} takes {told or 'nothing'}: export a network with one input, images "
            "[B,C,H,W] or [B,H,W,C] of floats."
        )
    batch = given.shape[0] if isinstance(given.shape[0], int) else 0

    def votes(image: np.ndarray, num_classes: int) -> np.ndarray:
        x = image.transpose(_axes(path, given.shape, image.shape[1:]))
        x = np.ascontiguousarray(x, _TYPES[given.type])
        try:
            parts = [
                session.run([output], {given.name: part})[0]
                for part in _parts(x, batch)
            ]
        except Exception as error:
            raise InputError(
                f"{path} fails for images of {x.shape}: {first_line(error)}."
            ) from error
        # of a file that takes a fixed number of images the last ones fill it up
        found = np.concatenate(parts)[: len(image)]
        return classes_of(found, len(image), num_classes, str(path))

    base = {"name": "onnx_file", "stated": name or path.name, "digest": known}
    return HostVote(votes, base | {"fixed_by": FIXED_BY})


def digest(path: Path) -> str:
    """Return the sha256 of an ONNX file and of the files beside it that hold its weights."""
    data = path.read_bytes()
    found = hashlib.sha256(data)
    for name in sorted(set(_locations(data))):
        other = path.parent / name
        if other.is_file():
            found.update(f"\n{name}\n".encode())
            with open(other, "rb") as file:
                while part := file.read(1 << 20):
                    found.update(part)
    return found.hexdigest()


def _locations(data: bytes) -> Iterator[str]:
    for match in _LOCATION.finditer(data):
        at, size, shift = match.end(), 0, 0
        while True:  # a number in base 128, the low digits first
            digit = data[at] if at < len(data) else 0
            size |= (digit & 127) << shift
            at, shift = at + 1, shift + 7
            if digit < 128:
                break
        yield data[at : at + size].decode("utf-8", "replace")


def _axes(path: Path, wanted: list[Any], image_shape: tuple[int, ...]) -> tuple:
    """Return how the axes of [B,H,W,C] are ordered for a file; where both orders fit, because
    the sizes are open, channels come first, as PyTorch exports them."""
    for axes in ((0, 3, 1, 2), (0, 1, 2, 3)):
        shape = [(None, *image_shape)[axis] for axis in axes]
        if all(
            not isinstance(asked, int) or size in (None, asked)
            for asked, size in zip(wanted, shape, strict=True)
        ):
            return axes
    raise InputError(
        f"{path} takes images {wanted}, and these are [B,H,W,C] of {list(image_shape)}: give "
        "images of its size."
    )


def _parts(x: np.ndarray, batch: int) -> Iterator[np.ndarray]:
    """Yield the images in parts of exactly `batch`, the last one filled up; 0: all at once."""
    for at in range(0, len(x), batch or len(x)):
        part = x[at : at + (batch or len(x))]
        missing = max(batch - len(part), 0)
        yield np.concatenate([part, np.repeat(part[-1:], missing, 0)])
