"""A report as CSV, full precision, shares as fractions; a cell without a number is empty.

csv          one row per record
csv-classes  one row per record and class
csv-votes    one row per record and vote probability
"""

from __future__ import annotations

import csv as csv_module
import io
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from jaxcert.analysis import metrics, tables
from jaxcert.analysis.facts import Entry, radius_text
from jaxcert.errors import InputError

PROBABILITIES = (*np.arange(50, 100) / 100, 0.999, 0.9999)


def csv(entries: Sequence[Entry]) -> str:
    """Return one row per record. low, high: 95 % interval of the share. at_least: what
    holds with 99.9 % although each certificate may fail with alpha. best: as
    `tables.best_marks`."""
    marks = None if tables.best_of(entries) is None else tables.best_marks(entries)
    return _written(_row(entry, i, marks) for i, entry in enumerate(entries))


def csv_classes(entries: Sequence[Entry]) -> str:
    """Return one row per record and class of the labels. Raises InputError without labels."""
    rows = []
    for entry in entries:
        if not entry.certificates.labelled:
            raise InputError(
                f"csv-classes needs the classes of the images, and {entry.name} has no labels: "
                "take csv."
            )
        radii = entry.summary.radii
        for label, images, shares, acr in zip(
            *metrics.per_class(entry.certificates, radii), strict=True
        ):
            row = {"record": entry.name, "class": int(label), "images": int(images)}
            # nan where the record says nothing of that radius
            stated = shares + 0 * entry.summary.certified
            for radius, share in zip(radii, stated, strict=True):
                row[f"certified_{radius_text(radius)}"] = float(share)
            rows.append(row | {"acr": acr + 0 * entry.summary.acr})
    return _written(rows)


def csv_votes(entries: Sequence[Entry]) -> str:
    """Return one row per record and p: the share of images that are correct with a vote
    probability proven to be p or more, and with a share k/N of the votes of p or more.
    Raises InputError where no record has the first."""
    rows = []
    for entry in entries:
        c = entry.certificates
        probability, share = metrics.vote_probability(c), metrics.vote_share(c)
        if probability is None or not c.labelled:
            continue
        proven = metrics.survival(c, probability, PROBABILITIES)
        counted = [None] * len(PROBABILITIES)
        if share is not None:
            counted = metrics.survival(c, share, PROBABILITIES).tolist()
        for p, share, votes in zip(PROBABILITIES, proven, counted, strict=True):
            row = {"record": entry.name, "p": float(p)}
            row |= {"correct_with_p_lower": float(share), "correct_with_votes": votes}
            rows.append(row)
    if not rows:
        raise InputError(
            "csv-votes needs vote probabilities and labels, and no record has both: a table tells "
            "them with --sigma, other certificates than smoothing have none."
        )
    return _written(rows)


def _written(rows: Iterable[dict[str, Any]]) -> str:
    file = io.StringIO()
    writer = csv_module.writer(file, lineterminator="\n")
    for i, row in enumerate(rows):
        if i == 0:
            writer.writerow(row)
        writer.writerow(["" if v is None or v != v else v for v in row.values()])
    return file.getvalue()


def _row(entry: Entry, position: int, best: np.ndarray | None) -> dict[str, Any]:
    s, header = entry.summary, entry.certificates.header
    gradients = entry.gradients
    kind = "certified" if entry.certificates.labelled else "with_class"
    row = {"record": entry.name}
    for key in ("method", "norm", "sigma", "alpha", "dataset", "split"):
        row[key] = header.get(key)
    row |= {"images": s.images, "abstention": s.abstention, "error": s.error}
    row |= {"changed_votes": s.changed}
    row |= {"baseline": entry.against.baseline if entry.against else None}
    for i, radius in enumerate(s.radii):
        at = radius_text(radius)
        row[f"{kind}_{at}"] = float(s.certified[i])
        # none can be estimated at shares of 0 and 1
        row[f"standard_error_{at}"] = float(s.certified_error[i]) or None
        row[f"low_{at}"] = float(s.certified_low[i])
        row[f"high_{at}"] = float(s.certified_high[i])
        row[f"at_least_{at}"] = float(s.certified_lower[i])
        row[f"wrong_certified_{at}"] = float(s.wrong_certified[i])
        row[f"paper_{at}"] = float(s.paper.certified[i]) if s.paper else None
        row[f"best_{at}"] = None if best is None else bool(best[position, i])
        for end in ("", "_low", "_high"):
            values = getattr(entry.against, end[1:] or "difference", None)
            row[f"difference{end}_{at}"] = None if values is None else float(values[i])
    row |= {
        "share_at_max_radius": metrics.share_at_max_radius(entry.certificates),
        "mean_radius": s.mean_radius,
        "median_radius": s.median_radius,
        "radius_by_paper": s.paper.median_ratio if s.paper else None,
        "gradient_easy": gradients["easy"]["mean"] if gradients else None,
        "gradient_hard": gradients["hard"]["mean"] if gradients else None,
        "gradient_ratio": gradients["ratio"] if gradients else None,
        "checked": entry.recheck.checked,
        "exceeding_evidence": len(entry.recheck.failing),
        "not_rechecked": entry.recheck.reason or None,
        "acr": s.acr,
        "acr_trivial": s.trivial_acr,
        "n_trivial": s.trivial_n,
        "acr_share_above_0.99": s.acr_share,
    }
    return row
