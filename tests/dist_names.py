"""State dicts of SortNet and L_inf-dist-net -> our trees, name by name."""

from __future__ import annotations

import re

import numpy as np


def to_trees(arrays: dict, image_shape):
    """(params, state); image_shape is (C, H, W). Missing collections are left out."""
    layers = [re.fullmatch(r"fc_dist\.(\d+)\.weight", name) for name in arrays]
    last = max((int(found[1]) for found in layers if found), default=0)
    hybrid = any(n.startswith("fc_final") for n in arrays)
    params, means = {}, {}
    for name, array in arrays.items():
        array = np.asarray(array)
        found = re.fullmatch(r"fc_dist\.(\d+)\.(.+)", name)
        if found is None:
            put_head(params, name, array)
            continue
        layer, leaf = int(found[1]), found[2]
        if leaf.endswith("running_mean"):
            means[f"shift_{layer}"] = {"mean": array}
        elif leaf == "bias":
            params["bias"] = array
        else:
            if layer == 0:
                array = array.reshape(len(array), *image_shape).transpose(2, 3, 1, 0)
                array = array.reshape(-1, array.shape[-1]).T
            own = "last" if layer == last and layer and not hybrid else f"dist_{layer}"
            params[own] = {"kernel": array.T.astype(np.float64)}
    return params, {"mean_shift": means}


def put_head(params, name, array):
    if name == "scalar":
        params["scale"] = array.astype(np.float64).reshape(())
        return
    layer = {"fc_linear.0": "linear", "fc_final": "final"}[name.rpartition(".")[0]]
    leaf, value = ("bias", array) if name.endswith("bias") else ("kernel", array.T)
    params.setdefault("head", {}).setdefault(layer, {})[leaf] = value.astype(np.float64)
