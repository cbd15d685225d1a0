"""Matrix functions of the orthogonal layers.

Batched complex products are slow in XLA on a CPU, so complex matrices travel as `Pair`,
real and imaginary part apart, and one complex product is three real ones.
"""

from __future__ import annotations

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


def safe_norm(x: Array, *, axis: int = -1) -> Array:
    """l2 norm whose gradient at zero is zero (of jnp.linalg.norm it is NaN)."""
    square = jnp.sum(x * x, axis)
    positive = square > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, square, 1.0)), 0.0)


def pairwise_row_distances(w: Array) -> Array:
    """[K, D] -> [K, K], |w_i - w_j|; the gradient of the diagonal is zero."""
    return safe_norm(w[:, None] - w[None])


def _t(x: Array) -> Array:
    return jnp.swapaxes(x, -1, -2)
