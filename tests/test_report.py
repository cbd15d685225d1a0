"""The command, from files to exit status."""

from __future__ import annotations

import errno
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from refusals import names, tells

from jaxcert import random_keys, records, report
from jaxcert.analysis import report as reports
from jaxcert.certificates import statistics
from jaxcert.errors import InputError
from jaxcert.records import Certificates, Writer

N, ALPHA, SIGMA = 1000, 0.001, 0.5
HEADER = dict(
    method="smoothing",
    norm="l2",
    alpha=ALPHA,
    sigma=SIGMA,
    num_classes=2,
    procedure=dict(name="certify", n0=10, n=N, scale=SIGMA, least_tail=0.0),
    generator=random_keys.GENERATOR | random_keys.OF_SAMPLES,
)


def workdir(path, *, file=None, too_far=0.0, **header):
    """A workdir with one record of four images."""
    k = np.array([400, 700, 900, N])
    radius = statistics.smoothing_radius(k, N, ALPHA, SIGMA)
    c = Certificates(
        index=np.arange(4),
        label=np.array([1, 1, 0, 1]),
        predicted=np.where(radius > 0, 1, -1),
        radius=radius + np.array([0, 0, 0, too_far]),
        n=np.full(4, N),
        seconds=np.zeros(4),
        p_lower=statistics.clopper_pearson_lower(k, N, ALPHA),
        counts=np.stack([N - k, k], 1),
        selection=np.array([[0, 10]] * 4),
    )
    scale = dict(scale=header.get("sigma", SIGMA))
    header = dict(procedure=HEADER["procedure"] | scale) | header
    with Writer(path / reports.RECORD, HEADER | header) as writer:
        writer.append(c)
    if file is not None:
        (path / "config.json").write_text(json.dumps(file))
    return path


def test_workdir_prints_text_and_writes_its_page(tmp_path, capsys):
    path = workdir(tmp_path / "run")
    assert report.main([str(path)]) == 0
    out = capsys.readouterr().out
    assert "run" in out and "All 3 predictions and radii follow" in out
    assert (path / "report.html").read_text().startswith("<!doctype html>")
    assert (path / "report.csv").read_text().startswith("record,")


@pytest.mark.parametrize(
    "rows,words",
    [(0, "No image has a prediction"), (1, "The one prediction and its radius follow")],
)
def test_sentence_on_the_evidence_fits_few_rows(tmp_path, capsys, rows, words):
    path = workdir(tmp_path / "run") / reports.RECORD
    header, *lines = path.read_text().splitlines(keepends=True)
    predicted = [line for line in lines if '"predicted": -1' not in line]
    abstained = [line for line in lines if '"predicted": -1' in line]
    path.write_text("".join([header, *predicted[:rows], *abstained]))
    assert report.main([str(path)]) == 0
    assert words in " ".join(capsys.readouterr().out.split())


def test_gradient_norms_of_the_same_checkpoint_are_reported(tmp_path):
    path = workdir(tmp_path / "run")
    digest = records.load(path / "certificates.jsonl").header.get("checkpoint")
    group = dict(images=10, mean=2.0, error=0.1)
    found = dict(easy=group, hard=group, ratio=1.0, ratio_error=0.1, checkpoint=digest)
    file = path / "gradient_norms.json"
    file.write_text(json.dumps(found))
    assert "easy / hard 1 ±0.1" in reports.report([path])
    file.write_text(json.dumps(found | dict(checkpoint="another")))
    assert "easy / hard" not in reports.report([path])
    for wrong in ("{", "[]", "{}", json.dumps(found | dict(ratio="1"))):
        file.write_text(wrong)
        with pytest.raises(InputError, match=names("gradient_norms.json")):
            reports.report([path])


@pytest.mark.parametrize("form", ["text", "csv", "csv-classes", "html", "latex", "tsv"])
def test_every_format_goes_to_out(tmp_path, capsys, form):
    path, out = workdir(tmp_path / "run"), tmp_path / "out"
    assert report.main([str(path), "--format", form, "--out", str(out)]) == 0
    assert capsys.readouterr().out == ""
    assert out.read_text() == reports.report([path], form=form)
    assert not (path / "report.html").exists(), "a named format writes nothing else"


OTHERS = [
    dict(method="magic", procedure=dict(name="spell")),
    dict(procedure=dict(name="bayes", n0=10, n=N)),
]
"""Headers of a certificate, and of a procedure, that nothing here re-checks."""


