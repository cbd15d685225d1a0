"""Tables and figures of Sun et al. (2024), from logs and runs made up so that every number
is known beforehand."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from command_line import end
from refusals import names, tells

from jaxcert import paper
from jaxcert.certificate import Certificates
from jaxcert.certificates.statistics import clopper_pearson_lower, smoothing_radius
from jaxcert.errors import InputError
from jaxcert.papers import agreement, sun, sun_figures, sun_page, sun_rows
from jaxcert.papers.exhibits import as_csv
from jaxcert.papers.sun_rows import ALPHA, METHODS, Key, N, Source, key_of_name, logs

CATRS = Key("CAT-RS", 0.5)
IMAGES = 1000
SHARES = (623, 568, 505, 446, 385, 327, 271, 206)
"""Images of 1,000 at radius 0, 0.25, ... 1.75 in the row of CAT-RS at sigma 0.5."""
ACR = 0.757


def table(path, *, wrong=()):
    """A log with exactly the row of CAT-RS; images in `wrong` are wrong."""
    rows = np.arange(IMAGES)
    steps = (rows[:, None] < np.array(SHARES)).sum(1)  # 1 + radius / 0.25; 0: wrong
    # ACR = 0.25 sum of shares above 0 + all shares times what is added to each radius
    more = (ACR - 0.25 * sum(SHARES[1:]) / IMAGES) / (SHARES[0] / IMAGES)
    lines = ["idx\tlabel\tpredict\tradius\tcorrect\ttime"]
    for i, step in enumerate(steps.tolist()):
        right = step > 0 and i not in wrong
        radius = 0.25 * (step - 1) + more if step else 0.3
        lines.append(f"{i}\t0\t{0 if right else 1}\t{radius}\t{int(right)}\t1.0")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")


@pytest.fixture(autouse=True)
def _logs_are_small(monkeypatch):
    monkeypatch.setattr(sun_rows, "IMAGES", IMAGES)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two logs, in one of which an image of radius 0.378 is wrong, and other files."""
    folder = tmp_path_factory.mktemp("logs")
    table(folder / "mine/cifar10_catrs_sigma0.50.tsv")
    table(folder / "cifar10/sun/noise_0.5.tsv", wrong=[SHARES[2]])
    (folder / "README.md").write_text("words")
    (folder / "cifar10_catrs_sigma0.50.tsv_acc").write_text("0 0.6\n")
    small = "idx\tlabel\tpredict\tradius\tcorrect\ttime\n0\t1\t1\t0.3\t1\t1.0\n"
    (folder / "cifar10_macer_sigma0.50.tsv").write_text(small)
    return folder


def run(votes, *, sigma=0.5, n=1000, label=0, **header):
    """A record of CERTIFY on two classes with so many votes for class 0 of each image."""
    votes = np.asarray(votes)
    p_lower = clopper_pearson_lower(votes, n, ALPHA)
    radius = smoothing_radius(votes, n, ALPHA, sigma)
    given = dict(method="smoothing", norm="l2", sigma=sigma, alpha=ALPHA)
    given |= dict(procedure=dict(name="certify", n0=100, n=n), num_classes=2)
    return Certificates(
        index=np.arange(len(votes)),
        label=np.full(len(votes), label),
        predicted=np.where(radius > 0, 0, -1),
        radius=radius,
        n=np.full(len(votes), n),
        seconds=np.zeros(len(votes)),
        p_lower=p_lower,
        counts=np.stack([votes, n - votes], 1),
        header=given | header,
    )


def log_of(radius, *, sigma=0.5, predicted=0):
    """A log with these radii as printed; label 0."""
    count = len(radius)
    procedure = dict(name="certify", n0=100, n=N)
    return Certificates(
        index=np.arange(count),
        label=np.zeros(count, int),
        predicted=np.broadcast_to(predicted, count),
        radius=np.asarray(radius, float),
        n=np.full(count, N),
        seconds=np.ones(count),
        header=dict(
            format="tsv",
            method="smoothing",
            norm="l2",
            sigma=sigma,
            alpha=ALPHA,
            procedure=procedure,
        ),
    )


def rows_of(text):
    return list(csv.DictReader(text.splitlines()))


