"""Flags under which compiled programs do not do what certificates rely on."""

from __future__ import annotations

import os
import subprocess
import sys

import jax
import numpy as np
import pytest
from refusals import names, tells

from jaxcert.certificates import _arithmetic
from jaxcert.errors import InputError

TRY = """
import jax, jax.numpy as jnp, numpy as np
from jaxcert.certificates import smoothing
def vote(keys, x):
    x = x[:, 0, 0, 0]
    return jnp.stack([jnp.log(-jnp.abs(x) - 1), x], 1)
options = dict(num_classes=2, sigma=0.25, n0=20, n=200)
smoothing.certifier(vote, **options)
"""


def run(**environment):
    keep = {k: v for k, v in os.environ.items() if not k.startswith("JAX_")}
    environment = keep | dict(JAX_PLATFORMS="cpu") | environment
    return subprocess.run(
        [sys.executable, "-c", TRY], capture_output=True, text=True, env=environment
    ).stderr


def test_programs_here_are_exact():
    _arithmetic.check()
    with jax.enable_x64(True):
        for dtype in (np.float32, np.float64):
            for what, found, expected in _arithmetic.outcomes(dtype):
                np.testing.assert_array_equal(found, expected, err_msg=what)


@pytest.mark.parametrize(
    "flags, words",
    [
        ("--xla_cpu_enable_fast_math=true", ["isfinite", "sums"]),
        (
            "--xla_cpu_enable_fast_math=true --xla_cpu_fast_math_honor_nans=false "
            "--xla_cpu_fast_math_honor_infs=false",
            ["isfinite", "sums"],
        ),
    ],
    ids=["fast", "neither NaN nor infinity"],
)
def test_fast_math_is_refused(flags, words):
    said = run(XLA_FLAGS=flags)
    assert "InputError" in said
    assert tells(said, *words, "float32", "--xla_cpu_enable_fast_math")


@pytest.mark.parametrize("precision", ["F32_F32_F32", "BF16_BF16_F32"])
def test_short_products_are_refused(precision):
    _arithmetic.check.cache_clear()
    with jax.default_matmul_precision(precision):
        with pytest.raises(InputError, match=names("products", "float64")):
            _arithmetic.check()
    _arithmetic.check()


def test_it_is_looked_at_once(monkeypatch):
    _arithmetic.check()

    def again(dtype):
        raise AssertionError("a second time")

    monkeypatch.setattr(_arithmetic, "outcomes", again)
    _arithmetic.check()
