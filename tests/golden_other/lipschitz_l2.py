"""Arrays of l2 Lipschitz networks: layers, heads, losses, two whole families, optimizers."""

from __future__ import annotations

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from . import forms
from .forms import normal
from .lipschitz_layers import activations, head, later_layers, lot_layers
from .lipschitz_networks import (
    emma,
    lip_convnet,
    liresnet,
    liresnet_layers,
    liresnet_pp,
    liresnet_pp_layers,
)

# GloRo losses


def with_bottom(z, pairwise, eps):
    p = z.argmax(1)
    own = jnp.eye(z.shape[1], dtype=bool)[p]
    best = jnp.where(own, -jnp.inf, z + eps * pairwise[p]).max(1)
    return jnp.concatenate([z, best[:, None]], 1)


def trades(z, pairwise, y, eps):
    moved = with_bottom(z, pairwise, eps)
    kl = (jax.nn.logsumexp(moved, 1) - jax.nn.logsumexp(z, 1)).mean()
    return forms.cross_entropy(z, y) + kl, moved


def annealed(z, y):
    a = (z - 2.0 * jnp.eye(z.shape[1])[y]) / 0.75
    c = jax.nn.logsumexp(a, 1) - a[jnp.arange(len(y)), y]
    return 0.75 * ((1 - jnp.exp(-c)) ** 5 * c).mean()


def gloro(draw, batch=9, classes=5, inputs=8):
    z, weight = normal(draw, batch, classes, scale=2), normal(draw, classes, inputs)
    y, lc, eps = draw.integers(classes, size=batch), 1.75, 0.2
    y[:3] = z[:3].argmax(1)

    def fixed(z, k, y, eps):
        moved = z + eps * k[y]
        return forms.cross_entropy(moved, y), moved

    def moving(z, k, y, eps):
        moved = emma(z, k, y, eps)
        return forms.cross_entropy(moved, y), moved

    def annealing(z, k, y, eps):
        moved = emma(z, k, y, eps)
        return annealed(moved, y), moved

    losses = dict(
        trades_v1=trades, trades_v2=trades, emma_fixed_eps_v1=fixed, margin_v2=fixed,
        emma_v2=moving, la_emma=annealing,
    )  # fmt: skip
    found = dict(logits=z, head_weight=weight, labels=y, lc=lc, eps=eps)
    for name, loss in losses.items():

        def value(z, weight, lc, loss=loss):
            return loss(z, lc * forms.pairs_of(forms.unit_rows(weight)), y, eps)

        (total, moved), grads = jax.value_and_grad(value, (0, 1, 2), has_aux=True)(
            *map(jnp.asarray, (z, weight, lc))
        )
        found |= {f"{name}_loss": total, f"{name}_ymod": moved}
        found |= {
            f"{name}_g{n}": g
            for n, g in zip(("logits", "head", "lc"), grads, strict=True)
        }
    value, slope = jax.value_and_grad(annealed)(jnp.asarray(z), y)
    pairwise = lc * forms.pairs_of(forms.unit_rows(weight))
    predicted = z.argmax(1)
    radius = forms.radius(jnp.asarray(z), pairwise, predicted)
    return found | dict(
        la_plain_loss=value, la_plain_glogits=slope, eval_radius=radius,
        eval_vra_hit=(predicted == y) & (np.asarray(radius) > eps),
    )  # fmt: skip


# Schedules and optimizers, as PyTorch and timm count


def schedules(total=3000, epochs=60, per_epoch=17, warm=4):
    steps = np.array([0, 2, 700, 1400, 1499, 1500, 1501, 2249, 2250, 2999])
    whole, first = epochs * per_epoch, warm * per_epoch
    at = np.array([0, 3, first - 2, first - 1, first, 300, 700, whole - 2, whole - 1])
    i = at + 1.0
    cosine = 0.5 * (1 + np.cos(np.pi * (i - first) / (whole - first)))
    warmed = 1e-3 * np.where(i < first, i / first, np.maximum(cosine, 1e-5))
    epoch = np.array([0, 2, 11, 29, 30, 31, 59])
    ramp = np.minimum(2 * epoch / epochs, 1)
    return dict(
        ms_steps=steps,
        ms_lr=0.1 * 0.1 ** ((steps >= 1500).astype(int) + (steps >= 2250)),
        cos_lr=0.05 * (1 + np.cos(np.pi * steps / total)),
        wc_conf=np.array([epochs, per_epoch, warm]), wc_steps=at, wc_lr=warmed,
        eps_epochs=epoch, eps_v1=36 / 255 * (0.1 + 1.4 * ramp),
        eps_pp=36 / 255 * (0.1 + 2.9 * ramp),
    )  # fmt: skip


