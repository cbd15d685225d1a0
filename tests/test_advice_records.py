"""What readers of records, reports and the commands beside certify advise works: the fault
ends in the sentence, what it advises does not."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil

import jax
import numpy as np
import pytest
from refusals import names
from study_runs import of_counts
from study_runs import workdir as study_run

from jaxcert import (
    attack,
    certify,
    cli,
    generate,
    gradient_norms,
    quality,
    records,
    report,
)
from jaxcert import config as configs
from jaxcert.analysis import report as reports
from jaxcert.certificates import building
from jaxcert.data import opened
from jaxcert.errors import InputError, exit_cleanly
from jaxcert.methods import _smoothing
from jaxcert.workdirs.checkpoint import Checkpoints

# Tables of others. A line is fields with spaces between, which are tabs in the file.

HEAD = "idx label predict radius correct time"
ROW = "0 1 1 0.500 1 0:00:01"
VOTES, VOTED = f"{HEAD} nA n p_lower", f"{ROW} 990 1000 0.9"


def line(**changed):
    return " ".join(
        (dict(zip(HEAD.split(), ROW.split(), strict=True)) | changed).values()
    )


def votes(**changed):
    named = dict(zip(VOTES.split(), VOTED.split(), strict=True)) | changed
    return " ".join(named.values())


# (words of the sentence, lines with the fault, lines as advised)
TABLES = [
    ("delete that line if it was cut off", [HEAD, ROW, "1 1"], [HEAD, ROW]),
    ("delete one of the two lines", [HEAD, ROW, line(time="0:00:02")], [HEAD, ROW]),
    ("has a header and no rows: name another file", [HEAD], [HEAD, ROW]),
    ("lacks idx; name another file", [HEAD.replace("idx", "i"), ROW], [HEAD, ROW]),
    (
        "lacks radius .of CERTIFY. or correct .of PREDICT.",
        ["idx label predict time", "0 1 1 0:00:01"],
        ["idx label predict correct time", "0 1 1 1 0:00:01"],
    ),
    (
        "rename the column of the certified radii radius",
        [HEAD.replace("radius", "radius_l2"), ROW],
        [HEAD, ROW],
    ),
    (
        "and add a column norm",
        [HEAD.replace("radius", "radius_linf"), ROW],
        [f"{HEAD} norm", f"{ROW} linf"],
    ),
    (
        "restore the column radius",
        [VOTES.replace("radius ", ""), VOTED],
        [VOTES, VOTED],
    ),
    (
        "name the one of the certification",
        ["idx label predict correct time attack", "0 1 1 1 0:00:01 pgd"],
        [HEAD, ROW],
    ),
    ("leave one such column", [f"{HEAD} label", f"{ROW} 1"], [HEAD, ROW]),
    (
        "restore the column n",
        [f"{HEAD} nA", f"{ROW} 990"],
        [f"{HEAD} nA n", f"{ROW} 990 1000"],
    ),
    ("or delete nA", [f"{HEAD} nA", f"{ROW} 990"], [HEAD, ROW]),
    (
        "restore that column .it is l2",
        [f"{HEAD} norm", f"{ROW} x"],
        [f"{HEAD} norm", f"{ROW} l2"],
    ),
    (
        "or rename it",
        [f"{HEAD} norm", f"{ROW} 3.25"],
        [f"{HEAD} length", f"{ROW} 3.25"],
    ),
    (
        "it is such as interval/interval",
        [f"{HEAD} certificate", f"{ROW} x"],
        [f"{HEAD} certificate", f"{ROW} interval/interval"],
    ),
    (
        "it has numbers with semicolons",
        [f"{HEAD} tried", f"{ROW} x"],
        [f"{HEAD} tried", f"{ROW} 0.25;0.5"],
    ),
    (
        "split the file",
        [f"{HEAD} norm", f"{ROW} l2", f"{line(idx='1')} linf"],
        [f"{HEAD} norm", f"{ROW} l2"],
    ),
    (
        "or rename the column if it says something else",
        [f"{HEAD} norm", f"{ROW} l2", f"{line(idx='1')} linf"],
        [f"{HEAD} other", f"{ROW} l2", f"{line(idx='1')} linf"],
    ),
    ("has label 'x', .*: restore it", [HEAD, line(label="x")], [HEAD, ROW]),
    ("both count from 0", [HEAD, line(idx="-1")], [HEAD, line(idx="0")]),
    ("an abstention is -1", [HEAD, line(predict="-2")], [HEAD, "0 1 -1 0.0 0 0:00:01"]),
    ("a number from 0 up", [HEAD, line(radius="-1")], [HEAD, line(radius="0")]),
    (
        "an abstention has radius 0",
        [HEAD, "0 1 -1 0.5 0 0:00:01"],
        [HEAD, "0 1 -1 0 0 0:00:01"],
    ),
    (
        "has correct 0 for .*: restore it",
        [HEAD, line(correct="0")],
        [HEAD, line(correct="1")],
    ),
    ("it counts seconds", [HEAD, line(time="-1")], [HEAD, line(time="1")]),
    ("it counts samples", [VOTES, votes(nA="0", n="-1")], [VOTES, votes(n="1000")]),
    ("nA is from 0 to n", [VOTES, votes(nA="1001")], [VOTES, votes(nA="1000")]),
    ("is from 0 to 1", [VOTES, votes(p_lower="2")], [VOTES, votes(p_lower="0.9")]),
    ("up to one half nothing", [VOTES, votes(nA="500")], [VOTES, votes(nA="501")]),
    ("without p_lower: restore it", [VOTES, votes(p_lower="nan")], [VOTES, VOTED]),
    ("up to 1/2 nothing", [VOTES, votes(p_lower="0.5")], [VOTES, VOTED]),
]


def table(path, lines):
    path.write_text("\n".join("\t".join(text.split(" ")) for text in lines) + "\n")
    return path


@pytest.fixture
def ends(capsys):
    """(exit status, what was said) of a command."""

    def run(command, *words):
        capsys.readouterr()
        status = exit_cleanly(lambda: command.main([str(word) for word in words]))
        return status, capsys.readouterr().err

    return run


def assert_follows(ends, said, command, fault, advised):
    status, sentence = ends(command, *fault)
    assert status == 2 and re.search(said, sentence), sentence
    status, sentence = ends(command, *advised)
    assert status == 0, sentence


@pytest.mark.parametrize(
    "said,fault,advised", TABLES, ids=[row[0][:30] for row in TABLES]
)
def test_tables(ends, tmp_path, said, fault, advised):
    path = table(tmp_path / "t.tsv", fault)
    status, sentence = ends(report, path)
    assert status == 2 and re.search(said, sentence), sentence
    assert ends(report, table(path, advised))[0] == 0


def test_radii_of_a_table_above_their_votes(ends, tmp_path):
    """Told by image, as lines of a table may be comments; both ways out work."""
    false = votes(idx="7", radius="1.0", nA="700", p_lower="0.65")
    path = table(tmp_path / "t.tsv", ["# made by hand", VOTES, "", VOTED, false])
    told = [path, "--sigma=0.5", "--alpha=0.001"]
    status, said = ends(report, *told)
    assert status == 2 and "delete the lines of the images (7)" in said
    assert "correct what --sigma, --alpha and --n say of it" in said
    assert ends(report, path, "--sigma=4", "--alpha=0.001")[0] == 0
    text = path.read_text().splitlines()
    path.write_text("\n".join(t for t in text if not t.startswith("7")) + "\n")
    assert ends(report, *told)[0] == 0


# What a command line tells of tables, and reports of several records.

REPORTS = [
    (
        "no format text|needs vote prob.*with --sigma",
        "{a} --format=csv-votes",
        "{a} --format=csv-votes --sigma=0.5",
    ),
    ("--sigma has two numbers .*: leave one", "{a} --sigma=1,2", "{a} --sigma=1"),
    ("give one number for all", "{a} --sigma=x", "{a} --sigma=1"),
    ("or NAME=NUMBER for each", "{a} {b} --sigma=a=x", "{a} {b} --sigma=a=1,b=1"),
    ("give one or the other", "{a} {b} --sigma=1,a=2", "{a} {b} --sigma=a=2"),
    ("give one or the other", "{a} {b} --sigma=1,a=2", "{a} {b} --sigma=1"),
    ("give such as 0.5", "{a} --sigma=-1", "{a} --sigma=0.5"),
    ("give such as 0.001", "{a} --alpha=1", "{a} --alpha=0.001"),
    ("give such as 100000", "{a} --n=0.5", "{a} --n=100000"),
    ("leave votes out of --n", "{votes} --n=votes=10", "{votes}"),
    (
        "leave run out of --sigma",
        "{run} {a} --sigma=run=1,a=1",
        "{run} {a} --sigma=a=1",
    ),
    ("leave linf out of --sigma", "{linf} --sigma=linf=1", "{linf}"),
    (
        "correct what --sigma, --alpha",
        "{a} --sigma=0.05 --alpha=0.001 --n=100",
        "{a} --sigma=0.5 --alpha=0.001 --n=100",
    ),
    (
        "--alpha 0.01, .* reaches",
        "{wide} --sigma=0.5 --alpha=0.001 --n=100000",
        "{wide} --sigma=0.5 --alpha=0.01 --n=100000",
    ),
    ("take one of these names", "{a} {b} --baseline=x", "{a} {b} --baseline=a"),
    ("take one of these names", "{a} {b} --sigma=x=1", "{a} {b} --sigma=b=1"),
    ("report them one at a time", "{a} {linf}", "{a}"),
    ("give one PATH", "{a} {b} --format=tsv", "{a} --format=tsv"),
    ("name each record once", "{a} {a}", "{a}"),
    ("leave --baseline out", "--study {one} {two} --baseline=a", "--study {one} {two}"),
    (
        "no format tsv: take text, csv",
        "--study {one} {two} --format=tsv",
        "--study {one} {two} --format=csv",
    ),
    (
        "above 0: give one with --radii",
        "--study {one} {two} --radii=0",
        "--study {one} {two} --radii=0,36/255",
    ),
    ("same system.*: leave one out", "--study {one} {again}", "--study {one}"),
    ("with the same certify.start", "--study {one} {fewer}", "--study {one} {two}"),
    ("name workdirs", "--study {a}", "--study {one}"),
    (
        "of the split train, not test: certify that split",
        "--study {trained}",
        "--study {one}",
    ),
    ("certify both with the same network", "--study {mixed}", "--study {one}"),
]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reports")
    few, more = of_counts(2, 3, 5), of_counts(3, 4, 5)
    made = {
        "a": table(folder / "a.tsv", [HEAD, ROW]),
        "b": table(folder / "b.tsv", [HEAD, ROW]),
        "wide": table(folder / "wide.tsv", [HEAD, line(radius="1.95")]),
        "votes": table(folder / "votes.tsv", [VOTES, VOTED]),
        "linf": table(
            folder / "linf.tsv",
            [f"{HEAD} norm certificate", f"{ROW} linf interval/interval"],
        ),
        "one": study_run(folder / "one", test=few),
        "two": study_run(folder / "two", test=more, seed=1),
        "again": study_run(folder / "again", test=more),
        "fewer": study_run(folder / "fewer", test=of_counts(1, 1, 4), seed=1),
        "trained": study_run(folder / "trained", test=few, header=dict(split="train")),
        "mixed": study_run(folder / "mixed", test=few, train=few),
        "run": folder / "run.jsonl",
    }
    header = dict(method="smoothing", norm="l2", alpha=0.001, sigma=0.5, num_classes=3)
    header["format"] = records.FORMAT_1
    with records.Writer(made["run"], header) as writer:
        writer.append(rows(0, predicted=np.array([records.ABSTAIN])))
    path = folder / "mixed" / reports.RECORD
    head, *rest = path.read_text().splitlines()
    head = json.dumps(json.loads(head) | dict(checkpoint="another"))
    path.write_text("\n".join([head, *rest]) + "\n")
    return made


@pytest.mark.parametrize(
    "said,fault,advised", REPORTS, ids=[row[0][:30] for row in REPORTS]
)
def test_reports(ends, files, said, fault, advised):
    fault, advised = (text.format(**files).split() for text in (fault, advised))
    assert_follows(ends, said, report, fault, advised)


# Records: headers and rows that no certifier writes. All say the same way out.


def untrained(path, name, **changes):
    """A workdir of a network with its first weights."""
    config = configs.tiny(configs.load(f"configs/{name}"))
    config.update_from_flattened_dict(changes)
    model = configs.build("models", config.model)
    params, state = jax.jit(model.init)(jax.random.key(1))
    path.mkdir()
    configs.save(config, path / "config.json")
    with Checkpoints(path) as checkpoints:
        checkpoints.save_evaluation(params, state)
    return path


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A workdir of twelve training images, with the record of its test images."""
    folder = tmp_path_factory.mktemp("records")
    rng = np.random.default_rng(0)
    for split in ("train", "test"):
        np.savez(
            folder / f"{split}.npz",
            image=rng.integers(0, 256, (12, 8, 8, 1), np.uint8),
            label=np.arange(12) % 10,
        )
    path = untrained(
        folder / "run", "smoothing/digits.py", **{"data.name": f"npz:{folder}"}
    )
    assert certify.main(["--workdir", str(path)]) == 0
    return path


