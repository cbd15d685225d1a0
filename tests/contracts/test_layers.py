"""Every layer whose Lipschitz constant is proven, see jaxcert/nn/_layer.py: files of
jaxcert/nn with `Conv` and `Dense`, and all other classes there that state a part of it."""

from __future__ import annotations

import importlib
import sys
import types
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from jaxcert import nn as package
from jaxcert.errors import InputError
from jaxcert.interfaces import Run
from jaxcert.methods import lot
from jaxcert.models import lip_convnet
from jaxcert.models._parts import bound_of
from jaxcert.nn import _layer, bro, cholesky, liresnet, sll, spatial_shift
from jaxcert.nn.activations import maxmin
from jaxcert.nn.heads import LLN

MODULES = [
    importlib.import_module(f"jaxcert.nn.{file.stem}")
    for file in sorted(Path(package.__path__[0]).glob("[!_]*.py"))
]
LAYERS = [m for m in MODULES if hasattr(m, "Conv") and hasattr(m, "Dense")]
IDS = [module.__name__.split(".")[-1] for module in LAYERS]
SIDE = 4
CASES = {  # layer, shape of an image, of its output
    "stride 1": (lambda m: m.Conv(5), (SIDE, SIDE, 3), (SIDE, SIDE, 5)),
    "stride 2": (lambda m: m.Conv(4, stride=2), (SIDE, SIDE, 2), (2, 2, 4)),
    "1x1 kernel": (
        lambda m: m.Conv(6, kernel_size=1, stride=2),
        (2, 2, 2),
        (1, 1, 6),
    ),
    "dense": (lambda m: m.Dense(4), (7,), (4,)),
}
OTHERS = {  # layers of LiResNets and of LipNeXt, and the shape of an image
    liresnet.BoundedConv: (
        liresnet.BoundedConv(2, (SIDE, 3), 3, 2, 1),
        (SIDE, SIDE, 3),
    ),
    liresnet.BoundedDense: (liresnet.BoundedDense(3, 5), (5,)),
    liresnet.Blocks: (liresnet.Blocks(2, (SIDE, 2), maxmin), (SIDE, SIDE, 2)),
    bro.Blocks: (bro.Blocks(2, (SIDE, 2), maxmin), (SIDE, SIDE, 2)),
    cholesky.PatchConv: (cholesky.PatchConv(3, 2, 2), (SIDE, SIDE, 2)),
    cholesky.Dense: (cholesky.Dense(3, 5), (5,)),
    cholesky.DenseStack: (cholesky.DenseStack(2, 4, maxmin), (4,)),
    spatial_shift.Blocks: (spatial_shift.Blocks(2, (2, 3, 4), 1, 2), (2, 3, 4)),
}
PARTS = ("bound", "bounds", "bias_gain", "norm")


def stating_a_part():
    """Classes of jaxcert/nn that state a part of a layer, but for those that shells complete."""
    for module in MODULES:
        for found in vars(module).values():
            if not isinstance(found, type) or found.__module__ != module.__name__:
                continue
            states = any(hasattr(found, part) for part in PARTS)
            shells = (_layer.ConvShell, _layer.DenseShell)
            bare = issubclass(found, _layer.Parametrised)
            if states and not (bare and not issubclass(found, shells)):
                yield found


@pytest.fixture(params=LAYERS, ids=IDS, scope="module")
def module(request):
    return request.param


def test_layers_of_all_papers_are_found():
    assert {"aol", "cayley", "cpl", "lot", "sll", "soc"} <= set(IDS)


def make(layer, shape):
    """Variables with prepared kernels in float64; parameters a little off their start,
    where some layers are the identity."""
    x = jnp.zeros((1, *shape))

    @jax.jit
    def start(key):
        variables = without_prepared(layer.init(key, x))
        leaves, tree = jax.tree.flatten(variables["params"])
        keys = jax.random.split(key, len(leaves))
        moved = [
            p + 0.1 * jax.random.normal(k, p.shape)
            for p, k in zip(leaves, keys, strict=True)
        ]
        variables["params"] = jax.tree.unflatten(tree, moved)
        return variables | layer.apply(variables, x, mutable=["prepared"])[1]

    as_float64 = partial(jax.tree.map, lambda a: np.asarray(a, np.float64))
    return as_float64(start(jax.random.key(0)))


