"""Executors of one plan: batches assembled on the host, or gathered on the device.

All take image numbers from `mixture.plan` and give the same uint8 batches, sharded over
the mesh axis 'data'; the training step does not know which one runs. Nothing but the step
number is state: a loader started at step s continues the run exactly.

host: Grain runs over step numbers, one element is one batch, and prefetches two; the next
    batch is on its way to the devices while the current one is used.
device: all images lie on every device; a step sends B numbers and one jitted gather runs.
epoch: likewise, but what is yielded is all images and the numbers of an epoch's batches, of
    which the program of an epoch gathers each (`training/step.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxcert.data.generated import where
from jaxcert.data.mixture import Mixture, plan
from jaxcert.data.sources import Source
from jaxcert.errors import InputError, one_of
from jaxcert.interfaces import Batch

PLACEMENTS = ("auto", "host", "device", "epoch")
_CHUNK = 1 << 14  # images copied at a time


class Epoch(NamedTuple):
    """All images, and which of them make the S batches of an epoch; see `gathered`."""

    image: jax.Array
    """[N,H,W,C], the real ones first"""
    label: jax.Array
    """[N]"""
    source: jax.Array
    """int32 [S,B]"""
    index: jax.Array
    """int32 [S,B]"""
    real: jax.Array
    """int32, the number of real images"""

    def batches(self, carried: Any, step: Callable[[Any, Batch], Any]) -> Any:
        """Return what `step` of what is carried and a batch leaves after all of them, as one
        loop of a compiled program."""

        def one(carried: Any, rows: tuple[Any, Any]) -> tuple[Any, None]:
            return step(carried, self._batch(*rows)), None

        return jax.lax.scan(one, carried, (self.source, self.index))[0]

    def first(self) -> Batch:
        """Return the first batch."""
        return self._batch(self.source[0], self.index[0])

    def _batch(self, source: Any, index: Any) -> Batch:
        return gathered(self.image, self.label, source, index, real=self.real)


def batches(
    real: Source,
    generated: Source | None,
    mixture: Mixture,
    start: int,
    *,
    mesh: Mesh,
    total: int,
    placement: str = "auto",
    weights: np.ndarray | None = None,
) -> Iterator[Batch]:
    """Batches number start..total-1 as global arrays sharded over 'data', or with placement
    'epoch' an `Epoch` for each of them.

    image uint8 or float32 [B,H,W,C], label int32 [B], real bool [B], index int32 [B] (-1
    for generated images). Process k of P assembles slots kB/P..(k+1)B/P of the one global
    batch. `placement` 'auto' is 'device' where all images take less than a quarter of the
    device's memory, 'host' otherwise and on CPUs. `weights`: see `mixture.plan`.

    Raises InputError for an unknown placement, a batch that the devices do not divide,
    sources that do not fit together, or an epoch that has begun.
    """
    check(real, generated, mixture.batch, devices=mesh.shape["data"])
    one_of(PLACEMENTS, of="data", placement=placement)
    steps = mixture.steps_per_epoch
    if placement == "epoch" and start % steps:
        raise InputError(
            f"data.placement is 'epoch', and the run stopped at step {start:,}, within an epoch "
            f"of {steps:,}: continue with data.placement=device, whose batches are the same."
        )
    if placement == "auto":
        placement = "device" if _fits(real, generated, mesh) else "host"
    weights = None if weights is None else np.asarray(weights, np.float64)
    planned = partial(plan, mixture, weights=weights)
    origins = [real] if generated is None else [real, generated]
    sharding = NamedSharding(mesh, PartitionSpec("data"))
    if placement == "epoch":
        return _epochs(origins, planned, start, total, mixture, mesh)
    run = _on_device if placement == "device" else _on_host
    return run(origins, planned, range(start, total), mixture.batch, sharding)


def sweep(real: Source, batch: int, *, mesh: Mesh) -> Iterator[Batch]:
    """The real set once, in order, in batches as above.

    The last batch is filled up with images from the start of the set, which carry index -1
    and real False: mask by index >= 0 before writing to a table of N entries. Raises
    InputError for a batch that the devices do not divide.
    """
    check(real, None, batch, devices=mesh.shape["data"])
    size = len(real.label)

    def planned(step: int) -> tuple[np.ndarray, np.ndarray]:
        position = step * batch + np.arange(batch)
        return (position >= size).astype(np.int8), position % size

    host = map(partial(_assemble, [real, real], planned), range(-(-size // batch)))
    return _ahead(host, batch, NamedSharding(mesh, PartitionSpec("data")))


def check(real: Source, generated: Source | None, batch: int, *, devices: int) -> None:
    """Raises InputError for a batch that the devices do not divide, or sources that do
    not fit together."""
    if batch % devices:
        raise InputError(
            f"data.batch is {batch}, which {devices} devices do not divide: "
            "give a multiple of their number."
        )
    if generated is None:
        return
    kinds = [(o.image.shape[1:], np.dtype(o.image.dtype)) for o in (real, generated)]
    if kinds[0] != kinds[1]:
        words = [f"{dtype} {'x'.join(map(str, shape))}" for shape, dtype in kinds]
        raise InputError(
            f"the generated images are {words[1]}, the real ones {words[0]}: "
            "give generated images of the same shape and kind."
        )
    if generated.num_classes != real.num_classes:
        beyond = np.flatnonzero(generated.label >= real.num_classes)[:1]
        path = where(generated.image, int(beyond[0])) if len(beyond) else ""
        raise InputError(
            f"the generated images have {generated.num_classes} classes"
            f"{f' (label {generated.label[beyond[0]]} in {path})' if path else ''}, but "
            f"{real.name} has {real.num_classes}: give images made for {real.name}."
        )


def _on_host(
    origins: list[Source], planned: Callable, steps: range, size: int, sharding
) -> Iterator[Batch]:
    import grain

    dataset = grain.MapDataset.range(steps.start, steps.stop).map(
        partial(_assemble, origins, planned)
    )
    options = grain.ReadOptions(num_threads=1, prefetch_buffer_size=2)
    return _ahead(iter(dataset.to_iter_dataset(options)), size, sharding)


def _assemble(origins: list[Source], planned: Callable, step: int) -> Batch:
    """Return this process' slots of one batch, as numpy arrays."""
    source, index = (_own_slots(x) for x in planned(int(step)))
    like = origins[0].image
    image = np.empty((len(index), *like.shape[1:]), like.dtype)
    label = np.empty(len(index), np.int32)
    for number, origin in enumerate(origins):
        here = np.flatnonzero(source == number)
        if len(here):
            image[here] = origin.image[index[here]]
            label[here] = origin.label[index[here]]
    return _batch(image, label, source == 0, index)


