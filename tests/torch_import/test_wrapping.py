"""Networks in what people's tools save them in, for every converter."""

from __future__ import annotations

import re
from functools import partial

import jax
import numpy as np
import originals
import pytest
from refusals import names, tells

from jaxcert.errors import InputError
from jaxcert.import_torch import network_of
from jaxcert.torch_import import (
    arrays,
    bronet,
    dist_net,
    edm_unet,
    lenet,
    lip_convnet,
    liresnet,
    liresnet_pp,
    resnet,
    resnet18,
    resnet50,
    wide_resnet,
    wrapping,
)

RESNET = dict(width=2, num_classes=10)
LIRESNET = dict(depth=2, width=4, dense=6, num_classes=3)
LIRESNET_PP = LIRESNET | dict(dense_depth=2)
LIP = dict(stages=2, blocks=2, width=2, num_classes=3, conv="lot", activation="maxmin")
EDM = dict(kind="ddpmpp", num_classes=3, width=4, multipliers=(1, 2), blocks=1)
EDM |= dict(attention=(4,), embedding=4, augment_labels=0)

COLOUR, GREY = (8, 8, 3), (16, 16, 1)

NETWORKS = {  # converter, names and shapes, image shape, axes that follow from that
    "resnet": (
        resnet.convert_state_dict,
        partial(
            resnet._shapes, (2, 2, 2), resnet.CIFAR, RESNET | dict(shortcut="conv")
        ),
        COLOUR,
        {"conv1.weight": {1}},
    ),
    "resnet50": (
        resnet50.convert_state_dict,
        partial(resnet._shapes, (1, 2), resnet.IMAGENET, RESNET),
        COLOUR,
        {"conv1.weight": {1}},
    ),
    "resnet18": (
        resnet18.convert_state_dict,
        partial(resnet._shapes, (1, 2), resnet.IMAGENET_BASIC, RESNET),
        COLOUR,
        {"conv1.weight": {1}},
    ),
    "wide_resnet": (
        wide_resnet.convert_state_dict,
        partial(wide_resnet._shapes, RESNET | dict(depth=16, widen=3)),
        COLOUR,
        {"conv1.weight": {1}},
    ),
    "lenet": (
        lenet.convert_state_dict,
        partial(lenet._shapes, dict(num_classes=3)),
        GREY,
        {"conv1.weight": {1}, "fc1.weight": {1}},
    ),
    "dist_net": (
        dist_net.convert_state_dict,
        partial(
            dist_net._shapes,
            dict(depth=3, width=6, num_classes=3, hidden=0, learn_scale=True),
        ),
        COLOUR,
        {"fc_dist.0.weight": {1}},
    ),
    "lip_convnet": (
        lip_convnet.convert_state_dict,
        partial(lip_convnet._shapes, LIP | dict(head="lln", residual=False)),
        (4, 4, 3),
        {"layer1.0.conv.weight": {1}},
    ),
    "liresnet": (
        liresnet.convert_state_dict,
        partial(liresnet._shapes, LIRESNET),
        COLOUR,
        {
            "stem.0.init_x": {1, 2, 3},
            "stem.0.weight": {1},
            "init_layer": {2, 3},
            "neck.0.init_x": {2, 3},
            "neck.3.weight": {1},
            "neck.3.init_x": {1},
        },
    ),
    "liresnet_pp": (
        liresnet_pp.convert_state_dict,
        partial(liresnet_pp._shapes, 4, liresnet_pp.LIRESNET_PP, LIRESNET_PP),
        COLOUR,
        {
            "stem.0.init_x": {1, 2, 3},
            "stem.0.weight": {1},
            "conv.init_x": {2, 3},
            "neck.weight": {1},
        },
    ),
    "bronet": (
        bronet.convert_state_dict,
        partial(liresnet_pp._shapes, 2, liresnet_pp.BRONET, LIRESNET_PP),
        COLOUR,
        {"stem.0.init_x": {1, 2, 3}, "stem.0.weight": {1}, "neck.weight": {1}},
    ),
    "edm_unet": (
        edm_unet.convert_state_dict,
        partial(edm_unet.tensors, EDM),
        COLOUR,
        {
            "enc.8x8_conv.weight": {1},
            "dec.8x8_aux_conv.weight": {0},
            "dec.8x8_aux_conv.bias": {0},
        },
    ),
}


def network(name, shape=None):
    """(state dict, convert of one argument, axes that follow from the images)"""
    convert, shapes_of, image_shape, axes = NETWORKS[name]
    image_shape = shape or image_shape
    state = originals.drawn(shapes_of(image_shape))
    for leaf in state:
        if leaf.endswith("running_var"):
            state[leaf] = np.abs(state[leaf])
        if leaf.endswith("res_lamda_logit"):
            state[leaf][:] = 0
    return state, partial(convert, image_shape=image_shape), axes


def before(prefix):
    return lambda state: {prefix + name: array for name, array in state.items()}


