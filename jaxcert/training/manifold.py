"""Optimizers on the orthogonal group, for every parameter below the name `orthogonal`.

Hu, Hu and Fredrikson, "LipNeXt: Scaling up Lipschitz-based Certified Robustness to
Billion-parameter Models" (2026, arXiv:2601.18513). For an orthogonal X with the gradient G

    A  = (X^T G - G^T X) / 2          skew, which is the algebra of the group
    A -> step                         by any optimizer that takes each number by itself
    X <- X FastExp(step)

The moments of Adam are those of A. A second moment is symmetric, so the step is skew. Two
things happen where an epoch ends: X becomes the nearest orthogonal matrix, because the
rounding of many steps adds up, and, with lookahead, fast and slow X meet. Both are part of
the step and what they need is in its state, so a run that was interrupted repeats them
exactly.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxcert.errors import InputError
from jaxcert.ops import linalg

Array = jax.Array

LABEL = "orthogonal"
LIMIT = 0.01
"""The distance from orthogonality, see `drift`, above which matrices are retracted within
an epoch. Four steps of `retracted` take it below rounding."""
MEASURED = 16
"""The distance is measured in every so many optimizer steps, and where an epoch ends."""


def labelled(params: Any) -> Any:
    """Return a tree of bool that says which parameters are orthogonal."""
    return jax.tree_util.tree_map_with_path(
        lambda path, _: any(getattr(k, "key", None) == LABEL for k in path), params
    )


def free(params: Any) -> Any:
    """Return a tree of bool that says which parameters are not orthogonal."""
    return jax.tree.map(lambda own: not own, labelled(params))


def has_orthogonal(params: Any) -> bool:
    """Return whether there are orthogonal parameters. Raises InputError for one that is
    not square."""
    flags = jax.tree.leaves(labelled(params))
    for leaf, own in zip(jax.tree.leaves(params), flags, strict=True):
        if own and (leaf.ndim < 2 or leaf.shape[-1] != leaf.shape[-2]):
            raise InputError(
                f"a parameter below the name {LABEL!r} has the shape {leaf.shape}: only square "
                "matrices [...,N,N] are kept orthogonal; name it otherwise."
            )
    return any(flags)


def skew_gradient(x: Array, gradient: Array) -> Array:
    """Return (X^T G - G^T X) / 2, which is exactly skew: the gradient at the identity of
    the function A -> loss(X exp(A))."""
    product = _product(_t(x), gradient)
    return (product - _t(product)) / 2


def fast_exp_minus_one(a: Array) -> Array:
    """Return exp(A) - I of skew matrices [...,N,N]. With |A| the largest Frobenius norm of
    the stack it is, up to rounding,

        A + A^2/2                    |A| < 0.05
              ... + A^3/6            |A| < 0.25
              ... + A^4/24           |A| < 1
        exp(A) - I                   else, by scaling and squaring
    """
    size = jnp.sqrt(jnp.sum(a * a, (-2, -1)).max())
    order = sum(jnp.int32(size >= at) for at in (0.05, 0.25, 1.0))  # NaN: the first
    squared = partial(_by_squaring, size=size)
    return jax.lax.switch(order, [*map(_taylor, (2, 3, 4)), squared], a)


def _taylor(order: int) -> Callable[[Array], Array]:
    def series(a):
        square = _product(a, a)
        if order == 2:
            return a + square / 2
        eye = jnp.eye(a.shape[-1], dtype=a.dtype)
        rest = eye / 2 + a / 6 + (square / 24 if order == 4 else 0)
        return a + _product(square, rest)

    return series


def _by_squaring(a: Array, size: Array) -> Array:
    """Return exp(A) - I by its series to the sixth order at A / 2^s, whose norm is at most
    1/16, and (1 + E)^2 - 1 = 2 E + E^2, s times."""
    times = jnp.clip(jnp.ceil(jnp.log2(16 * size)), 0, 60)
    a = a * jnp.exp2(-times).astype(a.dtype)
    square = _product(a, a)
    cube = _product(square, a)
    eye = jnp.eye(a.shape[-1], dtype=a.dtype)
    rest = eye / 6 + a / 24 + square / 120 + cube / 720
    start = a + square / 2 + _product(cube, rest)
    return jax.lax.fori_loop(
        0, times.astype(jnp.int32), lambda _, e: 2 * e + _product(e, e), start
    )


def check_start(params: Any) -> None:
    """Raises InputError if orthogonal parameters start further from orthogonal than
    LIMIT: a retraction reaches the nearest orthogonal matrix only from nearby."""
    flags = jax.tree.leaves(labelled(params))
    for leaf, own in zip(jax.tree.leaves(params), flags, strict=True):
        if own and not (found := float(drift(leaf))) <= LIMIT:
            raise InputError(
                f"parameters below the name {LABEL!r} start at a distance of {found:.3g} from "
                f"orthogonal, which may be {LIMIT:g}: give them flax.linen.initializers."
                "orthogonal(), or another name."
            )


def drift(x: Array) -> Array:
    """Return the largest Frobenius norm of X^T X - I over a stack [...,N,N]. A singular
    value of X is at most the root of 1 + drift."""
    off = linalg.product(_t(x), x) - jnp.eye(x.shape[-1], dtype=x.dtype)
    return jnp.sqrt(jnp.sum(off * off, (-2, -1)).max())


def retracted(x: Array) -> Array:
    """Return the orthogonal matrices nearest to X [...,N,N], whose drift is at most
    0.1, by Newton-Schulz."""
    for _ in range(4):
        x = 1.5 * x - 0.5 * linalg.product(x, linalg.product(_t(x), x))
    return x


class State(NamedTuple):
    """The state that `on_group` keeps of orthogonal parameters."""

    count: Array
    """the optimizer steps so far"""
    drift: Array
    """as it was last measured, before a retraction"""
    early: Array
    """bool, whether this step measured it, and it was above LIMIT. The name stays because
    checkpoints have it; once this was told within an epoch alone."""
    slow: optax.Params | None
    """X where the last lookahead left it"""
    walked: optax.Updates | None
    """the sum of the steps since"""


def on_group(
    inner: optax.GradientTransformation, *, epoch: int, lookahead: int = 0
) -> optax.GradientTransformation:
    """Return an optimizer that takes the steps of `inner`, on orthogonal parameters in the
    algebra and on the others as they are.

    inner: must take each number by itself, but for a factor of all, and leave orthogonal
    parameters out of weight decay; epoch: the optimizer steps of an epoch, after which X is
    retracted; lookahead: the number of steps K after which, and at the end of an epoch, X_slow
    <- X_slow FastExp(1/2 the sum of the steps since) and X <- X_slow; 0: none.
    """
    onto = _onto_group(epoch, lookahead)
    return optax.chain(
        optax.masked(_into_algebra(), labelled), inner, optax.masked(onto, labelled)
    )


def _into_algebra() -> optax.GradientTransformation:
    def update(grads, state, params):
        return jax.tree.map(skew_gradient, params, grads), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def _onto_group(epoch: int, lookahead: int) -> optax.GradientTransformation:
    def init(params):
        slow = jax.tree.map(jnp.copy, params) if lookahead else None
        walked = jax.tree.map(jnp.zeros_like, params) if lookahead else None
        nothing = jnp.zeros((), jnp.int32), jnp.zeros(()), jnp.zeros((), bool)
        return State(*nothing, slow, walked)

    def update(steps, state, params):
        count = state.count + 1
        ends, slow, walked = count % epoch == 0, state.slow, state.walked
        sync = jnp.zeros((), bool)
        new = jax.tree.map(_moved, params, steps)
        if lookahead:
            sync = ends | (count % lookahead == 0)
            walked = jax.tree.map(jnp.add, walked, steps)
            new = jax.lax.cond(sync, _half_way, lambda slow, *_: new, slow, walked)
        measured = ends | (count % MEASURED == 0)
        new, found, far = jax.lax.cond(
            measured,
            _settled,
            lambda x, _: (x, state.drift, jnp.array(False)),
            new,
            ends,
        )
        if lookahead:
            slow = jax.tree.map(partial(jnp.where, sync), new, slow)
            walked = jax.tree.map(lambda w: jnp.where(sync, 0, w), walked)
        updates = jax.tree.map(jnp.subtract, new, params)
        return updates, State(count, found, far, slow, walked)

    return optax.GradientTransformation(init, update)


def _moved(x: Array, step: Array) -> Array:
    return x + _product(x, fast_exp_minus_one(step))


def _half_way(slow, walked):
    return jax.tree.map(lambda x, a: _moved(x, a / 2), slow, walked)


def _settled(x, ends):
    """Return (x, its drift, whether that is above the limit), with x retracted where an
    epoch ends or the drift is above the limit."""
    found = jnp.stack([drift(leaf) for leaf in jax.tree.leaves(x)]).max()
    far = found > LIMIT
    x = jax.lax.cond(ends | far, partial(jax.tree.map, retracted), lambda x: x, x)
    return x, found.astype(float), far


def metrics(opt_state: Any) -> dict[str, Array]:
    """Return what a step tells of orthogonal parameters: `drift` and `early` of State;
    nothing where there are none."""
    leaves = jax.tree.leaves(opt_state, is_leaf=lambda s: isinstance(s, State))
    found = [leaf for leaf in leaves if isinstance(leaf, State)]
    return {
        key: getattr(state, key).astype(state.drift.dtype)
        for state in found
        for key in ("drift", "early")
    }


def _product(a: Array, b: Array) -> Array:
    return linalg.product(a, b, linalg.iterated(a.dtype))


def _t(x: Array) -> Array:
    return jnp.swapaxes(x, -1, -2)
