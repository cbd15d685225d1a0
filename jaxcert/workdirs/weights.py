"""Weights of a network in one file that says what it is of, and the manifest beside it.

The file is a safetensors file (8 bytes with the length of a header, the header in JSON, the
arrays in little-endian bytes), or an npz. Arrays have the names and types that the
checkpoint has: `params.stem.kernel`, `state.power.stem.vector`. The metadata, of text, as
safetensors asks for:

    format       jaxcert-weights-1
    model        the file of jaxcert/models and all arguments of its `make`, JSON: shape and
                 normalisation of the images, classes, sizes
    norm         l2 | linf of a Lipschitz network, else empty
    digest       that of the checkpoint, which records of its certificates name
    step, config, jaxcert       the step of training, the resolved config in JSON, the version

An npz has it as an array `__metadata__` with a JSON object.

`model_manifest.json`, in the folder of the file, lists all networks exported there under the
names that the manifest of CTRAIN (Kaulen and Hoos) has, with the SHA-256 of each file.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import os
import re
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from jaxcert import config as configs
from jaxcert import random_keys, sharding, version
from jaxcert.errors import InputError, check_file, replacing
from jaxcert.interfaces import Network
from jaxcert.workdirs import checkpoint

FORMAT = "jaxcert-weights-1"
MANIFEST = "model_manifest.json"
METADATA = "__metadata__"
SUFFIXES = (".safetensors", ".npz")

_TYPES = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "I64": np.dtype("<i8"),
    "I32": np.dtype("<i4"),
    "U32": np.dtype("<u4"),
    "U8": np.dtype("u1"),
    "BOOL": np.dtype("?"),
}


def export(config: ConfigDict, workdir: str | Path, out: str | Path) -> dict[str, Any]:
    """Write the network of a workdir, the newest or the best by config.checkpoint.best, to
    `out`, whose suffix is .safetensors or .npz, and its entry into the manifest beside it.
    Returns the entry.

    Raises InputError for a workdir without a checkpoint, a file that is there already, and a
    manifest that cannot be continued, before anything is written.
    """
    out = Path(out)
    _check_new(out)
    manifest = read_manifest(out.parent / MANIFEST)
    model = configs.build("models", config.model)
    loaded = checkpoint.load_network(
        model, workdir, mesh=sharding.local_mesh(), best=config.checkpoint.best
    )
    metadata = {
        "format": FORMAT,
        "model": json.dumps(_whole(config.model)),
        "norm": model.norm or "",
        "digest": loaded.digest,
        "step": str(loaded.step),
        "config": json.dumps(config.to_dict()),
        "jaxcert": version.__version__,
    }
    arrays = checkpoint.arrays_of(loaded.network)
    out.parent.mkdir(parents=True, exist_ok=True)
    with replacing(out) as part:
        write(part, arrays, metadata, npz=out.suffix == ".npz")
    entry = _entry(config, model, out) | {"digest": loaded.digest}
    known = [m for m in manifest["models"] if m.get("checkpoint") != out.name]
    manifest["models"] = [*known, entry]
    with replacing(out.parent / MANIFEST) as part:
        part.write_text(json.dumps(manifest, indent=2) + "\n", "utf-8")
    return entry


def load(path: str | Path) -> Network:
    """Return the network of an exported file, on all devices of this process.

    Raises InputError for a file of another format, damage, and arrays that are not the
    model's.
    """
    arrays, metadata = read(path)
    if metadata.get("format") != FORMAT:
        raise InputError(
            f"{path} is no network of `jaxcert export` ({FORMAT}): name one; weights of "
            "PyTorch are read by `jaxcert import_torch`."
        )
    if checkpoint.digest(arrays) != metadata.get("digest"):
        raise InputError(f"{path} is damaged, its digest differs: copy it again.")
    try:
        section = ConfigDict({k: _tuple(v) for k, v in _parsed(metadata).items()})
    except (KeyError, ValueError, TypeError, AttributeError):
        raise InputError(f"{path} does not say its model: export it again.") from None
    model = configs.build("models", section)
    with random_keys.pinned():
        params, state = jax.eval_shape(model.init, random_keys.key(0))
    tree = checkpoint.arranged(arrays, params, state, where=str(path))
    tree = sharding.replicate(tree, sharding.local_mesh())
    exact = configs.in_float32(section)
    return Network(model, tree["params"], tree["state"], exact)


def write(
    path: Path,
    arrays: Mapping[str, np.ndarray],
    metadata: Mapping[str, str],
    *,
    npz: bool = False,
) -> None:
    """Write arrays and their metadata. Raises InputError, and writes nothing, for a type
    that is not among float32, float64, bool and the whole numbers above."""
    arrays = {name: np.asarray(arrays[name]) for name in sorted(arrays)}
    kinds = {dtype: kind for kind, dtype in _TYPES.items()}
    for name, array in arrays.items():
        if array.dtype not in kinds:
            raise InputError(f"{name} is of {array.dtype}, which is not exported.")
    if npz:
        with open(path, "wb") as file:
            np.savez(file, **arrays, **{METADATA: np.array(json.dumps(metadata))})
        return
    header: dict[str, Any] = {METADATA: dict(metadata)}
    end = 0
    for name, array in arrays.items():
        begin, end = end, end + array.nbytes
        shape, kind = array.shape, kinds[array.dtype]
        header[name] = dict(dtype=kind, shape=shape, data_offsets=[begin, end])
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # arrays begin at a multiple of 8 bytes
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for array in arrays.values():
            file.write(np.ascontiguousarray(array, array.dtype.newbyteorder("<")))


def read(path: str | Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Return (arrays by name, metadata) of a file that `write` wrote. Raises InputError for
    a file that is missing, damaged or of another kind."""
    path = Path(path)
    check_file(path)
    try:
        return _read_npz(path) if path.suffix == ".npz" else _read_safetensors(path)
    except (ValueError, TypeError, KeyError, AttributeError, EOFError, struct.error):
        pass
    except (zipfile.BadZipFile, RecursionError, OverflowError):
        pass
    raise InputError(
        f"{path} is no safetensors or npz file of `jaxcert export`, or cut off: copy it again."
    )


