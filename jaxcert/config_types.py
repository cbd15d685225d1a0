"""Whether a value of a config is what its place expects."""

from __future__ import annotations

from types import NoneType, UnionType
from typing import Any, get_args, get_origin

from ml_collections import ConfigDict

from jaxcert.errors import InputError

_NUMBERS = tuple[float, ...]
_LARGEST = 2**32
"""Of every number: seeds are below it, and nothing else is as large."""


def type_of(section: ConfigDict, key: str) -> Any:
    """What a value of a section stands for, as an annotation."""
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
    numbers = value if isinstance(value, tuple) else (value,)
    if isinstance(value, dict | ConfigDict):
        numbers = value.values()
    if any(isinstance(v, int | float) and not abs(v) <= _LARGEST for v in numbers):
        shown = str(value) if len(str(value)) < 50 else f"{str(value)[:47]}..."
        raise InputError(
            f"{what} is {shown}: give a finite number of at most 2**32 in size."
        )


def _is(value: Any, kind: Any) -> bool:
    """Whether a value fits an annotation; unusual ones are not looked at."""
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
