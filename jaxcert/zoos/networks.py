"""Networks of a zoo: loaded, or unpacked into a workdir."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from ml_collections import ConfigDict

from jaxcert import config as configs
from jaxcert import locks, records
from jaxcert.errors import InputError
from jaxcert.interfaces import Network
from jaxcert.workdirs import checkpoint, weights
from jaxcert.zoos import places
from jaxcert.zoos.index import Listed

CONFIG, WEIGHTS, RECORD = "config.json", "weights.safetensors", "certificates.jsonl"
_PART = ".unpacked"
"""Folder of a workdir in which all is made before anything takes its place."""


def load(address: str) -> Network:
    """Return the network of an address, such as `zoo:lipnext-digits`, on all devices of this
    process. Raises InputError as `places.found` and `places.path_of`, and for weights of another
    network than the index lists."""
    return _loaded(*places.found(address))


def unpack(address: str, workdir: str | Path) -> Listed:
    """Make a workdir of a network: its config, a checkpoint at step 0, its record, and its
    weights as `jaxcert export` writes them. Returns what the index says of it.

    Raises InputError as `load`, for a workdir that has files, and for a record that is of other
    weights or of another model; nothing is left behind then.
    """
    workdir = Path(workdir)
    place, network = places.found(address)
    with locks.only_writer(workdir, option="--workdir"):
        if {path.name for path in workdir.iterdir()} - {locks.LOCK, _PART}:
            raise InputError(f"{workdir} has files already: name another --workdir.")
        part = workdir / _PART
        shutil.rmtree(part, ignore_errors=True)  # of a process that was killed
        part.mkdir()
        try:
            _fill(part, place, network)
            for name in ("checkpoints", WEIGHTS, RECORD, CONFIG):
                (part / name).rename(workdir / name)
        finally:
            shutil.rmtree(part)
    return network


def _fill(folder: Path, place: str, network: Listed) -> None:
    shutil.copyfile(places.path_of(place, network.config), folder / CONFIG)
    shutil.copyfile(places.path_of(place, network.weights), folder / WEIGHTS)
    places.unpack_record(place, network, folder / RECORD)
    config = configs.read(folder)
    configs.check(config, network.config.name)
    loaded = _loaded(place, network)
    check_same(network.digest, config, folder / WEIGHTS, folder / RECORD)
    with checkpoint.Checkpoints(folder) as checkpoints:
        checkpoints.save_evaluation(loaded.params, loaded.state)


def check_same(digest: str, config: ConfigDict, exported: Path, record: Path) -> None:
    """Raises InputError unless an exported network and a record have this digest and the model
    of the config."""
    header, metadata = records.load(record).header, weights.read(exported)[1]
    model = json.loads(json.dumps(config.model.to_dict()))
    whole = json.loads(metadata.get("model", "{}"))
    for where, found, same in (
        (record, header.get("checkpoint"), header.get("model") == model),
        (exported, metadata.get("digest"), model.items() <= whole.items()),
    ):
        if found != digest or not same:
            what = "another model" if found == digest else f"the network {found}"
            raise InputError(
                f"{where} is of {what}, and the network is {digest}: certify the network that "
                "is in the workdir into a record of its own, and name it."
            )


def _loaded(place: str, network: Listed) -> Network:
    path = places.path_of(place, network.weights)
    loaded = weights.load(path)
    if checkpoint.network_digest(loaded) != network.digest:
        raise InputError(
            f"{path} holds another network than the one that is listed as {network.name}: it "
            "must be made again."
        )
    return loaded