def changed(run, path, head=(), row=()):
    lines = (run / reports.RECORD).read_text().splitlines()
    header = json.loads(lines[0])
    for key, value in dict(head).items():
        at = header
        *outer, last = key.split(".")
        for name in outer:
            at = at[name]
        at[last] = value
    lines[0] = json.dumps(header)
    lines[1] = json.dumps(json.loads(lines[1]) | dict(row))
    path.write_text("\n".join(lines) + "\n")
    return path


WRONG = {
    "alpha": dict(head={"alpha": 2}),
    "sigma": dict(head={"sigma": "x"}),
    "method": dict(head={"method": 3}),
    "requests": dict(head={"requests": [3]}),
    "many requests": dict(head={"requests": [dict(start=0, stop=2**39, step=1)]}),
    "norm": dict(head={"norm": "l1"}),
    "n": dict(head={"procedure.n": -1}),
    "radii": dict(head={"procedure.radii": ["x"]}),
    "counts": dict(row={"counts": [1, 2]}),
}


@pytest.mark.parametrize("name", WRONG)
def test_records_are_certified_into_another_file(ends, run, tmp_path, name):
    path = changed(run, tmp_path / "c.jsonl", **WRONG[name])
    status, said = ends(report, path)
    assert status == 2, said
    assert re.search("certify (again )?into another (file|one) with --out", said), said
    other = tmp_path / "other.jsonl"
    assert (
        ends(certify, "--workdir", run, "--out", other, "--config.certify.stop=1")[0]
        == 0
    )
    assert ends(report, other)[0] == 0


