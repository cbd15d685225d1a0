"""Checkpoints of the smoothing papers: imported they give the logits of the originals, and
a network of PyTorch is certified in five lines."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import originals
import pytest
from command_line import assert_words, end
from conftest import Golden, close, golden_files
from refusals import names, tells
from torch_names import generated, resnet_place, to_trees

from jaxcert import config as configs
from jaxcert import import_torch, sharding
from jaxcert.certificates import smoothing
from jaxcert.data import sources
from jaxcert.errors import InputError
from jaxcert.import_torch import network_of
from jaxcert.interfaces import Model, Network
from jaxcert.models import resnet
from jaxcert.torch_import import lenet, resnet50
from jaxcert.torch_import import workdir as imports
from jaxcert.torch_import.resnet import convert_state_dict
from jaxcert.workdirs import checkpoint

RESNET = dict(name="resnet", depth=8, image_shape=(32, 32, 3))
RESNETS = golden_files("smoothing", "cifar_resnet*.npz")
LENETS = golden_files("smoothing", "lenet*.npz")


def weights_of(file):
    """(state dict as its file would be, images [B,H,W,C], logits)"""
    found = Golden(file)
    if "names" in found:
        arrays = generated(found["names"], found["shapes"], found["seed"])
    else:
        arrays = {name: found[name] for name in found if name.startswith("1.")}
    x = found["x"].astype(np.float64).transpose(0, 2, 3, 1)
    return arrays, x, found["logits_eval"]


def model_of(arrays, image):
    """The section of a config, read off the arrays."""
    arrays = {name.removeprefix("1."): array for name, array in arrays.items()}
    facts = dict(image_shape=image.shape[1:])
    if "fc.bias" not in arrays:
        return dict(name="lenet", num_classes=len(arrays["fc2.bias"]), **facts)
    blocks = {name.split(".")[1] for name in arrays if name.startswith("layer1.")}
    facts |= dict(depth=6 * len(blocks) + 2, width=len(arrays["conv1.weight"]))
    # all are of the normalisation of CIFAR-10, whatever their classes
    facts |= dict(mean=(0.4914, 0.4822, 0.4465), std=(0.2023, 0.1994, 0.2010))
    return dict(name="resnet", num_classes=len(arrays["fc.bias"]), **facts)


def settings(workdir, **model):
    """A config for data that is not at hand."""
    config = configs.base()
    config.model = model
    config.data.update(name="cifar10", dir=str(workdir))
    return config


@pytest.mark.golden("smoothing")
@pytest.mark.parametrize("file", [*RESNETS, *LENETS], ids=lambda file: file.stem)
def test_imported_network_gives_the_originals_logits(
    x64, strict_shapes, tmp_path, monkeypatch, file
):
    monkeypatch.setattr(resnet, "_form", lambda block: "loop")  # compiles in a second
    arrays, image, logits = weights_of(file)
    model = model_of(arrays, image)
    path, workdir = tmp_path / "model.npz", tmp_path / "new"
    np.savez(path, **arrays)
    network = imports.import_torch(path, settings(tmp_path, **model), workdir)
    close(jax.jit(network.model.apply)(*network[1:3], image)[0], logits)
    found = checkpoint.load_network(
        network.model, workdir, mesh=sharding.data_mesh()
    ).network
    jax.tree.map(np.testing.assert_array_equal, found[1:3], network[1:3])


WRAPPED = {  # names of the network, and of a part in front of it
    "alone": ("", ()),
    "behind a normalisation": ("1.", ("0.", "0.mean")),
    "DataParallel": ("module.", ()),
    "DataParallel inside": ("1.module.", ("0.",)),
    "DataParallel outside": ("module.1.", ("module.0.",)),
}


@pytest.mark.golden("smoothing")
@pytest.mark.parametrize(
    "file",
    [file for file in RESNETS if "generated" not in file.stem],
    ids=lambda file: file.stem,
)
@pytest.mark.parametrize("prefix,empty", WRAPPED.values(), ids=WRAPPED)
def test_names_are_those_behind_any_wrapping(file, prefix, empty):
    arrays, image, _ = weights_of(file)
    assert any(name.endswith("num_batches_tracked") for name in arrays)
    given = {prefix + name.removeprefix("1."): a for name, a in arrays.items()}
    given |= dict.fromkeys(empty, np.empty(0))
    params, state, facts = convert_state_dict(given, image.shape[1:])
    expected_facts = model_of(arrays, image)
    arrays = {n: a for n, a in arrays.items() if "num_batches" not in n}
    expected = to_trees(arrays, resnet_place)
    jax.tree.map(np.testing.assert_array_equal, (params, state), expected)
    for name in ("name", "image_shape", "mean", "std"):
        expected_facts.pop(name)
    assert facts == expected_facts | {"shortcut": "conv"}  # its downsample.0


def test_a_normalisation_with_tensors_is_not_passed_over():
    arrays = tiny_resnet() | {"0.mean": np.zeros(3, np.float32)}
    with pytest.raises(InputError, match=names("0.mean", "1", "model.mean", "FILE:1")):
        convert_state_dict(arrays, (32, 32, 3))


def tiny_resnet():
    """Two basic blocks per stage of width 2, for three channels."""
    shapes, c_in = {"1.conv1.weight": (2, 3, 3, 3)}, 2
    norms = [("1.bn1", 2)]
    for stage in range(3):
        width = 2 * 2**stage
        for block in range(2):
            name = f"1.layer{stage + 1}.{block}"
            shapes[f"{name}.conv1.weight"] = (width, c_in, 3, 3)
            shapes[f"{name}.conv2.weight"] = (width, width, 3, 3)
            norms += [(f"{name}.bn1", width), (f"{name}.bn2", width)]
            if c_in != width:
                shapes[f"{name}.downsample.0.weight"] = (width, c_in, 1, 1)
                norms.append((f"{name}.downsample.1", width))
            c_in = width
    for name, width in norms:
        for leaf in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"{name}.{leaf}"] = (width,)
    drawn = originals.drawn(shapes | {"1.fc.weight": (5, c_in), "1.fc.bias": (5,)})
    return {n: abs(a) if n.endswith("running_var") else a for n, a in drawn.items()}


def tiny_lenet():
    shapes = {"conv1.weight": (20, 1, 5, 5), "conv1.bias": (20,)}
    shapes |= {"conv2.weight": (50, 20, 5, 5), "conv2.bias": (50,)}
    shapes |= {"fc1.weight": (500, 50), "fc1.bias": (500,)}
    return originals.drawn(shapes | {"fc2.weight": (3, 500), "fc2.bias": (3,)})


def test_every_tensor_is_needed_and_looked_at():
    arrays = {n.removeprefix("1."): a for n, a in tiny_resnet().items()}
    originals.check_refusals(lambda a: convert_state_dict(a, (8, 8, 3)), arrays)
    convert = lenet.convert_state_dict
    originals.check_refusals(lambda a: convert(a, (16, 16, 1)), tiny_lenet())


REFUSED = {
    "a variance below 0": (
        partial(network_of, model="resnet"),
        lambda: {
            n: -a if n == "1.layer2.0.bn2.running_var" else a
            for n, a in tiny_resnet().items()
        },
        names("layer2.0.bn2.running_var", 0, "variance"),
    ),
    "one channel": (
        partial(network_of, model="resnet", image_shape=(8, 8, 1)),
        tiny_resnet,
        names("conv1.weight", "model.image_shape", "(8, 8, 1)"),
    ),
    "another size": (
        partial(network_of, model="lenet"),
        tiny_lenet,
        names("fc1.weight", "model.image_shape", "(28, 28, 1)"),
    ),
    "bottleneck blocks": (
        partial(network_of, model="resnet50"),
        tiny_resnet,
        names("lacks", "layer1.0.conv3.weight", "ImageNet ResNet"),
    ),
    "other settings": (
        partial(network_of, model="resnet", depth=20, width=2),
        tiny_resnet,
        names("model.depth=14", 20),
    ),
    "unknown settings": (
        partial(network_of, model="resnet", dept=14),
        tiny_resnet,
        names("resnet", "'dept'", "depth"),
    ),
    "unknown network": (
        partial(network_of, model="small_cnn"),
        tiny_resnet,
        names("model.name", "'small_cnn'", "bronet", "resnet50"),
    ),
    "no arrays": (
        partial(network_of, model="resnet"),
        lambda: {"epoch": 90, "state_dict": {}},
        names("lacks", "fc.weight"),
    ),
}


@pytest.mark.parametrize("make,arrays,words", REFUSED.values(), ids=REFUSED)
def test_what_is_no_such_network_is_refused(make, arrays, words):
    with pytest.raises(InputError) as refused:
        make(arrays())
    assert_words(words, str(refused.value))


def test_tensors_that_numpy_cannot_read_are_refused_by_name():
    torch = pytest.importorskip("torch")
    for tensor in (
        torch.ones(2, dtype=torch.bfloat16),
        torch.ones(2, device="meta"),
        torch.ones(2, requires_grad=True),
    ):
        with pytest.raises(InputError, match=names("fc.weight", "CPU")):
            network_of({"fc.weight": tensor}, "resnet")


CONFIG = """
from jaxcert.config import base

