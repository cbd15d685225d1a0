"""Every training method: a file in jaxcert/methods with `make(model, run, ...)`."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path

import jax
import numpy as np
import optax
import pytest

from jaxcert import methods
from jaxcert.data import sources
from jaxcert.errors import InputError
from jaxcert.interfaces import Network, Run
from jaxcert.models import dist_net, edm_unet, lip_convnet, small_cnn

NAMES = sorted(
    file.stem
    for file in Path(methods.__path__[0]).glob("[!_]*.py")
    if hasattr(importlib.import_module(f"jaxcert.methods.{file.stem}"), "make")
)
NEEDS = {"sigma": 0.25, "eps": 0.1, "soft_labels": "labels"}
"""Values of arguments without a default; a denoiser is made when one is needed."""
IMAGES, STEPS = 64, 15
RUN = Run(steps_per_epoch=STEPS, total_steps=STEPS, data_size=IMAGES)


@pytest.fixture(scope="module")
def batch():
    """64 digits of 4x4 pixels."""
    source = sources.open("digits", "train")
    image = source.image[:IMAGES].astype(np.float32) / 255
    image = image.reshape(IMAGES, 4, 2, 4, 2, 1).mean((2, 4))
    index = np.arange(IMAGES, dtype=np.int32)
    return dict(
        image=image,
        label=source.label[:IMAGES],
        real=np.ones(IMAGES, bool),
        index=index,
    )


def denoiser():
    small = dict(width=8, multipliers=(1,), blocks=1, attention=(), label_dropout=0.1)
    model = edm_unet.make(image_shape=(4, 4, 1), **small)
    return Network(model, *jax.jit(model.init)(jax.random.key(2)))


@pytest.fixture(params=NAMES, scope="module")
def made(request):
    """(model, method): the first of the small networks that the method takes."""
    make = importlib.import_module(f"jaxcert.methods.{request.param}").make
    parameters = list(inspect.signature(make).parameters.values())[2:]
    needed = {p.name for p in parameters if p.default is p.empty}
    unknown = ", ".join(sorted(needed - {*NEEDS, "denoiser"}))
    assert not unknown, (
        f"give NEEDS a value of {unknown}, which {request.param}.make needs"
    )
    given = {name: NEEDS[name] for name in needed if name in NEEDS}
    if "denoiser" in needed:
        given["denoiser"] = denoiser()
    small = dict(image_shape=(4, 4, 1), width=8)
    lipschitz = dict(image_shape=(4, 4, 1), width=4, mean=(0.3,), std=0.3)
    refused = []
    for build in (
        lambda: small_cnn.make(**small),
        lambda: lip_convnet.make(stages=2, blocks=1, **lipschitz),
        lambda: edm_unet.make(multipliers=(1,), blocks=1, attention=(), **small),
        lambda: dist_net.make(depth=3, **lipschitz | {"width": 48}),
    ):
        model = build()
        try:
            return model, make(model, RUN, **given)
        except InputError as error:
            refused.append(str(error))
    said = "\n".join(refused)
    pytest.fail(f"add a small network that {request.param}.make takes; not\n{said}")


def test_there_are_methods():
    assert {"cross_entropy", "gaussian", "lot"} <= set(NAMES)


def loss_of(method, batch, phase=None):
    def loss(params, state, key, step=0):
        extra = method.init_extra()
        return method.loss(params, state, extra, batch, key, step, phase)

    return loss


def test_loss_falls_on_the_images_it_sees(made, batch):
    model, method = made
    loss = loss_of(method, batch, method.phase(0))
    tx = optax.adam(1e-2)

    @jax.jit
    def step(params, state, moments, key):
        (value, (state, metrics)), grads = jax.value_and_grad(loss, has_aux=True)(
            params, state, key
        )
        updates, moments = tx.update(grads, moments)
        return optax.apply_updates(params, updates), state, moments, value, metrics

    params, state = jax.jit(model.init)(jax.random.key(0))
    moments, key, losses = tx.init(params), jax.random.key(1), []
    for _ in range(
        STEPS + 1
    ):  # one key: the last loss is of the same noise as the first
        params, state, moments, value, metrics = step(params, state, moments, key)
        losses.append(float(value))
        assert np.isfinite(losses[-1])
        assert all(np.shape(m) == () and np.isfinite(m) for m in metrics.values())
    assert losses[-1] < losses[0] - 0.1


def test_loss_is_a_pure_function_of_its_arguments(made, batch):
    """Two traces are one program: nothing is drawn or remembered in Python."""
    model, method = made
    arguments = (*jax.eval_shape(model.init, jax.random.key(0)), jax.random.key(1))
    texts = [
        str(jax.make_jaxpr(loss_of(method, batch, method.phase(0)))(*arguments))
        for _ in range(2)
    ]
    assert texts[0] == texts[1]


def test_state_keeps_its_shape_and_type(made, batch):
    model, method = made
    params, state = jax.eval_shape(model.init, jax.random.key(0))
    value, (after, _) = jax.eval_shape(
        loss_of(method, batch, method.phase(0)), params, state, jax.random.key(1)
    )
    assert value.shape == ()
    assert jax.tree.map(lambda a: (a.shape, a.dtype), after) == jax.tree.map(
        lambda a: (a.shape, a.dtype), state
    )
