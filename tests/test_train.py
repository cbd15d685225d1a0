"""What the loop offers to methods, and training on a mixture with generated images."""

from __future__ import annotations

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from refusals import names

from jaxcert import config as configs
from jaxcert import sharding
from jaxcert.certificates import building
from jaxcert.certificates import run as certification
from jaxcert.data import opened, sources
from jaxcert.errors import InputError
from jaxcert.interfaces import Certifier, Method, Network, Refresh
from jaxcert.training import evaluation, loop
from jaxcert.workdirs import checkpoint
from jaxcert.workdirs.runs import refuse_another

ROOT = Path(__file__).parents[1]


def small():
    config = configs.tiny(configs.load(str(ROOT / "configs/smoothing/digits.py")))
    config.data.update(epochs=3, epoch_images=40, batch=20)
    config.log.every_steps = 1
    return config


def test_tables_phases_and_calibration_reach_the_method(tmp_path, monkeypatch):
    build, seen = configs.build, []

    def with_method(package, section, **context):
        made = build(package, section, **context)
        if package != "methods":
            return made

        def refresh(state, sweep, key):
            rows = np.concatenate([np.asarray(b["index"]) for b in sweep()])
            image = next(iter(sweep()))["image"]
            seen.append((int(state.step), rows, image.dtype))
            weights = np.zeros(1000, np.float32)
            weights[[3, 7]] = 1.0  # from now on these two images only
            return {"weights": weights}

        def loss(params, state, extra, batch, key, step, phase):
            value, (state, metrics) = made.loss(
                params, state, (), batch, key, step, phase
            )
            index = batch["index"]
            metrics["chosen"] = jnp.mean((index == 3) | (index == 7))
            metrics["late"] = jnp.float32(phase == "late")
            return value, (state, metrics)

        def calibrate(state, sweep):
            return jax.tree.map(lambda x: x + 1.0, state.model_state)

        return Method(
            loss=loss,
            init_extra=lambda: {"weights": jnp.zeros(1000)},
            phase=lambda step: "late" if step >= 4 else None,
            refresh=Refresh(due=lambda epoch: epoch == 1, fn=refresh),
            calibrate=calibrate,
        )

    monkeypatch.setattr(configs, "build", with_method)
    state = loop.train(small(), tmp_path)
    told = [
        json.loads(x) for x in (tmp_path / "metrics.jsonl").read_text().splitlines()
    ]
    lines = [x for x in told if x["split"] == "train"]
    (refreshed,) = [x for x in told if x["split"] == "refresh"]
    assert (refreshed["step"], refreshed["kept"]) == (3, 2 / 1000)
    assert [x["late"] for x in lines] == [0, 0, 0, 0, 1, 1]
    assert lines[0]["chosen"] < 1 and [x["chosen"] for x in lines[2:]] == [1, 1, 1, 1]
    ((step, rows, dtype),) = seen
    assert step == 2 and dtype == jnp.float32
    assert sorted(rows[rows >= 0]) == list(range(1000))
    monkeypatch.undo()
    model = configs.build("models", small().model)
    loaded = checkpoint.load_network(model, tmp_path, mesh=sharding.data_mesh())
    assert isinstance(loaded.network, Network) and loaded.step == 6
    for saved, trained in zip(
        jax.tree.leaves(loaded.network.state),
        jax.tree.leaves(state.model_state),
        strict=True,
    ):
        np.testing.assert_array_equal(saved, trained + 1.0)


def test_mixture_trains_the_same_from_host_and_device(tmp_path):
    draw = np.random.default_rng(0)
    path = tmp_path / "generated.npz"
    np.savez(
        path,
        image=draw.integers(0, 256, (60, 8, 8, 1), dtype=np.uint8),
        label=draw.integers(0, 10, 60),
    )

    def losses(name, **data):
        config = small()
        config.data.update(data)
        loop.train(config, tmp_path / name)
        lines = (tmp_path / name / "metrics.jsonl").read_text().splitlines()
        return [json.loads(x)["loss"] for x in lines]

    mixed = dict(generated=str(path), generated_count=30)
    host = losses("host", placement="host", **mixed)
    assert host == losses("device", placement="device", **mixed)
    assert np.isfinite(host).all() and host != losses("real")


def test_an_epoch_as_one_program_trains_as_its_steps_do(tmp_path):
    """The same batches and keys; a run that stopped within an epoch continues step by step."""

    def config_of(placement):
        config = small()
        config.data.placement = placement
        return config

    def trained(placement):
        state = loop.train(config_of(placement), tmp_path / placement)
        lines = (tmp_path / placement / "metrics.jsonl").read_text().splitlines()
        return state, [json.loads(x) for x in lines]

    (steps, told), (whole, lines) = trained("device"), trained("epoch")
    assert (whole.step, told[-1]["step"]) == (steps.step, lines[-1]["step"])
    assert [x["step"] for x in lines] == [2, 4, 6]
    for a, b in zip(
        jax.tree.leaves(steps.params), jax.tree.leaves(whole.params), strict=True
    ):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    means = np.reshape([x["loss"] for x in told], (3, -1)).mean(1)
    np.testing.assert_allclose([x["loss"] for x in lines], means, rtol=1e-4)
    data = opened.open(config_of("epoch"))
    with pytest.raises(InputError, match=names("data.placement", "epoch", 3, "device")):
        data.batches(3, mesh=sharding.data_mesh())


