"""State dicts of EDM's denoisers (Karras et al. 2022) -> our trees.

The weights that were published with EDM are under CC BY-NC-SA 4.0, and so is a workdir
that is imported from them.

    theirs                                       ours
    enc.<n>x<n>_<what>, dec.<n>x<n>_<what>       enc_<n>x<n>_<what>, dec_<n>x<n>_<what>
    dec.<n>x<n>_aux_norm, _aux_conv, or out_..   out_norm, out_conv
    map_layer<j>, map_label, map_augment         embedding: layer<j>, label, augment
    map_noise.freqs                              constants: embedding.noise.freqs
    in a block: norm2, qkv, proj                 attention: norm, qkv, proj
    <1x1 convolution>.weight [O,I,1,1]           kernel [I,O]
    <normalisation>.weight                       scale

Rows of qkv are (head, channel, which of q, k, v) there and (which, head, channel) here.
The filters of resampling are part of the network here, so that only their size is
checked.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from jaxcert.errors import InputError
from jaxcert.torch_import import state_dict, wrapping
from jaxcert.torch_import.state_dict import Arrays, Shapes

NETWORK = "an EDM network (DDPM++, NCSN++ or ADM)"


class _Layer(NamedTuple):
    theirs: str
    ours: tuple[str, ...]
    weight: tuple[int, ...]
    bias: bool = True
    heads: int = 0  # those of a qkv


def convert_state_dict(
    arrays: Arrays, image_shape: tuple[int, int, int]
) -> tuple[dict, dict, dict]:
    """Return (params, state, facts) of `models.edm_unet`; image_shape is (H, W, C).

    The network may be wrapped (torch_import/wrapping.py). facts are the keys of config.model
    that the arrays show: kind, num_classes, width, multipliers, blocks, attention (falling),
    embedding, augment_labels. Values keep their type, float32 or float64. Raises InputError
    naming a tensor that is missing, unknown, of a wrong shape, of another type, or not finite.
    """
    arrays = wrapping.network_in(arrays, "map_layer0.weight", network=NETWORK)
    facts = _facts(arrays, image_shape[0])

    def shapes_of(facts, shape):  # the sides are in the names, and _facts compares them
        return tensors(facts, (*image_shape[:2], shape[2]))

    state_dict.check(arrays, facts, shapes_of, network=NETWORK, image_shape=image_shape)
    params: dict = {}
    for layer in _layers(facts, image_shape):
        node = params
        for key in layer.ours:
            node = node.setdefault(key, {})
        node |= _leaves(arrays, layer)
    if facts["kind"] != "ncsnpp":
        return params, {}, facts
    noise = {"freqs": arrays["map_noise.freqs"]}
    return params, {"constants": {"embedding": {"noise": noise}}}, facts


def tensors(facts: dict, image_shape: tuple[int, int, int]) -> Shapes:
    """Return the shape of every tensor in the state dict of a network with these facts,
    by name."""
    shapes: Shapes = {}
    for layer in _layers(facts, image_shape):
        shapes[f"{layer.theirs}.weight"] = layer.weight
        if layer.bias:
            shapes[f"{layer.theirs}.bias"] = layer.weight[:1]
    return shapes | _buffers(facts, image_shape[0])


def _layers(facts: dict, image_shape: tuple[int, int, int]) -> list[_Layer]:
    return [*_embedding(facts), *_unet(facts, image_shape)]


def _facts(arrays: Arrays, side: int) -> dict:
    def has(pattern: str) -> bool:
        return any(re.match(pattern, name) for name in arrays)

    def shape(name: str, axes: int = 2) -> tuple[int, ...]:
        return state_dict.shape_of(arrays, name, axes, NETWORK)

    kind = "ncsnpp" if has(r"map_noise\.|enc.*aux_residual\.") else "ddpmpp"
    kind = "adm" if has(r"out_") else kind
    features, noise = shape("map_layer0.weight")
    width = max(noise // 2 if kind == "ncsnpp" else noise, 1)
    found = {int(m[1]) for m in (re.match(r"enc\.(\d+)x\1_", n) for n in arrays) if m}
    sides = sorted(found, reverse=True) or [side]
    if sides[0] != side:
        raise InputError(
            f"the state dict is of a network for images of {sides[0]}x{sides[0]}: set "
            f"model.image_shape, which has {side}."
        )
    blocks = {
        m[1]
        for m in (re.match(rf"enc\.{side}x.*_block(\d+)\.", n) for n in arrays)
        if m
    }
    widths = [shape(f"enc.{n}x{n}_block0.conv1.weight", 4)[1] for n in sides]
    return dict(
        kind=kind,
        num_classes=shape("map_label.weight")[1] if has("map_label") else 0,
        width=width,
        multipliers=tuple(channels // width for channels in widths),
        blocks=len(blocks),
        attention=tuple(
            n for n in sides if has(rf"enc\.{n}x{n}_block\d+\.(norm2|qkv|proj)\.")
        ),
        embedding=features // width,
        augment_labels=shape("map_augment.weight")[1] if has("map_augment") else 0,
    )


def _embedding(facts: dict) -> Iterator[_Layer]:
    width, features = facts["width"], facts["width"] * facts["embedding"]
    adm = facts["kind"] == "adm"
    noise = 2 * width if facts["kind"] == "ncsnpp" else width

    def layer(theirs: str, *weight: int, bias: bool = True) -> _Layer:
        return _Layer(theirs, ("embedding", theirs.removeprefix("map_")), weight, bias)

    yield layer("map_layer0", features, noise)
    yield layer("map_layer1", features, features)
    if facts["num_classes"]:
        rows = features if adm else noise
        yield layer("map_label", rows, facts["num_classes"], bias=not adm)
    if facts["augment_labels"]:
        yield layer("map_augment", noise, facts["augment_labels"], bias=False)


def _unet(facts: dict, image_shape: tuple[int, int, int]) -> Iterator[_Layer]:
    """Return the shapes of the U-Net's tensors, in the order of the network."""
    kind, blocks, (side, _, colours) = facts["kind"], facts["blocks"], image_shape
    widths = [facts["width"] * m for m in facts["multipliers"]]
    levels = [(side >> i, f"{side >> i}x{side >> i}", w) for i, w in enumerate(widths)]
    c = widths[0] if kind == "adm" else facts["width"]
    image, kept = colours, []
    for n, size, features in levels:
        if n == side:
            yield _conv(f"enc.{size}_conv", colours, c)
        else:
            yield from _block(facts, f"enc.{size}_down", c, c, resampled=True)
            if kind == "ncsnpp":
                yield _conv(f"enc.{size}_aux_residual", image, c)
                image = c
        kept.append(c)
        for j in range(blocks):
            attends = n in facts["attention"]
            yield from _block(facts, f"enc.{size}_block{j}", c, features, attends)
            c = features
            kept.append(c)
    for n, size, features in reversed(levels):
        if n == levels[-1][0]:
            yield from _block(facts, f"dec.{size}_in0", c, c, attends=True)
            yield from _block(facts, f"dec.{size}_in1", c, c)
        else:
            yield from _block(facts, f"dec.{size}_up", c, c, resampled=True)
        for j in range(blocks + 1):
            attends = n in facts["attention"] and (kind == "adm" or j == blocks)
            c += kept.pop()
            yield from _block(facts, f"dec.{size}_block{j}", c, features, attends)
            c = features
    output = _output(facts, side)
    yield _Layer(f"{output}norm", ("out_norm",), (c,))
    yield _Layer(f"{output}conv", ("out_conv",), (colours, c, 3, 3))


