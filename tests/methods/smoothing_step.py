"""The small network of the recorded steps, and what its gradients are compared with."""

from __future__ import annotations

import numpy as np
from conftest import Golden, golden_files
from torch_names import plain_place, tensor, to_trees

from jaxcert.models import small_cnn


def network(x):
    """(model, params, state) in float64, for the images x [B,C,H,W] of a file."""
    files = golden_files("smoothing", "tinynet*.npz")
    weights = Golden(next(path for path in files if "forward" not in path.stem))
    model = small_cnn.make(
        num_classes=len(weights["fc.bias"]),
        image_shape=(*x.shape[2:], x.shape[1]),
        width=len(weights["conv1.weight"]),
        mean=(0.4914, 0.4822, 0.4465),
        std=(0.2023, 0.1994, 0.2010),
    )
    return model, *to_trees(weights, plain_place)


def check_gradients(golden, grads, state):
    """Gradients, and statistics after the step; then no array is left unread.

    Relative to the largest entry of a tensor. A sum over images may cancel: what its terms
    lose is some 1e-12 of the largest gradient of the step."""
    names = [name for name in golden if name.startswith(("grad/", "after/"))]
    largest = max(np.abs(golden[n]).max() for n in names if n.startswith("grad/"))
    for name in names:
        inner, expected = name.partition("/")[2], golden[name]
        error = np.abs(
            tensor(grads, state, inner, plain_place, expected.ndim) - expected
        )
        lost = 1e-12 * largest if name.startswith("grad/") else 0.0
        assert error.max() <= 1e-9 * np.abs(expected).max() + lost, name
    assert golden.unread() == []
