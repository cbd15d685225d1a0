from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from analytic_denoiser import analytic, decide
from refusals import names

from jaxcert.diffusion import classifiers, racing
from jaxcert.errors import InputError

K, TAU = 10, 0.5
APNDC = classifiers.apndc(K, 126, TAU)
NEAR = racing.closest_first(APNDC.levels, 1.3 * TAU)


@functools.cache
def problem(votes=120):
    """Denoiser, images with noise [B,8,8,1], their classes, and the draws of their votes."""
    mu = 0.22 * jax.random.normal(jax.random.key(1), (K, 3, 8, 8, 1))
    denoise = analytic(mu, jnp.log(jnp.full((K, 3), 1 / 3)), 0.15)
    label = jnp.arange(votes) % K
    clean = mu[label, (jnp.arange(votes) // K) % 3]
    noise, own = TAU * jax.random.normal(jax.random.key(2), (2, *clean.shape))
    x = clean + 0.3 * own + noise
    return denoise, x, label, jax.random.split(jax.random.key(3), votes)


def race(x, keys, rule, *, denoise=None, classifier=APNDC, order=NEAR, block=256):
    noise = classifiers.draws(keys, x)
    denoise = denoise or problem()[0]
    run = functools.partial(
        racing.race, denoise, classifier, order=order, rule=rule, block=block
    )
    label, evaluations = jax.jit(lambda x: run(x, noise))(x)
    assert label.dtype == evaluations.dtype == jnp.int32
    return np.asarray(label), np.asarray(evaluations)


@functools.cache
def full():
    denoise, x, _, keys = problem()
    noise = classifiers.draws(keys, x)
    logits = jax.jit(lambda x: classifiers.logits(denoise, APNDC, x, noise))(x)
    return np.asarray(decide(logits))


@pytest.mark.slow
def test_without_elimination_it_is_the_full_classifier():
    _, x, _, keys = problem()
    label, evaluations = race(x[:30], keys[:30], racing.confident(np.inf))
    np.testing.assert_array_equal(label, full()[:30])
    assert (evaluations == 1 + 126 * K).all()


def test_a_vote_takes_tens_of_evaluations_and_is_the_one_of_the_full_classifier():
    _, x, truth, keys = problem()
    accuracy = (full() == truth).mean()
    assert 0.7 < accuracy < 0.98
    label, evaluations = race(x, keys, racing.confident(2.0))
    assert evaluations.mean() <= 62
    assert (label == full()).mean() > 0.95
    assert (label == truth).mean() > accuracy - 0.02


@pytest.mark.slow
def test_a_higher_bar_costs_more_and_three_levels_are_never_saved():
    _, x, _, keys = problem()
    _, evaluations = race(x, keys, racing.confident(2.0))
    label, more = race(x, keys, racing.confident(3.0, min_levels=4))
    assert (more >= evaluations).mean() > 0.95 and more.min() >= 1 + 4 * K
    assert evaluations.min() == 1 + 3 * K
    assert (label == full()).mean() > 0.98


@pytest.mark.parametrize("block", [1, 16])
def test_evaluations_are_what_the_denoiser_was_given(block):
    denoise, x, _, keys = problem()
    rows = []

    def counting(x, sigma, label):
        jax.debug.callback(lambda x: rows.append(len(x)), x)
        return denoise(x, sigma, label)

    rule = racing.confident(1.5)
    _, evaluations = race(x[:3], keys[:3], rule, denoise=counting, block=block)
    jax.effects_barrier()
    assert rows.count(3) == 1  # one-step estimates
    passes = len(rows) - 1
    assert rows.count(block) == passes
    pairs = evaluations.sum() - 3
    if block == 1:
        assert passes == pairs
    else:  # at most one block of a level is not full
        levels = (evaluations.max() - 1) // 2
        assert pairs <= passes * block < pairs + levels * block


def test_a_vote_depends_on_no_other_and_not_on_blocks():
    _, x, _, keys = problem()
    rule = racing.confident(2.0)
    label, evaluations = race(x[:12], keys[:12], rule, block=64)
    for part, block in [(slice(0, 12), 7), (slice(3, 4), 64), (slice(5, 12), 1000)]:
        again = race(x[part], keys[part], rule, block=block)
        np.testing.assert_array_equal(label[part], again[0])
        np.testing.assert_array_equal(evaluations[part], again[1])


@pytest.mark.parametrize("where", ["a class", "no class"])
def test_an_output_that_is_not_finite_is_no_vote(where):
    denoise, x, _, keys = problem()
    x, keys = x[:4].at[2, 0, 0, 0].set(30.0), keys[:4]

    def broken(x, sigma, label):
        of_class = label == 3 if label is not None else False
        hit = of_class if where == "a class" else label is None
        hit = hit & (x[:, 0, 0, 0] > 15)  # the third image alone is that bright
        return jnp.where(hit[:, None, None, None], jnp.nan, denoise(x, sigma, label))

    noisy = classifiers.apndc(K, 10, TAU, noise_from="noisy")
    rule, given = racing.confident(2.0), dict(denoise=broken, classifier=noisy)
    label, evaluations = race(x, keys, rule, order=np.arange(10), **given)
    np.testing.assert_array_equal(label == -1, np.arange(4) == 2)
    assert evaluations[2] == (1 + K if where == "a class" else 1)


def test_a_class_drops_out_by_its_mean_difference_and_standard_error():
    rng = np.random.default_rng(0)
    losses = rng.normal(size=(6, 1, 4)) + [0.0, 0.4, 0.8, 2.0]
    losses[4:] = 0  # not visited
    alive = np.array([[True, True, False, True]])
    seen = losses[:4, 0]
    leader = min((0, 1, 3), key=lambda y: seen[:, y].sum())
    delta = seen - seen[:, [leader]]
    error = delta.std(0, ddof=1) / 2
    for c in (0.5, 1.0, 2.0, 5.0):
        kept = racing.confident(c, 4)(jnp.asarray(losses), 4, jnp.asarray(alive))
        np.testing.assert_array_equal(kept[0], alive[0] & ~(delta.mean(0) > c * error))
        early = racing.confident(c, 5)(jnp.asarray(losses), 4, jnp.asarray(alive))
        np.testing.assert_array_equal(early, alive)


def test_levels_nearest_to_the_center_come_first():
    levels = APNDC.levels.sigma[racing.closest_first(APNDC.levels, 1.0)]
    assert (np.diff(np.abs(np.log(levels))) >= 0).all()
    assert sorted(levels) == sorted(APNDC.levels.sigma)


@pytest.mark.parametrize(
    "make, fault",
    [
        (lambda: racing.confident(-1), names("c", -1)),
        (lambda: racing.confident(float("nan")), names("c", "nan")),
        (lambda: racing.confident(2, 1), names("min_levels", 1)),
        (lambda: racing.closest_first(APNDC.levels, 0.0), names("center", 0.0)),
        (lambda: racing.closest_first(APNDC.levels, np.inf), names("center", "inf")),
    ],
)
def test_impossible_rules_are_one_sentence(make, fault):
    with pytest.raises(InputError, match=fault):
        make()


@pytest.mark.parametrize(
    "change, fault",
    [
        (dict(order=np.arange(0)), names("order", "levels")),
        (dict(order=np.arange(127)), names("order", "levels")),
        (dict(block=0), names("block", 0)),
    ],
)
def test_impossible_races_are_one_sentence(change, fault):
    _, x, _, keys = problem()
    change = dict(rule=racing.confident(2.0)) | change
    with pytest.raises(InputError, match=fault):
        race(x[:2], keys[:2], **change)
