"""Adversarial training of the smoothed classifier: Salman, Yang, Li, Zhang, Zhang,
Razenshteyn and Bubeck, Provably Robust Deep Learning via Adversarially Trained Smoothed
Classifiers (2019, arXiv:1906.04584).

    x'  =  argmax_{|x' - x| <= eps}  J(x'),    J = -log (1/m) sum_i s_y(f(x' + delta_i))
    min_theta  (1/m) sum_i CE(f(x' + delta_i), y),      delta_i ~ N(0, sigma^2 I)

| paper | here |
|---|---|
| f (their F), theta | model, params |
| s_y | softmax, entry of the label |
| x, y | image [B,H,W,C], label [B] |
| delta_i, i = 1..m | noise [m,B,H,W,C], the same in attack and training |
| eps | eps, reached over the first `warmup_epochs` |
| T | steps |

The attacks differentiate in inference mode. `pgd` climbs along grad J / |grad J|;
`gradient_free` puts - mean_i delta_i s_y(f(x' + delta_i)) for grad J; `ddn` (Rony et al.
2019) looks for the smallest offset that changes the majority class of the copies, and
leaves an image where it finds none. An image whose gradient is 0 moves in a random
direction: one draw `escape` per image here, in the original a new one per step. Their code
gives eps in 1/256 and clamps the mean of s_y at 1e-20.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxcert.errors import InputError, above, one_of, whole_from
from jaxcert.interfaces import Array, Method, Model, PyTree, Run
from jaxcert.methods import gaussian
from jaxcert.methods._smoothing import (
    add_noise,
    draw_noise,
    frozen,
    in_ball,
    l2,
    repeat,
    smoothed_loss,
    warmup,
)

GAMMA, LEVELS = 0.05, 256
"""DDN: relative change of the norm per step, and values of a pixel."""


def make(
    model: Model,
    run: Run,
    *,
    sigma: float,
    m: int = 1,
    attack: str = "pgd",
    eps: float = 1.0,
    steps: int = 10,
    warmup_epochs: int = 10,
) -> Method:
    """attack: pgd | ddn | gradient_free; sigma and eps (l2) in pixels of [0, 1]. Raises
    InputError."""
    above(0, of="method", sigma=sigma, eps=eps)
    one_of(("pgd", "ddn", "gradient_free"), of="method", attack=attack)
    whole_from(1, of="method", m=m, steps=steps, warmup_epochs=warmup_epochs)
    if attack == "gradient_free" and m == 1:
        raise InputError(
            "method.attack gradient_free averages over noise: give method.m of 2 or more."
        )

    def loss(params, state, extra, batch, key, step, phase):
        image, label = batch["image"], batch["label"]
        for_noise, for_escape = jax.random.split(key)
        return objective(
            model,
            params,
            state,
            image,
            label,
            draw_noise(for_noise, image, sigma, m),
            jax.random.normal(for_escape, image.shape, image.dtype),
            attack=attack,
            eps=eps * warmup(step, run, warmup_epochs),
            steps=steps,
        )

    return Method(loss=loss)


def objective(
    model: Model,
    params: PyTree,
    state: PyTree,
    image: Array,
    label: Array,
    noise: Array,
    escape: Array,
    *,
    attack: str,
    eps: Array | float,
    steps: int,
) -> tuple[Array, tuple[PyTree, dict[str, Array]]]:
    """(loss, (state, metrics)) for given noise [m,B,H,W,C] and standard normal escape
    [B,H,W,C]; one training pass, of the attacked copies."""
    logits = frozen(model, params, state)
    attacked = attack_image(
        logits, image, label, noise, escape, attack=attack, eps=eps, steps=steps
    )
    return gaussian.objective(model, params, state, attacked, label, noise)


def attack_image(
    logits: Callable[[Array], Array],
    image: Array,
    label: Array,
    noise: Array,
    escape: Array,
    *,
    attack: str,
    eps: Array | float,
    steps: int,
) -> Array:
    """Images [B,H,W,C] in [0, 1] within eps of the given ones, up to rounding; without a
    gradient. logits: image -> [B,K]."""
    if attack == "ddn":
        moved = _ddn(logits, image, label, noise, escape, eps, steps)
    else:
        ascent = _free_ascent if attack == "gradient_free" else _ascent
        moved = _pgd(ascent, logits, image, label, noise, escape, eps, steps)
    return jax.lax.stop_gradient(moved)


def _pgd(ascent, logits, image, label, noise, escape, eps, steps):
    """Steps of 2 eps / T; the box first, then the ball."""

    def step(_, offset):
        direction = _unit(ascent(logits, image + offset, label, noise), escape)
        offset = offset + 2 * eps / steps * direction
        return in_ball(jnp.clip(image + offset, 0, 1) - image, eps)

    return image + repeat(step, jnp.zeros_like(image), steps)


def _ascent(logits, moved, label, noise):
    def loss(moved):
        return smoothed_loss(logits(add_noise(moved, noise)), label).sum()

    return jax.grad(loss)(moved)


def _free_ascent(logits, moved, label, noise):
    """- mean_i delta_i s_y(f(x' + delta_i)), which is sigma^2 grad of -E s_y."""
    m, count = noise.shape[:2]
    chance = jax.nn.softmax(logits(add_noise(moved, noise))).reshape(m, count, -1)
    own = jnp.take_along_axis(chance, label[None, :, None], 2)
    return -(noise * own[..., None, None]).mean(0)


def _ddn(logits, image, label, noise, escape, eps, steps):
    """The norm shrinks by GAMMA where the majority of the copies is wrong, and grows where
    it is right; pixels stay on the grid of 8 bits. The shortest wrong offset is cut to eps
    and put on the grid again, so it may pass eps by sqrt(HWC) / 510, and the box by 1 / 510
    where the image itself is off the grid. The step lengths are those of their code under
    PyTorch >= 1.1, which starts at t = 1."""
    m, count = noise.shape[:2]
    reachable = l2(jnp.maximum(image, 1 - image))

    def loss(moved):
        z = logits(add_noise(moved, noise))
        votes = jax.nn.one_hot(z.argmax(-1).reshape(m, count), z.shape[-1]).sum(0)
        return smoothed_loss(z, label).sum(), votes.argmax(-1) != label

    def step(t, carry):
        offset, norm, best, best_norm = carry
        gradient, wrong = jax.grad(loss, has_aux=True)(image + offset)
        wrong = wrong.reshape(-1, 1, 1, 1)
        length = l2(offset)
        closer = wrong & (length < best_norm)
        best = jnp.where(closer, offset, best)
        best_norm = jnp.where(closer, length, best_norm)
        rate = 0.01 + 0.99 * (1 + jnp.cos(jnp.pi * (t + 1) / steps)) / 2
        offset = offset + rate * _unit(gradient, escape)
        norm = jnp.minimum(norm * jnp.where(wrong, 1 - GAMMA, 1 + GAMMA), reachable)
        moved = _on_grid(image + norm * _unit(offset, escape))
        return jnp.clip(moved, 0, 1) - image, norm, best, best_norm

    still = jnp.zeros_like(image)
    start = still, eps * jnp.ones_like(reachable), still, reachable
    best = repeat(step, start, steps)[2]
    return image + _on_grid(in_ball(best, eps))


def _on_grid(pixels):
    return jnp.round(pixels * (LEVELS - 1)) / (LEVELS - 1)


def _unit(x, escape):
    """x / |x| per image, escape where x is 0."""
    length = l2(x)
    return jnp.where(length > 0, x / jnp.where(length > 0, length, 1), escape)
