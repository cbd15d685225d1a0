"""Matrix functions of the orthogonal layers.

Batched complex products are slow in XLA on a CPU, so complex matrices are passed as
`Pair`, with separate real and imaginary parts, and one complex product is three real
ones.

Precision. The products here make matrices orthogonal and estimate norms: they are `EXACT`,
float32 with all its bits, whatever the default of the process is (TF32 has 10 of 23 bits
and leaves an orthogonality error of 1e-3). Only the steps of Newton-Schulz and of the odd
polynomials, and products of rotations, take another precision, see `iterated`.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.lax import PrecisionLike

Array = jax.Array

EXACT = jax.lax.Precision.HIGHEST
UNROLLED = 10
"""Up to this many steps of power iteration run on a CPU without a loop."""
TF32X3 = jax.lax.DotAlgorithmPreset.TF32_TF32_F32_X3

_three_products = False


def iterate_in_three_products(on: bool) -> None:
    """Set whether `iterated` may return TF32X3 in this process. A change clears the
    programs that were compiled before."""
    global _three_products
    if on != _three_products:
        _three_products = on
        jax.clear_caches()


def iterated(dtype) -> PrecisionLike:
    """Return the precision of the products of an iteration in `dtype` on this device:
    TF32X3 for float32 on a GPU where `iterate_in_three_products` allowed it, else
    EXACT.

    TF32X3 splits a number into two TF32 numbers of 11 bits each and adds three of the
    four products, on tensor cores. In an emulation (256 channels, whose singular values
    all converge) those values differ from the float64 iteration's by 3e-6 after ten
    steps and by 5e-7 in minimax; with EXACT by 1.2e-6 and 2e-7, with a single TF32
    product by 7e-3 and 1.3e-3. Certificates depend on none of this: their kernels are
    prepared in float64, which is EXACT, and bounded.
    """
    fast = _three_products and jax.default_backend() == "gpu"
    return TF32X3 if fast and dtype == jnp.float32 else EXACT


def wide(dtype):
    """Return `dtype`, but at least float32, in which kernels are made orthogonal."""
    return jnp.promote_types(dtype, jnp.float32)


class Pair(NamedTuple):
    """Complex matrices [..., M, N]; `im` is None where they are real."""

    re: Array
    im: Array | None


def product(a: Array, b: Array, precision: PrecisionLike = EXACT) -> Array:
    """Return a b for real matrices."""
    return jnp.matmul(a, b, precision=precision)


def matmul(a: Pair, b: Pair, precision: PrecisionLike = EXACT) -> Pair:
    """Return a b by three real products (Gauss). precision None: the process's default."""
    p = product(a.re, b.re, precision)
    if a.im is None or b.im is None:
        return Pair(p, None)
    q = product(a.im, b.im, precision)
    both = product(a.re + a.im, b.re + b.im, precision)
    return Pair(p - q, both - p - q)


def _custom_vjp(f: Callable[..., Pair]) -> Any:  # jax states no type
    """Return f with a gradient of its own, which `defvjp` sets; argument 1 has none."""
    return jax.custom_vjp(f, nondiff_argnums=(1,))


@_custom_vjp
def gram(a: Pair, precision: PrecisionLike = EXACT) -> Pair:
    """Return a a^H, Hermitian by construction: [..., M, N] -> [..., M, M]."""
    re = product(a.re, _t(a.re), precision)
    if a.im is None:
        return Pair(re, None)
    cross = product(a.im, _t(a.re), precision)
    return Pair(re + product(a.im, _t(a.im), precision), cross - _t(cross))


# (G + G^H) a: automatic differentiation would form G a and G^H a separately
gram.defvjp(
    lambda a, precision: (gram(a, precision), a),
    lambda precision, a, g: (matmul(_plus_adjoint(g), a, precision),),
)


