"""The ImageNet ResNet against the same network in PyTorch, at a size for tests."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import close
from refusals import names
from torch_names import resnet_place, tensor, to_trees

from jaxcert.errors import InputError
from jaxcert.models import resnet50

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
STAGES, WIDTH, CLASSES, SHAPE = (1, 2), 3, 5, (20, 22, 3)


def _tiny(**changes):
    sizes = dict(stages=STAGES, width=WIDTH, num_classes=CLASSES, image_shape=SHAPE)
    return resnet50.make(**sizes | changes)


def _loss(params, state, x, y):
    logits, state = _tiny().apply(params, state, x, train=True)
    picked = jnp.take_along_axis(jax.nn.log_softmax(logits), y[:, None], 1)
    return -picked.mean(), (logits, state)


@pytest.mark.slow
def test_every_array_is_that_of_torch(x64):
    torch = pytest.importorskip("torch")
    from torch_resnet import Normalize, ResNet, randomized

    network = ResNet(STAGES, WIDTH, CLASSES, bottleneck=True).double()
    network, normalize = randomized(network), Normalize(MEAN, STD)
    arrays = {
        name: array.numpy().copy()
        for name, array in network.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    params, state = to_trees(arrays, resnet_place)
    x = np.random.default_rng(0).random((4, *SHAPE))
    y = np.array([0, 4, 1, 1])
    given = normalize(torch.tensor(x.transpose(0, 3, 1, 2)))

    expected = network.eval()(given).detach()
    close(jax.jit(_tiny().apply)(params, state, x)[0], expected)
    prepared = jax.jit(_tiny().prepare)(params, state)
    close(jax.jit(_tiny().apply)(params, prepared, x)[0], expected)

    step = jax.jit(jax.value_and_grad(_loss, has_aux=True))
    (loss, (logits, after)), grads = step(params, state, x, y)
    expected = network.train()(given)
    expected_loss = torch.nn.functional.cross_entropy(expected, torch.tensor(y))
    expected_loss.backward()
    close(logits, expected.detach())
    close(loss, expected_loss.detach())
    for name, running in network.named_buffers():
        if not name.endswith("num_batches_tracked"):
            close(tensor(None, after, name, resnet_place, 1), running)
    for name, weight in network.named_parameters():
        ours = tensor(grads, {}, name, resnet_place, weight.ndim)
        close(ours, weight.grad)


def test_fifty_layers_have_25557032_parameters():
    params, _ = jax.eval_shape(resnet50.make().init, jax.random.key(0))
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == 25_557_032


def test_bfloat16_stays_inside():
    model = _tiny(dtype="bfloat16")

    def shapes(key):
        params, state = model.init(key)
        return model.apply(params, state, jnp.zeros((2, *SHAPE)), train=True)

    found = jax.eval_shape(shapes, jax.random.key(0))
    assert {leaf.dtype for leaf in jax.tree.leaves(found)} == {jnp.dtype("float32")}


@pytest.mark.parametrize(
    "wrong, fault",
    [
        (dict(stages=()), names("stages", "()")),
        (dict(stages=(3, 0)), names("stages", "(3, 0)")),
        (dict(dtype="float16"), names("model.dtype", "float16")),
        (dict(image_shape=(8, 8, 1)), names("mean", "std", 1)),
    ],
)
def test_network_that_does_not_exist_is_refused(wrong, fault):
    with pytest.raises(InputError, match=fault):
        resnet50.make(**wrong)
