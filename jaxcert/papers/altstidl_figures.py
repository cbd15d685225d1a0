"""Draws the figures of Altstidl et al. (2023) from lines of numbers, which `altstidl` computes.

Each function returns a matplotlib figure and the axes that have its legend.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence, Set
from html import escape
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jaxcert.analysis.facts import radius_text
from jaxcert.analysis.figures import INK, line_style, panel_columns, panels_of
from jaxcert.analysis.page import NORMS
from jaxcert.papers.exhibits import number
from jaxcert.papers.study_groups import Study
from jaxcert.papers.study_numbers import by

_MARKS = "osD^vPX<>"
_RIGHT, _WRONG = "#0072B2", "#D55E00"
_STATES = ("right\ncertified", "right\nnot", "wrong\ncertified", "wrong\nnot")


def norm_of(study: Study) -> str:
    return NORMS.get(study.norm, study.norm)


def table_row(line: Sequence, names: Sequence[str], half: Sequence | None) -> list[str]:
    """Return a row of the table as HTML, clean / certified of each amount and of the gain; half:
    what follows each ±, None for what is published."""
    system, epochs, _, *cells = line
    what = escape(f"{system}, {epochs}" if epochs else str(system))
    shown = [what if half is not None else f'<span class="weak">{what}</span>']
    digits, count = 2 if half is None else 1, len(names)
    for i in range(count):
        clean, certified = cells[i], cells[count + i]
        text = f"{number(clean, digits)} / {number(certified, digits)}"
        if half is not None and half[count + i] is not None:
            text += f" <small>±{half[count + i]:.1f}</small>"
        shown.append("" if clean is None else text)
    gains = [f"{v:+.{digits}f}" for v in cells[-2:] if v is not None]
    return [*shown, " / ".join(gains)]


def heat_maps(lines: Sequence) -> Figure:
    """source, family, size, epochs, value -> a panel per source and family."""
    groups = by(lines, lambda line: (line[0], line[1]))
    figure, panels = panels_of(
        len(groups), 0.55 * max(len(_sizes(g)) for _, g in groups)
    )
    low, high = min(line[-1] for line in lines), max(line[-1] for line in lines)
    for axes, ((source, family), group) in zip(panels, groups, strict=True):
        sizes, epochs = _sizes(group), sorted({line[3] for line in group})
        grid = np.full((len(sizes), len(epochs)), np.nan)
        for _, _, size, epoch, value in group:
            grid[sizes.index(size), epochs.index(epoch)] = value
        names = [textwrap.fill(size, 16) for size in sizes]
        _heat(axes, grid, low, high, names, [str(e) for e in epochs], "{:+.1f}")
        axes.set_xlabel("epochs")
        _head(axes, family + (", published" if source == "published" else ""))
    return figure


def _sizes(group: Sequence) -> list[str]:
    return list(dict.fromkeys(line[2] for line in group))


def points(lines: Sequence, study: Study) -> tuple[Figure, Axes]:
    """system, epochs, amount, x, y -> a point each, a colour per system, a mark per amount."""
    figure, (axes,) = panels_of(1, 2.4)
    systems = list(dict.fromkeys(line[0] for line in lines))
    amounts = list(dict.fromkeys(line[2] for line in lines))
    for system, _, amount, x, y in lines:
        mark = _MARKS[amounts.index(amount) % len(_MARKS)]
        hue = line_style(systems.index(system))[0]
        axes.plot(x, y, mark, color=hue, markersize=7, alpha=0.85)
    for i, system in enumerate(systems):
        axes.plot([], [], "s", color=line_style(i)[0], label=system)
    for i, amount in enumerate(amounts):
        axes.plot([], [], _MARKS[i % len(_MARKS)], color=INK, label=amount)
    axes.axhline(0, color=INK, linewidth=1)
    axes.set_xlabel("clean gap without generated images (points)")
    axes.set_ylabel(f"gain at {radius_text(study.radius)} (points)")
    return figure, axes


def bars(lines: Sequence, label: str) -> tuple[Figure, Axes]:
    """system, epochs, amount, value -> a group of bars per system, one per amount."""
    figure, (axes,) = panels_of(1, 2.4)
    systems = list(dict.fromkeys((line[0], line[1]) for line in lines))
    amounts = list(dict.fromkeys(line[2] for line in lines))
    width = 0.8 / len(amounts)
    for i, amount in enumerate(amounts):
        own = [(systems.index((s, e)), v) for s, e, a, v in lines if a == amount]
        x = [place - 0.4 + (i + 0.5) * width for place, _ in own]
        hue = line_style(i)[0]
        axes.bar(x, [v for _, v in own], 0.92 * width, color=hue, label=amount)
    names = [textwrap.fill(f"{s}; {e} epochs", 18) for s, e in systems]
    axes.set_xticks(range(len(systems)), names)
    axes.axhline(0, color=INK, linewidth=1)
    axes.grid(axis="x", visible=False)
    axes.set_axisbelow(True)
    axes.set_ylabel(label)
    return figure, axes


def shares(lines: Sequence, study: Study) -> tuple[Figure, Axes]:
    """system, epochs, amount, share, clean, certified, and the errors of both -> two panels."""
    figure, panels = panels_of(2, 2.4)
    for i, (key, group) in enumerate(by(lines, lambda line: tuple(line[:3]))):
        x, *values = np.array([line[3:] for line in group], float).T
        label = f"{key[0]}; {key[1]} epochs, {key[2]}"
        for axes, y, error in zip(panels, values[:2], values[2:], strict=True):
            _bars_line(axes, i, x, y, error, label)
    at = f"certified at {norm_of(study)} {radius_text(study.radius)} (%)"
    for axes, what in zip(panels, ("clean accuracy (%)", at), strict=True):
        axes.set_ylabel(what)
        axes.set_xlabel("generated images in a batch (%)")
        axes.set_xlim(-4, 104)
        _within_percent(axes)
    return figure, panels[0]


def cumulative(lines: Sequence, study: Study, stepped: Set[str]) -> tuple[Figure, Axes]:
    """system, amount, radius, right, wrong -> a panel per system; stepped: those of which radii
    were tried, and nothing is known between two."""
    groups = by(lines, lambda line: line[0])
    figure, panels = panels_of(len(groups), 2.4)
    for axes, (system, group) in zip(panels, groups, strict=True):
        for (_, own), dash in zip(
            by(group, lambda line: line[1]), ("--", "-"), strict=True
        ):
            r, right, wrong = np.array([line[2:] for line in own], float).T
            style: dict[str, Any] = dict(linestyle=dash, linewidth=1.8)
            if system in stepped:
                style |= dict(drawstyle="steps-pre", marker="o", markersize=4)
            for y, hue in ((right, _RIGHT), (wrong, _WRONG)):
                axes.plot(r, y, color=hue, **style)
        axes.set_xlabel(f"{norm_of(study)} radius r")
        axes.set_xlim(left=0)
        axes.set_ylim(bottom=0)
        _head(axes, system)
    panels[0].set_ylabel("images with radius ≥ r")
    for name, hue in (("right", _RIGHT), ("wrong", _WRONG)):
        for words, dash in (("without", "--"), ("with generated images", "-")):
            style = dict(color=hue, linestyle=dash, linewidth=1.8)
            panels[0].plot([], [], label=f"{name}, {words}", **style)
    return figure, panels[0]


def joint_maps(tables: dict[str, np.ndarray]) -> Figure:
    """{system: percent [4,4]} -> a panel per system."""
    figure, panels = panels_of(len(tables), 2.6)
    for axes, (system, grid) in zip(panels, tables.items(), strict=True):
        _heat(axes, grid, 0.0, 100.0, _STATES, _STATES, "{:.1f}")
        axes.tick_params(labelsize=8)
        axes.set_xlabel("with generated images")
        _head(axes, system)
    for axes in panels[:: panel_columns(len(panels))]:
        axes.set_ylabel("without")
    return figure


def by_amount(lines: Sequence, names: Sequence[str], study: Study):
    """source, system, epochs, amount, value, error -> a line per system and epochs."""
    figure, (axes,) = panels_of(1, 2.4)
    theirs = [line for line in lines if line[0] == "published" and line[3] in names]
    for i, (_, group) in enumerate(by(theirs, lambda line: tuple(line[:3]))):
        x, y = [names.index(line[3]) for line in group], [line[4] for line in group]
        label = "published" if not i else None
        axes.plot(x, y, ":", color=INK, alpha=0.35, linewidth=1.2, label=label)
    ours = [line for line in lines if line[0] == "ours"]
    for i, (key, group) in enumerate(by(ours, lambda line: tuple(line[:3]))):
        x = [names.index(line[3]) for line in group]
        y, error = np.array([line[4:] for line in group], float).T
        _bars_line(axes, i, x, y, error, f"{key[1]}; {key[2]} epochs")
    axes.set_xticks(range(len(names)), [textwrap.fill(n, 12) for n in names])
    axes.set_xlabel("generated images")
    axes.set_ylabel(f"certified at {norm_of(study)} {radius_text(study.radius)} (%)")
    _within_percent(axes)
    return figure, axes


def _within_percent(axes: Axes) -> None:
    """Cut an axis of shares where bars of few seeds go below 0 or above 100 %."""
    low, high = axes.get_ylim()
    axes.set_ylim(max(low, 0.0), min(high, 100.0))


def _bars_line(axes: Axes, i: int, x, y, error, label: str) -> None:
    hue, dash = line_style(i)
    style = dict(color=hue, linestyle=dash, linewidth=1.8, elinewidth=1, label=label)
    mark = dict(marker=_MARKS[i % len(_MARKS)], markersize=6)
    axes.errorbar(x, y, error, **style, **mark)


def _heat(axes: Axes, grid, low: float, high: float, rows, columns, form: str) -> None:
    axes.imshow(grid, cmap="viridis", vmin=low, vmax=high, aspect="auto")
    for row, column in np.argwhere(~np.isnan(grid)):
        ink = "black" if grid[row, column] > (low + high) / 2 else "white"
        style = dict(color=ink, ha="center", va="center", fontsize=10)
        axes.text(column, row, form.format(grid[row, column]), **style)
    axes.set_yticks(range(len(rows)), rows)
    axes.set_xticks(range(len(columns)), columns)
    axes.grid(visible=False)


def _head(axes: Axes, text: str) -> None:
    axes.set_title(textwrap.fill(text, 30), fontsize=10, color=INK, loc="left")
