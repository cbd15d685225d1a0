"""Sampling of a trained EDM into the shards of a set of generated images.

Classes are balanced: image i is of class i mod K, so every part of the set is balanced
too. Image i draws from fold_in(seed, i): another batch or device count changes no more than
the rounding of its pixels. An interrupted call continues with the shard that was being written.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from jaxcert import config as configs
from jaxcert import random_keys, sharding
from jaxcert.data import write
from jaxcert.diffusion import edm, sampler
from jaxcert.errors import InputError, interruptible, whole_from, within
from jaxcert.locks import only_writer
from jaxcert.progress import Progress
from jaxcert.workdirs.networks import open_edm, predictor

PER_SHARD = 1 << 13
"""Images in a shard, which is what an interruption may lose."""
BATCH = {"cpu": 256}
"""Images per device and call on a CPU; other devices take 1,024."""


def generate(
    workdir: str | Path,
    out: str | Path,
    *,
    count: int,
    seed: int = 0,
    steps: int = 18,
    sigma_min: float = 0.002,
    sigma_max: float = 80.0,
    rho: float = 7.0,
    churn: tuple[float, float, float, float] = (0.0, 0.0, float("inf"), 1.0),
    classifier: str | Path = "",
    batch: int = 0,
) -> int:
    """Write `count` images of the EDM in `workdir` to the folder `out`, and return
    their number.

    churn: S_churn, S_min, S_max, S_noise. classifier: workdir of a classifier; images are
    then sampled without a class, and its prediction is their label. Raises InputError for a
    workdir that holds no EDM, one without classes and no classifier, one that was trained
    with classes only and a classifier, or a folder with images of another origin.
    """
    whole_from(1, **{"--count": count})
    whole_from(0, **{"--batch": batch})
    within(f"[0, {2**32 - 1}]", **{"--seed": seed})
    spaced = dict(steps=steps, sigma_min=sigma_min, sigma_max=sigma_max, rho=rho)
    levels = edm.schedule(**spaced)
    churn = sampler.Churn(*churn)
    sampler.check(churn)
    sharding.use_precision(configs.read(workdir).precision)
    mesh = sharding.local_mesh()
    network, digest = open_edm(workdir, mesh)
    model = network.model
    label_of, classes, labels = _labels(model, classifier, mesh)
    request = dict(edm=digest, seed=seed, count=count, labels=labels, **spaced)
    for name, value in churn._asdict().items():
        request[name] = value if np.isfinite(value) else str(value)
    with only_writer(out, option="--out"):
        writer = write.Writer(
            out,
            image_shape=model.image_shape,
            num_classes=classes,
            request=request,
            per_shard=PER_SHARD,
        )
        if writer.done:
            return writer.written
        size = batch or BATCH.get(jax.default_backend(), 1024) * len(mesh.devices.flat)
        size = -(-min(size, count) // len(mesh.devices.flat)) * len(mesh.devices.flat)
        sample = compiled(network, levels, churn, mesh)
        key = random_keys.key(seed)
        line = Progress("generate", count, start=writer.written)
        with interruptible(at_once=True) as ends:
            for first in range(writer.written, count, size):
                # beyond the last as well: one shape, one program
                number = first + np.arange(size)
                wanted = classes if not classifier else 0
                label = number % wanted if wanted else np.full(size, -1)
                image = np.asarray(sample(key, number, label.astype(np.int32)))
                real = min(size, count - first)
                label = label_of(image) if label_of else label
                writer.append(image[:real], label[:real])
                line.update(first + real)
                ends()
        writer.close()
        return writer.written


def compiled(network, levels: np.ndarray, churn, mesh) -> Callable:
    """Return the compiled sampler (key, number [B], label [B], -1: no class) -> uint8
    [B,H,W,C], on all devices of the mesh. Image i depends on the key, its number and
    its label alone."""
    model, shape = network.model, network.model.image_shape

    def sample(params, state, key, number, label):
        keys = jax.vmap(partial(jax.random.fold_in, key))(number)

        def draws(at):
            one = partial(jax.random.normal, shape=shape, dtype=jnp.float32)
            return jax.vmap(lambda k: one(jax.random.fold_in(k, at)))(keys)

        def denoise(x, sigma):
            sigma = jnp.broadcast_to(sigma, number.shape)
            return model.apply(params, state, x, sigma=sigma, label=label)[0]

        image = sampler.heun(
            denoise, draws(0), levels, churn=churn, noise=lambda step: draws(1 + step)
        )
        return jnp.clip(image * 127.5 + 128, 0, 255).astype(jnp.uint8)

    split = NamedSharding(mesh, PartitionSpec("data"))
    everywhere = NamedSharding(mesh, PartitionSpec())
    jitted = jax.jit(
        sample,
        in_shardings=(everywhere, everywhere, everywhere, split, split),
        out_shardings=split,
    )
    return partial(jitted, network.params, network.state)


def _labels(model, classifier: str | Path, mesh) -> tuple[Callable | None, int, Any]:
    """Return (labels, K, text): a function that labels images, or None where the labels
    are those asked for; the number of classes; and what the folder records of it."""
    if not classifier:
        if not model.num_classes:
            raise InputError(
                "the EDM has no classes, so its images have no labels: give the workdir of "
                "a classifier that labels them by --classifier."
            )
        return None, model.num_classes, "balanced"
    if not model.unconditional:
        raise InputError(
            "the EDM was trained with a class for every image (label_dropout 0) and has no "
            "unconditional output: leave --classifier out, or train it with "
            "--config.model.label_dropout=0.1."
        )
    predict, classes, digest = predictor(classifier, model.image_shape, mesh)
    return predict, classes, f"classifier {digest}"
