"""Says in lines of text what this machine has."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np

from jaxcert import random_keys, version

_CORE = (
    "jax jaxlib flax optax orbax-checkpoint grain ml_collections numpy scipy matplotlib"
)
_EXTRAS = (
    "tensorflow-datasets datasets safetensors onnxruntime torch pandas tensorboard wandb "
    "trackio"
)
_SETTINGS = r"(JAX|XLA|TF32|NVIDIA_TF32|OMP)_|CUDA_VISIBLE_DEVICES$"
"""The variables of the environment that change what is computed, or where."""


def lines(folder: str | Path = ".") -> Iterator[tuple[str, str]]:
    """Yield (name, text) of each fact: versions, devices, precision, generator, and what is free
    in memory and on the disk of `folder`."""
    yield (
        "jaxcert",
        f"{version.__version__}, Python {platform.python_version()}, {_system()}",
    )
    yield "packages", ", ".join(f"{name} {_version(name)}" for name in _CORE.split())
    yield "extras", ", ".join(f"{name} {_version(name)}" for name in _EXTRAS.split())
    yield "devices", _devices()
    yield "precision", _precision()
    yield "generator", _generator()
    yield "settings", _settings()
    yield "memory", _memory()
    free = shutil.disk_usage(folder).free
    yield "disk", f"{_gigabytes(free)} free in {Path(folder).resolve()}"


def _system() -> str:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0
    return f"{platform.system()} {platform.machine()}, {cores or os.cpu_count()} cores"


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _devices() -> str:
    kinds = [device.device_kind for device in jax.local_devices()]
    each = ", ".join(f"{kinds.count(kind)} x {kind}" for kind in dict.fromkeys(kinds))
    where = f"process {jax.process_index()} of {jax.process_count()}"
    return f"{each} by {jax.default_backend()}, {where}"


def _precision() -> str:
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal((256, 256)).astype(np.float32) for _ in range(2))
    exact = a.astype(np.float64) @ b
    found = np.asarray(_product(a, b), np.float64)
    error = np.abs(found - exact).max() / np.abs(exact).max()
    asked = jax.config.jax_default_matmul_precision or "JAX's own"
    return f"{asked}: float32 products here are good to {error:.0e}"


@jax.jit
def _product(a, b):
    return a @ b


def _generator() -> str:
    default = jax.config.jax_default_prng_impl
    other = "" if default == random_keys.IMPLEMENTATION else f" (JAX's is {default})"
    return f"{random_keys.IMPLEMENTATION}, partitionable, whatever the environment says{other}"


def _settings() -> str:
    found = [
        f"{k}={v}" for k, v in sorted(os.environ.items()) if re.match(_SETTINGS, k)
    ]
    return " ".join(found) or "none in the environment"


def _memory() -> str:
    found = []
    meminfo = Path("/proc/meminfo")
    if meminfo.is_file():
        free = re.search(r"MemAvailable:\s+(\d+) kB", meminfo.read_text())
        if free:
            found.append(f"{_gigabytes(int(free[1]) * 1024)} free on the host")
    for device in jax.local_devices():
        stats = device.memory_stats() or {}
        if "bytes_limit" in stats:
            free = stats["bytes_limit"] - stats.get("bytes_in_use", 0)
            found.append(f"{_gigabytes(free)} of {device}")
    return ", ".join(found) or "not known on this system"


def _gigabytes(size: float) -> str:
    return f"{size / 1e9:.1f} GB"
