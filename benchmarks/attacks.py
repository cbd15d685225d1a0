"""Attack the certificates of every family of Lipschitz networks, on digits and MNIST.

    python -m benchmarks.attacks [--folder runs/attacks] [--out FILE.json] [--only WORD]

For each family it trains a small network, certifies some test images, and attacks each of them
just inside its largest certified radius, then at 1.5 and 3 times the median radius, by every
attack of `jaxcert.attack`, in float32 on one of the data sets and in float64 on the other. A
pair is an image with a certified radius above 0 and an attack; it is broken if the attack finds
another class at a distance below the radius. The positive control is the same attack at 3 times
the median radius on a network of plain training: an attack that finds nothing there would say
nothing here. FILE is rewritten after each attack, and the same command continues; --folder
keeps the networks. MNIST is read from $JAXCERT_DATA.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
from functools import cache, partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from benchmarks import run
from jaxcert import certificate as certificates
from jaxcert import config as configs
from jaxcert import records, sharding, version
from jaxcert.attacks import audit
from jaxcert.certificates import run as certification
from jaxcert.data import sources
from jaxcert.ops.images import unit
from jaxcert.training import loop
from jaxcert.workdirs import checkpoint

FORMAT = "jaxcert-attacks-1"
STEPS = dict(pgd=20, apgd=20, rays=12, rounding=20)
CELLS = {
    "digits": (
        ("pgd", "float32"),
        ("rays", "float64"),
        ("rounding", "float64"),
        ("apgd", "float32"),
    ),
    "mnist": (
        ("apgd", "float64"),
        ("rays", "float32"),
        ("rounding", "float64"),
        ("pgd", "float64"),
    ),
}
"""data set -> (attack, type in which it searches)"""

_ONE = {"optim.warmup_epochs": 0, "checkpoint.every_epochs": 0}
_DIGITS = {**_ONE, "data.epochs": 8}
_MNIST = {
    **_ONE,
    "data.epochs": 2,
    "data.batch": 100,
    "data.epoch_images": 6000,
    "certify.step": 20,
}
_CONVOLUTIONS = {
    **_MNIST,
    "certify.bound": "torus",
    "model.width": 8,
    "model.dense": 32,
}
_DISTANCES = {"model.width": 96, "certify.name": "lipschitz"}
_DIGITS_LINF = {**_ONE, **_DISTANCES}
_MNIST_LINF = {
    **_MNIST,
    **_DISTANCES,
    "data.epochs": 6,
    "method.p_start": 1.0,
    "method.p_end": 5.0,
    "model.depth": 3,
}
_TANH = {"method.eps_end": 3.0, "model.hidden": 32}
_BRO = {"model.conv": "bro", "model.activation": "maxmin"}

NETWORKS = {
    ("LOT", "digits"): ("lot/digits", _DIGITS),
    ("l_inf-dist", "digits"): ("linf_dist/digits", _DIGITS_LINF),
    ("SortNet", "digits"): ("sortnet/digits", _DIGITS_LINF),
    ("hybrid", "digits"): ("linf_dist/digits:hybrid", _DIGITS_LINF),
    ("LiResNet", "digits"): ("liresnet/digits", {**_DIGITS, "data.epochs": 20}),
    ("LiResNet++", "digits"): ("liresnet_pp/digits", {**_DIGITS, "data.epochs": 20}),
    ("BRONet", "digits"): ("bronet/digits", {**_DIGITS, "data.epochs": 20}),
    ("BRO LipConvnet", "digits"): ("lot/digits", {**_DIGITS, **_BRO}),
    ("l_inf-dist", "mnist"): ("linf_dist/mnist:laptop", _MNIST_LINF),
    ("SortNet", "mnist"): ("sortnet/mnist:laptop", _MNIST_LINF),
    ("hybrid", "mnist"): (
        "linf_dist/digits:hybrid",
        {
            **_MNIST_LINF,
            **_TANH,
            "model.depth": 4,
            "model.image_shape": (28, 28, 1),
            "model.mean": (0.1307,),
            "model.std": 0.3081,
            "data.name": "mnist",
        },
    ),
    ("LiResNet", "mnist"): ("liresnet/mnist", _CONVOLUTIONS),
    ("LiResNet++", "mnist"): ("liresnet_pp/mnist", _CONVOLUTIONS),
    ("BRONet", "mnist"): ("bronet/mnist", _CONVOLUTIONS),
    ("LOT", "mnist"): ("lot/mnist", {**_MNIST, "model.width": 4}),
    ("BRO LipConvnet", "mnist"): ("lot/mnist", {**_MNIST, **_BRO, "model.width": 4}),
}
"""(family, data set) -> (config, changes that make it a network of seconds)"""
PLAIN = {
    "digits": ("smoothing/digits", {"data.batch": 50, "data.epochs": 6}),
    "mnist": (
        "smoothing/mnist:gaussian,0.25,small",
        {"data.batch": 100, "data.epochs": 2},
    ),
}


def config_of(row: str, changes: dict[str, Any]) -> ConfigDict:
    """Return the config of a row with these changes, by dotted names."""
    config = configs.load(row)
    with config.unlocked():
        config.update_from_flattened_dict(changes)
    return config


def trained(config: ConfigDict, workdir: Path) -> None:
    """Train and certify the network, unless the workdir has it. A distance net has interval
    bounds as well."""
    if not (workdir / "certificates.jsonl").exists():
        loop.train(config, workdir)
    certification.certify(config, workdir)
    if config.model.name == "dist_net":
        config = config.copy_and_resolve_references()
        config.certify.name = "interval"
        certification.certify(config, workdir, out=workdir / "interval.jsonl")


def attacked(
    config: ConfigDict, workdir: Path, name: str, dtype: str
) -> dict[str, Any]:
    """Attack the certified images, and return what was found."""
    own = certified(workdir)
    median = float(np.median(list(own.values())))
    config = config.copy_and_resolve_references()
    config.certify.radii = (0.0, 1.5 * median, 3 * median)
    options = dict(name=name, steps=STEPS[name], dtype=dtype)
    out = workdir / f"{name}_{dtype}.jsonl"
    found = audit.attack(config, workdir, out=out, **options)
    radius = np.array([own[int(i)] for i in found.index])
    broken = {int(i) for c in claims(workdir) for i in audit.contradicted(c, found)}
    with np.errstate(divide="ignore"):
        ratio = np.where(radius > 0, found.distance / radius, np.nan)
    closest = float(np.nanmin(ratio)) if np.isfinite(ratio).any() else None
    return dict(
        attack=name,
        dtype=dtype,
        steps=STEPS[name],
        pairs=int((radius > 0).sum()),
        broken=len(broken),
        found=int(np.isfinite(found.distance).sum()),
        closest=closest,
    )


def claims(workdir: Path) -> list[certificates.Certificates]:
    """Return the records of the network."""
    files = [workdir / f"{name}.jsonl" for name in ("certificates", "interval")]
    return [records.load(file) for file in files if file.exists()]


def certified(workdir: Path) -> dict[int, float]:
    """Return the largest certified radius of each image."""
    own: dict[int, float] = {}
    for c in claims(workdir):
        for i, radius in zip(c.index.tolist(), c.radius.tolist(), strict=True):
            own[i] = max(radius, own.get(i, 0.0))
    return own


class Plain:
    """A network of plain training, and the attacks on it."""

    def __init__(self, dataset: str, folder: Path):
        row, changes = PLAIN[dataset]
        config = config_of(row, {**_ONE, **changes})
        with config.unlocked():
            config.method = dict(name="cross_entropy")
        config.data.epoch_images = 6000 if dataset == "mnist" else 0
        loop.train(config, folder)  # nothing, where it has been
        model = configs.build("models", config.model)
        mesh = sharding.data_mesh()
        self.network = checkpoint.load_network(model, folder, mesh=mesh).network
        source = sources.open(dataset, "test")
        images = np.asarray(source.image)[:: len(source.label) // 200][:200]
        self.pixels = np.asarray(unit(images))
        self.search = cache(self._search)

    def _search(self, norm: str, name: str):
        return audit.search_of(
            self.network.model._replace(norm=norm), name, STEPS[name]
        )

    def lost(self, norm: str, name: str, dtype: str, eps: float) -> float:
        """Return the share of predictions that change within eps."""
        model, params, state = self.network[:3]
        with jax.enable_x64(dtype == "float64"):
            params, state = jax.tree.map(partial(_cast, dtype), (params, state))
            image = jax.numpy.asarray(self.pixels, dtype)
            label = np.asarray(model.apply(params, state, image)[0]).argmax(1)
            keys = jax.random.split(jax.random.key(0), len(image))
            given = params, state, keys, image, label, np.full(len(image), eps)
            found = self.search(norm, name)(*given)
            after = np.asarray(model.apply(params, state, found)[0]).argmax(1)
        return float((after != label).mean())


def _cast(dtype: str, leaf):
    leaf = np.asarray(leaf)
    return leaf.astype(dtype) if np.issubdtype(leaf.dtype, np.floating) else leaf


def main(argv: list[str] | None = None) -> int:
    options = _options(argv)
    wanted = {
        key: value
        for key, value in NETWORKS.items()
        if options.only in " ".join(key).lower()
    }
    out = Path(
        options.out or f"benchmarks/results/{time.strftime('%Y-%m-%d')}-attacks.json"
    )
    result = opened(out)
    plain = cache(lambda data: Plain(data, options.folder / f"plain_{data}"))
    # all networks by one attack before any by another
    turns = range(max(map(len, CELLS.values())))
    cells = [(key, *CELLS[key[1]][turn]) for turn in turns for key in wanted]
    for done, ((family, dataset), name, dtype) in enumerate(cells, 1):
        made = made_by(*wanted[family, dataset])
        entry = entry_of(result, family, dataset, made)
        if any((a["attack"], a["dtype"]) == (name, dtype) for a in entry["attacks"]):
            continue
        began = time.process_time()
        config = config_of(*wanted[family, dataset])
        mark = hashlib.sha256(made.encode()).hexdigest()[:6]
        folder = options.folder / f"{family}_{dataset}_{mark}".replace(" ", "_")
        trained(config, folder)
        entry |= facts(folder)
        found = attacked(config, folder, name, dtype)
        eps = 3 * entry["median_radius"]
        found["control"] = plain(dataset).lost(entry["norm"], name, dtype, eps)
        found["cpu_seconds"] = time.process_time() - began
        entry["attacks"].append(found)
        run.write(result, out)
        print(
            f"{done} of {len(cells)}: {family} {dataset}, {name} {dtype}: {found['pairs']} "
            f"pairs, {found['broken']} broken, closest {found['closest']}, control "
            f"{found['control']:.0%}, {found['cpu_seconds']:.0f} s",
            flush=True,
        )
    every = [a for entry in result["rows"] for a in entry["attacks"]]
    pairs, broken = (sum(a[k] for a in every) for k in ("pairs", "broken"))
    print(f"{pairs:,} pairs, {broken} broken; written: {out}")
    return 1 if broken else 0


def opened(out: Path) -> dict[str, Any]:
    """Return the result in the file, or one without rows."""
    if out.exists():
        return json.loads(out.read_text())
    head = run.header("cpu", tiny=False)
    kept = ("device", "commit", "started")
    versions = {"jaxcert": version.__version__, "jax": jax.__version__}
    return dict(format=FORMAT, **{k: head[k] for k in kept}, versions=versions, rows=[])


def made_by(row: str, changes: dict[str, Any]) -> str:
    """Return of what a network is made, as a line."""
    return " ".join([row, *(f"{key}={value}" for key, value in changes.items())])


def entry_of(
    result: dict[str, Any], family: str, dataset: str, made: str
) -> dict[str, Any]:
    """Return the entry of a network in the result, a new one if there is none or that was made
    otherwise."""
    for place, entry in enumerate(result["rows"]):
        if (entry["family"], entry["dataset"]) == (family, dataset):
            if entry["made"] == made:
                return entry
            result["rows"].pop(place)
            break
    result["rows"].append(dict(family=family, dataset=dataset, made=made, attacks=[]))
    return result["rows"][-1]


def facts(workdir: Path) -> dict[str, Any]:
    """Return what the records of a network say."""
    c = records.load(workdir / "certificates.jsonl")
    own = np.array(list(certified(workdir).values()))
    return dict(
        norm=c.header["norm"],
        images=len(c.index),
        clean=float(c.correct.mean()),
        median_radius=float(np.median(own)),
        digest=c.header["checkpoint"],
    )


def _options(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.attacks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--folder", type=Path, default=Path("runs/attacks"), help="of the networks")
    add(
        "--out",
        metavar="FILE",
        help="JSON; default benchmarks/results/DATE-attacks.json",
    )
    add("--only", default="", help="networks whose family and data set have this word")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
