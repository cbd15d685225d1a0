"""Joins record files that hold parts of one request, such as those of several machines."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from jaxcert.errors import UNFINISHED, InputError, check_file
from jaxcert.records.files import difference, load, save
from jaxcert.records.lines import FORMAT, FORMAT_1


def merge(paths: Sequence[str | Path], out: str | Path) -> int:
    """Write the rows of record files of one request into a new file, with the header of the
    first and the requests of all. Returns the number of rows.

    Raises InputError, and writes nothing, for files of different requests or formats, one that
    is given twice or was not finished, an image that is in two of them, and an `out` that is
    there.
    """
    out = Path(out)
    check_file(out, new=True)
    if os.path.lexists(out):
        raise InputError(f"{out} is there already: name a new file with --out.")
    if len(paths) < 2:
        raise InputError("one part is nothing to merge: name two record files or more.")
    given: set[str] = set()
    for path in paths:
        if str(path).endswith(UNFINISHED):
            raise InputError(
                f"{path} is what a command that was ended left unfinished: run that again."
            )
        if os.path.realpath(path) in given:
            raise InputError(f"{path} is given twice: leave one of them out.")
        given.add(os.path.realpath(path))
    parts = {Path(path): load(path) for path in paths}
    (first, head), *_ = parts.items()
    where: dict[int, Path] = {}
    requests: list = []
    for path, part in parts.items():
        formats = part.header.get("format"), head.header.get("format")
        if formats[0] != formats[1] or formats[0] not in (FORMAT, FORMAT_1):
            raise InputError(
                f"{path} is of the format {formats[0]}, {first} of {formats[1]}: merge records of "
                "one format."
            )
        if (other := difference(head.header, part.header)) is not None:
            key, wanted, found = other
            raise InputError(
                f"{path} holds certificates with {key} {found}, {first} has {wanted}: merge "
                "parts of one request."
            )
        for index in part.index.tolist():
            if index in where:
                raise InputError(
                    f"image {index} is in {where[index]} and in {path}: leave one of them out."
                )
            where[index] = path
        requests += part.header.get("requests", [None])
    distinct = [r for i, r in enumerate(requests) if r not in requests[:i]]
    save(out, head.header | {"requests": distinct}, parts.values())
    return len(where)
