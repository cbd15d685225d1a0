"""Convolutions of inference: a kernel is arranged once for the device that reads it.

XLA's convolution on a CPU multiplies patches [pixels, taps C_in] by the kernel
[taps C_in, C_out]. At 16 output channels it spends its time on copying patches, so two
neighbouring pixels become channels of one output:

    [3,3,C_in,C_out] -> [3,4,C_in,2 C_out] with a horizontal stride of 2,

which takes 4/3 of the products and 2/3 of the copies. At 32 and more it is bound by
products, and Winograd's minimal filtering (Lavin & Gray, Fast Algorithms for
Convolutional Neural Networks, 2016, F(4,3)) along the height makes four rows by six
products instead of twelve:

    y = A^T sum_j (G g_j) (.) (B^T d_j),  d six rows, g_j column j of the kernel.

The paper filters both directions. Along one of them whole rows are added, and the
float32 error is 3 times that of the plain convolution.

A GPU's convolutions read kernels output by output, [1,C_out,k,k,C_in]. If they were
transposed at every pass, each transposition would be a GPU kernel of its own.
"""

from __future__ import annotations

from functools import reduce
from operator import add

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

Array = jax.Array

_PAIRS, _ROWS = (3, 4), (6, 3)
"""The sizes [k,k] of arranged kernels, which no plain kernel has."""

# points 0, 1, -1, 2, -2 and infinity
_G = np.array(
    [
        [1 / 4, 0, 0],
        [-1 / 6, -1 / 6, -1 / 6],
        [-1 / 6, 1 / 6, -1 / 6],
        [1 / 24, 1 / 12, 1 / 6],
        [1 / 24, -1 / 12, 1 / 6],
        [0, 0, 1],
    ]
)
_B = (
    (4, 0, -5, 0, 1, 0),
    (0, -4, -4, 1, 1, 0),
    (0, 4, -4, -1, 1, 0),
    (0, -2, -1, 2, 1, 0),
    (0, 2, -1, -2, 1, 0),
    (0, 4, 0, -5, 0, 1),
)
_A = (
    (1, 1, 1, 1, 1, 0),
    (0, 1, -1, 2, -2, 0),
    (0, 1, 1, 4, 4, 0),
    (0, 1, -1, 8, -8, 1),
)


def arrange(kernel: Array, x: Array, *, stride: int = 1) -> Array:
    """Return the form of kernel [k,k,C_in,C_out] in which `conv` is fastest on this
    device for images like x [B,H,W,C_in]. In bfloat16 Winograd's differences would lose
    too many digits."""
    _, h, w, c_in = x.shape
    if jax.default_backend() != "cpu":
        return kernel.transpose(3, 0, 1, 2)[None]
    plain = kernel.shape[:2] == (3, 3) and stride == 1 and x.dtype.itemsize >= 4
    if not plain:
        return kernel
    if kernel.shape[-1] <= 16 and w % 2 == 0:
        left, right = (
            jnp.pad(kernel, ((0, 0), (i, 1 - i), (0, 0), (0, 0))) for i in (0, 1)
        )
        return jnp.concatenate([left, right], -1)
    if min(c_in, kernel.shape[-1]) >= 32 and h % 4 == 0:
        return jnp.einsum("ai,ijcd->ajcd", _G.astype(kernel.dtype), kernel)
    return kernel


def conv(x: Array, kernel: Array, *, stride: int = 1) -> Array:
    """Convolve x [B,H,W,C_in] with an arranged kernel, ->
    [B,H / stride,W / stride,C_out], with (k - 1) / 2 zeros of padding on every side."""
    if kernel.ndim == 5:
        pad = (kernel.shape[2] - 1) // 2
        return _conv(x, kernel[0], (stride, stride), (pad, pad), "OHWI")
    if kernel.shape[:2] == _PAIRS:
        y = _conv(x, kernel, (1, 2), (1, 1))
        return y.reshape(*x.shape[:3], -1)
    if kernel.shape[:2] == _ROWS:
        return _winograd(x, kernel)
    k = kernel.shape[0]
    return _conv(x, kernel, (stride, stride), ((k - 1) // 2,) * 2)


def _winograd(x: Array, kernel: Array) -> Array:
    b, h, w, _ = x.shape
    padded = jnp.pad(x, ((0, 0), (1, 1), (0, 0), (0, 0)))
    d = [padded[:, i : i + h - 3 : 4] for i in range(6)]
    products = [
        _conv(_mix(row, d), k[None], (1, 1), (0, 1))
        for row, k in zip(_B, kernel, strict=True)
    ]
    return jnp.stack([_mix(row, products) for row in _A], 2).reshape(b, h, w, -1)


def _mix(row, arrays: list[Array]) -> Array:
    return reduce(add, (f * a for f, a in zip(row, arrays, strict=True) if f))


def _conv(x: Array, kernel: Array, stride, pad, axes: str = "HWIO") -> Array:
    return lax.conv_general_dilated(
        x,
        kernel,
        stride,
        [(p, p) for p in pad],
        dimension_numbers=("NHWC", axes, "NHWC"),
    )
