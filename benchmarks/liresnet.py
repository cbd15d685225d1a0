"""LiResNet: the time of a training step of GloRo.

Forward, Lipschitz constant by power iteration, emma_fixed at eps 36/255, AdamW clipped at
norm 3; the batch fixed, on the device. Parity mode has ten power steps; those of the
published code are differentiated, here on all sides the last |Mx| alone is. The rows of
two steps time the library's default against the published ten; outputs are compared at
two. Float32 products in the precision of the shipped configs: layers as the device does it
(TF32, as PyTorch's convolutions), norms in float32.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks import floors, training, weights
from benchmarks.suite import Job, Program, Row

RATE, DECAY, CLIP = 1e-3, 1e-4, 3.0
EPS = 36 / 255
PUBLISHED_STEPS = 10

# the loss of two steps, norms of the first and the last kernel after one, their gradients
EXACT = dict(loss=1e-5, next_loss=1e-4, norms=1e-5, stem=1e-3, head=1e-4)
# bfloat16 in PyTorch on a CPU: 2e-4, 7e-3, 6e-5, 0.33 and 8e-3
ROUNDED = dict(loss=0.02, next_loss=0.05, norms=1e-3, stem=1.0, head=0.1)


def rows(device: str, tiny: bool) -> list[Row]:
    if tiny:
        shape = dict(depth=2, width=4, dense=6, side=16, batch=3)
        return [_row(shape, steps, low=False) for steps in (PUBLISHED_STEPS, 2)]
    if device == "cpu":
        shape = dict(depth=6, width=64, dense=256, side=32, batch=64)
        return [_row(shape, steps, low=False) for steps in (PUBLISHED_STEPS, 2)]
    same = dict(dense=512, side=32, batch=256)
    small, large = dict(depth=12, width=128, **same), dict(depth=18, width=256, **same)
    plan = ((small, PUBLISHED_STEPS), (large, PUBLISHED_STEPS), (large, 2))
    return [_row(shape, steps, low=True) for shape, steps in plan]


def jaxcert(row: Row, device: str) -> Job:
    import jax
    import optax

    train, fresh, fixed = trainer(row.shape)
    carried = [fresh()]

    def run():
        carried[0] = jax.block_until_ready(train(*carried[0], *fixed))

    def output(reference):
        state, totals = train(*fresh(), *fixed)
        ends = _ends(state.params)
        gradients = _ends(optax.tree.get(state.opt_state, "mu"))
        first = np.array(totals.sums["loss"])
        _, after = train(state, totals, *fixed)
        losses = dict(loss=first, next_loss=after.sums["loss"] - first)
        found = dict(**losses, norms=[np.linalg.norm(k) for k in ends.values()])
        return {name: np.asarray(a) for name, a in {**found, **gradients}.items()}

    return Job(run, output, lambda: Program(train, (*fresh(), *fixed)))


def trainer(shape: dict[str, Any]):
    """Return (train, fresh, fixed): the library's step, train(state, totals, *fixed),
    jitted, and the function that makes a first state and totals."""
    import jax

    from jaxcert import sharding
    from jaxcert.interfaces import Run, TrainState
    from jaxcert.methods import gloro
    from jaxcert.models import liresnet
    from jaxcert.training import optim, step

    sharding.use_precision(training.PRECISION)
    side, mesh = shape["side"], sharding.data_mesh()
    model = liresnet.make(
        image_shape=(side, side, 3),
        depth=shape["depth"],
        width=shape["width"],
        dense=shape["dense"],
        power_steps=shape["power_steps"],
    )
    run = Run(steps_per_epoch=195, total_steps=195, data_size=50_000)
    method = gloro.make(model, run, eps=EPS, loss="emma_fixed", first=1.0, last=1.0)
    tx = optim.make(
        run,
        name="adamw",
        lr=RATE,
        weight_decay=DECAY,
        schedule="constant",
        clip_norm=CLIP,
    )
    batch = dict(
        image=weights.images(shape["batch"], side), label=weights.labels(shape["batch"])
    )
    batch, key = sharding.replicate(batch, mesh), jax.random.key(0)
    one_step = step.compile(method, tx, augment=lambda key, batch: batch, mesh=mesh)

    def fresh():
        params, state = parameters(shape)
        start = jax.jit(tx.init)(params)
        first = TrainState(np.zeros((), np.int32), params, state, (), start, None)
        first = sharding.replicate(first, mesh)
        return first, training.totals(one_step, mesh, first, batch, key)

    return training.program(one_step, mesh), fresh, (batch, key)


def parameters(shape: dict[str, Any]) -> tuple[Any, Any]:
    """Return the (params, state) that all sides start from."""
    names = ("depth", "width", "dense", "side")
    return weights.liresnet(**{name: shape[name] for name in names})


def _row(shape: dict[str, Any], steps: int, *, low: bool) -> Row:
    parity = steps == PUBLISHED_STEPS
    return Row(
        "GloRo training step LiResNet"
        + ("" if parity else f", {steps} power steps (peer {PUBLISHED_STEPS})"),
        {**shape, "power_steps": steps},
        "float32",
        tolerance=ROUNDED if low else EXACT,
        flops=floors.liresnet_train(**shape, power_steps=steps),
        rate="tf32",
        items=shape["batch"],
    )


def _ends(tree) -> dict[str, np.ndarray]:
    """Return copies, because the next step takes over the buffers."""
    return {name: np.array(tree[name]["kernel"]) for name in ("stem", "head")}
