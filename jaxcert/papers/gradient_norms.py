"""Gradient norms of the easy and the hard training images of a network trained with noise.

Sun et al. (2024, arXiv:2410.06895), Table 1: of which images does a method still learn? An
image is easy if the network gives most of its noisy copies their label.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxcert import config as configs
from jaxcert import random_keys, sharding
from jaxcert.data import opened
from jaxcert.errors import InputError
from jaxcert.ops.images import unit
from jaxcert.progress import Progress
from jaxcert.workdirs import checkpoint

NOISES = 100
_STREAM = 0x96AD
"""Folded into the key of config.seed, so that the draws are apart from those of
training."""


class Group(NamedTuple):
    """The mean norm of some images and its standard error; nan for no images."""

    images: int
    mean: float
    error: float


class Norms(NamedTuple):
    easy: Group
    hard: Group
    ratio: float
    """mean of the easy by that of the hard; nan without both"""
    ratio_error: float


def gradient_norms(
    model, method, *, sigma: float, step: int, noises: int = NOISES
) -> Callable:
    """(params, state, extra, keys [B], batch of B images) -> (votes for the label, of
    `noises`, int [B], norm [B]), jitted.

    model: gives the votes; method: of its `inference` form. step: of the run, as in training.
    """
    norm_of = _norm_of(method, step, method.phase(step))

    def one(params, state, extra, key, batch):
        image, label = batch["image"], batch["label"]
        vote_key, loss_key = jax.random.split(key)
        shape = (noises, *image.shape)
        noisy = image + sigma * jax.random.normal(vote_key, shape, image.dtype)
        logits, _ = model.apply(params, state, noisy)
        norm = norm_of(params, state, extra, loss_key, batch)
        return (logits.argmax(-1) == label).sum(), norm

    return jax.jit(jax.vmap(one, in_axes=(None, None, None, 0, 0)))


def before_attack(method, *, step: int) -> Callable | None:
    """Return (params, state, extra, keys [B], batch of B images) -> norm [B] of the loss without
    its attack, on the noise that the attack of `gradient_norms` begins with, jitted (Figure 5 of
    Sun et al.); None for a method whose attack is no phase of its own."""
    if method.phase(step) != "attack":
        return None
    norm_of = _norm_of(method, step, "plain")

    def one(params, state, extra, key, batch):
        return norm_of(params, state, extra, jax.random.split(key)[1], batch)

    return jax.jit(jax.vmap(one, in_axes=(None, None, None, 0, 0)))


def _norm_of(method, step: int, phase) -> Callable:
    """Return (params, state, extra, key, one image) -> norm of the gradient of its loss."""

    def norm(params, state, extra, key, batch):
        alone = jax.tree.map(lambda leaf: leaf[None], batch)

        def loss(params):
            at = jnp.int32(step)
            return method.loss(params, state, extra, alone, key, at, phase)[0]

        return optax.tree.norm(jax.grad(loss)(params))

    return norm


def inference(model):
    """Return the model that does the same in training as in evaluation: BatchNorm takes
    its running statistics, and keeps them."""

    def apply(params, state, x, *, train=False, **inputs):
        return model.apply(params, state, x, train=False, **inputs)

    return model._replace(apply=apply)


def compare(p: np.ndarray, norm: np.ndarray) -> Norms:
    """Return the norms of easy and hard images, from p and norm [N] of each."""
    easy, hard = _group(norm[p > 0.5]), _group(norm[p < 0.5])
    if not (easy.images and hard.images and hard.mean):
        return Norms(easy, hard, float("nan"), float("nan"))
    ratio = easy.mean / hard.mean
    error = np.hypot(easy.error / hard.mean, ratio * hard.error / hard.mean)
    return Norms(easy, hard, ratio, float(error))


def measure(config, workdir: str | Path, *, images: int = 1000) -> dict:
    """Return what gradient_norms.json holds: `Norms` as nested dicts, and the rows.

    Raises InputError for a method that trains without noise, or no checkpoint.
    """
    sigma = config.method.get("sigma")
    if sigma is None:
        raise InputError(
            f"the method {config.method.name} trains without noise: give the --workdir of a "
            "network for randomized smoothing."
        )
    data = opened.open(config)
    source = data.images["train"]
    sharding.use_precision(config.precision)
    model = inference(configs.build("models", config.model))
    method = configs.build("methods", config.method, model=model, run=data.run)
    loaded = checkpoint.load_network(
        model, workdir, mesh=sharding.data_mesh(), best=config.checkpoint.best
    )
    # an imported network has made no step here: its run is over as well
    step = (loaded.step or data.run.total_steps) - 1
    of = gradient_norms(model, method, sigma=sigma, step=step)
    plain = before_attack(method, step=step)
    tables = loaded.network.params, loaded.network.state, method.init_extra()
    images = min(images, len(source.label))
    index = np.arange(images) * len(source.label) // images
    key = jax.random.fold_in(random_keys.key(config.seed), _STREAM)
    line, found, before, chunk = Progress("measure", images), [], [], _chunk()
    for start in range(0, images, chunk):
        rows = index[np.minimum(np.arange(start, start + chunk), images - 1)]
        keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(rows)
        batch = {
            "image": unit(source.image[rows]),
            "label": source.label[rows],
            "real": np.ones(chunk, bool),
            "index": rows.astype(np.int32),
        }
        found.append(of(*tables, keys, batch))
        if plain is not None:
            before.append(plain(*tables, keys, batch))
        line.update(min(start + chunk, images))
    votes, norm = (np.concatenate(v)[:images] for v in zip(*found, strict=True))
    p, norm = votes / NOISES, norm.astype(np.float64)
    norms = compare(p, norm)
    return {
        "method": config.method.to_dict(),
        "dataset": source.name,
        "checkpoint": loaded.digest,
        "step": loaded.step,
        "noises": NOISES,
        "images": images,
        "easy": norms.easy._asdict(),
        "hard": norms.hard._asdict(),
        "ratio": norms.ratio,
        "ratio_error": norms.ratio_error,
        "rows": {
            "index": index.tolist(),
            "label": source.label[index].tolist(),
            "p": p.tolist(),
            "norm": norm.tolist(),
        }
        | ({"norm_before": _joined(before, images)} if before else {}),
    }


def _joined(parts, images: int) -> list[float]:
    return np.concatenate(parts)[:images].astype(np.float64).tolist()


def table(found: dict) -> str:
    """Return what `measure` found, as lines for people."""
    text = [
        f"l2 norm of the gradient of {found['method']['name']}'s loss on one image, "
        f"{found['images']} training images\n",
        f"{'':12}{'images':>8}{'mean':>10}{'±':>9}",
    ]
    for name, what in (("easy", "p > 1/2"), ("hard", "p < 1/2")):
        g = found[name]
        mean, error = _text(g["mean"], 4, 10), _text(g["error"], 2, 9)
        text.append(f"{name} {what}{g['images']:8}{mean}{error}")
    ratio, error = _text(found["ratio"], 4, 10), _text(found["ratio_error"], 2, 9)
    return "\n".join([*text, f"easy / hard {'':8}{ratio}{error}"])


def write(found: dict, path: Path) -> None:
    """Write what `measure` found as JSON, which has no nan."""
    path.write_text(json.dumps(_without_nan(found)) + "\n")


def _group(norm: np.ndarray) -> Group:
    count = len(norm)
    mean = float(norm.mean()) if count else float("nan")
    error = float(norm.std(ddof=1) / count**0.5) if count > 1 else float("nan")
    return Group(count, mean, error)


def _text(value: float, digits: int, width: int) -> str:
    """Return a number as text, '--' for nan: without images there is no mean, with one
    no error."""
    return f"{'--' if np.isnan(value) else f'{value:.{digits}g}':>{width}}"


def _chunk() -> int:
    """Return the images per program: each takes its own gradient and 100 forward
    passes."""
    return 8 if jax.default_backend() == "cpu" else 32


def _without_nan(value):
    """Return the value with None for nan, which JSON lacks."""
    if isinstance(value, dict):
        return {k: _without_nan(v) for k, v in value.items()}
    return None if isinstance(value, float) and np.isnan(value) else value
