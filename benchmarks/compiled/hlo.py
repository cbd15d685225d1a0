"""The text of a compiled program (XLA's HLO), read into operations.

Only what counting needs is kept: every operation's result, operands, attributes and the
line of this repository that asked for it.
"""

from __future__ import annotations

import math
import re
from typing import NamedTuple

ITEM_BITS = {
    "pred": 8,
    "s4": 4,
    "u4": 4,
    "s8": 8,
    "u8": 8,
    "f8e4m3fn": 8,
    "f8e5m2": 8,
    "s16": 16,
    "u16": 16,
    "bf16": 16,
    "f16": 16,
    "s32": 32,
    "u32": 32,
    "f32": 32,
    "s64": 64,
    "u64": 64,
    "f64": 64,
    "c64": 64,
    "c128": 128,
}
_ARRAY = re.compile(r"\b([a-z]+[a-z0-9]*)\[([0-9,]*)\]")
_COMMENT = re.compile(r"/\*.*?\*/")
_COMPUTATION = re.compile(r"(ENTRY )?%?([\w.\-]+) .*\{$")
_OPERATION = re.compile(r"\s+(ROOT )?%?([\w.\-]+) = (.*)$")
_NAME = re.compile(r"%([\w.\-]+)")
_TABLES = ("FileNames", "FunctionNames", "FileLocations", "StackFrames")
_OURS = re.compile(r"^(?:.*/)?((?:jaxcert|benchmarks)/.*)$")
_PASSED_OVER = ("benchmarks/compiled/",)
"""Files that occur in every program's stack and are ignored."""


class Array(NamedTuple):
    dtype: str
    shape: tuple[int, ...]

    @property
    def elements(self) -> int:
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        return self.elements * ITEM_BITS[self.dtype] // 8


class Operation(NamedTuple):
    name: str
    code: str
    """the kind of operation, such as fusion, while, custom-call"""
    result: tuple[Array, ...]
    """the shapes of the result, several of a tuple"""
    text: str
    """the text of the result, with layouts"""
    operands: tuple[str, ...]
    argument: str
    """the text in the brackets; for a parameter its number"""
    attributes: str
    is_root: bool

    @property
    def bytes(self) -> int:
        return sum(array.bytes for array in self.result)

    def named(self, *keys: str) -> str:
        """Return the computation, or word, of the first of these attributes; "" if
        there is none."""
        for key in keys:
            found = re.search(rf"\b{key}=%?([\w.\-]+)", self.attributes)
            if found:
                return found[1]
        return ""

    def quoted(self, key: str) -> str:
        found = re.search(rf'\b{key}="([^"]*)"', self.attributes)
        return found[1] if found else ""

    def listed(self, key: str) -> list[str]:
        """Return the names in braces, as in branch_computations={%a, %b}."""
        found = re.search(rf"\b{key}=\{{([^}}]*)\}}", self.attributes)
        return _NAME.findall(found[1]) if found else []

    def trips(self) -> int | None:
        """Return how often this loop runs, if XLA knows."""
        found = re.search(r'"known_trip_count":\{"n":"(\d+)"\}', self.attributes)
        return int(found[1]) if found else None


class Source(NamedTuple):
    """The line that asked for an operation; empty if it is not in this repository."""

    file: str = ""
    line: int = 0
    function: str = ""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.file else ""


class Program(NamedTuple):
    computations: dict[str, dict[str, Operation]]
    entry: str
    tables: dict[str, dict[int, str]]

    def source(self, operation: Operation) -> Source:
        """Return the innermost line of the library, or of benchmarks, that asked for an
        operation."""
        number = _number("stack_frame_id", operation.attributes)
        for _ in range(200):
            frame = self.tables["StackFrames"].get(number, "")
            place = self.tables["FileLocations"].get(
                _number("file_location_id", frame), ""
            )
            file = _ours(self.tables["FileNames"], _number("file_name_id", place))
            if file:
                names = self.tables["FunctionNames"]
                function = names.get(_number("function_name_id", place), "").strip('"')
                return Source(
                    file, _number("line", place), function.rpartition("<locals>.")[2]
                )
            # a frame without callers names itself, or nothing
            after = _number("parent_frame_id", frame)
            if after in (0, number):
                break
            number = after
        file = _ours({0: operation.quoted("source_file")}, 0)
        return (
            Source(file, _number("source_line", operation.attributes))
            if file
            else Source()
        )

    def operands(self, computation: str, operation: Operation) -> list[Operation]:
        """Return those operands of an operation that the computation holds."""
        there = self.computations[computation]
        return [there[name] for name in operation.operands if name in there]


def read(text: str) -> Program:
    """Return the program of a text as `compiled.as_text()` gives it. Raises ValueError
    for a text without an entry computation."""
    computations: dict[str, dict[str, Operation]] = {}
    tables: dict[str, dict[int, str]] = {name: {} for name in _TABLES}
    entry, table, current = "", None, None
    for line in text.splitlines():
        if line in tables:
            table = tables[line]
        elif line.startswith("HloModule") or not line.strip():
            continue
        elif table is not None and re.match(r"\d+ ", line):
            number, _, value = line.partition(" ")
            table[int(number)] = value
        elif not line[0].isspace():
            found = _COMPUTATION.match(line)
            if found:
                table, current = None, computations.setdefault(found[2], {})
                entry = found[2] if found[1] else entry
        elif current is not None:
            found = _OPERATION.match(line)
            if found:
                operation = _operation(found)
                current[operation.name] = operation
    if not entry:
        raise ValueError(
            "the text holds no ENTRY computation: it is not a compiled program"
        )
    return Program(computations, entry, tables)


def arrays(text: str) -> tuple[Array, ...]:
    """Return the arrays of a result: `(f32[2,3]{1,0}, s32[])` -> two."""
    return tuple(
        Array(dtype, tuple(int(n) for n in sizes.split(",") if n))
        for dtype, sizes in _ARRAY.findall(text)
        if dtype in ITEM_BITS
    )


def _operation(found: re.Match) -> Operation:
    rest = _COMMENT.sub("", found[3])
    end = _closing(rest, 0) + 1 if rest.startswith("(") else rest.index(" ")
    result, rest = rest[:end], rest[end:].lstrip()
    opening = rest.index("(")
    closing = _closing(rest, opening)
    argument = rest[opening + 1 : closing]
    return Operation(
        name=found[2],
        code=rest[:opening],
        result=arrays(result),
        text=result,
        operands=tuple(_NAME.findall(argument)),
        argument=argument,
        attributes=rest[closing + 1 :],
        is_root=bool(found[1]),
    )


def _closing(text: str, opening: int) -> int:
    """Return the position of the bracket that closes the one at `opening`; layouts have
    brackets, too."""
    depth = 0
    for i in range(opening, len(text)):
        depth += (text[i] == "(") - (text[i] == ")")
        if depth == 0:
            return i
    raise ValueError(f"a bracket of {text[:80]!r} is not closed")


def _number(key: str, text: str) -> int:
    found = re.search(rf"\b{key}=(\d+)", text)
    return int(found[1]) if found else 0


def _ours(files: dict[int, str], number: int) -> str:
    found = _OURS.search(files.get(number, "").strip('"'))
    return found[1] if found and not found[1].startswith(_PASSED_OVER) else ""
