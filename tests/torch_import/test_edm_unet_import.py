"""Checkpoints of EDM: each tensor has its place, and what is none is refused."""

from __future__ import annotations

import re

import jax
import numpy as np
import originals
import pytest
from command_line import assert_words, end
from conftest import Golden, golden_each, golden_files

from jaxcert import config as configs
from jaxcert import import_torch, sharding
from jaxcert.data import sources
from jaxcert.errors import InputError
from jaxcert.import_torch import network_of
from jaxcert.models import edm_unet as model
from jaxcert.torch_import.edm_unet import convert_state_dict, tensors
from jaxcert.workdirs import checkpoint

GREY = golden_files("diffusion", "songunet_grey*.npz")[0]
NCSNPP = golden_files("diffusion", "songunet_ncsnpp*.npz")[0]
ADM = golden_files("diffusion", "dhariwal_*.npz")[0]


def facts_of(arrays):
    """Read off the names and shapes of the originals, apart from the code under test."""
    arrays = {name.removeprefix("model."): a for name, a in arrays.items()}
    blocks = [
        re.fullmatch(r"enc\.(\d+)x\d+_block(\d+)\.conv1\.bias", n) for n in arrays
    ]
    outputs = {(-int(m[1]), int(m[2])): len(arrays[m[0]]) for m in blocks if m}
    sides = sorted({side for side, _ in outputs})
    attends = {m[1] for m in (re.match(r"enc\.(\d+)x.*qkv", n) for n in arrays) if m}
    kind = "adm" if "out_conv.weight" in arrays else "ddpmpp"
    kind = "ncsnpp" if "map_noise.freqs" in arrays else kind
    # the first convolution has as many channels as the embedding has frequencies
    width = len(arrays[f"enc.{-sides[0]}x{-sides[0]}_conv.bias"])
    labels = arrays.get("map_label.weight", np.zeros((0, 0)))
    augment = arrays.get("map_augment.weight", np.zeros((0, 0)))
    return dict(
        kind=kind,
        num_classes=labels.shape[1],
        width=width,
        multipliers=tuple(outputs[side, 0] // width for side in sides),
        blocks=len(outputs) // len(sides),
        attention=tuple(-side for side in sides if str(-side) in attends),
        embedding=len(arrays["map_layer1.bias"]) // width,
        augment_labels=augment.shape[1],
    )


def shape_of(file):
    _, channels, *sides = Golden(file)["x"].shape
    return (*sides, channels)


def weights_of(file):
    golden = Golden(file)
    return {n.removeprefix("param/"): golden[n] for n in golden if "param/" in n}


@pytest.mark.golden("diffusion")
@pytest.mark.parametrize(
    "file",
    [
        *golden_files("diffusion", "songunet_*.npz"),
        *golden_files("diffusion", "dhariwal_*.npz"),
    ],
    ids=lambda file: file.stem,
)
def test_facts_and_trees_are_those_of_the_network(file):
    arrays, shape = weights_of(file), shape_of(file)
    params, state, facts = convert_state_dict(arrays, shape)
    assert facts == facts_of(arrays)
    built = model.make(**facts, image_shape=shape)
    expected = jax.eval_shape(built.init, jax.random.key(0))
    found = jax.tree.map(np.shape, (params, state))
    assert found == jax.tree.map(np.shape, expected)


@pytest.mark.golden("diffusion")
@pytest.mark.parametrize("prefix", ["", "module.", "module.model."])
def test_names_are_those_behind_any_wrapping(prefix):
    arrays, shape = weights_of(GREY), shape_of(GREY)
    given = {prefix + name.removeprefix("model."): a for name, a in arrays.items()}
    found, expected = (convert_state_dict(a, shape) for a in (given, arrays))
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


@pytest.mark.golden("diffusion")
@pytest.mark.parametrize("file", [GREY, NCSNPP], ids=lambda file: file.stem)
def test_every_tensor_is_needed_and_looked_at(file):
    arrays = {n.removeprefix("model."): a for n, a in weights_of(file).items()}
    shape = shape_of(file)
    originals.check_refusals(lambda a: convert_state_dict(a, shape), arrays)


def first_block(arrays):
    """enc.8x8_block0, without attention at the full size of an image."""
    names = [re.search(r"enc\.(\d+)x\1_block0(?=\.norm0)", name) for name in arrays]
    return max((m for m in names if m), key=lambda match: int(match[1]))[0]


REFUSED = {  # file, change of the image shape, change of the arrays, words
    "other side": (
        GREY,
        lambda side, _, c: (4 * side, 4 * side, c),
        dict,
        r" {side}x{side}: .*\bmodel\.image_shape\b",
    ),
    "other channels": (
        GREY,
        lambda side, _, c: (side, side, c + 2),
        dict,
        r"\benc\.{side}x{side}_conv\.weight .*\bmodel\.image_shape\b.*\(",
    ),
    "attention of which there is but one tensor": (
        ADM,
        lambda *shape: shape,
        lambda a: a | {f"model.{first_block(a)}.qkv.weight": np.zeros((96, 32, 1, 1))},
        r"(has|lacks) enc\.\d+x\d+_block0\.(qkv|norm2|proj)",
    ),
    "another filter": (
        GREY,
        lambda *shape: shape,
        lambda a: {
            n: np.ones((1, 1, 4, 4), np.float32) if "filter" in n else w
            for n, w in a.items()
        },
        r"resample_filter .*\(1, 1, 4, 4\).*\(1, 1, 2, 2\)",
    ),
    "nothing": (
        GREY,
        lambda *shape: shape,
        lambda a: {},
        "lacks map_layer0.weight",
    ),
}


@pytest.mark.golden("diffusion")
@pytest.mark.parametrize("file, shape, change, words", REFUSED.values(), ids=REFUSED)
def test_what_is_no_such_network_is_refused(file, shape, change, words):
    own = shape_of(file)
    with pytest.raises(InputError) as refused:
        convert_state_dict(change(weights_of(file)), shape(*own))
    assert_words(words.replace("{side}", str(own[0])), str(refused.value))


CONFIG = """
from jaxcert.config import base

def get_config(arg=""):
    config = base()
    config.model = dict(
        name="edm_unet", image_shape={shape}, **{facts}
    )
    return config
"""


@pytest.mark.golden("diffusion")
@pytest.mark.parametrize("more", [0, 1])
def test_command_makes_a_workdir_of_the_config_it_was_trained_with(
    capsys, monkeypatch, tmp_path, more
):
    def never(*args, **kwargs):
        raise AssertionError("no class is asked of a denoiser")

    monkeypatch.setattr(sources, "open", never)
    arrays, shape = weights_of(GREY), shape_of(GREY)
    facts = facts_of(arrays)
    blocks = facts["blocks"]
    facts["blocks"] += more
    path, config = tmp_path / "model.npz", tmp_path / "mine.py"
    np.savez(path, **arrays)
    config.write_text(CONFIG.format(shape=shape, facts=facts))
    workdir = tmp_path / "new"
    given = "--state", path, "--config", config, "--workdir", workdir
    status, said = end(capsys, import_torch, *given)
    if more:
        words = f"model.blocks={blocks} where the config has {blocks + 1}"
        assert status == 2 and words in said
        return
    assert (status, said) == (0, "")
    built = configs.build("models", configs.read(workdir).model)
    found = checkpoint.load_network(built, workdir, mesh=sharding.data_mesh()).network
    expected = convert_state_dict(arrays, shape)[0]
    jax.tree.map(np.testing.assert_array_equal, found.params, expected)


@pytest.mark.golden("diffusion")
@golden_each("diffusion", "songunet_ncsnpp*.npz")
def test_a_network_is_read_off_its_state_dict(file):
    arrays = weights_of(file)
    network = network_of(arrays, "edm_unet", image_shape=shape_of(file))
    assert network.model.unconditional is True
    freqs = network.state["constants"]["embedding"]["noise"]["freqs"]
    np.testing.assert_array_equal(freqs, arrays["model.map_noise.freqs"])
