"""The samplers of Karras et al. (2022, arXiv:2206.00364): Heun's method, deterministic
(Algorithm 1) or with noise added at every step (Algorithm 2).

    gamma_i = min(S_churn / N, sqrt(2) - 1) if S_min <= t_i <= S_max else 0
    t^ = (1 + gamma_i) t_i,   x^ = x_i + sqrt(t^2 - t_i^2) S_noise n,   n ~ N(0, I)
    d = (x^ - D(x^; t^)) / t^,            x' = x^ + (t_{i+1} - t^) d
    d' = (x' - D(x'; t_{i+1})) / t_{i+1},  x_{i+1} = x^ + (t_{i+1} - t^) (d + d') / 2

The last step has no second half: its level would be 0. One scan goes over the 2N - 1
evaluations of D, not over the steps, so a program holds the network once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxcert.errors import above, at_least, within
from jaxcert.interfaces import Array

DenoiseAt = Callable[[Array, Array], Array]
"""(x [B,H,W,C] in [-1, 1], sigma []) -> clean image [B,H,W,C]"""


class Churn(NamedTuple):
    """Noise that a stochastic sampler adds; the default adds none."""

    S_churn: float = 0.0
    S_min: float = 0.0
    S_max: float = float("inf")
    S_noise: float = 1.0


NONE = Churn()


def heun(
    denoise: DenoiseAt,
    latent: Array,
    levels: np.ndarray,
    *,
    churn: Churn = NONE,
    noise: Callable[[Array], Array] | None = None,
) -> Array:
    """Images [B,H,W,C] in [-1, 1] (not clipped) from normal latents of their shape.

    levels: falling, float64 [N + 1], the last one 0: edm.schedule. noise: step -> normal
    draws [B,H,W,C], which only churn needs. Raises InputError for impossible churn.
    """
    check(churn)
    plan = _evaluations(levels, churn)
    dtype = latent.dtype

    def evaluate(carry, now):
        x, base, slope = carry
        if churn.S_churn:
            assert noise is not None
            x = x + now.added * noise(now.step)
        base = jnp.where(now.second, base, x)
        here = (x - denoise(x, now.level)) / now.level
        mean = jnp.where(now.second, (slope + here) / 2, here)
        return (base + now.stride * mean, base, here), None

    start = latent * jnp.asarray(levels[0], dtype)
    plan = jax.tree.map(
        lambda v: jnp.asarray(v, dtype if v.dtype == np.float64 else None), plan
    )
    return jax.lax.scan(evaluate, (start, start, jnp.zeros_like(start)), plan)[0][0]


class _Evaluation(NamedTuple):
    """The evaluations of D in order, [2N - 1] each."""

    step: np.ndarray
    level: np.ndarray
    """sigma that D is told"""
    stride: np.ndarray
    """t_{i+1} - t^"""
    added: np.ndarray
    """standard deviation of the churn before it"""
    second: np.ndarray
    """whether it is the correction of its step"""


def _evaluations(levels: np.ndarray, churn: Churn) -> _Evaluation:
    levels = np.asarray(levels, np.float64)
    t, after = levels[:-1], levels[1:]
    active = (churn.S_min <= t) & (t <= churn.S_max)
    gamma = np.where(active, min(churn.S_churn / len(t), np.sqrt(2) - 1), 0.0)
    raised = t * (1 + gamma)
    added = np.sqrt(raised**2 - t**2) * churn.S_noise
    twice = np.repeat(np.arange(len(t)), 2)[:-1]
    second = np.arange(len(twice)) % 2 == 1
    return _Evaluation(
        step=twice,
        level=np.where(second, after[twice], raised[twice]),
        stride=(after - raised)[twice],
        added=np.where(second, 0.0, added[twice]),
        second=second,
    )


def check(churn: Churn) -> None:
    """Raises InputError for impossible churn."""
    at_least(0, S_churn=churn.S_churn, S_min=churn.S_min)
    above(0, S_noise=churn.S_noise)
    within(f"[{churn.S_min}, inf]", S_max=churn.S_max)
