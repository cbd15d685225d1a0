"""What a certificate grants the float64 forward pass, against exact rational arithmetic."""

from __future__ import annotations

from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcert.certificates import interval, lipschitz
from jaxcert.diffusion import lipschitz as diffusion
from jaxcert.interfaces import Network
from jaxcert.models import dist_net, lip_convnet
from jaxcert.ops import margins

KEY = jax.random.key(2)
SETTINGS = dict(num_classes=3, mean=(0.5,), std=0.5)
exact = np.vectorize(Fraction, otypes=[object])


def orthogonal_network(huge):
    """1x1 layers alone; the head's bias cancels that of the first layer."""
    model = lip_convnet.make(image_shape=(2, 2, 1), stages=1, blocks=1, **SETTINGS)
    params, state = jax.jit(model.init)(KEY)
    bias = params["conv1_0"]["bias"]
    bias = huge * np.random.default_rng(0).uniform(-1, 1, bias.shape)
    params["conv1_0"]["bias"] = bias.astype(np.float32)
    middle = jax.jit(model.apply)(params, state, np.full((1, 2, 2, 1), 0.5))[0][0]
    params["last"]["bias"] = params["last"]["bias"] - np.asarray(middle)

    def forward(params, state, x):
        def layer(name, x):
            q, bias = state["prepared"][name]["q"].re[0], params[name]["bias"]
            return x @ exact(q).T + exact(bias)

        first, second = np.split(layer("conv1_0", x), 2, axis=1)
        x = np.concatenate([np.maximum(first, second), np.minimum(first, second)], 1)
        return layer("last", x)

    return Network(model, params, state), forward


def distance_network(huge):
    """The mean shift takes the first layer's weights away again."""
    model = dist_net.make(image_shape=(2, 2, 1), depth=2, width=6, **SETTINGS)
    params, state = jax.jit(model.init)(KEY)
    first = params["dist_0"]
    first["kernel"] = first["kernel"] + np.float32(huge)
    state["mean_shift"]["shift_0"]["mean"] = np.full(6, huge, np.float32)

    def forward(params, state, x):
        def distance(name, x):
            kernel = exact(params[name]["kernel"])
            return abs(x[:, :, None] - kernel).max(1)

        x = distance("dist_0", x) - exact(state["mean_shift"]["shift_0"]["mean"])
        f = -(distance("last", x) + exact(params["bias"]))
        return exact(params["scale"]) * f

    return Network(model, params, state), forward


@pytest.mark.parametrize(
    "huge",
    [0.0, 1.0, *(pytest.param(h, marks=pytest.mark.slow) for h in (1e4, 1e11)), 1e18],
)
@pytest.mark.parametrize(
    "build, make",
    [
        (orthogonal_network, lipschitz.make),
        (distance_network, lipschitz.make),
        (distance_network, lambda net: interval.make(net, radii=(0.01,))),
    ],
    ids=["orthogonal", "distances", "distances, interval"],
)
def test_logit_slack_covers_the_rounding_of_the_forward_pass(build, make, huge):
    net, forward = build(huge)
    certifier = make(net)
    x = np.random.default_rng(1).uniform(0, 1, (8, 2, 2, 1))
    rows = certifier.certify(KEY, x, np.zeros(8, np.int32), np.arange(8))
    params, state = lipschitz.evaluated(net, None)
    normalised = (exact(x.reshape(8, -1)) - Fraction(1, 2)) * 2
    expected = forward(params, state, normalised)
    error = abs(exact(rows.logits) - expected).max()
    # far above: and yet without effect where nothing inside is huge
    slack = certifier.header["procedure"]["logit_slack"]
    assert 100 * error <= slack
    if huge <= 1:
        assert slack < 1e-7


