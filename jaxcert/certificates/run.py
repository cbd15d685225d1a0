"""Certify the test images of a trained network.

    python -m jaxcert.certify --workdir runs/quickstart
    python -m jaxcert.certify --workdir runs/rs --config.certify.n=10000 \\
        --config.certify.step=20 --out runs/rs/every_20th.jsonl

    python -m jaxcert.certify --workdir runs/rs --radii 0,0.25,0.5,0.75 \\
        --out runs/rs/radii.jsonl

The config is the workdir's own; `--config.certify...` changes the procedure or the images
(`split`, `start`, `stop`, `step`). --radii: a smoothed classifier's certified accuracy at
just these radii, by sequential tests that stop as soon as an image is decided, with the
guarantee of CERTIFY and a fraction of its samples; the interval certificate tries these
instead of certify.radii. What is certified at other radii such a record does not say; every
other certificate has the radius of every image. --config FILE[:row]: the certificate of
another config, such as those of configs/diffusion_classifier for an EDM. Rows are appended
batch by batch: the same command continues an interrupted run.
"""

from __future__ import annotations

import hashlib
import math
import os
import platform
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict

import jaxcert
from jaxcert import certifiers, records
from jaxcert import config as configs
from jaxcert.data.sources import Source
from jaxcert.errors import InputError, exit_cleanly, interruptible, own_file
from jaxcert.progress import Progress, clock

_QUICK = 5.0
"""Seconds of sampling that an interruption may well lose."""


def certify(config: ConfigDict, workdir: str | Path, *, out: str | Path | None = None):
    """Certify config.certify's images with the newest checkpoint -> records.Certificates.

    Appends to `out`, by default `<workdir>/certificates.jsonl`, skipping images that are
    there. Raises InputError for a foreign record, a missing checkpoint or bad settings.
    """
    path = Path(out) if out else own_file(workdir, "certificates.jsonl")
    return run(config, workdir, path, certifiers.certifier_of, what="certify")


def run(config: ConfigDict, workdir: str | Path, path: Path, make, *, what: str):
    """Rows of `make(config, network, mesh)` for config.certify's images, in `path`."""
    import jax

    from jaxcert import random_keys
    from jaxcert.data import sources
    from jaxcert.training import checkpoint, evaluation, sharding

    chosen = config.certify
    data = config.data
    source = sources.open(
        data.name, chosen.split, dir=data.dir, download=data.download, pad=data.pad
    )
    model = configs.build("models", config.model)
    sources.check_model(
        source, image_shape=model.image_shape, num_classes=model.num_classes
    )
    index = certifiers.selected(chosen, len(source.label))
    sharding.use_precision(config.precision)
    mesh = sharding.data_mesh()
    best = config.checkpoint.best
    loaded = checkpoint.load_network(model, workdir, mesh=mesh, best=best)
    exact = configs.in_float32(config.model)
    certifier = make(config, loaded.network._replace(exact=exact), mesh)
    trained = configs.read(workdir).method.get("sigma")
    warn_of_sigma(trained, config.certify.get("sigma"))
    header = {
        **certifier.header,
        "dataset": source.name,
        "split": chosen.split,
        "data_digest": data_digest(source),
        "images": len(source.label),
        "requests": [{"start": index[0], "stop": index[-1] + 1, "step": chosen.step}],
        "num_classes": source.num_classes,
        "model": config.model.to_dict(),
        "precision": config.precision,
        "checkpoint": loaded.digest,
        "seed": chosen.seed,
        "step": loaded.step,
        **({"selected_on": evaluation.selected_on(best)} if best else {}),
        "trained_sigma": trained,
        "config": config.to_dict(),
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
        "versions": {"jaxcert": jaxcert.__version__, "jax": jax.__version__},
        "device": f"{jax.device_count()} x {jax.devices()[0].device_kind}",
        "host": platform.machine(),
        "date": date.today().isoformat(),
    }
    key = jax.random.fold_in(random_keys.key(chosen.seed), configs.CERTIFY_STREAM)
    with records.Writer(path, header) as writer, interruptible(at_once=True) as ends:
        if writer.kept is not None:
            check_rows(writer.kept, source, path)
        todo = [i for i in index if i not in writer.done]
        done, right = len(index) - len(todo), 0
        if certifier.plan and todo:
            say_plan(certifier, key, source.image[todo[:1]], len(todo))
            say_untried(certifier.header, chosen.radii)
        line = Progress(what, len(index), start=done)
        seen = 0
        for rows in batches(
            todo,
            chosen.batch,
            first=jax.device_count(),
            sampled=certifier.header["alpha"] > 0,
        ):
            result = certifier.certify(
                key, source.image[rows], source.label[rows], rows
            )
            writer.append(result)
            right += int(result.correct.sum())
            seen += len(rows)
            line.update(done + seen, f"{100 * right / seen:.1f} % correct so far")
            ends()
    return records.load(path)


