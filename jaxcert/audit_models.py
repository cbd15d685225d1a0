"""Networks made of audit_layers.py: a part of audit_network.py.

Each function takes the arguments of a file of jaxcert/models and the arrays of each module by
their own names, in float64.
"""

import math
from collections.abc import Callable
from functools import partial, reduce
from typing import NamedTuple

import numpy as np

if __package__:
    from jaxcert import audit_layers as kinds
else:
    import audit_layers as kinds

LAYERS = dict(lot=kinds.lot, cayley=kinds.cayley, bro=kinds.bro, aol=kinds.aol)
LAYERS |= dict(sll=kinds.sll, cpl=kinds.cpl, soc=kinds.soc)
ACTIVATIONS = dict(maxmin=kinds.maxmin, hh1=kinds.hh1, hh2=kinds.hh2)


class Layer(NamedTuple):
    """A step of a network."""

    apply: Callable
    constant: float = 1.0
    name: str = ""
    """that in the record's `layers`; empty for a step that is none, of constant 1"""


class Network(NamedTuple):
    norm: str
    layers: list[Layer]
    head: np.ndarray
    """[K,K], the constants of z_i - z_j in terms of what the layers give"""
    margins: Callable | None = None
    """(lower, upper, y) -> lower bounds [B,K] of z_y - z_j in boxes of images"""

    def logits(self, image):
        return reduce(lambda x, layer: layer.apply(x), self.layers, image)

    def pairwise(self) -> np.ndarray:
        return math.prod(layer.constant for layer in self.layers) * self.head


def lip_convnet(m: dict, of: dict) -> Network:
    def normalise(x):
        return (x - np.array(m["mean"])) / m["std"]

    layers = [Layer(normalise, 1 / m["std"], "normalisation")]
    side, _, inputs = m["image_shape"]
    for stage, i in np.ndindex(m["stages"], m["blocks"]):
        last, features = i == m["blocks"] - 1, m["width"] * 2**stage
        if last:  # of stride 2
            layers.append(Layer(kinds.space_to_depth))
            side, inputs, features = side // 2, 4 * inputs, 2 * features
        name = f"conv{stage + 1}_{i}"
        how = dict(polar=m["polar"], inputs=inputs)
        apply, constant = LAYERS[m["conv"]](of[name], side, features, how)
        angles = of.get(f"act{stage + 1}_{i}", {})
        act = partial(ACTIVATIONS[m["activation"]], **angles)
        if m["residual"] and 0 < i < m["blocks"] - 1:
            apply, act = averaged(apply, act), as_it_is
            constant = (1 + constant) / 2
        layers += [Layer(apply, constant, name), Layer(act)]
        inputs = features
    layers.append(Layer(kinds.channels_first))
    classes = m["num_classes"]
    if m["head"] == "lln":
        apply, head = kinds.normalised_head(of["last"])
        return Network("l2", [*layers, Layer(apply)], head)
    how = dict(polar=m["polar"], inputs=inputs)
    apply, constant = LAYERS[m["conv"]](of["last"], 1, classes, how)
    layers.append(Layer(on_one_pixel(apply), constant, "last"))
    return Network("l2", layers, np.full((classes, classes), math.sqrt(2)))


def averaged(apply, act):
    return lambda x: (x + act(apply(x))) / 2


def on_one_pixel(apply):
    return lambda x: apply(x[:, None, None])[:, 0, 0]


def as_it_is(x):
    return x


