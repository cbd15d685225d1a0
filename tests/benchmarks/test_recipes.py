"""Trials beside the finished run of their family, and the figure of its curve."""

import json
import shutil

import pytest

from benchmarks import recipes
from docs import curves, tables
from docs import trials as trial_tables
from jaxcert import config as configs

COMMAND = "python -m jaxcert.train --config configs/liresnet/digits.py"
LIRESNET = {"command": COMMAND}


@pytest.fixture
def finished(tmp_path):
    folder = tmp_path / "liresnet-digits"
    shutil.copytree(tables.RECORD, folder)
    config = configs.load("configs/liresnet/digits.py")
    configs.save(config, folder / "config.json")
    line = {"split": "holdout", "loss": 1.5, "grad_norm": 2.0}
    shares = {f"certified_{r:.3g}": 0.5 + i / 10 for i, r in enumerate(recipes.RADII)}
    lines = [line | shares | {"epoch": i, "cpu_seconds": 90 * i} for i in (1, 2)]
    lines.append({"split": "train", "epoch": 3, "cpu_seconds": 300, "lr": 0.1})
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / "metrics.jsonl").write_text(text)
    return folder


def trial(finished, **changed):
    folder = finished.with_name("trial")
    shutil.copytree(finished, folder)
    config = json.loads((folder / "config.json").read_text())
    for key, value in changed.items():
        section, _, name = key.partition("_")
        config[section][name] = value
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def test_what_a_trial_changed_and_reached(finished):
    changes = dict(optim_lr=0.5, data_holdout=7.0, data_epochs=3, eval_images=9)
    found = recipes.tried(trial(finished, **changes), [LIRESNET])
    assert found["changed"] == {
        "optim.lr": 0.5
    }  # the others do not change what is learnt
    assert (found["epochs"], found["minutes"]) == (3, 3.0)
    assert (found["seed"], found["holdout"]) == (0, 7.0)
    assert found["certified"] == [50.0, 60.0, 70.0, 80.0]
    row = configs.load("configs/liresnet/digits.py")
    assert found["row"] == {"optim.lr": row.optim.lr}


def test_the_command_of_a_trial_gives_its_config(finished):
    """With another method as well."""
    folder = trial(finished, optim_lr=0.5, data_epochs=3, eval_images=9)
    config = json.loads((folder / "config.json").read_text())
    config["method"] = dict(name="logit_annealing", eps=0.2, first=0.1, last=1.5)
    (folder / "config.json").write_text(json.dumps(config))
    words = recipes.tried(folder, [LIRESNET])["command"].split()
    assert words[:5] == COMMAND.split()
    again = configs.resolve(words[4], words[5:])
    assert json.loads(json.dumps(again.to_dict())) == config


def test_a_table_of_trials_has_the_row_first():
    """Lines rise with certified accuracy at 36/255."""
    took = dict(epochs=4, minutes=2.0)
    trials = [
        took | dict(changed=changed, row=row, certified=[60, share, 30, 20])
        for changed, row, share in (
            ({"model.width": 8}, {"model.width": 16}, 50),
            ({"method.name": "gloro", "data.batch": 9}, {"method.name": "lot"}, 40),
        )
    ]
    trials[1]["row"]["data.batch"] = 64
    assert trial_tables.tuning(trials).split("\n")[2:] == [
        "| **the row: batch 64, method lot, width 16** |  |  |  |  |  |  |",
        "| batch 9, method gloro | 60.0 | 40.0 | 30.0 | 20.0 | 2.0 | 4 |",
        "| width 8 | 60.0 | 50.0 | 30.0 | 20.0 | 2.0 | 4 |",
        "| all 2 |  |  |  |  | 4.0 |  |",
    ]


def test_a_workdir_that_is_not_of_the_row_it_is_named_for(finished):
    other = trial(finished, optim_lr=0.5).rename(finished.with_name("bronet-digits"))
    with pytest.raises(ValueError, match="has another .* than configs/bronet/digits"):
        recipes.row_of(other)
    assert recipes.row_of(finished) == "configs/liresnet/digits.py"


def test_a_trial_of_another_family_is_refused(finished):
    with pytest.raises(ValueError, match="no finished run"):
        recipes.tried(trial(finished, model_name="lipnext"), [LIRESNET])


def test_other_runs_and_trials_stay_in_the_file(finished, tmp_path):
    tuned, file = trial(finished, optim_lr=0.5), tmp_path / "x.json"
    old = {
        "rows": [
            LIRESNET | {"name": "liresnet-digits"},
            {"name": "other", "command": COMMAND.replace("liresnet", "bronet")},
        ],
        "tuning": [{"name": "t"}],
    }
    file.write_text(json.dumps(old))
    recipes.main([str(finished), "--tuning", str(tuned), "--out", str(file)])
    found = json.loads(file.read_text())
    assert [row["name"] for row in found["rows"]] == ["liresnet-digits", "other"]
    assert found["rows"][0]["command"] == COMMAND
    assert found["rows"][0]["training_minutes"] == 5.0
    assert [row["name"] for row in found["tuning"]] == ["t", "trial"]


def test_what_another_network_of_the_name_reached_stays(finished, tmp_path):
    file = tmp_path / "x.json"
    new = recipes.measure(finished)
    old = new | {"checkpoint": "other", "training_minutes": 9.0}
    file.write_text(json.dumps({"rows": [old], "tuning": []}))
    for _ in range(2):
        recipes.main([str(finished), "--out", str(file)])
        found = json.loads(file.read_text())
        assert [row["checkpoint"] for row in found["rows"]] == [new["checkpoint"]]
        assert [row["training_minutes"] for row in found["earlier"]] == [9.0]
        assert "curves" not in found["earlier"][0]
    line = trial_tables.earlier(found["earlier"]).split("\n")[2]
    assert line.startswith("| `liresnet-digits` | ") and " | 9.0 | " in line


def test_curves_are_those_of_the_file(finished, tmp_path, monkeypatch):
    row = recipes.measure(finished)
    holdout = row["curves"]["holdout"]
    assert [(p["epoch"], p["minutes"]) for p in holdout] == [(1, 1.5), (2, 3.0)]
    assert "grad_norm" not in holdout[0] and row["training_minutes"] == 5.0
    assert row["curves"]["train"] == []  # a line that is no evaluation
    monkeypatch.setattr(curves, "FOLDER", tmp_path / "figures")
    monkeypatch.setattr(curves, "RESULTS", tmp_path)
    file = tmp_path / "x.json"
    file.write_text(json.dumps({"rows": [row]}))
    assert curves.is_stale("x.json")
    curves.draw("x.json")
    assert not curves.is_stale("x.json")
    file.write_text(json.dumps({"rows": [row | {"epochs": 7}]}))
    assert curves.is_stale("x.json")


@pytest.mark.parametrize(
    ("name", "file"),
    [("recipes", "2026-11-30-recipes.json"), ("quality", "edm_cifar10.json")],
)
def test_a_table_of_a_network_that_the_zoo_has_replaced_is_refused(
    name, file, tmp_path, monkeypatch
):
    text = (tables.RESULTS / file).read_text()
    found = json.loads(text)
    judge = found["rows"][0] if name == "recipes" else found["quality"]["classifier"]
    (tmp_path / file).write_text(text.replace(judge["checkpoint"], "0" * 32))
    monkeypatch.setattr(tables, "RESULTS", tmp_path)
    with pytest.raises(ValueError, match="is another network"):
        tables.table(f"{name} {file}")
