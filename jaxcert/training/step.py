"""The training step: one jit over the `data` mesh axis for every method.

A program is a step, or with data.placement=epoch the steps of an epoch in one loop, which
takes the same batches and keys. There nothing is read, evaluated or saved within an epoch.

    k_aug, k_loss = split(fold_in(key, step))
    loss, grads   = method.loss(params, ..., augment(k_aug, batch), k_loss, step, phase)
    params        = params + tx(grads);  ema = decay ema + (1 - decay) params

The state and the running totals are donated. Metrics are summed on the device and read
once per interval; the first step whose loss or gradient was not finite is among them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree
from jax.sharding import Mesh, PartitionSpec

from jaxcert import sharding
from jaxcert.data.loader import Epoch
from jaxcert.interfaces import Array, Batch, Key, Method, PyTree, TrainState
from jaxcert.training import manifold

NEVER = np.iinfo(np.int32).max


class Totals(NamedTuple):
    """Sums of metrics over the steps since they were last read."""

    steps: Array
    bad_step: Array
    """int32, first step whose loss, gradient or new parameters were not finite; NEVER if
    none"""
    sums: dict[str, Array]


def init_state(
    init: Callable[[Key], tuple[PyTree, PyTree]],
    tx: optax.GradientTransformation,
    *,
    key: Key,
    extra: PyTree,
    ema: bool,
) -> TrainState:
    """init: Model.init, or what else gives (params, model state). extra: the method's
    tables, which may be as large as the data set. ema: whether the weights are averaged."""
    params, model_state = init(key)
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        model_state=model_state,
        extra=extra,
        opt_state=tx.init(params),
        # a copy: a donated state must not hold one buffer twice
        ema=jax.tree.map(jnp.copy, params) if ema else None,
    )


class Step(NamedTuple):
    """step(state, totals, batch, key, *, phase) -> (state, totals), jitted; totals None: start
    new ones. `phase` is static: each name compiles its own step. batch: a Batch, or an Epoch,
    of which all steps are taken."""

    run: Callable[..., tuple[TrainState, Totals]]
    lower: Callable[..., Any]
    """(state, batch, key, *, phase=None, platforms=None) -> the program, not compiled yet; the
    arguments may be shapes, and platforms are those of the mesh if None"""

    def __call__(self, *work, **phase) -> tuple[TrainState, Totals]:
        return self.run(*work, **phase)


def compile(
    method: Method,
    tx: optax.GradientTransformation,
    *,
    augment: Callable[[Key, Batch], Batch],
    mesh: Mesh,
    ema: Callable[[Array], Array] | None = None,
    accumulate: int = 1,
    batch_statistics: str = "global",
) -> Step:
    """Return the training step.

    ema: step -> decay of the averaged weights per optimizer step, which comes every
    `accumulate` micro-batches; None: there are none. batch_statistics: "global", or "device"
    for `on_each_device`.
    """
    everywhere = sharding.replicated(mesh)
    separate = batch_statistics == "device" and mesh.shape["data"] > 1

    def step(state, totals, batch, key, phase):
        k_aug, k_loss = jax.random.split(jax.random.fold_in(key, state.step))
        batch = augment(k_aug, batch)

        take = jax.value_and_grad(lambda *a: method.loss(*a, phase), has_aux=True)
        if separate:
            take = on_each_device(take, mesh)
        tables = state.params, state.model_state, state.extra
        (value, (model_state, metrics)), grads = take(
            *tables, batch, k_loss, state.step
        )
        updates, opt_state = tx.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        average = state.ema
        if ema:
            moves = (state.step + 1) % accumulate == 0
            decay = jnp.where(moves, ema(state.step), 1.0)
            average = jax.tree.map(
                lambda a, p: decay * a + (1 - decay) * p, average, params
            )
        norm = optax.tree.norm(grads)
        finite = jnp.isfinite(value) & jnp.isfinite(norm + optax.tree.norm(params))
        own = manifold.metrics(opt_state)
        metrics = {"loss": value, **metrics, "grad_norm": norm, **own}
        totals = Totals(
            steps=totals.steps + 1,
            bad_step=jnp.minimum(totals.bad_step, jnp.where(finite, NEVER, state.step)),
            sums={k: totals.sums.get(k, 0.0) + v for k, v in metrics.items()},
        )
        state = TrainState(
            state.step + 1, params, model_state, state.extra, opt_state, average
        )
        return state, totals

    def steps(state, totals, work, key, phase):
        if not isinstance(work, Epoch):
            return step(state, totals, work, key, phase)
        return work.batches(
            (state, totals), lambda carried, batch: step(*carried, batch, key, phase)
        )

    def on_mesh(*arguments):  # known to operations that work shard by shard
        with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
            return steps(*arguments)

    jitted = jax.jit(
        on_mesh, static_argnums=4, donate_argnums=(0, 1), out_shardings=everywhere
    )

    empty: dict[str | None, Totals] = {}

    def start(state, batch, key, phase):
        if phase not in empty:
            if isinstance(batch, Epoch):  # of which a step takes one
                batch = jax.eval_shape(Epoch.first, batch)
            shapes = jax.eval_shape(
                lambda *a: step(*a, phase)[1], state, _empty({}), batch, key
            )
            empty[phase] = _empty(shapes.sums)
        return empty[phase]

    def run(state, totals, batch, key, *, phase=None):
        totals = totals or sharding.replicate(start(state, batch, key, phase), mesh)
        return jitted(state, totals, batch, key, phase)

    def lower(state, batch, key, *, phase=None, platforms=None):
        totals = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=everywhere),
            start(state, batch, key, phase),
        )
        traced = jitted.trace(state, totals, batch, key, phase)
        return traced.lower(lowering_platforms=platforms)

    return Step(run, lower)


def on_each_device(take: Callable, mesh: Mesh) -> Callable:
    """`take`, the loss with its gradient, of the images of each device by themselves.

    Batch statistics are those of a device's images, with all their noisy copies, as in
    PyTorch's DataParallel, and device d draws from fold_in(key, d). Loss, metrics and gradient
    are the means over devices, the model state is that of device 0, as DataParallel keeps it:
    one sum over devices in all.
    """

    def one(params, model_state, extra, batch, key, number):
        device = jax.lax.axis_index("data")
        key = jax.random.fold_in(key, device)
        found = take(params, model_state, extra, batch, key, number)
        (value, (model_state, metrics)), grads = found
        model_state = jax.tree.map(lambda a: jnp.where(device == 0, a, 0), model_state)
        mean = (value, metrics, grads)
        mean = jax.tree.map(lambda a: a / mesh.shape["data"], mean)
        flat, unflatten = ravel_pytree((mean, model_state))
        mean, model_state = unflatten(jax.lax.psum(flat, "data"))
        value, metrics, grads = mean
        return (value, (model_state, metrics)), grads

    whole, split = PartitionSpec(), PartitionSpec("data")
    specs = (whole, whole, whole, split, whole, whole)
    return jax.shard_map(
        one, mesh=mesh, in_specs=specs, out_specs=whole, check_vma=False
    )


def _empty(sums) -> Totals:
    zeros = {k: np.zeros((), s.dtype) for k, s in sums.items()}
    return Totals(np.zeros((), np.int32), np.array(NEVER, np.int32), zeros)
