"""Draws the figures of Sun et al. (2024): vote shares, weights and gradient norms."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from scipy import special

from jaxcert.analysis import figures, metrics
from jaxcert.certificates.statistics import radius_sensitivity, smoothing_radius
from jaxcert.papers.exhibits import Exhibit
from jaxcert.papers.sun_rows import ALPHA, N, Source

GRID = np.linspace(0.5, 1, 501)
"""The k/N at which the paper's data has a share. Counts of 100,000 lie exactly on it."""
WEIGHT_N, WEIGHT_ALPHA, WEIGHT_FROM = 16, 0.1, 0.75


def figure_2() -> Exhibit:
    """Return Figure 2: radius and slope, of sigma 1 with n and alpha of the paper."""
    figure, legend = figures.draw_radius_theory([(1.0, ALPHA, N, 0.0)])
    p = np.linspace(0.5, 0.999, 500)
    rows = np.stack([p, special.ndtri(p), radius_sensitivity(p, 1.0)])
    caption = (
        "Left: radius for sigma = 1 by vote probability; right: its slope, what a little more "
        "p is worth. The dot is the most that n votes prove."
    )
    head, title = ["p", "radius", "slope"], "Figure 2: radius and its slope"
    return Exhibit("figure_2", title, caption, head, rows.T.tolist(), figure, legend)


def vote_shares(source: Source) -> np.ndarray | None:
    """Return k/N of each image, float64 [N], nan where nothing is predicted; None where it is
    not known. Of a log k is, as in the data that the authors released, the fewest votes that
    prove the printed radius: at most some too many, as radii are rounded to nearest."""
    c = source.certificates
    if not source.is_log:
        return metrics.vote_share(c)
    n, alpha, sigma = metrics.certify_numbers(c)
    k = special.bdtrik(1 - alpha, n, special.ndtr(c.radius / sigma)) + 1
    k = np.minimum(np.ceil(k), n)
    return np.where(c.predicted >= 0, k / n, np.nan)


def figure_3(sources: Sequence[Source]) -> Exhibit:
    """Return Figure 3, a panel per sigma: share of images that are wrong or have k/N < x."""
    title, lines = "Figure 3: distribution of the share of the votes", []
    for source in sources:
        values = vote_shares(source)
        if values is not None:
            share = metrics.survival(source.certificates, values, GRID)
            lines.append((source, share))
    if not lines:
        return Exhibit("figure_3", title, missing="no log and no run of CERTIFY")
    sigmas = sorted({source.key.sigma for source, _ in lines})
    figure, panels = figures.new_figure(len(sigmas))
    drawn = [line for line in lines if not line[0].key.parts] or lines
    names = list(dict.fromkeys(_of_figure(source) for source, _ in drawn))
    for source, share in drawn:
        axes = panels[sigmas.index(source.key.sigma)]
        hue, dash = figures.line_style(names.index(_of_figure(source)))
        axes.plot(GRID, 1 - share, color=hue, linestyle=dash, linewidth=1.8)
    for name in names:
        hue, dash = figures.line_style(names.index(name))
        panels[0].plot([], [], color=hue, linestyle=dash, linewidth=1.8, label=name)
    for axes, sigma in zip(panels, sigmas, strict=True):
        axes.set_xlim(0.5, 1)
        axes.set_ylim(0, 1)
        axes.set_xlabel("share of the votes k/N")
        _head(axes, rf"$\sigma$ = {sigma:g}")
    panels[0].set_ylabel("share of images")
    caption = (
        "Share of images that are wrong, or right with fewer votes than k/N. Of a log k is the "
        "fewest votes that prove its radius of three digits, as in the data that the authors "
        "released. Rows of Table 3 alone are in the CSV, and drawn where there are no others."
    )
    head = ["sigma", "method", "source", "k_over_n", "right_at_least", "ecdf"]
    rows = [
        [source.key.sigma, source.key.label, source.name, round(x, 3), y, 1 - y]
        for source, share in lines
        for x, y in zip(GRID.tolist(), share.tolist(), strict=True)
    ]
    return Exhibit("figure_3", title, caption, head, rows, figure, panels[0])


def _of_figure(source: Source) -> str:
    return source.key.label + ("" if source.is_log else ", run")


