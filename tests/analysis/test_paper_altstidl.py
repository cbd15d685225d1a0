"""Figures and tables of Altstidl et al. (2023), of runs that never were and whose numbers are
known beforehand."""

from __future__ import annotations

import csv

import pytest
from command_line import end
from refusals import tells
from study_runs import RADII, of_counts, with_generated, workdir

from jaxcert import paper
from jaxcert.papers import altstidl
from jaxcert.papers import altstidl_figures as drawing
from jaxcert.papers.exhibits import as_csv
from jaxcert.papers.study_groups import make
from jaxcert.papers.study_runs import read

SYSTEM = "lot, depth 2"
LINES = [
    dict(split=split, step=10 * k, epoch=float(k), certified_0=clean, **more)
    for k, test, train, certified in (
        (1, 0.60, 0.80, 0.30),
        (2, 0.70, 0.95, 0.50),
        (3, 0.65, 0.99, 0.50),
        (4, 0.65, 0.99, 0.40),
    )
    for split, clean, more in (
        ("train", train, {}),
        ("test", test, {"certified_0.25": certified}),
    )
]
"""Evaluations: the best is that of epoch 2, with a clean gap of 25 points."""


def write(folder):
    """100 images. (depth, epochs): certified and correct of none, 1M, 5M; share 0.7."""
    counts = {
        (2, 10): ((40, 70), (45, 72), (49, 74)),
        (2, 20): ((40, 70), (46, 72), (50, 74)),
        (4, 10): ((42, 70), (44, 72), (48, 74)),
    }
    kinds = [{}, with_generated(), with_generated(5_000_000)]
    for (depth, epochs), of in counts.items():
        for i, (numbers, data) in enumerate(zip(of, kinds, strict=True)):
            first = (depth, epochs) == (2, 10)
            workdir(
                folder / f"{depth}-{epochs}-{i}",
                test=of_counts(*numbers, 100),
                train=of_counts(60, 90, 100) if first and i == 1 else None,
                evaluations=LINES if first and i == 0 else (),
                model=dict(depth=depth),
                data=data | dict(epochs=epochs),
            )
    small = with_generated(share=0.3, epochs=10)
    workdir(
        folder / "share", test=of_counts(43, 71, 100), model=dict(depth=2), data=small
    )
    return folder


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = write(tmp_path_factory.mktemp("runs"))
    return make([read(path) for path in sorted(folder.iterdir())], RADII)


def rows(exhibit, **of):
    assert not exhibit.missing
    found = list(csv.DictReader(as_csv(exhibit).splitlines()))
    return [r for r in found if all(r[k] == v for k, v in of.items())]


def column(found, name):
    return pytest.approx([float(r[name]) for r in found])


def test_table_has_the_best_gain_over_the_amounts(study):
    found = rows(altstidl.table(study), source="ours", system=SYSTEM, epochs="10")
    (row,) = found
    names = [
        f"{kind}_{a}" for kind in ("clean", "certified") for a in ("none", "1M", "5M")
    ]
    assert [float(row[name]) for name in names] == pytest.approx(
        [70, 72, 74, 40, 45, 49]
    )
    assert row["certified_10M"] == ""
    assert column(found, "delta_clean") == [4] and column(found, "delta_certified") == [
        9
    ]
    theirs = rows(
        altstidl.table(study), source="published", system="LOT S", epochs="200"
    )
    assert column(theirs, "delta_certified") == [66.17 - 63.45]
    assert column(theirs, "delta_clean") == [79.22 - 76.6]


def test_other_amounts_share_the_columns_so_that_gains_stay_in_sight(study):
    amounts = {"1M": "1k", "5M": "5k"}
    cells = [c._replace(amount=amounts.get(c.amount, c.amount)) for c in study.cells]
    head, shown = altstidl.table(study._replace(cells=cells)).shown
    assert list(head) == ["system, epochs", "none", "1k", "5k", "", "Δ"]
    assert {len(row) for row in shown} == {len(head)}
    assert shown[0][-1] == "+4.0 / +9.0"
    published = ["published", "none", "1M", "5M", "10M", "Δ"]
    (place,) = [
        i for i, row in enumerate(shown) if row == [f"<b>{x}</b>" for x in published]
    ]
    assert shown[place + 1][-2:] == ["79.22 / 66.17", "+2.62 / +2.72"]
    head, shown = altstidl.table(study).shown
    assert list(head) == ["system, epochs", "none", "1M", "5M", "10M", "Δ"]
    assert not any("<b>" in row[0] for row in shown)


def test_axes_of_shares_end_at_0_and_100(study):
    _, (one, other) = drawing.panels_of(2, 2.0)
    one.set_ylim(-20, 130)
    other.set_ylim(30, 60)
    for axes in (one, other):
        drawing._within_percent(axes)
    assert (one.get_ylim(), other.get_ylim()) == ((0, 100), (30, 60))


def test_figure_2_is_the_mean_gain_over_the_amounts(study):
    found = rows(altstidl.figure_2(study), source="ours")
    assert [(r["family"], r["size"], r["epochs"]) for r in found] == [
        ("lot", "depth 2", "10"),
        ("lot", "depth 2", "20"),
        ("lot", "depth 4", "10"),
    ]
    assert column(found, "mean_gain") == [7, 8, 4]
    theirs = rows(altstidl.figure_2(study), source="published", size="S", epochs="200")
    assert column(theirs, "mean_gain") == [(65.81 + 65.93 + 66.17) / 3 - 63.45]


