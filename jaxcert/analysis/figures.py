"""Figures as SVG text, to be put into a page. No display, no global figure.

Ink is drawn as `currentColor`, so a figure follows the page into its dark mode. Series
have the colour-blind-safe hues of Okabe & Ito (2008), and differ in dash as well.
"""

from __future__ import annotations

import io
from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from jaxcert.analysis.metrics import (
    certified_accuracy,
    p_lower_survival,
    standard_error,
)
from jaxcert.records import Certificates

_INK = "#010203"  # stands for currentColor
_HUES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_DASHES = ("-", (0, (5, 1.5)), (0, (1.5, 1.5)), (0, (6, 1.5, 1.5, 1.5)))
_POINTS = 250
NORMS = {"l2": r"$\ell_2$", "linf": r"$\ell_\infty$", "l1": r"$\ell_1$"}


def radius_curves(names: Sequence[str], records: Sequence[Certificates]) -> str:
    """Certified accuracy against radius, a line per record, the band one standard error
    to either side."""
    figure, axes = _figure()
    norm = records[0].header.get("norm", "l2")
    for i, (name, c) in enumerate(zip(names, records, strict=True)):
        radii = _steps(c.radius[c.correct])
        _curve(axes, i, name, radii, certified_accuracy(c, radii), len(c.index))
    axes.set_xlabel(f"{NORMS.get(norm, norm)} radius (pixels in [0, 1])")
    axes.set_ylabel("certified accuracy")
    axes.set_xlim(left=0)
    return _svg(figure, axes, len(names) > 1)


def p_lower_curves(names: Sequence[str], records: Sequence[Certificates]) -> str:
    """Share of images that are correct with p_lower >= p (the survival form), against
    p.

    For smoothing with a known sigma. Unlike radii it shows the easy images without the
    stretch that Phi^-1 gives them.
    """
    figure, axes = _figure()
    p = np.linspace(0.5, 0.9999, _POINTS)
    for i, (name, c) in enumerate(zip(names, records, strict=True)):
        _curve(axes, i, name, p, p_lower_survival(c, p), len(c.index))
    axes.set_xlabel("p")
    axes.set_ylabel(r"correct with $p_{\mathrm{lower}} \geq p$")
    axes.set_xlim(0.5, 1)
    return _svg(figure, axes, len(names) > 1)


def _figure() -> tuple[Figure, Axes]:
    figure = Figure(figsize=(5.8, 3.6), layout="constrained")
    FigureCanvasSVG(figure)
    axes = figure.add_subplot()
    axes.patch.set_alpha(0)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(_INK)
    axes.tick_params(colors=_INK, labelsize=11)
    axes.xaxis.label.set(color=_INK, size=12)
    axes.yaxis.label.set(color=_INK, size=12)
    axes.grid(color=_INK, alpha=0.12, linewidth=0.8)
    return figure, axes


def _curve(axes: Axes, i: int, name: str, x, y, count: int) -> None:
    hue, dash = _HUES[i % len(_HUES)], _DASHES[i % len(_DASHES)]
    x, y = np.append(x, x[-1]), np.append(y, 0.0)
    error = standard_error(y, count)
    band = dict(step="pre", color=hue, alpha=0.22, linewidth=0)
    axes.fill_between(x, 100 * (y - error), 100 * (y + error), **band)
    style = dict(drawstyle="steps-pre", color=hue, linestyle=dash, linewidth=2)
    axes.plot(x, 100 * y, label=name, **style)


def _steps(radius: np.ndarray) -> np.ndarray:
    """Where the curve falls, at most `_POINTS` of them, from 0."""
    falls = np.unique(radius[np.isfinite(radius)])
    keep = np.linspace(0, len(falls) - 1, min(len(falls), _POINTS)).astype(int)
    return np.union1d([0.0], falls[keep])


def _svg(figure: Figure, axes: Axes, legend: bool) -> str:
    axes.set_ylim(0, 100)
    axes.yaxis.set_major_formatter("{x:.0f} %")
    if legend:
        axes.legend(frameon=False, labelcolor=_INK, fontsize=11)
    figure.patch.set_alpha(0)
    file = io.StringIO()
    # equal records give equal files; ids of two figures on a page differ
    salt = axes.get_ylabel()
    with matplotlib.rc_context({"svg.hashsalt": salt, "svg.fonttype": "path"}):
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    svg = file.getvalue()
    return svg[svg.index("<svg") :].replace(_INK, "currentColor").strip()
