"""Optimizers on the orthogonal group, and a run that has one."""

from __future__ import annotations

import json
import math
import re
from contextlib import nullcontext

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.linalg

from jaxcert import config as configs
from jaxcert.errors import InputError
from jaxcert.interfaces import Run
from jaxcert.training import loop, manifold, optim

N = 6
TIMES = ("images_per_s", "seconds", "cpu_seconds")
"""Columns of metrics.jsonl that differ between two runs."""


def rotations(*shape, seed=0):
    draw = np.random.default_rng(seed).normal(size=(*shape, N, N))
    return np.linalg.qr(draw)[0]


def skew(norm, *shape, seed=1):
    """Of this Frobenius norm."""
    a = np.random.default_rng(seed).normal(size=(*shape, N, N))
    a = a - a.swapaxes(-1, -2)
    return norm * a / np.linalg.norm(a, axis=(-2, -1), keepdims=True)


def random(*shape, seed=2):
    return np.random.default_rng(seed).normal(size=shape)


def nearest(x):
    """The polar factor."""
    u, _, v = np.linalg.svd(x)
    return u @ v


def tree(x, other=(3.0, -1.0)):
    return {"orthogonal": {"kernel": jnp.asarray(x)}, "bias": jnp.asarray(other)}


def matrix(params):
    return np.asarray(params["orthogonal"]["kernel"])


def steps_of(tx, params, grads):
    """(params, state of the optimizer) after each step."""
    state, update = tx.init(params), jax.jit(tx.update)
    for g in grads:
        updates, state = update(g, state, params)
        params = optax.apply_updates(params, updates)
        yield params, state


def last(*arguments):
    return list(steps_of(*arguments))[-1]


def state_of(opt_state):
    leaves = jax.tree.leaves(opt_state, is_leaf=lambda s: isinstance(s, manifold.State))
    (found,) = (leaf for leaf in leaves if isinstance(leaf, manifold.State))
    return found


# mathematics


def test_skew_gradient_is_the_slope_along_every_curve_in_the_group(x64):
    x, target = rotations(2), random(2, N, N)

    def loss(x):
        return jnp.sum(jnp.sin(x) * target)

    a = np.asarray(
        manifold.skew_gradient(jnp.asarray(x), jax.grad(loss)(jnp.asarray(x)))
    )
    np.testing.assert_array_equal(a, -a.swapaxes(1, 2))
    direction, h = skew(1.0, 2), 1e-6
    ends = [loss(x @ scipy.linalg.expm(t * direction)) for t in (h, -h)]
    slope = (ends[0] - ends[1]) / (2 * h)
    np.testing.assert_allclose((a * direction).sum(), slope, rtol=1e-7)


@pytest.mark.parametrize(
    "norm, order", [(0.0499, 2), (0.0501, 3), (0.249, 3), (0.251, 4), (0.999, 4)]
)
def test_fast_exponential_is_the_series_to_the_order_of_its_norm(x64, norm, order):
    a = np.stack([skew(norm), skew(norm / 9)])  # the largest decides
    found = np.asarray(jax.jit(manifold.fast_exp_minus_one)(a))
    powers = [
        np.linalg.matrix_power(a, n) / math.factorial(n) for n in range(order + 2)
    ]
    np.testing.assert_allclose(
        found, sum(powers[1 : order + 1]), atol=1e-16, rtol=1e-12
    )
    error = np.abs(found + np.eye(N) - scipy.linalg.expm(a)).max()
    assert 0 < error < norm ** (order + 1) / math.factorial(order + 1)


@pytest.mark.parametrize("norm", [1.0, 3.0, 40.0])
def test_fast_exponential_of_long_steps_is_the_exponential(x64, norm):
    a = np.stack([skew(norm), skew(norm / 1000)])
    found = np.asarray(jax.jit(manifold.fast_exp_minus_one)(a))
    exact = scipy.linalg.expm(a) - np.eye(N)
    np.testing.assert_allclose(found, exact, atol=1e-11 * norm)


def test_exponential_of_what_is_not_finite_is_not_finite():
    for bad in (np.nan, np.inf):
        a = np.zeros((N, N), np.float32)
        a[0, 1], a[1, 0] = bad, -bad
        assert not np.isfinite(jax.jit(manifold.fast_exp_minus_one)(a)).all()


def test_retraction_is_the_nearest_orthogonal_matrix(x64):
    x = rotations(3) + 0.02 * random(3, N, N)
    before = np.linalg.norm(x.swapaxes(1, 2) @ x - np.eye(N), axis=(1, 2))
    np.testing.assert_allclose(manifold.drift(jnp.asarray(x)), before.max())
    assert before.max() > 0.1
    np.testing.assert_allclose(
        manifold.retracted(jnp.asarray(x)), nearest(x), atol=1e-12
    )