def without_prepared(variables):
    return {name: v for name, v in variables.items() if name != "prepared"}


@pytest.mark.parametrize(
    "case",
    [pytest.param(c, marks=[pytest.mark.slow] * (c == "stride 2")) for c in CASES],
)
def test_layer_is_a_contraction_below_its_bound(x64, module, case):
    build, shape, out_shape = CASES[case]
    layer = build(module)
    variables = make(layer, shape)
    pairs = 32
    draw = np.random.default_rng(0)
    distance = 10.0 ** draw.uniform(-6, 2, (pairs, *(1,) * len(shape)))
    x = draw.normal(size=(pairs, *shape))
    y = x + distance * draw.normal(size=x.shape)

    def apply(x):
        return layer.apply(variables, x)

    def one(x):
        return apply(x[None])[0]

    @jax.jit
    def values_and_jacobians(x):
        return apply(x), jax.vmap(jax.jacfwd(one))(x[:3])

    out, jacobians = values_and_jacobians(np.concatenate([x, y]))
    assert out.shape[1:] == out_shape and out.dtype == np.float64
    bound = layer.apply(variables, method="bound")

    # residual layers are not linear: one Jacobian at each of three points
    jacobians = np.asarray(jacobians).reshape(3, -1, int(np.prod(shape)))
    norms = np.linalg.norm(jacobians, 2, axis=(1, 2))
    assert norms.max() <= bound * (1 + 1e-13)  # an SVD rounds
    assert bound <= 1 + 1e-6
    assert norms.min() > 0.5  # a wrong transform would lose most of the signal

    fx, fy = np.split(np.asarray(out).reshape(2 * pairs, -1), 2)
    apart = np.linalg.norm((x - y).reshape(pairs, -1), axis=1)
    # float64 loses about 1e-15 of the values, here up to 1e3, in each difference
    assert (np.linalg.norm(fx - fy, axis=1) <= bound * apart + 1e-11).all()


def test_every_layer_states_every_part():
    found = set(stating_a_part())
    shells = {layer for module in LAYERS for layer in (module.Conv, module.Dense)}
    new = [f"{c.__module__}.{c.__name__}" for c in found - shells - set(OTHERS)]
    assert not new, f"give OTHERS a tiny one of {', '.join(new)}, and its image's shape"
    assert found == shells | set(OTHERS)
    for layer in found:
        assert _layer.missing_parts(layer) == [], layer
    for layer in OTHERS:
        assert _layer.missing_parts(layer, _layer.Estimated) == [], layer


@pytest.mark.parametrize("kind", OTHERS, ids=lambda k: f"{k.__module__}.{k.__name__}")
def test_layer_of_a_liresnet_is_within_its_bounds(x64, kind):
    layer, shape = OTHERS[kind]
    variables = make(layer, shape)
    draw = np.random.default_rng(0)
    x = draw.normal(size=(32, *shape))
    y = x + 10.0 ** draw.uniform(-6, 2) * draw.normal(size=x.shape)
    out = np.asarray(jax.jit(layer.apply)(variables, np.concatenate([x, y])))
    fx, fy = np.split(out.reshape(64, -1), 2)
    apart = np.linalg.norm((x - y).reshape(32, -1), axis=1)
    bounds = bounds_of(layer, variables)
    limit = np.prod(bounds) * apart
    assert (np.linalg.norm(fx - fy, axis=1) <= limit + 1e-11).all()
    estimates = np.ravel(layer.apply(variables, False, method="norm"))
    assert len(bounds) == len(estimates)
    assert (estimates <= np.asarray(bounds) * (1 + 1e-9)).all()
    assert (estimates > 0.99 * np.asarray(bounds)).all()


def bounds_of(layer, variables):
    return layer.apply(variables, method=lambda m: [bound() for bound in m.bounds()])


