"""Compares the runs that two configs train, and makes the shrunk run of one."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from ml_collections import ConfigDict

from jaxcert.config.sections import base

_HARMLESS = (
    "certify.",
    "eval.",
    "log.",
    "track",
    "checkpoint.",
    "reference.",
    "tiny.",
    "data.dir",
    "data.download",
    "data.placement",
)
"""Keys that may change between the sessions of one run."""
_OF_A_RUN = ("seed", "data.generated", "optim.accumulate")
"""Keys in which runs of one row differ."""


def tiny(config: ConfigDict) -> ConfigDict:
    """Return the config with its `tiny` overrides applied: the same run, shrunk to
    seconds. A number of images that the config holds out is of the whole data set, so
    none are held out."""
    small = deepcopy(config)
    with small.unlocked():
        if small.data.holdout >= 1:
            small.data.holdout = 0.0
        small.update(config.tiny.to_dict())
    return without_reference(small, config)


def without_reference(config: ConfigDict, row: ConfigDict) -> ConfigDict:
    """Return the config without published numbers if it trains something else than the
    row that it was made of."""
    same = config.reference.to_dict() == row.reference.to_dict()
    if same and any(k.split(" ")[0] not in _OF_A_RUN for k in differences(config, row)):
        with config.unlocked():
            config.reference = deepcopy(base().reference)
    return config


def with_certificate(config: ConfigDict, row: ConfigDict) -> ConfigDict:
    """Return a copy of a network's config with the certificate of another config, and its
    published numbers where both are of one data set."""
    config = deepcopy(config)
    same = config.data.name == row.data.name
    reference = row.reference if same else base().reference
    with config.unlocked():  # another certificate has other keys
        config.certify, config.tiny = deepcopy(row.certify), deepcopy(row.tiny)
        config.reference = deepcopy(reference)
    return config


def differences(one: ConfigDict, other: ConfigDict) -> list[str]:
    """Return the dotted keys in which two configs train different runs, each with both
    values."""
    flat = [dict(_flat(c.to_dict())) for c in (one, other)]
    keys = sorted(set(flat[0]) | set(flat[1]))
    return [
        f"{k} ({flat[0].get(k)} there, {flat[1].get(k)} here)"
        for k in keys
        if flat[0].get(k) != flat[1].get(k) and not k.startswith(_HARMLESS)
    ]


def _flat(section: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    pairs = []
    for key, value in section.items():
        if isinstance(value, dict):
            pairs += _flat(value, f"{prefix}{key}.")
        else:
            pairs.append((prefix + key, value))
    return pairs
