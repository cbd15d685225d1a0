"""What a compiled program does on a GPU: kernels, bytes, arithmetic, copies, collectives.

These are facts of the text, each multiplied by how often its loops run:

    kernels     operations that XLA launches, a call of a library being one
    bytes       that every kernel reads and writes, of a slice the slice alone; nothing is
                taken as found in the L2 cache
    flops       of products by the unit that computes them (bf16, tf32, f32, f64), and
                instructions of the vector and special units
    copies      bytes of kernels that copy, join or transpose arrays

An estimate is the sum over kernels of the largest of arithmetic / rate, bytes / bandwidth
and a launch. No kernel was timed and none was tuned.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple

from benchmarks import floors
from benchmarks.compiled import products
from benchmarks.compiled.hlo import Array, Operation, Program, Source

LAUNCH = 3e-6
"""The seconds that any kernel takes at least."""
_H200 = floors.H200
RATES = {
    "f8": _H200.rates["bfloat16"],
    "bf16": _H200.rates["bfloat16"],
    "f16": _H200.rates["bfloat16"],
    "tf32": _H200.rates["tf32"],
    "f32": _H200.rates["float32"],
    "f64": 60e12,
    "vector": _H200.rates["issue"],
    "vector64": _H200.rates["issue"] / 2,
    "special": _H200.rates["special"],
}
"""FLOP/s of products by unit, instructions/s of the others."""
_FUSIONS = ("fusion", "fusion-start")
_NO_KERNEL = {
    "parameter",
    "constant",
    "get-tuple-element",
    "tuple",
    "bitcast",
    "after-all",
    "add-dependency",
    "opt-barrier",
    "partition-id",
    "replica-id",
    "rng-get-and-update-state",
}
_MOVES = {
    "parameter",
    "constant",
    "bitcast",
    "copy",
    "transpose",
    "reshape",
    "broadcast",
    "slice",
    "dynamic-slice",
    "dynamic-update-slice",
    "concatenate",
    "pad",
    "reverse",
    "tuple",
    "get-tuple-element",
    "copy-start",
    "copy-done",
}
"""Operations without arithmetic."""
_COPIES = {"copy", "copy-start", "transpose", "concatenate", "pad", "reverse"}
"""A kernel of moves alone that has one of these is a copy, and so is a fusion around a
transposition. Slices of a loop's stack are not."""
_NO_ARITHMETIC = _MOVES | _NO_KERNEL | {"iota", "bitcast-convert", "gather", "scatter"}
_SPECIAL = {
    "exponential": 1,
    "exponential-minus-one": 1,
    "log": 1,
    "log-plus-one": 1,
    "sqrt": 1,
    "rsqrt": 1,
    "cbrt": 2,
    "divide": 1,
    "power": 2,
    "tanh": 1,
    "logistic": 2,
    "erf": 1,
    "sine": 1,
    "cosine": 1,
    "tan": 2,
    "atan2": 2,
}
"""Instructions of the special units for one element."""
_COLLECTIVES = (
    "all-reduce",
    "all-gather",
    "reduce-scatter",
    "all-to-all",
    "collective-permute",
    "collective-broadcast",
)
_TO_HOST = {"infeed", "outfeed", "send", "recv"}
_HOST_MEMORY = "S(5)"


class Kernel(NamedTuple):
    """A kernel, launched once or as often as its loops run."""

    kind: str
    times: int
    read: int
    written: int
    work: Counter
    """FLOPs or instructions by unit"""
    is_copy: bool
    result: str
    source: Source
    asked: str
    """the name that JAX gave to the operation"""

    @property
    def bytes(self) -> int:
        return self.read + self.written

    @property
    def seconds(self) -> float:
        arithmetic = sum(self.work[unit] / RATES[unit] for unit in products.UNITS)
        others = (self.work[u] / RATES[u] for u in ("vector", "vector64", "special"))
        return max(LAUNCH, arithmetic, self.bytes / _H200.bandwidth, *others)


class Counted(NamedTuple):
    kernels: list[Kernel]
    collectives: Counter
    """how often each kind occurs"""
    host_driven: list[dict[str, Any]]
    """the loops and branches whose condition the host reads: kind, source, times"""
    host_transfers: list[str]


class UnknownLoop(ValueError):
    """Raised for a loop where neither XLA nor the program's entry says how often it
    runs; `source` is its line."""

    def __init__(self, text: str, source: str):
        super().__init__(text)
        self.source = source


def count(program: Program, loops: Mapping[str, int] | None = None) -> Counted:
    """Return the counts of all that the entry computation runs.

    loops: the number of iterations of loops where XLA does not know it, by a part of
    `file:function operation`. A conditional counts as its slowest branch. Raises
    UnknownLoop for a loop that is not named, and says where it is.
    """
    return _Counter(program, loops or {}).all()


