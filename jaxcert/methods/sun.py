"""Training that shows how little the average certified radius says.

Sun, Mao, Mueller and Vechev, Average Certified Radius is a Poor Metric for Randomized
Smoothing (2024, arXiv:2410.06895). Three parts, each with its switch, from the epoch E_t on:

    discard      images with p_y < p_t; p_y: share of noisy copies predicted as the label
    reweight     draw an image in proportion to Phi^-1(p_lower(max(c, 3n/4), n)), c of n
                 copies right, p_lower of Clopper & Pearson at alpha = 0.1; every 10 epochs
    adversarial  noise on its sphere: while f(x + delta) has its maximum at y, T times
                     delta <- delta + eps g / (|g| + 1e-8)          (l2)
                     delta <- delta + eps sign(g) / sqrt(d)         (linf)
                     delta <- |delta_0| delta / (|delta| + 1e-8)
                 with g the gradient of the mean over the m noises of CE(f(x + delta), y)
    loss         mean CE(f(x + delta), y)

| paper | here |
|---|---|
| E_t, T, epsilon | start_epoch, steps, eps (pixels) |
| N of the discarding, of the re-weighting | discard_n, reweight_n |

Without `discard` the rest begins at epoch 0, and from where it begins images are drawn with
replacement, both as in the authors' code. votes: images are discarded by the votes of
another model, as theirs are on ImageNet. Where the paper and
its code differ, this is the code: the printed weight max(1, Phi^-1(p) / Phi^-1(0.75)) would
go up to 1.64, theirs up to 7.2 times the smallest. Where we differ: discarding and the
first weights see the same crop and flip of an image.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxcert.certificates.statistics import smoothing_radius
from jaxcert.errors import InputError, above, one_of, whole_from, within
from jaxcert.interfaces import (
    Array,
    Batch,
    Key,
    Method,
    Model,
    PyTree,
    Refresh,
    Run,
    TrainState,
)
from jaxcert.methods import gaussian
from jaxcert.methods._smoothing import (
    add_noise,
    along,
    draw_noise,
    first_votes,
    frozen,
    l2,
    repeat,
    repeat_labels,
)

ALPHA = 0.1


def make(
    model: Model,
    run: Run,
    *,
    sigma: float,
    m: int = 4,
    start_epoch: int = 60,
    p_t: float = 0.5,
    steps: int = 3,
    eps: float = 0.25,
    norm: str = "l2",
    discard: bool = True,
    reweight: bool = True,
    adversarial: bool = True,
    reweight_every: int = 10,
    discard_n: int = 100,
    reweight_n: int = 16,
    votes: str = "",
) -> Method:
    """sigma and eps in pixels of [0, 1]; epochs from 0; norm of the attack: l2 | linf.

    votes: record of PREDICT by another model on all training images, whose share of votes
    for the label is p_y, read when training begins; without it p_y is the network's own.
    Raises InputError."""
    above(0, of="method", sigma=sigma, eps=eps)
    whole_from(1, of="method", m=m, steps=steps)
    _check(start_epoch, p_t, norm, reweight_every, discard_n, reweight_n)
    start = start_epoch if discard else 0

    def loss(params, state, extra, batch, key, step, phase):
        image, label = batch["image"], batch["label"]
        noise = draw_noise(key, image, sigma, m)
        if phase == "attack":
            noise = attack(
                model,
                params,
                state,
                image,
                label,
                noise,
                steps=steps,
                eps=eps,
                norm=norm,
            )
        return gaussian.objective(model, params, state, image, label, noise)

    def phase(step: int) -> str:
        begun = step // run.steps_per_epoch >= start
        return "attack" if adversarial and begun else "plain"

    if not (discard or reweight or adversarial):
        return Method(loss=loss, phase=phase)

    count = counter(model, sigma=sigma, m=m)

    @cache
    def first_share():
        share, label = first_votes(votes, run.data_size, model.num_classes)
        return share[np.arange(len(label)), label]

    def init_extra():
        if discard and votes:
            keep(first_share(), p_t)  # a record that does not fit is refused now
        return {"weights": jnp.zeros(run.data_size, jnp.float32)}

    def refresh(train_state, sweep, key):
        weights = train_state.extra["weights"]
        before = np.asarray(weights.addressable_data(0))
        kept = before > 0 if before.any() else np.ones(len(before), bool)
        discard_key, reweight_key = jax.random.split(key)
        if discard and not before.any():
            if votes:
                share = first_share()
            else:
                share = count(train_state, sweep(), discard_key, discard_n) / discard_n
            kept = keep(share, p_t)
        after = kept.astype(np.float32)
        if reweight:
            counts = count(train_state, sweep(), reweight_key, reweight_n)
            after *= weight(counts, reweight_n)
        return {"weights": after}

    def due(epoch: int) -> bool:
        since = epoch - start
        return since == 0 or (reweight and since > 0 and since % reweight_every == 0)

    return Method(
        loss=loss,
        init_extra=init_extra,
        phase=phase,
        refresh=Refresh(due, refresh),
    )


def attack(
    model: Model,
    params: PyTree,
    state: PyTree,
    image: Array,
    label: Array,
    noise: Array,
    *,
    steps: int,
    eps: float,
    norm: str,
) -> Array:
    """noise [m,B,H,W,C] moved on its spheres until it fools the network, in inference mode;
    constant for the gradient of the loss."""
    logits_of, labels = frozen(model, params, state), repeat_labels(label, len(noise))
    radius = l2(noise)

    def climb(delta):
        logits = logits_of(add_noise(image, delta))
        each = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
        return each.sum() / len(noise), logits.argmax(-1) == labels

    def step(_, delta):
        gradient, right = jax.grad(climb, has_aux=True)(delta)
        if norm == "l2":
            moved = delta + eps * along(gradient)
        else:
            moved = delta + eps * jnp.sign(gradient) / math.sqrt(image[0].size)
        moved = moved / (l2(moved) + 1e-8) * radius
        return jnp.where(right.reshape(radius.shape), moved, delta)

    return jax.lax.stop_gradient(repeat(step, noise, steps))


def counter(model: Model, *, sigma: float, m: int) -> Callable[..., np.ndarray]:
    """(train_state, batches, key, n) -> int64 [N]: of n noisy copies of each image, those
    predicted as its label in inference mode, m at a time."""

    @partial(jax.jit, static_argnames=("n", "sharding"))
    def add(counts, params, state, batch, key, *, n, sharding):
        image, label = batch["image"], batch["label"]

        def right(key):
            noisy = image + sigma * jax.random.normal(key, image.shape, image.dtype)
            return model.apply(params, state, noisy)[0].argmax(-1) == label

        votes = jax.lax.map(right, jax.random.split(key, n), batch_size=min(m, n)).sum(
            0
        )
        # filled rows of the last batch carry -1, which would be the last image
        index = jnp.where(batch["index"] < 0, len(counts), batch["index"])
        counts = counts.at[index].set(votes, mode="drop")
        return jax.lax.with_sharding_constraint(counts, sharding)

    def count(
        train_state: TrainState, batches: Iterable[Batch], key: Key, n: int
    ) -> np.ndarray:
        weights = train_state.extra["weights"]
        counts = jnp.zeros_like(weights, dtype=jnp.int32)
        for number, batch in enumerate(batches):
            counts = add(
                counts,
                train_state.params,
                train_state.model_state,
                batch,
                jax.random.fold_in(key, number),
                n=n,
                sharding=weights.sharding,
            )
        return np.asarray(counts.addressable_data(0)).astype(np.int64)

    return count


def keep(share: np.ndarray, p_t: float) -> np.ndarray:
    """bool [N]: the share of copies predicted as the label is at least p_t. Raises
    InputError where no image is left."""
    kept = share >= p_t
    if not kept.any():
        raise InputError(
            f"no training image has {p_t:.0%} of its noisy copies right (on average "
            f"{share.mean():.0%} are): lower method.p_t or raise method.start_epoch."
        )
    return kept


def weight(count: np.ndarray, n: int) -> np.ndarray:
    """Phi^-1 of the lower bound of p, from `count` [N] of n copies, at least 3n/4."""
    return smoothing_radius(np.maximum(count, 3 * n // 4), n, ALPHA, 1.0)


def _check(start_epoch, p_t, norm, reweight_every, discard_n, reweight_n):
    one_of(("l2", "linf"), of="method", norm=norm)
    within("[0, 1]", of="method", p_t=p_t)
    whole_from(0, of="method", start_epoch=start_epoch)
    counts = dict(reweight_every=reweight_every, discard_n=discard_n)
    whole_from(1, of="method", reweight_n=reweight_n, **counts)
    if not weight(np.zeros(1, int), reweight_n) > 0:
        raise InputError(
            f"method.reweight_n {reweight_n} is too few copies to give a weight above 0: "
            "give 16 or more."
        )
