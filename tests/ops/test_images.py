from __future__ import annotations

import jax
import numpy as np
import pytest

from jaxcert.ops.images import unit

BYTES = np.arange(256, dtype=np.uint8)


@pytest.mark.parametrize("compile", [False, True])
def test_bytes_become_the_exact_quotient_in_float64(x64, compile):
    f = jax.jit(unit, static_argnums=1) if compile else unit
    np.testing.assert_array_equal(np.asarray(f(BYTES, np.float64)), BYTES / 255.0)


def test_bytes_become_the_exact_quotient_in_float32():
    expected = BYTES.astype(np.float32) / np.float32(255)
    np.testing.assert_array_equal(np.asarray(jax.jit(unit)(BYTES)), expected)


def test_floats_are_only_cast():
    image = np.array([0.0, 0.3, 1.0], np.float16)
    np.testing.assert_array_equal(np.asarray(unit(image)), image.astype(np.float32))
