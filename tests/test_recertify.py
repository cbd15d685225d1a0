"""Certifying again with fresh noise: p-values by enumeration, honest and invented records."""

from __future__ import annotations

import itertools
import json

import jax
import numpy as np
import pytest
from refusals import names, tells
from scipy import stats

from jaxcert import config as configs
from jaxcert import random_keys, recertify, records
from jaxcert.certificate import ABSTAIN
from jaxcert.certificates import recertifying, run, runner_up, statistics
from jaxcert.errors import InputError
from jaxcert.interfaces import Network
from jaxcert.workdirs.checkpoint import Checkpoints


def claim(p_lower, p_upper=1.0, *, classes=3, name="certify", bounds=1.0):
    """Of one image, class 0."""
    chosen = runner_up.single(np.zeros((1, classes), int), 0.001)
    return recertifying.Claimed(
        name, np.array([p_lower]), np.array([p_upper]), np.array([bounds]), chosen
    )


def outcomes(n, p):
    """(votes [M,3] of n samples, their probabilities [M]); the rest is for no class."""
    votes = [k for k in itertools.product(range(n + 1), repeat=3) if sum(k) <= n]
    p = [*p, max(1 - sum(p), 0.0)]
    each = [stats.multinomial.pmf([*k, n - sum(k)], n, p) for k in votes]
    return np.array(votes), np.array(each)


def values(what, votes, n):
    many = recertifying.Claimed(
        what.name,
        *(np.repeat(x, len(votes)) for x in what[1:4]),
        runner_up.single(np.zeros_like(votes), 0.001),
    )
    return recertifying.p_values(many, votes, n)[0]


