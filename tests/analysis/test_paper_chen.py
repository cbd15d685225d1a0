"""Tables, figures and single votes of Chen et al. (2024): records whose numbers are known
beforehand, and a denoiser that needs no network."""

from __future__ import annotations

import csv
import io
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from analytic_denoiser import analytic
from jax.tree_util import Partial

from jaxcert.certificate import Certificates
from jaxcert.diffusion import classifiers
from jaxcert.papers import chen, chen_page, chen_votes
from jaxcert.papers.exhibits import as_csv

K, TAU = 3, 0.5


def noised(kind, sigma, radii, *, levels=24, **base):
    """Ten images, all right, the first of these radii and the others of 0."""
    radius = np.zeros(10)
    radius[: len(radii)] = radii
    base = dict(kind=kind, levels=levels, search="full", weighting="edm") | base
    header = dict(
        method="smoothing",
        norm="l2",
        sigma=sigma,
        alpha=0.001,
        dataset="digits",
        procedure=dict(name="certify", n0=100, n=1000),
        base=dict(name="noised_diffusion_classifier", **base),
    )
    return certificates(radius, header)


def certificates(radius, header):
    count = len(radius)
    return Certificates(
        index=np.arange(count),
        label=np.zeros(count, int),
        predicted=np.zeros(count, int),
        radius=np.asarray(radius, float),
        n=np.full(count, 1000),
        seconds=np.zeros(count),
        header=header,
    )


def rows(exhibit):
    return list(csv.DictReader(io.StringIO(as_csv(exhibit))))


def test_a_record_says_which_classifier_of_the_paper_it_is_of():
    one = chen.record("a", noised("apndc", 0.25, [], search="race"))
    assert one[:5] == ("a", "APNDC", 24, "race", 0.25)
    other = chen.record("b", noised("diffpure", 0.5, [], weighting="stabilised"))
    assert other[1:5] == ("DiffPure + DC", 24, "stabilised", 0.5)
    procedure = dict(levels=4, weighting="uniform", drop_below=0.5, cap=0.1)
    dc = dict(method="diffusion_classifier", norm="l2", procedure=procedure)
    found = chen.record("c", certificates([0.1], dc))
    assert found[1:5] == ("DC", 4, "uniform above 0.5, errors up to 0.1", 0.0)
    lipschitz = dict(method="lipschitz", procedure=dict(name="margin"))
    assert chen.record("d", certificates([0.1], lipschitz)) is None


def test_table_1_has_at_each_radius_the_best_noise():
    a = noised("apndc", 0.25, [0.3] * 6)
    b = noised("apndc", 0.5, [0.9] * 4)
    b = b._replace(label=np.r_[np.zeros(7, int), 1, 1, 1])
    again = noised("apndc", 0.5, [0.9] * 2)  # another seed
    other = noised("epndc", 0.25, [0.3])
    found = [chen.record(str(i), c) for i, c in enumerate((a, b, again, other))]
    lines = [r for r in rows(chen.table_1(found)) if r["source"] == "digits"]
    best, first, second, epndc = lines
    assert best["sigma"] == "best" and best["clean"] == "100.0"
    values = [float(best[f"ca_{r:.2f}"]) for r in chen.RADII]
    assert values == [60.0, 30.0, 30.0, 0.0]
    assert float(best["clean_of_ca_0.25"]) == 100.0
    assert float(best["clean_of_ca_0.50"]) == 85.0  # of both seeds
    assert [first["sigma"], second["sigma"]] == ["0.25", "0.5"]
    assert float(second["ca_0.75"]) == 30.0
    assert epndc["method"] == "EPNDC" and epndc["sigma"] == "0.25"


def test_table_1_has_the_cells_that_the_paper_says():
    published = [r for r in rows(chen.table_1([])) if r["source"] == "published"]
    first = published[0]
    assert (first["method"], first["levels"]) == ("APNDC", "1000")
    cells = [first[k] for k in ("clean", "ca_0.25", "ca_0.50", "ca_0.75", "ca_1.00")]
    assert cells == ["91.2", "82.2", "70.7", "54.5", ""]


def test_radii_that_were_not_tried_are_empty():
    c = noised("apndc", 0.25, [0.25] * 5)
    procedure = dict(name="radii", radii=[0.0, 0.25], n=1000)
    found = chen.record("a", c._replace(header=c.header | dict(procedure=procedure)))
    (line,) = [r for r in rows(chen.table_1([found])) if r["source"] == "digits"]
    assert line["ca_0.25"] == "50.0" and line["ca_0.50"] == line["ca_1.00"] == ""


def test_radii_that_no_votes_prove_are_empty():
    found = chen.record(
        "a", noised("apndc", 0.25, [0.3] * 5)
    )  # 1,000 votes: up to 0.616
    (line,) = [r for r in rows(chen.table_1([found])) if r["source"] == "digits"]
    cells = [line[f"ca_{r}"] for r in ("0.25", "0.50", "0.75", "1.00")]
    assert cells == ["50.0", "0.0", "", ""]


