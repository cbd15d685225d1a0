"""Certifies the images that `config.certify` names, into a record file.

Rows are appended batch by batch, so that an interrupted run continues where it stopped.
"""

from __future__ import annotations

import math
import os
import platform
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path

import jax
import numpy as np
from ml_collections import ConfigDict

from jaxcert import config as configs
from jaxcert import random_keys, records, sharding, version
from jaxcert.certificates import building, reach
from jaxcert.data import recorded, sources
from jaxcert.errors import interruptible, own_file
from jaxcert.progress import Progress, clock, say
from jaxcert.workdirs import checkpoint

_QUICK = 5.0
"""How many seconds of sampling an interruption may lose."""


def certify(
    config: ConfigDict,
    workdir: str | Path,
    *,
    out: str | Path | None = None,
    part: str = "",
):
    """Certify the images of config.certify with the newest checkpoint, and return their
    Certificates.

    Appends to `out`, by default the file of `place`, skipping images that are there. part: such
    as "2/4", to certify one of several parts of the images, as several jobs do. Raises
    InputError for a foreign record, a missing checkpoint or bad settings.
    """
    path, made = Path(out) if out else place(workdir, part), building.certifier_of
    return run(config, workdir, path, made, what="certify", labels=False, part=part)


def place(workdir: str | Path, part: str = "") -> Path:
    """Return the record file of a workdir, or of a part of its images:
    `certificates.jsonl`, or `certificates-2-of-4.jsonl` for part "2/4"."""
    name = f"certificates-{part.replace('/', '-of-')}" if part else "certificates"
    return own_file(workdir, f"{name}.jsonl")


def run(
    config: ConfigDict,
    workdir: str | Path,
    path: Path,
    make,
    *,
    what: str,
    first: int | None = None,
    labels: bool = True,
    part: str = "",
):
    """Write the rows of `make(config, network, mesh)` for the images of config.certify
    to `path`, and return all rows of the file. first: the images of the first batch, None: one
    for each device. labels: whether the images must have some. part: as of `certify`."""
    chosen, data = config.certify, config.data
    source = sources.of(data, chosen.split, labels=labels)
    if part:
        config = building.part_of(config, part, len(source.label))
        chosen = config.certify
    model = configs.build("models", config.model)
    sources.check_model(
        source, image_shape=model.image_shape, num_classes=model.num_classes
    )
    index = building.selected(chosen, len(source.label))
    sharding.use_precision(config.precision)
    mesh = sharding.data_mesh()
    best = config.checkpoint.best
    loaded = checkpoint.load_network(model, workdir, mesh=mesh, best=best)
    exact = configs.in_float32(config.model)
    certifier = make(config, loaded.network._replace(exact=exact), mesh)
    trained = configs.read(workdir).method.get("sigma")
    warn_of_sigma(trained, config.certify.get("sigma"))
    key, said = random_keys.of_stream(chosen.seed, configs.CERTIFY_STREAM)
    header = {
        **random_keys.with_key(certifier.header, said),
        "dataset": source.name,
        "split": chosen.split,
        "data_digest": recorded.data_digest(source),
        "images": len(source.label),
        **({"resize": list(data.resize)} if data.resize else {}),
        **({"part": part} if part else {}),
        "requests": [{"start": index[0], "stop": index[-1] + 1, "step": chosen.step}],
        "num_classes": source.num_classes if source.labelled else model.num_classes,
        "model": config.model.to_dict(),
        "precision": config.precision,
        "checkpoint": loaded.digest,
        "seed": chosen.seed,
        "step": loaded.step,
        **({"selected_on": checkpoint.selected_on(best)} if best else {}),
        "trained_sigma": trained,
        "config": config.to_dict(),
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
        "versions": {"jaxcert": version.__version__, "jax": jax.__version__},
        "device": f"{jax.device_count()} x {jax.devices()[0].device_kind}",
        "host": platform.machine(),
        "date": date.today().isoformat(),
    }
    with records.Writer(path, header) as writer, interruptible(at_once=True) as ends:
        if writer.kept is not None:
            recorded.check_rows(writer.kept, source, path)
        todo = [i for i in index if i not in writer.done]
        done, counted = len(index) - len(todo), 0
        what_counts = "correct" if source.labelled else "with a class"
        if certifier.plan and todo:
            say(f"{what}: compile, and time some samples")
            say_plan(certifier, key, source.image[todo[:1]], len(todo))
            say_untried(certifier.header, chosen.radii)
        line = Progress(what, len(index), start=done)
        seen = 0
        for rows in batches(
            todo,
            chosen.batch,
            first=first or jax.device_count(),
            sampled=certifier.header["alpha"] > 0,
        ):
            result = certifier.certify(
                key, source.image[rows], source.label[rows], rows
            )
            writer.append(result)
            counted += int(result.counted.sum())
            seen += len(rows)
            share = f"{100 * counted / seen:.1f} % {what_counts} so far"
            line.update(done + seen, share)
            ends()
    return records.load(path)


