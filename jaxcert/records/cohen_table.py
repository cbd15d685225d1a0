"""The table of Cohen, Rosenfeld & Kolter (2019): `idx label predict radius correct time`,
separated by tabs, as locuslab/smoothing and the projects after it release it.

`write` prints a radius with all its digits, so that it reads back as the same float64 (the
originals print three, rounded to nearest), and appends `nA n p_lower` where there are votes.
A table means l2 radii of CERTIFY, and one without the column radius classes of PREDICT; of
other certificates `write` says so in columns that other readers pass over:

    norm         l1 or linf
    certificate  method/procedure, such as interval/interval
    tried        the only radii that were tried, such as 0;0.05;0.1

`read` takes columns in any order, with more beside them and comments (#) between the lines,
separated by tabs, commas, semicolons or spaces, from joined files as well, and refuses
whatever no certifier prints. It keeps the printed radius.
"""

from __future__ import annotations

import codecs
import csv
import math
import re
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np

from jaxcert.certificate import Certificates
from jaxcert.errors import InputError

COLUMNS = ("idx", "label", "predict", "radius", "correct", "time")
VOTES = ("nA", "n", "p_lower")
WORDS = ("norm", "certificate", "tried")
"""Columns that hold one word, the same in every row."""
NORMS = ("l2", "l1", "linf")
_NEEDED = ("idx", "label", "predict")
_KNOWN = {name.lower(): name for name in COLUMNS + VOTES + WORDS}
_KNOWN |= {"prediction": "predict"}
_ABSTAINS = -1
_BITS = {"idx": 63, "label": 31, "predict": 31, "nA": 63, "n": 63}
_TRUTH = {"true": "1", "false": "0"}
_CLOCK = re.compile(r"(?:(-?\d+) days?,? )?([^ ]+)")
_CERTIFICATE = re.compile(r"[^/]+/[^/]+")
_LONGEST = 1e12
"""The largest number of seconds that the column time has room for."""
_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def lines_of(path: Path) -> list[str]:
    """Return the lines of a text in UTF-8 or, as PowerShell writes what a program
    prints, UTF-16. Raises UnicodeDecodeError for what is not text."""
    data = path.read_bytes()
    return data.decode("utf-16" if data.startswith(_UTF_16) else "utf-8").splitlines()


