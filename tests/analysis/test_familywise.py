"""Radii that all hold together: by hand, by simulation, by enumeration, and on records."""

from __future__ import annotations

import itertools
from functools import partial

import numpy as np
import pytest
from refusals import names
from scipy import special, stats

from jaxcert import records, report
from jaxcert.analysis import familywise, metrics
from jaxcert.analysis.familywise import Family, step_down, together
from jaxcert.certificate import ABSTAIN, Certificates, certified_accuracy
from jaxcert.certificates import norms, procedures, runner_up, sequential, statistics
from jaxcert.errors import InputError

SIGMA = 0.5
LAW = dict(noise="gaussian", norm="l2", sigma=SIGMA, d=1)
RADIUS_OF = partial(norms.radius, **LAW)


def of_counts(k, n: int):
    """RadiiAt of CERTIFY from k of n votes."""

    def at(level):
        radius = statistics.smoothing_radius(k, n, level, SIGMA)
        return np.where(radius > 0, radius, -1.0)

    return at


def test_by_hand():
    """Three images with p-values 0.01, 0.02 and 0.06 of the only radius, 1, at alpha 0.05.
    Bonferroni: those up to 0.05 / 3. Holm: 0.01 <= 0.05 / 3, then 0.02 <= 0.05 / 2, then 0.06 is
    above 0.05 / 1."""
    p = np.array([0.02, 0.06, 0.01])

    def at(level):
        return np.where(p <= level, 1.0, -1.0)

    found, level = step_down(at, 3, 0.05, "bonferroni", 1.0)
    assert found.tolist() == [-1, -1, 1] and level == 0.05 / 3
    found, level = step_down(at, 3, 0.05, "holm", 1.0)
    assert found.tolist() == [1, -1, 1] and level == 0.05
    # a fourth image of the record, without a class, takes its share as well
    assert step_down(at, 4, 0.05, "holm", 1.0)[0].tolist() == [-1, -1, 1]


def test_of_single_radii_it_is_the_procedure_of_holm():
    """Against p-values in the order of Holm (1979)."""
    rng = np.random.default_rng(0)
    for _ in range(300):
        p = rng.random(rng.integers(1, 8)) ** 3
        order, rejected = np.argsort(p), np.zeros(len(p), bool)
        for rank, i in enumerate(order):
            if p[i] > 0.1 / (len(p) - rank):
                break
            rejected[i] = True
        found, _ = step_down(
            lambda a, p=p: np.where(p <= a, 2.0, -1.0), len(p), 0.1, "holm", 2.0
        )
        assert (found > 0).tolist() == rejected.tolist()


def test_level_of_bonferroni_is_alpha_over_the_images():
    k = np.array([60, 90, 100])
    found, level = step_down(of_counts(k, 100), 5, 0.01, "bonferroni", 9.0)
    assert level == 0.002
    np.testing.assert_array_equal(found, of_counts(k, 100)(0.002))


def test_holm_dominates_bonferroni_up_to_its_largest_radius():
    rng, more = np.random.default_rng(1), 0
    for _ in range(100):
        k = rng.integers(150, 201, rng.integers(1, 30))
        largest = rng.choice([0.1, 0.3, 0.5])
        at = of_counts(k, 200)
        one, _ = step_down(at, len(k), 0.05, "bonferroni", largest)
        two, _ = step_down(at, len(k), 0.05, "holm", largest)
        assert (two >= np.minimum(one, largest)).all() and (two <= largest).all()
        more += (two > np.minimum(one, largest)).sum()
    assert more > 50


@pytest.mark.parametrize("name", familywise.NAMES)
def test_familywise_error_by_enumeration(name):
    """Of two images with 8 votes each, every outcome; the true radius of each is below, at or
    above what is claimed, also just at what some votes prove."""
    n, alpha, largest = 8, 0.3, 0.3
    truths = [0.5, 0.6, special.ndtr(largest / SIGMA), 0.9]
    for level in (alpha, alpha / 2):  # just below what the most votes prove
        steps = statistics.clopper_pearson_lower(np.arange(6, n + 1), n, level)
        truths += (steps * (1 - 1e-9)).tolist()
    outcomes = list(itertools.product(range(n + 1), repeat=2))
    claims = np.array(
        [
            step_down(of_counts(np.array(k), n), 2, alpha, name, largest)[0]
            for k in outcomes
        ]
    )
    worst = 0.0
    for pair in itertools.product(truths, repeat=2):
        true = SIGMA * special.ndtri(np.array(pair))
        # at p = 1/2 no class is the most probable
        false = ((claims > true) | ((claims >= 0) & (np.array(pair) <= 0.5))).any(1)
        chance = [np.prod(stats.binom.pmf(k, n, pair)) for k in outcomes]
        worst = max(worst, float(np.dot(false, chance)))
    assert worst <= alpha
    assert worst > alpha / 2  # the claims are no empty ones