def _read_safetensors(path: Path):
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header, body = json.loads(data[8 : 8 + length]), memoryview(data)[8 + length :]
    metadata = header.pop(METADATA, {})
    arrays = {}
    for name, how in header.items():
        begin, end = how["data_offsets"]
        dtype = _TYPES[how["dtype"]]
        arrays[name] = np.frombuffer(body[begin:end], dtype).reshape(how["shape"])
    return arrays, metadata


def _read_npz(path: Path):
    with np.load(path, allow_pickle=False) as file:
        arrays = dict(file)
    return arrays, json.loads(str(arrays.pop(METADATA)))


def _check_new(out: Path) -> None:
    if out.suffix not in SUFFIXES:
        raise InputError(
            f"the weights are written as {' or '.join(SUFFIXES)}, not as {out.name}: give "
            "--out with one of these suffixes."
        )
    check_file(out, new=True)
    if out.exists():
        raise InputError(f"{out} is there already: name another file by --out.")


def _whole(section: ConfigDict) -> dict[str, Any]:
    """Return config.model with the defaults of all arguments that it leaves out."""
    takes = inspect.signature(configs.maker("models", section.name)).parameters
    return {k: p.default for k, p in takes.items()} | section.to_dict()


def _parsed(metadata: Mapping[str, str]) -> dict[str, Any]:
    return json.loads(metadata["model"])


def _tuple(value: Any) -> Any:
    return tuple(map(_tuple, value)) if isinstance(value, list) else value


def read_manifest(path: Path) -> dict[str, Any]:
    """Return the manifest of a folder, or a new one. Raises InputError for another file of
    that name."""
    if not os.path.lexists(path):
        about = "networks exported by jaxcert"
        return {"schema_version": 1, "repo_id": None, "selection": about, "models": []}
    check_file(path)
    try:
        found = json.loads(path.read_text("utf-8"))
        known = found["schema_version"] == 1
        if known and all(isinstance(m, dict) for m in found["models"]):
            return found
    except (ValueError, TypeError, KeyError, RecursionError):
        pass
    raise InputError(
        f"{path} is no manifest of schema_version 1: name a file of another folder by --out."
    )


def _entry(config: ConfigDict, model: Any, out: Path) -> dict[str, Any]:
    """Return what the manifest says of a network."""
    data, method = config.data, config.method
    text = json.dumps(config.to_dict(), sort_keys=True).encode()
    number = hashlib.blake2b(text, digest_size=16).hexdigest()
    eps = method.get("eps") or None
    words = [data.name, config.model.name, method.name, number]
    label = None if eps is None else _label(eps)
    if label:
        words.insert(2, "eps-" + label.replace("/", "-"))
    height, width, channels = model.image_shape
    with open(out, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {
        "model_id": "/".join(re.sub(r"[^\w.-]+", "-", word) for word in words),
        "config_hash": number,
        "dataset": data.name,
        "architecture": config.model.name,
        "method": method.name,
        "epsilon": eps,
        "epsilon_label": label,
        "norm": model.norm,
        "training_epochs": data.epochs,
        "input_shape": [channels, height, width],
        "num_classes": model.num_classes,
        "checkpoint": out.name,
        "evaluations": [],
        "size_bytes": out.stat().st_size,
        "sha256": digest,
    }


def _label(eps: float) -> str:
    """Return '8/255' for a whole number of grey levels, else the number."""
    levels = round(eps * 255)
    return f"{levels}/255" if abs(eps * 255 - levels) < 1e-9 else f"{eps:g}"
