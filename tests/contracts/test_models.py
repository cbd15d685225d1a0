"""Every network: a file in jaxcert/models with `make`, and what interfaces.Model promises."""

from __future__ import annotations

import importlib
import inspect
import re
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxcert import models
from jaxcert.errors import InputError

MODULES = {
    file.stem: importlib.import_module(f"jaxcert.models.{file.stem}")
    for file in sorted(Path(models.__path__[0]).glob("[!_]*.py"))
}
NAMES = [name for name, module in MODULES.items() if hasattr(module, "make")]
SMALL = dict(
    image_shape=(8, 8, 1),
    num_classes=3,
    width=4,
    depth=1,
    dense=4,
    dense_depth=1,
    stages=2,
    blocks=1,
    multipliers=(1,),
    attention=(),
    embedding=1,
    mean=(0.5,),
    std=0.25,
)
"""Arguments of a tiny network; each gets those that its `make` has."""
DISTANCES = dict(image_shape=(4, 4, 1), width=8)
CONVOLUTIONS = dict(image_shape=(4, 4, 1), width=2)
PIXELS = dict(std=(0.25,))
OTHERS = {
    "dist_net": [
        DISTANCES | dict(depth=2),
        DISTANCES | dict(depth=3, rho=0.3),
        DISTANCES | dict(depth=3, hidden=4),
    ],
    "edm_unet": [dict(width=8)],
    "lenet": [dict(image_shape=(16, 16, 1))],
    "lip_convnet": [
        CONVOLUTIONS | dict(blocks=2),
        CONVOLUTIONS | dict(conv="sll", head="lln", blocks=3),
    ],
    "lipnext": [dict(width=8, depth=2, patch=2)],
    "resnet": [PIXELS | dict(depth=14)],
    "resnet18": [PIXELS | dict(stages=(1,))],
    "resnet50": [PIXELS | dict(stages=(1, 2))],
    "small_cnn": [PIXELS],
    "wide_resnet": [PIXELS | dict(depth=10, widen=2)],
}
"""What differs in a network that cannot be as SMALL says, or is tested in several forms."""
CASES = [(name, i) for name in NAMES for i in range(len(OTHERS.get(name, [{}])))]


def tiny(name, i):
    """The settings of a tiny network of a file, and the network."""
    make, other = MODULES[name].make, OTHERS.get(name, [{}])[i]
    parameters = inspect.signature(make).parameters
    settings = {key: v for key, v in SMALL.items() if key in parameters} | other
    try:
        return settings, make(**settings)
    except (InputError, TypeError) as error:
        pytest.fail(
            f"give OTHERS what a tiny {name} needs in place of {settings}: {error}"
        )


def test_there_are_networks():
    assert {"dist_net", "lip_convnet", "resnet"} <= set(NAMES)
    assert set(OTHERS) <= set(NAMES)


@pytest.fixture(params=CASES, ids=lambda case: f"{case[0]}-{case[1]}", scope="module")
def made(request):
    """(settings, model, params, state) in float32; parameters a little off their start,
    where some blocks are the identity."""
    settings, model = tiny(*request.param)
    params, state = jax.jit(model.init)(jax.random.key(0))
    draw = np.random.default_rng(0)
    moved = jax.tree.map(
        lambda p: np.float32(p + 0.1 * draw.normal(size=p.shape)), params
    )
    return settings, model, moved, state


def images(model, count, dtype=np.float32):
    draw = np.random.default_rng(1)
    return draw.uniform(size=(count, *model.image_shape)).astype(dtype)


def inputs(model, count, dtype=np.float32):
    """What a call takes besides parameters, state and images."""
    return {} if model.unconditional is None else dict(sigma=np.ones(count, dtype))


def structure(tree):
    return jax.tree.map(lambda a: (a.shape, a.dtype), tree)


def test_facts_are_those_of_its_arguments(made):
    settings, model, params, state = made
    assert model.image_shape == settings["image_shape"]
    assert model.num_classes == settings["num_classes"]
    assert model.norm in (None, "l2", "linf")
    for function in (model.lipschitz, model.lipschitz_bound):
        assert (function is None) == (model.norm is None)
    assert model.unconditional in (None, True, False)
    assert isinstance(params, dict) and isinstance(state, dict)
    for leaf in jax.tree.leaves((params, state)):
        assert leaf.dtype == np.float32


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_evaluation_is_in_the_type_of_the_images_and_hands_back_the_given_state(
    made, dtype
):
    _, model, params, state = made

    def evaluate(params, state, x, inputs):
        for given in (state, model.prepare(params, state)):
            out, after = model.apply(params, given, x, **inputs)
            assert after is given
            if model.norm:
                pairwise, after = model.lipschitz(params, given)
                assert after is given
                assert pairwise.shape == (model.num_classes,) * 2
        return out

    with jax.enable_x64(dtype == np.float64):
        x = images(model, 5, dtype)
        out = jax.eval_shape(evaluate, params, state, x, inputs(model, 5, dtype))
    denoised = model.unconditional is not None
    assert out.shape == (x.shape if denoised else (5, model.num_classes))
    assert out.dtype == dtype


def test_training_keeps_the_structure_of_the_state(made):
    _, model, params, state = made

    def train(params, state, x, inputs, key):
        _, after = model.apply(params, state, x, train=True, key=key, **inputs)
        if model.norm:
            pairwise, after = model.lipschitz(params, after, train=True)
            assert pairwise.shape == (model.num_classes,) * 2
        return after

    given = params, state, images(model, 5), inputs(model, 5), jax.random.key(2)
    assert structure(jax.eval_shape(train, *given)) == structure(state)


