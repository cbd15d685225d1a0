"""Numbers of a study of generated images against those worked out by hand."""

from __future__ import annotations

import math
import re
import shutil

import numpy as np
import pytest
from refusals import names
from study_runs import certificates, of_counts, with_generated, workdir

from jaxcert.analysis.metrics import interval
from jaxcert.data import sources
from jaxcert.errors import InputError
from jaxcert.papers import study_figures, study_page, study_samples
from jaxcert.papers import study_numbers as numbers
from jaxcert.papers.study_groups import groups, make
from jaxcert.papers.study_runs import read

T1, T2 = 12.706204736, 4.302652730  # 97.5 % points of t with 1 and 2 degrees of freedom
AT = 1
"""Position of radius 0.25 in 0, 0.25, 0.5."""


def study(*paths):
    (group,) = groups([read(path) for path in paths])
    return make(group, [0.25, 0.5])


def pair(tmp_path, seeds=((0, 40), (1, 44)), generated=((0, 50), (1, 52)), images=100):
    """A cell without and one with generated images: (seed, certified at 0.25)."""
    paths = []
    for name, runs, data in (("a", seeds, {}), ("b", generated, with_generated())):
        for seed, count in runs:
            path, test = tmp_path / f"{name}{seed}", of_counts(count, 70, images)
            paths.append(workdir(path, test=test, data=data, seed=seed))
    return study(*paths)


def test_runs_that_differ_in_the_seed_are_one_cell_with_the_t_interval(tmp_path):
    none, more = pair(tmp_path).cells
    assert (none.amount, more.amount) == ("none", "1M")
    assert list(none.runs) == [0, 1] and none.system == more.system == "lot"
    found = numbers.accuracy(none, np.array([0.0, 0.25, 0.5]))
    assert np.allclose(found.mean, [0.70, 0.42, 0.0])
    assert np.allclose(found.error, [0, 0.02, 0])
    assert np.allclose(found.half, [0, 0.02 * T1, 0]) and found.seeds == 2


def test_a_single_run_has_its_binomial_standard_error(tmp_path):
    none, _ = pair(tmp_path, ((0, 40),), ((0, 50),)).cells
    found = numbers.accuracy(none, np.array([0.25]))
    assert found.half == found.error == pytest.approx(math.sqrt(0.4 * 0.6 / 100))
    assert found.over == "images"


def test_gain_is_paired_by_seed_where_the_seeds_agree(tmp_path):
    s = pair(tmp_path)
    found = numbers.gain(s.cells[1], numbers.baseline(s, s.cells[1]), s.radii)
    assert found.over == "paired seeds"
    assert found.mean[AT] == pytest.approx(0.09)  # of 0.10 and 0.08
    assert found.error[AT] == pytest.approx(0.01)
    assert found.half[AT] == pytest.approx(0.01 * T1)


def test_gain_pools_the_variance_of_other_seeds(tmp_path):
    s = pair(tmp_path, generated=((2, 50), (3, 52)))
    found = numbers.gain(s.cells[1], s.cells[0], s.radii)
    error = math.sqrt((2 * 0.02**2 + 2 * 0.01**2) / 2)  # times sqrt(1/2 + 1/2)
    assert found.over == "seeds" and found.mean[AT] == pytest.approx(0.09)
    assert found.error[AT] == pytest.approx(error)
    assert found.half[AT] == pytest.approx(error * T2)


def test_gain_of_one_run_over_another_is_paired_by_image(tmp_path):
    s = pair(tmp_path, ((0, 40),), ((5, 50),))
    found = numbers.gain(s.cells[1], s.cells[0], s.radii)
    assert found.over == "paired images" and found.mean[AT] == pytest.approx(0.10)
    # ten gained, none lost, one of each added
    assert found.error[AT] == pytest.approx(math.sqrt(11 + 1 - 10**2 / 102) / 102)


