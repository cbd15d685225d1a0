"""What a certificate grants the float64 forward pass, against exact rational arithmetic."""

from __future__ import annotations

from fractions import Fraction

import jax
import numpy as np
import pytest

from jaxcert.certificates import interval, lipschitz
from jaxcert.interfaces import Network
from jaxcert.models import dist_net, lip_convnet

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
