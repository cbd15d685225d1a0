"""A training step of the library as one jitted function with all it needs as arguments, so
that it can be compiled before it is called."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

PRECISION = "default"
"""The precision of the shipped configs, which need ml_collections, that a machine may
not have."""


def program(one_step: Callable, mesh: Any):
    """Return the jitted step (state, totals, batch, key) -> (state, totals), where
    state and totals are donated.

    one_step: that of `training.step.compile` on this mesh.
    """
    import jax

    from jaxcert import sharding

    def train(state, totals, batch, key):
        return one_step(state, totals, batch, key)

    # sharded as they came in, so that a second call compiles nothing
    everywhere = sharding.replicated(mesh)
    return jax.jit(train, donate_argnums=(0, 1), out_shardings=everywhere)


def totals(one_step: Callable, mesh: Any, *inputs: Any):
    """Return zero totals of the step, on the mesh. inputs: state, batch, key."""
    import jax
    import numpy as np

    from jaxcert import sharding
    from jaxcert.training import step

    state, *rest = inputs
    shapes = jax.eval_shape(lambda *a: one_step(*a)[1], state, None, *rest)
    zeros = jax.tree.map(lambda s: np.zeros(s.shape, s.dtype), shapes)
    return sharding.replicate(zeros._replace(bad_step=np.int32(step.NEVER)), mesh)
