"""CIFAR ResNets whose names are `linear` and `shortcut`, with shortcuts that pad (option A
of the paper) or project (option B): imported they give the logits of a NumPy form."""

from __future__ import annotations

import jax
import numpy as np
import originals
import pytest

from jaxcert import config as configs
from jaxcert import import_torch
from jaxcert.errors import InputError
from jaxcert.import_torch import network_of
from jaxcert.models import resnet
from tests.conftest import close
from tests.refusals import names

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SHAPE = (9, 9, 3)  # odd: strides round up


def state_dict(option, *, width=4, blocks=2, classes=10):
    """By the names of akamaster's resnet.py."""
    shapes, norms = {"conv1.weight": (width, 3, 3, 3)}, {"bn1": width}
    c_in = width
    for stage in range(3):
        for i in range(blocks):
            name, c_out = f"layer{stage + 1}.{i}", width * 2**stage
            shapes[f"{name}.conv1.weight"] = (c_out, c_in, 3, 3)
            shapes[f"{name}.conv2.weight"] = (c_out, c_out, 3, 3)
            norms |= {f"{name}.bn1": c_out, f"{name}.bn2": c_out}
            if c_in != c_out and option == "B":
                shapes[f"{name}.shortcut.0.weight"] = (c_out, c_in, 1, 1)
                norms[f"{name}.shortcut.1"] = c_out
            c_in = c_out
    for name, size in norms.items():
        for leaf in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"{name}.{leaf}"] = (size,)
    shapes |= {"linear.weight": (classes, c_in), "linear.bias": (classes,)}
    drawn = originals.drawn(shapes)
    drawn = {n: abs(a) if n.endswith("var") else a for n, a in drawn.items()}
    counts = {f"{n}.num_batches_tracked": np.array(7) for n in norms}
    return drawn | counts


def logits_of(state, image):
    """Of [B,H,W,C], in float64."""
    state = {name: array.astype(np.float64) for name, array in state.items()}

    def normed(x, name):
        weight, bias, mean, var = (
            state[f"{name}.{leaf}"].reshape(-1, 1, 1)
            for leaf in ("weight", "bias", "running_mean", "running_var")
        )
        return (x - mean) / np.sqrt(var + 1e-5) * weight + bias

    def conv(x, name, **how):
        return originals.conv(x, state[f"{name}.weight"], **how)

    x = np.moveaxis((image - np.array(MEAN)) / np.array(STD), -1, 1)
    x = np.maximum(normed(conv(x, "conv1", padding=1), "bn1"), 0)
    for stage in (1, 2, 3):
        i = 0
        while f"layer{stage}.{i}.conv1.weight" in state:
            name, stride = f"layer{stage}.{i}", 2 if stage > 1 and i == 0 else 1
            y = conv(x, f"{name}.conv1", stride=stride, padding=1)
            y = np.maximum(normed(y, f"{name}.bn1"), 0)
            y = normed(conv(y, f"{name}.conv2", padding=1), f"{name}.bn2")
            if f"{name}.shortcut.0.weight" in state:
                x = conv(x, f"{name}.shortcut.0", stride=stride)
                x = normed(x, f"{name}.shortcut.1")
            elif stride == 2:
                planes = y.shape[1]
                sides = (0, 0), (planes // 4, planes // 4), (0, 0), (0, 0)
                x = np.pad(x[:, :, ::2, ::2], sides)
            x, i = np.maximum(x + y, 0), i + 1
    return x.mean((2, 3)) @ state["linear.weight"].T + state["linear.bias"]


@pytest.mark.parametrize("option,shortcut", [("A", "pad"), ("B", "conv")])
def test_imported_network_is_the_original(x64, monkeypatch, option, shortcut):
    monkeypatch.setattr(resnet, "_form", lambda block: "loop")
    state = state_dict(option)
    prefixed = {f"module.{name}": array for name, array in state.items()}
    network = network_of(
        {"state_dict": prefixed, "best_prec1": 91.7},
        "resnet",
        image_shape=SHAPE,
        mean=MEAN,
        std=STD,
        shortcut=shortcut,
    )
    image = np.random.default_rng(0).uniform(size=(3, *SHAPE))
    params, kept = jax.tree.map(lambda a: a.astype(float), network[1:3])
    expected, logits = logits_of(state, image), jax.jit(network.model.apply)
    close(logits(params, kept, image)[0], expected)
    folded = network.model.prepare(params, kept)
    close(logits(params, folded, image)[0], expected)


@pytest.mark.parametrize("given,there", [("conv", "pad"), ("pad", "conv")])
def test_the_other_shortcut_is_refused(given, there):
    state = state_dict("A" if there == "pad" else "B")
    with pytest.raises(InputError, match=names(f"model.shortcut={there}", given)):
        network_of(state, "resnet", shortcut=given)


def test_parameters_are_those_of_the_paper():
    """He et al. (2016): 0.27M, 0.46M, 0.85M and 1.7M, to the last one as akamaster's."""

    def count(depth):
        model = resnet.make(depth=depth, shortcut="pad")
        params = jax.eval_shape(model.init, jax.random.key(0))[0]
        return sum(leaf.size for leaf in jax.tree.leaves(params))

    expected = {20: 269_722, 32: 464_154, 56: 853_018, 110: 1_727_962}
    assert {depth: count(depth) for depth in expected} == expected


def test_what_no_shortcut_can_be_is_refused():
    with pytest.raises(InputError, match=names("model.shortcut", "id")):
        resnet.make(depth=8, shortcut="id")
    with pytest.raises(InputError, match=names("pad", 3)):
        resnet.make(depth=8, width=3, shortcut="pad")


CONFIG = """
from jaxcert.config import base

def get_config(arg=""):
    config = base()
    config.model = dict(name="resnet", depth=14, width=4, image_shape=(9, 9, 3))
    config.data.update(name="npz:nowhere")
    return config
"""


def test_the_key_that_differs_can_be_given_on_the_command_line(tmp_path):
    """The config does not say it, but the network takes it."""
    path, config = tmp_path / "model.npz", tmp_path / "mine.py"
    np.savez(path, **state_dict("A"))
    config.write_text(CONFIG)
    command = ["--state", path, "--config", config, "--workdir", tmp_path / "new"]
    command = [str(word) for word in command]
    with pytest.raises(
        InputError, match=names("model.npz", "model.shortcut=pad", "conv")
    ):
        import_torch.main(command)
    import_torch.main([*command, "--config.model.shortcut=pad"])
    assert configs.read(tmp_path / "new").model.shortcut == "pad"
    with pytest.raises(
        InputError, match=names("--config.model.shortcuts", "shortcuts", "shortcut")
    ):
        import_torch.main([*command, "--config.model.shortcuts=pad"])
