"""The deterministic certificates: float64 on float32 weights, as certificates/lipschitz.py
and interval.py run them."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from benchmarks.compiled import shapes, target
from benchmarks.compiled.programs import Built
from jaxcert.certificates import interval, lipschitz

IMAGES = 512


def build(devices: int, *, config: str, words: str, which: str) -> Built:
    """Return the program of a deterministic certificate. which: forward | interval |
    prepare."""
    given = shapes.load(config, words)
    with jax.enable_x64(True):
        model = shapes.model_of(given)
        params, state = map(_wide, shapes.network(model))
        if which == "prepare":
            lowered = jax.jit(model.prepare).lower(*target.on((params, state)))
            return Built(lowered, 1, dict(image=list(model.image_shape)))
        state = jax.eval_shape(model.prepare, params, state)
        params, state, image = target.on(
            (params, state, shapes.images(model, IMAGES, jnp.float64))
        )
        if which == "forward":
            lowered = lipschitz.logits_of.lower(model.apply, params, state, image)
        else:
            label = target.on(shapes.Shape((IMAGES,), jnp.int64))
            eps = target.on(shapes.Shape((), jnp.float64))
            lowered = interval.margins_of.lower(
                model.interval_margins, params, state, image, label, eps
            )
    return Built(lowered, IMAGES, dict(batch=IMAGES, image=list(model.image_shape)))


def _wide(tree):
    def wide(x):
        exact = jnp.issubdtype(x.dtype, jnp.floating)
        return shapes.Shape(x.shape, jnp.float64 if exact else x.dtype)

    return jax.tree.map(wide, tree)
