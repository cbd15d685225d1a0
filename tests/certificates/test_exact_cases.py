"""Certificates and an attack on linear networks, whose radii are known exactly."""

from __future__ import annotations

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcert import attack
from jaxcert.certificates import interval, lipschitz, procedures, statistics
from jaxcert.interfaces import Bound, Model, Network

KEY = jax.random.key(0)
WEIGHTS = np.array([1.0, -1.0, 1.0, -1.0])
SHAPE = (2, 2, 1)


def linear(norm, *, constant=2.0, estimate=1.0, growth=1.0):
    """Logits (w (x - 1/2) + b, 0): exact bounds over a box, constants that are given."""

    def score(params, x):
        return (x.reshape(len(x), -1) - 0.5) @ params["kernel"] + params["bias"]

    def apply(params, state, x, *, train=False, key=None):
        z = score(params, x)
        return jnp.stack([z, 0 * z], 1), state

    def lipschitz_of(params, state, *, train=False):
        return jnp.full((2, 2), estimate), state

    def bound(params, state, *, tight=True, tell=None):
        return Bound(np.full((2, 2), constant), growth)

    def margins(params, state, lower, upper, label):
        w = params["kernel"]
        corner = jnp.where(w.reshape(SHAPE) > 0, lower, upper)
        least = score(params, corner)
        return jnp.stack([0 * least, least], 1)

    model = Model(
        lambda key: None,
        apply,
        lambda params, state: state,
        2,
        SHAPE,
        norm=norm,
        lipschitz=lipschitz_of,
        lipschitz_bound=bound,
        interval_margins=margins,
    )
    params = {"kernel": jnp.asarray(WEIGHTS), "bias": jnp.float32(0.25)}
    return Network(model, params, {})


def certified(certifier, image):
    rows = np.arange(len(image))
    return certifier.certify(KEY, image, np.zeros(len(image), np.int32), rows)


MIDDLE = np.full((1, *SHAPE), 0.5)


def test_radius_stands_on_the_bound_and_radius_paper_on_the_estimate():
    rows = certified(lipschitz.make(linear("l2")), MIDDLE)
    np.testing.assert_allclose(rows.radius, 0.25 / 2, rtol=1e-6)
    np.testing.assert_allclose(rows.radius_paper, 0.25, rtol=1e-12)
    assert rows.radius[0] < 0.25 / 2


@pytest.mark.parametrize("r, holds", [(0.0622, True), (0.0628, False), (0.068, False)])
def test_interval_holds_where_the_box_of_both_sides_does(r, holds):
    """The margin over the box is 1/4 - 4 r: 0 at r = 1/16."""
    rows = certified(interval.make(linear("linf"), radii=(r,)), MIDDLE)
    assert rows.radius.tolist() == [r if holds else 0.0]


def test_interval_grants_the_forward_pass_twice_its_slack():
    network = linear("linf", growth=2.0**24)
    slack = 2.0**-5  # 2^-30 of it times the diameter of the box
    params = network.params | {"bias": jnp.float32(0.25)}
    for margin, holds in ((3 * slack, True), (1.5 * slack, False)):
        certifier = interval.make(
            network._replace(params=params), radii=((0.25 - margin) / 4,)
        )
        assert (certified(certifier, MIDDLE).radius > 0).tolist() == [holds]


def test_second_stage_counts_none_of_the_votes_of_the_first():
    """All votes of the pilot agree, and half of those that follow."""
    pilot_ends = 10 + procedures.PILOT
    drawn = []

    def draw(rows, start, size):
        rows = np.asarray(rows)
        start, size = (np.broadcast_to(a, rows.shape) for a in (start, size))
        drawn.extend(zip(start.tolist(), size.tolist(), strict=True))
        early = np.clip(pilot_ends - start, 0, size)
        agree = early + (size - early) // 2
        return np.stack([agree, size - agree], 1)

    def radius_of(tail):
        return np.maximum(0.5 - np.asarray(tail), 0)

    d = procedures.two_stage(
        draw, 1, n0=10, n=2000, alpha=0.001, rho=0.1, radius_of=radius_of
    )
    size = int(d.n[0]) - procedures.PILOT
    assert size > 0 and drawn[-1] == (pilot_ends, size)
    assert d.counts.tolist() == [[size // 2, size - size // 2]]
    assert d.radius.tolist() == [0.0] and not d.answered[0]
    lower = statistics.clopper_pearson_lower(size // 2, size, 0.001)
    np.testing.assert_allclose(d.p_lower, lower)


def test_an_attack_finds_a_false_radius_just_inside_it(monkeypatch, tmp_path):
    """The nearest image of the other class is at 1/8; no radius that is asked for is."""
    network = linear("l2")
    for claimed, found in ((0.2, True), (0.1, False)):
        monkeypatch.setattr(
            attack, "_certified", lambda *_, claimed=claimed: {0: claimed}
        )
        config = SimpleNamespace(certify=SimpleNamespace(radii=(1e-3,)))
        certifier = attack.attacker_of(
            config, network, None, workdir=tmp_path, name=None, steps=20
        )
        distance = certified(certifier, MIDDLE).distance[0]
        assert np.isfinite(distance) == found
        assert not found or 0.125 <= distance < claimed
