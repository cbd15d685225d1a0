"""`jaxcert.report --study`, from workdirs to exit status."""

from __future__ import annotations

import csv
import io
import re

import pytest
from command_line import ROOT
from refusals import tells
from study_runs import of_counts, with_generated, workdir

from jaxcert import config as configs
from jaxcert import report
from jaxcert.errors import InputError
from jaxcert.papers import study_report

REFERENCE = dict(paper="Them 2023", table="2", radius=0.25, clean=76.6, certified=63.45)


def runs(path, **header):
    """Two seeds without and with generated images, the first with training images."""
    made = []
    for seed, (low, high) in enumerate([(40, 50), (44, 52)]):
        train = None if seed else of_counts(60, 90, 100)
        made.append(
            workdir(
                path / f"none{seed}",
                test=of_counts(low, 70, 100),
                train=train,
                seed=seed,
                reference=REFERENCE,
                header=header,
            )
        )
        more = dict(test=of_counts(high, 75, 100), seed=seed, data=with_generated())
        made.append(workdir(path / f"more{seed}", header=header, **more))
    return made


@pytest.mark.parametrize("form", ["text", "csv", "html", "latex"])
def test_every_format_goes_to_out(tmp_path, capsys, form):
    paths, out = runs(tmp_path / "runs"), tmp_path / "out"
    words = ["--study", *map(str, paths), "--format", form, "--out", str(out)]
    assert report.main(words) == 0
    assert capsys.readouterr().out == ""
    assert out.read_text() == study_report.study(paths, form=form)
    assert not (paths[0] / "report.html").exists()


def test_the_table_has_accuracies_gap_gain_and_the_published_numbers(tmp_path):
    text = study_report.study(runs(tmp_path))
    lines = text.splitlines()[::-1]  # of the blocks of columns the first
    rows = {line.split("  ")[0].strip(): line for line in lines}
    none, more = rows["none, 10 epochs"], rows["1M, 70 %, 10 epochs"]
    assert "42.0 ±25.4" in none and "70.0 [60.0, 78.8]" in none, (
        "t with one degree of freedom"
    )
    assert "20.0 ±6.9" in none, "gap of the one seed that has training images"
    assert (
        "76.6 / 63.45" in text
        and "Published: clean / 0.25, Them 2023, Table 2." in text
    )
    assert "51.0 ±12.7" in more and "+9.0 ±12.7" in text


def test_csv_has_full_precision_and_leaves_out_what_there_is_not(tmp_path):
    rows = list(
        csv.DictReader(io.StringIO(study_report.study(runs(tmp_path), form="csv")))
    )
    none, more = rows
    assert (none["generated"], more["generated_count"]) == ("none", "1000000")
    assert none["generated_share"] == "0.0" and more["seeds"] == "2"
    assert float(more["gain_0.25"]) == pytest.approx(0.09)
    assert float(more["gain_standard_error_0.25"]) == pytest.approx(0.01)
    assert more["gain_error_over"] == "paired seeds"
    assert none["gain_0.25"] == more["gap_0.25"] == more["published_0.25"] == ""
    assert float(none["published_0.25"]) == pytest.approx(0.6345)
    assert float(none["gap_0.25"]) == pytest.approx(0.2)
    assert none["gap_interval_0.25"] == "", "one seed has none"
    assert float(none["correct_certified_0.25"]) == pytest.approx(0.42)
    assert float(none["wrong_not_certified_0.25"]) == pytest.approx(0.30)


def test_the_page_has_figures_the_result_and_the_confusion(tmp_path):
    page = study_report.study(runs(tmp_path), form="html")
    assert page.count("<svg") == 3, "arrows, amounts and radii"
    assert page.count('<p class="lead">') == 1 and "changes by +9.0 points" in page
    assert "42.0 → 51.0" in page and "28.0 → 24.0" in page
    assert not re.search(r'(src|href)="http', page)


