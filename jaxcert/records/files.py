"""Writes, continues and loads the file of a certificate record.

On disk (`certificates.jsonl`) the first line is the header; every other line is one
image with its evidence: vote counts for smoothing, logits for Lipschitz networks, so
that a second program can re-check the radius. Lines are appended and synced per batch,
by one process at a time; a file cut off in the middle of a line loses that line only.
float64 survives the round trip.

`load` also reads, and `to_tsv` makes, the table of Cohen et al. (2019): cohen_table.py.
"""

from __future__ import annotations

import json
import math
import operator
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxcert.certificate import ATTACKS, NO_LABEL, Certificates
from jaxcert.errors import InputError, check_file, replacing
from jaxcert.records import checks, cohen_table
from jaxcert.records import lines as record_lines
from jaxcert.records.lines import FORMAT, FORMAT_1, INTEGERS, ROW_FIELDS

try:
    import fcntl
except ImportError:  # Windows: files are not locked there
    fcntl = None

IDENTITY = (
    "method norm alpha sigma procedure dataset split resize data_digest num_classes model "
    "precision checkpoint seed generator base networks bounded_again part"
).split()
"""Header keys that say what was asked for. Rows of headers that differ here never share
a file."""
SAME = 1e-9
"""Relative difference up to which computed numbers of two headers (`computed`) are those
of one network: another device or device count changes their last digits. Rows of both
then stand under the header of the first, so the re-check allows for as much."""


def identity(header: dict[str, Any]) -> dict[str, Any]:
    """Return the part of a header that says what was asked for."""
    asked = {k: header[k] for k in IDENTITY if k in header}
    if isinstance(asked.get("procedure"), dict):
        asked["procedure"] = dict(asked["procedure"])
        asked["procedure"].pop("logit_slack", None)
    return json.loads(json.dumps(asked))


def computed(header: dict[str, Any]) -> dict[str, Any]:
    """Return the numbers of a header that were computed from the network."""
    procedure = header.get("procedure")
    procedure = procedure if isinstance(procedure, dict) else {}
    return {
        "pairwise_bound": header.get("pairwise_bound"),
        "logit_slack": procedure.get("logit_slack"),
    }


def difference(
    wanted: dict[str, Any], found: dict[str, Any]
) -> tuple[str, str, str] | None:
    """Return the first key in which two headers ask for other things, and what each has there,
    shortened; None where rows of both may share a file."""
    for part, same in ((identity, operator.eq), (computed, _close)):
        one, other = part(wanted), part(found)
        for key in one | other:
            if not same(one.get(key), other.get(key)):
                return key, checks.short(one.get(key)), checks.short(other.get(key))
    return None