@_custom_vjp
def square(a: Pair, precision: PrecisionLike = EXACT) -> Pair:
    """Return a a for Hermitian a [..., M, M], which is Hermitian, as is its gradient."""
    return matmul(a, a, precision)


def _square_bwd(precision, a: Pair, g: Pair):
    """Return a G + G a for the Hermitian part G of the gradient, where G a = (a G)^H."""
    product = _plus_adjoint(matmul(a, _plus_adjoint(g), precision))
    return (polynomial((0.0, 0.5), product),)


square.defvjp(lambda a, precision: (square(a, precision), a), _square_bwd)


def polynomial(coefficients, a: Pair, a2: Pair | None = None) -> Pair:
    """Return c0 I + c1 a + c2 a2 for square matrices, where a2 is the square of a."""
    c0, c1, *rest = coefficients
    eye = jnp.eye(a.re.shape[-1], dtype=a.re.dtype)
    total = Pair(c0 * eye + c1 * a.re, None if a.im is None else c1 * a.im)
    if a2 is None:
        return total
    return jax.tree.map(lambda part, other: part + rest[0] * other, total, a2)


def newton_schulz_inverse_sqrt(
    s: Pair, *, steps: int, precision: PrecisionLike = EXACT
) -> Pair:
    """Return S^(-1/2) of a Hermitian positive definite S [..., M, M] with norm at most
    1.

    T = (3I - P)/2, P <- P T^2, Z <- T Z from P = S, Z = I. This is the coupled
    iteration (Y, Z) with P = Z Y, because all of them are polynomials in S and commute;
    P T = (3P - P^2)/2. In exact arithmetic every singular value of Z S^(1/2) grows to 1
    from below and never exceeds it, so a truncated iteration is still a contraction.
    """

    # a loop would store what its steps need for the backward pass: traffic on a GPU
    step = _newton_schulz_step if jax.default_backend() == "cpu" else _own_gradient
    start = s, polynomial((1.0, 0.0), s)
    (p, z), _ = jax.lax.scan(
        lambda carry, _: (step(*carry, precision), None), start, length=steps - 1
    )
    return matmul(_t_of(p), z, precision)  # the last step needs no P


def _t_of(p: Pair) -> Pair:
    return polynomial((1.5, -0.5), p)


def _newton_schulz_step(p: Pair, z: Pair, precision) -> tuple[Pair, Pair]:
    """Return (P T^2, T Z)."""
    t, squared = _t_of(p), square(p, precision)
    p = matmul(polynomial((0.0, 1.5, -0.5), p, squared), t, precision)
    return p, matmul(t, z, precision)


def _own_gradient_bwd(precision, saved, g):
    """Return the gradients with respect to P and Z. With H the Hermitian part of the
    gradient of P T^2 = (9 P - 6 P^2 + P^3) / 4 and G that of T Z they are

        (9 H - 6 (P H + H P) + P^2 H + P H P + H P^2) / 4 - (G Z + Z G^H) / 4,    T G

    P and Z commute and are Hermitian, so only Hermitian parts of gradients matter.
    """
    (p, z), (gp, g) = saved, g
    h = polynomial((0.0, 0.5), _plus_adjoint(gp))
    x = matmul(p, h, precision)
    twice = _plus_adjoint(matmul(p, x, precision)), matmul(x, p, precision)
    gz = _plus_adjoint(matmul(g, z, precision))

    def total(h, x, ppx, xp, gz):
        return (9 * h - 6 * x + ppx + xp - gz) / 4

    gp = jax.tree.map(total, h, _plus_adjoint(x), *twice, gz)
    return gp, matmul(_t_of(p), g, precision)


_own_gradient = jax.custom_vjp(_newton_schulz_step, nondiff_argnums=(2,))
"""`_newton_schulz_step` with a gradient that keeps P and Z alone."""
_own_gradient.defvjp(
    lambda p, z, precision: (_newton_schulz_step(p, z, precision), (p, z)),
    _own_gradient_bwd,
)


