from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from conftest import Golden, golden_each
from hypothesis import given, settings
from hypothesis import strategies as st
from refusals import names

from jaxcert.data import mixture
from jaxcert.errors import InputError


@given(
    real=st.integers(1, 40),
    generated=st.integers(0, 40),
    batch=st.integers(1, 24),
    share=st.floats(0, 1),
    order=st.sampled_from(["continuous", "wang"]),
    step=st.integers(0, 30),
)
@settings(max_examples=60, deadline=None)
def test_a_batch_is_full_in_range_and_a_function_of_the_step(
    real, generated, batch, share, order, step
):
    make = partial(mixture.make, real, generated, batch=batch, order=order, seed=3)
    if generated and 0 < share and share * batch < 1 - 1e-9:
        with pytest.raises(InputError, match=names("data.generated_share", batch)):
            make(share=share)
        return
    m = make(share=share)
    source, index = mixture.plan(m, step)
    again = mixture.plan(m._replace(), step)
    np.testing.assert_array_equal(source, again[0])
    np.testing.assert_array_equal(index, again[1])
    assert source.shape == index.shape == (batch,)
    size = np.where(source == mixture.REAL, real, generated)
    assert ((index >= 0) & (index < size)).all()
    if order == "continuous":
        assert (source == mixture.GENERATED).sum() == m.generated_per_batch


def test_every_batch_has_exactly_the_share():
    m = mixture.make(50_000, 10_000, batch=512, share=0.7)
    for step in (0, 1, 97, 12_345):
        assert mixture.plan(m, step)[0].sum() == 358


