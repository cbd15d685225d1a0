"""The rows of a result as a table of Markdown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

HEAD = (
    "program",
    "kernels",
    "GB",
    "MB an item",
    "/ floor",
    "temporaries GB",
    "copies GB",
    "products",
    "collectives",
    "compile CPU s",
    "estimate ms",
)


BEGIN, END = "<!-- compiled: begin -->", "<!-- compiled: end -->"


def write(path: Path, result: dict[str, Any]) -> None:
    """Write the table into the file, between the two marks where it has them."""
    old = path.read_text() if path.exists() else ""
    before, mark, rest = old.partition(BEGIN)
    _, end, after = rest.partition(END)
    new = text(result) + "\n"
    if mark and end:
        new = f"{before}{BEGIN}\n{new}{END}{after}"
    path.write_text(new)


def text(result: dict[str, Any]) -> str:
    versions = result["versions"]
    commits = dict.fromkeys(row.get("commit", "") for row in result["rows"])
    lines = [
        f"Compiled for an NVIDIA H200 by jax {versions['jax']}, at the commits "
        f"{', '.join(filter(None, commits))}. An item is an image, a sample or a vote on one "
        "device.",
        "",
        _line(HEAD),
        _line(["---", *["---:"] * (len(HEAD) - 1)]),
    ]
    return "\n".join(lines + [_line(_cells(row)) for row in result["rows"]])


def _cells(row: dict[str, Any]) -> list[str]:
    if row["status"] != "ok":
        status = f"{row['status']} {row['source']}".strip().replace("|", "/")
        return [row["program"], status, *[""] * (len(HEAD) - 2)]
    ratio = row["bytes"] / row["floor_bytes"] if row["floor_bytes"] else 0
    # arguments and results are not a floor for a program with loops or activations
    known = row["floor"] != "arguments and results"
    return [
        row["program"],
        f"{row['kernels']:,}",
        f"{row['bytes'] / 1e9:.3g}",
        f"{row['bytes_per_item'] / 1e6:.4g}",
        f"{ratio:.2f}" if known else "",
        f"{row['temp_bytes'] / 1e9:.3g}",
        f"{row['copy_bytes'] / 1e9:.3g}",
        _products(row["flops"]),
        str(sum(row["collectives"].values()) or ""),
        f"{row['compile_cpu_s']:.0f}",
        f"{1e3 * row['estimate_s']:.4g}",
    ]


def _products(flops: dict[str, float]) -> str:
    """Return the units of at least a thousandth of the products, with their TFLOPs."""
    products = {
        u: f for u, f in flops.items() if u not in ("vector", "vector64", "special")
    }
    total = sum(products.values())
    return ", ".join(
        f"{unit} {n / 1e12:.3g} T" for unit, n in products.items() if n >= total / 1000
    )


def _line(cells) -> str:
    return "| " + " | ".join(cells) + " |"
