"""Joins record files that hold parts of one request, such as those of several machines."""

from __future__ import annotations

import os
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np

from jaxcert.certificate import Certificates
from jaxcert.errors import UNFINISHED, InputError, check_file
from jaxcert.records import checks, lines
from jaxcert.records.files import difference, load, save
from jaxcert.records.lines import FORMAT, FORMAT_1


def merge(paths: Sequence[str | Path], out: str | Path) -> int:
    """Write the rows of record files of one request into a new file, with the header of the
    first and the requests of all. Returns the number of rows.

    Files of `certify --part` become the record of a certification that was not divided: one
    request, and rows in the order of the images.

    Raises InputError, and writes nothing, for files of different requests or formats, one that
    is given twice or was not finished, an image that is in two of them, a part that is missing
    or lacks images, and an `out` that is there.
    """
    out = Path(out)
    check_file(out, new=True)
    if os.path.lexists(out):
        raise InputError(f"{out} is there already: name a new file with --out.")
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
    (first, head), *others = parts.items()
    if not others and "part" not in head.header:
        raise InputError("one part is nothing to merge: name two record files or more.")
    where: dict[int, Path] = {}
    requests: list = []
    for path, part in parts.items():
        formats = part.header.get("format"), head.header.get("format")
        if formats[0] != formats[1] or formats[0] not in (FORMAT, FORMAT_1):
            raise InputError(
                f"{path} is of the format {formats[0]}, {first} of {formats[1]}: merge records of "
                "one format."
            )
        unnumbered = [h | {"part": None} for h in (head.header, part.header)]
        if (other := difference(*unnumbered)) is not None:
            key, wanted, found = other
            raise InputError(
                f"{path} holds certificates with {key} {found}, {first} has {wanted}: merge "
                "parts of one request."
            )
        requests += part.header.get("requests", [None])
    numbered = any("part" in part.header for part in parts.values())
    header = _undivided(parts) if numbered else head.header
    for path, part in parts.items():
        for index in part.index.tolist():
            if index in where:
                raise InputError(
                    f"image {index} is in {where[index]} and in {path}: leave one of them out."
                )
            where[index] = path
    if numbered:
        save(out, header, [Certificates(**_sorted(out, parts), header=header)])
        return len(where)
    distinct = [r for i, r in enumerate(requests) if r not in requests[:i]]
    save(out, header | {"requests": distinct}, parts.values())
    return len(where)


def _undivided(parts: dict[Path, Certificates]) -> dict[str, Any]:
    """Return the header of the certification that these numbered parts make up. Raises
    InputError where they are not all of it."""
    numbers: dict[int, Path] = {}
    counts, asked = set(), set()
    for path, part in parts.items():
        numbers_of_part = checks.part_numbers(part.header.get("part"))
        if numbers_of_part is None:
            raise InputError(
                f"{path} is no numbered part, and others are: merge files of `certify --part` by "
                "themselves."
            )
        number, count = numbers_of_part
        counts.add(count)
        if len(counts) > 1:
            raise InputError(
                f"{path} is part {number}/{count}, and others are of {min(counts - {count})} "
                "parts: merge the parts of one division."
            )
        if number in numbers:
            raise InputError(
                f"{path} and {numbers[number]} are both part {number}/{count}: leave one of them "
                "out."
            )
        numbers[number] = path
        requests = part.header.get("requests") or [None]
        known = [r for r in requests if r is not None]
        if len(known) < len(requests):
            raise InputError(
                f"{path} does not say which images it was asked for: certify part "
                f"{number}/{count} again into another file with --out."
            )
        wanted = {i for r in known for i in range(r["start"], r["stop"], r["step"])}
        if lacking := len(wanted - set(part.index.tolist())):
            raise InputError(
                f"{path}, part {number}/{count}, lacks {lacking:,} of its {len(wanted):,} images: "
                "give the command that wrote it again, which continues it."
            )
        asked |= wanted
    missing = sorted(set(range(1, count + 1)) - set(numbers))
    if missing:
        shown = ", ".join(map(str, missing[:8])) + ", ..." * (len(missing) > 8)
        raise InputError(
            f"of {count} parts {shown} {'is' if len(missing) == 1 else 'are'} missing: give their "
            "files as well."
        )
    images = sorted(asked)
    steps = set(np.diff(images).tolist())
    if len(steps) != 1:
        raise InputError(
            "the parts were asked for different images: certify all with the same certify.start, "
            "stop and step."
        )
    request = dict(start=images[0], stop=images[-1] + 1, step=steps.pop())
    header = next(iter(parts.values())).header
    header = {k: v for k, v in header.items() if k != "part"} | {"requests": [request]}
    config = deepcopy(header.get("config"))
    if isinstance(config, dict) and isinstance(config.get("certify"), dict):
        config["certify"] |= {k: request[k] for k in ("start", "step")}
        header["config"] = config
    return header


def _sorted(out: Path, parts: dict[Path, Certificates]) -> dict[str, np.ndarray]:
    """Return the columns of all parts by rising index."""
    known = [
        {k: v for k, v in part._asdict().items() if isinstance(v, np.ndarray)}
        for part in parts.values()
    ]
    columns = lines.joined(out, known)
    order = np.argsort(columns["index"])
    return {k: v[order] for k, v in columns.items()}
