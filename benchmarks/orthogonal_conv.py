"""LOT: the times of an orthogonal convolution and of a training step with it.

Each layer in parity mode, ten Newton steps on both sides, and in minimax mode, against the
same ten steps. On a CPU one layer of each early stage; on a GPU the layer that dominates and
the whole step of LipConvNet-40.

Minimax mode is another function on singular values that ten steps leave far from 1 (they
end nearer to 1). Its rows therefore take kernels near the identity, as trained ones are,
where both reach 1 to 2e-4 and outputs agree to that; gradients, which see how a value got
there, to less.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks import floors, training, weights
from benchmarks.suite import SIDES, Job, Program, Row

LAYERS = ((32, 32), (64, 16), (128, 8))  # channels, side


def rows(device: str, tiny: bool) -> list[Row]:
    if tiny:
        layer = _layer_row(dict(channels=4, side=4, batch=2), "step")
        fast = _layer_row(dict(channels=4, side=4, batch=2, polar="minimax"), "step")
        network = dict(blocks=2, stages=1, width=8, batch=3)
        return [layer, fast, _network_row(network)]
    if device == "cpu":
        shapes = [dict(channels=c, side=n, batch=64) for c, n in LAYERS]
        shapes = [{**s, **mode} for mode in ({}, dict(polar="minimax")) for s in shapes]
        steps = [_layer_row(s, "step") for s in shapes]
        return steps + [_layer_row(s, "forward") for s in shapes if s["side"] == 16]
    network = _network_row(dict(blocks=8, stages=5, width=32, batch=256))
    # TF32 in its convolutions: not in the float32 of the peers'
    rounded = dict(loss=2e-3, first=1e-2, last=1e-2)
    layer = dict(channels=512, side=2, batch=256)
    fast = {**layer, "polar": "minimax"}
    layers = [_layer_row(layer, "step"), _layer_row(fast, "step")]
    return [network._replace(tolerance=rounded), *layers]


def layers_of(shape: dict[str, Any]) -> list[floors.Torus]:
    """Return the LOT layers of a row."""
    if "blocks" not in shape:
        return [floors.Torus(shape["side"] + 2, shape["channels"], shape["channels"])]
    return floors.lot_layers(
        shape["blocks"], stages=shape["stages"], width=shape["width"]
    )


def kernel_of(shape: dict[str, Any]) -> np.ndarray:
    """Return the raw kernel [3,3,C,C] of a layer's row."""
    (raw,) = weights.lot(layers_of(shape))
    if "polar" not in shape:
        return raw.kernel
    kernel = np.float32(0.3) * raw.kernel
    kernel[1, 1] += np.eye(shape["channels"], dtype=np.float32)
    return kernel


def jaxcert(row: Row, device: str) -> Job:
    return _network(row.shape) if "blocks" in row.shape else _layer(row.shape)


def _layer_row(shape: dict[str, Any], which: str) -> Row:
    shape = {**shape, "pass": which}
    passes = 3 if which == "step" else 1
    fast = "polar" in shape
    # ten Newton steps amplify rounding on badly conditioned frequencies
    loose = 10 if fast else 1
    gradients = dict(dx=1e-4 * loose, dkernel=1e-3 * loose) if which == "step" else {}
    return Row(
        "LOT convolution",
        shape,
        "float32",
        tolerance=dict(y=1e-4 * loose, **gradients),
        flops=(not fast) * passes * floors.lot_least(layers_of(shape), shape["batch"]),
        rate="tf32x3",
        items=shape["batch"],
        sides=("jaxcert", "peer") if fast else SIDES,
    )


def _network_row(shape: dict[str, Any]) -> Row:
    return Row(
        "LOT training step",
        shape,
        "float32",
        tolerance=dict(loss=1e-4, first=1e-3, last=1e-3),
        flops=3 * floors.lot_least(layers_of(shape), shape["batch"]),
        rate="tf32x3",
        items=shape["batch"],
    )


def _layer(shape: dict[str, Any]) -> Job:
    import jax
    import jax.numpy as jnp

    from jaxcert.nn import lot

    b, n, c = shape["batch"], shape["side"], shape["channels"]
    polar = shape.get("polar", "newton_schulz")
    arrays = (kernel_of(shape), weights.normal(b, n, n, c, seed=1))
    kernel, x, out = map(jnp.asarray, (*arrays, weights.normal(b, n, n, c, seed=2)))

    def forward(kernel, x):
        q = lot.orthogonal_kernel(kernel, n, polar=polar)
        return lot.conv(x, q, kernel_size=3)

    @jax.jit
    def compute(kernel, x, out):
        with jax.default_matmul_precision("highest"):
            if shape["pass"] == "forward":
                return dict(y=forward(kernel, x))
            y, pull = jax.vjp(forward, kernel, x)
            dkernel, dx = pull(out)
            return dict(y=y, dx=dx, dkernel=dkernel)

    def run():
        return jax.block_until_ready(compute(kernel, x, out))

    def output(reference):
        return {name: np.asarray(a) for name, a in run().items()}

    return Job(run, output, lambda: Program(compute, (kernel, x, out)))


def _network(shape: dict[str, Any]) -> Job:
    """Return the library's own training step; the batch is already on the device."""
    import jax

    from jaxcert import sharding
    from jaxcert.interfaces import Run, TrainState
    from jaxcert.methods import lot as method
    from jaxcert.models import lip_convnet
    from jaxcert.training import optim, step

    sharding.use_precision(training.PRECISION)
    side = 2 ** shape["stages"]
    model = lip_convnet.make(
        image_shape=(side, side, 3),
        blocks=shape["blocks"],
        stages=shape["stages"],
        width=shape["width"],
        mean=weights.MEAN,
        std=weights.LOT_STD,
    )
    run_of = Run(steps_per_epoch=196, total_steps=196, data_size=50_000)
    loss = method.make(model, run_of, gamma=0.0)
    tx = optim.make(run_of, schedule="constant", lr=0.1, momentum=0.9)
    mesh = sharding.data_mesh()
    batch = dict(
        image=weights.images(shape["batch"], side),
        label=weights.labels(shape["batch"]),
    )
    batch = sharding.replicate(batch, mesh)
    train = step.compile(loss, tx, augment=lambda key, batch: batch, mesh=mesh)
    key = jax.random.key(0)
    whole = training.program(train, mesh)

    def fresh():
        raw = weights.lot(layers_of(shape))
        names = _names(shape)
        params = {n: a._asdict() for n, a in zip(names, raw, strict=True)}
        start = jax.jit(tx.init)(params)
        state = TrainState(np.zeros((), np.int32), params, {}, (), start, None)
        state = sharding.replicate(state, mesh)
        return state, training.totals(train, mesh, state, batch, key)

    carried = [fresh()]

    def run():
        carried[0] = jax.block_until_ready(whole(*carried[0], batch, key))

    def output(reference):
        state, totals = whole(*fresh(), batch, key)
        first, last = (state.params[_names(shape)[i]]["kernel"] for i in (0, -1))
        found = dict(loss=totals.sums["loss"], first=first, last=last)
        return {name: np.asarray(a) for name, a in found.items()}

    return Job(run, output, lambda: Program(whole, (*fresh(), batch, key)))


def _names(shape: dict[str, Any]) -> list[str]:
    """Return the layers of the parameter tree from the first convolution to the head."""
    stages, blocks = range(1, shape["stages"] + 1), range(shape["blocks"])
    return [f"conv{stage}_{i}" for stage in stages for i in blocks] + ["last"]
