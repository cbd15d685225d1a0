"""PyTorch state dicts of the smoothing classifiers <-> our trees, name by name.

`place(name)` says where one tensor lives: (collection, path of keys, slot of the stacked
blocks or None). Everything else is layout: OIHW <-> HWIO, [out, in] <-> [in, out].
"""

from __future__ import annotations

import re

import numpy as np

_LEAF = {
    "bias": ("params", "bias"),
    "running_mean": ("batch_stats", "mean"),
    "running_var": ("batch_stats", "var"),
}
_RESNET = {
    "conv1": "stem",
    "bn1": "stem_bn",
    "fc": "head",
    "downsample.0": "shortcut",
    "downsample.1": "shortcut_bn",
}


def resnet_place(name: str):
    module, _, leaf = name.removeprefix("1.").rpartition(".")
    block = re.fullmatch(r"layer(\d)\.(\d+)\.(.*)", module)
    if not block:
        return (_RESNET[module],), leaf, None
    stage, number, inner = block[1], int(block[2]), block[3]
    inner = _RESNET.get(inner, inner) if inner.startswith("downsample") else inner
    if number == 0:
        return (f"stage{stage}_first", inner), leaf, None
    return (f"stage{stage}_rest", inner), leaf, number - 1


def plain_place(name: str):
    module, _, leaf = name.rpartition(".")
    return ({"fc": "head"}.get(module, module),), leaf, None


def to_trees(arrays: dict, place, dtype=np.float64):
    """(params, state) of a state dict {name: array}."""
    trees: dict = {"params": {}, "batch_stats": {}}
    for name, array in arrays.items():
        module, leaf, slot = place(name)
        collection, key = _leaf(leaf, array.ndim)
        node = trees[collection]
        for part in module:
            node = node.setdefault(part, {})
        value = _ours(np.asarray(array, dtype))
        if slot is None:
            node[key] = value
        else:
            node.setdefault(key, {})[slot] = value
    trees = _stacked(trees)
    params = trees.pop("params")
    return params, {k: v for k, v in trees.items() if v}


def tensor(params, state, name: str, place, ndim: int):
    """One tensor of our trees, in PyTorch's layout."""
    module, leaf, slot = place(name)
    collection, key = _leaf(leaf, ndim)
    node = {"params": params, **state}[collection]
    for part in module:
        node = node[part]
    value = np.asarray(node[key] if slot is None else node[key][slot])
    return {4: lambda v: v.transpose(3, 2, 0, 1), 2: np.transpose}.get(
        value.ndim, np.asarray
    )(value)


def generated(names, shapes, seed: int) -> dict[str, np.ndarray]:
    """Weights by the rule of the golden README, drawn in the order of the names."""
    random = np.random.RandomState(int(seed))  # noqa: NPY002, the recorded generator
    arrays = {}
    for name, text in zip(names, shapes, strict=True):
        shape = tuple(int(d) for d in re.findall(r"\d+", str(text)))
        z = random.standard_normal(shape)
        arrays[str(name)] = _scaled(str(name), z).astype(np.float32)
    return arrays


def _scaled(name: str, z: np.ndarray) -> np.ndarray:
    if name.endswith("running_var"):
        return 0.5 + np.abs(z)
    if name.endswith(("running_mean", "bias")):
        return 0.1 * z
    if z.ndim == 4:
        return z * 0.7 * np.sqrt(2 / np.prod(z.shape[1:]))
    return 0.8 + 0.1 * z if z.ndim == 1 else 0.2 * z


def _leaf(leaf: str, ndim: int):
    if leaf == "weight":
        return "params", "scale" if ndim == 1 else "kernel"
    return _LEAF[leaf]


def _ours(array: np.ndarray) -> np.ndarray:
    return array.transpose(2, 3, 1, 0) if array.ndim == 4 else array.T


def _stacked(node):
    if not isinstance(node, dict):
        return node
    if node and all(isinstance(key, int) for key in node):
        return np.stack([node[i] for i in range(len(node))])
    return {key: _stacked(value) for key, value in node.items()}
