"""Tensors by name from an npz or safetensors file.

Pickles (.pt, .pth) are refused, because reading one executes code from it, and needs
torch.
"""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

import numpy as np

from jaxcert.errors import InputError, check_file


def read(path: str | Path) -> dict[str, np.ndarray]:
    """Return the arrays of a file by name. Raises InputError for a file that is
    missing, damaged or a pickle."""
    path = Path(path)
    check_file(path)
    if path.suffix == ".npz":
        return _npz(path)
    if path.suffix == ".safetensors":
        return _safetensors(path)
    raise _not_read(path)


def _npz(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = dict(file)
    except (
        ValueError,
        TypeError,
    ):  # objects or a pickle, or a single array under this name
        raise _not_read(path) from None
    except (EOFError, zipfile.BadZipFile, zlib.error):
        raise InputError(f"{path} is damaged or cut off: copy it again.") from None
    if not all(isinstance(array, np.ndarray) for array in arrays.values()):
        raise _not_read(path)  # a .pth file is a zip archive as well
    return arrays


def _safetensors(path: Path) -> dict[str, np.ndarray]:
    try:
        from safetensors import SafetensorError, safe_open
    except ImportError:
        raise InputError(
            f"{path} needs the package safetensors: pip install 'jaxcert[import]', or save "
            "the tensors by np.savez."
        ) from None
    arrays = {}
    try:
        with safe_open(path, framework="numpy") as file:
            for name in file.keys():
                arrays[name] = _tensor(file, name)
    except SafetensorError:
        raise InputError(
            f"{path} is no safetensors file, or cut off: copy it again."
        ) from None
    return arrays


def _tensor(file, name: str) -> np.ndarray:
    try:
        return file.get_tensor(name)
    except (TypeError, AttributeError):  # bfloat16 and narrower
        raise InputError(
            f"{name} has values of a type that numpy lacks: export the float32 ones that "
            "were trained."
        ) from None


def _not_read(path: Path) -> InputError:
    return InputError(
        f"{path} is no npz or safetensors file of tensors, and a pickle is not read, as that "
        "would run what it says: export it once, where torch is, by np.savez('model.npz', "
        "**{k: v.numpy() for k, v in torch.load('model.pth', map_location='cpu')"
        "['state_dict'].items()}), where other files have another key than 'state_dict', such "
        "as 'model', 'net' or 'backbone', or the tensors without one."
    )
