"""The sort neuron of SortNet, in its deterministic form, with which certificates are
computed.

Zhang, Jiang, He and Wang, Rethinking Lipschitz Neural Networks and Certified Robustness: A
Boolean Function Perspective (2022, arXiv:2210.01787), equation 8:

    y_o = sum_{k=1..K} c_k a_(k),    c_k = (1 - rho) rho^(k-1) / (1 - rho^K),

a_(1) >= a_(2) >= ... the sorted values |x_i - w_io|. The weights sum to one, so y is
1-Lipschitz in l_inf for every K. rho = 0 is the l_inf distance. (The original code calls
1 - rho "dropout": the probability to KEEP an input.) K = 10 in every published network.

On a CPU the K largest values are kept sorted while a loop goes over the inputs,
elsewhere each of them is a reduction of its own (`norm_dist.form`), so that nothing of
size B x O x D is stored.
"""

from __future__ import annotations

from functools import partial, reduce
from operator import add

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxcert.errors import whole_from, within
from jaxcert.ops.norm_dist import direct, form, xla

Array = jax.Array

_UNROLL = 2
"""Inputs per iteration of the loop. The sorted values do not fit into a CPU's registers,
and are read and written once for so many inputs: two thirds of the time of one."""


def sort_neuron(x: Array, w: Array, *, rho: float, num_terms: int = 10) -> Array:
    """Return the neurons' outputs, x [B,D], w [D,O] -> [B,O], in the type of x.

    The gradient is +-c_k at the k-th largest input, with equal values in the order of
    the inputs. Raises InputError for rho outside [0, 1) or num_terms < 1.
    """
    c = _coefficients(rho, num_terms, len(w))
    return _compiled((form(), c), x, w.astype(x.dtype))


def sort_neuron_bounds(
    lower: Array, upper: Array, w: Array, *, rho: float, num_terms: int = 10
) -> tuple[Array, Array]:
    """Return bounds of the neuron over the box [lower, upper], both [B,D]: ([B,O],
    [B,O]). They are exact for every single output, because y grows with each
    |x_i - w_io|."""
    c = _coefficients(rho, num_terms, len(w))
    return _bounds(form(), c, lower, upper, w)


@partial(jax.jit, static_argnums=(0, 1))
def _bounds(form: str, c: tuple[float, ...], lower: Array, upper: Array, w: Array):
    if form == "direct":
        rows, columns = direct.box_rows(lower, upper, w)
        # one end after the other, because XLA does not fuse the terms of both
        near, far = (
            [value[0] for value, _ in direct.largest(term, 1, len(c), rows, columns)]
            for term in (direct.nearest, direct.farthest)
        )
    else:
        none = [jnp.full((len(lower), w.shape[1]), -1, lower.dtype)] * len(c)

        def update(carry, i, near, far):
            return _insert(carry[0], near), _insert(carry[1], far)

        near, far = xla.sweep_box(update, (none, none), lower, upper, w)
    low, high = xla.ordered(_weighted(c, near), _weighted(c, far))
    poison = (0 * lower + 0 * upper).sum(1, keepdims=True) + (0 * w).sum(0)
    return low + poison, high + poison


def _coefficients(rho: float, num_terms: int, inputs: int) -> tuple[float, ...]:
    within("[0, 1)", rho=rho)
    whole_from(1, num_terms=num_terms)
    c = float(rho) ** np.arange(min(num_terms, inputs))
    return tuple((c / c.sum())[c > 0].tolist())


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _neuron(how: tuple[str, tuple[float, ...]], x: Array, w: Array) -> Array:
    form, c = how
    rows = x.T[:, None]
    if form == "direct":
        best, _ = _largest(x, w, len(c))
    else:
        none = [jnp.full((1, len(x), w.shape[1]), -1, x.dtype)] * len(c)
        best = xla.sweep(lambda v, i, d: _insert(v, d), none, rows, w, unroll=_UNROLL)
    return xla.poisoned(_weighted(c, best), rows, w)[0]


def _fwd(how, x, w):
    form, c = how
    rows = x.T[:, None]
    if form == "direct":
        best, index = _largest(x, w, len(c))
    else:
        shape = (1, len(x), w.shape[1])
        none = [jnp.full(shape, -1, x.dtype)] * len(c)
        zero = [jnp.zeros(shape, jnp.int32)] * len(c)

        def update(carry, i, d):
            values, indices = carry
            return _insert_indexed(values, indices, d, i)

        best, index = xla.sweep(update, (none, zero), rows, w, unroll=_UNROLL)
    y = xla.poisoned(_weighted(c, best), rows, w)[0]
    return y, (x, w, index)


def _largest(x: Array, w: Array, count: int) -> tuple[list[Array], list[Array]]:
    found = direct.largest(direct.distance, 1, count, [x[None]], [w.T[None]])
    return [value for value, _ in found], [place for _, place in found]


def _bwd(how, saved, g):
    form, c = how
    x, w, index = saved

    def signed(at, weight):
        right = jnp.take_along_axis(x[None], at, 2) >= w[at, jnp.arange(w.shape[1])]
        return weight * jnp.where(right, g, -g)

    if form == "direct":
        v = [signed(at, weight) for at, weight in zip(index, c, strict=True)]
        gx, gw = direct.scatter(jnp.stack(index, -1), jnp.stack(v, -1), len(w))
        return gx[0], gw

    def add(carry, term):
        more = xla.scatter(term[1], signed(term[1], term[0]), len(w))
        return jax.tree.map(jnp.add, carry, more), None

    zeros = jnp.zeros_like(x.T)[:, None], jnp.zeros_like(w)
    terms = jnp.asarray(c, x.dtype), jnp.stack(index)
    gx, gw = lax.scan(add, zeros, terms)[0]
    return gx[:, 0].T, gw


_neuron.defvjp(_fwd, _bwd)
_compiled = jax.jit(_neuron, static_argnums=0)


def _insert(values: list[Array], d: Array) -> list[Array]:
    """Return the descending `values` with d inserted at its place, without the
    smallest."""
    after = []
    for value in values:
        larger = d > value
        after.append(jnp.where(larger, d, value))
        d = jnp.where(larger, value, d)
    return after


def _insert_indexed(values, indices, d, i):
    """Do the same with values and input indices, in the order of the inputs where
    values are equal: d goes behind the values that it equals, and all smaller ones move
    on by one."""
    after, passed, before = [], False, (d, i)
    for value, index in zip(values, indices, strict=True):
        larger = d > value  # hence also at all places that follow
        new = [jnp.where(passed, b, a) for b, a in zip(before, (d, i), strict=True)]
        after.append(
            (jnp.where(larger, new[0], value), jnp.where(larger, new[1], index))
        )
        passed, before = larger, (value, index)
    return [value for value, _ in after], [index for _, index in after]


def _weighted(c: tuple[float, ...], values: list[Array]) -> Array:
    return reduce(add, (weight * v for weight, v in zip(c, values, strict=True)))
