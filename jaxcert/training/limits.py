"""Whether a run fits into memory and onto the disk, from the shapes of its arrays."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import jax
import numpy as np

from jaxcert.data.sources import host_memory
from jaxcert.errors import InputError
from jaxcert.interfaces import TrainState


def check_memory(
    state: TrainState,
    *,
    batch: int,
    copies: int,
    image: jax.ShapeDtypeStruct,
    devices: list,
) -> None:
    """Raises InputError if a training step cannot fit into the memory of the devices.

    state: arrays or their shapes; copies: noisy ones of each image; image: shape and type of
    one. What is counted is the least that every step holds on a device: the state, the
    gradient, and its part of the batch, as it is stored and, with its copies, in float32.
    Activations come on top of it, so a run that passes may still not fit.
    """
    held = bytes_of(state) + bytes_of(state.params)
    each = math.prod(image.shape) * (image.dtype.itemsize + 4 * copies)
    images = -(-batch // len(devices)) * each
    here = [d for d in devices if d.process_index == jax.process_index()]
    memory = _memory_of(here)
    if held > memory:
        raise InputError(
            f"the network, its gradient and the state of its optimizer take {_gb(held)} and a "
            f"device has {_gb(memory)}: give a smaller config.model."
        )
    if held + images > memory:
        shape = " x ".join(map(str, image.shape))
        most = (memory - held) // each * len(devices)
        many = f", {copies:,} noisy copies each," if copies > 1 else ""
        advice = f"give a data.batch well below {most:,}"
        if most <= len(devices):
            fewer = " or fewer copies (config.method.m)" if copies > 1 else ""
            advice = f"give smaller images{fewer}"
        raise InputError(
            f"data.batch {batch:,} of images of {shape}{many} takes {_gb(images)} on each device, "
            f"beside {_gb(held)} of the network, and a device has {_gb(memory)}: "
            f"{advice}."
        )


def check_disk(folder: Path, needed: int) -> None:
    """Raises InputError if the disk of a folder has fewer bytes than are needed for
    checkpoints."""
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise InputError(
            f"the checkpoints take {_gb(needed)} and the disk of {folder} has {_gb(free)} left: "
            "free space or name another place."
        )


def checkpoint_bytes(state: TrainState) -> int:
    """Return the bytes of a checkpoint: the state, and the network to evaluate."""
    return bytes_of(state) + bytes_of((state.params, state.model_state))


def bytes_of(tree) -> int:
    """Return the bytes of all arrays, or of arrays of these shapes, in a tree."""
    leaves = jax.tree.leaves(tree)
    return sum(math.prod(leaf.shape) * np.dtype(leaf.dtype).itemsize for leaf in leaves)


def _memory_of(devices: list) -> int:
    """Return the bytes of memory of each device. Devices that are the machine's own
    processor share its memory."""
    stats = devices[0].memory_stats() or {}
    return stats.get("bytes_limit") or host_memory() // len(devices)


def _gb(number: int) -> str:
    unit = min(int(math.log10(max(number, 1))) // 3, 6)
    names = ("bytes", "kB", "MB", "GB", "TB", "PB", "EB")
    return f"{number / 1000**unit:,.3g} {names[unit]}"
