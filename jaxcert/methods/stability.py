"""Stability training: Li, Chen, Wang and Carin, Certified Adversarial Robustness with
Additive Noise (2019, arXiv:1809.03113), the loss of Zheng et al. (2016) with Gaussian noise.

    min_theta  CE(f(x), y) + lbd (1/m) sum_i H(s(f(x)), s(f(x + delta_i))),
    H(p, q) = - sum_c p_c log q_c,     delta_i ~ N(0, sigma^2 I)

| paper | here |
|---|---|
| f, theta | model, params |
| s | softmax |
| x, y | image [B,H,W,C], label [B] |
| delta_i, i = 1..m | noise [m,B,H,W,C] |
| gamma (Li et al.) | lbd |

The labelled image is the clean one, and the gradient passes through both arguments of H.
Two training passes, clean first: BatchNorm never sees both kinds in one batch. The
originals take m = 1.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxcert.errors import above, at_least, whole_from
from jaxcert.interfaces import Array, Method, Model, PyTree, Run
from jaxcert.methods._smoothing import add_noise, draw_noise, repeat_labels
from jaxcert.methods.cross_entropy import cross_entropy


def make(
    model: Model, run: Run, *, sigma: float, lbd: float = 2.0, m: int = 1
) -> Method:
    """sigma: standard deviation in pixels of [0, 1]; lbd weighs the second term. Raises
    InputError."""
    above(0, of="method", sigma=sigma)
    at_least(0, of="method", lbd=lbd)
    whole_from(1, of="method", m=m)

    def loss(params, state, extra, batch, key, step, phase):
        image, label = batch["image"], batch["label"]
        noise = draw_noise(key, image, sigma, m)
        return objective(model, params, state, image, label, noise, lbd=lbd)

    return Method(loss=loss)


def objective(
    model: Model,
    params: PyTree,
    state: PyTree,
    image: Array,
    label: Array,
    noise: Array,
    *,
    lbd: float,
) -> tuple[Array, tuple[PyTree, dict[str, Array]]]:
    """(loss, (state, metrics)) for given noise [m,B,H,W,C]; two training passes. The
    accuracy is that of the noisy copies."""
    m = len(noise)
    clean, state = model.apply(params, state, image, train=True)
    noisy, state = model.apply(params, state, add_noise(image, noise), train=True)
    entropy = cross_entropy(clean, label)
    wanted = jnp.tile(jax.nn.softmax(clean), (m, 1))
    stability = -(wanted * jax.nn.log_softmax(noisy)).sum(-1).mean()
    loss = entropy + lbd * stability
    accuracy = (noisy.argmax(-1) == repeat_labels(label, m)).mean(dtype=jnp.float32)
    return loss, (
        state,
        {
            "loss": loss,
            "accuracy": accuracy,
            "cross_entropy": entropy,
            "stability": stability,
        },
    )
