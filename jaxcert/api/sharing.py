"""Networks that are shared with their records: put into a zoo, and listed with what they prove."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict

from jaxcert import config as configs
from jaxcert import locks
from jaxcert.analysis import facts, metrics, report, tables
from jaxcert.analysis.facts import Entry
from jaxcert.errors import InputError, replacing
from jaxcert.workdirs import weights
from jaxcert.zoos import index, networks, places


class Shown(NamedTuple):
    """A network of a zoo, and the report on its record."""

    listed: index.Listed
    entry: Entry


def listed(place: str = "") -> list[Shown]:
    """Return the networks of a zoo (see `jaxcert.zoos.places`), each with the numbers that its
    record proves; records that lie on a server are fetched.

    Raises InputError for a place without an index, damaged files, and a record with a radius that
    exceeds its evidence.
    """
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for name, network in places.listed(place).items():
            path = Path(folder) / f"{name}.jsonl"
            places.unpack_record(place, network, path)
            (entry,) = report.entries([path])
            report.fail_if_exceeding(entry.recheck, path, entry.certificates)
            found.append(Shown(network, entry))
    return found


HEAD = ("network", "data", "family", "norm", "images", "clean, %", "certified, %", "MB")


def row(shown: Shown) -> list[str]:
    """Return what a table of networks says of one, under `HEAD`."""
    listed, entry = shown
    clean = metrics.summary(entry.certificates, [0.0])
    certified = [
        f"{facts.certified_share(entry.summary, i)} at {facts.radius_text(radius)}"
        for i, radius in enumerate(entry.summary.radii)
        if radius and not np.isnan(entry.summary.certified[i])
    ]
    return [
        listed.name,
        listed.dataset,
        listed.family,
        listed.norm,
        f"{clean.images:,}",
        facts.certified_share(clean, 0),
        ", ".join(certified),
        f"{listed.size / 1e6:.2f}",
    ]


def text(shown: Sequence[Shown]) -> str:
    """Return the networks as a table for a terminal, the SHA-256 of the weights below each."""
    if not shown:
        return "There is no network in this zoo."
    columns = zip(HEAD, *map(row, shown), strict=True)
    head, *lines = tables.aligned([list(column) for column in columns])
    below = [f"  sha256 {one.listed.weights.sha256}" for one in shown]
    pairs = zip(lines, below, strict=True)
    return "\n".join([head, *(line for pair in pairs for line in pair)])


def add(
    workdir: str | Path,
    zoo: str | Path,
    name: str,
    *,
    record: str | Path | None = None,
) -> index.Listed:
    """Put the network of a workdir into a zoo, a folder that is made if it is not there, with its
    config and its record. Returns what the index says of it then.

    zoo: the folder. name: what the network is called there, such as lipnext-digits. record: by
    default the certificates.jsonl of the workdir. config.data.dir, a folder of this machine, is
    left out of all files. Nothing is changed in the workdir.

    Raises InputError, and leaves the zoo as it was, for a workdir without a network, a record that
    is missing, empty, unfinished, of another network or model, or that cannot be re-checked or
    does not hold, and a name that the zoo has already.
    """
    index.check_name(name)
    config = configs.read(workdir)
    configs.check(config, Path(workdir) / networks.CONFIG)
    record = Path(record or Path(workdir) / networks.RECORD)
    norm = _checked(record)
    config.data.dir = ""
    zoo = Path(zoo)
    with locks.only_writer(zoo, option="--zoo"):
        manifest = weights.read_manifest(zoo / index.FILE)
        _check_new(zoo, name, manifest)
        with tempfile.TemporaryDirectory(prefix=".part", dir=zoo) as folder:
            made = {k: Path(folder) / f"{name}{v}" for k, v in index.SUFFIXES.items()}
            entry = weights.export(config, workdir, made["weights"])
            networks.check_same(entry["digest"], config, made["weights"], record)
            with config.unlocked():
                config.checkpoint.best = ""  # there is no other to choose from
            configs.save(config, made["config"])
            rows = _without_folder(record.read_bytes())
            made["record"].write_bytes(gzip.compress(rows, mtime=0))
            entry |= {"name": name, "family": _family(config)}
            entry["config"] = sizes(made["config"])
            entry["record"] = sizes(made["record"])
            entry["record"] |= {"unpacked_bytes": len(rows), "norm": norm}
            manifest["models"].append(entry)
            text = json.dumps(manifest, indent=2) + "\n"
            found = index.parsed(text.encode(), str(zoo / index.FILE))
            for path in made.values():
                os.replace(path, zoo / path.name)
            with replacing(zoo / index.FILE) as part:
                part.write_text(text, "utf-8")
    return found[name]


def _checked(record: Path) -> str:
    """Return the norm of a record. Raises InputError for one that does not hold or is not
    whole."""
    (entry,) = report.entries([record])
    report.fail_if_exceeding(entry.recheck, record, entry.certificates)
    header = entry.certificates.header
    if entry.recheck.reason:
        raise InputError(
            f"{record} cannot be checked again, {entry.recheck.reason}: give a record with the "
            "evidence of its rows."
        )
    asked = header.get("requests")
    if not asked:
        raise InputError(
            f"{record} does not say which images were asked for: certify into a new file."
        )
    wanted = {i for r in asked for i in range(r["start"], r["stop"], r["step"])}
    if missing := wanted - set(entry.certificates.index.tolist()):
        raise InputError(
            f"{record} lacks {len(missing):,} of the {len(wanted):,} images that were asked "
            "for: finish `jaxcert certify`."
        )
    return header["norm"]


def _check_new(zoo: Path, name: str, manifest: dict[str, Any]) -> None:
    names = [str(m.get("name", "")).lower() for m in manifest["models"]]
    files = [zoo / f"{name}{suffix}" for suffix in index.SUFFIXES.values()]
    if name.lower() in names or any(map(os.path.lexists, files)):
        raise InputError(f"{zoo} has {name} already: give another --name.")


def _family(config: ConfigDict) -> str:
    """Return what kind of network it is: of a frame for several, what was put into it, and of an
    EDM that, whatever network denoises."""
    model, method = config.model, config.method.name
    frames = {"lip_convnet": model.get("conv"), "dist_net": method, "edm_unet": method}
    return frames.get(model.name) or model.name


def _without_folder(rows: bytes) -> bytes:
    """Return the lines of a record whose header names no folder of data, which is one of the
    machine that certified."""
    first, newline, rest = rows.partition(b"\n")
    header = json.loads(first)
    data = header.get("config", {}).get("data", {})
    if not data.get("dir"):
        return rows
    data["dir"] = ""
    return json.dumps(header).encode() + newline + rest


def sizes(path: Path) -> dict[str, Any]:
    """Return the `size_bytes` and the `sha256` of a file, as an index has them."""
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    return {"size_bytes": len(content), "sha256": digest}