def _output(facts: dict, side: int) -> str:
    return "out_" if facts["kind"] == "adm" else f"dec.{side}x{side}_aux_"


def _conv(name: str, c_in: int, c_out: int) -> _Layer:
    return _Layer(name, (name.replace(".", "_"),), (c_out, c_in, 3, 3))


def _block(
    facts: dict,
    name: str,
    c_in: int,
    c_out: int,
    attends: bool = False,
    *,
    resampled: bool = False,
) -> Iterator[_Layer]:
    adm, features = facts["kind"] == "adm", facts["width"] * facts["embedding"]
    heads = (c_out // 64 if adm else 1) if attends else 0
    ours = name.replace(".", "_")

    def layer(theirs: str, *weight: int) -> _Layer:
        return _Layer(f"{name}.{theirs}", (ours, theirs), weight)

    yield layer("norm0", c_in)
    yield layer("conv0", c_out, c_in, 3, 3)
    yield layer("affine", 2 * c_out if adm else c_out, features)
    yield layer("norm1", c_out)
    yield layer("conv1", c_out, c_out, 3, 3)
    if c_in != c_out or (resampled and not adm):
        yield layer("skip", c_out, c_in, 1, 1)
    if heads:
        inside = ours, "attention"
        yield _Layer(f"{name}.norm2", (*inside, "norm"), (c_out,))
        qkv = (3 * c_out, c_out, 1, 1)
        yield _Layer(f"{name}.qkv", (*inside, "qkv"), qkv, heads=heads)
        yield _Layer(f"{name}.proj", (*inside, "proj"), (c_out, c_out, 1, 1))


def _buffers(facts: dict, side: int) -> Shapes:
    """Return the shapes of the filters of resampling, and of the frequencies of NCSN++."""
    ncsnpp, shapes = facts["kind"] == "ncsnpp", {}
    taps = 4 if ncsnpp else 2
    for i in range(1, len(facts["multipliers"])):
        small, large = side >> i, side >> i - 1
        names = [f"enc.{small}x{small}_down", f"dec.{large}x{large}_up"]
        names = [f"{name}.{part}" for name in names for part in ("conv0", "skip")]
        names += [f"enc.{small}x{small}_aux_residual"] if ncsnpp else []
        shapes |= {f"{name}.resample_filter": (1, 1, taps, taps) for name in names}
    return shapes | ({"map_noise.freqs": (facts["width"],)} if ncsnpp else {})


def _leaves(arrays: Arrays, layer: _Layer) -> dict[str, np.ndarray]:
    weight = arrays[f"{layer.theirs}.weight"]
    leaves = {"bias": arrays[f"{layer.theirs}.bias"]} if layer.bias else {}
    if layer.heads:
        weight = _three_thirds(weight, layer.heads)
        leaves["bias"] = _three_thirds(leaves["bias"], layer.heads)
    if weight.ndim == 1:
        return leaves | {"scale": weight}
    if weight.ndim == 2 or weight.shape[2:] == (1, 1):
        return leaves | {"kernel": weight.reshape(weight.shape[:2]).T}
    return leaves | {"kernel": state_dict.hwio(weight)}


def _three_thirds(rows: np.ndarray, heads: int) -> np.ndarray:
    """Reorder the first axis from (head, channel, which) to (which, head, channel)."""
    split = rows.reshape(heads, -1, 3, *rows.shape[1:])
    return np.moveaxis(split, 2, 0).reshape(rows.shape)