def test_gap_is_train_minus_test_over_the_seeds_that_have_both(tmp_path):
    paths = [
        workdir(
            tmp_path / "0", test=of_counts(40, 70, 100), train=of_counts(30, 40, 50)
        ),
        workdir(tmp_path / "1", test=of_counts(44, 70, 100), seed=1),
    ]
    s = study(*paths)
    found = numbers.gap(s.cells[0], s.radii)
    assert found.mean[AT] == pytest.approx(0.6 - 0.4) and found.seeds == 1
    error = math.sqrt(0.24 / 100 + 0.24 / 50)
    assert found.error[AT] == pytest.approx(error)
    assert numbers.gap(study(paths[1]).cells[0], s.radii) is None


def test_confusion_counts_correct_by_certified(tmp_path):
    test = certificates([0.3, 0.25, 0.1, 0.3, 0.0], [True, True, True, False, False])
    s = study(workdir(tmp_path / "a", test=test))
    assert numbers.confusion(s.cells[0], 0.25).tolist() == [[0.4, 0.2], [0.2, 0.2]]


def test_best_minus_last_is_the_mean_over_seeds(tmp_path):
    series = ([0.4, 0.5, 0.45], [0.4, 0.3, 0.6])
    for seed, values in enumerate(series):
        lines = [{"certified_0.25": v, "certified_0": 1.0} for v in values]
        workdir(
            tmp_path / str(seed), test=of_counts(4, 7, 10), evaluations=lines, seed=seed
        )
    with open(tmp_path / "0" / "metrics.jsonl", "a") as file:
        file.write('{"step": 40, "split": "train", "certified_0.25": 1.0}\n{"step": 5')
    s = study(tmp_path / "0", tmp_path / "1")
    assert numbers.lost_since_best(s.cells[0], 0.25) == pytest.approx(0.05 / 2)
    assert numbers.lost_since_best(s.cells[0], 0.5) is None


def test_correlation_is_pearsons_and_needs_three_points():
    assert numbers.correlation([(0, 0), (1, 2), (2, 1)]) == pytest.approx(0.5)
    assert math.isnan(numbers.correlation([(0, 0), (1, 2)]))
    assert math.isnan(numbers.correlation([(1, 0), (1, 2), (1, 3)]))


def test_systems_are_named_by_what_tells_them_apart(tmp_path):
    test, made = of_counts(4, 7, 10), []
    for i, (depth, width) in enumerate([(6, 128), (18, 128), (18, 256)]):
        model = dict(depth=depth, width=width, residual=depth > 6)
        made.append(workdir(tmp_path / str(i), test=test, model=model))
    assert study(*made).systems == [
        "lot, depth 6",
        "lot, depth 18, width 128",
        "lot, depth 18, width 256",
    ]


def test_marks_in_proportion_to_the_epochs_are_one_system(tmp_path):
    test = of_counts(4, 7, 10)
    runs = [
        workdir(
            tmp_path / str(e),
            test=test,
            method=dict(p_end=9.0 * e),
            data=dict(epochs=e, batch=e),
        )
        for e in (20, 10)
    ]
    other = workdir(
        tmp_path / "c", test=test, method=dict(p_end=80.0), data=dict(epochs=10)
    )
    s = study(*runs, other)
    assert s.systems == ["lot, p_end 180.0", "lot, p_end 80.0"]
    assert [(c.epochs, c.factor) for c in s.cells] == [(10, 1), (20, 2), (10, 1)]


def test_a_share_of_nothing_is_no_generated_image(tmp_path):
    data = with_generated(share=0.0)
    s = study(workdir(tmp_path / "a", test=of_counts(4, 7, 10), data=data))
    assert s.cells[0].amount == "none" and not s.cells[0].generated.share


@pytest.mark.parametrize(
    "given,words",
    [
        ([("5m.npz", 1_000_000), ("x.npz", 2500)], ["2.5k", "1M"]),
        ([("5m.npz", 10), ("x.npz", 10)], ["10 of 5m", "10 of x"]),
        ([("5m.npz", 0), ("x.npz", 10)], ["10", "all of 5m"]),
    ],
)
def test_amounts_are_words_that_differ(tmp_path, given, words):
    for i, (source, count) in enumerate(given):
        data = with_generated(count, source=source)
        workdir(tmp_path / str(i), test=of_counts(4, 7, 10), data=data)
    s = study(*sorted(tmp_path.iterdir()))
    assert [c.amount for c in s.cells] == words


