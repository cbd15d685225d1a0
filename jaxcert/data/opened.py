"""The images of a config: real ones, generated ones, their mixture, what is held out."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import NamedTuple

import jax
import numpy as np

from jaxcert.config import ConfigDict
from jaxcert.data import generated as generated_sets
from jaxcert.data import loader, mixture, sources
from jaxcert.errors import InputError, at_least
from jaxcert.interfaces import Run

_HELD_OUT = 0x401D
"""Folded into the seed of the generator that draws held-out images."""


class Data(NamedTuple):
    """The opened images of a config."""

    images: dict[str, sources.Source]
    """split -> Source: 'train', the images that are trained on; 'holdout', where some are
    held out; and the other splits that were asked for"""
    run: Run
    batches: Callable
    """(start, *, weights, mesh) -> iterator of batches from step `start`"""
    sweep: Callable
    """(mesh, augment, key, step) -> the real training set once, in order, augmented"""
    generated: sources.Source | None = None
    """the generated images, where there are any"""


def open(config: ConfigDict, splits: Iterable[str] = ()) -> Data:
    """Open the images of config.data, and `splits` besides those it trains on. Raises
    InputError."""
    data = config.data
    at_least(1, of="data", epochs=data.epochs)
    images = _open_splits(data, splits)
    real, generated = images["train"], None
    if data.generated_count and not data.generated:
        raise InputError(
            f"data.generated_count asks for {data.generated_count:,} generated images and "
            "data.generated names none: give their file or folder by --config.data.generated."
        )
    if data.generated:
        generated = generated_sets.open_generated(
            data.generated, count=data.generated_count, seed=config.seed
        )
    available = len(real.label) + (len(generated.label) if generated else 0)
    if data.batch > available:
        raise InputError(
            f"data.batch is {data.batch:,}, and there are {available:,} images to train on: "
            "give at most as many."
        )
    plan = mixture.make(
        len(real.label),
        len(generated.label) if generated else 0,
        batch=data.batch,
        share=data.generated_share,
        epoch_images=data.epoch_images,
        seed=config.seed,
        order=data.order,
    )
    loader.check(real, generated, data.batch, devices=jax.device_count())
    total = data.epochs * plan.steps_per_epoch
    if total > np.iinfo(np.int32).max:  # the type of the counter
        raise InputError(
            f"data.epochs and data.epoch_images make {total:,} steps, and 2**31 - 1 are the "
            "most that can be counted: give fewer of either."
        )
    run = Run(plan.steps_per_epoch, total, len(real.label))

    several = partial(loader.batches, real, generated, plan)
    batches = partial(several, total=total, placement=data.placement)

    def sweep(mesh, augment, key, step):
        moved, key = jax.jit(augment), jax.random.fold_in(key, step)
        for number, batch in enumerate(loader.sweep(real, data.batch, mesh=mesh)):
            yield moved(jax.random.fold_in(key, number), batch)

    return Data(images, run, batches, sweep, generated)


def held_out(size: int, holdout: float) -> np.ndarray:
    """Ascending positions, of `size` training images, that data.holdout keeps out of
    training: a share of them below 1, a number of them from 1 on.

    They depend on the two numbers alone, and not on the seed of the run; fewer of them are
    among more. Raises InputError for what is neither, and where none or all are left.
    """
    count = round(holdout * size) if 0 <= holdout < 1 else holdout
    if not 0 <= holdout < np.inf or count != int(count):
        raise InputError(
            f"data.holdout is {holdout:g}: give a share below 1 of the training images, or a "
            "number of them."
        )
    if holdout and not 0 < count < size:
        raise InputError(
            f"data.holdout is {holdout:g}, {int(count):,} of {size:,} training images: leave "
            "some on both sides."
        )
    drawn = np.random.default_rng([_HELD_OUT, size]).permutation(size)
    return np.sort(drawn[: int(count)])


def _open_splits(data: ConfigDict, splits: Iterable[str]) -> dict[str, sources.Source]:
    """Open splits and return {split: Source}."""
    from jax.experimental import multihost_utils

    several = jax.process_count() > 1
    if several and jax.process_index() > 0:  # the first one downloads
        multihost_utils.sync_global_devices("data")
    images = {
        split: sources.of(data, split) for split in dict.fromkeys(["train", *splits])
    }
    if several and jax.process_index() == 0:
        multihost_utils.sync_global_devices("data")
    size = len(images["train"].label)
    kept_out = held_out(size, data.holdout)
    if len(kept_out):
        rest = np.setdiff1d(np.arange(size), kept_out)
        whole = images["train"]
        parts = (generated_sets.part(whole, rows) for rows in (rest, kept_out))
        images["train"], images["holdout"] = parts
    return images