def get_config(arg=""):
    config = base()
    config.model = dict(name="resnet", depth={depth}, width=2, num_classes=5)
    config.model.update(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    config.data.update(name="npz:nowhere")
    return config
"""


@pytest.mark.parametrize("depth", [14, 110])
def test_command_takes_the_config_it_was_trained_with(capsys, tmp_path, depth):
    path, config = tmp_path / "model.npz", tmp_path / "mine.py"
    np.savez(path, **tiny_resnet())
    config.write_text(CONFIG.format(depth=depth))
    given = "--state", path, "--config", config, "--workdir", tmp_path / "new"
    status, said = end(capsys, import_torch, *given)
    if depth == 14:
        assert (status, said) == (0, "")
        assert configs.read(tmp_path / "new").model.depth == 14
    else:
        assert status == 2 and tells(said, "model.depth=14", 110)


def test_bottleneck_network_has_each_tensor_in_its_place():
    torch = pytest.importorskip("torch")
    from torch_resnet import Normalize, ResNet, randomized

    stages, width, shape = (1, 3), 2, (32, 32, 3)
    inner = ResNet(stages, width, 5, bottleneck=True)
    wrapped = torch.nn.DataParallel(inner, device_ids=[])
    model = torch.nn.Sequential(Normalize((0.5,) * 3, (0.5,) * 3), randomized(wrapped))
    tensors = model.state_dict()
    assert "1.module.layer1.0.downsample.0.weight" in tensors
    arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
    params, state, facts = resnet50.convert_state_dict(arrays, shape)
    assert facts == dict(stages=stages, width=width, num_classes=5)
    inner = {
        name.removeprefix("1.module."): a
        for name, a in arrays.items()
        if not name.endswith("num_batches_tracked")
    }
    expected = to_trees(inner, resnet_place, np.float32)
    jax.tree.map(np.testing.assert_array_equal, (params, state), expected)
    built = network_of(
        tensors, "resnet50", image_shape=shape, mean=(0.5,) * 3, std=(0.5,) * 3
    )
    assert jax.tree.map(np.shape, built[1:3]) == jax.tree.map(np.shape, expected)


FIVE_LINES = """
network = network_of(torch_model.state_dict(), "resnet", mean=MEAN, std=STD)
certifier = smoothing.make(network, sigma=0.25, n0=20, n=200, alpha=0.001)
test = sources.open(NAME, "test")
image, label, index = test.image[:8], test.label[:8], range(8)
rows = certifier.certify(jax.random.key(0), image, label, index)
"""


def test_a_network_of_pytorch_is_certified_in_five_lines(tmp_path):
    torch = pytest.importorskip("torch")
    from torch_resnet import Normalize, ResNet, randomized

    mean, std = (0.5, 0.4, 0.45), (0.25, 0.2, 0.3)
    model = randomized(ResNet((1, 1, 1), 4, 3, bottleneck=False))
    torch_model = torch.nn.Sequential(Normalize(mean, std), model).eval()
    image = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3), np.uint8)
    for split in ("train", "test"):
        np.savez(tmp_path / f"{split}.npz", image=image, label=np.arange(8) % 3)
    names = dict(torch_model=torch_model, MEAN=mean, STD=std, NAME=f"npz:{tmp_path}")
    names |= dict(network_of=network_of, smoothing=smoothing, sources=sources, jax=jax)
    exec(FIVE_LINES, names)

    x = np.float32(image / 255).transpose(0, 3, 1, 2)
    network, rows = names["network"], names["rows"]
    logits = jax.jit(network.model.apply)(*network[1:3], x.transpose(0, 2, 3, 1))[0]
    with torch.no_grad():
        np.testing.assert_allclose(
            logits, torch_model(torch.tensor(x)), rtol=1e-4, atol=1e-4
        )
        noise = torch.randn(400, 1, *x.shape[1:], generator=torch.manual_seed(0))
        votes = [torch_model(torch.tensor(x) + 0.25 * n).argmax(1) for n in noise]
    share = (torch.stack(votes).numpy()[..., None] == np.arange(3)).mean(0)
    # 5 standard errors of the difference of 400 and 200 votes
    np.testing.assert_allclose(
        rows.counts / 200, share, atol=5 * 0.5 * (1 / 400 + 1 / 200) ** 0.5
    )
    assert (rows.radius > 0).any()


@pytest.mark.parametrize("sigma", [0.0, 0.1])
@pytest.mark.parametrize("shift", [0, 1])
def test_network_that_is_right_by_chance_under_noise_is_warned_of(
    recwarn, sigma, shift
):
    """The class of the nearest test image, or the next one."""
    test = sources.open("digits", "test")
    known = jnp.asarray(test.image / np.float32(255)).reshape(797, 64)
    vote = jnp.asarray((test.label + shift) % 10)

    def apply(params, state, x, train=False):
        distance = ((x.reshape(-1, 1, 64) - known) ** 2).sum(2)
        return jax.nn.one_hot(vote[distance.argmin(1)], 10), state

    model = Model(None, apply, None, num_classes=10, image_shape=(8, 8, 1))
    config = configs.base()
    if sigma:
        config.certify.sigma = sigma
    imports._look(Network(model, {}, {}), config)
    said = [str(w.message) for w in recwarn if w.category is UserWarning]
    warned = sigma > 0 and shift == 1
    assert len(said) == warned
    assert all(tells(text, "0 of 16", "sigma", 0.1, "chance") for text in said)


def test_what_is_no_state_dict_is_named():
    with pytest.raises(
        InputError, match=names("network_of", "Module", "torch_model.state_dict")
    ):

        class Module:
            pass

        network_of(Module(), "resnet")