def assert_bias_gain_holds(layer, shape):
    """Outputs move by no more than bias_gain() of the biases at every pixel, here for kernels
    so small that a residual layer, which divides by their norm, makes much of a bias."""

    def scaled(variables, factors):
        """Variables whose parameters of a name are multiplied by its factor."""
        variables = without_prepared(variables)
        params = jax.tree_util.tree_map_with_path(
            lambda path, a: a * factors.get(path[-1].key, 1.0), variables["params"]
        )
        return variables | {"params": params}

    x = np.random.default_rng(1).normal(size=(32, *shape))
    small = scaled(make(layer, shape), {"kernel": 0.01, "bias": 100.0})
    bias = np.asarray(small["params"].get("bias", [0.0]))
    assert np.abs(bias).max() > 1 or isinstance(layer, cholesky.PatchConv)

    @jax.jit
    def outputs(variables):
        prepared = layer.apply(variables, x[:1], mutable=["prepared"])[1]
        variables = variables | prepared
        return layer.apply(variables, x), variables

    (with_bias, variables), (without, _) = (
        outputs(scaled(small, {"bias": factor})) for factor in (1.0, 0.0)
    )
    host = jax.tree.map(np.asarray, variables)
    gain = layer.apply(host, method="bias_gain")
    growth = np.prod([max(bound, 1.0) for bound in bounds_of(layer, host)])
    added = np.sqrt(np.prod(shape[:-1])) * np.linalg.norm(bias, axis=-1).sum()
    moved = np.linalg.norm(np.reshape(with_bias - without, (32, -1)), axis=1)
    assert moved.max() <= gain * growth * added * (1 + 1e-9)
    assert isinstance(layer, cholesky.PatchConv) or moved.max() > 0


@pytest.mark.parametrize("case", ["stride 1", "dense"])
def test_bias_moves_outputs_by_its_gain_at_most(x64, module, case):
    build, shape, _ = CASES[case]
    assert_bias_gain_holds(build(module), shape)


@pytest.mark.parametrize("kind", OTHERS, ids=lambda k: f"{k.__module__}.{k.__name__}")
def test_bias_of_a_layer_of_a_liresnet_moves_outputs_by_its_gain_at_most(x64, kind):
    assert_bias_gain_holds(*OTHERS[kind])


class Residual(_layer.Parametrised):
    """A right residual layer, but for that it forgets what it makes of its bias."""

    on_images = sll.Sll.on_images
    bound = sll.Sll.bound
    proven_by = sll.Sll.proven_by


class Forgetful(Residual, _layer.DenseShell):
    pass


class Wrong(Residual, _layer.DenseShell):
    bias_gain = _layer.bias_at_output


class Unproven(_layer.DenseShell):
    on_images = sll.Sll.on_images
    proven_by = sll.Sll.proven_by
    bias_gain = sll.Sll.bias_gain


def test_a_layer_that_forgets_a_part_is_caught(monkeypatch):
    assert _layer.missing_parts(Forgetful) == ["bias_gain"]
    assert _layer.missing_parts(Unproven) == ["bound"]
    assert _layer.missing_parts(nn.Dense) == ["bias_gain", "bounds", "proven_by"]
    forgetful = types.SimpleNamespace(Conv=sll.Conv, Dense=Forgetful)
    monkeypatch.setitem(sys.modules, "jaxcert.nn.forgetful", forgetful)
    with pytest.raises(InputError, match="bias_gain"):
        lip_convnet.make(
            conv="forgetful", head="lln", stages=1, image_shape=(2, 2, 1), mean=(0.5,)
        )


def test_a_network_of_a_layer_that_forgets_its_gain_has_no_bound(x64):
    layer = Forgetful(2)
    variables = make(layer, (3,))
    with pytest.raises(AttributeError, match="bias_gain"):
        layer.apply(
            variables,
            method=lambda m: bound_of([m], np.ones((2, 2)), tight=True, tell=None),
        )


def test_a_residual_layer_that_claims_the_gain_of_a_linear_one_is_caught(x64):
    with pytest.raises(AssertionError):
        assert_bias_gain_holds(Wrong(4), (7,))


