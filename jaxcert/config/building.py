"""From a section of a config to the function that its `name` stands for."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from ml_collections import ConfigDict

from jaxcert.config.checking import check_type
from jaxcert.errors import InputError

PACKAGES = {"model": "models", "method": "methods", "certify": "certificates"}
"""The package of each section whose `name` is a module."""
_NONE = inspect.Parameter.empty


def build(
    package: str,
    section: ConfigDict,
    *,
    needs: Mapping[str, Any] | None = None,
    **context: Any,
) -> Any:
    """`build("methods", config.method, model=...)` -> jaxcert.methods.<name>.make(...).

    context: what `make` gets if it takes it; needs: what it must take. Raises InputError for
    an unknown name or key, listing those there are.
    """
    arguments = dict(section.to_dict())
    name = arguments.pop("name")
    make = maker(package, name)
    what, takes = f"{package[:-1]} {name}", inspect.signature(make).parameters
    for key in needs or {}:
        if key not in takes:
            raise InputError(
                f"{what} takes no network {key!r}: leave it out of networks."
            )
    option = next(key for key, value in PACKAGES.items() if value == package)
    given = {**context, **(needs or {})}
    return call(make, arguments, what=what, option=f"--config.{option}", **given)


def maker(package: str, name: str) -> Callable:
    """Return `make` of jaxcert.<package>.<name>. Raises InputError for an unknown name."""
    names = _modules(package)
    if name not in names:
        raise InputError(
            f"no {package[:-1]} is called {name!r}; there are {', '.join(names)}."
        )
    return importlib.import_module(f"jaxcert.{package}.{name}").make


def in_float32(section: ConfigDict) -> Any:
    """Return the model of config.model in float32 if it computes in bfloat16, else
    None."""
    if section.get("dtype") != "bfloat16":
        return None
    return build("models", ConfigDict(section.to_dict() | {"dtype": "float32"}))


def call(
    function: Callable, section: Any, *, what: str, option: str = "", **context: Any
) -> Any:
    """`function` with the keys of a section, and those of `context` that it takes. option:
    the words of a command line before a key of the section.

    Raises InputError for an unknown or missing key, listing those there are, or a value
    that does not fit the parameter's annotation.
    """
    parameters = inspect.signature(function).parameters
    known = [k for k in parameters if k not in context]
    unknown = [key for key in section if key not in known]
    if unknown:
        there = ", ".join(known) or "none at all"
        raise InputError(f"{what} has no key {unknown[0]!r} but {there}: leave it out.")
    missing = [k for k in known if parameters[k].default is _NONE and k not in section]
    kinds = get_type_hints(function)
    for key in missing[:1]:
        if getattr(kinds.get(key), "__name__", "") == "Network":
            raise InputError(
                f"{what} needs a network {key!r}: give its workdir as "
                f"{option}.networks.{key}=DIR."
            )
        where = f", or as {option}.{key}=VALUE" if option else ""
        raise InputError(f"{what} needs the key {key!r}: give it in the config{where}.")
    for key, value in section.items():
        check_type(value, kinds.get(key, object), f"{what}: {key}")
    given = {k: v for k, v in context.items() if k in parameters}
    return function(**given, **section)


def settings(section: str, name: str) -> dict[str, Any]:
    """Keys that the model, method or certificate of a name takes -> the default of each, or
    its type where there is none; those of other networks are in `networks`. Raises InputError
    for an unknown name."""
    make = maker(PACKAGES[section], name)
    kinds, found, networks = get_type_hints(make), {}, {}
    for key, parameter in inspect.signature(make).parameters.items():
        kind = next(iter(get_args(kinds[key])), kinds[key])
        kind = tuple if get_origin(kinds[key]) is tuple else kind
        if kind in (bool, int, float, str, tuple):
            without = parameter.default in (None, _NONE)
            found[key] = kind if without else parameter.default
        elif kind.__name__ == "Network" and key != "network":
            networks[key] = ""
    return found | ({"networks": networks} if networks else {})


def _modules(package: str) -> list[str]:
    folder = Path(__file__).parents[1] / package
    return sorted(
        f.stem
        for f in folder.glob("[!_]*.py")
        if re.search(r"^def make\(", f.read_text("utf-8"), re.MULTILINE)
    )
