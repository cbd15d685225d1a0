"""What a study of generated images prints: text, CSV, LaTeX, and one HTML page.

Tables 1 to 4 of Altstidl et al. (2023): a row per system, epochs and generated images, with
the gap and gain that their figures show. A study of its own per norm and data set.
"""

from __future__ import annotations

import csv as csv_module
import io
import textwrap
from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np

from jaxcert.analysis.facts import (
    UNITS,
    percent,
    published_percent,
    radius_text,
    with_error,
)
from jaxcert.analysis.latex import escape_latex
from jaxcert.analysis.page import NORMS, document, html_figure, html_table
from jaxcert.analysis.recheck import why_not
from jaxcert.analysis.tables import aligned, blocks, untried
from jaxcert.papers import study_samples
from jaxcert.papers.study_figures import figures
from jaxcert.papers.study_groups import Cell, Study
from jaxcert.papers.study_numbers import (
    Estimate,
    accuracy,
    baseline,
    best,
    confusion,
    gain,
    gap,
    lost_since_best,
)

_PLUS_MINUS = (
    "±: half the 95 % interval over seeds; of one seed the binomial standard error, of its "
    "gain that of paired images; [ ]: where ± would be 0.0, the 95 % interval over images."
)


def text(studies: Sequence[Study], *, width: int = 100) -> str:
    """Return aligned tables and their notes."""
    lines: list[str] = []
    for study in studies:
        head, rows = _rows(study)
        lines += [_title(study), "", *textwrap.wrap(_caption(study), width), ""]
        for system in study.systems:
            own = [row for row in rows if row[0] == system]
            first = [system] + [
                ", ".join(w for w in row[1:4] if w != "--") + " epochs" for row in own
            ]
            columns = zip(head[4:], *(row[4:] for row in own), strict=True)
            for block in blocks([first], map(list, columns), width):
                lines += [*aligned(block), ""]
        for note in _notes(study):
            # paths stay whole, to be copied
            whole = dict(break_on_hyphens=False, break_long_words=False)
            lines += [*textwrap.wrap(note, width, **whole), ""]
    return "\n".join(lines)


def latex(studies: Sequence[Study]) -> str:
    """Return a tabular per study; what must be read beside the numbers stands in
    comments."""
    lines = ["% \\usepackage{booktabs}"]
    for study in studies:
        head, rows = _rows(study)
        said = (_title(study), _caption(study), *_notes(study))
        lines += [f"% {line}" for line in said]
        lines += [rf"\begin{{tabular}}{{l{'r' * (len(head) - 1)}}}", r"\toprule"]
        lines += [_latex_row(head), r"\midrule"]
        for before, row in zip([rows[0], *rows], rows, strict=False):
            if row[0] != before[0]:
                lines.append(r"\midrule")
            lines.append(_latex_row(row))
        lines += [r"\bottomrule", r"\end{tabular}", ""]
    return "\n".join(lines)


