"""SOC: skew kernels and the truncated exponential."""

from __future__ import annotations

import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import Golden, close, golden_files

from jaxcert.nn import liresnet, soc

CONVERGED = 1e-7


@pytest.mark.golden("lipschitz_l2")
def test_kernel_and_output_equal_the_original(x64):
    for path in golden_files("lipschitz_l2", "later_layers*.npz"):
        g = Golden(path)
        a = soc.skew(jnp.asarray(g["soc_weight"].transpose(2, 3, 1, 0)))
        original = np.asarray(a).transpose(3, 2, 0, 1)
        count = sum(re.fullmatch(r"soc_u\d+", n) is not None for n in g)
        norms = [
            np.sum(original * g[f"soc_u{i}"] * g[f"soc_v{i}"])
            for i in range(1, 1 + count)
        ]
        a = a / min(norms)  # mu = 1
        # vectors that a power iteration has left: their norm errs by the square of theirs
        close(a.transpose(3, 2, 0, 1), g["soc_skew"], CONVERGED)
        x = jnp.asarray(np.moveaxis(g["soc_x"], 1, -1))
        x = soc.padded(x, a.shape[2])
        y = soc.exponential(x, a, terms=15)[..., : len(g["soc_bias"])] + g["soc_bias"]
        close(np.moveaxis(y, -1, 1), g["soc_y_eval"], CONVERGED)
        # of their four unfoldings we keep two
        ours = [np.linalg.norm(m, 2) for m in soc.unfoldings(a * min(norms))]
        close(min(ours), min(norms), CONVERGED)
        assert not [name for name in g.unread() if name.startswith("soc")]


def test_two_unfoldings_have_the_norms_of_all_four(x64):
    a = soc.skew(jax.random.normal(jax.random.key(0), (3, 3, 4, 4)))
    matrices = [
        a.transpose(order).reshape(shape)
        for order, shape in (
            ((0, 3, 1, 2), (12, 12)),
            ((1, 3, 0, 2), (12, 12)),
            ((3, 0, 1, 2), (4, 36)),
            ((2, 0, 1, 3), (4, 36)),
        )
    ]
    by_row, by_column, outputs, inputs = (np.linalg.norm(m, 2) for m in matrices)
    assert by_row == pytest.approx(by_column, rel=1e-12)
    assert outputs == pytest.approx(inputs, rel=1e-12)
    ours = [np.linalg.norm(m, 2) for m in soc.unfoldings(a)]
    np.testing.assert_allclose(ours, [by_row, outputs], rtol=1e-12)


def dense(f, shape):
    basis = jnp.eye(math.prod(shape)).reshape(-1, *shape)
    return np.asarray(jax.jit(f)(basis)).reshape(len(basis), -1).T


@pytest.mark.parametrize("terms", [2, 4, 8, 20])
def test_truncated_exponential_exceeds_one_by_at_most_the_remainder(x64, terms):
    shape = (4, 4, 3)
    kernel = 0.3 * soc.skew(jax.random.normal(jax.random.key(0), (3, 3, 3, 3)))
    a = dense(lambda x: liresnet.conv(x, kernel, padding=1), shape)
    np.testing.assert_array_equal(a, -a.T)
    y = dense(lambda x: soc.exponential(x, kernel, terms=terms), shape)
    by_powers = sum(
        np.linalg.matrix_power(a, j) / math.factorial(j) for j in range(terms)
    )
    np.testing.assert_allclose(y, by_powers, atol=1e-12)
    rest = np.linalg.norm(a, 2) ** terms / math.factorial(terms)
    assert np.linalg.norm(y, 2) <= 1 + rest + 1e-12


def test_bound_proves_what_a_wrong_estimate_made(x64):
    """A carried vector that finds nothing leaves a kernel far too large."""
    layer, x = soc.Conv(2), jnp.zeros((1, 4, 4, 2))
    params = {
        "kernel": jax.random.normal(jax.random.key(0), (3, 3, 2, 2)),
        "bias": jnp.zeros(2),
    }
    a = 2 * soc.skew(params["kernel"])
    variables = {"params": params, "prepared": {"q": (a, jnp.asarray(4))}}
    y = dense(lambda x: layer.apply(variables, x), x.shape[1:])
    norm = np.linalg.norm(y, 2)
    assert 1.5 < norm <= layer.apply(variables, method="bound")
    nan = {"q": (a * np.nan, jnp.asarray(4))}
    assert layer.apply({"prepared": nan}, method="bound") == np.inf


def test_bound_is_one_and_the_first_term_that_is_left_out(x64):
    """A = [[0, -3], [3, 0]] at every pixel: 1 + 3^13 / 13!, above the norm of the sum."""
    a = jnp.asarray([[0.0, 3.0], [-3.0, 0.0]])[None, None]
    variables = {"prepared": {"q": (a, jnp.asarray(2))}}
    bound = soc.Conv(2, kernel_size=1).apply(variables, method="bound")
    rest = 3.0**13 / math.factorial(13)
    np.testing.assert_allclose(bound - 1, rest, rtol=1e-9)
    terms = [(3j) ** j / math.factorial(j) for j in range(13)]
    assert abs(abs(sum(terms)) - 1) < bound - 1


def test_training_takes_fewer_terms_than_evaluation():
    layer, x = soc.Conv(4), jax.random.normal(jax.random.key(0), (1, 4, 4, 2))
    variables = dict(jax.jit(layer.init)(jax.random.key(1), x))
    variables.pop("prepared")
    y, _ = layer.apply(variables, x, mutable=["power"])
    z = layer.apply(variables, x)
    assert 1e-5 < np.abs(y - z).max() < 1e-1
    a = layer.apply(variables, x, mutable=["prepared"])[1]["prepared"]["q"][0]
    bias = variables["params"]["bias"]
    short = soc.exponential(soc.padded(x, 4), a, terms=soc.TERMS_TRAINING) + bias
    np.testing.assert_allclose(y, short, atol=1e-4)