@pytest.mark.parametrize("header", OTHERS, ids=["certificate", "procedure"])
@pytest.mark.parametrize("form", ["text", "csv", "html", "latex"])
def test_what_nothing_here_rechecks_is_said_and_is_no_fault(
    tmp_path, capsys, form, header
):
    """Though its radius is above what CERTIFY would prove."""
    path = workdir(tmp_path / "run", too_far=9.0, **header)
    assert report.main([str(path), "--format", form]) == 0
    printed = capsys.readouterr()
    named = header.get("method") or header["procedure"]["name"]
    assert "no re-check is known" in " ".join(printed.out.split())
    assert named in printed.out
    assert "exceed" not in printed.out.replace("exceeding_evidence", "")
    assert "delete" not in printed.err


def test_tsv_of_a_record_reports_the_same_accuracies(tmp_path, capsys):
    path, table = workdir(tmp_path / "run"), tmp_path / "t.tsv"
    report.main([str(path), "--format", "tsv", "--out", str(table)])
    ours, theirs = reports.entries([path, table], radii=[0, 0.25, 0.5, 1])
    assert ours.summary.certified.tolist() == theirs.summary.certified.tolist()
    assert theirs.recheck.reason and not ours.recheck.reason


def test_radius_above_its_evidence_ends_in_an_error(tmp_path, capsys):
    path = workdir(tmp_path / "run", too_far=0.01)
    assert report.main([str(path)]) != 0
    printed = capsys.readouterr()
    assert tells(printed.err, "1 radii", path / reports.RECORD, 5, "--out")
    assert "images 3)" in printed.out, "the table is printed all the same"


def test_deleting_the_lines_that_the_error_names_helps(tmp_path, capsys):
    path = workdir(tmp_path / "run", too_far=0.01) / reports.RECORD
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:4] + lines[5:]))
    assert report.main([str(path)]) == 0


def without(path, key):
    """The record with a key of every row, or of the header, removed."""
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for row in rows:
        row.pop(key, None)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("key", ["counts", "procedure"])
def test_record_without_its_evidence_fails(tmp_path, capsys, key):
    path = without(workdir(tmp_path / "run") / reports.RECORD, key)
    assert report.main([str(path)]) == 2
    printed = capsys.readouterr()
    assert tells(printed.err, "3 radii", reports.RECORD, "3, 4, 5", "--out")
    assert "3 of 3 certificates" in printed.out


def test_radii_of_the_command_line_may_be_fractions(tmp_path, capsys):
    path = workdir(tmp_path / "run")
    report.main([str(path), "--radii", "0, 36/255,1,0", "--format", "csv"])
    head = capsys.readouterr().out.splitlines()[0].split(",")
    shown = [name for name in head if name.startswith("certified_")]
    assert shown == ["certified_0", "certified_36/255", "certified_1"]


@pytest.mark.parametrize("text", ["x", "1,,2", "-1", "1/0", "nan", "inf"])
def test_radii_that_are_none_are_named(tmp_path, capsys, text):
    assert report.main([str(workdir(tmp_path / "run")), f"--radii={text}"]) == 2
    assert "--radii has" in capsys.readouterr().err


def radii_of(*paths):
    return reports.entries(paths)[0].summary.radii.tolist()


def test_usual_radii_depend_on_the_norm(tmp_path):
    # the largest radius is 1.23 for all
    smooth = workdir(tmp_path / "a")
    assert radii_of(smooth) == [0, 0.25, 0.5, 0.75, 1]
    exact = dict(sigma=None, method="lipschitz", procedure=dict(name="none"))
    l2 = workdir(tmp_path / "b", **exact)
    assert radii_of(l2) == [0, 36 / 255, 72 / 255, 108 / 255, 1]
    linf = workdir(tmp_path / "c", **exact | dict(norm="linf"))
    assert radii_of(linf) == [0, *(k / 255 for k in (1, 2, 4, 8, 16, 32, 64, 128))]


def test_radii_of_the_configs_are_joined(tmp_path):
    a = workdir(tmp_path / "a", file=dict(certify=dict(radii=[0, 0.5])))
    b = workdir(tmp_path / "b", file=dict(certify=dict(radii=[0, 1])))
    assert radii_of(a, b) == [0, 0.5, 1]


REFERENCE = dict(paper="Zhu 2022", table="3", radius=0.25, clean=77.25, certified=50.0)