def test_norms_have_a_table_each(tmp_path):
    paths = [*runs(tmp_path / "a"), *runs(tmp_path / "b", norm="linf")]
    text = study_report.study(paths)
    assert "digits, ℓ₂ certificates" in text and "digits, ℓ∞ certificates" in text
    page = study_report.study(paths, form="html")
    for svg in re.findall(r"<svg.*?</svg>", page, re.DOTALL):
        ids = re.findall(r'id="([^"]+)"', svg)
        assert len(ids) == len(set(ids))
    assert study_report.study(paths, form="latex").count(r"\begin{tabular}") == 2


def test_radii_of_the_command_line_are_used(tmp_path, capsys):
    words = ["--study", *map(str, runs(tmp_path)), "--radii", "36/255"]
    assert report.main(words) == 0
    assert "gap 36/255" in capsys.readouterr().out


def test_a_radius_above_its_evidence_ends_in_an_error(tmp_path, capsys):
    paths = runs(tmp_path)
    for path in (paths[0] / "train.jsonl", paths[1] / "certificates.jsonl"):
        text = path.read_text()
        path.write_text(text.replace('"radius": 0.3', '"radius": 0.31', 1))
        assert report.main(["--study", *map(str, paths)]) != 0
        assert tells(capsys.readouterr().err, "1 radii", path, "--out")
        path.write_text(text)


@pytest.mark.parametrize("form", ["text", "html", "latex"])
def test_runs_of_a_certificate_that_nothing_here_rechecks_are_named(
    tmp_path, capsys, form
):
    paths = runs(tmp_path, method="magic", procedure=dict(name="spell"))
    assert report.main(["--study", *map(str, paths), "--format", form]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert said.count("were not re-checked: no re-check is known for the") == 4
    assert f"{paths[1]} were not" in said.replace(" .", ".")


@pytest.mark.parametrize(
    "words,named",
    [(["--baseline", "a"], "--baseline"), (["--sigma", "1"], "--sigma"),
     (["--format", "tsv"], "no format tsv")],
)  # fmt: skip
def test_options_that_a_study_has_not_are_named(tmp_path, capsys, words, named):
    paths = runs(tmp_path)
    assert report.main(["--study", *map(str, paths), *words]) != 0
    assert named in capsys.readouterr().err


def test_a_workdir_without_certificates_ends_in_one_sentence(tmp_path, capsys):
    path = workdir(tmp_path / "a")
    assert report.main(["--study", str(path)]) != 0
    assert "\n" not in capsys.readouterr().err.strip()


def test_batches_that_differ_from_the_baseline_are_told(tmp_path):
    test = of_counts(4, 7, 10)
    paths = [
        workdir(tmp_path / "a", test=test),
        workdir(tmp_path / "b", test=test, data=with_generated(batch=40)),
    ]
    text = " ".join(study_report.study(paths).split())
    assert "lot has data.batch 40 where the runs without have 10" in text


def test_a_damaged_reference_is_refused(tmp_path):
    reference = dict(REFERENCE, clean="x")
    path = workdir(tmp_path / "a", test=of_counts(4, 7, 10), reference=reference)
    with pytest.raises(InputError, match="reference"):
        study_report.study([path])


@pytest.mark.parametrize(
    "config,rows",
    [
        ("lot", ("s", "s,5m", "s,400,10m")),
        ("liresnet", ("s", "s,1m", "s,1600,1m")),
        ("liresnet_pp", ("", "4m")),
        ("sortnet", ("", "1m", "2x,1m")),
        ("linf_dist", ("hinge", "hinge,1m", "hinge,2x")),
    ],
)
def test_rows_of_a_published_table_are_one_system(tmp_path, config, rows):
    paths = []
    for i, row in enumerate(rows):
        settings = configs.load(str(ROOT / f"configs/{config}/cifar10.py:{row}"))
        settings.data.generated = "gen.npz" if settings.data.generated_count else ""
        paths.append(workdir(tmp_path / str(i), test=of_counts(4, 7, 10)))
        configs.save(settings, paths[-1] / "config.json")
    csv_rows = csv.DictReader(io.StringIO(study_report.study(paths, form="csv")))
    assert len({row["system"] for row in csv_rows}) == 1