@pytest.mark.parametrize("name", familywise.NAMES)
def test_familywise_error_by_simulation(name):
    """40 images, 10 of which reach the largest radius and give their share away; the others
    have radii, of which the true one is smaller."""
    n, images, alpha, largest, trials = 200, 40, 0.2, 0.4, 3000
    rng = np.random.default_rng(2)
    p = np.full(images, 0.65)
    p[:10] = 0.99
    true = SIGMA * special.ndtri(p)
    wrong = 0
    for _ in range(trials):
        found, _ = step_down(
            of_counts(rng.binomial(n, p), n), images, alpha, name, largest
        )
        wrong += ((found > true) | ((found >= 0) & (p <= 0.5))).any()
    assert wrong / trials <= alpha + 3 * np.sqrt(alpha / trials)
    assert wrong / trials > alpha / 3


def smoothed(k, *, n=1000, alpha=0.001, classes=3, **changed) -> Certificates:
    """A record of CERTIFY: k of n votes for class 1, the others for class 0."""
    k = np.atleast_1d(k)
    counts = np.zeros((len(k), classes), int)
    counts[:, 0], counts[:, 1] = n - k, k
    radius = statistics.smoothing_radius(k, n, alpha, SIGMA)
    columns = dict(
        index=np.arange(len(k)),
        label=np.ones(len(k), int),
        predicted=np.where(radius > 0, 1, ABSTAIN),
        radius=radius,
        n=np.full(len(k), n),
        seconds=np.zeros(len(k)),
        p_lower=statistics.clopper_pearson_lower(k, n, alpha),
        counts=counts,
        header=dict(
            method="smoothing",
            norm="l2",
            alpha=alpha,
            sigma=SIGMA,
            num_classes=classes,
            procedure=dict(name="certify", n0=10, n=n, noise="gaussian"),
        ),
    )
    return Certificates(**columns | changed)


K = np.array([400, 552, 700, 900, 1000])


def test_the_level_of_holm_is_not_taken_for_that_of_a_single_image():
    c = smoothed(np.full(300, 990))
    assert metrics.summary(c, [0.1]).certified_lower >= 0.98
    for name in familywise.NAMES:
        found = metrics.summary(together(c, Family(name), 0.25), [0.1])
        assert np.isnan(found.certified_lower).all()


def test_a_record_of_certify():
    c = smoothed(K)
    found = together(c, Family("bonferroni"), 1.0)
    expected = statistics.smoothing_radius(K, 1000, 0.001 / 5, SIGMA)
    np.testing.assert_array_equal(found.radius, expected)
    np.testing.assert_array_equal(
        found.p_lower[1:], statistics.clopper_pearson_lower(K, 1000, 0.001 / 5)[1:]
    )
    assert found.header["alpha"] == 0.001 / 5
    assert (found.radius <= c.radius).all()
    # 552 votes are proof at 0.001 and not at a fifth of it
    assert c.predicted.tolist() == [-1, 1, 1, 1, 1]
    assert found.predicted.tolist() == [-1, -1, 1, 1, 1]
    holm = together(c, Family("holm"), 0.25)
    # two reach 0.25, so three are left
    level = 0.001 / 3
    assert holm.header["alpha"] == pytest.approx(level, rel=1e-12)
    expected = statistics.smoothing_radius(K, 1000, level, SIGMA)
    np.testing.assert_allclose(
        holm.radius, np.minimum(expected, 0.25) * (K > 552), rtol=1e-12
    )
    own = together(c, Family("bonferroni", 0.005), 1.0)
    np.testing.assert_array_equal(own.radius, c.radius)


def drawn(p, rng):
    """`draw` of votes with the probabilities p [B,K]."""

    def draw(rows, start, size):
        sizes = np.broadcast_to(size, np.shape(rows))
        return np.stack(
            [rng.multinomial(n, p[r]) for n, r in zip(sizes, rows, strict=True)]
        )

    return draw


P = np.array([[0.1, 0.8, 0.1], [0.0, 1.0, 0.0], [0.25, 0.5, 0.25], [0.05, 0.9, 0.05]])


