"""Reads the file of a certificate record line by line into typed columns.

A file of a million rows takes little more memory than the columns that are kept: lines
become Python objects a few thousand at a time. Which rows there can be is in `INTEGERS`,
`FLOATS` and `ROW_FIELDS`; what the columns mean is said in `certificate.Certificates`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from jaxcert.certificate import NO_LABEL
from jaxcert.errors import InputError

FORMAT = "jaxcert-certificates-2"
"""The format that is written (docs/records.md)."""
FORMAT_1 = "jaxcert-certificates-1"
"""The format of version 0.1, with less evidence, which is still read."""

INTEGERS = {
    "index": np.int64,
    "label": np.int32,
    "predicted": np.int32,
    "n": np.int64,
}
FLOATS = ("radius", "seconds")
"""Floating-point numbers that every row has; the whole numbers are above."""
ROW_FIELDS = {
    "radius_paper": 0,
    "p_lower": 0,
    "counts": 1,
    "agreeing": 1,
    "selection": 1,
    "rivals": 1,
    "changed": 0,
    "logits": 1,
    "least_margins": 1,
    "margins": 1,
    "means": 1,
    "variances": 1,
    "distance": 0,
}
"""The number of axes of each optional column of evidence."""
COUNTED = ("counts", "agreeing", "selection", "rivals", "changed")
"""Columns of evidence that hold whole numbers."""

_FORMATS = "jaxcert-certificates-"
_LINES = 4096
"""How many lines are Python objects at a time."""
_NO_ROW = (
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    OverflowError,
    RecursionError,
)
"""Exceptions of a line that is no row, or nests too deep to be one."""


def is_record(path: Path) -> bool:
    """Return whether the first character that is not blank opens a JSON object."""
    with open(path, "rb") as file:
        while block := file.read(1 << 16):
            if block.strip():
                return block.lstrip().startswith(b"{")
    return False


def end_of_whole_lines(path: Path) -> tuple[int, int, bool]:
    """(size of the file; where its last whole line ends; whether a newline stands there).

    A last line that was cut off is not whole. One that lacks only its newline is: no part
    of a JSON object is JSON.
    """
    size = os.path.getsize(path)
    end, tail = size, b""
    with open(path, "rb") as file:
        while end and b"\n" not in tail:
            start = max(0, end - (1 << 16))
            file.seek(start)
            tail, end = file.read(end - start) + tail, start
    line = tail[tail.rfind(b"\n") + 1 :]
    if line and _is_json(line):
        return size, size, False
    return size, size - len(line), True


def read(
    path: Path,
    look: Callable[[dict[str, Any], dict[str, np.ndarray], int], None] | None = None,
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """(header, columns named as in `certificate.Certificates`) of a record file.

    look(header, columns, first): is shown the columns of some thousand lines at a time, of
    which line `first` is the first; then only those that every row has are kept.

    A last line that was cut off is left out. `requests` of rows stand in the header's.
    Raises InputError naming file, line and fault.
    """
    with open(path, "rb") as file:
        header = _header(path, file.readline())
        parts: list[dict[str, np.ndarray]] = []
        asked: list[Any] = []
        first = 2
        while lines := list(islice(file, _LINES)):
            if not lines[-1].endswith(b"\n") and not _is_json(lines[-1]):
                lines.pop()
            columns = _columns(path, lines, first, asked)
            if look is not None:
                look(header, columns, first)
                columns = {name: columns[name] for name in (*INTEGERS, *FLOATS)}
            parts.append(columns)
            first += len(lines)
    if asked:
        known = header.get("requests", [None])
        known = known if isinstance(known, list) else [known]
        header["requests"] = known + asked
    return header, joined(path, parts or [_columns(path, [], 2, [])])


def parsed(path: Path, lines: Sequence[str]) -> dict[str, np.ndarray]:
    """Return the columns of the lines of some rows. Raises InputError as `read`."""
    return _columns(path, [line.encode() for line in lines], 1, [])


def no_text(path: Path) -> str:
    return f"{path} is no record file, as it is not text: name another file."


def _header(path: Path, line: bytes) -> dict[str, Any]:
    try:
        header = _object(_text(path, line))
        known = header.get("format") in (FORMAT, FORMAT_1)
        if not known and str(header.get("format", "")).startswith(_FORMATS):
            raise InputError(
                f"{path} is of the format {header['format']}, which is not known here: take the "
                "version of jaxcert that wrote it, or a newer one."
            )
        if not known:
            raise ValueError
    except InputError:
        raise
    except _NO_ROW:
        raise InputError(
            f"{path}, line 1 is not the header of a record: restore it, or name "
            "another file with --out of `python -m jaxcert.certify`."
        ) from None
    return header


def _columns(
    path: Path, lines: Sequence[bytes], first: int, asked: list[Any]
) -> dict[str, np.ndarray]:
    """Return the typed columns of some lines, of which line `first` is the first, and
    append the requests that rows carry to `asked`."""
    texts = [_text(path, line) for line in lines]
    try:
        rows = [_object(text) for text in texts]
        columns = _needed(rows)
    except _NO_ROW:
        for number, text in enumerate(texts, first):
            try:
                _needed([_object(text)])
            except _NO_ROW:
                raise InputError(
                    f"{path}, line {number} is not a certificate: delete that line (its "
                    "image is certified again) or name another file with --out of "
                    "`python -m jaxcert.certify`."
                ) from None
        raise
    for row in rows:
        if "requests" in row:
            given = row["requests"]
            asked += given if isinstance(given, list) else [given]
    for name in ROW_FIELDS:
        values = [row.get(name) for row in rows]
        if any(v is not None for v in values):
            columns[name] = _stack(path, name, values, first)
    return columns


def _needed(rows: Sequence[dict[str, Any]]) -> dict[str, np.ndarray]:
    """Return the columns that every row has. Raises one of `_NO_ROW` for a row without
    them."""
    columns = {}
    for name, kind in INTEGERS.items():
        values = [row[name] for row in rows]
        if name == "label":
            values = [NO_LABEL if v is None else _whole_from_0(v) for v in values]
        if not set(map(type, values)) <= {int}:
            raise ValueError
        columns[name] = np.array(values, np.int64)
        if (np.abs(columns[name]) > np.iinfo(kind).max).any():
            raise ValueError
        columns[name] = columns[name].astype(kind)
    for name in FLOATS:
        values = [row[name] for row in rows]
        if not set(map(type, values)) <= {int, float}:
            raise ValueError
        columns[name] = np.array(values, np.float64)
        if not np.isfinite(columns[name]).all():
            raise ValueError
    return columns


def _whole_from_0(value: Any) -> int:
    """Return the class. Raises ValueError for another value, of -1 as well."""
    if type(value) is not int or value < 0:
        raise ValueError
    return value


def _stack(path: Path, name: str, values: list[Any], first: int) -> np.ndarray:
    """Stack one field of all rows. A row without it, as of an error, becomes NaN or
    zero counts, and so does a null. Raises InputError naming the line of a value that is no
    whole number where votes are counted, 1000.0 among them, or else no number."""
    votes, several = name in COUNTED, ROW_FIELDS[name]
    kinds = {int} if votes else {int, float, type(None)}
    for line, value in enumerate(values, first):
        within = value if several and isinstance(value, list) else [value]
        if value is not None and not set(map(type, within)) <= kinds:
            raise InputError(
                f"{path}, line {line} has {name} that are no {'whole ' * votes}numbers: delete "
                "that line and certify the image again."
            )
    try:
        given = np.array([v for v in values if v is not None])
        if given.dtype == object and not votes:  # with a null somewhere
            given = given.astype(np.float64)
        if given.dtype.kind not in "if" or given.ndim != 1 + several:
            raise ValueError
    except (ValueError, TypeError, OverflowError):
        raise unequal(path, name) from None
    dtype = np.int64 if votes else np.float64
    if len(given) == len(values):
        return given.astype(dtype)
    stacked = _missing(name, (len(values), *given.shape[1:]))
    stacked[[v is not None for v in values]] = given
    return stacked


def _missing(name: str, shape: tuple[int, ...]) -> np.ndarray:
    if name in COUNTED:
        return np.zeros(shape, np.int64)
    return np.full(shape, np.nan)


def joined(path: Path, parts: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Join the columns of all parts, freeing each part as it is copied, so that no
    column is there twice. A column that some parts lack becomes NaN or zero counts in
    their rows. path: the file that an error names."""
    sizes = [len(part["index"]) for part in parts]
    begins = np.cumsum([0, *sizes[:-1]])
    columns = {}
    for name in dict.fromkeys(name for part in parts for name in part):
        found = [part.pop(name, None) for part in parts]
        like = next(v for v in found if v is not None)
        if any(v is not None and v.shape[1:] != like.shape[1:] for v in found):
            raise unequal(path, name)
        columns[name] = np.empty((sum(sizes), *like.shape[1:]), like.dtype)
        for i, (begin, size) in enumerate(zip(begins, sizes, strict=True)):
            part, found[i] = found[i], None
            if part is None:
                part = _missing(name, (size, *like.shape[1:]))
            columns[name][begin : begin + size] = part
    return columns


def unequal(path: Path, name: str) -> InputError:
    return InputError(
        f"{path}: the rows' {name} differ in length or type: restore the file, or certify "
        "again into another one with --out."
    )


def _object(text: str) -> Any:
    """Return the value of a JSON text. Raises ValueError for an object in which a key comes
    twice, because readers differ in which of the two they take."""
    return json.loads(text, object_pairs_hook=_without_repeats)


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key comes twice")
    return found


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


def _text(path: Path, line: bytes) -> str:
    try:
        return line.decode()
    except UnicodeDecodeError:
        raise InputError(no_text(path)) from None
