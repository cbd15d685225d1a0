"""Matrix functions of the orthogonal layers.

Batched complex products are slow in XLA on a CPU, so complex matrices travel as `Pair`,
real and imaginary part apart, and one complex product is three real ones.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

Array = jax.Array


class Pair(NamedTuple):
    """Complex matrices [..., M, N]; `im` is None where they are real."""

    re: Array
    im: Array | None


def matmul(a: Pair, b: Pair) -> Pair:
    """a b, by three real products (Gauss)."""
    if a.im is None or b.im is None:
        return Pair(a.re @ b.re, None)
    p, q = a.re @ b.re, a.im @ b.im
    return Pair(p - q, (a.re + a.im) @ (b.re + b.im) - p - q)


@jax.custom_vjp
def gram(a: Pair) -> Pair:
    """a a^H, Hermitian by construction: [..., M, N] -> [..., M, M]."""
    re = a.re @ _t(a.re)
    if a.im is None:
        return Pair(re, None)
    cross = a.im @ _t(a.re)
    return Pair(re + a.im @ _t(a.im), cross - _t(cross))


# (G + G^H) a: automatic differentiation would form G a and G^H a apart
gram.defvjp(lambda a: (gram(a), a), lambda a, g: (matmul(_plus_adjoint(g), a),))


@jax.custom_vjp
def square(a: Pair) -> Pair:
    """a a of Hermitian a [..., M, M]; so is its gradient."""
    return matmul(a, a)


def _square_bwd(a: Pair, g: Pair):
    """For G made Hermitian a G + G a, and G a = (a G)^H."""
    product = _plus_adjoint(matmul(a, _plus_adjoint(g)))
    return (polynomial((0.0, 0.5), product),)


square.defvjp(lambda a: (square(a), a), _square_bwd)


def polynomial(coefficients, a: Pair, a2: Pair | None = None) -> Pair:
    """c0 I + c1 a + c2 a2 of square matrices, a2 being the square of a."""
    c0, c1, *rest = coefficients
    eye = jnp.eye(a.re.shape[-1], dtype=a.re.dtype)
    total = Pair(c0 * eye + c1 * a.re, None if a.im is None else c1 * a.im)
    if a2 is None:
        return total
    return jax.tree.map(lambda part, other: part + rest[0] * other, total, a2)


def newton_schulz_inverse_sqrt(s: Pair, *, steps: int) -> Pair:
    """S^(-1/2) of Hermitian positive definite S [..., M, M] with norm at most 1.

    T = (3I - P)/2, P <- P T^2, Z <- T Z from P = S, Z = I: the coupled iteration (Y, Z)
    with P = Z Y, as all of them are polynomials of S and commute; P T = (3P - P^2)/2. In
    exact arithmetic every singular value of Z S^(1/2) grows to 1 from below and never
    passes it, so a truncated iteration is still a contraction.
    """

    def t_of(p: Pair) -> Pair:
        return polynomial((1.5, -0.5), p)

    def step(carry, _):
        p, z = carry
        t = t_of(p)
        p = matmul(polynomial((0.0, 1.5, -0.5), p, square(p)), t)
        return (p, matmul(t, z)), None

    eye = polynomial((1.0, 0.0), s)
    (p, z), _ = jax.lax.scan(step, (s, eye), length=steps - 1)
    return matmul(t_of(p), z)  # the last step needs no P


def odd_polynomials(x: Pair, coefficients: np.ndarray) -> Pair:
    """X [..., M, N], M <= N, whose singular values s go through a s + b s^3 + c s^5 for
    every row (a, b, c) of `coefficients`.

    With G = X X^H one row is X <- (a I + b G + c G^2) X, after a division by |G|_Fro^(1/2)
    that brings s to at most 1; rows that map [0, 1] into itself make X a contraction.
    """

    def step(x, row):
        g = gram(x)
        return matmul(polynomial(row, g, square(g)), x), None

    # a little more than the norm: above its rounding, and above 0
    norm = (1 + 1e-4) * jnp.sqrt(sum_of_squares(gram(x)) + 1e-12)
    rows = jnp.asarray(coefficients, x.re.dtype)
    return jax.lax.scan(step, scale(x, 1 / jnp.sqrt(norm)), rows)[0]


@functools.cache
def minimax_coefficients(lower: float, steps: int) -> np.ndarray:
    """[steps, 3], (a, b, c) of p(s) = a s + b s^3 + c s^5 whose composition is near 1 on
    [lower, 1] and in [0, 1] on all of [0, 1].

    Each p is nearest to 1 in the maximum norm on the interval that those before it leave,
    divided by its maximum (Amsel et al., "The Polar Express", 2025, without the division).
    """
    rows = []
    for _ in range(steps):
        p, error = _nearest_to_one(lower)
        rows.append(p / (1 + error))
        lower = (1 - error) / (1 + error)
    return np.stack(rows)


def _nearest_to_one(lower: float) -> tuple[np.ndarray, float]:
    """By Remez: 1 - p is e, -e, e, -e at `lower`, the two extrema between, and 1."""
    s = lower + (1 - lower) * np.array([0, 0.3, 0.8, 1])
    signs = np.array([1, -1, 1, -1])
    for _ in range(50):
        a, b, c, e = np.linalg.solve(np.stack([s, s**3, s**5, signs], 1), np.ones(4))
        root = np.sqrt(9 * b * b - 20 * a * c)
        inner = np.sqrt((np.array([-root, root]) - 3 * b) / (10 * c))
        s = np.array([lower, *inner, 1])
    return np.array([a, b, c]), e


def sum_of_squares(a: Pair) -> Array:
    """Squared Frobenius norms, [..., 1, 1]."""
    parts = [part for part in a if part is not None]
    return sum(jnp.sum(part**2, (-2, -1), keepdims=True) for part in parts)


def scale(a: Pair, factor: Array) -> Pair:
    return Pair(a.re * factor, None if a.im is None else a.im * factor)


def adjoint(a: Pair) -> Pair:
    return Pair(_t(a.re), None if a.im is None else -_t(a.im))


def _plus_adjoint(a: Pair) -> Pair:
    return Pair(a.re + _t(a.re), None if a.im is None else a.im - _t(a.im))


def cayley(w: Array) -> Array:
    """Orthogonal matrices [..., M, N] of any real or complex ones.

    For M >= N, w = [U; R] with U [N, N] and A = U - U^H + R^H R:
    [(I + A)^-1 (I - A); -2 R (I + A)^-1]. For M < N transposed before and after.
    """
    if w.shape[-2] < w.shape[-1]:
        return _t(cayley(_t(w)))
    u, r = w[..., : w.shape[-1], :], w[..., w.shape[-1] :, :]
    a = u - _t(u).conj() + _t(r).conj() @ r
    eye = jnp.eye(a.shape[-1], dtype=a.dtype)
    inverse = _matrix_by_matrix(jnp.linalg.inv, eye + a)
    return jnp.concatenate([inverse @ (eye - a), -2.0 * r @ inverse], -2)


@jax.custom_vjp
def cholesky_orthogonal(x: Array) -> Array:
    """Q = R^-1 X with R R^T = X X^T + e I, R lower: rows of X [..., M, N], M <= N, made
    orthogonal.

    e = 1e-3 mean diag(X X^T), so Q Q^T = I - e R^-1 R^-T: all singular values below 1. The
    gradient takes e as a constant (Hu et al. 2024).
    """
    return _cholesky_fwd(x)[0]


def _cholesky_fwd(x: Array):
    s = x @ _t(x)
    e = 1e-3 * jnp.trace(s, axis1=-2, axis2=-1)[..., None, None] / s.shape[-1]
    s = s + e * jnp.eye(s.shape[-1], dtype=s.dtype)
    r = _matrix_by_matrix(jnp.linalg.cholesky, s)
    solve = functools.partial(
        jax.lax.linalg.triangular_solve, left_side=True, lower=True
    )
    q = _matrix_by_matrix(solve, r, x)
    return q, (r, q)


def _cholesky_bwd(saved, g: Array):
    """G_B = R^-T G, P = sym(tril(-R^T tril(G_B Q^T))), G_X = R^-T P Q + G_B"""
    r, q = saved

    def transposed(r, b):
        how = dict(left_side=True, lower=True, transpose_a=True)
        return jax.lax.linalg.triangular_solve(r, b, **how)

    def solve(b):
        return _matrix_by_matrix(transposed, r, b)

    gb = solve(g)
    p = jnp.tril(-_t(r) @ jnp.tril(gb @ _t(q)))
    p = p + _t(jnp.tril(p, -1))
    return (solve(p @ q) + gb,)


cholesky_orthogonal.defvjp(_cholesky_fwd, _cholesky_bwd)


def block_reflector(v: Pair, *, jitter: float) -> Pair:
    """W = I - 2 V (V^H V + e I)^-1 V^H for V [..., M, q], e = jitter mean diag(V^H V).

    Orthogonal for e = 0; its eigenvalues 1 - 2 s^2 / (s^2 + e) lie in (-1, 1].
    """
    rows, rank = v.re.shape[-2:]
    conjugate = Pair(_t(v.re), None if v.im is None else -_t(v.im))
    p = gram(conjugate)
    e = jitter * jnp.trace(p.re, axis1=-2, axis2=-1)[..., None, None] / rank
    p = Pair(p.re + e * jnp.eye(rank, dtype=p.re.dtype), p.im)
    half = Pair(*solve_positive(p, conjugate))
    product = matmul(v, half)
    re = jnp.eye(rows, dtype=v.re.dtype) - 2 * product.re
    return Pair(re, None if product.im is None else -2 * product.im)


def solve_positive(a: Pair, b: Pair) -> Pair:
    """X with A X = B for Hermitian positive definite A [..., M, M]."""

    def solve(a, b):
        return jax.scipy.linalg.cho_solve(jax.scipy.linalg.cho_factor(a, lower=True), b)

    if a.im is None:
        return Pair(_matrix_by_matrix(solve, a.re, b.re), None)
    x = _matrix_by_matrix(solve, jax.lax.complex(*a), jax.lax.complex(*b))
    return Pair(x.real, x.imag)


def _matrix_by_matrix(function: Callable[..., Array], *stacks: Array) -> Array:
    """function of matrices for stacks of them [..., M, N].

    One after another on a CPU: XLA hands the matrices of one LAPACK call to the threads
    that wait for it, and the calls of several layers at once come to a standstill.
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
    """(|f(v)|, v) for a linear f, v = x after `steps` of x <- f^T f x / |f^T f x|.

    An ESTIMATE of the norm of f, from below. The value is differentiated at v alone (its
    gradient is then that of u^T f v), or, `differentiated`, through all steps.
    """
    transpose = jax.linear_transpose(f, x)

    def step(v, _):
        (v,) = transpose(f(v))
        return v / jnp.maximum(safe_norm(v, axis=None), 1e-10), None

    def frozen(v):
        return jax.lax.stop_gradient(v)

    v, _ = jax.lax.scan(step, frozen(x), length=steps)
    v = v if differentiated else frozen(v)
    return safe_norm(f(v), axis=None), frozen(v)


def safe_norm(x: Array, *, axis: int | None = -1) -> Array:
    """l2 norm whose gradient at zero is zero (of jnp.linalg.norm it is NaN)."""
    square = jnp.sum(x * x, axis)
    positive = square > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, square, 1.0)), 0.0)


def pairwise_row_distances(w: Array) -> Array:
    """[K, D] -> [K, K], |w_i - w_j|; the gradient of the diagonal is zero.

    Exactly zero: where a compiler computes a row twice, w_i - w_i is a rounding error, and
    the gradient of its norm is of order one.
    """
    other = ~jnp.eye(len(w), dtype=bool)[..., None]
    return safe_norm(jnp.where(other, w[:, None] - w[None], 0.0))


def _t(x: Array) -> Array:
    return jnp.swapaxes(x, -1, -2)