class Writer:
    """Appends rows to a record file and continues one that was interrupted.

    `kept` holds the rows already there, if any, without their evidence, and `done` the
    indices of all rows. A file that has a header and no row gets the header of this request.
    The format is the newest, or that of a header which was read from a file. Raises InputError,
    and leaves the file as it was, if it is of another format or request, has a line that is no
    row, or another process is writing it. instead: the file that errors name, where `path`
    takes its place afterwards.
    """

    def __init__(
        self,
        path: str | Path,
        header: dict[str, Any],
        *,
        instead: str | Path | None = None,
    ):
        self._at = Path(path)
        self.path = self._at if instead is None else Path(instead)
        # rows that were read from another file have the evidence of their own format
        known = FORMAT if header.get("format", FORMAT) == FORMAT else FORMAT_1
        # the format comes first: by it a file is known
        self.header = {"format": known, **header} | {"format": known}
        self.kept: Certificates | None = None
        self.done: set[int] = set()
        self._asks: list[Any] = []  # requests that the file does not know yet
        self._widths: dict[str, int] = {}  # of the evidence that its rows have
        self._largest = -1  # label or class
        checks.check_header(self.path, json.loads(json.dumps(self.header)))
        check_file(self.path, new=True)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = open(self._at, "ab", buffering=0)
        try:
            self._lock()
            self._start()
        except BaseException:
            self.close()
            raise

    def append(self, rows: Certificates) -> None:
        """Write rows and sync them to disk; on a full disk the file keeps its complete
        lines only. Raises InputError, and writes nothing, for rows that `load` would
        refuse."""
        self._check_rows(rows)
        lines = list(_rows_to_json(rows))
        if lines and self._asks:
            lines[0]["requests"] = self._asks
        text = [json.dumps(row) for row in lines]
        widths, largest = self._accept(text)
        self._append(text)
        self._widths, self._largest, self._asks = widths, largest, []
        self.done.update(rows.index.tolist())

    def _check_rows(self, rows: Certificates) -> None:
        """Raises InputError naming the image of a row that has a fault of its own."""
        again = np.array([i in self.done for i in rows.index.tolist()], bool)
        faults = [(again, "an image that was there before")]
        for name in INTEGERS:
            value = np.asarray(getattr(rows, name))
            whole = np.isfinite(value) & (value == np.floor(value))
            faults.append((~whole, f"a {name} that is no whole number"))
        faults += checks.faults(rows, self.header)
        if (found := checks.first(faults)) is not None:
            row, what = found
            raise InputError(
                f"image {rows.index[row]} has {what} and cannot go into {self.path}: "
                "correct it, or what the header says of it."
            )

    def _accept(self, lines: Sequence[str]) -> tuple[dict[str, int], int]:
        """Return `_widths` and `_largest` as they are with these lines. Raises
        InputError for what the reader refuses, by itself or beside the lines that the
        file has."""
        try:
            columns = record_lines.parsed(self.path, lines)
        except InputError:
            raise InputError(
                f"rows with values that no record has cannot go into {self.path}: give whole "
                "numbers of 31 bits for classes, and for votes, finite times, and evidence of one "
                "size."
            ) from None
        widths, largest = checks.widths(columns), self._largest
        for name, width in widths.items():
            if self._widths.get(name, width) != width:
                raise InputError(
                    f"rows with {name} of {width} numbers cannot go into {self.path}, whose "
                    f"rows have {self._widths[name]}: give them a file of their own."
                )
        widths = self._widths | widths
        if lines:
            largest = max(largest, *(columns[k].max() for k in ("label", "predicted")))
        for name in checks.OF_CLASSES:
            if largest >= widths.get(name, math.inf):
                raise InputError(
                    f"{name} of {widths[name]} classes and the class {largest} cannot both be "
                    f"in {self.path}: give rows of other classes a file of their own."
                )
        return widths, int(largest)

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _lock(self) -> None:
        """Lock the file until it is closed, which also happens when the process dies."""
        if fcntl is None:
            return
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(
                f"another process is certifying into {self.path}: wait for it, or name "
                "another file with --out."
            ) from None
        except OSError:  # a file system that has no locks
            pass

    def _start(self) -> None:
        """Write the header, or continue below the rows that are there. Whose file it is
        gets checked first, so nothing of another request is changed."""
        size, whole, complete = record_lines.end_of_whole_lines(self._at)
        kept, self._widths = _without_evidence(self._at) if whole else (None, {})
        if kept is not None and not len(kept.index):
            whole = 0  # a header alone: there is nothing to keep, and this request's goes there
        elif kept is not None:
            if kept.header["format"] != self.header["format"]:
                raise InputError(
                    f"{self.path} is of the format {kept.header['format']}, whose rows hold other "
                    f"evidence than those of {self.header['format']}: name another file with --out "
                    f"of `python -m jaxcert.{_command(self.header)}`."
                )
            self._compare(kept.header)
            self._largest = int(max(kept.label.max(), kept.predicted.max()))
            self.kept = kept
            self.done = set(kept.index.tolist())
            known = kept.header.get("requests", [None])
            self._asks = [r for r in self.header.get("requests", []) if r not in known]
        elif not _begins_as_header(self._at, self.header):
            raise InputError(
                f"{self.path} is no record file: name another file with --out."
            )
        if whole < size:  # killed in the middle of a line
            os.ftruncate(self._file.fileno(), whole)
        if not whole:
            self._append([json.dumps(self.header)])
        elif not complete:
            self._append([""])

    def _compare(self, header: dict[str, Any]) -> None:
        if (other := difference(self.header, header)) is not None:
            key, wanted, found = other
            raise InputError(
                f"{self.path} holds certificates with {key} {found}, this run asks for {wanted}: "
                f"name another file with --out of `python -m jaxcert.{_command(self.header)}`, or "
                "delete this one."
            )

    def _append(self, lines: Sequence[str]) -> None:
        data = "".join(line + "\n" for line in lines).encode()
        start = os.fstat(self._file.fileno()).st_size
        try:
            written = 0
            while written < len(data):
                written += self._file.write(data[written:])
            os.fsync(self._file.fileno())
        except OSError as error:
            os.ftruncate(self._file.fileno(), start)
            error.filename = str(self.path)
            raise