def adamw(p, m, v, t, g):
    m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
    step = m / (1 - 0.9**t) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
    return p - 1e-3 * (step + 1e-4 * p), m, v


def nadam(p, m, v, t, g, decay=0.0):
    def mu(t):
        return 0.9 * (1 - 0.5 * 0.96 ** (t * 4e-3))

    g = g + decay * p
    m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
    product = np.prod([mu(i) for i in range(1, t + 1)])
    ahead = mu(t + 1) * m / (1 - product * mu(t + 1)) + (1 - mu(t)) * g / (1 - product)
    return p - 1e-3 * ahead / (np.sqrt(v / (1 - 0.999**t)) + 1e-8), m, v


def sgd(p, m, v, t, g):
    m = 0.9 * m + g
    return p - 0.1 * m, m, v


def trajectory(step, p, grads, every=0):
    """With `every`, Lookahead: the slow copy is made at its first turn."""
    m = v = 0 * p
    slow, seen = None, []
    for t, g in enumerate(grads, 1):
        p, m, v = step(p, m, v, t, g)
        if every and t % every == 0:
            p = slow = p if slow is None else slow + 0.5 * (p - slow)
        seen.append(p)
    return np.array(seen), slow


def optimizers(draw, size=4):
    start, grads = normal(draw, size), normal(draw, 9, size)
    more = normal(draw, 13, size)
    ahead, slow = trajectory(nadam, start, grads, 6)
    clipped = [normal(draw, 2, 3, scale=3), normal(draw, 5, scale=3)]
    norm = math.sqrt(sum((g**2).sum() for g in clipped))
    return dict(
        opt_p0=start, opt_grads=grads,
        adamw_traj=trajectory(adamw, start, grads)[0],
        nadam_traj=trajectory(nadam, start, grads)[0],
        nadam_wd_traj=trajectory(lambda *a: nadam(*a, decay=4e-5), start, grads)[0],
        sgdm_traj=trajectory(sgd, start, grads)[0],
        lookahead_nadam_traj=ahead, lookahead_after_sync=slow + 0.5 * (ahead[-1] - slow),
        lookahead13_grads=more, lookahead13_traj=trajectory(nadam, start, more, 6)[0],
        clip_g0=clipped[0], clip_g1=clipped[1], clip_norm=norm,
        clip_o0=clipped[0] * 3 / (norm + 1e-6), clip_o1=clipped[1] * 3 / (norm + 1e-6),
    )  # fmt: skip


FILES = {
    "lot_conv_other": lot_layers,
    "activations_other": activations,
    "heads_certificates_cr_other": head,
    "gloro_losses_other": gloro,
    "later_layers_other": later_layers,
    "schedules_optimizers_other": lambda draw: schedules() | optimizers(draw),
    "lipconvnet_small_hh2": partial(
        lip_convnet, stages=2, blocks=2, width=2, classes=5, act="hh2"
    ),
    "lipconvnet_other_lln": partial(
        lip_convnet, stages=3, blocks=1, width=2, classes=12, head="lln"
    ),
    "lipresnet_other_hh1": partial(
        lip_convnet, stages=2, blocks=4, width=2, classes=4, act="hh1", residual=True,
        gamma=0.2,
    ),
    "liresnet_v1_layers_other": liresnet_layers,
    "liresnet_v1_tiny_other": liresnet,
    "liresnet_pp_layers_other": liresnet_pp_layers,
    "liresnet_pp_tiny_other": liresnet_pp,
}  # fmt: skip
