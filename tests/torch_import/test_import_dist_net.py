"""State dicts of the originals: the imported network computes what a plain reference does
in their layout, whatever does not fit is refused, and a workdir of it can be certified."""

from __future__ import annotations

import math
import sys
from functools import partial

import jax
import numpy as np
import pytest
from command_line import ROOT, assert_words, end
from conftest import Golden, close, golden_each
from refusals import names, tells

from jaxcert import certify, import_torch, records, train
from jaxcert import config as configs
from jaxcert.errors import InputError
from jaxcert.models import dist_net
from jaxcert.torch_import import workdir as imports
from jaxcert.torch_import.arrays import read
from jaxcert.torch_import.dist_net import convert_state_dict

SHAPE = (2, 3, 2)  # H, W, C: all orders of it differ
MEAN, STD = (0.3, 0.6), 0.37
CONFIG = str(ROOT / "configs/linf_dist/cifar10.py")


def state_dict(shape=SHAPE, *, layers=3, width=7, hidden=0, classes=4, scalar=True):
    """Random, in the originals' names and layout; `layers` of distances."""
    draw = np.random.default_rng(layers + width + hidden)
    arrays, inputs = {}, math.prod(shape)
    shifted = layers if hidden else layers - 1
    for i in range(shifted):
        arrays[f"fc_dist.{i}.weight"] = draw.normal(size=(width, inputs))
        arrays[f"fc_dist.{i}.mean_shift.running_mean"] = draw.normal(size=width)
        inputs = width
    names = ["fc_linear.0", "fc_final"] if hidden else [f"fc_dist.{shifted}"]
    for name, rows in zip(names, [hidden, classes][-len(names) :], strict=True):
        arrays[f"{name}.weight"] = draw.normal(size=(rows, inputs))
        arrays[f"{name}.bias"] = draw.normal(size=rows)
        inputs = rows
    if scalar:
        arrays["scalar"] = draw.uniform(1, 2, size=1)
    return {name: array.astype(np.float32) for name, array in arrays.items()}


def reference(arrays, image, *, mean, std, rho=0.0, terms=10):
    """Logits of images [B,H,W,C] as the originals compute them, in float64."""
    x = ((image - np.asarray(mean)) / std).transpose(0, 3, 1, 2).reshape(len(image), -1)
    arrays = {name: array.astype(np.float64) for name, array in arrays.items()}
    count = sum(name.endswith("weight") and "dist" in name for name in arrays)
    for i in range(count):
        w = arrays[f"fc_dist.{i}.weight"]
        distance = -np.sort(-np.abs(x[:, None] - w), axis=2)  # falling
        share = rho ** np.arange(min(terms, w.shape[1])) if i else np.ones(1)
        y = distance[..., : len(share)] @ (share / share.sum())
        mean_shift = f"fc_dist.{i}.mean_shift.running_mean"
        x = y - arrays[mean_shift] if mean_shift in arrays else y
    if "fc_final.weight" in arrays:
        for name in ("fc_linear.0", "fc_final"):
            w = arrays[f"{name}.weight"] / math.sqrt(x.shape[1])
            y = x @ w.T + arrays[f"{name}.bias"]
            x = np.tanh(y)
    else:
        y = -(x + arrays[f"fc_dist.{count - 1}.bias"])
    return arrays.get("scalar", 1.0) * y


def logits_of(arrays, image, *, mean=MEAN, std=STD, rho=0.0):
    shape = image.shape[1:]
    params, state, facts = convert_state_dict(arrays, shape)
    model = dist_net.make(image_shape=shape, mean=mean, std=std, rho=rho, **facts)
    like = jax.eval_shape(model.init, jax.random.key(0))
    assert jax.tree.map(np.shape, like) == jax.tree.map(np.shape, (params, state))
    return jax.jit(model.apply)(params, state, image)[0]


NETWORKS = {
    "plain": {},
    "two layers": {"layers": 2},
    "no scalar": {"scalar": False},
    "hybrid": {"hidden": 5},
    "hybrid of one distance": {"hidden": 5, "layers": 1, "scalar": False},
}


@pytest.mark.parametrize("rho", [0.0, 0.3])
@pytest.mark.parametrize("settings", NETWORKS.values(), ids=NETWORKS)
def test_imported_network_gives_the_originals_logits(x64, settings, rho):
    image = np.random.default_rng(1).uniform(size=(6, *SHAPE))
    arrays = state_dict(**settings)
    expected = reference(arrays, image, mean=MEAN, std=STD, rho=rho)
    close(logits_of(arrays, image, rho=rho), expected, 1e-12)
    prefixed = {f"module.{name}": array for name, array in arrays.items()}
    close(logits_of(prefixed, image, rho=rho), expected, 1e-12)


