"""How often the procedures err, and what they save, on simulated votes."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from scipy.special import ndtr

from jaxcert.certificates import norms, procedures, sequential

LAW = dict(noise="gaussian", norm="l2", sigma=1.0, d=1)
RADIUS_OF = partial(norms.radius, **LAW)
ALPHA = 0.001
ALLOWED = 255
"""Of 200,000 at level 0.001: more has probability 1e-4."""
RUNS = 200_000


def simulated(p, rng, selects=True):
    """`draw` of votes for class 0 with probability p [B], else class 1; the selection is
    handed class 0, so that the worst p can be tried."""

    def draw(rows, start, size):
        rows = np.asarray(rows)
        size = np.broadcast_to(size, rows.shape)
        k = rng.binomial(size, p[rows])
        k = np.where(selects & (np.broadcast_to(start, rows.shape) == 0), size, k)
        return np.stack([k, size - k], 1)

    return draw


def run(name, p, images, seed=0, *, n=2000, radii=(0.0, 0.5, 1.0), rho=0.05, **more):
    draw = simulated(np.broadcast_to(p, images), np.random.default_rng(seed))
    given = dict(n0=10, alpha=ALPHA)
    if name == "radii":
        p0 = norms.p_needed(np.array(radii), **LAW)
        given |= dict(p0=p0, values=radii, looks=sequential.looks(n))
    elif name == "sequence":
        given |= dict(looks=sequential.looks(n), rho=rho, radius_of=RADIUS_OF)
    else:
        given |= dict(n=n, radius_of=RADIUS_OF)
        given |= dict(rho=rho) if name == "two_stage" else {}
    return getattr(procedures, name)(draw, images, **given, **more)


@pytest.mark.parametrize(
    "name, more",
    [
        ("certify", {}),
        ("two_stage", {}),
        ("sequence", dict(bound="union")),
        ("sequence", dict(bound="mixture")),
    ],
)
@pytest.mark.parametrize("p", [0.5, 0.6, pytest.param(0.9, marks=pytest.mark.slow)])
def test_radii_are_false_no_more_often_than_alpha(name, more, p):
    """200,000 certifications: a radius above the true one is false."""
    true = max(float(-RADIUS_OF(np.array(1.0))), float(RADIUS_OF(np.array(1 - p))))
    parts = [run(name, p, RUNS // 10, seed, rho=0.2, **more) for seed in range(10)]
    false = sum(int((d.answered & (d.radius > true)).sum()) for d in parts)
    assert false <= ALLOWED
    # not because nothing was claimed
    assert p < 0.9 or np.mean(parts[0].answered) > 0.99


def test_predictions_at_a_tie_are_no_more_frequent_than_alpha():
    d = procedures.predict(
        simulated(np.full(RUNS, 0.5), np.random.default_rng(0), selects=False),
        RUNS,
        n=1000,
        alpha=ALPHA,
    )
    assert 100 < d.answered.sum() <= ALLOWED


NULLS = [
    (r, below) for r in (0.0, 0.25, 0.5, 1.0, 1.5) for below in (0, 1e-4, 0.01, 0.1)
]


@pytest.mark.parametrize("r, below", NULLS)
def test_group_sequential_test_keeps_its_level_under_the_null(r, below):
    """20 nulls, at and far below the p that radius r needs; 200,000 runs at it, and
    20,000 elsewhere."""
    p = float(ndtr(r)) - below
    images = RUNS if below == 0 else RUNS // 10
    d = run("radii", p, images, radii=(r,))
    assert d.answered.sum() <= (ALLOWED if below == 0 else 41)
    if below == 0.1:
        assert d.answered.sum() <= 1


def test_a_row_of_radii_errs_no_more_often_than_one():
    """p exactly at the second of three radii: claiming it, or the third, is false."""
    d = run("radii", float(ndtr(0.5)), RUNS)
    assert (d.radius >= 0.5).sum() <= ALLOWED
    assert d.answered.mean() > 0.99


def test_far_from_the_border_few_votes_decide():
    for p, expected in ((0.99, 1.0), (0.2, 0.0)):
        d = run("radii", p, 200, n=100_000)
        assert d.n.mean() < 2000
        assert (d.radius == expected).mean() > 0.95


@pytest.mark.parametrize(
    "name, more", [("two_stage", {}), ("sequence", dict(bound="union"))]
)
def test_the_radius_given_up_is_about_rho(name, more):
    p = np.random.default_rng(5).uniform(0.55, 0.999, 2000)
    whole = run("certify", p, 2000, n=50_000)
    cheap = run(name, p, 2000, n=50_000, rho=0.1, **more)
    assert cheap.n.mean() < 0.6 * 50_000
    assert 0.85 < cheap.radius.mean() / whole.radius.mean() < 0.99


def test_evidence_says_what_was_claimed():
    """Votes at the looks prove the radius again; looks not taken are -1."""
    looks = sequential.looks(2000)
    p = np.linspace(0.3, 0.999, 100)
    d = run("radii", p, 100)
    p0 = norms.p_needed(np.array([0.0, 0.5, 1.0]), **LAW)
    again = procedures.reached(d.agreeing, procedures.boundaries(p0, looks, ALPHA))
    np.testing.assert_array_equal(d.radius, np.array([0.0, 0.0, 0.5, 1.0])[again])
    taken = (d.agreeing >= 0).sum(1)
    np.testing.assert_array_equal(d.n, np.array(looks)[taken - 1])
    np.testing.assert_array_equal(d.agreeing.max(1), d.counts[:, 0])


def test_failed_images_are_given_up_at_once():
    def nothing(rows, start, size):
        return np.zeros((len(rows), 3), np.int64)

    p0 = norms.p_needed(np.array([0.0]), **LAW)
    looks = sequential.looks(1000)
    d = procedures.radii(
        nothing, 4, n0=10, p0=p0, values=(0.0,), looks=looks, alpha=ALPHA
    )
    assert d.failed.all() and not d.answered.any() and (d.n == looks[0]).all()


def test_a_radius_out_of_reach_costs_nothing():
    """Whatever p: once the others are decided, nothing is drawn for it."""
    for radii in ((0.0, 0.1), (0.0, 0.1, 9.0)):
        d = run("radii", 1.0, 5, n=10_000, radii=radii)
        assert (d.radius == 0.1).all() and (d.n == 100).all()
