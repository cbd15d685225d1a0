"""EDM: Karras, Aittala, Aila and Laine, Elucidating the Design Space of Diffusion-Based
Generative Models (2022, arXiv:2206.00364), Table 1.

    D(x; sigma) = c_skip x + c_out F(c_in x; c_noise)          preconditioned denoiser
    L = E lambda(sigma) |D(y + sigma n; sigma) - y|^2,   ln sigma ~ N(P_mean, P_std^2)

    c_skip = sigma_data^2 / (sigma^2 + sigma_data^2)
    c_out = sigma sigma_data / sqrt(sigma^2 + sigma_data^2)
    c_in = 1 / sqrt(sigma^2 + sigma_data^2),   c_noise = ln(sigma) / 4
    lambda = (sigma^2 + sigma_data^2) / (sigma sigma_data)^2

Images of a diffusion are in [-1, 1] and sigma is in that scale: twice the sigma of
randomized smoothing, whose images are in [0, 1].
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeVar

import jax.numpy as jnp
import numpy as np

from jaxcert.errors import InputError, above, whole_from
from jaxcert.interfaces import Array

SIGMA_DATA = 0.5
"""The root mean square of the pixels, as the paper takes it for every data set."""

T = TypeVar("T", Array, np.ndarray)

Denoise = Callable[[Array, Array, Array | None], Array]
"""(x [B,H,W,C] in [-1, 1], sigma [B], label int32 [B] or None: no class) -> clean [B,H,W,C]"""


class Preconditioning(NamedTuple):
    """The four functions of sigma in eq. 7, arrays of the shape of sigma."""

    c_skip: Array
    c_out: Array
    c_in: Array
    c_noise: Array


def preconditioning(sigma: Array) -> Preconditioning:
    """Return c_skip, c_out, c_in and c_noise at sigma (Table 1)."""
    total = jnp.sqrt(sigma**2 + SIGMA_DATA**2)
    return Preconditioning(
        c_skip=(SIGMA_DATA / total) ** 2,
        c_out=sigma * SIGMA_DATA / total,
        c_in=1 / total,
        c_noise=jnp.log(sigma) / 4,
    )


def loss_weight(sigma: T) -> T:
    """Return lambda(sigma), the weight of the loss."""
    return (sigma**2 + SIGMA_DATA**2) / (sigma * SIGMA_DATA) ** 2


def to_signed(image: Array) -> Array:
    """Map pixels from [0, 1] to [-1, 1]."""
    return 2 * image - 1


def to_unit(image: Array) -> Array:
    """Map pixels from [-1, 1] to [0, 1], without clipping."""
    return (image + 1) / 2


def one_step(denoise: Denoise, noisy: Array, sigma: float) -> Array:
    """Denoise images [B,H,W,C] in one step without a class. Images and sigma are in the
    scale of [0, 1], and so are the clean images returned; NaN where they are not
    finite."""
    level = jnp.full(len(noisy), 2 * sigma, noisy.dtype)
    clean = denoise(to_signed(noisy), level, None)
    return to_unit(jnp.where(jnp.isfinite(clean), jnp.clip(clean, -1, 1), jnp.nan))


def schedule(
    steps: int,
    *,
    sigma_min: float = 0.002,
    sigma_max: float = 80.0,
    rho: float = 7.0,
) -> np.ndarray:
    """Noise levels of the sampler, falling and ending with 0 (eq. 5): float64 [steps + 1].

    Raises InputError for fewer than two steps or levels that do not fall.
    """
    whole_from(2, steps=steps)
    above(0, sigma_min=sigma_min, rho=rho)
    above(sigma_min, sigma_max=sigma_max)
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        first, last = np.array([sigma_max, sigma_min]) ** (1 / rho)
        levels = np.append(np.linspace(first, last, steps) ** rho, 0.0)
    if not (np.isfinite(levels).all() and (np.diff(levels) < 0).all()):
        raise InputError(
            f"{steps} levels from {sigma_max} to {sigma_min} do not fall with rho {rho:g}: "
            "give rho of about 7, and sigmas far enough apart."
        )
    return levels
