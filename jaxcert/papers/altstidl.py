"""Tables and figures of Altstidl et al., "Raising the Bar for Certified Adversarial Robustness
with Diffusion Models" (2023, arXiv:2305.10388), of a study beside what the paper prints.

    table            Tables 1 to 3: clean and certified by amount, and the best gain, Delta
    figure_2         mean gain over the amounts of generated images, by size and epochs
    figure_3_left    clean gap of the system without them against what it gains, a point an amount
    figure_3_right   clean gap by amount
    figure_4         clean and certified accuracy by the generated share of a batch
    figure_5         number of images with radius r or more, right and wrong, without and with
    figure_6         epochs from the best to the last evaluation, by amount
    figure_7         right and certified without against with, the same images
    amounts          certified accuracy by amount

Each takes a `Study` (study_groups.py) and returns an `Exhibit`. A gap is that of clean accuracy
between training and test images, at the evaluation that certifies most test images, as the
paper has it; of runs without evaluations that of the certified checkpoint. Amounts are compared
at the share that most cells have.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import reduce
from html import escape
from typing import NamedTuple

import numpy as np

from jaxcert.analysis.compare import common
from jaxcert.analysis.facts import radius_text
from jaxcert.certificate import tried
from jaxcert.papers import altstidl_figures as drawing
from jaxcert.papers.exhibits import Exhibit, printed
from jaxcert.papers.study_epochs import clean_gap, epochs_of
from jaxcert.papers.study_groups import Cell, Study, in_order
from jaxcert.papers.study_numbers import (
    accuracy,
    baseline,
    by,
    correlation,
    gain,
    pairs_of,
    usual_share,
)

NONE = "none"
PUBLISHED = (NONE, "1M", "5M", "10M")
"""Amounts of generated images that the paper has."""
STATES = ("right, certified", "right, not", "wrong, certified", "wrong, not")
_NO_PAIR = "no system has runs with and without generated images at equal epochs"


class Row(NamedTuple):
    """A system at a number of epochs: its cells by amount, that without images first."""

    system: str
    epochs: int
    cells: dict[str, Cell]


def exhibits(study: Study) -> list[Exhibit]:
    """Return all tables and figures in the order of the paper."""
    return [
        table(study),
        figure_2(study),
        figure_3_left(study),
        figure_3_right(study),
        figure_4(study),
        figure_5(study),
        figure_6(study),
        figure_7(study),
        amounts(study),
    ]


def rows_of(study: Study) -> list[Row]:
    """Return the cells at the usual share, a row per system and epochs."""
    share = usual_share(study)
    cells = [c for c in study.cells if c.generated.share in (0, share)]
    found = []
    for (system, epochs), group in by(cells, lambda c: (c.system, c.epochs)):
        group = sorted(group, key=lambda c: in_order(c.generated))
        found.append(Row(system, epochs, {c.amount: c for c in group}))
    return found


def amounts_of(rows: Iterable[Row]) -> list[str]:
    """Return all amounts in order."""
    shown = {(in_order(c.generated), name) for r in rows for name, c in r.cells.items()}
    return list(dict.fromkeys(name for _, name in sorted(shown)))


def table(study: Study) -> Exhibit:
    """Return the table of the paper with rows of this norm and data set: 1 (linf) and 2 (l2)
    of CIFAR-10, 3 of CIFAR-100. Delta is the best over the amounts minus none."""
    rows = rows_of(study)
    ours = amounts_of(rows)
    number, theirs = _published(study)
    names = list(dict.fromkeys([*ours, *PUBLISHED]))
    head = ["system", "epochs", "source"]
    head += [f"{kind}_{name}" for kind in ("clean", "certified") for name in names]
    head += ["delta_clean", "delta_certified"]
    columns = _columns(ours)
    lines, shown = [], []
    for row in rows:
        found = {name: accuracy(c, study.radii) for name, c in row.cells.items()}
        # a record that tried other radii alone says nothing at this one
        found = {k: e for k, e in found.items() if not np.isnan(e.mean[study.at])}
        at = {k: (100 * e.mean[[0, study.at]]).tolist() for k, e in found.items()}
        lines.append([row.system, row.epochs, "ours", *_cells(at, names)])
        half = {k: (100 * e.half[[0, study.at]]).tolist() for k, e in found.items()}
        own = [*lines[-1][:3], *_cells(at, columns[0])]
        shown.append(drawing.table_row(own, columns[0], _cells(half, columns[0])))
    if len(columns) > 1 and theirs:
        shown.append([f"<b>{escape(x)}</b>" for x in ("published", *columns[1], "Δ")])
    for (family, size, epochs), at in theirs.items():
        system = f"{family} {size}".strip()
        lines.append([system, epochs, "published", *_cells(at, names)])
        own = [*lines[-1][:3], *_cells(at, columns[-1])]
        shown.append(drawing.table_row(own, columns[-1], None))
    radius = radius_text(study.radius)
    caption = (
        f"Clean / certified accuracy at {radius} in %, by the number of generated images; Δ: the "
        "best with them minus that without, each for itself. ±: half the 95 % interval of the "
        "certified accuracy over seeds, of one seed the standard error."
    )
    if number:
        caption += f" In grey: published, of CIFAR-{'100' if number == 3 else '10'}."
    title = f"Table {number}" if number else "Tables 1 to 3"
    title += f": {study.dataset}, {drawing.norm_of(study)} {radius}"
    header = ["system, epochs", *columns[0], "Δ"]
    return Exhibit("table", title, caption, head, lines, shown=(header, shown))


def _columns(ours: Sequence[str]) -> list[list[str]]:
    """Return the amounts that the columns of the page are of: one list where ours are among those
    of the paper, else ours and theirs, which share the columns so that the gains stay in sight."""
    if set(ours) <= set(PUBLISHED):
        return [list(PUBLISHED)]
    most = max(len(ours), len(PUBLISHED))
    return [[*x, *[""] * (most - len(x))] for x in (ours, PUBLISHED)]


def _cells(at: dict, names: Sequence[str]) -> list[float | None]:
    """{amount: (clean, certified)} -> both by amount, and the best gain of each."""
    columns = [[at[name][i] if name in at else None for name in names] for i in (0, 1)]
    for i in (0, 1):
        more = [values[i] for name, values in at.items() if name != NONE]
        pair = NONE in at and bool(more)
        columns.append([max(more) - at[NONE][i] if pair else None])
    return [value for column in columns for value in column]


def _published(study: Study) -> tuple[int, dict[tuple[str, str, str], dict]]:
    """Return the number of the paper's table, 0 for none, and by architecture, size and epochs
    (empty where it names none) clean and certified accuracy in percent by amount."""
    number = {"linf": 1, "l2": 2}.get(study.norm, 0)
    name = {
        1: "altstidl_table1_cifar10_linf_8_255",
        2: "altstidl_table2_cifar10_l2_36_255",
        3: "altstidl_table3_cifar100",
    }
    number = 3 if study.dataset == "cifar100" and number else number
    found: dict[tuple[str, str, str], dict] = {}
    for line in printed(name[number]) if number else ():
        if study.norm not in line.get("threat_model", study.norm):
            continue
        key = line["architecture"], line.get("size", ""), line.get("epochs", "")
        cells = found.setdefault(key, {})
        cells[line["aux"]] = float(line["clean"]), float(line["cert"])
    return number, found


def figure_2(study: Study) -> Exhibit:
    """Return Figure 2, the gain in certified accuracy at equal size and epochs, mean over the
    amounts, in points."""
    title = "Figure 2: mean gain by size and epochs"
    lines = []
    for row in rows_of(study):
        base = row.cells.get(NONE)
        gained = [
            100 * gain(cell, base, study.radii).mean[study.at]
            for cell in row.cells.values()
            if base is not None and cell is not base
        ]
        if gained and not np.isnan(gained).any():
            family, _, size = row.system.partition(", ")
            lines.append(["ours", family, size or family, row.epochs, np.mean(gained)])
    if not lines:
        return Exhibit("figure_2", title, missing=_NO_PAIR)
    for (family, size, epochs), at in _published(study)[1].items():
        gained = [values[1] - at[NONE][1] for k, values in at.items() if k != NONE]
        if epochs:
            values = size or family, int(epochs), np.mean(gained)
            lines.append(["published", family, *values])
    caption = (
        f"Certified accuracy at {radius_text(study.radius)} with generated images minus that "
        "of the same size and epochs without, mean over the amounts, in points."
    )
    head = ["source", "family", "size", "epochs", "mean_gain"]
    figure = drawing.heat_maps(lines)
    return Exhibit("figure_2", title, caption, head, lines, figure)


_EVALUATED = (
    "The gap is that of the evaluations during training, which may use fewer images than the "
    "records (eval.images)."
)


def figure_3_left(study: Study) -> Exhibit:
    """Return Figure 3 (left): a point per system, epochs and amount."""
    title, lines = "Figure 3 (left): clean gap and gain", []
    for row in rows_of(study):
        base = row.cells.get(NONE)
        x = None if base is None else clean_gap(base, study.radius)
        for name, cell in row.cells.items():
            if x is not None and cell is not base:
                y = gain(cell, base, study.radii).mean[study.at]
                lines.append([row.system, row.epochs, name, 100 * x, 100 * float(y)])
    lines = [line for line in lines if not math.isnan(line[-1])]
    if not lines:
        missing = f"{_NO_PAIR}, or those without have no evaluations and no train.jsonl"
        return Exhibit("figure_3_left", title, missing=missing)
    r = correlation([(line[3], line[4]) for line in lines])
    told = "" if math.isnan(r) else f" Pearson's r = {r:.2f}, n = {len(lines)} points."
    caption = (
        "Clean accuracy on training minus test images of the system without generated images, "
        f"at its best epoch, against the gain at {radius_text(study.radius)} with each "
        f"amount.{told} {_EVALUATED} Points of a system share its gap, so they are not "
        "independent."
    )
    head = ["system", "epochs", "generated", "clean_gap", "gain"]
    figure, axes = drawing.points(lines, study)
    return Exhibit("figure_3_left", title, caption, head, lines, figure, axes)


def figure_3_right(study: Study) -> Exhibit:
    """Return Figure 3 (right): the clean gap by amount, a group of bars per system, of its
    fewest epochs."""
    title, lines = "Figure 3 (right): clean gap by amount", []
    for row in _fewest(rows_of(study)):
        for name, cell in row.cells.items():
            if (value := clean_gap(cell, study.radius)) is not None:
                lines.append([row.system, row.epochs, name, 100 * value])
    if not lines:
        missing = "no run has evaluations on both splits, or a train.jsonl"
        return Exhibit("figure_3_right", title, missing=missing)
    caption = (
        "Clean accuracy on training minus test images at the best epoch, in points. "
        + _EVALUATED
    )
    head = ["system", "epochs", "generated", "clean_gap"]
    figure, axes = drawing.bars(lines, "clean gap (points)")
    return Exhibit("figure_3_right", title, caption, head, lines, figure, axes)


def figure_4(study: Study) -> Exhibit:
    """Return Figure 4, lines of the cells that differ in the share alone."""
    title, lines = "Figure 4: share of generated images", []
    cells = [c for c in study.cells if c.generated.share]
    for (system, epochs, amount), group in by(
        cells, lambda c: (c.system, c.epochs, c.amount)
    ):
        if len(group) < 2:
            continue
        base = baseline(study, group[0])
        for cell in [base, *group] if base else group:
            found = accuracy(cell, study.radii)
            share = [100 * cell.generated.share, *(100 * found.mean[[0, study.at]])]
            half = (100 * found.half[[0, study.at]]).tolist()
            lines.append([system, epochs, amount, *map(float, share), *half])
    if not lines:
        missing = "no system was trained with two shares of as many generated images"
        return Exhibit("figure_4", title, missing=missing)
    caption = (
        f"Clean accuracy (left) and certified accuracy at {radius_text(study.radius)} (right) "
        "by the generated share of a batch; at 0 without generated images. Bars: half the 95 % "
        "interval over seeds, of one seed the standard error."
    )
    head = ["system", "epochs", "generated", "share", "clean", "certified"]
    head += ["clean_error", "certified_error"]
    figure, axes = drawing.shares(lines, study)
    return Exhibit("figure_4", title, caption, head, lines, figure, axes)


def figure_5(study: Study) -> Exhibit:
    """Return Figure 5, counts of images over all seeds, a panel per system."""
    title, pairs = "Figure 5: images by radius", pairs_of(study)
    if not pairs:
        return Exhibit("figure_5", title, missing=_NO_PAIR)
    lines, stepped = [], set()
    for i, pair in pairs.items():
        tests = [[run.test for run in cell.runs.values()] for cell in pair]
        whole = [c for records in tests for c in records]
        known = [radii for c in whole if (radii := tried(c)) is not None]
        if known:  # the others say nothing of some records
            grid = reduce(np.intersect1d, known)
            stepped.add(study.systems[i])
        else:
            grid = np.linspace(0, max(float(c.radius.max()) for c in whole), 101)
        for amount, records in zip((NONE, pair[1].amount), tests, strict=True):
            radius = np.concatenate([c.radius for c in records])
            right = np.concatenate([c.correct for c in records])
            counts = [
                (radius[keep] >= grid[:, None]).sum(1) for keep in (right, ~right)
            ]
            for r, *two in zip(grid, *counts, strict=True):
                lines.append([study.systems[i], amount, float(r), *map(int, two)])
    caption = (
        "Number of test images of all seeds with that radius or more, of right and of wrong "
        "predictions, dashed without and solid with generated images (the best cell). An "
        "abstention is wrong and has radius 0."
    )
    if stepped:
        caption += (
            " Records that tried some radii have a mark at each; the line between two is a lower "
            "bound, the number at the next one."
        )
    head = ["system", "generated", "radius", "right", "wrong"]
    figure, axes = drawing.cumulative(lines, study, stepped)
    return Exhibit("figure_5", title, caption, head, lines, figure, axes)


def figure_6(study: Study) -> Exhibit:
    """Return Figure 6: epochs from the best evaluation to the last, mean over seeds."""
    title, lines = "Figure 6: epochs between best and last", []
    for row in _fewest(rows_of(study)):
        for name, cell in row.cells.items():
            found = [epochs_of(run, study.radius) for run in cell.runs.values()]
            if all(found):
                apart = float(np.mean([e.last - e.best for e in found]))
                lines.append([row.system, row.epochs, name, apart])
    if not lines:
        missing = "no metrics.jsonl has two evaluations (eval.every_epochs)"
        return Exhibit("figure_6", title, missing=missing)
    caption = (
        "Epochs from the evaluation with the highest certified accuracy at "
        f"{radius_text(study.radius)} on test images to the last one, of each system's fewest "
        "epochs."
    )
    head = ["system", "epochs", "generated", "epochs_between"]
    figure, axes = drawing.bars(lines, "epochs between best and last")
    return Exhibit("figure_6", title, caption, head, lines, figure, axes)


def figure_7(study: Study) -> Exhibit:
    """Return Figure 7: % of images in each state without (rows) and with generated images, the
    best cell, mean over seeds that both have."""
    title, pairs = (
        "Figure 7: right and certified, without against with",
        pairs_of(study),
    )
    lines, tables = [], {}
    for i, (base, cell) in pairs.items():
        seeds = base.runs.keys() & cell.runs.keys()
        tests = [(base.runs[s].test, cell.runs[s].test) for s in sorted(seeds)]
        if tests:
            found = np.mean([joint(*pair, study.radius) for pair in tests], 0)
            tables[study.systems[i]] = 100 * found
            lines += [
                [study.systems[i], cell.amount, STATES[a], STATES[b], 100 * found[a, b]]
                for a in range(4)
                for b in range(4)
            ]
    if not lines:
        return Exhibit("figure_7", title, missing=_NO_PAIR)
    caption = (
        f"% of test images, certified at {radius_text(study.radius)}: rows without, columns "
        "with generated images. On the diagonal nothing changes."
    )
    head = ["system", "generated", "without", "with", "percent"]
    return Exhibit("figure_7", title, caption, head, lines, drawing.joint_maps(tables))


def joint(one, other, radius: float) -> np.ndarray:
    """Return the share of images in each pair of states of two records of the same images,
    float64 [4,4] in the order of `STATES`."""
    states = []
    for part in common([one, other]):
        held = (part.radius >= radius) & (part.predicted >= 0)
        states.append(2 * ~part.correct + ~held)
    found = np.zeros((4, 4))
    np.add.at(found, tuple(states), 1 / len(states[0]))
    return found


def amounts(study: Study) -> Exhibit:
    """Return certified accuracy by amount, a line per system and epochs, and that of the
    paper."""
    title, lines = "Certified accuracy by amount of generated images", []
    rows = [row for row in rows_of(study) if len(row.cells) > 1]
    if not rows:
        return Exhibit("amounts", title, missing="no system has two amounts")
    for row in rows:
        for name, cell in row.cells.items():
            found = accuracy(cell, study.radii)
            values = 100 * found.mean[study.at], 100 * found.half[study.at]
            lines.append(["ours", row.system, row.epochs, name, *map(float, values)])
    names, published = amounts_of(rows), _published(study)[1]
    if published:
        names = list(dict.fromkeys([*names, *PUBLISHED]))
    for (*system, epochs), at in published.items():
        system = " ".join(system).strip()
        for name, values in at.items():
            lines.append(["published", system, epochs, name, values[1], None])
    caption = (
        f"Certified accuracy at {radius_text(study.radius)} by the number of generated images. "
        "Bars: half the 95 % interval over seeds, of one seed the standard error. Dotted: as "
        "published, of CIFAR."
    )
    head = ["source", "system", "epochs", "generated", "certified", "error"]
    figure, axes = drawing.by_amount(lines, names, study)
    return Exhibit("amounts", title, caption, head, lines, figure, axes)


def _fewest(rows: Sequence[Row]) -> list[Row]:
    """Return the row of the fewest epochs of each system."""
    return [min(group, key=lambda r: r.epochs) for _, group in by(rows, lambda r: r[0])]
