"""Tables and figures of Sun et al., "Average Certified Radius is a Poor Metric for Randomized
Smoothing" (2024, arXiv:2410.06895), of logs and runs beside what the paper prints.

    table_1          gradient norms of easy and hard training images, and their ratio
    table_2          certified accuracy of seven methods at three sigmas, ACR
    table_3          what the parts of their own training do
    remaining_data   how much of the training data theirs keeps
    figure_2         the radius that a vote probability is worth, and its slope
    figure_3         distribution of the share of the votes, k/N
    figure_4         the radius of 16 votes and the weight of an image, against its p
    figure_5         gradient norms against p, before and after the attack on the noise

Each function returns an `Exhibit`. Shares are of all images; an abstention is wrong.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

import numpy as np
from matplotlib.axes import Axes
from scipy import special

from jaxcert.analysis import figures, metrics
from jaxcert.analysis.facts import radius_text
from jaxcert.certificate import certified_accuracy
from jaxcert.certificates.statistics import radius_sensitivity, smoothing_radius
from jaxcert.papers.exhibits import Exhibit, number, printed
from jaxcert.papers.sun_rows import (
    ALPHA,
    METHODS,
    Key,
    N,
    Source,
    published,
    radii_of,
)

GRID = np.linspace(0.5, 1, 501)
"""The k/N at which the paper's data has a share. Counts of 100,000 lie exactly on it."""
WEIGHT_N, WEIGHT_ALPHA, WEIGHT_FROM = 16, 0.1, 0.75
_SIGMAS = (0.25, 0.5, 1.0)


def exhibits(sources: Sequence[Source]) -> list[Exhibit]:
    """Return all tables and figures in the order of the paper."""
    return [
        figure_2(),
        table_1(sources),
        figure_3(sources),
        figure_4(),
        figure_5(sources),
        remaining_data(sources),
        table_2(sources),
        differing_cells(sources),
        table_3(sources),
    ]


def measured(source: Source, radii: Sequence[float]) -> dict[str, float]:
    """Return the row of a record by the columns of the paper, in its units: acr, and ca_0.25 and
    so on in percent."""
    c = source.certificates
    shares = 100 * certified_accuracy(c, radii)
    columns = {f"ca_{r:.2f}": float(v) for r, v in zip(radii, shares, strict=True)}
    return {"acr": metrics.acr(c)} | columns


def differs(column: str, value: float, printed_value: float) -> bool:
    """Return whether a value is another than the printed one, which has one digit, or three of
    the ACR."""
    unit = 1e-3 if column == "acr" else 0.1
    return abs(value - printed_value) > unit / 2 + 1e-9


def table_2(sources: Sequence[Source]) -> Exhibit:
    """Return Table 2: a line as printed, below it one for each log and run of that row, and
    last the runs of methods that the paper has not."""
    keys = [key for key in published() if not key.parts]
    more = {
        s.key for s in sources if s.key not in published() and s.key.sigma in _SIGMAS
    }
    keys += sorted(key for key in more if key.parts in ("", "m1"))
    caption = (
        "Certified accuracy in % at each ℓ₂ radius, ACR: average certified radius. In grey: "
        "published and below Gaussian training at that sigma. In red: a log that does not "
        "round to what is published. ±: one standard error."
    )
    return _table("table_2", "Table 2: CIFAR-10", keys, sources, caption)


def table_3(sources: Sequence[Source]) -> Exhibit:
    """Return Table 3, of the parts of the paper's training; the first row of each sigma is
    Gaussian training, the last the whole."""
    keys = []
    for sigma in _SIGMAS:
        m1 = Key(METHODS["gaussian"], sigma, "m1")
        first = m1 if m1 in published() else m1._replace(parts="")
        of = [k for k in published() if k.sigma == sigma and k.parts not in ("", "m1")]
        keys += [first, *of, Key(METHODS["sun"], sigma)]
    caption = (
        "As Table 2. Parts of the training: images discarded, re-weighted, adversarial noise. "
        "The first row at sigma 0.5 is Gaussian training with one copy of each image, where "
        "Table 2 has four."
    )
    title = "Table 3: parts of the training, CIFAR-10"
    return _table("table_3", title, keys, sources, caption)


