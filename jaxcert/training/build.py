"""Everything that a training needs, made before its first step."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import numpy as np
import optax
from jax.sharding import Mesh

from jaxcert import config as configs
from jaxcert import random_keys, sharding
from jaxcert.config import ConfigDict
from jaxcert.data import loader, normalisation, opened, sources
from jaxcert.data.augment import augment
from jaxcert.errors import InputError, one_of, whole_from
from jaxcert.interfaces import (
    Array,
    Batch,
    Key,
    Method,
    Model,
    Network,
    PyTree,
    Run,
    TrainState,
)
from jaxcert.training import evaluation, limits, manifold, optim, step
from jaxcert.workdirs.networks import open_all, open_network

_MOST_LAYERS = 10_000
"""The largest number of layers that is built; more would take hours."""


class Built(NamedTuple):
    """The parts of a run, all made before its first step."""

    data: opened.Data
    model: Model
    method: Method
    tx: optax.GradientTransformation
    ema: Callable[[Array], Array] | None
    move: Callable[[Key, Batch], Batch]
    """(key, batch) -> the batch, augmented"""
    start: Network | None
    """The network that config.init names, whose weights start the run, or None."""
    state: TrainState
    """the shapes of its arrays"""
    mesh: Mesh


def build(config: ConfigDict) -> Built:
    """Build the parts of a run. Of these only the data and the networks of other runs
    take memory.

    Raises InputError for whatever a config asks that the run, its evaluations or its
    certificate cannot do, and for what fits neither memory nor images.
    """
    _check_numbers(config)
    sharding.use_precision(config.precision)
    if jax.process_index() == 0:
        normalisation.warn_of_another(config)
    mesh = sharding.data_mesh()
    data = opened.open(config, evaluation.splits(config))
    model = configs.build("models", config.model)
    for source in data.images.values():
        sources.check_model(
            source,
            image_shape=model.image_shape,
            num_classes=model.num_classes,
            exactly=model.unconditional is not None,  # of no other can it sample
        )
    _check_later(config, model)
    others, _ = open_all(config.method.get("networks", {}), mesh)
    built = assemble(config, model, data.run, mesh, networks=others)
    image = jax.ShapeDtypeStruct(model.image_shape, data.images["train"].image.dtype)
    _check_augmentation(built.move, image)
    start = open_network(config.init, mesh)[0] if config.init else None
    if start:
        _check_start(config, model, start)
    built = built._replace(data=data, start=start)
    built = built._replace(state=shapes(built, jax.eval_shape(built.method.init_extra)))
    _check_statistics(config, built.state)
    limits.check_memory(
        built.state,
        batch=config.data.batch,
        copies=config.method.get("m", 1),
        image=image,
        devices=jax.devices(),
    )
    evaluation.check(config, data.images, model, built.state)
    return built


def assemble(
    config: ConfigDict,
    model: Model,
    run: Run,
    mesh: Mesh,
    *,
    networks: dict[str, Network],
) -> Built:
    """Build the parts of a run that need neither data nor files; `data`, `start` and
    `state` are None. networks: those that the method asks for. Raises InputError."""
    keys = config.method.to_dict()
    keys.pop("networks", None)
    method = configs.build(
        "methods", ConfigDict(keys), needs=networks, model=model, run=run
    )
    params, _ = jax.eval_shape(model.init, random_keys.key(0))
    orthogonal = manifold.has_orthogonal(params)
    what = dict(what="optim", orthogonal=orthogonal)
    tx = configs.call(optim.make, config.optim, **what, run=run)
    ema = optim.averaging(
        config.ema,
        config.ema_halflife,
        batch=config.data.batch,
        accumulate=config.optim.accumulate,
    )
    move = partial(augment, **config.data.augment)
    return Built(None, model, method, tx, ema, move, None, None, mesh)


def shapes(built: Built, extra: PyTree) -> TrainState:
    """Return the shapes of the state of a run whose method has tables like `extra`."""
    return jax.eval_shape(partial(_initial, built), random_keys.key(0), extra)


def initial_state(built: Built, key: Key) -> TrainState:
    """Return the state before the first step, on all devices. Raises InputError for
    orthogonal parameters that are far from it."""
    state = jax.jit(partial(_initial, built))(key, built.method.init_extra())
    manifold.check_start(state.params)
    return sharding.replicate(state, built.mesh)


def compiled(built: Built, config: ConfigDict) -> Callable:
    """Return the training step of `step.compile` for the parts of a run."""
    return step.compile(
        built.method,
        built.tx,
        augment=built.move,
        mesh=built.mesh,
        ema=built.ema,
        accumulate=config.optim.accumulate,
        batch_statistics=config.batch_statistics,
    )


def _initial(built: Built, key: Key, extra: PyTree) -> TrainState:
    def given(key: Key) -> tuple[PyTree, PyTree]:
        return built.start.params, built.start.state

    return step.init_state(
        given if built.start else built.model.init,
        built.tx,
        key=key,
        extra=extra,
        ema=built.ema is not None,
    )


def _check_augmentation(move: Callable, image: jax.ShapeDtypeStruct) -> None:
    """Raises InputError for an augmentation that images of this shape cannot have."""
    batch = {
        "image": jax.ShapeDtypeStruct((1, *image.shape), image.dtype),
        "real": jax.ShapeDtypeStruct((1,), bool),
    }
    jax.eval_shape(move, random_keys.key(0), batch)


def _check_later(config: ConfigDict, model: Model) -> None:
    """Raises InputError where the model does not take the user's own images that
    another command certifies after training. Images that are missing or damaged are no
    fault yet: training does not need them."""
    data, split = config.data, config.certify.split
    own = data.name.startswith(("npz:", "npy:", "folder:"))
    if (
        not own
        or not config.certify.name
        or split in ("train", *evaluation.splits(config))
    ):
        return
    try:
        source = sources.of(data, split, labels=False)
    except (InputError, OSError):
        return
    sources.check_model(
        source,
        image_shape=model.image_shape,
        num_classes=model.num_classes,
        split=split,
    )


def _check_start(config: ConfigDict, model: Model, network: Network) -> None:
    shapes = partial(jax.tree.map, lambda leaf: leaf.shape)
    ours = jax.eval_shape(model.init, random_keys.key(0))
    if shapes(ours) != shapes((network.params, network.state)):
        raise InputError(
            f"init: {config.init} holds a network of another shape: give one of the same "
            "config.model."
        )


def _check_statistics(config: ConfigDict, state: TrainState) -> None:
    one_of(("global", "device"), batch_statistics=config.batch_statistics)
    if config.batch_statistics == "device" and "batch_stats" not in state.model_state:
        raise InputError(
            "batch_statistics 'device' is of networks with batch normalisation, and model "
            f"{config.model.name} has none: give 'global'."
        )


def _check_numbers(config: ConfigDict) -> None:
    """Raises InputError for numbers of the loop that are out of range, and for more
    layers than can be built one by one."""
    for key in ("blocks", "depth", "stages"):
        if np.max(config.model.get(key, 0)) > _MOST_LAYERS:
            raise InputError(
                f"model.{key} is {config.model[key]}: give at most {_MOST_LAYERS:,}."
            )
    whole_from(1, of="log", every_steps=config.log.every_steps)
    whole_from(1, of="checkpoint", keep=config.checkpoint.keep)
    whole_from(0, of="checkpoint", every_epochs=config.checkpoint.every_epochs)
    whole_from(0, of="eval", every_epochs=config.eval.every_epochs)
    one_of(loader.PLACEMENTS, of="data", placement=config.data.placement)
