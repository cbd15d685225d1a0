"""The attack command: upper bounds beside the certificates, and what contradicts them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from jaxcert import attack, certify, report, train
from jaxcert import config as configs
from jaxcert.analysis import metrics
from jaxcert.errors import InputError
from jaxcert.records import Certificates

CONFIG = Path(__file__).parents[1] / "configs" / "sortnet" / "digits.py"


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    """A network of three steps, certified and attacked on twelve images."""
    workdir = tmp_path_factory.mktemp("attack") / "run"
    config = configs.tiny(configs.load(str(CONFIG)))
    train.train(config, workdir)
    config.certify.stop = 12
    certify.certify(config, workdir)
    config.certify.name = "lipschitz"
    certify.certify(config, workdir, out=workdir / "lipschitz.jsonl")
    return workdir


def run(workdir, *more):
    return attack.main(
        ["--workdir", str(workdir), "--steps", "5", "--config.certify.stop=12", *more]
    )


def test_certificates_stand_beside_the_attack_and_a_false_one_is_an_error(
    workdir, capsys
):
    assert run(workdir) == 0
    said = capsys.readouterr().out
    assert "under pgd" in said and "12 images; no certificate is contradicted" in said
    assert "certificates.jsonl" in said and "lipschitz.jsonl" in said
    attacks = attack.attack(small(workdir), workdir, steps=5)  # nothing is left to do
    found = np.isfinite(attacks.distance)
    assert found.any() and (attacks.radius == 0).all()
    assert (attacks.distance[found] < 0.2).all()
    radii = [r for r in small(workdir).certify.radii if r > 0]
    for r in radii:  # an attack of radius r counts at r, not first at the next one
        near = np.abs(attacks.distance[found] - r) < 1e-6
        assert (attacks.distance[found][near] < r).all()
    lost = (found & attacks.correct).sum()
    survive = (attacks.correct.sum() - lost) / len(found)
    assert metrics.attacked_accuracy(attacks, [max(radii)])[0] == survive

    path = workdir / "certificates.jsonl"
    before = path.read_text()
    lines = before.splitlines()
    at = int(np.flatnonzero(found)[0])
    row = json.loads(lines[at + 1])
    row["radius"] = float(attacks.distance[at]) * 1.01
    lines[at + 1] = json.dumps(row)
    path.write_text("\n".join(lines) + "\n")
    try:
        with pytest.raises(InputError, match=f"1 images, first for image {at}, which"):
            run(workdir)
    finally:
        path.write_text(before)


def small(workdir):
    config = configs.read(workdir)
    config.certify.stop = 12
    return config


def test_a_report_does_not_take_an_attack_for_a_certificate(workdir):
    run(workdir)
    with pytest.raises(InputError, match="jaxcert.attack"):
        report.report([workdir / "attacks.jsonl"])


@pytest.mark.parametrize(
    "arguments,words",
    [
        (["--steps", "many"], "--steps is a number of steps"),
        (["--steps", "0"], "--steps of at least 1"),
        (["--config.certify.radii=(0,)"], "a radius above 0 among certify.radii"),
    ],
)
def test_impossible_attack_is_refused(workdir, tmp_path, arguments, words):
    with pytest.raises(InputError, match=words):
        run(workdir, *arguments, "--out", str(tmp_path / "attacks.jsonl"))
    assert not (tmp_path / "attacks.jsonl").exists()


def test_network_of_another_norm_is_refused(tmp_path):
    file = Path(__file__).parents[1] / "configs" / "smoothing" / "digits_gaussian.py"
    config = configs.tiny(configs.load(str(file)))
    train.train(config, tmp_path)
    with pytest.raises(InputError, match="not certified in that norm"):
        attack.attack(config, tmp_path)


def rows(index, predicted, label, radius=None, distance=None):
    count = len(index)
    return Certificates(
        index=np.array(index),
        label=np.array(label),
        predicted=np.array(predicted),
        radius=np.zeros(count) if radius is None else np.array(radius),
        n=np.ones(count),
        seconds=np.zeros(count),
        distance=None if distance is None else np.array(distance),
    )


def test_attacked_accuracy_counts_correct_images_that_kept_their_class():
    attacks = rows(
        [0, 1, 2, 3], [1, 1, 0, 2], [1, 1, 1, 2], distance=[0.1, np.nan, 0.05, 0.2]
    )
    found = metrics.attacked_accuracy(attacks, [0, 0.05, 0.1, 0.15, 0.2])
    np.testing.assert_allclose(found, [0.75, 0.75, 0.5, 0.5, 0.25])


def test_contradictions_are_joined_by_image_and_class():
    certified = rows([5, 2, 7, 9], [1, 1, 1, 0], [1] * 4, radius=[0.2, 0.2, 0.1, 0.3])
    attacks = rows(
        [2, 5, 9, 7], [1, 1, 1, 1], [1] * 4, distance=[0.3, 0.1, 0.1, np.nan]
    )
    assert metrics.contradicted(certified, attacks).tolist() == [5]