def summary(counted: Counted, *, heaviest: int = 12) -> dict[str, Any]:
    """Return the fields of a row: kernels, bytes, flops by unit, copy_bytes,
    collectives, host_driven, host_transfers, estimate_s, heaviest."""
    kernels = counted.kernels
    flops: Counter = Counter()
    for kernel in kernels:
        for unit, amount in kernel.work.items():
            flops[unit] += amount * kernel.times
    return dict(
        kernels=sum(k.times for k in kernels),
        bytes=sum(k.bytes * k.times for k in kernels),
        flops={unit: flops[unit] for unit in RATES if flops[unit]},
        copy_bytes=sum(k.bytes * k.times for k in kernels if k.is_copy),
        collectives=dict(counted.collectives),
        host_driven=counted.host_driven,
        host_transfers=counted.host_transfers,
        estimate_s=sum(k.seconds * k.times for k in kernels),
        heaviest=_heaviest(kernels, heaviest),
    )


def _heaviest(kernels: list[Kernel], most: int) -> list[dict[str, Any]]:
    """Return kernels, the slowest by estimate first, where those alike in kind, result
    and source are one entry."""
    groups: dict[tuple, list[Kernel]] = {}
    for k in kernels:
        groups.setdefault((k.kind, k.result, str(k.source), k.asked), []).append(k)
    found = [
        dict(
            kind=kind,
            result=result[:100],
            source=source,
            operation=asked[-80:],
            times=sum(k.times for k in group),
            bytes=sum(k.bytes * k.times for k in group),
            flops=sum(k.work[u] * k.times for k in group for u in products.UNITS),
            estimate_s=sum(k.seconds * k.times for k in group),
        )
        for (kind, result, source, asked), group in groups.items()
    ]
    return sorted(found, key=lambda entry: -entry["estimate_s"])[:most]