def joined(state, join):
    """As a file has it: dicts in one another, by names of all keys."""
    found = {}
    for key, value in state.items():
        inner = joined(value, join) if isinstance(value, dict) else {"": value}
        found |= {f"{key}{join}{name}".rstrip(join): a for name, a in inner.items()}
    return found


def between(word):
    """As a tool that wraps every layer of its own."""
    return lambda state: {n.replace(".", f".{word}.", 1): a for n, a in state.items()}


def checkpoint(state):
    moments = {i: {"exp_avg": a, "step": i} for i, a in enumerate(state.values())}
    optimizer = {"state": moments, "param_groups": [{"lr": 0.1, "params": [0, 1]}]}
    return {"epoch": 3, "arch": "net", "best_acc1": 93.2, "optimizer": optimizer}


def lightning(state):
    kept = checkpoint(state)
    return {
        "epoch": 3,
        "global_step": 99,
        "pytorch-lightning_version": "2.1.0",
        "state_dict": before("model.")(state)
        | {"val_acc.correct": np.array(7), "val_acc.total": np.array(9)},
        "loops": {"fit_loop": {"epoch_progress": {"total": {"ready": 3}}}},
        "callbacks": {"ModelCheckpoint": {"best_model_score": np.float32(0.5)}},
        "optimizer_states": [kept["optimizer"]],
        "lr_schedulers": [{"_last_lr": [np.ones(2, np.float32)]}],
        "hyper_parameters": {"lr": 0.1, "widths": np.ones(3)},
    }


class Module:
    """What PyTorch's has that matters here."""

    def __init__(self, state):
        self.state_dict = lambda: state


WRAPPED = {
    "a module": lambda s: {"net": Module(before("module.")(s)), "epoch": 3},
    "a Sequential's second": lambda s: before("1.")(s) | {"0.mean": np.empty(0)},
    "in any order": before("module.1._orig_mod.net.model."),
    "a net of kuangliu": lambda s: {
        "net": before("module.")(s),
        "acc": 93.0,
        "epoch": 3,
    },
    "a model": lambda s: {"model": s},
    "a model of a checkpoint": lambda s: checkpoint(s) | {"model_state_dict": s},
    "an average": lambda s: {"ema": before("module.")(s), "decay": 0.999},
    "of SWA": lambda s: before("module.")(s) | {"n_averaged": np.array(5)},
    "lightning": lightning,
    "in a list": lambda s: {"models": [s], "rng": np.zeros(9, np.uint8)},
    "every layer": between("module"),
    "every layer, checkpointed": lambda s: before("_orig_mod.")(
        between("_checkpoint_wrapped_module")(s)
    ),
    "a flat file": lambda s: s | {"epoch": np.array(3), "best_acc": np.array(0.9)},
    "a file of dots": lambda s: joined(checkpoint(s) | {"net": s}, "."),
    "a file of slashes": lambda s: joined(checkpoint(s) | {"net": s}, "/"),
    "slashes alone": lambda s: {f"net/{n.replace('.', '/')}": a for n, a in s.items()},
}
PREFIXES = "module.", "_orig_mod.", "model.", "net.", "1.", "upscaler.", "optimus."
WRAPPED |= {word: before(word) for word in PREFIXES}


def same(one, other):
    jax.tree.map(np.testing.assert_array_equal, one, other)


@pytest.mark.parametrize("name", NETWORKS)
def test_network_is_found_in_any_wrapping(name):
    state, convert, _ = network(name)
    *trees, facts = convert(state)
    for wrapped in WRAPPED.values():
        *found, seen = convert(wrapped(state))
        same(found, trees)
        assert seen == facts


def test_a_module_gives_its_own_state_dict():
    state, *_ = network("lenet")
    one, two = (
        network_of(given, "lenet", image_shape=GREY) for given in (state, Module(state))
    )
    same(one.params, two.params)


@pytest.mark.parametrize("suffix", ["npz", "safetensors"])
@pytest.mark.parametrize("join", [".", "/"])
def test_files_hold_what_dicts_hold(tmp_path, suffix, join):
    state, convert, _ = network("lenet")
    held = {"model": before("module.")(state), "epoch": np.array(3)}
    path = tmp_path / f"model.{suffix}"
    if suffix == "npz":
        np.savez(path, **joined(held, join))
    else:
        from safetensors.numpy import save_file

        save_file(joined(held, join), path)
    same(convert(arrays.read(path)), convert(state))


SEVERAL = {
    "dicts": (lambda a, b: {"net": a, "ema": b}, ["ema", "net"], "net"),
    "prefixes": (
        lambda a, b: before("model.")(a) | before("model_ema.module.")(b),
        ["model", "model_ema.module"],
        "model",
    ),
    "one in front": (
        lambda a, b: b | before("module.")(a),
        ["top", "module"],
        "module",
    ),
}


