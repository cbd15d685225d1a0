"""Networks to certify: trained by the library, or by the papers' own PyTorch code."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxcert import sharding
from jaxcert.errors import path_of
from jaxcert.interfaces import Network
from jaxcert.torch_import.network import network_of
from jaxcert.workdirs import weights
from jaxcert.workdirs.networks import open_network
from jaxcert.zoos import networks as zoos
from jaxcert.zoos import places


def load(workdir: str | Path) -> Network:
    """Return the network of a workdir that `jaxcert train` or `jaxcert import_torch` made: the
    newest checkpoint, or the best one where the run's config says by what; or that of a file
    that `jaxcert export` wrote; or that of a zoo, such as "zoo:lipnext-digits" (`jaxcert zoo` lists
    them) or "zoo:PLACE#NAME", where PLACE is a folder or begins with http:// or https://.

    It is on all devices of this process. JAX's own setting of the precision of products stays
    as it is: `config.precision` of the run is not applied. Raises InputError for a workdir
    without a finished checkpoint, for files that are damaged, and for a zoo that has no such
    network or cannot be reached.
    """
    if isinstance(workdir, str) and workdir.startswith(places.PREFIX):
        return zoos.load(workdir)
    path = path_of(workdir, "workdir")
    if path.is_file():
        return weights.load(path)
    return open_network(path, sharding.local_mesh())[0]


def load_weights(
    state: str | Path | Mapping[str, Any],
    model: str,
    *,
    part: str = "",
    **settings: Any,
) -> Network:
    """Return a network of the papers' own PyTorch code:
    `load_weights(torch_model.state_dict(), "resnet")`.

    state: {name: tensor on the CPU or numpy array}, the torch.nn.Module itself, or the path of
        an npz or safetensors file.
    model: the file of jaxcert/models that it is of: resnet | resnet18 | resnet50 |
        wide_resnet | lenet | dist_net | lip_convnet | liresnet | liresnet_pp | bronet | edm_unet.
    part: of a state with several networks, what the names of the wanted one begin with.
    settings: what no array shows, such as image_shape, mean and std; the rest is read off the
        arrays.

    Raises InputError for a state of another network than the settings say.
    """
    return network_of(state, model, part=part, **settings)
