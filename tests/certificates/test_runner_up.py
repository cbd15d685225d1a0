"""The runner-up bound: exact coverage by enumeration, a case by hand, and its properties."""

from __future__ import annotations

import itertools
import math
from functools import partial

import numpy as np
import pytest
from refusals import names
from scipy import special

from jaxcert import bound, random_keys, records
from jaxcert.analysis import facts, metrics
from jaxcert.analysis.recheck import recheck
from jaxcert.certificate import ABSTAIN, Certificates
from jaxcert.certificates import (
    bounding,
    norms,
    procedures,
    reach,
    runner_up,
    sequential,
    smoothing,
    statistics,
)
from jaxcert.certificates.runner_up import Rival
from jaxcert.errors import InputError

LAW = dict(noise="gaussian", norm="l2", sigma=1.0, d=1)
RADIUS_OF = partial(norms.radius, **LAW)
PAIRS = [(noise, norm) for noise, many in norms.RADII.items() for norm in many]
BOTH, AUTO = Rival("runner_up"), Rival("auto")


def fixed(selection, counts):
    """`draw` of given votes [B,K] for the selection, which starts at 0, and for the rest."""
    selection, counts = np.atleast_2d(selection), np.atleast_2d(counts)

    def draw(rows, start, size):
        first = (np.broadcast_to(start, np.shape(rows)) == 0)[:, None]
        return np.where(first, selection[rows], counts[rows])

    return draw


def certify(
    selection, counts, *, n, alpha=0.001, rival=BOTH, n0=100, radius_of=RADIUS_OF
):
    draw = fixed(selection, counts)
    given = dict(n0=n0, n=n, alpha=alpha, radius_of=radius_of, rival=rival)
    return procedures.certify(draw, len(np.atleast_2d(counts)), **given)


def lower(k, n, alpha):
    return special.betaincinv(k, n - k + 1, alpha) if k else 0.0


def upper(k, n, alpha):
    return special.betaincinv(k + 1, n - k, 1 - alpha) if k < n else 1.0


def test_a_case_by_hand():
    """4,200 of 10,000 for the class, 1,500 at most for another of ten, 300 for none. Both bounds
    are at 0.0005: p_A >= 0.40377, p_B <= 0.16206, R = 1/2 (-0.24359 + 0.98601)."""
    counts = [4200, 1500, 1500, 1000, 500, 500, 300, 100, 50, 50]
    found = certify([60] + [4] * 9, counts, n=10_000)
    p, q = lower(4200, 10_000, 5e-4), upper(1500, 10_000, 5e-4)
    np.testing.assert_allclose([p, q], [0.40377, 0.16206], atol=1e-5)
    radius = (special.ndtri(p) - special.ndtri(q)) / 2
    np.testing.assert_allclose(found.radius, radius, rtol=1e-9)
    assert found.radius[0] < radius and found.answered[0]
    np.testing.assert_allclose(found.p_lower, p, rtol=1e-9)
    # by 1 - p_A nothing is proven
    assert not certify(
        [60] + [4] * 9, counts, n=10_000, rival=runner_up.SINGLE
    ).answered[0]


def test_all_votes_agree():
    """p_A >= a^(1/n) and p_B <= 1 - a^(1/n) with a = alpha / 2."""
    found = certify([100, 0, 0], [1000, 0, 0], n=1000)
    p = (0.001 / 2) ** (1 / 1000)
    np.testing.assert_allclose(found.radius, special.ndtri(p), rtol=1e-9)


@pytest.mark.parametrize("undrawn, other", [(False, 250), (True, 350)])
def test_samples_that_were_not_drawn_count_for_the_other_class(undrawn, other):
    """100 of 1,000 samples have no class."""
    rival = Rival("runner_up", undrawn=undrawn)
    found = certify([90, 5, 5], [500, 250, 150], n=1000, rival=rival)
    p, q = lower(500, 1000, 0.0005), upper(other, 1000, 0.0005)
    radius = (special.ndtri(p) - special.ndtri(q)) / 2
    np.testing.assert_allclose(found.radius, radius, rtol=1e-9)