def liresnet(m: dict, of: dict) -> Network:
    """LiResNet (arXiv:2301.12549), LiResNet++ (arXiv:2310.02513) and BRONet, which differ in
    blocks, in what is behind them, and in a running mean."""
    p, side, act = of["blocks"], m["image_shape"][0], Layer(kinds.maxmin)
    count, depth = m["depth"], m.get("dense_depth", 0)
    if len(p["kernel"]) != count or len(of.get("stack", {}).get("bias", ())) != depth:
        raise ValueError(f"there are not {count} blocks and {depth} dense layers")
    stem = kinds.bounded_conv(of["stem"], side, 2, 2)
    layers = [Layer(lambda x: x - 0.5), Layer(*stem, "stem"), act]
    branch = p["kernel"] * p["gain"][:, None, None, None] / math.sqrt(count)
    branch[:, 1, 1] += np.eye(*branch.shape[3:])
    for i, (kernel, bias) in enumerate(
        zip(branch, p["bias"] - p.get("mean", 0), strict=True)
    ):
        if m["name"] == "bronet":
            q = kinds.reflector(kinds.on_torus(kernel, side // 2 + 2), 1e-7)
            found = kinds.spectral(q, 3, bias)
        else:
            block = dict(kernel=kernel, bias=bias)
            found = kinds.bounded_conv(block, side // 2, 1, 1)
        layers += [Layer(*found, numbered("blocks", i, count)), act]
    if m["name"] == "liresnet":
        neck = kinds.bounded_conv(of["neck"], side // 2, 4, 0)
        layers += [Layer(*neck, "neck"), act, Layer(kinds.channels_first)]
        after = kinds.dense(of["neck_dense"], of["neck_dense"]["kernel"].T)
    else:
        kernel = of["neck"]["kernel"]
        q = kinds.rows_orthogonal(kernel.reshape(-1, kernel.shape[3]).T)
        patches = partial(kinds.conv, kernel=q.T.reshape(kernel.shape), stride=4)
        layers += [
            Layer(patches, kinds.largest(q), "neck"),
            Layer(kinds.channels_first),
        ]
        q = kinds.rows_orthogonal(of["neck_dense"]["kernel"].T)
        after = kinds.dense(of["neck_dense"], q)
    layers += [Layer(*after, "neck_dense"), act]
    for i in range(depth):
        p = {k: v[i] for k, v in of["stack"].items()}
        x = np.eye(m["dense"]) + p["kernel"].T * p["gain"][:, None] / math.sqrt(depth)
        found = kinds.dense(p, kinds.rows_orthogonal(x))
        layers += [Layer(*found, numbered("stack", i, depth)), act]
    apply, head = kinds.normalised_head(of["head"])
    return Network("l2", [*layers, Layer(apply)], head)


def numbered(name: str, i: int, count: int) -> str:
    return name if count == 1 else f"{name}_{i}"


def lipnext(m: dict, of: dict) -> Network:
    """LipNeXt (arXiv:2601.18513), two layers a block."""
    width, blocks = m["width"], of["blocks"]
    cut = partial(kinds.tokens, patch=m["patch"], width=width)
    layers = [Layer(lambda x: cut(x - 0.5))]
    for i, (r, turn) in enumerate(of["blocks.orthogonal"]["kernel"]):
        p = {name: array[i] for name, array in blocks.items()}
        groups = int(m["shift"] * width), int(m["bend"] * width)
        both = kinds.rotated(r, turn, p, *groups)
        layers += [Layer(*half, f"blocks_{2 * i + j}") for j, half in enumerate(both)]
    apply, head = kinds.pooled_head(of["head"])
    return Network("l2", [*layers, Layer(apply)], head)


def dist_net(m: dict, of: dict) -> Network:
    """l_inf-dist net, SortNet and hybrid (arXiv:2102.05363, 2210.01787)."""
    count, top = m["depth"] - (2 if m["hidden"] else 1), of.get("", {})
    hidden = [
        (kinds.neuron(of[f"dist_{i}"]["kernel"], m["rho"] * bool(i), m["num_terms"]), s)
        for i, s in ((i, of[f"shift_{i}"]["mean"]) for i in range(count))
    ]
    scale = float(top["scale"]) if m["learn_scale"] else 1.0
    step, places = m.get("stride", 0), 4 if m.get("stride", 0) else 1

    def normalise(x):
        x = (x - np.array(m["mean"])) / m["std"]
        if step:  # four parts of each image, as rows of their own
            size = [side - step for side in x.shape[1:3]]
            corners = [(i, j) for i in (0, step) for j in (0, step)]
            x = [x[:, i : i + size[0], j : j + size[1]] for i, j in corners]
            x = np.stack(x, 1).reshape(4 * len(x[0]), -1)
        return x.reshape(len(x), -1)

    def together(x):
        return x.reshape(len(x) // places, -1)

    layers = [Layer(normalise, 1 / m["std"], "normalisation")]
    for i, (bounds, shift) in enumerate(hidden):
        layers.append(Layer(distance(bounds, shift), 1.0, f"dist_{i}"))
    if m["hidden"]:
        tanh = kinds.TanhHead(of["head.linear"], of["head.final"])
        layers += [Layer(together)] * bool(step)
        layers, head = [*layers, Layer(tanh)], tanh.constants()
    else:
        last = kinds.neuron(of["last"]["kernel"], m["rho"], m["num_terms"])
        layers.append(Layer(lambda x: -(last(x, x)[1] + top["bias"]), 1.0, "last"))
        head = np.full((m["num_classes"],) * 2, 2.0)
    if m["learn_scale"]:
        layers.append(Layer(lambda f: scale * f, abs(scale), "scale"))

    def margins(lower, upper, y):
        lower, upper = normalise(lower), normalise(upper)
        for bounds, shift in hidden:
            lower, upper = bounds(lower, upper) - shift
        if m["hidden"]:
            lower, upper = together(lower), together(upper)
            found = tanh.margins(lower, upper, y)
            return scale * found if scale >= 0 else np.full_like(found, np.nan)
        near, far = last(lower, upper) + top["bias"]
        low, high = np.sort([-scale * far, -scale * near], 0)
        return low[np.arange(len(y)), y][:, None] - high

    return Network("linf", layers, head, margins)


def distance(bounds, shift):
    return lambda x: bounds(x, x)[1] - shift


NETWORKS = dict(lip_convnet=lip_convnet, liresnet=liresnet, liresnet_pp=liresnet)
NETWORKS |= dict(bronet=liresnet, lipnext=lipnext, dist_net=dist_net)
