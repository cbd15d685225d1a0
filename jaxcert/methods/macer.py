"""MACER: maximizing the certified radius without attacks.

Zhai, Dan, He, Zhang, Gong, Ravikumar, Hsieh and Wang, MACER: Attack-free and Scalable
Robust Training via Maximizing Certified Radius (2020, arXiv:2001.02378).

    s_c   = mean_i softmax(f(x + delta_i))_c,         delta_i ~ N(0, sigma^2 I), i = 1..m
    p_c   = mean_i softmax(beta f(x + delta_i))_c,    p_(1), p_(2) the two largest
    xi    = Phi^-1(p_(2)) - Phi^-1(p_(1))             (minus the radius times 2 / sigma)
    loss  = mean_b [ -log(s_y + 1e-10) + lbd sigma/2 (xi + gamma) k_b ]
    k_b   = 1 where p has its maximum at y, xi is finite and |xi| <= gamma

In float32 p_(1) is often exactly 1 and xi infinite: such an image has no robustness term,
which is part of the method. Hence Phi^-1(p) = sqrt(2) erfinv(2p - 1), which is infinite
for a tiny p as well. Where we differ: the copies are one batch noise by noise and not image
by image, which changes no number but the order of sums.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from jaxcert.errors import above, at_least, whole_from
from jaxcert.interfaces import Array, Method, Model, PyTree, Run
from jaxcert.methods._smoothing import add_noise, draw_noise


def make(
    model: Model,
    run: Run,
    *,
    sigma: float,
    m: int = 16,
    lbd: float = 12.0,
    beta: float = 16.0,
    gamma: float = 8.0,
    start_epoch: int = 0,
) -> Method:
    """sigma in pixels of [0, 1]; lbd counts as 0 before start_epoch. Raises InputError."""
    above(0, of="method", sigma=sigma, beta=beta, gamma=gamma)
    at_least(0, of="method", lbd=lbd)
    whole_from(1, of="method", m=m)
    whole_from(0, of="method", start_epoch=start_epoch)

    def loss(params, state, extra, batch, key, step, phase):
        image, label = batch["image"], batch["label"]
        return objective(
            model,
            params,
            state,
            image,
            label,
            draw_noise(key, image, sigma, m),
            sigma=sigma,
            lbd=jnp.where(step >= start_epoch * run.steps_per_epoch, lbd, 0.0),
            beta=beta,
            gamma=gamma,
        )

    return Method(loss=loss)


def objective(
    model: Model,
    params: PyTree,
    state: PyTree,
    image: Array,
    label: Array,
    noise: Array,
    *,
    lbd: Array | float,
    **options: float,
) -> tuple[Array, tuple[PyTree, dict[str, Array]]]:
    """(loss, (state, metrics)) for given noise [m,B,H,W,C]; one training pass.

    options: sigma, beta, gamma."""
    logits, state = model.apply(params, state, add_noise(image, noise), train=True)
    logits = logits.reshape(len(noise), len(image), -1)
    classification, robustness = terms(logits, label, **options)
    loss = classification + lbd * robustness
    metrics = {
        "loss": loss,
        "accuracy": (logits.argmax(-1) == label).mean(),
        "robustness": robustness,
    }
    return loss, (state, metrics)


def terms(
    logits: Array, label: Array, *, sigma: float, beta: float, gamma: float
) -> tuple[Array, Array]:
    """(classification, robustness) of logits [m,B,K]: the two means of the equation."""
    s = jax.nn.softmax(logits).mean(0)
    own = jnp.take_along_axis(s, label[:, None], 1)[:, 0]
    p = jax.nn.softmax(beta * logits).mean(0)
    (first, second), top = (a.T for a in jax.lax.top_k(p, 2))
    xi = _quantile(second) - _quantile(first)
    keep = (top[0] == label) & jnp.isfinite(xi) & (jnp.abs(xi) <= gamma)
    # again, from harmless values where the image is dropped: 0 * inf is no gradient
    first, second = jnp.where(keep, first, 0.75), jnp.where(keep, second, 0.25)
    xi = _quantile(second) - _quantile(first)
    hinge = jnp.where(keep, sigma / 2 * (xi + gamma), 0)
    return -jnp.log(own + 1e-10).mean(), hinge.mean()


def _quantile(p: Array) -> Array:
    """Phi^-1(p)"""
    return math.sqrt(2) * jax.lax.erf_inv(2 * p - 1)
