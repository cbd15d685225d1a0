"""Turns a flax module into an `interfaces.Model`, which is all that the other packages
see.

No other function calls linen's `apply`. A module takes `(x, train)`. One with a norm defines
`lipschitz(train) -> [K,K]` and `lipschitz_bound(tight, tell) -> Bound`, one with intervals
`interval_margins(lower, upper, label) -> [B,K]`. Collections:
`params`; `prepared`, explicit kernels that `prepare` writes once and evaluation reads;
every other one (`batch_stats`, power-iteration vectors) is state that a training pass may
update.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxcert.interfaces import Bound, Model


def from_linen(
    module: nn.Module,
    *,
    image_shape: tuple[int, int, int],
    num_classes: int,
    norm: str | None = None,
    intervals: bool = False,
    unconditional: bool | None = None,
    example: Mapping[str, Any] | None = None,
) -> Model:
    """Return the pure functions of a flax module as an `interfaces.Model`.

    image_shape: (H, W, C)
    norm, intervals: the norm of its Lipschitz constants, if it has any, and whether it
    has bounds over boxes. Raises TypeError where the module lacks the methods for them
    example: the arguments that a call with one image needs besides the image
    """
    constants = ("lipschitz", "lipschitz_bound") * (norm is not None)
    for name in constants + ("interval_margins",) * intervals:
        if not callable(getattr(module, name, None)):
            raise TypeError(f"{type(module).__name__} does not define {name}")
    shape, example = (1, *image_shape), example or {}
    run: Callable[..., Any] = module.apply  # a pair only where collections are mutable

    def init(key):
        variables = dict(module.init(key, jnp.zeros(shape), train=False, **example))
        params = variables.pop("params")
        variables.pop("prepared", None)
        return params, variables

    def apply(params, state, x, *, train=False, key=None, **inputs):
        variables = {"params": params, **state}
        if not train:
            return run(variables, x, train=False, **inputs), state
        keys = None if key is None else {"dropout": key}
        logits, updated = run(
            variables, x, train=True, mutable=list(state), rngs=keys, **inputs
        )
        return logits, dict(updated)

    def prepare(params, state):
        dtype = jax.tree.leaves(params)[0].dtype
        # what is there may have been prepared from other params
        state = {k: v for k, v in state.items() if k != "prepared"}
        _, prepared = run(
            {"params": params, **state},
            jnp.zeros(shape, dtype),
            train=False,
            mutable=["prepared"],
            **example,
        )
        return {**state, **prepared}

    def lipschitz(params, state, *, train=False):
        variables = {"params": params, **state}
        if not train:
            return run(variables, train=False, method="lipschitz"), state
        pairwise, updated = run(
            variables, train=True, method="lipschitz", mutable=list(state)
        )
        return pairwise, dict(updated)

    def lipschitz_bound(params, state, *, tight=True, tell=None) -> Bound:
        host = jax.tree.map(np.asarray, {"params": params, **state})
        return run(host, tight, tell, method="lipschitz_bound")

    def interval_margins(params, state, lower, upper, label):
        variables = {"params": params, **state}
        return run(variables, lower, upper, label, method="interval_margins")

    return Model(
        init=init,
        apply=apply,
        prepare=prepare,
        num_classes=num_classes,
        image_shape=image_shape,
        norm=norm,
        lipschitz=lipschitz if norm else None,
        lipschitz_bound=lipschitz_bound if norm else None,
        interval_margins=interval_margins if intervals else None,
        unconditional=unconditional,
    )
