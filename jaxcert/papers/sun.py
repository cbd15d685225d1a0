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

The figures are in `sun_figures`. Each function returns an `Exhibit`. Shares are of all images;
an abstention is wrong.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from jaxcert.analysis import metrics
from jaxcert.analysis.facts import radius_text
from jaxcert.certificate import certified_accuracy
from jaxcert.papers import sun_figures
from jaxcert.papers.exhibits import Exhibit, number, printed
from jaxcert.papers.sun_rows import (
    METHODS,
    Key,
    Source,
    published,
    radii_of,
    short_name,
)

_SIGMAS = (0.25, 0.5, 1.0)


def exhibits(sources: Sequence[Source]) -> list[Exhibit]:
    """Return all tables and figures in the order of the paper."""
    return [
        sun_figures.figure_2(),
        table_1(sources),
        sun_figures.figure_3(sources),
        sun_figures.figure_4(),
        sun_figures.figure_5(sources),
        remaining_data(sources),
        table_2(sources),
        *([differing_cells(sources)] if any(s.is_log for s in sources) else []),
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
        "round to what is published. ±: one standard error. –: more than the votes of the run can "
        "prove."
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
    first: dict[float, Key] = {}  # of each sigma the row of Gaussian training
    for key in keys:
        known = published().get(key, {})
        gaussian = published()[first.setdefault(key.sigma, key)]
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
            what = "log" if source.is_log else escape(short_name(source, sources))
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
    c = source.certificates
    if not source.is_log:
        text = _rounded(column, value, 0)
        if column == "acr":
            return text
        if float(column[3:]) > metrics.most_provable(c):
            return "–"
        error = 100 * float(metrics.standard_error(value / 100, len(c.index)))
        return f"{text} <small>±{error:.1f}</small>"
    if was is not None and differs(column, value, was):
        return f'<span class="differs">{_rounded(column, value, 1)}</span>'
    return _rounded(column, value, 1)


def _rounded(column: str, value: float, more: int) -> str:
    return number(value, (3 if column == "acr" else 1) + more)


def differing_cells(sources: Sequence[Source]) -> Exhibit:
    """Return the cells in which a log, of which there is one, does not round to what is
    published."""
    rows = differing(sources)
    logs = [s for s in sources if s.is_log]
    title = "Cells that differ in the logs themselves"
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
    names_of = {s.name: short_name(s, sources) for s in own.values()}
    head = ["sigma", "method", "source", "acr", "easy", "hard", "easy_over_hard"]
    head += ["easy_images", "hard_images", "ratio_error"]
    rows = []
    for line in printed("sun_table1_gradient_norm"):
        key = Key(line["method"], float(line["sigma"]))
        rows.append([key.sigma, key.method, "published"])
        rows[-1] += [*(float(line[name]) for name in head[3:7]), None, None, None]
        rows += [_norms(s) for s in own.values() if _of_method(s.key) == key]
    done = {row[2] for row in rows}
    rest = sorted(own.values(), key=lambda s: s.key.sigma)
    rows += [_norms(s) for s in rest if s.name not in done]
    shown = []
    for sigma, label, name, average, easy, hard, ratio, *images, error in rows:
        of = [f" <small>({n:,})</small>" if n is not None else "" for n in images]
        spread = f" <small>±{error:.2f}</small>" if error is not None else ""
        cells = [number(easy, 2) + of[0], number(hard, 2) + of[1]]
        cells = [number(average, 3), *cells, number(ratio, 2) + spread]
        short = names_of.get(name, name)
        shown.append([f"{sigma:g} {escape(label)}", escape(short), *cells])
    caption = (
        "Mean ℓ₂ norm of the gradient of a method's own loss on single training images, easy "
        "ones with p above 1/2 and hard ones below. jaxcert.gradient_norms measures it of a "
        "run; which images and parameters the published norms are of, the paper does not say. In "
        "brackets the number of images, ± one standard error of the ratio."
    )
    names = ["σ, method", "source", "ACR", "easy", "hard", "easy / hard"]
    title = "Table 1: gradient norms"
    return Exhibit("table_1", title, caption, head, rows, shown=(names, shown))


def _norms(source: Source) -> list:
    key, g = source.key, source.gradients
    numbers = [metrics.acr(source.certificates), g["easy"]["mean"], g["hard"]["mean"]]
    counts = [g["easy"]["images"], g["hard"]["images"], g.get("ratio_error")]
    return [key.sigma, key.label, source.name, *numbers, g["ratio"], *counts]


def _of_method(key: Key) -> Key:
    """Return the row of the paper's Table 1, where Gaussian training is of any m."""
    return key._replace(parts="") if key.parts == "m1" else key


def remaining_data(sources: Sequence[Source]) -> Exhibit:
    """Return which share of the training images their training keeps at each sigma."""
    rows, shown = [], []
    for line in printed("sun_remaining_data_ratio"):
        sigma = float(line["sigma"])
        rows.append([sigma, "published", float(line["remaining_percent"])])
        shown.append([f"{sigma:g}", "published", number(rows[-1][-1])])
        for s in sources:
            discards = not s.key.parts or "discard" in s.key.parts
            if s.kept is not None and s.key.sigma == sigma and discards:
                rows.append([sigma, s.name, 100 * s.kept])
                label = escape(f"{s.key.label}, {short_name(s, sources)}")
                shown.append([f"{sigma:g}", label, number(rows[-1][-1])])
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