CASES = {
    "single": (claim(0.6), [(0.6, 0.4, 0.0), (0.6, 0.1, 0.1), (0.9, 0.1, 0.0)]),
    "runner_up": (
        claim(0.5, 0.3, bounds=3.0),
        [(0.5, 0.3, 0.2), (0.5, 0.25, 0.25), (0.5, 0.3, 0.0), (0.7, 0.3, 0.0)],
    ),
    "predict": (
        claim(0.0, name="predict", bounds=2.0),
        [(0.5, 0.5, 0.0), (0.34, 0.33, 0.33), (0.3, 0.3, 0.3), (0.1, 0.1, 0.1)],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_true_claim_has_a_p_value_of_at_most_a_with_probability_a(name):
    what, truths = CASES[name]
    n, largest = 9, 0.0
    for p in truths:
        votes, chance = outcomes(n, p)
        np.testing.assert_allclose(chance.sum(), 1)
        found = values(what, votes, n)
        for a in np.unique(found):
            mass = chance[found <= a].sum()
            assert mass <= a * (1 + 1e-12)
            largest = max(largest, mass / a)
    assert largest > 0.2  # it is no empty bound


def test_p_values_of_several_images_together():
    """Exactly, of two images whose claims hold just."""
    n, votes, chance = 12, np.arange(13), stats.binom.pmf(np.arange(13), 12, 0.7)
    pairs = np.stack([votes, 0 * votes, n - votes], 1)
    found = values(claim(0.7), pairs, n)
    both = np.array(
        [recertifying.together(np.array(x)) for x in itertools.product(found, found)]
    )
    mass = np.outer(chance, chance).ravel()
    for a in np.unique(both):
        assert mass[both <= a].sum() <= a * (1 + 1e-12)
    assert recertifying.together(np.array([0.01, 0.5, 1.0])) == pytest.approx(0.03)
    assert recertifying.together(np.array([0.4, 0.5, 1.0])) == 1.0


def test_p_value_by_hand():
    """8 of 10 where 0.9 is claimed: P(Binomial(10, 0.9) <= 8) = 1 - 0.9^10 - 10 0.9^9 0.1."""
    found = values(claim(0.9), np.array([[8, 2, 0], [10, 0, 0], [0, 0, 0]]), 10)
    by_hand = 1 - 0.9**10 - 0.9**9
    np.testing.assert_allclose(found, [by_hand, 1.0, 1e-10], rtol=2e-9)
    # 3 of 10 for another class, of which at most 0.1 are claimed; three bounds
    found = values(claim(0.5, 0.1, bounds=3.0), np.array([[7, 3, 0], [7, 0, 3]]), 10)
    np.testing.assert_allclose(found, 3 * stats.binom.sf(2, 10, 0.1), rtol=2e-9)


LIPSCHITZ = dict(
    name="lip_convnet",
    image_shape=(8, 8, 1),
    num_classes=10,
    stages=3,
    blocks=1,
    width=2,
    mean=(0.5,),
    std=0.5,
)
SMALL = dict(name="small_cnn", image_shape=(8, 8, 1), num_classes=10, width=2)


def made(path, model, **certify):
    """A workdir of a network that nobody trained, with its record of 12 images."""
    config = configs.base()
    config.data.name = "digits"
    config.model, config.method = model, dict(name="lot")
    config.certify.update(stop=60, step=5, **certify)
    configs.save(config, path / "config.json")
    built = configs.build("models", config.model)
    net = Network(built, *jax.jit(built.init)(random_keys.key(0)))
    with Checkpoints(path) as checkpoints:
        checkpoints.save_evaluation(net.params, net.state)
    run.certify(configs.read(path), path)
    return path


@pytest.fixture(scope="module")
def lipschitz(tmp_path_factory):
    return made(tmp_path_factory.mktemp("lipschitz"), LIPSCHITZ, name="lipschitz")


@pytest.fixture(scope="module")
def smoothing(tmp_path_factory):
    votes = dict(name="smoothing", sigma=0.5, n0=20, n=200, alpha=0.01)
    return made(tmp_path_factory.mktemp("smoothing"), SMALL, **votes)


def changed(workdir, path, change):
    """The record with another header and other rows."""
    lines = (workdir / "certificates.jsonl").read_text().splitlines()
    header, *rows = map(json.loads, lines)
    change(header, rows)
    path.write_text("\n".join(map(json.dumps, [header, *rows])) + "\n")
    return path


def invented(rows, votes: int = 200):
    """All votes for the label, and the radius of these."""
    for row in rows:
        counts = [0] * 10
        row["predicted"] = row["label"]
        counts[row["predicted"]] = votes
        row["selection"] = [20 * (k > 0) for k in counts]
        row["counts"] = counts
        row["p_lower"] = 0.0  # less than the radius needs, which is allowed
        row["radius"] = float(statistics.smoothing_radius(votes, votes, 0.01, 0.5))


def again(workdir, path=None, **how):
    asked = [f"--{key}={value}" for key, value in how.items()]
    return recertify.main([str(workdir), *([str(path)] if path else []), *asked])


def test_an_honest_record_of_smoothing_is_not_refuted(smoothing, capsys):
    assert again(smoothing, images=8, seed=3) == 0
    said = capsys.readouterr().out
    assert "level reached: sampling" in said and "nothing contradicts" in said
    assert "8 of" in said and "seed 3" in said and "200 fresh votes" in said
    path = smoothing / "certificates.jsonl"
    one, two = (recertifying.recertify(smoothing, path, images=4, seed=3) for _ in "ab")
    np.testing.assert_array_equal(one.p_value, two.p_value)
    other = recertifying.recertify(smoothing, path, images=4)
    assert other.seed != 3 and other.n == 200


def test_votes_that_were_invented_are_refuted(smoothing, tmp_path, capsys):
    path = changed(smoothing, tmp_path / "x.jsonl", lambda header, rows: invented(rows))
    assert again(smoothing, path, images=12, seed=3, n=400) == 1
    said = capsys.readouterr().out
    assert "12 predictions and radii follow" in said and "more than is true" in said
    # one among many honest ones is enough
    path = changed(
        smoothing, tmp_path / "y.jsonl", lambda header, rows: invented(rows[3:4])
    )
    found = recertifying.recertify(smoothing, path, images=12, seed=3)
    assert found.p < 0.001 and (found.p_value < 0.1).sum() == 1


def test_fresh_votes_are_no_votes_of_the_record(smoothing):
    """Of the claim of a row, by its own votes, the p-value is 1; fresh ones differ from them."""
    c = records.load(smoothing / "certificates.jsonl")
    rows = np.flatnonzero(c.predicted != ABSTAIN)
    what = recertifying.claimed(c, rows)
    np.testing.assert_allclose(what.p_lower, c.p_lower[rows], rtol=1e-12)
    value, _ = recertifying.p_values(what, c.counts[rows], 200)
    assert (value > 0.9).all()


@pytest.mark.parametrize(
    "name, more",
    [
        ("two_stage", {}),
        ("sequence", dict(rival="runner_up")),
        ("certify", dict(rival="auto")),
        ("radii", dict(radii=(0.05, 0.2))),
        ("predict", {}),
    ],
)
def test_records_of_other_procedures(smoothing, name, more, tmp_path):
    config = configs.read(smoothing)
    with config.unlocked():
        config.certify.update(procedure=name, n=1000, stop=20, **more)
    path = tmp_path / "rows.jsonl"
    c = run.certify(config, smoothing, out=path)
    assert (c.predicted >= 0).any()
    found = recertifying.recertify(smoothing, path, images=4, seed=5, n=300)
    assert found.p > 0.001 and found.n == 300


def test_a_deterministic_record_is_computed_again(lipschitz, tmp_path, capsys):
    assert again(lipschitz, images=5, seed=1) == 0
    said = capsys.readouterr().out
    assert "otherwise than the record: 0" in said and "network" in said

    def raised(header, rows):
        for row in rows:  # logits of another network, which prove more
            row["logits"] = (2 * np.array(row["logits"])).tolist()
            row["radius"] *= 1.5

    path = changed(lipschitz, tmp_path / "x.jsonl", raised)
    assert again(lipschitz, path, images=5, seed=1) == 1
    said = capsys.readouterr().out
    assert "otherwise than the record: 5" in said and "more than is true" in said


def test_a_radius_above_its_evidence_ends_it_before(smoothing, tmp_path, capsys):
    def raised(header, rows):
        next(row for row in rows if row["radius"] > 0)["radius"] += 0.1

    path = changed(smoothing, tmp_path / "x.jsonl", raised)
    assert again(smoothing, path) != 0
    assert tells(capsys.readouterr().err, "1 radii", path, "--out")


def test_a_record_of_version_0_1_need_not_say_how_its_base_makes_keys(
    smoothing, tmp_path, monkeypatch
):
    def with_base(base):
        def change(header, rows):
            header.update(format=records.FORMAT_1, base=base)

        return changed(smoothing, tmp_path / "x.jsonl", change)

    plain = recertifying.building.certifier_of
    base = dict(name="noised_diffusion_classifier", levels=3)

    def certifier_of(*given):
        made = plain(*given)
        named = base | dict(keys="fold_in(vote, level)")
        return made._replace(settings=made.settings | dict(base=named))

    monkeypatch.setattr(recertifying.building, "certifier_of", certifier_of)
    try:
        p = recertifying.recertify(smoothing, with_base(base), images=2, seed=3).p
    except InputError as error:
        p = str(error)
    assert isinstance(p, float) and p > 0.001
    with pytest.raises(InputError, match=names("x.jsonl", "base", "levels")):
        recertifying.recertify(smoothing, with_base(base | dict(levels=4)), seed=3)


def header_of(key, value, section=None):
    def change(header, rows):
        for place in (
            (header, header["config"].get(section, {})) if section else [header]
        ):
            if value is None:
                place.pop(key, None)
            else:
                place[key] = value

    return change


@pytest.mark.parametrize(
    "change, how, said",
    [
        (header_of("checkpoint", "0" * 32), {}, ["checkpoint", '"' + "0" * 32 + '"']),
        (header_of("data_digest", "abc"), {}, ["data_digest", '"abc"']),
        (header_of("config", None), {}, ["x.jsonl", "config"]),
        (header_of("sigma", 1.0), {}, ["sigma", 1.0, 0.5]),
        (header_of("networks", dict(a="b")), {}, ["networks", "null"]),
        (header_of("seed", 7, "certify"), dict(seed=7), ["seed", 7]),
        (header_of("seed", 7, "certify"), dict(seed=7 + 2**32), ["seed", 7 + 2**32]),
        (None, dict(images=0), ["images", 0]),
        (None, dict(n=3), ["n", 3]),
        (lambda header, rows: rows.clear(), {}, ["x.jsonl", "nothing"]),
    ],
)
def test_refused(smoothing, tmp_path, change, how, said):
    path = changed(smoothing, tmp_path / "x.jsonl", change or (lambda *_: None))
    with pytest.raises(InputError) as error:
        recertifying.recertify(smoothing, path, **dict(seed=1, images=2) | how)
    assert all(str(word) in str(error.value) for word in said)


def test_another_network_is_refused(smoothing, lipschitz):
    with pytest.raises(InputError, match=names("checkpoint", "name")):
        recertifying.recertify(lipschitz, smoothing / "certificates.jsonl", seed=1)


def test_what_has_no_votes_is_refused(smoothing):
    c = records.load(smoothing / "certificates.jsonl")
    c = c._replace(header=c.header | dict(method="diffusion_classifier"))
    with pytest.raises(InputError, match=names("diffusion_classifier", "none")):
        recertifying.claimed(c, np.arange(2))


@pytest.mark.parametrize(
    "kind", ["smoothing", pytest.param("lipschitz", marks=pytest.mark.slow)]
)
def test_parts_of_a_certification_make_the_record_of_one(kind, request, tmp_path):
    """Also where a job was killed within a line and came again. Seconds and dates differ, and
    the last digits of what is computed for another number of images at once."""
    workdir = request.getfixturevalue(kind)
    config, paths = configs.read(workdir), []
    for number in (1, 2):
        rows = run.certify(config, workdir, part=f"{number}/2")
        assert rows.index.tolist() == list(range(5 * (number - 1), 60, 10))
        paths.append(workdir / f"certificates-{number}-of-2.jsonl")
        if number == 2:
            text = paths[1].read_text()
            paths[1].write_text(text[: text.rindex("\n", 0, -1) - 9])
            with pytest.raises(InputError, match=names("part", '"2/2"', '"1/2"')):
                run.certify(config, workdir, part="1/2", out=paths[1])
            run.certify(config, workdir, part="2/2")
    assert records.merge(paths, tmp_path / "all.jsonl") == 12
    found, wanted = (
        [json.loads(line) for line in path.read_text().splitlines()]
        for path in (tmp_path / "all.jsonl", workdir / "certificates.jsonl")
    )
    for one, other in zip(found, wanted, strict=True):
        if kind == "lipschitz":
            for key in ("radius", "radius_paper", "logits"):
                close = pytest.approx(other.pop(key, 0), rel=1e-12)
                assert one.pop(key, 0) == close
        differ = {k for k in one | other if one.get(k) != other.get(k)}
        assert differ <= {"seconds", "date"}
    assert list(found[0]) == list(wanted[0])
    for part in ("13/13", "3/2", "a third"):
        with pytest.raises(InputError, match=names(f"--part={part}")):
            run.certify(config, workdir, part=part)