@pytest.mark.parametrize("where", ["header", "file"])
def test_published_numbers_come_from_the_config(tmp_path, where):
    config = dict(certify=dict(radii=[0, 0.25, 0.5]), reference=REFERENCE)
    where = dict(header=dict(config=config), file=dict(file=config))[where]
    (entry,) = reports.entries([workdir(tmp_path / "run", **where)])
    assert entry.reference.source == "Zhu 2022, Table 3"
    assert entry.reference.certified == {0.0: 0.7725, 0.25: 0.5}
    assert entry.summary.radii.tolist() == [0, 0.25, 0.5]


def test_unset_reference_is_none(tmp_path):
    config = dict(
        reference=dict(paper="", table="", clean=0.0, certified=0.0, radius=0.0)
    )
    assert (
        reports.entries([workdir(tmp_path / "run", file=config)])[0].reference is None
    )


def test_norms_do_not_mix(tmp_path):
    paths = [workdir(tmp_path / "a"), workdir(tmp_path / "b", norm="linf")]
    with pytest.raises(InputError, match=names("l2", "linf")):
        reports.report(paths)


def test_equal_names_become_paths(tmp_path):
    paths = [workdir(tmp_path / "a" / "run"), workdir(tmp_path / "b" / "run")]
    assert [e.name for e in reports.entries(paths)] == [str(p) for p in paths]


def test_tsv_holds_one_record(tmp_path, capsys):
    paths = [str(workdir(tmp_path / "a")), str(workdir(tmp_path / "b"))]
    assert report.main([*paths, "--format", "tsv"]) == 2
    assert "one PATH" in capsys.readouterr().err


NAN = float("nan")


def radii_in_config(radii):
    return dict(certify=dict(radii=radii))


def test_radii_of_the_command_line_stand_in_for_those_of_a_header(tmp_path):
    path = workdir(tmp_path / "run", config=radii_in_config("abc"))
    assert report.main([str(path), "--radii", "0,0.5"]) == 0


@pytest.mark.parametrize("config", [{}, dict(certify=None), dict(certify=[1]), [1]])
def test_config_without_certify_gives_the_usual_radii(tmp_path, config):
    path = workdir(tmp_path / "run", config=config)
    assert report.main([str(path)]) == 0
    assert radii_of(path) == [0, 0.25, 0.5, 0.75, 1]


def test_faults_of_the_input_are_one_sentence(tmp_path, capsys):
    empty = tmp_path / "empty"
    Writer(empty / reports.RECORD, HEADER).close()
    damaged = workdir(tmp_path / "damaged")
    (damaged / "config.json").write_text("{")
    reference = dict(reference=REFERENCE | dict(certified=[50, 20]))
    for path, fault in (
        (workdir(tmp_path / "list", file=reference), "must be numbers"),
        (tmp_path / "nothing", "no record file"),
        (tmp_path, "no record file"),
        (empty, "no certificate yet"),
        (damaged, "is damaged"),
        (workdir(tmp_path / "1", config=dict(reference=[1])), "must be numbers"),
        (workdir(tmp_path / "2", config=radii_in_config("abc")), "with --radii"),
        (workdir(tmp_path / "3", config=radii_in_config(["a"])), "with --radii"),
        (workdir(tmp_path / "4", config=radii_in_config([NAN])), "with --radii"),
        (workdir(tmp_path / "5", config=radii_in_config([-1])), "with --radii"),
        (workdir(tmp_path / "6", config=radii_in_config([10**400])), "with --radii"),
        (workdir(tmp_path / "7", config=radii_in_config(5)), "with --radii"),
        (workdir(tmp_path / "8", file=radii_in_config("abc")), "with --radii"),
    ):
        assert report.main([str(path)]) == 2
        assert fault in capsys.readouterr().err


