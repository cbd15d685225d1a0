"""Logit annealing.

Lai, Huang, Kung and Chen, "Enhancing Certified Robustness via Block Reflector Orthogonal
Layers and Logit Annealing Loss" (2025, arXiv:2505.15174):

    a = (z - xi e_y) / T,   c = CE(a, y),   loss = T mean (1 - exp(-c))^beta c

per example: margins that a Lipschitz network cannot reach are not asked of it. z: the
logits, or, with eps > 0, those of emma (methods/gloro.py) at the radius of the epoch.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxcert.errors import above, at_least
from jaxcert.interfaces import Array, Method, Model, Run
from jaxcert.methods import gloro


def make(
    model: Model,
    run: Run,
    *,
    eps: float = 36 / 255,
    xi: float = 2.0,
    temperature: float = 0.75,
    beta: float = 5.0,
    first: float = 0.1,
    last: float = 3.0,
) -> Method:
    """eps in pixels; first = last = 0 for plain logits. Raises InputError."""
    at_least(0, of="method", xi=xi, beta=beta)
    above(0, of="method", temperature=temperature)

    def objective(logits, pairwise, label, eps):
        moved = gloro.emma(logits, pairwise, label, eps=eps) if last else logits
        return logit_annealing(moved, label, xi=xi, temperature=temperature, beta=beta)

    return gloro.method_of(model, run, objective, eps=eps, first=first, last=last)


def logit_annealing(
    logits: Array,
    label: Array,
    *,
    xi: float = 2.0,
    temperature: float = 0.75,
    beta: float = 5.0,
) -> Array:
    """T mean (1 - exp(-c))^beta c, c = CE((z - xi e_y) / T, y)"""
    own = jax.nn.one_hot(label, logits.shape[1], dtype=logits.dtype)
    a = (logits - xi * own) / temperature
    c = jax.nn.logsumexp(a, 1) - jnp.sum(a * own, 1)
    return temperature * jnp.mean((1 - jnp.exp(-c)) ** beta * c)
