"""Distances as reductions of broadcast differences: the form for accelerators.

XLA fuses a reduction with the arithmetic in front of it, so that one kernel computes a
whole sum over the inputs and nothing of size B x O x D is ever stored. A loop over the
inputs, which is the form for a CPU (`xla`), would be thousands of kernels there.

`outer` reduces a tile of 4 x 4 outputs together, as one reduction of 16 operands. XLA
then keeps the tile in the registers of a thread and reads each row of x and of w once
for four
outputs: without tiles those reads, 8 bytes for 2 instructions, would be the bound. All
rows are along the axis that is reduced, because XLA would not fuse otherwise.

    sum                   rows of               along     besides
    maximum, index        x [S,b,D], w^T [O,D]  inputs
    sum of powers         the same              inputs    1/m [b,O] (general p)
    gx                    g [b,O], w [D,O]      outputs   x [b,D]
    gw                    x^T [D,b], g^T [O,b]  images    w [D,O]

Both gradients of finite p compute each power, so that no sum crosses kernels and
results repeat bit for bit. That of p = infinity goes to one input for each image and
output: it is scattered as integers, whose sum does not depend on the order (`scatter`).

Everything is image-major: x [S,b,D], S groups of b images, w [D,O], y and g [S,b,O], and
`kept` int32 [S,k] as in `norm_dist`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxcert.ops.norm_dist import xla

Array = jax.Array

_TILE = 4  # rows of each side whose outputs one thread holds
_OPERANDS = (
    32  # operands of one reduction: XLA fuses no more, and would store 54 GB for 64
)
_LOGARITHM = (  # log(1 + f) / f for sqrt(1/2) <= 1 + f < sqrt(2), to 3e-8
    (1.0, -0.499999881, 0.333341867, -0.250020742, 0.199568331)
    + (-0.165623978, 0.149522737, -0.143668175, 0.0872230455)
)


def outer(
    term: Callable[..., Sequence[Array]],
    combine: Callable[[Sequence[Array], Sequence[Array]], Sequence[Array]],
    init: Sequence[float | int],
    rows: Sequence[Array],
    columns: Sequence[Array],
    held: Sequence[Array] = (),
) -> list[Array]:
    """Reduce term(*rows [m], *columns [n], *held [m,n]) over the last axis, K.

    rows [S,M,K], columns [S,N,K], held [S,M,N], S being 1 where all groups share an
    array. `term` returns one array for each value of `init`, and `combine` merges two
    such lists. The result is as many arrays [S,M,N].
    """
    return _reduced(term, combine, init, *_parts(len(init), rows, columns), held)


def _parts(values: int, rows: Sequence[Array], columns: Sequence[Array]):
    """Return rows and columns split for the tiles of `outer`, each into a list of
    strided slices [S,M / 4,K] and [S,N / 4,K], or fewer and larger ones. values: the
    number of arrays of a term."""
    down = _tile(rows[0].shape[1], _TILE)
    across = _tile(columns[0].shape[1], min(_TILE, _OPERANDS // (values * down)))

    def cut(a, parts):
        a = a.reshape(len(a), -1, parts, a.shape[2])
        return [a[:, :, i] for i in range(parts)]

    return [cut(a, down) for a in rows], [cut(a, across) for a in columns]


def _reduced(term, combine, init, rows, columns, held) -> list[Array]:
    """Return `outer` of rows and columns that `_parts` has split."""
    down, across = len(rows[0]), len(columns[0])
    m, n = down * rows[0][0].shape[1], across * columns[0][0].shape[1]
    held = [a.reshape(len(a), m // down, down, n // across, across) for a in held]
    operands = []
    for i in range(down):
        for j in range(across):
            operands += term(
                *[parts[i][:, :, None] for parts in rows],
                *[parts[j][:, None] for parts in columns],
                *[a[:, :, i, :, j, None] for a in held],
            )
    count = len(init)

    def merge(left, right):
        starts = range(0, len(left), count)
        parts = [combine(left[s : s + count], right[s : s + count]) for s in starts]
        return tuple(value for part in parts for value in part)

    start = [
        a.dtype.type(v) for a, v in zip(operands, init * (down * across), strict=True)
    ]
    out = lax.reduce(tuple(operands), tuple(start), merge, (3,))
    tiles = [jnp.stack(out[k::count], -1) for k in range(count)]
    return [
        t.reshape(*t.shape[:3], down, across).transpose(0, 1, 3, 2, 4).reshape(-1, m, n)
        for t in tiles
    ]


def distance(x: Array, w: Array) -> list[Array]:
    """Return the term of `outer` and `largest` for distances."""
    return [abs(x - w)]


def maximum(x: Array, w: Array, kept: Array | None = None) -> Array:
    """Return max_i |x_i - w_i|, [S,b,O]."""
    rows, columns = _inputs(x, w, kept)
    return outer(distance, _larger, [0.0], rows, columns)[0]


def maximum_and_index(x, w, kept=None) -> tuple[Array, Array]:
    """Return the same, and the first input that attains it, int32 [S,b,O]."""
    rows, columns = _inputs(x, w, kept)

    def term(x, w):
        d = abs(x - w)
        return d, lax.broadcasted_iota(jnp.int32, d.shape, 3)

    y, at = outer(term, _first_larger, [-1.0, 0], rows, columns)
    return y, at if kept is None else kept[jnp.arange(len(x))[:, None, None], at]


def box(lower: Array, upper: Array, w: Array) -> tuple[Array, Array]:
    """Return max_i of the smallest and of the largest |x_i - w_i| of the box
    [lower, upper], both [B,D]: ([B,O], [B,O])."""
    rows, columns = box_rows(lower, upper, w)
    near, far = (outer(f, _larger, [0.0], rows, columns) for f in (nearest, farthest))
    return near[0][0], far[0][0]


def box_rows(lower: Array, upper: Array, w: Array) -> tuple[list[Array], list[Array]]:
    """Return rows and columns of `nearest` and `farthest` for `outer` and `largest`."""
    return [lower[None], upper[None]], [w.T[None]]


def nearest(low: Array, high: Array, w: Array) -> list[Array]:
    """Return the smallest |x - w| for x in [low, high]."""
    return [jnp.maximum(jnp.maximum(low - w, w - high), 0)]


def farthest(low: Array, high: Array, w: Array) -> list[Array]:
    """Return the largest |x - w| for x in [low, high]."""
    return [jnp.maximum(w - low, high - w)]


def largest(
    term: Callable[..., Sequence[Array]],
    quantities: int,
    count: int,
    rows: Sequence[Array],
    columns: Sequence[Array],
) -> list[list[Array]]:
    """Return the `count` largest values, and their places, over the last axis of each
    of the `quantities` arrays that `term` returns: a list of [value, int32 place,
    value, place..], all [S,M,N], in descending order, equal values in the order of
    their places.

    Each is a reduction of its own, over what comes after its predecessor. Each computes
    its terms for itself, and they must be equal bit for bit, or a value would count
    twice or not at all: so all read the same arrays, which none computes anew. Terms
    are not shared, because XLA would store them, 108 GB for a layer.
    """

    def remaining(*arrays):
        arrays, before = arrays[: -2 * quantities], arrays[-2 * quantities :]
        out = []
        for d, value, at in zip(term(*arrays), before[::2], before[1::2], strict=True):
            place = lax.broadcasted_iota(jnp.int32, d.shape, 3)
            taken = (d > value) | ((d == value) & (place <= at))  # never NaN
            out += [jnp.where(taken, -1, d), place]
        return out

    shape = max(len(rows[0]), len(columns[0])), rows[0].shape[1], columns[0].shape[1]
    none = [jnp.full(shape, jnp.inf, rows[0].dtype), jnp.full(shape, -1, jnp.int32)]
    found, init = [none * quantities], [-1.0, 0] * quantities
    down, across = _parts(len(init), rows, lax.optimization_barrier(columns))
    for _ in range(count):  # rows are small; columns would be transposed each time
        down, before = lax.optimization_barrier((down, found[-1]))
        found.append(_reduced(remaining, _first_larger, init, down, across, before))
    return found[1:]


def power_sum(x: Array, w: Array, p: int | Array, kept: Array | None = None) -> Array:
    """Return (sum_i |x_i - w_i|^p)^(1/p), [S,b,O].

    For an int p it multiplies, and the caller keeps the numbers small. For an array p
    it scales by the maximum.
    """
    rows, columns = _inputs(x, w, kept)
    if isinstance(p, int):

        def multiplied(x, w):
            return [lax.integer_pow(abs(x - w) if p % 2 else x - w, p)]

        return xla.root(outer(multiplied, _sum, [0.0], rows, columns)[0], p)
    m = maximum(x, w, kept)
    scale = jnp.where(m > 0, 1 / m, 0)
    power = _power(p, x.dtype)

    def scaled(x, w, scale):
        return [power(abs(x - w) * scale)]

    return m * xla.root(outer(scaled, _sum, [0.0], rows, columns, [scale])[0], p)


def gradients(x, w, y, g, p: int | Array, kept: Array | None = None):
    """Return the cotangents (gx [S,b,D], gw [D,O]) of `power_sum` at y, g [S,b,O]."""
    shape, seen = x.shape, None
    if kept is not None:
        groups = jnp.arange(len(kept))[:, None]
        seen = jnp.zeros((shape[0], shape[2]), bool).at[groups, kept].set(True)
        x = jnp.where(seen[:, None], x, 0)
        seen = jnp.repeat(seen, shape[1], axis=0)
    x, y, g = (a.reshape(-1, a.shape[2]) for a in (x, y, g))

    def walk(term, *arrays):
        def by_outputs(*operands):
            *values, w, x = operands
            return [term(x - w, *values)]

        def by_images(x, *operands):
            *values, w = operands
            return [term(x - w, *values)]

        def by_images_seen(seen, *operands):
            return [jnp.where(seen, by_images(*operands)[0], 0)]

        given = [a[None] for a in arrays]
        (gx,) = outer(by_outputs, _sum, [0.0], given, [w[None]], [x[None]])
        gx = gx[0] if seen is None else jnp.where(seen, gx[0], 0)
        across, points = [a.T[None] for a in arrays], x.T[None]
        if seen is None:
            (gw,) = outer(by_images, _sum, [0.0], [points], across, [w[None]])
        else:
            rows = [seen.T[None], points]
            (gw,) = outer(by_images_seen, _sum, [0.0], rows, across, [w[None]])
        return gx, -gw[0]

    if isinstance(p, int):
        gx, gw = xla.multiplied_gradients(walk, y, g, p)
    else:
        gx, gw = xla.general_gradients(walk, y, g, _power(p - 1, x.dtype))
        # `_power` takes NaN for a number
        nan_x, nan_w = 0 * x, 0 * w
        gx, gw = gx + nan_x + nan_w.sum(1), gw + nan_w + nan_x.sum(0)[:, None]
    return gx.reshape(shape), gw


def scatter(index: Array, v: Array, inputs: int) -> tuple[Array, Array]:
    """Return gx [S,b,D] and gw [D,O] that receive +v and -v at input `index`; all are
    [S,b,O], or [S,b,O,K] where K different inputs of an output receive something."""
    shape = *index.shape[:2], inputs
    index, v = (a.reshape(-1, *a.shape[2:]) for a in (index, v))
    images, outputs = jnp.indices(index.shape, sparse=True)[:2]
    gx = _fixed_sum(v, (len(v), inputs), (images, index), v.shape[1])
    gw = _fixed_sum(v, (inputs, v.shape[1]), (index, outputs), len(v))
    return gx.reshape(shape), -gw


def _fixed_sum(v: Array, shape: tuple[int, int], at: tuple, terms: int) -> Array:
    """Return zeros of `shape` to which v is added at the places `at`, at most `terms`
    times at any one. It adds integers, whose sum is the same in any order that a device
    takes.

    A value is high + low 2^-bits in units of 2^-bits max |v|. Neither sum can overflow:
    `bits` leaves room for `terms` of them. The error of a value is at most 2^-(2 bits)
    max |v|. With 5,120 terms of float32 there are 15 bits, so that is 2^-30, less than
    the rounding of a sum of floats that contains the largest value. Where v is not
    finite all of the sum is NaN.
    """
    wide = v.astype(jnp.promote_types(v.dtype, jnp.float32))
    whole = jnp.int64 if wide.dtype == jnp.float64 else jnp.int32
    bits = jnp.iinfo(whole).bits - 4 - math.ceil(math.log2(terms))
    largest = jnp.max(abs(wide))
    finite = jnp.isfinite(largest)
    # 2^exponent above the largest value; a float to 2 bits, which `bits` leaves too
    info = jnp.finfo(wide.dtype)
    exponent = jnp.frexp(jnp.where(finite, largest, 0))[1]
    exponent = jnp.clip(exponent, info.minexp + 2 * bits, info.maxexp - 2)
    unit = jnp.ldexp(jnp.ones((), wide.dtype), exponent)
    high = jnp.round(wide / unit * 2.0**bits)
    low = jnp.round((wide / unit * 2.0**bits - high) * 2.0**bits)
    sums = [jnp.zeros(shape, whole).at[at].add(a.astype(whole)) for a in (high, low)]
    high, low = (a.astype(wide.dtype) for a in sums)
    total = (high + low * 2.0**-bits) * (unit * 2.0**-bits)
    return jnp.where(finite, total, jnp.nan).astype(v.dtype)


def _inputs(x: Array, w: Array, kept: Array | None) -> tuple[list[Array], list[Array]]:
    """Return rows and columns for an `outer` that reduces over the inputs that each
    group sees."""
    w = w.T[None]
    if kept is None:  # all images are one group
        return [x], [w]
    return [jnp.take_along_axis(x, kept[:, None], 2)], [w[0][:, kept].swapaxes(0, 1)]


def _power(p: Array, dtype) -> Callable[[Array], Array]:
    """Return the function r -> r^p for 0 <= r <= 1, where 0^0 is 1. It maps NaN to a
    number.

    CUDA's logarithm takes 24 instructions because of cases that do not occur here. With
    r = 2^e (1 + f), sqrt(1/2) <= 1 + f < sqrt(2), log r = e log 2 + log(1 + f), and an
    error of 1e-7 in it is one below 4e-8 in r^p, as x exp(-x) <= 1/e.
    """
    if dtype != jnp.float32:
        tiny = jnp.finfo(dtype).tiny
        return lambda r: jnp.exp2(p * jnp.log2(jnp.maximum(r, tiny)))
    least = np.float32(2**-0.5).view(np.int32)

    def power(r):
        bits = lax.bitcast_convert_type(r, jnp.int32)
        exponent = (bits - least) & np.int32(-(2**23))
        f = lax.bitcast_convert_type(bits - exponent, jnp.float32) - 1
        series = _LOGARITHM[-1]
        for coefficient in _LOGARITHM[-2::-1]:
            series = series * f + coefficient
        e = exponent.astype(jnp.float32)
        return jnp.exp(p * (e * (math.log(2) * 2.0**-23) + f * series))

    return power


def _tile(size: int, most: int) -> int:
    """Return the largest power of two that divides `size` and is at most `most`, itself
    a power of two."""
    return math.gcd(size, most)


def _larger(a, b):
    return [jnp.maximum(v, u) for v, u in zip(a, b, strict=True)]


def _sum(a, b):
    return [v + u for v, u in zip(a, b, strict=True)]


def _first_larger(a, b):
    """Return the larger of two pairs (value, place), the first one where they are
    equal."""
    out = []
    for v, i, u, j in zip(a[::2], a[1::2], b[::2], b[1::2], strict=True):
        first = (v > u) | ((v == u) & (i < j))
        out += [jnp.maximum(v, u), jnp.where(first, i, j)]
    return out
