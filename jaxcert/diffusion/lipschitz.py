"""Lipschitz certificate of the diffusion classifier: Chen, Dong, Shao, Hao, Yang, Su and
Zhu, Diffusion Models are Certifiably Robust Classifiers (2024, arXiv:2402.02316), Theorem 3.1,
with other constants and with a bound of what is drawn.

    f_y(x) = - sum_t w_t E_eps u_t,y(x + s_t eps, x)
    u_t,y(z, x) = min(c_t, mean over pixels of (h_t,y(z) - x)^2)

Denoised images h are in [0,1]^D, clipped, and s_t = sigma_t / 2 is the noise level in that
scale. With c_t = 1 (`cap`) this is the classifier of the paper on images x in [0,1]^D. A
smaller c_t is another classifier, whose constant shrinks nearly in proportion; it must be
chosen without looking at the image.

Constants. Let psi = u_b - u_a at one level and d = |x' - x|. In

    E psi(x' + s eps, x') - E psi(x + s eps, x)
        = [E psi(x' + s eps, x') - E psi(x + s eps, x')]            through the noisy image
        + E [psi(x + s eps, x') - psi(x + s eps, x)]                directly

the first difference is that of one function in [-c, c] under two Gaussians, at most
c times the integral of |p' - p|, 2c (2 Phi(d / 2s) - 1) <= c sqrt(2 / pi) d / s (Stein's
identity gives the same slope). In the second z is fixed. The gradient in x of an uncapped
u_y is (2 / D) (x - h_y), of norm 2 sqrt(u_y / D) <= 2 sqrt(c / D), of a capped one 0. That
of psi is (2 / D) (h_a - h_b) if neither is capped: of norm at most 2 / sqrt(D), as both are
in the box, and 4 sqrt(c / D). With one capped it is 2 sqrt(c / D), which is no more. So

    |(f_a - f_b)(x') - (f_a - f_b)(x)| <= L_margin |x' - x|,
    L_margin = sum_t w_t (c_t sqrt(2 / pi) / s_t + min(2, 4 sqrt(c_t)) / sqrt(D))

The denoiser may be any function, continuous or not. The first term is reached by one that
jumps from a black to a white image.

What a radius r = m / L_margin says, m a lower bound of min_b (f_a - f_b)(x): class a has the
largest logit, the exact expectation, at every x' with |x' - x| <= r. That includes x'
outside [0,1]^D, where c_t = 1 does cap.

Confidence. a is chosen by other draws than those of the bounds. Given a, let b* be the
class of the smallest true margin. m = min_b lower_b is above min_b of the true margins
only if lower_b* is above its own: one event, of probability at most alpha. So every
lower_b may be taken at level alpha, whatever the number of classes and however they depend
on shared noise. (The same for all b and b* because L_margin is.) One of two kinds of
bounds must be chosen before the draws, or each taken at alpha / 2.

Rounding. h and the network are what the device computes: any function will do. u is a
float32 sum of squares, within a relative `rounding` of the true one for that h; every
sample of a margin is lowered by as much. Noise counts as Gaussian, as everywhere.

The published constants are here for comparison only. The paper divides the direct term by
s too and takes twice the first term of a logit. The published code takes sigma in [-1,1]
and a mean over levels, but a sum in the logits, in errors of [-1,1] that are not clipped,
without a confidence bound: its radii are too large by a factor of about 2 T.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from jaxcert.diffusion.edm import to_unit
from jaxcert.errors import InputError
from jaxcert.interfaces import Array

_UP = 1 + 1e-12
"""A factor above what float64 loses in a sum over fewer than 1,000 levels."""
_UNDERFLOW = 2.0**-100
"""A number above the sum of all squares that are lost below the smallest float32."""


def clipped_error(denoised: Array, image: Array) -> Array:
    """u [...] float32 of denoised [...,H,W,C] in [-1,1] and image [...,H,W,C] in [0,1].

    NaN where the denoiser is not finite. Summed by rows, then the rows: see `rounding`.
    """
    h = to_unit(denoised.astype(jnp.float32))
    h = jnp.where(jnp.isfinite(h), jnp.clip(h, 0, 1), jnp.nan)
    square = (h - image.astype(jnp.float32)) ** 2
    square = square.reshape(*square.shape[:-3], -1)
    dims, side = square.shape[-1], _side(square.shape[-1])
    free = [(0, 0)] * (square.ndim - 1)
    square = jnp.pad(square, [*free, (0, side * side - dims)])
    rows = square.reshape(*square.shape[:-1], side, side).sum(-1)
    # without it the compiler makes one sum of the two
    return jax.lax.optimization_barrier(rows).sum(-1) / dims


def rounding(dims: int) -> float:
    """Relative error of `clipped_error` of D = dims pixels, of the computed value at most.

    Terms are positive: in whatever order, a sum of k of them is wrong by k - 1 roundings
    of 2^-24, twice; 3 for the square, 4 for a division good to two units, 1 for the
    float64 sum over levels.
    """
    loss = (2 * (_side(dims) - 1) + 8) * 2.0**-24
    return loss / (1 - 2 * loss)


def margin_samples(
    u: ArrayLike, predicted: int, *, weights: ArrayLike, dims: int, cap: ArrayLike = 1.0
) -> tuple[np.ndarray, float]:
    """Samples [n,K-1] of f_a - f_b for a = predicted and the others b, and W: they are in
    [-W, W], i.i.d., and each is at most what exact arithmetic would make of its draw.

    u [n,T,K]: `clipped_error` of n draws, each of independent noise at the T levels,
    shared by the classes. A u that is not finite becomes a sample NaN. Raises InputError
    for weights [T] below 0, or for a cap, one or [T], outside (0, 1].
    """
    u = np.asarray(u)
    w, c = _levels(weights, cap)
    if u.ndim != 3 or u.shape[1] != len(w) or not 0 <= predicted < u.shape[2] > 1:
        raise InputError(
            f"errors u have shape {u.shape}: give [n, T, K] for {len(w)} levels and "
            f"two or more classes, {predicted} among them."
        )
    u = np.where(np.isfinite(u), np.minimum(u, c[:, None], dtype=np.float64), np.nan)
    total = np.einsum("t,ntk->nk", w, u)
    others = np.delete(total, predicted, 1)
    mine = total[:, predicted, None]
    bound = largest_margin(w, c)
    slack = rounding(dims) * (others + mine) + 2 * _UNDERFLOW * np.sum(w)
    return np.clip(others - mine - slack, -bound, bound), bound


def largest_margin(weights: ArrayLike, cap: ArrayLike = 1.0) -> float:
    """W, rounded up, of `margin_samples`; errors as there."""
    w, c = _levels(weights, cap)
    return float(np.sum(w * c)) * _UP


def radius(lower: ArrayLike, lipschitz: float) -> np.ndarray:
    """l2 radius [...] in pixels, rounded down, from lower bounds [...,K-1] of the margins
    f_a - f_b and `lipschitz_margin`. 0 unless all bounds are above 0."""
    least = np.asarray(lower, np.float64).min(-1)
    return np.where(least > 0, np.nextafter(np.maximum(least, 0) / lipschitz, 0), 0.0)


def lipschitz_margin(
    weights: ArrayLike, sigma: ArrayLike, *, dims: int, cap: ArrayLike = 1.0
) -> float:
    """L_margin of the differences of two logits in l2, rounded up.

    weights w [T] of the sum over levels, sigma [T] in the scale of [-1,1], dims D pixels
    times channels. Errors as of `margin_samples`, and for a sigma that is not above 0.
    """
    w, c = _levels(weights, cap)
    direct = np.minimum(2, 4 * np.sqrt(c)) / math.sqrt(dims)
    noisy = c * math.sqrt(2 / math.pi) / _unit_sigma(sigma, w)
    return float(np.sum(w * (noisy + direct))) * _UP


def lipschitz_paper(weights: ArrayLike, sigma: ArrayLike, *, dims: int) -> float:
    """PUBLISHED, for comparison only: of one logit, a mean over levels (Theorem 3.1)."""
    w, _ = _levels(weights, 1.0)
    terms = math.sqrt(2 / math.pi) + 2 / math.sqrt(dims)
    return float(np.mean(w / _unit_sigma(sigma, w)) * terms)


def lipschitz_repo(weights: ArrayLike, sigma: ArrayLike) -> float:
    """PUBLISHED CODE, for comparison only: proves nothing. sigma in the scale of [-1,1]."""
    w, _ = _levels(weights, 1.0)
    return float(
        (1 + math.sqrt(2 / math.pi)) * np.mean(w / (2 * _unit_sigma(sigma, w)))
    )


def _side(dims: int) -> int:
    return math.isqrt(dims - 1) + 1


def _levels(weights: ArrayLike, cap: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    w = np.asarray(weights, np.float64)
    if w.ndim != 1 or not len(w) or not ((w >= 0) & np.isfinite(w)).all():
        raise InputError(
            "weights of noise levels: give one or more, finite, none below 0."
        )
    c = np.asarray(cap, np.float64)
    if c.shape not in ((), w.shape) or not ((c > 0) & (c <= 1)).all():
        raise InputError(
            f"a cap of the errors is a number in (0, 1], one or one per level: not {cap}."
        )
    return w, np.broadcast_to(c, w.shape)


def _unit_sigma(sigma: ArrayLike, weights: np.ndarray) -> np.ndarray:
    """Return the levels s [T] in the scale of [0,1]."""
    s = np.asarray(sigma, np.float64) / 2
    if s.shape != weights.shape or not ((s > 0) & np.isfinite(s)).all():
        raise InputError(
            f"noise levels: give {len(weights)}, as many as weights, all above 0."
        )
    return s
