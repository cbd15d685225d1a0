"""SmoothMix: Jeong, Park, Kim, Lee, Kim and Shin, SmoothMix: Training Confidence-calibrated
Smoothed Classifiers for Certified Robustness (2021, arXiv:2111.09277).

    x^(t+1) = clip(x^(t) + alpha d(grad J(x^(t)))),  J = -log (1/m) sum_i s_y(f(. + delta_i))
    x_mix = (1 - lam) x + lam x^(T),    t = (1 - lam) pbar + lam / K,    lam ~ U[0, 1/2]
    min_theta  (1/m) sum_i CE(f(x + delta_i), y)
               + eta 1[argmax pbar = y] (1/m) sum_i KL(t || s(f(x_mix + delta_i)))

| paper | here |
|---|---|
| f (F), theta | model, params |
| s, pbar = (1/m) sum_i s(f(x + delta_i)) | softmax, its mean over copies |
| x, y | image [B,H,W,C], label [B] |
| delta_i, i = 1..m | noise [m,B,H,W,C], the same in attack, copies and mixture |
| lam | uniform / 2, uniform [B] |
| alpha, T | step_size, steps |
| d(g) | `along`: g over its norm + 1e-8, per image |

mix_step > 0: the x of the loss, and of the mixture, is x^(mix_step) within mix_step alpha
of the image ("one-step adversary" at 1). That radius and eta grow over the first
`warmup_epochs`. No ball holds the attack. As in their code the
gradient passes through pbar in t. Two training passes, of x and of x_mix.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from jaxcert.errors import above, at_least, one_of, whole_from
from jaxcert.interfaces import Array, Method, Model, PyTree, Run
from jaxcert.methods._smoothing import (
    add_noise,
    along,
    average_log_softmax,
    draw_noise,
    frozen,
    in_ball,
    repeat,
    repeat_labels,
    smoothed_loss,
    warmup,
)
from jaxcert.methods.cross_entropy import cross_entropy


def make(
    model: Model,
    run: Run,
    *,
    sigma: float,
    m: int = 2,
    steps: int = 4,
    step_size: float = 1.0,
    eta: float = 5.0,
    mix_step: int = 1,
    warmup_epochs: int = 10,
) -> Method:
    """sigma and step_size (l2) in pixels of [0, 1]. Raises InputError."""
    above(0, of="method", sigma=sigma, step_size=step_size)
    at_least(0, of="method", eta=eta)
    whole_from(1, of="method", m=m, steps=steps, warmup_epochs=warmup_epochs)
    one_of(range(steps), of="method", mix_step=mix_step)

    def loss(params, state, extra, batch, key, step, phase):
        image, label = batch["image"], batch["label"]
        for_noise, for_mix = jax.random.split(key)
        return objective(
            model,
            params,
            state,
            image,
            label,
            draw_noise(for_noise, image, sigma, m),
            jax.random.uniform(for_mix, label.shape, image.dtype),
            steps=steps,
            step_size=step_size,
            eta=eta,
            mix_step=mix_step,
            ramp=warmup(step, run, warmup_epochs),
        )

    return Method(loss=loss)


def objective(
    model: Model,
    params: PyTree,
    state: PyTree,
    image: Array,
    label: Array,
    noise: Array,
    uniform: Array,
    *,
    steps: int,
    step_size: float,
    eta: float,
    mix_step: int,
    ramp: Array | float,
) -> tuple[Array, tuple[PyTree, dict[str, Array]]]:
    """(loss, (state, metrics)) for given noise [m,B,H,W,C] and uniform [B] in [0, 1); ramp
    in [0, 1] is the warm-up. Two training passes."""
    m = len(noise)
    start, attacked = attack_image(
        frozen(model, params, state),
        image,
        label,
        noise,
        steps=steps,
        step_size=step_size,
        mix_step=mix_step,
        start_norm=ramp * step_size * mix_step,
    )
    logits, state = model.apply(params, state, add_noise(start, noise), train=True)
    log_mean = average_log_softmax(logits, m)
    correct = log_mean.argmax(-1) == label

    lam = uniform / 2
    share = lam.reshape(-1, 1, 1, 1)
    mixed = (1 - share) * start + share * attacked
    target = log_target(log_mean, lam)
    mixed_logits, state = model.apply(
        params, state, add_noise(mixed, noise), train=True
    )
    copies = jax.nn.log_softmax(mixed_logits).reshape(m, *target.shape)
    kl = optax.losses.kl_divergence_with_log_targets(copies, target)

    labels = repeat_labels(label, m)
    entropy = cross_entropy(logits, labels)
    mix = (correct * kl).mean()
    loss = entropy + eta * ramp * mix
    return loss, (
        state,
        {
            "loss": loss,
            "accuracy": (logits.argmax(-1) == labels).mean(dtype=jnp.float32),
            "cross_entropy": entropy,
            "mix": mix,
        },
    )


def log_target(log_mean: Array, lam: Array) -> Array:
    """log((1 - lam) pbar + lam / K) from log pbar [B,K] and lam [B]; finite where a class
    has no probability and lam is 0."""
    lam = lam[:, None]
    return jnp.logaddexp(
        jnp.log1p(-lam) + log_mean, jnp.log(lam) - jnp.log(log_mean.shape[-1])
    )


def attack_image(
    logits: Callable[[Array], Array],
    image: Array,
    label: Array,
    noise: Array,
    *,
    steps: int,
    step_size: float,
    mix_step: int,
    start_norm: Array | float,
) -> tuple[Array, Array]:
    """(x^(mix_step) within start_norm of the image, x^(T)), both [B,H,W,C] in [0, 1] and
    without a gradient. logits: image -> [B,K]."""

    def loss(moved):
        return smoothed_loss(logits(add_noise(moved, noise)), label).sum()

    def step(t, carry):
        start, moved = carry
        start = jnp.where(t == mix_step, moved, start)
        moved = moved + step_size * along(jax.grad(loss)(moved))
        return start, jnp.clip(moved, 0, 1)

    start, moved = repeat(step, (image, image), steps)
    start = jnp.clip(image + in_ball(start - image, start_norm), 0, 1)
    return jax.lax.stop_gradient((start, moved))
