"""PGD: the original's iterates, its ball and its pixels; sound certificates survive it."""

from __future__ import annotations

from functools import partial

import jax
import numpy as np
import pytest

from jaxcert.attacks.pgd import pgd
from tests.conftest import close, golden_files
from tests.models.test_dist_net import opened, state_of


@pytest.mark.golden
@pytest.mark.parametrize("file", golden_files("linf", "net_linf_dist*.npz"), ids=str)
def test_iterates_are_the_originals(x64, file):
    golden, model, params, image, trees = opened(file)
    state = state_of(golden, trees, "eval_buffer_")
    logits = jax.jit(lambda x: model.apply(params, state, x)[0])
    names = [name for name in golden if name.startswith("pgd")]
    assert names
    for name in names:  # pgd5_norandom_x_adv
        steps = int(name.removeprefix("pgd").split("_")[0])
        found = pgd(
            logits,
            image,
            golden["targets"],
            eps=float(golden["eps_test_pixel"]),
            steps=steps,
        )
        normalized = (np.asarray(found) - golden["mean"]) / golden["std"]
        close(normalized.transpose(0, 3, 1, 2), golden[name], 1e-7)


def test_stays_in_the_ball_and_in_valid_pixels_and_beats_a_linear_classifier():
    draw = np.random.default_rng(0)
    image = draw.choice([0.0, 0.02, 0.5, 1.0], size=(8, 3, 3, 1)).astype(np.float32)
    weights = draw.normal(size=(9, 2)).astype(np.float32)

    def logits(x):
        return x.reshape(len(x), -1) @ weights

    label = np.asarray(logits(image).argmax(1))
    run = jax.jit(partial(pgd, logits, steps=20))
    for eps in (0.01, 0.1):
        start = draw.uniform(-eps, eps, image.shape).astype(np.float32)
        found = np.asarray(run(image, label, eps=eps, start=start))
        assert np.abs(found - image).max() <= eps * (1 + 1e-5)
        assert found.min() >= 0 and found.max() <= 1
        towards = weights[:, 1 - label].T - weights[:, label].T
        best = np.clip(image + eps * np.sign(towards).reshape(image.shape), 0, 1)
        np.testing.assert_allclose(found, best, atol=1e-6)
