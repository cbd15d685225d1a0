"""Checkpoints of EDM: each tensor has its place, and what is none is refused."""

from __future__ import annotations

import jax
import numpy as np
import originals
import pytest
from command_line import assert_words, end

from jaxcert import config as configs
from jaxcert import import_torch
from jaxcert.data import sources
from jaxcert.errors import InputError
from jaxcert.import_torch import network_of
from jaxcert.models import edm_unet as model
from jaxcert.torch_import.edm_unet import convert_state_dict, tensors
from jaxcert.training import checkpoint, sharding
from tests.conftest import Golden, golden_files

SHAPES = {
    "songunet_ddpmpp_tiny": (8, 8, 3),
    "songunet_grey_tiny": (8, 8, 1),
    "songunet_ncsnpp_tiny": (8, 8, 3),
    "dhariwal_adm_tiny": (8, 8, 3),
}
FACTS = {
    "songunet_ddpmpp_tiny": dict(
        kind="ddpmpp",
        num_classes=5,
        width=16,
        multipliers=(1, 2),
        blocks=1,
        attention=(4,),
        embedding=2,
        augment_labels=9,
    ),
    "songunet_grey_tiny": dict(
        kind="ddpmpp",
        num_classes=10,
        width=8,
        multipliers=(1, 2),
        blocks=2,
        attention=(4,),
        embedding=4,
        augment_labels=0,
    ),
    "songunet_ncsnpp_tiny": dict(
        kind="ncsnpp",
        num_classes=0,
        width=8,
        multipliers=(2, 2),
        blocks=1,
        attention=(4,),
        embedding=2,
        augment_labels=0,
    ),
    "dhariwal_adm_tiny": dict(
        kind="adm",
        num_classes=6,
        width=16,
        multipliers=(1, 2),
        blocks=1,
        attention=(),  # no head of 64 channels fits
        embedding=2,
        augment_labels=0,
    ),
}


def weights_of(name):
    golden = Golden(golden_files("diffusion", f"{name}.npz")[0])
    return {n.removeprefix("param/"): golden[n] for n in golden if "param/" in n}


@pytest.mark.golden
@pytest.mark.parametrize("name", FACTS)
def test_facts_and_trees_are_those_of_the_network(name):
    params, state, facts = convert_state_dict(weights_of(name), SHAPES[name])
    assert facts == FACTS[name]
    built = model.make(**facts, image_shape=SHAPES[name])
    expected = jax.eval_shape(built.init, jax.random.key(0))
    found = jax.tree.map(np.shape, (params, state))
    assert found == jax.tree.map(np.shape, expected)


@pytest.mark.golden
@pytest.mark.parametrize("prefix", ["", "module.", "module.model."])
def test_names_are_those_behind_any_wrapping(prefix):
    arrays = weights_of("songunet_grey_tiny")
    given = {prefix + name.removeprefix("model."): a for name, a in arrays.items()}
    found, expected = (convert_state_dict(a, (8, 8, 1)) for a in (given, arrays))
    jax.tree.map(np.testing.assert_array_equal, found[:2], expected[:2])


@pytest.mark.parametrize(
    "facts, shape, count",
    [
        (dict(num_classes=10, augment_labels=9), (32, 32, 3), 427),
        (dict(num_classes=0, augment_labels=9), (32, 32, 3), 425),
    ],
)
def test_published_state_dicts_have_their_number_of_entries(facts, shape, count):
    facts |= dict(kind="ddpmpp", width=128, multipliers=(2, 2, 2), blocks=4)
    facts |= dict(attention=(16,), embedding=4)
    assert len(tensors(facts, shape)) == count


@pytest.mark.golden
@pytest.mark.parametrize("name", ["songunet_grey_tiny", "songunet_ncsnpp_tiny"])
def test_every_tensor_is_needed_and_looked_at(name):
    arrays = {n.removeprefix("model."): a for n, a in weights_of(name).items()}
    originals.check_refusals(lambda a: convert_state_dict(a, SHAPES[name]), arrays)


REFUSED = {
    "other side": (
        "songunet_grey_tiny",
        (32, 32, 1),
        dict,
        "is of a network for images of 8x8: set model.image_shape, which has 32",
    ),
    "other channels": (
        "songunet_grey_tiny",
        (8, 8, 3),
        dict,
        r"enc.8x8_conv.weight has shape .* set model.image_shape, which is \(8, 8, 3\)",
    ),
    "attention that has no head": (
        "dhariwal_adm_tiny",
        (8, 8, 3),
        lambda a: a | {"model.enc.4x4_block0.qkv.weight": np.zeros((96, 32, 1, 1))},
        "has enc.4x4_block0.qkv.weight, which is no tensor of an EDM network",
    ),
    "another filter": (
        "songunet_grey_tiny",
        (8, 8, 1),
        lambda a: {
            n: np.ones((1, 1, 4, 4), np.float32) if "filter" in n else w
            for n, w in a.items()
        },
        r"resample_filter has shape \(1, 1, 4, 4\), this network \(1, 1, 2, 2\)",
    ),
    "nothing": (
        "songunet_grey_tiny",
        (8, 8, 1),
        lambda a: {},
        "lacks map_layer0.weight",
    ),
}


@pytest.mark.golden
@pytest.mark.parametrize("name, shape, change, words", REFUSED.values(), ids=REFUSED)
def test_what_is_no_such_network_is_refused(name, shape, change, words):
    with pytest.raises(InputError) as refused:
        convert_state_dict(change(weights_of(name)), shape)
    assert_words(words, str(refused.value))


CONFIG = """
from jaxcert.config import base

def get_config(arg=""):
    config = base()
    config.model = dict(
        name="edm_unet", width=8, multipliers=(1, 2), blocks={blocks}, attention=(4,),
        image_shape=(8, 8, 1),
    )
    return config
"""


@pytest.mark.golden
@pytest.mark.parametrize("blocks", [2, 3])
def test_command_makes_a_workdir_of_the_config_it_was_trained_with(
    capsys, monkeypatch, tmp_path, blocks
):
    def never(*args, **kwargs):
        raise AssertionError("no class is asked of a denoiser")

    monkeypatch.setattr(sources, "open", never)
    arrays = weights_of("songunet_grey_tiny")
    path, config = tmp_path / "model.npz", tmp_path / "mine.py"
    np.savez(path, **arrays)
    config.write_text(CONFIG.format(blocks=blocks))
    workdir = tmp_path / "new"
    given = "--state", path, "--config", config, "--workdir", workdir
    status, said = end(capsys, import_torch, *given)
    if blocks == 3:
        assert status == 2 and "model.blocks=2 where the config has 3" in said
        return
    assert (status, said) == (0, "")
    built = configs.build("models", configs.read(workdir).model)
    found = checkpoint.load_network(built, workdir, mesh=sharding.data_mesh()).network
    expected = convert_state_dict(arrays, (8, 8, 1))[0]
    jax.tree.map(np.testing.assert_array_equal, found.params, expected)


@pytest.mark.golden
def test_a_network_is_read_off_its_state_dict():
    network = network_of(
        weights_of("songunet_ncsnpp_tiny"), "edm_unet", image_shape=(8, 8, 3)
    )
    assert network.model.unconditional is True
    freqs = network.state["constants"]["embedding"]["noise"]["freqs"]
    np.testing.assert_allclose(freqs[1], 7.0348158)