@pytest.mark.parametrize(
    "name, key",
    [
        ("mit/cifar10_catrs_sigma0.50.tsv", CATRS),
        ("data/certify/cifar10/ours/noise_1.0.tsv", Key("Sun et al.", 1.0)),
        ("cifar10_gaussian_m1_sigma0.50.tsv", Key("Gaussian", 0.5, "m1")),
        ("cifar10_gaussian_m1_sigma0.25.tsv", "no row gaussian_m1 at sigma 0.25"),
        ("cifar10_gaussian_cohen_sigma0.50.tsv", "no row gaussian_cohen"),
        ("imagenet_catrs_sigma1.00.tsv", "of imagenet"),
        ("cifar10_catrs_sigma0.50.tsv_acc", "its name is not such as"),
        ("cifar10_other_sigma0.50.tsv", "other is no method"),
        ("cifar10_catrs_sigma0.12.tsv", "no row catrs at sigma 0.12"),
    ],
)
def test_the_row_of_a_log_is_read_off_its_name(name, key):
    found = key_of_name(name)
    assert found == key if isinstance(key, Key) else key in found


def test_a_log_is_held_against_every_cell_of_its_row(folder):
    found, left_out = logs(folder)
    assert [(s.key, s.name) for s in found] == [
        (CATRS, "mine/cifar10_catrs_sigma0.50.tsv"),
        (Key("Sun et al.", 0.5), "cifar10/sun/noise_0.5.tsv"),
    ]
    assert {name for name, _ in left_out} == {
        "README.md",
        "cifar10_catrs_sigma0.50.tsv_acc",
        "cifar10_macer_sigma0.50.tsv",
    }
    assert sun.differing([found[0]]) == []
    # the log of sun has the row of CAT-RS but for one image at 0.378, and an ACR of 0.7566
    one = sun.differing([found[1]._replace(key=CATRS)])
    assert [(column, was, round(v, 6)) for _, column, was, v in one] == [
        ("ca_0.00", 62.3, 62.2),
        ("ca_0.25", 56.8, 56.7),
    ]
    rows = rows_of(as_csv(sun.table_2(found)))
    published, log = (
        r for r in rows if r["method"] == "CAT-RS" and r["sigma"] == "0.5"
    )
    assert (published["source"], published["ca_1.75"]) == ("published", "20.6")
    assert (log["images"], log["source"]) == ("1000", found[0].name)
    numbers = [float(log[column]) for column in ("acr", "ca_1.75", "ca_2.00")]
    assert numbers == pytest.approx([ACR, 20.6, 0.0])


def test_a_cell_agrees_up_to_half_a_unit_of_its_last_digit():
    assert not sun.differs("ca_0.50", 55.95, 56.0) and not sun.differs(
        "acr", 0.7565, 0.757
    )
    assert sun.differs("ca_0.50", 55.94, 56.0) and sun.differs("acr", 0.7564, 0.757)


def test_votes_of_a_log_are_the_fewest_that_prove_its_radius():
    counts = np.array([60_000, 81_600, 99_000, N - 1, N])
    printed = [float(f"{r:.3g}") for r in smoothing_radius(counts, N, ALPHA, 0.5)]
    k = np.round(
        sun_figures.vote_shares(Source(CATRS, "log", log_of(printed), True)) * N
    )
    proven = smoothing_radius(k, N, ALPHA, 0.5)
    before = smoothing_radius(k - 1, N, ALPHA, 0.5)
    assert (before < printed).all() and (proven >= printed)[:-1].all()
    assert k[-1] == N and printed[-1] > proven[-1], (
        "n votes cannot prove what is printed"
    )


def test_figure_3_is_one_minus_the_share_that_is_right_with_k_of_n():
    # right with 600, 900 and 1000 of 1000 votes, and one that abstains
    source = Source(CATRS, "mine", run([600, 900, 1000, 500]), False)
    rows = rows_of(as_csv(sun_figures.figure_3([source])))
    at = {float(r["k_over_n"]): float(r["ecdf"]) for r in rows}
    assert len(at) == 501
    assert [at[x] for x in (0.5, 0.6, 0.601, 0.9, 0.901, 1.0)] == [
        *(0.25, 0.25, 0.5, 0.5, 0.75, 0.75)
    ]
    assert sun_figures.figure_3([]).missing


