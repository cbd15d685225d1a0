"""What an error advises works: the fault, its sentence, the advice followed, no error.

Tables say which sentence is followed how. Those of certificates, methods and models of their
own are followed where they are tested.
"""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from command_line import CONFIG, ROOT
from refusals import names

from jaxcert import certify, cli, convert, quality, report, study, train
from jaxcert.errors import InputError, exit_cleanly
from jaxcert.papers import study as studies
from jaxcert.training import loop


@cache
def sentences() -> list[tuple[str, int, int]]:
    """(file, first and last line) of every InputError that is made in the library."""
    found = []
    for path in sorted((ROOT / "jaxcert").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if (
                isinstance(node, ast.Call)
                and getattr(node.func, "id", "") == "InputError"
            ):
                name = str(path.relative_to(ROOT / "jaxcert"))
                found.append((name, node.lineno, node.end_lineno))
    return found


def assert_found(caught):
    """The sentence is one of those in the list."""
    place = caught.traceback[-1]
    name = str(Path(place.path).relative_to(ROOT / "jaxcert"))
    assert any(
        file == name and first <= place.lineno + 1 <= last
        for file, first, last in sentences()
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("advice") / "run"
    arguments = ["--config", CONFIG, "--tiny", "--workdir", str(workdir)]
    assert exit_cleanly(lambda: train.main(arguments)) == 0
    assert exit_cleanly(lambda: certify.main(["--workdir", str(workdir)])) == 0
    return workdir


# (words of the sentence, arguments with the fault, arguments as advised)
PARSED = [
    (names("--config", "configs/quickstart.py"), "", f"--config {CONFIG}"),
    (names("0.25,,"), ":0.25,,", ":0.25"),
    (names("0.25,0.50", "0.25 | 0.50"), ":0.25,0.50", ":0.25"),
    (
        names("configs/nope.py", "python -m jaxcert configs"),
        "configs/nope.py",
        f"--config {CONFIG}",
    ),
    (names("--config.optim.lr.x", "x"), "optim.lr.x=1", "optim.lr=1"),
    (names("--config.optim", "accumulate"), "optim=1", "optim.accumulate=1"),
    (names("--config.optim.lr=abc", "float"), "optim.lr=abc", "optim.lr=0.1"),
    (names("seed", -1), "seed=-1", "seed=0"),
    (
        names("certify.seed", -1),
        "certify.seed=-1",
        "certify.seed=0",
    ),
]
CHECKED = [
    (names("data.batch", 0), "data.batch=0", "data.batch=1"),
    (names("data.epoch_images", -5), "data.epoch_images=-5", "data.epoch_images=0"),
    (
        names("data.order", "x"),
        "data.order=x",
        "data.order=continuous",
    ),
    (names("data.augment.crop", 8), "data.augment.crop=8", "data.augment.crop=7"),
    (
        names("data.augment.crop_fill", "x"),
        "data.augment.crop_fill=x",
        "data.augment.crop_fill=edge",
    ),
    (names("optim.name", "x"), "optim.name=x", "optim.name=sgd"),
    (
        names("optim.schedule", "x"),
        "optim.schedule=x",
        "optim.schedule=constant",
    ),
    (names("optim.lr", 0.0), "optim.lr=0", "optim.lr=1"),
    (names("optim.momentum", 2.0), "optim.momentum=2", "optim.momentum=0"),
    (names("ema", 2.0), "ema=2", "ema=0.9"),
    (names("precision", "x"), "precision=x", "precision=tf32x3"),
    (names("log.every_steps", 0), "log.every_steps=0", "log.every_steps=1"),
    (
        names("data.placement", "foo"),
        "data.placement=foo",
        "data.placement=host",
    ),
    (names("method.sigma", 0.0), "method.sigma=0", "method.sigma=0.1"),
    (names("resnt", "small_cnn"), "model.name=resnt", "model.name=small_cnn"),
    (names("split", "valid"), "certify.split=valid", "certify.split=train"),
    (
        names("certify.radii", -1.0),
        "certify.radii=(-1.,)",
        "certify.radii=(0.0,0.25,0.5)",
    ),
    (names("n", 5, "alpha", 0.001, 10), "certify.n=5", "certify.n=10"),
]
CERTIFIED = [
    (names("sigma", 0.0), "sigma=0", "sigma=0.5"),
    (names("alpha", 0.0), "alpha=0", "alpha=0.001"),
    (names("n0", 0), "n0=0", "n0=1"),
    ("take more, at least 10", "n=5", "n=10"),
    (names("chunk", -1), "chunk=-1", "chunk=0"),
    (names("procedure", "x"), "procedure=x", "procedure=predict"),
    (names("certify.step", 0), "step=0", "step=1"),
    (names("certify.batch", 0), "batch=0", "batch=1"),
    (names("certify.start=5000", 797), "start=5000", "start=0"),
    (names("split", "valid"), "split=valid", "split=train"),
    (names("certify.radii", -1.0), "radii=(-1.,)", "radii=(0.0,0.25,0.5)"),
    ("give numbers from 0 up", "--radii=x", "--radii=0,0.25,36/255"),
    ("leave one of them out", "procedure=certify --radii=0", "procedure=certify"),
    ("leave one of them out", "procedure=certify --radii=0", "--radii=0"),
]


def arguments(words, before):
    """`key=value` as overrides of the config; what begins with -- or : as it is."""
    if words.startswith(":"):
        return ["--config", CONFIG + words]
    if words.startswith("configs/"):
        return ["--config", words]
    options = [
        w if w.startswith("--") else f"--config.{w}" for w in words.split() if "=" in w
    ]
    others = [w for w in words.split() if "=" not in w]
    return [*(before if options else ()), *options, *others]


def parsed(words):
    return cli.parse(
        arguments(words, ["--config", CONFIG, "--tiny"]), "", needs="config"
    )


@pytest.mark.parametrize("said,fault,advised", PARSED, ids=lambda v: v[:30])
def test_arguments(said, fault, advised):
    with pytest.raises(InputError, match=said) as caught:
        parsed(fault)
    assert_found(caught)
    parsed(advised)


@pytest.mark.parametrize("said,fault,advised", CHECKED, ids=lambda v: v[:30])
def test_training(said, fault, advised):
    due = " certify.after_training=True"
    with pytest.raises(InputError, match=said) as caught:
        loop.check(parsed(fault + due).config)
    assert_found(caught)
    loop.check(parsed(advised + due).config)


@pytest.mark.parametrize("said,fault,advised", CERTIFIED, ids=lambda v: v[:30])
def test_certification(capsys, run, tmp_path, said, fault, advised):
    out = ["--workdir", str(run), "--out", str(tmp_path / "new.jsonl")]
    stop = [] if "start" in fault else ["--config.certify.stop=2"]
    out += [*stop, "--config.certify.n=20"]

    def status(words):
        words = [
            w if w.startswith("--") else f"--config.certify.{w}" for w in words.split()
        ]
        return exit_cleanly(lambda: certify.main([*out, *words]))

    assert status(fault) == 2
    assert re.search(said, capsys.readouterr().err)
    assert status(advised) == 0, capsys.readouterr().err


def said_by(command, words, capsys):
    status = exit_cleanly(lambda: command.main([str(w) for w in words]))
    return status, capsys.readouterr().err


def test_records(capsys, run, tmp_path):
    """`name another file with --out`, `delete that line`, `is empty: delete it`."""
    path = tmp_path / "c.jsonl"
    command = [certify, ["--workdir", run, "--out", path], capsys]
    for text in ("notes", "notes\n"):
        path.write_text(text)
        assert "name another file" in said_by(*command)[1]
    more = ["--workdir", run, "--out", tmp_path / "other.jsonl"]
    assert said_by(certify, more, capsys)[0] == 0
    good = (run / "certificates.jsonl").read_text().splitlines()
    for line in ("{}", good[1]):
        path.write_text("\n".join([*good, line]) + "\n")
        status, said = said_by(*command)
        assert status == 2 and "delete that line" in said
        number = int(re.search(r"line (\d+)", said)[1])
        lines = path.read_text().splitlines()
        path.write_text("\n".join([*lines[: number - 1], *lines[number:]]) + "\n")
        assert said_by(*command)[0] == 0
    path.write_text(
        "\n".join([*good[:2], good[2].replace('"radius": ', '"radius": 9')]) + "\n"
    )
    status, said = said_by(report, [path], capsys)
    assert status == 2 and "delete" in said
    number = int(re.search(r"lines? \(?(\d+)", said)[1])
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[: number - 1], *lines[number:]]) + "\n")
    assert said_by(*command)[0] == 0 and said_by(report, [path], capsys)[0] == 0
    path.write_text("")
    status, said = said_by(report, [path], capsys)
    assert status == 2 and "is empty: delete it and certify again" in said
    path.unlink()
    assert said_by(*command)[0] == 0
    status, said = said_by(
        certify, [*command[1], "--config.certify.sigma=0.25"], capsys
    )
    assert status == 2 and "or delete this one" in said
    path.unlink()
    assert (
        said_by(certify, [*command[1], "--config.certify.sigma=0.25"], capsys)[0] == 0
    )


