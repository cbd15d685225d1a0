"""Norms and bounds of layers against singular values of their Jacobian."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcert.models import liresnet as network
from jaxcert.nn import aol, cholesky
from jaxcert.nn.liresnet import Blocks, BoundedConv, BoundedDense

DRAW = np.random.default_rng(0)


def identity(x):
    return x


def jacobian_norm(layer, variables, shape):
    def one(x):
        return layer.apply(variables, x[None])[0]

    j = jax.jit(jax.jacobian(one))(jnp.zeros(shape))
    return np.linalg.norm(np.asarray(j).reshape(-1, int(np.prod(shape))), 2)


def random_like(tree):
    tree = {name: each for name, each in tree.items() if name != "prepared"}
    return jax.tree.map(lambda a: DRAW.normal(size=a.shape), tree)


@pytest.mark.parametrize(
    "layer, shape",
    [
        (BoundedConv(2, (6, 1), 5, 2, 2), (6, 6, 1)),
        (BoundedConv(2, (4, 2), 4, 4, 0), (4, 4, 2)),
        (BoundedDense(3, 5), (5,)),
        (Blocks(1, (3, 2), identity), (3, 3, 2)),
    ],
    ids=["stem", "neck", "dense", "blocks"],
)
def test_bound_and_estimate_are_the_norm_of_the_jacobian(x64, layer, shape):
    start = jax.eval_shape(layer.init, jax.random.key(0), jnp.zeros((1, *shape)))
    variables = random_like(dict(start))
    norm = jacobian_norm(layer, variables, shape)
    if isinstance(layer, Blocks):
        (bound,) = (b() for b in layer.apply(variables, method="bounds"))
    else:
        bound = layer.apply(variables, method="bound")
    assert norm * (1 - 1e-12) <= bound <= norm * (1 + 1e-5)
    estimate = layer.apply(variables, False, method="norm")
    np.testing.assert_allclose(estimate, norm, rtol=1e-3)


@pytest.mark.parametrize(
    "layer, shape",
    [
        (cholesky.PatchConv(2, 2, 2), (4, 4, 2)),
        (cholesky.Dense(3, 5), (5,)),
        (cholesky.DenseStack(1, 4, identity), (4,)),
    ],
    ids=["patch", "dense", "stack"],
)
def test_cholesky_layers_are_contractions_with_the_norm_of_the_jacobian(
    x64, layer, shape
):
    start = jax.eval_shape(layer.init, jax.random.key(0), jnp.zeros((1, *shape)))
    variables = random_like(dict(start))
    norm = jacobian_norm(layer, variables, shape)
    if isinstance(layer, cholesky.DenseStack):
        (bound,) = (b() for b in layer.apply(variables, method="bounds"))
    else:
        bound = layer.apply(variables, method="bound")
    assert 0.9 < norm <= 1 and norm * (1 - 1e-12) <= bound <= norm * (1 + 1e-9)
    estimate = layer.apply(variables, False, method="norm")
    np.testing.assert_allclose(estimate, norm, rtol=1e-9)


def test_liresnet_with_layers_of_2_3_5_and_7(x64):
    """Single taps in the middle; a block is 1 + 2; the head has orthogonal rows."""
    model = network.make(
        image_shape=(8, 8, 1), num_classes=2, depth=1, width=2, dense=4
    )
    shapes, state = jax.eval_shape(model.init, jax.random.key(0))
    params = jax.tree.map(lambda a: np.zeros(a.shape), shapes)
    state = random_like(state)
    params["stem"]["kernel"][2, 2, 0, 0] = 2.0
    params["blocks"]["kernel"][0, 1, 1] = 2 * np.eye(2)
    params["blocks"]["gain"][:] = 1.0
    params["neck"]["kernel"][0, 0] = 5 * np.eye(2, 4)
    params["neck_dense"]["kernel"][:] = 7 * np.eye(
        *params["neck_dense"]["kernel"].shape
    )
    params["head"]["kernel"][:2] = np.eye(2)
    exact = 210 * np.sqrt(2)
    for tight in (True, False):
        bound = model.lipschitz_bound(params, state, tight=tight).pairwise[0, 1]
        assert exact <= bound <= exact * (1 + 1e-5)
    estimate = model.lipschitz(params, state)[0][0, 1]
    np.testing.assert_allclose(estimate, exact, rtol=1e-6)


def test_row_sums_are_those_of_correlations_at_all_offsets(x64):
    kernel, q = DRAW.normal(size=(3, 3, 2, 4)), np.array([0.5, 3.0])
    expected = np.zeros(2)
    for p in np.ndindex(5, 5):
        shift = np.subtract(p, 2)
        c = np.zeros((2, 2))
        for a in np.ndindex(3, 3):
            b = np.add(a, shift)
            if (b >= 0).all() and (b < 3).all():
                c += kernel[a] @ kernel[tuple(b)].T
        expected += np.abs(c) @ q / q
    np.testing.assert_allclose(aol.row_sums(jnp.asarray(kernel), q), expected)
