"""An H200 described to XLA, which compiles for it on any machine, without a GPU."""

from __future__ import annotations

import functools
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

from jaxcert.errors import InputError

ENVIRONMENT = {
    "JAX_PLATFORMS": "cpu",
    "JAX_SKIP_CUDA_CONSTRAINTS_CHECK": "1",
    "TF_CPP_MIN_LOG_LEVEL": "3",
}
"""The environment of a process that compiles, from its start on."""
PLUGIN = "jax_cuda13_plugin"
MOST_DEVICES = 8

_DESCRIPTION = """
gpu_device_info {
  cuda_compute_capability { major: 9 }
  core_count: 132
  fpus_per_core: 128
  clock_rate_ghz: 1.98
  threads_per_warp: 32
  threads_per_block_limit: 1024
  threads_per_core_limit: 2048
  block_dim_limit_x: 2147483647
  block_dim_limit_y: 65535
  block_dim_limit_z: 65535
  registers_per_core_limit: 65536
  registers_per_block_limit: 65536
  shared_memory_per_block: 49152
  shared_memory_per_block_optin: 232448
  shared_memory_per_core: 233472
  l2_cache_size: 62914560
  memory_bandwidth: 4800000000000
  device_memory_size: 150754820096
}
platform_name: "CUDA"
device_description_str: "NVIDIA H200"
dnn_version_info { major: 9 minor: 28 patch: 1 }
"""


def check() -> None:
    """Raises InputError where nothing can be compiled for an H200, and says what is missing."""
    if sys.version_info < (3, 12):
        found = ".".join(map(str, sys.version_info[:2]))
        raise InputError(
            f"compiling for an H200 needs Python 3.12 or newer, and this is {found}: run it "
            "with a newer one."
        )
    if importlib.util.find_spec(PLUGIN) is None:
        raise InputError(
            "compiling for an H200 needs jax's CUDA 13 plugin, about 5 GB and no GPU: install "
            "jaxcert[cuda13]."
        )


def check_devices(devices: int) -> None:
    """Raises InputError for a number of devices that a host of H200s does not have."""
    if not 1 <= devices <= MOST_DEVICES:
        raise InputError(
            f"a topology of {devices} H200s does not exist: a host has 1 to {MOST_DEVICES}."
        )


@functools.lru_cache
def mesh(devices: int = 1):
    """Return a mesh of that many H200s along `data`, as jaxcert.sharding makes it.
    Raises InputError as `check_devices` does."""
    import jax
    from jax.experimental import topologies

    check_devices(devices)
    described = topologies.get_topology_desc(
        "H200",
        platform="cuda",
        topology=f"1x1x{devices}",
        target_config=_DESCRIPTION,
    )
    return jax.make_mesh(
        (devices,),
        ("data",),
        axis_types=(jax.sharding.AxisType.Auto,),
        devices=list(described.devices),
    )


@contextmanager
def as_gpu() -> Iterator[None]:
    """Make JAX name a GPU as its backend, so that code chooses the forms for one."""
    with mock.patch("jax.default_backend", return_value="gpu"):
        yield


def on(tree, devices: int = 1, *, split: bool = False):
    """Return the shapes of a tree of arrays or shapes with their place on the devices:
    whole on each, or split along the first axis."""
    import jax
    from jax.sharding import NamedSharding, PartitionSpec

    spec = PartitionSpec("data") if split else PartitionSpec()
    place = NamedSharding(mesh(devices), spec)

    def shape(leaf):
        dtype = getattr(leaf, "dtype", None)
        dtype = jax.numpy.result_type(leaf) if dtype is None else dtype
        return jax.ShapeDtypeStruct(jax.numpy.shape(leaf), dtype, sharding=place)

    return jax.tree.map(shape, tree)
