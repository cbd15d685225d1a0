"""What an error about a network from elsewhere advises works: the fault, its sentence, the
advice followed, no error. That of wrapped networks and pickles is followed where these are
tested."""

from __future__ import annotations

import ast
import inspect
import json
import re
import sys
import tomllib
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from test_wrapping import NETWORKS, network

from jaxcert import config as configs
from jaxcert.errors import InputError
from jaxcert.import_torch import network_of
from jaxcert.torch_import import arrays, state_dict
from jaxcert.torch_import.workdir import import_torch
from jaxcert.workdirs.runs import refuse_another

ROOT = Path(__file__).parents[2]


def refused(call, words):
    with pytest.raises(InputError) as caught:
        call()
    said = str(caught.value)
    assert re.search(words, said) and re.fullmatch(r"[^\n]+\.", said), said
    return said


def changed(leaf, change):
    return lambda state: state | {leaf: change(state[leaf])}


def without(leaf):
    return lambda state: {name: a for name, a in state.items() if name != leaf}


def filled(value):
    return lambda array: np.full_like(array, value)


# (words of the sentence, network, what is wrong); the state dict as it was is what is advised
EXPORTED = {
    "no tensor": ("export all tensors of", "lenet", without("conv1.bias")),
    "no anchor": ("export all tensors of", "resnet", without("fc.weight")),
    "no buffer": (
        "export all of model.state_dict.., buffers",
        "liresnet",
        without("init_layer"),
    ),
    "another tensor": (
        "which is no tensor of .*: give the state dict of one of these",
        "lenet",
        lambda state: state | {"fc3.weight": state["fc2.weight"]},
    ),
    "empty": (
        "none of them empty: export the state dict again",
        "dist_net",
        changed("fc_dist.0.weight", lambda a: a[:0]),
    ),
    "axes": (
        "this network .*: export the state dict again",
        "lenet",
        changed("conv1.bias", lambda a: a[None]),
    ),
    "size": (
        "another number of classes: give the state dict of",
        "lenet",
        changed("fc2.bias", lambda a: a[1:]),
    ),
    "half": (
        "export the float32 ones",
        "lenet",
        changed("fc1.bias", lambda a: a.astype(np.float16)),
    ),
    "not finite": (
        "of a training that did not diverge",
        "lenet",
        changed("fc1.bias", filled(np.nan)),
    ),
    "no variance": (
        "no variance: export the state dict again",
        "resnet",
        changed("bn1.running_var", filled(-1)),
    ),
    "twice": (
        "both .* leave one out",
        "lenet",
        lambda state: state | {"module.fc1.bias": state["fc1.bias"]},
    ),
    "other stages": (
        "give the state dict of one",
        "resnet",
        lambda state: {n.replace("layer3.1", "layer4.0"): a for n, a in state.items()},
    ),
}


@pytest.mark.parametrize("words,name,fault", EXPORTED.values(), ids=EXPORTED)
def test_state_dicts(words, name, fault):
    state, convert, _ = network(name)
    refused(partial(convert, fault(state)), words)
    convert(state)


@pytest.mark.parametrize(
    "one,other", [("liresnet_pp", "bronet"), ("bronet", "liresnet_pp")]
)
def test_a_state_dict_of_the_other_network(one, other):
    """`give the state dict of one, or a config of the other`."""
    (state, _, _), (good, convert, _) = network(one), network(other)
    refused(partial(convert, state), "or a config of the other|export all tensors of")
    network(one)[1](state)
    convert(good)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_keys_that_are_named_are_those_to_change(name):
    shape = NETWORKS[name][2]
    if name in ("liresnet_pp", "bronet"):  # whose necks take no less
        shape = (16, 16, 3)
    state = network(name, shape)[0]
    known = inspect.signature(configs.maker("models", name)).parameters
    none = dict(mean=(0.0,) * shape[-1], std=(1.0,) * shape[-1])
    if "std" in known and isinstance(known["std"].default, float):
        none["std"] = 1.0
    none = {key: value for key, value in none.items() if key in known}
    given = partial(network_of, state, name, image_shape=shape, **none)
    said = refused(partial(given, num_classes=9), "or change these keys")
    there = re.search(r"a network of (.*) where", said)[1]
    keys = dict(re.findall(r"model\.(\w+)=(.*?)(?=, model\.|$)", there))
    given(**{key: ast.literal_eval(value) for key, value in keys.items()})


def test_what_network_of_takes(tmp_path):
    state, _, _ = network("lenet")
    given = dict(image_shape=(16, 16, 1))
    said = refused(partial(network_of, state, "small_cnn"), "give a config of one")
    assert "lenet" in re.search(r"networks of (.*) are imported", said)[1].split(", ")
    said = refused(partial(network_of, [state], "lenet", **given), "give torch_model")
    assert "or the path of an npz or safetensors file" in said

    class Module:
        def state_dict(self):
            return state

    np.savez(tmp_path / "a.npz", **state)
    for known in (Module(), Module().state_dict(), tmp_path / "a.npz"):
        network_of(known, "lenet", **given)
    said = refused(
        partial(network_of, state, "lenet", part="x"), "its names begin with"
    )
    there = re.search(r"begin with (.*)\.$", said)[1].split(", ")
    assert set(there) == {name.partition(".")[0] for name in state}