def test_norms_and_data_sets_are_apart(tmp_path):
    for name, header in (
        ("a", {}),
        ("b", dict(norm="linf")),
        ("c", dict(dataset="mnist")),
    ):
        workdir(tmp_path / name, test=of_counts(4, 7, 10), header=header)
    found = groups([read(path) for path in sorted(tmp_path.iterdir())])
    places = [(s.norm, s.dataset) for s in (make(group, [0.25]) for group in found)]
    assert places == [("l2", "digits"), ("linf", "digits"), ("l2", "mnist")]


def refused(tmp_path, words, *paths):
    with pytest.raises(InputError) as error:
        study(*paths)
    message = str(error.value)
    assert words in message and message.endswith(".") and "\n" not in message


def test_two_workdirs_of_one_cell_and_seed_are_refused(tmp_path):
    first = workdir(tmp_path / "a", test=of_counts(4, 7, 10))
    shutil.copytree(first, tmp_path / "b")
    refused(tmp_path, "seed 0: leave one out", first, tmp_path / "b")


def test_a_workdir_without_certificates_is_refused(tmp_path):
    refused(tmp_path, "no record file", workdir(tmp_path / "a"))


@pytest.mark.parametrize(
    "test,header",
    [(of_counts(4, 7, 9), {}), (of_counts(4, 7, 10, start=1), {}),
     (of_counts(4, 7, 10), dict(data_digest="other"))],
)  # fmt: skip
def test_other_test_images_in_one_comparison_are_refused(tmp_path, test, header):
    first = workdir(
        tmp_path / "a", test=of_counts(4, 7, 10), header=dict(data_digest="one")
    )
    second = workdir(
        tmp_path / "b",
        test=test,
        data=with_generated(),
        header=dict(data_digest="one") | header,
    )
    refused(tmp_path, "different test images", first, second)


def test_wrong_files_are_refused(tmp_path):
    rows = of_counts(4, 7, 10)
    path = workdir(tmp_path / "a", test=rows, header=dict(split="train"))
    refused(tmp_path, "split train, not test", path)
    path = workdir(tmp_path / "b", test=rows, train=rows, header=dict(checkpoint="one"))
    text = (path / "train.jsonl").read_text().replace('"one"', '"two"')
    (path / "train.jsonl").write_text(text)
    refused(tmp_path, "different checkpoint", path)
    (path / "config.json").write_text('{"seed": 0}')
    refused(tmp_path, "no config.json of a run", path)


def test_a_study_needs_a_positive_radius(tmp_path):
    run = read(workdir(tmp_path / "a", test=of_counts(4, 7, 10)))
    with pytest.raises(InputError, match=names("radius", 0, "--radii")):
        make([run], [0.0])


def test_figures_are_at_the_radius_of_the_published_numbers(tmp_path):
    from jaxcert.analysis.facts import (
        Reference,
    )

    run = read(workdir(tmp_path / "a", test=of_counts(4, 7, 10)))
    assert make([run], [0.25, 0.5]).radius == 0.25
    run = run._replace(reference=Reference("them", {0.0: 0.7, 0.5: 0.4}))
    assert make([run], [0.25, 0.5]).radius == 0.5
    assert make([run], [0.1, 0.25]).radius == 0.1


def titles(s):
    return {d.title.partition(":")[0]: d for d in study_figures.figures(s)}


