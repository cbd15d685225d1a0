"""Commands on data of one's own: its classes are compared with the model's, and whose mean
and std it gets is said."""

from __future__ import annotations

import re
from functools import partial

import jax
import numpy as np
import pytest
from command_line import CONFIG, end
from refusals import tells

from jaxcert import attack, certify, cli, quality, study, train
from jaxcert import config as configs
from jaxcert.data import normalisation
from jaxcert.training import loop
from jaxcert.workdirs.checkpoint import Checkpoints


@pytest.fixture
def ends(capsys):
    return partial(end, capsys)


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    """An untrained network of the ten digits."""
    workdir = tmp_path_factory.mktemp("digits")
    config = configs.tiny(configs.load(CONFIG))
    model = configs.build("models", config.model)
    params, state = jax.jit(model.init)(jax.random.key(0))
    with Checkpoints(workdir) as checkpoints:
        checkpoints.save_evaluation(params, state)
    configs.save(config, workdir / "config.json")
    return workdir


def images(folder, classes):
    """Both splits as npz, four images of each class."""
    label = np.tile(np.arange(classes), 4)
    draw = np.random.default_rng(classes)
    folder.mkdir()
    for split in ("train", "test"):
        image = draw.integers(0, 256, (len(label), 8, 8, 1), np.uint8)
        np.savez(folder / f"{split}.npz", image=image, label=label)
    return f"npz:{folder}"


def test_other_classes_are_one_sentence_of_every_command(ends, workdir, tmp_path):
    twelve = images(tmp_path / "twelve", 12)
    data = f"--config.data.name={twelve}"
    new = "--config", CONFIG, "--tiny", "--workdir", tmp_path / "new", data
    advice = []
    for command, arguments in (
        (train, new),
        (study, new),
        (certify, ("--workdir", workdir, data)),
        (attack, ("--workdir", workdir, data)),
    ):
        status, said = ends(command, *arguments)
        assert status == 2 and tells(said, twelve, "12 classes", 10)
        advice += re.findall(r"--config\S+\d", said)
    assert set(advice) == {"--config.model.num_classes=12"}
    given = cli.parse([*map(str, new), advice[0]], "", needs="config")
    loop.check(given.config)
    generated = tmp_path / "twelve" / "train.npz"
    beside = "--generated", generated, "--out", tmp_path / "quality"
    status, said = ends(quality, *beside, "--data", "digits")
    assert status == 2 and tells(said, "12 classes", "digits", "10 classes")
    status, said = ends(quality, *beside, "--data", twelve, "--classifier", workdir)
    assert status == 2 and tells(said, "10 classes", twelve, 12)


def test_fewer_classes_are_a_part_or_a_mistake_and_said(capsys, workdir, tmp_path):
    few = images(tmp_path / "few", 7)
    given = cli.parse(
        ["--config", CONFIG, "--tiny", f"--config.data.name={few}"], "", needs="config"
    )
    with pytest.warns(UserWarning, match=r"\b6 alone\b.*\b10 classes\b"):
        loop.check(given.config)
    given.config.model.num_classes = 7
    loop.check(given.config)


def test_whose_mean_and_std_own_data_gets_is_said_once(capsys, tmp_path):
    own = images(tmp_path / "own", 10)
    words = ["--config", CONFIG, "--tiny", f"--config.data.name={own}"]

    def said(*more):
        normalisation._warn.cache_clear()
        config = cli.parse([*words, *more], "", needs="config").config
        capsys.readouterr()
        loop.check(config)
        loop.check(config)
        return [x for x in capsys.readouterr().err.splitlines() if "normalised" in x]

    warnings = said()
    assert len(warnings) == 1
    keys = "--config.model.mean", "--config.model.std"
    assert tells(warnings[0], "warning", own, "(0.3,)", "(0.37,)", "digits", *keys)
    assert said("--config.model.mean=(0.4,)", "--config.model.std=(0.2,)") == []
    assert said("--config.data.name=digits") == []
