"""What the training methods of smoothing share: noise, its order, steps of attacks, the
votes of a first model.

Order: noise-major. The m noisy copies of B images are one batch [m*B, ...], all images
with noise 0 first, so BatchNorm sees the statistics of all copies.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxcert import records
from jaxcert.errors import InputError
from jaxcert.interfaces import Array, Key, Model, PyTree, Run
from jaxcert.ops.dispatch import split


def draw_noise(key: Key, image: Array, sigma: float, m: int) -> Array:
    """Draw m samples of N(0, sigma^2 I) for every image: [m,B,H,W,C] in the type of
    image."""
    return sigma * jax.random.normal(key, (m, *image.shape), image.dtype)


def add_noise(image: Array, noise: Array) -> Array:
    """image [B,H,W,C] + noise [m,B,H,W,C] -> [m*B,H,W,C]; not clipped to [0, 1]."""
    return split((image + noise).reshape(-1, *image.shape[1:]))


def repeat_labels(label: Array, m: int) -> Array:
    """Repeat labels [B] for the m copies: [m*B]."""
    return jnp.tile(label, m)


def warmup(step: Array | int, run: Run, epochs: int) -> Array:
    """min(1, (epoch + 1) / epochs), constant within an epoch; 1 epoch: no warm-up."""
    epoch = step // run.steps_per_epoch
    return jnp.minimum(1.0, (epoch + 1) / epochs)


def frozen(model: Model, params: PyTree, state: PyTree) -> Callable[[Array], Array]:
    """image -> logits as an attack sees them: inference mode, no gradient to params.

    On an accelerator what evaluation reads, such as convolutions with their normalisations
    folded in, is prepared once for all steps of the attack. Gradients of a CPU's arrangement
    of kernels are slower than those of the network itself."""
    params, state = jax.lax.stop_gradient((params, state))
    if jax.default_backend() != "cpu":
        state = model.prepare(params, state)
    return lambda image: model.apply(params, state, image, train=False)[0]


def repeat(body: Callable, start: PyTree, steps: int) -> PyTree:
    """x <- body(t, x) for t = 0 .. steps - 1, from x = start.

    Gradients of convolutions in a loop are 70 times slower on a CPU: unrolled there.
    """
    on_cpu = jax.default_backend() == "cpu"
    return jax.lax.fori_loop(0, steps, body, start, unroll=on_cpu)


def average_log_softmax(logits: Array, m: int) -> Array:
    """log of the softmax averaged over copies: [m*B,K] -> [B,K], finite everywhere."""
    copies = jax.nn.log_softmax(logits).reshape(m, -1, logits.shape[-1])
    return jax.nn.logsumexp(copies, 0) - math.log(m)


def smoothed_loss(logits: Array, label: Array) -> Array:
    """-log (1/m) sum_i s_label(z_i) from logits [m*B,K] and label [B]: [B].

    m = 1: the cross-entropy. The originals clamp the mean at 1e-20, where its gradient is
    lost; its logarithm needs no clamp.
    """
    log_mean = average_log_softmax(logits, len(logits) // len(label))
    return -jnp.take_along_axis(log_mean, label[:, None], 1)[:, 0]


def l2(x: Array) -> Array:
    """Return the norm of every image: [...,H,W,C] -> [...,1,1,1]."""
    return jnp.sqrt((x**2).sum((-3, -2, -1), keepdims=True))


def along(gradient: Array) -> Array:
    """gradient / (|gradient| + 1e-8), per image: below length 1 where it is tiny."""
    return gradient / (l2(gradient) + 1e-8)


def in_ball(offset: Array, radius: Array | float) -> Array:
    """Offsets longer than the radius are cut to it, per image; the 1e-7 of the originals
    keeps them just inside."""
    length = l2(offset)
    return jnp.where(length > radius, offset * (radius / (length + 1e-7)), offset)


def first_votes(
    path: str, size: int, num_classes: int
) -> tuple[np.ndarray, np.ndarray]:
    """(counts / n [N,K], labels [N]) of a first model's record of PREDICT, in the
    order of the training set. Raises InputError for a record that is not of all N training
    images."""
    if not Path(path).is_file():
        raise InputError(f"there are no first votes {path}: {_command(path, path)}.")
    rows = records.load(path)
    wrong = _wrong(rows, size, num_classes)
    if wrong:
        raise InputError(f"first votes {path} {wrong}: {_command(path)}.")
    counts = rows.counts
    assert counts is not None  # else they are wrong
    voted = (counts.sum(1) > 0).sum()
    if voted < size:
        raise InputError(
            f"first votes {path} are of {voted:,} of {size:,} training images: "
            f"{_command(path, path, rows.header)}."
        )
    order = np.argsort(rows.index)
    return (counts / rows.n[:, None])[order], rows.label[order]


def _wrong(rows: records.Certificates, size: int, num_classes: int) -> str | None:
    if rows.counts is None:
        return "hold no votes"
    if rows.header.get("split") != "train":
        return f"are of the split {rows.header.get('split')!r} and not of 'train'"
    if rows.counts.shape[1] != num_classes:
        return f"have {rows.counts.shape[1]} classes and not {num_classes}"
    if rows.index.max() >= size:
        return f"have an image {rows.index.max():,} and the training set only {size:,}"
    return None


def _command(
    path: str, out: str = "FILE", header: Mapping[str, Any] = MappingProxyType({})
) -> str:
    """header: of a record that is to be completed, by the settings that it was begun with."""
    options = {"procedure": "predict", "n": 10_000}
    begun = header.get("config")
    begun = begun.get("certify") if isinstance(begun, dict) else None
    if begun and begun.get("procedure") in ("predict", "certify"):
        options = {k: begun[k] for k in _VOTES if begun.get(k) not in (None, "")}
    elif header:  # it cannot be continued by these settings
        out = "FILE"
    # a config may certify a part of the images
    options = {"start": 0, "stop": 0, "step": 1, "split": "train"} | options
    given = " ".join(f"--config.certify.{k}={v}" for k, v in options.items())
    new = "" if out != "FILE" else " and name FILE"
    return (
        f"run `python -m jaxcert.certify --workdir {shlex.quote(str(Path(path).parent))} "
        f"{given} --out {shlex.quote(str(out))}` with the first model{new}"
    )


_VOTES = ("procedure", "n", "n0", "alpha", "sigma", "noise", "norm", "seed")
"""Settings of a certificate that people change and that a record must share."""