def csv(studies: Sequence[Study]) -> str:
    """Return a row per cell in full precision, shares as fractions."""
    rows = [_csv_row(study, cell) for study in studies for cell in study.cells]
    names = list(dict.fromkeys(name for row in rows for name in row))
    file = io.StringIO()
    writer = csv_module.DictWriter(file, names, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        known = {k: v for k, v in row.items() if v is not None and v == v}
        writer.writerow(known)
    return file.getvalue()


def html(studies: Sequence[Study]) -> str:
    """Return the result in a sentence, the gains, the accuracies, and the figures that the
    runs are enough for."""
    title = "Certified robustness with generated images"
    parts = [f"<h1>{title}</h1>"]
    for study in studies:
        parts += [f"<h2>{escape(_title(study))}</h2>"]
        if said := result(study):
            parts.append(f'<p class="lead">{escape(said)}</p>')
        parts += _html_tables(study)
        parts += [f'<p class="soft">{escape(note)}</p>' for note in _notes(study)]
        for drawn in filter(None, (study_samples.beside(study), *figures(study))):
            parts.append(f"<h2>{escape(drawn.title)}</h2>")
            parts.append(html_figure(drawn.svg, drawn.text))
        parts += _confusions(study)
    return document(title, parts)


def result(study: Study) -> str:
    """Return what generated images gain at the study's radius, in one sentence about every
    cell that has them, so that none is chosen; empty without a gain."""
    gains = [
        (cell.system, found)
        for cell in study.cells
        if (found := _gain(study, cell)) is not None
        and found.mean[study.at] == found.mean[study.at]
    ]
    if not gains:
        return ""
    at = f"{NORMS.get(study.norm, study.norm)} radius {radius_text(study.radius)}"
    low, mean, high = (
        [100 * getattr(found, name)[study.at] for _, found in gains]
        for name in ("low", "mean", "high")
    )
    if len(gains) == 1:
        said = "not shown to differ from 0"
        if low[0] > 0 or high[0] < 0:
            said = "above 0" if low[0] > 0 else "below 0"
        return (
            f"With generated images {gains[0][0]} changes by {_signed(mean[0])} points of "
            f"certified accuracy at {at} (95 % interval {_signed(low[0])} to "
            f"{_signed(high[0])}), which is {said}."
        )
    more, less = sum(x > 0 for x in low), sum(x < 0 for x in high)
    return (
        f"With generated images certified accuracy at {at} changes by {_signed(min(mean))} to "
        f"{_signed(max(mean))} points over {len(gains)} cells; the 95 % interval of the gain is "
        f"above 0 in {more} of them and below 0 in {less}."
    )


def _signed(points: float) -> str:
    return f"{points:+.1f}".replace("-", "−")


def _html_tables(study: Study) -> list[str]:
    """Return the gains and the accuracies as two tables, which fit a page."""
    head, rows = _rows(study)
    about = head.index("clean")
    gains = [i for i, name in enumerate(head) if name.startswith("gain ")]
    others = [i for i in range(about, len(head)) if i not in gains]
    gained = [row for row in rows if any(row[i] != "--" for i in gains)]
    tables = [(chosen, c) for chosen, c in ((gained, gains), (rows, others)) if chosen]
    captions = [_caption(study), ""]
    return [
        html_table(
            [*head[:2], *(escape(head[i]) for i in columns)],
            [
                [
                    escape(row[0]),
                    _html_runs(row),
                    *(_html_cell(row[i]) for i in columns),
                ]
                for row in chosen
            ],
            caption,
            kind="dense study",
        )
        for (chosen, columns), caption in zip(tables, captions, strict=False)
    ]


def _html_runs(row: list[str]) -> str:
    """Return the generated images of a row, with their share, epochs and seeds below."""
    share, epochs, seeds = row[2:5]
    below = f"{epochs} epochs, {seeds} seed{'s' * (seeds != '1')}"
    below = below if share == "--" else f"{share}, {below}"
    return f"{escape(row[1])} <small>{escape(below)}</small>"


def _html_cell(text: str) -> str:
    """Return a number with its error small, on a line of its own where it is narrow."""
    value, space, error = escape(text).partition(" ")
    if space and error[0] in "±[":
        return f"{value} <small>{error}</small>"
    return escape(text)


def _rows(study: Study) -> tuple[list[str], list[list[str]]]:
    """Return the names of the columns, and a row per cell."""
    at = radius_text(study.radius)
    head = ["system", "generated", "share", "epochs", "seeds", "clean"]
    shown = [radius_text(r) if r else "clean" for r in study.radii]
    head += [*shown[1:], f"gap {at}", *(f"gain {r}" for r in shown)]
    published = any(_reference(c) for c in study.cells)
    head += ["published"] * published
    rows = []
    for cell in study.cells:
        share = f"{100 * cell.generated.share:g} %" if cell.generated.share else "--"
        epochs = f"{cell.epochs}"
        if cell.factor > 1:
            epochs += f" (×{cell.factor:.3g})"
        found = accuracy(cell, study.radii)
        row = [cell.system, cell.amount, share, epochs, str(len(cell.runs))]
        row += [_points(found, i) for i in range(len(shown))]
        row += [_points(gap(cell, study.radii), study.at)]
        gained = _gain(study, cell)
        row += [_points(gained, i, sign="+") for i in range(len(shown))]
        rows.append(row + [_published(cell)] * published)
    return head, rows


def _points(found: Estimate | None, i: int, sign: str = "") -> str:
    if found is None or np.isnan(found.mean[i]):
        return "--"
    each = (column[i] for column in (found.mean, found.half, found.low, found.high))
    return with_error(*each, sign=sign)


def _gain(study: Study, cell: Cell) -> Estimate | None:
    base = baseline(study, cell)
    return None if base is None else gain(cell, base, study.radii)


def _reference(cell: Cell):
    return next((r.reference for r in cell.runs.values() if r.reference), None)


def _published(cell: Cell) -> str:
    """Return clean and certified accuracy as printed in the paper."""
    reference = _reference(cell)
    shares = sorted(reference.certified.items()) if reference else []
    return " / ".join(published_percent(share) for _, share in shares)


def _title(study: Study) -> str:
    return f"{study.dataset}, {NORMS.get(study.norm, study.norm)} certificates"


def _caption(study: Study) -> str:
    counts = {len(r.test.index) for c in study.cells for r in c.runs.values()}
    images = " or ".join(f"{n:,}" for n in sorted(counts))
    norm = NORMS.get(study.norm, study.norm)
    return (
        f"Clean and certified accuracy in % of {images} test images at {norm} radius in "
        f"{UNITS}; gap: certified training minus test accuracy, gain: over the same system "
        f"and epochs without generated images, both in points. {_PLUS_MINUS}"
    )


def _notes(study: Study) -> list[str]:
    """Return what must be read beside the table, a sentence each."""
    found = []
    sources: dict[str, list[str]] = {}
    for cell in study.cells:
        reference = _reference(cell)
        if reference:
            radii = [
                radius_text(r) if r else "clean" for r in sorted(reference.certified)
            ]
            sources.setdefault(reference.source, radii)
    for source, radii in sources.items():
        found.append(f"Published: {' / '.join(radii)}, {source}.")
    mixed: dict[str, list[str]] = {}
    for cell in study.cells:
        base = baseline(study, cell)
        for key in ("batch", "epoch_images") if base else ():
            first, second = (next(iter(c.runs.values())) for c in (cell, base))
            ours, theirs = (r.config["data"].get(key) for r in (first, second))
            if ours != theirs:
                words = f"data.{key} {ours} where the runs without have {theirs}"
                mixed.setdefault(f"{cell.system} has {words}", []).append(cell.amount)
    for words, amounts in mixed.items():
        listed = ", ".join(dict.fromkeys(amounts))
        found.append(f"With generated images ({listed}) {words}.")
    for cell in study.cells:
        for run in cell.runs.values():
            found += untried(run.name, run.test, study.radii)
            if reason := why_not(run.test):
                found.append(f"Radii of {run.name} were not re-checked: {reason}.")
    lonely = [s for s in study.systems if best(study, s) is None]
    if lonely:
        found.append(
            f"No gain is shown for {'; '.join(lonely)}: there are no runs with and without "
            "generated images at equal epochs."
        )
    if not any(gap(c, study.radii) for c in study.cells):
        found.append(
            "No gap is shown: no workdir has certified training images in train.jsonl "
            "(jaxcert.certify --config.certify.split=train --out WORKDIR/train.jsonl)."
        )
    return found


def _confusions(study: Study) -> list[str]:
    """Return a table of correct by certified per system, without and with generated
    images."""
    at = radius_text(study.radius)
    parts = [f"<h2>Correct and certified at {at}</h2>"]
    for system in study.systems:
        pair = best(study, system)
        cells = pair or [next(c for c in study.cells if c.system == system)]
        found = [confusion(cell, study.radius) for cell in cells]
        rows = [
            [name, *(" → ".join(percent(f[i, j]) for f in found) for j in (0, 1))]
            for i, name in enumerate(("correct", "wrong"))
        ]
        words = f"{cells[-1].amount}, {cells[-1].epochs} epochs"
        caption = f"{system}: % of images"
        caption += (
            f", without → with generated images ({words})." if pair else f" ({words})."
        )
        parts.append(html_table(["", "certified", "not certified"], rows, caption))
    return parts


def _latex_row(cells: Sequence[str]) -> str:
    shown = (
        escape_latex(c).replace("±", r"$\pm$").replace("×", r"$\times$") for c in cells
    )
    return " & ".join(shown) + r" \\"


def _csv_row(study: Study, cell: Cell) -> dict[str, Any]:
    """Return the cells of a row; those without a number are empty."""
    own = cell.generated
    row: dict[str, Any] = dict(
        system=cell.system,
        norm=study.norm,
        dataset=study.dataset,
        epochs=cell.epochs,
        epochs_factor=cell.factor,
        generated=cell.amount,
        generated_count=own.count if own.count or not own.share else None,
        generated_share=own.share,
        seeds=len(cell.runs),
        images=len(next(iter(cell.runs.values())).test.index),
    )
    found = dict(
        certified=accuracy(cell, study.radii),
        gap=gap(cell, study.radii),
        gain=_gain(study, cell),
    )
    reference = _reference(cell)
    for i, radius in enumerate(study.radii):
        at = radius_text(radius)
        for name, each in found.items():
            row[f"{name}_{at}"] = each and each.mean[i]
            # none can be estimated at shares of 0 and 1, or where all seeds agree
            row[f"{name}_standard_error_{at}"] = each and (each.error[i] or None)
            row[f"{name}_interval_{at}"] = (
                (each.half[i] or None) if each and "seeds" in each.over else None
            )
            row[f"{name}_low_{at}"] = each and each.low[i]
            row[f"{name}_high_{at}"] = each and each.high[i]
        row[f"published_{at}"] = reference and reference.certified.get(float(radius))
    row["gain_error_over"] = found["gain"] and found["gain"].over
    shares = confusion(cell, study.radius)
    for i, outcome in enumerate(("correct", "wrong")):
        for j, held in enumerate(("certified", "not_certified")):
            row[f"{outcome}_{held}_{radius_text(study.radius)}"] = shares[i, j]
    row["best_minus_last"] = lost_since_best(cell, study.radius)
    return row