def figure_4() -> Exhibit:
    """Return Figure 4: of k of 16 copies that are right the lower bound's radius, by that of
    12, and the weight with which the image is drawn."""
    k = np.arange(WEIGHT_N + 1)
    radius = smoothing_radius(k, WEIGHT_N, WEIGHT_ALPHA, 1.0)
    least = int(WEIGHT_FROM * WEIGHT_N)
    normalised = radius / radius[least]
    weight = np.maximum(normalised, 1.0)
    p = np.linspace(WEIGHT_FROM, 1, 101)[:-1]
    figure, (axes,) = figures.new_figure()
    figure.set_size_inches(8.2, 3.7)
    dots = dict(clip_on=False, zorder=3)
    blue, red, green = (figures.line_style(i)[0] for i in range(3))
    axes.plot(k / WEIGHT_N, normalised, "o--", color=blue, label="radius", **dots)
    axes.plot(k / WEIGHT_N, weight, "s-", color=red, label="weight", **dots)
    formula = special.ndtri(p) / special.ndtri(WEIGHT_FROM)
    axes.plot(p, formula, ":", color=green, label="printed formula", linewidth=2)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 8)
    axes.set_xlabel("p, of 16 noisy copies")
    axes.set_ylabel("by the value at p = 0.75")
    caption = (
        "Radius that 16 noisy copies prove with 90 %, and the weight of an image, both by the "
        "radius at 12 of 16. The printed formula max(1, Φ⁻¹(p) / Φ⁻¹(0.75)) takes p itself "
        "where the authors' code takes its lower bound."
    )
    with np.errstate(divide="ignore"):
        by_formula = np.maximum(1, special.ndtri(k / WEIGHT_N) / special.ndtri(0.75))
    rows = np.stack([k, k / WEIGHT_N, normalised, weight, by_formula], 1).tolist()
    head = ["copies_right", "p", "radius", "weight", "printed_formula"]
    title = "Figure 4: radius and weight against p"
    return Exhibit("figure_4", title, caption, head, rows, figure, axes)


def figure_5(sources: Sequence[Source]) -> Exhibit:
    """Return Figure 5: the mean norm of the gradient of training images in tenths of p, on
    Gaussian noise and on the noise that their attack makes of it."""
    title, lines = "Figure 5: gradient norms before and after the attack", []
    for source in sources:
        found = (source.gradients or {}).get("rows") or {}
        if "norm_before" not in found:
            continue
        p, after, before = (
            np.asarray(found[k], float) for k in ("p", "norm", "norm_before")
        )
        tenth = np.minimum(np.floor(p * 10 + 1e-9), 9)
        for i in np.unique(tenth):
            own = tenth == i
            means = before[own].mean(), after[own].mean()
            lines.append([source.name, i / 10, (i + 1) / 10, int(own.sum()), *means])
    if not lines:
        missing = "jaxcert.gradient_norms of a run of sun writes its numbers"
        return Exhibit("figure_5", title, missing=missing)
    figure, (axes,) = figures.new_figure()
    figure.set_size_inches(8.2, 3.7)
    names = list(dict.fromkeys(line[0] for line in lines))
    whole = [s.name for s in sources if not s.key.parts and s.name in names]
    for i, name in enumerate(whole or names):
        own = np.array([line[1:] for line in lines if line[0] == name])
        hue = figures.line_style(i)[0]
        for y, mark, words in (
            (own[:, 3], "o--", "before"),
            (own[:, 4], "s-", "after"),
        ):
            x = own[:, :2].mean(1)
            axes.plot(x, y, mark, color=hue, label=f"{name}, {words} the attack")
    axes.set_xlim(0, 1)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("p, share of noisy copies that are right")
    axes.set_ylabel("mean gradient norm")
    caption = (
        "Mean ℓ₂ norm of the gradient of the loss on single training images, by tenths of p: on "
        "Gaussian noise (before) and on the noise that the attack makes of it (after). Runs with "
        "a part of the method alone are in the CSV, and drawn where there are no others."
    )
    head = ["source", "p_from", "p_to", "images", "before", "after"]
    return Exhibit("figure_5", title, caption, head, lines, figure, axes)


def _head(axes: Axes, text: str) -> None:
    axes.set_title(text, fontsize=11, color=figures.INK, loc="left")
