"""Budgets of the programs (budgets.json): what a compiled program may take at most.

    kernels, bytes_per_item, temp_bytes, copy_bytes, collectives
    slower_flops    FLOPs of products in units slower than the one that they are meant for
    targets         what was aimed at, where it is not what is there
    missed          why a target is not reached

Nothing may go to the host. `lower` only lowers: to raise a number, edit the file and say why.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("budgets.json")
SLACK = 1.02
FIELDS = (
    "kernels",
    "bytes_per_item",
    "temp_bytes",
    "copy_bytes",
    "collectives",
    "slower_flops",
)


def read() -> dict[str, dict[str, Any]]:
    return json.loads(FILE.read_text())


def exceeded(row: dict[str, Any]) -> list[str]:
    """A sentence for everything in which a row is over its budget."""
    if row["status"] != "ok":
        return [f"{row['program']} does not compile: {row['status']}"]
    name, found = row["program"], amounts(row)
    budget = read().get(name)
    if budget is None:
        return [f"{name} has no budget: --update-budgets gives it one"]
    over = [
        f"{name}: {field} {found[field]:.6g} is over its budget of {budget[field]:.6g}"
        for field in FIELDS
        if found[field] > budget[field]
    ]
    over += [f"{name} goes to the host: {what}" for what in row["host_transfers"]]
    return over


def lower(rows: Iterable[dict[str, Any]]) -> None:
    """Budgets of these rows become what was found plus the slack, where that is less."""
    there = read() if FILE.exists() else {}
    for row in rows:
        old = there.get(row["program"], {})
        new = {k: round(v * SLACK) for k, v in amounts(row).items()}
        there[row["program"]] = old | {
            field: min(new[field], old.get(field, new[field])) for field in FIELDS
        }
    FILE.write_text(json.dumps(dict(sorted(there.items())), indent=1) + "\n")


def amounts(row: dict[str, Any]) -> dict[str, float]:
    """The numbers of a row that have a budget."""
    return {
        field: sum(row[field].values()) if field == "collectives" else row[field]
        for field in FIELDS
    }