def odd_polynomials(
    x: Pair, coefficients: np.ndarray, precision: PrecisionLike = EXACT
) -> Pair:
    """Return X [..., M, N], M <= N, with its singular values s mapped by a s + b
    s^3 + c s^5 for every row (a, b, c) of `coefficients` in turn.

    With G = X X^H one row is X <- (a I + b G + c G^2) X, after a division by |G|_Fro^(1/2)
    that brings s to at most 1; rows that map [0, 1] into itself make X a contraction.
    """

    def step(x, row):
        g = gram(x, precision)
        return matmul(polynomial(row, g, square(g, precision)), x, precision), None

    # a little more than the norm: above its rounding, and above 0
    norm = (1 + 1e-4) * jnp.sqrt(sum_of_squares(gram(x, precision)) + 1e-12)
    rows = jnp.asarray(coefficients, x.re.dtype)
    return jax.lax.scan(step, scale(x, 1 / jnp.sqrt(norm)), rows)[0]


@functools.cache
def minimax_coefficients(lower: float, steps: int) -> np.ndarray:
    """Return [steps, 3], the coefficients (a, b, c) of polynomials p(s) = a s + b
    s^3 + c s^5 whose composition is near 1 on [lower, 1] and in [0, 1] on all of
    [0, 1].

    Each p is the nearest to 1 in the maximum norm on the interval that its predecessors
    map [lower, 1] to, divided by its maximum (Amsel et al., "The Polar Express", 2025,
    without the division).
    """
    rows = []
    for _ in range(steps):
        p, error = _nearest_to_one(lower)
        rows.append(p / (1 + error))
        lower = (1 - error) / (1 + error)
    return np.stack(rows)


def _nearest_to_one(lower: float) -> tuple[np.ndarray, float]:
    """Return the polynomial nearest to 1 on [lower, 1] and its error, by Remez."""
    s = lower + (1 - lower) * np.array([0, 0.3, 0.8, 1])
    signs = np.array([1, -1, 1, -1])  # 1 - p is e, -e, e, -e at s: ends and extrema
    for _ in range(50):
        a, b, c, e = np.linalg.solve(np.stack([s, s**3, s**5, signs], 1), np.ones(4))
        root = np.sqrt(9 * b * b - 20 * a * c)
        inner = np.sqrt((np.array([-root, root]) - 3 * b) / (10 * c))
        s = np.array([lower, *inner, 1])
    return np.array([a, b, c]), e


def sum_of_squares(a: Pair) -> Array:
    """Return squared Frobenius norms, [..., 1, 1]."""
    parts = [part for part in a if part is not None]
    squares = (jnp.sum(part**2, (-2, -1), keepdims=True) for part in parts)
    return functools.reduce(operator.add, squares)


def scale(a: Pair, factor: Array) -> Pair:
    """Return a times a real factor."""
    return Pair(a.re * factor, None if a.im is None else a.im * factor)


def adjoint(a: Pair) -> Pair:
    """Return a^H."""
    return Pair(_t(a.re), None if a.im is None else -_t(a.im))


def _plus_adjoint(a: Pair) -> Pair:
    return Pair(a.re + _t(a.re), None if a.im is None else a.im - _t(a.im))


def cayley(w: Array) -> Array:
    """Return orthogonal matrices [..., M, N] made of any real or complex ones by the
    Cayley transform.

    For M >= N, w = [U; R] with U [N, N] and A = U - U^H + R^H R: [(I + A)^-1 (I - A);
    -2 R (I + A)^-1]. For M < N the matrix is transposed before and after.
    """
    if w.shape[-2] < w.shape[-1]:
        return _t(cayley(_t(w)))
    u, r = w[..., : w.shape[-1], :], w[..., w.shape[-1] :, :]
    a = u - _t(u).conj() + product(_t(r).conj(), r)
    eye = jnp.eye(a.shape[-1], dtype=a.dtype)
    inverse = _matrix_by_matrix(jnp.linalg.inv, eye + a)
    parts = product(inverse, eye - a), product(-2.0 * r, inverse)
    return jnp.concatenate(parts, -2)


