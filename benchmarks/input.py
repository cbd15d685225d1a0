"""Measures whether the input keeps up: batches per second of both executors of the data
plan, over 50,000 real and 200,000 generated images, batch 256, 30% real.

The figure is images per second, and its ratio to what `train_step` consumed in the same
run, which should be at least 2. Without Grain there is only the device's executor.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import numpy as np

from benchmarks.suite import Job, Row

BATCHES = 40


def rows(device: str, tiny: bool) -> list[Row]:
    sizes = dict(real=64, generated=256, side=8, batch=16)
    if not tiny:
        sizes = dict(real=50_000, generated=200_000, side=32, batch=256)
    placements = ("device", "host") if find_spec("grain") else ("device",)
    return [
        Row(
            "input",
            {**sizes, "placement": placement},
            "uint8",
            items=BATCHES * sizes["batch"],
            sides=("jaxcert",),
        )
        for placement in placements
    ]


def jaxcert(row: Row, device: str) -> Job:
    import itertools

    import jax

    from jaxcert import sharding
    from jaxcert.data import loader, mixture

    shape = row.shape
    real, generated = (_source(shape, name) for name in ("real", "generated"))
    mixed = mixture.make(shape["real"], shape["generated"], batch=shape["batch"])
    stream = loader.batches(
        real,
        generated,
        mixed,
        0,
        mesh=sharding.data_mesh(),
        total=1 << 30,
        placement=shape["placement"],
    )

    def run():
        for batch in itertools.islice(stream, BATCHES):
            last = batch
        jax.block_until_ready(last)

    return Job(run)


def _source(shape: dict[str, Any], name: str):
    from jaxcert.data.sources import Source

    count, side = shape[name], shape["side"]
    rng = np.random.default_rng(count)
    image = rng.integers(0, 256, (count, side, side, 3), np.uint8)
    return Source(image, rng.integers(0, 10, count, np.int32), 10, name)
