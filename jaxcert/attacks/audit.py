"""Attacks the certified images of a Lipschitz network, and audits its certificates.

An image that a record of the workdir certifies is also attacked just inside its own radius. A
certified radius above the distance of an image found in another class is a bug.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from ml_collections import ConfigDict
from numpy.typing import ArrayLike

from jaxcert import records
from jaxcert.analysis import facts
from jaxcert.attacks import apgd, pgd, rays, rounding
from jaxcert.certificate import ATTACKS, ERROR, Certificates, certified_accuracy
from jaxcert.certificates import lipschitz, run
from jaxcert.errors import InputError, one_of, own_file, whole_from
from jaxcert.interfaces import Certifier, Model, Network
from jaxcert.ops.images import unit
from jaxcert.progress import Progress
from jaxcert.workdirs import checkpoint

DEFAULT = {"linf": "pgd", "l2": "apgd"}
"""The attack by the norm of the network."""

DTYPE = dict(pgd="float32", apgd="float32", rays="float32", rounding="float64")
"""The type in which an attack searches, unless it is told one. Classes and distances are
those of float64 always."""

INSIDE = dict(float32=0.999, float64=1 - 2.0**-46)
"""The share of its own certified radius at which an image is attacked."""


def attack(
    config: ConfigDict,
    workdir: str | Path,
    *,
    name: str | None = None,
    steps: int = 100,
    dtype: str | None = None,
    out: str | Path | None = None,
):
    """Attack the images of config.certify, and return Certificates with `distance` and
    the radius 0.

    name: pgd | apgd | rays | rounding, None: that of the norm; dtype: float32 | float64, None:
    that of the attack. Appends to `out`, by default
    `<workdir>/attacks.jsonl`. Raises InputError as `certify`.
    """
    path = Path(out) if out else own_file(workdir, "attacks.jsonl")
    asked = dict(name=name, steps=steps, dtype=dtype)
    make = partial(attacker_of, workdir=workdir, **asked)
    first = min(_part(), config.certify.batch)
    rows = run.run(config, workdir, path, make, what="attack", first=first)
    if rows.distance is None:  # nothing was found
        rows = rows._replace(distance=np.full(len(rows.index), np.nan))
    return rows


def attacker_of(
    config: ConfigDict,
    network,
    mesh,
    *,
    workdir: str | Path,
    name: str | None,
    steps: int,
    dtype: str | None = None,
):
    """Return the attack at the radii of config.certify, as a Certifier of the radius 0.

    An image that is found in another class is not attacked at larger radii. Raises InputError
    for a network without Lipschitz constants, an unknown attack, or without steps or radii.
    """
    model = network.model
    name, radii = _asked(model, name, steps, config.certify.radii)
    dtype = dtype or DTYPE[name]
    one_of(INSIDE, **{"--dtype": dtype})
    classes, moved = _classes_of(network, mesh), search_of(model, name, steps)
    exact = dtype == "float64"
    if exact:
        params, state = lipschitz.evaluated(network, mesh)
    else:
        params = network.params
        state = jax.jit(model.prepare)(params, network.state)
    own = _certified(workdir, config, network)
    devices = 1 if mesh is None else mesh.size
    largest = math.sqrt(math.prod(model.image_shape))  # distance in the box of pixels
    # what was found may have left the ball by a rounding: distances are below eps
    less = 2.0**-46 if exact else 1e-9

    def searched(keys, pixels, predicted, eps):
        """Return the distances [B] of images found in another class, nan for none."""
        eps = np.minimum(eps, largest)
        with jax.enable_x64(exact):
            image = _split(pixels.astype(dtype), mesh)
            found = np.asarray(moved(params, state, keys, image, predicted, eps))
        found = _inside(found, pixels, eps * (1 - less), model.norm)
        away = _distance(found - pixels, model.norm)
        return np.where(classes(found) != predicted, away, np.nan)

    def attack_rows(key, image, label, index) -> Certificates:
        began, rows = time.perf_counter(), len(index)
        keys = jax.vmap(partial(jax.random.fold_in, key))(np.asarray(index))
        with jax.enable_x64(True):
            pixels = np.asarray(unit(image, dtype=jnp.float64))
        size = -(-min(rows, _part()) // devices) * devices
        predicted, distance = np.empty(rows, np.int32), np.full(rows, np.nan)
        for part, these in _parts(np.arange(rows), size):
            predicted[these] = classes(pixels[part])[: len(these)]
        tried = np.tile(radii, (rows, 1))
        if own:
            inside = [INSIDE[dtype] * own.get(int(i), 0.0) for i in index]
            tried = np.sort(np.column_stack([tried, inside]))
        line, done = Progress("search", tried.size, "images at a radius"), 0
        for eps in tried.T:
            left = np.flatnonzero((predicted >= 0) & np.isnan(distance) & (eps > 0))
            done += rows - len(left)
            for part, these in _parts(left, size):
                given = keys[part], pixels[part], predicted[part], eps[part]
                distance[these] = searched(*given)[: len(these)]
                done += len(these)
                line.update(done)
        line.update(done)
        return Certificates(
            index=np.asarray(index, np.int64),
            label=np.asarray(label, np.int32),
            predicted=predicted,
            radius=np.zeros(rows),
            n=np.ones(rows, np.int64),
            seconds=np.full(rows, (time.perf_counter() - began) / max(rows, 1)),
            distance=distance,
            header=header,
        )

    header = {
        "method": name,
        "norm": model.norm,
        "alpha": 0,
        "num_classes": model.num_classes,
        # inside: certified images, of which those asked for are attacked at their radius
        "procedure": dict(name=name, inside=len(own), steps=steps, radii=radii)
        | ({"dtype": dtype} if dtype != DTYPE[name] else {}),
    }
    return Certifier(header, attack_rows)


def _part() -> int:
    """Return the most images that are searched at once: on a CPU few, which its caches hold and
    after which the line of progress moves; elsewhere all of a batch."""
    return 50 if jax.default_backend() == "cpu" else sys.maxsize


def _parts(rows: np.ndarray, size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the rows in parts of one size, of which the program is compiled once: (the part, the
    last one filled up with its last row; its rows without those)."""
    for start in range(0, len(rows), size):
        these = rows[start : start + size]
        yield np.pad(these, (0, size - len(these)), mode="edge"), these