class _Counter:
    """Counts a program; it keeps the results for fused computations."""

    def __init__(self, program: Program, loops: Mapping[str, int]):
        self.program, self.loops = program, loops
        self._works: dict[str, Counter] = {}
        self._traffics: dict[str, tuple[dict[int, int], int]] = {}

    def all(self) -> Counted:
        found = Counted([], Counter(), [], [])
        self._walk(self.program.entry, 1, found)
        return found

    def _walk(self, computation: str, times: int, found: Counted) -> None:
        for op in self.program.computations[computation].values():
            code = op.code
            if code in _NO_KERNEL or code.endswith(("-done", "-update")):
                continue
            if code == "while":
                self._loop(op, times, found)
            elif code == "conditional":
                self._branches(op, times, found)
            elif code in ("call", "async-start"):
                self._walk(op.named("to_apply", "calls"), times, found)
            else:
                self._kernel(computation, op, times, found)

    def _loop(self, op: Operation, times: int, found: Counted) -> None:
        trips = op.trips()
        if trips is None:
            source, asked = self.program.source(op), op.quoted("op_name")
            trips = self._named(source, asked)
            driven = dict(
                kind="while", source=str(source) or asked, times=times * trips
            )
            found.host_driven.append(driven)
            self._walk(op.named("condition"), times * trips, found)
        self._walk(op.named("body"), times * trips, found)

    def _named(self, source: Source, asked: str) -> int:
        where = f"{source.file}:{source.function} {asked}"
        for part, trips in self.loops.items():
            if part in where:
                return trips
        raise UnknownLoop(
            f"XLA does not know how often the loop {where.strip()} runs: name it with its "
            "number of iterations in the program's loops",
            str(source),
        )

    def _branches(self, op: Operation, times: int, found: Counted) -> None:
        names = op.listed("branch_computations") or [
            op.named("true_computation"),
            op.named("false_computation"),
        ]
        tried = []
        for name in names:
            one = Counted([], Counter(), [], [])
            self._walk(name, times, one)
            tried.append((sum(k.seconds * k.times for k in one.kernels), one))
        slowest = max(tried, key=lambda pair: pair[0])[1]
        found.kernels.extend(slowest.kernels)
        found.collectives.update(slowest.collectives)
        source = str(self.program.source(op)) or op.quoted("op_name")
        driven = dict(kind="conditional", source=source, times=times)
        found.host_driven.extend([driven, *slowest.host_driven])
        found.host_transfers.extend(slowest.host_transfers)

    def _kernel(self, computation: str, op: Operation, times: int, found: Counted):
        read, written = self._crosses_memory(computation, op)
        source, target = self.program.source(op), op.quoted("custom_call_target")
        kind = target or op.code
        if op.code in _FUSIONS:
            emitter = re.search(r'"kind":"(__\w[\w$]*)"', op.attributes)
            kind = f"fusion {emitter[1] if emitter else op.named('kind')}"
        base = op.code.removesuffix("-start")
        if base in _COLLECTIVES:
            found.collectives[base] += times
        near = [op.text, *(o.text for o in self.program.operands(computation, op))]
        if (
            base in _TO_HOST
            or "callback" in target
            or any(_HOST_MEMORY in text for text in near)
        ):
            found.host_transfers.append(f"{op.name} ({kind}) {source}".strip())
        found.kernels.append(
            Kernel(
                kind=kind,
                times=times,
                read=read,
                written=written,
                work=self._work(computation, op),
                # a kernel that reads little is a fill
                is_copy=self._is_copy(op) and 2 * read >= written,
                result=op.text,
                source=source,
                asked=op.quoted("op_name"),
            )
        )

    # --- bytes ------------------------------------------------------------------------

    def _crosses_memory(self, computation: str, op: Operation) -> tuple[int, int]:
        """Return the bytes (read, written) of one launch."""
        operands = self.program.operands(computation, op)
        if op.code in _FUSIONS:
            reads, written = self._traffic(op.named("calls"))
            return sum(reads.get(i, 0) for i in range(len(op.operands))), written
        if op.code in ("dynamic-slice", "slice", "gather"):
            more = operands[1].bytes if op.code == "gather" else 0
            return op.bytes + more, op.bytes
        if op.code == "dynamic-update-slice":
            return operands[1].bytes, operands[1].bytes
        if op.code == "scatter":
            return sum(o.bytes for o in operands[1:]), operands[-1].bytes
        read = sum(o.bytes for o in operands)
        if op.code.endswith("-start"):  # the result holds the operand as well
            return read, op.bytes - read if op.bytes > read else read
        if op.code == "custom-call" and len(op.result) > 1:
            return read, sum(a.bytes for a in op.result if not _is_workspace(a))
        return read, op.bytes

    def _traffic(self, computation: str) -> tuple[dict[int, int], int]:
        """Return (bytes read of every parameter, bytes written) of a fused computation."""
        if computation not in self._traffics:
            there = self.program.computations[computation]
            users: dict[str, list[tuple[Operation, int]]] = {}
            for op in there.values():
                for place, name in enumerate(op.operands):
                    users.setdefault(name, []).append((op, place))
            reads = {
                int(op.argument or 0): min(self._read(there, users, op), op.bytes)
                for op in there.values()
                if op.code == "parameter"
            }
            root = next(op for op in there.values() if op.is_root)
            self._traffics[computation] = reads, _written(there, root)
        return self._traffics[computation]

    def _read(self, there, users, op: Operation) -> int:
        """Return the bytes of a value that its users read; slices and gathers read what
        they take."""
        total = 0
        for user, place in users.get(op.name, []):
            if user.code in ("slice", "dynamic-slice", "gather") and place == 0:
                total += user.bytes
            elif user.code in ("bitcast", "reshape") and not user.is_root:
                total += self._read(there, users, user)
            elif user.code in ("dynamic-update-slice", "scatter") and place == 0:
                total += 0  # written in place
            elif user.code == "fusion":
                total += self._traffic(user.named("calls"))[0].get(place, 0)
            else:
                return op.bytes
        return total

    def _is_copy(self, op: Operation) -> bool:
        if op.code not in _FUSIONS:
            return op.code in _COPIES
        if "transpose" in op.name:  # XLA names a fusion by what decides its speed
            return True
        inside = self.program.computations[op.named("calls")].values()
        # scalars are address arithmetic
        codes = {o.code for o in inside if _largest(o) > 1}
        return codes <= _MOVES and not codes.isdisjoint(_COPIES)

    # --- arithmetic -------------------------------------------------------------------

    def _work(self, computation: str, op: Operation) -> Counter:
        """Return the arithmetic of one launch, or of an operation within one."""
        if op.code in (*_FUSIONS, "call"):
            name = op.named("calls", "to_apply")
            if name not in self._works:
                total: Counter = Counter()
                for inner in self.program.computations[name].values():
                    total.update(self._work(name, inner))
                self._works[name] = total
            return self._works[name]
        operands = self.program.operands(computation, op)
        if op.code in ("dot", "convolution"):
            return products.flops(op, operands)
        if op.code == "custom-call":
            target = op.quoted("custom_call_target")
            if "$conv" in target or "gemm" in target or "matmul" in target:
                return products.flops(op, operands)
            return Counter()
        if op.code in _NO_ARITHMETIC or op.code.endswith(("-start", "-done")):
            return Counter()
        elements = _largest(op)
        if op.code in ("reduce", "reduce-window", "select-and-scatter", "sort", "map"):
            body = self.program.computations.get(op.named("to_apply"), {})
            each = sum(o.code not in _NO_ARITHMETIC for o in body.values()) or 1
            elements = (_largest(operands[0]) if operands else elements) * each
        wide = bool(op.result) and op.result[0].dtype in ("f64", "s64", "u64", "c128")
        found = Counter({"vector64" if wide else "vector": elements})
        if op.code in _SPECIAL:
            found["special"] = elements * _SPECIAL[op.code]
        return found


def _largest(op: Operation) -> int:
    return max((array.elements for array in op.result), default=0)


def _is_workspace(array: Array) -> bool:
    return array.dtype in ("u8", "s8")


def _written(there: dict[str, Operation], op: Operation) -> int:
    """Return the bytes that the root of a fused computation writes; an update in place
    writes the update alone."""
    if op.code == "tuple":
        return sum(
            _written(there, there[name]) for name in op.operands if name in there
        )
    inner = op
    while inner.code in ("bitcast", "reshape") and inner.operands[0] in there:
        inner = there[inner.operands[0]]
    if inner.code == "dynamic-update-slice":
        return there[inner.operands[1]].bytes
    if inner.code == "scatter":
        return there[inner.operands[-1]].bytes
    return op.bytes