def test_figure_4_has_the_weights_of_the_authors_code():
    rows = rows_of(as_csv(sun_figures.figure_4()))
    weights = [round(float(r["weight"]), 3) for r in rows]
    assert weights == [1.0] * 13 + [2.138, 3.42, 4.976, 7.206]
    assert [float(r["radius"]) for r in rows[:11]] == [0.0] * 11
    formula = [round(float(r["printed_formula"]), 2) for r in rows[12:16]]
    assert formula == [1.0, 1.32, 1.71, 2.27], "Phi^-1(p) / Phi^-1(3/4)"


def test_figure_5_is_the_mean_of_tenths_of_p_before_and_after():
    rows = dict(p=[0.0, 0.05, 0.3, 1.0], norm=[1.0, 3.0, 5.0, 9.0])
    rows |= dict(norm_before=[1.0, 1.0, 2.0, 0.5])
    source = Source(CATRS, "mine", run([900]), False, dict(rows=rows))
    part = source._replace(name="a part", key=source.key._replace(parts="discard"))
    both = sun_figures.figure_5([part, source])
    assert {row["source"] for row in rows_of(as_csv(both))} == {"mine", "a part"}
    labels = both.figure.axes[0].get_legend_handles_labels()[1]
    assert labels == ["mine, before the attack", "mine, after the attack"]
    alone = sun_figures.figure_5([part]).figure.axes[0].get_legend_handles_labels()[1]
    assert alone == ["a part, before the attack", "a part, after the attack"]
    found = rows_of(as_csv(sun_figures.figure_5([source])))
    assert [
        [float(r[k]) for k in ("p_from", "images", "before", "after")] for r in found
    ] == [
        [0.0, 2, 1.0, 2.0],
        [0.3, 1, 2.0, 5.0],
        [0.9, 1, 0.5, 9.0],
    ]
    del rows["norm_before"]
    assert sun_figures.figure_5([source]).missing


def test_rows_of_table_3_alone_are_drawn_where_there_are_no_others():
    part = Key(METHODS["sun"], 0.5, "discard")
    sources = [
        Source(CATRS, "whole", run([900]), False),
        Source(part, "part", run([900]), False),
    ]
    for given, drawn in (
        (sources, ["CAT-RS, run"]),
        (sources[1:], ["Sun et al. (discard), run"]),
    ):
        found = sun_figures.figure_3(given)
        assert found.figure.axes[0].get_legend_handles_labels()[1] == drawn
        assert {row[2] for row in found.rows} == {s.name for s in given}


def test_a_radius_that_no_votes_prove_is_no_share():
    source = Source(
        CATRS, "mine", run([1000, 400]), False
    )  # 1,000 of 1,000: radius 1.23
    (row,) = [r for r in sun.table_2([source]).shown[1] if "run" in r[0]]
    head = sun.table_2([source]).shown[0]
    cells = dict(zip(head, row, strict=True))
    assert cells["1"].startswith("50.0") and cells["1.25"] == "–" == cells["1.5"]


def test_runs_of_a_row_are_called_by_data_set_and_seed():
    configs = [dict(seed=seed) for seed in (0, 1, 1)]
    made = [
        Source(CATRS, f"name {i}", run([900], dataset="digits", config=c), False)
        for i, c in enumerate(configs)
    ]
    told = [sun_rows.short_name(source, made) for source in made]
    assert told == ["run, digits, seed 0", "name 1", "name 2"]


def test_table_1_says_of_how_many_images_a_ratio_is():
    group = dict(easy=dict(mean=3.0, images=9), hard=dict(mean=2.0, images=1))
    source = Source(
        CATRS, "mine", run([900]), False, group | dict(ratio=1.5, ratio_error=0.25)
    )
    (row,) = [r for r in sun.table_1([source]).shown[1] if r[1] == "run"]
    assert row[3:] == [
        "3.00 <small>(9)</small>",
        "2.00 <small>(1)</small>",
        "1.50 <small>±0.25</small>",
    ]


def test_what_discards_nothing_has_no_remaining_data():
    sources = [
        Source(Key(METHODS["sun"], 0.5, parts), parts, run([900]), False, None, kept)
        for parts, kept in (("discard+reweight", 0.75), ("reweight", 1.0), ("", 0.5))
    ]
    own = [row for row in sun.remaining_data(sources).rows if row[1] != "published"]
    assert own == [[0.5, "discard+reweight", 75.0], [0.5, "", 50.0]]


