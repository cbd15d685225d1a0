"""What a classifier learns from that is fine-tuned on denoised images."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from refusals import names

from jaxcert.errors import InputError
from jaxcert.interfaces import Model, Network, Run
from jaxcert.methods import denoised

SHAPE, SIGMA, SHRINK = (4, 4, 1), 0.25, 0.3
RUN = Run(steps_per_epoch=1, total_steps=1, data_size=8)


def plain(apply, **fields):
    known = dict(init=None, prepare=None, num_classes=3, image_shape=SHAPE)
    return Model(**known | dict(apply=apply, **fields))


def denoiser(seen, **fields):
    """h(x) = c x; the sigma and the label that it is given are kept."""

    def apply(params, state, x, *, sigma, label=None, **more):
        seen.update(x=x, sigma=sigma, label=label)
        return params["c"] * x, state

    model = plain(apply, **dict(unconditional=True) | fields)
    return Network(model, {"c": jnp.float32(SHRINK)}, {})


def judge(seen):
    def apply(params, state, x, *, train=False, key=None):
        assert train
        seen["clean"] = x
        return x.mean((1, 2, 3))[:, None] * params["w"], state

    return plain(apply)


def test_the_classifier_learns_from_images_denoised_once():
    seen = {}
    method = denoised.make(judge(seen), RUN, sigma=SIGMA, denoiser=denoiser(seen))
    image = jax.random.uniform(jax.random.key(0), (8, *SHAPE))
    label = jnp.arange(8) % 3
    params, batch = {"w": jnp.array([1.0, -2.0, 0.5])}, dict(image=image, label=label)

    def value(params, extra):
        return method.loss(params, {}, extra, batch, jax.random.key(1), 0, None)

    loss, (_, metrics) = value(params, method.init_extra())
    # its input is in [-1, 1], where the noise is twice as large, and has no class
    noise = (seen["x"] + 1) / 2 - image
    assert 0.8 < float(noise.std()) / SIGMA < 1.2
    np.testing.assert_array_equal(seen["sigma"], np.full(8, 2 * SIGMA, np.float32))
    assert seen["label"] is None or (np.asarray(seen["label"]) == -1).all()
    clean = (np.clip(SHRINK * seen["x"], -1, 1) + 1) / 2
    np.testing.assert_allclose(seen["clean"], clean, rtol=1e-6)
    logits = np.asarray(clean).mean((1, 2, 3))[:, None] * params["w"]
    expected = (jax.nn.logsumexp(logits, -1) - logits[np.arange(8), label]).mean()
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    assert metrics["accuracy"] == (logits.argmax(-1) == label).mean()

    gradient = jax.grad(lambda p, e: value(p, e)[0], argnums=(0, 1))
    mine, frozen = gradient(params, method.init_extra())
    assert np.abs(mine["w"]).max() > 0 and frozen["denoiser"][0]["c"] == 0


@pytest.mark.parametrize(
    "words, sigma, fields",
    [
        (
            names("networks.denoiser", "label_dropout", 0),
            0.25,
            dict(unconditional=None),
        ),
        (
            names("networks.denoiser", "label_dropout", 0),
            0.25,
            dict(unconditional=False),
        ),
        (
            names("networks.denoiser", "(8, 8, 1)", "(4, 4, 1)"),
            0.25,
            dict(image_shape=(8, 8, 1)),
        ),
        (names("method.sigma", 0.0), 0.0, {}),
    ],
)
def test_what_denoises_nothing_is_refused(words, sigma, fields):
    with pytest.raises(InputError, match=words):
        denoised.make(judge({}), RUN, sigma=sigma, denoiser=denoiser({}, **fields))
