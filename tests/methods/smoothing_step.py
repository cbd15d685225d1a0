"""The small network of the recorded steps, and what its gradients are compared with."""

from __future__ import annotations

import numpy as np
from conftest import Golden, golden_files
from torch_names import plain_place, tensor, to_trees

from jaxcert.models import small_cnn


def network():
    """(model, params, state) in float64."""
    weights = Golden(golden_files("smoothing", "tinynet.npz")[0])
    model = small_cnn.make(
        num_classes=len(weights["fc.bias"]),
        image_shape=(8, 8, 3),
        width=len(weights["conv1.weight"]),
        mean=(0.4914, 0.4822, 0.4465),
        std=(0.2023, 0.1994, 0.2010),
    )
    return model, *to_trees(weights, plain_place)


def check_gradients(golden, grads, state):
    """Gradients, and statistics after the step; then no array is left unread."""
    for name in golden:
        kind, _, inner = name.partition("/")
        if kind in ("grad", "after"):
            ours = tensor(grads, state, inner, plain_place, golden[name].ndim)
            np.testing.assert_allclose(
                ours, golden[name], rtol=1e-9, atol=1e-11, err_msg=name
            )
    assert golden.unread() == []