def test_cells_below_gaussian_training_of_their_own_table_are_grey():
    m1 = sun_rows.published()[Key(METHODS["gaussian"], 0.5, "m1")]
    rows = sun.table_3([]).shown[1]
    (gaussian,) = [r for r in rows if r[0] == "0.5 Gaussian (m1)"]
    assert not any("weak" in cell for cell in gaussian)
    (whole,) = [r for r in rows if r[0] == "0.5 Sun et al."]
    known = sun_rows.published()[Key(METHODS["sun"], 0.5)]
    below = [known[c] < m1[c] for c in m1]
    assert ["weak" in cell for cell in whole[1 : 1 + len(below)]] == below


def test_agreement_of_draws_of_one_network():
    # at 1,000 of 1,000 votes a log shows its largest radius; 900 and 90,000 agree
    radius = [
        float(f"{r:.3g}") for r in smoothing_radius([90_000, N, 60_000], N, ALPHA, 0.5)
    ]
    log = log_of([*radius, 0.1], predicted=[0, 0, 1, -1])
    found = agreement.agreement(run([900, 1000, 700, 500]), log)
    assert found.same.tolist() == [True, True, False, False]
    votes = found.votes[:2]
    assert votes[:, 0].tolist() == [0.9, 1.0]
    assert np.allclose(votes[:, 1], [0.9, 1.0], atol=2e-3)
    assert (found.p_value[:2] > 0.9).all()
    # 700 of 1,000 for one class, and at most 40,000 of 100,000 by the log: not by chance
    assert found.p_value[2] < 1e-12 and np.isnan(found.p_value[3])
    assert found.beyond == 1
    ours = smoothing_radius([900, 1000], 1000, ALPHA, 0.5)
    assert found.mean == pytest.approx(np.mean(ours - radius[:2]))
    # both differences are those of n = 1,000 instead of 100,000, up to the third digit
    assert found.of_settings == pytest.approx(found.mean, abs=0.004)


def test_votes_of_another_network_are_beyond_the_draws():
    radius = smoothing_radius([95_000, 99_900], N, ALPHA, 0.5)
    log = log_of([float(f"{r:.3g}") for r in radius])
    found = agreement.agreement(run([900, 970]), log)
    assert found.beyond == 2 and found.beyond_by_chance == 1
    assert "not of one network" in sun_page.agreement_text(found)[-1]
    # 30 of 1,000 against, and 100 of 100,000: binomial, so 30 or more of 130 at 1/101
    assert found.p_value[1] < 1e-12


def test_other_classes_and_abstentions_speak_against_one_network():
    radius = [float(f"{r:.3g}") for r in smoothing_radius([99_000] * 3, N, ALPHA, 0.5)]
    log = log_of(radius, predicted=[1, 1, -1])
    found = agreement.agreement(run([990, 500, 990]), log)
    assert not found.same.any() and found.beyond == 3
    text = sun_page.agreement_text(found)
    assert text[-1].endswith("not of one network.")
    # near one half the draws decide: 549 of 1,000 are no majority, 50,700 of 100,000 are
    (near,) = smoothing_radius([50_700], N, ALPHA, 0.5)
    # two majorities are none of them: CERTIFY states one of them with probability alpha
    for predicted, k, beyond in ((0, 500, 0), (-1, 552, 0), (1, 552, 1)):
        c = log_of([float(f"{near:.3g}")], predicted=[predicted])
        found = agreement.agreement(run([k]), c)
        assert found.beyond == beyond


def test_where_both_abstain_there_is_no_verdict():
    found = agreement.agreement(run([500]), log_of([0.1], predicted=[-1]))
    assert found.beyond == 0 and found.beyond_by_chance == 0


@pytest.mark.parametrize("sigma", [0.25, None])
def test_records_of_two_sigmas_do_not_compare(sigma):
    record = run([900])._replace(header=run([900]).header | dict(sigma=sigma))
    with pytest.raises(InputError, match=names("sigma", sigma)):
        agreement.agreement(record, log_of([0.5]))


