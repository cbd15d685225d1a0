"""Make a workdir of a network that the papers' own PyTorch code has trained.

    python -m jaxcert.import_torch --state model.npz --config configs/sortnet/cifar10.py:8 \\
        --workdir runs/sortnet_8
    python -m jaxcert.certify --workdir runs/sortnet_8

Networks: L_inf-dist-net-v2 and SortNet (dist_net), LipConvNet with LOT or BRO
(lip_convnet), LiResNet, LiResNet++ and BRONet; of the smoothing papers the ResNets for
CIFAR (resnet, also those of akamaster) and ImageNet (resnet50) and LeNet; of EDM the
denoisers (edm_unet), whose published weights are under CC BY-NC-SA 4.0. The state dict is
an npz or safetensors file, for the smoothing papers of the entry `state_dict` of their
checkpoints; what it does not say (rho, mean, std) is the config's. MACER's own code does
not normalise: mean 0 and std 1; akamaster's does as for ImageNet, (0.485, 0.456, 0.406)
and (0.229, 0.224, 0.225). The checkpoint is for certification: it holds no optimizer,
nothing trains on.

The network is found behind any prefix of its names and in what holds it (DataParallel,
torch.compile, Lightning, {"net": ...}); of a file with several, such as the trained network
and its average, `--state FILE:ema` takes the one whose names begin with `ema`.

EDM's pickles hold code and are never opened here. Where its repository is at hand:
`torch.save(pickle.load(open(FILE, "rb"))["ema"].state_dict(), "edm.pt")`, then
`numpy.savez("edm.npz", **{k: v.numpy() for k, v in torch.load("edm.pt").items()})`. No tensor
shows whether a network with classes was also trained without: config.model.label_dropout
must be 0 if it was not, as none of the published ones was.

Without a workdir, from Python: `network_of`.
"""

from __future__ import annotations

import importlib
import inspect
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from jaxcert import config as configs
from jaxcert.errors import InputError, check_file, exit_cleanly

_TRIED = 16
"""Test images for a look at the imported network: seconds on a CPU, SortNet half a minute."""


def import_torch(state_path: str | Path, config: ConfigDict, workdir: str | Path):
    """Write config.json and a checkpoint at step 0 -> interfaces.Network.

    Where the data set is at hand, warns if the network gives one class to all test images
    that are tried, or with the noise of certify.sigma gets no more right than chance.
    Raises InputError for a file that is no state dict of the config's network, a config
    that none are read for, or a workdir that has checkpoints or that another process is
    writing.
    """
    from jaxcert import random_keys
    from jaxcert.locks import only_writer

    random_keys.pin()
    with only_writer(workdir, option="--workdir"):
        network = _import(state_path, config, Path(workdir))
    _look(network, config)
    return network


def _import(state_path: str | Path, config: ConfigDict, workdir: Path):
    from jaxcert.data import normalisation
    from jaxcert.train import refuse_another
    from jaxcert.training.checkpoint import Checkpoints

    refuse_another(workdir, config)
    convert = _converter(config.model.name)
    model = configs.build("models", config.model)
    params, state, facts = convert(_read(state_path), model.image_shape)
    _check_facts(facts, config.model, state_path)
    _check_normalisation(facts, config.model, "--config.model.{}='{}'")
    normalisation.warn_of_another(config)
    network = _network(model, params, state)
    workdir.mkdir(parents=True, exist_ok=True)
    with Checkpoints(workdir) as checkpoints:
        if checkpoints.latest() is not None:
            raise InputError(f"{workdir} has checkpoints: name another --workdir.")
        configs.save(config, workdir / "config.json")
        checkpoints.save_evaluation(network.params, network.state)
    return network


def network_of(
    state: str | Path | Mapping[str, Any],
    model: str,
    *,
    part: str = "",
    **settings: Any,
):
    """A network for the certificates: `network_of(torch_model.state_dict(), "resnet")` ->
    interfaces.Network.

    state: {name: tensor on the CPU or numpy array}, a checkpoint that holds one, the
        torch.nn.Module itself, or the path of an npz or safetensors file
    model: file of jaxcert/models: resnet | resnet50 | lenet | dist_net | lip_convnet |
        liresnet | liresnet_pp | bronet | edm_unet
    part: of a state with several networks, what the names of the wanted one begin with
    settings: arguments of its `make` that no array shows (image_shape, mean, std, rho);
        the others are read off the arrays

    The normalisation by mean and std is inside the network. Raises InputError for what is
    no state dict of such a network, or of another than the settings say, and for a network
    of other classes than those of the default mean and std unless both are given.
    """
    from jaxcert.torch_import import wrapping

    convert, known = _converter(model), _arguments(model)
    image_shape = settings.get("image_shape", known["image_shape"].default)
    where = "the state dict"
    if isinstance(state, str | Path):
        where, state = state, _read(state)
    elif hasattr(state, "state_dict"):
        state = state.state_dict()
    elif not isinstance(state, Mapping):
        raise InputError(
            f"a state dict is asked for, not a {type(state).__name__}: give "
            "torch_model.state_dict(), or the path of an npz or safetensors file."
        )
    if part:
        state = wrapping.part_of(state, part)
    params, state, facts = convert(state, image_shape)
    section = ConfigDict(facts | settings | {"name": model})
    _check_facts(facts, section, where)
    built = configs.build("models", section)
    _check_normalisation(facts, section, "{}={}")
    network = _network(built, params, state)
    return network._replace(exact=configs.in_float32(section))