def _table(name, title, keys: Sequence[Key], sources, caption: str) -> Exhibit:
    columns = list(dict.fromkeys(c for key in keys for c in published().get(key, {})))
    head = ["sigma", "method", "parts", "source", "images", *columns]
    rows, shown = [], []
    for key in keys:
        known = published().get(key, {})
        gaussian = published()[Key(METHODS["gaussian"], key.sigma)]
        if known:
            rows.append([key.sigma, key.method, key.parts, "published", None])
            rows[-1] += [known.get(column) for column in columns]
        cells = [_published_cell(c, known, gaussian) if known else "" for c in columns]
        shown.append([f"{key.sigma:g} {escape(key.label)}", *cells])
        for source in (s for s in sources if s.key == key):
            found = measured(source, radii_of(known or gaussian))
            images = len(source.certificates.index)
            rows.append([key.sigma, key.method, key.parts, source.name, images])
            rows[-1] += [found.get(column) for column in columns]
            cells = [_cell(source, c, found, known or gaussian) for c in columns]
            what = "log" if source.is_log else escape(source.name)
            shown.append([f'<span class="weak">– {what}</span>', *cells])
    names = ["ACR" if c == "acr" else radius_text(float(c[3:])) for c in columns]
    return Exhibit(
        name,
        title,
        caption,
        head,
        rows,
        shown=(["σ, method", *names], shown),
    )


def _published_cell(column: str, known, gaussian) -> str:
    if not known.get(column) and column not in ("acr", "ca_0.00"):
        return ""  # of no image, as everywhere at that sigma
    text = _rounded(column, known[column], 0)
    weak = known[column] < gaussian.get(column, 0.0)
    return f'<span class="weak">{text}</span>' if weak else text


def _cell(source: Source, column: str, found, known) -> str:
    value, was = found.get(column), known.get(column)
    if value is None or (not value and not was):
        return ""
    if not source.is_log:
        images, text = len(source.certificates.index), _rounded(column, value, 0)
        error = 100 * float(metrics.standard_error(value / 100, images))
        return text if column == "acr" else f"{text} <small>±{error:.1f}</small>"
    if was is not None and differs(column, value, was):
        return f'<span class="differs">{_rounded(column, value, 1)}</span>'
    return _rounded(column, value, 1)


def _rounded(column: str, value: float, more: int) -> str:
    return number(value, (3 if column == "acr" else 1) + more)


def differing_cells(sources: Sequence[Source]) -> Exhibit:
    """Return the cells in which a log does not round to what is published."""
    rows = differing(sources)
    logs = [s for s in sources if s.is_log]
    title = "Cells that differ in the logs themselves"
    if not logs:
        return Exhibit("differing_cells", title, missing="there are no logs")
    shown = []
    for source in logs:
        if own := [cell for cell in rows if cell[0] == source.key]:
            label = f"{source.key.sigma:g} {escape(source.key.label)}"
            shown.append([label, f'<span class="left">{escape(_in_words(own))}</span>'])
    caption = (
        f"{len(logs) - len(shown)} of {len(logs)} logs round to what is published in every cell. "
        "The others say something else than the paper by themselves, whatever program reads "
        "them: likely one cell alone is a slip of print, and many are of another run of the "
        "method. Radius: published → log."
    )
    return Exhibit(
        "differing_cells",
        title,
        caption,
        ["sigma", "method", "parts", "column", "published", "log"],
        [[k.sigma, k.method, k.parts, column, was, v] for k, column, was, v in rows],
        shown=(["σ, method", '<span class="left">cells</span>'], shown),
    )


def _in_words(cells: Sequence[tuple[Key, str, float, float]]) -> str:
    """Return cells as text: ACR: 0.543 → 0.5534; 0.25: 67.6 → 67.90."""
    return "; ".join(
        f"{'ACR' if column == 'acr' else radius_text(float(column[3:]))}: "
        f"{_rounded(column, was, 0)} → {_rounded(column, value, 1)}"
        for _, column, was, value in cells
    )


