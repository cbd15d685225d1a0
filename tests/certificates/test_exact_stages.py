"""Stages of the procedures on votes that are written down, and what follows from them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special

from jaxcert.certificates import norms, procedures, sequential, statistics

ALPHA = 0.01


def scripted(votes):
    """`draw` of a fixed sequence of classes per image, [B, samples]; what was asked for."""
    votes, asked = np.asarray(votes), []

    def draw(rows, start, size):
        rows = np.asarray(rows)
        start, size = (np.broadcast_to(a, rows.shape) for a in (start, size))
        asked.extend(zip(rows.tolist(), start.tolist(), size.tolist(), strict=True))
        parts = [votes[r, a : a + s] for r, a, s in zip(rows, start, size, strict=True)]
        return np.stack([np.bincount(part, minlength=2) for part in parts])

    return draw, asked


def radius_of(tail):
    return norms.radius(tail, noise="gaussian", norm="l2", sigma=1.0, d=1)


def row(*runs):
    """(class, times) ..."""
    return np.concatenate([np.full(times, c) for c, times in runs])


def lower(k, n, alpha=ALPHA):
    return special.betaincinv(k, n - k + 1, alpha)


def test_certify_counts_the_selected_class_among_the_votes_after_the_selection():
    votes = np.stack(
        [
            row((1, 10), (1, 90), (0, 10)),  # 90 of 100
            row((0, 10), (1, 100)),  # the selection names the class that loses
            row((1, 6), (0, 4), (1, 60), (0, 40)),  # 60 of 100 are too few at 0.01
        ]
    )
    draw, asked = scripted(votes)
    d = procedures.certify(draw, 3, n0=10, n=100, alpha=ALPHA, radius_of=radius_of)
    assert sorted(asked) == [(r, *p) for r in range(3) for p in ((0, 10), (10, 100))]
    assert d.selected.tolist() == [1, 0, 1]
    assert d.counts.tolist() == [[10, 90], [0, 100], [40, 60]]
    np.testing.assert_allclose(d.p_lower[[0, 2]], lower(np.array([90, 60]), 100))
    exact = special.ndtri(lower(90, 100))
    np.testing.assert_allclose(d.radius, [exact, 0, 0], rtol=1e-9)
    assert d.radius[0] < exact
    assert d.answered.tolist() == [True, False, False]


def test_an_image_without_a_finite_vote_in_the_selection_has_failed():
    def draw(rows, start, size):
        size = np.broadcast_to(size, np.shape(rows))
        late = np.broadcast_to(start, np.shape(rows)) > 0
        return np.stack([np.where(late, size, 0), 0 * size], 1)

    d = procedures.certify(draw, 1, n0=5, n=50, alpha=ALPHA, radius_of=radius_of)
    assert d.failed.tolist() == [True]
    looks = (50,)
    given = dict(n0=5, p0=(0.5,), values=(0.0,), looks=looks, alpha=ALPHA)
    assert procedures.radii(draw, 1, **given).failed.tolist() == [True]


def test_predictions_are_made_at_the_level_of_the_two_sided_test():
    """64 to 36 has a p-value of 0.0066, 63 to 37 one of 0.0120."""
    for k, answered in ((64, True), (63, False)):
        draw, asked = scripted([row((1, k), (0, 100 - k))])
        d = procedures.predict(draw, 1, n=100, alpha=ALPHA)
        assert d.answered.tolist() == [answered] and asked == [(0, 0, 100)]
        assert d.counts.tolist() == [[100 - k, k]]


def test_a_radius_counts_where_it_and_all_below_are_proven():
    bounds = np.array([[3, 7], [9, 9], [4, 8]])
    agreeing = np.array([[5, 8], [2, 9], [2, 6], [9, -1]])
    assert procedures.reached(agreeing, bounds).tolist() == [1, 3, 0, 3]


def test_radii_are_decided_by_votes_after_the_selection_at_the_level_alpha():
    looks = (50, 100)
    p0 = (0.5, special.ndtr(0.5))
    bounds = procedures.boundaries(p0, looks, ALPHA)
    votes = np.stack(
        [
            row((1, 10), (1, 50), (0, 50)),  # all agree at the first look
            row((1, 10), (0, 100)),  # the selection alone agrees
            row((1, 10), (0, 100 - bounds[1, 1]), (1, bounds[1, 1])),
            row((1, 10), (0, 101 - bounds[1, 1]), (1, bounds[1, 1] - 1)),
        ]
    )
    draw, asked = scripted(votes)
    given = dict(n0=10, p0=p0, values=(0.0, 0.5), looks=looks, alpha=ALPHA)
    d = procedures.radii(draw, 4, **given)
    assert {(0, 0, 10), (0, 10, 50), (2, 60, 50)} <= set(asked)
    assert d.radius.tolist() == [0.5, 0.0, 0.5, 0.0]
    assert d.answered.tolist() == [True, False, True, True]
    assert d.n.tolist() == [50, 50, 100, 100]
    # the level: P(k_50 >= c_1 or k_100 >= c_2) under p0
    first, second = (bounds[1, j] for j in (0, 1))
    k = np.arange(51)
    mass = np.exp(
        special.gammaln(51)
        - special.gammaln(k + 1)
        - special.gammaln(51 - k)
        + k * np.log(p0[1])
        + (50 - k) * np.log1p(-p0[1])
    )
    early = mass[k >= first].sum()
    pairs = np.add.outer(k[k < first], k) >= second
    spent = early + (np.outer(mass[k < first], mass) * pairs).sum()
    assert 0.3 * ALPHA < spent <= ALPHA


@pytest.mark.parametrize("bound", ["union", "mixture"])
def test_a_sequence_ends_with_the_best_of_bounds_that_hold_together(bound):
    looks = sequential.looks(200)
    agree = np.stack([row((1, 10), (1, 200)), row((1, 10), (1, 150), (0, 50))])
    draw, _ = scripted(agree)
    given = dict(n0=10, looks=looks, alpha=ALPHA, rho=1e-9, bound=bound)
    d = procedures.sequence(draw, 2, radius_of=radius_of, **given)
    if bound == "union":  # each of two looks has half of alpha
        found = [lower(200, 200, ALPHA / 2), lower(100, 100, ALPHA / 2)]
    else:

        def log_e(p, k, t):
            mixed = special.betaln(k + 0.5, t - k + 0.5) - special.betaln(0.5, 0.5)
            return mixed - special.xlogy(k, p) - special.xlog1py(t - k, -p)

        found = []
        for k in (200, 100):
            p = np.linspace(0.5, 1, 200_001)
            found.append(p[log_e(p, k, k) >= -np.log(ALPHA)].max())
    np.testing.assert_allclose(d.p_lower, found, atol=1e-5)
    np.testing.assert_allclose(d.radius, special.ndtri(d.p_lower), rtol=1e-9)


def test_p_lower_is_never_above_one_less_its_tail():
    """Both in float64: one digit less would lie above it for every other k."""
    k = np.arange(500, 1001)
    tail = statistics.upper_tail(k, 1000, 0.001)
    found = statistics.clopper_pearson_lower(k, 1000, 0.001)
    above = tail < 0.5
    assert (found[above] <= 1 - tail[above]).all()
    np.testing.assert_allclose(found, lower(k, 1000, 0.001), rtol=1e-9)


def test_a_radius_is_never_above_sigma_times_the_quantile_of_its_tail():
    k = np.arange(600, 1001)
    tail = statistics.upper_tail(k, 1000, 0.001)
    found = statistics.smoothing_radius(k, 1000, 0.001, 0.25)
    exact = -0.25 * special.ndtri(tail)
    assert (found < exact).all()
    np.testing.assert_allclose(found, exact, rtol=1e-9)