def test_preparation_adds_to_the_state_and_changes_no_output(made):
    _, model, params, state = made

    @jax.jit
    def both(params, state):
        ready = model.prepare(params, state)
        x, more = images(model, 3), inputs(model, 3)
        outs = [model.apply(params, s, x, **more)[0] for s in (state, ready)]
        return ready, model.prepare(params, ready), outs

    ready, again, outs = both(params, state)
    assert {name: ready[name] for name in state}.keys() == state.keys()
    assert set(ready) - set(state) <= {"prepared"}
    for name in state:
        jax.tree.map(np.testing.assert_array_equal, ready[name], state[name])
    assert structure(again) == structure(ready)
    np.testing.assert_allclose(*outs, rtol=1e-3, atol=1e-3)
    assert np.ptp(outs[0]) > 0


def in_float64(model, params, state):
    params, state = jax.tree.map(lambda a: np.asarray(a, np.float64), (params, state))
    return params, jax.jit(model.prepare)(params, state)


def test_bound_holds_for_random_pairs_and_for_gradients(made, x64):
    """Of z_i - z_j in the network's norm; a gradient has its dual norm."""
    _, model, params, state = made
    if model.norm is None:
        return
    params, state = in_float64(model, params, state)
    seen = []
    bound = model.lipschitz_bound(params, state, tell=lambda *at: seen.append(at))
    pairwise, classes = bound.pairwise, model.num_classes
    assert pairwise.shape == (classes, classes) and pairwise.dtype == np.float64
    off = ~np.eye(classes, dtype=bool)
    assert np.isfinite(pairwise[off]).all() and (pairwise[off] > 0).all()
    assert np.isfinite(bound.growth) and bound.growth >= 1
    assert all(total == seen[-1][0] for _, total in seen)
    loose = model.lipschitz_bound(params, state, tight=False)
    assert (loose.pairwise[off] >= pairwise[off] * (1 - 1e-9)).all()

    def logits(x):
        return model.apply(params, state, x)[0]

    @jax.jit
    def found(x):
        return logits(x), jax.vmap(jax.jacrev(lambda x: logits(x[None])[0]))(x[:4])

    draw = np.random.default_rng(2)
    x = images(model, 32, np.float64)
    steps = 10.0 ** draw.uniform(-5, 0, (32, 1, 1, 1)) * draw.normal(size=x.shape)
    z, slopes = found(np.concatenate([x, x + steps]))
    z, slopes = np.asarray(z), np.asarray(slopes)
    moved = z[:32] - z[32:]
    moved = np.abs(moved[:, :, None] - moved[:, None])
    steps, order = steps.reshape(32, -1), dict(l2=2, linf=np.inf)[model.norm]
    apart = np.linalg.norm(steps, order, axis=1)[:, None, None]
    assert (moved <= pairwise * apart + 1e-12).all()
    slopes = slopes.reshape(4, classes, -1)
    slopes = slopes[:, :, None] - slopes[:, None]
    dual = dict(l2=2, linf=1)[model.norm]
    slopes = np.linalg.norm(slopes, dual, axis=-1)
    assert (slopes <= pairwise * (1 + 1e-12)).all()
    assert (slopes.max(0)[off] > 0).all()


def test_interval_margins_hold_inside_the_box(made, x64):
    _, model, params, state = made
    if model.interval_margins is None:
        return
    params, state = in_float64(model, params, state)
    draw, label = np.random.default_rng(3), np.arange(6) % model.num_classes

    @jax.jit
    def both(x, inside):
        lower, upper = x - 0.05, x + 0.05
        margins = model.interval_margins(params, state, lower, upper, label)
        return margins, jax.vmap(lambda x: model.apply(params, state, x)[0])(inside)

    x = images(model, 6, np.float64)
    within = x + draw.uniform(-0.05, 0.05, (50, *x.shape))
    corners = x + draw.choice([-0.05, 0.05], (50, *x.shape))
    margins, z = map(np.asarray, both(x, np.concatenate([x[None], within, corners])))
    assert margins.shape == (6, model.num_classes) and margins.dtype == np.float64
    own = np.take_along_axis(z, np.broadcast_to(label[:, None], (101, 6, 1)), 2)
    assert (margins <= (own - z).min(0) + 1e-12).all()
    np.testing.assert_array_equal(margins[np.arange(6), label], 0)


def test_a_module_that_promises_constants_must_have_them():
    from flax import linen as nn

    from jaxcert.nn import adapter

    class Plain(nn.Module):
        def __call__(self, x, train=False):
            return x[:, 0, 0]

    sizes = dict(image_shape=(1, 1, 3), num_classes=3)
    assert adapter.from_linen(Plain(), **sizes).lipschitz is None
    for promise in (dict(norm="l2"), dict(intervals=True)):
        with pytest.raises(TypeError):
            adapter.from_linen(Plain(), **sizes, **promise)


def test_converters_are_found_by_the_name_of_their_network():
    from jaxcert.torch_import import network

    folder = Path(network.__file__).parent
    importable = {name for name in NAMES if (folder / f"{name}.py").is_file()}
    assert {"lip_convnet", "resnet", "resnet18", "wide_resnet"} <= importable
    for name in importable:
        convert = network.converter(name)
        assert convert.__module__ == f"jaxcert.torch_import.{name}"
    for none in (*(set(NAMES) - importable), "state_dict", "_parts", "", "../resnet"):
        with pytest.raises(InputError, match=re.escape(repr(none))):
            network.converter(none)