@pytest.mark.parametrize("rival", runner_up.NAMES)
@pytest.mark.parametrize("name", ["certify", "two_stage", "sequence"])
def test_of_every_procedure_the_evidence_proves_it_at_the_smaller_level(name, rival):
    n, n0, alpha = 4000, 50, 0.01
    draw, looks = drawn(P, np.random.default_rng(3)), sequential.looks(n)
    given = dict(n0=n0, alpha=alpha, radius_of=RADIUS_OF)
    given["rival"] = runner_up.Rival(rival)
    asked: dict = dict(name=name, n0=n0, n=n, noise="gaussian", rival=rival)
    if name == "two_stage":
        asked |= dict(rho=0.05, pilot=procedures.PILOT)
        found = procedures.two_stage(draw, len(P), n=n, rho=0.05, **given)
    elif name == "sequence":
        asked |= dict(looks=list(looks), rho=0.05, bound="union")
        found = procedures.sequence(
            draw, len(P), looks=looks, rho=0.05, bound="union", **given
        )
    else:
        found = procedures.certify(draw, len(P), n=n, **given)
    c = smoothed(K[:4])._replace(
        predicted=np.where(found.answered, found.selected, ABSTAIN),
        radius=found.radius,
        n=found.n,
        p_lower=found.p_lower,
        counts=found.counts,
        agreeing=found.agreeing,
        selection=found.selection,
        rivals=found.rivals,
    )
    c.header.update(alpha=alpha, procedure=asked)
    same = together(c, Family("bonferroni", alpha * len(P)), 9.0)
    np.testing.assert_allclose(same.radius, c.radius, rtol=1e-12)
    less = together(c, Family("bonferroni"), 9.0)
    sure = [0, 1, 3]  # p of the third is 1/2, where `single` abstains
    assert (less.radius <= c.radius).all()
    assert ((less.radius < c.radius) & (less.radius > 0))[sure].all()
    if rival == "single" and name != "sequence":
        used = c.n - (procedures.PILOT if name == "two_stage" else 0)
        k = c.counts[np.arange(4), c.predicted]
        k, used = k[sure], used[sure]
        expected = statistics.smoothing_radius(k, used, alpha / 4, SIGMA)
        np.testing.assert_allclose(less.radius[sure], expected, rtol=1e-12)
    if rival == "runner_up" and name == "certify":
        one = c.counts[np.arange(4), c.predicted]
        two = np.sort(c.counts, 1)[:, -2]
        lower = special.betaincinv(one, n - one + 1, alpha / 8)
        upper = special.betaincinv(two + 1, n - two, 1 - alpha / 8)
        upper = np.minimum(upper, 1 - lower)
        expected = SIGMA / 2 * (special.ndtri(lower) - special.ndtri(upper))
        np.testing.assert_allclose(less.radius, expected, rtol=1e-6)


def test_classes_of_predict():
    """521 of 1,000 are more than half at 0.2 and not at a quarter of it."""
    c = smoothed([400, 521, 700, 900], radius=np.zeros(4), p_lower=None)
    c = c._replace(predicted=np.array([0, 1, 1, 1]))
    c.header.update(alpha=0.2, procedure=dict(name="predict", n=1000))
    found = together(c, Family("bonferroni"), 0.0)
    assert found.predicted.tolist() == [0, -1, 1, 1] and found.p_lower is None
    assert together(c, Family("bonferroni", 0.3), 0.0).predicted[1] == -1
    # the three others are sure, which leaves the whole alpha for it
    assert together(c, Family("holm"), 0.0).predicted.tolist() == [0, 1, 1, 1]


def test_votes_that_are_not_those_of_the_procedure_claim_nothing():
    c = smoothed(K, n=1000)
    c.n[4] = 900
    assert together(c, Family("bonferroni"), 1.0).predicted.tolist()[3:] == [1, -1]


def test_what_is_certain_stays():
    c = smoothed(K)._replace(header=dict(method="lipschitz", alpha=0))
    assert together(c, Family("holm"), 1.0) is c


REFUSED = [
    (
        dict(method="diffusion_classifier"),
        Family("holm"),
        ["--familywise", "diffusion_classifier"],
    ),
    (dict(procedure=dict(name="radii")), Family("holm"), ["radii", "0.0002"]),
    (dict(alpha=0), Family("holm"), ["alpha", 0]),
    ({}, Family("fisher"), ["familywise", "fisher"]),
    ({}, Family("holm", 0.0), ["--familywise", 0.0]),
    ({}, Family("holm", 0.31), ["--familywise", 0.31]),
]


@pytest.mark.parametrize("header, family, said", REFUSED)
def test_refused(header, family, said):
    c = smoothed(K)
    c = c._replace(header=c.header | header)
    if header == dict(alpha=0):
        c.header["format"] = "tsv"
    with pytest.raises(InputError, match=names(*said)):
        together(c, family, 1.0)


def test_parse():
    assert familywise.parse("holm") == Family("holm")
    assert familywise.parse("bonferroni=0.05") == Family("bonferroni", 0.05)
    for text, said in (("sidak", "sidak"), ("holm=x", "x"), ("holm=", "''")):
        with pytest.raises(InputError, match=names("--familywise", said)):
            familywise.parse(text)


def test_the_report_states_what_holds_together(tmp_path, capsys):
    file = tmp_path / "rows.jsonl"
    c = smoothed(np.array([400, 552, 700, 900, 1000]))
    with records.Writer(file, c.header | dict(format=records.FORMAT_1)) as writer:
        writer.append(c)
    assert report.main([str(file), "--radii", "0,0.25"]) == 0
    said = capsys.readouterr().out
    assert "at most 0.005 of 5" in said and certified_accuracy(c, [0])[0] == 0.8
    assert "80.0" in said
    asked = ["--radii", "0,0.25", "--familywise", "holm"]
    assert report.main([str(file), *asked]) == 0
    said = capsys.readouterr().out
    assert "60.0" in said and "80.0" not in said
    assert "no radius above 0.25 is claimed" in " ".join(said.split())
    assert "none of the 5 radii up to 0.25" in said and "0.999 (holm)" in said
    assert "All 4 predictions" in said  # the record itself is checked
