"""Training steps, built by training.build as in a training."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from benchmarks import floors
from benchmarks.compiled import shapes, target
from benchmarks.compiled.programs import Built
from jaxcert.data import loader
from jaxcert.interfaces import Network, PyTree, Run
from jaxcert.training import build as builds

_IMAGES = {
    "cifar10": 50_000,
    "npy:data/imagenet": 1_281_167,
    "npy:data/imagenet64": 1_281_167,
}
"""The number of images of the real training set."""


def build(
    devices: int,
    *,
    config: str,
    words: str,
    phase: str | None = None,
    batch: int = 0,
    first_votes: bool = False,
    denoiser: str = "",
    statistics: str = "global",
    epoch: bool = False,
) -> Built:
    """Return a training step. phase: that of the step; None: that of the last step.
    batch: that of one device, if not the config's. first_votes: whether the method has
    the votes of a first model. denoiser: the words of edm/cifar10 for a method that
    needs one. statistics: config.batch_statistics. epoch: a program of all steps of an
    epoch, whose items are all their images."""
    given = shapes.load(config, words)
    given.batch_statistics = statistics
    if batch:
        given.data.batch = batch * devices
    size = given.data.batch
    count = _IMAGES[given.data.name]
    steps = (given.data.epoch_images or count) // size
    run = Run(steps, steps * given.data.epochs, count)
    model = shapes.model_of(given)
    networks, extra = {}, None
    if denoiser:
        networks["denoiser"], extra = _denoiser(denoiser)
    made = builds.assemble(given, model, run, target.mesh(devices), networks=networks)
    if first_votes:
        extra = {"soft_labels": shapes.Shape((count, model.num_classes), jnp.float32)}
    if extra is None:
        extra = jax.eval_shape(made.method.init_extra)
    state = target.on(builds.shapes(made, extra), devices)
    data = {
        "image": shapes.images(model, size, jnp.uint8),
        "label": shapes.Shape((size,), jnp.int32),
        "real": shapes.Shape((size,), bool),
        "index": shapes.Shape((size,), jnp.int32),
    }
    work = target.on(data, devices, split=True)
    if epoch:
        work = loader.Epoch(
            image=shapes.images(model, count, jnp.uint8),
            label=shapes.Shape((count,), jnp.int32),
            source=shapes.Shape((steps, size), jnp.int32),
            index=shapes.Shape((steps, size), jnp.int32),
            real=shapes.Shape((), jnp.int32),
        )
        work = target.on(work, devices)
    phase = phase or made.method.phase(run.total_steps - 1)
    lowered = builds.compiled(made, given).lower(
        state, work, shapes.key(devices), phase=phase
    )
    size *= steps if epoch else 1
    shape = dict(batch=size, image=list(model.image_shape), phase=phase)
    if given.method.get("m"):
        shape["copies"] = given.method.m
    floor = _floor(given, size // devices)
    return Built(lowered, size // devices, shape, floor)


def _floor(config: Any, images: int) -> float | None:
    if config.model.name != "resnet" or config.method.name != "gaussian":
        return None
    itemsize = 2 if config.model.dtype == "bfloat16" else 4
    return floors.train(config.model.depth, images, itemsize=itemsize)[1]


def _denoiser(words: str) -> tuple[Network, PyTree]:
    model = shapes.model_of(shapes.load("edm/cifar10", words))
    params, state = shapes.network(model)
    return Network(model, params, state), {"denoiser": (params, state)}
