"""l_p distances between images and weights, the one operator of l_inf-distance nets.

Zhang, Cai, Lu, He and Wang, Towards Certifying l_inf Robustness using Neural Networks with
l_inf-dist Neurons (2021, arXiv:2102.05363):

    y_o = (sum_i |x_i - w_io|^p)^(1/p),    max_i |x_i - w_io| for p = infinity.

Gradient, with s = +1 where x_i >= w_io and else -1 (also where they are equal):

    dy_o/dx_i = -dy_o/dw_io = s (|x_i - w_io| / y_o)^(p-1);

for p = infinity it is s at the FIRST input that attains the maximum and 0 at the others.
Where y_o = 0 it is 0 for finite p.

In l_inf y is 1-Lipschitz at p = infinity and D^(1/p)-Lipschitz at finite p, so finite p is
for training and carries no certificate.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax.core import Tracer

from jaxcert.errors import InputError
from jaxcert.ops.dispatch import over_shards
from jaxcert.ops.norm_dist import direct, xla

Array = jax.Array
IMPLEMENTATIONS = ("xla", "mosaic_gpu", "mosaic_gpu_interpret")

_MULTIPLIED = 10
"""The largest integer p whose powers are computed by multiplication, instead of being
scaled by the maximum."""


def norm_dist(
    x: Array,
    w: Array,
    p: int | float | Array | None = None,
    *,
    kept: Array | None = None,
    group: int = 32,
    implementation: str | None = None,
) -> Array:
    """Return the distances of x [B,D] to the columns of w [D,O], [B,O] in the type of
    x.

    p: None for infinity; an int up to 10, with a program of its own; any other number
    or a traced scalar >= 1, with one program for all of them.
    kept: int32 [S,k], the inputs that each of S groups of `group` consecutive images
    sees (the last one may be smaller): y is over these alone, without rescaling. With
    random subsets at p = infinity its expectation is the sort neuron (Zhang et al.
    2022, SortNet).
    implementation: None (xla) | xla, the `form` of this device | mosaic_gpu |
    mosaic_gpu_interpret, kernels for dense float32 inputs.

    Raises InputError for p < 1, shapes that do not fit, or an implementation that
    cannot do this.
    """
    p = _checked(x, w, p, kept, group)
    if implementation not in (None, *IMPLEMENTATIONS):
        raise InputError(
            f"no implementation {implementation!r} of norm_dist: there are "
            f"{', '.join(IMPLEMENTATIONS)}."
        )
    kernels = implementation not in (None, "xla")
    if kernels and (kept is not None or x.dtype != jnp.float32):
        raise InputError(
            f"{implementation} takes dense float32 inputs, not {x.dtype}"
            f"{'' if kept is None else ' with kept inputs'}: use implementation='xla'."
        )
    if (
        p is not None and x.dtype.itemsize < 4
    ):  # powers and sums in 16 bits would be noise
        options: dict[str, Any] = dict(kept=kept, group=group)
        options |= dict(implementation=implementation)
        return norm_dist(x.astype(jnp.float32), w, p, **options).astype(x.dtype)
    static = p if p is None or isinstance(p, int) else "traced"
    how = _How(static, implementation if kernels else form())
    power = p if static == "traced" else jnp.zeros((), x.dtype)
    batch = len(x)
    groups, size = (1, batch) if kept is None else (len(kept), group)
    x = jnp.pad(x, ((0, groups * size - batch), (0, 0)))
    kept = None if kept is None else jnp.asarray(kept)
    y = _compiled(how, x.reshape(groups, size, -1), w.astype(x.dtype), power, kept)
    return y.reshape(-1, w.shape[1])[:batch]


def form() -> str:
    """Return the form in which distances and sort neurons are computed on the device in
    use: 'loop' (`xla`) on a CPU, 'direct' elsewhere. A loop over the inputs would be
    thousands of kernels on a GPU, and broadcast differences take several times as long
    on a CPU."""
    return "loop" if jax.default_backend() == "cpu" else "direct"


def norm_dist_bounds(lower: Array, upper: Array, w: Array) -> tuple[Array, Array]:
    """Return the smallest and the largest p = infinity distance over the box
    [lower, upper], both [B,D]: ([B,O], [B,O]). They are exact up to rounding."""
    return _bounds(form(), lower, upper, w)


@partial(jax.jit, static_argnums=0)
def _bounds(form: str, lower: Array, upper: Array, w: Array) -> tuple[Array, Array]:
    if form == "direct":
        return xla.ordered(*direct.box(lower, upper, w))

    def update(carry, i, near, far):
        return jnp.maximum(carry[0], near), jnp.maximum(carry[1], far)

    zero = jnp.zeros((len(lower), w.shape[1]), lower.dtype)
    return xla.ordered(*xla.sweep_box(update, (zero, zero), lower, upper, w))


class _How(NamedTuple):
    p: int | Literal["traced"] | None
    """None: infinity; int: multiplied powers; 'traced'"""
    form: str
    """loop | direct | mosaic_gpu | mosaic_gpu_interpret"""

    @property
    def interpret(self) -> bool:
        return self.form == "mosaic_gpu_interpret"


def _checked(x, w, p, kept, group):
    if x.ndim != 2 or w.ndim != 2 or x.shape[1] != w.shape[0] or not w.size:
        raise InputError(
            f"norm_dist needs x [B,D] and w [D,O], not {x.shape} and {w.shape}."
        )
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise InputError(f"norm_dist needs floating images, not {x.dtype}: cast them.")
    if kept is not None and (kept.ndim != 2 or not 0 < kept.shape[1] <= len(w)):
        raise InputError(
            f"kept [S,k] must leave 1 to {len(w)} inputs to each group, not "
            f"{kept.shape}: choose a larger keep probability."
        )
    if kept is not None and len(kept) != -(-len(x) // group):
        raise InputError(
            f"kept has {len(kept)} groups, but {len(x)} images in groups of {group} are "
            f"{-(-len(x) // group)}."
        )
    if p is None or isinstance(p, Tracer):
        return p if p is None else p.astype(x.dtype)
    if not p >= 1:
        raise InputError(f"p must be at least 1 for a norm, not {p}; infinity is None.")
    if isinstance(p, jax.Array) and jnp.isfinite(p):
        return p.astype(x.dtype)
    if math.isinf(p):
        return None
    if float(p).is_integer() and p <= _MULTIPLIED:
        return int(p)
    return jnp.asarray(p, x.dtype)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _distance(how: _How, x, w, p, kept):
    """Return distances [S,b,O] of x [S,b,D] to w [D,O]."""
    if how.p is not None:
        return _forward(how, x, w, p, kept)[0]
    if how.form == "direct":
        return direct.maximum(x, w, kept)
    rows = _rows(x, kept)
    if how.form == "loop":
        return xla.maximum(rows, w, _columns(kept))
    return _kernels().forward(rows[:, 0], w, None, interpret=how.interpret)[None]


def _forward(how: _How, x, w, p, kept):
    """Return y, and for the backward pass the index of the maximum."""
    if how.p is None:
        return _forward_index(how, x, w, kept)
    scale, power = _scale(how, x, w), p if how.p == "traced" else how.p
    x, w = x * scale, w * scale
    if how.form == "direct":
        y = direct.power_sum(x, w, power, kept)
    elif how.form == "loop":
        y = xla.power_sum(_rows(x, kept), w, power, _columns(kept))
    else:
        rows = _rows(x, kept)[:, 0]
        y = _kernels().forward(rows, w, power, interpret=how.interpret)[None]
    return y / scale, None


def _forward_index(how: _How, x, w, kept):
    if how.form == "direct":
        return direct.maximum_and_index(x, w, kept)
    rows = _rows(x, kept)
    if how.form == "loop":
        y, at = xla.maximum_and_index(rows, w, _columns(kept))
        groups = jnp.arange(len(x))[:, None, None]
        return y, at if kept is None else kept[groups, at]
    y, index = _kernels().forward_index(rows[:, 0], w, interpret=how.interpret)
    return y[None], index[None]


def _fwd(how: _How, x, w, p, kept):
    y, index = _forward(how, x, w, p, kept)
    return y, (x, w, p, kept, y, index)


def _bwd(how: _How, saved, g):
    x, w, p, kept, y, index = saved
    batch, axis = (x, y, g, index, kept), 1 if kept is None else 0
    gx, gw = over_shards(partial(_cotangents, how), batch, (w, p), axis=axis)
    return gx, gw, jnp.zeros_like(p), None


def _cotangents(how: _How, x, y, g, index, kept, w, p):
    """Return the cotangents gx [S,b,D] and gw [D,O]."""
    if how.p is None:
        return _cotangents_inf(how, x, g, index, w)
    scale, power = _scale(how, x, w), p if how.p == "traced" else how.p
    x, w, y = x * scale, w * scale, y * scale
    if how.form == "direct":
        return direct.gradients(x, w, y, g, power, kept)
    rows = x.transpose(2, 0, 1)
    if how.form == "loop":
        seen = None if kept is None else _as_mask(kept, len(w))
        gx, gw = xla.gradients(rows, w, y, g, power, seen)
    else:
        gx, gw = _kernels().backward(
            rows[:, 0], w, y[0], g[0], power, interpret=how.interpret
        )
    return gx.reshape(rows.shape).transpose(1, 2, 0), gw


def _cotangents_inf(how: _How, x, g, index, w):
    right = jnp.take_along_axis(x, index, 2) >= w[index, jnp.arange(w.shape[1])]
    v = jnp.where(right, g, -g)
    if how.form == "loop":
        gx, gw = xla.scatter(index, v, len(w))
        return gx.transpose(1, 2, 0), gw
    return direct.scatter(index, v, len(w))


_distance.defvjp(_fwd, _bwd)
_compiled = jax.jit(_distance, static_argnums=0)


def _scale(how: _How, x: Array, w: Array) -> Array:
    """Return a power of two that keeps multiplied powers in range: all distances fall
    below 1, and only those under 1e-4 of the largest entry vanish."""
    if how.p == "traced":
        return jnp.ones((), x.dtype)
    largest = sum(jnp.max(jnp.where(jnp.isfinite(a), jnp.abs(a), 0)) for a in (x, w))
    return jnp.exp2(-jnp.ceil(jnp.log2(jnp.where(largest > 0, largest, 1.0))))


def _rows(x: Array, kept: Array | None) -> Array:
    """Return the inputs that each group sees, input-major: [S,b,D] -> [k,S,b]."""
    if kept is not None:
        x = jnp.take_along_axis(x, kept[:, None, :], 2)
    return x.transpose(2, 0, 1)


def _columns(kept: Array | None) -> Array | None:
    return None if kept is None else kept.T


def _as_mask(kept: Array, inputs: int) -> Array:
    """Return kept [S,k] as a mask, bool [D,S]."""
    groups = jnp.arange(len(kept))[:, None]
    return jnp.zeros((inputs, len(kept)), bool).at[kept, groups].set(True)


def _kernels():
    """Import the kernels when they are asked for, because Pallas takes a second to
    import."""
    from jaxcert.ops.norm_dist import mosaic_gpu

    return mosaic_gpu
