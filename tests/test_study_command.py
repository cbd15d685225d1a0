"""The study command: every cell of the plan, once, into a report."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
from refusals import names

from jaxcert import config as configs
from jaxcert import study
from jaxcert.errors import InputError
from jaxcert.papers import study as studies

LOT = "configs/lot/digits.py"
PLAN = dict(
    generated="images",
    counts=[0, 50],
    shares=[0.5, 0.7],
    epochs=[1.0, 2.0],
    seeds=[0, 1],
    words=["--config.optim.lr=0.05"],
)
ONE = PLAN | dict(counts=[0], shares=[0.7], epochs=[1.0], seeds=[0], words=[])


def test_the_plan_is_every_combination_and_nothing_twice():
    runs = studies.runs([LOT, "configs/sortnet/digits.py"], **PLAN)
    assert len(runs) == 2 * 3 * 2 * 2 == len({run.name for run in runs})
    by_name = {run.name: run.config for run in runs}
    none = by_name["lot_digits_none_1x_seed0"]
    assert none.data.generated == "" and none.data.generated_count == 0
    mixed = by_name["lot_digits_50at0.7_2x_seed1"]
    assert (mixed.seed, mixed.data.epochs) == (1, 2 * none.data.epochs)
    assert mixed.data.generated == "images" and mixed.data.generated_count == 50
    assert mixed.data.generated_share == 0.7 and mixed.optim.lr == 0.05
    assert by_name["sortnet_digits_50at0.5_1x_seed0"].data.generated_share == 0.5


@pytest.mark.parametrize(
    "change, fault",
    [
        (dict(generated=""), names("--generated", "--edm")),
        (dict(counts=[-1]), names("--counts", -1)),
        (dict(shares=[1.5]), names("--shares", 1.5)),
        (dict(words=["--config.optim.lrr=1"]), names("--config.optim.lrr", "lr")),
        (dict(epochs=[0.0]), names("--epochs", 0.0)),
        (dict(epochs=[float("nan")]), names("--epochs", "nan")),
        (dict(epochs=[1.0, 1.001]), names("twice")),
    ],
)
def test_a_plan_that_cannot_run_is_one_sentence(change, fault):
    with pytest.raises(InputError, match=fault):
        studies.runs([LOT], **PLAN | change)


def test_marks_of_a_schedule_follow_the_epochs():
    for file in ("configs/sortnet/cifar10.py:8", "configs/linf_dist/cifar10.py:8"):
        (run,) = studies.runs([file], **ONE | dict(epochs=[2.0]))
        row = configs.load(f"{file},2x")
        assert run.config.method.to_dict() == row.method.to_dict()
        assert run.config.data.epochs == row.data.epochs


def test_a_share_of_nothing_is_the_run_without():
    runs = studies.runs([LOT], **ONE | dict(counts=[0, 8], shares=[0.0, 1.0]))
    assert [run.name for run in runs] == [
        "lot_digits_none_1x_seed0",
        "lot_digits_8at1_1x_seed0",
    ]
    with pytest.raises(InputError, match="twice"):
        studies.runs([LOT, LOT], **ONE)


def test_what_a_study_lacks_is_told_before_it_trains(tmp_path):
    np.savez(
        tmp_path / "few.npz",
        image=np.full((9, 8, 8, 1), 9, np.uint8),
        label=np.arange(9),
    )
    words = ["--config", LOT, "--workdir", str(tmp_path / "study"), "--counts", "0,10"]
    words += ["--generated", str(tmp_path / "few.npz")]
    with pytest.raises(InputError, match=names(10, 9)):
        study.main(words)
    with pytest.raises(InputError, match=names("--train-images", -1)):
        study.main([*words, "--train-images", "-1"])
    (tmp_path / "study" / "generated_8").mkdir(parents=True)
    with pytest.raises(InputError, match=names("generated_8")):
        study.main([*words[:-2], "--edm", "configs/edm/digits.py"])
    words = [*words[:2], "--workdir", str(tmp_path / "other"), "--counts", "0,10"]
    with pytest.raises(InputError, match=names("--edm", "classifier")):
        study.main([*words, "--edm", LOT])


def test_a_tiny_study_samples_few_images_at_few_levels(tmp_path, monkeypatch):
    assert studies.shrunk([0, 1000, 5000]) == [0, 13, 64]
    assert studies.shrunk([0, 40]) == [0, 40]
    seen = {}
    monkeypatch.setattr("jaxcert.training.loop.train", lambda *_, **__: None)
    monkeypatch.setattr(studies, "generate", lambda *_, **how: seen.update(how))
    monkeypatch.setattr(
        studies, "study", lambda planned, *_, **how: seen.update(how, planned=planned)
    )
    words = ["configs/smoothing/digits.py"], tmp_path
    plan = ONE | dict(generated="", counts=[0, 1000, 5000])
    how = dict(edm="configs/edm/digits.py", tiny=True)
    studies.run(*words, **plan, **how)
    assert seen["count"] == 64 and seen["steps"] < 18 and seen["train_images"] < 100
    counts = {run.config.data.generated_count for run in seen["planned"]}
    assert counts == {0, 13, 64}


def test_the_edm_reads_its_images_where_the_systems_do():
    words = ["--config.data.dir=elsewhere", "--config.optim.lr=7.0"]
    config = studies._edm_config("configs/edm/mnist.py:500", words, tiny=False)
    assert config.data.dir == "elsewhere"
    assert config.optim.lr == configs.load("configs/edm/mnist.py:500").optim.lr


@pytest.mark.slow
def test_a_study_from_nothing_to_its_report_and_again(tmp_path, capsys):
    words = [
        "--config",
        "configs/smoothing/digits.py",
        "--edm",
        "configs/edm/digits.py",
    ]
    words += ["--counts", "0,40", "--tiny", "--train-images", "5"]
    words += ["--workdir", str(tmp_path)]
    assert study.main(words) == 0
    said = capsys.readouterr().out
    assert "none" in said and "40" in said
    folders = sorted(p for p in tmp_path.iterdir() if (p / "train.jsonl").exists())
    assert len(folders) == 2
    before = {p: os.stat(p / "certificates.jsonl").st_mtime_ns for p in folders}
    assert study.main(words) == 0
    assert all(
        os.stat(p / "certificates.jsonl").st_mtime_ns == t for p, t in before.items()
    )
    header = json.loads((tmp_path / "generated_40" / "images.json").read_text())
    assert header["done"] and header["count"] == 40
    assert np.isfinite(header["request"]["rho"])


@pytest.mark.parametrize(
    "word, fault",
    [
        ("--config.certify.split=x", names("split", "x")),
        ("--config.certify.start=900", names("certify.start")),
        ("--config.data.name=nope", names("nope", "digits")),
    ],
)
def test_what_the_last_run_would_refuse_ends_a_study_before_the_first(
    tmp_path, monkeypatch, word, fault
):
    def works(*_, **__):
        raise AssertionError

    monkeypatch.setattr("jaxcert.training.loop.train", works)
    monkeypatch.setattr(studies, "make_images", works)
    words = ["--config", "configs/smoothing/digits.py", "--tiny", word]
    words += ["--workdir", str(tmp_path / "study"), "--edm", "configs/edm/digits.py"]
    with pytest.raises(InputError, match=fault):
        study.main([*words, "--counts", "0,5"])
    assert not (tmp_path / "study").exists()


def test_programs_of_a_system_are_dropped_before_the_next_one(tmp_path, monkeypatch):
    did = []
    monkeypatch.setattr(
        studies.loop, "train", lambda config, folder: did.append(config)
    )
    monkeypatch.setattr(studies, "certify", lambda *_: None)
    monkeypatch.setattr(studies.jax, "clear_caches", lambda: did.append("dropped"))
    planned = [studies.Run("a", "first"), studies.Run("b", "second")]
    studies.study(planned, tmp_path, train_images=0)
    assert did == ["first", "dropped", "second", "dropped"]
