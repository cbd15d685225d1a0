"""Bounds of smoothing against the originals, against exact arithmetic, and by what they
mean."""

from __future__ import annotations

import math
from decimal import Decimal, getcontext
from fractions import Fraction

import numpy as np
import pytest
from conftest import Golden, golden_each
from hypothesis import given, settings
from hypothesis import strategies as st
from refusals import names
from scipy.special import ndtr
from scipy.stats import binom

from jaxcert.certificates import statistics
from jaxcert.errors import InputError

EPS = float(np.finfo(float).eps)
# radii near 0 come of p near 1/2, of which some 1e-12 are known; sigma is 1
CLOSE = dict(rtol=1e-9, atol=1e-11)


@pytest.mark.golden("smoothing")
@golden_each("smoothing", "clopper_pearson*.npz")
def test_clopper_pearson_is_the_originals(file):
    golden = Golden(file)
    k, n, alpha = golden["count"], golden["n"], golden["alpha"]
    lower = statistics.clopper_pearson_lower(k, n, alpha)
    radius = statistics.smoothing_radius(k, n, alpha, 1.0)
    np.testing.assert_allclose(lower, golden["lower"], rtol=1e-9)
    # theirs goes through p_lower, whose last digit is worth this much radius
    digit = np.spacing(lower) * statistics.radius_sensitivity(lower, 1.0)
    error = np.abs(radius - golden["radius_sigma1"])
    known = CLOSE["rtol"] * radius + CLOSE["atol"]
    assert (error <= known + np.where(radius > 0, digit, 0)).all()
    # at p_lower = 1/2 they certify a radius of 0, which is none
    half = np.abs(golden["lower"] - 0.5) < 1e-11
    np.testing.assert_array_equal(radius == 0, golden["abstain"] | half)
    assert golden.unread() == []


@pytest.mark.golden("smoothing")
@golden_each("smoothing", "predict*.npz")
def test_predict_test_is_the_originals(file):
    golden = Golden(file)
    pvalue = statistics.predict_pvalue(golden["count1"], golden["count2"])
    np.testing.assert_allclose(pvalue, golden["pvalue"], rtol=1e-9)
    for name in golden:
        if name.startswith("abstain_alpha_"):
            alpha = float(name.removeprefix("abstain_alpha_").replace("_", ".", 1))
            # a p-value of exactly alpha, which they accept, is above it rounded up
            tie = np.abs(golden["pvalue"] - alpha) < 1e-11 * alpha
            np.testing.assert_array_equal(pvalue > alpha, golden[name] | tie)
    assert golden.unread() == []


@pytest.mark.golden("smoothing")
@golden_each("smoothing", "radius_theory*.npz")
def test_theory_of_radii_is_the_papers(file):
    golden = Golden(file)
    largest = statistics.max_radius(golden["N"][:, None], golden["alpha"], 1.0)
    expected = np.maximum(golden["max_radius_sigma1"], 0)  # below 0 there is no radius
    np.testing.assert_allclose(largest, expected, **CLOSE)
    np.testing.assert_allclose(
        statistics.radius_sensitivity(golden["p"], 1.0),
        golden["dr_dp_sigma1"],
        rtol=1e-9,
    )
    for acr, classes, sigma, alpha, printed, smallest in golden["thm1_cases"]:
        n = statistics.smallest_n_above(acr, 1 / classes, sigma, alpha)
        # theirs takes the logarithm of a rounded Phi: exact up to n of 10^7
        digit = np.finfo(float).eps / -math.log(ndtr(acr * classes / sigma))
        assert abs(n - smallest) <= n * digit
        ratio = math.log(ndtr(acr * classes / sigma)) / math.log(alpha)
        assert math.ceil(ratio) + 1 == printed  # upside down: always 2
        assert statistics.trivial_acr(1 / classes, n, alpha, sigma) > acr
        if n > 1:
            fewer = statistics.trivial_acr(1 / classes, n - 1, alpha, sigma)
            assert fewer <= acr * (1 + 1e-9)
    assert golden.unread() == []


