"""Tables of a file of benchmarks/recipes.py: the networks of the zoo, those that had their names
before, and what was tried."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from docs.tables import markdown, networks


def table(kind: str, found: dict[str, Any], model: str) -> str:
    """Markdown of the table of this kind: recipes, earlier, or tuning of a model."""
    if kind == "recipes":
        return recipes(found["rows"])
    if kind == "earlier":
        return earlier(found["earlier"])
    return tuning([trial for trial in found["tuning"] if trial["family"] == model])


def recipes(rows: Iterable[dict[str, Any]]) -> str:
    """Shares from the records of the zoo; what the runs took from the file."""
    from jaxcert.analysis import facts
    from jaxcert.certificate import certified_accuracy

    found = {one.listed.name: one.entry.certificates for one in networks()}
    lines = []
    for row in rows:
        c = found[row["name"]]
        if c.header["checkpoint"] != row["checkpoint"]:
            raise ValueError(f"{row['name']} of the zoo is another network")
        took = [row["training_minutes"], row["certificate_seconds"] / 60]
        shares = map(facts.percent, certified_accuracy(c, row["radii"]))
        cells = [f"{len(c.index):,}", *(f"{value:.1f}" for value in took), *shares]
        lines.append([f"`{row['name']}`", str(row["epochs"]), *cells])
    head = ["network", "epochs", "test images", "core minutes", "certificate, min"]
    return markdown([*head, "clean, %", "36/255", "72/255", "108/255"], lines)


def earlier(rows: Iterable[dict[str, Any]]) -> str:
    """Markdown of rows of benchmarks/recipes.py that other networks have replaced."""
    lines = []
    for row in rows:
        shares = [f"{share:.1f}" for share in row["certified"]]
        cells = [f"{row['epochs']}", f"{row['training_minutes']:.1f}", *shares]
        loss = row["method"].get("loss", row["method"]["name"])
        lines.append([f"`{row['name']}`", loss, *cells])
    head = ["before", "loss", "epochs", "core minutes", "clean, %"]
    return markdown([*head, "36/255", "72/255", "108/255"], lines)


def tuning(trials: list[dict[str, Any]]) -> str:
    """Markdown of trials of benchmarks/recipes.py. The first line is the row, with those of its
    values that a trial has changed."""
    row: dict[str, Any] = {}
    for trial in trials:
        row |= trial["row"]
    lines = [[f"**the row: {_values(row)}**", *[""] * 6]]
    for trial in sorted(trials, key=lambda trial: trial["certified"][1]):
        shares = [f"{share:.1f}" for share in trial["certified"]]
        took = [f"{trial['minutes']:.1f}", str(trial["epochs"])]
        lines.append([_values(trial["changed"]), *shares, *took])
    whole = math.fsum(trial["minutes"] for trial in trials)
    lines.append([f"all {len(trials)}", "", "", "", "", f"{whole:.1f}", ""])
    head = ["different", "clean, %", "36/255", "72/255", "108/255", "minutes", "epochs"]
    return markdown(head, lines)


def _values(found: dict[str, Any]) -> str:
    """What is in a config, in words: width 8 for model.width, and lot for method.name."""
    words = [
        f"{key.removesuffix('.name').rpartition('.')[2]} {found[key]}"
        for key in sorted(found)
        if found[key] is not None
    ]
    return ", ".join(words) or "nothing"
