"""A workdir of a network that the papers' own PyTorch code has trained."""

from __future__ import annotations

import warnings
from pathlib import Path

import jax
import numpy as np
from ml_collections import ConfigDict

from jaxcert import config as configs
from jaxcert import random_keys
from jaxcert.data import normalisation, sources
from jaxcert.errors import InputError
from jaxcert.locks import only_writer
from jaxcert.torch_import import network as networks
from jaxcert.workdirs.checkpoint import Checkpoints
from jaxcert.workdirs.runs import refuse_another

_TRIED = 16
"""How many test images the imported network is tried on: seconds on a CPU, half a
minute for SortNet."""


def import_torch(state_path: str | Path, config: ConfigDict, workdir: str | Path):
    """Write config.json and a checkpoint at step 0, and return the interfaces.Network.

    Where the data set is at hand, warns if the network gives one class to all test
    images that are tried, or with the noise of certify.sigma classifies no more of them
    correctly than chance. Raises InputError for a file that is no state dict of the
    config's network, a config whose network has no converter, or a workdir that has
    checkpoints or that another process is writing.
    """
    random_keys.pin()
    with only_writer(workdir, option="--workdir"):
        network = _import(state_path, config, Path(workdir))
    _look(network, config)
    return network


def _import(state_path: str | Path, config: ConfigDict, workdir: Path):
    refuse_another(workdir, config)
    convert = networks.converter(config.model.name)
    model = configs.build("models", config.model)
    params, state, facts = convert(networks.read(state_path), model.image_shape)
    networks.check_facts(facts, config.model, state_path)
    networks.check_normalisation(facts, config.model, "--config.model.{}='{}'")
    normalisation.warn_of_another(config)
    network = networks.as_network(model, params, state)
    workdir.mkdir(parents=True, exist_ok=True)
    with Checkpoints(workdir) as checkpoints:
        if checkpoints.latest() is not None:
            raise InputError(f"{workdir} has checkpoints: name another --workdir.")
        configs.save(config, workdir / "config.json")
        checkpoints.save_evaluation(network.params, network.state)
    return network


def _look(network, config: ConfigDict) -> None:
    """Warn if test images from all over the set get a single class or, with the noise
    that is to be certified, a right one no more often than by chance. That shows a
    wrong config sooner than a certification does."""
    if network.model.unconditional is not None:  # a denoiser gives no class
        if network.model.unconditional and network.model.num_classes:
            warnings.warn(
                "config.model.label_dropout says that this EDM also denoises without a class, "
                "which no tensor shows: set it to 0 unless it was trained so.",
                stacklevel=2,
            )
        return
    data, sigma = config.data, config.certify.get("sigma", 0.0)
    try:
        source = sources.of(data, "test", download=False)
        sources.check_model(
            source,
            image_shape=network.model.image_shape,
            num_classes=network.model.num_classes,
        )
    except (InputError, OSError):  # certify will report it
        return
    tried = np.unique(np.linspace(0, len(source.label) - 1, _TRIED).astype(int))
    image, label = np.asarray(source.image[tried]), source.label[tried]
    image = image.astype(np.float32) / (255 if image.dtype == np.uint8 else 1)
    noise = np.random.default_rng(0).standard_normal(image.shape, np.float32)
    logits, _ = jax.jit(network.model.apply)(
        network.params, network.state, image + np.float32(sigma) * noise
    )
    found = np.argmax(logits, 1)
    right = int((found == label).sum())
    fault = ""
    if len(np.unique(found)) == 1 and len(np.unique(label)) > 1:
        fault = f"all {len(tried)} test images that were tried get class {found[0]}"
    elif sigma and right * network.model.num_classes <= len(tried):
        fault = (
            f"{right} of {len(tried)} test images with noise of sigma {sigma} get their "
            "class, no more than by chance"
        )
    if fault:
        warnings.warn(
            f"{fault}: check what config.model alone says, such as mean and std, and that "
            "the state dict is of a finished training.",
            stacklevel=2,
        )
