"""Weights in files of their own: what is written is what was trained, readable by others."""

from __future__ import annotations

import hashlib
import json
import struct
from functools import partial

import jax
import numpy as np
import pytest
from command_line import assert_words, end
from refusals import names

import jaxcert
from jaxcert import config as configs
from jaxcert import export, random_keys, sharding
from jaxcert.config import ConfigDict
from jaxcert.configs import quickstart
from jaxcert.errors import InputError
from jaxcert.interfaces import Network
from jaxcert.workdirs import checkpoint, weights


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    """A workdir of a network of random numbers, with settings left to defaults."""
    path = tmp_path_factory.mktemp("export") / "run"
    config = quickstart.get_config()
    config.model.update(width=2, blocks=1, conv="soc", activation="hh1")
    del config.model["head"]
    config.method = dict(name="gloro", eps=36 / 255)
    model = configs.build("models", config.model)
    draw = np.random.default_rng(0)
    shapes = jax.eval_shape(model.init, random_keys.key(0))
    drawn = jax.tree.map(
        lambda s: np.asarray(draw.normal(size=s.shape), s.dtype), shapes
    )
    params, state = sharding.replicate(drawn, sharding.local_mesh())
    path.mkdir()
    configs.save(config, path / "config.json")
    with checkpoint.Checkpoints(path) as checkpoints:
        checkpoints.save_evaluation(params, state)
    return path


KINDS = dict(a=np.arange(3.0), b=np.array(2, np.float32), c=np.zeros((2, 0), np.int32))
KINDS |= dict(d=np.array([True, False]), e=np.arange(6).reshape(2, 3).T)


def assert_is(found, arrays):
    back, metadata = found
    assert metadata == {"x": "y"} and back.keys() == arrays.keys()
    for name, array in arrays.items():
        assert back[name].dtype == array.dtype and back[name].shape == array.shape
        np.testing.assert_array_equal(back[name], array, err_msg=name)


@pytest.fixture
def ends(capsys):
    return partial(end, capsys)


def arrays(network):
    return checkpoint.arrays_of(network)


@pytest.mark.parametrize("suffix", weights.SUFFIXES)
def test_a_network_comes_back_as_it_was(ends, workdir, tmp_path, suffix):
    out = tmp_path / f"new/net{suffix}"
    assert ends(export, "--workdir", workdir, "--out", out) == (0, "")
    before, after = jaxcert.load(workdir), jaxcert.load(out)
    was, found = arrays(before), arrays(after)
    assert {"params.last.kernel", "state.power.last.vector0"} <= was.keys()
    assert was.keys() == found.keys()
    for name, array in was.items():
        assert array.dtype == found[name].dtype == np.float32
        np.testing.assert_array_equal(array, found[name], err_msg=name)
    assert checkpoint.network_digest(after) == checkpoint.network_digest(before)


def test_the_file_is_read_by_the_package_safetensors(workdir, tmp_path):
    safetensors = pytest.importorskip("safetensors.numpy")
    out = tmp_path / "net.safetensors"
    weights.export(configs.read(workdir), workdir, out)
    was, found = arrays(jaxcert.load(workdir)), safetensors.load_file(out)
    assert was.keys() == found.keys()
    for name, array in was.items():
        np.testing.assert_array_equal(array, found[name], err_msg=name)
    # and the other way round
    kinds = {k: np.array(v, order="C") for k, v in KINDS.items()}
    safetensors.save_file(kinds, out, {"x": "y"})
    assert_is(weights.read(out), KINDS)


def test_arrays_of_all_kinds_come_back(tmp_path):
    for name in ("net.safetensors", "net.npz"):
        out = tmp_path / name
        weights.write(out, KINDS, {"x": "y"}, npz=name.endswith("z"))
        assert_is(weights.read(out), KINDS)
    for npz in (False, True):
        with pytest.raises(InputError, match=names("a", "complex128")):
            weights.write(tmp_path / "net", {"a": np.array([1j])}, {}, npz=npz)
    assert not (tmp_path / "net").exists()


def test_metadata_say_what_the_network_is(workdir, tmp_path):
    out = tmp_path / "net.safetensors"
    weights.export(configs.read(workdir), workdir, out)
    data = out.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    assert length % 8 == 0
    said = json.loads(data[8 : 8 + length])["__metadata__"]
    model = json.loads(said["model"])
    assert said["format"] == weights.FORMAT and said["norm"] == "l2"
    assert said["digest"] == checkpoint.network_digest(jaxcert.load(workdir))
    assert model["mean"] == [0.3] and model["image_shape"] == [8, 8, 1]
    assert model.get("head") == "orthogonal"  # a default
    assert json.loads(said["config"])["method"]["name"] == "gloro"


