"""Networks of other runs: what a certificate, a method or a sampler takes besides its own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import jax
import numpy as np

from jaxcert import config as configs
from jaxcert import random_keys
from jaxcert.errors import InputError
from jaxcert.interfaces import Network
from jaxcert.ops.images import unit
from jaxcert.workdirs import checkpoint


def open_network(workdir: str | Path, mesh) -> tuple[Network, str]:
    """Return (network, digest of its checkpoint) of a workdir: the newest, or the best
    where its config says by which metric. Raises InputError."""
    config = configs.read(workdir)
    model = configs.build("models", config.model)
    best = config.checkpoint.get("best", "")
    loaded = checkpoint.load_network(model, workdir, mesh=mesh, best=best)
    exact = configs.in_float32(config.model)
    return loaded.network._replace(exact=exact), loaded.digest


def open_edm(workdir: str | Path, mesh) -> tuple[Network, str]:
    """Return the same of a denoiser. Raises InputError for a classifier."""
    network, digest = open_network(workdir, mesh)
    if network.model.unconditional is None:
        raise InputError(
            f"{workdir} holds a classifier: give the workdir of an EDM, such as one of "
            "configs/edm/digits.py."
        )
    return network, digest


def open_classifier(
    workdir: str | Path, image_shape: tuple[int, int, int], mesh
) -> tuple[Network, str]:
    """Return the same of a classifier of images of a shape. Raises InputError."""
    network, digest = open_network(workdir, mesh)
    model = network.model
    if model.unconditional is not None or tuple(model.image_shape) != tuple(
        image_shape
    ):
        raise InputError(
            f"{workdir} holds no classifier of images of {tuple(image_shape)}: name another."
        )
    return network, digest


def open_all(
    networks: Mapping[str, str], mesh
) -> tuple[dict[str, Network], dict[str, str]]:
    """Return ({name: network}, {name: digest}) of {name: workdir}; an empty workdir is
    left out."""
    opened = {k: open_network(v, mesh) for k, v in networks.items() if v}
    return {k: v[0] for k, v in opened.items()}, {k: v[1] for k, v in opened.items()}


def predictor(workdir: str | Path, image_shape: tuple[int, int, int], mesh):
    """Return (classes, K, digest) of a classifier's workdir: a function from uint8
    images [B,H,W,C] to classes int32 [B], the number of classes, and the digest of the
    checkpoint. Raises InputError."""
    random_keys.pin()
    network, digest = open_classifier(workdir, image_shape, mesh)
    model, params = network.model, network.params
    state = jax.jit(model.prepare)(params, network.state)

    @jax.jit
    def classes(params, state, image):
        return model.apply(params, state, unit(image))[0].argmax(-1)

    def predict(image):
        return np.asarray(classes(params, state, image), np.int32)

    return predict, model.num_classes, digest
