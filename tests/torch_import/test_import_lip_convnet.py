"""State dicts of LipConvNet with LOT or BRO: the imported network computes what the original
does, whatever does not fit is refused, and a workdir of it can be certified."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import originals
import pytest
from command_line import ROOT, assert_words, end
from conftest import Golden, close, golden_files
from refusals import names

from jaxcert import certify, import_torch, records
from jaxcert.errors import InputError
from jaxcert.models import lip_convnet
from jaxcert.torch_import.lip_convnet import convert_state_dict

SHAPE = (4, 4, 2)
MEAN = (0.4914, 0.4822, 0.4465)
STD = 0.2507


def residual_names(blocks):
    hidden = [f"hidden_block.{i}" for i in range(blocks - 2)]
    return ["block"] if blocks == 1 else ["in_block", *hidden, "out_block"]


def state_dict(channels=2, *, stages=2, blocks=2, width=4, classes=3, **kind):
    """Random, in the originals' names and layout."""
    kind = dict(conv="lot", activation="hh1", lln=False, residual=False) | kind
    names = [str(i) for i in range(blocks)]
    shapes, c_in = {}, channels
    if kind["residual"]:
        names = residual_names(blocks)
        shapes = {f"layer{s}.res_lamda_logit": (1,) for s in range(1, stages + 1)}

    def weight(c_out, c_in, k):
        if kind["conv"] == "lot":
            return c_out, c_in, k, k
        rank = max(1, c_in // 8) if c_in == c_out else min(c_in, c_out)
        return max(c_in, c_out), rank, k, k

    for stage in range(1, stages + 1):
        for name in names:
            last = name == names[-1]
            c_out, k = width, 3
            if last:
                c_out, c_in, k = 2 * width, 4 * c_in, 1 if stage == stages else 3
            shapes[f"layer{stage}.{name}.conv.weight"] = weight(c_out, c_in, k)
            shapes[f"layer{stage}.{name}.conv.bias"] = (c_out,)
            angles = {
                "maxmin": {},
                "hh1": {"theta": (1, c_out // 2, 1, 1)},
                "hh2": {f"theta{i}": (c_out // 2,) for i in range(3)},
            }[kind["activation"]]
            for leaf, shape in angles.items():
                shapes[f"layer{stage}.{name}.activation.{leaf}"] = shape
            c_in = c_out
        width *= 2
    shapes["last_layer.weight"] = (classes, c_in)
    if not kind["lln"]:
        shapes["last_layer.weight"] = weight(classes, c_in, 1)
    shapes["last_layer.bias"] = (classes,)
    arrays = originals.drawn(shapes)
    for name in arrays:
        if name.endswith("res_lamda_logit"):
            arrays[name][:] = 0
    return arrays


def reference(arrays, image, *, mean, std, stages):
    """Logits of a LipConvNet of BRO with MaxMin as the original evaluates it, in float64."""
    arrays = {name: array.astype(np.float64) for name, array in arrays.items()}
    x = np.moveaxis((image - np.asarray(mean)) / std, -1, 1)
    blocks = sum(n.startswith("layer1.") and n.endswith("bias") for n in arrays)
    for stage in range(1, stages + 1):
        for i in range(blocks):
            weight, bias = (
                arrays[f"layer{stage}.{i}.conv.{leaf}"] for leaf in ("weight", "bias")
            )
            if i == blocks - 1:
                b, c, n, _ = x.shape
                x = x.reshape(b, c, n // 2, 2, n // 2, 2).transpose(0, 1, 3, 5, 2, 4)
                x = x.reshape(b, 4 * c, n // 2, n // 2)
            y = originals.reflected(x, weight, len(bias), 1e-5)
            x = originals.maxmin(y + bias.reshape(1, -1, 1, 1))
    if arrays["last_layer.weight"].ndim == 2:
        return originals.normalised_rows(x.reshape(len(x), -1), arrays, "last_layer")
    bias = arrays["last_layer.bias"]
    y = originals.reflected(x, arrays["last_layer.weight"], len(bias), 1e-5)
    return y[:, :, 0, 0] + bias


def imported(arrays, shape, mean):
    """(model, params, state) in float64."""
    params, state, facts = convert_state_dict(arrays, shape)
    model = lip_convnet.make(image_shape=shape, mean=mean, std=STD, **facts)
    like = jax.eval_shape(model.init, jax.random.key(0))
    assert jax.tree.map(np.shape, like) == jax.tree.map(np.shape, (params, state))
    return model, *jax.tree.map(lambda a: jnp.asarray(a, float), (params, state))


@pytest.mark.slow
@pytest.mark.golden("lipschitz_l2")
@pytest.mark.parametrize("pattern", ["lipconvnet_*.npz", "lipresnet_*.npz"])
def test_network_of_lot_is_the_original(x64, pattern):
    for path in golden_files("lipschitz_l2", pattern):
        g = Golden(path)
        arrays = {n[2:]: g[n] for n in g if n.startswith("p.")}
        if pattern.startswith("lipresnet"):  # fixed, so not among the golden parameters
            stages = {n.split(".")[0] for n in arrays if n.startswith("layer")}
            for stage in range(1, 1 + len(stages)):
                arrays[f"layer{stage}.res_lamda_logit"] = np.zeros(1, np.float32)
        pixels = np.moveaxis(g["x01_u8"], 1, -1) / 255.0
        # the original rounds its normalised input to float32; ours is exact
        mean = np.array(MEAN[: pixels.shape[-1]])
        normalised = ((pixels - mean) / STD).astype(np.float32)
        image = jnp.asarray(normalised.astype(np.float64) * STD + mean)
        model, params, state = imported(arrays, image.shape[1:], tuple(mean))
        close(jax.jit(model.apply)(params, state, image)[0], g["eval_logits"], 1e-8)


@pytest.mark.parametrize("sizes", [{"lln": True, "width": 16}, {"blocks": 1}], ids=str)
def test_network_of_bro_gives_the_originals_logits(x64, sizes):
    arrays = state_dict(conv="bro", activation="maxmin", **sizes)
    image = np.random.default_rng(1).uniform(size=(3, *SHAPE))
    expected = reference(arrays, image, mean=(0.3, 0.6), std=STD, stages=2)
    prefixed = {f"module.{name}": array for name, array in arrays.items()}
    for given in (arrays, prefixed):
        model, params, state = imported(given, SHAPE, (0.3, 0.6))
        close(jax.jit(model.apply)(params, state, image)[0], expected, 1e-9)


KINDS = {
    "plain": {},
    "one layer a stage": {"blocks": 1, "activation": "maxmin"},
    "hh2": {"activation": "hh2", "lln": True},
    "residual": {"residual": True, "blocks": 3},
    "residual of two": {"residual": True},
    "residual of one": {"residual": True, "blocks": 1},
    "reflected": {"conv": "bro", "lln": True, "activation": "maxmin", "width": 16},
    "three stages": {"stages": 3, "width": 2},
}


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_facts_are_read_off_the_arrays(kind):
    side = 2 ** kind.get("stages", 2)
    params, state, facts = convert_state_dict(state_dict(**kind), (side, side, 2))
    expected = dict(
        stages=2, blocks=2, width=4, num_classes=3, conv="lot", activation="hh1"
    )
    expected |= dict(head="lln" if kind.get("lln") else "orthogonal", residual=False)
    expected["polar"] = "newton_schulz"
    assert facts == expected | {k: v for k, v in kind.items() if k != "lln"}
    model = lip_convnet.make(image_shape=(side, side, 2), mean=(0.3, 0.6), **facts)
    like = jax.eval_shape(model.init, jax.random.key(0))
    assert jax.tree.map(np.shape, like) == jax.tree.map(np.shape, (params, state))


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_every_tensor_is_needed_and_looked_at(kind):
    side = 2 ** kind.get("stages", 2)
    arrays = state_dict(**kind)
    originals.check_refusals(
        lambda given: convert_state_dict(given, (side, side, 2)), arrays
    )


REFUSED = {
    "images": (
        {"layer1.0.conv.weight": (4, 3, 3, 3)},
        names("layer1.0.conv.weight", "(4, 3, 3, 3)", "model.image_shape"),
    ),
    "no square": (
        {"layer1.1.conv.weight": (8, 16, 3, 1)},
        names("layer1.1.conv.weight", "(8, 16, 3, 1)", "(8, 16, 3, 3)"),
    ),
    "Cayley": (
        {"layer1.0.conv.alpha": (1,)},
        names("has", "layer1.0.conv.alpha", "LipConvNet"),
    ),
    "dense layers": ({"dense_layers.0.weight": (16, 16)}, "has dense_layers.0.weight"),
}


@pytest.mark.parametrize("changes,words", REFUSED.values(), ids=REFUSED)
def test_what_is_no_such_network_is_refused(changes, words):
    ones = {name: np.ones(shape, np.float32) for name, shape in changes.items()}
    with pytest.raises(InputError) as refused:
        convert_state_dict(state_dict() | ones, SHAPE)
    assert_words(words, str(refused.value))


def test_layers_that_do_not_mix_by_half_are_refused():
    arrays = state_dict(residual=True)
    arrays["layer2.res_lamda_logit"] += 1
    with pytest.raises(InputError, match=names("layer2.res_lamda_logit", 1.0)):
        convert_state_dict(arrays, SHAPE)


def test_ranks_that_the_network_does_not_have_are_refused():
    arrays = state_dict(conv="bro", lln=True, activation="maxmin", width=8)
    arrays["layer2.0.conv.weight"] = np.ones((16, 8, 3, 3), np.float32)
    words = names("layer2.0.conv.weight", "(16, 8, 3, 3)", "(16, 2, 3, 3)")
    with pytest.raises(InputError, match=words):
        convert_state_dict(arrays, SHAPE)


@pytest.fixture
def ends(capsys):
    return partial(end, capsys)


def arguments(path, workdir, row=""):
    config = f"{ROOT}/configs/lot/digits.py{row}"
    return ["--state", path, "--config", config, "--tiny", "--workdir", workdir]


@pytest.mark.slow
@pytest.mark.parametrize("conv", ["lot", "bro"])
def test_imported_workdir_is_certified(ends, tmp_path, conv):
    path, workdir = tmp_path / "model.npz", tmp_path / "new"
    arrays = state_dict(
        1, stages=3, classes=10, conv=conv, activation="maxmin", lln=True
    )
    np.savez(path, **arrays)
    given = arguments(path, workdir, ":lln,maxmin")
    assert ends(import_torch, *given, f"--config.model.conv={conv}") == (0, "")
    out = workdir / "first.jsonl"
    given = ["--workdir", workdir, "--out", out, "--config.certify.stop=20"]
    assert ends(certify, *given) == (0, "")
    found = records.load(out)
    assert (found.radius > 0).all() and np.isfinite(found.radius).all()
    if conv == "bro":
        with np.load(ROOT / "jaxcert/data/digits.npz") as file:
            image = file["image"][file["test"]][:20].reshape(-1, 8, 8, 1) / 255
        logits = reference(arrays, image, mean=(0.3,), std=0.25, stages=3)
        np.testing.assert_allclose(found.logits, logits, rtol=1e-4, atol=1e-4)


MISMATCH = {
    "blocks": ({"blocks": 1}, names("model.npz", "model.blocks=1", 2)),
    "layer": ({"conv": "bro"}, names("model.npz", "model.conv=bro", "lot")),
    "head": ({"lln": True}, names("model.npz", "model.head=lln", "orthogonal")),
    "activation": (
        {"activation": "hh2"},
        names("model.npz", "model.activation=hh2", "hh1"),
    ),
    "polar factor": ({}, names("model.npz", "model.polar=newton_schulz", "minimax")),
    "residual": ({"residual": True}, names("model.npz", "model.residual=True", False)),
}


@pytest.mark.parametrize("sizes,words", MISMATCH.values(), ids=MISMATCH)
def test_config_of_another_network_is_refused(ends, tmp_path, sizes, words):
    path, workdir = tmp_path / "model.npz", tmp_path / "new"
    row = ":fast" if not sizes else ""
    np.savez(path, **state_dict(1, stages=3, classes=10, **sizes))
    status, said = ends(import_torch, *arguments(path, workdir, row))
    assert status == 2 and not workdir.exists()
    assert_words(words, said)
