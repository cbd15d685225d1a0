"""Attacks, the input of a training step, and the Mosaic kernels by themselves."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp

from benchmarks.compiled import shapes, target
from benchmarks.compiled.programs import Built
from jaxcert.attacks import apgd, pgd
from jaxcert.attacks import audit as audits
from jaxcert.data import loader
from jaxcert.data.augment import augment
from jaxcert.ops.norm_dist import norm_dist

REAL, GENERATED = 50_000, 1_000_000


def build(devices: int, *, which: str, **arguments) -> Built:
    """Return one of the small programs. which: attack | gather | augment | mosaic."""
    makers = dict(attack=_attack, gather=_gather, augment=_augment, mosaic=_mosaic)
    return makers[which](**arguments)


def _attack(*, config: str, words: str = "", steps: int = 100) -> Built:
    """Return an attack as jaxcert/attack.py runs it, on a batch of the config's
    certificate."""
    given = shapes.load(config, words)
    model, count = shapes.model_of(given), given.certify.batch
    params, state = target.on(shapes.prepared(model))
    name = audits.DEFAULT[model.norm]
    search = pgd.pgd if name == "pgd" else partial(apgd.apgd, loss=apgd.dlr)

    def moved(params, state, keys, image, label, eps):
        def logits(image):
            return model.apply(params, state, image)[0]

        start = pgd.random_start(keys, image, eps, model.norm)
        return search(
            logits, image, label, eps=eps, norm=model.norm, start=start, steps=steps
        )

    keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), count))
    given_shapes = (
        keys,
        shapes.images(model, count),
        shapes.Shape((count,), jnp.int32),
        shapes.Shape((count,), jnp.float32),
    )
    lowered = jax.jit(moved).lower(params, state, *target.on(given_shapes))
    return Built(lowered, count, dict(batch=count, steps=steps, attack=name))


def _gather(*, batch: int = 256) -> Built:
    held = REAL + GENERATED
    lowered = jax.jit(partial(loader.gathered, real=REAL)).lower(
        *target.on(
            (
                shapes.Shape((held, 32, 32, 3), jnp.uint8),
                shapes.Shape((held,), jnp.int32),
                shapes.Shape((batch,), jnp.int8),
                shapes.Shape((batch,), jnp.int32),
            )
        )
    )
    return Built(
        lowered, batch, dict(batch=batch, images=held), 2 * batch * 32 * 32 * 3
    )


def _augment(*, config: str, words: str = "") -> Built:
    given = shapes.load(config, words)
    model, batch = shapes.model_of(given), given.data.batch
    data = {
        "image": shapes.images(model, batch, jnp.uint8),
        "label": shapes.Shape((batch,), jnp.int32),
        "real": shapes.Shape((batch,), bool),
        "index": shapes.Shape((batch,), jnp.int32),
    }
    move = jax.jit(partial(augment, **given.data.augment))
    lowered = move.lower(shapes.key(), target.on(data))
    return Built(lowered, batch, dict(batch=batch, image=list(model.image_shape)))


def _mosaic(*, p: str, step: bool, batch: int = 512, width: int = 5120) -> Built:
    powers = {"8": 8, "inf": None}

    def distances(x, w, power):
        p_ = powers.get(p, power)
        return norm_dist(x, w, p_, implementation="mosaic_gpu")

    def both(x, w, power, g):
        y, pull = jax.vjp(lambda x, w: distances(x, w, power), x, w)
        return y, pull(g)

    x, w, g = (
        target.on(shapes.Shape(size, jnp.float32))
        for size in ((batch, width), (width, width), (batch, width))
    )
    power = target.on(shapes.Shape((), jnp.float32))
    arguments = (x, w, power, g) if step else (x, w, power)
    lowered = jax.jit(both if step else distances).lower(*arguments)
    return Built(lowered, batch, dict(batch=batch, inputs=width, outputs=width, p=p))
