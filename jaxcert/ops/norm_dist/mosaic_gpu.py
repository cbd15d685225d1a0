"""Distances of norm p between all columns of two matrices: Mosaic GPU kernels.

    y[b,o] = (sum_i |x[i,b] - w[i,o]|^p)^(1/p),  or  max_i |x[i,b] - w[i,o]|  (p None)

    v[i,b,o] = g[b,o] s (|x[i,b] - w[i,o]| / y[b,o])^(p-1),  s = +1 where x >= w, else -1
    gx[i,b] = sum_o v[i,b,o],   gw[i,o] = -sum_b v[i,b,o]
    p None: v is g s at the first i that attains the maximum, zero elsewhere, and is scattered
    by `direct.scatter`

All arrays are float32 and input-major: x [D,B], w [D,O], y and g [B,O].

Tiling. Nothing here is a matrix product: the bound is the issue rate of elementwise
instructions, fed from registers. All kernels are one loop: a block of 128 threads owns a
64 x 64 tile of its output, 32 values a thread, and walks along the third axis; step k
reads row k of the streamed arrays from shared memory (2 values a thread down the tile, 16
across it, 0.3 loads per evaluation) and updates the tile as an outer product, while
`emit_pipeline` copies the next 32 rows. The layouts are those of a WGMMA accumulator
because Mosaic broadcasts rows and columns to them.

    kernel                tile     streamed along k        held in registers
    maximum               [B,O]    i: x, w
    and index             [B,O]    i: x, w                 index of the copy
    sum of powers         [B,O]    i: x, w                 1/m (general p)
    gx                    [D,B]    o: w^T, (1/y)^T, g^T    x
    gw                    [D,O]    b: x^T, 1/y, g          w
    gx, gw for int p      same     g / y^(p-1) for both

A maximum remembers only which copy of 32 rows it came from, with one comparison per
copy, because an index in the inner loop would more than double its instructions. Which
of the 32 rows it was is found outside, in the winning copy.

Two gradient kernels compute each power twice, but no sum crosses blocks: there are no
atomics and results repeat bit for bit. The transposes outside are 1e-4 of the work.

General p takes two sweeps: the maximum m, then the sum of (|d|/m)^p, which is at least
1, so that the terms with |d| <= tau m, tau = (2^-24/D)^(1/p), sum to less than its last
bit. At p = 128 about 12 of 5120 terms are larger. Threads branch around logarithm and
exponential, the bound of the dense sweep, for four values at a time. In gradients a
term is skipped where the power is below 2^-30: what is skipped of a sum is below 2^-30
n max |g| for n terms, which for 64 terms is no more than the rounding of the largest,
2^-24.

NaN: maxima are max.NaN, and powers and comparisons propagate it. The index of a NaN
output is some valid index.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import partial, reduce
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.mosaic import gpu as mgpu
from jax.experimental.pallas import mosaic_gpu as plgpu
from jaxlib.mlir import ir
from jaxlib.mlir.dialects import arith, llvm, scf, vector

from jaxcert.ops.norm_dist import xla

Array = jax.Array

_TILE = 64  # rows and columns of the register tile
_DEPTH = 32  # rows of the streamed arrays per copy
_STAGES = 2  # copies in flight
_UNROLL = 4  # steps between two tests of the loop's end
_GROUP = 2  # register pairs behind one branch: fewer tests or fewer needless powers
_SKIPPED = 2.0**-30  # powers of gradients below this are not computed
_TINY = 2.0**-126  # smallest normal float32; below it the GPU takes logarithms as of 0
_LAYOUT = plgpu.Layout.WGMMA
_SCALAR = plgpu.Layout.WG_SPLAT(())


def forward(
    x: Array, w: Array, p: int | Array | None, *, interpret: bool = False
) -> Array:
    """Return y [B,O] for x [D,B] and w [D,O].

    A static int p is a power by multiplications: the caller scales x and w so that the
    sum neither overflows nor vanishes. A float32 scalar p >= 1 needs no scaling.
    """
    y_shape = (x.shape[1], w.shape[1])
    sweep = partial(
        _tile_loop, shape=y_shape, rows=[x], columns=[w], interpret=interpret
    )
    if isinstance(p, int):
        (total,) = sweep(partial(_add_power, p))
        return total ** (1 / p)
    (m,) = sweep(_maximum)
    if p is None:
        return m
    m = jnp.maximum(m, _TINY)  # only avoids a division by zero; the sum will be zero
    tau = (2.0**-24 / x.shape[0]) ** (1 / p)
    (total,) = sweep(_add_general_power, tiles=[1 / m], scalars=[p, tau, 0.0])
    return m * total ** (1 / p)


def forward_index(
    x: Array, w: Array, *, interpret: bool = False
) -> tuple[Array, Array]:
    """Return the maximum y [B,O] and the first i that attains it, int32 [B,O]."""
    y_shape = (x.shape[1], w.shape[1])
    y, copy = _tile_loop(
        _maximum_of_copy,
        y_shape,
        [x],
        [w],
        start=(0.0, 0),
        after_copy=_index_of_copy,
        interpret=interpret,
    )
    near, points = (
        jnp.pad(a, ((0, -len(a) % _DEPTH), (0, 0))).reshape(-1, _DEPTH, a.shape[1])
        for a in (x, w)
    )
    images, outputs = jnp.indices(y_shape, sparse=True)
    d = jnp.abs(near[copy, :, images] - points[copy, :, outputs])
    # padding is at a distance of 0 and comes last, so it is never the first largest
    return y, copy * _DEPTH + jnp.argmax(d, 2).astype(jnp.int32)


def backward(
    x: Array, w: Array, y: Array, g: Array, p: int | Array, *, interpret: bool = False
) -> tuple[Array, Array]:
    """Return gx [D,B] and gw [D,O] for finite p; powers of a static int p are
    multiplied as in `forward`."""
    if isinstance(p, int):
        cotangent, unit = xla.scaled_cotangent(y, g, p)
        cotangent = jnp.where(jnp.isnan(y), y, cotangent)
        step, scalars, streams = partial(_add_gradient, p), [], [cotangent]
    else:
        zero = y < _TINY  # not so where y is NaN
        inverse = jnp.where(zero, 0.0, 1 / y)
        g = jnp.where(zero, 0.0, jnp.where(jnp.isnan(y), y, g))
        # p = 1: no term is skipped, and 0^0 is the power 0 of the smallest number
        one = p == 1
        floor = jnp.where(one, -1.0, _SKIPPED ** (1 / jnp.where(one, 1.0, p - 1)))
        step, scalars = _add_general_gradient, [p - 1, floor, one * _TINY]
        streams, unit = [inverse, g], 1.0
    sweep = partial(_tile_loop, scalars=scalars, interpret=interpret)
    *others, g = streams
    transposed = [a.T for a in streams]
    (gx,) = sweep(partial(step, 1), x.shape, [w.T], transposed, [x])
    (gw,) = sweep(partial(step, -1), w.shape, [x.T], [*others, -g], [w])
    return gx * unit, gw * unit


class _Step(NamedTuple):
    """The arrays of one step of the loop; all but the scalars are as large as the tile."""

    rows: list[Array]  # down the tile, the same in all its columns
    columns: list[Array]
    tiles: list[Array]
    scalars: list[Array]
    interpret: bool


def _maximum(at: _Step, best: Array) -> list[Array]:
    return [jnp.maximum(best, jnp.abs(at.rows[0] - at.columns[0]))]


def _maximum_of_copy(at: _Step, best: Array, index: Array) -> list[Array]:
    return [*_maximum(at, best), index]


def _index_of_copy(copy: Array, before: list[Array], after: list[Array], interpret):
    """Return the copy's number where the copy brought a larger value."""
    # The new index is a whole tile: Mosaic (jax 0.10) loses the sign of an integer select
    # whose first choice is scalar, and jax 0.11 lowers no negation of a comparison.
    best, index = after
    copy = _in_layout(jnp.full_like(index, copy), interpret)
    return [best, jnp.where(best > before[0], copy, index)]


