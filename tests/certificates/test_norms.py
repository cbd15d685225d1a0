"""Radii of other noises and norms: inverse to each other, and true for linear classifiers."""

from __future__ import annotations

import math

import numpy as np
import pytest
from refusals import names
from scipy import special

from jaxcert.certificates import norms
from jaxcert.errors import InputError

PAIRS = [
    (noise, norm) for noise, all_norms in norms.RADII.items() for norm in all_norms
]
TAIL = np.array([0.499, 0.3, 0.1, 1e-2, 1e-4, 1e-9])


@pytest.mark.parametrize("noise, norm", PAIRS)
def test_needed_p_is_the_inverse_of_the_radius_on_the_safe_side(noise, norm):
    law = dict(noise=noise, norm=norm, sigma=0.25, d=12)
    r = norms.radius(TAIL, **law)
    assert (np.diff(r) > 0).all() and r[0] > 0
    p0 = norms.p_needed(r, **law)
    np.testing.assert_allclose(p0, 1 - TAIL, rtol=1e-9)
    # p0 rounded up: anything above it has at least the radius that was asked for
    asked = np.linspace(0.01, 0.3, 50)
    proven = norms.radius(1 - norms.p_needed(asked, **law) * (1 + 1e-13), **law)
    reachable = norms.p_needed(asked, **law) < 1 - 1e-9
    assert (proven >= asked * (1 - 1e-9))[reachable].all()
    assert norms.p_needed(0.0, **law) == 0.5 and norms.radius(0.5, **law) == 0
    assert norms.p_needed(1e9, **law) == 1


def test_closed_forms():
    law = dict(sigma=0.5, d=100)
    b, c = math.sqrt(3) * 0.5, 0.5 / math.sqrt(2)
    for noise, norm, tail, expected in [
        ("gaussian", "l2", 0.1586552539314571, 0.5),
        ("gaussian", "l1", 0.1586552539314571, 0.5),
        ("grid", "linf", 0.1586552539314571, 0.05),
        ("uniform", "l1", 0.1, 2 * b * 0.4),
        ("uniform", "linf", 0.1, 2 * b * (1 - 0.6**0.01)),
        ("laplace", "l1", 0.1, -c * math.log(0.2)),
    ]:
        found = norms.radius(tail, noise=noise, norm=norm, **law)
        np.testing.assert_allclose(found, expected, rtol=1e-7)


@pytest.mark.parametrize("noise, norm", PAIRS)
def test_a_radius_is_below_its_exact_value_and_p_needed_above(noise, norm):
    """Closed forms in float64, right to a few units in their last place; radii are rounded
    by more."""
    law = dict(noise=noise, norm=norm, sigma=0.5, d=4)
    b, tail = norms.scale(noise, 0.5), np.geomspace(1e-9, 0.49, 300)
    r = {
        ("uniform", "l1"): 2 * b * (0.5 - tail),
        ("uniform", "linf"): -2 * b * np.expm1(np.log(0.5 + tail) / 4),
        ("laplace", "l1"): -b * np.log(2 * tail),
    }.get((noise, norm), -0.5 * special.ndtri(tail) / (2 if norm == "linf" else 1))
    found = norms.radius(tail, **law)
    assert (found < r).all()
    np.testing.assert_allclose(found, r, rtol=1e-13)
    # a p that is rounded up proves what is asked for, but for the rounding of the radius
    needed = norms.p_needed(r, **law)
    assert (needed > 1 - tail).all()
    np.testing.assert_allclose(needed, 1 - tail, rtol=1e-12)


@pytest.mark.parametrize(
    "noise, norm", [p for p in PAIRS if p[0] in ("uniform", "laplace")]
)
def test_no_half_space_is_closer_than_the_radius(noise, norm):
    """Classifiers that the radius must hold for: one pixel or the mean above a bound."""
    d, sigma = 6, 0.5
    rng = np.random.default_rng(0)
    b = norms.scale(noise, sigma)
    draw = {
        "uniform": lambda s: rng.uniform(-b, b, s),
        "laplace": lambda s: rng.laplace(0, b, s),
    }
    z = draw[noise]((200_000, d))
    for w in (np.eye(d)[0], np.ones(d)):
        for share in (0.6, 0.9):
            bound = np.quantile(z @ w, share)  # vote 1 where w z < bound: p = share
            r = norms.radius(1 - share, noise=noise, norm=norm, sigma=sigma, d=d)
            # the worst shift of that size moves w z by |w| of the dual norm
            moved = r * (np.abs(w).max() if norm == "l1" else np.abs(w).sum())
            assert (z @ w + moved < bound).mean() >= 0.5 - 0.01


@pytest.mark.parametrize(
    "noise, norm, said",
    [
        ("uniform", "l2", names("uniform", "l2", "certify.norm l1 or linf")),
        ("laplace", "l2", names("laplace", "l2", "certify.norm l1")),
        ("laplace", "linf", names("laplace", "linf", "certify.norm l1")),
        ("x", "l2", names("noise", "x")),
    ],
)
def test_pairs_without_a_theorem_are_refused(noise, norm, said):
    with pytest.raises(InputError, match=said):
        norms.check(noise, norm)


def test_no_tail_is_shown_below_the_least_and_each_is_raised():
    found = norms.exact_tail([0.0, 1e-9, 7.5e-7, 1e-6, 0.1], 1e-6)
    np.testing.assert_allclose(found, [1e-6, 1e-6, 1e-6, 1.25e-6, 0.10000025])
    np.testing.assert_array_equal(norms.exact_tail([0.0, 0.1], 0.0), [0.0, 0.1])
