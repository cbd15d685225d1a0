"""Gaussian training against the original step, and its noise."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from conftest import Golden, golden_each
from refusals import names
from smoothing_step import check_gradients, network

from jaxcert.errors import InputError
from jaxcert.interfaces import Model, Run
from jaxcert.methods import _smoothing, gaussian

RUN = Run(steps_per_epoch=1, total_steps=1, data_size=1)


@pytest.mark.golden("smoothing")
@golden_each("smoothing", "loss_gaussian*.npz")
def test_step_is_the_original(x64, file):
    golden = Golden(file)
    x = golden["x"].transpose(0, 2, 3, 1)
    noise = golden["sigma"] * golden["noise_std_normal"].transpose(0, 1, 3, 4, 2)
    assert len(noise) == golden["m"]
    model, params, state = network(golden["x"])

    def step(params):
        return gaussian.objective(model, params, state, x, golden["y"], noise)

    (loss, (after, metrics)), grads = jax.jit(jax.value_and_grad(step, has_aux=True))(
        params
    )
    np.testing.assert_allclose(loss, golden["loss"], rtol=1e-9)
    assert metrics["loss"] == loss
    check_gradients(golden, grads, after)


def _constant_model():
    """Logits are the state, whatever the image; what it saw is its new state."""

    def apply(params, state, x, *, train=False, key=None):
        return params[None] + 0 * x.mean((1, 2)), {"seen": x}

    return Model(lambda key: None, apply, lambda p, s: s, 3, (2, 2, 3))


def test_loss_sees_m_fresh_noisy_copies_noise_major():
    image = np.broadcast_to(np.arange(4)[:, None, None, None], (4, 9, 9, 3))
    batch = dict(image=image.astype(np.float32), label=np.array([0, 1, 2, 0]))
    method = gaussian.make(_constant_model(), RUN, sigma=0.25, m=3)
    params = np.array([0.0, 1.0, 5.0], np.float32)
    draws = []
    for seed in (0, 1):
        loss, (state, metrics) = method.loss(
            params, {}, (), batch, jax.random.key(seed), 0, None
        )
        draws.append(np.asarray(state["seen"]).reshape(3, 4, 9, 9, 3) - image)
    noise = np.concatenate(draws)
    rows = noise.reshape(24, -1)
    correlation = np.corrcoef(rows) - np.eye(24)
    assert np.abs(correlation).max() < 5 / np.sqrt(rows.shape[1])
    assert abs(noise.std() / 0.25 - 1) < 5 / np.sqrt(2 * noise.size)
    np.testing.assert_allclose(metrics["accuracy"], 0.25)
    logsumexp = np.log(np.exp(params).sum())
    np.testing.assert_allclose(loss, logsumexp - (0 + 1 + 5 + 0) / 4, rtol=1e-5)


def test_labels_follow_their_copies():
    image = np.arange(6, dtype=np.float32).reshape(3, 1, 1, 2)
    copies = _smoothing.add_noise(
        image, _smoothing.draw_noise(jax.random.key(0), image, 1e-6, 2)
    )
    label = _smoothing.repeat_labels(np.arange(3), 2)
    np.testing.assert_allclose(copies, image[label], atol=1e-4)


@pytest.mark.parametrize(
    "key,value", [("sigma", 0.0), ("sigma", -1.0), ("m", 0), ("m", 1.5)]
)
def test_noise_that_is_none_is_refused(key, value):
    with pytest.raises(InputError, match=names(f"method.{key}", value)):
        gaussian.make(_constant_model(), RUN, **{"sigma": 1.0, key: value})
