"""The table of Cohen, Rosenfeld & Kolter (2019): `idx label predict radius correct time`,
separated by tabs, as locuslab/smoothing and the projects after it release it.

`write` prints radii rounded DOWN to three digits (the originals round to nearest, which
overstates them by up to half a unit of the third digit) and appends `nA n p_lower` where
there are votes. `read` keeps the printed radius, takes further columns as they come, and
refuses whatever no certifier prints. A table of PREDICT has neither `radius` nor votes.
"""

from __future__ import annotations

import decimal
import math
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from jaxcert.errors import InputError

if TYPE_CHECKING:  # records calls this module
    from jaxcert.records import Certificates

COLUMNS = ("idx", "label", "predict", "radius", "correct", "time")
VOTES = ("nA", "n", "p_lower")
_ABSTAINS = -1
_BITS = {"idx": 63, "label": 31, "predict": 31, "nA": 63, "n": 63}


def read(path: Path, lines: Sequence[str]) -> dict[str, np.ndarray]:
    """Lines of a table -> columns named as in `records.Certificates`.

    `agreeing` [N,1] holds nA. Raises InputError naming file, line, fault and fix.
    """
    lines = list(lines)
    while lines and not lines[-1].strip():
        lines.pop()
    names = lines[0].removeprefix("\ufeff").split("\t")  # some editors put it there
    _check_names(path, names)
    rows = []
    for number, line in enumerate(lines[1:], 2):
        fields = line.split("\t")
        if len(fields) != len(names):
            raise InputError(
                f"{path}, line {number} has {len(fields)} fields and the first line names "
                f"{len(names)}: delete that line if it was cut off, else restore the file."
            )
        row, fault = _row(dict(zip(names, fields, strict=True)))
        fault = fault or _order(row, rows)
        if fault:
            raise InputError(f"{path}, line {number} {fault}.")
        rows.append(row)
    if not rows:
        raise InputError(f"{path} has a header and no rows: name another file.")
    column = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    columns = dict(
        index=column["idx"].astype(np.int64),
        label=column["label"].astype(np.int32),
        predicted=column["predict"].astype(np.int32),
        radius=column.get("radius", np.zeros(len(rows))),
        n=column.get("n", np.zeros(len(rows))).astype(np.int64),
        seconds=column["time"],
    )
    if "p_lower" in column:
        columns["p_lower"] = column["p_lower"]
    if "nA" in column:
        columns["agreeing"] = column["nA"].astype(np.int64)[:, None]
    return columns


def write(c: Certificates) -> str:
    """The table of a record, by index. An error becomes an abstention, the only word that
    the table has for it; nA of an abstention is the largest count."""
    procedure = (c.header.get("procedure") or {}).get("name", "certify")
    certifies = procedure != "predict"
    # of other procedures nA of n is not what proves the radius
    votes = procedure == "certify" and not (c.counts is None or c.p_lower is None)
    names = [name for name in COLUMNS if certifies or name != "radius"]
    lines = ["\t".join([*names, *VOTES * votes])]
    for i in np.argsort(c.index, kind="stable"):
        fields = [
            int(c.index[i]),
            int(c.label[i]),
            max(int(c.predicted[i]), _ABSTAINS),
            *[floor_digits(float(c.radius[i]))] * certifies,
            int(c.correct[i]),
            timedelta(seconds=float(c.seconds[i])),
        ]
        if votes:
            votes_for, p_lower = c.counts[i].max(), np.nan  # of an abstention
            if c.predicted[i] >= 0:
                votes_for, p_lower = c.counts[i, c.predicted[i]], c.p_lower[i]
            fields += [int(votes_for), int(c.n[i]), repr(float(p_lower))]
        lines.append("\t".join(str(f) for f in fields))
    return "\n".join(lines) + "\n"


def predicts(c: Certificates) -> bool:
    """Whether rows of a table are of PREDICT: classes without votes, and no radius, where
    CERTIFY has one for each."""
    votes = c.agreeing is not None or c.p_lower is not None
    return not votes and not c.radius.any() and bool((c.predicted >= 0).any())


def floor_digits(value: float, digits: int = 3) -> str:
    """A non-negative number with `digits` significant digits, never above the number
    itself."""
    if value <= 0 or not math.isfinite(value):
        return "0.0" if value <= 0 else str(value)
    context = decimal.Context(prec=digits, rounding=decimal.ROUND_FLOOR)
    return f"{context.create_decimal_from_float(value):f}"


