"""Optimizers and schedules in the semantics of the papers' PyTorch code.

Everything that optax has is optax; NAdam (PyTorch's, with its momentum schedule),
Lookahead (timm's) and the clipping of torch (which divides by norm + 1e-6) differ from
optax's of the same name. Schedules count optimizer steps: with `accumulate` a step is
several micro-batches.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxcert.errors import InputError, above, at_least, one_of, whole_from, within
from jaxcert.interfaces import Run
from jaxcert.training import manifold

ENDLESS = ("constant", "warmup")
"""Schedules that do not depend on the length of the run."""


def make(
    run: Run,
    *,
    name: str = "sgd",
    lr: float = 0.1,
    momentum: float = 0.9,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    decay_only: tuple[str, ...] = (),
    factors: dict[str, float] | None = None,
    schedule: str = "cosine",
    milestones: tuple[float, ...] = (0.5, 0.75),
    warmup_epochs: int = 0,
    warmup_steps: float = 0.0,
    clip_norm: float = 0.0,
    accumulate: int = 1,
    lookahead: bool = False,
    lookahead_steps: int = 6,
    orthogonal: bool = False,
) -> optax.GradientTransformation:
    """name: sgd | adam | adamw | nadam; schedule: constant | cosine | multistep |
    warmup (over warmup_steps, then constant) | warmup_cosine (over warmup_epochs).

    weight_decay is added to the gradient (torch), but for adamw. momentum is SGD's; b1, b2
    and eps are Adam's and AdamW's. Two groups by name: decay_only, the parameters that
    decay (none given: all), and factors on the learning rate, such as {"scale": 0.2}. A
    name stands for every parameter that has it in its path. lookahead_steps: those between
    two synchronisations.
    orthogonal: whether some parameters stay on the orthogonal group (manifold.py), where they
    take the steps of the same optimizer, and never decay. clip_norm: the most that the norm of
    the whole gradient may be, in which orthogonal parameters count with their gradient in the
    algebra, because the rest of it does not move them.
    Raises InputError for unknown names and impossible numbers.
    """
    above(0, of="optim", lr=lr)
    at_least(0, of="optim", weight_decay=weight_decay, clip_norm=clip_norm)
    at_least(0, of="optim", warmup_epochs=warmup_epochs, warmup_steps=warmup_steps)
    at_least(0, of="optim.factors", **dict(factors or {}))
    within("[0, 1)", of="optim", momentum=momentum, b1=b1, b2=b2)
    within("(0, 1]", of="optim", eps=eps)
    for milestone in milestones:
        within("(0, 1)", of="optim", milestones=milestone)
    whole_from(1, of="optim", accumulate=accumulate, lookahead_steps=lookahead_steps)
    if accumulate > run.total_steps:
        raise InputError(
            f"optim.accumulate is {accumulate:,}, and the whole run has {run.total_steps:,} "
            "batches, so that no optimizer step is taken: give less, or more epochs."
        )
    if lookahead and run.steps_per_epoch % accumulate:
        raise InputError(
            "optim.lookahead synchronises where an epoch ends: optim.accumulate must divide "
            f"its {run.steps_per_epoch} steps, and {accumulate} does not."
        )
    rate = learning_rate(
        run,
        lr=lr,
        schedule=schedule,
        milestones=milestones,
        warmup_epochs=warmup_epochs,
        warmup_steps=warmup_steps,
        accumulate=accumulate,
    )
    mask = partial(_named, decay_only) if decay_only else None
    if orthogonal:
        mask = partial(_free, mask)
    decayed = optax.add_decayed_weights(weight_decay, mask)
    adam = dict(b1=b1, b2=b2, eps=eps)
    optimizer = {
        "sgd": lambda: optax.chain(decayed, optax.sgd(rate, momentum or None)),
        "adam": lambda: optax.chain(decayed, optax.adam(rate, **adam)),
        "adamw": lambda: optax.adamw(
            rate, **adam, weight_decay=weight_decay, mask=mask
        ),
        "nadam": lambda: optax.chain(decayed, nadam(rate)),
    }
    one_of(optimizer, of="optim", name=name)
    tx = optimizer[name]()
    for group, factor in (factors or {}).items():
        own = partial(_named, (group,))
        tx = optax.chain(tx, optax.masked(optax.scale(factor), own))
    if clip_norm:
        tx = optax.chain(clip_by_global_norm(clip_norm), tx)
    epoch = max(run.steps_per_epoch // accumulate, 1)
    ahead = dict(sync_every=epoch, k=lookahead_steps)
    if orthogonal:
        if lookahead:
            others = with_lookahead(optax.identity(), **ahead)
            tx = optax.chain(tx, optax.masked(others, manifold.free))
        k = lookahead_steps if lookahead else 0
        tx = manifold.on_group(tx, epoch=epoch, lookahead=k)
    if lookahead and not orthogonal:
        tx = with_lookahead(tx, **ahead)
    return optax.MultiSteps(tx, accumulate) if accumulate > 1 else tx


def learning_rate(
    run: Run,
    *,
    lr: float,
    schedule: str,
    milestones: tuple[float, ...],
    warmup_epochs: int,
    warmup_steps: float,
    accumulate: int,
) -> optax.Schedule:
    """Return a function from the optimizer step, counted from 0, to the learning rate;
    arguments as in `make`. Raises InputError for an unknown schedule, or one that the
    run is too short for."""
    steps = run.total_steps // accumulate
    warmup = warmup_epochs * run.steps_per_epoch // accumulate
    rate = {
        "constant": lambda: optax.constant_schedule(lr),
        "cosine": lambda: optax.cosine_decay_schedule(lr, steps),
        "multistep": lambda: multistep(lr, steps, milestones),
        "warmup": lambda: ramp(lr, warmup_steps / accumulate),
        "warmup_cosine": lambda: warmup_cosine(lr, steps, warmup),
    }
    one_of(rate, of="optim", schedule=schedule)
    rising = {"warmup": warmup_steps / accumulate, "warmup_cosine": warmup}
    if rising.get(schedule, 0) >= steps:
        name = "warmup_steps" if schedule == "warmup" else "warmup_epochs"
        raise InputError(
            f"optim.{name} takes {rising[schedule]:g} optimizer steps and the whole run has "
            f"{steps}: give less, or more epochs."
        )
    return rate[schedule]()


def rate_at(section: Mapping, run: Run, step: int) -> float:
    """Return the learning rate of config.optim in step `step` (micro-batches, from 0)
    of a run, to six digits."""
    names = inspect.signature(learning_rate).parameters
    keys = {k: section[k] for k in names if k in section}
    return float(f"{float(learning_rate(run, **keys)(step // keys['accumulate'])):.6g}")


def _named(names: tuple[str, ...], params: optax.Params) -> optax.Params:
    """Return a tree of bool that says whether a parameter has one of the names in its
    path. Raises InputError for a name that no parameter has."""
    paths = jax.tree_util.tree_leaves_with_path(params)
    found = [{str(getattr(k, "key", k)) for k in path} for path, _ in paths]
    for name in names:
        if not any(name in keys for keys in found):
            there = ", ".join(sorted(set().union(*found)))
            raise InputError(f"optim names a parameter {name!r}; there are {there}.")
    hits = [not keys.isdisjoint(names) for keys in found]
    return jax.tree.unflatten(jax.tree.structure(params), hits)


def _free(mask, params: optax.Params) -> optax.Params:
    """Return a tree of bool that says which parameters of a mask are not orthogonal."""
    free = manifold.free(params)
    return (
        free if mask is None else jax.tree.map(lambda a, b: a and b, mask(params), free)
    )


def multistep(lr: float, steps: int, milestones: tuple[float, ...]) -> optax.Schedule:
    """lr / 10 from each milestone on, a fraction of all steps, rounded down."""
    boundaries: dict[int, float] = {}
    for fraction in milestones:
        at = math.floor(fraction * steps + 1e-9)
        boundaries[at] = boundaries.get(at, 1.0) * 0.1
    return optax.piecewise_constant_schedule(lr, boundaries)


def ramp(lr: float, warmup: float) -> optax.Schedule:
    """Linear from 0 at the first step to lr, which it keeps (Karras et al. 2022)."""
    return lambda count: lr * jnp.minimum(count / max(warmup, 1e-8), 1.0)


def averaging(
    decay: float, halflife: float, *, batch: int, accumulate: int = 1
) -> Callable[[jax.Array], jax.Array] | None:
    """step -> decay of the averaged weights in the optimizer step that ends there; None:
    no average.

    halflife, in images (Karras et al. 2022): decay = 0.5^(images per step / min(halflife,
    images seen before / 20)), so an average of few images forgets its start. Raises
    InputError for a decay outside [0, 1), a negative halflife, or both of them.
    """
    within("[0, 1)", ema=decay)
    at_least(0, ema_halflife=halflife)
    if decay and halflife:
        raise InputError(
            f"ema_halflife is {halflife:g} images and ema {decay:g}: give 0 for one of the "
            "two."
        )
    if decay:
        return lambda step: jnp.asarray(decay)
    images = batch * accumulate

    def by_images(step):
        seen = jnp.asarray(step // accumulate, float) * images  # above 2^31
        life = jnp.minimum(halflife, seen / 20)
        return jnp.exp2(-images / jnp.maximum(life, 1e-8))

    return by_images if halflife else None


def warmup_cosine(lr: float, steps: int, warmup: int) -> optax.Schedule:
    """Linear to lr, then cosine to 1e-5 lr; one step ahead, as Hu et al. (2023) count."""

    def schedule(count):
        i = count + 1.0
        cosine = 0.5 * (1 + jnp.cos(math.pi * (i - warmup) / max(steps - warmup, 1)))
        return lr * jnp.where(i < warmup, i / max(warmup, 1), jnp.maximum(cosine, 1e-5))

    return schedule


class NadamState(NamedTuple):
    count: jax.Array
    m: optax.Updates
    v: optax.Updates
    product: jax.Array
    """of mu_1 ... mu_t"""


def nadam(
    learning_rate: optax.Schedule,
    *,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    momentum_decay: float = 4e-3,
) -> optax.GradientTransformation:
    """PyTorch's NAdam (Dozat 2016), whose momentum warms up.

    mu_t = b1 (1 - 0.96^(momentum_decay t) / 2), M_t = mu_1 ... mu_t,
    theta -= lr [mu_{t+1} m_t / (1 - M_{t+1}) + (1 - mu_t) g_t / (1 - M_t)]
             / (sqrt(v_t / (1 - b2^t)) + eps).
    """

    def mu(t):
        return b1 * (1 - 0.5 * 0.96 ** (momentum_decay * t))

    def init(params):
        zeros = jax.tree.map(jnp.zeros_like, params)
        dtype = jax.tree.leaves(params)[0].dtype
        count = jnp.zeros((), jnp.int32)
        return NadamState(
            count, zeros, jax.tree.map(jnp.copy, zeros), jnp.ones((), dtype)
        )

    def update(grads, state, params=None):
        t = state.count + 1
        product = state.product * mu(t)
        after = product * mu(t + 1)
        m = jax.tree.map(lambda m, g: b1 * m + (1 - b1) * g, state.m, grads)
        v = jax.tree.map(lambda v, g: b2 * v + (1 - b2) * g * g, state.v, grads)
        lr = learning_rate(state.count)

        def step(g, m, v):
            ahead = mu(t + 1) / (1 - after) * m + (1 - mu(t)) / (1 - product) * g
            return -lr * ahead / (jnp.sqrt(v / (1 - b2**t)) + eps)

        updates = jax.tree.map(step, grads, m, v)
        return updates, NadamState(t, m, v, product.astype(state.product.dtype))

    return optax.GradientTransformation(init, update)


class LookaheadState(NamedTuple):
    count: jax.Array
    slow: optax.Params
    inner: optax.OptState


def with_lookahead(
    inner: optax.GradientTransformation,
    *,
    sync_every: int = 0,
    k: int = 6,
    alpha: float = 0.5,
) -> optax.GradientTransformation:
    """timm's Lookahead (Zhang et al. 2019): every k steps slow += alpha (fast - slow).

    The slow copy is made at the first synchronisation, which therefore changes nothing.
    One more synchronisation ends every epoch of `sync_every` steps (0: none). The params
    of the loop are the fast weights; moments of `inner` are kept.
    """

    def init(params):
        slow = jax.tree.map(jnp.copy, params)
        return LookaheadState(jnp.zeros((), jnp.int32), slow, inner.init(params))

    def update(grads, state, params):
        updates, inner_state = inner.update(grads, state.inner, params)
        count = state.count + 1
        sync = count % k == 0
        first = count == k
        if sync_every:
            sync |= count % sync_every == 0
            first = count == min(k, sync_every)

        def mix(slow, param, change):
            fast = param + change
            slow = jnp.where(first, fast, slow)
            return jnp.where(sync, slow + alpha * (fast - slow), slow)

        slow = jax.tree.map(mix, state.slow, params, updates)
        updates = jax.tree.map(
            lambda s, p, u: jnp.where(sync, s - p, u), slow, params, updates
        )
        return updates, LookaheadState(count, slow, inner_state)

    return optax.GradientTransformation(init, update)


def clip_by_global_norm(max_norm: float) -> optax.GradientTransformation:
    """g * min(1, max_norm / (|g| + 1e-6)), the clipping of torch."""

    def update(grads, state, params=None):
        factor = jnp.minimum(1.0, max_norm / (optax.tree.norm(grads) + 1e-6))
        return jax.tree.map(lambda g: g * factor.astype(g.dtype), grads), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)
