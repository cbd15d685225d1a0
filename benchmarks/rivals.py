"""Certified accuracy by every rival from the same votes, of records made with rival=auto.

    python -m benchmarks.rivals ROW=RECORD... --out benchmarks/results/DATE-rivals.json

ROW is the config row of the network, and stands in the result beside what the header says.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

import numpy as np

from jaxcert.analysis.metrics import acr
from jaxcert.certificate import Certificates, certified_accuracy
from jaxcert.certificates import bounding, runner_up
from jaxcert.records import load

RADII = (0.0, 0.25, 0.5, 0.75, 1.0)


def measure(row: str, c: Certificates) -> dict[str, Any]:
    """Return what the votes of a record prove with each rival: shares in percent."""
    config, procedure = c.header["config"], c.header["procedure"]
    found = {
        "row": row,
        "dataset": c.header["dataset"],
        "images": len(c.index),
        "sigma": c.header["sigma"],
        "alpha": c.header["alpha"],
        "n0": procedure["n0"],
        "n": procedure["n"],
        "seed": c.header["seed"],
        "epochs": config["data"]["epochs"],
        "checkpoint": c.header["checkpoint"],
        "versions": c.header["versions"],
        "date": c.header["date"],
        "radii": RADII,
        "rivals": {},
    }
    for rival in runner_up.NAMES:
        again = bounding.again(c, rival)
        shares = 100 * certified_accuracy(again, RADII)
        found["rivals"][rival] = {
            "certified": shares.round(2).tolist(),
            "abstained": round(100 * float(np.mean(again.predicted < 0)), 2),
            "average_radius": round(acr(again), 4),
        }
    return found


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("records", nargs="+", metavar="ROW=RECORD")
    parser.add_argument("--out", required=True, metavar="FILE")
    given = parser.parse_args(argv)
    pairs = [one.rpartition("=") for one in given.records]
    rows = [measure(row, load(path)) for row, _, path in pairs]
    with open(given.out, "w") as file:
        json.dump({"rows": rows}, file, indent=1)
        file.write("\n")


if __name__ == "__main__":
    main()
