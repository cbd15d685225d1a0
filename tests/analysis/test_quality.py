from __future__ import annotations

import numpy as np
import pytest
from conftest import Golden, close, golden_files
from refusals import names

from jaxcert.errors import InputError
from jaxcert.papers import image_statistics as quality

RNG = np.random.default_rng(0)


def distance(a, b):
    return quality.frechet_distance(quality.moments(a), quality.moments(b))


@pytest.mark.golden("diffusion")
def test_frechet_distance_is_the_published_one():
    for path in golden_files("diffusion", "frechet*.npz"):
        golden = Golden(path)
        a, b = golden["feat_a"], golden["feat_b"]
        for features, name in ((a, ""), (b, "_ref")):
            found = quality.moments(features)
            close(found.mean, golden[f"mu{name}"])
            close(found.covariance, golden[f"sigma{name}"])
        close(distance(a, b), golden["fid"], 1e-6)
        assert not golden.unread()


def test_frechet_distance_of_independent_features_is_that_of_their_deviations():
    """tr(S + S' - 2 (S S')^(1/2)) = sum (s - s')^2 for diagonal S, S'."""
    mean, other = RNG.normal(size=(2, 5))
    s, t = RNG.uniform(0, 2, (2, 5))
    s[0] = t[1] = 0  # singular
    a = quality.Moments(mean, np.diag(s**2))
    b = quality.Moments(other, np.diag(t**2))
    expected = ((mean - other) ** 2).sum() + ((s - t) ** 2).sum()
    assert quality.frechet_distance(a, b) == pytest.approx(expected)


def test_frechet_distance_is_symmetric_and_0_of_a_set_to_itself():
    a, b = (
        RNG.normal(size=(9, 20)),
        RNG.normal(size=(30, 20)),
    )  # fewer rows than columns
    assert distance(a, b) == pytest.approx(distance(b, a))
    assert distance(a, a) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    ("a", "b", "said"),
    [
        (np.zeros((1, 3)), np.zeros((2, 3)), names("(1, 3)", "[N,D]", 2)),
        (np.zeros((4, 2, 2)), np.zeros((2, 3)), names("(4, 2, 2)", "[N,D]", 2)),
        (np.full((4, 3), np.nan), np.zeros((2, 3)), names("features", "finite")),
        (np.zeros((4, 3)), np.zeros((4, 2)), names("3 features", 2)),
    ],
)
def test_what_has_no_frechet_distance_is_refused(a, b, said):
    with pytest.raises(InputError, match=said):
        distance(a, b)


def test_nearest_is_found_in_blocks(monkeypatch):
    monkeypatch.setattr(quality, "_BLOCK", 7)
    points, others = RNG.integers(0, 256, (20, 3, 2, 1), np.uint8), None
    others = RNG.integers(0, 256, (30, 3, 2, 1), np.uint8)
    others[23] = points[11]
    distance, position = quality.nearest(points, others)
    away = points.reshape(20, 1, 6).astype(float) - others.reshape(1, 30, 6)
    every = np.sqrt((away**2).sum(-1))
    np.testing.assert_allclose(distance, every.min(1), atol=1e-12)
    np.testing.assert_array_equal(position, every.argmin(1))
    assert distance[11] == 0


def test_a_difference_of_one_grey_level_is_no_copy():
    others = RNG.integers(0, 255, (3, 32, 32, 3), np.uint8)
    points = others.copy()
    points[1, 5, 5, 0] += 1
    distance, position = quality.nearest(points, others)
    np.testing.assert_array_equal(distance, [0, 1, 0])
    np.testing.assert_array_equal(position, [0, 1, 2])


def test_closeness_counts_what_is_nearer_than_test_images():
    test = np.arange(1.0, 102.0)  # quantile 0.01: 2
    distance = np.array([0.0, 0.5, 1.5, 2.0, 60.0])
    found = quality.closeness(distance, test)
    assert found == quality.Closeness(median=1.5, close=3 / 5, closer=2 / 5, copies=1)


def test_test_images_are_close_as_often_as_the_quantile_says():
    test = RNG.normal(size=1000) ** 2
    found = quality.closeness(test, test)
    assert found.close == pytest.approx(quality.CLOSEST)
    assert found.closer == 0


def test_repeats_and_class_counts():
    image = RNG.integers(0, 256, (6, 4, 4, 1), np.uint8)
    image[3] = image[5] = image[0]
    assert quality.repeats(image) == 2
    label = np.array([0, 2, 2], np.int32)
    np.testing.assert_array_equal(quality.class_counts(label, 4), [1, 0, 2, 0])
