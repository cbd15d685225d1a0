"""From an EDM to its certificates by the commands, and what they refuse."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from ml_collections import ConfigDict
from refusals import names

from jaxcert import certify, records, train
from jaxcert import config as configs
from jaxcert.errors import InputError

pytestmark = pytest.mark.slow  # its programs take a minute to compile
CONFIGS = Path(__file__).parents[1] / "configs"
EDM = str(CONFIGS / "edm" / "digits.py")
DC = str(CONFIGS / "diffusion_classifier" / "digits.py")
CLASSIFIER = str(CONFIGS / "denoised" / "digits.py")
TINY = [f"--config.certify.{word}" for word in ("n=30", "n0=5", "stop=2", "levels=4")]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Workdirs of an EDM and a classifier after a few steps."""
    folder = tmp_path_factory.mktemp("runs")
    for name, config in (("edm", EDM), ("classifier", CLASSIFIER)):
        train.main(["--config", config, "--tiny", "--workdir", str(folder / name)])
    return folder


def certified(trained, row, *words):
    out = trained / f"{row}.jsonl"
    arguments = ["--workdir", str(trained / "edm"), "--out", str(out), *words]
    certify.main([*arguments, "--config", f"{DC}:{row}"])
    return records.load(out)


def test_the_certificate_of_another_config_is_that_of_the_edm(trained, capsys):
    rows = certified(trained, "epndc,0.50", *TINY)
    said = capsys.readouterr()
    assert "network evaluations (" in said.err
    assert "noised_diffusion_classifier (epndc, race, edm)" in " ".join(
        said.out.split()
    )
    header = rows.header
    assert header["sigma"] == 0.5 and header["base"]["kind"] == "epndc"
    assert header["config"]["method"]["name"] == "edm"
    assert rows.index.tolist() == [0, 1]


def test_rows_of_another_base_classifier_never_share_a_file(trained):
    out = trained / "epndc,0.50.jsonl"
    words = ["--workdir", str(trained / "edm"), "--out", str(out), *TINY]
    with pytest.raises(InputError, match=names("epndc,0.50.jsonl", "base")):
        certify.main([*words, "--config", f"{DC}:diffpure,0.50"])


def test_radii_of_votes_are_tried_one_by_one(trained):
    rows = certified(trained, "diffpure,0.25", "--radii", "0,0.1", *TINY)
    assert rows.header["procedure"]["name"] == "radii"


def test_the_lipschitz_certificate_by_the_command(trained):
    rows = certified(trained, "dc", *TINY)
    assert rows.header["method"] == "diffusion_classifier"
    assert (rows.radius >= 0).all() and len(rows.index) == 2
    published = rows.header["published_lipschitz"]
    assert 0 < published["code"] < published["theorem"] < rows.header["pairwise_bound"]


def test_a_second_network_is_named_and_recorded(trained, monkeypatch, tmp_path):
    network = f"--config.certify.networks.classifier={trained / 'classifier'}"
    words = [word for word in TINY if "levels" not in word]
    rows = certified(trained, "denoised,0.25", network, *words)
    assert rows.header["base"]["name"] == "denoised_smoothing"
    assert len(rows.header["networks"]["classifier"]) >= 16
    with monkeypatch.context() as elsewhere:  # runs/digits_classifier is not there
        elsewhere.chdir(tmp_path)
        with pytest.raises(InputError, match=names("runs/digits_classifier")):
            certified(trained, "denoised,0.50", *words)
    with pytest.raises(InputError, match=names("lipschitz", "classifier")):
        section = ConfigDict(dict(name="lipschitz"))
        configs.build("certificates", section, needs={"classifier": None}, network=None)


def test_fine_tuning_starts_from_the_weights_of_a_run(trained, tmp_path):
    words = [
        "--config",
        f"{CLASSIFIER}:0.50",
        "--tiny",
        "--workdir",
        str(tmp_path / "run"),
    ]
    words += [f"--config.method.networks.denoiser={trained / 'edm'}"]
    words += [f"--config.init={trained / 'classifier'}", "--config.optim.lr=1e-9"]
    words += ["--config.optim.weight_decay=0.0"]
    train.main(words)
    from jaxcert import sharding
    from jaxcert.workdirs.networks import open_network

    mesh = sharding.local_mesh()
    first, second = (
        open_network(path, mesh)[0].params
        for path in (trained / "classifier", tmp_path / "run")
    )
    np.testing.assert_allclose(
        first["conv1"]["kernel"], second["conv1"]["kernel"], atol=1e-5
    )
    saved = json.loads((tmp_path / "run" / "config.json").read_text())
    assert saved["init"] == str(trained / "classifier")
    wrong = words[:-3] + [f"--config.init={trained / 'edm'}"]
    wrong[wrong.index("--workdir") + 1] = str(tmp_path / "other")
    with pytest.raises(InputError, match="another shape"):
        train.main(wrong)


def test_a_denoiser_is_not_certified_as_a_classifier(trained):
    with pytest.raises(InputError, match="denoiser"):
        certify.main(
            [
                "--workdir",
                str(trained / "edm"),
                "--config",
                "configs/smoothing/digits.py",
            ]
        )
    with pytest.raises(
        InputError, match=names("denoiser", "classifier", "certify.name=smoothing")
    ):
        certify.main(["--workdir", str(trained / "classifier"), "--config", f"{DC}:dc"])
