"""Certificates and an attack on linear networks, whose radii are known exactly."""

from __future__ import annotations

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from refusals import names

from jaxcert.attacks import audit as audits
from jaxcert.certificates import interval, lipschitz, procedures, statistics
from jaxcert.errors import InputError
from jaxcert.interfaces import Bound, Model, Network
from jaxcert.records import ERROR

KEY = jax.random.key(0)
WEIGHTS = np.array([1.0, -1.0, 1.0, -1.0])
SHAPE = (2, 2, 1)


def linear(norm, *, constant=2.0, estimate=1.0, growth=1.0):
    """Logits (w (x - 1/2) + b, 0): exact bounds over a box, constants that are given."""

    def score(params, x):
        return (x.reshape(len(x), -1) - 0.5) @ params["kernel"] + params["bias"]

    def apply(params, state, x, *, train=False, key=None):
        z = score(params, x)
        return jnp.stack([z, jnp.zeros_like(z)], 1), state

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


def test_a_lipschitz_radius_grants_the_forward_pass_twice_its_slack():
    """Of which a large growth inside, or a bias, makes a large part."""
    for growth, bias, slack in (
        (2.0**24, 0.25, 2.0**-5),  # 2^-30 of it times the diameter of the box
        (1.0, 2.0**30, 2.0**-8),  # 2^-40 of it at each of 4 pixels, times the constant
    ):
        network = linear("l2", growth=growth)
        params = network.params | {"bias": jnp.float32(bias)}
        certifier = lipschitz.make(network._replace(params=params))
        found = certifier.header["procedure"]["logit_slack"]
        np.testing.assert_allclose(found, slack, rtol=1e-3)
        rows = certified(certifier, MIDDLE)
        np.testing.assert_allclose(rows.radius, (bias - 2 * found) / 2, atol=1e-6)


@pytest.mark.parametrize(
    "norm, state",
    [
        ("l2", {"batch_stats": {"mean": np.full(4, 2.0**29)}}),
        ("linf", {"mean_shift": {"mean": np.array([0.0, -(2.0**31)])}}),
    ],
)
def test_running_means_that_are_large_count_in_the_slack(norm, state):
    """2^-40 of what they add: the norm 2^30 at each of 4 pixels, or the largest; times the
    constant 2."""
    network = linear(norm)._replace(state=state)
    slack = lipschitz.make(network).header["procedure"]["logit_slack"]
    np.testing.assert_allclose(slack, 2 * 2.0**-40 * 2.0**31, rtol=1e-3)


def test_logits_are_those_of_float64():
    """Of weights and pixels that no float32 holds."""
    weights = np.array([0.1, 0.7, -0.3, 0.3])
    network = linear("l2")
    with jax.enable_x64(True):
        params = {"kernel": jnp.asarray(weights), "bias": jnp.asarray(1 / 3)}
    for certifier in (
        lipschitz.make(network._replace(params=params)),
        interval.make(linear("linf")._replace(params=params), radii=(0.001,)),
    ):
        rows = certified(certifier, MIDDLE + 0.1)
        np.testing.assert_allclose(rows.logits[0, 0], 0.08 + 1 / 3, rtol=1e-15)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_logit_that_is_not_finite_is_an_error(bad):
    for certifier in (
        lipschitz.make(linear("l2")),
        interval.make(linear("linf"), radii=(0.001,)),
    ):
        image = np.concatenate([MIDDLE, MIDDLE])
        image[1, 0, 0] = bad
        rows = certified(certifier, image)
        assert rows.predicted.tolist() == [0, ERROR] and rows.radius[1] == 0


def test_one_finite_logit_beside_an_infinite_one_is_none():
    """The image is finite, its score overflows, and the other logit is 0."""
    params = {"kernel": np.full(4, 1e308), "bias": np.float64(0)}
    for certifier in (
        lipschitz.make(linear("l2")._replace(params=params)),
        interval.make(linear("linf")._replace(params=params), radii=(0.001,)),
    ):
        rows = certified(certifier, 2 * MIDDLE)
        assert np.isinf(rows.logits[0, 0]) and rows.logits[0, 1] == 0
        assert rows.predicted == [ERROR] and rows.radius == [0]


@pytest.mark.parametrize("kind", ["float16", "bfloat16"])
def test_weights_of_16_bits_are_refused(kind):
    network = linear("l2")
    params = {name: jnp.asarray(a, kind) for name, a in network.params.items()}
    with pytest.raises(InputError, match=names("16-bit", "float32")):
        lipschitz.make(network._replace(params=params))


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


def test_interval_states_the_slack_that_it_grants():
    certifier = interval.make(linear("linf", growth=2.0**24), radii=(0.01,))
    assert certifier.header["procedure"]["logit_slack"] == pytest.approx(2.0**-5, 1e-3)


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


@pytest.mark.parametrize(
    "name,dtype",
    [(None, None), ("pgd", "float64"), ("rays", "float32"), ("rounding", None)],
)
def test_an_attack_finds_a_false_radius_just_inside_it(
    monkeypatch, tmp_path, name, dtype
):
    """The nearest image of the other class is at 1/8; no radius that is asked for is."""
    network = linear("l2")
    for claimed, found in ((1.5 / 8, True), (0.1, False)):
        monkeypatch.setattr(
            audits, "_certified", lambda *_, claimed=claimed: {0: claimed}
        )
        config = SimpleNamespace(certify=SimpleNamespace(radii=(1e-3,)))
        asked = dict(name=name, dtype=dtype, steps=20, workdir=tmp_path)
        certifier = audits.attacker_of(config, network, None, **asked)
        distance = certified(certifier, MIDDLE).distance[0]
        assert np.isfinite(distance) == found
        assert not found or 0.125 <= distance < claimed


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_an_attack_that_leaves_its_ball_is_taken_back_into_it(
    monkeypatch, tmp_path, dtype
):
    """The search goes to a distance of 1/2, through the boundary at 1/8."""

    def search(params, state, keys, image, label, eps):
        return np.asarray(image) - WEIGHTS.reshape(1, *SHAPE) / 4

    monkeypatch.setattr(audits, "search_of", lambda *_: search)
    for reach in (0.1249, 0.1251):
        claimed = reach / audits.INSIDE[dtype]
        monkeypatch.setattr(audits, "_certified", lambda *_, r=claimed: {0: r})
        config = SimpleNamespace(certify=SimpleNamespace(radii=(1e-3,)))
        asked = dict(name="pgd", dtype=dtype, steps=1, workdir=tmp_path)
        certifier = audits.attacker_of(config, linear("l2"), None, **asked)
        distance = certified(certifier, MIDDLE).distance[0]
        if reach < 0.125:
            assert np.isnan(distance)
        else:
            np.testing.assert_allclose(distance, reach, rtol=1e-6)
            assert distance < claimed
