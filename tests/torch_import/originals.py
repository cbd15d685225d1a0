"""Layers as the originals compute them (NCHW, numpy), and what every converter refuses."""

from __future__ import annotations

import numpy as np
import pytest

from jaxcert.errors import InputError


def maxmin(x):
    a, b = np.split(x, 2, 1)
    return np.concatenate([np.maximum(a, b), np.minimum(a, b)], 1)


def conv(x, weight, bias=0.0, *, stride=1, padding=0):
    """Cross-correlation of [B,C,H,W] with [O,C,k,k]."""
    k = weight.shape[-1]
    x = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    patches = np.lib.stride_tricks.sliding_window_view(x, (k, k), (2, 3))
    patches = patches[:, :, ::stride, ::stride]
    y = np.einsum("bchwij,ocij->bohw", patches, weight)
    return y + np.reshape(bias, (1, -1, 1, 1))


def reflector(v, jitter):
    """I - 2 V (V^H V + e I)^-1 V^H for V [...,c,rank]."""
    h = np.swapaxes(v, -1, -2).conj()
    gram = h @ v
    e = jitter * np.einsum("...ii->...", gram).real / v.shape[-1]
    gram = gram + e[..., None, None] * np.eye(v.shape[-1])
    return np.eye(v.shape[-2]) - 2 * v @ np.linalg.solve(gram, h)


def reflected(x, weight, c_out, jitter):
    """Convolution of [B,C,n,n] with the reflector of [c,rank,k,k] at every frequency of the
    padded image: the kernel stands in the corner of its torus and is not conjugated."""
    r = weight.shape[-1] // 2
    n, c_in = x.shape[-1], x.shape[1]
    m = n + 2 * r
    x = np.pad(x, ((0, 0), (0, 0), (r, r), (r, r)))
    v = np.fft.fft2(weight, (m, m)).transpose(2, 3, 0, 1)
    w = reflector(v, jitter)[..., :c_out, :c_in]
    y = np.einsum("uvoi,biuv->bouv", w, np.fft.fft2(x))
    y = np.fft.ifft2(y)
    assert np.abs(y.imag).max() < 1e-9
    return y.real[:, :, r : r + n, r : r + n]


def cholesky(x):
    """Rows of x made orthogonal."""
    gram = x @ x.T
    root = np.linalg.cholesky(gram + np.diag(gram).mean() / 1000 * np.eye(len(gram)))
    return np.linalg.solve(root, x)


def normalised_rows(x, arrays, name):
    w = arrays[f"{name}.weight"]
    w = w / np.linalg.norm(w, axis=1, keepdims=True)
    return x @ w.T + arrays[f"{name}.bias"]


def drawn(shapes, seed=0, scale=0.3):
    draw = np.random.default_rng(seed)
    return {
        name: draw.normal(scale=scale, size=shape).astype(np.float32)
        for name, shape in shapes.items()
    }


def check_refusals(convert, arrays):
    """Every tensor is needed, of its shape, finite and a float."""
    convert(arrays)

    def refused(changed, *words):
        with pytest.raises(InputError) as error:
            convert(changed)
        said = str(error.value)
        assert all(word in said for word in words), (said, words)
        assert said.endswith(".")

    for name, array in arrays.items():
        refused({k: v for k, v in arrays.items() if k != name}, f"lacks {name}")
        refused(arrays | {name: array[None]}, "shape")
        refused(arrays | {name: np.concatenate([array, array])}, "shape")
        wrong = array.copy()
        wrong.flat[-1] = np.nan
        refused(arrays | {name: wrong}, name, "no finite float32")
        refused(arrays | {name: array.astype(np.float16)}, name, "type float16")
    refused(
        arrays | {"odd.weight": np.ones((2, 2))}, "has odd.weight, which is no tensor"
    )
    refused({"odd.weight": np.ones((2, 2))}, "lacks")
    refused({}, "lacks")