def _ahead(
    host: Iterator[Batch], size: int, sharding: NamedSharding
) -> Iterator[Batch]:
    """Yield host batches on the devices, always one ahead of the one that is used."""

    def put(x: np.ndarray) -> jax.Array:
        return jax.make_array_from_process_local_data(sharding, x, (size, *x.shape[1:]))

    pending = None
    for batch in host:
        following = jax.tree.map(put, batch)
        if pending is not None:
            yield pending
        pending = following
    if pending is not None:
        yield pending


def _on_device(
    origins: list[Source], planned: Callable, steps: range, size: int, sharding
) -> Iterator[Batch]:
    everywhere = NamedSharding(sharding.mesh, PartitionSpec())
    image = _joined([origin.image for origin in origins], everywhere)
    label = _resident(np.concatenate([o.label for o in origins]), everywhere)
    from_all = partial(gathered, real=len(origins[0].label))
    gather = jax.jit(from_all, out_shardings=sharding)

    def send(x: np.ndarray) -> jax.Array:
        own = _own_slots(x)
        return jax.make_array_from_process_local_data(sharding, own, (size,))

    for step in steps:
        source, index = planned(step)
        yield gather(image, label, send(source), send(index.astype(np.int32)))


def _epochs(
    origins: list[Source],
    planned: Callable,
    start: int,
    total: int,
    mixture: Mixture,
    mesh: Mesh,
) -> Iterator[Epoch]:
    steps, size = mixture.steps_per_epoch, mixture.batch
    everywhere = NamedSharding(mesh, PartitionSpec())
    several = NamedSharding(mesh, PartitionSpec(None, "data"))
    image = _joined([origin.image for origin in origins], everywhere)
    label = _resident(np.concatenate([o.label for o in origins]), everywhere)
    number = _resident(np.array(len(origins[0].label), np.int32), everywhere)

    def send(rows: list[np.ndarray]) -> jax.Array:
        own = np.stack([_own_slots(x) for x in rows]).astype(np.int32)
        return jax.make_array_from_process_local_data(several, own, (steps, size))

    for first in range(start, total, steps):
        source, index = zip(*map(planned, range(first, first + steps)), strict=True)
        yield Epoch(image, label, send(list(source)), send(list(index)), number)


def gathered(image: Any, label: Any, source: Any, index: Any, *, real: Any) -> Batch:
    """Return the batch of the images number `index` [B] of the set `source` [B] (0:
    real, 1: generated) from arrays that hold the images of both, the `real` real ones
    first."""
    at = index + source.astype(jnp.int32) * real
    return _batch(image[at], label[at], source == 0, index)


def _batch(image: Any, label: Any, real: Any, index: Any) -> Batch:
    xp = np if isinstance(image, np.ndarray) else jnp
    index = xp.where(real, index, -1).astype(np.int32)
    return {"image": image, "label": label, "real": real, "index": index}


def _joined(parts: list[Any], everywhere: NamedSharding) -> jax.Array:
    """Join the images of all parts in one array on the devices, in order and a chunk at
    a time, so that the host never holds more of them."""
    shape = (sum(len(part) for part in parts), *parts[0].shape[1:])
    empty = partial(jnp.zeros, shape, parts[0].dtype)
    joined = jax.jit(empty, out_shardings=everywhere)()

    @partial(jax.jit, donate_argnums=0, out_shardings=everywhere)
    def put(joined: Any, chunk: Any, row: Any) -> Any:
        return jax.lax.dynamic_update_slice_in_dim(joined, chunk, row, 0)

    row = 0
    for part in parts:
        for first in range(0, len(part), _CHUNK):
            chunk = part[np.arange(first, min(first + _CHUNK, len(part)))]
            sent = _resident(chunk, everywhere)
            joined = put(joined, sent, np.int32(row))
            row += len(chunk)
    return joined


def _resident(x: np.ndarray, everywhere: NamedSharding) -> jax.Array:
    return jax.make_array_from_process_local_data(everywhere, x, x.shape)


def _own_slots(x: np.ndarray) -> np.ndarray:
    share = len(x) // jax.process_count()
    return x[jax.process_index() * share :][:share]


def _fits(real: Source, generated: Source | None, mesh: Mesh) -> bool:
    device = mesh.local_devices[0]
    memory = (device.memory_stats() or {}).get("bytes_limit", 0)
    origins = [real] if generated is None else [real, generated]
    needed = sum(int(np.prod(o.image.shape)) * o.image.dtype.itemsize for o in origins)
    return device.platform != "cpu" and needed < memory / 4
