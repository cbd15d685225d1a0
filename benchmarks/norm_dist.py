"""Distances of norm p: one layer, forward and step, and the step of an l_inf-dist net.

A step is forward and backward. The net is the library's (models.dist_net, dense, training)
without its running means, which no gradient needs. p = 64.3 stands for any p and is traced,
as in training. On a GPU every row comes twice: by XLA and by the Mosaic kernels.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from benchmarks import floors, weights
from benchmarks.suite import SIDES, Job, Program, Row

POWERS = ("inf", 8, 64.3)
RING = 4  # different inputs in turn
PROBE = 64  # rows of each gradient that are compared
SEED = 20  # no two inputs tie for a maximum in these rows: peers differ there


def rows(device: str, tiny: bool) -> list[Row]:
    if device == "cpu" and not tiny:
        layer = dict(inputs=1024, outputs=1024, batch=64)
        return [
            row_of(layer, p, which) for p in POWERS for which in ("step", "forward")
        ]
    net = dict(inputs=3072, width=5120, depth=6, batch=512)
    layer = dict(inputs=5120, outputs=5120, batch=512)
    if tiny:
        net = dict(inputs=32, width=32, depth=2, batch=4)
        layer = dict(inputs=32, outputs=7, batch=4)
    found = []
    for shape, which in ((net, "step"), (layer, "step"), (layer, "forward")):
        for p in POWERS:
            found.append(row_of(shape, p, which, device=device))
            if device == "gpu":
                found.append(row_of(shape, p, which, "mosaic_gpu", device=device))
    found[0] = found[0]._replace(warm=SIDES[:2])  # the peer's kernels, for all rows
    return found


def sizes_of(shape: dict[str, Any]) -> list[int]:
    """Return the numbers of inputs of every layer, and of the outputs."""
    if "depth" not in shape:
        return [shape["inputs"], shape["outputs"]]
    return floors.dist_net(shape["inputs"], shape["width"], shape["depth"])


def batches(shape: dict[str, Any]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return inputs [B,D], as large as the weights, and cotangents of the outputs
    [B,O]."""
    sizes, b = sizes_of(shape), shape["batch"]
    scale = np.float32(weights.DISTANCE)
    return [
        (
            scale * weights.normal(b, sizes[0], seed=SEED + 2 * i),
            weights.normal(b, sizes[-1], seed=SEED + 2 * i + 1),
        )
        for i in range(RING)
    ]


def jaxcert(row: Row, device: str) -> Job:
    import jax
    import jax.numpy as jnp

    from jaxcert.nn.norm_dist import batch_mean
    from jaxcert.ops.norm_dist import norm_dist

    shape = row.shape
    implementation, p = shape["implementation"], shape["p"]
    power = (jnp.float32(p),) if isinstance(p, float) else ()
    static = None if p == "inf" else p
    ws = [jnp.asarray(w) for w in weights.distances(sizes_of(shape))]
    ring = [(jnp.asarray(x), jnp.asarray(g)) for x, g in batches(shape)]

    def forward(x, ws, p):
        for w in ws[:-1]:
            y = norm_dist(x, w, p, implementation=implementation)
            x = y - batch_mean(y)
        return norm_dist(x, ws[-1], p, implementation=implementation)

    @jax.jit
    def compute(x, g, ws, p=static):
        if shape["pass"] == "forward":
            return forward(x, ws, p), []
        y, pull = jax.vjp(lambda x, ws: forward(x, ws, p), x, ws)
        gx, gws = pull(g)
        return y, gws if len(ws) > 1 else [gx, *gws]

    turn = itertools.cycle(ring)

    def output(reference):
        y, gradients = compute(*ring[0], ws, *power)
        return named(np.asarray(y), [np.asarray(a[:PROBE]) for a in gradients])

    def run():
        return jax.block_until_ready(compute(*next(turn), ws, *power))

    return Job(run, output, lambda: Program(compute, (*ring[0], ws, *power)))


def named(y: np.ndarray, gradients: list[np.ndarray]) -> dict[str, np.ndarray]:
    """Return the outputs to compare: gradients of a layer's x and w, or of a net's
    weights."""
    if not gradients:
        return dict(y=y)
    return dict(y=y, first=gradients[0], last=gradients[-1])


def row_of(
    shape: dict[str, Any],
    p: str | int | float,
    which: str,
    implementation: str = "xla",
    *,
    device: str = "cpu",
) -> Row:
    step, sizes, batch = which == "step", sizes_of(shape), shape["batch"]
    operations, n_bytes, rate = floors.distances(sizes, batch, p, step=step)
    # r^p has p times the error of r, and of a fast logarithm
    gradients = dict(first=1e-3, last=1e-3) if step else {}
    alone = device == "gpu" and ("depth" in shape or isinstance(p, float))
    return Row(
        "l_p-dist net" if "depth" in shape else "l_p-dist layer",
        {**shape, "p": p, "pass": which, "implementation": implementation},
        "float32",
        tolerance=dict(y=1e-5, **gradients),
        flops=operations,
        bytes=n_bytes,
        rate=rate,
        items=floors.dist_evaluations(sizes, batch) * (2 if step else 1),
        sides=SIDES[:2] if alone else SIDES,
    )
