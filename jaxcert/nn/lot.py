"""LOT: layer-wise orthogonal training.

Xu, Li and Li, "LOT: Layer-wise Orthogonal Training on improving l2 certified robustness"
(NeurIPS 2022, arXiv:2210.11620). Every frequency of a convolution on a torus is a matrix; LOT
replaces it by its polar factor:

    F(u,v) = sum_ab V[a,b] exp(2 pi i (u(a-s) + v(b-s)) / m)       V: the raw kernel
    Q(u,v) = (F F^H)^(-1/2) F                                      [C_out, C_in]
    y      = crop(DFT^-1(Q DFT(pad(x)))) + bias

with (k-1)/2 zeros on every side, m = n + k - 1 the padded side, s = k // 2. Padding is an
isometry, Q a contraction, cropping a contraction: the layer is 1-Lipschitz in l2.

V -> `kernel` [k,k,C_in,C_out] (HWIO), Q -> `q`. The polar factor is computed in one of
two ways, the same in training and in evaluation:

    newton_schulz   ten steps of the inverse root, the original's function
    minimax         four odd polynomials of degree 5 (ops.linalg), a third of the products

In both no singular value exceeds 1 and small ones stay below it, fewer in minimax;
where both converge they differ by about 1e-4. Unlike the original we keep one of each
pair of conjugate frequencies and take the smaller side's Gram matrix, which changes
nothing, and evaluation computes Q once (`prepared`), not per batch.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np

from jaxcert.nn import _layer
from jaxcert.ops import linalg, spectral
from jaxcert.ops.linalg import Pair

Array = jax.Array

JITTER = 1e-4
STEPS = 10
LOWER, MINIMAX_STEPS = 0.03, 4  # least |F|_Fro-relative value that becomes 1, to 6e-5
CHUNK = 1 << 14  # entries of F that go through all steps in the cache of a CPU core
REAL_APART = 128  # channels from which real frequencies repay a program of their own
POLAR = ("newton_schulz", "minimax")


def polar_factor(f: Pair, *, polar: str = "newton_schulz") -> Pair:
    """Return Q = (F F^H)^(-1/2) F for F [..., C_out, C_in], through the Gram matrix of
    its smaller side.

    On a CPU it works in pieces that fit the cache. Only F is kept for the backward
    pass.
    """
    function = dict(newton_schulz=_newton_schulz, minimax=_minimax)[polar]
    compute = jax.checkpoint(lambda f: function(f))  # traced anew: see linalg.iterated
    if jax.default_backend() != "cpu":
        return compute(f)
    rows, cols = f.re.shape[-2:]
    count = math.prod(f.re.shape[:-2])
    most = max(CHUNK // (rows * cols), 1)
    chunk = max(n for n in range(1, min(most, count) + 1) if count % n == 0)
    pieces = jax.tree.map(lambda a: a.reshape(-1, chunk, rows, cols), f)
    q = jax.lax.map(compute, pieces)
    return jax.tree.map(lambda a, like: a.reshape(like.shape), q, f)


def _newton_schulz(f: Pair) -> Pair:
    """Return the polar factor by Newton-Schulz. S = F F^H + 1e-4 I is divided by
    c = |S|_Fro + 1e-4 so that the iteration converges: Q = Z F / sqrt(c). For
    C_out > C_in the same Q is F Z / sqrt(c) with Z from F^H F + 1e-4 I, and c from the
    larger side, where S has C_out - C_in more eigenvalues, all 1e-4."""
    rows, cols = f.re.shape[-2:]
    tall = rows > cols
    how = linalg.iterated(f.re.dtype)
    s = linalg.gram(linalg.adjoint(f) if tall else f)
    s = linalg.polynomial((JITTER, 1.0), s)
    square = linalg.sum_of_squares(s) + max(rows - cols, 0) * JITTER**2
    c = jnp.sqrt(square) + JITTER
    s = linalg.scale(s, 1 / c)
    z = linalg.newton_schulz_inverse_sqrt(s, steps=STEPS, precision=how)
    q = linalg.matmul(f, z, how) if tall else linalg.matmul(z, f, how)
    return linalg.scale(q, 1 / jnp.sqrt(c))


def _minimax(f: Pair) -> Pair:
    if f.re.shape[-2] > f.re.shape[-1]:
        return linalg.adjoint(_minimax(linalg.adjoint(f)))
    rows = linalg.minimax_coefficients(LOWER, MINIMAX_STEPS)
    return linalg.odd_polynomials(f, rows, linalg.iterated(f.re.dtype))


def frequency_response(kernel: Array, side: int) -> Pair:
    """Return F over the half spectrum of a torus of `side` x `side`.

    kernel [k,k,C_in,C_out] -> [side * (side // 2 + 1), C_out, C_in]; the frequency index
    is u * (side // 2 + 1) + v.
    """
    return _response(kernel, np.indices((side, side // 2 + 1)).reshape(2, -1), side)


def _response(kernel: Array, frequencies: np.ndarray, side: int) -> Pair:
    """Return F at the frequencies (u, v): [...,k,k,C_in,C_out] ->
    [...,len(u),C_out,C_in]."""
    u, v = frequencies
    *batch, k, _, c_in, c_out = kernel.shape
    shift = np.arange(k) - k // 2
    phase = 2 * np.pi / side * (u[:, None] * shift)[:, :, None]
    phase = phase + 2 * np.pi / side * (v[:, None] * shift)[:, None]
    phase = phase.reshape(len(u), k * k)
    taps = jnp.swapaxes(kernel, -1, -2).reshape(*batch, k * k, -1)
    re, im = (
        linalg.product(jnp.asarray(f(phase), kernel.dtype), taps).reshape(
            *batch, -1, c_out, c_in
        )
        for f in (np.cos, np.sin)
    )
    return Pair(re, im)


def orthogonal_kernel(
    kernel: Array, side: int, *, polar: str = "newton_schulz"
) -> Pair:
    """Return Q of kernels [...,k,k,C_in,C_out] for images of `side` x `side` before
    padding.

    k > 1: [..., m * (m // 2 + 1), C_out, C_in] with m = side + k - 1. k = 1: every
    frequency is the same real matrix, [..., 1, C_out, C_in].
    """
    k = kernel.shape[-3]
    if k == 1:
        f = Pair(jnp.swapaxes(kernel[..., 0, :, :, :], -1, -2), None)
        return polar_factor(f, polar=polar)
    m = side + k - 1
    real, pairs, index, sign = _distinct_frequencies(m)
    if min(kernel.shape[-2:]) < REAL_APART:
        q = polar_factor(_response(kernel, np.hstack([real, pairs]), m), polar=polar)
    else:
        alone = Pair(_response(kernel, real, m).re, None)
        alone = polar_factor(alone, polar=polar).re
        q = polar_factor(_response(kernel, pairs, m), polar=polar)
        q = Pair(
            jnp.concatenate([alone, q.re], -3),
            jnp.concatenate([jnp.zeros_like(alone), _imaginary(q)], -3),
        )
    im = _imaginary(q)
    sign = jnp.asarray(sign, im.dtype)[:, None, None]
    return Pair(q.re[..., index, :, :], sign * im[..., index, :, :])


def _distinct_frequencies(m: int):
    """Return the frequencies at which Q has to be computed, as Q(-u,-v) = conj Q(u,v):
    those (u, v) that are their own conjugates, where Q is real, and one of each other
    pair within the half spectrum. Also return, for every frequency of the half
    spectrum, its index among these and the sign of the imaginary part."""
    half = {(u, v): None for u in range(m) for v in range(m // 2 + 1)}
    mirrored = [(-u % m, -v % m) for u, v in half]
    both = list(zip(half, mirrored, strict=True))
    real = [a for a, b in both if a == b]
    pairs = [a for a, b in both if a != b and not (b < a and b in half)]
    place = {a: i for i, a in enumerate(real + pairs)}
    index = np.array([place[a] if a in place else place[b] for a, b in both])
    sign = np.array([0 if a == b else 1 if a in place else -1 for a, b in both])
    return np.array(real).T, np.array(pairs).T, index, sign


def conv(x: Array, q: Pair, *, kernel_size: int) -> Array:
    """Apply Q of a k x k kernel to images [B,n,n,C_in] -> [B,n,n,C_out]; k is odd."""
    if kernel_size == 1:
        return x @ q.re[0].T.astype(x.dtype)
    b, n, _, c = x.shape
    r = kernel_size // 2
    m = n + 2 * r
    x = jnp.pad(x, ((0, 0), (r, r), (r, r), (0, 0)))
    f = jnp.fft.rfft2(x.astype(linalg.wide(x.dtype)), axes=(1, 2))
    f = f.transpose(1, 2, 0, 3).reshape(-1, b, c)
    q = Pair(_t(q.re), _t(_imaginary(q)))
    y = linalg.matmul(Pair(f.real, f.imag), q, None)
    y = (
        jax.lax.complex(y.re, _imaginary(y))
        .reshape(m, m // 2 + 1, b, -1)
        .transpose(2, 0, 1, 3)
    )
    y = jnp.fft.irfft2(y, s=(m, m), axes=(1, 2))[:, r : r + n, r : r + n]
    return y.astype(x.dtype)


class Lot(_layer.Parametrised):
    """A LOT layer. Square layers start at the identity, others at PyTorch's default for
    convolutions."""

    polar: str = "newton_schulz"

    def on_images(self, x, k, q: Pair | None = None):
        """Apply the layer to x [B,n,n,C] -> [B,n,n,features]; q is Q where it is known
        already."""
        shape = k, k, x.shape[-1], self.features
        kernel = self.param("kernel", init_kernel, shape)
        bias = self.param("bias", _layer.init_bias, (self.features,), shape)

        def compute():
            raw, side = kernel.astype(linalg.wide(x.dtype)), x.shape[1]
            if q is not None:
                return q
            return orthogonal_kernel(raw, side, polar=self.polar)

        return conv(x, _layer.prepared(self, compute), kernel_size=k) + bias.astype(
            x.dtype
        )

    def bound(self, tight: bool = True) -> float:
        """Return a proven Lipschitz constant of the prepared layer (float64, at most
        about 1)."""
        re, im = self.get_variable("prepared", "q")
        return spectral.norm_bound(np.asarray(re) if im is None else re + 1j * im)

    proven_by = _layer.by_gram
    bias_gain = _layer.bias_at_output


class Conv(Lot, _layer.ConvShell):
    """A 1-Lipschitz convolution."""


class Dense(Lot, _layer.DenseShell):
    """A 1-Lipschitz dense layer."""


def orthogonal_kernels(convs: list[tuple[Conv, int]], dtype) -> dict[str, Pair]:
    """Return Q by the names of bound layers; those of equal shape are computed
    together.

    convs: (layer, side of the images that its kernel meets). Layers without parameters,
    or whose Q is stored, are left out.
    """
    groups = {}
    for layer, side in convs:
        kernel = layer.get_variable("params", "kernel")
        if kernel is None or layer.has_variable("prepared", "q"):
            continue
        key = kernel.shape, side, layer.polar
        groups.setdefault(key, {})[layer.name] = kernel.astype(linalg.wide(dtype))
    found = {}
    for (_, side, polar), kernels in groups.items():
        q = orthogonal_kernel(jnp.stack([*kernels.values()]), side, polar=polar)
        for i, name in enumerate(kernels):
            found[name] = Pair(q.re[i], None if q.im is None else q.im[i])
    return found


def init_kernel(key, shape):
    """Return the identity for a square kernel, else draw as PyTorch does for convolutions."""
    k, _, c_in, c_out = shape
    if c_in == c_out:
        return jnp.zeros(shape).at[k // 2, k // 2].set(jnp.eye(c_in))
    return _layer.init_uniform(key, shape)


def _imaginary(q: Pair) -> Array:
    """The imaginary part of complex matrices."""
    assert q.im is not None
    return q.im


def _t(x: Array) -> Array:
    return jnp.swapaxes(x, -1, -2)
