"""CAT-RS: confidence-aware training.

Jeong, Kim and Shin, Confidence-aware Training of Smoothed Classifiers for Certified
Robustness (2023, arXiv:2212.09000).

    w     = share of the m noisy copies predicted as y; with the confidence mask pb_y
    K     = max(1, Binomial(m, w) draw)
    low   = (1/m) sum of the K smallest of CE(f(x + delta_i), y), i = 1..m
    high  = max_i KL(pb || softmax f(x + delta'_i)) where K = m, else 0
    loss  = mean_b (low + lbd high)

pb are the class probabilities under noise by a first model, trained with Gaussian noise
at 0.25 and the same for every sigma. delta' ascends (1/m) sum_i KL(pb || softmax f(x +
delta_i)) in T steps from delta, in inference mode:

    delta' <- P(delta' + (2 eps / T) g / (|g| + 1e-8)),    P: into the ball around delta
    delta' <- (delta' - mean delta') rms(delta) / rms(delta') + mean delta

| paper | here |
|---|---|
| lambda, epsilon, T | lbd, eps (pixels), steps |
| pb | soft_labels [N,K]; of a generated image its label |

The sum of the K smallest is divided by m and not by K, as in the authors' code. Where we
differ: their soft labels are of images cropped and flipped once at random, ours of the
images themselves.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from jaxcert.errors import InputError, above, at_least, whole_from
from jaxcert.interfaces import Array, Method, Model, PyTree, Run
from jaxcert.methods._smoothing import (
    add_noise,
    along,
    draw_noise,
    first_votes,
    frozen,
    in_ball,
    l2,
    repeat,
)


def make(
    model: Model,
    run: Run,
    *,
    sigma: float,
    soft_labels: str,
    m: int = 4,
    lbd: float = 0.5,
    eps: float = 1.0,
    steps: int = 4,
    confidence_mask: bool = False,
    double_eps_epoch: int = 0,
) -> Method:
    """sigma and eps in pixels of [0, 1]; eps is doubled from double_eps_epoch on (0:
    never).

    soft_labels: record of PREDICT on all training images, by custom in the workdir of the
    first model, read when training begins; or "labels" for one-hot ones, to try the method
    without a first model. Raises InputError.
    """
    above(0, of="method", sigma=sigma, eps=eps)
    at_least(0, of="method", lbd=lbd)
    whole_from(1, of="method", m=m, steps=steps)
    whole_from(0, of="method", double_eps_epoch=double_eps_epoch)
    if not soft_labels:
        raise InputError(
            "method.soft_labels names no record of a first model: give its file, or "
            "'labels' to try the method without."
        )
    doubles_at = double_eps_epoch * run.steps_per_epoch or math.inf

    def init_extra():
        if soft_labels == "labels":
            return ()
        share, _ = first_votes(soft_labels, run.data_size, model.num_classes)
        return {"soft_labels": jnp.float32(share)}

    def loss(params, state, extra, batch, key, step, phase):
        image, label, index = batch["image"], batch["label"], batch["index"]
        noise_key, accept_key = jax.random.split(key)
        soft = jax.nn.one_hot(label, model.num_classes)
        if extra:
            soft = jnp.where(index[:, None] >= 0, extra["soft_labels"][index], soft)
        return objective(
            model,
            params,
            state,
            image,
            label,
            soft,
            draw_noise(noise_key, image, sigma, m),
            lambda w: jax.random.bernoulli(accept_key, w, (m, *w.shape)).sum(0),
            lbd=lbd,
            eps=jnp.where(step >= doubles_at, 2 * eps, eps),
            steps=steps,
            confidence_mask=confidence_mask,
        )

    return Method(loss=loss, init_extra=init_extra)


def objective(
    model: Model,
    params: PyTree,
    state: PyTree,
    image: Array,
    label: Array,
    soft: Array,
    noise: Array,
    accept: Callable[[Array], Array],
    *,
    lbd: float,
    eps: Array | float,
    steps: int,
    confidence_mask: bool,
) -> tuple[Array, tuple[PyTree, dict[str, Array]]]:
    """(loss, (state, metrics)) for given noise [m,B,H,W,C] and soft labels [B,K]; accept: w
    [B] -> the draws of Binomial(m, w). Two training passes, of the noise as it is and as
    attacked; the attack, in inference mode, sees the statistics after the first."""
    m = len(noise)
    logits, after = model.apply(params, state, add_noise(image, noise), train=True)
    logits = logits.reshape(m, len(image), -1)
    right = (logits.argmax(-1) == label).astype(soft.dtype)
    own = jnp.take_along_axis(soft, label[:, None], 1)[:, 0]
    kept = jnp.maximum(accept(own if confidence_mask else right.mean(0)), 1)

    each = optax.softmax_cross_entropy_with_integer_labels(
        logits, jnp.broadcast_to(label, (m, len(label)))
    )
    smallest = jnp.arange(m)[:, None] < kept
    low = jnp.where(smallest, jnp.sort(each, 0), 0).sum(0) / m

    moved = attack(model, params, after, image, soft, noise, eps=eps, steps=steps)
    logits, after = model.apply(params, after, add_noise(image, moved), train=True)
    high = jnp.where(kept == m, divergence(logits, soft).max(0), 0)

    loss = (low + lbd * high).mean()
    metrics = {"loss": loss, "accuracy": right.mean(), "confident": (kept == m).mean()}
    return loss, (after, metrics)


def divergence(logits: Array, soft: Array) -> Array:
    """Return KL(soft [B,K] || softmax of logits [m*B,K]) as [m,B]; terms with soft = 0
    are 0."""
    logits = logits.reshape(-1, *soft.shape)
    return optax.losses.kl_divergence(jax.nn.log_softmax(logits), soft)


def attack(
    model: Model,
    params: PyTree,
    state: PyTree,
    image: Array,
    soft: Array,
    noise: Array,
    *,
    eps: Array | float,
    steps: int,
) -> Array:
    """noise [m,B,H,W,C] moved away from the soft labels, of its old mean and size; constant
    for the gradient of the loss."""
    logits_of = frozen(model, params, state)

    def climb(delta):
        return divergence(logits_of(add_noise(image, delta)), soft).sum() / len(noise)

    def mean(x):
        return x.mean((-3, -2, -1), keepdims=True)

    def step(_, delta):
        moved = delta + 2 * eps / steps * along(jax.grad(climb)(delta))
        moved = noise + in_ball(moved - noise, eps)
        scale = l2(noise) / l2(moved)
        return (moved - mean(moved)) * scale + mean(noise)

    return jax.lax.stop_gradient(repeat(step, noise, steps))
