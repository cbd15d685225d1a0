"""Learning curves and certified accuracy against core minutes, of finished workdirs.

    python -m benchmarks.recipes WORKDIR... --out benchmarks/results/DATE-recipes.json

A workdir holds a training whose metrics.jsonl has evaluations, and the record that was certified
with its last checkpoint. `python -m docs.tables` makes the table and the figure of the page.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from jaxcert.certificate import certified_accuracy
from jaxcert.records import load

RADII = (0.0, 36 / 255, 72 / 255, 108 / 255)
KEPT = ("accuracy", "certified", "loss")
"""Beginnings of the names of values that a curve keeps."""


def measure(workdir: Path) -> dict[str, Any]:
    """Return what a workdir shows: shares in percent, times in core minutes."""
    lines = [
        json.loads(x) for x in (workdir / "metrics.jsonl").read_text().splitlines()
    ]
    c = load(workdir / "certificates.jsonl")
    config = c.header["config"]
    curves = {
        split: [
            {"epoch": x["epoch"], "minutes": round(x["cpu_seconds"] / 60, 2)}
            | {k: round(v, 5) for k, v in x.items() if k.startswith(KEPT)}
            for x in lines
            if x["split"] == split
        ]
        for split in ("train", "holdout", "test")
    }
    return {
        "name": workdir.name,
        "model": config["model"],
        "method": config["method"],
        "epochs": config["data"]["epochs"],
        "seed": config["seed"],
        "images": len(c.index),
        "certified": (100 * certified_accuracy(c, RADII)).round(2).tolist(),
        "radii": RADII,
        "training_minutes": round(lines[-1]["cpu_seconds"] / 60, 1),
        "certificate_seconds": round(float(c.seconds.sum()), 1),
        "checkpoint": c.header["checkpoint"],
        "date": c.header["date"],
        "versions": c.header["versions"],
        "curves": curves,
    }


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("workdirs", nargs="+", type=Path, metavar="WORKDIR")
    parser.add_argument("--out", required=True, metavar="FILE")
    given = parser.parse_args(argv)
    rows = [measure(workdir) for workdir in given.workdirs]
    Path(given.out).write_text(json.dumps({"rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
