"""A report as Markdown, for a README, an issue or the card of a model."""

from __future__ import annotations

import re
from collections.abc import Sequence

from jaxcert.analysis import facts, tables
from jaxcert.analysis.facts import UNITS, Entry, percent, radius_text
from jaxcert.certificate import certifies


def markdown(entries: Sequence[Entry]) -> str:
    """Return certified accuracies as a table with radii as columns, that of differences to
    baselines, and what must be read beside them."""
    radii = [radius_text(r) for r in entries[0].summary.radii]
    norm = entries[0].certificates.header.get("norm", "l2")
    best, rows = tables.best_marks(entries), []
    for entry, marked in zip(entries, best, strict=True):
        s = entry.summary
        shares = [facts.certified_share(s, i) for i in range(len(radii))]
        shares = [f"**{x}**" if m else x for x, m in zip(shares, marked, strict=True)]
        rows.append([entry.name, f"{s.images:,}", percent(s.abstention), *shares])
        if entry.reference is not None:
            found = [entry.reference.certified.get(float(r)) for r in s.radii]
            shares = ["" if v is None else facts.published_percent(v) for v in found]
            rows.append([f"published: {entry.reference.source}", "", "", *shares])
    share = facts.share_name(entries[0].certificates).capitalize()
    caption = f"{share} in % at {norm} radius ({UNITS}), ± one standard error or with "
    caption += "the 95 % interval."
    if best.any():
        caption += f" Bold: {tables.BEST}."
    parts = [tables.headline(entries)] if len(entries) > 1 else []
    parts += [caption, table(["record", "images", "abstained, %", *radii], rows)]
    compared = [e for e in entries if e.against is not None]
    if compared:
        rows = [
            [f"{e.name} - {e.against.baseline}"]
            + [tables.points(e.against, i) for i in range(len(radii))]
            for e in compared
        ]
        parts += ["Difference in points with its 95 % interval, paired by image."]
        parts.append(table(["records", *radii], rows))
    parts += [escape(note) for note in tables.notes(entries)]
    parts += ["\n".join(_about(entry)) for entry in entries]
    return "\n\n".join(part for part in parts if part) + "\n"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table, the first column to the left and the others to the right."""
    lines = [[escape(cell) for cell in line] for line in (head, *rows)]
    lines.insert(1, ["---", *["---:"] * (len(head) - 1)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def escape(text: str) -> str:
    """Return a text as one line that Markdown prints as it is, but for **bold**."""
    return re.sub(r"([\\`|<_])", r"\\\1", " ".join(text.split()))


def _about(entry: Entry) -> list[str]:
    """Return what is said of one record, as a list under its name."""
    said = [facts.describe(entry.certificates.header)]
    if may := facts.wrong(entry):
        said.append(f"wrong certificates: {may}")
    said += [f"{name}: {text}" for name, text in facts.numbers(entry).items()]
    said.append(facts.evidence(entry))
    if certifies(entry.certificates):
        said.append(
            f"average radius (never compare by it alone): {facts.average_radius(entry)}"
        )
    return [f"{escape(entry.name)}", "", *(f"- {escape(text)}" for text in said)]