def full(tmp_path):
    """Two sizes, two numbers of epochs, two amounts, two shares, gaps and evaluations."""
    lines = [{"certified_0.25": v} for v in (0.3, 0.5, 0.4)]
    for depth in (2, 4):
        for epochs in (10, 20):
            kinds = [{}, with_generated(), with_generated(share=0.3)]
            for i, data in enumerate([*kinds, with_generated(5_000_000)]):
                workdir(
                    tmp_path / f"{depth}-{epochs}-{i}",
                    test=of_counts(30 + 2 * depth + epochs // 10 + 3 * i, 70, 100),
                    train=of_counts(45 + depth + epochs // 5, 80, 100),
                    evaluations=lines,
                    model=dict(depth=depth),
                    data=data | dict(epochs=epochs),
                )
    return study(*sorted(tmp_path.iterdir()))


def test_every_figure_is_drawn_where_its_input_is_there(tmp_path):
    s = full(tmp_path)
    found = titles(s)
    assert len(found) == 7
    for drawn in found.values():
        assert drawn.svg.startswith("<svg") and drawn.text.endswith(".")
    # gaps 0.45+.02+.02-.35 and so on against gains of the 5M cells
    gaps, gains = [], []
    for base in s.cells:
        cells = [c for c in s.cells if numbers.baseline(s, c) is base]
        if cells:
            gaps.append(numbers.gap(base, s.radii).mean[AT])
            best = max(numbers.certified(s, c) for c in cells)
            gains.append(best - numbers.certified(s, base))
    assert len(gaps) == 4 and np.allclose(gains, 0.09)
    assert "n = 4 points" in found["Gap and gain"].text
    assert "undefined" in found["Gap and gain"].text, "every gain is the same"


def test_no_figure_is_drawn_without_its_input(tmp_path):
    s = study(workdir(tmp_path / "a", test=of_counts(4, 7, 10)))
    assert titles(s) == {}
    page = study_page.html([s])
    assert "<figure" not in page and "drawn" not in page and 'class="lead"' not in page


def test_the_result_is_one_sentence_about_every_cell(tmp_path):
    s = pair(tmp_path / "one", ((0, 40),), ((5, 50),))
    # 10 of 100 gained, none lost: the error of the test of paired images above
    assert study_page.result(s) == (
        "With generated images lot changes by +10.0 points of certified accuracy at ℓ₂ "
        "radius 0.25 (95 % interval +3.6 to +16.4), which is above 0."
    )
    assert "-2.0 points" in study_page.result(
        pair(tmp_path / "two", ((0, 40),), ((0, 38),))
    ).replace("−", "-")
    for i, count in enumerate((50, 41, 20)):
        data = with_generated(10 + i)
        workdir(tmp_path / "three" / str(i), test=of_counts(count, 70, 100), data=data)
    workdir(tmp_path / "three" / "none", test=of_counts(40, 70, 100))
    said = study_page.result(study(*sorted((tmp_path / "three").iterdir())))
    assert "by −20.0 to +10.0 points over 3 cells" in said
    assert "above 0 in 1 of them and below 0 in 1." in said
    assert study_page.result(study(tmp_path / "three" / "none")) == ""


def test_gains_have_a_table_of_their_own_so_that_they_are_seen(tmp_path):
    page = study_page.html([pair(tmp_path)])
    first, second = re.findall("<thead>.*?</thead>.*?</table>", page, re.DOTALL)[:2]
    names = [
        re.findall("<th[^>]*>([^<]*)</th>", t.split("</thead>")[0])
        for t in (first, second)
    ]
    about = ["system", "generated"]
    assert names[0] == [*about, "gain clean", "gain 0.25", "gain 0.5"]
    assert names[1] == [*about, "clean", "0.25", "0.5", "gap 0.25"]
    assert "1M <small>70 %, 10 epochs, 2 seeds</small>" in first
    assert first.count("<tr>") == 2 and "+9.0 <small>±12.7</small>" in first
    assert second.count("<tr>") == 3


def test_real_images_stand_beside_generated_ones(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    made = rng.integers(0, 255, (30, 8, 8, 1), np.uint8)
    np.savez(tmp_path / "5m.npz", image=made, label=np.arange(30) % 10)
    data = with_generated(30) | dict(generated=str(tmp_path / "gone" / "5m.npz"))
    for where, header in (("runs", {}), ("cifar", dict(dataset="cifar10"))):
        place = tmp_path / where
        workdir(place / "a", test=of_counts(4, 7, 10), header=header)
        workdir(place / "b", test=of_counts(4, 7, 10), header=header, data=data)
    s = study(tmp_path / "runs" / "a", tmp_path / "runs" / "b")
    assert study_samples.beside(s) is None, "the images are not here"
    shutil.move(tmp_path / "5m.npz", tmp_path / "runs" / "5m.npz")
    drawn = study_samples.beside(s)
    assert drawn.svg.count("<image") == 2 and "5m.npz" in drawn.text
    assert drawn.title in study_page.html([s])
    shutil.copy(tmp_path / "runs" / "5m.npz", tmp_path / "cifar" / "5m.npz")
    digits = sources.open("digits", "train")
    monkeypatch.setattr(sources, "open", lambda *_, **__: digits)
    s = study(tmp_path / "cifar" / "a", tmp_path / "cifar" / "b")
    assert study_samples.beside(s) is None, "those of CIFAR-10 are not handed on"


def test_arrows_have_the_bars_of_both_gains(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(
        "matplotlib.axes.Axes.errorbar", lambda self, *args, **_: seen.append(args)
    )
    study_figures.gain_arrows(pair(tmp_path, ((0, 40),), ((5, 50),)))
    ((x, y, dy, dx),) = seen
    error = 196 * math.sqrt(11 + 1 - 10**2 / 102) / 102  # points
    assert (x, y) == pytest.approx((70, 50)) and dy.ravel() == pytest.approx(
        [error] * 2
    )
    assert dx.ravel() == pytest.approx([196 * math.sqrt(2) / 102] * 2), (
        "none gained or lost"
    )


def test_correlation_is_printed_with_its_n(tmp_path):
    for i, (low, high, train) in enumerate(
        [(30, 31, 32), (30, 33, 35), (30, 32, 38)]
    ):  # gains 1, 3, 2, gaps 2, 5, 8
        model = dict(depth=i)
        rows = of_counts(train, 80, 100)
        a, b = of_counts(low, 70, 100), of_counts(high, 70, 100)
        workdir(tmp_path / f"{i}a", test=a, train=rows, model=model)
        workdir(tmp_path / f"{i}b", test=b, model=model, data=with_generated())
    text = titles(study(*sorted(tmp_path.iterdir())))["Gap and gain"].text
    assert "r = 0.50, n = 3 points" in text


def test_seeds_that_agree_and_shares_of_0_and_1_have_an_interval(tmp_path):
    s = pair(tmp_path, ((0, 40), (1, 40)), ((0, 45), (1, 45)))
    none, more = s.cells
    found = numbers.accuracy(none, s.radii)
    assert found.half.tolist() == [0, 0, 0]
    for i, share in enumerate((0.7, 0.4, 0.0)):
        low, high = interval(share, 100)
        assert (found.low[i], found.high[i]) == (low, high) and low < high
    gained = numbers.gain(more, none, s.radii)
    assert (gained.low < gained.mean).all() and (gained.mean < gained.high).all()
    text = study_page.text([s])
    assert "40.0 [30.3, 50.3]" in text and "0.0 [0.0, 3.7]" in text
    assert "±0.0" not in text and "+5.0 [" in text


def test_gap_of_a_perfect_run_is_not_certain(tmp_path):
    path = tmp_path / "a"
    full = of_counts(50, 50, 50)
    workdir(path, test=full, train=full)
    s = study(path)
    found = numbers.gap(s.cells[0], s.radii)
    assert found.mean[AT] == found.error[AT] == 0
    # one right and one wrong image more on both sides: Agresti and Caffo (2000)
    reach = 1.96 * math.sqrt(2 * (51 / 52) * (1 / 52) / 52)
    assert found.high[AT] == -found.low[AT] == pytest.approx(reach)
    assert "0.0 [-5.3, 5.3]" in study_page.text([s])


def test_radius_that_a_run_did_not_try_is_said(tmp_path):
    procedure = dict(name="interval", radii=[0.0, 0.25], logit_slack=0.0)
    header = dict(method="interval", procedure=procedure)
    path = tmp_path / "a"
    workdir(path, test=of_counts(40, 70, 100), header=header)
    s = study(path)
    text = " ".join(study_page.text([s]).split())
    assert (
        "tried the radii 0 and 0.25 alone and does not say what is certified at 0.5"
        in text
    )
    assert np.isnan(numbers.confusion(s.cells[0], 0.5)).all()
    assert not np.isnan(numbers.confusion(s.cells[0], 0.25)).any()