# the transformation


def sgd(rate, **more):
    return manifold.on_group(optax.sgd(rate), **dict(epoch=1000) | more)


def test_a_step_without_moments_is_the_projected_euclidean_one_to_second_order(x64):
    """polar(X - rate P(G)), with P(G) = X A the gradient in the tangent space: half the rate
    leaves an eighth of the difference."""
    x, g = rotations(), random(N, N)
    errors = []
    for rate in (0.008, 0.004):
        moved, _ = last(sgd(rate), tree(x), [tree(g)])
        a = (x.T @ g - g.T @ x) / 2
        assert np.linalg.norm(rate * a) < 0.05  # one branch
        errors.append(np.abs(matrix(moved) - nearest(x - rate * x @ a)).max())
        np.testing.assert_allclose(moved["bias"], np.array([3.0, -1.0]) * (1 - rate))
    assert 7 < errors[0] / errors[1] < 9
    assert errors[0] > 1e-9


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw", "nadam"])
def test_steps_of_every_optimizer_stay_on_the_group(name):
    """In float32, with short and with long steps."""
    x = rotations(2).astype(np.float32)
    for lr, most in ((1e-3, 1e-5), (0.02, 1e-3)):
        tx = optim.make(
            Run(1000, 1000, 100),
            name=name,
            lr=lr,
            weight_decay=0.1,
            schedule="constant",
            orthogonal=True,
        )
        grads = [tree(random(2, N, N, seed=i).astype(np.float32)) for i in range(40)]
        moved, state = last(tx, tree(x.copy()), grads)
        assert np.abs(matrix(moved) - x).max() > lr
        assert manifold.drift(jnp.asarray(matrix(moved))) < most
        assert not state_of(state).early
    skews = [m for m in jax.tree.leaves(state) if jnp.shape(m) == (2, N, N)]
    assert skews
    for m in skews:  # a first moment is skew and a second one symmetric, bit by bit
        m, turned = np.asarray(m), np.asarray(m).swapaxes(1, 2)
        assert np.array_equal(m, -turned) or np.array_equal(m, turned)


def test_adam_in_the_algebra_is_adam_of_the_skew_gradient(x64):
    x, lr = rotations(), 0.01
    m = v = np.zeros((N, N))
    tx = optim.make(
        Run(1000, 1000, 100), name="adam", lr=lr, schedule="constant", orthogonal=True
    )
    params = tree(x)
    grads = [tree(random(N, N, seed=i)) for i in range(3)]
    for t, ((found, _), g) in enumerate(
        zip(steps_of(tx, params, grads), grads, strict=True), 1
    ):
        g = matrix(g)
        a = (x.T @ g - g.T @ x) / 2
        m, v = 0.9 * m + 0.1 * a, 0.999 * v + 0.001 * a * a
        step = -lr * m / (1 - 0.9**t) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
        size = np.linalg.norm(step)
        x = x @ scipy.linalg.expm(step)
        np.testing.assert_allclose(matrix(found), x, atol=t * size**4)
        x = matrix(found)


def test_an_epoch_ends_on_the_group():
    x = (rotations(2) + 1e-4 * random(2, N, N)).astype(np.float32)
    zeros = [tree(np.zeros_like(x))] * 5
    for i, (params, state) in enumerate(
        steps_of(sgd(0.1, epoch=4), tree(x.copy()), zeros)
    ):
        found = state_of(state)
        assert found.count == i + 1 and not found.early
        if i < 3:
            np.testing.assert_array_equal(matrix(params), x)
            assert found.drift == 0
        else:
            np.testing.assert_allclose(matrix(params), nearest(x), atol=5e-7)
            np.testing.assert_allclose(found.drift, manifold.drift(x), rtol=1e-3)


def test_drift_above_the_limit_is_retracted_within_an_epoch():
    x = (rotations(2) + 0.01 * random(2, N, N)).astype(np.float32)
    assert manifold.LIMIT < manifold.drift(x) < 0.2
    zeros = [tree(np.zeros_like(x))] * (manifold.MEASURED + 1)
    seen = list(steps_of(sgd(0.1), tree(x.copy()), zeros))
    far = [bool(state_of(state).early) for _, state in seen]
    assert far == [False] * (manifold.MEASURED - 1) + [True, False]
    np.testing.assert_array_equal(matrix(seen[-3][0]), x)
    np.testing.assert_allclose(matrix(seen[-1][0]), nearest(x), atol=5e-7)
    told = manifold.metrics(seen[-2][1])
    assert float(told["early"]) == 1 and float(told["drift"]) > manifold.LIMIT
    assert manifold.metrics(optax.adam(0.1).init(tree(x))) == {}