def test_an_epoch_in_which_the_phase_changes_is_no_program():
    method = Method(loss=None, phase=lambda step: "late" if step > 2 else "early")
    with pytest.raises(InputError, match=names("data.placement", "early", "late", 2)):
        loop._check_phases(method, 2, 6)
    loop._check_phases(method, 1, 6)


def test_evaluation_during_training_is_the_certificate_on_a_slice(tmp_path):
    config = small()
    config.eval.every_epochs = 2
    config.eval.certify = dict(n0=10, n=20, stop=3)
    loop.train(config, tmp_path)
    lines = [
        json.loads(x) for x in (tmp_path / "metrics.jsonl").read_text().splitlines()
    ]
    seen = [(x["step"], x["split"]) for x in lines if "certified_0" in x]
    assert seen == [(4, "train"), (4, "test"), (6, "train"), (6, "test")]


def test_evaluations_draw_other_noise_than_the_certificate_and_open_images_once(
    tmp_path, monkeypatch
):
    keys, opened = [], []
    certifier_of, open_source = building.certifier_of, sources.open

    def noting_keys(*arguments):
        made = certifier_of(*arguments)

        def run(key, image, label, index):
            keys.append(tuple(jax.random.key_data(key).tolist()))
            return made.certify(key, image, label, index)

        return Certifier(made.header, run)

    def noting_names(name, split, **options):
        opened.append((split, options["download"]))
        return open_source(name, split, **options)

    monkeypatch.setattr(building, "certifier_of", noting_keys)
    monkeypatch.setattr(sources, "open", noting_names)
    config = small()
    config.eval.every_epochs, config.data.download = 1, False
    config.certify.update(n0=10, n=20, stop=3)
    loop.train(config, tmp_path)
    assert opened == [("train", False), ("test", False)]
    assert len(keys) >= 4 and len(set(keys)) == 1
    before = keys.pop()
    keys.clear()
    certification.certify(config, tmp_path)
    # a checkpoint may have been chosen by the first: it must not depend on the second
    plain = jax.random.key_data(jax.random.key(config.certify.seed))
    assert len({before, *keys, tuple(plain.tolist())}) == 3


def test_evaluation_that_is_refused_keeps_the_epochs(tmp_path, monkeypatch):
    """Whatever the look before the first step could not see."""
    config, certifier_of, made = small(), building.certifier_of, []
    config.eval.every_epochs, config.checkpoint.every_epochs = 2, 0
    config.eval.certify = dict(n0=10, n=20, stop=3)

    def refusing(*arguments):
        made.append(certifier_of(*arguments))
        if len(made) > 2:  # after the looks at both certificates
            raise InputError("planted.")
        return made[0]

    whole = loop.train(config, tmp_path / "whole")
    monkeypatch.setattr(building, "certifier_of", refusing)
    run = tmp_path / "run"
    with pytest.raises(InputError, match=names("planted")):
        loop.train(config, run)
    assert [p.name for p in (run / "checkpoints").iterdir()] == ["4"]
    monkeypatch.undo()
    state = loop.train(config, run)
    for one, other in zip(
        jax.tree.leaves(state.params), jax.tree.leaves(whole.params), strict=True
    ):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("path", ["quickstart.py", "linf_dist/cifar10.py"])
def test_settings_of_a_certificate_are_looked_at_without_its_work(path):
    config = configs.tiny(configs.load(str(ROOT / "configs" / path)))
    config.certify.after_training = True
    images = opened.open(config, evaluation.splits(config)).images

    def works(*_):
        raise AssertionError

    model = configs.build("models", config.model)
    params, model_state = jax.eval_shape(model.init, jax.random.key(0))
    model = model._replace(
        prepare=works, lipschitz=model.lipschitz and works, lipschitz_bound=works
    )
    state = checkpoint.TrainState(0, params, model_state, (), (), None)
    evaluation.check(config, images, model, state)
    for changes in (dict(name="smoothing"), dict(start=10**6)):
        wrong = configs.tiny(config)
        wrong.certify.update(changes)
        with pytest.raises(InputError):
            evaluation.check(wrong, images, model, state)


def test_averaged_weights_are_what_is_evaluated(tmp_path):
    config = small()
    config.ema = 0.5
    state = loop.train(config, tmp_path)
    model = configs.build("models", config.model)
    loaded = checkpoint.load_network(model, tmp_path, mesh=sharding.data_mesh())
    averaged, last = (jax.tree.leaves(x) for x in (state.ema, state.params))
    saved = jax.tree.leaves(loaded.network.params)
    for one, other in zip(saved, averaged, strict=True):
        np.testing.assert_array_equal(one, other)
    assert any((a != b).any() for a, b in zip(averaged, last, strict=True))


def test_config_of_a_run_that_took_no_step_makes_way(tmp_path):
    config, other = small(), small()
    other.optim.lr = 0.5
    configs.save(config, tmp_path / "config.json")
    assert refuse_another(tmp_path, other) == other.data.epochs
    (tmp_path / "metrics.jsonl").write_text("")
    assert refuse_another(tmp_path, other) == other.data.epochs
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n')
    with pytest.raises(InputError, match=names("optim.lr")):
        refuse_another(tmp_path, other)
