"""Auto-PGD: its loss and step sizes; and of every attack, what it may and must find."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from refusals import names

from jaxcert.attacks.apgd import apgd, checkpoints, cross_entropy, dlr, periods, stuck
from jaxcert.attacks.pgd import pgd
from jaxcert.attacks.rays import rays
from jaxcert.attacks.rounding import rounding
from jaxcert.errors import InputError

SHAPE = (4, 3, 3, 1)
ORDER = {"linf": np.inf, "l2": 2}


def distance(one, other, norm):
    away = np.asarray(one, np.float64) - np.asarray(other, np.float64)
    return np.linalg.norm(away.reshape(len(away), -1), ORDER[norm], axis=1)


@pytest.mark.parametrize(
    "attack,classes,norm",
    [
        (pgd, 2, "linf"),
        (pgd, 2, "l2"),
        (partial(apgd, loss=cross_entropy), 2, "linf"),
        (partial(apgd, loss=cross_entropy), 2, "l2"),
        (apgd, 3, "l2"),
        (partial(rays, steps=6), 2, "linf"),
        (partial(rays, steps=6), 3, "l2"),
        (partial(rounding, steps=3), 3, "l2"),
    ],
    ids=["pgd-linf", "pgd-l2", "apgd-linf", "apgd-l2", "apgd-dlr-l2"]
    + ["rays-linf", "rays-l2", "rounding-l2"],
)
def test_a_linear_classifier_breaks_at_its_margin_and_not_before(
    x64, attack, classes, norm
):
    """The nearest image of class j is at (z_y - z_j) / |w_y - w_j|, in the dual norm; the
    rows w are orthonormal, so with three classes the nearest one is the runner-up."""
    draw = np.random.default_rng(0)
    image = draw.uniform(0.4, 0.6, SHAPE)
    weights = np.linalg.qr(draw.normal(size=(9, classes)))[0]

    def logits(x):
        return (x - 0.5).reshape(len(x), -1) @ weights

    z = np.asarray(logits(image))
    label = z.argmax(1)
    own = np.arange(len(z)), label
    between = (weights[:, label, None] - weights[:, None]).transpose(1, 2, 0)
    dual = np.linalg.norm(between, {"linf": 1, "l2": 2}[norm], axis=2)
    dual[own] = 1
    margin = z[own][:, None] - z
    margin[own] = np.inf
    nearest = (margin / dual).min(1)
    assert (nearest < 0.3).all()  # the box is farther

    run = jax.jit(partial(attack, logits, norm=norm))
    for share, breaks in ((0.9999, False), (1.0001, True)):
        found = run(image, label, eps=share * nearest)
        assert (np.asarray(logits(found)).argmax(1) != label).all() == breaks
        assert breaks or (np.asarray(logits(found)).argmax(1) == label).all()


def curved(x):
    weights = np.random.default_rng(1).normal(size=(2, 9, 9)).astype(np.float32)
    return jnp.tanh(x.reshape(len(x), -1) @ weights[0]) @ weights[1]


RUN = {
    (attack.__name__, norm): jax.jit(partial(attack, curved, norm=norm, steps=9))
    for attack in (pgd, apgd, rays, rounding)
    for norm in ORDER
}


@pytest.mark.parametrize("name,norm", RUN)
@settings(max_examples=25, deadline=None)
@given(
    image=arrays.arrays(np.float32, SHAPE, elements=st.floats(0, 1, width=32)),
    start=arrays.arrays(np.float32, SHAPE, elements=st.floats(-1, 1, width=32)),
    eps=arrays.arrays(np.float64, SHAPE[0], elements=st.floats(0, 4)),
)
def test_found_images_are_in_their_own_ball_and_in_the_box(
    name, norm, image, start, eps
):
    label = np.asarray(curved(image)).argmax(1)
    found = np.asarray(RUN[name, norm](image, label, eps=eps, start=start))
    assert found.min() >= 0 and found.max() <= 1
    assert (distance(found, image, norm) <= eps * (1 + 1e-5) + 1e-6).all()


def test_apgd_ends_with_a_loss_no_smaller_than_pgd_with_half_the_steps():
    draw = np.random.default_rng(2)
    image = draw.uniform(size=(32, 3, 3, 1)).astype(np.float32)
    label = np.asarray(curved(image)).argmax(1)
    for norm, eps in (("linf", 0.05), ("l2", 0.15)):
        args = dict(eps=eps, norm=norm)
        found = apgd(curved, image, label, loss=cross_entropy, steps=40, **args)
        weaker = pgd(curved, image, label, steps=20, **args)
        mine, other = (cross_entropy(curved(x), label) for x in (found, weaker))
        assert (np.asarray(mine) >= np.asarray(other) - 1e-4).mean() > 0.9


def test_checkpoints_are_those_of_the_paper():
    assert checkpoints(100) == [22, 41, 57, 70, 80, 87, 93, 99]
    assert periods(100).sum() == 99 and periods(100)[[21, 40, 98]].tolist() == [
        22,
        19,
        6,
    ]
    for steps in (1, 2, 7):
        ends = np.flatnonzero(periods(steps)) + 1
        assert ends.tolist() == checkpoints(steps) and ends.max() <= steps


def test_step_is_halved_where_the_loss_did_not_rise_or_nothing_changed():
    rises = np.array([0, 16, 17, 22, 22])
    same = np.array([True, False, False, False, True])
    assert stuck(rises, 22, same).tolist() == [True, True, False, False, True]


def test_a_loss_that_never_changes_moves_nothing():
    image = np.full(SHAPE, 0.5, np.float32)
    flat = jnp.zeros((SHAPE[0], 3))
    for attack in (pgd, apgd):
        for norm in ORDER:
            found = attack(lambda x: flat, image, np.zeros(4, int), eps=0.1, norm=norm)
            assert (np.asarray(found) == image).all()


def test_steps_shrink_until_a_peak_inside_the_ball_is_met():
    """-|x - c|^2 with steps of a fixed length stays as far from c as they are long."""
    image = np.full(SHAPE, 0.5, np.float32)
    peak = image + 0.1 * np.random.default_rng(3).uniform(-1, 1, SHAPE)

    def loss(x, label):
        return -((x - peak.reshape(4, -1)) ** 2).sum(1)

    found = apgd(
        lambda x: x.reshape(4, -1),
        image,
        np.zeros(4, int),
        eps=np.array([1.0, 1.0, 2.0, 2.0]),
        norm="l2",
        loss=loss,
    )
    assert (distance(found, peak, "l2") < 0.02).all()


def test_dlr_is_positive_in_another_class_and_ignores_shift_and_scale():
    z = np.array([[3.0, 1.0, 2.0, 0.0], [3.0, 1.0, 2.0, 0.0]])
    label = np.array([0, 2])
    np.testing.assert_allclose(dlr(jnp.asarray(z), label), [-0.5, 0.5], rtol=1e-6)
    again = dlr(jnp.asarray(7 * z - 5), label)
    np.testing.assert_allclose(again, [-0.5, 0.5], rtol=1e-6)
    with pytest.raises(InputError, match=names("dlr", 3, 2)):
        dlr(jnp.zeros((1, 2)), np.array([0]))