def differing(sources: Iterable[Source]) -> list[tuple[Key, str, float, float]]:
    """Return (row, column, published, of the log) of each cell that does not agree."""
    found = []
    for source in sources:
        known = published()[source.key] if source.is_log else {}
        values = measured(source, radii_of(known))
        found += [
            (source.key, column, was, values[column])
            for column, was in known.items()
            if differs(column, values[column], was)
        ]
    return found


def table_1(sources: Sequence[Source]) -> Exhibit:
    """Return Table 1, the mean gradient norm of easy (p > 1/2) and hard training images."""
    own = {s.key: s for s in sources if s.gradients}
    head = ["sigma", "method", "source", "acr", "easy", "hard", "easy_over_hard"]
    rows = []
    for line in printed("sun_table1_gradient_norm"):
        key = Key(line["method"], float(line["sigma"]))
        rows.append([key.sigma, key.method, "published"])
        rows[-1] += [float(line[name]) for name in head[3:]]
        rows += [_norms(s) for s in own.values() if _of_method(s.key) == key]
    done = {row[2] for row in rows}
    rows += [_norms(s) for s in own.values() if s.name not in done]
    shown = [
        [f"{row[0]:g} {escape(row[1])}", escape(row[2])]
        + [number(v, d) for v, d in zip(row[3:], (3, 2, 2, 2), strict=True)]
        for row in rows
    ]
    caption = (
        "Mean ℓ₂ norm of the gradient of a method's own loss on single training images, easy "
        "ones with p above 1/2 and hard ones below. jaxcert.gradient_norms measures it of a "
        "run; which images and parameters the published norms are of, the paper does not say."
    )
    names = ["σ, method", "source", "ACR", "easy", "hard", "easy / hard"]
    title = "Table 1: gradient norms"
    return Exhibit("table_1", title, caption, head, rows, shown=(names, shown))


def _norms(source: Source) -> list:
    g = source.gradients
    numbers = [metrics.acr(source.certificates), g["easy"]["mean"], g["hard"]["mean"]]
    return [source.key.sigma, source.key.method, source.name, *numbers, g["ratio"]]


def _of_method(key: Key) -> Key:
    """Return the row of the paper's Table 1, where Gaussian training is of any m."""
    return key._replace(parts="") if key.parts == "m1" else key


def remaining_data(sources: Sequence[Source]) -> Exhibit:
    """Return which share of the training images their training keeps at each sigma."""
    rows = []
    for line in printed("sun_remaining_data_ratio"):
        sigma = float(line["sigma"])
        rows.append([sigma, "published", float(line["remaining_percent"])])
        own = [s for s in sources if s.kept is not None and s.key.sigma == sigma]
        rows += [[sigma, s.name, 100 * s.kept] for s in own]
    shown = [[f"{s:g}", escape(name), number(kept)] for s, name, kept in rows]
    caption = (
        "% of the training images that the method of the paper still trains on after it has "
        "discarded those with p below p_t. That of a run is read from its metrics.jsonl."
    )
    return Exhibit(
        "remaining_data",
        "Remaining training data",
        caption,
        ["sigma", "source", "remaining_percent"],
        rows,
        shown=(["σ", "source", "remaining (%)"], shown),
    )


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
    names = list(dict.fromkeys(_of_figure(source) for source, _ in lines))
    for source, share in lines:
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
        "released."
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


def summary(sources: Sequence[Source]) -> list[str]:
    """Return what the logs say of Tables 2 and 3, in lines."""
    logs = [s for s in sources if s.is_log]
    if not logs:
        return []
    cells = differing(logs)
    count = sum(value > 0 for s in logs for value in published()[s.key].values())
    lines = [
        f"{len(logs)} logs have {count} cells of Tables 2 and 3, {count - len(cells)} round to "
        "what is published"
    ]
    for source in logs:
        own = [cell for cell in cells if cell[0] == source.key]
        told = "agrees in every cell"
        if own:
            told = f"differs itself, published → log: {_in_words(own)}"
        lines.append(f"  {source.name}: {told}")
    return lines