def test_lines_are_restored_or_deleted(ends, run, tmp_path):
    """Also where the command is report, whose own --out is another file."""
    path, good = tmp_path / "c.jsonl", (run / reports.RECORD).read_text().splitlines()
    into = "name another file with --out of `python -m jaxcert.certify`"
    faults = [
        ([good[0].replace('"format"', '"x"'), *good[1:]], f"restore it, or {into}"),
        ([*good[:2], "{}", *good[3:]], f"delete that line .* or {into}"),
        (
            [*good[:2], json.dumps(json.loads(good[2]) | dict(label=8))],
            f"delete that line or {into}",
        ),
        (
            [*good[:2], json.dumps(json.loads(good[2]) | dict(counts=[1.0, 2.0]))],
            "delete that line and certify the image again",
        ),
    ]
    for lines, said in faults:
        path.write_text("\n".join(lines) + "\n")
        status, sentence = ends(report, path)
        assert status == 2 and re.search(said, sentence), sentence
        if "restore" not in said:
            number = int(re.search(r"line (\d+)", sentence)[1])
            lines = [*lines[: number - 1], *lines[number:]]
        else:
            lines = good
        path.write_text("\n".join(lines) + "\n")
        assert ends(report, path)[0] == 0
    for data in (b"\xff\xff\xff", good[0].encode() + b"\n\xff\n"):
        path.write_bytes(data)
        assert "is not text: name another file" in ends(report, path)[1]
    assert ends(report, run)[0] == 0