def _check_names(path: Path, names: Sequence[str]) -> None:
    missing = [c for c in COLUMNS if c not in names and c != "radius"]
    if missing:
        raise InputError(
            f"{path} is neither a record nor a table of locuslab/smoothing: its first line "
            f"lacks {', '.join(missing)}; name another file."
        )
    votes = [name for name in VOTES if name in names]
    if votes and "radius" not in names:
        raise InputError(
            f"{path}, line 1 has {', '.join(votes)} and lacks radius, which those votes "
            "certify: restore the column radius."
        )
    known = [name for name in names if name in COLUMNS + VOTES]
    twice = [name for name in known if known.count(name) > 1]
    if twice:
        raise InputError(
            f"{path}, line 1 names {twice[0]} twice: leave one such column in the file."
        )
    if "nA" in names and "n" not in names:
        raise InputError(
            f"{path}, line 1 has nA and lacks n, the votes that nA is a part of: restore "
            "the column n or delete nA."
        )


def _row(text: dict[str, str]) -> tuple[dict[str, float], str]:
    """Numbers of a line, and what is wrong with them."""
    row: dict[str, float] = {}
    for name in (*COLUMNS, *VOTES):
        if name not in text:
            continue
        try:
            if "_" in text[name]:  # Python reads 1_0 as 10
                raise ValueError
            if name in _BITS or name == "correct":
                row[name] = int(text[name])
                if abs(row[name]) >> _BITS.get(name, 1):
                    raise ValueError
            else:
                row[name] = (_seconds if name == "time" else float)(text[name])
        except ValueError:
            return row, f"has {name} {text[name]!r}, which is no such value: restore it"
    return row, _fault(row)


def _fault(row: dict[str, float]) -> str:
    idx, label, predict = row["idx"], row["label"], row["predict"]
    radius, n, votes = row.get("radius", 0.0), row.get("n"), row.get("nA")
    p_lower = row.get("p_lower", math.nan)
    if idx < 0 or label < 0:
        return f"has idx {idx} and label {label}: restore it, both count from 0"
    if predict < _ABSTAINS:
        return f"has predict {predict}: restore it, an abstention is -1"
    if not 0 <= radius < math.inf:
        return f"has radius {radius}: restore it, a radius is a number from 0 up"
    if predict == _ABSTAINS and radius > 0:
        return f"abstains with radius {radius}: restore it, an abstention has radius 0"
    if row["correct"] != (label == predict):
        return (
            f"has correct {row['correct']} for label {label} and predict {predict}: "
            "restore it"
        )
    if not 0 <= row["time"] < math.inf:
        return f"has the time {row['time']}: restore it, it counts seconds"
    if n is not None and n < 0:
        return f"has n {n}: restore it, it counts samples"
    if votes is not None and not 0 <= votes <= n:
        return f"has nA {votes} of n {n} votes: restore it, nA is from 0 to n"
    if p_lower < 0 or p_lower > 1:
        return f"has p_lower {p_lower}: restore it, a probability is from 0 to 1"
    if radius > 0 and votes is not None and 2 * votes <= n:
        return (
            f"has radius {radius} with nA {votes} of n {n} votes: restore it, up to one "
            "half nothing is certified"
        )
    if radius > 0 and "p_lower" in row and math.isnan(p_lower):
        return f"has radius {radius} without p_lower: restore it"
    if radius > 0 and p_lower <= 0.5:
        return (
            f"has radius {radius} with p_lower {p_lower}: restore it, up to 1/2 nothing is "
            "certified"
        )
    return ""


def _order(row: dict[str, float], before: Sequence[dict[str, float]]) -> str:
    """Certifiers go through the images in order; only the row before is looked at."""
    if not before or row["idx"] > before[-1]["idx"]:
        return ""
    idx, last = row["idx"], before[-1]["idx"]
    if idx == last or any(one["idx"] == idx for one in before):
        return f"is of image {idx}, which was there before: delete one of the two lines"
    return f"is of image {idx} and stands below {last}: sort the lines by idx"


def _seconds(text: str) -> float:
    """`12.3` or `0:00:12.300000`, with `1 day, ` before it where it took that long."""
    days, _, clock = text.rpartition(", ")
    seconds = 0.0
    for part in clock.split(":"):
        seconds = 60 * seconds + float(part)
    return seconds + (86400 * int(days.split()[0]) if days else 0)
