"""What all programs are built from: shipped configs, and shapes of networks."""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from benchmarks.compiled import target
from jaxcert import config as configs
from jaxcert import random_keys, sharding
from jaxcert.interfaces import Model, PyTree

_CONFIGS = Path(__file__).parents[2] / "configs"

Shape = jax.ShapeDtypeStruct


def load(config: str, words: str) -> ConfigDict:
    """Return a shipped config, and set its precision."""
    found = configs.load(f"{_CONFIGS / config}.py:{words}")
    sharding.use_precision(found.precision)
    return found


def network(model: Model) -> tuple[PyTree, PyTree]:
    """Return the shapes of a model's (params, state) as training leaves them."""
    return jax.eval_shape(model.init, random_keys.key(0))


def prepared(model: Model) -> tuple[PyTree, PyTree]:
    """Return the shapes of a model's (params, state) as a certificate takes them."""
    params, state = network(model)
    return params, jax.eval_shape(model.prepare, params, state)


def model_of(config: ConfigDict) -> Model:
    return configs.build("models", config.model)


def key(devices: int = 1) -> Shape:
    return target.on(jax.eval_shape(lambda: random_keys.key(0)), devices)


def images(model: Model, count: int, dtype=jnp.float32) -> Shape:
    return Shape((count, *model.image_shape), dtype)