def test_a_record_that_is_written_or_not_begun(ends, run, tmp_path):
    """`wait for it, or name another file`, `finish jaxcert.certify`."""
    path, good = tmp_path / "c.jsonl", (run / reports.RECORD).read_text().splitlines()
    path.write_text(good[0] + "\n")
    status, said = ends(report, path)
    assert status == 2 and "finish `jaxcert.certify`" in said
    command = ["--workdir", run, "--config.certify.stop=1", "--out"]
    with records.Writer(path, json.loads(good[0])):
        status, said = ends(certify, *command, path)
        assert status == 2 and "wait for it, or name another file with --out" in said
        assert ends(certify, *command, tmp_path / "other.jsonl")[0] == 0
    assert ends(certify, *command, path)[0] == 0
    assert ends(report, path)[0] == 0


def test_what_stands_beside_a_record(ends, run, tmp_path):
    """Gradient norms, the reference of a config, data, and links."""
    path, good = tmp_path / "run", (run / reports.RECORD).read_text()
    shutil.copytree(run, path)
    norms = path / "gradient_norms.json"
    for way_out in (
        norms.unlink,
        lambda: gradient_norms.main([f"--workdir={path}", "--images=2"]),
    ):
        norms.write_text("{}")
        status, said = ends(report, path)
        assert status == 2 and "run it again, or delete it" in said
        way_out()
        assert ends(report, path)[0] == 0
    for value, expected in (("x", 2), (70.0, 0)):
        reference = dict(clean=value, certified=50.0, radius=0.25, paper="A")
        changed(run, path / reports.RECORD, head={"config.reference": reference})
        status, said = ends(report, path)
        assert status == expected, said
        assert not expected or "must be numbers, correct them there" in said
    changed(run, path / reports.RECORD, head={"data_digest": "0" * 16})
    status, said = ends(report, path)
    assert status == 2 and "restore the file, or give it the data" in said
    (path / reports.RECORD).write_text(good)
    assert ends(report, path)[0] == 0
    (path / "report.html").unlink()
    (path / "report.html").symlink_to(tmp_path / "elsewhere.html")
    status, said = ends(report, path)
    assert status == 2 and "remove the link" in said
    (path / "report.html").unlink()
    assert ends(report, path)[0] == 0