def test_figure_3_has_the_clean_gap_at_the_best_epoch(study):
    left = rows(altstidl.figure_3_left(study))
    assert {(r["system"], r["epochs"]) for r in left} == {(SYSTEM, "10")}
    assert [r["generated"] for r in left] == ["1M", "5M"]
    assert column(left, "clean_gap") == [25, 25] and column(left, "gain") == [5, 9]
    right = rows(altstidl.figure_3_right(study))
    # 1M has no evaluations, and 90 of 100 training images right where 72 of the test are
    assert [r["generated"] for r in right] == ["none", "1M"]
    assert column(right, "clean_gap") == [25, 18]


def test_figure_4_has_clean_and_certified_by_share(study):
    found = rows(altstidl.figure_4(study), epochs="10", generated="1M")
    assert column(found, "share") == [0, 30, 70]
    assert column(found, "clean") == [70, 71, 72]
    assert column(found, "certified") == [40, 43, 45]


def test_figure_5_counts_images_with_a_radius_or_more(study):
    found = rows(altstidl.figure_5(study), system="lot, depth 4")
    for amount, certified, right in (("none", 42, 70), ("5M", 48, 74)):
        own = [r for r in found if r["generated"] == amount]
        first, middle, last = own[0], own[50], own[-1]
        assert [float(r["radius"]) for r in (first, middle, last)] == [0, 0.15, 0.3]
        assert (first["right"], first["wrong"]) == (str(right), str(100 - right))
        assert (middle["right"], middle["wrong"]) == (str(certified), "0")
        assert last["right"] == str(certified)


def test_figure_5_has_the_radii_that_were_tried_and_no_others(study):
    def tried(run):
        more = [0.2] if run.config["data"]["generated"] else []  # of these alone
        procedure = dict(name="box", radii=[0.1, *more, 0.25])
        header = run.test.header | dict(method="interval", procedure=procedure)
        return run._replace(test=run.test._replace(header=header))

    cells = [
        c._replace(runs={seed: tried(run) for seed, run in c.runs.items()})
        for c in study.cells
    ]
    found = altstidl.figure_5(study._replace(cells=cells))
    own = rows(found, system="lot, depth 4", generated="none")
    assert [float(r["radius"]) for r in own] == [0, 0.1, 0.25]
    assert [r["right"] for r in own] == ["70", "42", "42"]
    assert "lower bound" in found.caption
    assert "lower bound" not in altstidl.figure_5(study).caption


def test_figure_6_is_the_epochs_from_the_best_to_the_last(study):
    (row,) = rows(altstidl.figure_6(study))
    assert (row["generated"], float(row["epochs_between"])) == ("none", 2.0)


def test_figure_7_pairs_the_states_of_the_same_images(study):
    found = rows(altstidl.figure_7(study), system="lot, depth 4")
    some = {(r["without"], r["with"]): float(r["percent"]) for r in found}
    assert len(some) == 16
    right, held, wrong = "right, not", "right, certified", "wrong, not"
    known = {
        (held, held): 42,
        (right, held): 6,
        (right, right): 22,
        (wrong, right): 4,
        (wrong, wrong): 26,
    }
    assert {k: v for k, v in some.items() if v} == pytest.approx(known)


def test_amounts_have_ours_and_theirs(study):
    ours = rows(altstidl.amounts(study), source="ours", system=SYSTEM, epochs="20")
    assert column(ours, "certified") == [40, 46, 50]
    theirs = rows(
        altstidl.amounts(study), source="published", system="LOT S", epochs="200"
    )
    assert column(theirs, "certified") == [63.45, 65.81, 65.93, 66.17]
    # those of the paper are drawn where ours are others
    cells = [c for c in study.cells if c.amount != "1M"]
    cells = [c._replace(amount=c.amount.replace("5M", "5k")) for c in cells]
    axes = altstidl.amounts(study._replace(cells=cells)).figure.axes[0]
    ticks = [label.get_text() for label in axes.get_xticklabels()]
    assert ticks == ["none", "5k", "1M", "5M", "10M"]
    dotted = [line for line in axes.lines if line.get_linestyle() == ":"]
    assert [0, 2, 3, 4] in [line.get_xdata().tolist() for line in dotted]


def test_what_is_missing_is_said(tmp_path):
    alone = make([read(workdir(tmp_path / "a", test=of_counts(4, 7, 10)))], RADII)
    missing = {e.name for e in altstidl.exhibits(alone) if e.missing}
    figures = (
        "figure_2 figure_3_left figure_3_right figure_4 figure_5 figure_6 figure_7"
    )
    assert missing == {*figures.split(), "amounts"}


def test_command_writes_the_page(tmp_path, capsys, monkeypatch):
    write(tmp_path)
    status, said = end(capsys, paper, "altstidl", "--workdir", tmp_path, "--logs", "x")
    assert status == 2 and tells(said, "--logs", "altstidl")
    two = lambda study: [altstidl.table(study), altstidl.figure_3_left(study)]  # noqa: E731
    monkeypatch.setattr(altstidl, "exhibits", two)
    assert paper.main(["altstidl", "--workdir", str(tmp_path)]) == 0
    names = {path.name for path in tmp_path.iterdir() if path.is_file()}
    files = {f"figure_3_left.{form}" for form in ("csv", "pdf")}
    assert names == files | {"table.csv", "paper.html"}
    assert (tmp_path / "paper.html").read_text().count("<svg") == 1


@pytest.mark.slow
def test_page_has_every_figure(tmp_path):
    write(tmp_path)
    assert paper.main(["altstidl", "--workdir", str(tmp_path)]) == 0
    page = (tmp_path / "paper.html").read_text()
    assert page.count("<svg") == 8 and "Not here" not in page


def test_a_folder_without_runs_is_refused(tmp_path, capsys):
    status, said = end(capsys, paper, "altstidl", "--workdir", tmp_path)
    assert status == 2 and tells(said, tmp_path, "--workdir")
