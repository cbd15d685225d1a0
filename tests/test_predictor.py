"""The predictor runs the function that was certified: at points beside boundaries, where the
float32 network names other classes, and under the largest error that a logit may have."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxcert
from jaxcert import random_keys
from jaxcert.certificate import Certificates
from jaxcert.certificates import interval, lipschitz
from jaxcert.interfaces import Certifier, Network
from jaxcert.models import dist_net, lip_convnet

SHAPE, CLASSES, SIZE = (4, 4, 1), 4, 32
NETWORKS = {
    "lipschitz": (
        lambda: lip_convnet.make(
            image_shape=SHAPE, num_classes=CLASSES, stages=2, width=2, mean=(0.5,)
        ),
        {},
    ),
    "interval": (
        lambda: dist_net.make(
            image_shape=SHAPE, num_classes=CLASSES, width=8, depth=3, mean=(0.5,)
        ),
        dict(radii=tuple(np.geomspace(1e-6, 0.2, 12).tolist())),
    ),
}


@pytest.fixture(scope="module", params=NETWORKS)
def certified(request):
    """A network and the certifier of it."""
    make, settings = NETWORKS[request.param]
    model = make()
    network = Network(model, *jax.jit(model.init)(random_keys.key(1)))
    certify = {"lipschitz": lipschitz, "interval": interval}[request.param]
    return network, certify.make(network, **settings)


def classes(certifier, points):
    """Certified classes of at most SIZE points, by a program of one size."""
    padded = np.concatenate([points, np.zeros((SIZE - len(points), *SHAPE))])
    return jaxcert.certify_images(certifier, padded).predicted[: len(points)]


def beside_boundaries(certifier, steps: int):
    """Points float64 [P,2,H,W,C] on the lines between images of two classes, each pair as near to
    both sides of a boundary as `steps` bisections bring it."""
    one, other = np.random.default_rng(0).random((2, SIZE // 2, *SHAPE))
    own = classes(certifier, one)
    differ = own != classes(certifier, other)
    one, other, own = one[differ], other[differ], own[differ]
    assert len(one), "no two classes"
    for _ in range(steps):
        middle = (one + other) / 2
        keep = (classes(certifier, middle) == own)[:, None, None, None]
        one, other = np.where(keep, middle, one), np.where(keep, other, middle)
    return np.stack([one, other], 1)


def test_beside_boundaries_it_answers_the_certified_class_or_abstains(certified):
    network, certifier = certified
    predict = jaxcert.predictor(certifier)
    points = beside_boundaries(certifier, steps=22)
    points = points.reshape(-1, *SHAPE)
    proven = classes(certifier, points)
    said = np.array([predict(x).predicted for x in points])
    assert np.isin(said, [-1]).sum() < len(said) and (said >= -1).all()
    np.testing.assert_array_equal(said[said >= 0], proven[said >= 0])
    # what the network names in float32 is no part of the certificate
    prepared = jax.jit(network.model.prepare)(network.params, network.state)
    points = jnp.asarray(points, jnp.float32)
    short = jax.jit(network.model.apply)(network.params, prepared, points)[0]
    assert (np.asarray(short).argmax(1) != proven).any()


def test_on_a_boundary_it_abstains(certified):
    predict = jaxcert.predictor(certified[1])
    points = beside_boundaries(certified[1], steps=60)[:3]
    for one, other in points:
        assert predict(one) == predict(other) == (-1, 0.0, True)


SLACK = 1e-3


def of_margin(error):
    """A certifier of two classes whose margin is the first pixel minus 1/2, a function of
    constant 1; each logit is off by at most SLACK, in favour of class `error`."""

    def certify(key, image, label, index):
        margin = image[:, 0, 0, 0] - 0.5
        logits = np.stack([-margin / 2, margin / 2], 1)
        logits += SLACK * np.where(np.arange(2) == error, 1, -1)
        top = logits.max(1) - logits.min(1) - 2 * SLACK
        rows = len(image)
        return Certificates(
            index=index,
            label=label,
            predicted=logits.argmax(1),
            radius=np.maximum(top, 0.0),
            n=np.ones(rows, int),
            seconds=np.zeros(rows),
            logits=logits,
            header=dict(procedure=dict(name="margin", logit_slack=SLACK)),
        )

    return Certifier(dict(alpha=0), certify, image_shape=SHAPE)


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("then", [0, 1])
def test_no_error_of_the_logits_gives_another_class_within_a_radius(first, then):
    image = np.zeros(SHAPE)
    for pixel in (0.8, 0.51, 0.4999, 0.3):
        image[0, 0, 0] = pixel
        predicted, radius, abstained = jaxcert.predictor(of_margin(first))(image)
        if abstained:
            continue
        for share in (-1, -0.999, 0, 0.999, 1):
            moved = image.copy()
            moved[0, 0, 0] = np.clip(pixel + share * radius * (1 - 1e-12), 0, 1)
            said = jaxcert.predictor(of_margin(then))(moved)
            assert said.predicted in (predicted, -1)
            if share == 0 and abs(pixel - 0.5) > 5 * SLACK:
                assert said.predicted == predicted


def test_it_says_what_it_runs_in():
    assert "float64" in repr(jaxcert.predictor(of_margin(0)))
    smoothed = jaxcert.smooth(
        lambda x: x.sum((2, 3)), num_classes=CLASSES, sigma=0.25, n0=5, n=20
    )
    assert "float64" not in repr(jaxcert.predictor(smoothed))
    with jax.default_matmul_precision("highest"):
        assert "highest" in repr(jaxcert.predictor(smoothed))


def test_the_precision_of_products_stays_that_of_its_making():
    seen = []

    def f(x):
        seen.append(jax.config.jax_default_matmul_precision)
        return x.sum((2, 3))

    given = dict(num_classes=CLASSES, sigma=0.25, n0=5, n=20)
    with jax.default_matmul_precision("highest"):
        predict = jaxcert.predictor(jaxcert.smooth(f, **given))
    predict(np.zeros(SHAPE))
    assert seen and set(seen) == {"highest"}
