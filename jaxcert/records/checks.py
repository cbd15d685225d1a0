"""What no record has: headers and rows that a certifier does not write, for the reader and the
writer alike."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from jaxcert.certificate import ERROR, NO_LABEL, Certificates
from jaxcert.errors import InputError
from jaxcert.records.lines import ROW_FIELDS

OF_CLASSES = ("counts", "selection", "logits", "margins", "means", "variances")
"""Evidence with a number for each class."""
_OF_N = ("agreeing", "rivals")
"""Votes among the n samples of the row."""


def first(faults: Iterable[tuple[np.ndarray, str]]) -> tuple[int, str] | None:
    """Return the position of the first row with a fault and what the fault is, or None."""
    for bad, what in faults:
        if bad.any():
            return int(np.flatnonzero(bad)[0]), what
    return None


def faults(
    c: Certificates, header: dict[str, Any], found: dict[str, int] | None = None
) -> list[tuple[np.ndarray, str]]:
    """Return (bool [N], what is wrong with these rows) for everything that no row may
    have. found: the `widths` of their evidence, where the evidence is not among the
    rows."""
    duplicate = np.ones(len(c.index), bool)
    duplicate[np.unique(c.index, return_index=True)[1]] = False
    no_radius = ~np.isfinite(c.radius) | (c.radius < 0)
    faults = [
        (no_radius, "a radius that is negative or not finite"),
        (~np.isfinite(c.seconds), "seconds that are not finite"),
        ((c.predicted < 0) & (c.radius != 0), "a radius without a prediction"),
        (c.predicted < ERROR, "an unknown prediction"),
        (c.label < NO_LABEL, "a negative label"),
        (c.n < 0, "a negative number of samples"),
        (duplicate, "an image that was there before"),
    ]
    if c.p_lower is not None:
        faults.append(((c.p_lower < 0) | (c.p_lower > 1), "a p_lower that is no share"))
    if c.counts is not None:
        extra = (c.counts < 0).any(1) | (c.counts.sum(1) > c.n)
        faults.append((extra, "more votes than samples"))
    for name in ("agreeing", "selection", "rivals", "changed"):
        column = getattr(c, name)
        if column is not None:
            column = column.reshape(len(c.index), -1)
            extra = (column > c.n[:, None]).any(1) if name in _OF_N else False
            faults.append((extra | (column < -1).any(1), f"{name} that are no votes"))
    for name in ROW_FIELDS:
        column = getattr(c, name)
        if column is not None and column.dtype.kind == "f":
            infinite = np.isinf(column).any(tuple(range(1, column.ndim)))
            faults.append((infinite & (c.predicted >= 0), f"an infinite {name}"))
    found = widths(c._asdict()) if found is None else found
    known = [found[name] for name in OF_CLASSES if name in found]
    for classes in [header.get("num_classes"), *known]:
        if classes is not None:
            above = (c.label >= classes) | (c.predicted >= classes)
            faults.append((above, f"a class above {classes - 1}"))
    return faults


def widths(columns: dict[str, Any]) -> dict[str, int]:
    """Return how many numbers a row has in each column that has several. A column without a row
    that a file would hold, such as logits that are not finite, does not count."""
    several = {k: columns.get(k) for k, axes in ROW_FIELDS.items() if axes}
    return {
        k: v.shape[1]
        for k, v in several.items()
        if v is not None and (not len(v) or held(k, v).any())
    }


def held(name: str, column: np.ndarray) -> np.ndarray:
    """Return bool [N]: whether a file holds what a row has in this column of evidence."""
    finite = np.isfinite(column).reshape(len(column), -1)
    count = finite.sum(1)
    return count > 0 if name == "least_margins" else count == finite.shape[1]


def check_header(path: Path, header: dict[str, Any]) -> None:
    """Raises InputError for numbers and names of a header that analysis cannot compute
    with."""
    ranges = dict(
        alpha=(float, 0, 1), sigma=(float, 0, math.inf), num_classes=(int, 1, math.inf)
    )
    for name, (kind, low, high) in ranges.items():
        value = header.get(name)
        if value is None:
            continue
        if type(value) not in (int, kind) or not low <= value < high:
            raise InputError(
                f"{path}, line 1 has {name} {short(value)}: restore the file or "
                "certify again into another one with --out."
            )
    _check_requests(path, header.get("requests", []))
    if "part" in header and part_numbers(header["part"]) is None:
        raise InputError(
            f"{path}, line 1 has the part {short(header['part'])}, not one such as 2/4: "
            "restore the file or certify again into another one with --out."
        )
    for name in ("method", "norm", "dataset", "split"):
        if type(header.get(name, "")) is not str:
            raise InputError(
                f"{path}, line 1 has {name} {short(header[name])}: restore the file or "
                "certify again into another one with --out."
            )


def _check_requests(path: Path, requests: Any) -> None:
    """Raises InputError unless the requests are a list of None and {start, stop, step}."""
    keys = ("start", "stop", "step")
    for one in requests if isinstance(requests, list) else [requests]:
        if one is None:
            continue
        numbers = [one.get(k) if isinstance(one, dict) else None for k in keys]
        if (
            not all(type(x) is int and 0 <= x < 2**40 for x in numbers)
            or not numbers[2]
        ):
            raise InputError(
                f"{path} has the request {short(one)}, not one of start, stop and step: "
                "restore the file or certify again into another one with --out."
            )


def part_numbers(part: Any) -> tuple[int, int] | None:
    """Return (number from 1, count) of a part "2/4" of a certification; None for anything
    else."""
    match = re.fullmatch(
        r"([1-9]\d{0,5})/([1-9]\d{0,5})", part if type(part) is str else ""
    )
    number, count = map(int, match.groups()) if match else (1, 0)
    return (number, count) if number <= count else None


def short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) < 100 else text[:97] + "..."
