"""Certified accuracy as text for a terminal.

Shares are printed in percent with one binomial standard error, so that nobody reads a
difference into noise: with 500 images one standard error is up to 2.2 points.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxcert.analysis.compare import Difference, Envelope, apart, common, envelope
from jaxcert.analysis.metrics import Summary, certifies
from jaxcert.analysis.recheck import Recheck
from jaxcert.records import Certificates

UNITS = "pixels in [0, 1]"
_NAME_WIDTH = 20


class Reference(NamedTuple):
    """Published numbers. certified: radius -> share of images."""

    source: str
    certified: dict[float, float]


class Entry(NamedTuple):
    """One record of a report."""

    name: str
    certificates: Certificates
    summary: Summary
    recheck: Recheck
    reference: Reference | None = None
    against: Difference | None = None
    """its baseline, if there is one"""
    apart: str = ""
    """what it has that does not compare with the baseline that was to serve it"""
    gradients: dict[str, Any] | None = None
    """gradient_norms.json of the same checkpoint, if there is one"""


def text(entries: Sequence[Entry], *, width: int = 100) -> str:
    """Aligned table, radii as columns, in as many blocks as `width` asks for, what several
    records have beside one, then a paragraph per record."""
    radii = entries[0].summary.radii
    best = best_shares(entries)
    columns = [[radius_text(r), *_cells(entries, i, best)] for i, r in enumerate(radii)]
    fixed = [["", *_labels(entries)], ["images", *_counts(entries)]]
    fixed.append(["abstain", *_abstentions(entries)])
    norm = entries[0].certificates.header.get("norm", "l2")
    lines = [f"certified accuracy in % (±standard error) at {norm} radius ({UNITS})"]
    if best is not None:
        lines[0] += "; * best at that radius"
    for block in _blocks(fixed, columns, width):
        lines += ["", *_aligned(block)]
    lines += _best_text(entries) + _against_text(entries, width)
    for note in notes(entries):
        lines += ["", *textwrap.wrap(note, width)]
    for entry in entries:
        lines += ["", *_paragraph(entry, width)]
    return "\n".join(lines) + "\n"


def radius_text(radius: float) -> str:
    """0.25 -> '0.25', 36/255 -> '36/255', 0.123456 -> '0.1235'."""
    steps = round(radius * 255)
    decimal = abs(radius * 1000 - round(radius * 1000)) < 1e-9
    if not decimal and abs(radius * 255 - steps) < 1e-9:
        return f"{steps}/255"
    return f"{radius:.4g}"


def percent(share: float, error: float | None = None) -> str:
    """0.657 -> '65.7', with its error '65.7 ±0.5'; '--' for nan."""
    if math.isnan(share):
        return "--"
    text = f"{100 * share:.1f}"
    return text if error is None else f"{text} ±{100 * error:.1f}"


def published_percent(share: float) -> str:
    """With the digits it was published with, at most two."""
    return f"{100 * share:.2f}".removesuffix("0")


def describe(header: dict[str, Any]) -> str:
    """How the certificates were made, in one line."""
    procedure = header.get("procedure")
    procedure = procedure if isinstance(procedure, dict) else {}
    if missing := untold(header):
        left_out = ["the constant classifier"]
        if "sigma" in missing:
            left_out = ["vote probabilities", *left_out]
        verb = "need" if len(left_out) > 1 else "needs"
        options = _and([f"--{name}" for name in missing])
        return f"a table of randomized smoothing; {_and(left_out)} {verb} {options}"
    words = []
    if header.get("format") == "tsv":
        predict = procedure.get("name") == "predict"
        words.append("a table without radii" if predict else "a table, as told here")
    words.append(str(header.get("method", "unknown method")))
    base = header.get("base")
    if isinstance(base, dict):  # a classifier made of other networks
        told = [str(base[k]) for k in ("kind", "search", "weighting") if k in base]
        words.append(f"{base.get('name')}" + (f" ({', '.join(told)})" if told else ""))
    if procedure.get("name") and procedure["name"] != header.get("method"):
        words.append(str(procedure["name"]))
    if header.get("sigma"):
        words.append(f"{procedure.get('noise', 'gaussian')} noise")
        words.append(f"sigma {header['sigma']:g}")
    words += [f"{key} {procedure[key]}" for key in ("n0", "n") if key in procedure]
    if header.get("alpha"):
        words.append(f"each wrong with probability at most {header['alpha']:g}")
    elif "alpha" in header:
        words.append("deterministic")
    return ", ".join(words)


def untold(header: dict[str, Any]) -> list[str]:
    """What vote probabilities and the constant classifier need and a table leaves out."""
    procedure = header.get("procedure") or {}
    if header.get("format") != "tsv" or procedure.get("name") == "predict":
        return []
    known = dict(
        sigma=header.get("sigma"), alpha=header.get("alpha"), n=procedure.get("n")
    )
    return [name for name, value in known.items() if not value]


def best_of(entries: Sequence[Entry]) -> Envelope | None:
    """The envelope of several records that certify; None for one, or without images that
    all have."""
    if len(_certifying(entries)) < 2:
        return None
    return envelope([e.certificates for e in entries], entries[0].summary.radii)


def notes(entries: Sequence[Entry]) -> list[str]:
    """What is not compared and why, a sentence each."""
    found = []
    kept = _certifying(entries)
    if len(kept) > 1 and best_of(entries) is None:
        pairs = ((e, f) for i, e in enumerate(kept) for f in kept[i + 1 :])
        reasons = (
            f"{e.name} has {why}"
            for e, f in pairs
            if (why := apart(e.certificates, f.certificates, f.name))
        )
        why = next(reasons, "no image is in all of them")
        found.append(f"No best record at each radius is shown: {why}.")
    for reason in dict.fromkeys(e.apart for e in entries if e.apart):
        named = _and([e.name for e in entries if e.apart == reason])
        found.append(f"No difference to a baseline is shown for {named}: {reason}.")
    compared = found or any(e.against is not None for e in entries)
    if not compared and len(kept) > 1 and smoothed(entries):
        found.append(NO_BASELINE)
    return found


def points(against: Difference, i: int) -> str:
    """Difference at the i-th radius: '-3.4 [-4.3, -2.6]', the interval rounded outwards; '--'
    where there is none."""
    if math.isnan(against.difference[i]):
        return "--"
    ends = ((against.low[i], math.floor), (against.high[i], math.ceil))
    # rounded before: 100 * 0.57 is a little less than 57
    low, high = (outwards(round(1000 * v, 6)) / 10 for v, outwards in ends)
    value = round(100 * against.difference[i], 1) + 0.0  # not -0.0
    return f"{value:+.1f} [{low + 0.0:+.1f}, {high + 0.0:+.1f}]"


NO_BASELINE = (
    "No difference to Gaussian training is shown: no record's config has the method gaussian "
    "at the sigma of another; name one with --baseline."
)


def smoothed(entries: Sequence[Entry]) -> bool:
    """Whether a difference to Gaussian training makes sense."""
    return any(e.certificates.header.get("method") == "smoothing" for e in entries)


def best_shares(entries: Sequence[Entry]) -> np.ndarray | None:
    """Largest certified accuracy per radius [R]; None unless there are several records
    that certify, all of the same images."""
    kept = _certifying(entries)
    if len(kept) < 2:
        return None
    parts = common([e.certificates for e in kept])
    if parts is None or any(e.summary.images > len(parts[0].index) for e in kept):
        return None
    return np.max([np.nan_to_num(e.summary.certified) for e in kept], axis=0)


def is_best(entry: Entry, i: int, best: np.ndarray | None) -> bool:
    """Whether a record has the share of `best_shares` at the i-th radius, as printed."""
    if best is None or not certifies(entry.certificates):
        return False
    return best[i] > 0 and percent(entry.summary.certified[i]) == percent(best[i])


def short_names(names: Sequence[str], most: int = _NAME_WIDTH) -> dict[str, str]:
    """Each name in at most `most` letters, its end or its start and end; in more where two
    names would be one."""
    for width in range(most, max(map(len, names)) + 1):
        for start in (0, (width - 3) // 2):
            end = width - 3 - start
            short = {
                name: name if len(name) <= width else f"{name[:start]}...{name[-end:]}"
                for name in names
            }
            if len(set(short.values())) == len(short):
                return short
    return {name: name for name in names}


def evidence(entry: Entry) -> str:
    """Outcome of the re-check: what follows from the record, and what cannot be seen."""
    recheck, c = entry.recheck, entry.certificates
    if recheck.holds and recheck.reason:
        return f"Radii were not re-checked: {recheck.reason}."
    if recheck.holds:
        notes = "".join(f" {note[:1].upper()}{note[1:]}." for note in recheck.notes)
        return (
            f"All {recheck.checked} predictions and radii follow from the evidence in the "
            "record; whether it is the network's own cannot be seen without the network."
            + notes
        )
    images = ", ".join(str(int(c.index[i])) for i in recheck.failing[:5])
    more = ", ..." if len(recheck.failing) > 5 else ""
    why = f": {recheck.reason}" if recheck.reason else ""
    return (
        f"{len(recheck.failing)} of {recheck.checked} certificates exceed their evidence "
        f"(images {images}{more}){why}."
    )


def changed_votes(entry: Entry) -> str:
    """What bfloat16 did to the votes of the selection."""
    n0 = entry.certificates.header["procedure"]["n0"]
    return (
        f"bfloat16 changed {100 * entry.summary.changed:.2g} % of n0 votes per image (at "
        f"most {int(entry.certificates.changed.max())} of {n0})"
    )


def average_radius(entry: Entry) -> str:
    """ACR with what must be read beside it."""
    s = entry.summary
    text = f"{s.acr:.3f} ±{s.acr_error:.3f}"
    beside = []
    if s.acr_share is not None:
        beside.append(f"{percent(s.acr_share)} % of it is from p_lower > 0.99")
    if s.trivial_acr is not None:
        words = f"a constant classifier has {s.trivial_acr:.3f}"
        if math.isfinite(s.trivial_n):
            words += (
                f", and more than this record from n = {_count(s.trivial_n)} samples"
            )
        beside.append(words)
    return f"{text} ({'; '.join(beside)})" if beside else text


def gradient_norms(entry: Entry) -> str:
    """Table 1 of Sun et al. (2024): of which images the network still learns."""
    g = entry.gradients
    groups = [
        f"{kind} {g[kind]['mean']:.3g} ({g[kind]['images']:,} images)"
        for kind in ("easy", "hard")
        if g[kind]["mean"] is not None
    ]
    if g["ratio"] is not None:
        error = "" if g["ratio_error"] is None else f" ±{g['ratio_error']:.2g}"
        groups.append(f"easy / hard {g['ratio']:.3g}{error}")
    return ", ".join(groups)


def paper_radii(entry: Entry) -> str:
    """Certified accuracy by the estimates of the paper, and what proven constants cost."""
    s = entry.summary
    shares = [
        f"{percent(share)} % at {radius_text(radius)}"
        for radius, share in zip(s.radii, s.paper.certified, strict=True)
        if radius > 0
    ]
    text = f"{', '.join(shares)}; " if shares else ""
    return (
        f"{text}proven radii are {s.paper.median_ratio:.5f} of these (median), at least "
        f"{s.paper.least_ratio:.5f}"
    )


def _count(n: float) -> str:
    """1234567 -> '1,234,567', more digits as '3.5e+29'."""
    return f"{n:,.0f}" if n < 1e9 else f"{n:.2g}"


def _certifying(entries: Sequence[Entry]) -> list[Entry]:
    return [e for e in entries if certifies(e.certificates)]


def _and(words: Sequence[str]) -> str:
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last


def _best_text(entries: Sequence[Entry]) -> list[str]:
    best = best_of(entries)
    if best is None:
        return []
    rows = [("radius", "best", "record")]
    for r, share, i in zip(
        entries[0].summary.radii, best.certified, best.winner, strict=True
    ):
        if i >= 0:
            rows.append((radius_text(r), percent(share), entries[i].name))
    head = (
        f"best at each radius, in % of the {best.images:,} images that all records with "
        "radii have"
    )
    return ["", head, "", *(f"{a:<8} {b:>5}  {c}" for a, b, c in rows)]


def _against_text(entries: Sequence[Entry], width: int) -> list[str]:
    compared = [e for e in entries if e.against is not None]
    if not compared:
        return []
    columns, short = [], short_names([e.name for e in entries])
    for i, radius in enumerate(compared[0].summary.radii):
        marks = ["!" if e.against.worse[i] else " " for e in compared]
        cells = [points(e.against, i) + m for e, m in zip(compared, marks, strict=True)]
        columns.append([radius_text(radius), *cells])
    fixed = [["", *(short[e.name] for e in compared)]]
    fixed.append(["minus", *(short[e.against.baseline] for e in compared)])
    lines = [
        "",
        "difference in points [95 % interval, paired]; ! worse than the baseline",
    ]
    for block in _blocks(fixed, columns, width):
        lines += ["", *_aligned(block)]
    return lines


def _labels(entries: Sequence[Entry]) -> list[str]:
    labels, short = [], short_names([e.name for e in entries])
    for entry in entries:
        labels += [short[entry.name]] + ["  published"] * (entry.reference is not None)
    return labels


def _counts(entries: Sequence[Entry]) -> list[str]:
    return _with_gaps(entries, [str(e.summary.images) for e in entries])


def _abstentions(entries: Sequence[Entry]) -> list[str]:
    return _with_gaps(entries, [percent(e.summary.abstention) for e in entries])


def _with_gaps(entries: Sequence[Entry], cells: list[str]) -> list[str]:
    rows = []
    for entry, cell in zip(entries, cells, strict=True):
        rows += [cell] + [""] * (entry.reference is not None)
    return rows


def _cells(entries: Sequence[Entry], i: int, best: np.ndarray | None) -> list[str]:
    rows = []
    for entry in entries:
        s = entry.summary
        cell = percent(s.certified[i], s.certified_error[i])
        if best is not None:
            cell += "*" if is_best(entry, i, best) else " "
        rows.append(cell)
        if entry.reference is not None:
            share = entry.reference.certified.get(float(s.radii[i]))
            text = "" if share is None else published_percent(share)
            rows.append(text.ljust(len(cell)))
    return rows


def _blocks(fixed: list[list[str]], columns: list[list[str]], width: int):
    def size(column):
        return 2 + max(len(cell) for cell in column)

    block, left = list(fixed), width - sum(size(c) for c in fixed)
    for column in columns:
        if size(column) > left and len(block) > len(fixed):
            yield block
            block, left = [fixed[0]], width - size(fixed[0])
        block.append(column)
        left -= size(column)
    yield block


def _aligned(columns: list[list[str]]) -> list[str]:
    padded = []
    for i, column in enumerate(columns):
        size = max(len(cell) for cell in column)
        padded.append([c.rjust(size) if i else c.ljust(size) for c in column])
    return ["  ".join(row).rstrip() for row in zip(*padded, strict=True)]


def _paragraph(entry: Entry, width: int) -> list[str]:
    s, header = entry.summary, entry.certificates.header
    certified = certifies(entry.certificates)
    positive = [i for i, r in enumerate(s.radii) if r > 0 and certified][:1]
    facts = [describe(header)]
    facts += [
        f"certified at {radius_text(s.radii[i])} for a wrong class: "
        f"{percent(s.wrong_certified[i])} %"
        for i in positive
    ]
    if s.error:
        facts.append(f"could not be evaluated: {percent(s.error)} %")
    if certified:
        facts.append(
            f"radius of the correct images: mean {s.mean_radius:.3g}, "
            f"median {s.median_radius:.3g}"
        )
    if s.paper:
        facts.append(f"by the estimates of the paper: {paper_radii(entry)}")
    if s.changed is not None:
        facts.append(changed_votes(entry))
    if entry.gradients:
        facts.append(f"gradient norms of training images: {gradient_norms(entry)}")
    facts.append(evidence(entry))
    if entry.reference is not None:
        facts.append(f"published: {entry.reference.source}")
    if certified:
        average = average_radius(entry)
        facts.append(f"average radius (never compare by it alone): {average}")
    lines = [entry.name]
    for fact in facts:
        lines += textwrap.wrap(
            fact, width, initial_indent="  ", subsequent_indent="    "
        )
    return lines
