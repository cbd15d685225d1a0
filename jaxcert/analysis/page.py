"""A report as one HTML file: no script, nothing loaded from elsewhere.

Certified accuracies come first and the average certified radius last, on purpose: see
`metrics`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from jaxcert.analysis import facts, figures, metrics, pictures, tables
from jaxcert.analysis.facts import UNITS, Entry, percent, radius_text
from jaxcert.certificate import certifies, share_is_known, tried

NORMS = {"l2": "ℓ₂", "linf": "ℓ∞", "l1": "ℓ₁"}

_STYLE = Path(__file__).with_name("page.css").read_text("utf-8")


def page(entries: Sequence[Entry]) -> str:
    """Return the whole HTML document of entries of one norm and one list of radii."""
    names = [e.name for e in entries]
    alone = len(entries) == 1
    title = f"Certified robustness: {names[0] if alone else f'{len(names)} records'}"
    records = [e.certificates for e in entries]
    parts = [
        f"<h1>{escape(title)}</h1>",
        _lead(entries[0]) if alone else _headline(entries),
        _checks(entries),
    ]
    share, labelled = facts.share_name(records[0]).capitalize(), records[0].labelled
    parts += [f"<h2>{share}</h2>", _accuracy_table(entries)]
    best = tables.best_of(entries)
    caption = f"{share} against radius. The band is the 95 % interval."
    if any(tried(c) is not None for c in records):
        caption += (
            " Records that tried some radii have a mark at each; the line between two is a "
            "lower bound, the share at the next one."
        )
    elif best is not None:
        caption += (
            " The grey line is the largest share at each radius, the strip below the axis has "
            f"the colour of its record, both of the {best.images:,} images that all records "
            "with radii have: a line, of all the images of its record, can lie above it."
        )
    if any(map(certifies, records)):
        beside = entries[0].beside
        if beside:
            caption += " Thin and grey: other records and logs, for reference."
        svg = figures.radius_curves(names, records, beside)
        parts.append(html_figure(svg, caption))
    parts += _best(entries) + _against(entries)
    parts += [f'<p class="soft">{escape(note)}</p>' for note in tables.notes(entries)]
    if labelled and any(metrics.vote_probability(c) is not None for c in records):
        caption = (
            "Left: share of images that are correct with a vote probability proven to be p or "
            "more, p_lower ≥ p (the survival form). Right: 1 minus it, the distribution "
            "function."
        )
        svg = figures.p_lower_curves(names, records)
        parts += ["<h2>Vote probabilities</h2>", html_figure(svg, caption)]
        if any(metrics.vote_share(c) is not None for c in records):
            caption = (
                "The same of k/N, the share of the votes, of which p_lower is the lower bound. "
                "Right: the form of Figure 3 of Sun et al. (2024)."
            )
            parts.append(html_figure(figures.votes_curves(names, records), caption))
        parts += _theory(entries)
    parts += pictures.gallery(entries[0]) if alone else []
    parts += _training(entries[0]) if alone else []
    parts += ["<h2>What was certified</h2>", _facts(entries, _request)]
    parts += map(_config, entries)
    parts += ["<h2>Other numbers</h2>", _facts(entries, _numbers)]
    if labelled:
        parts += [_NOTE]
        parts += ["<h2>Classes</h2>", *(_classes(e, opened=alone) for e in entries)]
    return document(title, parts)


def document(title: str, parts: Sequence[str]) -> str:
    """Return a whole HTML document of parts that are HTML; the first one is its
    heading."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>\n{_STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(parts)
        + "\n</body>\n</html>\n"
    )


def _best(entries: Sequence[Entry]) -> list[str]:
    best, radii = tables.best_of(entries), entries[0].summary.radii
    if best is None:
        return []
    names = [escape(e.name) for e in entries]
    rows = [
        [radius_text(r), percent(share), tables.best_name(names, best, i)]
        for i, (r, share) in enumerate(zip(radii, best.certified, strict=True))
        if best.winner[i] >= 0
    ]
    caption = (
        f"% of the {best.images:,} images that all records with radii have, by the record "
        "with the largest share: no one record has to serve all radii. In brackets those "
        "that the 95 % interval of the paired difference does not tell apart from it."
    )
    table = html_table(["radius", "share", "record"], rows, caption)
    return ["<h2>Largest at each radius</h2>", table]


def _against(entries: Sequence[Entry]) -> list[str]:
    radii = entries[0].summary.radii
    compared = [e for e in entries if e.against is not None]
    if not compared:
        return []
    head = ["radius"]
    for e in compared:
        head.append(f"{escape(e.name)}<br>− {escape(e.against.baseline)}")
    rows = [
        [radius_text(r), *(_difference(e, i) for e in compared)]
        for i, r in enumerate(radii)
    ]
    caption = (
        "Difference of certified accuracy in points at the images of both, with the 95 % "
        "interval of the paired bootstrap, to which one image gained and one lost are "
        "added; ▼ worse than the baseline, and so is the whole interval."
    )
    parts = ["<h2>Against the baseline</h2>", html_table(head, rows, caption)]
    names = [e.name for e in entries]
    at = [names.index(e.against.baseline) if e.against else None for e in entries]
    svg = figures.difference_curves(names, [e.certificates for e in entries], at)
    parts.append(
        html_figure(svg, "The same at every radius; the band is the 95 % interval.")
    )
    return parts


