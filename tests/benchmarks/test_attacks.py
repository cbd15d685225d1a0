"""The attacks on every family: what is attacked, what counts as broken, and what is continued."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks import attacks
from docs import tables
from jaxcert import config as configs
from jaxcert import records
from jaxcert.certificate import Certificates


def rows(radius, distance=None, predicted=None):
    count = len(radius)
    return Certificates(
        index=np.arange(count),
        label=np.zeros(count, int),
        predicted=np.zeros(count, int) if predicted is None else np.array(predicted),
        radius=np.array(radius, float),
        n=np.ones(count, int),
        seconds=np.zeros(count),
        distance=None if distance is None else np.array(distance, float),
    )


def written(folder, name, radius):
    with records.Writer(folder / name, dict(method="lipschitz", norm="linf")) as writer:
        writer.append(rows(radius))


def test_every_family_is_there_on_both_data_sets_and_every_attack_in_both_types():
    families = {family for family, _ in attacks.NETWORKS}
    assert set(attacks.NETWORKS) == {(f, d) for f in families for d in attacks.CELLS}
    assert len(families) == 8
    cells = {cell for some in attacks.CELLS.values() for cell in some}
    assert {name for name, _ in cells} == set(attacks.STEPS)
    for name in ("pgd", "apgd", "rays"):
        assert {(name, "float32"), (name, "float64")} <= cells
    for row, changes in attacks.NETWORKS.values():
        config = attacks.config_of(row, changes)
        model = configs.build("models", config.model)
        assert model.norm in ("l2", "linf") and config.certify.name == "lipschitz"


def test_a_pair_is_broken_where_another_class_is_nearer_than_any_record_claims(
    tmp_path, monkeypatch
):
    """Claims of 0.2, 0.4, 0 and 0.3 (0.1 by the other record), against what was found."""
    written(tmp_path, "certificates.jsonl", [0.2, 0.1, 0.0, 0.3])
    written(tmp_path, "interval.jsonl", [0.1, 0.4, 0.0, 0.1])
    asked = {}

    def attack(config, workdir, *, out, name, steps, dtype):
        asked.update(radii=config.certify.radii, steps=steps, dtype=dtype)
        return rows([0] * 4, distance=[0.3, 0.38, 0.01, np.nan])

    monkeypatch.setattr(attacks.audit, "attack", attack)
    config = configs.load("sortnet/digits")
    found = attacks.attacked(config, tmp_path, "pgd", "float64")
    median = 0.25
    np.testing.assert_allclose(asked["radii"], (0, 1.5 * median, 3 * median))
    assert asked["dtype"] == found["dtype"] == "float64"
    assert (found["pairs"], found["broken"], found["found"]) == (3, 1, 3)
    assert found["closest"] == pytest.approx(0.95)


@pytest.fixture
def pretended(monkeypatch, tmp_path):
    """Networks that are there, and attacks that find what the test says."""
    calls, broken = [], {}

    def attacked(config, workdir, name, dtype):
        network = workdir.name.rpartition("_")[0]
        calls.append((network, name))
        lost = broken.get((network, name), 0)
        return dict(attack=name, dtype=dtype, pairs=10, broken=lost, closest=1.5)

    def plain(data, folder):
        return SimpleNamespace(lost=lambda *_: 0.9)

    def facts(workdir):
        return dict(norm="linf", clean=0.5, median_radius=0.1, images=10)

    for name, value in dict(
        trained=lambda *_: None, attacked=attacked, Plain=plain, facts=facts
    ).items():
        monkeypatch.setattr(attacks, name, value)

    def main(*more):
        out = tmp_path / "out.json"
        status = attacks.main(["--folder", str(tmp_path), "--out", str(out), *more])
        return status, json.loads(out.read_text())

    return SimpleNamespace(main=main, calls=calls, broken=broken)


def test_it_continues_and_takes_all_networks_by_one_attack_first(
    pretended, monkeypatch
):
    status, result = pretended.main("--only", "sortnet")
    assert status == 0 and [row["dataset"] for row in result["rows"]] == [
        "digits",
        "mnist",
    ]
    first = pretended.calls[:2]
    assert [folder for folder, _ in first] == ["SortNet_digits", "SortNet_mnist"]
    assert all(a["control"] == 0.9 for row in result["rows"] for a in row["attacks"])
    before = len(pretended.calls)
    assert before == sum(map(len, attacks.CELLS.values()))
    assert pretended.main("--only", "sortnet") == (0, result)
    assert len(pretended.calls) == before, "nothing is done twice"
    row, changes = attacks.NETWORKS["SortNet", "mnist"]
    other = {("SortNet", "mnist"): (row, {**changes, "data.epochs": 7})}
    monkeypatch.setattr(attacks, "NETWORKS", {**attacks.NETWORKS, **other})
    _, again = pretended.main("--only", "sortnet")
    assert {folder for folder, _ in pretended.calls[before:]} == {"SortNet_mnist"}
    assert " data.epochs=7 " in again["rows"][1]["made"]


def test_a_broken_pair_is_an_error_and_stands_in_the_table(pretended):
    pretended.broken["hybrid_mnist", "rays"] = 2
    status, result = pretended.main("--only", "hybrid")
    assert status == 1
    lines = tables.attacks(result).splitlines()
    assert lines[2].startswith(
        "| hybrid | digits | 50.0 | 0.1 (l_inf) | 40 | 0 | 1.50 |"
    )
    assert lines[3].startswith(
        "| hybrid | mnist | 50.0 | 0.1 (l_inf) | 40 | 2 | 1.50 |"
    )
    assert lines[2].endswith("| 90 |")
    assert lines[-1].startswith("| all |  |  |  | 80 | 2 |")