def save(
    path: str | Path, header: dict[str, Any], parts: Iterable[Certificates]
) -> None:
    """Write a record file of the rows of these parts as a whole: it is not there before all are
    in it. Raises InputError for a file that is there and not empty, and as `Writer`."""
    path = Path(path)
    check_file(path, new=True)
    if path.is_file() and path.stat().st_size:
        raise InputError(
            f"{path} is there already: name another file, or append with "
            "jaxcert.records.Writer."
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as part, Writer(part, header, instead=path) as writer:
        for rows in parts:
            writer.append(rows)


def load(path: str | Path) -> Certificates:
    """Read a record file, or a table of locuslab/smoothing (told apart by the first
    line).

    Radii of a table are kept as printed. Raises InputError naming file, line and fault.
    """
    path = Path(path)
    if os.path.lexists(path):
        check_file(path)
    if not path.is_file():
        raise InputError(
            f"there is no record file {path}: check the path, or run `python -m "
            "jaxcert.certify` first."
        )
    if record_lines.is_record(path):
        header, columns = record_lines.read(path)
        return _check(path, Certificates(**columns, header=header))
    try:
        lines = cohen_table.lines_of(path)
    except UnicodeDecodeError:
        raise InputError(record_lines.no_text(path)) from None
    if not any(map(str.strip, lines)):
        raise InputError(f"{path} is empty: delete it and certify again.")
    columns, header = cohen_table.read(path, lines)
    return Certificates(**columns, header=header)


def _without_evidence(path: Path) -> tuple[Certificates, dict[str, int]]:
    """Return the same as `load` without the evidence, which is checked and then freed,
    and the `widths` that it had."""
    widths: dict[str, int] = {}

    def look(header: dict[str, Any], columns: dict[str, np.ndarray], first: int):
        for name, width in checks.widths(columns).items():
            if widths.setdefault(name, width) != width:
                raise record_lines.unequal(path, name)
        _check(path, Certificates(**columns, header=header), first)

    if not record_lines.is_record(path):
        c = load(path)
        widths |= checks.widths(c._asdict())
        return c._replace(**dict.fromkeys(ROW_FIELDS)), widths
    header, columns = record_lines.read(path, look)
    c = Certificates(**columns, header=header)
    return _check(path, c, widths=widths), widths


def to_tsv(certificates: Certificates) -> str:
    """Return the table of locuslab/smoothing with all digits of the radii: see
    cohen_table.py."""
    return cohen_table.write(certificates)


def _begins_as_header(path: Path, header: dict[str, Any]) -> bool:
    """Return whether a file without a newline can be what a kill left of our first line."""
    start = json.dumps({"format": header["format"]}).removesuffix("}").encode()
    with open(path, "rb") as file:
        data = file.read(len(start))
    return start.startswith(data)


def _command(header: dict[str, Any]) -> str:
    """Return the command that writes such a record."""
    return "attack" if header.get("method") in ATTACKS else "certify"


def _close(one: Any, other: Any) -> bool:
    """Return whether two values are equal, or numbers of one shape that differ by
    rounding."""
    if one == other:
        return True
    try:
        one, other = np.asarray(one, np.float64), np.asarray(other, np.float64)
    except (TypeError, ValueError):
        return False
    return one.shape == other.shape and np.allclose(one, other, rtol=SAME, atol=0)


def _rows_to_json(rows: Certificates) -> Iterable[dict[str, Any]]:
    for i in range(len(rows.index)):
        row = {
            "index": int(rows.index[i]),
            "label": None if rows.label[i] == NO_LABEL else int(rows.label[i]),
            "predicted": int(rows.predicted[i]),
            "radius": float(rows.radius[i]),
            "n": int(rows.n[i]),
            "seconds": round(float(rows.seconds[i]), 6),
        }
        for name in ROW_FIELDS:
            column = getattr(rows, name)
            if column is None:
                continue
            known = np.isfinite(column[i])
            if known.all():
                row[name] = column[i].tolist()
            elif name == "least_margins" and known.any():
                values = column[i].tolist()
                row[name] = [v if math.isfinite(v) else None for v in values]
        yield row


def _check(
    path: Path, c: Certificates, first: int = 2, widths: dict[str, int] | None = None
) -> Certificates:
    """Refuse rows that contradict themselves: they were not written by a certifier. The
    first stands in line `first`; widths as in `checks.faults`."""
    checks.check_header(path, c.header)
    faults = checks.faults(c, c.header, widths)
    if (found := checks.first(faults)) is not None:
        row, what = found
        raise InputError(
            f"{path}, line {row + first} (image {int(c.index[row])}) has {what}: delete "
            "that line and certify the image again."
        )
    return c
