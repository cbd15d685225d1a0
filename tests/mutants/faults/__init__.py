"""Faults that the default test suite must notice, each with a test that fails for it.

A module of this folder has the FAULTS of one FOLDER of the library, as tuples (name, file in
FOLDER, text, replacement, test). A text occurs exactly once in its file; its replacement keeps
shapes and types. The test is not marked slow, fails by comparing a value, and takes seconds.
"""

from __future__ import annotations

import importlib
import pkgutil
import posixpath
from typing import NamedTuple


class Fault(NamedTuple):
    name: str
    file: str
    text: str
    replacement: str
    tests: tuple[str, ...]


def _all() -> list[Fault]:
    found = []
    for module in pkgutil.iter_modules(__path__):
        part = importlib.import_module(f"{__name__}.{module.name}")
        for name, file, text, replacement, test in part.FAULTS:
            path = posixpath.normpath(f"{part.FOLDER}/{file}")
            found.append(Fault(name, path, text, replacement, (test,)))
    return found


FAULTS = _all()
