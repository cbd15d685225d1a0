"""Training with Gaussian noise (Cohen, Rosenfeld & Kolter 2019, arXiv:1902.02918, section 3.3).

    min_theta  E  (1/m) sum_i CE(f_theta(x + delta_i), y),   delta_i ~ N(0, sigma^2 I)

| paper | here |
|---|---|
| f, theta | model, params |
| x, y | image [B,H,W,C], label [B] |
| delta_i, i = 1..m | noise [m,B,H,W,C], m independent draws per image |

Cohen et al. take m = 1; the Gaussian rows of Sun et al. take m = 4. With m copies a
step sees data.batch * m inputs, so the configs divide the batch by m.
"""

from __future__ import annotations

import jax.numpy as jnp
import optax

from jaxcert.errors import above, whole_from
from jaxcert.interfaces import Array, Method, Model, PyTree, Run
from jaxcert.methods._smoothing import add_noise, draw_noise, repeat_labels


def make(model: Model, run: Run, *, sigma: float, m: int = 1) -> Method:
    """sigma: standard deviation in pixels of [0, 1]. Raises InputError for sigma <= 0
    or m < 1."""
    above(0, of="method", sigma=sigma)
    whole_from(1, of="method", m=m)

    def loss(params, state, extra, batch, key, step, phase):
        noise = draw_noise(key, batch["image"], sigma, m)
        return objective(model, params, state, batch["image"], batch["label"], noise)

    return Method(loss=loss)


def objective(
    model: Model, params: PyTree, state: PyTree, image: Array, label: Array, noise
) -> tuple[Array, tuple[PyTree, dict[str, Array]]]:
    """(loss, (state, metrics)) for given noise [m,B,H,W,C]; one training pass."""
    logits, state = model.apply(params, state, add_noise(image, noise), train=True)
    labels = repeat_labels(label, len(noise))
    loss = optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()
    accuracy = (logits.argmax(-1) == labels).mean()
    return loss, (state, {"loss": loss, "accuracy": accuracy.astype(jnp.float32)})