def write_run(path, votes, *, method, norms=None, kept=None):
    """A finished run of CIFAR-10 whose record has these votes."""
    from jaxcert.records import FORMAT_1, Writer

    path.mkdir(parents=True)
    header = dict(format=FORMAT_1, dataset="cifar10", split="test", checkpoint="c")
    c = run(votes, config=dict(method=method), **header)
    with Writer(path / "certificates.jsonl", c.header) as writer:
        writer.append(c)
    if norms:
        group = dict(images=10, error=0.1)
        easy, hard = (group | dict(mean=mean) for mean in norms)
        ratio = dict(ratio=norms[0] / norms[1], ratio_error=0.1, checkpoint="c")
        text = json.dumps(dict(easy=easy, hard=hard, **ratio))
        (path / "gradient_norms.json").write_text(text)
    if kept is not None:
        lines = [dict(step=4, split="refresh", kept=k) for k in (kept, 0.1)]
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (path / "metrics.jsonl").write_text(text)


def test_command_writes_every_table_and_figure(folder, tmp_path, capsys):
    write_run(
        tmp_path / "runs/a",
        [900, 1000, 500],
        method=dict(name="catrs"),
        norms=(3.0, 2.0),
    )
    parts = dict.fromkeys(("discard", "reweight", "adversarial"), True)
    write_run(tmp_path / "runs/b", [900], method=dict(name="sun", **parts), kept=0.75)
    words = ["sun", "--logs", str(folder), "--workdir", str(tmp_path / "runs")]
    assert paper.main(words) == 0
    said = capsys.readouterr().out
    assert "mine/cifar10_catrs_sigma0.50.tsv: agrees in every cell" in said
    assert "left out README.md: its name is not such as" in said
    assert "a against mine/cifar10_catrs_sigma0.50.tsv: Of 3 images" in said
    out = tmp_path / "runs"
    written = {path.name for path in out.iterdir() if path.is_file()}
    figures = {f"figure_{i}.{form}" for i in (2, 3, 4) for form in ("csv", "pdf")}
    tables = {f"table_{i}.csv" for i in (1, 2, 3)}
    more = {"differing_cells.csv", "remaining_data.csv", "files.csv", "paper.html"}
    assert written == figures | tables | more | {"agreement_a.csv", "agreement_b.csv"}
    assert (out / "figure_3.pdf").read_bytes().startswith(b"%PDF")
    norms = [
        r for r in rows_of((out / "table_1.csv").read_text()) if r["source"] == "a"
    ]
    assert [r["easy_over_hard"] for r in norms] == ["1.5"]
    kept = rows_of((out / "remaining_data.csv").read_text())
    assert [
        (r["source"], r["remaining_percent"]) for r in kept if r["sigma"] == "0.5"
    ] == [
        ("published", "80.0"),
        ("b", "75.0"),
    ]
    page = (out / "paper.html").read_text()
    assert page.count("<svg") == 3 and "Table 2: CIFAR-10" in page


def test_what_is_no_folder_of_logs_is_refused(tmp_path, capsys):
    missing = tmp_path / "missing"
    status, said = end(
        capsys, paper, "sun", "--logs", missing, "--workdir", tmp_path / "w"
    )
    assert status == 2 and tells(said, "folder", missing, "--logs")
    (tmp_path / "logs").mkdir()
    with pytest.raises(InputError, match=names("logs", "log", "row")):
        logs(tmp_path / "logs")
    status, said = end(capsys, paper, "sun", "--workdir", tmp_path / "w")
    assert (
        status == 2
        and tells(said, tmp_path / "w", "--logs")
        and not (tmp_path / "w").exists()
    )


def test_a_log_of_another_sigma_than_its_name_is_left_out(tmp_path):
    table(tmp_path / "cifar10_catrs_sigma0.25.tsv")  # radii up to 1.88
    with pytest.raises(InputError, match=names("radius", "sigma", 0.25, 0.953)):
        logs(tmp_path)
    table(tmp_path / "cifar10_catrs_sigma0.50.tsv")
    found, left_out = logs(tmp_path)
    assert [s.key for s in found] == [CATRS]
    assert [name for name, _ in left_out] == ["cifar10_catrs_sigma0.25.tsv"]


def test_two_logs_of_one_row_are_refused(tmp_path):
    for name in ("cifar10_catrs_sigma0.50.tsv", "cifar10_catrs_sigma0.5.tsv"):
        table(tmp_path / name)
    with pytest.raises(InputError, match=names("two", "logs")):
        logs(tmp_path)