def test_radii_of_dc_are_averaged_over_all_images():
    procedure = dict(levels=4, weighting="edm")
    dc = dict(method="diffusion_classifier", norm="l2", alpha=0.001, dataset="digits")
    c = certificates([0.02, 0.0, 0.04, 0.01], dc | dict(procedure=procedure))
    c = c._replace(predicted=np.array([0, -1, 0, 1]))  # one abstains, one is wrong
    table, figure = chen.dc_radii([chen.record("a", c)])
    (line,) = [r for r in rows(table) if r["source"] == "digits"]
    assert float(line["average"]) == pytest.approx(0.015)
    assert (float(line["certified"]), float(line["largest"])) == (50.0, 0.04)
    assert {r["average"] for r in rows(table)} >= {"0.0002", "0.009", "0.156"}
    assert rows(figure)[0]["certified"] == "50.0"
    assert float(rows(figure)[-1]["certified"]) == 25.0


def test_the_page_is_of_records_and_of_votes(tmp_path, monkeypatch):
    one = noised("apndc", 0.25, [0.3] * 6)
    monkeypatch.setattr(chen_page.records, "load", lambda path: one)
    (tmp_path / "edm").mkdir()
    (tmp_path / "edm" / "apndc.jsonl").touch()
    row = dict(right=90.0, error=1.0, evaluations=5.0)
    votes = dict(
        dataset="digits",
        sigma=0.25,
        images=200,
        levels=[dict(row, levels=n, shared=s) for n in (1, 2) for s in (True, False)],
        searches=[
            dict(row, search="race", setting=2.0),
            dict(row, search="full", setting=None),
        ],
    )
    path = tmp_path / "edm" / "votes_0.25.json"
    path.write_text(json.dumps(votes))
    chen_page.show(tmp_path)
    with open(tmp_path / "figure_2.csv", newline="") as file:
        found = list(csv.DictReader(file))
    assert [(r["levels"], r["noise"]) for r in found] == [
        (n, noise) for n in "12" for noise in ("shared", "own")
    ]
    with open(tmp_path / "evaluations.csv", newline="") as file:
        found = list(csv.DictReader(file))
    assert [r["search"] for r in found] == ["race", "full", "levels", "levels"]
    page = (tmp_path / "paper.html").read_text()
    assert "Figure 2" in page and (tmp_path / "figure_2.pdf").exists()
    path.write_text('{"levels": [], "searches": []')
    with pytest.raises(chen_page.InputError):
        chen_page.show(tmp_path)


def problem(votes=12):
    mu = 0.2 * jax.random.normal(jax.random.key(1), (K, 2, 4, 4, 1))
    denoise = Partial(analytic(mu, jnp.log(jnp.full((K, 2), 0.5)), 0.15))
    label = np.arange(votes) % K
    noise = TAU * jax.random.normal(jax.random.key(2), (votes, 4, 4, 1))
    return denoise, mu[label, 0] + noise, jax.random.split(jax.random.key(3), votes)


def test_classes_share_noise_or_have_their_own():
    denoise, x, keys = problem()
    law = classifiers.apndc(K, 2, TAU)
    padded = jax.tree.map(lambda v: np.pad(v, (0, 3), mode="edge"), law.levels)

    def logits(keys):
        return classifiers.logits(denoise, law, x, classifiers.draws(keys, x))

    def measured(apart):
        of = law._replace(levels=padded)
        return chen_votes.level_logits(denoise, of, 2, x, keys, apart=apart)

    folded = [jax.vmap(jax.random.fold_in, (0, None))(keys, i) for i in (0, 2)]
    np.testing.assert_allclose(measured(False), logits(folded[0]), rtol=1e-5)
    own = logits(folded[1])[:, 2]
    np.testing.assert_allclose(measured(True)[:, 2], own, rtol=1e-5)
    assert not np.allclose(measured(False)[:, 2], own, rtol=1e-3)
    law = classifiers.epndc(K, 2, TAU)
    found = chen_votes.level_logits(denoise, law, 2, x, keys, apart=False)
    np.testing.assert_allclose(found, logits(folded[0]), rtol=1e-5)


@pytest.mark.slow
def test_searches_count_their_evaluations():
    denoise, x, keys = problem()
    label = np.arange(len(x)) % K
    of = dict(classes=K, sigma_tau=TAU, count=6)
    found = chen_votes.by_search(
        denoise, x, keys, label, races=(0.5, np.inf), thresholds=(), **of
    )
    race, full = found
    assert full["search"] == "full" and full["evaluations"] == 1 + 6 * K
    assert 1 + 3 * K <= race["evaluations"] < full["evaluations"]
    law = classifiers.apndc(K, 6, TAU)
    logits = classifiers.logits(denoise, law, x, classifiers.draws(keys, x))
    assert full["right"] == 100 * float(np.mean(logits.argmax(1) == label))
