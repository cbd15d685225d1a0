"""`check` refuses compiled programs that do not compute as the proofs assume.

XLA can be told to take NaN and infinity for impossible, and sums for associative
(--xla_cpu_enable_fast_math and its like). A certificate relies on

- isfinite, by which an output that is NaN or infinite counts as no vote and no logit, also
  where the program itself computed it;
- sums and differences rounded to nearest in the order in which they are written, and
  nextafter, for the ends of intervals and for the float64 forward pass whose error
  `logit_slack` bounds;
- float64 products of float64, which a default precision of products can shorten.

It does not rely on denormal numbers: XLA may flush them, and 1e-308 is nothing beside
slacks of 2^-30 times a constant.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np

from jaxcert import random_keys
from jaxcert.errors import InputError


@functools.cache
def check() -> None:
    """Run two small programs, once per process. Raises InputError if they do not
    compute as certificates assume."""
    for dtype in (np.float32, np.float64):
        name = np.dtype(dtype).name
        try:
            with random_keys.pinned(), jax.enable_x64(True):
                found = outcomes(dtype)
        except jax.errors.JaxRuntimeError:  # a precision that the device does not have
            if jax.config.values["jax_default_matmul_precision"] is None:
                raise
            found = [("products", np.zeros(1), np.ones(1))]
        wrong = [
            what
            for what, value, expected in found
            if (np.asarray(value) != expected).any()
        ]
        if wrong:
            raise InputError(
                f"compiled programs here get {' and '.join(wrong)} wrong in {name}, and "
                "certificates rely on them: leave --xla_cpu_enable_fast_math and its like "
                "out of XLA_FLAGS, and JAX_DEFAULT_MATMUL_PRECISION unset."
            )


def outcomes(dtype) -> list[tuple]:
    """Return (name, found, expected) of each assumption, as arrays of one shape."""
    tiny = np.finfo(dtype).eps
    special = np.array([1, np.nan, np.inf, -np.inf, np.finfo(dtype).max], dtype)
    finite, steps, sums = _program(special, np.array([tiny / 4, 3, 10], dtype))
    kept = np.array([1, 0, 0, 0, 1, 0, 0, 0, 0], bool)
    found = [
        ("isfinite", finite, kept),
        ("nextafter", steps, np.array([np.nextafter(dtype(1), dtype(4)), 1], dtype)),
        ("the order of sums", sums, np.zeros(3, dtype)),
    ]
    if dtype is np.float64:  # 2^-28 would be lost in any shorter product
        a, b = np.full(16, 1 + 2.0**-28), np.full(16, 1 + 2.0**-26)
        errors = np.abs(np.asarray(_products(a, b)) / 16 - a[0] * b[0])
        found.append(("products", errors < 2.0**-40, np.ones(2, bool)))
    return found


@jax.jit
def _program(special, x):
    one, nan, inf, low, most = special
    small, three, ten = x
    # NaN and infinity that the program computes, in rows like logits
    made = jnp.stack([jnp.log(-one), inf - inf, most * three, low * 0])
    rows = jnp.where(jnp.eye(4, 8, dtype=bool), made[:, None], one)
    finite = jnp.concatenate([jnp.isfinite(special), jnp.isfinite(rows).all(1)])
    ahead = jnp.nextafter(one, 4 * one)
    steps = jnp.stack([ahead, jnp.nextafter(ahead, -inf)])
    lost = (one + small) - one
    sums = jnp.stack([lost, (small - ten) + ten, (three + lost) - three])
    return finite, steps, sums


@jax.jit
def _products(a, b):
    """Return sum_i a_i b_i of 16 numbers each, by a matrix product and by a
    convolution."""
    image, kernel = a.reshape(1, 4, 4, 1), b.reshape(4, 4, 1, 1)
    axes = ("NHWC", "HWIO", "NHWC")
    convolved = jax.lax.conv_general_dilated(
        image, kernel, (1, 1), "VALID", dimension_numbers=axes
    )
    return jnp.stack([a @ b, convolved.reshape(())])
