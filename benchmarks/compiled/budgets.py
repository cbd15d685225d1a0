"""Budgets of the programs (budgets.json): what a compiled program may take at most.

    kernels, bytes_per_item, temp_bytes, copy_bytes, collectives
    slower_flops    FLOPs of products in units slower than the one that they are meant for
    compile_cpu_s   twice this is allowed, because CPUs differ
    targets         the numbers to aim at
    missed          why a target is not reached

Nothing may go to the host. `lower` only lowers: to raise a number, edit the file and say why.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("budgets.json")
SLACK = 1.02
GRANTED = {"compile_cpu_s": 2.0}
FIELDS = (
    "kernels",
    "bytes_per_item",
    "temp_bytes",
    "copy_bytes",
    "collectives",
    "slower_flops",
    "compile_cpu_s",
)


def read() -> dict[str, dict[str, Any]]:
    """Return the budget of each program, by name."""
    return json.loads(FILE.read_text())


def exceeded(row: dict[str, Any]) -> list[str]:
    """Return a sentence for every number of a row that is over its budget."""
    name = row["program"]
    if row["status"] != "ok":
        return [f"{name} does not compile: {row['status']} {row['source']}".strip()]
    budget, found = read().get(name, {}), amounts(row)
    if any(field not in budget for field in FIELDS):
        return [f"{name} has no budget: --update-budgets gives it one."]
    over = [
        f"{name}: {field} {found[field]:.6g} is over its budget of {budget[field]:.6g}."
        for field in FIELDS
        if found[field] > budget[field] * GRANTED.get(field, 1)
    ]
    return over + [
        f"{name} goes to the host: {what}." for what in row["host_transfers"]
    ]


def lower(rows: Iterable[dict[str, Any]]) -> None:
    """Lower the budgets of these rows to what was found plus the slack, where that is
    less."""
    there = read()
    for row in rows:
        old = there.get(row["program"], {})
        new = {field: math.ceil(SLACK * v) for field, v in amounts(row).items()}
        budget = {
            field: min(new[field], old.get(field, new[field])) for field in FIELDS
        }
        there[row["program"]] = old | budget
    FILE.write_text(json.dumps(dict(sorted(there.items())), indent=1) + "\n")


def unexplained(budget: dict[str, Any]) -> list[str]:
    """Return the targets that the budget exceeds without an explanation."""
    if budget.get("missed"):
        return []
    targets = budget.get("targets", {})
    return [f for f, most in targets.items() if budget.get(f, most) > SLACK * most]


def amounts(row: dict[str, Any]) -> dict[str, float]:
    """Return the numbers of a row that have a budget."""
    return {
        field: sum(row[field].values()) if field == "collectives" else row[field]
        for field in FIELDS
    }
