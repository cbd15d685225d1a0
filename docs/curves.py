"""Learning curves of docs/results.md, drawn from a file of benchmarks/recipes.py."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from jaxcert.analysis import figures

FOLDER = Path(__file__).parent / "figures"
RESULTS = Path(__file__).parents[1] / "benchmarks/results"
SHARE = f"certified_{36 / 255:.3g}"


def path(result: str) -> Path:
    """Return where the figure of a file of benchmarks/results is."""
    return FOLDER / Path(result).with_suffix(".svg").name


def first_line(result: str) -> str:
    """Return the first line of the figure, which says what it was drawn from. Text and numbers of
    an SVG differ between versions of Matplotlib, so this line is what a check compares."""
    digest = hashlib.sha256((RESULTS / result).read_bytes()).hexdigest()
    return f"<!-- drawn from the file with the sha256 {digest} -->"


def is_stale(result: str) -> bool:
    """Return whether the figure is missing or was drawn from other numbers."""
    file = path(result)
    return not file.exists() or file.read_text().partition("\n")[0] != first_line(
        result
    )


def draw(result: str) -> None:
    """Write the figure: certified accuracy at 36/255 on held-out images against core minutes, a
    line for each network."""
    rows = json.loads((RESULTS / result).read_text())["rows"]
    figure, (axes,) = figures.new_figure()
    for i, row in enumerate(rows):
        hue, dash = figures.line_style(i)
        points = [(p["minutes"], 100 * p[SHARE]) for p in row["curves"]["holdout"]]
        minutes, shares = zip(*points, strict=True)
        style = dict(color=hue, linestyle=dash, linewidth=2)
        axes.plot(minutes, shares, label=row["name"], **style)
    axes.set(xlabel="core minutes", ylabel="certified at 36/255")
    axes.set_xlim(0)
    axes.yaxis.set_major_formatter("{x:.0f} %")
    svg = figures.as_svg(figure, axes, legend=True)
    # a page that shows the file as an image has no colour of text for it
    svg = svg.replace("currentColor", "#222")
    svg = svg.replace(">", ' style="background:#fff">', 1)
    FOLDER.mkdir(exist_ok=True)
    path(result).write_text(f"{first_line(result)}\n{svg}\n")
