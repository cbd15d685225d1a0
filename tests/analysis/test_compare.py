"""Envelope and differences: their definitions, and an interval that covers."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from test_analysis_metrics import certificates

from jaxcert import certificate
from jaxcert.analysis import compare, metrics

RADII = [0.0, 0.25, 0.5, 1.0]


def record(correct, radius, *, label=0, **header):
    """Images 0, 1, ... of one label, right or wrong, of these radii."""
    rows = [
        (label, label if y else 9, float(r))
        for y, r in zip(correct, radius, strict=True)
    ]
    return certificates(rows, **header)


NEAR = record([1, 1, 1, 1], [0.3, 0.3, 0.3, 0.3])
FAR = record([1, 1, 0, 0], [0.6, 0.6, 0.9, 0.0])


def test_envelope_names_the_best_at_each_radius():
    best = compare.envelope([FAR, NEAR], RADII)
    np.testing.assert_array_equal(best.certified, [1, 1, 0.5, 0])
    assert best.winner.tolist() == [1, 1, 0, -1], "nobody certifies at 1"
    assert compare.envelope([NEAR, NEAR], RADII).winner.tolist() == [0, 0, -1, -1]


def test_records_are_compared_at_the_images_of_both():
    shifted = NEAR._replace(index=np.array([5, 3, 2, 4]))  # 2 and 3 are common
    found = compare.difference(shifted, FAR, RADII)
    assert found.images == 2
    np.testing.assert_array_equal(found.difference, [1, 1, 0, 0])
    assert compare.envelope([shifted, FAR], RADII).images == 2


@pytest.mark.parametrize(
    "other",
    [
        NEAR._replace(index=np.arange(4) + 50),
        record([1, 1, 1, 1], [1, 1, 1, 1], label=3),
        NEAR._replace(header=dict(dataset="mnist")),
    ],
    ids=["images", "labels", "dataset"],
)
def test_records_of_other_images_do_not_compare(other):
    mine = NEAR._replace(header=dict(dataset="digits"))
    assert compare.envelope([mine, other], RADII) is None
    assert compare.difference(mine, other, RADII) is None


def test_difference_is_of_certified_accuracies():
    rng = np.random.default_rng(0)
    a, b = (record(rng.random(300) < p, rng.random(300)) for p in (0.8, 0.6))
    found = compare.difference(a, b, RADII, name="b")
    expected = [certificate.certified_accuracy(c, RADII) for c in (a, b)]
    np.testing.assert_allclose(found.difference, expected[0] - expected[1])
    assert found.baseline == "b" and found.images == 300
    assert (found.low <= found.difference).all() and (
        found.difference <= found.high
    ).all()
    assert found.worse.tolist() == [False] * 4
    assert compare.difference(b, a, RADII).worse[0]


def test_interval_is_that_of_drawing_images():
    rng = np.random.default_rng(1)
    a, b = (record(rng.random(400) < p, np.full(400, 0.4)) for p in (0.7, 0.6))
    found = compare.difference(a, b, [0.25])
    each = (a.correct.astype(float) - b.correct)[rng.integers(0, 400, (10_000, 400))]
    low, high = np.quantile(each.mean(1), [0.025, 0.975])
    assert found.low[0] == pytest.approx(low, abs=0.004)
    assert found.high[0] == pytest.approx(high, abs=0.004)


def test_interval_covers_the_true_difference():
    rng, covered, true = np.random.default_rng(2), 0, 0.1
    for _ in range(200):
        u = rng.random(500)  # what is hard for one is hard for the other
        a, b = (record(u < p, np.full(500, 0.4)) for p in (0.7, 0.6))
        found = compare.difference(a, b, [0.0], draws=1000)
        covered += found.low[0] <= true <= found.high[0]
        alone = 1.96 * np.hypot(*(metrics.standard_error(p, 500) for p in (0.7, 0.6)))
        assert found.high[0] - found.low[0] < 2 * alone, "pairing narrows it"
    assert covered / 200 >= 0.9


def test_equal_seeds_give_equal_intervals():
    found = [compare.difference(NEAR, FAR, RADII, seed=s) for s in (3, 3)]
    np.testing.assert_array_equal(found[0].low, found[1].low)


@pytest.mark.parametrize("images", [50, 500])
def test_difference_that_no_image_shows_is_not_called_certain(images):
    same = record(np.ones(images), np.full(images, 0.3))
    found = compare.difference(same, same, RADII)
    assert not found.difference.any() and not found.worse.any()
    # 0 of N: up to 3 / N at 95 %
    np.testing.assert_allclose(found.high, 3 / (images + 2))
    np.testing.assert_allclose(found.low, -3 / (images + 2))


def test_interval_covers_differences_that_few_images_show():
    """Exactly, over all counts of images gained and lost that can occur."""
    images = 300
    gained, lost = (a.ravel() for a in np.meshgrid(np.arange(26), np.arange(26)))
    low, high = compare._interval(gained, lost, images, 1000, 0)
    counts = np.stack([gained, lost, images - gained - lost], 1)
    for p in (0.0, 0.3, 1.0, 2.0, 3.0, 5.0, 8.0):
        for q in (0.0, 0.3, 1.0, 3.0):
            true = (p - q) / images
            chances = [p / images, q / images, 1 - (p + q) / images]
            weight = stats.multinomial.pmf(counts, images, chances)
            held = (low <= true + 1e-12) & (true <= high + 1e-12)
            assert weight[held].sum() >= 0.93, (p, q)


def trained(method, sigma):
    return NEAR._replace(
        header=dict(sigma=sigma, config=dict(method=dict(name=method)))
    )


def test_baseline_is_the_gaussian_record_of_the_same_sigma():
    records = [
        trained("sun", 0.5),
        trained("gaussian", 0.25),
        trained("gaussian", float(np.float32(0.5))),
        trained("macer", 1.0),
        trained("macer", 0.25),
    ]
    assert compare.baselines(records) == [2, None, None, None, 1]
    assert compare.baselines(records, [4]) == [None, 4, None, None, None]
    none = [c._replace(header={}) for c in records]
    assert compare.baselines(none) == [None] * 5
    assert compare.baselines(none, [1]) == [1, None, 1, 1, 1], "no sigma is one sigma"


def predicting(c):
    return c._replace(header=c.header | dict(procedure=dict(name="predict")))


def test_predictions_are_not_compared():
    classes = predicting(trained("gaussian", 0.5))
    ours = trained("sun", 0.5)
    assert compare.envelope([classes], RADII) is None
    best = compare.envelope([classes, ours], RADII)
    assert best.winner.tolist() == [1, 1, -1, -1]
    assert compare.difference(ours, classes, RADII) is None
    assert compare.baselines([classes, ours]) == [None, None]
    found = compare.against(["p", "sun"], [classes, ours], RADII, [0])
    assert found[1] == (None, "no radii of p, which is of PREDICT, to compare with")


AGAINST = {
    "sigma": ([0.25, 0.5], [0], ["", "sigma 0.5 where a has sigma 0.25"]),
    "unknown": ([0.25, None], [0], ["", "no stated sigma where a has sigma 0.25"]),
    "alone": ([0.5], [0], ["no record of its sigma to be the baseline of"]),
    "unused": (
        [0.25, 0.5, 0.5],
        [0, 1],
        ["no record of its sigma to be the baseline of", "", ""],
    ),
    "second": ([0.5, 0.5, 0.5], [0, 1], ["", "a is the baseline of its sigma", ""]),
    "all": ([0.5, 0.5], [0, 1], ["no record of its sigma to be the baseline of"] * 2),
    "fits": ([0.5, 0.5], [1], ["", ""]),
    "not chosen": ([0.5, 0.25], [], ["", ""]),
}


@pytest.mark.parametrize("sigmas, chosen, why", AGAINST.values(), ids=AGAINST)
def test_chosen_baseline_is_never_dropped_without_a_word(sigmas, chosen, why):
    records = [trained("sun", sigma) for sigma in sigmas]
    names = "abc"[: len(sigmas)]
    found = compare.against(names, records, RADII, chosen)
    assert [words for _, words in found] == why


def test_what_sets_two_records_apart_is_named():
    digits = NEAR._replace(header=dict(dataset="digits"))
    mnist = NEAR._replace(header=dict(dataset="mnist"))
    other = record([1] * 4, [1] * 4, label=3)
    assert (
        compare.why_not_comparable(digits, mnist, "m")
        == "the dataset digits where m has mnist"
    )
    assert "other labels than m" in compare.why_not_comparable(NEAR, other, "m")
    assert compare.why_not_comparable(NEAR, FAR, "m") == ""


def test_radii_that_were_not_tried_are_not_counted_as_failures():
    header = dict(procedure=dict(name="radii", radii=[0.0, 0.25]))
    tried = record([1, 1, 1, 0], [0.25, 0.25, 0, 0])._replace(header=header)
    found = metrics.summary(tried, RADII).certified
    np.testing.assert_array_equal(found, [0.75, 0.5, np.nan, np.nan])
    found = compare.difference(tried, FAR, RADII)
    np.testing.assert_array_equal(np.isnan(found.difference), [0, 0, 1, 1])
    assert not found.worse[2:].any()
    assert compare.envelope([tried, FAR], RADII).winner.tolist() == [0, 0, 1, -1]


def test_best_is_told_only_where_its_interval_says_so():
    rng = np.random.default_rng(4)
    hard = rng.random(200)
    near, same, far = (
        record(hard < p, np.full(200, r))
        for p, r in ((0.9, 0.3), (0.89, 0.3), (0.5, 0.6))
    )
    records = [near, same, far]
    best = compare.envelope(records, RADII)
    assert best.winner.tolist() == [0, 0, 2, -1]
    assert compare.rivals(records, RADII, best) == [[1], [1], [], []]
    best = compare.envelope([near, far], RADII)
    assert compare.rivals([near, far], RADII, best) == [[], [], [], []]


def test_record_that_did_not_try_a_radius_may_be_best_there():
    header = dict(procedure=dict(name="radii", radii=[0.0, 0.5]))
    tried = record(np.ones(50), np.full(50, 0.5))._replace(header=header)
    other = record(np.ones(50), np.full(50, 0.3))
    best = compare.envelope([tried, other], RADII)
    assert best.winner.tolist() == [0, 1, 0, -1], "nothing is known of it at 0.25"
    assert compare.rivals([tried, other], RADII, best)[1:3] == [[0], []]