def test_facts_are_read_off_the_arrays():
    facts = convert_state_dict(state_dict(layers=4), SHAPE)[2]
    assert facts == dict(depth=4, width=7, num_classes=4, hidden=0, learn_scale=True)
    facts = convert_state_dict(state_dict(hidden=5, scalar=False), SHAPE)[2]
    assert facts == dict(depth=5, width=7, num_classes=4, hidden=5, learn_scale=False)


@pytest.mark.golden("linf")
@golden_each("linf", "net_*.npz")
def test_reference_is_the_original(x64, file):
    """On networks that the originals have trained and evaluated themselves."""
    golden = Golden(file)
    arrays = {
        name.removeprefix(prefix): golden[name]
        for prefix in ("param_", "eval_buffer_")
        for name in golden
        if name.startswith(prefix)
    }
    image = golden["pixels"].astype(np.float64).transpose(0, 2, 3, 1)
    inside = dict(mean=tuple(golden["mean"].tolist()), std=float(golden["std"]))
    inside["rho"] = float(golden["rho"]) if "rho" in golden else 0.0
    close(reference(arrays, image, **inside), golden["eval_logits"], 1e-7)
    close(logits_of(arrays, image, **inside), golden["eval_logits"], 1e-7)


def changed(name, array=None, **settings):
    arrays = state_dict(**settings)
    arrays.pop(name, None)
    return arrays if array is None else arrays | {name: array}


def filled(value, dtype=np.float32):
    array = state_dict()["fc_dist.1.weight"].astype(dtype)
    array[2, 3] = value
    return changed("fc_dist.1.weight", array)


REFUSED = {
    "nothing": ({}, "lacks fc_dist.0.weight"),
    "another network": ({"conv1.weight": np.ones((2, 2))}, "lacks fc_dist.0.weight"),
    "a layer missing": (changed("fc_dist.1.weight"), r"fc_dist.1.weight"),
    "no running mean": (
        changed("fc_dist.0.mean_shift.running_mean"),
        names("lacks", "fc_dist.0.mean_shift.running_mean"),
    ),
    "no bias": (changed("fc_dist.2.bias"), "lacks fc_dist.2.bias"),
    "half a head": (
        changed("fc_linear.0.weight", hidden=5),
        "lacks fc_linear.0.weight",
    ),
    "no end of a head": (changed("fc_final.bias", hidden=5), "lacks fc_final.bias"),
    "unknown": (changed("fc.weight", np.ones((2, 2))), names("has", "fc.weight")),
    "one prefix": (changed("module.x", np.ones(1)), names("has", "x")),
    "convolution": (
        changed("fc_dist.0.weight", np.ones((7, 12, 1, 1), np.float32)),
        names("fc_dist.0.weight", "(7, 12, 1, 1)", "2 axes"),
    ),
    "images": (
        changed("fc_dist.0.weight", np.ones((7, 27), np.float32)),
        names("fc_dist.0.weight", "(7, 27)", "(7, 12)", "model.image_shape"),
    ),
    "width": (
        changed("fc_dist.1.weight", np.ones((6, 7), np.float32)),
        names("fc_dist.1.weight", "(6, 7)", "(7, 7)", "width"),
    ),
    "scalar": (
        changed("scalar", np.ones(3, np.float32)),
        names("scalar", "(3,)", "(1,)"),
    ),
    "nan": (filled(np.nan), names("fc_dist.1.weight", "finite float32")),
    "infinite": (filled(-np.inf), names("fc_dist.1.weight", "finite float32")),
    "too large": (
        filled(1e300, np.float64),
        names("fc_dist.1.weight", "finite float32"),
    ),
    "half": (filled(0, np.float16), names("fc_dist.1.weight", "float16")),
    "whole": (filled(0, np.int64), names("fc_dist.1.weight", "int64")),
}


@pytest.mark.parametrize("arrays,words", REFUSED.values(), ids=REFUSED)
def test_what_is_no_distance_net_is_refused(arrays, words):
    with pytest.raises(InputError) as refused:
        convert_state_dict(arrays, SHAPE)
    assert_words(words, str(refused.value))