def _binomial_tail(k: int, n: int, p: Fraction) -> Fraction:
    """P(Binomial(n, p) >= k), exact."""
    return sum(
        (math.comb(n, j) * p**j * (1 - p) ** (n - j) for j in range(k, n + 1)),
        Fraction(0),
    )


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 60), st.data())
def test_lower_bound_is_proven_by_the_exact_tail(n, data):
    k = data.draw(st.integers(1, n))
    alpha = data.draw(st.sampled_from([0.5, 0.05, 0.001, 1e-8]))
    lower = Fraction(float(statistics.clopper_pearson_lower(k, n, alpha)))
    tail = _binomial_tail(k, n, lower)
    assert tail <= Fraction(alpha)  # p_lower is not above the exact solution ...
    assert tail >= Fraction(alpha) * Fraction(1 - 1e-9)  # ... and not far below


@pytest.mark.parametrize(
    "k, n", [(99_999, 100_000), (99_950, 100_000), (9_400, 10_000), (600, 1_000)]
)
def test_upper_tail_is_proven_by_sixty_digits(k, n):
    """The radius implies a p; at that p as many votes have probability <= alpha."""
    alpha = 0.001
    radius = float(statistics.smoothing_radius(k, n, alpha, 1.0))
    tail = _at_most(n - k, n, float(ndtr(-radius)))
    # ndtr itself is good to about 1e-14, which (n - k) misses amplify
    assert (
        Decimal(alpha) * Decimal(1 - 1e-9) < tail < Decimal(alpha) * Decimal(1 + 1e-10)
    )
    assert radius < statistics.max_radius(n, alpha, 1.0)


@pytest.mark.parametrize("n", [10**4, 10**5, 10**6, 10**7, 10**9, 2**31 - 200])
@pytest.mark.parametrize("alpha", [0.45, 0.36, 0.05, 0.001, 4e-4, 1e-9])
def test_bounds_hold_for_any_number_of_samples(n, alpha):
    """Where scipy's inverses do not: they err by up to 0.15 n eps."""
    few = np.arange(60)
    lower = statistics.clopper_pearson_lower(n - few, n, alpha)
    radius = statistics.smoothing_radius(n - few, n, alpha, 1.0)
    for misses in few.tolist():
        q = float(ndtr(-radius[misses]))
        # a relative error of 3e-14 in ndtr is a hundredth of what is rounded down
        assert _at_most(misses, n, q * (1 - 3e-14)) <= alpha
        loose = 3e-12 + (20 * EPS / q if misses else 0)
        assert _at_most(misses, n, q * (1 - loose)) > alpha
        assert _at_most(misses, n, 1 - Decimal(float(lower[misses]))) <= alpha
    lower = statistics.clopper_pearson_lower(few[1:], n, alpha)
    for k, p in zip(few[1:].tolist(), lower, strict=True):
        assert 1 - _at_most(k - 1, n, float(p)) <= alpha
        assert 1 - _at_most(k - 1, n, float(p) * (1 + 3 * n * EPS + 3e-12)) > alpha


@pytest.mark.parametrize("n", [10**5, 10**6, 10**7, 10**8, 2**31 - 200])
@pytest.mark.parametrize("alpha", [0.9, 0.36, 0.05, 0.001, 4e-4, 1e-6, 1e-11])
def test_bounds_hold_at_999_misses_where_the_inverse_fails(n, alpha):
    misses = np.array([1000, 999, 998])
    radius = statistics.smoothing_radius(n - misses, n, alpha, 1.0)
    assert 0 < radius[0] <= radius[1] <= radius[2]
    assert _at_most(999, n, float(ndtr(-radius[1])) * (1 - 3e-14)) <= alpha


@pytest.mark.parametrize("alpha", [1e-200, 1e-250])
def test_tiny_alphas_at_which_the_inverse_fails_claim_too_little(alpha):
    few = np.arange(1, 60)
    radius = statistics.smoothing_radius(10**4 - few, 10**4, alpha, 1.0)
    for misses, r in zip(few.tolist(), radius, strict=True):
        assert _at_most(misses, 10**4, float(ndtr(-r)) * (1 - 1e-13)) <= alpha
    assert (radius > 0).any()