def warn_of_sigma(trained: float | None, asked: float | None) -> None:
    """On stderr, if the network was trained with other noise than it is certified with;
    the header has both."""
    if trained and asked and not math.isclose(trained, asked, rel_tol=1e-6):
        print(
            f"warning: trained with sigma {trained:g}, certified with sigma {asked:g}: the "
            "radii are true, but images tend to have smaller ones than with the sigma of "
            "training",
            file=sys.stderr,
            flush=True,
        )


def say_plan(certifier, key, image: np.ndarray, images: int) -> None:
    """On stderr: what can be reached, and what it takes at most."""
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
    """On stderr: radii of procedure `radii` that its n, or its noise, cannot certify."""
    from jaxcert.certificates import smoothing

    procedure = header["procedure"]
    left = sorted(set(radii) - set(procedure.get("radii", radii)))
    if not left:
        return
    law = dict(norm=header["norm"], sigma=header["sigma"], d=procedure.get("d", 1))
    reach = smoothing.farthest(noise=procedure["noise"], **law)
    samples = f"which {procedure['n']:,} samples cannot certify; raise certify.n"
    noise = "which float32 noise cannot certify; take certify.noise=grid"
    beyond = [r for r in left if r > reach]
    for some, why in (([r for r in left if r <= reach], samples), (beyond, noise)):
        if some:
            named = ", ".join(f"{r:.4g}" for r in some)
            print(f"plan: not tried: {named}, {why}", file=sys.stderr, flush=True)


def data_digest(source: Source) -> str:
    """Of the labels, and of the images where reading them all takes less than a
    second."""
    digest = hashlib.sha256(np.ascontiguousarray(source.label))
    image = source.image
    if isinstance(image, np.ndarray) and image.nbytes < 2**28:
        digest.update(np.ascontiguousarray(image))
    return digest.hexdigest()[:16]


def check_rows(rows: records.Certificates, source: Source, path: Path) -> None:
    """Raises InputError unless rows that a file already has are of these images."""
    size = len(source.label)
    inside = (rows.index >= 0) & (rows.index < size)
    label = source.label[np.where(inside, rows.index, 0)]
    wrong = np.flatnonzero(~inside | (label != rows.label))
    if len(wrong):
        at = int(wrong[0])
        raise InputError(
            f"{path}, line {at + 2} is of image {rows.index[at]} with label "
            f"{rows.label[at]}, which is not among the {size} of {source.name}: delete "
            "that line or name another file with --out of `python -m jaxcert.certify`."
        )


def batches(
    index: Sequence[int], largest: int, *, first: int, sampled: bool
) -> Iterator[Sequence[int]]:
    """`index` in parts of at most `largest`. The first has `first` images, so that the
    file, a row and the remaining time are there early.

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


def main(argv: list[str] | None = None) -> int:
    from jaxcert import cli

    args = cli.parse(
        argv,
        __doc__,
        needs="workdir",
        takes_out=True,
        takes_radii=True,
        takes_certificate=True,
    )
    certify(args.config, args.workdir, out=args.out)
    from jaxcert import report

    return report.main([args.out or args.workdir])


if __name__ == "__main__":
    sys.exit(exit_cleanly(main))