def test_two_classes_are_single_at_the_full_alpha():
    counts = np.stack([np.arange(500, 1001), 1000 - np.arange(500, 1001)], 1)
    selection = np.tile([10, 0], (501, 1))
    single = certify(selection, counts, n=1000, rival=runner_up.SINGLE)
    for rival in (BOTH, AUTO):
        found = certify(selection, counts, n=1000, rival=rival)
        assert found.radius.tolist() == single.radius.tolist()
        assert found.p_lower.tolist() == single.p_lower.tolist()


@pytest.mark.parametrize("noise, norm", PAIRS)
def test_two_points_are_one_where_the_second_is_the_rest(noise, norm):
    law = dict(noise=noise, norm=norm, sigma=0.5, d=12)
    tail = np.geomspace(1e-12, 0.49, 200)
    one, two = norms.radius(tail, **law), norms.radius(tail, 1.0, **law)
    np.testing.assert_allclose(two, one, rtol=1e-9, atol=1e-12)
    # and a second that is smaller gives more, if only in radii that are not 0
    assert (norms.radius(tail, tail / 2, **law) > one * (1 + 1e-13)).all()


@pytest.mark.parametrize("noise, norm", PAIRS)
def test_a_radius_of_two_points_is_below_the_exact_one(noise, norm):
    """In float64, good to a few units of what is subtracted; radii are rounded by more."""
    law = dict(noise=noise, norm=norm, sigma=0.5, d=4)
    b, rng = norms.scale(noise, 0.5), np.random.default_rng(0)
    tail = np.concatenate([rng.uniform(0, 0.95, 500), 10 ** rng.uniform(-9, -1, 500)])
    near = 1 - 10 ** rng.uniform(-10, 0, 1000)
    q = np.minimum(1 - tail, tail) * near
    found, p = norms.radius(tail, q, **law), 1 - tail
    r = {
        ("uniform", "l1"): b * (p - q),
        ("uniform", "linf"): -2 * b * np.expm1(np.log1p(-(p - q) / 2) / 4),
        ("laplace", "l1"): b * np.maximum(np.log(p / q) / 2, -np.log(tail + q)),
    }.get(
        (noise, norm),
        (special.ndtri(q) + special.ndtri(tail)) / (-8 if norm == "linf" else -4),
    )
    assert (found < r).all() and (found > 0).mean() > 0.9
    np.testing.assert_allclose(found, r, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("noise", ["uniform", "laplace"])
def test_the_theorem_of_two_points_holds_and_is_reached(noise):
    """One pixel: A is the left part of the line, B another with gaps between; where the noise
    moves by the radius, A still has more than B."""
    law = dict(noise=noise, norm="l1", sigma=1.0, d=1)
    b = norms.scale(noise, 1.0)
    cdf = {
        "uniform": lambda x: np.clip((x + b) / (2 * b), 0, 1),
        "laplace": lambda x: np.where(x < 0, np.exp(x / b) / 2, 1 - np.exp(-x / b) / 2),
    }[noise]
    inverse = {
        "uniform": lambda p: b * (2 * p - 1),
        "laplace": lambda p: b * np.log(2 * p) if p < 0.5 else -b * np.log(2 - 2 * p),
    }[noise]
    gaps = []
    for p, q in [(0.4, 0.1), (0.3, 0.25), (0.7, 0.2), (0.9, 0.001), (0.05, 0.01)]:
        radius = float(norms.radius(1 - p, q, **law))
        end, begin = inverse(p), inverse(1 - q)
        a = cdf(end - radius)  # the image moves to the right by the radius
        other = 1 - cdf(begin - radius)
        assert a >= other - 1e-12
        gaps.append(a - other)
    assert min(gaps) < 1e-9  # the largest shift of some half-spaces


def multinomials(total, p):
    """All votes [M,3] of `total` samples, and their probabilities."""
    votes = [
        (i, j, total - i - j) for i in range(total + 1) for j in range(total + 1 - i)
    ]
    votes = np.array(votes)
    log = special.gammaln(total + 1) - special.gammaln(votes + 1).sum(1)
    return votes, np.exp(log + special.xlogy(votes, p).sum(1))


BORDER = [
    (1 / 3, 1 / 3, 1 / 3),
    (0.5, 0.5, 0.0),
    (0.45, 0.45, 0.1),
    (0.4, 0.4, 0.2),
    (0.5, 0.25, 0.25),
    (0.6, 0.2, 0.2),
    (0.8, 0.1, 0.1),
    (0.8, 0.2, 0.0),
    (0.9, 0.05, 0.05),
    (0.95, 0.05, 0.0),
    (0.97, 0.02, 0.01),
    (0.2, 0.4, 0.4),
    (0.3, 0.6, 0.1),
]


@pytest.mark.parametrize("p", BORDER, ids=str)
@pytest.mark.parametrize("name", ["runner_up", "auto"])
def test_exact_error_of_every_multinomial(name, p):
    """All votes of n = 40 at alpha 0.05, after all selections of n0 = 6: the probability of a
    radius above the true one, of the class that was selected."""
    alpha, n0, n = 0.05, 6, 40
    counts, weight = multinomials(n, p)
    selections, chance = multinomials(n0, p)
    p = np.array(p)
    z = special.ndtri(p)
    error, claimed = 0.0, 0.0
    for selection, share in zip(selections, chance, strict=True):
        top = int(selection.argmax())
        found = certify(
            np.tile(selection, (len(counts), 1)),
            counts,
            n=n,
            n0=n0,
            alpha=alpha,
            rival=Rival(name),
        )
        with np.errstate(invalid="ignore"):
            true = (z[top] - np.delete(z, top).max()) / 2
        false = found.answered & (found.radius > true)
        given = weight[false].sum()
        assert given <= alpha  # for each selection alone
        error, claimed = (
            error + share * given,
            claimed + share * weight[found.answered].sum(),
        )
    assert error <= alpha
    if max(p) >= 0.8:
        assert claimed > 0.9


def test_auto_is_the_better_of_both_as_the_selection_sees_it():
    """All of 100 votes agree: `single` is larger; where the rest is spread, the runner-up is."""
    alpha, n = 0.001, 1000
    selection = np.array([[100, 0, 0, 0], [55, 15, 15, 15], [40, 20, 20, 20]])
    counts = np.array([[550, 150, 150, 150]] * 3)
    found = certify(selection, counts, n=n, rival=AUTO)
    one = certify(selection, counts, n=n, rival=runner_up.SINGLE)
    two = certify(selection, counts, n=n, rival=BOTH)
    assert found.radius.tolist() == [one.radius[0], two.radius[1], two.radius[2]]
    assert found.p_lower.tolist() == [one.p_lower[0], two.p_lower[1], two.p_lower[2]]
    assert two.radius[0] > one.radius[0]
    np.testing.assert_allclose(one.p_lower[0], lower(550, n, alpha), rtol=1e-9)
    np.testing.assert_allclose(two.p_lower[1], lower(550, n, alpha / 2), rtol=1e-9)


def test_more_votes_for_another_class_never_help():
    rng = np.random.default_rng(0)
    selection = np.tile([80, 10, 10], (200, 1))
    k = rng.integers(350, 990, 200)
    c = ((1000 - k) * rng.uniform(0, 0.9, 200)).astype(int)
    radius = certify(selection, np.stack([k, c, 0 * c], 1), n=1000).radius
    more = certify(selection, np.stack([k, c + 5, 0 * c], 1), n=1000).radius
    fewer = certify(selection, np.stack([k - 5, c, 0 * c], 1), n=1000).radius
    assert (more <= radius).all() and (fewer <= radius).all()
    assert (more < radius).sum() > 50 and (fewer < radius).sum() > 50


def test_alpha_is_divided_by_two_whatever_the_number_of_classes():
    """The same votes with classes added that have none: p_B is of one class, which the votes do
    not choose."""
    counts = np.array([600, 200, 200])
    few = certify([80, 10, 10], counts, n=1000)
    many = certify(np.eye(1000, dtype=int)[0] * 80, np.pad(counts, (0, 997)), n=1000)
    assert many.radius.tolist() == few.radius.tolist()
    np.testing.assert_allclose(few.p_lower, lower(600, 1000, 0.0005), rtol=1e-9)


def simulated(p, rng):
    """`draw` of votes for the classes with probabilities p [K]; class 0 is selected."""

    def draw(rows, start, size):
        size = np.broadcast_to(size, np.shape(rows))
        first = np.broadcast_to(start, np.shape(rows)) == 0
        votes = rng.multinomial(size, p)
        for row in np.flatnonzero(first):  # class 0 has the most votes of the selection
            votes[row] = swapped(votes[row], 0, votes[row].argmax())
        return votes

    return draw


def run(name, p, images, seed=0, *, rival=BOTH, n=2000, alpha=0.001, rho=0.2, **more):
    draw = simulated(p, np.random.default_rng(seed))
    given = dict(n0=10, alpha=alpha, radius_of=RADIUS_OF, rival=rival)
    if name == "sequence":
        given |= dict(looks=sequential.looks(n), rho=rho, bound="union")
    else:
        given |= dict(n=n) | (dict(rho=rho) if name == "two_stage" else {})
    return getattr(procedures, name)(draw, images, **given | more)


WORST = [
    ("certify", {}),
    ("two_stage", {}),
    ("sequence", dict(bound="union")),
    ("sequence", dict(bound="mixture")),
]


def false_share(name, more, p, rival, images, alpha, parts=1):
    z = special.ndtri(np.array(p))
    true = (z[0] - z[1:].max()) / 2
    found = [
        run(name, p, images // parts, s, rival=rival, alpha=alpha, **more)
        for s in range(parts)
    ]
    return sum(int((d.answered & (d.radius > true)).sum()) for d in found)


@pytest.mark.parametrize("name, more", WORST)
def test_radii_of_every_procedure_are_false_no_more_often_than_alpha(name, more):
    """More than 78 of 1,000 at the level 0.05 have probability 1e-4."""
    assert false_share(name, more, (0.5, 0.25, 0.25), BOTH, 1000, 0.05) <= 78


@pytest.mark.slow
@pytest.mark.parametrize("rival", [BOTH, AUTO], ids=["runner_up", "auto"])
@pytest.mark.parametrize(
    "p", [(0.4, 0.4, 0.2), (0.6, 0.2, 0.2), (0.3, 0.3, *[0.05] * 8)], ids=str
)
@pytest.mark.parametrize("name, more", WORST)
def test_200_000_trials_are_false_no_more_often_than_alpha(name, more, p, rival):
    """More than 255 of 200,000 at level 0.001 have probability 1e-4."""
    assert false_share(name, more, p, rival, 200_000, 0.001, parts=10) <= 255


def record(found, name, *, rival, n=2000, alpha=0.001, classes=3, **more):
    procedure = dict(name=name, n0=11, n=n, scale=1.0, least_tail=0.0) | more
    if rival.name != "single":
        procedure["rival"] = rival.name
    if name == "two_stage":
        procedure |= dict(pilot=procedures.PILOT, rho=0.2)
    if name == "sequence":
        procedure |= dict(looks=list(sequential.looks(n)), rho=0.2, bound="union")
    images = len(found.radius)
    return Certificates(
        index=np.arange(images),
        label=np.zeros(images, int),
        predicted=np.where(found.answered, found.selected, ABSTAIN),
        radius=np.where(found.answered, found.radius, 0.0),
        n=found.n,
        seconds=np.zeros(images),
        p_lower=found.p_lower,
        counts=found.counts,
        agreeing=found.agreeing,
        selection=found.selection,
        rivals=found.rivals,
        header=dict(
            method="smoothing",
            norm="l2",
            alpha=alpha,
            sigma=1.0,
            num_classes=classes,
            procedure=procedure,
            generator=random_keys.GENERATOR | random_keys.OF_SAMPLES,
        ),
    )


P = (0.45, 0.3, 0.15, 0.1)


def made(name, rival, images=40):
    """A record of votes, the selection among them, of four classes."""
    rng = np.random.default_rng(7)

    def draw(rows, start, size):
        return rng.multinomial(np.broadcast_to(size, np.shape(rows)), P)

    given = dict(n0=11, alpha=0.001, radius_of=RADIUS_OF, rival=rival)
    if name == "sequence":
        given |= dict(looks=sequential.looks(2000), rho=0.2, bound="union")
    else:
        given |= dict(n=2000) | (dict(rho=0.2) if name == "two_stage" else {})
    found = getattr(procedures, name)(draw, images, **given)
    return record(found, name, rival=rival, classes=4)


@pytest.mark.parametrize("rival", [BOTH, AUTO], ids=["runner_up", "auto"])
@pytest.mark.parametrize("name", runner_up.PROCEDURES)
def test_a_recheck_finds_what_was_certified_and_no_more(name, rival):
    c = made(name, rival)
    found = recheck(c)
    said = c.predicted >= 0
    assert said.sum() > 5 and found.holds and found.checked == said.sum()
    np.testing.assert_allclose(found.proven[said], c.radius[said], rtol=1e-9)
    assert len(recheck(c._replace(radius=c.radius * 1.001)).failing) == said.sum()
    # another rival than the one that the header names proves less of most of them
    plain = dict(c.header["procedure"])
    plain = {k: v for k, v in plain.items() if k != "rival"}
    single = recheck(c._replace(header=c.header | {"procedure": plain}))
    both = (np.abs(c.p_lower - 0) < 0.5) & said
    assert set(np.flatnonzero(both)) <= set(single.failing)


def swapped(votes, one, other):
    votes = votes.copy()
    votes[[one, other]] = votes[[other, one]]
    return votes


def test_votes_of_the_selection_must_be_such():
    c = made("certify", AUTO)
    row = int(np.flatnonzero(c.predicted >= 0)[0])
    for change in (
        lambda s: s[row].sum() * np.eye(4, dtype=int)[(c.predicted[row] + 1) % 4],
        # the same shares, of which another class has most
        lambda s: swapped(s[row], s[row].argmin(), c.predicted[row]),
        lambda s: s[row] + 1,
        lambda s: s[row] - (s[row].min() + 1) * np.eye(4, dtype=int)[s[row].argmin()],
    ):
        selection = c.selection.copy()
        selection[row] = change(selection)
        assert row in recheck(c._replace(selection=selection)).failing
    assert recheck(c._replace(selection=None)).reason


@pytest.mark.parametrize("name", ["two_stage", "sequence"])
def test_votes_of_the_others_at_the_looks_are_compared_with_the_counts(name):
    c = made(name, BOTH)
    row = int(np.flatnonzero(c.predicted >= 0)[0])
    last = int((c.rivals[row] >= 0).sum()) - 1
    for change in (-1, 1):
        rivals = c.rivals.copy()
        rivals[row, last] += change
        assert row in recheck(c._replace(rivals=rivals)).failing
    rivals = c.rivals.copy()
    rivals[row, 0] = c.agreeing[row, 0] + 5000
    assert row in recheck(c._replace(rivals=rivals)).failing
    assert recheck(c._replace(rivals=None)).reason
    counts = c.counts.copy()  # a vote of the largest other class goes
    others = np.where(np.arange(4) == c.predicted[row], -1, counts[row])
    counts[row, others.argmax()] -= 50
    assert row in recheck(c._replace(counts=counts)).failing


@pytest.mark.parametrize(
    "changed, said",
    [
        (dict(rival="third"), names("header", "rival", "third")),
        (dict(rival=3), names("header", "rival", 3)),
        (dict(rival=[]), names("header", "rival", "[]")),
    ],
)
def test_headers_of_unknown_rivals_are_refused(changed, said):
    c = made("certify", BOTH)
    procedure = c.header["procedure"] | changed
    with pytest.raises(InputError, match=said):
        recheck(c._replace(header=c.header | {"procedure": procedure}))


def test_an_old_record_is_bounded_again_from_its_counts():
    c = made("certify", runner_up.SINGLE)._replace(selection=None)
    c.header["config"] = {"certify": {"rival": "single", "n": 2000}}
    again = bounding.again(c, "runner_up")
    said = c.predicted >= 0
    assert not said.all()
    assert (again.predicted[~said] == ABSTAIN).all()
    plain = certify(np.eye(4, dtype=int)[c.predicted.clip(0)], c.counts, n=2000, n0=1)
    assert again.radius[said].tolist() == plain.radius[said].tolist()
    assert again.header["bounded_again"] == {"rival": "single"}
    found = recheck(again)
    assert found.holds and any("bounded again" in note for note in found.notes)
    assert c.header["procedure"].get("rival") is None  # the old one is as it was


def test_with_votes_of_the_selection_abstentions_are_bounded_again_too():
    c = made("certify", runner_up.SINGLE)
    whole = made("certify", BOTH)  # of the same votes
    again = bounding.again(c, "runner_up")
    assert again.predicted.tolist() == whole.predicted.tolist()
    assert again.radius.tolist() == whole.radius.tolist()
    assert (again.predicted >= 0).sum() > (c.predicted >= 0).sum()
    assert recheck(again).holds


def test_p_lower_of_a_record_bounded_again_is_that_of_exact_noise():
    c = made("certify", runner_up.SINGLE)
    procedure = c.header["procedure"] | dict(n=2_000_000)  # see norms.relies_on_tail
    c = c._replace(
        counts=c.counts * 1000,
        n=c.n * 1000,
        header=c.header | {"procedure": procedure},
    )
    again = bounding.again(c, "runner_up")
    rows = np.arange(len(c.index))
    k = c.counts[rows, c.selection.argmax(1)]
    drawn = statistics.clopper_pearson_lower(k, c.n, 0.001 / 2)
    said = again.predicted >= 0
    assert said.any()
    lost = (drawn - again.p_lower)[said]
    np.testing.assert_allclose(lost, norms.LEAST_TAIL / 4, rtol=1e-6)


def test_what_depends_on_the_selection_is_not_bounded_again_without_it():
    c = made("certify", runner_up.SINGLE)._replace(selection=None)
    with pytest.raises(InputError, match=names("selection", "rival", "auto")):
        bounding.again(c, "auto")
    with pytest.raises(InputError, match=names("procedure", "certify", "two_stage")):
        bounding.again(made("two_stage", BOTH), "single")


def vote(keys, image):
    return np.zeros(len(image), np.int32)


@pytest.mark.parametrize(
    "changed, error",
    [
        (dict(rival="third"), names("rival", "third")),
        (dict(bound="runner_up"), names("certify.rival", "runner_up")),
        (dict(rival="runner_up", procedure="predict"), names("predict", "single")),
        (
            dict(rival="auto", procedure="radii", radii=(0.1,)),
            names("radii", "single"),
        ),
        (dict(rival="runner_up", noise="laplace", norm="l2"), names("laplace", "l2")),
        # alpha / 2 = 0.0005 needs 2^-10.97
        (dict(rival="runner_up", n=10), names("10", "11")),
        (dict(rival="auto", n=10), names("10", "11")),
    ],
)
def test_what_has_no_bound_is_refused(changed, error):
    with pytest.raises(InputError, match=error):
        smoothing.certifier(vote, num_classes=10, sigma=0.5, **changed)


def thirds(keys, image):
    """Class 0, 1 or 2 by the noise of one pixel, which is below or above two bounds."""
    pixel = image.reshape(len(image), -1)[:, 0]
    return (pixel > 0.5).astype(np.int32) + (pixel > 0.9).astype(np.int32)


@pytest.mark.parametrize("noise", ["gaussian", "grid"])
@pytest.mark.parametrize("name", runner_up.PROCEDURES)
def test_records_of_a_rival_are_written_read_and_rechecked(name, noise, tmp_path):
    """The first image has p of 0.46, 0.30 and 0.24: less than 1/2 for every class."""
    given = dict(num_classes=3, sigma=0.5, n0=100, n=2000, procedure=name)
    given |= dict(noise=noise)
    made = smoothing.certifier(thirds, rival="auto", image_shape=(1, 1, 1), **given)
    assert made.header["procedure"]["rival"] == "auto"
    image = (np.array([140, 0, 255]) / np.float32(255)).astype(np.float32)
    image = image.reshape(3, 1, 1, 1)
    rows = made.certify(random_keys.key(0), image, np.array([0, 0, 2]), np.arange(3))
    assert rows.predicted.tolist() == [0, 0, 2] and (rows.radius > 0).all()
    assert rows.p_lower[0] < 0.5
    with records.Writer(tmp_path / "a.jsonl", made.header) as writer:
        writer.append(rows)
    read = records.load(tmp_path / "a.jsonl")
    np.testing.assert_array_equal(read.selection, rows.selection)
    found = recheck(read)
    assert found.checked == 3 and found.holds
    with pytest.raises(InputError, match=names("a.jsonl", "procedure")):
        single = smoothing.certifier(thirds, image_shape=(1, 1, 1), **given)
        records.Writer(tmp_path / "a.jsonl", single.header)
    if name == "certify":  # the table does not say that its radii are CERTIFY's
        text = records.to_tsv(read)
        (tmp_path / "a.tsv").write_text(text)
        table = records.load(tmp_path / "a.tsv")
        assert table.header["procedure"]["name"] == "certify_auto"
        np.testing.assert_array_equal(table.radius, rows.radius)


def test_the_least_n_is_enough_and_one_fewer_is_not():
    for rival, n in (("runner_up", 11), ("auto", 11), ("single", 10)):
        made = smoothing.certifier(vote, num_classes=10, sigma=0.5, rival=rival, n=n)
        assert made.header["procedure"].get("rival", "single") == rival
        with pytest.raises(InputError):
            smoothing.certifier(vote, num_classes=10, sigma=0.5, rival=rival, n=n - 1)
    # two classes need no second bound
    smoothing.certifier(vote, num_classes=2, sigma=0.5, rival="runner_up", n=10)


def test_upper_bounds_are_those_of_clopper_and_pearson_rounded_up():
    for n, alpha in itertools.product((20, 1000), (0.05, 1e-4)):
        k = np.arange(n)
        exact = np.array([upper(i, n, alpha) for i in k])
        found = runner_up.upper(k, n, alpha)
        assert (found >= exact * (1 - 1e-13)).all()
        np.testing.assert_allclose(found, exact, rtol=1e-8)
        assert runner_up.upper(n, n, alpha) == 1
        assert math.isclose(runner_up.upper(0, n, alpha), 1 - alpha ** (1 / n))


def test_fewer_samples_than_asked_for_are_advised_as_is_enough():
    message = reach.too_few("certify", 9, 0.001, "union", RADIUS_OF, (), 2)
    assert "at least 11" in message and "2 bounds" in message
    assert statistics.min_n_for_any_radius(0.0005) == 11


def test_a_report_names_the_rival_and_a_constant_classifier_has_the_same():
    for rival, words, level in (
        (runner_up.SINGLE, [], 0.001),
        (BOTH, ["the other classes bounded by their own votes"], 0.001 / 2),
        (AUTO, ["p_lower alone or the other classes bounded too"], 0.001),
    ):
        c = made("certify", rival)
        said = facts.describe(c.header)
        assert all(word in said for word in words)
        assert bool(words) == ("bounded" in said)
        n, alpha, sigma = metrics.certify_numbers(c)
        assert (n, sigma) == (2000, 1.0) and alpha == pytest.approx(level, 1e-12)
    again = bounding.again(made("certify", runner_up.SINGLE), "runner_up")
    assert "bounded again" in facts.describe(again.header)


def test_a_finished_record_is_bounded_again_by_a_command(tmp_path, capsys):
    c = made("certify", AUTO)
    with records.Writer(tmp_path / "auto.jsonl", c.header) as writer:
        writer.append(c)
    given = [str(tmp_path / "auto.jsonl"), "--out", str(tmp_path / "single.jsonl")]
    assert bound.main([*given, "--rival", "single"]) == 0
    said = capsys.readouterr().out
    found = records.load(tmp_path / "single.jsonl")
    assert found.header["bounded_again"] == {"rival": "auto"}
    np.testing.assert_array_equal(found.radius, bounding.again(c, "single").radius)
    larger = int((found.radius > c.radius).sum())
    assert f"{larger} of {len(c.index)} radii" in said
    assert recheck(found).holds
    assert bound.main([*given, "--rival", "single"]) == 2  # the file is there
    assert "single.jsonl" in capsys.readouterr().err