def test_help_shows_an_example_and_nothing_imports_jax():
    script = (
        "import sys, jaxcert.report as r\n"
        "try: r.main(['--help'])\n"
        "except SystemExit: print('jax' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert "python -m jaxcert.report runs/" in done.stdout
    assert done.stdout.strip().endswith("False")


def test_record_files_may_be_given_directly(tmp_path):
    path = workdir(tmp_path / "run")
    (entry,) = reports.entries([path / reports.RECORD])
    assert entry.name == "run"
    assert entry.certificates.header["format"] == records.FORMAT


def table(path, *, edit=lambda line: line):
    """The table of a record, lines below the first edited."""
    workdir(path.parent / f"{path.stem}_run")
    text = reports.report([path.parent / f"{path.stem}_run"], form="tsv")
    first, *lines = text.splitlines()
    path.write_text("\n".join([first, *map(edit, lines)]) + "\n")
    return path


TOLD = dict(sigma=SIGMA, alpha=ALPHA)


def test_table_says_what_it_lacks_until_it_is_told(tmp_path, capsys):
    path = str(table(tmp_path / "t.tsv"))
    assert report.main([path]) == 0
    before = " ".join(capsys.readouterr().out.split())
    assert "vote probabilities and the constant classifier need --sigma and" in before
    assert "the table has votes and does not say sigma or alpha" in before
    assert report.main([path, "--sigma", "0.5", "--alpha", "t=0.001"]) == 0
    after = " ".join(capsys.readouterr().out.split())
    assert "All 3 predictions and radii follow" in after
    assert "n 1000" in after and "constant classifier has" in after


def test_told_table_has_the_numbers_of_its_record(tmp_path):
    path = table(tmp_path / "t.tsv")
    (ours,) = reports.entries([tmp_path / "t_run"])
    (theirs,) = reports.entries([path], **TOLD)
    assert theirs.summary.trivial_acr == ours.summary.trivial_acr
    assert theirs.summary.acr_share == pytest.approx(ours.summary.acr_share, rel=0.01)


@pytest.mark.parametrize("column, value", [(6, "890"), (3, "0.6")])
def test_tampered_table_exceeds_its_evidence(tmp_path, capsys, column, value):
    def edit(line):
        fields = line.split("\t")
        if fields[6] == "900":
            fields[column] = value
        return "\t".join(fields)

    path = table(tmp_path / "t.tsv", edit=edit)
    assert report.main([str(path), "--sigma=0.5", "--alpha=0.001"]) == 2
    assert tells(capsys.readouterr().err, "1 radii", "t.tsv", 2)


def test_table_of_another_procedure_is_not_rechecked_as_certify(tmp_path):
    def edit(line):
        return line.replace("\t900\t1000\t", "\t900\t1001\t")

    (entry,) = reports.entries([table(tmp_path / "t.tsv", edit=edit)], **TOLD)
    assert entry.recheck.holds and "n differs" in entry.recheck.reason
    assert entry.summary.trivial_acr is None


def test_number_for_all_is_for_those_that_do_not_say(tmp_path):
    paths = [workdir(tmp_path / "run"), table(tmp_path / "t.tsv")]
    run, told = reports.entries(paths, sigma=0.75, alpha=ALPHA)
    assert run.certificates.header["sigma"] == SIGMA
    assert told.certificates.header["sigma"] == 0.75


WRONG = {
    "word": ("--sigma=x", names("--sigma", "'x'", "NAME=NUMBER")),
    "half": ("--sigma=t=", names("--sigma", "'t='", "NAME=NUMBER")),
    "both": ("--sigma=0.5,t=0.5", names("--sigma", "all", "name")),
    "twice": ("--sigma=t=0.5,t=0.25", names("--sigma", "two", "t")),
    "two": ("--sigma=0.5,0.25", names("--sigma", "two", "all")),
    "underscore": ("--sigma=0_5", names("--sigma", "'0_5'", "NAME=NUMBER")),
    "negative": ("--sigma=-1", names("--sigma", -1)),
    "probability": ("--alpha=1", names("--alpha", 1)),
    "whole": ("--n=1.5", names("--n", 1.5)),
    "unknown": ("--sigma=u=0.5", names("--sigma", "'u'", "run, t")),
    "own sigma": ("--sigma=run=0.5", names("own sigma", "run", "--sigma")),
    "own n": ("--n=t=1000", names("own n", "t", "--n")),
    "too small": (
        "--sigma=0.25 --alpha=0.001",
        names("radius", 1.23163, "sigma", 0.25, "--sigma"),
    ),
    "no baseline": ("--baseline=u", names("--baseline", "'u'", "run, t")),
}


@pytest.mark.parametrize("words, fault", WRONG.values(), ids=WRONG)
def test_what_tables_are_told_is_checked(tmp_path, capsys, words, fault):
    paths = [str(workdir(tmp_path / "run")), str(table(tmp_path / "t.tsv"))]
    try:
        status = report.main([*paths, *words.split()])
    except SystemExit as ended:
        status = ended.code
    said = " ".join(capsys.readouterr().err.split())
    assert status == 2 and re.search(fault, said), said


def trained(path, method, **header):
    return workdir(path, config=dict(method=dict(name=method)), **header)


def test_records_stand_against_gaussian_training_of_their_sigma(tmp_path):
    paths = [
        trained(tmp_path / "sun", "sun"),
        trained(tmp_path / "noise", "gaussian"),
        trained(tmp_path / "other", "sun", sigma=0.75),
    ]
    found = reports.entries(paths)
    assert [e.against and e.against.baseline for e in found] == ["noise", None, None]
    found = reports.entries(paths, baseline=["other", "sun"])
    assert [e.against and e.against.baseline for e in found] == [None, "sun", None]


def test_missing_baseline_is_said(tmp_path, capsys):
    paths = [str(workdir(tmp_path / "a")), str(workdir(tmp_path / "b"))]
    report.main(paths)
    said = " ".join(capsys.readouterr().out.split())
    assert (
        "No difference to Gaussian training is shown" in said and "--baseline" in said
    )
    report.main([*paths, "--baseline", "a"])
    assert "No difference" not in capsys.readouterr().out


def test_table_without_radii_is_one_of_predict(tmp_path, capsys):
    certified = table(tmp_path / "t.tsv")
    fields = [line.split("\t") for line in certified.read_text().splitlines()]
    path = tmp_path / "p.tsv"
    path.write_text("".join("\t".join(f[:3] + f[4:6]) + "\n" for f in fields))
    told = ["--sigma=0.5", "--alpha=0.001", "--n", "1000"]
    assert report.main([str(path), *told]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "a table without radii, smoothing, predict" in said
    assert "certify" not in said and "constant classifier" not in said
    found = reports.entries([certified, path], **TOLD, baseline=["t"])
    assert found[1].certificates.header["procedure"] == dict(name="predict")
    assert found[1].against is None and "PREDICT" in found[1].not_comparable


def test_named_baseline_that_serves_nobody_is_said(tmp_path, capsys):
    paths = [workdir(tmp_path / "a"), workdir(tmp_path / "b", sigma=0.75)]
    assert report.main([*map(str, paths), "--baseline", "a"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "is shown for b: sigma 0.75 where a has sigma 0.5." in said
    assert "name one with --baseline" not in said


HEAD = "idx\tlabel\tpredict\tradius\tcorrect\ttime\n"


def test_names_of_tables_keep_what_is_no_suffix(tmp_path):
    names = ["sigma_0.25", "sigma_0.50", "noise_0.5_n.1000", "a.tsv", "b.CSV", "c.txt"]
    for name in names:
        (tmp_path / name).write_text(HEAD + "0\t3\t3\t0.2\t1\t1\n")
    told = {"sigma_0.25": 0.25, "sigma_0.50": 0.5}
    paths = [tmp_path / name for name in names]
    assert [e.name for e in reports.entries(paths)] == [*names[:3], "a", "b", "c"]
    found = reports.entries(paths, sigma=told)
    assert found[1].certificates.header["sigma"] == 0.5


@pytest.mark.parametrize(
    "radius, fits",
    [
        (
            "1.96",
            r" .--alpha 0.01, as in the tables that Cohen et al. released, reaches",
        ),
        ("1.93", r" .--alpha 0.005 reaches 1.9"),
        ("2.3", r"--n say of it\.$"),
    ],
)
def test_alpha_that_fits_a_table_is_named_and_taken(tmp_path, capsys, radius, fits):
    path = tmp_path / "cohen.tsv"
    path.write_text(HEAD + f"0\t3\t3\t{radius}\t1\t1\n")
    told = [str(path), "--sigma=0.5", "--n=100000"]
    assert report.main([*told, "--alpha=0.001"]) == 2
    said = capsys.readouterr().err.strip()
    assert f"radius {radius}" in said and "reach 1.91" in said
    assert re.search(fits, said), said
    named = re.search(r"\(--alpha (\S+?),? ", said)
    if named:
        assert report.main([*told, f"--alpha={named[1]}"]) == 0


def interval_run(path):
    """A workdir whose interval certificate tried 0.05, 0.1 and 0.15."""
    tried = dict(name="interval", radii=[0.05, 0.1, 0.15], logit_slack=1e-9)
    radius = np.array([0.15, 0.15, 0.05, 0.0])
    c = Certificates(
        index=np.arange(4),
        label=np.zeros(4, int),
        predicted=np.zeros(4, int),
        radius=radius,
        n=np.ones(4, int),
        seconds=np.zeros(4),
        logits=np.tile([1.0, 0.0], (4, 1)),
        least_margins=np.where(radius[:, None] >= tried["radii"], 0.5, -0.5),
    )
    header = dict(method="interval", norm="linf", alpha=0, num_classes=2)
    header |= dict(procedure=tried, format=records.FORMAT_1)
    with Writer(path / reports.RECORD, header) as writer:
        writer.append(c)
    return path


def test_table_of_an_interval_certificate_is_read_back_as_what_it_is(tmp_path):
    path, table = interval_run(tmp_path / "run"), tmp_path / "t.tsv"
    table.write_text(reports.report([path], form="tsv"))
    radii = [0, 8 / 255, 0.05, 0.1, 0.15]
    ours, theirs = reports.entries([path, table], radii=radii)
    expected = [1, np.nan, 0.75, 0.5, 0.5]
    for entry in (ours, theirs):
        np.testing.assert_array_equal(entry.summary.certified, expected)
        assert entry.certificates.header["norm"] == "linf"
    said = reports.report([table], sigma=0.5, alpha=0.001, n=100)
    assert "at linf radius" in said and "a table, as told here, interval" in said
    for word in ("smoothing", "constant classifier", "sigma", "noise"):
        assert word not in said
    with pytest.raises(InputError, match=names("interval", "t", "--sigma")):
        reports.report([table], sigma={"t": 0.5})
    # as the field's own readers go about it
    cells = [line.split("\t") for line in table.read_text().splitlines()[1:]]
    share = np.mean([float(c[3]) >= 0.15 and c[4] == "1" for c in cells])
    assert share == 0.5


def test_radii_of_the_table_without_radii_option_are_those_that_were_tried(tmp_path):
    table = tmp_path / "t.tsv"
    table.write_text(reports.report([interval_run(tmp_path / "run")], form="tsv"))
    assert radii_of(table) == [0.05, 0.1, 0.15]


def test_classes_beyond_the_header_are_refused_by_the_writer_as_by_the_reader(tmp_path):
    c = records.load(workdir(tmp_path / "run") / reports.RECORD)
    file = tmp_path / "other.jsonl"
    with Writer(file, HEADER) as writer:
        with pytest.raises(InputError, match=names("image 2", "class", 1)):
            writer.append(c._replace(label=np.array([1, 1, 9, 1])))
        assert len(file.read_text().splitlines()) == 1, "nothing was written"
        with pytest.raises(InputError, match=names("image 0", "radius")):
            writer.append(c._replace(radius=np.array([np.inf, 0, 0, 0])))
        writer.append(c)
        with pytest.raises(InputError, match=names("image 0", "before")):
            writer.append(c)
    assert len(records.load(file).index) == 4
    with pytest.raises(InputError, match=names("line 1", "alpha")):
        Writer(tmp_path / "third.jsonl", HEADER | dict(alpha=2))
    assert not (tmp_path / "third.jsonl").exists()


def test_record_that_is_given_twice_is_refused(tmp_path):
    run = workdir(tmp_path / "run")
    with pytest.raises(InputError, match=names("run", "twice")):
        reports.entries([run, run / reports.RECORD])


def test_report_that_cannot_be_written_leaves_the_one_before(
    tmp_path, capsys, monkeypatch
):
    run = workdir(tmp_path / "run")
    monkeypatch.setitem(reports.FORMS, "html", lambda found: "<html>" + "x" * 100)
    assert report.main([str(run)]) == 0
    page = (run / "report.html").read_text()
    write = Path.write_bytes

    def half(path, data):
        write(path, data[: len(data) // 2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", half)
    for words in (
        [str(run)],
        [str(run), "--format=html", f"--out={run / 'report.html'}"],
    ):
        assert report.main(words) == 1
        said = capsys.readouterr().err
        assert (
            f"while writing {run / 'report.html'}" in said and "Traceback" not in said
        )
        assert (run / "report.html").read_text() == page
    assert not [p for p in run.iterdir() if "part" in p.name]


def test_out_may_be_a_link_or_a_pipe(tmp_path, capfd):
    run, target = workdir(tmp_path / "run"), tmp_path / "target.txt"
    (tmp_path / "link").symlink_to(target)
    assert report.main([str(run), "--out", str(tmp_path / "link")]) == 0
    assert (tmp_path / "link").is_symlink()
    text = target.read_text()
    assert report.main([str(run), "--out", "/dev/stdout"]) == 0
    assert capfd.readouterr().out == text == reports.report([run])
