"""The small runs behind `benchmarks.claims`: what is trained, certified and kept, seed by seed.

Everything is trained and certified by the functions of the commands (jaxcert.train, certify,
generate, study, gradient_norms) and kept in a workdir, so that a killed script continues. A
step that is done is in `done.json` with the core seconds that it took.

Below seed<k>:

    edm, generated_<N>       the denoiser of this seed and its images
    <variant>/<run>          systems with and without generated images (jaxcert.study)
    smoothing_<method>       networks for randomized smoothing, and gradient_norms.json
    votes.json               single votes of diffusion classifiers on noisy test images
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from jaxcert import config as configs
from jaxcert import random_keys, sharding
from jaxcert.certificates.networks import denoiser_of
from jaxcert.certificates.run import certify
from jaxcert.data import sources
from jaxcert.diffusion import classifiers, edm
from jaxcert.image_generation import generate
from jaxcert.ops.images import unit
from jaxcert.papers import chen_votes, gradient_norms, study
from jaxcert.training import loop
from jaxcert.workdirs.networks import open_edm

GENERATED, FEW = 1000, 250
SHARE = 0.7


class System(NamedTuple):
    """A config with fewer and smaller layers, and what is done with it."""

    file: str
    words: tuple[str, ...]
    cells: tuple[tuple[str, int, float, float], ...]
    """(name, generated images, share, factor on the epochs)"""


NONE, MORE = ("none", 0, SHARE, 1.0), ("generated", GENERATED, SHARE, 1.0)
PAIR = NONE, MORE
SYSTEMS = {
    "sortnet": System(
        "configs/sortnet/digits.py",
        ("--config.model.width=96",),
        (
            *PAIR,
            ("few", FEW, SHARE, 1.0),
            ("alone", GENERATED, 1.0, 1.0),
            ("long_none", 0, SHARE, 2.0),
            ("long_generated", GENERATED, SHARE, 2.0),
        ),
    ),
    "wide": System("configs/sortnet/digits.py", ("--config.model.width=192",), PAIR),
    "linf_dist": System(
        "configs/linf_dist/digits.py", ("--config.model.width=96",), PAIR
    ),
    "lot": System(
        "configs/lot/digits.py:fast",
        ("--config.model.width=8", "--config.data.epochs=12"),
        PAIR,
    ),
    "liresnet": System(
        "configs/liresnet/digits.py",
        (
            "--config.model.width=16",
            "--config.model.depth=2",
            "--config.data.epochs=20",
        ),
        PAIR,
    ),
}
_HALF = {"data.epochs": 25, "model.width": 16, "certify.step": 3}
_TWICE = _HALF | {"data.epochs": 50, "method.warmup_epochs": 5}
_SUN = _HALF | {"method.start_epoch": 10}
METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "gaussian": ("gaussian,0.50,m4", _HALF),
    "consistency": ("consistency,0.50", _TWICE),
    "smoothmix": ("smoothmix,0.50", _TWICE),
    "catrs": ("catrs,0.50", _HALF),
    "sun": ("sun,0.50", _SUN | {"method.reweight_every": 5}),
    "discard": ("sun,0.50,discard", _SUN),
    "reweight": ("sun,0.50,reweight", _SUN | {"method.reweight_every": 5}),
    "adversarial": ("sun,0.50,adversarial", _SUN),
}
"""Row of configs/smoothing/digits.py and what is changed: 800 steps of 128 noisy images each."""
WITH_NORMS = "gaussian", "consistency", "catrs", "sun"
EDM = "configs/edm/digits.py"
EDM_EPOCHS = 60
VOTE_SIGMA, LEVELS, FEW_LEVELS = 0.25, 24, (2, 8)
VOTES = {
    "apndc": ("apndc", "edm"),
    "epndc": ("epndc", "edm"),
    "diffpure": ("diffpure", "edm"),
    "elbo": ("apndc", "elbo"),
}
"""Name of a vote -> kind and weights (diffusion/classifiers.py)."""
_STREAM = 0xC1A1
"""Folded into the key of the seed, so that the draws are apart from those of training."""


def steps(seed: int, workdir: Path, *, tiny: bool) -> dict[str, Iterator]:
    """Return the steps of a seed by paper, each (name, what does it)."""
    folder = workdir / f"seed{seed}"
    return {
        "sun": _smoothing(seed, folder, tiny),
        "chen": _diffusion(seed, folder, tiny),
        "altstidl": _generated(seed, folder, tiny),
    }


def run(seeds: int, workdir: Path, papers: tuple[str, ...], *, tiny: bool) -> float:
    """Do what is not done of some papers, a seed after the other, and return the core minutes
    of all that is done in the workdir, now and before."""
    workdir.mkdir(parents=True, exist_ok=True)
    jax.config.update("jax_compilation_cache_dir", str(workdir / "programs"))
    known = workdir / "done.json"
    done = json.loads(known.read_text()) if known.exists() else {}
    for paper in papers:
        for seed in range(seeds):
            for name, work in steps(seed, workdir, tiny=tiny)[paper]:
                key = f"seed{seed}/{name}"
                if key not in done:
                    began = time.process_time()
                    work()
                    jax.clear_caches()  # compiled programs use up the memory maps of a process
                    done[key] = round(time.process_time() - began, 2)
                    _write(known, done)
                    print(f"{key}: {done[key]:.0f} core seconds", file=sys.stderr)
    return sum(done.values()) / 60


def _write(path: Path, value: Any) -> None:
    part = path.with_suffix(".part")
    part.write_text(json.dumps(value, indent=1) + "\n")
    os.replace(part, path)


def train_and_certify(config: ConfigDict, folder: Path) -> None:
    loop.train(config, folder)
    certify(config, folder)


def _loaded(row: str, changes: dict[str, Any], seed: int, tiny: bool) -> ConfigDict:
    config = configs.load(row)
    config = configs.tiny(config) if tiny else config
    if not tiny:
        config.update_from_flattened_dict(changes)
    config.seed = seed
    configs.check(config, row)
    return config


def _smoothing(seed: int, folder: Path, tiny: bool) -> Iterator:
    for name, (row, changes) in METHODS.items():
        file = f"configs/smoothing/digits.py:{row}"
        config = _loaded(file, changes, seed, tiny)
        place = folder / f"smoothing_{name}"
        yield place.name, partial(train_and_certify, config, place)
        if name in WITH_NORMS:
            images = 8 if tiny else 300
            yield f"{place.name} norms", partial(_norms, config, place, images)


def _norms(config: ConfigDict, folder: Path, images: int) -> None:
    found = gradient_norms.measure(config, folder, images=images)
    gradient_norms.write(found, folder / "gradient_norms.json")


def _denoiser(seed: int, folder: Path, tiny: bool) -> Iterator:
    config = _loaded(EDM, {"data.epochs": EDM_EPOCHS}, seed, tiny)
    yield "edm", partial(loop.train, config, folder / "edm")


def _diffusion(seed: int, folder: Path, tiny: bool) -> Iterator:
    yield from _denoiser(seed, folder, tiny)
    yield "votes", partial(_votes, seed, folder, images=6 if tiny else 200)


def _generated(seed: int, folder: Path, tiny: bool) -> Iterator:
    yield from _denoiser(seed, folder, tiny)
    count = study.TINY_IMAGES if tiny else GENERATED
    images = folder / f"generated_{count}"
    levels = dict(steps=study.TINY_STEPS if tiny else 18, seed=seed)
    yield "generated", partial(generate, folder / "edm", images, count=count, **levels)
    for variant, system in SYSTEMS.items():
        for name, number, share, factor in system.cells:
            (planned,) = study.runs(
                [system.file],
                generated=str(images),
                counts=[study.shrunk([number, GENERATED])[0] if tiny else number],
                shares=[share],
                epochs=[factor],
                seeds=[seed],
                words=[] if tiny else [*system.words],
                tiny=tiny,
            )
            planned = planned._replace(name=name)
            train_images = study.TINY_TRAIN_IMAGES if tiny else 1000
            work = partial(study.study, [planned], folder / variant)
            yield f"{variant}/{name}", partial(work, train_images=train_images)


def _votes(seed: int, folder: Path, *, images: int) -> None:
    """Write which single votes on noisy test images are right: by kind and weights, and of APNDC
    by the number of levels, with noise that all classes share and without."""
    test = sources.open("digits", "test")
    index = np.arange(images) * len(test.label) // images
    label = test.label[index]
    network, digest = open_edm(folder / "edm", sharding.local_mesh())
    denoise, classes = denoiser_of(network), network.model.num_classes
    key = jax.random.fold_in(random_keys.key(seed), _STREAM)
    keys = jax.vmap(partial(jax.random.fold_in, key))(index)
    of_image, of_vote = (
        jax.vmap(partial(jax.random.fold_in, data=i))(keys) for i in (0, 1)
    )
    clean = unit(jnp.asarray(test.image[index]))
    draw = partial(jax.random.normal, shape=clean.shape[1:], dtype=clean.dtype)
    x = edm.to_signed(clean + VOTE_SIGMA * jax.vmap(draw)(of_image))
    found = dict(checkpoint=digest, images=images, sigma=VOTE_SIGMA, right={})

    def vote(name, kind, weighting, count, shared):
        make = getattr(classifiers, kind)
        law = make(classes, count, 2 * VOTE_SIGMA, weighting=weighting)
        room = (0, LEVELS - len(law.levels.sigma))  # one shape, one program
        levels = classifiers.Levels(*(np.pad(v, room, mode="edge") for v in law.levels))
        of = dict(apart=not shared)
        law = law._replace(levels=levels)
        logits = chen_votes.level_logits(denoise, law, count, x, of_vote, **of)
        found["right"][name] = int((np.asarray(logits).argmax(1) == label).sum())

    for name, (kind, weighting) in VOTES.items():
        vote(name, kind, weighting, LEVELS, True)
    for count in FEW_LEVELS:
        vote(f"shared {count}", "apndc", "edm", count, True)
        vote(f"own {count}", "apndc", "edm", count, False)
    _write(folder / "votes.json", found)