@pytest.mark.parametrize("hold,words,wanted", SEVERAL.values(), ids=SEVERAL)
def test_of_several_networks_one_is_asked_for(tmp_path, hold, words, wanted):
    state, convert, _ = network("lenet")
    other = {name: -array for name, array in state.items()}
    held = hold(state, other)
    with pytest.raises(InputError) as refused:
        network_of(held, "lenet", image_shape=GREY)
    said = str(refused.value)
    assert tells(said, "2 networks", *words)
    (part,) = re.findall(r"part='(.*?)'", said)
    (after,) = re.findall(r"FILE:(\S+) ", said)
    assert part == after
    path = tmp_path / "model.npz"
    np.savez(path, **joined(held, "."))
    expected, opposite = convert(state)[0], convert(other)[0]
    for chosen, tree in ((part, None), (wanted, expected)):
        one = network_of(held, "lenet", image_shape=GREY, part=chosen)
        two = network_of(f"{path}:{chosen}", "lenet", image_shape=GREY)
        same(one.params, two.params)
        right = [
            jax.tree.all(jax.tree.map(np.array_equal, one.params, t))
            for t in (expected, opposite)
        ]
        assert sum(right) == 1
        if tree:
            same(one.params, tree)
    with pytest.raises(InputError, match=names("nets")):
        network_of(held, "lenet", part="nets")


BESIDE = {
    "a normalisation": (before("1."), {"0.mean": np.ones(3, np.float32)}),
    "a denoiser": (before("net."), {"denoiser.weight": np.ones((2, 2), np.float16)}),
    "in one dict": (
        lambda s: {"state_dict": before("model.")(s) | {"scale": np.ones(3)}},
        {},
    ),
}


@pytest.mark.parametrize("wrap,more", BESIDE.values(), ids=BESIDE)
def test_what_may_compute_beside_the_network_is_not_passed_over(wrap, more):
    state, convert, _ = network("lenet")
    held = wrap(state) | more
    with pytest.raises(InputError, match=names("beside", "part")) as refused:
        convert(held)
    (part,) = re.findall(r"part='(.*?)'", str(refused.value))
    same(convert(wrapping.part_of(held, part)), convert(state))


def test_a_tensor_that_is_there_twice_is_refused():
    state, convert, _ = network("lenet")
    twice = state | {"module.conv1.bias": state["conv1.bias"]}
    with pytest.raises(InputError, match=names("conv1.bias", "module.conv1.bias")):
        convert(twice)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_shape_of_images_is_blamed_where_it_differs(name):
    """Each tensor longer in one axis: no other fault is put down to the images."""
    state, convert, of_images = network(name)
    for leaf, array in state.items():
        for axis in range(array.ndim):
            if (leaf, axis) == ("map_label.weight", 1):  # more classes are no fault
                continue
            longer = np.concatenate([array, array], axis)
            with pytest.raises(InputError) as refused:
                convert(state | {leaf: longer})
            blamed = "image_shape" in str(refused.value)
            assert blamed == (axis in of_images.get(leaf, ())), refused.value


DIFFERENT = {
    "widths": (
        "lenet",
        "conv1.weight",
        (10, 1, 5, 5),
        "channels",
    ),
    "kernel": ("resnet", "conv1.weight", (2, 3, 7, 7), "kernel"),
    "classes": ("resnet", "fc.bias", (9,), "classes"),
    "width": ("liresnet", "backbone.0.bias", (5,), "width"),
    "depth": ("liresnet_pp", "conv.bias", (3, 4), "depth"),
    "all": ("lenet", "conv1.weight", (10, 3, 5, 5), "channels"),
}


@pytest.mark.parametrize("name,leaf,shape,words", DIFFERENT.values(), ids=DIFFERENT)
def test_the_axis_that_differs_is_named(name, leaf, shape, words):
    state, convert, _ = network(name)
    said = names(leaf, shape, state[leaf].shape, words)
    with pytest.raises(InputError, match=said):
        convert(state | {leaf: np.ones(shape, np.float32)})


@pytest.mark.parametrize("name", ["lip_convnet", "edm_unet"])
def test_the_side_of_images_is_asked_for_where_the_names_say_it(name):
    state, *_ = network(name)
    side = 4 if name == "lip_convnet" else 8
    settings = dict(mean=(0.0,) * 3, std=1.0) if name == "lip_convnet" else {}
    wanted = names(f"{side}x{side}", "model.image_shape", 16)
    with pytest.raises(InputError, match=wanted):
        network_of(state, name, image_shape=(16, 16, 3), **settings)
    network_of(state, name, image_shape=(side, side, 3), **settings)


def test_a_resnet_of_other_stages_is_named():
    state, convert, _ = network("resnet")
    fourth = {n.replace("3.", "4.", 1): a for n, a in state.items() if "layer3" in n}
    with pytest.raises(InputError, match=names("(2, 2, 2, 2)", 4)):
        convert(state | fourth)


def test_the_images_shape_that_is_advised_is_read():
    state, _, _ = network("lenet")
    with pytest.raises(
        InputError, match=names("fc1.weight", "model.image_shape", "(28, 28, 1)")
    ):
        network_of(state, "lenet")
    network_of(state, "lenet", image_shape=GREY)
