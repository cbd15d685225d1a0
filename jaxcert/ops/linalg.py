"""Matrix functions of the orthogonal layers.

Batched complex products are slow in XLA on a CPU, so complex matrices travel as `Pair`,
real and imaginary part apart, and one complex product is three real ones.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

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


def gram(a: Pair) -> Pair:
    """a a^H, Hermitian by construction: [..., M, N] -> [..., M, M]."""
    re = a.re @ _t(a.re)
    if a.im is None:
        return Pair(re, None)
    cross = a.im @ _t(a.re)
    return Pair(re + a.im @ _t(a.im), cross - _t(cross))


def newton_schulz_inverse_sqrt(s: Pair, *, steps: int) -> Pair:
    """S^(-1/2) of Hermitian positive definite S [..., M, M] with norm at most 1.

    Coupled iteration from Y = S, Z = I: T = (3I - Z Y)/2, Y <- Y T, Z <- T Z. In exact
    arithmetic every singular value of Z S^(1/2) grows to 1 from below and never passes
    it, so a truncated iteration is still a contraction.
    """
    eye = jnp.eye(s.re.shape[-1], dtype=s.re.dtype)

    def t_of(zy: Pair) -> Pair:
        return Pair(1.5 * eye - 0.5 * zy.re, None if zy.im is None else -0.5 * zy.im)

    def step(carry, _):
        y, z = carry
        t = t_of(matmul(z, y))
        return (matmul(y, t), matmul(t, z)), None

    t = t_of(s)  # the first step, where Z is I
    carry = (matmul(s, t), t)
    if steps > 2:
        carry, _ = jax.lax.scan(step, carry, length=steps - 2)
    y, z = carry
    return matmul(t_of(matmul(z, y)), z) if steps > 1 else z  # the last needs no Y


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
    inverse = jnp.linalg.inv(eye + a)
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
    r = jnp.linalg.cholesky(s + e * jnp.eye(s.shape[-1], dtype=s.dtype))
    q = jax.lax.linalg.triangular_solve(r, x, left_side=True, lower=True)
    return q, (r, q)


def _cholesky_bwd(saved, g: Array):
    """G_B = R^-T G, P = sym(tril(-R^T tril(G_B Q^T))), G_X = R^-T P Q + G_B"""
    r, q = saved

    def solve(b):
        return jax.lax.linalg.triangular_solve(
            r, b, left_side=True, lower=True, transpose_a=True
        )

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
    if a.im is None:
        factor = jax.scipy.linalg.cho_factor(a.re, lower=True)
        return Pair(jax.scipy.linalg.cho_solve(factor, b.re), None)
    factor = jax.scipy.linalg.cho_factor(jax.lax.complex(a.re, a.im), lower=True)
    x = jax.scipy.linalg.cho_solve(factor, jax.lax.complex(b.re, b.im))
    return Pair(x.real, x.imag)


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
    """[K, D] -> [K, K], |w_i - w_j|; the gradient of the diagonal is zero."""
    return safe_norm(w[:, None] - w[None])


def _t(x: Array) -> Array:
    return jnp.swapaxes(x, -1, -2)
