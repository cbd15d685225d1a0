"""Points beside boundaries: where they lie, and what is counted of them."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from benchmarks import boundaries
from docs import tables
from jaxcert import random_keys
from jaxcert.interfaces import Network
from jaxcert.models import lip_convnet


def test_points_lie_on_both_sides_of_a_boundary():
    """x_0 = 1/2 is that of this classifier."""

    def classes(x):
        return (x[:, 0, 0, 0] > 0.5).astype(int)

    images = np.random.default_rng(1).random((9, 2, 2, 1))
    points = boundaries.beside(classes, images, 8)
    assert points.dtype == np.float32 and points.shape == (16, 2, 2, 1)
    assert (np.abs(points[:, 0, 0, 0] - 0.5) < boundaries.WITHIN).all()
    assert classes(points).sum() == 8
    assert (np.ptp(points[:, 1], axis=0) > 0.1).all()  # different lines


@pytest.mark.slow
def test_the_predictor_never_names_another_class_and_float32_does():
    model = lip_convnet.make(
        image_shape=(4, 4, 1), num_classes=4, stages=2, width=2, mean=(0.5,)
    )
    network = Network(model, *jax.jit(model.init)(random_keys.key(1)))
    images = np.random.default_rng(0).random((40, 4, 4, 1))
    found = boundaries.measure(network, images, 30)
    assert found["points"] == 60 and found["predictor_other"] == 0
    assert 0 < found["logit_slack"] < found["logits_differ"] < 1e-4
    assert 0 <= found["abstained"] < 60


def test_the_table_states_the_counts():
    result = dict(points=600, within=1e-5, float32_other=66, abstained=6)
    result |= dict(predictor_other=0, logits_differ=1.2e-5, logit_slack=4.4e-8)
    head, line, row = tables.boundaries(result).splitlines()
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells == ["600", "1.2e-05", "66", "0", "6"] and head.count("|") == 6
