"""A training step of the library as one jitted function with all it needs as arguments, so
that it can be compiled before it is called."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

PRECISION = "default"
"""Of the shipped configs; a machine may not have the ml_collections that they need."""


def program(one_step: Callable, mesh: Any):
    """(state, totals, batch, key) -> (state, totals), jitted; both are donated.

    one_step: of `training.step.compile` on this mesh.
    """
    import jax

    from jaxcert import sharding

    def train(state, totals, batch, key):
        return one_step(state, totals, batch, key)

    # as they came in: a second call compiles nothing
    everywhere = sharding.replicated(mesh)
    return jax.jit(train, donate_argnums=(0, 1), out_shardings=everywhere)


def totals(one_step: Callable, mesh: Any, *inputs: Any):
    """Zero totals of the step, on the mesh. inputs: state, batch, key."""
    import jax
    import numpy as np

    from jaxcert import sharding
    from jaxcert.training import step

    state, *rest = inputs
    shapes = jax.eval_shape(lambda *a: one_step(*a)[1], state, None, *rest)
    zeros = jax.tree.map(lambda s: np.zeros(s.shape, s.dtype), shapes)
    return sharding.replicate(zeros._replace(bad_step=np.int32(step.NEVER)), mesh)
