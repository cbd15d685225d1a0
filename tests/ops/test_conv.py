"""Arranged kernels: the same convolution, and how much float32 loses by it."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from conftest import close

from jaxcert.ops.conv import arrange, conv

PAIRS, ROWS = (3, 4), (6, 3)


def _case(c_in, c_out, h, w, dtype=np.float64):
    random = np.random.default_rng(c_in)
    kernel = random.standard_normal((3, 3, c_in, c_out)) / np.sqrt(9 * c_in)
    x = random.standard_normal((2, h, w, c_in))
    return jax.numpy.asarray(x, dtype), jax.numpy.asarray(kernel, dtype)


@pytest.mark.parametrize(
    "sizes, form",
    [
        ((3, 16, 5, 6), PAIRS),
        ((16, 16, 1, 2), PAIRS),
        ((32, 32, 4, 3), ROWS),
        ((64, 32, 8, 5), ROWS),
    ],
)
def test_arranged_kernel_is_the_same_convolution(sizes, form, x64):
    x, kernel = _case(*sizes)
    arranged = arrange(kernel, x)
    assert arranged.shape[:2] == form
    close(conv(x, arranged), conv(x, kernel), 1e-13)


@pytest.mark.parametrize("channels, form", [(16, PAIRS), (64, ROWS)])
def test_float32_loses_a_few_units_in_the_last_place(channels, form, x64):
    x, kernel = _case(channels, channels, 8, 8)
    narrow = _case(channels, channels, 8, 8, np.float32)
    arranged = arrange(narrow[1], narrow[0])
    assert arranged.shape[:2] == form
    close(conv(narrow[0], arranged), conv(x, kernel), 4e-6)


@pytest.mark.parametrize(
    "sizes, dtype, stride",
    [
        ((16, 16, 8, 8), "float32", 2),
        ((16, 16, 8, 7), "float32", 1),
        ((32, 32, 6, 8), "float32", 1),
        ((24, 24, 8, 8), "float32", 1),
        ((32, 32, 8, 8), "bfloat16", 1),
    ],
)
def test_other_kernels_stay_as_they_are(sizes, dtype, stride):
    x, kernel = _case(*sizes, dtype)
    assert arrange(kernel, x, stride=stride) is kernel


def test_a_gpu_reads_kernels_output_by_output(monkeypatch, x64):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    for stride in (1, 2):
        x, kernel = _case(6, 16, 8, 8, np.float64)
        arranged = arrange(kernel, x, stride=stride)
        assert arranged.shape == (1, 16, 3, 3, 6)
        close(conv(x, arranged, stride=stride), conv(x, kernel, stride=stride), 1e-12)