def test_files_that_are_none(ends, run, tmp_path):
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    for name, said in (
        ("fifo", "name a regular file"),
        ("circle", "name another file"),
    ):
        status, sentence = ends(report, tmp_path / name)
        assert status == 2 and said in sentence
    assert ends(report, run / reports.RECORD)[0] == 0


def rows(*index, **changes):
    size = len(index)
    columns = dict(
        index=np.array(index),
        label=np.zeros(size, int),
        predicted=np.zeros(size, int),
        radius=np.zeros(size),
        n=np.full(size, 3),
        seconds=np.zeros(size),
        counts=np.ones((size, 3), int),
    )
    return records.Certificates(**columns | changes)


APPENDED = [
    (names("image 1", "class", 2, "c.jsonl"), rows(1, label=np.array([3])), rows(1)),
    (names("image 1", "radius", "c.jsonl"), rows(1, radius=np.array([-1.0])), rows(1)),
    (names("image 0", "before", "c.jsonl"), rows(0), rows(1)),
    (
        names("image 1", "seconds", "c.jsonl"),
        rows(1, seconds=np.array([np.nan])),
        rows(1),
    ),
    (names("c.jsonl", "31 bits"), rows(1, n=np.array([2.0**70])), rows(1)),
]


@pytest.mark.parametrize(
    "said,fault,advised", APPENDED, ids=[row[0] for row in APPENDED]
)
def test_rows_that_are_appended(tmp_path, said, fault, advised):
    header = dict(method="smoothing", norm="l2", num_classes=3)
    with records.Writer(tmp_path / "c.jsonl", header) as writer:
        writer.append(rows(0))
        with pytest.raises(InputError, match=said):
            writer.append(fault)
        writer.append(advised)
    assert records.load(tmp_path / "c.jsonl").index.tolist() == [0, 1]


def test_rows_get_a_file_of_their_own(tmp_path):
    header = dict(method="smoothing", norm="l2")
    wider = rows(1, counts=np.ones((1, 4), int), n=np.array([4]))
    higher = rows(1, label=np.array([3]), counts=None)
    with records.Writer(tmp_path / "c.jsonl", header) as writer:
        writer.append(rows(0))
        for other, said in (
            (wider, names("counts of 4", "c.jsonl", 3)),
            (higher, names("3 classes", "class 3", "c.jsonl")),
        ):
            with pytest.raises(InputError, match=said):
                writer.append(other)
    for name, other in (("wider", wider), ("higher", higher)):
        with records.Writer(tmp_path / name, header) as writer:
            writer.append(other)