REPORTS = {
    "radii": ("--radii=x", "give numbers from 0 up", "--radii=0,0.25,36/255"),
    "none": ("/nope", "run `python -m jaxcert.certify` first", ""),
    "twice": ("{run}", "name each record once", ""),
}


@pytest.mark.parametrize("fault,words,advised", REPORTS.values(), ids=REPORTS)
def test_reports(capsys, run, fault, words, advised):
    for more, expected in ((fault, 2), (advised, 0)):
        given = [w.format(run=run) for w in more.split()]
        status, said = said_by(report, ["--format=csv", run, *given], capsys)
        assert status == expected, said
        assert expected == 0 or words in said


def test_generated_images(capsys, tmp_path):
    image = np.zeros((4, 8, 8, 1), np.uint8)
    image[:] = np.arange(4)[:, None, None, None]
    path, out = tmp_path / "a.npz", tmp_path / "out"
    np.savez(path, image=image / np.float32(255), label=np.arange(4))
    command = ["--generated", path, "--out", out]
    status, said = said_by(convert, command, capsys)
    assert status == 2 and "save them as uint8" in said
    np.savez(path, image=image, label=np.arange(4))
    status, said = said_by(convert, [*command, "--seed=-1"], capsys)
    assert status == 2 and re.search(names("seed", -1), said)
    assert said_by(convert, [*command, "--seed=0"], capsys)[0] == 0
    status, said = said_by(convert, [*command, "--seed=1"], capsys)
    assert status == 2 and "name another folder by --out" in said
    other = ["--generated", path, "--out", tmp_path / "two", "--seed=1"]
    assert said_by(convert, other, capsys)[0] == 0
    judge = ["--generated", out, "--out", tmp_path / "q", "--data"]
    status, said = said_by(quality, [*judge, "digits", "--count=-1"], capsys)
    assert status == 2 and re.search(names("--count", -1), said)
    status, said = said_by(quality, [*judge, "digits", "--pad=32"], capsys)
    assert status == 2 and "or --pad" in said
    assert said_by(quality, [*judge, "digits"], capsys)[0] == 0


STUDIES = {
    "counts": (
        "--counts=5",
        names("--counts", 5, "--generated", "--edm"),
        "--counts=0",
    ),
    "negative": (
        "--counts=-1",
        names("--counts", -1),
        "--counts=0",
    ),
    "epochs": (
        "--epochs=0",
        names("--epochs", 0.0),
        "--epochs=1",
    ),
    "twice": (
        f"--config={CONFIG}",
        names("smoothing_digits_none_1x_seed0", "twice", "--config"),
        "",
    ),
    "images": (
        "--train-images=-1",
        names("--train-images", -1),
        "--train-images=0",
    ),
}


@pytest.mark.parametrize("fault,words,advised", STUDIES.values(), ids=STUDIES)
def test_studies(capsys, tmp_path, monkeypatch, fault, words, advised):
    monkeypatch.setattr(studies, "study", lambda *a, **k: [])
    monkeypatch.setattr("jaxcert.papers.study_report.show", lambda folders: 0)
    base = ["--config", CONFIG, "--tiny", "--workdir", tmp_path / "new"]
    status, said = said_by(study, [*base, *fault.split()], capsys)
    assert status == 2 and re.search(words, said)
    assert said_by(study, [*base, *advised.split()], capsys)[0] == 0