def _difference(entry: Entry, i: int) -> str:
    value, _, interval = tables.points(entry.against, i).partition(" ")
    value = value.replace("-", "−")
    if entry.against.worse[i]:
        value = f'<span class="bad">▼ {value}</span>'
    return f"{value} <small>{interval.replace('-', '−')}</small>"


def _headline(entries: Sequence[Entry]) -> str:
    """Return in words which record is ahead where."""
    text = tables.headline(entries)
    return f'<p class="lead">{escape(text)}</p>' if text else ""


def _training(entry: Entry) -> list[str]:
    """Return the section on the training of the network; [] where nothing is known of it."""
    found = pictures.training_lines(entry.metrics)
    if not found:
        return []
    caption = (
        "What metrics.jsonl has of each epoch: means of the training over each interval, and "
        "evaluations of certified accuracy, which may use fewer images than the record."
    )
    return ["<h2>Training</h2>", html_figure(figures.training_curves(found), caption)]


def _theory(entries: Sequence[Entry]) -> list[str]:
    settings = set()
    for c in (e.certificates for e in entries):
        if known := metrics.certify_numbers(c):
            n, alpha, sigma = known
            settings.add((float(f"{sigma:.6g}"), alpha, n, metrics.least_tail(c)))
    if not settings:
        return []
    caption = (
        "What a vote probability is worth. Left: the radius. Right: its slope, the radius "
        "that a small gain of p is worth. The dot is the most that n votes can prove: at the "
        "right end the average radius is made, whatever the other images do."
    )
    return [html_figure(figures.radius_theory(sorted(settings)), caption)]


_NOTE = (
    '<p class="soft">The average radius is listed last because it misleads: with '
    "smoothing, more samples on easy images raise it without limit, and a classifier "
    "that always answers the same class can beat any robust one. Compare certified "
    "accuracies.</p>"
)


def _lead(entry: Entry) -> str:
    """Return the result in words."""
    text = facts.result(entry, _norm([entry]))
    return f'<p class="lead">{escape(text)}</p>' if text else ""


def _checks(entries: Sequence[Entry]) -> str:
    """Return one box, in the colour of the worst outcome."""
    checks = [entry.recheck for entry in entries]
    if not all(check.holds for check in checks):
        kind = "bad"
    else:
        kind = "" if any(check.reason for check in checks) else "good"
    names = [f"{e.name}: " if len(entries) > 1 else "" for e in entries]
    lines = [escape(n + facts.evidence(e)) for n, e in zip(names, entries, strict=True)]
    return f'<p class="check {kind}">{"<br>".join(lines)}</p>'


def _accuracy_table(entries: Sequence[Entry]) -> str:
    """Return a table with radii as rows, which suits a phone; a record alone gets more
    columns."""
    alone, best = len(entries) == 1, tables.best_marks(entries)
    head = ["radius"]
    columns = [[radius_text(r) for r in entries[0].summary.radii]]
    for entry, marked in zip(entries, best, strict=True):
        s = entry.summary
        head.append("certified" if alone else escape(entry.name))
        columns.append(_shares(entry, marked))
        if entry.reference is not None:
            shares = (entry.reference.certified.get(float(r)) for r in s.radii)
            head.append("published")
            columns.append(
                ["" if v is None else facts.published_percent(v) for v in shares]
            )
        header = entry.certificates.header
        if alone and header.get("alpha") and "familywise" not in header:
            head.append("at least*")
            columns.append([percent(v) for v in s.certified_lower])
        if alone and s.paper:
            head.append("by estimates")
            columns.append([percent(v) for v in s.paper.certified])
        if alone and entry.certificates.labelled:
            head.append("wrong class")
            columns.append([percent(v) for v in s.wrong_certified])
    caption = (
        "% of images, ± one standard error, or where that is 0.0 the 95 % interval; "
        f"{_norm(entries)} radius in {UNITS}."
    )
    if best.any():
        caption += f" Bold: {tables.BEST}."
    if "at least*" in head:
        caption += (
            " * With 99.9 % probability on these images, as every certificate may be "
            "false with probability alpha."
        )
    if "by estimates" in head:
        caption += (
            " By estimates: with the paper's constants; those found by power iteration are "
            "no proof."
        )
    for entry in entries:
        if entry.reference is not None:
            caption += f" Published: {entry.reference.source}."
    return html_table(head, zip(*columns, strict=True), caption)


