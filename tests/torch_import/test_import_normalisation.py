"""mean and std are in no state dict: whose they are is never taken for granted."""

from __future__ import annotations

import ast
import re
import shlex

import jax
import numpy as np
import originals
import pytest
from refusals import names, tells
from test_wrapping import LIP, network

from jaxcert import config as configs
from jaxcert import import_torch
from jaxcert.data import normalisation
from jaxcert.errors import InputError
from jaxcert.import_torch import network_of
from jaxcert.torch_import import dist_net, lip_convnet, resnet, wide_resnet

SHAPE = (8, 8, 3)
RESNET = dict(width=2, num_classes=43, shortcut="conv")
DIST = dict(depth=3, width=6, num_classes=43, hidden=0, learn_scale=True)
LIP_NET = LIP | dict(stages=3, num_classes=43, head="lln", residual=False)

OTHERS = {  # of 43 classes
    "resnet": lambda: resnet._shapes((1, 1, 1), resnet.CIFAR, RESNET, SHAPE),
    "resnet50": lambda: resnet._shapes((1, 1), resnet.IMAGENET, RESNET, SHAPE),
    "resnet18": lambda: resnet._shapes((1, 1), resnet.IMAGENET_BASIC, RESNET, SHAPE),
    "wide_resnet": lambda: wide_resnet._shapes(RESNET | dict(depth=10, widen=2), SHAPE),
    "dist_net": lambda: dist_net._shapes(DIST, SHAPE),
    "lip_convnet": lambda: lip_convnet._shapes(LIP_NET, SHAPE),
}


def state_of(name):
    state = originals.drawn(OTHERS[name]())
    return {n: abs(a) if n.endswith("var") else a for n, a in state.items()}


@pytest.mark.parametrize("name", OTHERS)
def test_other_classes_ask_for_their_normalisation(name):
    state, given = state_of(name), dict(image_shape=SHAPE)
    with pytest.raises(InputError, match=names("43 classes")) as refused:
        network_of(state, name, **given)
    said = str(refused.value)
    assert ("ImageNet" if name in ("resnet18", "resnet50") else "CIFAR-10") in said
    options = re.findall(r"(mean|std)=(\([\d.,]+\)|[\d.]+)", said)
    options = {key: ast.literal_eval(value) for key, value in options}
    assert set(options) == {"mean", "std"}
    network_of(state, name, **given, **options)
    for key in options:
        rest = {k: v for k, v in options.items() if k != key}
        with pytest.raises(InputError, match=names("43 classes", key)):
            network_of(state, name, **given, **rest)


def test_ten_classes_have_the_default():
    state, *_ = network("resnet")
    found = network_of(state, "resnet", image_shape=SHAPE)
    x = np.random.default_rng(0).uniform(size=(2, *SHAPE)).astype(np.float32)
    given = dict(mean=(0.4914, 0.4822, 0.4465), std=(0.2023, 0.1994, 0.2010))
    same = network_of(state, "resnet", image_shape=SHAPE, **given)
    logits = [jax.jit(n.model.apply)(*n[1:3], x)[0] for n in (found, same)]
    np.testing.assert_array_equal(*logits)


CONFIG = """
from jaxcert.config import base

def get_config(arg=""):
    config = base()
    config.model = dict(
        name="resnet", depth=8, width=2, image_shape=(8, 8, 3), num_classes=43
    )
    config.data.update(name="npz:nowhere")
    return config
"""


def test_the_command_asks_as_well(tmp_path):
    path, config = tmp_path / "model.npz", tmp_path / "mine.py"
    np.savez(path, **state_of("resnet"))
    config.write_text(CONFIG)
    command = f"--state {path} --config {config} --workdir {tmp_path / 'new'}"
    with pytest.raises(InputError) as refused:
        import_torch.main(shlex.split(command))
    options = re.findall(r"--config.model.\w+='[^']+'", str(refused.value))
    assert len(options) == 2
    import_torch.main(shlex.split(f"{command} {' '.join(options)}"))
    model = configs.read(tmp_path / "new").model
    assert (model.mean, model.std) == ((0.0,) * 3, (1.0,) * 3)


def test_a_shipped_config_says_whose_it_has(capsys, tmp_path):
    """Once, where the network's classes are not those of its data set."""
    normalisation._warn.cache_clear()
    path = tmp_path / "model.npz"
    np.savez(path, **state_of("resnet"))
    command = f"--state {path} --config configs/smoothing/cifar10.py --workdir "
    command += f"{tmp_path / 'new'} --config.model.depth=8 --config.model.width=2 "
    command += "--config.model.num_classes=43 --config.model.image_shape=(8,8,3)"
    import_torch.main(command.split())
    said = [line for line in capsys.readouterr().err.splitlines() if "mean" in line]
    assert len(said) == 1
    of_cifar = "(0.4914, 0.4822, 0.4465)", "(0.2023, 0.1994, 0.201)", "CIFAR-10"
    assert tells(said[0], "warning", "43 classes", *of_cifar, "--config.model.mean")
