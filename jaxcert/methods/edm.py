"""EDM: Karras, Aittala, Aila and Laine, Elucidating the Design Space of Diffusion-Based
Generative Models (2022, arXiv:2206.00364), section 5.

    min_theta  E lambda(sigma) |D_theta(y + n; sigma, c) - y|^2
    ln sigma ~ N(P_mean, P_std^2),   n ~ N(0, sigma^2 I)

| paper | here |
|---|---|
| D_theta, theta | model (with its preconditioning), params |
| y | 2 image - 1, [B,H,W,C] in [-1, 1] |
| c | label [B], and the labels of the augmentation [B,9] where there are |
| sigma | exp(P_std normal + P_mean), [B] |
| n | sigma noise, [B,H,W,C] |

The mean is over images, of the sum over pixels, as in their code. Theirs sets gradients
that are not finite to 0 or 1e5; here such a step ends the run, and bfloat16, which has
the range of float32, needs no loss scaling.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxcert.diffusion import edm
from jaxcert.errors import InputError, above, within
from jaxcert.interfaces import Array, Key, Method, Model, PyTree, Run


def make(model: Model, run: Run, *, P_mean: float = -1.2, P_std: float = 1.2) -> Method:
    """Raises InputError for a model that is no denoiser, or an impossible law of sigma."""
    if model.unconditional is None:
        raise InputError(
            "method edm trains a denoiser and the model is a classifier: give "
            "model.name='edm_unet', or another method."
        )
    within("(-inf, inf)", of="method", P_mean=P_mean)
    above(0, of="method", P_std=P_std)

    def loss(params, state, extra, batch, key, step, phase):
        for_sigma, for_noise, for_network = jax.random.split(key, 3)
        image = edm.to_signed(batch["image"])
        return objective(
            model,
            params,
            state,
            image,
            batch["label"],
            jnp.exp(P_std * jax.random.normal(for_sigma, image.shape[:1]) + P_mean),
            jax.random.normal(for_noise, image.shape, image.dtype),
            augment=batch.get("augment"),
            key=for_network,
        )

    return Method(loss=loss)


def objective(
    model: Model,
    params: PyTree,
    state: PyTree,
    image: Array,
    label: Array,
    sigma: Array,
    noise: Array,
    *,
    augment: Array | None = None,
    key: Key | None = None,
) -> tuple[Array, tuple[PyTree, dict[str, Array]]]:
    """(loss, (state, metrics)) for given sigma [B] and unit noise [B,H,W,C]; image in
    [-1, 1]. key: of dropout. mse: mean square of a pixel's error, not weighted."""
    wide = sigma[:, None, None, None]
    denoised, state = model.apply(
        params,
        state,
        image + wide * noise,
        train=True,
        key=key,
        sigma=sigma,
        label=label,
        augment=augment,
    )
    error = (denoised - image) ** 2
    loss = (edm.loss_weight(wide) * error).sum((1, 2, 3)).mean()
    return loss, (state, {"loss": loss, "mse": error.mean()})