def saved(path, arrays):
    if path.suffix == ".npz":
        np.savez(path, **arrays)
    else:
        pytest.importorskip("safetensors.numpy").save_file(arrays, path)
    return path


@pytest.mark.parametrize("name", ["a.npz", "a.safetensors"])
def test_files_hold_what_was_saved(tmp_path, name):
    arrays = state_dict()
    found = read(saved(tmp_path / name, arrays))
    assert found.keys() == arrays.keys()
    for key, array in arrays.items():
        np.testing.assert_array_equal(found[key], array, strict=True)


def test_pickles_are_refused_with_the_way_to_export_them(tmp_path):
    objects = np.array([{}], object)
    np.savez(tmp_path / "objects.npz", a=objects)
    np.save(tmp_path / "one.npy", objects.astype(str))
    (tmp_path / "one.npy").rename(tmp_path / "one.npz")
    (tmp_path / "old.npz").write_bytes(b"\x80\x04}.")
    (tmp_path / "model.pth").write_bytes(b"\x80\x04}.")
    for name in ("objects.npz", "one.npz", "old.npz", "model.pth"):
        with pytest.raises(InputError, match=names("pickle", "torch.load")):
            read(tmp_path / name)


def test_renamed_pth_is_refused(tmp_path):
    torch = pytest.importorskip("torch")
    torch.save({"state_dict": {"a": torch.ones(2)}}, tmp_path / "model.npz")
    with pytest.raises(InputError, match=names("pickle", "torch.load")):
        read(tmp_path / "model.npz")


def test_the_export_that_is_advised_can_be_imported(tmp_path, monkeypatch):
    """The very words of the refusal, run where torch is."""
    torch = pytest.importorskip("torch")
    arrays = state_dict()
    tensors = {name: torch.tensor(array) for name, array in arrays.items()}
    torch.save({"state_dict": tensors}, tmp_path / "model.pth")
    with pytest.raises(InputError) as refused:
        read(tmp_path / "model.pth")
    monkeypatch.chdir(tmp_path)
    code = str(refused.value).partition("where torch is, by ")[2]
    code = code.partition(", where other files")[0]
    eval(code, {"np": np, "torch": torch})
    assert logits_of(read(tmp_path / "model.npz"), np.ones((1, *SHAPE))).shape == (1, 4)


@pytest.mark.parametrize("name", ["a.npz", "a.safetensors"])
def test_damaged_and_missing_files_are_refused(tmp_path, name):
    with pytest.raises(InputError, match=names(name)):
        read(tmp_path / name)
    path = saved(tmp_path / name, state_dict())
    for size in (0, len(path.read_bytes()) // 2):
        path.write_bytes(path.read_bytes()[:size] or b"")
        with pytest.raises(InputError, match="cut off"):
            read(path)


def test_bfloat16_is_refused_by_name(tmp_path):
    torch = pytest.importorskip("torch")
    safetensors = pytest.importorskip("safetensors.torch")
    tensors = {name: torch.tensor(array) for name, array in state_dict().items()}
    tensors["fc_dist.1.weight"] = tensors["fc_dist.1.weight"].bfloat16()
    safetensors.save_file(tensors, tmp_path / "a.safetensors")
    with pytest.raises(InputError, match=names("fc_dist.1.weight")):
        convert_state_dict(read(tmp_path / "a.safetensors"), SHAPE)


def test_safetensors_says_what_to_install(tmp_path, monkeypatch):
    (tmp_path / "a.safetensors").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "safetensors", None)
    with pytest.raises(InputError, match=names("safetensors", "jaxcert[import]")):
        read(tmp_path / "a.safetensors")


@pytest.fixture
def ends(capsys):
    return partial(end, capsys)


def arguments(path, workdir, row=""):
    config = f"{CONFIG}:{row}" if row else CONFIG
    return ["--state", path, "--config", config, "--tiny", "--workdir", workdir]


def digits(**settings):
    """As the tiny networks of the config are."""
    return state_dict((8, 8, 1), **dict(layers=6, width=16, classes=10) | settings)


