"""Certified accuracy as a LaTeX table, for a paper.

One row per record in groups of one sigma, radii as columns, the average radius last because
it misleads (see `metrics`). Best of a group bold, where all its records have the same images;
worse than the baseline of that sigma grey, as Sun et al. (2024) print it. The document needs
booktabs and xcolor.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from jaxcert.analysis.tables import (
    UNITS,
    Entry,
    best_shares,
    describe,
    is_best,
    notes,
    percent,
    radius_text,
)

_ESCAPED = {c: "\\" + c for c in "&%$#_{}"}
_ESCAPED |= {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}"}
_ESCAPED |= {"^": r"\textasciicircum{}"}


def latex(entries: Sequence[Entry]) -> str:
    """A tabular; what must be read beside the numbers stands in comments above it."""
    radii = entries[0].summary.radii
    norm = entries[0].certificates.header.get("norm", "l2")
    groups: dict[float | None, list[Entry]] = {}
    for entry in entries:
        groups.setdefault(_sigma(entry), []).append(entry)
    noisy = set(groups) != {None}
    head = [r"$\sigma$"] * noisy + ["record", *map(radius_text, radii), "ACR"]
    lines = [
        "% \\usepackage{booktabs, xcolor}",
        f"% certified accuracy in % at {norm} radius ({UNITS}), of the record's own images",
        "% bold: best at that sigma, where all records of that sigma have the same images",
        "% grey: worse than the baseline at the images that both have",
        "% ACR, the average radius, misleads: never compare by it alone",
        *(f"% {_comment(entry)}" for entry in entries),
        *(f"% {' '.join(note.split())}" for note in notes(entries)),
        f"\\begin{{tabular}}{{{'l' * (1 + noisy)}{'r' * len(radii)}r}}",
        r"\toprule",
        " & ".join(head) + r" \\",
    ]
    for sigma in sorted(groups, key=lambda s: (s is None, s or 0)):
        lines.append(r"\midrule")
        named = "--" if sigma is None else f"{sigma:g}"
        for cells in _rows(groups[sigma]):
            lines.append(" & ".join([named] * noisy + cells) + r" \\")
            named = ""
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


def _rows(group: Sequence[Entry]) -> list[list[str]]:
    """Equal once printed is equal: both are bold."""
    best = best_shares(group)
    means = [round(e.summary.acr, 3) for e in group]
    rows = []
    for entry, mean in zip(group, means, strict=True):
        cells = []
        for i, share in enumerate(entry.summary.certified):
            cell = percent(share)
            if is_best(entry, i, best):
                cell = rf"\textbf{{{cell}}}"
            if entry.against is not None and entry.against.worse[i]:
                cell = rf"\textcolor{{gray}}{{{cell}}}"
            cells.append(cell)
        text = "--" if np.isnan(mean) else f"{mean:.3f}"
        if best is not None and mean == np.nanmax(means):
            text = rf"\textbf{{{text}}}"
        rows.append([_escape(entry.name), *cells, text])
    return rows


def _comment(entry: Entry) -> str:
    s = entry.summary
    text = f"{entry.name}: {describe(entry.certificates.header)}; {s.images} images, "
    text += f"abstained {percent(s.abstention)} %"
    if entry.against is not None:
        text += f"; baseline {entry.against.baseline}"
        text += f" at {entry.against.images} images"
    return " ".join(text.split())


def _sigma(entry: Entry) -> float | None:
    """As it was asked for: headers state the nearest float32."""
    sigma = entry.certificates.header.get("sigma")
    return float(f"{sigma:.6g}") if sigma else None


def _escape(text: str) -> str:
    return "".join(_ESCAPED.get(c, c) for c in text)
