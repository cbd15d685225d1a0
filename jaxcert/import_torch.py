"""Make a workdir of a network that the papers' own PyTorch code has trained.

    python -m jaxcert.import_torch --state model.npz --config configs/sortnet/cifar10.py:8 \\
        --workdir runs/sortnet_8
    python -m jaxcert.certify --workdir runs/sortnet_8

Networks: L_inf-dist-net-v2 and SortNet (dist_net), LipConvNet with LOT or BRO
(lip_convnet), LiResNet, LiResNet++ and BRONet. The state dict is an npz or safetensors
file; what it does not say (rho, mean, std) is the config's. The checkpoint is for
certification: it holds no optimizer, nothing trains on.
"""

from __future__ import annotations

import importlib
import inspect
import sys
import warnings
from pathlib import Path

from ml_collections import ConfigDict

from jaxcert import config as configs
from jaxcert.errors import InputError, exit_cleanly

_TRIED = 16
"""Test images for a look at the imported network: seconds on a CPU, SortNet half a minute."""


def import_torch(state_path: str | Path, config: ConfigDict, workdir: str | Path):
    """Write config.json and a checkpoint at step 0 -> interfaces.Network.

    Warns if the network gives one class to all test images that are tried, where the data
    set is at hand. Raises InputError for a file that is no state dict of the config's
    network, a config that none are read for, or a workdir that has checkpoints.
    """
    import jax
    import jax.numpy as jnp

    from jaxcert.interfaces import Network
    from jaxcert.torch_import import arrays
    from jaxcert.train import refuse_another
    from jaxcert.training.checkpoint import Checkpoints

    workdir = Path(workdir)
    refuse_another(workdir, config)
    convert = _converter(config.model.name)
    model = configs.build("models", config.model)
    params, state, facts = convert(arrays.read(state_path), model.image_shape)
    _check_facts(facts, config.model, state_path)
    params, state = jax.tree.map(
        lambda like, array: jnp.asarray(array, like.dtype),
        jax.eval_shape(model.init, jax.random.key(0)),
        (params, state),
    )
    network = Network(model, params, state)
    workdir.mkdir(parents=True, exist_ok=True)
    with Checkpoints(workdir) as checkpoints:
        if checkpoints.latest() is not None:
            raise InputError(f"{workdir} has checkpoints: name another --workdir.")
        configs.save(config, workdir / "config.json")
        checkpoints.save_evaluation(params, state)
    _look(network, config)
    return network


def _converter(network: str):
    from jaxcert.torch_import import dist_net, lip_convnet, liresnet, liresnet_pp

    converters = {
        "dist_net": dist_net.convert_state_dict,
        "lip_convnet": lip_convnet.convert_state_dict,
        "liresnet": liresnet.convert_state_dict,
        "liresnet_pp": liresnet_pp.convert_state_dict,
        "bronet": liresnet_pp.convert_bronet,
    }
    if network not in converters:
        raise InputError(
            f"model.name is {network!r}: only networks of {', '.join(converters)} are "
            "imported, give a config of one."
        )
    return converters[network]


def _check_facts(facts: dict, section: ConfigDict, state_path: str | Path) -> None:
    """Raises InputError unless config.model says what the state dict shows."""
    make = importlib.import_module(f"jaxcert.models.{section.name}").make
    parameters = inspect.signature(make).parameters
    said = {key: section.get(key, parameters[key].default) for key in facts}
    different = [key for key in facts if facts[key] != said[key]]
    if different:
        there = ", ".join(f"model.{key}={facts[key]}" for key in different)
        here = ", ".join(str(said[key]) for key in different)
        raise InputError(
            f"{state_path} holds a network of {there} where the config has {here}: give the "
            "config that it was trained with, or change these keys."
        )


def _look(network, config: ConfigDict) -> None:
    """Warn if test images from all over the set get one class, which tells of a wrong
    config sooner than a certification does."""
    import jax
    import numpy as np

    from jaxcert.data import sources

    data = config.data
    try:
        source = sources.open(
            data.name, "test", dir=data.dir, download=False, pad=data.pad
        )
        sources.check_model(
            source,
            image_shape=network.model.image_shape,
            num_classes=network.model.num_classes,
        )
    except (InputError, OSError):  # certify will say so
        return
    tried = np.unique(np.linspace(0, len(source.label) - 1, _TRIED).astype(int))
    image = np.asarray(source.image[tried])
    image = image.astype(np.float32) / (255 if image.dtype == np.uint8 else 1)
    logits, _ = jax.jit(network.model.apply)(network.params, network.state, image)
    found = np.unique(np.argmax(logits, 1))
    if len(found) == 1 and len(np.unique(source.label[tried])) > 1:
        warnings.warn(
            f"all {len(tried)} test images that were tried get class {found[0]}: check what "
            "config.model alone says, such as mean and std, and that the state dict is of a "
            "finished training.",
            stacklevel=2,
        )


def main(argv: list[str] | None = None) -> None:
    from jaxcert import cli

    args = cli.parse(argv, __doc__, needs="config", takes_state=True)
    import_torch(args.state, args.config, args.workdir)
    print(
        f"{args.workdir} has the network; next: python -m jaxcert.certify --workdir "
        f"{args.workdir}"
    )


if __name__ == "__main__":
    sys.exit(exit_cleanly(main))