def test_drift_above_the_limit_is_told_where_an_epoch_ends():
    x = (rotations(2) + 0.01 * random(2, N, N)).astype(np.float32)
    zeros = [tree(np.zeros_like(x))] * 8
    seen = list(steps_of(sgd(0.1, epoch=4), tree(x.copy()), zeros))
    far = [bool(state_of(state).early) for _, state in seen]
    assert far == [False] * 3 + [True] + [False] * 4
    np.testing.assert_allclose(matrix(seen[3][0]), nearest(x), atol=5e-7)


def test_a_start_that_is_far_from_orthogonal_is_refused():
    x = rotations(2).astype(np.float32)
    manifold.check_start(tree(x))
    manifold.check_start({"kernel": 3 * x})  # nothing says that it is orthogonal
    for bad in (1.02 * x, 3 * x, x * [[[1.0]], [[np.nan]]]):
        with pytest.raises(
            InputError, match=r"start at a distance .*initializers\.orth"
        ):
            manifold.check_start(tree(bad.astype(np.float32)))


def test_lookahead_takes_half_of_the_way_in_the_algebra(x64):
    """Steps that commute: the same gradient in the algebra each time."""
    x, a, rate = rotations(), skew(1.0), 0.01

    def gradient(x):  # of which the skew part is A
        return tree(x @ a, (0.0, 0.0))

    def at(t):
        return x @ scipy.linalg.expm(-t * rate * a)

    tx = sgd(rate, lookahead=3, epoch=8)
    params, state, update = tree(x), None, jax.jit(tx.update)
    state, places = tx.init(params), []
    for _ in range(9):
        updates, state = update(gradient(matrix(params)), state, params)
        params = optax.apply_updates(params, updates)
        places.append(matrix(params))
    # after 3 and 6 steps, at the end of the epoch, and one further
    expected = [1, 2, 1.5, 2.5, 3.5, 3, 4, 4, 4.5]
    for place, t in zip(places, expected, strict=True):
        np.testing.assert_allclose(place, at(t), atol=1e-5)
    assert np.abs(at(1) - at(1.5)).max() > 1e-3


def test_lookahead_of_other_parameters_is_the_one_they_always_had():
    grads = [tree(np.zeros((N, N)), random(2, seed=i)) for i in range(7)]
    how = dict(name="adam", lr=0.1, lookahead=True, lookahead_steps=3)
    run = Run(5, 10, 100)
    ours, _ = last(optim.make(run, **how, orthogonal=True), tree(rotations()), grads)
    alone = [{"bias": g["bias"]} for g in grads]
    theirs, _ = last(optim.make(run, **how), {"bias": jnp.array([3.0, -1.0])}, alone)
    np.testing.assert_allclose(ours["bias"], theirs["bias"], rtol=1e-6)
    np.testing.assert_allclose(matrix(ours), rotations(), atol=1e-6)


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
def test_orthogonal_parameters_never_decay(name):
    x = rotations().astype(np.float32)
    tx = optim.make(
        Run(100, 100, 100), name=name, lr=0.1, weight_decay=0.5, orthogonal=True
    )
    moved, _ = last(tx, tree(x.copy()), [tree(np.zeros_like(x), (0.0, 0.0))] * 3)
    np.testing.assert_array_equal(matrix(moved), x)
    assert (np.abs(moved["bias"]) < [2.99, 0.99]).all()


def test_a_factor_on_the_rate_keeps_matrices_on_the_group(x64):
    x, g = rotations(), random(N, N)
    how = dict(name="sgd", momentum=0.0, schedule="constant", orthogonal=True)
    run = Run(100, 100, 100)
    slow = optim.make(run, **how, lr=0.1, factors={"orthogonal": 0.5})
    fast = optim.make(run, **how, lr=0.05)
    params = [last(tx, tree(x), [tree(g)])[0] for tx in (slow, fast)]
    np.testing.assert_allclose(*map(matrix, params), atol=1e-14)
    assert manifold.drift(jnp.asarray(matrix(params[0]))) < 1e-4
    assert not np.allclose(params[0]["bias"], params[1]["bias"])