def test_every_image_comes_once_per_pass_across_epochs():
    m = mixture.make(30, 20, batch=10, share=0.5, epoch_images=17)
    planned = [mixture.plan(m, step) for step in range(12)]  # 60 of each source
    for number, size in ((mixture.REAL, 30), (mixture.GENERATED, 20)):
        walk = [index[source == number] for source, index in planned]
        counts = np.bincount(np.concatenate(walk), minlength=size)
        np.testing.assert_array_equal(counts, 60 // size)
        first = np.concatenate(walk[: size // 5])
        np.testing.assert_array_equal(np.sort(first), np.arange(size))
        second = np.concatenate(walk[size // 5 : 2 * size // 5])
        assert (first != second).any()


def test_seeds_give_different_batches():
    a, b = (mixture.make(1000, 0, batch=100, seed=s) for s in (0, 1))
    first, second = (set(mixture.plan(m, 0)[1].tolist()) for m in (a, b))
    assert len(first & second) < 50, "other images, not the same in another order"


def test_generated_images_are_spread_over_the_batch():
    m = mixture.make(1000, 1000, batch=400, share=0.5)
    first_half = mixture.plan(m, 0)[0][:200].sum()
    assert 60 < first_half < 140  # 100 +- 5.7 standard deviations


def test_weights_draw_in_proportion_and_never_a_discarded_image():
    weights = np.array([0.0, 1.0, 3.0, 0.0], np.float32)
    m = mixture.make(4, 10, batch=1000, share=0.2, seed=5)
    source, index = mixture.plan(m, 7, weights)
    counts = np.bincount(index[source == mixture.REAL], minlength=4)
    assert counts[0] == counts[3] == 0
    assert counts.sum() == 800
    assert abs(counts[2] - 600) < 4 * np.sqrt(800 * 0.75 * 0.25)
    assert (mixture.plan(m, 8, weights)[1] != index).any()


def test_weights_that_are_all_zero_are_not_set_yet():
    m = mixture.make(10, 0, batch=4)
    for zeros in (np.zeros(10), None):
        np.testing.assert_array_equal(mixture.plan(m, 1, zeros), mixture.plan(m, 1))


def test_weights_leave_the_generated_part_as_it_is():
    m = mixture.make(50, 50, batch=20)
    plain, weighted = (mixture.plan(m, 3, w) for w in (None, np.ones(50)))
    chosen = [index[source == mixture.GENERATED] for source, index in (plain, weighted)]
    np.testing.assert_array_equal(*chosen)


def test_wang_order_fills_a_short_real_part_with_generated_images():
    m = mixture.make(25, 9, batch=20, share=0.5, epoch_images=80, order="wang")
    assert m.steps_per_epoch == 4
    reals = [(mixture.plan(m, s)[0] == mixture.REAL).sum() for s in range(8)]
    assert reals == [10, 10, 5, 0, 10, 10, 5, 0]


def test_wang_order_without_generated_images_stays_full():
    m = mixture.make(25, 0, batch=20, order="wang")
    source, index = mixture.plan(m, 1)
    assert (source == mixture.REAL).all() and len(index) == 20
    seen = np.concatenate([mixture.plan(m, 0)[1], index])
    np.testing.assert_array_equal(np.unique(seen), np.arange(25))


@pytest.mark.parametrize(
    "changes,said",
    [
        (dict(share=1.5), names("data.generated_share", 1.5)),
        (dict(share=float("nan")), names("data.generated_share", "nan")),
        (dict(order="random"), names("data.order", "random")),
        (dict(batch=0), names("data.batch", 0)),
        (dict(epoch_images=-1), names("data.epoch_images", -1)),
        (dict(seed=-1), names("seed", -1)),
        (dict(real_size=0), names("training set", "data.name")),
    ],
)
def test_bad_input_is_one_sentence(changes, said):
    arguments = {"real_size": 10, "generated_size": 10, "batch": 4, **changes}
    with pytest.raises(InputError, match=said):
        mixture.make(**arguments)


@pytest.mark.golden("diffusion")
@golden_each("diffusion", "mixing_sampler*.npz")
def test_wang_order_matches_the_original_sampler(file):
    arrays = Golden(file)
    cases = sorted({name.split("_")[0] for name in arrays})
    for case in cases:
        _check_golden_case({n: arrays[f"{case}_{n}"] for n in _GOLDEN_NAMES})
    assert not arrays.unread()


_GOLDEN_NAMES = (
    "n_real n_gen batch fraction num_batches real_per_batch batch_size "
    "unique_real_seen unique_gen_seen gen_drawn"
).split()


def _check_golden_case(case):
    n_real, n_gen = int(case["n_real"]), int(case["n_gen"])
    m = mixture.make(
        n_real,
        n_gen,
        batch=int(case["batch"]),
        share=float(case["fraction"]),
        order="wang",
    )
    assert m.steps_per_epoch == case["num_batches"]
    planned = [mixture.plan(m, step) for step in range(m.steps_per_epoch)]
    sizes = [len(index) for _, index in planned]
    np.testing.assert_array_equal(sizes, case["batch_size"])
    reals = [(source == mixture.REAL).sum() for source, _ in planned]
    np.testing.assert_array_equal(reals, case["real_per_batch"])
    real, generated = (
        np.concatenate([index[source == number] for source, index in planned])
        for number in (mixture.REAL, mixture.GENERATED)
    )
    assert len(np.unique(real)) == case["unique_real_seen"]
    assert len(generated) == case["gen_drawn"]
    # With replacement: mean and variance of the number of different images drawn.
    missed = (1 - 1 / n_gen) ** len(generated)
    both = (1 - 2 / n_gen) ** len(generated)
    mean = n_gen * (1 - missed)
    variance = n_gen * missed + n_gen * (n_gen - 1) * both - (n_gen * missed) ** 2
    unique = len(np.unique(generated))
    for seen in (unique, int(case["unique_gen_seen"])):
        # few draws of many images: a handful of repeats, not a normal law
        assert abs(seen - mean) <= max(4 * np.sqrt(max(variance, 0)), 3)


def test_a_share_is_not_cut_by_its_rounding():
    for share, count in ((0.29, 29), (0.57, 57), (0.7, 70)):
        made = mixture.make(10, 10, batch=100, share=share)
        assert made.generated_per_batch == count
