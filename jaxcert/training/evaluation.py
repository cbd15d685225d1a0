"""The certificates that a run computes itself: while it trains, and at its end."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

import jax
import numpy as np

from jaxcert import config as configs
from jaxcert import random_keys, sharding
from jaxcert.certificate import certified_accuracy, concatenate
from jaxcert.certificates import building
from jaxcert.config import ConfigDict
from jaxcert.data.sources import Source
from jaxcert.errors import InputError, whole_from, within
from jaxcert.interfaces import Model, Network, TrainState
from jaxcert.progress import say
from jaxcert.workdirs.checkpoint import selected_on

Due = list[tuple[ConfigDict, tuple[str, ...]]]
"""One (config, splits) for each certificate that a run computes itself."""


def due(config: ConfigDict) -> Due:
    """Return what the run certifies by itself: its evaluations, if there are any, then
    the certificate at its end."""
    found = []
    if config.eval.every_epochs:
        cheap = ConfigDict(config.to_dict(), convert_dict=True)
        cheap.certify.update(config.eval.certify)
        held_out = ("holdout",) if config.data.holdout else ()
        found.append((cheap, ("train", *held_out, "test")))
    if config.certify.after_training:
        found.append((config, (config.certify.split,)))
    return found


def splits(config: ConfigDict) -> list[str]:
    """Return the splits of `due` that are data to open."""
    return [s for _, due_splits in due(config) for s in due_splits if s != "holdout"]


def check(
    config: ConfigDict, images: Mapping[str, Source], model: Model, state: TrainState
) -> None:
    """Raises InputError for a certificate that the run cannot compute, or that config.certify
    asks for and no network of this model can have, due in this run or not.

    state: the shapes of its arrays, of which certifiers are made that nothing runs."""
    network = Network(model, state.params, state.model_state)
    certificates = due(config)
    for each, due_splits in certificates:
        for split in due_splits:
            building.selected(each.certify, len(images[split].label))
    chosen = config.certify
    building.check_selection(chosen)
    if chosen.stop and chosen.start >= chosen.stop:
        raise InputError(
            f"certify.start={chosen.start} and stop={chosen.stop} leave no image: give a "
            "larger stop, or 0 (to the end)."
        )
    later = config.certify.name and not config.certify.after_training
    if later and _networks_are_there(config):
        certificates.append((config, ()))
    for each, _ in certificates:
        building.certifier_of(each, network, sharding.local_mesh())
    _check_numbers(config)


def _networks_are_there(config: ConfigDict) -> bool:
    """Return whether the workdirs of all other networks that the certificate takes
    exist; they may be trained after this run."""
    named = config.certify.get("networks", {}).values()
    return all((Path(folder) / "config.json").exists() for folder in named if folder)


def _check_numbers(config: ConfigDict) -> None:
    whole_from(0, of="eval", images=config.eval.images)
    within("[0, 1]", of="eval", share=config.eval.share)
    best = config.checkpoint.best
    if not best:
        return
    if not config.eval.every_epochs:
        raise InputError(
            "checkpoint.best chooses by evaluations during training: set eval.every_epochs."
        )
    split, metric = selected_on(best), best.rpartition(":")[2]
    known = [f"certified_{r:.3g}" for r in due(config)[0][0].certify.radii]
    if split not in ("holdout", "test") or metric not in known:
        raise InputError(
            f"checkpoint.best is {best!r}: give one of {', '.join(known)}, which is that of "
            "held-out training images, or with 'test:' before it."
        )
    if split == "holdout" and not config.data.holdout:
        raise InputError(
            "checkpoint.best chooses by training images that are held out: set data.holdout, "
            f"such as 0.1, or checkpoint.best=test:{metric}, which makes that number of the "
            "test set too good."
        )


def network_of(model: Model, state: TrainState) -> Network:
    """Return the network that is evaluated: with averaged weights, where the run
    averages them."""
    params = state.params if state.ema is None else state.ema
    return Network(model, *sharding.to_host((params, state.model_state)))


class Evaluations:
    """Computes the certificate of config.eval on a part of each split, in this process."""

    def __init__(self, config: ConfigDict, images: Mapping[str, Source]):
        self._config, self._images = config, images
        self._best = config.checkpoint.best
        # what is chosen must not depend on a clock
        self._share = 0.0 if self._best else config.eval.share
        self._began, self._spent, self._last = time.monotonic(), 0.0, 0.0
        self._said = False

    def allowed(self) -> bool:
        """Return whether another evaluation, if it takes as long as the last one, keeps
        within eval.share of the time. The first one is always allowed. What is trained
        does not depend on the answer."""
        elapsed = time.monotonic() - self._began
        after = self._spent + self._last
        if not self._share or not self._last or after <= self._share * elapsed:
            return True
        if not self._said:
            self._said = True
            say(
                f"train: an evaluation takes {self._last:.3g} s: some that are due are left "
                f"out, so that they take at most {100 * self._share:.3g} % of the time "
                "(eval.share; 0: no limit)"
            )
        return False

    def run(self, network: Network, writer, done: int) -> float | None:
        """Write the certified accuracy of each split, and return the one that
        checkpoint.best chooses by."""
        start = time.monotonic()
        cheap, due_splits = due(self._config)[0]
        chosen, value = cheap.certify, None
        key = jax.random.fold_in(random_keys.key(chosen.seed), configs.EVALUATE_STREAM)
        certifier = building.certifier_of(cheap, network, sharding.local_mesh())
        for split in due_splits:
            source = self._images[split]
            index = _spread(
                building.selected(chosen, len(source.label)), self._config.eval.images
            )
            cuts = range(chosen.batch, len(index), chosen.batch)
            parts = [
                certifier.certify(key, source.image[rows], source.label[rows], rows)
                for rows in np.split(index, cuts)
            ]
            rates = certified_accuracy(concatenate(parts), chosen.radii)
            values = {
                f"certified_{r:.3g}": float(v)
                for r, v in zip(chosen.radii, rates, strict=True)
                if v == v  # others were not tried
            }
            writer.write(done, split, values)
            if split == selected_on(self._best):
                value = values.get(self._best.rpartition(":")[2], 0.0)
        self._last = time.monotonic() - start
        self._spent += self._last
        return value


def _spread(index: list[int], most: int) -> np.ndarray:
    """Return at most `most` of the positions, evenly spread; all of them if `most` is
    0."""
    if most and len(index) > most:
        index = [index[i * len(index) // most] for i in range(most)]
    return np.array(index)