@jax.custom_vjp
def cholesky_orthogonal(x: Array) -> Array:
    """Return X [..., M, N], M <= N, with its rows made orthogonal: Q = R^-1 X, where R
    R^T = X X^T + e I and R is lower triangular.

    e = 1e-3 mean diag(X X^T), so Q Q^T = I - e R^-1 R^-T and all singular values are
    below 1. The gradient treats e as a constant (Hu et al. 2024).
    """
    return _cholesky_fwd(x)[0]


def _cholesky_fwd(x: Array):
    s = product(x, _t(x))
    e = 1e-3 * jnp.trace(s, axis1=-2, axis2=-1)[..., None, None] / s.shape[-1]
    s = s + e * jnp.eye(s.shape[-1], dtype=s.dtype)
    r = _matrix_by_matrix(jnp.linalg.cholesky, s)
    solve = functools.partial(
        jax.lax.linalg.triangular_solve, left_side=True, lower=True
    )
    q = _matrix_by_matrix(solve, r, x)
    return q, (r, q)


def _cholesky_bwd(saved, g: Array):
    """Return G_X = R^-T P Q + G_B, with G_B = R^-T G and P = sym(tril(-R^T tril(G_B
    Q^T)))."""
    r, q = saved

    def transposed(r, b):
        how = dict(left_side=True, lower=True, transpose_a=True)
        return jax.lax.linalg.triangular_solve(r, b, **how)

    def solve(b):
        return _matrix_by_matrix(transposed, r, b)

    gb = solve(g)
    p = jnp.tril(product(-_t(r), jnp.tril(product(gb, _t(q)))))
    p = p + _t(jnp.tril(p, -1))
    return (solve(product(p, q)) + gb,)


cholesky_orthogonal.defvjp(_cholesky_fwd, _cholesky_bwd)


def block_reflector(v: Pair, *, jitter: float) -> Pair:
    """Return W = I - 2 V (V^H V + e I)^-1 V^H for V [..., M, q], with e = jitter mean
    diag(V^H V).

    W is orthogonal for e = 0; its eigenvalues 1 - 2 s^2 / (s^2 + e) lie in (-1, 1].
    """
    projection = _projection(v, jitter)
    re = jnp.eye(v.re.shape[-2], dtype=v.re.dtype) - 2 * projection.re
    return Pair(re, None if projection.im is None else -2 * projection.im)


@_custom_vjp
def _projection(v: Pair, jitter: float) -> Pair:
    """Return V A^-1 V^H = Y^H Y, with A = V^H V + e I = L L^H and Y = L^-1 V^H."""
    return gram(adjoint(_whitened(v, jitter)[1]))


def _whitened(v: Pair, jitter: float) -> tuple[Array, Pair]:
    """Return (L, Y) of `_projection`."""
    a, rank = gram(adjoint(v)), v.re.shape[-1]
    e = jitter * jnp.trace(a.re, axis1=-2, axis2=-1)[..., None, None] / rank
    a = Pair(a.re + e * jnp.eye(rank, dtype=a.re.dtype), a.im)
    factor = _matrix_by_matrix(jnp.linalg.cholesky, as_complex(a))
    return factor, _solved(factor, adjoint(v), transposed=False)


def _solved(factor: Array, b: Pair, *, transposed: bool) -> Pair:
    """Return L^-1 B, or L^-H B if transposed."""
    how = dict(left_side=True, lower=True, transpose_a=transposed)
    how |= dict(conjugate_a=transposed)
    solve = functools.partial(jax.lax.linalg.triangular_solve, **how)
    x = _matrix_by_matrix(solve, factor, as_complex(b))
    return Pair(x, None) if b.im is None else Pair(x.real, x.imag)


