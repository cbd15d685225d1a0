"""Wide ResNets and ResNets of basic blocks for ImageNet: the imported networks give the logits of
independent forms in NumPy and, where PyTorch is installed, of PyTorch's own."""

from __future__ import annotations

import jax
import numpy as np
import originals
import pytest
from refusals import names

from jaxcert.errors import InputError
from jaxcert.import_torch import network_of
from jaxcert.models import resnet, resnet18, wide_resnet
from jaxcert.torch_import import resnet as resnet_import
from jaxcert.torch_import import resnet18 as resnet18_import
from jaxcert.torch_import import wide_resnet as wide_import

SHAPE = (8, 8, 3)
MEAN, STD = (0.5, 0.4, 0.45), (0.25, 0.2, 0.3)
WIDE = dict(depth=16, widen=2, width=3, num_classes=5)
BASIC = dict(stages=(2, 1), width=4, num_classes=5)


def state_of(shapes):
    """float64 tensors of these shapes, variances above 0; scales near 1."""
    found = {k: a.astype(np.float64) for k, a in originals.drawn(shapes).items()}
    return {
        name: abs(a) + 0.5 if name.endswith("var") else a for name, a in found.items()
    }


def wide_state():
    return state_of(wide_import._shapes(WIDE, SHAPE))


def basic_state():
    facts = {k: v for k, v in BASIC.items() if k != "stages"}
    given = BASIC["stages"], resnet_import.IMAGENET_BASIC, facts
    return state_of(resnet_import._shapes(*given, SHAPE))


class Plain:
    """Layers of PyTorch on [B,C,H,W], by the names of a state dict."""

    def __init__(self, state):
        self.state = state

    def conv(self, x, name, stride=1):
        kernel = self.state[f"{name}.weight"]
        size = kernel.shape[-1]
        pad = (size - 1) // 2
        x = np.pad(x, [(0, 0), (0, 0), (pad, pad), (pad, pad)])
        windows = np.lib.stride_tricks.sliding_window_view(x, (size, size), (2, 3))
        return np.einsum("bchwij,ocij->bohw", windows[:, :, ::stride, ::stride], kernel)

    def norm(self, x, name):
        scale, shift, mean, var = (
            self.state[f"{name}.{leaf}"][:, None, None]
            for leaf in ("weight", "bias", "running_mean", "running_var")
        )
        return (x - mean) / np.sqrt(var + 1e-5) * scale + shift

    def head(self, x):
        return x.mean((2, 3)) @ self.state["fc.weight"].T + self.state["fc.bias"]


def relu(x):
    return np.maximum(x, 0)


def wide(state, x):
    """WRN-d-k as TRADES has it."""
    net = Plain(state)
    x = net.conv(x, "conv1")
    for s in (1, 2, 3):
        for i in range(WIDE["depth"] // 6):
            name, stride = f"block{s}.layer.{i}", 2 if s > 1 and i == 0 else 1
            active = relu(net.norm(x, f"{name}.bn1"))
            y = relu(net.norm(net.conv(active, f"{name}.conv1", stride), f"{name}.bn2"))
            if f"{name}.convShortcut.weight" in state:
                x = net.conv(active, f"{name}.convShortcut", stride)
            x = x + net.conv(y, f"{name}.conv2")
    return net.head(relu(net.norm(x, "bn1")))


def basic(state, x):
    """torchvision's ResNet of basic blocks."""
    net = Plain(state)
    x = relu(net.norm(net.conv(x, "conv1", 2), "bn1"))
    x = np.pad(x, [(0, 0), (0, 0), (1, 1), (1, 1)])  # of no value below 0
    windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), (2, 3))
    x = windows[:, :, ::2, ::2].max((4, 5))
    for s, blocks in enumerate(BASIC["stages"], start=1):
        for i in range(blocks):
            name, stride = f"layer{s}.{i}", 2 if s > 1 and i == 0 else 1
            y = relu(net.norm(net.conv(x, f"{name}.conv1", stride), f"{name}.bn1"))
            y = net.norm(net.conv(y, f"{name}.conv2"), f"{name}.bn2")
            if f"{name}.downsample.0.weight" in state:
                x = net.conv(x, f"{name}.downsample.0", stride)
                x = net.norm(x, f"{name}.downsample.1")
            x = relu(x + y)
    return net.head(x)


