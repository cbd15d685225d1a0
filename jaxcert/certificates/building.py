"""Builds what config.certify names: the certificate and the images that it is for."""

from __future__ import annotations

import math

from jaxcert import config as configs
from jaxcert.config import ConfigDict
from jaxcert.errors import InputError
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
    header = certifier.header | ({"networks": digests} if digests else {})
    return certifier._replace(header=header)


def selected(chosen: ConfigDict, size: int) -> list[int]:
    """Return the positions that start, stop and step of config.certify name. Raises
    InputError if there are none, and as `check_selection`."""
    check_selection(chosen)
    index = list(range(chosen.start, min(chosen.stop or size, size), chosen.step))
    if not index:
        raise InputError(
            f"certify.start={chosen.start} and stop={chosen.stop} leave none of {size} images."
        )
    return index


def check_selection(chosen: ConfigDict) -> None:
    """Raises InputError for split, start, stop, step or batch that fit no data set, and for
    radii that no column of a table can have."""
    if chosen.split not in ("train", "test"):
        raise InputError(f"certify.split is {chosen.split!r}: give 'train' or 'test'.")
    bad = [r for r in chosen.radii if not 0 <= r < math.inf]
    if bad:
        raise InputError(
            f"certify.radii has {bad[0]}: give numbers from 0 up, such as (0.0, 0.25, 0.5)."
        )
    if chosen.batch < 1 or chosen.step < 1 or chosen.start < 0 or chosen.stop < 0:
        raise InputError(
            "certify.batch and certify.step must be at least 1, start and stop at least 0 "
            f"(0: to the end), not {chosen.batch}, {chosen.step}, {chosen.start}, {chosen.stop}."
        )
