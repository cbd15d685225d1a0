"""Figures of a study of generated images, as SVG text: see figures.py.

Each function takes a `Study` and gives what it drew with a caption, or None where the study
lacks what the figure needs. Systems of a study certify in one norm, so an axis has one. The
questions are those of the figures of Altstidl et al. (2023).
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes

from jaxcert.analysis.facts import radius_text
from jaxcert.analysis.figures import (
    INK,
    NORMS,
    as_svg,
    line_style,
    panel_columns,
    panels_of,
)
from jaxcert.papers.study_groups import Cell, Study, in_order
from jaxcert.papers.study_numbers import (
    Estimate,
    accuracy,
    baseline,
    by,
    certified,
    correlation,
    gain,
    gap,
    lost_since_best,
    pairs_of,
    usual_share,
)

_MARKS = "osD^vPX<>"
_RIGHT, _WRONG = "#0072B2", "#D55E00"
_BARS = "Bars are 95 % intervals over seeds, of a single run, and where seeds agree, over images."


class Drawn(NamedTuple):
    title: str
    svg: str
    text: str
    """caption"""


def figures(study: Study) -> list[Drawn]:
    """Return the figures that the runs of a study are enough for."""
    drawn = [
        gain_arrows(study),
        against_amount(study),
        gap_against_gain(study),
        against_share(study),
        radius_distributions(study),
        best_against_last(study),
        *heat_maps(study),
    ]
    return [each for each in drawn if each]


def gain_arrows(study: Study) -> Drawn | None:
    """Draw clean against certified accuracy, an arrow per system from none to its best,
    with the intervals of both gains. Needs runs with and without generated images at equal
    epochs."""
    title, pairs = "What generated images gain", pairs_of(study)
    if not pairs:
        return None
    figure, (axes,) = panels_of(1)
    for i, pair in pairs.items():
        hue, dash = line_style(i)
        old, new = (100 * accuracy(c, study.radii).mean[[0, study.at]] for c in pair)
        arrow = dict(arrowstyle="-|>", color=hue, linewidth=2, linestyle=dash)
        axes.annotate("", new, old, arrowprops=arrow | dict(shrinkA=4, shrinkB=0))
        axes.plot(*old, color=hue, marker=_MARKS[i % len(_MARKS)], markersize=7)
        base, cell = pair
        gained = gain(cell, base, study.radii)
        dx, dy = (100 * _bars(gained, at) for at in (0, study.at))
        axes.errorbar(*new, dy, dx, color=hue, elinewidth=1, alpha=0.6)
    axes.margins(0.08)
    axes.set_xlabel("clean accuracy (%)")
    _level([axes], study)
    _name_systems(axes, study, {study.systems[i] for i in pairs})
    caption = (
        "The mark is the system without generated images, the tip of the arrow its best cell "
        "with them at equal epochs, chosen on these test images. Bars at the tip are the 95 % "
        "intervals of the two gains."
    )
    return _drawn(study, title, figure, axes, caption)


def against_amount(study: Study) -> Drawn | None:
    """Draw certified accuracy against the amount of generated images, a panel per
    number of epochs, at the share that most cells have. Needs two amounts of one system."""
    title, share = "Amount of generated images", usual_share(study)
    cells = [c for c in study.cells if c.generated.share in (0, share)]
    lines = {k: g for k, g in by(cells, lambda c: (c.factor, c.system)) if len(g) > 1}
    if not lines:
        return None
    shown = {(in_order(c.generated), c.amount) for g in lines.values() for c in g}
    places = list(dict.fromkeys(amount for _, amount in sorted(shown)))
    factors = sorted({factor for factor, _ in lines})
    figure, panels = panels_of(len(factors))
    for (factor, system), group in lines.items():
        axes, i = panels[factors.index(factor)], study.systems.index(system)
        _line(axes, study, i, [places.index(c.amount) for c in group], group)
    for axes, factor in zip(panels, factors, strict=True):
        axes.set_xticks(range(len(places)), [textwrap.fill(p, 9) for p in places])
        axes.set_xlim(-0.3, len(places) - 0.7)
        axes.set_xlabel("generated images")
        _head(axes, f"epochs ×{factor:.3g}" if len(factors) > 1 else "")
    _level(panels, study)
    _name_systems(panels[0], study, {system for _, system in lines})
    caption = (
        "Certified accuracy by the number of generated images drawn from, which are "
        f"{100 * share:g} % of each batch. {_BARS}"
    )
    return _drawn(study, title, figure, panels[0], caption)


def gap_against_gain(study: Study) -> Drawn | None:
    """Draw the gap without generated images against what the best cell gains, a point
    per system and number of epochs. Needs three points, with train.jsonl of the runs
    without."""
    title, at, radius = "Gap and gain", study.at, radius_text(study.radius)
    points = []
    for base in study.cells:
        cells = [c for c in study.cells if baseline(study, c) is base]
        x = gap(base, study.radii)
        if cells and x is not None:
            top = max(cells, key=lambda c: certified(study, c))
            points.append((base.system, x, gain(top, base, study.radii)))
    points = [p for p in points if not np.isnan(p[1].mean + p[2].mean)[at]]
    if len(points) < 3:
        return None
    figure, (axes,) = panels_of(1)
    for system, *pair in points:
        i = study.systems.index(system)
        style = dict(
            color=line_style(i)[0], marker=_MARKS[i % len(_MARKS)], markersize=7
        )
        x, y = (100 * e.mean[at] for e in pair)
        dx, dy = (100 * _bars(e, at) for e in pair)
        axes.plot(x, y, **style)
        axes.errorbar(x, y, dy, dx, ecolor=style["color"], elinewidth=1, alpha=0.45)
    axes.axhline(0, color=INK, linewidth=1)
    axes.set_xlabel(f"gap at {radius} without generated images (points)")
    axes.set_ylabel(f"gain at {radius} (points)")
    _name_systems(axes, study, {system for system, *_ in points}, lines=False)
    r = correlation([(x.mean[at], y.mean[at]) for _, x, y in points])
    told = "undefined, as one of them is the same everywhere"
    caption = (
        "Certified training minus certified test accuracy without generated images, against "
        f"the gain of the best cell with them. {_BARS} Pearson's correlation is "
        f"{told if math.isnan(r) else f'r = {r:.2f}'}, n = {len(points)} points; those of one "
        "system at several epochs are not independent."
    )
    return _drawn(study, title, figure, axes, caption)


def against_share(study: Study) -> Drawn | None:
    """Draw certified accuracy against the share of generated images, a line per system,
    epochs and amount. Needs two shares of one amount."""
    title, lines = "Share of generated images", []
    cells = [c for c in study.cells if c.generated.share]
    for key, group in by(cells, lambda c: (c.system, c.epochs, c.amount)):
        if len(group) > 1:
            base = baseline(study, group[0])
            lines.append((key, [base, *group] if base else group))
    if not lines:
        return None
    figure, (axes,) = panels_of(1)
    for i, ((system, epochs, amount), group) in enumerate(lines):
        x = [100 * c.generated.share for c in group]
        _line(axes, study, i, x, group, label=f"{system}; {epochs} epochs, {amount}")
    axes.set_xlim(-3, 103)
    axes.set_xlabel("generated images in a batch (%)")
    _level([axes], study)
    caption = f"Certified accuracy by the generated share of a batch. {_BARS}"
    return _drawn(study, title, figure, axes, caption)


def radius_distributions(study: Study) -> Drawn | None:
    """Draw the radii of correct and wrong images with and without generated images, a
    panel per system. Needs runs with and without them at equal epochs."""
    title, pairs = "Distribution of radii", pairs_of(study)
    if not pairs:
        return None
    figure, panels = panels_of(len(pairs))
    for axes, (i, pair) in zip(panels, pairs.items(), strict=True):
        tests = [[run.test for run in cell.runs.values()] for cell in pair]
        most = max(np.quantile(c.radius, 0.995) for cs in tests for c in cs)
        bins = np.linspace(0, most or 1, 31)
        for records, dash in zip(tests, ("--", "-"), strict=True):
            radius = np.minimum(np.concatenate([c.radius for c in records]), bins[-1])
            right = np.concatenate([c.correct for c in records])
            for hue, keep in ((_RIGHT, right), (_WRONG, ~right)):
                share = np.histogram(radius[keep], bins)[0] / len(radius)
                style = dict(color=hue, linestyle=dash, linewidth=1.6)
                axes.stairs(100 * share, bins, **style)
        axes.set_xlim(0, bins[-1])
        axes.set_ylim(bottom=0)
        axes.set_xlabel(f"{_norm(study)} radius (pixels in [0, 1])")
        _head(axes, study.systems[i])
    for axes in panels[:: panel_columns(len(panels))]:
        axes.set_ylabel("% of images per bin")
    for name, hue in (("correct", _RIGHT), ("wrong", _WRONG)):
        for words, dash in (("without", "--"), ("with generated images", "-")):
            style = dict(color=hue, linestyle=dash, linewidth=1.6)
            panels[0].plot([], [], label=f"{name}, {words}", **style)
    caption = (
        "Test images of all seeds, larger radii in the last bin; dashed without, solid with "
        "generated images (the best cell). Abstentions are wrong and have radius 0."
    )
    return _drawn(study, title, figure, panels[0], caption)


def best_against_last(study: Study) -> Drawn | None:
    """Draw what the last evaluation lost since the best, a mark per cell, a row per
    system. Needs two evaluations of each run (eval.every_epochs)."""
    title, at = "Best and last epoch", radius_text(study.radius)
    lost = [(c, lost_since_best(c, study.radius)) for c in study.cells]
    lost = [(c, value) for c, value in lost if value is not None]
    if not lost:
        return None
    systems = list(dict.fromkeys(c.system for c, _ in lost))
    figure, (axes,) = panels_of(1)
    for i, label in enumerate(("without generated images", "with them")):
        shown = [(c, v) for c, v in lost if bool(c.generated.share) == bool(i)]
        rows = [systems.index(c.system) + 0.28 * i - 0.14 for c, _ in shown]
        style = dict(color=line_style(i)[0], alpha=0.75, markersize=7, clip_on=False)
        axes.plot([100 * v for _, v in shown], rows, "Do"[i], label=label, **style)
    axes.set_yticks(range(len(systems)), systems)
    axes.set_ylim(len(systems) - 0.5, -0.5)
    axes.set_xlim(left=0)
    axes.set_xlabel(f"best minus last, certified at {at} (points)")
    figure.set_figheight(1.5 + 0.42 * len(systems))
    caption = (
        "Certified accuracy of the best evaluation during training minus that of the last "
        "one, mean over seeds, a mark per cell: what choosing the epoch by test images would "
        "add. The images are those of config.eval."
    )
    return _drawn(study, title, figure, axes, caption)


def heat_maps(study: Study) -> list[Drawn]:
    """Draw certified accuracy by size and epochs without and with generated images, a
    figure per family: systems of one model and method. Needs two sizes at two numbers of
    epochs."""
    found = []
    for family, group in by(study.cells, lambda c: c.system.partition(",")[0]):
        systems = list(dict.fromkeys(c.system for c in group))
        epochs = sorted({c.epochs for c in group})
        grids = np.full((2, len(systems), len(epochs)), np.nan)
        for c in group:
            row, column = systems.index(c.system), epochs.index(c.epochs)
            place = int(c.generated.share > 0), row, column
            share = accuracy(c, study.radii).mean[study.at]
            grids[place] = np.fmax(grids[place], 100 * share)
        if min(len(systems), len(epochs)) > 1 and not np.isnan(grids).all():
            found.append(_heat_map(study, family, systems, epochs, grids))
    return found


def _heat_map(study: Study, family: str, systems, epochs, grids: np.ndarray) -> Drawn:
    names = ("without generated images", "with generated images")
    drawn = [(n, g) for n, g in zip(names, grids, strict=True) if not np.isnan(g).all()]
    figure, panels = panels_of(len(drawn))
    low, high = np.nanmin(grids), np.nanmax(grids)
    for axes, (name, grid) in zip(panels, drawn, strict=True):
        axes.imshow(grid, cmap="viridis", vmin=low, vmax=high, aspect="auto")
        for row, column in np.argwhere(~np.isnan(grid)):
            ink = "black" if grid[row, column] > (low + high) / 2 else "white"
            style = dict(color=ink, ha="center", va="center", fontsize=11)
            axes.text(column, row, f"{grid[row, column]:.1f}", **style)
        sizes = [s.partition(", ")[2] or s for s in systems if axes is panels[0]]
        axes.set_xticks(range(len(epochs)), epochs)
        axes.set_yticks(range(len(sizes)), sizes)
        axes.set_xlabel("epochs")
        axes.grid(visible=False)
        _head(axes, name)
    figure.set_figheight(1.5 + 0.4 * len(systems))
    caption = (
        f"Certified accuracy at {radius_text(study.radius)} in % of test images; with "
        "generated images the best amount and share."
    )
    title = f"Size and epochs: {family}"
    return _drawn(study, title, figure, panels[0], caption, legend=False)


def _drawn(study, title, figure, axes, caption, *, legend: bool = True) -> Drawn:
    salt = f"{title}{study.norm}{study.dataset}"
    return Drawn(title, as_svg(figure, axes, legend, salt=salt), caption)


def _line(axes: Axes, study: Study, i: int, x, cells: Sequence[Cell], label="") -> None:
    """Draw the certified accuracy of cells in the i-th style."""
    found = [accuracy(cell, study.radii) for cell in cells]
    y = [100 * e.mean[study.at] for e in found]
    bars = 100 * np.hstack([_bars(e, study.at) for e in found])
    hue, dash = line_style(i)
    style = dict(color=hue, linestyle=dash, linewidth=1.8, elinewidth=1)
    mark = dict(marker=_MARKS[i % len(_MARKS)], markersize=6)
    axes.errorbar(x, y, bars, label=label or None, **style, **mark)


def _bars(found: Estimate, at: int) -> np.ndarray:
    """Return [2,1], how far the 95 % interval reaches below and above the mean."""
    mean = found.mean[at]
    return np.maximum([[mean - found.low[at]], [found.high[at] - mean]], 0)


def _name_systems(axes: Axes, study: Study, shown, *, lines: bool = True) -> None:
    """Draw the entries of a legend, which several panels may share."""
    for i, name in enumerate(study.systems):
        if name in shown:
            hue, dash = line_style(i)
            style = dict(color=hue, linestyle=dash if lines else "none")
            mark = dict(marker=_MARKS[i % len(_MARKS)], markersize=6)
            axes.plot([], [], label=name, **style, **mark)


def _level(panels: Sequence[Axes], study: Study) -> None:
    """Return one scale of certified accuracy for all figures."""
    low, high = zip(*(axes.get_ylim() for axes in panels), strict=True)
    for axes in panels:
        axes.set_ylim(min(low), max(high))
    for axes in panels[:: panel_columns(len(panels))]:
        at = f"{_norm(study)} {radius_text(study.radius)}"
        axes.set_ylabel(f"certified at {at} (%)")


def _head(axes: Axes, text: str) -> None:
    axes.set_title(textwrap.fill(text, 30), fontsize=10, color=INK, loc="left")


def _norm(study: Study) -> str:
    return NORMS.get(study.norm, study.norm)
