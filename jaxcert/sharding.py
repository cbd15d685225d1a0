"""Devices: one mesh axis `data`; the state is replicated, batches are split.

This is what pmap does since it became jit over a mesh: XLA adds the all-reduce of the
gradient. Batch statistics are global and random numbers do not depend on the device count,
unless config.batch_statistics is "device" (step.on_each_device).
"""

from __future__ import annotations

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from jaxcert import random_keys
from jaxcert.errors import one_of
from jaxcert.ops import linalg


def use_precision(name: str) -> None:
    """Sets how this process multiplies float32 numbers.

    default   convolutions and dense layers as the device does it: TF32 on GPUs, bfloat16
              passes on TPUs, float32 on CPUs
    highest   those as well in float32
    tf32x3    as default, and on GPUs the steps of Newton-Schulz and of the odd polynomials
              by three TF32 products each (ops.linalg.iterated)

    Otherwise what makes kernels orthogonal, estimates norms or bounds anything is float32
    whatever the name, and certificates are float64. The other settings of JAX that change
    numbers or stop programs become the library's own. Raises InputError for another name.
    """
    one_of(("highest", "default", "tf32x3"), precision=name)
    value = name if name == "highest" else None
    jax.config.update("jax_default_matmul_precision", value)
    linalg.iterate_in_three_products(name == "tf32x3")
    random_keys.pin()


def data_mesh() -> Mesh:
    """Return a mesh of all devices of all processes along `data`."""
    return _mesh(jax.devices())


def local_mesh() -> Mesh:
    """Return a mesh of the devices of this process along `data`."""
    return _mesh(jax.local_devices())


def replicated(mesh: Mesh) -> NamedSharding:
    return NamedSharding(mesh, PartitionSpec())


def replicate(tree, mesh: Mesh):
    """Put host arrays, equal on every process, onto every device."""
    sharding = replicated(mesh)

    def put(leaf):
        leaf = np.asarray(leaf)
        return jax.make_array_from_callback(leaf.shape, sharding, lambda i: leaf[i])

    return jax.tree.map(put, tree)


def agreed(value: float) -> float:
    """Return the first process' value on all of them."""
    if jax.process_count() == 1:
        return value
    from jax.experimental import multihost_utils

    mine = np.float32(0 if value is None else value)
    return float(multihost_utils.broadcast_one_to_all(mine))


def to_host(tree):
    """Return replicated device arrays as numpy arrays, also where other processes hold
    shards."""
    return jax.tree.map(lambda leaf: np.asarray(leaf.addressable_data(0)), tree)


def _mesh(devices) -> Mesh:
    types = (AxisType.Auto,)
    return jax.make_mesh((len(devices),), ("data",), axis_types=types, devices=devices)
