"""The index of a zoo, a folder of trained networks with the records of their certificates.

It is the model_manifest.json of the folder (workdirs/weights.py). A network of the zoo has more
in its entry there than one that was only exported, and three files:

    NAME.safetensors    the weights; `size_bytes`, `sha256` of the entry
    NAME.json           the config of the run; the same keys below `config`
    NAME.jsonl.gz       the record, compressed; below `record`, with its `norm` and its size
                        before that, `unpacked_bytes`

    name, family        what it is called, and what kind of network it is, such as lot
    dataset, digest     as in the entry of every exported network

The names of the files follow from NAME alone, which has no slash: no index leads out of its
folder. Clean and certified accuracy are not in it, because the record says them.
"""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple

from jaxcert.errors import InputError

FILE = "model_manifest.json"
SUFFIXES = dict(weights=".safetensors", config=".json", record=".jsonl.gz")
_MOST = 2**30
"""The largest file that is read, in bytes."""
_MOST_ROWS = 2**32
"""The largest record, unpacked."""
_NAME = re.compile(r"[A-Za-z0-9_]+(?:[.-][A-Za-z0-9_]+)*")
_SHA256, _DIGEST = re.compile(r"[0-9a-f]{64}"), re.compile(r"[0-9a-f]{32}")


class File(NamedTuple):
    name: str
    size: int
    sha256: str


class Listed(NamedTuple):
    """A network of an index."""

    name: str
    family: str
    dataset: str
    norm: str
    digest: str
    """of the checkpoint, which the record names"""
    weights: File
    config: File
    record: File
    unpacked: int
    """bytes of the record that is not compressed"""

    @property
    def size(self) -> int:
        return self.weights.size + self.config.size + self.record.size


def parsed(text: bytes, where: str) -> dict[str, Listed]:
    """Return the networks of an index by name, in its order; those that were only exported are
    left out. Raises InputError, which names `where`, for what is no index."""
    try:
        found = json.loads(text)
        if found["schema_version"] != 1:
            raise ValueError(f"its schema_version is {found['schema_version']!r}")
        entries = [e for e in found["models"] if "record" in e]
        listed = [_listed(entry) for entry in entries]
        names = [entry.name for entry in listed]
        # files may not tell small letters from capital ones
        if len({name.lower() for name in names}) < len(names):
            raise ValueError("a name stands there twice")
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        what = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise InputError(
            f"{where} is no index of a zoo ({what:.200}): check the address, or make it again "
            "with the networks."
        ) from None
    return dict(zip(names, listed, strict=True))


def check_name(name: str) -> None:
    """Raises InputError for what can be no name of a network."""
    if not _NAME.fullmatch(name) or len(name) > 100:
        raise InputError(
            f"{name!r} can be no name of a network in a zoo: give letters, digits and "
            "underscores, with single dots or hyphens between them."
        )


def _listed(entry: dict[str, Any]) -> Listed:
    name = entry["name"]
    check_name(name)
    words = [entry["family"], entry["dataset"], entry["record"]["norm"]]
    if not all(word.isprintable() and len(word) <= 100 for word in words):
        raise ValueError(
            f"{name} has a family, data set or norm that cannot be printed"
        )
    if not _DIGEST.fullmatch(entry["digest"]):
        raise ValueError(f"the digest of {name} is {entry['digest']!r}")
    parts = dict(weights=entry, config=entry["config"], record=entry["record"])
    files = {
        kind: _file(name + suffix, parts[kind]) for kind, suffix in SUFFIXES.items()
    }
    unpacked = _whole(name, entry["record"]["unpacked_bytes"], _MOST_ROWS)
    return Listed(name, *words, entry["digest"], **files, unpacked=unpacked)


def _file(name: str, said: dict[str, Any]) -> File:
    if not _SHA256.fullmatch(said["sha256"]):
        raise ValueError(f"the sha256 of {name} is {said['sha256']!r}")
    return File(name, _whole(name, said["size_bytes"], _MOST), said["sha256"])


def _whole(name: str, size: Any, most: int) -> int:
    if type(size) is not int or not 0 < size <= most:
        raise ValueError(f"{name} has {size!r} bytes, where 1 to {most:,} are read")
    return size