def read(
    path: Path, lines: Sequence[str]
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Lines of a table -> (columns named as in `Certificates`, header).

    `agreeing` [N,1] holds nA. The header has format, method and norm, procedure where the
    table says it, `not_read`, names of the columns, and `comments`, the number of lines that
    were passed over. Raises InputError naming file, line, fault and fix.
    """
    numbered, comments = _without_comments(lines)
    first = numbered[0][1] if numbered else ""
    delimiter = _delimiter(first)
    given = _fields(first, delimiter)
    names = _names(given)
    _check_names(path, names)
    rows: list[dict[str, float]] = []
    words: dict[str, str] = {}
    seen: set[float] = set()
    for number, line in numbered:
        fields = _fields(line, delimiter)
        if fields == given:  # of this file, or the next one where several were joined
            continue
        if len(fields) != len(names):
            raise InputError(
                f"{path}, line {number} has {len(fields)} fields and the first line names "
                f"{len(names)}: delete that line if it was cut off, else restore the file."
            )
        text = dict(zip(names, fields, strict=True))
        row, fault = _row(text)
        fault = fault or _same_words(words, text)
        if not fault and row["idx"] in seen:
            fault = (
                f"is of image {row['idx']}, which was there before: delete one of the "
                "two lines"
            )
        if fault:
            raise InputError(f"{path}, line {number} {fault}.")
        rows.append(row)
        seen.add(row["idx"])
    if not rows:
        raise InputError(f"{path} has a header and no rows: name another file.")
    header = _header(path, names, words)
    if comments:
        header["comments"] = comments
    return _columns(rows), header


def write(c: Certificates) -> str:
    """Return the table of a record, ordered by index. An error becomes an abstention,
    the only word that the table has for it; nA of an abstention is the largest count.

    Raises InputError for an image without a label, for which the table has no word.
    """
    if not c.labelled:
        raise InputError(
            "a table of locuslab/smoothing has the label of every image, and the record does not "
            "know all: take another form."
        )
    procedure = c.header.get("procedure") or {}
    name = _name(procedure)
    certifies = name != "predict"
    # of other procedures nA of n is not what proves the radius
    counts, p_lowers = (c.counts, c.p_lower) if name == "certify" else (None, None)
    votes = counts is not None and p_lowers is not None
    words = _words(c.header)
    names = [column for column in COLUMNS if certifies or column != "radius"]
    lines = ["\t".join([*names, *VOTES * votes, *words])]
    correct = c.correct  # of all rows, each time it is asked for
    for i in np.argsort(c.index, kind="stable"):
        fields = [
            int(c.index[i]),
            int(c.label[i]),
            max(int(c.predicted[i]), _ABSTAINS),
            *[repr(float(c.radius[i]))] * certifies,
            int(correct[i]),
            _clock(float(c.seconds[i])),
        ]
        if counts is not None and p_lowers is not None:
            votes_for, p_lower = counts[i].max(), np.nan  # of an abstention
            if c.predicted[i] >= 0:
                votes_for, p_lower = counts[i, c.predicted[i]], p_lowers[i]
            fields += [int(votes_for), int(c.n[i]), repr(float(p_lower))]
        lines.append("\t".join(str(f) for f in [*fields, *words.values()]))
    return "\n".join(lines) + "\n"


def _name(procedure: dict[str, Any]) -> str:
    """Return the name of a procedure, with its rival where that is not CERTIFY's."""
    name, rival = procedure.get("name", "certify"), procedure.get("rival", "single")
    return name if rival == "single" else f"{name}_{rival}"


def _words(header: dict[str, Any]) -> dict[str, str]:
    """Return what a table says beside its numbers; nothing for l2 radii of CERTIFY or
    classes of PREDICT."""
    procedure = header.get("procedure") or {}
    method, name = header.get("method", "smoothing"), _name(procedure)
    found = {}
    if header.get("norm", "l2") != "l2":
        found["norm"] = header["norm"]
    if (method, name) not in (("smoothing", "certify"), ("smoothing", "predict")):
        words = (re.sub(r"[\s/]+", "_", word) for word in (method, name))
        found["certificate"] = "/".join(words)
    if procedure.get("radii"):
        found["tried"] = ";".join(repr(float(r)) for r in procedure["radii"])
    return found


def _header(path: Path, names: Sequence[str], words: dict[str, str]) -> dict[str, Any]:
    norm = words.get("norm", "l2").lower()
    if norm not in NORMS:
        raise _no_word(path, "norm", norm, f"it is {', '.join(NORMS)}")
    header: dict[str, Any] = {"format": "tsv", "method": "smoothing", "norm": norm}
    procedure: dict[str, Any] = {}
    if "radius" not in names:
        procedure["name"] = "predict"
    if "certificate" in words:
        if not _CERTIFICATE.fullmatch(words["certificate"]):
            what = "it is such as interval/interval"
            raise _no_word(path, "certificate", words["certificate"], what)
        header["method"], procedure["name"] = words["certificate"].split("/")
    if "tried" in words:
        try:
            procedure["radii"] = [float(r) for r in words["tried"].split(";")]
        except ValueError:
            procedure["radii"] = []
        if not all(0 <= r < math.inf for r in procedure["radii"] or [-1]):
            what = "it has numbers with semicolons between"
            raise _no_word(path, "tried", words["tried"], what)
    if procedure:
        header["procedure"] = procedure
    known = (*COLUMNS, *VOTES, *WORDS)
    if extra := [name or "(without a name)" for name in names if name not in known]:
        header["not_read"] = extra
    return header


def _no_word(path: Path, name: str, value: str, what: str) -> InputError:
    return InputError(
        f"{path} has {name} {value!r}: restore that column ({what}), or rename it if it says "
        "something else."
    )


def _columns(rows: Sequence[dict[str, float]]) -> dict[str, np.ndarray]:
    column = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    columns = dict(
        index=column["idx"].astype(np.int64),
        label=column["label"].astype(np.int32),
        predicted=column["predict"].astype(np.int32),
        radius=column.get("radius", np.zeros(len(rows))),
        n=column.get("n", np.zeros(len(rows))).astype(np.int64),
        seconds=column.get("time", np.full(len(rows), np.nan)),
    )
    if "p_lower" in column:
        columns["p_lower"] = column["p_lower"]
    if "nA" in column:
        columns["agreeing"] = column["nA"].astype(np.int64)[:, None]
    return columns


def _delimiter(first: str) -> str:
    """Return what separates the fields of a line: a tab, comma or semicolon, and '' for
    spaces."""
    return next((delimiter for delimiter in "\t,;" if delimiter in first), "")


def _fields(line: str, delimiter: str) -> list[str]:
    """Return the fields of a line, which may stand in quotes."""
    if not delimiter:
        return line.split()
    try:
        (fields,) = csv.reader([line], delimiter=delimiter, skipinitialspace=True)
    except csv.Error:  # such as 131,072 letters in one
        return [line]
    return [field.strip() for field in fields]


def _without_comments(lines: Sequence[str]) -> tuple[list[tuple[int, str]], int]:
    """Return the number and text of every line that is neither blank nor a comment, and
    how many comments there are."""
    # some editors begin a file with the mark of UTF-8, and joining brings it between
    bare = ((i, line.removeprefix("\ufeff")) for i, line in enumerate(lines, 1))
    found, comments = [], []
    for number, line in bare:
        if line.strip():
            kind = comments if line.lstrip().startswith("#") else found
            kind.append((number, line))
    if not found or not _is_head(found[0][1]):
        # numpy.savetxt writes the names as a comment
        named = [(i, line.lstrip("# ")) for i, line in comments]
        named = [(i, line) for i, line in named if _is_head(line)]
        return sorted(found + named), len(comments) - len(named)
    return found, len(comments)


def _is_head(line: str) -> bool:
    return {*_NEEDED} <= {*_names(_fields(line, _delimiter(line)))}


def _names(given: Sequence[str]) -> list[str]:
    return [_KNOWN.get(name.lower(), name) for name in given]


def _check_names(path: Path, names: Sequence[str]) -> None:
    missing = [name for name in _NEEDED if name not in names]
    if not missing and "radius" not in names and "correct" not in names:
        missing = ["radius (of CERTIFY) or correct (of PREDICT)"]
    if missing:
        raise InputError(
            f"{path} is neither a record nor a table of locuslab/smoothing: its first line "
            f"lacks {', '.join(missing)}; {_what_it_is(names)}name another file."
        )
    others = [name for name in names if "radius" in name.lower()]
    if others and "radius" not in names:
        raise InputError(
            f"{path}, line 1 has {others[0]} and lacks radius, so that it is no table of "
            "PREDICT: rename the column of the certified radii radius, and add a column norm "
            "if they are not in l2."
        )
    attacked = [n for n in names if "distance" in n.lower() or "attack" in n.lower()]
    if attacked and "radius" not in names:
        raise InputError(
            f"{path}, line 1 has {attacked[0]} and lacks radius: it is a table of attacks, "
            "which certifies nothing; name the one of the certification."
        )
    votes = [name for name in VOTES if name in names]
    if votes and "radius" not in names:
        raise InputError(
            f"{path}, line 1 has {', '.join(votes)} and lacks radius, which those votes "
            "certify: restore the column radius."
        )
    known = [name for name in names if name in COLUMNS + VOTES + WORDS]
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


def _what_it_is(names: Sequence[str]) -> str:
    if names[:1] == ["record"]:
        return "it is a report, which `jaxcert.report --format csv` made of a record; "
    if {"index", "predicted"} <= set(names):
        return "it has the names of a record, and the record itself is needed; "
    return ""


def _row(text: dict[str, str]) -> tuple[dict[str, float], str]:
    """Return the numbers of a line, and what is wrong with them."""
    row: dict[str, float] = {}
    for name in (*COLUMNS, *VOTES):
        if name not in text:
            continue
        try:
            row[name] = _number(name, text[name])
        except ValueError:
            return row, f"has {name} {text[name]!r}, which is no such value: restore it"
    if row.get("predict") == _ABSTAINS and math.isnan(row.get("radius", 0.0)):
        row["radius"] = 0.0  # some tools leave that of an abstention empty
    return row, _fault(row)


def _number(name: str, text: str) -> float:
    """Return the number that a field holds. Whole numbers may be written as 3.0 or
    3e+00. Raises ValueError for other text."""
    if "_" in text:  # Python reads 1_0 as 10
        raise ValueError
    if name == "time":
        return _seconds(text)
    if name == "correct":
        text = _TRUTH.get(text.lower(), text)
    if name not in _BITS and name != "correct":
        return float(text or "nan")
    try:
        number = int(text)
    except ValueError:
        value = float(text)
        if not value.is_integer() or abs(value) >= 2**53:
            raise
        number = int(value)
    if abs(number) >> _BITS.get(name, 1):
        raise ValueError
    return number


def _fault(row: dict[str, float]) -> str:
    idx, label, predict = row["idx"], row["label"], row["predict"]
    radius, n, votes = row.get("radius", 0.0), row.get("n"), row.get("nA")
    p_lower, correct = row.get("p_lower", math.nan), row.get("correct")
    if idx < 0 or label < 0:
        return f"has idx {idx} and label {label}: restore it, both count from 0"
    if predict < _ABSTAINS:
        return f"has predict {predict}: restore it, an abstention is -1"
    if not 0 <= radius < math.inf:
        return f"has radius {radius}: restore it, a radius is a number from 0 up"
    if predict == _ABSTAINS and radius > 0:
        return f"abstains with radius {radius}: restore it, an abstention has radius 0"
    if correct is not None and correct != (label == predict):
        return (
            f"has correct {correct} for label {label} and predict {predict}: restore it"
        )
    if row.get("time", 0.0) < 0 or row.get("time") == math.inf:
        return f"has the time {row['time']}: restore it, it counts seconds"
    if n is not None and n < 0:
        return f"has n {n}: restore it, it counts samples"
    if n is not None and votes is not None and not 0 <= votes <= n:
        return f"has nA {votes} of n {n} votes: restore it, nA is from 0 to n"
    if p_lower < 0 or p_lower > 1:
        return f"has p_lower {p_lower}: restore it, a probability is from 0 to 1"
    if radius > 0 and n is not None and votes is not None and 2 * votes <= n:
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


def _same_words(words: dict[str, str], text: dict[str, str]) -> str:
    """Keep the words of a line, and return what is wrong if the lines before have
    others."""
    for name in WORDS:
        if name in text and words.setdefault(name, text[name]) != text[name]:
            return (
                f"has {name} {text[name]!r} where lines before have {words[name]!r}: split "
                "the file, or rename the column if it says something else"
            )
    return ""


def _seconds(text: str) -> float:
    """Return the seconds of `12.3`, `0:00:12.300000`, `1 day, 0:00:12` or `0 days
    00:00:12`; nan for an empty field."""
    if not text:
        return math.nan
    match = _CLOCK.fullmatch(text)
    if match is None:
        raise ValueError
    seconds = 0.0
    for part in match[2].split(":"):
        seconds = 60 * seconds + float(part)
    return seconds + 86400 * int(match[1] or 0)


def _clock(seconds: float) -> timedelta | str:
    if math.isnan(seconds):
        return ""
    return timedelta(seconds=min(max(seconds, 0.0), _LONGEST))
