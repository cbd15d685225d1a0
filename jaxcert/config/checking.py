"""Checks that the keys and values of a config are what their places expect."""

from __future__ import annotations

from pathlib import Path
from types import NoneType, UnionType
from typing import Any, get_args, get_origin

from ml_collections import ConfigDict

from jaxcert.config.sections import base
from jaxcert.errors import InputError, within

_NUMBERS = tuple[float, ...]
_LARGEST = 2**32
"""The limit of every number: seeds are below it, and nothing else is as large."""
_HANDED_ON = ("model", "method", "optim", "certify")
"""Sections with keys of their own, which `build` and `call` check."""


def type_of(section: ConfigDict, key: str) -> Any:
    """Return the annotation that a value of a section stands for."""
    value, kind = section[key], section.get_type(key)
    if value is None:
        return object if kind is NoneType else kind | None
    return _NUMBERS if value and _is(value, _NUMBERS) else kind


def check_type(value: Any, kind: Any, what: str) -> None:
    """Raises InputError for a value that does not fit an annotation, or a number that is not
    finite or too large for any place."""
    if not _is(value, kind):
        name = kind.__name__ if isinstance(kind, type) else kind
        shown = "a section" if isinstance(value, ConfigDict) else repr(value)
        raise InputError(f"{what} is {shown}: give a value of type {name}.")
    numbers = (value,)
    if isinstance(value, tuple):
        numbers = value
    elif isinstance(value, dict | ConfigDict):
        numbers = tuple(value.values())
    if any(isinstance(v, int | float) and not abs(v) <= _LARGEST for v in numbers):
        shown = str(value) if len(str(value)) < 50 else f"{str(value)[:47]}..."
        raise InputError(
            f"{what} is {shown}: give a finite number of at most 2**32 in size."
        )


def _is(value: Any, kind: Any) -> bool:
    """Return whether a value fits an annotation; annotations of other kinds are not
    checked."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin is UnionType:
        return any(_is(value, each) for each in inner)
    if origin is tuple:
        return isinstance(value, tuple) and all(_is(v, inner[0]) for v in value)
    if origin is dict:
        section = isinstance(value, dict | ConfigDict)
        return section and all(_is(v, inner[1]) for v in value.values())
    if isinstance(value, bool):  # an int to Python
        return kind in (bool, object)
    return not isinstance(kind, type) or isinstance(
        value, int | float if kind is float else kind
    )


def check(config: ConfigDict, path: str | Path) -> None:
    """Raises InputError unless keys and types of values are those of base(). Sections that
    `build` and `call` hand on may have other keys: they look at those."""
    known = base()
    known.model = known.method = dict(name="")  # all that every one of them has
    _compare(config, known, path)
    how = dict(partly=True, own=True)
    _compare(config.eval.certify, config.certify, path, "eval.certify.", **how)
    _compare(config.tiny, config, path, "tiny.", partly=True)
    seeds = {"seed": config.seed, "certify.seed": config.certify.seed}
    seeds["eval.certify.seed"] = config.eval.certify.get("seed", 0)
    within(f"[0, {2**32 - 1}]", **seeds)


def _compare(
    section: ConfigDict,
    known: ConfigDict,
    path: str | Path,
    prefix: str = "",
    *,
    partly: bool = False,
    own: bool = False,
) -> None:
    """Raises InputError unless a section has the keys of `known`, with values of its types;
    partly: not all of them, own: others as well. An empty `known` says nothing."""
    unknown = set() if own else set(section) - set(known)
    missing = set() if partly else set(known) - set(section)
    for fault, odd in (("has the unknown", unknown), ("lacks the", missing)):
        if odd:
            raise InputError(
                f"{path} {fault} key {prefix}{sorted(odd)[0]}: there are "
                f"{', '.join(sorted(known))}."
            )
    for key in sorted(set(section) & set(known)):
        value, like, what = section[key], known[key], f"{path}: {prefix}{key}"
        if not isinstance(like, ConfigDict):
            check_type(value, type_of(known, key), what)
        elif not isinstance(value, ConfigDict):
            raise InputError(f"{what} is {value!r}: make it a section, with keys.")
        elif len(like):
            deeper = dict(partly=partly, own=key in _HANDED_ON)
            _compare(value, like, path, f"{prefix}{key}.", **deeper)