def test_a_gradient_is_clipped_by_its_norm_in_the_algebra(x64):
    """What is normal to the group does not move a matrix and does not count."""
    x, bias = rotations(), (0.4, 0.0)
    how = dict(name="sgd", momentum=0.0, schedule="constant", lr=0.1, orthogonal=True)
    run = Run(100, 100, 100)
    g = tree(x @ (skew(0.3) + 100 * np.eye(N)), bias)  # of norm 0.5 in all
    shorter = tree(x @ skew(0.15), np.divide(bias, 2))
    for most, same in ((1.0, g), (0.25, shorter)):
        clipped, _ = last(optim.make(run, **how, clip_norm=most), tree(x), [g])
        expected, _ = last(optim.make(run, **how), tree(x), [same])
        np.testing.assert_allclose(clipped["bias"], expected["bias"], atol=1e-7)
        np.testing.assert_allclose(matrix(clipped), matrix(expected), atol=1e-7)


def test_steps_that_are_far_too_long_stay_on_the_group():
    x = rotations(2).astype(np.float32)
    grads = [tree(random(2, N, N, seed=i).astype(np.float32)) for i in range(20)]
    moved, _ = last(sgd(30.0, epoch=5), tree(x.copy()), grads)
    assert manifold.drift(jnp.asarray(matrix(moved))) < 1e-5


def test_accumulation_is_the_large_batch(x64):
    x, grads = rotations(), [tree(random(N, N, seed=i)) for i in range(4)]
    small = optim.make(Run(4, 8, 100), accumulate=2, orthogonal=True)
    large = optim.make(Run(2, 4, 100), orthogonal=True)
    mean = [
        jax.tree.map(lambda a, b: (a + b) / 2, *grads[i : i + 2])
        for i in range(0, 4, 2)
    ]
    ours, theirs = last(small, tree(x), grads)[0], last(large, tree(x), mean)[0]
    np.testing.assert_allclose(matrix(ours), matrix(theirs), atol=1e-12)


def test_a_gradient_that_is_not_finite_reaches_the_parameters():
    """Where the loop looks for it."""
    x, g = rotations().astype(np.float32), np.zeros((N, N), np.float32)
    for bad in (np.nan, np.inf):
        g[0, 1] = bad
        tx = optim.make(Run(1, 1, 1), name="adam", orthogonal=True)
        moved, _ = last(tx, tree(x), [tree(g)])
        assert not np.isfinite(matrix(moved)).all()


@pytest.mark.parametrize("shape", [(3,), (2, 4, 5)])
def test_a_parameter_that_is_labelled_and_not_square_is_refused(shape):
    params = {"block": {"orthogonal": {"kernel": jnp.zeros(shape)}}}
    with pytest.raises(InputError, match=f"'orthogonal' .*{re.escape(str(shape))}"):
        manifold.has_orthogonal(params)
    assert not manifold.has_orthogonal({"orthogonal_like": jnp.zeros(shape)})


# a run


def config(**optimizer):
    config = configs.tiny(configs.load("lipnext/digits"))
    config.model.depth = 1
    config.data.update(epochs=3, epoch_images=48, batch=8)
    config.optim.update(lookahead=True, lookahead_steps=4, **optimizer)
    config.checkpoint.every_epochs = 1
    config.certify.after_training = False
    config.log.every_steps = 2
    return config


def bytes_of(state):
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(state)]


def told(workdir):
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(x).items() if k not in TIMES} for x in lines]


def test_an_interrupted_run_ends_bit_for_bit_as_a_whole_one(tmp_path, monkeypatch):
    whole = loop.train(config(), tmp_path / "whole")
    assert manifold.drift(whole.params["blocks"]["orthogonal"]["kernel"]) < 1e-5
    calls = iter(range(100))

    def stops():  # within the second epoch, between two synchronisations
        return next(calls) == 8

    monkeypatch.setattr(loop, "_interruptible", lambda: nullcontext(stops))
    with pytest.raises(KeyboardInterrupt):
        loop.train(config(), tmp_path / "parts")
    monkeypatch.undo()
    parts = loop.train(config(), tmp_path / "parts")
    assert bytes_of(parts) == bytes_of(whole)
    assert told(tmp_path / "parts")[-1] == told(tmp_path / "whole")[-1]
    assert all(
        line["early"] == 0 and line["drift"] < 1e-4 for line in told(tmp_path / "whole")
    )


def test_a_run_says_that_matrices_drifted_too_far(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(manifold, "LIMIT", 1e-9)
    monkeypatch.setattr(manifold, "MEASURED", 2)
    with pytest.raises(
        InputError, match="start at a distance of .*, which may be 1e-09"
    ):
        loop.train(config(), tmp_path / "refused")
    monkeypatch.setattr(manifold, "check_start", lambda params: None)
    jax.clear_caches()  # which have both numbers
    loop.train(config(), tmp_path)
    said = capsys.readouterr().err
    assert len(re.findall(r"\bdrifted\b.* 1e-09\b.*\boptim\.lr\b", said)) == 1
    assert any(line["early"] > 0 for line in told(tmp_path))