def warn_of_sigma(trained: float | None, asked: float | None) -> None:
    """Warn on stderr if the network was trained with other noise than it is certified
    with. The header has both."""
    if trained and asked and not math.isclose(trained, asked, rel_tol=1e-6):
        print(
            f"warning: trained with sigma {trained:g}, certified with sigma {asked:g}: the "
            "radii are true, but images tend to have smaller ones than with the sigma of "
            "training",
            file=sys.stderr,
            flush=True,
        )


def say_plan(certifier, key, image: np.ndarray, images: int) -> None:
    """Say on stderr which radius can be reached, and what the certification takes at
    most."""
    plan = certifier.plan(key, image)
    header = certifier.header
    reach = (
        f"radius up to {plan.radius:.4g} ({header['norm']}), " if plan.radius else ""
    )
    memory = f"{plan.memory / 2**20:,.3g} MB"
    rest = clock(images * plan.samples / plan.rate)
    each = ""
    if plan.evaluations > 1:  # a mean: votes that are raced differ
        most = plan.samples * plan.evaluations
        each = f" of about {plan.evaluations:,.3g} network evaluations ({most:,.3g} an image)"
    print(
        f"plan: {reach}{images:,} images, each at most {plan.samples:,} samples{each}, and wrong "
        f"with probability at most {header['alpha']:g}; {plan.rate:,.0f} samples/s and "
        f"{memory} here: {'about ' * bool(each)}{rest} at most",
        file=sys.stderr,
        flush=True,
    )


def say_untried(header: dict, radii) -> None:
    """Say on stderr which radii the procedure `radii` cannot certify with its n, or
    with its noise."""
    procedure = header["procedure"]
    left = sorted(set(radii) - set(procedure.get("radii", radii)))
    if not left:
        return
    law = dict(norm=header["norm"], sigma=header["sigma"], d=procedure.get("d", 1))
    farthest = reach.farthest(noise=procedure["noise"], **law)
    samples = f"which {procedure['n']:,} samples cannot certify; raise certify.n"
    noise = "which float32 noise cannot certify; take certify.noise=grid"
    beyond = [r for r in left if r > farthest]
    for some, why in (([r for r in left if r <= farthest], samples), (beyond, noise)):
        if some:
            named = ", ".join(f"{r:.4g}" for r in some)
            print(f"plan: not tried: {named}, {why}", file=sys.stderr, flush=True)


def batches(
    index: Sequence[int], largest: int, *, first: int, sampled: bool
) -> Iterator[Sequence[int]]:
    """Yield `index` in parts of at most `largest`. The first part has `first` images,
    so that the file, a row and the remaining time are there early.

    A sampling certificate takes the images one by one: nothing is compiled again for
    another size, and parts grow as long as they take less than `_QUICK` seconds. Any
    other compiles each size, so all parts but the first are full, which also makes the
    sizes, and with them the last digits, the same each time.
    """
    at, size = 0, min(first, largest)
    while at < len(index):
        began = time.monotonic()
        yield index[at : at + size]
        at += size
        quick = time.monotonic() - began < _QUICK
        if not sampled:
            size = largest
        elif quick:
            size = min(2 * size, largest)
