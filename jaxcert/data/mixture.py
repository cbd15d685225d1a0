"""Which images make a batch: a pure function of the seed and the step.

Real and generated images (Wang et al., Better Diffusion Models Further Improve Adversarial
Training, 2023): of a batch of B, int(share * B) images are generated and the rest real, in
every batch exactly. Epochs are counted in images of any origin, by default as many as the
real training set has, so an epoch at share 0.7 shows 30 % of the real images.

order 'continuous': each source is walked by its own permutation, a new one per pass;
    passes run on across epochs and every image comes equally often.
order 'wang': as the original: the real permutation begins anew with each epoch, generated
    images are drawn with replacement, and where the permutation runs out before the epoch
    ends, generated images fill the batch.

The original draws from one global random state; here every draw comes from a generator of
its own (seed, purpose, number), so a run that continues at a step continues exactly.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from jaxcert.errors import InputError, one_of, whole_from, within

REAL, GENERATED = 0, 1
_SHUFFLE, _WEIGHTED, _DRAWN = 2, 3, 4  # further purposes of a random generator


class Mixture(NamedTuple):
    """How real and generated images are mixed; `make` builds it."""

    real_size: int
    generated_size: int
    batch: int
    generated_per_batch: int
    steps_per_epoch: int
    seed: int = 0
    order: str = "continuous"


def make(
    real_size: int,
    generated_size: int,
    *,
    batch: int,
    share: float = 0.7,
    epoch_images: int = 0,
    seed: int = 0,
    order: str = "continuous",
) -> Mixture:
    """Mixture of N real and M generated images (M = 0: none, whatever the share).

    Raises InputError for an empty real set, a share outside [0, 1], an unknown order, a
    batch below 1, or a negative seed or number of images.
    """
    if real_size < 1:
        raise InputError("the real training set is empty: give another data.name.")
    whole_from(1, of="data", batch=batch)
    whole_from(0, of="data", epoch_images=epoch_images)
    whole_from(0, seed=seed)
    within("[0, 1]", of="data", generated_share=share)
    one_of(("continuous", "wang"), of="data", order=order)
    per_batch = int(share * batch + 1e-9) if generated_size else 0  # 0.29 * 100 is 29
    if generated_size and share and not per_batch:
        raise InputError(
            f"data.generated_share {share:g} of a batch of {batch} is less than one image: "
            "give a larger share or batch, or 0."
        )
    return Mixture(
        real_size=real_size,
        generated_size=generated_size,
        batch=batch,
        generated_per_batch=per_batch,
        steps_per_epoch=steps_per_epoch(epoch_images or real_size, batch),
        seed=seed,
        order=order,
    )


def steps_per_epoch(epoch_images: int, batch: int) -> int:
    """Return the batches per epoch: the quotient rounded up."""
    return -(-epoch_images // batch)


def plan(
    mixture: Mixture, step: int, weights: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Batch number `step`: (source int8 [B], 0 real and 1 generated; index int64 [B]).

    With `weights` (float [N], not negative) the real images are drawn with replacement, in
    proportion to them; weights that are all 0 have not been set yet and count as None.
    """
    m = mixture
    if weights is not None and np.any(weights):
        real = _weighted(m, step, np.asarray(weights, np.float64))
    elif m.order == "wang":
        real = _epoch_slice(m, step)
    else:
        real = _walk(m.seed, REAL, m.real_size, step, m.batch - m.generated_per_batch)
    count = m.batch - len(real)
    if m.order == "wang" and count:
        rng = np.random.default_rng([m.seed, _DRAWN, step])
        generated = rng.integers(m.generated_size, size=count)
    else:
        generated = _walk(m.seed, GENERATED, m.generated_size, step, count)
    shuffle = np.random.default_rng([m.seed, _SHUFFLE, step]).permutation(m.batch)
    source = np.zeros(m.batch, np.int8)
    source[len(real) :] = GENERATED
    return source[shuffle], np.concatenate([real, generated])[shuffle]


def _walk(seed: int, source: int, size: int, step: int, count: int) -> np.ndarray:
    """Return positions step * count + [0, count) of the endless walk through one
    source."""
    position = step * count + np.arange(count, dtype=np.int64)
    index = np.empty(count, np.int64)
    number, offset = np.divmod(position, max(size, 1))
    for n in np.unique(number):
        here = number == n
        index[here] = _permutation(seed, source, int(n), size)[offset[here]]
    return index


def _epoch_slice(m: Mixture, step: int) -> np.ndarray:
    """Return the real part of a batch in 'wang' order, which is shorter where the
    permutation of the epoch runs out. Without generated images to fill up with, it
    continues from the permutation's start.

    Without generated images to fill up with, it goes on from the permutation's start.
    """
    epoch, within = divmod(step, m.steps_per_epoch)
    permutation = _permutation(m.seed, REAL, epoch, m.real_size)
    count = m.batch - m.generated_per_batch
    position = within * count + np.arange(count, dtype=np.int64)
    if m.generated_size:
        position = position[position < m.real_size]
    return permutation[position % m.real_size].astype(np.int64)


def _weighted(m: Mixture, step: int, weights: np.ndarray) -> np.ndarray:
    rng = np.random.default_rng([m.seed, _WEIGHTED, step])
    total = np.cumsum(weights)
    draws = rng.random(m.batch - m.generated_per_batch) * total[-1]
    below = np.nextafter(total[-1], 0)  # a product may round up to the total
    return np.searchsorted(total, np.minimum(draws, below), side="right")


@lru_cache(maxsize=4)  # of two sources, the last two passes each
def _permutation(seed: int, source: int, number: int, size: int) -> np.ndarray:
    rng = np.random.default_rng([seed, source, number])
    permutation = np.arange(size, dtype=np.int32 if size < 2**31 else np.int64)
    rng.shuffle(permutation)
    permutation.flags.writeable = False
    return permutation
