"""The best checkpoint, more epochs, and what a run says of itself."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from refusals import names

from jaxcert import config as configs
from jaxcert import sharding
from jaxcert.analysis import facts
from jaxcert.certificates import run as certification
from jaxcert.data import opened
from jaxcert.errors import InputError
from jaxcert.interfaces import Model, Network, Run, TrainState
from jaxcert.training import evaluation, loop, optim
from jaxcert.training.step import NEVER, Totals
from jaxcert.workdirs import checkpoint

ROOT = Path(__file__).parents[2]
BY = "certified_0.25"


def small(**changes):
    config = configs.tiny(configs.load(str(ROOT / "configs/smoothing/digits.py")))
    config.data.update(epochs=2, epoch_images=40, batch=20)
    config.log.every_steps = 1
    config.certify.update(n0=10, n=20, stop=5)
    for key, value in changes.items():
        section, name = key.split("__")
        config[section][name] = value
    return config


def lines(workdir):
    return [json.loads(x) for x in (workdir / "metrics.jsonl").read_text().splitlines()]


def same(one, other):
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    return all(np.array_equal(a, b) for a, b in pairs)


MODEL = Model(
    init=lambda key: ({"w": jnp.zeros(3)}, {}),
    apply=None,
    prepare=None,
    num_classes=2,
    image_shape=(1, 1, 1),
)


def save(workdir, values, *, best=BY, keep=2, start=0):
    """Checkpoints whose weights are their step -> those that are left."""
    mesh = sharding.data_mesh()
    for step, value in enumerate(values, start + 1):
        state = TrainState(
            np.int32(step), {"w": np.full(3, step, np.float32)}, {}, (), (), None
        )
        state = sharding.replicate(state, mesh)
        with checkpoint.Checkpoints(workdir, keep=keep, best=best) as checkpoints:
            checkpoints.save(state, state.model_state, value)
    return sorted(int(p.name) for p in (workdir / "checkpoints").iterdir())


def loaded(workdir, best):
    found = checkpoint.load_network(
        MODEL, workdir, mesh=sharding.data_mesh(), best=best
    )
    return found.step, float(found.network.params["w"][0])


def test_best_checkpoint_stays_beside_the_newest(tmp_path):
    left = save(tmp_path, [0.2, 0.5, None, 0.5, 0.1, 0.4])
    assert left == [2, 5, 6]  # of two that are best the earlier
    assert loaded(tmp_path, BY) == (2, 2) and loaded(tmp_path, "") == (6, 6)
    assert save(tmp_path, [0.6, None, 0.3], start=6) == [7, 8, 9]
    assert loaded(tmp_path, BY) == (7, 7)
    with checkpoint.Checkpoints(tmp_path, best=BY) as checkpoints:
        assert [checkpoints.is_best(v) for v in (0.59, 0.6, 0.61)] == [0, 0, 1]


def test_without_a_best_the_newest_stay(tmp_path):
    assert save(tmp_path, [0.9, 0.5, 0.2], best="") == [2, 3]
    with pytest.raises(
        InputError, match=names("certified_0.25", "--config.checkpoint.best=")
    ):
        loaded(tmp_path, BY)
    save(tmp_path, [0.1], start=3, best="test:certified_0.5")
    with pytest.raises(
        InputError, match=names("certified_0.25", "--config.checkpoint.best=")
    ):
        loaded(tmp_path, BY)


def test_best_network_is_what_is_certified_and_the_record_says_by_what(
    tmp_path, monkeypatch
):
    """The values of the evaluations are given here, the best is that of the second."""
    values = iter([0.2, 0.6, 0.4, 0.5])

    def given(self, network, writer, done):
        return next(values)

    monkeypatch.setattr(evaluation.Evaluations, "run", given)
    config = small(
        data__epochs=4, data__holdout=100, checkpoint__best=BY, eval__every_epochs=1
    )
    config.checkpoint.every_epochs = config.checkpoint.keep = 1
    loop.train(config, tmp_path)
    left = sorted(int(p.name) for p in (tmp_path / "checkpoints").iterdir())
    assert left == [4, 8]
    header = certification.certify(config, tmp_path).header
    assert header["step"] == 4 and header["selected_on"] == "holdout"
    assert facts.describe(header).endswith("by held-out training images")
    configs.override(config, ["--config.checkpoint.best="])
    newest = certification.certify(
        config, tmp_path, out=tmp_path / "newest.jsonl"
    ).header
    assert newest["step"] == 8 and "selected_on" not in newest


def test_value_that_chooses_is_that_of_the_held_out_images(tmp_path):
    """All images of one class, none of another: a constant network tells the splits apart."""
    config = small(data__holdout=100, eval__every_epochs=1, checkpoint__best=BY)
    written = []

    class Writer:
        @staticmethod
        def write(step, split, values):
            written.append((split, values[BY]))

    config.certify.stop = 0
    config.eval.images = 30
    images = opened.open(config, evaluation.splits(config)).images
    only = images["holdout"]
    images["holdout"] = only._replace(label=np.zeros_like(only.label))
    images["test"] = images["test"]._replace(
        label=np.full_like(images["test"].label, 9)
    )
    model = configs.build("models", config.model)
    params, state = model.init(jax.random.key(0))
    params = jax.tree.map(jnp.zeros_like, params)  # always the first class
    network = Network(model, params, state)
    value = evaluation.Evaluations(config, images).run(network, Writer, 1)
    assert [split for split, _ in written] == ["train", "holdout", "test"]
    assert value == dict(written)["holdout"] == 1 and dict(written)["test"] == 0
    config.checkpoint.best = f"test:{BY}"
    assert evaluation.Evaluations(config, images).run(network, Writer, 1) == 0


def test_a_choice_by_the_test_set_is_named_as_one():
    named = {"": "", BY: "holdout", f"holdout:{BY}": "holdout", f"test:{BY}": "test"}
    assert {best: evaluation.selected_on(best) for best in named} == named
    assert "by the test images themselves" in facts.describe({"selected_on": "test"})


@pytest.mark.parametrize(
    "changes,words",
    [
        (dict(checkpoint__best=BY), names("checkpoint.best", "eval.every_epochs")),
        (
            dict(checkpoint__best=BY, eval__every_epochs=1),
            names("checkpoint.best", "data.holdout"),
        ),
        (
            dict(checkpoint__best="certified_0.3", eval__every_epochs=1),
            names("checkpoint.best", "certified_0.3", "certified_0.25"),
        ),
        (
            dict(checkpoint__best=f"train:{BY}", eval__every_epochs=1),
            names("checkpoint.best", "train:certified_0.25", "test:"),
        ),
    ],
)
def test_best_of_nothing_is_refused_before_a_step(tmp_path, changes, words):
    with pytest.raises(InputError, match=words):
        loop.train(small(**changes), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_evaluations_keep_to_their_share_of_the_time(monkeypatch, capsys):
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    config = small(eval__every_epochs=1)
    budget = evaluation.Evaluations(config, {})
    assert budget.allowed()  # the first one, whatever it takes
    budget._last = budget._spent = 3.0
    now[0] = 100.0
    assert not budget.allowed() and not budget.allowed()
    assert capsys.readouterr().err.count("at most 5 % of the time") == 1
    now[0] = 120.0  # two of them are a twentieth
    assert budget.allowed()
    now[0] = 0.0
    for free in (small(eval__share=0.0), small(checkpoint__best=BY)):
        budget = evaluation.Evaluations(free, {})
        budget._last = budget._spent = 3.0
        assert budget.allowed()


def test_an_evaluation_takes_evenly_spread_images():
    assert evaluation._spread(list(range(10)), 0).tolist() == list(range(10))
    assert evaluation._spread(list(range(10)), 10).tolist() == list(range(10))
    assert evaluation._spread(list(range(0, 20, 2)), 4).tolist() == [0, 4, 10, 14]


def test_the_loop_waits_for_all_but_two_steps_under_way(monkeypatch):
    """A run that is told to stop takes the steps that are queued before it saves."""

    class Step(int):
        def block_until_ready(self):
            waited.append(self)

    waited = []
    monkeypatch.setattr(loop.jnp, "copy", lambda step: step)
    queue = loop._Queue()
    for step in range(5):
        queue.add(Step(step))
    assert waited == [0, 1, 2]


def test_lines_have_epoch_rate_speed_and_time(tmp_path, monkeypatch):
    queued = []
    monkeypatch.setattr(loop._Queue, "add", lambda _, step: queued.append(int(step)))
    config = small(data__holdout=100, eval__every_epochs=2)
    loop.train(config, tmp_path)
    train = [x for x in lines(tmp_path) if "loss" in x]
    assert [x["epoch"] for x in train] == [0.5, 1, 1.5, 2] and queued == [1, 2, 3, 4]
    cosine = [0.5 * 0.1 * (1 + np.cos(np.pi * t / 4)) for t in range(4)]
    np.testing.assert_allclose([x["lr"] for x in train], cosine, rtol=1e-5)
    for key in ("seconds", "cpu_seconds"):
        seconds = [x[key] for x in lines(tmp_path)]
        assert seconds == sorted(seconds) and seconds[-1] > 0
    assert all(x["images_per_s"] > 0 for x in train[1:])
    assert {x["epoch"] for x in lines(tmp_path) if BY in x} == {2}


def test_more_epochs_of_a_constant_rate_are_those_asked_for_at_once(tmp_path, capsys):
    def run(epochs, name):
        config = small(data__epochs=epochs, optim__schedule="constant")
        return loop.train(config, tmp_path / name)

    run(1, "run")
    state, whole = run(2, "run"), run(2, "whole")
    assert "1 epochs become 2 at step 2: as if 2 had been" in capsys.readouterr().err
    assert same(state, whole)
    assert configs.read(tmp_path / "run").data.epochs == 2
    (line,) = [x for x in lines(tmp_path / "run") if x["split"] == "run"]
    assert (line["step"], line["epochs_before"], line["epochs"]) == (2, 1, 2)
    with pytest.raises(InputError, match=names("data.epochs", 2, 1)):
        run(1, "run")


def test_more_epochs_of_a_falling_rate_say_what_changes(tmp_path, capsys):
    loop.train(small(data__epochs=1), tmp_path)
    config = small(data__epochs=2)
    config.optim.lr = 0.2
    with pytest.raises(InputError, match=names("optim.lr", 0.1, 0.2)):
        loop.train(config, tmp_path)
    loop.train(small(data__epochs=2), tmp_path)
    said = capsys.readouterr().err
    assert re.search(r"\blearning rate\b.*\b0\.05\b.*\b0(?![.\w])", said)
    assert [x["lr"] for x in lines(tmp_path) if "loss" in x][2:] == pytest.approx(
        [0.05, 0.1 * 0.5 * (1 + np.cos(0.75 * np.pi))], rel=1e-5
    )


def test_rate_of_a_step_counts_optimizer_steps():
    run = Run(10, 40, 100)
    section = small().optim
    section.update(schedule="multistep", milestones=(0.5,), accumulate=4, lr=1.0)
    rates = [optim.rate_at(section, run, step) for step in (0, 19, 20, 39)]
    assert rates == pytest.approx([1.0, 1.0, 0.1, 0.1])


def test_a_loss_below_zero_is_explained_once(tmp_path, capsys):
    config = small(method__name="lot")
    method = SimpleNamespace(over_the_run="")
    parts = SimpleNamespace(method=method, data=SimpleNamespace(run=Run(2, 4, 1000)))
    log = loop._Log(config, parts, tmp_path, 0)
    for done, loss in enumerate([0.5, -0.5, -1.5], 1):
        sums = {"loss": np.float32(2 * loss)}
        log.write((done, Totals(np.int32(2), np.int32(NEVER), sums)))
    assert [x["loss"] for x in lines(tmp_path)] == [0.5, -0.5, -1.5]
    said = capsys.readouterr().err
    assert len(re.findall(r"\bloss below 0\b.*\blot\b", said)) == 1


def test_record_in_the_way_is_refused_before_a_step(tmp_path):
    config = small(certify__after_training=True)
    record = tmp_path / "certificates.jsonl"
    record.write_text("{}\n")
    with pytest.raises(
        InputError,
        match=names("certificates.jsonl", "--config.certify.after_training=False"),
    ):
        loop.train(config, tmp_path)
    assert not (tmp_path / "checkpoints").exists()
    record.unlink()
    record.mkdir()
    with pytest.raises(InputError, match=names("certificates.jsonl", "regular file")):
        loop.train(config, tmp_path)


@pytest.mark.parametrize(
    "changes,words",
    [
        (dict(certify__rho=-1.0), names("rho", -1.0)),
        (dict(certify__bound="x"), names("bound", "x")),
        (dict(certify__alpha=0.0), names("alpha", 0.0)),
        (dict(certify__sigma=-1.0), names("sigma", -1.0)),
        (dict(certify__step=0), names("certify.step", 0)),
        (dict(optim__accumulate=5), names("optim.accumulate", 5, 4)),
        (dict(data__batch=1001), names("data.batch", "1,001", "1,000")),
    ],
)
def test_what_a_certificate_would_refuse_is_refused_before_a_step(
    tmp_path, changes, words
):
    """Also of a certificate that is not due in training."""
    config = small(**changes)
    assert not config.certify.after_training
    with pytest.raises(InputError, match=words):
        loop.train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()
