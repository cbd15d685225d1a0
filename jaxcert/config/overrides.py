"""Overrides of a command line: `--config.section.key=value`."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from copy import deepcopy
from typing import Any

from absl import flags
from ml_collections import ConfigDict, config_flags
from ml_collections.config_dict import placeholder

from jaxcert.config.building import PACKAGES, settings
from jaxcert.config.checking import check
from jaxcert.config.comparing import tiny as shrunk
from jaxcert.config.comparing import without_reference
from jaxcert.config.files import load
from jaxcert.config.sections import base
from jaxcert.errors import InputError
from jaxcert.progress import say

_OF_THE_DATA = ("image_shape", "num_classes")
"""Keys of a model that another model does not change."""


def resolve(
    argument: str, words: Sequence[str] = (), *, tiny: bool = False
) -> ConfigDict:
    """Return the config of `NAME:ROW` or `FILE:ROW` that a run with these overrides is trained
    with; tiny: shrunk to seconds first. Raises InputError as `load` and `override` do."""
    row = load(argument)
    row = shrunk(row) if tiny else row
    config = without_reference(override(deepcopy(row), words), row)
    check(config, argument)
    return config


def override(config: ConfigDict, words: Sequence[str]) -> ConfigDict:
    """Apply `--config.optim.lr=0.01` and the like to the config, and return it. Another
    model, method or certificate is applied first: it starts from its own defaults, with the
    keys that mean the same in both."""
    names = tuple(f"--config.{section}.name=" for section in PACKAGES)
    for word in sorted(words, key=lambda word: not word.startswith(names)):
        key, _, value = word.removeprefix("--config.").partition("=")
        if word.startswith(names):
            _change_name(config, key.partition(".")[0], value)
        section, last = _place(config, key)
        before, kind = section[last], section.get_type(last).__name__
        values, arguments = flags.FlagValues(), ["jaxcert", word]
        try:
            config_flags.DEFINE_config_dict(
                "config", config, flag_values=values, sys_argv=arguments
            )
            values(arguments)
            if kind == "tuple" and _numbers(before) and not _numbers(section[last]):
                raise ValueError
        except (flags.Error, TypeError, ValueError):
            example = str(before).replace(" ", "")
            such = "" if before is None else f", such as {example}"
            raise InputError(
                f"{word} does not fit: give a value of type {kind}{such}."
            ) from None
    return config


def _change_name(config: ConfigDict, section: str, name: str) -> None:
    """Take the keys of the former model, method or certificate out and say so on stderr. Kept
    are those that the one of this name has too, with the same default, and those of the
    data."""
    former = config[section].name
    if name == former:
        return
    takes = settings(section, name)
    had = settings(section, former) if former else takes
    takes_as_before = {
        k for k in takes if k in _OF_THE_DATA or takes[k] == had.get(k, takes[k])
    }
    own = [key for key in config[section] if key not in base()[section]]
    dropped = [key for key in own if key not in takes_as_before]
    places = [config[section], config.tiny.get(section, ConfigDict())]
    places += [config.eval.certify] if section == "certify" else []
    for place in places:
        with place.unlocked():
            for key in {*dropped} & {*place}:
                del place[key]
    if dropped:
        say(
            f"{section}.name={name} starts from its own defaults, without "
            f"{', '.join(dropped)} of {former or 'the config'}"
        )


def _place(config: ConfigDict, key: str) -> tuple[ConfigDict, str]:
    """Return the section and the last word of a dotted key. A key that a section lacks,
    but its model, method or certificate takes, starts at its default; one of
    eval.certify starts as config.certify has it. Raises InputError if there is no such
    key."""
    value, words = config, key.split(".")
    for depth, part in enumerate(words):
        section = value
        if not isinstance(section, ConfigDict):
            raise InputError(
                f"--config.{key}: there is no key {part!r}, what it would be in is the "
                f"value {section!r}; leave '.{part}' out."
            )
        if part not in section:
            known = _others(config, words[:depth])
            if part not in known:
                there = sorted({*section, *known})
                near = difflib.get_close_matches(part, there, 1)
                listed = ", ".join(there) or "none"
                hint = f"did you mean {near[0]!r}?" if near else f"there are {listed}."
                raise InputError(f"--config.{key}: there is no key {part!r}; {hint}")
            start = known[part]
            with section.unlocked():
                section[part] = placeholder(start) if type(start) is type else start
        value = section[part]
    if isinstance(value, ConfigDict):
        there = ", ".join(sorted(value)) or "none"
        raise InputError(f"--config.{key} is a section: name one of its keys, {there}.")
    return section, words[-1]


def _others(config: ConfigDict, where: list[str]) -> dict[str, Any]:
    """Return the keys that the section at a place may have besides those it has, with
    the value that each starts at."""
    if where == ["eval", "certify"]:
        return _others(config, ["certify"]) | dict(config.certify)
    if where[-1:] == ["networks"]:
        return _others(config, where[:-1]).get("networks", {})
    if len(where) != 1 or where[0] not in PACKAGES:
        return {}
    return settings(where[0], config[where[0]].name)


def _numbers(values: tuple) -> bool:
    return all(isinstance(v, int | float) for v in values)
