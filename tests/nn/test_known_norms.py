"""Layers and networks whose prepared kernels are written down, so that norms are known."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from jaxcert.models import bronet, liresnet_pp
from jaxcert.nn import adapter, bro, cayley, cpl, lot, sll
from jaxcert.nn._layer import prepared
from jaxcert.nn.batch_norm import BatchNorm
from jaxcert.nn.norm_dist import MeanShift, NormDist
from jaxcert.ops import linalg
from jaxcert.ops.linalg import Pair

DRAW = np.random.default_rng(0)


def random_complex(*shape):
    return DRAW.normal(size=shape) + 1j * DRAW.normal(size=shape)


# Cayley


@pytest.mark.parametrize("shape", [(2, 4, 4), (2, 5, 3), (2, 3, 5)])
@pytest.mark.parametrize("draw", [random_complex, lambda *s: random_complex(*s).real])
def test_cayley_transforms_have_orthogonal_rows_or_columns(x64, shape, draw):
    w = draw(*shape)
    q = np.asarray(linalg.cayley(jnp.asarray(w)))
    other = q.conj().swapaxes(1, 2)
    gram = other @ q if shape[1] >= shape[2] else q @ other
    unit = np.broadcast_to(np.eye(min(shape[1:])), gram.shape)
    np.testing.assert_allclose(gram, unit, atol=1e-12)


def test_cayley_transform_of_a_tall_matrix_is_that_of_the_square_one_around_it(x64):
    """W = [U; R] beside columns of zeros: the first columns of (I + A)^-1 (I - A) with
    A = W - W^H, A of the square matrix [[U, 0], [R, 0]]."""
    w = random_complex(5, 3)
    square = np.concatenate([w, np.zeros((5, 2))], 1)
    a = square - square.conj().T
    whole = np.linalg.solve(np.eye(5) + a, np.eye(5) - a)
    np.testing.assert_allclose(linalg.cayley(jnp.asarray(w)), whole[:, :3], atol=1e-12)


@pytest.mark.parametrize("kernel_size", [1, 3])
def test_kernel_of_a_cayley_layer_is_scaled_by_alpha_over_its_norm(x64, kernel_size):
    kernel = jnp.asarray(DRAW.normal(size=(kernel_size, kernel_size, 3, 4)))
    side = 4
    torus = side + kernel_size - 1
    f = lot.frequency_response(kernel, torus)
    f = np.asarray(f.re) + 1j * np.asarray(f.im)
    assert len(f) == torus * (torus // 2 + 1)
    expected = linalg.cayley(jnp.asarray(1.7 * f / np.linalg.norm(f)))
    q = cayley.orthogonal_kernel(kernel, 1.7, side)
    found = np.asarray(q.re) + (0 if q.im is None else 1j * np.asarray(q.im))
    np.testing.assert_allclose(
        np.broadcast_to(found, expected.shape), expected, atol=1e-12
    )


# bounds are those of what is prepared, real and imaginary


@pytest.mark.parametrize("module", [lot, cayley, bro])
def test_bound_of_an_orthogonal_layer_is_the_norm_of_its_complex_kernel(module):
    q = Pair(DRAW.normal(size=(6, 4, 3)), DRAW.normal(size=(6, 4, 3)))
    norm = np.linalg.norm(q.re + 1j * q.im, 2, axis=(1, 2)).max()
    bound = module.Conv(4).apply({"prepared": {"q": q}}, method="bound")
    assert norm * (1 - 1e-12) <= bound <= norm * (1 + 1e-9)
    real = Pair(q.re[:1], None)
    bound = module.Dense(4).apply({"prepared": {"q": real}}, method="bound")
    norm = np.linalg.norm(q.re[0], 2)
    assert norm * (1 - 1e-12) <= bound <= norm * (1 + 1e-9)


def test_bounds_of_reflected_blocks_are_the_norms_of_their_complex_kernels():
    blocks = bro.Blocks(2, (3, 4), lambda x: x)
    params = jax.eval_shape(blocks.init, jax.random.key(0), jnp.zeros((1, 3, 3, 4)))
    params = jax.tree.map(lambda a: np.zeros(a.shape), params["params"])
    q = Pair(DRAW.normal(size=(2, 15, 4, 4)), DRAW.normal(size=(2, 15, 4, 4)))
    variables = {"params": params, "prepared": {"q": q}}
    variables["batch_stats"] = {"mean": np.zeros((2, 4))}
    bounds = [bound() for bound in blocks.apply(variables, method="bounds")]
    norms = np.linalg.norm(q.re + 1j * q.im, 2, axis=(2, 3)).max(1)
    np.testing.assert_allclose(bounds, norms, rtol=1e-9)
    assert (bounds >= norms * (1 - 1e-12)).all()


def test_kernels_of_reflected_blocks_reflect_identity_plus_branch(x64):
    """W = I - 2 V (V^H V)^-1 V^H up to jitter; V = (1, 2) in the middle: a real matrix."""
    blocks = bro.Blocks(4, (3, 2), lambda x: x)
    start = jax.eval_shape(blocks.init, jax.random.key(0), jnp.zeros((1, 3, 3, 2)))
    params = jax.tree.map(lambda a: np.zeros(a.shape), start["params"])
    params["kernel"][:, 1, 1, 0] = [1.0, 2.0]
    params["gain"][:] = [0.0, 2.0]  # V = (1, 0) + (0, 2 * 2) / sqrt(4)
    variables = {"params": params, "batch_stats": {"mean": np.zeros((4, 2))}}
    x = DRAW.normal(size=(2, 3, 3, 2))
    v = np.array([1.0, 2.0])
    once = np.eye(2) - 2 * np.outer(v, v) / (v @ v)
    found = blocks.apply(variables, x)  # four reflections are none
    np.testing.assert_allclose(found, x, atol=1e-5)
    one = bro.Blocks(1, (3, 2), lambda x: x)
    variables = jax.tree.map(lambda a: a[:1], variables)
    variables["params"]["gain"] = np.array([[0.0, 1.0]])
    np.testing.assert_allclose(one.apply(variables, x), x @ once.T, atol=1e-5)


# whole networks


def known_network(model):
    """(model, params, state): stem 2, block 3, neck 5 and 7, stack 11, a head of orthogonal
    rows; images of two channels."""
    sizes = dict(depth=1, width=2, dense=2, dense_depth=1)
    net = model.make(image_shape=(8, 8, 2), num_classes=2, **sizes)
    shapes, state = jax.eval_shape(net.init, jax.random.key(0))
    prepared = jax.eval_shape(net.prepare, shapes, state)["prepared"]
    params = jax.tree.map(lambda a: np.zeros(a.shape), shapes)
    state = jax.tree.map(lambda a: DRAW.normal(size=a.shape), state)
    params["stem"]["kernel"][2, 2] = 2 * np.eye(2)
    params["head"]["kernel"][:] = np.eye(2)
    if model is liresnet_pp:
        params["blocks"]["kernel"][0, 1, 1] = 2 * np.eye(2)
        params["blocks"]["gain"][:] = 1.0

    def times(a, factor):
        return factor * np.broadcast_to(np.eye(*a.shape[-2:]), a.shape)

    factors = dict(neck=5.0, neck_dense=7.0, stack=11.0, blocks=3.0)
    prepared = {
        name: jax.tree.map(lambda a, f=factors[name]: times(a, f), each)
        for name, each in prepared.items()
    }
    if model is bronet:
        q = prepared["blocks"]["q"]
        prepared["blocks"]["q"] = Pair(q.re, 0 * q.im)
    return net, params, state | {"prepared": prepared}


EXACT = 2 * 3 * 5 * 7 * 11 * np.sqrt(2)


@pytest.mark.parametrize("model", [liresnet_pp, bronet], ids=["liresnet_pp", "bronet"])
def test_constant_of_a_network_is_the_product_of_all_its_layers(x64, model):
    net, params, state = known_network(model)
    for tight in (True, False):
        bound = net.lipschitz_bound(params, state, tight=tight).pairwise[0, 1]
        assert EXACT * (1 - 1e-12) <= bound <= EXACT * (1 + 1e-5)
    estimate = net.lipschitz(params, state)[0][0, 1]
    blocks = 3 if model is bronet else 1  # which counts its blocks as 1
    np.testing.assert_allclose(estimate, EXACT / blocks, rtol=1e-6)


@pytest.mark.parametrize("model", [liresnet_pp, bronet], ids=["liresnet_pp", "bronet"])
def test_jacobian_of_a_network_reaches_its_constant(x64, model):
    net, params, state = known_network(model)

    @jax.jit
    def slope(x):
        return jax.grad(lambda x: jnp.diff(net.apply(params, state, x[None])[0][0])[0])(
            x
        )

    for image in DRAW.uniform(size=(3, 8, 8, 2)):
        np.testing.assert_allclose(np.linalg.norm(slope(image)), EXACT, rtol=1e-6)


# batch normalisation that is one with a convolution


@pytest.mark.parametrize("stride", [1, 2])
def test_folded_normalisation_is_the_one_that_follows_the_convolution(x64, stride):
    class Normalised(nn.Module):
        @nn.compact
        def __call__(self, x):
            how = dict(padding=1, strides=stride, use_bias=False)
            layer = nn.Conv(3, (3, 3), **how, param_dtype=x.dtype)
            return BatchNorm().after(layer, x, False)

    x = jnp.asarray(DRAW.normal(size=(2, 4, 4, 2)))
    variables = jax.tree.map(
        lambda a: DRAW.normal(size=a.shape), Normalised().init(jax.random.key(0), x)
    )
    variables.pop("prepared", None)
    stats = variables["batch_stats"]["BatchNorm_0"]
    stats["var"] = stats["var"] ** 2 + 1e-4  # where the epsilon counts
    plain = Normalised().apply(variables, x)
    kernel = variables["params"]["Conv_0"]["kernel"]
    y = jax.lax.conv_general_dilated(
        x,
        jnp.asarray(kernel),
        (stride,) * 2,
        [(1, 1)] * 2,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    norm = variables["params"]["BatchNorm_0"]
    scale = norm["scale"] / np.sqrt(stats["var"] + 1e-5)
    expected = (y - stats["mean"]) * scale + norm["bias"]
    np.testing.assert_allclose(plain, expected, rtol=1e-6, atol=1e-6)
    folded = variables | Normalised().apply(variables, x, mutable=["prepared"])[1]
    assert folded["prepared"]
    np.testing.assert_allclose(
        Normalised().apply(folded, x), expected, rtol=1e-6, atol=1e-6
    )


# distances


@pytest.mark.parametrize("rho", [0.0, 0.4])
def test_bounds_of_distances_are_those_at_the_nearest_and_farthest_points(x64, rho):
    """A neuron grows with every |x_i - w_i|, so its ends are at points of the box."""
    layer = NormDist(features=4, inputs=3, rho=rho, num_terms=2)
    w = DRAW.normal(size=(3, 4))
    variables = {"params": {"kernel": w}}
    low = DRAW.normal(size=(2, 3))
    high = low + DRAW.uniform(0, 1, size=(2, 3))
    w[:, 0] = (low + high)[0] / 2  # inside the first box
    found = layer.apply(variables, low, high, method="interval")

    def neuron(distances):
        """[B,I,O] -> [B,O]"""
        first, second = -np.sort(-distances, 1)[:, :2].swapaxes(0, 1)
        return (first + rho * second) / (1 + rho)

    middle = np.clip(w, low[:, :, None], high[:, :, None])
    ends = np.stack([low, high])[..., None]
    expected = neuron(abs(middle - w)), neuron(abs(ends - w).max(0))
    for ours, exact in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, exact, atol=1e-12)
    np.testing.assert_allclose(
        layer.apply(variables, low), neuron(abs(low[:, :, None] - w)), atol=1e-12
    )


def test_a_mean_shift_takes_off_its_running_mean_whatever_the_batch():
    layer = MeanShift(3)
    mean = np.array([1.0, -2.0, 0.5], np.float32)
    y = DRAW.normal(size=(4, 3)).astype(np.float32)
    shifted = layer.apply({"mean_shift": {"mean": mean}}, y, train=False)
    np.testing.assert_allclose(shifted, y - mean, rtol=1e-6)


def test_kernels_are_prepared_anew_for_other_parameters():
    class Scaled(nn.Module):
        @nn.compact
        def __call__(self, x, train=False):
            kernel = self.param("kernel", nn.initializers.ones, ())
            return x * prepared(self, lambda: Pair(2 * kernel, None)).re

    model = adapter.from_linen(Scaled(), image_shape=(1, 1, 1), num_classes=2)
    state = {}
    for kernel in (3.0, 5.0):
        params = {"kernel": jnp.float32(kernel)}
        state = model.prepare(params, state)
        assert state["prepared"]["q"].re == 2 * kernel
        assert model.apply(params, state, jnp.ones((1, 1, 1, 1)))[0] == 2 * kernel


@pytest.mark.parametrize("module", [cpl, sll])
@pytest.mark.parametrize("k", [1, 3])
def test_bound_of_a_residual_layer_is_that_of_the_step_it_takes(x64, module, k):
    """K = 3 in the middle and t = 1/2, far too large: x - 2 t K^T (K x + b) = -8 x - ..."""
    kernel = np.zeros((k, k, 2, 2))
    kernel[k // 2, k // 2] = 3 * np.eye(2)
    t = np.float64(0.5) if module is cpl else np.full(2, 0.5)
    params = dict(kernel=kernel, bias=np.full(2, 1e3))
    params |= {} if module is cpl else dict(log_q=np.zeros(2))
    layer = module.Conv(2, kernel_size=k)
    variables = {"params": params, "prepared": {"q": (t, np.asarray(4))}}
    bound = layer.apply(variables, method="bound")
    assert 8 <= bound <= 8 * (1 + 1e-5)
    x = DRAW.uniform(size=(2, 1, 4, 4, 2))
    y = [layer.apply(variables, jnp.asarray(each)) for each in x]
    np.testing.assert_allclose(y[0] - y[1], -8 * (x[0] - x[1]), rtol=1e-9)
