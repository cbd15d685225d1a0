"""Lipschitz constants of whole networks whose layers have norms that are known."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcert.models import dist_net, lip_convnet
from jaxcert.models._parts import Averaged, bound_of
from jaxcert.nn.heads import LLN
from jaxcert.nn.interval import IntervalHead
from jaxcert.ops.linalg import Pair


class Known:
    """A stack of layers with these norms."""

    name = "known"

    def __init__(self, *norms, gain=1.0):
        self.norms, self.gain = norms, gain

    def bounds(self, tight=True):
        return [lambda norm=norm: norm for norm in self.norms]

    def proven_by(self, tight=True):
        return "tight" if tight else "torus"

    def bias_gain(self):
        return self.gain


def test_layers_of_norm_2_3_5_and_a_head_of_7_give_210():
    head = np.array([[0.0, 7.0], [7.0, 0.0]])
    layers = [Known(2.0), Known(3.0, 5.0)]
    found = bound_of(layers, head, tight=True, tell=None)
    np.testing.assert_allclose(found.pairwise, 30 * head, rtol=1e-12)
    assert (found.pairwise >= 30 * head).all()
    np.testing.assert_allclose(found.growth, 210)
    names = [(each.name, each.bound, each.method) for each in found.layers]
    expected = [("known", 2.0), ("known_0", 3.0), ("known_1", 5.0)]
    assert names == [(*each, "tight") for each in expected]
    assert {each.kind for each in found.layers} == {"test_constants.Known"}
    np.testing.assert_array_equal(found.head, head)
    # a layer that shrinks does not shrink what the others make grow
    shrinks = bound_of([*layers, Known(0.1)], head, tight=True, tell=None)
    np.testing.assert_allclose(shrinks.pairwise, 3 * head, rtol=1e-12)
    np.testing.assert_allclose(shrinks.growth, 210)
    gains = bound_of([*layers, Known(0.1, gain=4.0)], head, tight=True, tell=None)
    np.testing.assert_allclose(gains.pairwise, shrinks.pairwise, rtol=0)
    np.testing.assert_allclose(gains.growth, 840)


def test_the_mean_of_an_image_and_a_stack_of_it_has_the_mean_constant():
    """(1 + 3 * 4) / 2, and not the product (1 + 3) / 2 * (1 + 4) / 2 of two means."""
    averaged = Averaged(Known(3.0, 4.0, gain=7.0))
    assert [bound() for bound in averaged.bounds()] == [6.5]
    assert averaged.bias_gain() == 7.0


def scaled_lip_convnet(std=0.5):
    """Layers that multiply by 2, 3 (residual) and 5, and a head that does so by 7."""
    model = lip_convnet.make(
        image_shape=(2, 2, 2),
        stages=1,
        blocks=3,
        width=2,
        num_classes=3,
        residual=True,
        mean=(0.0, 0.0),
        std=std,
    )
    shapes, _ = jax.eval_shape(model.init, jax.random.key(0))
    params = jax.tree.map(lambda a: np.zeros(a.shape), shapes)

    def times(factor, outputs, inputs, frequencies):
        kernel = np.broadcast_to(
            factor * np.eye(outputs, inputs), (frequencies, outputs, inputs)
        )
        return {"q": Pair(kernel, np.zeros_like(kernel) if frequencies > 1 else None)}

    prepared = {
        "conv1_0": times(2.0, 2, 2, 12),
        "conv1_1": times(3.0, 2, 2, 12),
        "conv1_2": times(5.0, 4, 8, 1),
        "last": times(7.0, 3, 4, 1),
    }
    return model, params, {"prepared": prepared}


def test_lip_convnet_has_the_product_of_its_layers_over_the_std():
    """The residual layer (x + 3 x) / 2 multiplies by 2."""
    model, params, state = scaled_lip_convnet()
    bound = model.lipschitz_bound(params, state).pairwise
    np.testing.assert_allclose(bound, 2 * 2 * 5 * 7 * np.sqrt(2) / 0.5, rtol=1e-9)
    paper = model.lipschitz(params, state)[0]
    np.testing.assert_allclose(paper, np.sqrt(2) / 0.5, rtol=1e-6)


def test_jacobian_of_lip_convnet_reaches_its_constant(x64):
    model, params, state = scaled_lip_convnet()
    bound = model.lipschitz_bound(params, state).pairwise

    @jax.jit
    def jacobian(x):
        return jax.jacobian(lambda x: model.apply(params, state, x[None])[0][0])(x)

    draw, most = np.random.default_rng(0), 0.0
    for _ in range(5):
        j = np.asarray(jacobian(draw.uniform(size=(2, 2, 2)))).reshape(3, -1)
        norms = np.linalg.norm(j[:, None] - j[None], axis=2)
        assert (norms <= bound * (1 + 1e-9)).all()
        most = max(most, (norms / bound).max())
    assert most > 1 - 1e-9


def test_constants_of_a_hybrid_head_are_sums_of_absolute_weights(x64):
    """At 0, where tanh has slope 1, weights of one sign reach them in l_inf."""
    head = IntervalHead(num_classes=2, hidden=3, inputs=4)
    draw = np.random.default_rng(0)
    first, last = draw.uniform(0.1, 1, (4, 3)), draw.uniform(0.1, 1, (3, 2))
    last[:, 1] *= -1
    params = {
        "linear": dict(kernel=first, bias=np.zeros(3)),
        "final": dict(kernel=last, bias=np.zeros(2)),
    }
    slope = jax.jacobian(lambda x: head.apply({"params": params}, x[None])[0])
    reached = np.abs(slope(jnp.zeros(4)) @ np.ones(4)).sum()
    exact = np.array([[0, reached], [reached, 0]])
    bound = head.apply({"params": params}, method="pairwise_bound")
    np.testing.assert_allclose(bound, exact, rtol=1e-9)
    paper = head.apply({"params": params}, method="pairwise", dtype=jnp.float64)
    np.testing.assert_allclose(paper, exact, rtol=1e-9)


def test_bounds_of_a_hybrid_head_are_those_of_interval_arithmetic(x64):
    head = IntervalHead(num_classes=3, hidden=4, inputs=5)
    draw = np.random.default_rng(1)
    first, last = draw.normal(size=(5, 4)), draw.normal(size=(4, 3))
    b1, b2 = draw.normal(size=4), draw.normal(size=3)
    params = {
        "linear": dict(kernel=first, bias=b1),
        "final": dict(kernel=last, bias=b2),
    }
    low, high = np.full((1, 5), -0.1), np.full((1, 5), 0.3)
    w1, w2 = first / np.sqrt(5), last / 2
    least = np.tanh(low @ np.maximum(w1, 0) + high @ np.minimum(w1, 0) + b1)
    most = np.tanh(high @ np.maximum(w1, 0) + low @ np.minimum(w1, 0) + b1)
    d = w2 - w2[:, [1]]
    expected = most @ np.maximum(d, 0) + least @ np.minimum(d, 0) + b2 - b2[1]
    label = jnp.array([1])
    found = head.apply({"params": params}, low, high, label, method="worst")
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_bound_of_the_label_itself_is_the_constant_0_when_compiled(x64):
    """Compilers compute rows twice, and |row - row| of roundings has a slope. Compiled as
    users do, not as tests."""
    head = IntervalHead(num_classes=4, hidden=6, inputs=5)
    low, label = np.random.default_rng(2).normal(size=(7, 5)), jnp.arange(7) % 4
    params = head.init(jax.random.key(0), low)["params"]

    def own(params):
        worst = head.apply({"params": params}, low, low + 1, label, method="worst")
        return worst[jnp.arange(7), label].sum()

    as_users = dict(
        xla_backend_optimization_level=3, xla_llvm_disable_expensive_passes=False
    )
    lowered = jax.jit(jax.value_and_grad(own)).lower(params)
    value, slope = lowered.compile(compiler_options=as_users)(params)
    assert value == 0 and not any(leaf.any() for leaf in jax.tree.leaves(slope))


@pytest.mark.parametrize("scale", [1.0, -3.0])
def test_distance_nets_have_twice_the_scale_over_the_std(scale):
    model = dist_net.make(
        image_shape=(2, 2, 1), depth=2, width=4, num_classes=3, mean=(0.5,), std=0.25
    )
    shapes, _ = jax.eval_shape(model.init, jax.random.key(0))
    params = jax.tree.map(lambda a: np.full(a.shape, scale), shapes)
    bound = model.lipschitz_bound(params, {}).pairwise
    np.testing.assert_allclose(bound, 8 * abs(scale), rtol=1e-9)


def test_normalised_head_has_the_distances_of_unit_rows():
    head = LLN(features=3, inputs=2)
    kernel = np.array([[5.0, 0.0, -2.0], [0.0, 3.0, 0.0]])
    params = {"params": dict(kernel=kernel, bias=np.zeros(3))}
    root = np.sqrt(2)
    exact = [[0, root, 2], [root, 0, root], [2, root, 0]]
    for method in ("pairwise_bound", "pairwise"):
        found = head.apply(params, method=method)
        np.testing.assert_allclose(found, exact, atol=1e-6)
