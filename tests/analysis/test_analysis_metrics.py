"""Metrics against published logs, and against their definitions."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import golden_dir
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special, stats

from jaxcert import certificate, records
from jaxcert.analysis import metrics
from jaxcert.certificates import statistics
from jaxcert.records import Certificates

EXACT = 1e-9


def logs() -> list[dict]:
    """Expected numbers of the logs that lie beside them."""
    path = golden_dir("certify_logs") / "expected.json"
    entries = json.loads(path.read_text()) if path.is_file() else []
    return [e for e in entries if (path.parent / e["file"]).is_file()]


def certificates(rows, **header) -> Certificates:
    """rows of (label, predicted, radius)."""
    label, predicted, radius = map(np.array, zip(*rows, strict=True))
    n = np.full(len(rows), 1000)
    seconds = np.zeros(len(rows))
    return Certificates(
        np.arange(len(rows)), label, predicted, radius, n, seconds, header=header
    )


MIXED = certificates(
    [(0, 0, 1.0), (0, 1, 2.0), (1, 1, 0.5), (1, -1, 0.0), (1, -2, 0.0), (2, 2, 0.0)],
    sigma=0.5,
    alpha=0.001,
)


def test_radii_of_the_paper_stand_beside_the_proven_ones():
    assert metrics.summary(MIXED, [0.5]).paper is None
    both = MIXED._replace(radius_paper=1.25 * MIXED.radius)
    found = metrics.summary(both, [0.5, 0.6, 2.0])
    np.testing.assert_allclose(found.paper.certified, [2 / 6, 2 / 6, 0])
    np.testing.assert_allclose(found.certified, [2 / 6, 1 / 6, 0])
    assert found.paper.median_ratio == found.paper.least_ratio == 0.8
    nothing = both._replace(radius=np.zeros(6))
    assert np.isnan(metrics.paper(nothing, [0.5]).median_ratio)


@pytest.mark.golden("certify_logs")
@pytest.mark.parametrize("expected", logs(), ids=lambda e: Path(e["file"]).stem)
class TestPublishedLog:
    @pytest.fixture
    def c(self, expected):
        return records.load(golden_dir("certify_logs") / expected["file"])

    def test_counts_and_rates_are_reproduced(self, expected, c):
        assert len(c.index) == expected["num_images"]
        assert c.correct.sum() == expected["num_correct"]
        assert (np.diff(c.index) == expected["index_step"]).all()
        for function, name in (
            (lambda c: certificate.certified_accuracy(c, [0])[0], "clean_accuracy"),
            (lambda c: metrics.summary(c, [0.0]).abstention, "abstain_rate"),
            (metrics.acr, "acr"),
            (
                lambda c: metrics.summary(c, [0.0]).median_radius,
                "median_radius_of_correct",
            ),
            (metrics.share_at_max_radius, "fraction_at_max_radius"),
        ):
            assert function(c) == pytest.approx(expected[name], abs=EXACT), name
        assert c.radius.max() == pytest.approx(expected["max_radius"], abs=EXACT)

    def test_certified_accuracy_is_reproduced(self, expected, c):
        radii = [float(r) for r in expected["certified_accuracy"]]
        published = list(expected["certified_accuracy"].values())
        ours = certificate.certified_accuracy(c, radii)
        np.testing.assert_allclose(ours, published, rtol=0, atol=EXACT)
        curve = golden_dir("certify_logs") / (expected["file"] + "_acc")
        if curve.is_file():  # theirs, which few logs have beside them
            curve = np.loadtxt(curve)
            radii = (
                np.arange(len(curve)) * 0.005
            )  # what numpy.arange gives, bit for bit
            ours = certificate.certified_accuracy(c, radii)
            np.testing.assert_allclose(ours, curve[:, 1], rtol=0, atol=EXACT)

    def test_p_lower_survival_is_reproduced(self, expected, c):
        # the file's last key, 1.000, is p = 0.9999 printed with three digits
        p = [min(float(p), 0.9999) for p in expected["p_lower_survival"]]
        published = list(expected["p_lower_survival"].values())
        ours = metrics.survival(
            c, metrics.vote_probability(c, sigma=expected["sigma"]), p
        )
        np.testing.assert_allclose(ours, published, rtol=0, atol=EXACT)

    def test_average_radius_per_class_is_reproduced(self, expected, c):
        ours = metrics.per_class(c, [0.0])
        for label, value in expected["acr_per_class"].items():
            row = list(ours.label).index(int(label))
            assert ours.acr[row] == pytest.approx(value, abs=EXACT)

    def test_classes_average_to_the_whole(self, expected, c):
        radii = [0.0, 0.25, 1.0]
        ours = metrics.per_class(c, radii)
        whole = ours.images @ ours.certified / ours.images.sum()
        np.testing.assert_allclose(whole, certificate.certified_accuracy(c, radii))
        assert ours.images @ ours.acr / ours.images.sum() == pytest.approx(
            metrics.acr(c), abs=EXACT
        )


@pytest.mark.golden("certify_logs")
def test_golden_logs_are_there():
    if not (golden_dir("certify_logs")).is_dir():
        pytest.skip("another folder of golden files, without logs")
    assert logs()


def test_abstentions_errors_and_wrong_classes_are_not_certified():
    ours = certificate.certified_accuracy(MIXED, [0.0, 0.5, 0.75, 1.0, 1.5])
    np.testing.assert_allclose(ours, np.array([3, 2, 1, 1, 0]) / 6)
    found = metrics.summary(MIXED, [0.0])
    assert found.abstention == pytest.approx(1 / 6)
    assert found.error == pytest.approx(1 / 6)


def test_wrong_but_certified_counts_wrong_classes_only():
    found = metrics.summary(MIXED, [0.0, 2.0, 2.1]).wrong_certified
    assert found.tolist() == [1 / 6, 1 / 6, 0]


def test_average_radius_counts_wrong_images_as_zero():
    assert metrics.acr(MIXED) == pytest.approx(1.5 / 6)
    found = metrics.summary(MIXED, [0.0])
    assert found.mean_radius == found.median_radius == pytest.approx(0.5)


def test_radius_of_no_correct_image_is_nan():
    c = certificates([(0, 1, 1.0), (0, -1, 0.0)])
    found = metrics.summary(c, [0.0])
    assert np.isnan(found.mean_radius) and np.isnan(found.median_radius)


def test_share_of_average_radius_counts_easy_images():
    # Phi(2) = 0.977 and Phi(1) are below 0.99, Phi(3) is above
    rows = [(0, 0, 1.5), (0, 0, 1.0), (0, 0, 0.5), (0, 1, 1.9)]
    c = certificates(rows, sigma=0.5)
    assert metrics.acr_share(c) == pytest.approx(0.5)
    assert metrics.acr_share(certificates(rows)) is None


def test_trivial_classifier_has_the_largest_radius_on_one_class():
    radius = 0.5 * stats.norm.ppf(0.001 ** (1 / 1000))
    assert metrics.trivial_acr(MIXED) == pytest.approx(radius / 2, rel=1e-9)
    assert metrics.trivial_acr(MIXED._replace(header={})) is None


def test_trivial_classifier_is_certified_as_far_as_noise_shows_it():
    """From 10^6 votes on float32 noise shows 1 - p = -ln(alpha) / n + 1e-6 / 4, 1e-6 at
    least."""
    rows = [(0, 0, 2.5), (0, 0, 2.5), (1, 1, 2.5), (1, 1, 2.5)]
    c = certificates(rows, sigma=0.5, alpha=0.001)
    for noise, ends in (("gaussian", True), ("grid", False)):
        header = c.header | dict(procedure=dict(name="certify", noise=noise))
        many = c._replace(header=header, n=np.full(4, 10**8))
        tail = 1e-6 if ends else -np.expm1(np.log(0.001) / 1e8)
        exact = -0.25 * special.ndtri(tail)
        assert metrics.trivial_acr(many) == pytest.approx(exact, rel=1e-9)
        # 2.5 of half of the images is 10 sigma, more than float32 noise shows
        assert (metrics.trivial_n(many) == np.inf) == ends
        near = many._replace(radius=np.full(4, 1.16))  # 4.64 sigma of half of them
        n = metrics.trivial_n(near)
        needed = special.ndtr(-4.64) - (2.5e-7 if ends else 0)
        assert n == pytest.approx(-np.log(0.001) / needed, rel=1e-5)
        assert metrics.trivial_acr(near._replace(n=np.full(4, n))) > 1.16
        assert metrics.trivial_acr(near._replace(n=np.full(4, n - 1))) <= 1.16
    table = many._replace(header=c.header | dict(format="tsv"))  # others drew it
    exact = -0.25 * special.ndtri(-np.expm1(np.log(0.001) / 1e8))
    assert metrics.trivial_acr(table) == pytest.approx(exact, rel=1e-9)


def test_standard_error_is_two_points_with_five_hundred_images():
    assert metrics.standard_error(0.5, 500) == pytest.approx(0.02236, abs=1e-5)
    assert metrics.standard_error(1.0, 500) == 0


def test_lower_bound_allows_for_false_certificates():
    alpha, rho = 0.01, 0.05
    bound = metrics.certified_accuracy_lower_bound(0.8, 300, alpha=alpha, rho=rho)
    false = np.random.default_rng(0).binomial(300, alpha, 20_000)
    held = (0.8 - false / 300 >= bound - EXACT).mean()
    assert held >= 1 - rho
    fewer = (0.8 - false / 300 >= bound + 1 / 300 - EXACT).mean()
    assert fewer < 1 - rho, "one image more would not hold"
    assert metrics.certified_accuracy_lower_bound(0.8, 300, alpha=0) == 0.8


@pytest.mark.parametrize("count", [1, 500, 10_000, 100_000])
@pytest.mark.parametrize("alpha", [0.1, 0.001, 1e-6])
def test_lower_bound_is_the_binomial_quantile(count, alpha):
    bound = metrics.certified_accuracy_lower_bound(1.0, count, alpha=alpha)
    assert 1 - bound == pytest.approx(stats.binom.ppf(0.999, count, alpha) / count)


@settings(deadline=None, max_examples=50)
@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(-2, 3), st.floats(0, 4)), min_size=1
    ),
    st.lists(st.floats(0, 5), min_size=1, max_size=8),
)
def test_certified_accuracy_is_its_definition(rows, radii):
    rows = [(y, p, r if p >= 0 else 0.0) for y, p, r in rows]
    radii += [r for _, _, r in rows]  # the comparison must include equality
    ours = certificate.certified_accuracy(certificates(rows), radii)
    slow = [np.mean([y == p and r >= at for y, p, r in rows]) for at in radii]
    np.testing.assert_allclose(ours, slow, rtol=0, atol=EXACT)


def test_summary_agrees_with_its_functions():
    radii = [0.0, 0.5]
    s = metrics.summary(MIXED, radii)
    assert s.images == 6
    np.testing.assert_array_equal(
        s.certified, certificate.certified_accuracy(MIXED, radii)
    )
    np.testing.assert_allclose(s.wrong_certified, [1 / 6, 1 / 6])
    values = np.array([1.0, 0, 0.5, 0, 0, 0])
    assert s.acr_error == pytest.approx(values.std() / 6**0.5)
    assert (s.acr, s.trivial_acr) == (metrics.acr(MIXED), metrics.trivial_acr(MIXED))


def test_radii_on_a_grid_of_arange_are_as_the_originals_count_them():
    """0.175 is printed in a log, and 35 * 0.005 is a little more."""
    c = certificates([(0, 0, 0.175), (0, 0, 0.3)])
    grid = np.arange(0, 4.005, 0.005)
    assert len(grid) == 801
    assert certificate.certified_accuracy(c, [grid[35], 0.175]).tolist() == [0.5, 1.0]


def test_vote_probability_is_the_column_where_there_is_one():
    c = certificates([(0, 0, 0.5), (0, 0, 0.25), (0, -1, 0.0), (1, 0, 0.5)], sigma=0.5)
    from_radius = metrics.vote_probability(c)
    np.testing.assert_allclose(from_radius[:2], stats.norm.cdf([1, 0.5]))
    assert np.isnan(from_radius[2])
    column = c._replace(p_lower=np.array([0.99, 0.6, 0.4, 0.99]))
    found = metrics.survival(column, metrics.vote_probability(column), [0.5, 0.7, 0.99])
    assert found.tolist() == [0.5, 0.25, 0.25]
    # uniform noise has another radius at the same p, other norms another one of Gaussian
    uniform = dict(
        sigma=0.5, norm="l1", procedure=dict(name="certify", noise="uniform")
    )
    assert metrics.vote_probability(c._replace(header=uniform)) is None
    assert metrics.trivial_acr(c._replace(header=uniform | dict(alpha=0.001))) is None
    same = metrics.vote_probability(column._replace(header=uniform))
    np.testing.assert_array_equal(same, metrics.vote_probability(column))
    assert metrics.acr_share(column) == pytest.approx(0.0)
    assert metrics.acr_share(column._replace(p_lower=column.p_lower + 1e-3)) > 0.6


def test_constant_classifier_wins_from_that_many_samples():
    c = certificates([(0, 0, 0.1), (1, 1, 0.2), (1, 2, 0.4)], sigma=0.5, alpha=0.001)
    n = metrics.trivial_n(c)
    assert metrics.trivial_acr(c._replace(n=np.full(3, n))) > metrics.acr(c)
    assert metrics.trivial_acr(c._replace(n=np.full(3, n - 1))) <= metrics.acr(c)
    far = c._replace(radius=np.full(3, 1e3))
    assert metrics.trivial_n(far) == np.inf
    radii = c._replace(header=c.header | dict(procedure=dict(name="radii")))
    assert metrics.trivial_n(radii) is None, "it proves less than CERTIFY"


def test_share_of_changed_votes_is_of_the_selection():
    changed = dict(changed=np.array([1, 0, 2, 1, 0, 0]))
    header = MIXED.header | dict(procedure=dict(name="certify", n0=10, n=1000))
    c = MIXED._replace(header=header, **changed)
    assert metrics.summary(c, [0.0]).changed == pytest.approx(4 / 60)
    assert metrics.summary(c._replace(changed=None), [0.0]).changed is None
    assert metrics.summary(MIXED._replace(**changed), [0.0]).changed is None


@pytest.mark.parametrize("count", [1, 3, 100, 797])
def test_interval_is_the_exact_one(count):
    for k in sorted({0, 1, count // 3, count}):
        exact = stats.binomtest(k, count).proportion_ci(method="exact")
        low, high = metrics.interval(k / count, count)
        assert (float(low), float(high)) == pytest.approx(tuple(exact), abs=1e-12)
        assert low < high
    assert np.isnan(metrics.interval(np.nan, count)).all()


TRIED = {
    # radii of the procedure, method: what is stated at 0, 0.03, 0.05, 0.1, 0.2
    "interval": ([0.05, 0.1], "interval", [1, 0, 1, 1, 0]),
    "sequential": ([0.05, 0.1], "smoothing", [0, 0, 1, 1, 0]),
    "with 0": ([0.0, 0.1], "smoothing", [1, 0, 0, 1, 0]),
    "all": ([], "lipschitz", [1, 1, 1, 1, 1]),
}


@pytest.mark.parametrize("radii, method, stated", TRIED.values(), ids=TRIED)
def test_only_radii_that_were_tried_are_stated(radii, method, stated):
    header = dict(method=method, procedure=dict(name=method, radii=radii))
    c = MIXED._replace(header=header)
    asked = [0.0, 0.03, 0.05, 0.1, 0.2]
    assert certificate.share_is_known(c, asked).tolist() == stated
    found = metrics.summary(c, asked)
    share = certificate.certified_accuracy(c, asked)
    np.testing.assert_array_equal(np.isnan(share), 1 - np.array(stated))
    for shares in (found.certified, found.certified_low, found.wrong_certified):
        np.testing.assert_array_equal(np.isnan(shares), 1 - np.array(stated))


def test_radii_that_differ_by_rounding_are_one():
    c = MIXED._replace(header=dict(procedure=dict(name="radii", radii=[3 * 0.05])))
    above = np.nextafter(3 * 0.05, 1)
    found = certificate.share_is_known(c, [0.15, 3 * 0.05, 0.149, above])
    assert found.tolist() == [True, True, False, False]


def test_what_holds_with_certainty_is_not_known_without_alpha():
    table = MIXED._replace(header=dict(format="tsv", method="smoothing", sigma=0.5))
    assert np.isnan(metrics.summary(table, [0.0]).certified_lower).all()
    header = table.header | dict(alpha=0.001)
    assert metrics.summary(table._replace(header=header), [0.0]).certified_lower < 0.5


class TestVoteShare:
    K = np.array([50_400, 60_000, 90_000, 99_000, 99_990, 100_000])
    HEADER = dict(
        method="smoothing",
        sigma=0.5,
        alpha=0.001,
        procedure=dict(name="certify", n=10**5),
    )

    def record(self, **changed):
        radius = statistics.smoothing_radius(self.K, 10**5, 0.001, 0.5)
        size = len(self.K)
        columns = dict(
            index=np.arange(size),
            label=np.ones(size, int),
            predicted=np.where(radius > 0, 1, -1),
            radius=radius,
            n=np.full(size, 10**5),
            seconds=np.zeros(size),
            header=self.HEADER,
        )
        return Certificates(**columns | changed)

    def test_votes_of_the_predicted_class_are_counted(self):
        counts = np.stack([10**5 - self.K, self.K], 1)
        expected = [np.nan, *self.K[1:] / 10**5]
        for c in (
            self.record(counts=counts),
            self.record(agreeing=self.K[:, None]),
            self.record(),  # recovered from the radius
        ):
            np.testing.assert_array_equal(metrics.vote_share(c), expected)
        c = self.record(counts=counts)
        found = metrics.survival(c, metrics.vote_share(c), [0.6, 0.9, 1.0])
        np.testing.assert_array_equal(found, [5 / 6, 4 / 6, 1 / 6])

    def test_they_are_recovered_from_three_digits_of_a_radius(self):
        radius = self.record().radius
        printed = np.array([float(f"{r:.3g}") for r in radius])
        found = metrics.vote_share(self.record(radius=printed))
        np.testing.assert_allclose(found[1:], self.K[1:] / 10**5, atol=5e-4)

    def test_where_their_number_was_not_fixed_there_is_none(self):
        for name in ("radii", "sequence", "two_stage"):
            header = self.HEADER | dict(procedure=dict(name=name, radii=[0.0]))
            assert metrics.vote_share(self.record(header=header)) is None
        assert metrics.vote_share(self.record(header=dict(sigma=0.5))) is None