def _add_power(p: int, at: _Step, total: Array) -> list[Array]:
    d = at.rows[0] - at.columns[0]
    return [total + _power(jnp.abs(d) if p % 2 else d, p)]


def _add_general_power(at: _Step, total: Array) -> list[Array]:
    d = at.rows[0] - at.columns[0]
    one = _in_layout(jnp.ones_like(d), at.interpret)
    return [_add_powers(at, total, d, at.tiles[0], one, signed=False)]


def _add_gradient(p: int, sign: int, at: _Step, total: Array) -> list[Array]:
    d = _difference(sign, at)
    (g,) = at.columns
    if p == 1:
        return [total + jnp.where(d >= 0, g, -g)]
    # an odd power brings its own sign
    power = _power(d, p - 1 if p % 2 == 0 else p - 2)
    return [total + g * (power if p % 2 == 0 else power * jnp.abs(d))]


def _add_general_gradient(sign: int, at: _Step, total: Array) -> list[Array]:
    return [_add_powers(at, total, _difference(sign, at), *at.columns, signed=True)]


def _difference(sign: int, at: _Step) -> Array:
    """Return x - w, where the tile is of x for gx and of w for gw. Equal values give +0
    in both."""
    tile, row = at.tiles[0], at.rows[0]
    return tile - row if sign > 0 else row - tile


