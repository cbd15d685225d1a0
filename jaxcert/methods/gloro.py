"""GloRo training: the logits are moved by what the Lipschitz constant allows within eps.

K_ji: Lipschitz constant of z_j - z_i in pixels (`Model.lipschitz`); y the label, p the
prediction. Leino, Wang and Fredrikson, "Globally-Robust Neural Networks" (2021,
arXiv:2102.08452):

    z_bot  = max_{i != p} z_i + eps K_pi
    gloro  = CE([z, z_bot], y)                          bot: class K + 1, never a label
    trades = CE(z, y) + lam mean KL(z | [z, z_bot]),    log sum exp [z, z_bot] - of z

Hu, Zou, Wang, Leino and Fredrikson, "Unlocking Deterministic Robustness Certification on
ImageNet" (2023, arXiv:2301.12549), with a radius for every example, d_i = z_i - z_y:

    emma_fixed = CE(z_i + eps K_yi, y)
    emma       = CE(d_i + s_i eps K_yi, y),  s_i = clip(-d_i / (eps K_yi), 0.01, 1)

s has no gradient. eps goes from `first` to `last` times method.eps over the first half of
the epochs and is constant within an epoch.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxcert.errors import InputError, above, at_least, one_of
from jaxcert.interfaces import Array, Method, Model, Run
from jaxcert.methods.cross_entropy import cross_entropy
from jaxcert.ops import margins


def make(
    model: Model,
    run: Run,
    *,
    eps: float = 36 / 255,
    loss: str = "emma_fixed",
    lam: float = 1.0,
    first: float = 0.1,
    last: float = 1.5,
) -> Method:
    """loss: gloro | trades | emma_fixed | emma; lam weighs trades; eps in pixels. Raises
    InputError."""
    losses = {
        "gloro": lambda z, k, y, eps: cross_entropy(with_bottom(z, k, eps=eps), y),
        "trades": lambda z, k, y, eps: trades(z, k, y, eps=eps, lam=lam),
        "emma_fixed": lambda z, k, y, eps: cross_entropy(
            emma_fixed(z, k, y, eps=eps), y
        ),
        "emma": lambda z, k, y, eps: cross_entropy(emma(z, k, y, eps=eps), y),
    }
    one_of(losses, of="method", loss=loss)
    at_least(0, of="method", lam=lam)
    return method_of(model, run, losses[loss], eps=eps, first=first, last=last)


def method_of(
    model: Model, run: Run, objective, *, eps: float, first: float, last: float
) -> Method:
    """Training with objective(logits, pairwise, label, eps). Raises InputError."""
    lipschitz = model.lipschitz
    if lipschitz is None or model.norm != "l2":
        raise InputError(
            "this method needs a network with l2 Lipschitz constants, such as "
            "model.name=liresnet."
        )
    above(0, of="method", eps=eps)
    at_least(0, of="method", first=first)
    at_least(first, of="method", last=last)
    epochs = run.total_steps // run.steps_per_epoch

    def loss(params, state, extra, batch, key, step, phase):
        logits, state = model.apply(params, state, batch["image"], train=True, key=key)
        pairwise, state = lipschitz(params, state, train=True)
        epoch = step // run.steps_per_epoch
        now = margins.training_radius(epoch, epochs, eps=eps, start=first, end=last)
        value = objective(logits, pairwise, batch["label"], now)
        radius = margins.radius(logits, pairwise, batch["label"])
        off = ~jnp.eye(model.num_classes, dtype=bool)
        metrics = {
            "accuracy": (radius > 0).mean(),
            "certified": (radius > eps).mean(),  # by the estimate of the constants
            "lipschitz": jnp.max(pairwise, where=off, initial=0.0),
        }
        return value, (state, metrics)

    return Method(loss=loss, over_the_run="the radius to train for")


def with_bottom(logits: Array, pairwise: Array, *, eps: Array) -> Array:
    """Return [z, z_bot] [B,K+1], where z_bot is the best that another class than the
    prediction can reach."""
    p = logits.argmax(1)
    own = jax.nn.one_hot(p, logits.shape[1], dtype=bool)
    reach = jnp.where(own, -jnp.inf, logits + eps * pairwise[p])
    return jnp.concatenate([logits, reach.max(1, keepdims=True)], 1)


def trades(
    logits: Array, pairwise: Array, label: Array, *, eps: Array, lam: float
) -> Array:
    """CE(z, y) + lam mean KL: the extra class shifts all log-probabilities equally."""
    whole = jax.nn.logsumexp(with_bottom(logits, pairwise, eps=eps), 1)
    return cross_entropy(logits, label) + lam * jnp.mean(
        whole - jax.nn.logsumexp(logits, 1)
    )


def emma_fixed(logits: Array, pairwise: Array, label: Array, *, eps: Array) -> Array:
    """z_i + eps K_yi"""
    return logits + eps * pairwise[label]


def emma(logits: Array, pairwise: Array, label: Array, *, eps: Array) -> Array:
    """d_i + s_i eps K_yi"""
    d = logits - jnp.take_along_axis(logits, label[:, None], 1)
    shift = eps * pairwise[label]
    share = jnp.clip(-d / jnp.maximum(shift, 1e-8), 0.01, 1.0)
    return d + jax.lax.stop_gradient(share) * shift
