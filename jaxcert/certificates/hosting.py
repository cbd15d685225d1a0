"""Votes of a base classifier that runs outside of JAX.

The noise is that of `voting.py`: sample s of image i has the same keys, drawn by a compiled
program in batches. The classifier is then called between two such programs and not from within
one, so that each noisy image is passed to it exactly once, what it raises reaches the caller as
it is, and Ctrl-C ends it.
"""

from __future__ import annotations

import functools
import math

import jax
import numpy as np
from jax.sharding import Mesh

from jaxcert import random_keys
from jaxcert.certificates.voting import Counter, sample_keys
from jaxcert.errors import InputError
from jaxcert.interfaces import HostVote
from jaxcert.ops.images import unit

_LARGEST = 1000
_NUMBERS = 1 << 25
"""The most numbers of a batch of images, 128 MB, unless the caller says how many images."""


def check(vote: HostVote, *, procedure: str, rival: str, mesh: Mesh | None) -> None:
    """Raises InputError for options that a classifier outside of JAX does not take, and for
    those whose certificate would be false where votes are missing."""
    if mesh is not None:
        raise InputError(
            "mesh is of the devices of JAX, and this classifier runs outside of it: leave it out."
        )
    if not vote.may_fail:
        return
    # a vote that never came may have been for any class: bounds of the votes for one class from
    # below bear that, and no others do
    if rival != "single":
        raise InputError(
            f"rival {rival} bounds the votes of other classes, for which answers of the oracle "
            "that never come may have been: give rival=single."
        )
    if procedure == "predict":
        raise InputError(
            "procedure predict compares the votes of two classes, of which answers of the "
            "oracle that never come may have been: give procedure=certify."
        )


def counter(vote: HostVote, noise, *, num_classes: int, chunk: int) -> Counter:
    """Return the Counter of a vote under noise, as `voting.counter` does.

    chunk: the images that are passed to the classifier together; 0: up to 1000, fewer where
    they are large.
    """

    def counted(key, index, image, rows, start, size) -> np.ndarray:
        start, size = (np.broadcast_to(x, rows.shape) for x in (start, size))
        ends, step = np.cumsum(size, dtype=np.int64), chunk_of(image, chunk)
        first, total = start - (ends - size), int(size.sum())
        counts = np.zeros((len(rows), num_classes), np.int64)
        for begin in range(0, total, step):
            # the last batch is drawn whole, so that nothing is compiled for its size
            t = np.minimum(np.arange(begin, begin + step), total - 1)
            piece, wanted = np.searchsorted(ends, t, side="right"), total - begin
            row, sample = rows[piece], (t + first[piece]).astype(np.int32)
            numbers = index[row].astype(np.uint32)
            noisy, drawn = _noisy(noise, key, numbers, sample, image[row])
            noisy, drawn = (np.asarray(x)[:wanted] for x in (noisy, drawn))
            kept = noisy if drawn.all() else noisy[drawn]
            if len(kept):
                classes = vote.votes(kept, num_classes)
                known = classes >= 0
                np.add.at(counts, (piece[:wanted][drawn][known], classes[known]), 1)
        return counts

    def begin(*work):
        return functools.partial(counted, *work)

    def memory(image) -> int:
        step = chunk_of(image, chunk)
        none = np.zeros(step, np.int32)
        images = np.repeat(image[:1], step, 0)
        args = noise, random_keys.key(0), none.astype(np.uint32), none, images
        analysis = _noisy.lower(*args).compile().memory_analysis()
        assert analysis is not None
        return analysis.temp_size_in_bytes + analysis.argument_size_in_bytes

    return Counter(begin, memory)


@jax.jit
def _noisy(noise, key, index, sample, image):
    """Return samples of images: (noisy images [B,H,W,C], bool [B], whether they could be
    drawn)."""
    keys = jax.vmap(functools.partial(sample_keys, key))(index, sample)
    return jax.vmap(noise)(keys[:, 0], unit(image))


def chunk_of(image: np.ndarray, chunk: int) -> int:
    """Return how many images [B,H,W,C] are passed to a classifier together, chunk where that is
    not 0."""
    return chunk or max(1, min(_LARGEST, _NUMBERS // math.prod(image.shape[1:])))
