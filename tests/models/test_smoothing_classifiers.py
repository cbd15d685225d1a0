"""The small classifiers of smoothing against the original networks."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from conftest import Golden, close, golden_each, golden_files
from refusals import names
from torch_names import generated, plain_place, tensor, to_trees

from jaxcert.errors import InputError
from jaxcert.models import lenet, small_cnn

CIFAR_MEAN, CIFAR_STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)


def _nhwc(x):
    return np.asarray(x, np.float64).transpose(0, 2, 3, 1)


@pytest.mark.golden("smoothing")
@golden_each("smoothing", "tinynet*_forward*.npz")
def test_small_cnn_is_the_original(x64, file):
    files = golden_files("smoothing", "tinynet*.npz")
    weights = Golden(next(path for path in files if "forward" not in path.stem))
    golden = Golden(file)
    x = _nhwc(golden["x"])
    model = small_cnn.make(
        num_classes=len(weights["fc.bias"]),
        image_shape=x.shape[1:],
        width=len(weights["conv1.weight"]),
        mean=CIFAR_MEAN,
        std=CIFAR_STD,
    )
    params, state = to_trees(weights, plain_place)
    logits, same = jax.jit(model.apply)(params, state, x)
    close(logits, golden["logits_eval"])
    jax.tree.map(np.testing.assert_array_equal, same, state)
    logits, after = jax.jit(lambda x: model.apply(params, state, x, train=True))(x)
    close(logits, golden["logits_train"])
    for name in golden:
        if name.startswith("after/"):
            ours = tensor(params, after, name[6:], plain_place, golden[name].ndim)
            np.testing.assert_allclose(ours, golden[name], rtol=1e-9, err_msg=name)
    assert golden.unread("y") == []


@pytest.mark.golden("smoothing")
@golden_each("smoothing", "lenet*.npz")
def test_lenet_is_the_original(file, x64):
    golden = Golden(file)
    weights = generated(golden["names"], golden["shapes"], golden["seed"])
    sums = [w.sum(dtype=np.float64) for w in weights.values()]
    np.testing.assert_allclose(
        sums[: len(golden["checksum"])], golden["checksum"], rtol=1e-9
    )
    channels = len(weights["conv2.weight"])
    fc1 = weights["fc1.weight"]  # its inputs are (C, H, W) there and (H, W, C) here
    side = int(np.sqrt(fc1.shape[1] // channels))
    weights["fc1.weight"] = (
        fc1.reshape(-1, channels, side, side).transpose(0, 2, 3, 1).reshape(fc1.shape)
    )
    x = _nhwc(golden["x"])
    model = lenet.make(num_classes=len(weights["fc2.bias"]), image_shape=x.shape[1:])
    params, state = to_trees(weights, plain_place)
    logits, _ = jax.jit(model.apply)(params, state, x)
    close(logits, golden["logits_eval"])
    assert golden.unread() == []


def test_lenet_has_the_parameters_of_its_description():
    params, state = jax.eval_shape(lenet.make().init, jax.random.key(0))
    shapes = {k: v["kernel"].shape for k, v in params.items()}
    assert shapes == {
        "conv1": (5, 5, 1, 20),
        "conv2": (5, 5, 20, 50),
        "fc1": (800, 500),
        "fc2": (500, 10),
    }
    assert state == {}


def test_lenet_refuses_images_that_vanish():
    with pytest.raises(InputError, match=names("16x16", "(8, 8)")):
        lenet.make(image_shape=(8, 8, 1))


def test_small_cnn_refuses_a_normalisation_of_other_channels():
    with pytest.raises(InputError, match=names("mean", "std", 3)):
        small_cnn.make(image_shape=(8, 8, 3))