def as_complex(a: Pair) -> Array:
    """Return a Pair as one array, which is real where `im` is None."""
    return a.re if a.im is None else jax.lax.complex(a.re, a.im)


def _projection_fwd(v: Pair, jitter: float):
    factor, y = _whitened(v, jitter)
    return gram(adjoint(y)), (v, _solved(factor, y, transposed=True))


def _projection_bwd(jitter: float, saved, g: Pair):
    """Return H X^H - V (K + jitter tr(K) / q I), with X = A^-1 V^H, H = G + G^H and
    K = X H X^H."""
    v, x = saved
    hx = matmul(_plus_adjoint(g), adjoint(x))
    k = matmul(x, hx)
    mean = jitter * jnp.trace(k.re, axis1=-2, axis2=-1)[..., None, None]
    eye = jnp.eye(k.re.shape[-1], dtype=k.re.dtype) / k.re.shape[-1]
    lost = matmul(v, Pair(k.re + mean * eye, k.im))
    return (jax.tree.map(jnp.subtract, hx, lost),)


_projection.defvjp(_projection_fwd, _projection_bwd)


def _matrix_by_matrix(function: Callable[..., Array], *stacks: Array) -> Array:
    """Return a function of matrices as one of stacks of them, [..., M, N].

    On a CPU it takes one matrix after another: XLA gives the matrices of one LAPACK
    call to the threads that wait for it, so that simultaneous calls from several layers
    would deadlock.
    """
    batch = stacks[0].shape[:-2]
    if not batch or jax.default_backend() != "cpu":
        return function(*stacks)
    flat = [a.reshape(-1, *a.shape[-2:]) for a in stacks]
    found = jax.lax.map(lambda each: function(*each), flat)
    return found.reshape(*batch, *found.shape[1:])


def power_iteration(
    f: Callable[[Array], Array], x: Array, *, steps: int, differentiated: bool = False
) -> tuple[Array, Array]:
    """Return (|f(v)|, v) for a linear f, where v is x after `steps` of x <- f^T f
    x / |f^T f x|.

    |f(v)| is an ESTIMATE of the norm of f, from below. The value is differentiated at v
    alone (its gradient is then that of u^T f v), or, `differentiated`, through all
    steps. The products of f have precision EXACT, and therefore those of its transpose
    and of its gradients.
    """
    f = jax.default_matmul_precision("highest")(f)
    transpose = jax.linear_transpose(f, x)

    def step(v, _):
        (v,) = transpose(f(v))
        return v / jnp.maximum(safe_norm(v, axis=None), 1e-10), None

    def frozen(v):
        return jax.lax.stop_gradient(v)

    # on a CPU XLA would reverse the kernel of a transposed convolution in every iteration
    whole = jax.default_backend() == "cpu" and steps <= UNROLLED
    v, _ = jax.lax.scan(step, frozen(x), length=steps, unroll=whole)
    v = v if differentiated else frozen(v)
    return safe_norm(f(v), axis=None), frozen(v)


def safe_norm(x: Array, *, axis: int | tuple[int, ...] | None = -1) -> Array:
    """Return the l2 norm, with the gradient 0 at 0, where that of jnp.linalg.norm is
    NaN."""
    square = jnp.sum(x * x, axis)
    positive = square > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, square, 1.0)), 0.0)


def pairwise_row_distances(w: Array) -> Array:
    """Return the distances |w_i - w_j| of rows, [K, D] -> [K, K]; the gradient of the
    diagonal is zero.

    It has to be exactly zero: where a compiler computes a row twice, w_i - w_i is a
    rounding error, and the gradient of its norm is of order one.
    """
    other = ~jnp.eye(len(w), dtype=bool)[..., None]
    return safe_norm(jnp.where(other, w[:, None] - w[None], 0.0))


def _t(x: Array) -> Array:
    return jnp.swapaxes(x, -1, -2)
