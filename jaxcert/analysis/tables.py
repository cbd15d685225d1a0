"""Certified accuracy of several records as text for a terminal, and what the other forms share
with it: which record is best, which differences are shown, and what is said beside them."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from jaxcert.analysis import compare, facts
from jaxcert.analysis.compare import Difference, Envelope
from jaxcert.analysis.facts import UNITS, Entry, percent, radius_text
from jaxcert.certificate import (
    Certificates,
    certified_share,
    certifies,
    share_is_known,
    tried,
)

_NAME_WIDTH = 20


def text(entries: Sequence[Entry], *, width: int = 100) -> str:
    """Return an aligned table, radii as columns, in as many blocks as `width` asks for,
    then what several records have beside one, then a paragraph per record."""
    radii = entries[0].summary.radii
    best = best_marks(entries)
    columns = [[radius_text(r), *_cells(entries, i, best)] for i, r in enumerate(radii)]
    counts = [str(e.summary.images) for e in entries]
    abstentions = [percent(e.summary.abstention) for e in entries]
    fixed = [["", *_labels(entries)], ["images", *_with_gaps(entries, counts)]]
    fixed.append(["abstain", *_with_gaps(entries, abstentions)])
    norm = entries[0].certificates.header.get("norm", "l2")
    error = "±standard error"
    if any("[" in cell for column in columns for cell in column):
        error += " or [95 % interval]"
    share = facts.share_name(entries[0].certificates)
    lines = [f"{share} in % ({error}) at {norm} radius ({UNITS})"]
    for block in blocks(fixed, columns, width):
        lines += ["", *aligned(block)]
    if best.any():
        lines += ["", f"* {BEST}"]
    lines += _best_text(entries, width) + _against_text(entries, width)
    for note in notes(entries):
        lines += ["", *textwrap.wrap(note, width)]
    for entry in entries:
        lines += ["", *_paragraph(entry, width)]
    return "\n".join(lines) + "\n"


def best_of(entries: Sequence[Entry]) -> Envelope | None:
    """Return the envelope of several records that certify, with the rivals of the
    winners; None for one record, or without images that all have."""
    if len(_certifying(entries)) < 2:
        return None
    records, radii = [e.certificates for e in entries], entries[0].summary.radii
    best = compare.envelope(records, radii)
    return best and best._replace(rivals=compare.rivals(records, radii, best))


def best_name(names: Sequence[str], best: Envelope, i: int) -> str:
    """Who has the largest share at the i-th radius, and who cannot be told apart from it:
    'macer', 'macer (or sun)', 'macer (or one of 3 others)'."""
    others = [names[j] for j in best.rivals[i]]
    name = names[best.winner[i]]
    if not others:
        return name
    listed = f"one of {len(others)} others" if others[2:] else " or ".join(others)
    return f"{name} (or {listed})"


def headline(entries: Sequence[Entry]) -> str:
    """Return in one sentence which of several records is ahead at which radii, by the interval of
    the paired difference to every other; '' where they are not compared."""
    best, radii = best_of(entries), entries[0].summary.radii
    if best is None or (best.winner < 0).all():
        return ""
    ahead: dict[int, list[int]] = {}
    close = []
    for i, winner in enumerate(best.winner.tolist()):
        if winner >= 0:
            (close if best.rivals[i] else ahead.setdefault(winner, [])).append(i)

    def at(positions):
        return facts.in_words([radius_text(radii[i]) for i in positions])

    parts = []
    for winner, won in ahead.items():
        share = f"{percent(best.certified[won[0]])} %"
        if len(won) > 1:
            share += f" at {radius_text(radii[won[0]])}"
        name = entries[winner].name
        parts.append(f"{name} certifies most at radius {at(won)} ({share})")
    if close:
        parts.append(
            f"at {at(close)} no record is ahead of all others by the 95 % interval"
        )
    images = f"{best.images:,} images that all records with radii have"
    return f"Of the {images}, {'; '.join(parts)}."


def notes(entries: Sequence[Entry]) -> list[str]:
    """Return what is not compared and why, and what is drawn beside, a sentence each."""
    found = []
    if not entries[0].certificates.labelled:
        found.append(NO_LABELS)
    radii = entries[0].summary.radii
    for name, c in entries[0].beside:
        pairs = zip(radii, certified_share(c, radii), strict=True)
        shares = [f"{percent(y)} % at {radius_text(r)}" for r, y in pairs if y == y]
        found.append(
            f"For reference {name}: {', '.join(shares)}, of its own {len(c.index):,} images; "
            "its radii were not re-checked."
        )
    kept = _certifying(entries)
    if len(kept) > 1 and best_of(entries) is None:
        not_comparable = compare.why_not_comparable
        pairs = ((e, f) for i, e in enumerate(kept) for f in kept[i + 1 :])
        reasons = (
            f"{e.name} has {why}"
            for e, f in pairs
            if (why := not_comparable(e.certificates, f.certificates, f.name))
        )
        why = next(reasons, "no image is in all of them")
        found.append(f"No best record at each radius is shown: {why}.")
    for reason in dict.fromkeys(e.not_comparable for e in entries if e.not_comparable):
        named = facts.in_words([e.name for e in entries if e.not_comparable == reason])
        found.append(f"No difference to a baseline is shown for {named}: {reason}.")
    compared = found or any(e.against is not None for e in entries)
    for e in entries:
        found += untried(e.name, e.certificates, e.summary.radii)
        if unread := _not_read(e.certificates.header):
            found.append(f"Of the table {e.name} {unread} not read.")
    if not compared and len(kept) > 1 and smoothed(entries):
        found.append(NO_BASELINE)
    return found


def _not_read(header: dict) -> str:
    """'the columns note and pA and 2 comments were'; '' for what was read as a whole."""
    columns, count = header.get("not_read", []), header.get("comments", 0)
    parts = []
    if columns:
        parts.append(f"the column{'s' * (len(columns) > 1)} {facts.in_words(columns)}")
    if count:
        parts.append(f"{count} comment{'s' * (count > 1)}")
    many = len(columns) + count > 1
    return f"{' and '.join(parts)} {'were' if many else 'was'}" if parts else ""


def untried(name: str, c: Certificates, radii: np.ndarray) -> list[str]:
    """Return a sentence on a record that did not try some of these radii, if there are
    such."""
    known, left = tried(c), radii[~share_is_known(c, radii)]
    if known is None or not len(left):
        return []
    known, left = (
        facts.in_words([radius_text(r) for r in some]) for some in (known, left)
    )
    return [
        f"{name} tried the radii {known} alone and does not say what is certified at {left}: "
        "`jaxcert.certify --radii R,R --out FILE` tries others."
    ]


def points(against: Difference, i: int) -> str:
    """Difference at the i-th radius: '-3.4 [-4.3, -2.6]', the interval rounded outwards, an
    end of -0.0 is below 0; '--' where there is none."""
    if math.isnan(against.difference[i]):
        return "--"
    low, high = facts.outwards(against.low[i], against.high[i])
    value = round(100 * float(against.difference[i]), 1) + 0.0  # not -0.0
    return f"{value:+.1f} [{low:+.1f}, {high:+.1f}]"


NO_BASELINE = (
    "No difference to Gaussian training is shown: no record's config has the method gaussian "
    "at the sigma of another; name one with --baseline."
)


NO_LABELS = (
    "The classes of the images are not known: a share counts every image with a class, right or "
    "wrong, and says nothing of accuracy."
)


def smoothed(entries: Sequence[Entry]) -> bool:
    """Return whether a difference to Gaussian training makes sense."""
    return any(e.certificates.header.get("method") == "smoothing" for e in entries)


BEST = (
    "best at that radius, by the 95 % interval of the paired difference to every other"
)


def best_marks(entries: Sequence[Entry]) -> np.ndarray:
    """Return bool [E,R]: where a record is best at a radius, and no other may be by the
    interval of their difference. It is nowhere true unless there are several records
    that certify, all of the same images."""
    marks = np.zeros((len(entries), len(entries[0].summary.radii)), bool)
    best, kept = best_of(entries), _certifying(entries)
    if best is None or any(e.summary.images > best.images for e in kept):
        return marks
    for i, (winner, others) in enumerate(zip(best.winner, best.rivals, strict=True)):
        if winner >= 0 and not others:
            marks[winner, i] = True
    return marks


def short_names(names: Sequence[str], most: int = _NAME_WIDTH) -> dict[str, str]:
    """Return each name in at most `most` letters, its end or its start and end; in more
    where two names would be one."""
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


def _certifying(entries: Sequence[Entry]) -> list[Entry]:
    return [e for e in entries if certifies(e.certificates)]


def _best_text(entries: Sequence[Entry], width: int) -> list[str]:
    best = best_of(entries)
    if best is None:
        return []
    rows = [("radius", "share", "record")]
    radii, short = entries[0].summary.radii, short_names([e.name for e in entries])
    names = [short[e.name] for e in entries]
    for i, (r, share) in enumerate(zip(radii, best.certified, strict=True)):
        if best.winner[i] >= 0:
            rows.append((radius_text(r), percent(share), best_name(names, best, i)))
    if len(rows) == 1:  # no record certifies an image
        return []
    head = (
        f"largest at each radius, in % of the {best.images:,} images that all records with "
        "radii have; (or ...): by the 95 % interval not told apart"
    )
    return [
        "",
        *textwrap.wrap(head, width),
        "",
        *(f"{a:<8} {b:>5}  {c}" for a, b, c in rows),
    ]


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
        "difference in points [95 % interval, paired]; ! worse than the baseline, and so is "
        "the whole interval",
    ]
    for block in blocks(fixed, columns, width):
        lines += ["", *aligned(block)]
    return lines


def _labels(entries: Sequence[Entry]) -> list[str]:
    labels, short = [], short_names([e.name for e in entries])
    for entry in entries:
        labels += [short[entry.name]] + ["  published"] * (entry.reference is not None)
    return labels


def _with_gaps(entries: Sequence[Entry], cells: list[str]) -> list[str]:
    rows = []
    for entry, cell in zip(entries, cells, strict=True):
        rows += [cell] + [""] * (entry.reference is not None)
    return rows


def _cells(entries: Sequence[Entry], i: int, best: np.ndarray) -> list[str]:
    rows = []
    for entry, marked in zip(entries, best, strict=True):
        s = entry.summary
        cell = facts.certified_share(s, i)
        if best.any():
            cell += "*" if marked[i] else " "
        rows.append(cell)
        if entry.reference is not None:
            share = entry.reference.certified.get(float(s.radii[i]))
            text = "" if share is None else facts.published_percent(share)
            rows.append(text.ljust(len(cell)))
    return rows


def blocks(
    fixed: list[list[str]], columns: Iterable[list[str]], width: int
) -> Iterator[list[list[str]]]:
    """Yield blocks of columns that fit the width: the first has all fixed columns in front of
    its own, the others the first of them."""

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


def aligned(columns: list[list[str]]) -> list[str]:
    """Return the lines of columns of cells, the first column to the left, others to the right."""
    padded = []
    for i, column in enumerate(columns):
        size = max(len(cell) for cell in column)
        padded.append([c.rjust(size) if i else c.ljust(size) for c in column])
    return ["  ".join(row).rstrip() for row in zip(*padded, strict=True)]


def _paragraph(entry: Entry, width: int) -> list[str]:
    said = [facts.describe(entry.certificates.header)]
    if may := facts.wrong(entry):
        said.append(f"wrong certificates: {may}")
    numbers = facts.numbers(entry).items()
    said += [text if k == "votes" else f"{k}: {text}" for k, text in numbers]
    said.append(facts.evidence(entry))
    if entry.reference is not None:
        said.append(f"published: {entry.reference.source}")
    if certifies(entry.certificates) and entry.certificates.labelled:
        average = facts.average_radius(entry)
        said.append(f"average radius (never compare by it alone): {average}")
    lines, indents = [entry.name], dict(initial_indent="  ", subsequent_indent="    ")
    for fact in said:
        lines += textwrap.wrap(fact, width, **indents)
    return lines
