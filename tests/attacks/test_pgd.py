"""PGD: the original's iterates, its ball and its pixels."""

from __future__ import annotations

from functools import partial

import jax
import numpy as np
import pytest
from conftest import close, golden_each

from jaxcert.attacks.pgd import direction, pgd, random_start
from tests.models.test_dist_net import opened, state_of


@pytest.mark.golden("linf")
@golden_each("linf", "net_linf_dist*.npz")
def test_iterates_are_the_originals(x64, file):
    golden, model, params, image, trees = opened(file)
    state = state_of(golden, trees, "eval_buffer_")
    logits = jax.jit(lambda x: model.apply(params, state, x)[0])
    label, eps = golden["targets"], float(golden["eps_test_pixel"])
    names = [name for name in golden if name.startswith("pgd")]
    assert names
    for name in names:  # pgd5_norandom_x_adv
        moved, certain = image, np.ones(len(image), bool)
        for _ in range(int(name.removeprefix("pgd").split("_")[0])):
            certain &= ~cancels(logits, moved, label)
            how = dict(eps=eps, norm="linf", steps=1)
            moved = pgd(logits, image, label, start=moved - image, **how)
        assert certain.mean() > 0.5
        expected = golden[name].transpose(0, 2, 3, 1) * golden["std"] + golden["mean"]
        close(np.asarray(moved)[certain], expected[certain], 1e-7)


def cancels(logits, image, label):
    """[B]: whether the gradient of some pixel is a sum of terms that cancel, as where the
    first layer reads it for all classes: its sign is that of a rounding, or 0."""
    z, pull = jax.vjp(logits, image)
    slope = jax.nn.softmax(z) - jax.nn.one_hot(label, z.shape[1])
    terms = [pull(slope * own)[0] for own in np.eye(z.shape[1])]
    total, size = np.abs(sum(terms)), sum(np.abs(term) for term in terms)
    return ((size > 0) & (total <= 1e-9 * size)).any((1, 2, 3))


def test_stays_in_the_ball_and_in_valid_pixels_and_beats_a_linear_classifier():
    draw = np.random.default_rng(0)
    image = draw.choice([0.0, 0.02, 0.5, 1.0], size=(8, 3, 3, 1)).astype(np.float32)
    weights = draw.normal(size=(9, 2)).astype(np.float32)

    def logits(x):
        return x.reshape(len(x), -1) @ weights

    label = np.asarray(logits(image).argmax(1))
    run = jax.jit(partial(pgd, logits, norm="linf", steps=20))
    for eps in (0.01, 0.1):
        start = draw.uniform(-eps, eps, image.shape).astype(np.float32)
        found = np.asarray(run(image, label, eps=eps, start=start))
        assert np.abs(found - image).max() <= eps * (1 + 1e-5)
        assert found.min() >= 0 and found.max() <= 1
        towards = weights[:, 1 - label].T - weights[:, label].T
        best = np.clip(image + eps * np.sign(towards).reshape(image.shape), 0, 1)
        np.testing.assert_allclose(found, best, atol=1e-6)


def test_direction_in_l2_has_length_1_for_gradients_whose_squares_underflow():
    gradient = np.zeros((3, 2, 2, 1), np.float32)
    gradient[0, 0, :, 0] = 3e-30, 4e-30
    gradient[1] = 1e25
    found = np.asarray(direction(gradient, "l2"))
    np.testing.assert_allclose(found[0, 0, :, 0], [0.6, 0.8], rtol=1e-6)
    np.testing.assert_allclose(found[1], 0.5, rtol=1e-6)
    assert (found[2] == 0).all()  # no gradient, no move


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_random_starts_lie_inside_half_the_ball_and_differ_by_image(norm):
    keys = jax.random.split(jax.random.key(0), 5)
    eps = np.array([0.0, 0.1, 0.2, 0.2, 3.0])
    offset = np.asarray(
        random_start(keys, np.zeros((5, 4, 4, 1), np.float32), eps, norm)
    )
    order = {"linf": np.inf, "l2": 2}[norm]
    length = np.linalg.norm(offset.reshape(5, -1), order, axis=1)
    assert (length <= eps / 2 * (1 + 1e-6)).all() and (length[1:] > 0).all()
    assert not np.allclose(offset[2], offset[3])
