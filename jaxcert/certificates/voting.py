"""Votes of a base classifier under noise, counted on the device.

Sample s of image i draws from fold_in(fold_in(key, i), s), so votes do not depend on
how samples are packed into forward passes, on the batch, the order, the number of
devices or an interruption; nor on how JAX is set up, because keys are of one kind
(random_keys.py).

One compiled program does all the work: a list of at most `_SLOTS` pieces (image, first
sample, number of samples), laid end to end and cut into forward passes of `chunk` noisy
copies. A hundred votes for each of sixty images and a hundred thousand for one cost the
same per vote, and nothing is compiled again. Several devices take equal parts of every
piece.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxcert import random_keys
from jaxcert.errors import InputError
from jaxcert.interfaces import Array
from jaxcert.ops.images import unit

_SLOTS = 64
_MOST = 2**30
"""The most samples of one call, because they are counted in 32 bits."""


class Counter(NamedTuple):
    """Counts votes: counter(key, index [B], image [B,...], rows, start, size [A]) ->
    votes int64 [A,K]."""

    begin: Callable[..., Callable[[], np.ndarray]]
    """takes the same arguments and returns at once a function that waits for the votes"""
    memory: Callable[[np.ndarray], int]
    """image [B,...] -> the bytes that the program takes on each device"""

    def __call__(self, *work) -> np.ndarray:
        return self.begin(*work)()


def counter(vote, noise, *, num_classes: int, chunk: int, mesh: Mesh | None) -> Counter:
    """Return the Counter of a vote under noise.

    vote: Partial, a `VoteFn`; noise: Partial of `noise.law`. Piece a are samples start
    ... start + size - 1 of the image at rows[a]; start and size may be numbers. A vote
    that is not a class (-1, for example), or under noise that could not be drawn,
    counts for no class. Arrays of both go to the devices when first used.
    """

    @functools.cache
    def there():
        if mesh is None:
            return vote, noise
        return jax.device_put((vote, noise), NamedSharding(mesh, P()))

    devices = 1 if mesh is None else mesh.shape["data"]
    static = dict(num_classes=num_classes, chunk=chunk, mesh=mesh)

    def arguments(key, index, image, rows, start, size):
        pad = _SLOTS - len(rows)
        rows = np.pad(rows, (0, pad))
        # device d takes the d-th part of every piece
        edges = np.arange(devices + 1)[:, None] * np.pad(size, (0, pad)) // devices
        begin = np.pad(start, (0, pad)) + edges[:-1]
        work = begin.astype(np.int32), np.diff(edges, axis=0).astype(np.int32)
        return *there(), key, index[rows].astype(np.uint32), image[rows], *work

    def begin(key, index, image, rows, start, size):
        start, size = (
            np.broadcast_to(x, rows.shape).astype(np.int64) for x in (start, size)
        )
        calls = list(_calls(size))
        pending = [
            _count(*arguments(key, index, image, rows[a], start[a], size[a]), **static)
            for a in calls
        ]

        def votes() -> np.ndarray:
            counts = [np.asarray(c, np.int64).sum(0) for c in jax.device_get(pending)]
            parts = zip(counts, calls, strict=True)
            return np.concatenate([c[: a.stop - a.start] for c, a in parts])

        return votes

    def memory(image) -> int:
        none = np.zeros(0, np.int64)
        args = arguments(
            random_keys.key(0), np.zeros(1, np.int64), image, none, none, none
        )
        analysis = _count.lower(*args, **static).compile().memory_analysis()
        assert analysis is not None
        return analysis.temp_size_in_bytes + analysis.argument_size_in_bytes

    return Counter(begin, memory)


def lower(vote, noise, image, *, num_classes: int, chunk: int, mesh: Mesh):
    """Return the program of `counter`, not compiled yet; vote, noise and image [H,W,C]
    may be shapes, and the devices of the mesh need not be there."""

    def shapes(spec, *trees):
        place = NamedSharding(mesh, spec)
        return jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place), trees
        )

    key = jax.eval_shape(lambda: random_keys.key(0))
    index = jax.ShapeDtypeStruct((_SLOTS,), jnp.uint32)
    images = jax.ShapeDtypeStruct((_SLOTS, *image.shape), image.dtype)
    pieces = jax.ShapeDtypeStruct((mesh.shape["data"], _SLOTS), jnp.int32)
    return _count.lower(
        *shapes(P(), vote, noise, key, index, images),
        *shapes(P("data"), pieces, pieces),
        num_classes=num_classes,
        chunk=chunk,
        mesh=mesh,
    )


def _calls(size: np.ndarray) -> Iterator[slice]:
    """Yield the pieces of each call."""
    start, total = 0, 0
    for i, each in enumerate(size):
        if i > start and (i - start == _SLOTS or total + each > _MOST):
            yield slice(start, i)
            start, total = i, 0
        total += each
    yield slice(start, len(size))


@functools.partial(jax.jit, static_argnames=("num_classes", "chunk", "mesh"))
def _count(
    vote, noise, key, index, image, start, size, *, num_classes, chunk, mesh
) -> Array:
    """Count the votes of pieces [D,S] of images [S,...], int32 [D,S,K]."""

    def one_device(vote, noise, key, index, image, start, size):
        image, ends = unit(image), jnp.cumsum(size[0])
        first = start[0] - (ends - size[0])

        def add_chunk(c, counts):
            t = c * chunk + jnp.arange(chunk)
            slot = jnp.minimum((ends[:, None] <= t).sum(0), _SLOTS - 1)
            keys = jax.vmap(functools.partial(sample_keys, key))(
                index[slot], t + first[slot]
            )
            noisy, drawn = jax.vmap(noise)(keys[:, 0], image[slot])
            wanted = t < ends[-1]
            # NaN fills the last chunk: a race of diffusion classifiers is over at once
            there = wanted.reshape(-1, *[1] * (noisy.ndim - 1))
            votes = vote(keys[:, 1], jnp.where(there, noisy, jnp.nan))
            votes = classes(votes, chunk, num_classes)
            counted = wanted & drawn
            votes = jnp.where(counted, votes, num_classes)
            return counts.at[slot, votes].add(1, mode="drop")

        chunks = (ends[-1] + chunk - 1) // chunk
        counts = jnp.zeros((_SLOTS, num_classes), jnp.int32)
        return jax.lax.fori_loop(0, chunks, add_chunk, counts)[None]

    if mesh is None:
        return one_device(vote, noise, key, index, image, start, size)
    return jax.shard_map(
        one_device,
        mesh=mesh,
        in_specs=(P(), P(), P(), P(), P(), P("data"), P("data")),
        out_specs=P("data"),
        check_vma=False,
    )(vote, noise, key, index, image, start, size)


def classes(votes: Array, images: int, num_classes: int) -> Array:
    """Return the classes int32 [B] of votes, given as classes [B] or logits [B,K];
    num_classes stands for no class. Raises InputError for anything else, when the
    program is made."""
    kind: Any = getattr(votes, "dtype", type(votes))
    shape = getattr(votes, "shape", None)
    whole = shape is not None and jnp.issubdtype(kind, jnp.integer)
    if shape == (images,) and whole:
        # narrow integers cannot hold num_classes
        votes = votes.astype(jnp.int32) if kind.itemsize < 4 else votes
        inside = (votes >= 0) & (votes < num_classes)
        return jnp.where(inside, votes, num_classes).astype(jnp.int32)
    if shape == (images, num_classes) and jnp.issubdtype(kind, jnp.floating):
        finite = jnp.isfinite(votes).all(-1)
        return jnp.where(finite, votes.argmax(-1), num_classes).astype(jnp.int32)
    rows, outputs = shape if shape is not None and len(shape) == 2 else (0, 0)
    if rows == images and jnp.issubdtype(kind, jnp.floating):
        raise InputError(
            f"the classifier gives {outputs} outputs for {num_classes} classes: give "
            f"num_classes={outputs}, or the classifier of {num_classes}."
        )
    given = kind.__name__ if shape is None else f"{kind} {list(shape)}"
    raise InputError(
        f"the classifier gives {given} for {images} images: give classes, integers "
        f"[{images}], or logits, numbers [{images}, {num_classes}]."
    )


def sample_keys(key, index, sample):
    """Return the keys of the noise and of the vote, [2]."""
    return jax.random.split(jax.random.fold_in(jax.random.fold_in(key, index), sample))
