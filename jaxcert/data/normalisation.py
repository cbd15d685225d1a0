"""Whose mean and std a config has: networks normalise inside, by model.mean and std."""

from __future__ import annotations

import inspect
from functools import cache

from jaxcert.config import ConfigDict, maker
from jaxcert.progress import say

KNOWN = {
    (0.4914, 0.4822, 0.4465): "CIFAR-10",
    (0.5071, 0.4867, 0.4408): "CIFAR-100",
    (0.485, 0.456, 0.406): "ImageNet",
    (0.4815, 0.4578, 0.4082): "ImageNet of 64 x 64 pixels",
    (0.4802, 0.4481, 0.3975): "Tiny ImageNet",
    (0.1307,): "MNIST",
    (0.13,): "MNIST",
    (0.1,): "MNIST",
    (0.3,): "the digits",
}
"""Names of data sets by the mean of their channels, pixels in [0, 1], as shipped
configs and the defaults of networks have it."""

_CLASSES = dict(cifar10=10, cifar100=100, mnist=10, digits=10)
"""Classes of the data sets that shipped configs name; their mean and std need no
warning."""


def of_another(config: ConfigDict) -> str | None:
    """Return a sentence that says whose mean and std are used, where these are of a
    known data set and the network is of the user's own images, or of other classes than
    config.data has; else None."""
    section, data = _with_defaults(config.model), config.data.name
    known, classes = KNOWN.get(tuple(section.get("mean", ()))), section["num_classes"]
    if known is None or _CLASSES.get(data.removeprefix("tfds:")) == classes:
        return None
    what = f"a network of {classes} classes" if data in _CLASSES else data
    return (
        f"{what} is normalised by the mean {section['mean']} and std {section['std']} of "
        f"{known}: give --config.model.mean and --config.model.std where others are meant."
    )


def _with_defaults(section: ConfigDict) -> dict:
    """Return config.model together with what the network takes where the config says
    nothing."""
    parameters = inspect.signature(maker("models", section.name)).parameters
    return {p.name: p.default for p in parameters.values()} | section.to_dict()


def warn_of_another(config: ConfigDict) -> None:
    """Print `of_another` on stderr, once in each process."""
    if sentence := of_another(config):
        _warn(f"warning: {sentence}")


_warn = cache(say)