def _read(path: str | Path) -> dict[str, Any]:
    """Tensors by name of a file, or of FILE:PART those of one part."""
    from jaxcert.torch_import import arrays, wrapping

    file, part = configs.split(str(path))
    check_file(file)
    found = arrays.read(file)
    return wrapping.part_of(found, part) if part else found


def _network(model, params: dict, state: dict):
    """The arrays in the types of the model's own."""
    import jax
    import jax.numpy as jnp

    from jaxcert import random_keys
    from jaxcert.interfaces import Network

    with random_keys.pinned():
        like = jax.eval_shape(model.init, random_keys.key(0))
    cast = jax.tree.map(
        lambda like, array: jnp.asarray(array, like.dtype), like, (params, state)
    )
    return Network(model, *cast)


def _converter(network: str):
    from jaxcert.torch_import import (
        dist_net,
        edm_unet,
        lenet,
        lip_convnet,
        liresnet,
        liresnet_pp,
        resnet,
    )

    converters = {
        "dist_net": dist_net.convert_state_dict,
        "lip_convnet": lip_convnet.convert_state_dict,
        "liresnet": liresnet.convert_state_dict,
        "liresnet_pp": liresnet_pp.convert_state_dict,
        "bronet": liresnet_pp.convert_bronet,
        "edm_unet": edm_unet.convert_state_dict,
        "resnet": resnet.convert_state_dict,
        "resnet50": resnet.convert_resnet50,
        "lenet": lenet.convert_state_dict,
    }
    if network not in converters:
        raise InputError(
            f"model.name is {network!r}: only networks of {', '.join(converters)} are "
            "imported, give a config of one."
        )
    return converters[network]


def _arguments(network: str) -> Mapping[str, inspect.Parameter]:
    make = importlib.import_module(f"jaxcert.models.{network}").make
    return inspect.signature(make).parameters


def _check_facts(facts: dict, section: ConfigDict, state_path: str | Path) -> None:
    """Raises InputError unless config.model says what the state dict shows."""
    parameters = _arguments(section.name)
    said = {key: section.get(key, parameters[key].default) for key in facts}
    different = [key for key in facts if facts[key] != said[key]]
    if different:
        there = ", ".join(f"model.{key}={facts[key]}" for key in different)
        here = ", ".join(str(said[key]) for key in different)
        raise InputError(
            f"{state_path} holds a network of {there} where the config has {here}: give the "
            "config that it was trained with, or change these keys."
        )


def _check_normalisation(facts: dict, section: ConfigDict, option: str) -> None:
    """Raises InputError for a network of other classes than those of the data set whose mean
    and std are the default, if these would be used; option: how one is given."""
    from jaxcert.data.normalisation import KNOWN

    known = _arguments(section.name)
    missing = [key for key in ("mean", "std") if key in known and key not in section]
    if not missing or facts["num_classes"] == known["num_classes"].default:
        return
    channels = section.get("image_shape", known["image_shape"].default)[-1]
    none = dict(mean=(0.0,) * channels, std=(1.0,) * channels)
    if isinstance(known["std"].default, float):
        none["std"] = 1.0
    options = [option.format(key, str(none[key]).replace(" ", "")) for key in missing]
    wanted = " and ".join(missing)
    raise InputError(
        f"a network of {facts['num_classes']} classes was hardly trained with the {wanted} of "
        f"{KNOWN[known['mean'].default]}, which is the default: give {wanted} as in its "
        f"training, or {' '.join(options)} if it had no normalisation."
    )


def _look(network, config: ConfigDict) -> None:
    """Warn if test images from all over the set get one class or, with the noise that is to
    be certified, a right one as rarely as by chance: that tells of a wrong config sooner
    than a certification does."""
    import jax
    import numpy as np

    from jaxcert.data import sources

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


def main(argv: list[str] | None = None) -> None:
    from jaxcert import cli

    args = cli.parse(argv, __doc__, needs="config", takes_state=True)
    network = import_torch(args.state, args.config, args.workdir)
    command = "certify" if network.model.unconditional is None else "generate"
    print(
        f"{args.workdir} has the network; next: python -m jaxcert.{command} --workdir "
        f"{args.workdir}"
    )


if __name__ == "__main__":
    sys.exit(exit_cleanly(main))
