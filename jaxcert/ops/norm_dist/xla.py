"""Distances as loops over the inputs: the form for a CPU, and the reference of the
others' tests.

Everything is input-major: x [D,S,b] (S groups of b images), w [D,O]. One iteration
takes one input i, a row of x and a row of w, and updates all S x b x O outputs, so that
nothing of size B x O x D is stored. With `kept` int32 [k,S] group s visits only its
inputs kept[:,s], x is [k,S,b] and holds those.

Powers for traced p: exp2(p log2 r) in general. In float32 and for 16 <= p < 2048 a
series, which takes a third of the time on a CPU (no log2, no exp2): with p = f 2^k,
1 <= f < 2, and t = 1 - r,

    r^p = ((1 - t)^f)^(2^k) = (sum_{j <= 8} binom(f, j) (-t)^j)^(2^k),

k squarings. The first term left out changes r^p, which is below exp(-p t), by at most
p t^9 exp(-p t) |binom(f, 9)| / f < 2e-8: less than the rounding of r^p itself, p 2^-24.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

Array = jax.Array

_TERMS, _SQUARINGS = 8, 10
_SERIES = (2.0**4, 2.0 ** (_SQUARINGS + 1))
"""The range of p, [from, to), in which powers are series."""


def sweep(update, carry, x: Array, w: Array, kept: Array | None = None, *, unroll=4):
    """Return the carry after carry <- update(carry, i, |x_i - w_i| [S,b,O]) for every
    input i of 0..len(x)-1.

    unroll: inputs per iteration, as many as leave the carry in a CPU's registers.
    """

    def one(i, carry):
        row = _row(w, i)[None] if kept is None else w[_row(kept, i)]
        return update(carry, i, jnp.abs(_row(x, i)[:, :, None] - row[:, None, :]))

    def several(block, carry):
        for j in range(unroll):
            carry = one(block * unroll + j, carry)
        return carry

    blocks = len(x) // unroll
    carry = lax.fori_loop(0, blocks, several, carry)
    return lax.fori_loop(blocks * unroll, len(x), one, carry)


def sweep_box(update: Callable, carry, lower: Array, upper: Array, w: Array):
    """Return the carry after carry <- update(carry, i, near, far) for every input,
    where near and far are the smallest and the largest
    |x_i - w_i| [B,O] of the box [lower, upper], both [B,D]."""
    lower, upper = lower.T, upper.T

    def one(i, carry):
        low, high, at = _row(lower, i)[:, None], _row(upper, i)[:, None], _row(w, i)
        near = jnp.maximum(jnp.maximum(low - at, at - high), 0)
        return update(carry, i, near, jnp.maximum(at - low, high - at))

    return lax.fori_loop(0, len(w), one, carry)


def ordered(low: Array, high: Array) -> tuple[Array, Array]:
    """Return (low, high), with both replaced by their mean where rounding made
    low > high."""
    crossed = low > high
    mean = (low + high) / 2
    return jnp.where(crossed, mean, low), jnp.where(crossed, mean, high)


def maximum(x: Array, w: Array, kept: Array | None = None) -> Array:
    """Return max_i |x_i - w_i|, [S,b,O]."""

    def update(best, i, d):
        return jnp.where(d > best, d, best)

    return poisoned(sweep(update, _full(x, w, 0.0), x, w, kept), x, w)


def maximum_and_index(x, w, kept=None) -> tuple[Array, Array]:
    """Return the same, and the first position of the maximum in 0..len(x)-1, int32
    [S,b,O]."""

    def update(carry, i, d):
        best, index = carry
        larger = d > best
        return jnp.where(larger, d, best), jnp.where(larger, i, index)

    start = _full(x, w, -1.0), _full(x, w, 0, jnp.int32)
    best, index = sweep(update, start, x, w, kept)
    return poisoned(best, x, w), index


def power_sum(x: Array, w: Array, p: int | Array, kept: Array | None = None) -> Array:
    """Return (sum_i |x_i - w_i|^p)^(1/p), [S,b,O].

    For an int p it multiplies, and the caller keeps the numbers small. For an array p
    it scales by the maximum.
    """
    zero = _full(x, w, 0.0)
    if isinstance(p, int):
        total = sweep(lambda a, i, d: a + lax.integer_pow(d, p), zero, x, w, kept)
        return root(total, p)
    m = maximum(x, w, kept)
    scale = jnp.where(m > 0, 1 / m, 0)

    def add(power):
        return sweep(lambda a, i, d: a + power(d * scale), zero, x, w, kept)

    return m * root(_with_power(p, add, x.dtype), p)


def gradients(x, w, y, g, p: int | Array, kept: Array | None = None):
    """Return the cotangents (gx [D,S,b], gw [D,O]) of `power_sum` at y, g [S,b,O].

    With r_i = |x_i - w_i| / y: gx_i = sum_o g sign(x_i - w_i) r_i^(p-1), and gw_i minus
    the sum over images. `kept` is bool [D,S] here: all inputs are visited and those not
    kept add nothing, so that both sums have a fixed order and need no scatter.
    """
    walk = partial(_walk, x, w, kept)
    if isinstance(p, int):
        return multiplied_gradients(walk, y, g, p)
    return _with_power(p - 1, partial(general_gradients, walk, y, g), x.dtype)


def general_gradients(walk: Callable, y: Array, g: Array, power: Callable):
    """Return the cotangents by walk(term, *arrays), which sums term(x_i - w_i, *arrays)
    over outputs and, with the other sign, over images; arrays have the shape of y."""

    def term(d, scale, g):
        return power(jnp.abs(d) * scale) * jnp.where(d >= 0, g, -g)

    return walk(term, jnp.where(y > 0, 1 / y, 0), g)


def multiplied_gradients(walk: Callable, y: Array, g: Array, p: int):
    """Return the same for multiplied powers."""
    cotangent, unit = scaled_cotangent(y, g, p)

    def term(d, g):
        power = lax.integer_pow(d, p - 1)
        return power * (g if p % 2 == 0 else jnp.where(d >= 0, g, -g))

    gx, gw = walk(term, cotangent)
    return gx * unit, gw * unit


def scaled_cotangent(y: Array, g: Array, p: int) -> tuple[Array, Array]:
    """Return (g / y^(p-1) / unit, unit): the powers of y are taken out of the sum,
    because g sign(d) r^(p-1) = d^(p-1) (g / y^(p-1)) for even p.

    unit scales g to about 1. Where y^(p-1) has no inverse, `power_sum` cannot tell y
    from 0, and the gradient is 0.
    """
    largest = jnp.max(jnp.where(jnp.isfinite(g), jnp.abs(g), 0))
    exponent = jnp.ceil(jnp.log2(jnp.where(largest > 0, largest, 1.0)))
    unit = jnp.exp2(jnp.minimum(exponent, jnp.finfo(g.dtype).maxexp - 2))
    least = float(jnp.finfo(y.dtype).max) ** (-1 / max(p - 1, 1)) * 2
    scale = jnp.where(y > least, 1 / y, 0)
    if p == 1:
        return (y > 0) * g / unit, unit
    return g / unit * lax.integer_pow(scale, p - 1), unit


def _walk(x, w, kept: Array | None, term, *arrays):
    """Return both sums of term(x_i - w_i [S,b,O], *arrays), over outputs and over
    images, input by input."""

    def one(i, carry):
        gx, gw = carry
        v = term(_row(x, i)[:, :, None] - _row(w, i), *arrays)
        if kept is not None:
            v = jnp.where(_row(kept, i)[:, None, None], v, 0)
        by_image, by_output = _sums(v)
        return _set(gx, by_image, i), _set(gw, -by_output, i)

    return lax.fori_loop(0, len(x), one, (jnp.zeros_like(x), jnp.zeros_like(w)))


def scatter(index: Array, v: Array, inputs: int) -> tuple[Array, Array]:
    """Return gx [D,S,b] and gw [D,O] that receive +v and -v at input `index`; all are
    [S,b,O]. A CPU adds in the order of the entries."""
    shape = index.shape
    group, image, output = jnp.indices(shape, sparse=True)
    gx = jnp.zeros((inputs, *shape[:2]), v.dtype).at[index, group, image].add(v)
    gw = jnp.zeros((inputs, shape[2]), v.dtype)
    return gx, gw.at[index, output + jnp.zeros_like(index)].add(-v)


def poisoned(y: Array, x: Array, w: Array) -> Array:
    """Return y with NaN wherever an input was not finite, which comparisons would pass
    over."""
    return y + (0 * x).sum(0)[..., None] + (0 * w).sum(0)


def _with_power(p: Array, use: Callable, dtype):
    """Return use(power), where power(r) = r^p for 0 <= r <= 1 and 0^0 is 1."""
    tiny = jnp.finfo(dtype).tiny

    def exact(r):
        return jnp.exp2(p * jnp.log2(jnp.maximum(r, tiny)))

    if dtype != jnp.float32:
        return use(exact)
    k = jnp.clip(jnp.floor(jnp.log2(p)), 0, _SQUARINGS)
    f = p / jnp.exp2(k)
    binomial = [jnp.ones_like(f)]
    for j in range(1, _TERMS + 1):
        binomial.append(binomial[-1] * (j - 1 - f) / j)

    def series(r):
        t = 1 - r
        u = binomial[-1]
        for coefficient in binomial[-2::-1]:
            u = u * t + coefficient
        for j in range(_SQUARINGS):
            u = jnp.where(j < k, u * u, u)
        return u

    fits = (p >= _SERIES[0]) & (p < _SERIES[1])
    return lax.cond(fits, lambda: use(series), lambda: use(exact))


def root(total: Array, p: int | Array) -> Array:
    """Return total^(1/p), which is 0 at 0."""
    positive = total > 0
    return jnp.where(positive, jnp.where(positive, total, 1.0) ** (1 / p), total)


def _sums(v: Array) -> tuple[Array, Array]:
    """Return the sums of v [S,b,O] over outputs, [S,b], and over images, [O]. They are
    products with ones, because XLA would compute v once for each of two reductions."""
    images, outputs = (jnp.ones(n, v.dtype) for n in (v[..., 0].size, v.shape[-1]))
    high = lax.Precision.HIGHEST
    by_image = jnp.matmul(v, outputs, precision=high)
    return by_image, jnp.matmul(images, v.reshape(len(images), -1), precision=high)


def _full(x: Array, w: Array, value, dtype=None) -> Array:
    return jnp.full((*x.shape[1:], w.shape[1]), value, dtype or x.dtype)


def _row(a: Array, i) -> Array:
    return lax.dynamic_index_in_dim(a, i, keepdims=False)


def _set(a: Array, row: Array, i) -> Array:
    return lax.dynamic_update_index_in_dim(a, row, i, 0)
