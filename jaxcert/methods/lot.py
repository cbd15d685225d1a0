"""Certificate-regularised training of orthogonal networks.

Singla, Singla and Feizi (2022, arXiv:2108.04062), "Improved deterministic l2 robustness on
CIFAR-10 and CIFAR-100"; used by LOT (Xu, Li and Li 2022) and by Altstidl et al. (2023).

    loss = mean CE(z, y) - gamma * mean max(0, r_y)
    r_y  = min_{j != y} (z_y - z_j) / L_yj

z: logits; L_yj: Lipschitz constant of z_y - z_j in pixels, sqrt(2)/std with an orthogonal
head and |w_y - w_j|/std with a normalised one (the gradient flows through its rows); r_y:
radius of the LABEL (with the prediction the loss would reward confident mistakes).
gamma = 0 switches the regulariser off. The original leaves gamma open; 0.5 goes with
Householder activations and is what "HH + CR" rows of the literature use.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxcert.errors import InputError, at_least
from jaxcert.interfaces import Array, Method, Model, Run
from jaxcert.methods.cross_entropy import cross_entropy
from jaxcert.ops import margins


def make(model: Model, run: Run, *, gamma: float = 0.5) -> Method:
    """Raises InputError for gamma < 0 or a network without Lipschitz constants."""
    at_least(0, of="method", gamma=gamma)
    lipschitz = model.lipschitz
    if lipschitz is None:
        raise InputError(
            "method lot needs a Lipschitz network, such as model.name=lip_convnet."
        )

    def loss(params, state, extra, batch, key, step, phase):
        logits, state = model.apply(params, state, batch["image"], train=True, key=key)
        pairwise, state = lipschitz(params, state, train=True)
        value, radius = regularised_loss(logits, pairwise, batch["label"], gamma=gamma)
        metrics = {"accuracy": (radius > 0).mean(), "radius": radius.mean()}
        return value, (state, metrics)

    return Method(loss=loss)


def regularised_loss(
    logits: Array, pairwise: Array, label: Array, *, gamma: float
) -> tuple[Array, Array]:
    """(loss, signed radius of the label [B]) from logits [B,K] and pairwise [K,K]."""
    radius = margins.radius(logits, pairwise, label)
    reward = jnp.mean(jax.nn.relu(radius))
    return cross_entropy(logits, label) - gamma * reward, radius