NETWORKS = {
    "wide_resnet": (wide_state, wide, WIDE),
    "resnet18": (basic_state, basic, BASIC),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_imported_network_gives_the_logits_of_another_form(x64, monkeypatch, name):
    monkeypatch.setattr(resnet, "_form", lambda block: "loop")  # compiles in a second
    make, other, facts = NETWORKS[name]
    state = make()
    network = network_of(state, name, image_shape=SHAPE, mean=MEAN, std=STD)
    # what the arrays show is what the network was made of
    assert network.model.num_classes == facts["num_classes"]
    image = np.random.default_rng(0).random((2, *SHAPE))
    x = ((image - MEAN) / STD).transpose(0, 3, 1, 2)
    params, means = jax.tree.map(lambda a: np.asarray(a, np.float64), network[1:3])
    exact = {k: np.float32(a).astype(np.float64) for k, a in state.items()}
    _, apply, prepare, *_ = network.model
    found = jax.jit(lambda p, s, x: apply(p, prepare(p, s), x)[0])(params, means, image)
    np.testing.assert_allclose(found, other(exact, x), rtol=1e-9)


@pytest.mark.parametrize(
    "make, count",
    [
        (wide_resnet.make, 36_479_194),
        (lambda: resnet18.make((3, 4, 6, 3)), 21_797_672),
    ],
    ids=["WRN-28-10", "ResNet-34"],
)
def test_parameters_are_as_many_as_published(make, count):
    params, _ = jax.eval_shape(make().init, jax.random.key(0))
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == count


def test_every_tensor_is_needed_and_looked_at():
    small = dict(depth=10, widen=4, width=2, num_classes=3)
    for convert, shapes in (
        (wide_import.convert_state_dict, wide_import._shapes(small, SHAPE)),
        (
            resnet18_import.convert_state_dict,
            resnet_import._shapes(
                (1, 1), resnet_import.IMAGENET_BASIC, BASIC | dict(width=2), SHAPE
            ),
        ),
    ):
        arrays = {k: np.float32(a) for k, a in state_of(shapes).items()}
        originals.check_refusals(lambda a, convert=convert: convert(a, SHAPE), arrays)


def test_other_networks_are_refused():
    state = wide_state()
    with pytest.raises(InputError, match=names("block1.layer.0.conv1.weight", 6, 4)):
        network_of(state | {"conv1.weight": np.zeros((4, 3, 3, 3))}, "wide_resnet")
    with pytest.raises(InputError, match="fc.weight|conv1|layer"):
        network_of(basic_state(), "wide_resnet", image_shape=SHAPE)
    with pytest.raises(InputError, match=names("layer1.0.conv3.weight")):
        network_of(basic_state(), "resnet50", image_shape=SHAPE)
    for depth in (9, 12, 4):
        with pytest.raises(InputError, match=names("depth", depth, "6n + 4")):
            wide_resnet.make(depth)


@pytest.mark.parametrize("name", NETWORKS)
def test_imported_network_gives_the_logits_of_pytorch(x64, monkeypatch, name):
    torch = pytest.importorskip("torch")
    import torch_resnet

    monkeypatch.setattr(resnet, "_form", lambda block: "loop")
    if name == "wide_resnet":
        module = torch_resnet.WideResNet(**WIDE)
    else:
        sizes = BASIC["stages"], BASIC["width"], BASIC["num_classes"]
        module = torch_resnet.ResNet(*sizes, bottleneck=False, large=True)
    module = torch_resnet.randomized(module).double().eval()
    network = network_of(module, name, image_shape=SHAPE, mean=MEAN, std=STD)
    params, means = jax.tree.map(lambda a: np.asarray(a, np.float64), network[1:3])
    image = np.random.default_rng(0).random((3, *SHAPE))
    x = torch.tensor(((image - MEAN) / STD).transpose(0, 3, 1, 2))
    with torch.no_grad():
        wanted = module(x).numpy()
    found = jax.jit(network.model.apply)(params, means, image)[0]
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)