def test_pvalue_is_rounded_up_for_any_number_of_samples():
    getcontext().prec = 60
    n = 10**7
    for z in np.linspace(0.5, 30, 30):
        larger = int(n / 2 + z * n**0.5 / 2)
        log_term = _stirling(n) - _stirling(larger) - _stirling(n - larger)
        term = (log_term - n * Decimal(2).ln()).exp()
        exact, misses = Decimal(0), n - larger
        while term > exact * Decimal(1e-20):
            exact += term
            term *= Decimal(misses) / (n - misses + 1)
            misses -= 1
        pvalue = Decimal(float(statistics.predict_pvalue(larger, n - larger)))
        assert 2 * exact <= pvalue <= 2 * exact * Decimal(1 + 1e-8)


def _stirling(n: int) -> Decimal:
    """ln n!, wrong by 1 / (1680 n^7)."""
    n, pi = Decimal(n), Decimal("3.14159265358979323846264338327950288419716939937510")
    series = 1 / (12 * n) - 1 / (360 * n**3) + 1 / (1260 * n**5)
    return n * n.ln() - n + (2 * pi * n).ln() / 2 + series


def _at_most(misses: int, n: int, q) -> Decimal:
    """P(Binomial(n, q) <= misses) in 60 digits."""
    getcontext().prec = 60
    q = Decimal(q)
    term, tail = (1 - q) ** n, Decimal(0)
    for j in range(misses + 1):
        tail += term
        term *= Decimal(n - j) / (j + 1) * q / (1 - q)
    return tail


@pytest.mark.parametrize("n", [1, 2, 7, 20, 60])
@pytest.mark.parametrize("alpha", [0.05, 0.001])
def test_bound_covers_with_its_confidence(n, alpha):
    """By enumeration of all outcomes: P(p_lower > p) <= alpha for every p."""
    lower = statistics.clopper_pearson_lower(np.arange(n + 1), n, alpha)
    for p in [*np.linspace(0.02, 0.98, 13), *(lower[1:] * (1 - 1e-9))]:
        wrong = np.flatnonzero(lower > p)
        if len(wrong):
            assert _binomial_tail(int(wrong[0]), n, Fraction(float(p))) <= alpha


@settings(deadline=None, max_examples=60)
@given(
    st.integers(1, 10**6), st.floats(0, 1), st.floats(1e-6, 0.5), st.floats(0.01, 10)
)
def test_radius_agrees_with_its_bound(n, share, alpha, sigma):
    k = round(share * n)
    lower = statistics.clopper_pearson_lower(k, n, alpha)
    radius = statistics.smoothing_radius(k, n, alpha, sigma)
    more = statistics.smoothing_radius(min(k + 1, n), n, alpha, sigma)
    assert 0 <= lower <= k / n
    assert (radius > 0) == (lower > 0.5) or abs(lower - 0.5) < 1e-11
    assert 0 <= radius <= more <= statistics.max_radius(n, alpha, sigma)
    assert not np.signbit(radius)


def test_radius_stays_accurate_where_the_bound_is_nearly_one():
    n = 10**12  # 1 - p_lower is 7e-12 here: float64 keeps 5 digits of it in p_lower
    tail = -math.log(0.001) / n
    radius = statistics.max_radius(n, 0.001, 1.0)
    assert abs(ndtr(-radius) / tail - 1) < 1e-10


@pytest.mark.parametrize("alpha", [0.5, 0.05, 0.001, 2.0**-10, 1e-9])
def test_fewest_samples_for_a_radius(alpha):
    n = statistics.min_n_for_any_radius(alpha)
    assert statistics.max_radius(n, alpha, 1.0) > 0
    assert Fraction(1, 2) ** (n - 1) >= Fraction(alpha)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 60), st.integers(0, 60))
def test_pvalue_is_the_exact_one_rounded_up(a, b):
    exact = min(Fraction(1), 2 * _binomial_tail(max(a, b), a + b, Fraction(1, 2)))
    pvalue = Fraction(float(statistics.predict_pvalue(a, b)))
    assert exact <= pvalue <= exact * Fraction(1 + 1e-10)


