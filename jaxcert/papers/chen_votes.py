"""Single votes of a noised diffusion classifier on noisy test images: how many are right, with how
many evaluations of the network. Chen et al. (2024, arXiv:2402.02316), section 3.4 and Figure 2.

    levels    APNDC of all classes with T' levels, whose noise is shared by the classes, or of
              each class its own
    searches  races with other c, Sift-and-Refine with other thresholds, and all classes at all
              levels (diffusion/racing.py, diffusion/sift.py)

One vote on one noisy copy of each image, the same copies everywhere.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from jaxcert import random_keys, sharding
from jaxcert.certificates.networks import denoiser_of
from jaxcert.data import sources
from jaxcert.diffusion import classifiers, edm, racing, sift
from jaxcert.diffusion.classifiers import Classifier, Levels
from jaxcert.errors import InputError
from jaxcert.ops.images import unit
from jaxcert.progress import Progress
from jaxcert.workdirs.networks import open_edm

LEVELS = (1, 2, 4, 8, 16, 32)
RACES = (1.0, 1.5, 2.0, 3.0, float("inf"))
"""Values of c; inf: no class drops out."""
THRESHOLDS = (0.005, 0.02, 0.08)
_STREAM = 0x0C4E
"""Folded into the key of certify.seed, so that the draws are apart from those of certificates."""
_BLOCK = {"cpu": 64}


def measure(config: ConfigDict, workdir: str | Path, *, images: int = 200) -> dict:
    """Return what votes_SIGMA.json holds: sigma, images, digest of the EDM, and the rows of
    `by_levels` and `by_search`, whose shares are in percent.

    config: of an EDM, with a section certify of APNDC. Raises InputError for another network, or
    one that does not denoise without a class."""
    data, chosen = config.data, config.certify
    source = sources.open(
        data.name, "test", dir=data.dir, download=data.download, pad=data.pad
    )
    sharding.use_precision(config.precision)
    network, digest = open_edm(workdir, sharding.local_mesh())
    if not network.model.unconditional:
        raise InputError(
            f"{workdir} denoises no image without a class, as APNDC does: train an EDM with "
            "--config.model.label_dropout=0.1."
        )
    images = min(images, len(source.label))
    index = np.arange(images) * len(source.label) // images
    key = jax.random.fold_in(random_keys.key(chosen.seed), _STREAM)
    keys = jax.vmap(partial(jax.random.fold_in, key))(index)
    of_image, of_vote = (
        jax.vmap(partial(jax.random.fold_in, data=i))(keys) for i in (0, 1)
    )
    clean = unit(jnp.asarray(source.image[index]))
    draw = partial(jax.random.normal, shape=clean.shape[1:], dtype=clean.dtype)
    x = edm.to_signed(clean + chosen.sigma * jax.vmap(draw)(of_image))
    label = source.label[index]
    asked = dict(
        classes=network.model.num_classes,
        sigma_tau=2.0 * chosen.sigma,
        sigma_end=chosen.sigma_end,
    )
    denoise = denoiser_of(network)
    return {
        "dataset": source.name,
        "checkpoint": digest,
        "sigma": chosen.sigma,
        "images": images,
        "levels": by_levels(denoise, x, of_vote, label, **asked),
        "searches": by_search(denoise, x, of_vote, label, count=chosen.levels, **asked),
    }


def by_levels(
    denoise,
    x,
    keys,
    label: np.ndarray,
    *,
    classes: int,
    sigma_tau: float,
    sigma_end: float = 3.0,
    counts: tuple[int, ...] = LEVELS,
) -> list[dict[str, Any]]:
    """Return a row for each number of levels, with noise that the classes share and without.

    denoise: (x, sigma, label, -1 for none) -> x; x [B,H,W,C]: noisy images in [-1, 1]; keys [B]:
    of their votes."""
    rows = []
    line = Progress("levels", 2 * len(counts), "rows")
    for count in counts:
        law = classifiers.apndc(classes, count, sigma_tau, sigma_end=sigma_end)
        room = (0, max(counts) - count)  # one shape, one program
        levels = Levels(*(np.pad(v, room, mode="edge") for v in law.levels))
        for shared in (True, False):
            of = law._replace(levels=levels)
            found = level_logits(denoise, of, count, x, keys, apart=not shared)
            rows.append(
                dict(levels=count, shared=shared, evaluations=float(law.evaluations))
                | _accuracy(np.asarray(found).argmax(1), label)
            )
            line.update(len(rows))
    return rows


def by_search(
    denoise,
    x,
    keys,
    label: np.ndarray,
    *,
    classes: int,
    sigma_tau: float,
    sigma_end: float = 3.0,
    count: int = 126,
    races: tuple[float, ...] = RACES,
    thresholds: tuple[float, ...] = THRESHOLDS,
) -> list[dict[str, Any]]:
    """Return a row for each search of APNDC with `count` levels; Sift-and-Refine has levels of its
    own. evaluations: the mean over the votes. Arguments as of `by_levels`."""
    law = classifiers.apndc(classes, count, sigma_tau, sigma_end=sigma_end)
    order = racing.closest_first(law.levels, 1.3 * sigma_tau)
    block = _BLOCK.get(jax.default_backend(), 2048)
    runs: list[tuple[str, float, Any]] = []
    for c in races:
        rule = racing.confident(c)
        how = dict(order=order, rule=rule, block=block)
        runs.append(("race", c, partial(_raced, law, **how)))
    keep = min(10, max(1, classes // 3))
    for threshold in thresholds:
        of = dict(threshold=threshold, keep=keep, sigma_end=sigma_end)
        sieve = sift.repaired(classes, sigma_tau, **of)
        runs.append(("sift", threshold, partial(_sifted, sieve, block)))
    rows = []
    line = Progress("searches", len(runs), "rows")
    for name, setting, search in runs:
        found, spent = jax.device_get(jax.jit(search)(denoise, x, keys))
        full = name == "race" and setting == float("inf")
        rows.append(
            dict(search="full" if full else name, setting=None if full else setting)
            | dict(evaluations=float(spent.mean()))
            | _accuracy(found, label)
        )
        line.update(len(rows))
    return rows


def _raced(law, denoise, x, keys, **how):
    return racing.race(_with_none(denoise), law, x, classifiers.draws(keys, x), **how)


def _sifted(sieve, block, denoise, x, keys):
    noise = classifiers.draws(keys, x)
    found = sift.sift_and_refine(_with_none(denoise), sieve, x, noise, block=block)
    return found.label, found.evaluations


def _with_none(denoise):
    def ask(x, sigma, label):
        label = jnp.full(len(x), -1, jnp.int32) if label is None else label
        return denoise(x, sigma, label)

    return ask


def level_logits(denoise, law: Classifier, count: int, x, keys, *, apart: bool):
    """Return logits [B,K] of a diffusion classifier at the first `count` of its levels; apart:
    each class has noise of its own. Laws of one kind and number of levels share a program."""
    static = dict(classes=law.num_classes, at=law.denoise_at, from_input=law.from_input)
    return _level_logits(denoise, law.levels, count, x, keys, apart, **static)


@partial(jax.jit, static_argnames=("classes", "at", "from_input"))
def _level_logits(denoise, levels, count, x, keys, apart, *, classes, at, from_input):
    ask = _with_none(denoise)
    law = Classifier(levels, classes, at, from_input)
    fixed = classifiers.anchors(ask, law, x)
    everyone = jnp.arange(len(x), dtype=jnp.int32)

    def of_class(label):
        own = jax.vmap(jax.random.fold_in, (0, None))(keys, label * apart)
        noise = classifiers.draws(own, x)

        def subtract(t, total):
            losses = classifiers.losses_at(ask, law, fixed, t, noise(t))
            return total - losses(everyone, jnp.full(len(x), label))

        return jax.lax.fori_loop(0, count, subtract, jnp.zeros(len(x), x.dtype))

    return jax.lax.map(of_class, jnp.arange(classes, dtype=jnp.int32)).T


def _accuracy(found: np.ndarray, label: np.ndarray) -> dict[str, float]:
    """Return the share of right votes in percent, and its standard error."""
    share = float(np.mean(found == label))
    return dict(
        right=100 * share, error=100 * (share * (1 - share) / len(label)) ** 0.5
    )
