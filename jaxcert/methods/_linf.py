"""What l_inf-dist Net and SortNet share: schedules, margins, losses, mean re-estimation.

Marks of the schedules are epochs; e = step / steps_per_epoch, so they move every step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import jax
import jax.numpy as jnp

from jaxcert import random_keys
from jaxcert.errors import InputError, above, at_least
from jaxcert.interfaces import Array, Batch, Method, Model, PyTree, Run, TrainState
from jaxcert.methods.cross_entropy import cross_entropy

P_FIRST, P_LAST = 8, 1000


def ratio(step: Array | int, run: Run, start: float, end: float) -> Array:
    """Return how far e is between two epochs, in [0, 1]."""
    epoch = step / run.steps_per_epoch
    return jnp.clip((epoch - start) / max(end - start, 1e-9), 0.0, 1.0)


def p_schedule(r: Array) -> Array:
    """Return p = 8 * 125^r; the caller goes to infinity where r is 1."""
    return P_FIRST * (P_LAST / P_FIRST) ** r


def phase_of(step: int, run: Run, start: float, end: float) -> str:
    """Return p8, general or inf: the name of the program that is compiled for this p."""
    epoch = step / run.steps_per_epoch
    if epoch >= end:
        return "inf"
    return "p8" if epoch <= start else "general"


def log_linear(r: Array, first: float, last: float) -> Array:
    """first * (last / first)^r"""
    return first * (last / first) ** r


def eps_ramp(r: Array, smooth: float = 0.4) -> Array:
    """Share of eps: k r^4 up to r = c, then straight to 1, k = 1 / ((4 - 3c) c^3); with
    smooth = c = 0 it is r itself."""
    c = smooth
    if c == 0:
        return r
    k = 1 / ((4 - 3 * c) * c**3)
    straight = k * c**4 + (1 - k * c**4) * (r - c) / (1 - c)
    return jnp.where(r < c, k * r**4, straight)


def mixture(logits: Array, worst: Array, label: Array, *, lam: Array) -> Array:
    """mean_b max_j clip(worst_j, 0, 1) + lam CE(logits, y)"""
    return _clip(worst.max(1), 1.0).mean() + lam * cross_entropy(logits, label)


def hinge(worst: Array, *, mix: float = 0.25) -> Array:
    """mean_b [(1 - mix) max_j relu(worst_j) + mix mean_j relu(worst_j)]"""
    positive = _clip(worst, jnp.inf)
    return ((1 - mix) * positive.max(1) + mix * positive.mean(1)).mean()


def _clip(x: Array, high: float) -> Array:
    """Clip x to 0 and high. AT these bounds the gradient is 1, as the originals have
    it."""
    return jnp.where((x >= 0) & (x <= high), x, jnp.where(x < 0, 0.0, high))


def ce_hinge(logits: Array, worst: Array, label: Array, *, lam: Array) -> Array:
    """mean_b correct_b max_j (worst_j - worst_y + 1)_+ + lam CE(logits, y)"""
    own = jnp.take_along_axis(worst, label[:, None], 1)
    others = label[:, None] != jnp.arange(worst.shape[1])
    margin = jnp.where(others, worst - own + 1, 0).max(1)
    correct = (logits.argmax(1) == label).astype(worst.dtype)
    return (correct * margin).mean() + lam * cross_entropy(logits, label)


def ce_mixture(logits: Array, worst: Array, label: Array, *, lam: Array) -> Array:
    """mean_b correct_b CE(worst, y) + lam CE(logits, y)"""
    correct = (logits.argmax(1) == label).astype(worst.dtype)
    each = (
        jax.nn.logsumexp(worst, 1) - jnp.take_along_axis(worst, label[:, None], 1)[:, 0]
    )
    return (correct * each).mean() + lam * cross_entropy(logits, label)


def crossentropy(logits: Array, worst: Array, label: Array, *, lam: Array) -> Array:
    """CE(worst, y) + lam CE(logits, y)"""
    return cross_entropy(worst, label) + lam * cross_entropy(logits, label)


def method_of(
    model: Model,
    run: Run,
    objective: Callable[[Array, Array, Array, Array], Array],
    *,
    eps: float,
    p_start: float,
    p_end: float,
    lam: float,
    lam_end: float,
    eps_start: float,
    eps_end: float,
    smooth: float,
) -> Method:
    """The training of both papers with objective(logits, worst, label, lam).

    p goes 8 -> 1000 between the epochs p_start and p_end and is infinity from then on, lam
    falls with it, eps (pixels) rises between eps_start and eps_end along `eps_ramp` with
    `smooth`. Raises InputError.
    """
    if model.norm != "linf" or model.interval_margins is None:
        raise InputError(
            "this method trains distance nets in l_inf: set model.name=dist_net."
        )
    above(0, of="method", eps=eps)  # the loss divides by it
    at_least(0, of="method", p_start=p_start, eps_start=eps_start, lam=lam)
    at_least(p_start, of="method", p_end=p_end)
    at_least(eps_start, of="method", eps_end=eps_end)
    if lam > 0:
        above(0, of="method", lam_end=lam_end)  # lam falls log-linearly
    hybrid = "head" in jax.eval_shape(model.init, random_keys.key(0))[0]
    if eps_end > 0 and not hybrid:
        raise InputError(
            "method.eps_end ramps eps from 0, by which the loss of a plain distance net "
            "divides: ramp it with model.hidden > 0 alone."
        )

    def loss(params, state, extra, batch, key, step, phase):
        r = ratio(step, run, p_start, p_end)
        p = {"p8": P_FIRST, "general": p_schedule(r), "inf": None}[phase]
        now = eps
        if eps_end > 0:
            now = eps * eps_ramp(ratio(step, run, eps_start, eps_end), smooth)
        (logits, worst), state = model.apply(
            params,
            state,
            batch["image"],
            train=True,
            key=key,
            p=p,
            label=batch["label"],
            eps=now,
        )
        weight = log_linear(r, lam, lam_end) if lam else jnp.zeros(())
        value = objective(logits, worst, batch["label"], weight)
        metrics = {
            "accuracy": (logits.argmax(1) == batch["label"]).mean(),
            "verified": (worst.max(1) <= 0).mean(),  # a proxy while p is finite
        }
        return value, (state, metrics)

    return Method(
        loss=loss,
        phase=lambda step: phase_of(step, run, p_start, p_end),
        calibrate=calibrate(model),
    )


def calibrate(model: Model):
    """Running means for the network that is evaluated: plain averages of the batch means at
    p = infinity, with the sort neuron itself, over one pass of the training set. Those
    gathered in training belong to another p and to dropped units."""

    @jax.jit
    def one(params: PyTree, state: PyTree, image: Array, number: Array) -> PyTree:
        how = dict(train=True, deterministic=True, momentum=1 / (number + 1))
        return model.apply(params, state, image, **how)[1]

    def run(train_state: TrainState, sweep: Callable[[], Iterable[Batch]]) -> PyTree:
        params = train_state.params if train_state.ema is None else train_state.ema
        state = train_state.model_state
        for number, batch in enumerate(sweep()):
            state = one(params, state, batch["image"], jnp.float32(number))
        return state

    return run