def _power(a: Array, n: int) -> Array:
    """Return a^n for n >= 1, by repeated squaring."""
    if n == 1:
        return a
    half = _power(a, n // 2)
    return half * half * a if n % 2 else half * half


def _add_powers(
    at: _Step, total: Array, d: Array, inverse: Array, factor: Array, *, signed: bool
) -> Array:
    """Return total + factor r^n for r = |d| inverse > floor, with the sign of d if
    signed.

    The scalars are n, floor, low; low replaces a smaller r. Terms at or below the floor
    may be added or not.
    """
    n, floor, low = at.scalars
    if at.interpret:
        ratio = jnp.abs(d) * inverse
        term = jnp.exp2(n * jnp.log2(jnp.maximum(ratio, low)))
        term = jnp.where(ratio <= floor, 0.0, term)
        return total + factor * jnp.where(signed & (d < 0), -term, term)
    inlined = plgpu.inline_mgpu(
        arg_types=(_LAYOUT,) * 4 + (_SCALAR,) * 3,
        return_type=plgpu.ShapeDtypeStruct(
            (_TILE, _TILE), jnp.dtype("float32"), layout=_LAYOUT
        ),
    )(partial(_add_powers_in_branches, signed))
    return inlined(total, d, inverse, factor, n, floor, low)


def _add_powers_in_branches(signed, _, total, d, inverse, factor, n, floor, low):
    """Do `_add_powers` on the registers of a thread, each a pair of values."""
    f32 = ir.F32Type.get()
    n, floor, low = (scalar.registers.flat[0] for scalar in (n, floor, low))
    arrays = [a.registers.flat for a in (total, d, d.abs() * inverse, factor)]
    registers = total.registers.copy()
    add = (
        "{ .reg .f32 a; max.NaN.f32 a, $3, $6; lg2.approx.ftz.f32 a, a; "
        "mul.f32 a, a, $5; ex2.approx.ftz.f32 a, a; "
        + ("copysign.f32 a, $2, a; " if signed else "")
        + "fma.rn.f32 $0, a, $4, $1; }"
    )

    def split(array, pairs):
        return [
            vector.extract(array[pair], dynamic_position=[], static_position=[i])
            for pair in pairs
            for i in range(2)
        ]

    for first in range(0, registers.size, _GROUP):
        pairs = range(first, first + _GROUP)
        total, d, ratio, factor = (split(array, pairs) for array in arrays)
        # an unordered comparison, so that NaN passes
        above = [arith.cmpf(arith.CmpFPredicate.UGT, r, floor) for r in ratio]
        branch = scf.IfOp(reduce(arith.ori, above), [f32] * len(above), has_else=True)
        with ir.InsertionPoint(branch.then_block):
            values = zip(total, d, ratio, factor, strict=True)
            scf.yield_(
                [
                    llvm.inline_asm(f32, [*v, n, low], add, "=f" + ",f" * 6)
                    for v in values
                ]
            )
        with ir.InsertionPoint(branch.else_block):
            scf.yield_(total)
        for i, pair in enumerate(pairs):
            registers.flat[pair] = vector.from_elements(
                registers.flat[pair].type, branch.results[2 * i : 2 * i + 2]
            )
    return mgpu.FragmentedArray(
        _registers=registers, _layout=_LAYOUT.to_mgpu(), _is_signed=None
    )


def _tile_loop(
    step: Callable[..., list[Array]],
    shape: tuple[int, ...],
    rows: Sequence[Array],
    columns: Sequence[Array],
    tiles: Sequence[Array] = (),
    scalars: Sequence[Array | float] = (),
    *,
    start: tuple[float | int, ...] = (0.0,),
    after_copy: Callable[..., list[Array]] | None = None,
    interpret: bool,
) -> list[Array]:
    """Carry `start` through `step` for k = 0, 1, ... on each tile of the outputs [R,C].

    rows [K,R] and columns [K,C] are streamed, tiles [R,C] are held. All are padded with
    zeros: a distance of zero never wins, and a zero cotangent adds nothing. Padding
    along R and C is cut off again. after_copy(number, before, after, interpret) may
    change what a copy of _DEPTH rows made of `before`.
    """
    streams = [_padded(a, _DEPTH) for a in (*rows, *columns)]
    tiles = [_padded(a, _TILE) for a in tiles]
    scalars = [jnp.asarray(s, jnp.float32).reshape(1) for s in scalars]
    types = [jnp.int32 if isinstance(s, int) else jnp.float32 for s in start]
    r_tiles, c_tiles = (-(-n // _TILE) for n in shape)

    def kernel(*refs):
        stream_refs, refs = refs[: len(streams)], refs[len(streams) :]
        tile_refs, refs = refs[: len(tiles)], refs[len(tiles) :]
        scalar_refs, out_refs = refs[: len(scalars)], refs[len(scalars) :]
        r, c = lax.axis_index("r"), lax.axis_index("c")
        here = pl.ds(r * _TILE, _TILE), pl.ds(c * _TILE, _TILE)
        held = [_load(ref, here, _LAYOUT, interpret) for ref in tile_refs]
        numbers = [ref[0] for ref in scalar_refs]

        def broadcast(ref, k, axis):
            row = _load(ref, (k,), _LAYOUT.reduce(1 - axis), interpret)
            tile = lax.broadcast_in_dim(row, (_TILE, _TILE), (axis,))
            return _in_layout(tile, interpret)

        def block(indices, *refs_and_values):
            *refs, values = refs_and_values

            before = values

            def update(k, values):
                down = [broadcast(ref, k, 0) for ref in refs[: len(rows)]]
                across = [broadcast(ref, k, 1) for ref in refs[len(rows) :]]
                at = _Step(down, across, held, numbers, interpret)
                return step(at, *values)

            unroll = 1 if interpret else _UNROLL
            values = lax.fori_loop(0, _DEPTH, update, values, unroll=unroll)
            if after_copy is None:
                return values
            copy = indices[0].astype(jnp.int32)
            return after_copy(copy, before, values, interpret)

        first = [
            _in_layout(jnp.full((_TILE, _TILE), s, t), interpret)
            for s, t in zip(start, types, strict=True)
        ]
        spec = partial(plgpu.BlockSpec, (_DEPTH, _TILE))
        values = plgpu.emit_pipeline(
            block,
            grid=(streams[0].shape[0] // _DEPTH,),
            in_specs=[spec(lambda k: (k, r)) for _ in rows]
            + [spec(lambda k: (k, c)) for _ in columns],
            max_concurrent_steps=_STAGES,
            init_carry=first,
        )(*stream_refs)
        for ref, value in zip(out_refs, values, strict=True):
            ref[here] = value

    outputs = plgpu.kernel(
        kernel,
        out_type=[
            jax.ShapeDtypeStruct((r_tiles * _TILE, c_tiles * _TILE), t) for t in types
        ],
        grid=(r_tiles, c_tiles),
        grid_names=("r", "c"),
        interpret=_interpreter() if interpret else False,
    )(*streams, *tiles, *scalars)
    return [a[: shape[0], : shape[1]] for a in outputs]


def _padded(a: Array, rows: int) -> Array:
    """Return `a` with zeros up to multiples of `rows` and of the tile."""
    return jnp.pad(a, ((0, -a.shape[0] % rows), (0, -a.shape[1] % _TILE)))


def _load(ref, at: tuple, layout, interpret: bool) -> Array:
    if interpret:  # the interpreter knows no layouts
        return ref[at]
    load: Callable[..., Array] = plgpu.load
    if "idx" in inspect.signature(load).parameters:  # before jax 0.12
        return load(ref, at, layout=layout, optimized=False)
    return load(ref.at[at], layout=layout, optimized=False)


def _in_layout(a: Array, interpret: bool) -> Array:
    return a if interpret else plgpu.layout_cast(a, _LAYOUT)


def _interpreter():
    # jax 0.10 has these parameters in no public module
    from jax._src.pallas.mosaic_gpu.interpret.params import InterpretGPUParams

    return InterpretGPUParams()
