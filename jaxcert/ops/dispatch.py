"""Splitting batches over devices, and operations on every shard with one sum at their end.

The partitioner of XLA cannot see that a sum over images may wait until after a loop: it
would add over the devices in every iteration, once per input of a layer.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
from jax import lax
from jax.sharding import AxisType, NamedSharding, PartitionSpec


def split(x: jax.Array) -> jax.Array:
    """Return x [N,...] with its images split over the devices of the mesh in force.

    The partitioner does not see that images joined from several axes can be split: without
    this, every device computes the network on all of them.
    """
    mesh = jax.sharding.get_abstract_mesh()
    kinds = dict(zip(mesh.axis_names, mesh.axis_types, strict=True))
    if kinds.get("data") != AxisType.Auto or len(x) % mesh.shape["data"]:
        return x
    return lax.with_sharding_constraint(x, NamedSharding(mesh, PartitionSpec("data")))


def over_shards(f: Callable, batch: tuple, shared: tuple, *, axis: int):
    """Return f(*batch, *shared) = (a, b), where a has the batch axis of `batch` and b
    is a sum over it.

    Where the mesh in force (`jax.set_mesh`) has devices along `data` that divide `axis` of
    the arrays of `batch` (None stays None), f runs on each shard by itself and b is added
    over them once. Otherwise f runs as it is.
    """
    devices = dict(jax.sharding.get_abstract_mesh().shape).get("data", 1)
    sizes = {x.shape[axis] for x in batch if x is not None}
    if devices == 1 or any(size % devices for size in sizes):
        return f(*batch, *shared)
    split = PartitionSpec(*[None] * axis, "data")

    def one(*arguments):
        a, b = f(*arguments)
        return a, lax.psum(b, "data")

    specs = (*[split] * len(batch), *[PartitionSpec()] * len(shared))
    out = (split, PartitionSpec())
    run = jax.shard_map(one, in_specs=specs, out_specs=out, check_vma=False)
    return run(*batch, *shared)