@pytest.mark.parametrize(
    "row,settings,name",
    [
        pytest.param("", {}, "model.npz", marks=pytest.mark.slow),
        ("hinge", {"scalar": False}, "model.safetensors"),
        ("hybrid", {"scalar": False, "layers": 5, "hidden": 8}, "model.npz"),
    ],
    ids=["plain", "no scalar", "hybrid"],
)
def test_imported_workdir_is_certified(ends, tmp_path, row, settings, name):
    arrays, workdir = digits(**settings), tmp_path / "new"
    path = saved(tmp_path / name, arrays)
    assert ends(import_torch, *arguments(path, workdir, row)) == (0, "")
    out = workdir / "first.jsonl"
    chosen = ["--config.certify.stop=20", "--config.certify.name=lipschitz"]
    assert ends(certify, "--workdir", workdir, "--out", out, *chosen) == (0, "")
    found = records.load(out)
    with np.load(ROOT / "jaxcert/data/digits.npz") as file:
        image = file["image"][file["test"]][:20].reshape(-1, 8, 8, 1) / 255
    logits = reference(arrays, image, mean=(0.3,), std=0.37)
    np.testing.assert_allclose(found.logits, logits, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(found.predicted, logits.argmax(1))
    if not settings.get("hidden"):
        top = np.sort(logits, 1)
        margin = (top[:, -1] - top[:, -2]) / arrays.get("scalar", 1.0)
        np.testing.assert_allclose(
            found.radius, margin * 0.37 / 2, rtol=1e-4, atol=1e-6
        )


MISMATCH = {
    "depth": ("", {"layers": 5}, names("model.npz", "model.depth=5", 6)),
    "width": ("", {"width": 15}, names("model.npz", "model.width=15", 16)),
    "classes": ("", {"classes": 9}, names("model.npz", "model.num_classes=9", 10)),
    "scalar": (
        "",
        {"scalar": False},
        names("model.npz", "model.learn_scale=False", True),
    ),
    "head": (
        "",
        {"hidden": 8, "layers": 5},
        names("model.npz", "model.depth=7", "model.hidden=8", 6, 0),
    ),
}


@pytest.mark.parametrize("row,settings,words", MISMATCH.values(), ids=MISMATCH)
def test_config_of_another_network_is_refused(ends, tmp_path, row, settings, words):
    path = saved(tmp_path / "model.npz", digits(**settings))
    status, said = ends(import_torch, *arguments(path, tmp_path / "new", row))
    assert status == 2
    assert_words(words, said)
    assert not (tmp_path / "new").exists()


def test_other_faults_end_in_a_sentence(ends, tmp_path):
    path, workdir = saved(tmp_path / "model.npz", digits()), tmp_path / "new"
    given = arguments(path, workdir)
    status, said = ends(import_torch, *given[2:])
    assert status == 2 and tells(said, "--state", "--state model.npz")
    status, said = ends(import_torch, *given, "--config.model.name=small_cnn")
    assert status == 2 and tells(said, "small_cnn", "bronet, dist_net")
    status, said = ends(import_torch, *given, "--config.model.image_shape=(8,8,2)")
    assert status == 2 and tells(said, "model.mean", 1, 2)
    assert not workdir.exists()


def test_imported_workdir_is_kept_and_not_trained_on(ends, tmp_path):
    path, workdir = saved(tmp_path / "model.npz", digits()), tmp_path / "new"
    given = arguments(path, workdir)
    assert ends(import_torch, *given) == (0, "")
    status, said = ends(import_torch, *given)
    assert status == 2 and tells(said, workdir, "checkpoints", "--workdir")
    status, said = ends(import_torch, *given, "--config.model.std=0.2")
    assert status == 2 and tells(said, workdir, "model.std", "--workdir")
    status, said = ends(train, *given[2:])
    assert status == 2 and tells(said, "imported", "state")


@pytest.mark.parametrize("constant", [True, False])
def test_network_that_gives_one_class_is_warned_of(tmp_path, recwarn, constant):
    arrays = digits()
    if constant:
        arrays["fc_dist.5.bias"] = np.eye(10, dtype=np.float32)[4] * -1e4
    path = saved(tmp_path / "model.npz", arrays)
    config = configs.tiny(configs.load(CONFIG))
    imports.import_torch(path, config, tmp_path / "new")
    said = [str(w.message) for w in recwarn if w.category is UserWarning]
    assert len(said) == constant
    assert all(tells(text, "16 test images", "class 4") for text in said)


def test_missing_data_stops_no_import(tmp_path):
    config = configs.tiny(configs.load(CONFIG))
    config.data.update(name="cifar10", dir=str(tmp_path))
    path = saved(tmp_path / "model.npz", digits())
    imports.import_torch(path, config, tmp_path / "new")
    assert not list(tmp_path.glob("cifar*"))
