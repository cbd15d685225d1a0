"""Sequential statistics against the originals' arrays, exact sums and their level."""

from __future__ import annotations

from fractions import Fraction
from math import comb

import numpy as np
import pytest
from conftest import Golden, golden_each
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxcert.certificates import looking, sequential, statistics


@pytest.mark.golden("smoothing")
@golden_each("smoothing", "sequential*.npz")
def test_all_procedures_are_the_golden_ones(file):
    golden = Golden(file)
    looks = tuple(int(n) for n in golden["looks"])
    alpha, power = float(golden["gs_alpha"]), float(golden["gs_spending_power"])
    for p0, counts, spent, fixed in zip(
        *(golden[k] for k in ("gs_p0", "gs_boundary", "gs_spent", "fixed_n_count")),
        strict=True,
    ):
        ours, level = sequential.boundary(float(p0), looks, alpha, power)
        assert (ours >= counts).all() and (ours <= counts + 1).all()
        assert level <= alpha
        if (ours == counts).all():
            np.testing.assert_allclose(level, spent, rtol=1e-6)
        tail = [
            statistics.clopper_pearson_lower(k, looks[-1], alpha)
            for k in (fixed - 1, fixed)
        ]
        assert tail[0] <= p0 < tail[1]
    e = sequential.log_e_value(golden["count"], golden["t"], golden["p0"])
    # a difference of log Gamma of t, each with some roundings of t log t
    rounding = 16 * np.finfo(float).eps * golden["t"] * np.log(golden["t"] + 1.0)
    error = np.abs(e - golden["log_e_value"])
    assert (error <= 1e-9 * np.abs(golden["log_e_value"]) + rounding).all()
    lower = sequential.mixture_lower(
        golden["cs_count"], golden["cs_t"], float(golden["cs_alpha"])
    )
    # a probability, of which a search by halves leaves the last digits open
    np.testing.assert_allclose(lower, golden["cs_lower"], rtol=1e-9, atol=1e-11)
    for j in range(len(looks)):
        taken = np.where(np.arange(len(looks)) <= j, golden["union_counts"], -1)
        union = looking.sequence_lower(taken, looks, alpha, "union")
        np.testing.assert_allclose(union, golden["union_lower"][:, j], rtol=1e-9)
    assert golden.unread() == []


def test_looks_double_and_end_with_all_votes():
    assert sequential.looks(1000) == (100, 200, 400, 800, 1000)
    assert sequential.looks(100) == (100,) and sequential.looks(7) == (7,)
    assert len(sequential.looks(100_000)) == 11


def _crossing(p: Fraction, looks, bounds) -> Fraction:
    """Probability that a binomial walk reaches a bound at a look, exact."""
    alive, crossed, before = {0: Fraction(1)}, Fraction(0), 0
    for look, bound in zip(looks, bounds, strict=True):
        m, after = look - before, {}
        step = [comb(m, i) * p**i * (1 - p) ** (m - i) for i in range(m + 1)]
        for k, mass in alive.items():
            for i, s in enumerate(step):
                after[k + i] = after.get(k + i, Fraction(0)) + mass * s
        crossed += sum(v for k, v in after.items() if k >= bound)
        alive = {k: v for k, v in after.items() if k < bound}
        before = look
    return crossed


@settings(deadline=None, max_examples=25)
@given(
    st.integers(50, 99),
    st.lists(st.integers(1, 14), min_size=1, max_size=4),
    st.sampled_from(["0.2", "0.05", "0.001"]),
)
def test_level_of_the_group_sequential_test_is_exact(percent, steps, alpha):
    """Against rational arithmetic: never above alpha, nor wastefully below."""
    looks, p = tuple(np.cumsum(steps).tolist()), Fraction(percent, 100)
    counts, spent = sequential.boundary(float(p), looks, float(alpha))
    # the float p0 is not the fraction: the exact level at the float itself
    exact = _crossing(Fraction(float(p)), looks, counts.tolist())
    assert exact <= Fraction(alpha)
    assert exact <= Fraction(spent)
    np.testing.assert_allclose(float(exact), spent, rtol=1e-8, atol=1e-20)
    for j, look in enumerate(looks):  # one count less would overspend
        if 0 < counts[j] <= look:
            lowered = [*counts.tolist()]
            lowered[j] -= 1
            budget = Fraction(alpha) * Fraction((look / looks[-1]) ** sequential.POWER)
            assert _crossing(
                Fraction(float(p)), looks[: j + 1], lowered[: j + 1]
            ) > budget * (1 - Fraction(1, 10**6))


def test_boundary_of_certainty_is_never_reached():
    counts, spent = sequential.boundary(1.0, (10, 20), 0.001)
    assert counts.tolist() == [11, 21] and spent <= 1e-20


@pytest.mark.parametrize("p", [0.5, 0.9, 0.999])
def test_confidence_sequence_holds_at_all_times_together(p):
    """alpha = 0.05: 2,000 sequences, each looked at after every vote."""
    rng = np.random.default_rng(1)
    votes = rng.random((2000, 1000)) < p
    k, t = votes.cumsum(1), np.arange(1, 1001)
    missed = (sequential.log_e_value(k, t, p) >= -np.log(0.05)).any(1).sum()
    assert missed <= 100 + 5 * 10  # 5 % and five standard errors
    sample = slice(0, 40)
    for bound in (sequential.mixture_lower(k[sample, ::50], t[::50], 0.05),):
        excess = sequential.log_e_value(
            k[sample, ::50], t[::50], np.maximum(bound, 1e-300)
        )
        assert (
            excess[bound > 0] >= -np.log(0.05)
        ).all()  # what is ruled out is ruled out