VOTES = names("k", "n", "0 <= k <= n", "n >= 1")


@pytest.mark.parametrize(
    "k, n, alpha, said",
    [
        (-1, 5, 0.1, VOTES),
        (6, 5, 0.1, VOTES),
        (0, 0, 0.1, VOTES),
        (1, 5, 0.0, names("alpha", 0, 1)),
    ],
)
def test_impossible_votes_are_refused(k, n, alpha, said):
    with pytest.raises(InputError, match=said):
        statistics.clopper_pearson_lower(k, n, alpha)


# means of bounded variables

BOUNDS = (statistics.hoeffding_lower, statistics.empirical_bernstein_lower)


def _published(values, low, high, alpha) -> tuple[Decimal, Decimal]:
    """Hoeffding and Maurer & Pontil in 50 digits."""
    getcontext().prec = 50
    values = [Decimal(v) for v in values]
    n, span, alpha = len(values), Decimal(high) - Decimal(low), Decimal(alpha)
    mean = sum(values) / n
    variance = sum((v - mean) ** 2 for v in values) / (n - 1)
    log = (2 / alpha).ln()
    return (
        mean - span * ((1 / alpha).ln() / (2 * n)).sqrt(),
        mean - (2 * variance * log / n).sqrt() - 7 * span * log / (3 * (n - 1)),
    )


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from([(0.0, 1.0), (-1e-3, 1e-3), (1e6, 1e6 + 1), (-3.0, 1e-9)]),
    st.lists(st.floats(0, 1), min_size=2, max_size=40),
    st.integers(1, 50),
    st.sampled_from([0.5, 0.05, 0.001, 1e-12]),
)
def test_bounds_of_a_mean_are_the_published_ones_rounded_down(
    ends, share, copies, alpha
):
    low, high = ends
    values = np.clip(low + np.array(share * copies) * (high - low), low, high)
    for bound, exact in zip(BOUNDS, _published(values, low, high, alpha), strict=True):
        ours = Decimal(float(bound(values, low, high, alpha)))
        largest = max(abs(low), abs(high))
        slack = Decimal(1e-9 * (high - low) + 1e-12 * largest)
        assert low <= ours <= max(exact, Decimal(low))
        assert ours >= exact - slack or ours == low


@pytest.mark.parametrize("bound", BOUNDS)
@pytest.mark.parametrize("p", [0.5, 0.1, 1e-3])
@pytest.mark.parametrize("n", [5, 100, 3000])
def test_bounds_of_a_mean_cover_two_point_laws(bound, p, n):
    """1 but with probability p -1: where few of those are drawn, the draws look alike. No
    more false bounds in 4,000 than a level of alpha allows."""
    rng, alpha, trials = np.random.default_rng(n), 0.05, 4000
    lows = rng.binomial(n, p, trials)
    values = np.where(np.arange(n)[:, None] < lows, -1.0, 1.0)
    false = (bound(values, -1.0, 1.0, alpha) > 1 - 2 * p).sum()
    assert false <= binom.ppf(0.999, trials, alpha)


def test_bernstein_is_far_above_hoeffding_where_the_deviation_is_small():
    values = 0.01 + 0.001 * np.random.default_rng(0).normal(size=(20_000, 2))
    hoeffding, bernstein = (bound(values, -1.0, 1.0, 0.001) for bound in BOUNDS)
    assert bernstein.shape == (2,)
    assert (hoeffding < 0).all() and (bernstein > 0.007).all()


@pytest.mark.parametrize("bound", BOUNDS)
@pytest.mark.parametrize(
    "values, alpha, match",
    [
        ([0.5, 1.5], 0.1, names("[0.0, 1.0]", "NaN")),
        ([0.5, np.nan], 0.1, names("[0.0, 1.0]", "NaN")),
        ([0.5, 0.5], 0.0, names("alpha", 0, 1)),
        ([], 0.1, names("draws")),
    ],
)
def test_impossible_draws_are_refused(bound, values, alpha, match):
    with pytest.raises(InputError, match=match):
        bound(values, 0.0, 1.0, alpha)
