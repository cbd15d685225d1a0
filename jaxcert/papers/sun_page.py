"""The page on Sun et al. (2024): released logs and finished runs beside the published numbers."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

import numpy as np

from jaxcert.analysis.facts import in_words
from jaxcert.errors import InputError
from jaxcert.papers import sun
from jaxcert.papers.agreement import LEVEL, Agreement, agreement
from jaxcert.papers.exhibits import Exhibit, write
from jaxcert.papers.sun_rows import DATASET, Source, logs, runs

TITLE = "Average Certified Radius is a Poor Metric for Randomized Smoothing"


def show(workdir: str | Path, *, folder: str = "") -> Path:
    """Write the page of the runs below a workdir, and of the logs in `folder`, into the
    workdir, print what the logs say, and return the path of the page.

    Raises InputError as `sun_rows.logs` and for neither logs nor runs."""
    workdir = Path(workdir)
    released, left_out = logs(folder) if folder else ([], [])
    own = runs([workdir, *sorted(p for p in workdir.glob("*") if p.is_dir())])
    if not (released or own):
        raise InputError(
            f"{workdir} has no finished run of a method of the paper: name a folder of runs by "
            "--workdir, or of logs by --logs."
        )
    pairs = [
        (run, log, agreement(run.certificates, log.certificates, name=log.name))
        for run in own
        for log in released
        if run.key == log.key and run.certificates.header.get("dataset") == DATASET
    ]
    lead = [
        "Sun, Mao, Müller and Vechev (2024), arXiv:2410.06895. CIFAR-10, as published."
    ]
    if own:
        sets = sorted({str(run.certificates.header.get("dataset")) for run in own})
        lead.append(f"Runs: {len(own)}, of {in_words(sets)}.")
    found = sun.exhibits([*released, *own])
    found += [_files(released, left_out)] if released else []
    found += [agreement_of(*pair) for pair in pairs]
    for line in sun.summary(released):
        print(line)
    for run, log, each in pairs:
        print(f"{run.name} against {log.name}: {' '.join(agreement_text(each))}")
    for name, why in left_out:
        print(f"left out {name}: {why}")
    return write(workdir, TITLE, lead, found)


def _files(released: Sequence[Source], left_out: Sequence[tuple[str, str]]) -> Exhibit:
    """Return the files of a folder of logs, and which row each is of or why it is left out."""
    rows = [[s.name, s.key.label, s.key.sigma, ""] for s in released]
    rows += [[name, None, None, why] for name, why in left_out]
    told = [f"left out: {row[3]}" if row[3] else f"{row[2]:g} {row[1]}" for row in rows]
    shown = [
        [escape(row[0]), f'<span class="left">{escape(text)}</span>']
        for row, text in zip(rows, told, strict=True)
    ]
    head, title = ["file", "method", "sigma", "left_out"], "Files of the logs"
    return Exhibit(
        "files",
        title,
        "",
        head,
        rows,
        shown=(["file", '<span class="left">row</span>'], shown),
    )


def agreement_of(run: Source, log: Source, found: Agreement) -> Exhibit:
    """Return the comparison of a run with a log of its row, image by image."""
    head = ["index", "class", "class_of_log", "radius", "radius_of_log"]
    columns = [found.index, *found.classes.T, *found.radius.T]
    if found.votes is not None:
        head += ["share_of_votes", "share_of_votes_of_log", "p_value"]
        columns += [*found.votes.T, found.p_value]
    rows = [
        [None if isinstance(v, float) and np.isnan(v) else v for v in row]
        for row in zip(*(column.tolist() for column in columns), strict=True)
    ]
    shown = [[escape(text)] for text in agreement_text(found)]
    name = f"agreement_{run.name}"
    title = f"{run.name} against {log.name}"
    return Exhibit(name, title, "", head, rows, shown=([], shown))


def agreement_text(found: Agreement) -> list[str]:
    """Return the comparison in sentences."""
    images, same = len(found.index), int(found.same.sum())
    record, log = (found.classes[:, i] < 0 for i in (0, 1))
    text = [
        f"Of {images:,} images {same:,} have one class in both, {(~record & ~log).sum() - same:,} "
        f"two classes, {(record & log).sum():,} none in both; the record alone abstains on "
        f"{(record & ~log).sum():,}, the log alone on {(log & ~record).sum():,}."
    ]
    if same:
        text.append(
            f"Radii of those with one class: record minus log {found.mean:+.4f} "
            f"±{found.half:.4f} (95 % interval, paired)."
        )
    if found.of_settings is not None:
        text.append(
            f"Other n and alpha make {found.of_settings:+.4f} of it, for the votes of the log."
        )
    if found.beyond is not None and not np.isnan(found.p_value).all():
        most = found.beyond_by_chance
        verdict = "as of one network" if found.beyond <= most else "not of one network"
        text.append(
            f"The votes of {found.beyond:,} images differ by more than draws do (p-value below "
            f"{LEVEL:g}; by chance at most {most:,}): {verdict}."
        )
    return text