def _shares(entry: Entry, best: np.ndarray) -> list[str]:
    cells = []
    for i, marked in enumerate(best):
        share, _, error = facts.certified_share(entry.summary, i).partition(" ")
        cell = f"{share} <small>{error}</small>" if error else share
        cells.append(f"<b>{cell}</b>" if marked else cell)
    return cells


def _facts(entries: Sequence[Entry], facts_of: Any) -> str:
    """Return a table with names as rows and records as columns."""
    found = [facts_of(entry) for entry in entries]
    labels = list(dict.fromkeys(label for one in found for label in one))
    head = ["", *(escape(e.name) for e in entries)] if len(entries) > 1 else []
    rows = [[k, *(escape(one.get(k, "")) for one in found)] for k in labels]
    return html_table(head, rows, kind="facts")


def _request(entry: Entry) -> dict[str, str]:
    c = entry.certificates
    header = c.header
    found = {"procedure": facts.describe(header)}
    if may := facts.wrong(entry):
        found["wrong certificates"] = may
    known = "method alpha sigma procedure format pairwise_bound config images"
    known = f"{known} familywise".split()
    first = ("norm", "dataset", "split", "num_classes", "checkpoint")
    for key in (*first, *(k for k in header if k not in (*first, *known))):
        if header.get(key) not in (None, ""):
            found[key.replace("_", " ")] = _plain(header[key])
    found["images"] = f"{len(c.index):,}"
    if c.n.max() > 1:
        found["samples per image"] = f"{c.n.mean():,.0f}"
    if not np.isnan(c.seconds).any():  # some tables do not say
        found["time per image"] = f"{c.seconds.mean():.3g} s"
    return found


def _config(entry: Entry) -> str:
    config = entry.certificates.header.get("config")
    if not config:
        return ""
    title = f"config of {escape(entry.name)}"
    text = escape(json.dumps(config, indent=1))
    return f"<details><summary>{title}</summary><pre>{text}</pre></details>"


def _numbers(entry: Entry) -> dict[str, str]:
    found = {"abstained": f"{percent(entry.summary.abstention)} %"}
    found |= facts.numbers(entry)
    if certifies(entry.certificates) and entry.certificates.labelled:
        found["average radius over all images"] = facts.average_radius(entry)
    return found


def _classes(entry: Entry, *, opened: bool) -> str:
    radii = entry.summary.radii
    average = ["average radius"] if certifies(entry.certificates) else []
    radii = radii[share_is_known(entry.certificates, radii)]
    table = metrics.per_class(entry.certificates, radii)
    head = ["class", "images", *(radius_text(r) for r in radii), *average]
    rows = []
    for label, count, shares, acr in zip(*table, strict=True):
        own = [f"{acr:.3f}"] if average else []
        name = escape(facts.class_name(entry, label))
        rows.append([name, str(count), *map(percent, shares), *own])
    body = html_table(
        head, rows, "Certified accuracy in % of the class' images, by radius."
    )
    few = len(rows) <= 20 and len(radii) > 0
    if few:
        caption = (
            "The same; a bar for each radius, the smallest radius behind the others."
        )
        names = [facts.class_name(entry, label) for label in table.label]
        svg = figures.class_bars(entry.name, entry.certificates, radii, names)
        body += html_figure(svg, caption)
    mark = " open" if opened and few else ""
    return f"<details{mark}><summary>{escape(entry.name)}</summary>{body}</details>"


def html_table(
    head: Sequence[str], rows: Iterable, caption: str = "", kind: str = ""
) -> str:
    """Return a table of cells that are HTML already."""
    lines = [f'<p class="soft">{escape(caption)}</p>'] if caption else []
    lines.append(f'<div class="scroll"><table class="{kind}">')
    if head:
        cells = "".join(f'<th scope="col">{cell}</th>' for cell in head)
        lines.append(f"<thead><tr>{cells}</tr></thead>")
    lines.append("<tbody>")
    for first, *others in rows:
        cells = "".join(f"<td>{cell}</td>" for cell in others)
        lines.append(f'<tr><th scope="row">{first}</th>{cells}</tr>')
    return "\n".join([*lines, "</tbody></table></div>"])


def html_figure(svg: str, caption: str) -> str:
    svg = svg.replace("<svg", f'<svg role="img" aria-label="{escape(caption)}"', 1)
    return f"<figure>{svg}<figcaption>{escape(caption)}</figcaption></figure>"


def _plain(value: Any) -> str:
    """Return a header's value as words."""
    if isinstance(value, dict):
        return ", ".join(f"{k} {_plain(v)}" for k, v in value.items())
    if isinstance(value, list) and any(isinstance(x, dict) for x in value):
        text = "; ".join(map(_plain, value))
    else:
        text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 200 else text[:197] + "..."


def _norm(entries: Sequence[Entry]) -> str:
    norm = entries[0].certificates.header.get("norm", "l2")
    return NORMS.get(norm, norm)
