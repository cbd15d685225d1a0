"""Builds the certificate that config.certify names, and selects its images."""

from __future__ import annotations

from copy import deepcopy

from ml_collections import ConfigDict

from jaxcert import config as configs
from jaxcert import records
from jaxcert.errors import InputError, at_least, one_of, whole_from
from jaxcert.workdirs.networks import open_all

SELECTION = (
    "batch",
    "split",
    "start",
    "stop",
    "step",
    "seed",
    "radii",
    "after_training",
)
"""Keys of config.certify that choose images and columns. All others are arguments of
the certificate, and radii is one too where the certificate tries them."""


def certifier_of(config: ConfigDict, network, mesh):
    """Return the Certifier that config.certify names, for a network."""
    keys = {k: v for k, v in config.certify.items() if k not in SELECTION}
    others, digests = open_all(keys.pop("networks", {}), mesh)
    certifier = configs.build(
        "certificates",
        ConfigDict(keys),
        needs=others,
        network=network,
        mesh=mesh,
        radii=tuple(config.certify.radii),
    )
    named = {"networks": digests} if digests else {}
    return certifier._replace(settings=certifier.settings | named)


def selected(chosen: ConfigDict, size: int) -> list[int]:
    """Return the positions that start, stop and step of config.certify name. Raises
    InputError if there are none, and as `check_selection` does."""
    check_selection(chosen)
    index = list(range(chosen.start, min(chosen.stop or size, size), chosen.step))
    if not index:
        raise InputError(
            f"certify.start={chosen.start} and stop={chosen.stop} leave none of {size} images."
        )
    return index


def part_of(config: ConfigDict, part: str, size: int) -> ConfigDict:
    """Return the config whose certificate is of one part of the images: of part 2/4 every
    fourth image that config.certify names, from the second on. Raises InputError for another
    text, and for more parts than images of `size` ones."""
    if (numbers := records.part_numbers(part)) is None:
        raise InputError(
            f"--part={part}: give the number of this part, from 1, and of all, such as 2/4."
        )
    number, count = numbers
    if (images := len(selected(config.certify, size))) < count:
        raise InputError(
            f"--part={part} divides {images} images: give at most as many parts as images."
        )
    divided = deepcopy(config)
    divided.certify.start += (number - 1) * config.certify.step
    divided.certify.step *= count
    return divided


def check_selection(chosen: ConfigDict) -> None:
    """Raises InputError for a split, start, stop, step or batch that fits no data set,
    and for radii that are not finite numbers from 0 up."""
    one_of(("train", "test"), of="certify", split=chosen.split)
    for radius in chosen.radii:
        at_least(0, of="certify", radii=radius)
    whole_from(1, of="certify", batch=chosen.batch, step=chosen.step)
    whole_from(0, of="certify", start=chosen.start, stop=chosen.stop)
