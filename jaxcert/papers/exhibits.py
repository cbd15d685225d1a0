"""The tables and figures of a paper: one page with all of them, and each as CSV and PDF.

A function of records returns an `Exhibit`; `write` writes what all of them show. What a paper
prints itself is in published/*.csv, which `printed` reads.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jaxcert.analysis import report
from jaxcert.analysis.figures import as_bytes, as_svg
from jaxcert.analysis.page import document, html_figure, html_table
from jaxcert.errors import own_file

_PUBLISHED = Path(__file__).with_name("published")


class Exhibit(NamedTuple):
    """A table or a figure. Of a missing one `missing` says what it takes, in a clause."""

    name: str
    """of its files, without a suffix: figure_3"""
    title: str
    """with the paper's number: Figure 3: vote probabilities"""
    caption: str = ""
    head: Sequence[str] = ()
    """names of the columns of its CSV"""
    rows: Sequence[Sequence[Any]] = ()
    """what its CSV has, in full precision; None for what there is not"""
    figure: Figure | None = None
    legend: Axes | None = None
    """where the names of the figure's legend are; None: it has none"""
    shown: tuple[Sequence[str], Sequence[Sequence[str]]] | None = None
    """head and rows of a table as HTML"""
    missing: str = ""


def printed(name: str) -> list[dict[str, str]]:
    """Return the rows of a published table, such as 'sun_table2_cifar10'."""
    with open(_PUBLISHED / f"{name}.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def as_csv(exhibit: Exhibit) -> str:
    """Return the numbers that a table or a figure shows."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(exhibit.head)
    writer.writerows(exhibit.rows)
    return file.getvalue()


def write(
    folder: str | Path, title: str, lead: Sequence[str], exhibits: Sequence[Exhibit]
) -> Path:
    """Write paper.html and the files of each exhibit into a folder, which is made if it is
    missing, and return the path of the page. lead: paragraphs above the exhibits."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    there = [e for e in exhibits if not e.missing]
    parts = [f"<h1>{escape(title)}</h1>"]
    parts += [f"<p>{escape(text)}</p>" for text in lead]
    for exhibit in there:
        report.write(as_csv(exhibit), own_file(folder, f"{exhibit.name}.csv"))
        parts.append(f"<h2>{escape(exhibit.title)}</h2>")
        if exhibit.shown is not None:
            parts.append(html_table(*exhibit.shown, exhibit.caption, kind="dense"))
        if exhibit.figure is not None:
            axes = _any_axes(exhibit)
            new = exhibit.legend is not None and not exhibit.figure.legends
            pdf = as_bytes(exhibit.figure, axes, new, "pdf")
            own_file(folder, f"{exhibit.name}.pdf").write_bytes(pdf)
            svg = as_svg(exhibit.figure, axes, False, salt=exhibit.name)
            parts.append(html_figure(svg, exhibit.caption))
    if missing := [f"{e.title} ({e.missing})" for e in exhibits if e.missing]:
        parts.append(f'<p class="soft">Not here: {escape("; ".join(missing))}.</p>')
    page = own_file(folder, "paper.html")
    report.write(document(title, parts), page)
    return page


def _any_axes(exhibit: Exhibit) -> Axes:
    return exhibit.legend or exhibit.figure.axes[0]


def number(value: float | None, digits: int = 1) -> str:
    """Return a number as text with so many digits behind the point; '' for None."""
    return "" if value is None else f"{value:.{digits}f}"