def test_the_manifest_lists_all_networks_of_a_folder(workdir, tmp_path):
    config = configs.read(workdir)
    for name in ("a.safetensors", "b.npz"):
        weights.export(config, workdir, tmp_path / name)
    (tmp_path / "a.safetensors").unlink()
    weights.export(config, workdir, tmp_path / "a.safetensors")
    manifest = json.loads((tmp_path / "model_manifest.json").read_text())
    assert manifest["schema_version"] == 1
    files = [entry["checkpoint"] for entry in manifest["models"]]
    assert files == ["b.npz", "a.safetensors"]
    b, a = manifest["models"]
    needed = (
        "model_id config_hash dataset architecture method epsilon checkpoint sha256"
    )
    assert set(needed.split()) <= a.keys() == b.keys()
    assert (a["epsilon"], a["epsilon_label"]) == (36 / 255, "36/255")
    assert (a["input_shape"], a["num_classes"]) == ([1, 8, 8], 10)
    assert a["model_id"].startswith("digits/lip_convnet/eps-36-255/gloro/")
    for entry in (a, b):
        content = (tmp_path / entry["checkpoint"]).read_bytes()
        assert entry["sha256"] == hashlib.sha256(content).hexdigest()
        assert entry["size_bytes"] == len(content)


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"schema_version": 2, "models": []}', '{"schema_version": 1}']
)
def test_another_manifest_is_left_alone(ends, workdir, tmp_path, text):
    (tmp_path / "model_manifest.json").write_text(text)
    out = tmp_path / "net.safetensors"
    status, said = ends(export, "--workdir", workdir, "--out", out)
    assert status == 2 and "model_manifest.json" in said
    assert (tmp_path / "model_manifest.json").read_text() == text
    assert not out.exists()


def test_where_nothing_is_written(ends, workdir, tmp_path):
    out = tmp_path / "net.safetensors"
    out.write_text("mine")
    for path in (out, tmp_path / "net.pt", tmp_path):
        status, said = ends(export, "--workdir", workdir, "--out", path)
        assert status == 2
        assert_words("net|suffix", said)
    assert out.read_text() == "mine" and [*tmp_path.iterdir()] == [out]
    status, _ = ends(export, "--workdir", tmp_path, "--out", tmp_path / "a.npz")
    assert status == 2 and not (tmp_path / "a.npz").exists()


def exported(workdir, tmp_path):
    out = tmp_path / "net.safetensors"
    weights.export(configs.read(workdir), workdir, out)
    return out, *weights.read(out)


def other(metadata, **changed):
    model = json.loads(metadata["model"]) | changed
    return metadata | {"model": json.dumps(model)}


def test_a_file_that_is_no_such_network_is_refused(workdir, tmp_path):
    out, arrays, metadata = exported(workdir, tmp_path)
    name = "params.last.kernel"
    changed = arrays | {name: arrays[name] + 1}
    wide = arrays | {name: arrays[name].astype(np.float64)}
    less = {k: v for k, v in arrays.items() if k != name}
    cases = [
        (changed, metadata),
        (arrays, {}),
        (arrays, metadata | {"format": "jaxcert-weights-9"}),
        (arrays, {k: v for k, v in metadata.items() if k != "model"}),
        (arrays, metadata | {"model": "[]"}),
        (arrays, other(metadata, name="nope")),
        (arrays, other(metadata, width=4)),
        (arrays, other(metadata, head="lln")),
        (less, metadata | {"digest": checkpoint.digest(less)}),
        (wide, metadata | {"digest": checkpoint.digest(wide)}),
    ]
    for given in cases:
        weights.write(out, *given)
        with pytest.raises(InputError):
            weights.load(out)
    weights.write(out, arrays, metadata)
    assert weights.load(out).model.num_classes == 10


@pytest.mark.parametrize("name", ["net.safetensors", "net.npz"])
def test_damaged_files_are_refused(workdir, tmp_path, name):
    out = tmp_path / name
    weights.export(configs.read(workdir), workdir, out)
    data = out.read_bytes()
    for content in (b"", data[:4], data[:100], data[:-9], b"\xff" * 64, b"[]" * 64):
        out.write_bytes(content)
        with pytest.raises(InputError, match=name):
            weights.load(out)
    with pytest.raises(InputError):
        weights.load(tmp_path / "missing.npz")


def test_a_network_that_computes_in_bfloat16_brings_its_float32_form(tmp_path):
    section = ConfigDict(quickstart.get_config().model.to_dict())
    section.update(width=2, conv="aol", dtype="bfloat16")
    model = configs.build("models", section)
    shapes = jax.eval_shape(model.init, random_keys.key(0))
    params, state = jax.tree.map(lambda s: np.ones(s.shape, s.dtype), shapes)
    network = Network(model, params, state)
    arrays = checkpoint.arrays_of(network)
    metadata = {"format": weights.FORMAT, "digest": checkpoint.digest(arrays)}
    metadata["model"] = json.dumps(section.to_dict())
    weights.write(tmp_path / "net.npz", arrays, metadata, npz=True)
    loaded = weights.load(tmp_path / "net.npz")
    assert loaded.exact is not None and loaded.exact is not loaded.model