def _split(image: np.ndarray, mesh: Mesh | None) -> jax.Array | np.ndarray:
    """Return the images, split over the devices."""
    if mesh is None:
        return image
    return jax.device_put(image, NamedSharding(mesh, PartitionSpec("data")))


def _asked(
    model: Model, name: str | None, steps: int, radii: Sequence[float]
) -> tuple[str, list[float]]:
    """Return the name of the attack and its radii, rising. Raises InputError as `attacker_of`."""
    if model.norm not in DEFAULT:
        raise InputError(
            "attacks check the certificates of Lipschitz networks, and this network is not "
            "one: attack a network that certify.name=lipschitz takes, such as lip_convnet."
        )
    name = name or DEFAULT[model.norm]
    one_of(ATTACKS, **{"--attack": name})
    whole_from(1, **{"--steps": steps})
    if positive := sorted({float(r) for r in radii if r > 0}):
        return name, positive
    raise InputError(
        f"{name} needs a radius above 0 among certify.radii, not {tuple(radii)}."
    )


def _classes_of(network: Network, mesh) -> Callable[[np.ndarray], np.ndarray]:
    """Return the function from images to their classes as the certificates see them, in
    float64; -2 where a logit is not finite."""
    apply, exact = network.model.apply, lipschitz.evaluated(network, mesh)

    def classes(image):
        with jax.enable_x64(True):
            pixels = lipschitz.on_devices(image, mesh)
            logits = np.asarray(lipschitz.logits_of(apply, *exact, pixels))
        logits = logits[: len(image)]
        return np.where(np.isfinite(logits).all(1), logits.argmax(1), ERROR)

    return classes


def search_of(model: Model, name: str, steps: int) -> Callable:
    """Return the compiled search (params, state, keys, image, label, eps) -> images within eps
    of these that may have lost their label."""
    loss = apgd.dlr if model.num_classes > 2 else apgd.cross_entropy
    search = dict(
        pgd=pgd.pgd,
        apgd=partial(apgd.apgd, loss=loss),
        rays=rays.rays,
        rounding=rounding.rounding,
    )[name]

    @jax.jit
    def moved(params, state, keys, image, label, eps):
        def logits(image):
            return model.apply(params, state, image)[0]

        start = pgd.random_start(keys, image, eps, model.norm)
        return search(
            logits, image, label, eps=eps, norm=model.norm, start=start, steps=steps
        )

    return moved