def test_files(tmp_path):
    state, convert, _ = network("lenet")
    np.savez(tmp_path / "a.npz", **state)
    whole = (tmp_path / "a.npz").read_bytes()
    (tmp_path / "a.npz").write_bytes(whole[: len(whole) // 2])
    refused(partial(arrays.read, tmp_path / "a.npz"), "copy it again")
    (tmp_path / "a.npz").write_bytes(whole)
    convert(arrays.read(tmp_path / "a.npz"))


def test_packages_that_are_named_are_those_of_the_project(tmp_path, monkeypatch):
    """Their installation is advised by the names of extras. And the other way works."""
    state, convert, _ = network("lenet")
    (tmp_path / "a.safetensors").touch()
    monkeypatch.setitem(sys.modules, "safetensors", None)
    said = refused(
        partial(arrays.read, tmp_path / "a.safetensors"),
        "or save the tensors by np.savez",
    )
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (extra,) = re.findall(r"pip install 'jaxcert\[(\w+)\]'", said)
    packages = extras["optional-dependencies"][extra]
    assert any(package.startswith("safetensors") for package in packages)
    np.savez(tmp_path / "a.npz", **state)
    convert(arrays.read(tmp_path / "a.npz"))


def test_a_workdir_with_checkpoints(tmp_path):
    """`name another --workdir`, of an import and of a training of what was imported."""

    state, _, _ = network("lenet")
    np.savez(tmp_path / "a.npz", **state)
    config = configs.load(str(ROOT / "configs/smoothing/digits.py"))
    config.model = configs.ConfigDict(
        dict(
            name="lenet",
            image_shape=(16, 16, 1),
            num_classes=3,
        )
    )
    one, two = tmp_path / "one", tmp_path / "two"
    import_torch(tmp_path / "a.npz", config, one)
    refused(
        partial(import_torch, tmp_path / "a.npz", config, one), "name another --work"
    )
    import_torch(tmp_path / "a.npz", config, two)
    other = configs.ConfigDict(config.to_dict() | dict(seed=1))
    refused(partial(refuse_another, two, other), "name another --workdir")
    refuse_another(tmp_path / "three", other)


class Tensor:
    """One of torch, of a type that numpy may lack or not, on a device of its own or not."""

    def __init__(self, array, readable=True):
        self._array, self._readable = array, readable
        self.shape, self.dtype = array.shape, array.dtype

    def __array__(self, dtype=None, copy=None):
        if not self._readable:
            raise TypeError
        return self._array

    def numpy(self):
        return np.asarray(self)


def test_tensors_on_the_cpu_are_read():
    state, convert, _ = network("lenet")

    def held(readable):
        return {name: Tensor(array, readable) for name, array in state.items()}

    refused(
        partial(convert, held(False)),
        r"give the state_dict\(\) of the model in float32",
    )
    convert(held(True))


def test_the_code_that_exports_a_pickle(tmp_path, monkeypatch):
    """With a stand-in for torch; test_import_dist_net.py has it with torch itself."""
    state, convert, _ = network("lenet")
    (tmp_path / "model.pth").write_bytes(b"\x80\x04}.")
    said = refused(partial(arrays.read, tmp_path / "model.pth"), "export it once")
    tensors = {name: Tensor(array) for name, array in state.items()}
    files = {"model.pth": {"state_dict": tensors}}
    torch = SimpleNamespace(load=lambda path, map_location: files[path])
    monkeypatch.chdir(tmp_path)
    code = said.partition("where torch is, by ")[2].partition(", where other files")[0]
    eval(code, {"np": np, "torch": torch})
    found = arrays.read(tmp_path / "model.npz")
    assert found.keys() == state.keys()
    convert(found)


def test_safetensors_of_types_that_numpy_lacks(tmp_path):
    save = pytest.importorskip("safetensors.numpy").save_file
    path = tmp_path / "a.safetensors"

    def written(kind, size):
        header = {"w": {"dtype": kind, "shape": [2], "data_offsets": [0, 2 * size]}}
        text = json.dumps(header).encode()
        path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(2 * size))
        return path.read_bytes()

    def read():  # with ml_dtypes numpy has them, and they are refused by their type
        state_dict._check_values("w", arrays.read(path)["w"])

    written("BF16", 2)
    refused(read, "w has values of .*: export the float32 ones")
    whole = written("F32", 4)
    read()
    path.write_bytes(whole[:-1])
    refused(
        partial(arrays.read, path), "no safetensors file, or cut off: copy it again"
    )
    save({"w": np.zeros(2, np.float32)}, path)
    assert arrays.read(path)["w"].shape == (2,)
