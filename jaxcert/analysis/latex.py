"""Certified accuracy as a LaTeX table, for a paper.

One row per record in groups of one sigma, radii as columns, the average radius last because
it misleads (see `metrics`), never bold, with that of a constant classifier beside it. Best of
a group bold, where all its records have the same images; worse than the baseline of that sigma
grey, as Sun et al. (2024) print it; both only where the 95 % interval of the paired difference
says so. The last row is the largest share of all records at each radius.
The document needs booktabs and xcolor.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from jaxcert.analysis import facts, tables
from jaxcert.analysis.facts import UNITS, Entry, percent, radius_text

_ESCAPED = {c: "\\" + c for c in "&%$#_{}"}
_ESCAPED |= {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}"}
_ESCAPED |= {"^": r"\textasciicircum{}"}


def latex(entries: Sequence[Entry]) -> str:
    """Return a tabular; what must be read beside the numbers stands in comments above
    it."""
    radii = entries[0].summary.radii
    norm = entries[0].certificates.header.get("norm", "l2")
    groups: dict[float | None, list[Entry]] = {}
    for entry in entries:
        groups.setdefault(_sigma(entry), []).append(entry)
    noisy = set(groups) != {None}
    constant = any(e.summary.trivial_acr is not None for e in entries)
    head = [r"$\sigma$"] * noisy + ["record", *map(radius_text, radii)]
    head += ["ACR (constant)" if constant else "ACR"]
    lines = [
        "% \\usepackage{booktabs, xcolor}",
        f"% {facts.share_name(entries[0].certificates)} in % at {norm} radius ({UNITS}), of the "
        "record's own images",
        f"% bold: {tables.BEST} of that sigma, where all have the same images",
        "% grey: worse than the baseline at the images that both have, and so is the whole "
        "95 % interval",
        *(f"% {_line(_comment(entry))}" for entry in entries),
        *(f"% {_line(note)}" for note in tables.notes(entries)),
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
    if (best := tables.best_of(entries)) is not None:
        cells = [percent(s) if s > 0 else "--" for s in best.certified]
        lines += [
            r"\midrule",
            " & ".join([""] * noisy + ["largest of all", *cells, ""]),
        ]
        lines[-1] += r" \\"
        lines[-1] += " % by " + ", ".join(
            "--"
            if winner < 0
            else tables.best_name([_line(e.name) for e in entries], best, i)
            for i, winner in enumerate(best.winner)
        )
    lines.append(r"\bottomrule")
    for note in _footnotes(entries, constant):
        lines.append(rf"\multicolumn{{{len(head)}}}{{l}}{{\footnotesize {note}}} \\")
    return "\n".join([*lines, r"\end{tabular}", ""])


def _footnotes(entries: Sequence[Entry], constant: bool) -> list[str]:
    found = [e.summary for e in entries]
    far = [s.certified - s.certified_low for s in found]
    far += [s.certified_high - s.certified for s in found]
    most = np.ceil(1000 * np.nan_to_num(np.concatenate(far)).max()) / 1000
    told = [
        rf"95 \% intervals of the shares reach up to {percent(most)} points from them."
    ]
    told += ["ACR misleads: compare certified accuracies."]
    if constant:
        told += ["In brackets the ACR of a classifier that always says one class."]
    return told


def _rows(group: Sequence[Entry]) -> list[list[str]]:
    rows = []
    for entry, marked in zip(group, tables.best_marks(group), strict=True):
        cells = []
        for i, share in enumerate(entry.summary.certified):
            cell = percent(share)
            if marked[i]:
                cell = rf"\textbf{{{cell}}}"
            if entry.against is not None and entry.against.worse[i]:
                cell = rf"\textcolor{{gray}}{{{cell}}}"
            cells.append(cell)
        s = entry.summary
        text = "--" if np.isnan(s.acr) else f"{s.acr:.3f}"
        if s.trivial_acr is not None:
            text += f" ({s.trivial_acr:.3f})"
        rows.append([escape_latex(entry.name), *cells, text])
    return rows


def _comment(entry: Entry) -> str:
    s = entry.summary
    text = f"{entry.name}: {facts.describe(entry.certificates.header)}; {s.images} images, "
    text += f"abstained {percent(s.abstention)} %"
    if entry.against is not None:
        text += f"; baseline {entry.against.baseline}"
        text += f" at {entry.against.images} images"
    if entry.recheck.reason or not entry.recheck.holds:
        text += f". {facts.evidence(entry)}"
    return " ".join(text.split())


def _sigma(entry: Entry) -> float | None:
    """Return sigma as it was asked for: headers state the nearest float32."""
    sigma = entry.certificates.header.get("sigma")
    return float(f"{sigma:.6g}") if sigma else None


def _line(text: str) -> str:
    """Return a name for a comment, which a newline in it would end."""
    return " ".join(text.split())


def escape_latex(text: str) -> str:
    """Return the text as LaTeX prints it, without commands."""
    return "".join(_ESCAPED.get(c, c) for c in text)
