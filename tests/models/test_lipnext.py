"""LipNeXt: what its blocks keep, and the constant of the whole."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from refusals import names

from jaxcert.certificates import lipschitz
from jaxcert.errors import InputError
from jaxcert.interfaces import Network
from jaxcert.models import lipnext
from jaxcert.nn.spatial_shift import Blocks, partial_abs, spatial_shift, tokens

TINY = dict(image_shape=(4, 4, 1), num_classes=3, depth=2, width=8, patch=2)
INPUTS = (3, 2, 8)
BLOCKS = Blocks(2, INPUTS, shifted=1, bent=4)


def random(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def rotations(*shape):
    """Orthogonal to float64's rounding."""
    return np.linalg.qr(random(*shape, seed=1))[0]


def block_params(kernel):
    return {
        "orthogonal": {"kernel": jnp.asarray(kernel)},
        "position": jnp.asarray(random(2, 3, 2, 1, seed=2)),
        "bias": jnp.asarray(random(2, 8, seed=3)),
    }


def distances(a, b):
    return np.linalg.norm(np.asarray(a - b).reshape(len(a), -1), axis=1)


def test_tokens_hold_the_numbers_of_their_patch_and_then_zeros():
    x = np.arange(2 * 4 * 6 * 3, dtype=np.float32).reshape(2, 4, 6, 3)
    found = np.asarray(tokens(jnp.asarray(x), 2, 15))
    assert found.shape == (2, 2, 3, 15)
    for row in range(2):
        for column in range(3):
            patch = x[:, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
            ours = found[:, row, column]
            np.testing.assert_array_equal(ours[:, :12], patch.reshape(2, 12))
            np.testing.assert_array_equal(ours[:, 12:], 0)


def test_four_groups_of_channels_move_by_one_token_and_come_in_again():
    x = np.zeros((1, 3, 4, 11), np.float32)
    x[0, 2, 3] = np.arange(1, 12)  # the last token
    found = np.asarray(spatial_shift(jnp.asarray(x), 2))
    expected = np.zeros_like(x)
    places = [(0, 3), (1, 3), (2, 0), (2, 2)]  # down, up, right, left
    for group, place in enumerate(places):
        channels = slice(2 * group, 2 * group + 2)
        expected[0, *place, channels] = x[0, 2, 3, channels]
    expected[0, 2, 3, 8:] = x[0, 2, 3, 8:]
    np.testing.assert_array_equal(found, expected)


def test_absolute_values_are_those_of_the_first_channels():
    x = jnp.array([[-1.0, 2.0, -3.0, -4.0]])
    np.testing.assert_array_equal(partial_abs(x, 2), [[1.0, 2.0, -3.0, -4.0]])


def test_a_block_is_an_isometry_before_its_activation_and_1_lipschitz_after_it(x64):
    params = block_params(rotations(2, 2, 8, 8))
    x, y = random(2, 16, *INPUTS, seed=4)

    @jax.jit
    def both(x):
        def before(module, x):
            each = tuple(a[0] for a in module.arrays(x.dtype))
            return module.before_activation(x, each)

        linear = BLOCKS.apply({"params": params}, x, method=before)
        return linear, partial_abs(linear, BLOCKS.bent)

    (before_x, after_x), (before_y, after_y) = both(x), both(y)
    apart = distances(x, y)
    np.testing.assert_allclose(distances(before_x, before_y), apart, rtol=1e-12)
    assert (distances(after_x, after_y) <= apart * (1 + 1e-12)).all()
    assert (distances(after_x, after_y) < apart * 0.999).all()  # |x| is no isometry


def test_a_block_is_the_formula_of_the_paper(x64):
    kernel = random(2, 2, 8, 8)  # not orthogonal
    params = block_params(kernel)
    x = expected = random(2, *INPUTS, seed=4)
    for (r, m), p, b in zip(kernel, params["position"], params["bias"], strict=True):
        shifted = np.asarray(spatial_shift(jnp.asarray((expected + p) @ r.T), 1))
        expected = np.asarray(partial_abs(shifted @ r @ m.T + b, 4))
    found = BLOCKS.apply({"params": params}, x)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_bounds_of_blocks_count_the_first_matrix_twice(x64):
    """R of norms 1.1 and 1.2, M of 0.7 and 1.3: 1.1 (1.1 0.7) 1.2 (1.2 1.3)."""
    factors = np.array([[1.1, 0.7], [1.2, 1.3]])
    kernel = factors[:, :, None, None] * rotations(2, 2, 8, 8)
    variables = {"params": jax.tree.map(np.asarray, block_params(kernel))}
    bounds = BLOCKS.apply(variables, method=lambda m: [b() for b in m.bounds()])
    np.testing.assert_allclose(bounds, [1.1, 0.77, 1.2, 1.56], rtol=1e-9)
    norms = BLOCKS.apply(variables, False, method="norm")
    np.testing.assert_allclose(np.ravel(norms), bounds, rtol=1e-9)
    np.testing.assert_array_equal(BLOCKS.apply(variables, True, method="norm"), 1)


def network(kernel=None, head=None, **changes):
    """(model, params, state) in float64, with rotations that are exact."""
    model = lipnext.make(**TINY | changes)
    params, state = jax.jit(model.init)(jax.random.key(0))
    params = jax.tree.map(lambda a: np.asarray(a, np.float64), params)
    old = params["blocks"]["orthogonal"]["kernel"]
    new = rotations(*old.shape) if kernel is None else kernel(*old.shape)
    params["blocks"]["orthogonal"]["kernel"] = new
    params["blocks"]["position"] = random(*params["blocks"]["position"].shape)
    params["blocks"]["bias"] = random(*params["blocks"]["bias"].shape)
    if head is not None:
        params["head"]["kernel"] = head
    return model, params, jax.jit(model.prepare)(params, state)


def slopes(model, params, state, images):
    """[B,K,K]: norms of the gradients of z_i - z_j."""

    @jax.jit
    def jacobians(x):
        return jax.vmap(
            jax.jacrev(lambda x: model.apply(params, state, x[None])[0][0])
        )(x)

    found = np.asarray(jacobians(images)).reshape(len(images), model.num_classes, -1)
    return np.linalg.norm(found[:, :, None] - found[:, None], axis=-1)


@pytest.mark.parametrize("scale", [0.9, 1.0, 1.1])
def test_slopes_of_the_network_are_at_most_the_proven_constant(x64, scale):
    kernel = lambda *shape: scale * rotations(*shape)  # noqa: E731
    model, params, state = network(kernel)
    bound = model.lipschitz_bound(params, state).pairwise
    rows = params["head"]["kernel"].T
    apart = np.linalg.norm(rows[:, None] - rows[None], axis=-1)
    np.testing.assert_allclose(bound, scale**6 * apart, rtol=1e-9)
    images = np.random.default_rng(0).uniform(size=(8, 4, 4, 1))
    found = slopes(model, params, state, images)
    assert (found <= bound * (1 + 1e-12)).all()
    assert found.max() > 0.05 * bound.max()


def test_the_slope_of_one_channel_and_token_reaches_the_constant(x64):
    """All matrices are multiples of the identity, one pixel is on, and the head reads its
    channel: nothing is lost on the way."""

    def kernel(*shape):
        factors = np.array([[1.1, 0.7], [1.2, 1.3]])
        return factors[:, :, None, None] * np.broadcast_to(np.eye(8), shape)

    head = np.zeros((8, 3))
    head[0] = [1.0, 0.0, -2.0]
    model, params, state = network(kernel, head)
    params["blocks"]["position"] *= 0
    params["blocks"]["bias"] *= 0
    exact = 1.1**2 * 0.7 * 1.2**2 * 1.3 * np.array([[0, 1, 3], [1, 0, 2], [3, 2, 0]])
    bound = model.lipschitz_bound(params, state).pairwise
    np.testing.assert_allclose(bound, exact, rtol=1e-9)
    image = np.full((1, 4, 4, 1), 0.5)
    image[0, 0, 0] = 1.0
    np.testing.assert_allclose(slopes(model, params, state, image)[0], exact, rtol=1e-9)


def test_drift_is_in_the_constant_and_shrinks_radii():
    """The certificate is of the matrices that are there, not of rotations near them."""

    def drifted(excess, *shape):
        return (1 + excess) * rotations(*shape)

    radii, image = [], np.random.default_rng(0).uniform(size=(8, 4, 4, 1))
    for excess in (0.0, 1e-3):
        model, params, state = network(partial(drifted, excess))
        certifier = lipschitz.make(Network(model, params, state))
        rows = certifier.certify(None, image, np.zeros(8, np.int32), np.arange(8))
        pairwise = np.asarray(certifier.header["pairwise_bound"])
        bare = np.linalg.norm(
            params["head"]["kernel"][:, :, None] - params["head"]["kernel"][:, None],
            axis=0,
        )
        np.testing.assert_allclose(pairwise, (1 + excess) ** 6 * bare, rtol=1e-9)
        radii.append(rows.radius)
    assert (radii[0] > 0).any() and not np.array_equal(*radii)


def test_a_grey_image_has_a_finite_gradient():
    """Of it all tokens are 0, where a norm has no slope."""
    model = lipnext.make(**TINY)
    params, state = jax.jit(model.init)(jax.random.key(0))

    @jax.jit
    @partial(jax.grad, argnums=(0, 1))
    def slope(params, x):
        return (model.apply(params, state, x, train=True)[0] ** 2).sum()

    for leaf in jax.tree.leaves(slope(params, jnp.full((2, 4, 4, 1), 0.5))):
        assert np.isfinite(leaf).all()


def test_position_counts_as_a_bias_of_every_channel():
    """sqrt(C / tokens) where there are more channels than tokens."""

    def gain(*inputs):
        blocks = Blocks(1, inputs, shifted=1, bent=4)
        return blocks.init_with_output(jax.random.key(0), method="bias_gain")[0]

    assert gain(3, 2, 8) == pytest.approx(np.sqrt(8 / 6))
    assert gain(4, 4, 8) == 1.0


@pytest.mark.parametrize(
    "wrong",
    [
        dict(depth=0),
        dict(patch=0),
        dict(patch=3),  # not a divisor
        dict(patch=4, width=16),  # one token
        dict(width=2, patch=2),
        dict(width=20, shift=0.125),
        dict(shift=0.3),
        dict(shift=0.0),
        dict(bend=0.0),
        dict(bend=0.33),
        dict(dtype="float16"),
    ],
    ids=str,
)
def test_impossible_sizes_are_refused(wrong):
    key, value = next(iter(wrong.items()))
    with pytest.raises(InputError, match=names(f"model.{key}", value)):
        lipnext.make(**TINY | wrong)


@pytest.mark.parametrize(
    ("width", "share", "channels"), [(100, 0.07, 7), (100, 0.29, 29), (192, 0.25, 48)]
)
def test_a_share_of_the_channels_is_counted_as_it_is_written(width, share, channels):
    """In floats 100 * 0.07 is above 7 and 100 * 0.29 below 29."""
    assert lipnext._part(width, share, "bend") == channels
    lipnext.make(
        **TINY | dict(width=width, bend=share, shift=0.07 if width == 100 else 0.25)
    )
