"""Consistency regularization: Jeong and Shin, Consistency Regularization for Certified
Robustness of Smoothed Classifiers (2020, arXiv:2006.04062).

    min_theta  (1/m) sum_i [ CE(f(x + delta_i), y) + lbd KL(pbar || s_i) ] + eta H(pbar),
    s_i = s(f(x + delta_i)),   pbar = (1/m) sum_i s_i,   delta_i ~ N(0, sigma^2 I)

| paper | here |
|---|---|
| f, theta | model, params |
| s, F_i | softmax |
| x, y | image [B,H,W,C], label [B] |
| delta_i, i = 1..m | noise [m,B,H,W,C] |
| lambda, eta | lbd, eta |

The gradient passes through pbar. eps > 0: the image is first moved as SmoothAdv does, by
the attack of their repository, which differs from Salman et al.'s: the gradient is divided
by its norm + 1e-8 (so none gives no step), and the ball comes before the box. eta = lbd is
the cross-entropy form of their ablation and eta = 0 the KL form; form "mse" is its third, lbd
|s_1 - s_2|^2 of the first two copies instead of both terms. Their code gives eps in 1/256.
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
    lbd: float = 10.0,
    eta: float = 0.5,
    eps: float = 0.0,
    steps: int = 10,
    warmup_epochs: int = 10,
    form: str = "kl",
) -> Method:
    """sigma and eps (l2; 0: no attack) in pixels of [0, 1]; form: kl | mse. Raises
    InputError."""
    above(0, of="method", sigma=sigma)
    at_least(0, of="method", lbd=lbd, eta=eta, eps=eps)
    whole_from(2, of="method", m=m)  # copies are compared
    whole_from(1, of="method", steps=steps, warmup_epochs=warmup_epochs)
    one_of(("kl", "mse"), of="method", form=form)

    def loss(params, state, extra, batch, key, step, phase):
        image, label = batch["image"], batch["label"]
        noise = draw_noise(key, image, sigma, m)
        if eps != 0:
            logits = frozen(model, params, state)
            now = eps * warmup(step, run, warmup_epochs)
            image = attack_image(logits, image, label, noise, eps=now, steps=steps)
        return objective(
            model, params, state, image, label, noise, lbd=lbd, eta=eta, form=form
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
    lbd: float,
    eta: float,
    form: str = "kl",
) -> tuple[Array, tuple[PyTree, dict[str, Array]]]:
    """(loss, (state, metrics)) for given noise [m,B,H,W,C] and an image that may have been
    attacked; one training pass."""
    m = len(noise)
    logits, state = model.apply(params, state, add_noise(image, noise), train=True)
    labels = repeat_labels(label, m)
    entropy = cross_entropy(logits, labels)
    if form == "mse":
        consistency = squared_distance(logits, m, lbd=lbd)
    else:
        consistency = regularizer(logits, m, lbd=lbd, eta=eta)
    loss = entropy + consistency
    return loss, (
        state,
        {
            "loss": loss,
            "accuracy": (logits.argmax(-1) == labels).mean(dtype=jnp.float32),
            "cross_entropy": entropy,
            "consistency": consistency,
        },
    )


def regularizer(logits: Array, m: int, *, lbd: float, eta: float) -> Array:
    """Mean over images of lbd (1/m) sum_i KL(pbar || s_i) + eta H(pbar); [m*B,K] -> []."""
    log_mean = average_log_softmax(logits, m)
    copies = jax.nn.log_softmax(logits).reshape(m, *log_mean.shape)
    kl = optax.losses.kl_divergence_with_log_targets(copies, log_mean).mean()
    entropy = -(jnp.exp(log_mean) * log_mean).sum(-1).mean()
    return lbd * kl + eta * entropy


def squared_distance(logits: Array, m: int, *, lbd: float) -> Array:
    """Mean over images of lbd |s_1 - s_2|^2; [m*B,K] -> []."""
    first, second = jax.nn.softmax(logits).reshape(m, -1, logits.shape[-1])[:2]
    return lbd * ((first - second) ** 2).sum(-1).mean()


def attack_image(
    logits: Callable[[Array], Array],
    image: Array,
    label: Array,
    noise: Array,
    *,
    eps: Array | float,
    steps: int,
) -> Array:
    """Images [B,H,W,C] in [0, 1] within eps of the given ones, up to rounding; without a
    gradient. logits: image -> [B,K]; steps of 2 eps / T."""

    def loss(moved):  # a mean, as theirs: the 1e-8 of `along` is relative to it
        return smoothed_loss(logits(add_noise(moved, noise)), label).mean()

    def step(_, moved):
        moved = moved + 2 * eps / steps * along(jax.grad(loss)(moved))
        return jnp.clip(image + in_ball(moved - image, eps), 0, 1)

    return jax.lax.stop_gradient(repeat(step, image, steps))
