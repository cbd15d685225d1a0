from __future__ import annotations

import jax
import numpy as np
import pytest
from refusals import names

from jaxcert.errors import InputError
from jaxcert.ops.images import check_range, outside, unit

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


@pytest.mark.parametrize("pixel", [1 + 2.0**-19, -(2.0**-19), 255, -1, 1e30])
def test_pixels_outside_the_range_are_refused_whatever_stands_beside_them(pixel):
    image = np.array([0.5, np.nan, pixel, np.inf], np.float32)
    assert outside(image) == (min(np.float32(pixel), 0), max(np.float32(pixel), 1))
    with pytest.raises(InputError, match=names("pixels", "[0, 1]")):
        check_range(image)


def test_rounding_and_bytes_are_inside_the_range():
    check_range(np.float32([0, 1, 1 + 2.0**-23, -(2.0**-25), np.nan]))
    check_range(BYTES)
    assert outside(BYTES) is None
