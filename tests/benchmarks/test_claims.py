"""Claims of papers: the numbers are those of the runs, and the verdict follows from them."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from benchmarks import claim_runs, claims
from docs import tables
from jaxcert.records import FORMAT_1, Certificates, Writer

FILE = tables.RESULTS / "claims.json"


def part(low, high, seeds=5):
    return dict(what="w", unit="points", values=[0.0] * seeds, low=low, high=high)


@pytest.mark.parametrize(
    "parts, said",
    [
        ([part(0.1, 2.0)], "shown"),
        ([part(0.0, 2.0)], "not shown"),
        ([part(-0.1, 2.0)], "not shown"),
        ([part(-2.0, -0.1)], "contradicted"),
        ([part(-2.0, 0.0)], "not shown"),
        ([part(0.1, 2.0), part(0.1, 1.0)], "shown"),
        ([part(0.1, 2.0), part(-0.1, 1.0)], "not shown"),
        ([part(0.1, 2.0), part(-0.2, -0.1)], "contradicted"),
        ([part(0.1, 2.0, seeds=4)], "not tested"),
        ([part(0.1, 2.0), part(0.1, 2.0, seeds=0)], "not tested"),
        ([], "not tested"),
    ],
)
def test_the_verdict_follows_from_the_intervals(parts, said):
    assert tables.verdict(parts, 5) == said


def test_the_interval_is_students_over_the_seeds():
    mean, low, high = claims.interval([1.0, 2.0, 3.0, 4.0, 5.0])
    half = 2.776445105 * math.sqrt(2.5 / 5)
    assert (mean, low, high) == pytest.approx((3.0, 3.0 - half, 3.0 + half))


def test_the_committed_file_has_every_claim_with_the_interval_of_its_values():
    found = json.loads(FILE.read_text())
    assert [c["says"] for c in found["claims"]] == [c.says for c in claims.CLAIMS]
    for claim, known in zip(found["claims"], claims.CLAIMS, strict=True):
        assert [p["what"] for p in claim["parts"]] == [p.what for p in known.parts]
        assert bool(claim["parts"]) != bool(claim["why"])
        for each in claim["parts"]:
            if len(each["values"]) > 1:
                ends = [each[name] for name in ("mean", "low", "high")]
                assert ends == pytest.approx(claims.interval(each["values"]))
    assert found["rule"] == dict(level=claims.LEVEL, least_seeds=claims.LEAST_SEEDS)


def record(folder, radii, name="certificates"):
    """Images of class 0 with these radii, those of radius nan wrong."""
    radii = np.asarray(radii, float)
    right = ~np.isnan(radii)
    rows = Certificates(
        index=np.arange(len(radii)),
        label=np.zeros(len(radii), int),
        predicted=np.where(right, 0, 1),
        radius=np.nan_to_num(radii),
        n=np.ones(len(radii), int),
        seconds=np.zeros(len(radii)),
        logits=np.where(right[:, None], [1, 0], [0, 0]) * np.nan_to_num(radii)[:, None],
    )
    header = dict(
        format=FORMAT_1, method="lipschitz", norm="l2", alpha=0, num_classes=2
    )
    header |= dict(procedure=dict(name="margin", logit_slack=0.0), pairwise_bound=1.0)
    folder.mkdir(parents=True, exist_ok=True)
    with Writer(folder / f"{name}.jsonl", header) as writer:
        writer.append(rows)


def test_numbers_of_a_seed_are_those_of_its_records(tmp_path):
    seed = claims.Seed(tmp_path)
    no = math.nan
    record(tmp_path / "sortnet" / "none", [0.2, 0.05, 0.2, no])
    record(tmp_path / "sortnet" / "none", [0.2, 0.2, 0.2, 0.05], "train")
    record(tmp_path / "sortnet" / "generated", [0.2, 0.2, 0.2, no])
    assert seed.gain("sortnet") == pytest.approx(25.0)
    assert seed.gap("sortnet", "none", 0.1) == pytest.approx(25.0)
    assert seed.gap("sortnet", "none", 0.0) == pytest.approx(25.0)
    record(tmp_path / "smoothing_sun", [0.8, no, no, no])
    record(tmp_path / "smoothing_gaussian", [0.2, 0.2, no, no])
    assert seed.acr_above("sun") == pytest.approx(0.1)
    assert seed.at_0_below("sun") == pytest.approx(25.0)
    path = tmp_path / "smoothing_sun" / "gradient_norms.json"
    path.write_text(json.dumps(dict(ratio=2.0)))
    assert seed.log_ratio("sun") == pytest.approx(math.log(2))
    path.write_text(json.dumps(dict(ratio=None)))
    votes = dict(images=200, right={"apndc": 150, "epndc": 140})
    (tmp_path / "votes.json").write_text(json.dumps(votes))
    assert seed.vote("apndc", "epndc") == pytest.approx(5.0)
    of = claims.Part("w", "ln", lambda s: s.log_ratio("sun"))
    assert claims.measured(of, [seed])["values"] == [], "there was no hard image"
    gone = claims.Seed(tmp_path / "gone")
    gain = claims.Part("w", "points", lambda s: s.gain("sortnet"))
    assert claims.measured(gain, [seed, gone]) == dict(
        what="w", unit="points", values=[pytest.approx(25.0)]
    )


def test_gap_and_gain_correlate_over_all_systems_and_the_long_one(
    tmp_path, monkeypatch
):
    seed = claims.Seed(tmp_path)
    gaps = {"sortnet": 1, "wide": 2, "linf_dist": 3, "lot": 4, "liresnet": 5}
    monkeypatch.setattr(
        seed, "gap", lambda v, cell, r: 6 if cell == "long_none" else gaps[v]
    )
    monkeypatch.setattr(
        seed, "gain", lambda v, cells=None: 10 * (6 if cells else gaps[v]) + 3
    )
    assert seed.gap_and_gain() == pytest.approx(1.0)


def test_steps_that_are_done_are_not_done_again(tmp_path, monkeypatch, capsys):
    ran = []

    def steps(seed, workdir, *, tiny):
        def work():
            ran.append(seed)
            if len(ran) == 2:
                raise KeyboardInterrupt

        return {"sun": [("a", work)], "chen": [], "altstidl": []}

    monkeypatch.setattr(claim_runs, "steps", steps)
    monkeypatch.setattr("jax.config.update", lambda *_: None)
    with pytest.raises(KeyboardInterrupt):
        claim_runs.run(3, tmp_path, ("sun", "chen"), tiny=True)
    claim_runs.run(3, tmp_path, ("sun", "chen"), tiny=True)
    assert ran == [0, 1, 1, 2]
    done = json.loads((tmp_path / "done.json").read_text())
    assert list(done) == ["seed0/a", "seed1/a", "seed2/a"]


def test_every_number_of_a_claim_has_a_run_of_each_seed(tmp_path):
    """The names that a claim asks for are those that the steps write."""
    asked = set()

    class Named(claims.Seed):
        def certified(self, variant, cell, radius, file="certificates"):
            asked.add(f"{variant}/{cell}")
            return float(len(asked))

        def acr_above(self, method, other="gaussian"):
            asked.update({f"smoothing_{method}", f"smoothing_{other}"})
            return 0.0

        at_0_below = acr_above

        def log_ratio(self, method):
            asked.add(f"smoothing_{method} norms")
            return 0.0

        def vote(self, one, other):
            asked.add("votes")
            known = {*claim_runs.VOTES}
            for count in claim_runs.FEW_LEVELS:
                known |= {f"shared {count}", f"own {count}"}
            assert {one, other} <= known
            return 0.0

    for claim in claims.CLAIMS:
        for each in claim.parts:
            each.of(Named(tmp_path))
    steps = claim_runs.steps(0, tmp_path, tiny=False)
    names = {name for paper in steps.values() for name, _ in paper}
    assert asked <= names and names - asked == {"edm", "generated"}


@pytest.mark.slow
def test_the_script_from_nothing_and_again(tmp_path):
    words = ["--workdir", str(tmp_path / "w"), "--tiny", "--seeds", "2"]
    words += ["--out", str(tmp_path / "out.json")]
    assert claims.main(words) == 0
    found = json.loads((tmp_path / "out.json").read_text())
    values = [len(p["values"]) for c in found["claims"] for p in c["parts"]]
    assert values.count(2) >= 0.7 * len(values), "a tiny run may have no hard image"
    before = (tmp_path / "w" / "done.json").read_text()
    assert claims.main(words) == 0
    assert (tmp_path / "w" / "done.json").read_text() == before


def test_ends_near_zero_say_on_which_side_they_lie():
    assert tables._signed(-0.0004, 1) == "-0.0004"
    assert tables._signed(-1e-15, 1) == "+0.0"
    assert tables._signed(0.26, 1) == "+0.3" and tables._signed(0.0, 1) == "+0.0"