def test_attacks_and_certificates_name_their_own_command(tmp_path):
    for method, command in (("apgd", "attack"), ("lipschitz", "certify")):
        path = tmp_path / f"{method}.jsonl"
        with records.Writer(path, dict(method=method, norm="l2")) as writer:
            writer.append(rows(0))
        said = f"--out of `python -m jaxcert.{command}`, or delete this one"
        with pytest.raises(InputError, match=said):
            records.Writer(path, dict(method=method, norm="linf"))
        records.Writer(
            tmp_path / "other.jsonl", dict(method=method, norm="linf")
        ).close()
        (tmp_path / "other.jsonl").unlink()
        path.unlink()
        records.Writer(path, dict(method=method, norm="linf")).close()


# The votes of a first model.


def advised_arguments(sentence):
    command = shlex.split(re.search("`(.*)`", sentence)[1])
    assert command[:3] == ["python", "-m", "jaxcert.certify"]
    return command[3:]


def test_first_votes_are_those_of_all_training_images(ends, run, tmp_path):
    """The command covers them, whatever part of the images the config certifies; a record
    that was begun with other settings is completed with these."""
    config = configs.read(run)
    assert config.certify.stop, "the config certifies a part"
    path = run / "first votes.jsonl"
    with pytest.raises(
        InputError, match=names("first votes.jsonl", "--workdir")
    ) as caught:
        _smoothing.first_votes(str(path), 12, 10)
    given = cli.parse(
        advised_arguments(str(caught.value)),
        "",
        needs="workdir",
        record="certificates.jsonl",
    )
    source = opened.open(given.config).images["train"]
    assert given.config.certify.split == "train" and str(given.out) == str(path)
    assert list(building.selected(given.config.certify, len(source.label))) == list(
        range(12)
    )

    begun = "--config.certify.split=train --config.certify.procedure=predict"
    begun += " --config.certify.n=20 --config.certify.sigma=0.1 --config.certify.stop=2"
    status, said = ends(certify, "--workdir", run, *begun.split(), "--out", path)
    assert status == 0, said
    with pytest.raises(
        InputError, match=names("first votes.jsonl", "2 of 12")
    ) as caught:
        _smoothing.first_votes(str(path), 12, 10)
    status, said = ends(certify, *advised_arguments(str(caught.value)))
    assert status == 0, said
    share, label = _smoothing.first_votes(str(path), 12, 10)
    assert share.shape == (12, 10) and label.tolist() == [i % 10 for i in range(12)]

    with pytest.raises(
        InputError, match=names("certificates.jsonl", "test", "train", "--out FILE")
    ):
        _smoothing.first_votes(str(run / reports.RECORD), 12, 10)


# The commands beside certify.


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("networks")
    without = {"model.num_classes": 0}
    made = {
        "edm": untrained(
            folder / "edm", "edm/digits.py", **{"model.label_dropout": 0.1}
        ),
        "known": untrained(
            folder / "known", "edm/digits.py", **{"model.label_dropout": 0.0}
        ),
        "nameless": untrained(folder / "nameless", "edm/digits.py", **without),
        "cnn": untrained(folder / "cnn", "smoothing/digits.py"),
        "small": untrained(
            folder / "small", "smoothing/digits.py", **{"model.num_classes": 9}
        ),
        "other": untrained(
            folder / "other", "smoothing/digits.py", **{"model.image_shape": (9, 9, 1)}
        ),
        "lires": untrained(folder / "lires", "liresnet/digits.py"),
    }
    (folder / "cnn_generated").mkdir()
    image = np.arange(20 * 64).reshape(20, 8, 8, 1).astype(np.uint8)
    np.savez(folder / "set.npz", image=image, label=np.arange(20) % 10)
    np.savez(
        folder / "wide.npz",
        image=np.pad(image, [(0, 0), (2, 2), (2, 2), (0, 0)]),
        label=np.arange(20) % 10,
    )
    (folder / "own.py").write_text(
        "def flat(image):\n    return image.mean()\n"
        "def mean(image):\n    return image.mean((1, 2)) / 255.0\n"
    )
    return made | dict(folder=folder)


