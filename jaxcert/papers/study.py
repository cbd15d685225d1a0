"""Trains and certifies the runs of a study of generated images.

Altstidl et al. (2023, arXiv:2305.10388) train the same systems with 0, 1, 5 and 10 million
images of one set of generated images, share 0.7, for 1 to 3 times as many epochs.
"""

from __future__ import annotations

import itertools
import json
import sys
import time
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import NamedTuple

import jax
from ml_collections import ConfigDict

from jaxcert import config as configs
from jaxcert.certificates.run import certify
from jaxcert.data.generated import size as images_at
from jaxcert.errors import InputError, above, whole_from, within
from jaxcert.image_generation import generate
from jaxcert.locks import only_writer
from jaxcert.progress import clock
from jaxcert.training import limits, loop

MARKS = ("p_start", "p_end", "eps_start", "eps_end")
"""Keys of config.method that are epochs."""
TINY_IMAGES, TINY_STEPS, TINY_TRAIN_IMAGES = 64, 4, 20
"""A study that is shrunk to seconds has at most so many generated images, noise levels of them,
and training images to certify."""


WANG_STEPS = {"cifar10": 20, "cifar100": 25}
"""Noise levels of the sets of Wang et al. (2023), which Altstidl et al. train on, by data set."""


class Run(NamedTuple):
    """One training of a study."""

    name: str
    config: ConfigDict


def run(
    systems: list[str],
    workdir: str | Path,
    *,
    generated: str = "",
    edm: str = "",
    counts: list[int],
    shares: list[float],
    epochs: list[float],
    seeds: list[int],
    words: list[str],
    train_images: int = 1000,
    tiny: bool = False,
) -> list[Path]:
    """Check, train and certify every run of a study, and return their workdirs, which
    are below `workdir`.

    edm: the config of an EDM that first makes the generated images. train_images: certified
    for the gap. tiny: the configs are shrunk, and so are train_images and, with `edm`, the
    sampling. Other arguments as of `runs`. Raises InputError, before the first run trains, for
    what any of them would refuse.
    """
    if generated and edm:
        raise InputError("--generated and --edm both name images: give one of them.")
    whole_from(0, **{"--train-images": train_images})
    if tiny:
        train_images = min(train_images, TINY_TRAIN_IMAGES)
        counts = shrunk(counts) if edm else counts
    workdir, count = Path(workdir), max(counts)
    if edm and count:
        generated = str(workdir / f"generated_{count}")
    planned = runs(
        systems,
        generated=generated,
        counts=counts,
        shares=shares,
        epochs=epochs,
        seeds=seeds,
        words=words,
        tiny=tiny,
    )
    if count and not edm:
        size = images_at(generated)
        if count > size:
            raise InputError(
                f"--counts asks for {count:,} images, and {generated} has {size:,}: give "
                "fewer, or a larger set."
            )
    with only_writer(workdir, option="--workdir"):
        if edm and count:
            _refuse_other_images(workdir, count)
            loop.check(_edm_config(edm, words, tiny=tiny))
        needed = 0
        for name, config in {run.name: run.config for run in planned}.items():
            size = _check(config, without_images=bool(edm), train_images=train_images)
            needed += 0 if (workdir / name / "checkpoints").exists() else size
        limits.check_disk(workdir, needed)
        keep_programs(workdir)
        if edm and count:
            make_images(edm, workdir, count, words=words, tiny=tiny)
        folders = study(planned, workdir, train_images=train_images)
    return folders


def shrunk(counts: list[int]) -> list[int]:
    """Return numbers of generated images in proportion, the largest at most TINY_IMAGES."""
    for count in counts:
        whole_from(0, **{"--counts": count})
    most = max(counts)
    return (
        [-(-c * TINY_IMAGES // most) for c in counts] if most > TINY_IMAGES else counts
    )


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
    """Return the trainings of a study, those without generated data first.

    systems: config files, a row of each after a colon. epochs: factors on data.epochs.
    words: `--config.key=value`, of all of them. A count of 0 has no share. Raises
    InputError for settings that no run can have.
    """
    for count in counts:
        whole_from(0, **{"--counts": count})
    for share in shares:
        within("[0, 1]", **{"--shares": share})
    for factor in epochs:
        above(0, **{"--epochs": factor})
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
    """Train and certify, and return the workdirs. Finished ones are left alone."""
    began = time.monotonic()
    for number, (name, config) in enumerate(planned):
        folder = workdir / name
        left = (time.monotonic() - began) / max(number, 1) * (len(planned) - number)
        ahead = f", about {clock(left)} left" if number else ""
        print(f"{number + 1} of {len(planned)}: {name}{ahead}", file=sys.stderr)
        loop.train(config, folder)
        certify(config, folder)
        if train_images:
            seen = deepcopy(config)
            seen.certify.update(split="train", start=0, step=1, stop=train_images)
            certify(seen, folder, out=folder / "train.jsonl")
        jax.clear_caches()  # compiled programs use up the memory maps of a process
    return [workdir / name for name, _ in planned]


def make_images(
    edm: str, workdir: Path, count: int, *, words: Sequence[str] = (), tiny: bool
) -> Path:
    """Train the EDM of a config, sample `count` images, and return the folder of their
    shards. words: `--config.key=value` of the systems, of which the EDM takes where the data
    set is."""
    folder = workdir / f"generated_{count}"
    config = _edm_config(edm, words, tiny=tiny)
    loop.train(config, workdir / "edm")
    steps = TINY_STEPS if tiny else WANG_STEPS.get(config.data.name, 18)
    generate(workdir / "edm", folder, count=count, steps=steps)
    return folder


def _edm_config(edm: str, words: Sequence[str] = (), *, tiny: bool) -> ConfigDict:
    """Return the config of a denoiser with classes. Raises InputError for one of
    another network."""
    config = configs.load(edm)
    config = configs.tiny(config) if tiny else config
    places = ("--config.data.dir=", "--config.data.download=")
    config = configs.override(config, [w for w in words if w.startswith(places)])
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
    """Return the bytes that the checkpoints of a run take. Raises InputError, before
    the first run trains, for what a run or its certificate would refuse later.
    without_images: the generated ones are still to be made."""
    config = deepcopy(config)
    if without_images:
        config.data.update(generated="", generated_count=0)
    config.certify.after_training = True
    needed = loop.check(config)
    if train_images:
        config.certify.update(split="train", start=0, step=1, stop=train_images)
        loop.check(config)
    return needed


def keep_programs(workdir: Path) -> None:
    """Keep compiled programs in a folder of the study, because its runs of one shape
    share them."""
    if not jax.config.jax_compilation_cache_dir:
        jax.config.update("jax_compilation_cache_dir", str(workdir / "programs"))
