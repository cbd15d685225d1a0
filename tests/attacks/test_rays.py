"""Rays find the nearest image of another class; roundings break what forgets about rounding."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcert.attacks.rays import margins, rays
from jaxcert.attacks.rounding import rounding
from jaxcert.ops.margins import proven_radius

SHAPE = (64, 3, 3, 1)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_the_nearest_image_on_a_ray_is_found_to_a_share_of_the_way(x64, norm):
    """The boundary of a linear classifier is at margin / |w|, in the dual norm."""
    draw = np.random.default_rng(0)
    image = draw.uniform(0.45, 0.55, SHAPE)
    weights = draw.normal(size=(9, 2))

    def logits(x):
        return (x - 0.5).reshape(len(x), -1) @ weights

    z = np.asarray(logits(image))
    label = z.argmax(1)
    dual = np.linalg.norm(weights[:, 0] - weights[:, 1], {"linf": 1, "l2": 2}[norm])
    exact = abs(z[:, 0] - z[:, 1]) / dual
    found = np.asarray(rays(logits, image, label, eps=0.4, norm=norm, steps=4))
    assert (np.asarray(logits(found)).argmax(1) != label).all()
    order = {"linf": np.inf, "l2": 2}[norm]
    away = np.linalg.norm((found - image).reshape(len(image), -1), order, axis=1)
    assert (away >= exact).all()
    # the second round goes as far as the first one found, and halves that
    step = 1 / 3 / 2**8
    assert (away <= exact + step * (exact + 0.4 * step) + 1e-12).all()


def test_a_class_in_the_middle_of_a_ray_is_seen():
    """Class 1 is a ring, which the end of the ray is behind."""

    def logits(x):
        far = jnp.sqrt((x.reshape(len(x), -1) ** 2).sum(1))
        return jnp.stack([jnp.zeros(len(x)), 0.1 - jnp.abs(far - 0.5)], 1)

    image = np.full((1, 2, 1, 1), 0.05, np.float32)
    found = rays(logits, image, np.zeros(1, int), eps=0.7, norm="l2", steps=2)
    assert logits(found)[0, 1] > 0


def test_margins_are_those_of_one_class_or_of_the_best():
    z, label = np.array([[3.0, 1.0, 2.0], [0.0, 5.0, 4.0]]), np.array([0, 2])
    np.testing.assert_array_equal(margins(z, label), [-1.0, 1.0])
    np.testing.assert_array_equal(margins(z, label, np.array([1, 0])), [-2.0, -4.0])


@pytest.mark.parametrize("slack", [0.0, 1e-11])
def test_roundings_break_a_certificate_without_slack_and_none_with_it(x64, slack):
    """The certificate of a linear classifier is exact, so its logits' rounding is all
    that is between the radius and an image of another class."""
    draw = np.random.default_rng(0)
    weights = np.linalg.qr(draw.normal(size=(9, 2)))[0]
    image = draw.uniform(0.2, 0.8, SHAPE)

    def logits(x):  # a rounding has no gradient
        z = x.reshape(len(x), -1) @ weights
        return z + jax.lax.stop_gradient(jnp.round(z * 2**40) / 2**40 - z)

    z = np.asarray(logits(image))
    label = z.argmax(1)
    # |w_0 - w_1| of orthonormal w
    pairwise = np.full((2, 2), np.sqrt(2.0))
    radius = proven_radius(z, pairwise, label, slack)
    assert (radius > 0).all()

    def broken(attack):
        run = jax.jit(partial(attack, logits, norm="l2"))
        found = run(image, label, eps=radius * (1 - 2.0**-46))
        away = np.sqrt(((found - image) ** 2).sum((1, 2, 3)))
        return int(
            ((away < radius) & (np.asarray(logits(found)).argmax(1) != label)).sum()
        )

    ends, roundings = (
        broken(partial(rays, steps=4)),
        broken(partial(rounding, steps=36)),
    )
    if slack:
        assert ends == roundings == 0
    else:
        assert roundings > ends + 3, (ends, roundings)