SAMPLED = "--workdir {edm} --count=2 --batch=2 --steps=2"
JUDGED = "--generated {folder}/set.npz --data=digits --count=20"
ATTACKED = "--workdir {lires} --config.certify.stop=1 --steps=1"
COMMANDS = [
    (names("--count", 0), generate, f"{SAMPLED} --count=0", SAMPLED),
    (names("--batch", -1), generate, f"{SAMPLED} --batch=-1", f"{SAMPLED} --batch=0"),
    (names("--seed", -1), generate, f"{SAMPLED} --seed=-1", f"{SAMPLED} --seed=0"),
    ("such as one of configs/edm", generate, f"{SAMPLED} --workdir {{cnn}}", SAMPLED),
    (
        "labels them by --classifier",
        generate,
        f"{SAMPLED} --workdir {{nameless}}",
        f"{SAMPLED} --workdir {{nameless}} --classifier {{cnn}}",
    ),
    (
        "leave --classifier out",
        generate,
        f"{SAMPLED} --workdir {{known}} --classifier {{cnn}}",
        f"{SAMPLED} --workdir {{known}}",
    ),
    (
        "or train it with --config.model.label_dropout=0.1",
        generate,
        f"{SAMPLED} --workdir {{known}} --classifier {{cnn}}",
        f"{SAMPLED} --classifier {{cnn}}",
    ),
    (
        "no classifier of images of .8, 8, 1.: name another",
        generate,
        f"{SAMPLED} --classifier {{other}}",
        f"{SAMPLED} --classifier {{cnn}}",
    ),
    ("check --generated", quality, f"{JUDGED} --generated {{folder}}/none.npz", JUDGED),
    (
        "give a classifier of digits",
        quality,
        f"{JUDGED} --classifier {{small}}",
        f"{JUDGED} --classifier {{cnn}}",
    ),
    (names("--count", -1), quality, f"{JUDGED} --count=-1", f"{JUDGED} --count=20"),
    ("give the --data the images are made like", quality, f"{JUDGED} --pad=12", JUDGED),
    (
        "or --pad",
        quality,
        f"{JUDGED} --generated {{folder}}/wide.npz",
        f"{JUDGED} --generated {{folder}}/wide.npz --pad=12",
    ),
    (
        "give .B,D. for .B,H,W,C.",
        quality,
        f"{JUDGED} --features own:flat",
        f"{JUDGED} --features own:mean",
    ),
    (
        "at least 1",
        gradient_norms,
        "--workdir {cnn} --images=0",
        "--workdir {cnn} --images=10",
    ),
    (
        "--workdir of a network for randomized smoothing",
        gradient_norms,
        "--workdir {lires} --images=10",
        "--workdir {cnn} --images=10",
    ),
    ("such as lip_convnet", attack, f"{ATTACKED} --workdir {{cnn}}", ATTACKED),
    (
        "--attack must be one of pgd, apgd, rays, rounding",
        attack,
        f"{ATTACKED} --attack=x",
        f"{ATTACKED} --attack=pgd --out {{tmp}}/a.jsonl",
    ),
    (names("--steps", 0), attack, f"{ATTACKED} --steps=0", ATTACKED),
    (
        "a radius above 0 among",
        attack,
        f"{ATTACKED} --config.certify.radii=(0.0,)",
        f"{ATTACKED} --config.certify.radii=(0.0,0.1) --out {{tmp}}/a.jsonl",
    ),
    ("--steps", attack, f"{ATTACKED} --steps=x", ATTACKED),
]


def test_attacks_are_printed_by_their_own_command(ends, networks, tmp_path):
    words = f"--workdir={networks['lires']} --config.certify.stop=1 --steps=1"
    path = tmp_path / "attacks.jsonl"
    assert ends(attack, *words.split(), f"--out={path}")[0] == 0
    status, said = ends(report, path)
    assert status == 2 and "`jaxcert.attack` prints them" in said
    assert ends(attack, *words.split(), f"--out={path}")[0] == 0


def last_of_each(words):
    """The last value of each option, as commands take them."""
    found = {}
    words = re.sub(" (?=[^-])", "=", words).split(" ")
    for word in words:
        name, value = word.split("=", 1)
        found[name] = value
    return [f"{name}={value}" for name, value in found.items()]


@pytest.mark.parametrize(
    "said,command,fault,advised", COMMANDS, ids=[row[0][:30] for row in COMMANDS]
)
def test_commands(ends, networks, tmp_path, monkeypatch, said, command, fault, advised):
    monkeypatch.syspath_prepend(networks["folder"])
    own = {generate: "--out {tmp}/out", quality: "--out {tmp}/out"}.get(command, "")
    fault, advised = (
        last_of_each(f"{text} {own}".strip().format(tmp=tmp_path, **networks))
        for text in (fault, advised)
    )
    assert_follows(ends, said, command, fault, advised)
