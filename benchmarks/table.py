"""The table of a result file: `python -m benchmarks.table FILE`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from benchmarks.suite import SIDES

HEAD = (
    "workload",
    "size",
    "dtype",
    "jaxcert",
    "peer",
    "strong",
    "/ peer",
    "/ strong",
    "floor",
    "rate",
    "error",
    "status",
)


def text(result: dict[str, Any]) -> str:
    """Return Markdown: what ran, then one line per row. Where a ratio is below 1,
    jaxcert is faster. `/ estimate` is the seconds over the estimate of the compiled
    program, if there is one."""
    estimated = any("estimate" in row for row in result["rows"])
    head = HEAD[:-1] + ("/ estimate",) * estimated + HEAD[-1:]
    lines = [
        f"{result['device_name']} ({result['device']}), commit {result['commit']}, "
        f"load {result['load']:.1f} on {result['cores']} cores. Medians; ratio of "
        f"{'CPU' if result['device'] == 'cpu' else 'wall'} seconds [min, max]. "
        + (f"VOID: {result['void']}" if result["void"] else ""),
        "",
        _line(head),
        _line(["---"] * len(head)),
    ]
    lines += [_line(_cells(row, estimated)) for row in result["rows"]]
    lines += [f"{name}: {why}" for name, why in result["skipped"].items()]
    return "\n".join(lines)


def _cells(row: dict[str, Any], estimated: bool) -> list[str]:
    sides = row["sides"]
    times = [_seconds(sides.get(s, {}).get("wall")) for s in SIDES]
    if "jaxcert-again" in sides:
        times[1] = _seconds(sides["jaxcert-again"].get("wall"))
    ratios = row.get("ratio", {})
    again = ratios.get("jaxcert-again")
    errors = [a["error"] for a in row.get("agreement", {}).values()]
    flags = " (loaded)" if row.get("loaded") else ""
    return [
        row["workload"],
        " ".join(f"{k}={v}" for k, v in row["shape"].items()),
        row["dtype"],
        *times,
        _ratio(ratios.get("peer", again)),
        _ratio(ratios.get("strong")),
        f"{row['floor']['fraction']:.2f}" if "floor" in row else "",
        _rate(row),
        f"{max(errors):.0e}" if errors else "",
        *[f"{row['estimate']['ratio']:.2f}" if "estimate" in row else ""] * estimated,
        row["status"] + flags + (f": {row['why']}" if "why" in row else ""),
    ]


def _rate(row: dict[str, Any]) -> str:
    need = f" ({row['over_need']:.1f}x need)" if "over_need" in row else ""
    for name, unit in (("items_per_s", "/s"), ("flops_per_s", "FLOP/s")):
        if name in row:
            return _scaled(row[name]) + unit + need
    return _scaled(row["bytes_per_s"]) + "B/s" if "bytes_per_s" in row else ""


def _scaled(value: float) -> str:
    for scale, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= scale:
            return f"{value / scale:.3g} {letter}"
    return f"{value:.3g} "


def _seconds(spread: dict[str, float] | None) -> str:
    if spread is None:
        return ""
    value = spread["median"]
    return f"{value:.3g} s" if value >= 0.1 else f"{1e3 * value:.3g} ms"


def _ratio(spread: dict[str, float] | None) -> str:
    if spread is None:
        return ""
    digits = 2 if spread["median"] >= 0.1 else 3
    median, *ends = (f"{spread[k]:.{digits}f}" for k in ("median", "min", "max"))
    return f"{median} [{', '.join(ends)}]"


def _line(cells) -> str:
    return "| " + " | ".join(cells) + " |"


if __name__ == "__main__":
    print(text(json.loads(Path(sys.argv[1]).read_text())))
