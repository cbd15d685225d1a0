"""A classifier for denoised smoothing, trained on what a denoiser makes of noisy images.

    min_theta  E CE(f_theta(clip(h(x + delta, sigma))), y),   delta ~ N(0, sigma^2 I)

| symbol | here |
|---|---|
| f, theta | model, params |
| h | networks.denoiser, an EDM, asked without a class |
| x, y | image [B,H,W,C], label [B] |

Carlini et al. (2023) fine-tune their classifiers on denoised images: with config.init the
training starts from a classifier's weights. The denoiser stays as it is.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import optax

from jaxcert.diffusion import edm
from jaxcert.errors import InputError, above
from jaxcert.interfaces import Method, Model, Network, Run


def make(model: Model, run: Run, *, sigma: float, denoiser: Network) -> Method:
    """sigma in pixels of [0, 1]. Raises InputError for a denoiser that is none, or none
    without a class, and for sigma <= 0."""
    above(0, of="method", sigma=sigma)
    if not denoiser.model.unconditional:
        raise InputError(
            "networks.denoiser must be an EDM that denoises without a class: train one with "
            "label_dropout above 0."
        )

    if tuple(denoiser.model.image_shape) != tuple(model.image_shape):
        raise InputError(
            f"networks.denoiser takes images of {tuple(denoiser.model.image_shape)}, the model "
            f"{tuple(model.image_shape)}: name an EDM of the same images."
        )

    def loss(params, state, extra, batch, key, step, phase):
        image = batch["image"]
        noise = sigma * jax.random.normal(key, image.shape, image.dtype)
        denoise = partial(_denoise, *extra["denoiser"])
        clean = jax.lax.stop_gradient(edm.one_step(denoise, image + noise, sigma))
        logits, state = model.apply(params, state, clean, train=True)
        label = batch["label"]
        value = optax.softmax_cross_entropy_with_integer_labels(logits, label).mean()
        accuracy = (logits.argmax(-1) == label).mean(dtype=jnp.float32)
        return value, (state, {"loss": value, "accuracy": accuracy})

    def _denoise(params, state, x, sigma, label):
        return denoiser.model.apply(params, state, x, sigma=sigma, label=label)[0]

    def init_extra():
        return {"denoiser": (denoiser.params, denoiser.state)}

    return Method(loss=loss, init_extra=init_extra)