@pytest.mark.parametrize("constant", [True, False], ids=["one constant", "matrix"])
@pytest.mark.parametrize("slack", [0.0, 3.1e-9, 0.07])
def test_radius_is_never_above_the_exact_value_of_its_evidence(constant, slack):
    rng = np.random.default_rng(3)
    logits = rng.normal(size=(150, 4)) * 10.0 ** rng.integers(-12, 3, (150, 1))
    close = np.nextafter(logits[:40, :1] * np.ones(4), np.inf)  # gaps of one unit
    close[:, 0] = logits[:40, 0]
    logits = np.concatenate([logits, close, logits[:40] + 1e6])
    bound = rng.uniform(0.1, 9, (4, 4))
    pairwise = np.full((4, 4), 1.7) if constant else bound + bound.T
    y = logits.argmax(1)
    radius = margins.proven_radius(logits, pairwise, y, slack)
    for z, r, own in zip(logits, radius, y, strict=True):
        exactly = min(
            (Fraction(z[own]) - Fraction(z[j]) - 2 * Fraction(slack))
            / Fraction(pairwise[own, j])
            for j in range(4)
            if j != own
        )
        assert 0 <= Fraction(r) <= max(exactly, 0)
        if exactly > 0:  # and hardly below
            units = float(np.abs(z).max() + slack) * 1e-15 / pairwise[own].min()
            assert exactly - Fraction(r) <= Fraction(units) + exactly * Fraction(
                1, 10**14
            )


def test_radius_where_nothing_or_everything_is_proven():
    z, y = np.array([[1.0, 0.0]]), np.array([0])

    def of(bound, slack=0.0):
        return margins.proven_radius(z, np.full((2, 2), bound), y, slack)[0]

    assert of(np.inf) == of(np.nan) == of(1.0, np.inf) == of(1.0, 0.5) == 0
    assert np.isfinite(of(0.0)) and of(0.0) > 1e300


def test_radius_of_diffusion_classifiers_is_never_above_the_exact_value():
    rng = np.random.default_rng(4)
    lower = rng.uniform(0, 1, (200, 3)) * 10.0 ** rng.integers(-9, 1, (200, 1))
    for bounds, r in zip(lower, diffusion.radius(lower, 3.7), strict=True):
        assert 0 < Fraction(r) <= Fraction(bounds.min()) / Fraction(3.7)


def test_interval_keeps_the_least_margin_of_every_radius_and_looks_at_the_whole_box():
    model = dist_net.make(image_shape=(2, 2, 1), depth=2, width=6, **SETTINGS)
    params, state = jax.jit(model.init)(KEY)
    tried = (0.004, 0.02, 0.06, 0.9)
    certifier = interval.make(Network(model, params, state), radii=(*tried, 0.0))
    x = np.random.default_rng(1).uniform(0, 1, (8, 2, 2, 1))
    c = certifier.certify(KEY, x, np.zeros(8, np.int32), np.arange(8))
    slack = certifier.header["procedure"]["logit_slack"]
    assert c.least_margins.shape == (8, 4)
    assert 0 < (c.radius > 0).sum() and len(np.unique(c.radius)) > 1
    params, state = lipschitz.evaluated(Network(model, params, state), None)
    with jax.enable_x64(True):
        for j, r in enumerate(tried):
            if np.isnan(c.least_margins[:, j]).all():  # no row got so far
                assert not (c.radius == tried[j - 1]).any()
                continue
            low, high = np.clip(x - r, 0, 1), np.clip(x + r, 0, 1)
            found = model.interval_margins(params, state, low, high, c.predicted)
            found = np.array(found)
            found[np.arange(8), c.predicted] = np.inf
            least = found.min(1)
            np.testing.assert_allclose(c.least_margins[:, j], least, atol=1e-12)
            assert ((c.radius >= r) <= (least > 2 * slack - 1e-12)).all()


@pytest.mark.parametrize("pixel", [np.nan, np.inf, -np.inf])
def test_a_pixel_that_a_rectifier_hides_is_no_logit(pixel):
    def hides(params, state, x):
        return jnp.where(jnp.isfinite(x), x, 0.0).sum((1, 2)), state

    x = np.full((3, 2, 2, 3), 0.5, np.float32)
    x[1, 0, 1, 2] = pixel
    logits = lipschitz.logits_of(hides, None, None, x)
    np.testing.assert_array_equal(logits, [[2.0] * 3, [np.nan] * 3, [2.0] * 3])
