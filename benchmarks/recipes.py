"""Learning curves and certified accuracy against core minutes, of finished workdirs.

    python -m benchmarks.recipes WORKDIR... --tuning TRIAL... --out FILE

WORKDIR holds a training whose metrics.jsonl has evaluations, and the record that was certified
with its last checkpoint. TRIAL is a workdir of a shorter training with held-out images; how its
config differs from the row with the same model, here or in FILE, is kept. Runs and trials of other
names that FILE has stay in it, and so does what a run reached before another took its name.
`python -m docs.tables` makes the tables and the figure of the page.
"""

from __future__ import annotations

import argparse
import json
import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from jaxcert import config as configs
from jaxcert.certificate import certified_accuracy
from jaxcert.records import load

RADII = (0.0, 36 / 255, 72 / 255, 108 / 255)
KEPT = ("accuracy", "certified", "loss")
"""Beginnings of the names of values that a curve keeps."""


def row_of(workdir: Path) -> str:
    """Return the row that a workdir is named for: lot-cifar10-laptop is
    configs/lot/cifar10.py:laptop. Raises ValueError if its config is not that of the row."""
    family, data, *row = workdir.name.split("-")
    name = ":".join([f"configs/{family}/{data}.py", *row])
    mine = _flat(json.loads((workdir / "config.json").read_text()))
    theirs = _flat(_row(name))
    for key in sorted(mine.keys() | theirs.keys()):
        of_machine = key == "data.dir" or key.startswith("tiny.")
        if not of_machine and mine.get(key) != theirs.get(key):
            raise ValueError(f"{workdir} has another {key} than {name}")
    return name


def _row(name: str) -> dict[str, Any]:
    """Return the config of a row as a workdir has it."""
    return json.loads(json.dumps(configs.load(name).to_dict()))


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
            if x["split"] == split and "certified_0" in x  # an evaluation
        ]
        for split in ("train", "holdout", "test")
    }
    return {
        "name": workdir.name,
        "command": f"python -m jaxcert.train --config {row_of(workdir)}",
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


NOT_COMPARED = (
    "certify",
    "checkpoint",
    "data.dir",
    "data.epochs",
    "data.holdout",
    "eval",
    "log",
    "optim.warmup_epochs",
    "reference",
    "tiny",
)
"""Keys, or beginnings of keys, of a config that do not change what a training learns, and the
number of epochs, which has a column of its own, with its warm-up."""


def tried(workdir: Path, rows: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Return what a trial reached on its held-out images, in percent, and the values of its
    config that are not those of the row, as `measure` has it, with its model, beside what the row
    has there. Raises ValueError if there is no such row."""
    config = json.loads((workdir / "config.json").read_text())
    for row in rows:
        chosen = _row(row["command"].split()[-1])
        if chosen["model"]["name"] == config["model"]["name"]:
            break
    else:
        raise ValueError(f"no finished run has the model of {workdir}")
    lines = [
        json.loads(x) for x in (workdir / "metrics.jsonl").read_text().splitlines()
    ]
    last = [line for line in lines if line["split"] == "holdout"][-1]
    mine, theirs = _flat(config), _flat(chosen)
    another = (
        mine["method.name"] != theirs["method.name"]
    )  # starts from its own defaults
    words = [
        f"--config.{key}={value}"
        for key, value in mine.items()
        if (value != theirs.get(key) or another and key.startswith("method."))
        and not key.startswith(("data.dir", "tiny."))
    ]
    changed = {
        key: mine[key]
        for key in sorted(mine)  # not what only the other's loss has
        if not key.startswith(NOT_COMPARED) and mine[key] != theirs.get(key)
    }
    return {
        "name": workdir.name,
        "family": config["model"]["name"],
        "command": f"{row['command']} {shlex.join(words)}".rstrip(),
        "changed": changed,
        "row": {key: theirs.get(key) for key in changed},
        "seed": config["seed"],
        "holdout": config["data"]["holdout"],
        "epochs": config["data"]["epochs"],
        "minutes": round(last["cpu_seconds"] / 60, 1),
        "certified": [round(100 * last[f"certified_{r:.3g}"], 2) for r in RADII],
    }


def _flat(config: dict[str, Any], before: str = "") -> dict[str, Any]:
    """Return the values of nested sections under names such as optim.lr."""
    found = {}
    for key, value in config.items():
        inner = isinstance(value, dict)
        found |= _flat(value, f"{before}{key}.") if inner else {before + key: value}
    return found


def _with(old: list[dict[str, Any]], new: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the old rows and the new ones, which replace those of their names."""
    return list({row["name"]: row for row in [*old, *new]}.values())


def _replaced(
    old: list[dict[str, Any]], new: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Return the old rows, without curves, whose names other networks have among the new."""
    now = {row["name"]: row["checkpoint"] for row in new}
    return [
        {key: value for key, value in row.items() if key != "curves"}
        for row in old
        if now.get(row["name"], row.get("checkpoint")) != row.get("checkpoint")
    ]


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("workdirs", nargs="*", type=Path, metavar="WORKDIR")
    parser.add_argument("--tuning", nargs="*", type=Path, default=[], metavar="TRIAL")
    parser.add_argument("--out", required=True, metavar="FILE")
    given = parser.parse_args(argv)
    out = Path(given.out)
    old = json.loads(out.read_text()) if out.exists() else {"rows": [], "tuning": []}
    new = [measure(workdir) for workdir in given.workdirs]
    rows = _with(old["rows"], new)
    trials = [tried(workdir, rows) for workdir in given.tuning]
    earlier = [*old.get("earlier", []), *_replaced(old["rows"], new)]
    tuning = _with(old["tuning"], trials)
    found = {"rows": rows, "earlier": earlier, "tuning": tuning}
    out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
