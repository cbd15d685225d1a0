"""Figures as SVG text, to be put into a page. No display, no global figure.

Ink is drawn as `currentColor`, so a figure follows the page into its dark mode. Series
have the colour-blind-safe hues of Okabe & Ito (2008), and differ in dash as well.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from numpy.typing import ArrayLike
from scipy import special

from jaxcert.analysis import metrics
from jaxcert.analysis.compare import difference, envelope
from jaxcert.analysis.facts import radius_text
from jaxcert.analysis.tables import short_names
from jaxcert.certificate import (
    Certificates,
    certified_share,
    certifies,
    share_is_known,
    tried,
)
from jaxcert.certificates import norms, statistics

INK = "#010203"
"""Stands for currentColor, which `as_svg` puts in its place."""

_HUES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_DASHES = ("-", (0, (5, 1.5)), (0, (1.5, 1.5)), (0, (6, 1.5, 1.5, 1.5)))
_POINTS = 250
_WIDE = (8.2, 3.7)
NORMS = {"l2": r"$\ell_2$", "linf": r"$\ell_\infty$", "l1": r"$\ell_1$"}


def radius_curves(
    names: Sequence[str],
    records: Sequence[Certificates],
    beside: Sequence[tuple[str, Certificates]] = (),
) -> str:
    """Return the figure of `draw_radius_curves` as SVG."""
    return as_svg(*draw_radius_curves(names, records, beside))


def draw_radius_curves(
    names: Sequence[str],
    records: Sequence[Certificates],
    beside: Sequence[tuple[str, Certificates]] = (),
) -> tuple[Figure, Axes, bool]:
    """`certified_share` against radius, a line per record that certifies, the band the 95 %
    interval. A record that tried some radii alone has a mark at each: between two the line is
    a lower bound. Returns the figure, its axes, and whether it needs a legend.

    Over several records of the same images their envelope is drawn, and below the axis a
    strip in the colour of the one that is best there; not if one tried some radii alone.
    beside: (name, certificates) of others whose lines are drawn thin and grey.
    """
    figure, (axes,) = new_figure()
    short = short_names(names, 50)
    for i, (name, c) in enumerate(zip(names, records, strict=True)):
        if not certifies(c):  # it keeps its colour all the same
            continue
        known = tried(c)
        radii = _steps(c.radius[c.counted]) if known is None else known
        shares = certified_share(c, radii)
        if known is None:  # above the largest radius there is nothing
            shares, radii = np.append(shares, 0.0), np.append(radii, radii[-1])
        else:
            axes.plot(radii, 100 * shares, "o", color=line_style(i)[0], clip_on=False)
            shares, radii = np.append(shares[0], shares), np.append(0.0, radii)
        _curve(axes, i, short[name], radii, shares, len(c.index))
    alike = sum(map(certifies, records)) > 1 and all(tried(c) is None for c in records)
    if alike and envelope(records, [0.0]) is not None:
        _envelope(axes, records)
    for i, (name, c) in enumerate(beside):
        known = tried(c)
        radii = _steps(c.radius[c.counted]) if known is None else known
        shares = 100 * certified_share(c, radii)
        style = dict(color=INK, alpha=0.6, linewidth=1, drawstyle="steps-pre")
        style["linestyle"] = _DASHES[(i + 1) % len(_DASHES)]
        axes.plot(radii, shares, label=name, **style)
    axes.set_xlabel(_radius_label(records))
    axes.set_ylabel("certified accuracy" if records[0].labelled else "with a class")
    axes.set_xlim(0, 1.01 * axes.dataLim.x1 or None)
    _percent(axes)
    return figure, axes, len(names) + len(beside) > 1


def difference_curves(
    names: Sequence[str],
    records: Sequence[Certificates],
    against: Sequence[int | None],
) -> str:
    """Certified accuracy minus that of the record at the position `against`, in points; the
    band is the 95 % interval. Colours are those of `radius_curves`.

    Some record must have a baseline with images of its own."""
    figure, (axes,) = new_figure()
    short = short_names(names, 26)
    for i, (name, at) in enumerate(zip(names, against, strict=True)):
        if at is None:
            continue
        c, baseline = records[i], records[at]
        both = np.append(c.radius[c.correct], baseline.radius[baseline.correct])
        some = [known for known in (tried(c), tried(baseline)) if known is not None]
        radii = _steps(both)
        if some:  # of others one of them says nothing
            radii = np.unique(np.concatenate(some))
            radii = radii[share_is_known(c, radii) & share_is_known(baseline, radii)]
        found = difference(c, baseline, radii, name=names[at], draws=1000)
        if found is None or not len(radii):
            continue
        hue, dash = line_style(i)
        style = dict(color=hue, linestyle=dash, linewidth=2, drawstyle="steps-pre")
        style |= dict(marker="o") if some else {}
        low, high = 100 * found.low, 100 * found.high
        band = dict(step="pre", color=hue, alpha=0.22, linewidth=0)
        axes.fill_between(radii, low, high, **band)
        label = f"{short[name]} − {short[names[at]]}"
        axes.plot(radii, 100 * found.difference, label=label, **style)
    axes.axhline(0, color=INK, linewidth=1)
    low, high = axes.get_ylim()
    axes.set_ylim(min(low, -0.06 * high), high)
    axes.axhspan(axes.get_ylim()[0], 0, color=INK, alpha=0.05, linewidth=0)
    note = dict(xycoords="axes fraction", color=INK, fontsize=11, ha="right", alpha=0.7)
    axes.annotate("below the baseline", (0.995, 0.02), va="bottom", **note)
    axes.set_xlabel(_radius_label(records))
    axes.set_ylabel("difference (points)")
    axes.set_xlim(left=0)
    return as_svg(figure, axes, True)


def p_lower_curves(names: Sequence[str], records: Sequence[Certificates]) -> str:
    """Left the share of images that are correct with p_lower >= p, against p (the survival
    form), right 1 minus it (the distribution function).

    Records without vote probabilities are left out. Unlike radii these show the easy images
    without the stretch that Phi^-1 gives them.
    """
    proven = r"p_{\mathrm{lower}}"
    return _probability_curves(names, records, metrics.vote_probability, proven)


def votes_curves(names: Sequence[str], records: Sequence[Certificates]) -> str:
    """Draw the same of k/N, the share of the votes, which is above p_lower; right as in Figure 3
    of Sun et al. (2024). Records of which `metrics.vote_share` is not known are left out."""
    return _probability_curves(names, records, metrics.vote_share, "k/N")


def _probability_curves(names, records, values_of, symbol: str) -> str:
    figure, panels = new_figure(2)
    short = short_names(names, 50)
    for i, (name, c) in enumerate(zip(names, records, strict=True)):
        values = values_of(c)
        if values is None:  # it keeps its colour all the same
            continue
        # the last one is above 1, where those that reach 1 have fallen, too
        p = np.append(_steps(values[c.correct]), np.nextafter(1.0, 2.0))
        share = metrics.survival(c, values, p)
        for axes, y in zip(panels, (share, 1 - share), strict=True):
            _curve(axes, i, short[name], np.minimum(p, 1), y, len(c.index))
    labels = (rf"correct, ${symbol} \geq p$", rf"wrong, or ${symbol} < p$")
    for axes, label in zip(panels, labels, strict=True):
        axes.set_xlabel("vote probability p")
        axes.set_ylabel(label)
        axes.set_xlim(0.5, 1)
        _percent(axes)
    return as_svg(figure, panels[0], len(names) > 1)


def radius_theory(settings: Sequence[tuple[float, float, int, float]]) -> str:
    """Return the figure of `draw_radius_theory` as SVG."""
    return as_svg(*draw_radius_theory(settings), True)


def draw_radius_theory(
    settings: Sequence[tuple[float, float, int, float]],
) -> tuple[Figure, Axes]:
    """What a vote probability is worth: left the radius sigma Phi^-1(p), right its slope
    sigma / phi(Phi^-1(p)), to the largest p that n votes can prove at alpha (the dot).

    settings: (sigma, alpha, n, least_tail of the noise). This is Figure 2 of Sun et al.
    (2024).
    """
    figure, (left, right) = new_figure(2)
    for i, (sigma, alpha, n, least) in enumerate(settings):
        most = 1 - float(norms.exact_tail(statistics.upper_tail(n, n, alpha), least))
        p = 1 - np.geomspace(0.5, 1 - most, _POINTS)
        hue, dash = line_style(i)
        style = dict(color=hue, linestyle=dash, linewidth=2)
        label = rf"$\sigma$ = {sigma:g}, n = {n:,}, $\alpha$ = {alpha:g}"
        slope = statistics.radius_sensitivity(p, sigma)
        left.plot(p, sigma * special.ndtri(p), label=label, **style)
        right.plot(p, slope, label=label, **style)
        reach = sigma * special.ndtri(most)
        dot = dict(color=hue, marker="o", markersize=6, clip_on=False, zorder=5)
        left.plot([most], [reach], **dot)
        right.plot([most], slope[-1:], **dot)
        place = dict(textcoords="offset points", color=INK, fontsize=11)
        left.annotate(f"{reach:.2f}", (most, reach), (7, -4), **place)
        right.annotate(f"{slope[-1]:,.0f}", (most, slope[-1]), (7, -4), **place)
    left.set_ylabel(r"radius $\sigma\,\Phi^{-1}(p)$")
    left.set_ylim(bottom=0)
    right.set_ylabel(r"slope dr/dp (log scale)")
    right.set_yscale("log")
    for axes in (left, right):
        axes.set_xlabel("vote probability p")
        axes.set_xlim(0.5, 1)
    return figure, left


def class_bars(
    name: str, c: Certificates, radii: ArrayLike, classes: Sequence[str]
) -> str:
    """Certified accuracy of every class, a bar per radius, the smallest behind the others.
    classes: what those of the labels that occur are called, in their order."""
    figure, (axes,) = new_figure()
    radii = np.asarray(radii, np.float64)
    found = metrics.per_class(c, radii)
    shown = _few(radii, found.certified)
    place = np.arange(len(found.label))
    for k, j in enumerate(shown):
        part = k / max(len(shown) - 1, 1)
        style = dict(width=0.8 - 0.55 * part, color=_mixed(_HUES[0], 0.3 + 0.7 * part))
        label = f"radius {radius_text(radii[j])}"
        axes.bar(place, 100 * found.certified[:, j], label=label, **style)
    long = max(map(len, classes), default=0) > 4
    turned: dict[str, Any] = dict(rotation=40, ha="right") if long else {}
    short = [x if len(x) <= 20 else x[:19] + "…" for x in classes]
    axes.set_xticks(place, short, parse_math=False, **turned)
    axes.set_xlabel("class")
    axes.set_ylabel("certified accuracy")
    axes.grid(axis="x", visible=False)
    axes.set_axisbelow(True)
    axes.set_xlim(-0.6, len(place) - 0.4)
    _percent(axes)
    return as_svg(figure, axes, True, salt=name)


def _envelope(axes: Axes, records: Sequence[Certificates]) -> None:
    falls = [c.radius[c.correct] for c in records if certifies(c)]
    radii = _steps(np.concatenate(falls), 4 * _POINTS)
    best = envelope(records, radii)
    x, certified = np.append(radii, radii[-1]), np.append(best.certified, 0.0)
    style = dict(color=INK, alpha=0.22, linewidth=7, drawstyle="steps-pre", zorder=1)
    style |= dict(solid_capstyle="butt", solid_joinstyle="round")
    axes.plot(x, 100 * certified, label="largest at each radius", **style)
    edges, below = np.append(0.0, radii), axes.get_xaxis_transform()
    strip = dict(step="pre", linewidth=0, transform=below, clip_on=False)
    for i in np.unique(best.winner[best.winner >= 0]):
        won = np.append(best.winner == i, False)
        where = np.append(won[:-1], False) | np.append(False, won[:-1])
        hue = line_style(i)[0]
        axes.fill_between(edges, -0.035, -0.01, where=where, color=hue, **strip)
    axes.tick_params(axis="x", pad=8)


def new_figure(panels: int = 1) -> tuple[Figure, list[Axes]]:
    """Return a figure without a background, and its panels side by side."""
    figure = Figure(figsize=(5.8, 3.6) if panels == 1 else _WIDE, layout="constrained")
    FigureCanvasSVG(figure)
    found = [figure.add_subplot(1, panels, i + 1) for i in range(panels)]
    for axes in found:
        axes.patch.set_alpha(0)
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_color(INK)
        axes.tick_params(which="both", colors=INK, labelsize=11)
        axes.xaxis.label.set(color=INK, size=12)
        axes.yaxis.label.set(color=INK, size=12)
        axes.grid(color=INK, alpha=0.12, linewidth=0.8)
    return figure, found


def panels_of(count: int, height: float = 1.6) -> tuple[Figure, list[Axes]]:
    """Return a figure of panels, at most three in a row. height: that of a row in inches,
    without its title and its axis."""
    figure, panels = new_figure(count)
    columns = panel_columns(count)
    rows = -(-count // columns)
    grid = figure.add_gridspec(rows, columns)
    for i, axes in enumerate(panels):
        axes.set_subplotspec(grid[divmod(i, columns)])
    figure.set_size_inches(8.2, max(3.8, 0.7 + rows * (0.9 + height)))
    return figure, panels


def panel_columns(count: int) -> int:
    """Return how many panels stand in a row of `panels_of`."""
    return 2 if count in (2, 4) else min(count, 3)


def line_style(i: int):
    """Return the colour and dash of the i-th record, the same in every figure."""
    return _HUES[i % len(_HUES)], _DASHES[i % len(_DASHES)]


def _curve(axes: Axes, i: int, label: str, x, y, count: int) -> None:
    hue, dash = line_style(i)
    low, high = metrics.interval(y, count)
    band = dict(step="pre", color=hue, alpha=0.22, linewidth=0)
    axes.fill_between(x, 100 * low, 100 * high, **band)
    style = dict(drawstyle="steps-pre", color=hue, linestyle=dash, linewidth=2)
    axes.plot(x, 100 * y, label=label, **style)


def _steps(radius: np.ndarray, most: int = _POINTS) -> np.ndarray:
    """Return the places where the curve falls, from 0; if they are more than `most`,
    those next to an even grid."""
    falls = np.unique(radius[np.isfinite(radius)])
    if len(falls) > most:
        even = np.linspace(falls[0], falls[-1], most)
        falls = falls[np.unique(np.searchsorted(falls, even))]
    return np.union1d([0.0], falls)


def _few(radii: np.ndarray, certified: np.ndarray) -> np.ndarray:
    """Return at most five of the radii at which some class is certified, evenly spread."""
    some = np.flatnonzero((certified > 0).any(0))
    some = some if len(some) else np.arange(min(1, len(radii)))
    return some[np.unique(np.linspace(0, len(some) - 1, 5).round().astype(int))]


def _mixed(hue: str, share: float) -> tuple[float, ...]:
    """Return a hue with as much of it as `share` and the rest grey, opaque, for white
    and black pages."""
    grey = np.array([0.78, 0.80, 0.82])
    return tuple(share * np.array(to_rgb(hue)) + (1 - share) * grey)


def _radius_label(records: Sequence[Certificates]) -> str:
    norm = records[0].header.get("norm", "l2")
    return f"{NORMS.get(norm, norm)} radius (pixels in [0, 1])"


def _percent(axes: Axes) -> None:
    """Let the axis of shares end at the first multiple of ten that nothing drawn is above."""
    most = axes.dataLim.y1 if np.isfinite(axes.dataLim.y1) else 100.0
    axes.set_ylim(0, min(100, 10 * max(1, math.ceil(most / 10 - 1e-9))))
    axes.yaxis.set_major_formatter("{x:.3g} %")


def training_curves(
    found: dict[str, dict[str, tuple[list[float], list[float]]]],
) -> str:
    """Draw what `pictures.training_lines` returns: left the losses against the epoch, right
    accuracies and certified shares. One panel where there is one kind."""
    kinds = {n.startswith("loss") for names in found.values() for n in names}
    figure, panels = new_figure(len(kinds))
    lines = 0
    for split, names in found.items():
        for name, (epochs, values) in names.items():
            axes = panels[0 if name.startswith("loss") else -1]
            y = values if name.startswith("loss") else 100 * np.asarray(values)
            hue, dash = line_style(lines)
            style = dict(color=hue, linestyle=dash, linewidth=1.6)
            style |= dict(marker="o", markersize=4) if len(epochs) < 12 else {}
            axes.plot(epochs, y, **style)
            label = f"{split}: {name.replace('certified_', 'certified at ')}"
            panels[0].plot([], [], label=label, **style)
            lines += 1
    for axes in panels:
        axes.set_xlabel("epoch")
        axes.set_xlim(0, axes.dataLim.x1)
        axes.set_ylabel("loss" if axes is panels[0] and True in kinds else "share")
    if False in kinds:
        _percent(panels[-1])
    return as_svg(figure, panels[0], True, salt="training")


def as_bytes(figure: Figure, axes: Axes, legend: bool, form: str) -> bytes:
    """Return a figure as 'pdf', 'svg' or 'png' for a paper, dark on white or nothing; equal
    figures give equal bytes."""
    if legend:
        add_legend(figure, axes)
    file, dates = (
        io.BytesIO(),
        {"CreationDate": None, "Creator": None, "Producer": None},
    )
    more: dict = dict(metadata=dates)
    if form == "svg":
        more = dict(metadata={"Date": None, "Creator": None})
    elif form == "png":
        more = dict(metadata={"Software": None}, dpi=200)
    figure.patch.set(alpha=1.0 if form == "png" else 0.0, facecolor="white")
    with matplotlib.rc_context({"pdf.fonttype": 42, "svg.hashsalt": "jaxcert"}):
        figure.savefig(file, format=form, **more)
    return file.getvalue()


def as_svg(figure: Figure, axes: Axes, legend: bool, salt: str = "") -> str:
    """Text of the figure, the legend (of `axes`) above it, so that it hides no line."""
    if legend:
        add_legend(figure, axes)
    figure.patch.set_alpha(0)
    file = io.StringIO()
    # equal records give equal files; ids of two figures on a page differ
    salt = (salt + axes.get_ylabel()).encode(errors="backslashreplace").decode()
    with matplotlib.rc_context({"svg.hashsalt": salt, "svg.fonttype": "path"}):
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    svg = file.getvalue()
    return svg[svg.index("<svg") :].replace(INK, "currentColor").strip()


def add_legend(figure: Figure, axes: Axes) -> None:
    """Put the legend of `axes` above the figure, which grows with its rows."""
    handles, labels = axes.get_legend_handles_labels()
    longest = max(map(len, labels))
    room = 11.6 * figure.get_figwidth()  # letters
    columns = max(1, min(len(labels), int(room // (longest + 10))))
    rows = -(-len(labels) // columns)  # each makes the figure higher
    figure.set_figheight(figure.get_figheight() + 0.23 * (rows - 1))
    style = dict(frameon=False, labelcolor=INK, fontsize=11, handlelength=2.6)
    place = dict(loc="outside upper left", ncols=columns)
    figure.legend(handles, labels, **place, **style)
