"""What generated data gains: train and certify a system with and without it.

    python -m jaxcert.study --config configs/sortnet/digits.py --edm configs/edm/digits.py \\
        --counts 0,1000,5000 --seeds 0,1,2 --workdir runs/study
    python -m jaxcert.study --config configs/lot/cifar10.py:s --config \\
        configs/lot/cifar10.py:m --generated generated/5m --counts 0,1000000,5000000 \\
        --epochs 1,2 --workdir runs/lot_study

Every combination of --config, --counts, --shares, --epochs and --seeds is a workdir of its
own below --workdir, trained and certified as by jaxcert.train and jaxcert.certify, on the
test images and on some training images for the generalisation gap. What is finished is not
done again. --epochs multiplies data.epochs and the marks of a method's schedule that are
epochs (p_start, p_end, eps_start, eps_end). --edm trains the model of the generated images
first, and samples as many as the largest of --counts; all seeds share it. At the end,
`jaxcert.report --study` of all of them; its figure of the best and the last epoch needs
--config.eval.every_epochs. The settings of Altstidl et al. (2023): counts 0, 1M, 5M, 10M of
one set, share 0.7, epochs 1 to 3 times as many.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import sys
from copy import deepcopy
from pathlib import Path
from typing import NamedTuple

from ml_collections import ConfigDict

from jaxcert import config as configs
from jaxcert.errors import InputError, exit_cleanly
from jaxcert.locks import only_writer

MARKS = ("p_start", "p_end", "eps_start", "eps_end")
"""Keys of config.method that are epochs."""


class Run(NamedTuple):
    """One training of a study."""

    name: str
    config: ConfigDict


def runs(
    systems: list[str],
    *,
    generated: str,
    counts: list[int],
    shares: list[float],
    epochs: list[float],
    seeds: list[int],
    words: list[str],
    tiny: bool = False,
) -> list[Run]:
    """The trainings of a study, those without generated data first.

    systems: config files, a row of each after a colon. epochs: factors on data.epochs.
    words: `--config.key=value`, of all of them. A count of 0 has no share. Raises
    InputError for settings that no run can have.
    """

    if min(counts) < 0 or not all(0 <= share <= 1 for share in shares):
        raise InputError(
            f"--counts must be 0 or more and --shares from 0 to 1, not {counts}, {shares}."
        )
    if not all(0 < factor < math.inf for factor in epochs):
        raise InputError(f"--epochs are factors above 0, not {epochs}.")
    if max(counts) and not generated:
        raise InputError(
            f"--counts asks for {max(counts):,} generated images: name their folder by "
            "--generated, or a config that makes them by --edm."
        )
    data = dict.fromkeys(
        (count, share) if count and share else (0, 0.0)
        for count, share in itertools.product(counts, shares)
    )
    found = []
    for system, (count, share), factor, seed in itertools.product(
        systems, sorted(data), epochs, seeds
    ):
        row = configs.load(system)
        config = configs.tiny(row) if tiny else deepcopy(row)
        config = configs.override(config, words)
        config.seed = seed
        config.data.epochs = max(1, round(config.data.epochs * factor))
        for mark in set(MARKS) & set(config.method):
            config.method[mark] = float(config.method[mark] * factor)
        config.data.generated = generated if count else ""
        config.data.generated_count = count
        if count:
            config.data.generated_share = share
        configs.without_reference(config, row)
        configs.check(config, system)
        mixed = f"{count}at{share:g}" if count else "none"
        name = f"{configs.system_name(system)}_{mixed}_{factor:g}x_seed{seed}"
        found.append(Run(name, config))
    _refuse_twins(found)
    return found


def _refuse_twins(planned: list[Run]) -> None:
    seen: dict[str, str] = {}
    for name, config in planned:
        text = json.dumps(config.to_dict(), default=list, sort_keys=True)
        twin = seen.setdefault(text, name)
        if twin != name or [run.name for run in planned].count(name) > 1:
            raise InputError(
                f"the study has {name} twice, also as {twin}: give each --config and each "
                "number of epochs once."
            )


def study(planned: list[Run], workdir: Path, *, train_images: int = 1000) -> list[Path]:
    """Train and certify -> the workdirs. Finished ones are left alone."""
    import time

    from jaxcert import certify, train
    from jaxcert.progress import clock

    began = time.monotonic()
    for number, (name, config) in enumerate(planned):
        folder = workdir / name
        left = (time.monotonic() - began) / max(number, 1) * (len(planned) - number)
        ahead = f", about {clock(left)} left" if number else ""
        print(f"{number + 1} of {len(planned)}: {name}{ahead}", file=sys.stderr)
        train.train(config, folder)
        certify.certify(config, folder)
        if train_images:
            seen = deepcopy(config)
            seen.certify.update(split="train", start=0, step=1, stop=train_images)
            certify.certify(seen, folder, out=folder / "train.jsonl")
    return [workdir / name for name, _ in planned]


def make_images(edm: str, workdir: Path, count: int, *, tiny: bool) -> Path:
    """Train the EDM of a config and sample `count` images -> the folder of their shards."""
    from jaxcert import generate, train

    folder = workdir / f"generated_{count}"
    train.train(_edm_config(edm, tiny=tiny), workdir / "edm")
    generate.generate(workdir / "edm", folder, count=count)
    return folder


def _edm_config(edm: str, *, tiny: bool) -> ConfigDict:
    """The config of a denoiser with classes. Raises InputError for one of another network."""
    config = configs.load(edm)
    config = configs.tiny(config) if tiny else config
    if configs.build("models", config.model).unconditional is None:
        raise InputError(
            f"--edm {edm} trains a classifier: give the config of an EDM, such as "
            "configs/edm/digits.py."
        )
    return config


def _refuse_other_images(workdir: Path, count: int) -> None:
    folder = workdir / f"generated_{count}"
    others = [path for path in workdir.glob("generated_*") if path != folder]
    if others:
        raise InputError(
            f"{workdir} has a study of {others[0].name}: give --counts with the same largest "
            "number, or another --workdir."
        )


def _check(config: ConfigDict, *, without_images: bool, train_images: int) -> int:
    """Bytes that the checkpoints of a run take. Raises InputError, before the first run
    trains, for what a run or its certificate would refuse later. without_images: the generated
    ones are still to be made."""
    from jaxcert import train

    config = deepcopy(config)
    if without_images:
        config.data.update(generated="", generated_count=0)
    config.certify.after_training = True
    needed = train.check(config)
    if train_images:
        config.certify.update(split="train", start=0, step=1, stop=train_images)
        train.check(config)
    return needed


def _list(kind):
    def parse(text):
        values = [kind(part) for part in text.split(",")]
        return list(dict.fromkeys(values))

    parse.__name__ = f"list of {kind.__name__}"
    return parse


def main(argv: list[str] | None = None) -> int:
    summary, _, epilog = __doc__.partition("\n")
    parser = argparse.ArgumentParser(
        prog="python -m jaxcert.study",
        description=summary,
        epilog=epilog + "\nAny value of the configs: --config.section.key=value",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add(
        "--config",
        action="append",
        required=True,
        help="of a system; may be given several times",
    )
    add("--workdir", required=True, help="folder of the workdirs")
    add(
        "--generated", default="", help="generated images: a folder of shards or an npz"
    )
    add("--edm", default="", help="or the config of an EDM that makes them")
    add("--counts", type=_list(int), default=[0], help="generated images (0: none)")
    add("--shares", type=_list(float), default=[0.7], help="of each batch (0.7)")
    add("--epochs", type=_list(float), default=[1.0], help="factors on data.epochs (1)")
    add("--seeds", type=_list(int), default=[0], help="of training and sub-set (0)")
    add(
        "--train-images",
        type=int,
        default=1000,
        help="training images to certify for the gap (1000; 0: none)",
    )
    add("--tiny", action="store_true", help="the same study, shrunk to seconds")
    given, words = parser.parse_known_args(argv)
    from jaxcert import cli

    cli.quiet()
    wrong = [word for word in words if not word.startswith("--config.")]
    if wrong:
        raise InputError(f"unknown argument {wrong[0]!r}; --help lists what there is.")
    if given.generated and given.edm:
        raise InputError("--generated and --edm both name images: give one of them.")
    from jaxcert import train
    from jaxcert.data.generated import size as images_at
    from jaxcert.training import limits

    workdir, count = Path(given.workdir), max(given.counts)
    generated = given.generated
    if given.edm and count:
        generated = str(workdir / f"generated_{count}")
    planned = runs(
        given.config,
        generated=generated,
        counts=given.counts,
        shares=given.shares,
        epochs=given.epochs,
        seeds=given.seeds,
        words=words,
        tiny=given.tiny,
    )
    if given.train_images < 0:
        raise InputError(
            f"--train-images is {given.train_images}: give 0 (none) or more."
        )
    if count and not given.edm:
        size = images_at(generated)
        if count > size:
            raise InputError(
                f"--counts asks for {count:,} images, and {generated} has {size:,}: give "
                "fewer, or a larger set."
            )
    with only_writer(workdir, option="--workdir"):
        if given.edm and count:
            _refuse_other_images(workdir, count)
            train.check(_edm_config(given.edm, tiny=given.tiny))
        needed = 0
        for name, config in {run.name: run.config for run in planned}.items():
            size = _check(
                config, without_images=bool(given.edm), train_images=given.train_images
            )
            needed += 0 if (workdir / name / "checkpoints").exists() else size
        limits.check_disk(workdir, needed)
        _keep_programs(workdir)
        if given.edm and count:
            make_images(given.edm, workdir, count, tiny=given.tiny)
        folders = study(planned, workdir, train_images=given.train_images)
    from jaxcert import report

    return report.main(["--study", *map(str, folders)])


def _keep_programs(workdir: Path) -> None:
    """Runs of one shape compile once: their programs go through a folder of the study."""
    import jax

    if not jax.config.jax_compilation_cache_dir:
        jax.config.update("jax_compilation_cache_dir", str(workdir / "programs"))


if __name__ == "__main__":
    sys.exit(exit_cleanly(main))
