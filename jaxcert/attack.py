"""Attack the test images of a trained l_inf network, and audit its certificates.

    python -m jaxcert.attack --workdir runs/sortnet
    python -m jaxcert.attack --workdir runs/sortnet --steps 200 --config.certify.stop=1000

PGD of --steps steps (100) at every positive radius of certify.radii, on the images that
config.certify chooses. The rows (`distance`: of the nearest image found in another class)
go to attacks.jsonl, batch by batch; the same command continues an interrupted run. Then
every record of the workdir that belongs to the same checkpoint is audited: a certified
radius above a distance found is a bug, and the command ends with an error.
"""

from __future__ import annotations

import argparse
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict

from jaxcert import certify, records
from jaxcert.analysis import metrics, tables
from jaxcert.errors import InputError, exit_cleanly


def attack(
    config: ConfigDict,
    workdir: str | Path,
    *,
    steps: int = 100,
    out: str | Path | None = None,
):
    """Attack config.certify's images -> records.Certificates with `distance`, radius 0.

    Appends to `out`, by default `<workdir>/attacks.jsonl`. Raises InputError as `certify`.
    """
    path = Path(out or Path(workdir) / "attacks.jsonl")
    make = partial(attacker_of, steps=steps)
    rows = certify.run(config, workdir, path, make, what="attack")
    if rows.distance is None:  # nothing was found
        rows = rows._replace(distance=np.full(len(rows.index), np.nan))
    return rows


def attacker_of(config: ConfigDict, network, mesh, *, steps: int):
    """PGD at the radii of config.certify, as a Certifier of the radius 0.

    Raises InputError for a network that is not of l_inf, or without steps or radii.
    """
    import jax
    import jax.numpy as jnp

    from jaxcert.attacks.pgd import pgd
    from jaxcert.certificates import lipschitz
    from jaxcert.interfaces import Certifier
    from jaxcert.ops.images import unit

    model = network.model
    radii = sorted({float(r) for r in config.certify.radii if r > 0})
    if model.norm != "linf":
        raise InputError(
            "pgd attacks in l_inf, and this network is not certified in that norm: attack "
            "a dist_net."
        )
    if steps < 1 or not radii:
        raise InputError(
            "pgd needs --steps of at least 1 and a radius above 0 among certify.radii, not "
            f"{steps} and {tuple(config.certify.radii)}."
        )
    exact = lipschitz.evaluated(network, mesh)

    def classes(image):
        """As the certificates see them: float64; -2 where a logit is not finite."""
        with jax.enable_x64(True):
            pixels = lipschitz.on_devices(image, mesh)
            logits = np.asarray(lipschitz.logits_of(model.apply, *exact, pixels))
        logits = logits[: len(image)]
        return np.where(np.isfinite(logits).all(1), logits.argmax(1), records.ERROR)

    @jax.jit
    def moved(params, state, keys, image, label, eps):
        def logits(image):
            return model.apply(params, state, image)[0]

        noise = jax.vmap(lambda key: jax.random.normal(key, image.shape[1:]))(keys)
        start = jnp.clip(eps / 4 * noise, -eps / 2, eps / 2)
        return pgd(logits, image, label, eps=eps, start=start, steps=steps)

    def run(key, image, label, index) -> records.Certificates:
        began, rows = time.perf_counter(), len(index)
        keys = jax.vmap(partial(jax.random.fold_in, key))(np.asarray(index))
        predicted = classes(image)
        with jax.enable_x64(True):
            pixels = np.asarray(unit(image, dtype=jnp.float64))
        aim, distance = np.maximum(predicted, 0), np.full(rows, np.nan)
        for eps in reversed(radii):  # the nearest comes last
            found = moved(network.params, network.state, keys, unit(image), aim, eps)
            # float32 may have left the box by a rounding: distances are below eps
            inside = eps * (1 - 1e-9)
            found = np.clip(np.asarray(found), pixels - inside, pixels + inside)
            lost = (classes(found) != predicted) & (predicted >= 0)
            away = np.abs(found - pixels).max((1, 2, 3))
            distance = np.where(lost, away, distance)
        return records.Certificates(
            index=np.asarray(index, np.int64),
            label=np.asarray(label, np.int32),
            predicted=predicted.astype(np.int32),
            radius=np.zeros(rows),
            n=np.ones(rows, np.int64),
            seconds=np.full(rows, (time.perf_counter() - began) / max(rows, 1)),
            distance=distance,
            header=header,
        )

    header = {
        "method": "pgd",
        "norm": model.norm,
        "alpha": 0,
        "num_classes": model.num_classes,
        "procedure": {"name": "pgd", "radii": radii, "steps": steps},
    }
    return Certifier(header, run)


def audit(workdir: str | Path, attacks: records.Certificates) -> list[Path]:
    """The record files of the workdir whose rows the attacks do not contradict.

    Raises InputError for one that certifies more than a distance that was found.
    """
    held = []
    for path in sorted(Path(workdir).glob("*.jsonl")):
        if path.name == "metrics.jsonl":
            continue
        found = records.load(path)
        same = ("checkpoint", "norm", "dataset", "split")
        if found.header.get("method") == "pgd" or any(
            found.header.get(name) != attacks.header[name] for name in same
        ):
            continue
        broken = metrics.contradicted(found, attacks)
        if len(broken):
            raise InputError(
                f"{path} certifies more than is true for {len(broken)} images, first for image "
                f"{broken[0]}, which changes its class within its radius: report this as a "
                "bug, with the workdir."
            )
        held.append(path)
    return held


def main(argv: list[str] | None = None) -> int:
    from jaxcert import cli

    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--steps", default="100")
    own, rest = parser.parse_known_args(argv)
    if not own.steps.isdecimal():
        raise InputError(
            f"--steps is a number of steps, such as 100, not {own.steps!r}."
        )
    args = cli.parse(rest, __doc__, needs="workdir", takes_out=True)
    attacks = attack(args.config, args.workdir, steps=int(own.steps), out=args.out)
    held = audit(args.workdir, attacks)
    radii = [float(r) for r in args.config.certify.radii]
    rows = [("under pgd", metrics.attacked_accuracy(attacks, radii))]
    for path in held:
        c = records.load(path)
        both = np.isin(c.index, attacks.index)  # the same images on every line
        names = ("index", "label", "predicted", "radius")
        c = c._replace(**{name: getattr(c, name)[both] for name in names})
        if both.any():
            rows.append((path.name, metrics.certified_accuracy(c, radii)))
    print("accuracy in % at l_inf radius (pixels in [0, 1])\n")
    names = ["", *(tables.radius_text(r) for r in radii)]
    lines = [[name, *(tables.percent(v) for v in values)] for name, values in rows]
    for line in [names, *lines]:
        print(f"{line[0]:24}" + "".join(f"{cell:>9}" for cell in line[1:]))
    print(f"\n{len(attacks.index)} images; no certificate is contradicted.")
    return 0


if __name__ == "__main__":
    sys.exit(exit_cleanly(main))
