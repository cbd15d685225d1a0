"""Votes until a deadline: what is proven by then is true, and nothing else is said."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import ndtri

import jaxcert
from jaxcert import random_keys
from jaxcert.certificate import ABSTAIN
from jaxcert.certificates import deadlines, procedures, sequential, smoothing
from jaxcert.certificates.deadlines import TimeUp

SIGMA, N0, N, ALPHA = 0.5, 8, 500, 0.05
IMAGE = np.full((1, 2, 2, 1), 0.45, np.float32)


def bright(keys, image):
    return (image.mean((1, 2, 3)) > 0.3).astype(np.int32)


def clock(*seconds):
    """`left` that says one after the other, and the last one for ever."""
    left = list(seconds)
    return lambda: left.pop(0) if len(left) > 1 else left[0]


def certify(procedure, left=None, **options):
    options = dict(n0=N0, n=N, alpha=ALPHA, procedure=procedure, chunk=50) | options
    made = smoothing.certifier(bright, num_classes=3, sigma=SIGMA, **options)
    how = {} if left is None else dict(left=left)
    assert made.stops
    return made.certify(random_keys.key(3), IMAGE, [-1], [7], **how)


PROCEDURES = {
    "certify": {},
    "predict": {},
    "two_stage": {},
    "sequence": {},
    "radii": dict(radii=(0.1, 0.3, 0.5)),
}


@pytest.mark.parametrize("procedure", PROCEDURES)
def test_with_time_enough_pieces_are_the_same_votes(procedure):
    whole = certify(procedure, **PROCEDURES[procedure])
    assert whole.predicted[0] == 1
    cut = certify(procedure, lambda: 1e9, **PROCEDURES[procedure])
    for name in cut._fields[:-1]:
        if name != "seconds" and getattr(whole, name) is not None:
            np.testing.assert_array_equal(getattr(cut, name), getattr(whole, name))


@pytest.mark.parametrize("procedure", PROCEDURES)
@pytest.mark.parametrize("asked", [0, 2, 3, 5])
def test_without_time_nothing_is_said_that_is_not_proven(procedure, asked):
    left = clock(*[100.0] * asked, 0.0)
    row = certify(procedure, left, **PROCEDURES[procedure])
    if procedure in ("certify", "predict", "two_stage") or asked < 3:
        assert row.predicted[0] == ABSTAIN and row.radius[0] == 0
    check = jaxcert.recheck(row)
    assert check.holds and check.checked == (row.predicted[0] >= 0)


def test_a_sequence_answers_by_the_looks_that_it_has():
    whole, looks = certify("sequence", rho=0.001), sequential.looks(N)
    taken = int((whole.agreeing[0] >= 0).sum())
    assert taken == len(looks) > 2
    # asked twice a piece: of the selection, of the first look, of the second
    row = certify("sequence", clock(*[1e9, 1e9] * 3, 0.0), rho=0.001, chunk=200)
    assert row.n[0] == looks[1] and row.predicted[0] == 1
    assert row.agreeing[0].tolist() == [*whole.agreeing[0, :2], *[-1] * (taken - 2)]
    assert 0 < row.radius[0] < whole.radius[0]
    assert jaxcert.recheck(row).checked == 1 and jaxcert.recheck(row).holds
    larger = row._replace(radius=row.radius * 1.001)
    assert not jaxcert.recheck(larger).holds


def test_whoever_stops_at_the_worst_look_errs_with_alpha_at_most():
    """Of votes with p, the sequence is ended as soon as its bound is above p, which the clock of
    an adversary can do; p that fixed numbers of votes would be wrong about much more often."""
    p, images, alpha, looks = 0.7, 4000, 0.1, sequential.looks(1600)
    draw_of = np.random.default_rng(0)
    votes = draw_of.random((images, looks[-1])) < p
    taken = [votes[:, :look].sum(1) for look in looks]
    wrong = single = 0
    best = np.zeros(images)
    for j, look in enumerate(looks):
        ended = [np.full(images, -1) for _ in looks]
        ended[: j + 1] = taken[: j + 1]

        def draw(rows, start, size, j=j):
            if start == 0:  # the selection
                return np.tile([[1, 0]], (len(rows), 1))
            if start - 1 >= looks[j]:
                raise TimeUp
            agree = votes[rows, start - 1 : start - 1 + size].sum(1)
            return np.stack([agree, size - agree], 1)

        found = procedures.sequence(
            draw,
            images,
            n0=1,
            looks=looks,
            alpha=alpha,
            rho=0.0,
            bound="union",
            radius_of=lambda upper: np.maximum(ndtri(1 - upper), 0.0),
        )
        best = np.maximum(best, found.p_lower)
        only = procedures.statistics.clopper_pearson_lower(taken[j], look, alpha)
        single = np.maximum(single, only > p)
    wrong, single = (best > p).mean(), single.mean()
    assert wrong <= alpha + 3 * np.sqrt(alpha / images)
    assert single > 1.5 * alpha  # what the looks are paid for


def test_a_piece_that_would_end_too_late_is_not_begun():
    now, drawn = [0.0], []

    def draw(rows, start, size):
        drawn.append(int(size.sum()))
        now[0] += 0.01 * size.sum()
        return np.stack([size, 0 * size], 1)

    counted = deadlines.in_pieces(draw, lambda: 5.0 - now[0], 20)
    with pytest.raises(TimeUp):
        counted(np.arange(1), 0, 10_000)
    assert 4.0 < now[0] <= 5.0  # near the end, and not beyond it
    assert drawn[0] == 20 and max(drawn) > 20


def test_pieces_are_of_each_row_its_own_votes():
    def draw(rows, start, size):
        return np.stack([rows * 10**6 + start * size, size], 1)

    seen = []

    def noted(rows, start, size):
        seen.extend(
            (int(r), int(s) + i)
            for r, s, n in zip(rows, start, size, strict=True)
            for i in range(n)
        )
        return draw(rows, start, size)

    counted = deadlines.in_pieces(noted, lambda: 1.0, 3)
    votes = counted(np.array([0, 1]), np.array([5, 0]), np.array([2, 9]))
    wanted = [(0, 5), (0, 6), *((1, i) for i in range(9))]
    assert sorted(seen) == sorted(wanted) and votes[:, 1].tolist() == [2, 9]
