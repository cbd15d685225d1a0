"""Networks of the papers' own PyTorch code as networks for the certificates."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from jaxcert import config as configs
from jaxcert.errors import InputError, check_file
from jaxcert.torch_import import arrays, wrapping


def network_of(
    state: str | Path | Mapping[str, Any],
    model: str,
    *,
    part: str = "",
    **settings: Any,
):
    """Return the interfaces.Network of a PyTorch state dict, for the certificates:
    `network_of(torch_model.state_dict(), "resnet")`.

    state: {name: tensor on the CPU or numpy array}, a checkpoint that holds one, the
        torch.nn.Module itself, or the path of an npz or safetensors file
    model: file of jaxcert/models: resnet | resnet18 | resnet50 | wide_resnet | lenet |
        dist_net | lip_convnet | liresnet | liresnet_pp | bronet | edm_unet
    part: where the state has several networks, the beginning of the names of the one to
        import
    settings: arguments of its `make` that no array shows (image_shape, mean, std, rho);
        the others are read off the arrays

    The normalisation by mean and std is inside the network. Raises InputError for what
    is not a state dict of such a network, for a network other than the settings say,
    and for one with another number of classes than the data set of the default mean and
    std unless both are given.
    """
    convert, known = converter(model), _arguments(model)
    image_shape = settings.get("image_shape", known["image_shape"].default)
    where = "the state dict"
    if isinstance(state, str | Path):
        where, state = state, read(state)
    elif hasattr(state, "state_dict"):
        state = state.state_dict()
    elif not isinstance(state, Mapping):
        raise InputError(
            f"network_of takes a state dict, not a {type(state).__name__}: give "
            "torch_model.state_dict(), or the path of an npz or safetensors file."
        )
    if part:
        state = wrapping.part_of(state, part)
    params, state, facts = convert(state, image_shape)
    section = ConfigDict(facts | settings | {"name": model})
    check_facts(facts, section, where)
    built = configs.build("models", section)
    check_normalisation(facts, section, "{}={}")
    network = as_network(built, params, state)
    return network._replace(exact=configs.in_float32(section))


def read(path: str | Path) -> dict[str, Any]:
    """Return the tensors of a file by name, or for FILE:PART those of one part."""
    file, part = configs.split(str(path))
    check_file(file)
    found = arrays.read(file)
    return wrapping.part_of(found, part) if part else found


def as_network(model, params: dict, state: dict):
    """Return the Network with the arrays in the types of the model's own."""
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


def converter(network: str) -> Callable:
    """Return `convert_state_dict` of jaxcert.torch_import.<network>, found by the name
    of the file, as networks are. It maps (arrays, image_shape) to (params, state,
    facts), where facts are the arguments of the network that the arrays show. Raises
    InputError for a network without a converter."""
    here, ours = Path(__file__).parent, Path(__file__).parents[1] / "models"
    both = {f.stem for f in here.glob("[!_]*.py")} & {f.stem for f in ours.glob("*.py")}
    if network not in both:
        raise InputError(
            f"model.name is {network!r}: only networks of {', '.join(sorted(both))} are "
            "imported, give a config of one."
        )
    return importlib.import_module(f"jaxcert.torch_import.{network}").convert_state_dict


def _arguments(network: str) -> Mapping[str, inspect.Parameter]:
    make = importlib.import_module(f"jaxcert.models.{network}").make
    return inspect.signature(make).parameters


def check_facts(facts: dict, section: ConfigDict, state_path: str | Path) -> None:
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


def check_normalisation(facts: dict, section: ConfigDict, option: str) -> None:
    """Raises InputError if the default mean and std would be used for a network with
    another number of classes than their data set has. option: how the user gives a
    setting."""
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
