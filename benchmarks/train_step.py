"""Gaussian training of a ResNet: the library's step on images that lie on the device.

On a CPU one step per call, the batch fixed. On a GPU an epoch of 196 steps is one
program: batches are gathered from uint8 images, cropped and mirrored within it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks import floors, training, weights
from benchmarks.suite import Job, Program, Row

RATE, MOMENTUM, DECAY = 0.1, 0.9, 1e-4


def rows(device: str, tiny: bool) -> list[Row]:
    if tiny:
        return [_row(depth=8, side=8, batch=4, steps=2, data=16, dtype="float32")]
    if device == "cpu":
        return [_row(depth=20, side=32, batch=64, steps=1, data=64, dtype="float32")]
    epoch = dict(depth=110, side=32, batch=256, steps=196, data=50_000)
    return [_row(**epoch, dtype="bfloat16")]


def uint8_images(shape: dict[str, Any]) -> np.ndarray:
    """Return uint8 images [data,side,side,3]."""
    size = (shape["data"], shape["side"], shape["side"], 3)
    return np.random.default_rng(1).integers(0, 256, size, np.uint8)


def order(shape: dict[str, Any]) -> np.ndarray:
    """Return the image numbers of every step, int32 [steps,batch]."""
    size = (shape["steps"], shape["batch"])
    return np.random.default_rng(2).integers(0, shape["data"], size, np.int32)


def changes(before: dict[str, Any], after: dict[str, Any]) -> dict[str, np.ndarray]:
    """Return what a step changed in the first and the last kernel, which is nearly the
    gradient."""
    return {k: np.asarray(after[k]) - np.asarray(before[k]) for k in ("stem", "head")}


def jaxcert(row: Row, device: str) -> Job:
    import jax

    from jaxcert.models import resnet

    shape = row.shape
    side = shape["side"]
    model = resnet.make(
        depth=shape["depth"], image_shape=(side, side, 3), dtype=row.dtype
    )
    tree = weights.resnet_tree(*weights.resnet(shape["depth"]))
    train, fresh = _trainer(model, shape)
    data = jax.device_put((uint8_images(shape), weights.labels(shape["data"])))
    plan, key = jax.device_put(order(shape)), jax.random.key(0)
    carried = [fresh(*tree)]

    def run():
        carried[0] = jax.block_until_ready(
            train(*carried[0], data, plan, shape["steps"], key)
        )

    def output(reference):
        state, totals = train(*fresh(*tree), data, plan, 1, key)
        found = changes(_ends(tree[0]), _ends(state.params))
        running = state.model_state["batch_stats"]["stem_bn"]["var"]
        inputs = dict(input_noisy=_noisy(model, shape, data, plan, key))
        loss = np.asarray(totals.sums["loss"])
        return dict(**inputs, **found, loss=loss, var=np.asarray(running))

    def program():
        args = (*fresh(*tree), data, plan, shape["steps"], key)
        return Program(train, args, loops=shape["steps"])

    return Job(run, output, program)


def _row(*, dtype: str, **shape: int) -> Row:
    images = shape["batch"] * shape["steps"]
    low = dtype == "bfloat16"
    flops, n_bytes = floors.train(
        shape["depth"], images, itemsize=2 if low else 4, side=shape["side"]
    )
    # PyTorch's own layouts differ by 1.4e-3 in the stem's gradient, at 20 layers
    exact = dict(loss=1e-5, var=1e-5, stem=5e-3, head=1e-4)
    rounded = dict(loss=0.02, var=0.02, stem=1.0, head=0.1)
    return Row(
        f"Gaussian training ResNet-{shape['depth']}",
        {**shape, "sigma": 0.25},
        dtype,
        tolerance=rounded if low else exact,
        flops=flops,
        bytes=n_bytes,
        rate="bfloat16" if low else "tf32",
        items=images,
    )


def _trainer(model, shape: dict[str, Any]):
    """Return (train, fresh): train(state, totals, data, plan, steps, key) runs that
    many steps, `steps` traced, so that one program serves the epoch and the comparison."""
    import functools

    import jax
    import jax.numpy as jnp

    from jaxcert import sharding
    from jaxcert.data.augment import augment
    from jaxcert.interfaces import Run, TrainState
    from jaxcert.methods import gaussian
    from jaxcert.training import optim, step

    run = Run(steps_per_epoch=196, total_steps=196, data_size=shape["data"])
    method = gaussian.make(model, run, sigma=shape["sigma"])
    tx = optim.make(
        run, schedule="constant", lr=RATE, momentum=MOMENTUM, weight_decay=DECAY
    )
    moves = dict(crop=4, flip=True) if shape["steps"] > 1 else {}
    mesh = sharding.data_mesh()
    one_step = step.compile(
        method,
        tx,
        augment=functools.partial(augment, **moves),
        mesh=mesh,
    )

    def batch_of(data, chosen):
        real = jnp.ones(len(chosen), bool)
        return dict(image=data[0][chosen], label=data[1][chosen], real=real)

    def fresh(params, model_state):
        start = jax.jit(tx.init)(params)
        state = TrainState(np.int32(0), params, model_state, (), start, None)
        state = sharding.replicate(state, mesh)
        batch = batch_of(_example(shape), np.arange(shape["batch"]))
        return state, training.totals(one_step, mesh, state, batch, jax.random.key(0))

    donated = dict(donate_argnums=(0, 1), out_shardings=sharding.replicated(mesh))

    @functools.partial(jax.jit, **donated)
    def epoch(state, totals, data, plan, steps, key):
        def body(i, carry):
            return one_step(*carry, batch_of(data, plan[i]), key)

        return jax.lax.fori_loop(0, steps, body, (state, totals))

    @functools.partial(jax.jit, **donated)
    def single(state, totals, data, plan, steps, key):
        return one_step(state, totals, batch_of(data, plan[0]), key)

    return (epoch if shape["steps"] > 1 else single), fresh


def _noisy(model, shape, data, plan, key) -> np.ndarray:
    """Return the noisy images that the first step sees, by a network in place of the
    real one that keeps its input."""
    import jax.numpy as jnp

    def keep(params, state, x, *, train=False, key=None):
        return jnp.zeros((len(x), 10)) + params["bias"], {"seen": x}

    train, fresh = _trainer(model._replace(apply=keep), shape)
    size = (shape["batch"], shape["side"], shape["side"], 3)
    start = fresh({"bias": np.zeros(10)}, {"seen": np.zeros(size, np.float32)})
    state, _ = train(*start, data, plan, 1, key)
    return np.asarray(state.model_state["seen"])


def _example(shape):
    side = shape["side"]
    images = np.zeros((shape["batch"], side, side, 3), np.uint8)
    return images, np.zeros(shape["batch"], np.int32)


def _ends(params) -> dict[str, Any]:
    return {name: params[name]["kernel"] for name in ("stem", "head")}