def _certified(
    workdir: str | Path, config: ConfigDict, network: Network
) -> dict[int, float]:
    """Return {image: largest radius} of the workdir's records that are of the network that is
    attacked and the same split."""
    attacked = checkpoint.network_digest(network)
    own: dict[int, float] = {}
    for _, c in _records(workdir):
        asked = (attacked, network.model.norm, config.certify.split)
        if tuple(c.header.get(k) for k in ("checkpoint", "norm", "split")) == asked:
            for i, radius in zip(c.index.tolist(), c.radius.tolist(), strict=True):
                own[i] = max(radius, own.get(i, 0.0))
    return own


def _records(workdir: str | Path) -> Iterator[tuple[Path, Certificates]]:
    """Yield the record files of the workdir that are no attacks, with their rows."""
    for path in sorted(Path(workdir).glob("*.jsonl")):
        if path.name == "metrics.jsonl":
            continue
        found = records.load(path)
        if found.header.get("method") not in ATTACKS:
            yield path, found


def _distance(away: np.ndarray, norm: str) -> np.ndarray:
    """Return the norms [B] of differences [B,H,W,C]."""
    if norm == "linf":
        return np.abs(away).max((1, 2, 3))
    return np.sqrt((away**2).sum((1, 2, 3)))


def _inside(found, pixels, eps, norm: str) -> np.ndarray:
    """Move `found` towards `pixels` (both float64 [B,H,W,C] in [0, 1]) until it is
    within eps [B]."""
    each = eps[:, None, None, None]
    if norm == "linf":
        return np.clip(found, pixels - each, pixels + each)
    away = found - pixels
    length = _distance(away, norm)[:, None, None, None]
    share = np.divide(each, length, out=np.ones_like(length), where=length > each)
    return np.clip(pixels + share * away, 0, 1)


def audit(workdir: str | Path, attacks: Certificates) -> list[Path]:
    """Return the record files of the workdir whose rows the attacks do not contradict.

    Raises InputError for one that certifies more than a distance that was found.
    """
    held = []
    same = ("checkpoint", "norm", "dataset", "split", "resize")
    for path, found in _records(workdir):
        if any(found.header.get(name) != attacks.header.get(name) for name in same):
            continue
        broken = contradicted(found, attacks)
        if len(broken):
            raise InputError(
                f"{path} certifies more than is true for {len(broken)} images, first for image "
                f"{broken[0]}, which changes its class within its radius: report this as a "
                "bug, with the workdir."
            )
        held.append(path)
    return held


def table(attacks: Certificates, held: list[Path], radii: list[float]) -> str:
    """Return, as lines for people, the accuracy under attack at each radius and what
    each record of `held` certifies of the same images."""
    method, norm = attacks.header["method"], attacks.header["norm"]
    rows = [(f"under {method}", attacked_accuracy(attacks, radii))]
    for path in held:
        c = records.load(path)
        both = np.isin(c.index, attacks.index)
        names = ("index", "label", "predicted", "radius")
        c = c._replace(**{name: getattr(c, name)[both] for name in names})
        if both.any():
            rows.append((path.name, certified_accuracy(c, radii)))
    names = ["", *(facts.radius_text(r) for r in radii)]
    cells = [[name, *(facts.percent(v) for v in values)] for name, values in rows]
    text = [f"accuracy in % at {norm} radius (pixels in [0, 1])\n"]
    for line in [names, *cells]:
        text.append(f"{line[0]:24}" + "".join(f"{cell:>9}" for cell in line[1:]))
    if any(np.isnan(values).any() for _, values in rows):
        text.append("\n--: this record did not try that radius.")
    text.append(f"\n{len(attacks.index)} images; no certificate is contradicted.")
    if attacks.header["procedure"]["inside"]:
        text.append("Those with a certified radius were also attacked just inside it.")
    return "\n".join(text)


def attacked_accuracy(c: Certificates, radii: ArrayLike) -> np.ndarray:
    """Return the share of images that are correct and were not moved to another class
    within r, for each r; float64 [R]. It is an upper bound of every certified accuracy."""
    moved = np.sort(np.where(c.correct, c.distance, np.nan))  # nan comes last
    lost = np.searchsorted(moved, np.asarray(radii, np.float64), side="right")
    return (c.correct.sum() - lost) / len(c.index)


def contradicted(c: Certificates, attacks: Certificates) -> np.ndarray:
    """Return the indices of images whose certified class an attack changes inside the
    radius."""
    _, mine, theirs = np.intersect1d(c.index, attacks.index, return_indices=True)
    same = c.predicted[mine] == attacks.predicted[theirs]
    return c.index[mine][same & (attacks.distance[theirs] < c.radius[mine])]