@pytest.mark.slow
@pytest.mark.parametrize("case", ["stride 2", "dense"])
def test_gradient_is_finite_at_zero_and_reaches_every_parameter(module, case):
    build, shape, _ = CASES[case]
    layer = build(module)

    @jax.jit
    def gradients(key, x):
        variables = without_prepared(layer.init(key, x))
        target = jax.random.normal(key, layer.apply(variables, x).shape)

        def loss(params, x):
            y = layer.apply({**variables, "params": params}, x)
            return jnp.square(y - target).sum()

        return jax.grad(loss, argnums=(0, 1))(variables["params"], x)

    for x in (np.zeros((2, *shape), np.float32), np.ones((2, *shape), np.float32)):
        by_params, by_image = gradients(jax.random.key(0), x)
        for leaf in jax.tree.leaves((by_params, by_image)):
            assert np.isfinite(leaf).all()
        used = by_params if x.any() else {"bias": by_params["bias"]}
        assert all(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(used))


def tiny_network(module, head="orthogonal"):
    return lip_convnet.make(
        image_shape=(2, 2, 1),
        stages=1,
        width=2,
        num_classes=3,
        conv=module.__name__.split(".")[-1],
        head=head,
        mean=(0.5,),
    )


@pytest.mark.parametrize("head", ["orthogonal", "lln"])
def test_evaluation_returns_the_very_state_it_was_given(module, head):
    model = tiny_network(module, head)

    def evaluate(key):
        params, state = model.init(key)
        state = model.prepare(params, state)
        logits, after = model.apply(params, state, jnp.zeros((4, 2, 2, 1)))
        assert after is state
        assert logits.shape == (4, 3)
        assert model.lipschitz(params, state)[1] is state
        return logits

    jax.eval_shape(evaluate, jax.random.key(0))


@pytest.mark.slow
def test_network_takes_a_training_step_that_moves_parameters_and_state(module):
    model = tiny_network(module)
    method = lot.make(model, Run(steps_per_epoch=1, total_steps=1, data_size=4))
    image = jax.random.uniform(jax.random.key(1), (4, 2, 2, 1))
    batch = {"image": image, "label": jnp.arange(4) % 3}

    @jax.jit
    def step(params, state):
        def loss(params):
            return method.loss(params, state, (), batch, jax.random.key(2), 0, None)

        (value, (after, _)), by_params = jax.value_and_grad(loss, has_aux=True)(params)
        moved = jax.tree.map(lambda p, g: p - 0.1 * g, params, by_params)
        return value, moved, after

    params, state = jax.jit(model.init)(jax.random.key(0))
    for _ in range(2):  # the first moves kernels, which the second's vectors follow
        value, moved, after = step(params, state)
        assert np.isfinite(value)
        for old, new in zip(*map(jax.tree.leaves, (params, moved)), strict=True):
            assert np.isfinite(new).all() and not np.array_equal(old, new)
        assert jax.tree.structure(after) == jax.tree.structure(state)
        before, params, state = state, moved, after
    vectors = zip(*map(jax.tree.leaves, (before, state)), strict=True)
    assert all(not np.array_equal(old, new) for old, new in vectors)


def test_normalised_head_never_exceeds_its_pairwise_bound(x64):
    head = LLN(features=5, inputs=7)
    x = jax.random.normal(jax.random.key(1), (64, 7))
    z, variables = head.init_with_output(jax.random.key(0), x)
    bound = head.apply(variables, method="pairwise_bound")
    difference = np.asarray(z[:, :, None] - z[:, None])
    moved = np.abs(difference[:32] - difference[32:])
    apart = np.linalg.norm(x[:32] - x[32:], axis=1)[:, None, None]
    assert (moved <= bound * apart + 1e-12).all()
    assert (bound < 2 + 1e-9).all() and (bound[~np.eye(5, dtype=bool)] > 0.1).all()


def test_normalised_head_at_zero_has_a_finite_gradient_and_no_bound():
    head = LLN(features=3, inputs=4)
    params = {"kernel": jnp.zeros((4, 3)), "bias": jnp.zeros(3)}

    def loss(params):
        z = head.apply({"params": params}, jnp.ones((2, 4)))
        return (z**2).sum() + head.apply({"params": params}, method="pairwise").sum()

    for leaf in jax.tree.leaves(jax.grad(loss)({**params, "bias": jnp.ones(3)})):
        assert not np.isinf(leaf).any()
    bound = head.apply({"params": params}, method="pairwise_bound")
    assert np.isinf(bound[~np.eye(3, dtype=bool)]).all()
