"""LipConvNet against the original, whole network: logits, radii, loss, gradients."""

from __future__ import annotations

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import Golden, close, golden_files
from refusals import names

from jaxcert.errors import InputError
from jaxcert.methods import lot
from jaxcert.models import lip_convnet
from jaxcert.nn import lot as layer
from jaxcert.ops import margins

MEAN = (0.4914, 0.4822, 0.4465)


def _ours(name, blocks):
    if "last_layer" in name:
        return "last", "kernel" if name.endswith("weight") else "bias"
    stage, layer = _position(name, blocks)
    kind = "act" if "activation" in name else "conv"
    leaf = {"weight": "kernel"}.get(name.split(".")[-1], name.split(".")[-1])
    return f"{kind}{stage}_{layer}", leaf


def _position(name, blocks):
    stage, rest = re.match(r"p\.layer(\d)\.(.*)", name).groups()
    if rest[0].isdigit():
        return int(stage), int(rest.split(".")[0])
    if rest.startswith("in_block"):
        return int(stage), 0
    if rest.startswith("hidden_block"):
        return int(stage), 1 + int(rest.split(".")[1])
    return int(stage), blocks - 1  # out_block


def _layout(value):
    if value.ndim == 4 and value.shape[0] == 1 and value.shape[2:] == (1, 1):
        return jnp.asarray(value.reshape(-1))  # theta of an activation
    if value.ndim == 4:
        return jnp.asarray(value.transpose(2, 3, 1, 0))
    return jnp.asarray(value.T)


def _network(g):
    residual = any("in_block" in name for name in g)
    names = [n for n in g if n.endswith("conv.weight") and "layer1" in n]
    blocks = len(names)
    first = g[next(n for n in names if "in_block" in n or ".0." in n)]
    head = g["p.last_layer.weight"]
    channels, *sides = g["x01_u8"].shape[1:]
    model = lip_convnet.make(
        image_shape=(*sides, channels),
        mean=MEAN[:channels],
        num_classes=head.shape[0],
        blocks=blocks,
        stages=max(_position(n, blocks)[0] for n in g if n.startswith("p.layer")),
        width=first.shape[0] // (2 if blocks == 1 else 1),
        activation=_activation(g),
        head="orthogonal" if head.ndim == 4 else "lln",
        residual=residual,
    )
    params, order = {}, []
    for name in sorted(n for n in g if n.startswith("p.")):
        module, leaf = _ours(name, blocks)
        params.setdefault(module, {})[leaf] = _layout(g[name])
        order.append((module, leaf))
    return model, params, order


def _activation(g):
    angles = {n.split(".")[-1] for n in g if ".activation." in n}
    return {1: "hh1", 3: "hh2"}[len(angles)] if angles else "maxmin"


def _original(model):
    """Zeros shaped as a network of ours, under the original's names and in its layout."""
    params = jax.eval_shape(model.init, jax.random.key(0))[0]
    side, _, channels = model.image_shape
    g = {"x01_u8": np.zeros((2, channels, side, side), np.uint8)}
    for module, leaves in params.items():
        kind, place = module[:-3], module[-3:].replace("_", ".")
        where = {"conv": f"layer{place}.conv", "act": f"layer{place}.activation"}
        for leaf, value in leaves.items():
            value = np.zeros(value.shape)
            if leaf == "kernel":
                leaf, value = "weight", value.transpose(3, 2, 0, 1)
            elif leaf == "theta":
                value = value.reshape(1, -1, 1, 1)
            g[f"p.{where.get(kind, 'last_layer')}.{leaf}"] = value
    return g


@pytest.mark.parametrize("stages,channels,blocks", [(2, 1, 1), (3, 3, 2), (4, 2, 3)])
def test_every_size_of_the_network_is_that_of_the_arrays(stages, channels, blocks):
    shape = (2**stages, 2**stages, channels)
    sizes = dict(stages=stages, blocks=blocks, width=2, num_classes=4)
    written = lip_convnet.make(
        image_shape=shape, activation="hh1", mean=MEAN[:channels], **sizes
    )
    model, params, _ = _network(_original(written))
    assert model.image_shape == shape
    expected = jax.eval_shape(model.init, jax.random.key(0))[0]
    assert jax.tree.map(np.shape, params) == jax.tree.map(lambda a: a.shape, expected)


@pytest.mark.slow
@pytest.mark.golden("lipschitz_l2")
@pytest.mark.parametrize("pattern", ["lipconvnet_*.npz", "lipresnet_*.npz"])
def test_whole_network_equals_the_original(x64, pattern):
    for path in golden_files("lipschitz_l2", pattern):
        g = Golden(path)
        model, params, order = _network(g)
        params = jax.tree.map(lambda a: a.astype(jnp.float64), params)
        # the original rounds its normalised input to float32; ours is exact
        mean = np.array(MEAN[: model.image_shape[-1]])
        x = np.moveaxis(g["x01_u8"], 1, -1) / 255.0
        normalised = ((x - mean) / 0.2507).astype(np.float32)
        x = jnp.asarray(normalised.astype(np.float64) * 0.2507 + mean)
        label = jnp.asarray(g["labels"])
        gamma_name = next(n for n in g if n.startswith("loss_gamma"))
        gamma = float(gamma_name.removeprefix("loss_gamma"))

        def loss(params, model=model, x=x, label=label, gamma=gamma):
            logits, _ = model.apply(params, {}, x, train=True)
            pairwise, _ = model.lipschitz(params, {}, train=True)
            value, radius = lot.regularised_loss(logits, pairwise, label, gamma=gamma)
            return value, (logits, radius)

        (value, (logits, cert)), grads = jax.jit(
            jax.value_and_grad(loss, has_aux=True)
        )(params)
        close(logits, g["logits"], 1e-8)
        close(cert, g["train_cert"], 1e-8)
        close(value, g[gamma_name], 1e-8)
        norms = [np.linalg.norm(grads[m][leaf]) for m, leaf in order]
        # a gradient that cancels keeps what the largest one loses
        expected = g["grad_l2_norms"]
        lost = 1e-12 * expected.max()
        np.testing.assert_allclose(norms, expected, rtol=1e-8, atol=lost)
        ours = np.asarray(grads["conv1_0"]["kernel"]).transpose(3, 2, 0, 1)
        close(ours, g["g_first"], 1e-8)

        state = jax.jit(model.prepare)(params, {})
        evaluated, _ = jax.jit(model.apply)(params, state, x)
        close(evaluated, g["eval_logits"], 1e-8)
        pairwise = model.lipschitz(params, state)[0]
        radius = margins.radius(evaluated, pairwise, evaluated.argmax(-1))
        close(radius, g["eval_radius"], 1e-8)
        bound = model.lipschitz_bound(params, state).pairwise
        off = ~np.eye(model.num_classes, dtype=bool)
        ratio = bound[off] / np.asarray(pairwise)[off]
        assert (ratio <= 1 + 1e-9).all() and (ratio > 0.9).all()
        assert not g.unread()


@pytest.mark.parametrize(
    "wrong,message",
    [
        (dict(image_shape=(28, 28, 3)), names("32x32", "28x28")),
        (dict(activation="relu"), names("model.activation", "relu")),
        (dict(head="dense"), names("model.head", "dense")),
        (dict(width=1, num_classes=100), names(32, 100, "model.head=lln")),
        (dict(conv="nothing"), names("nothing", "jaxcert/nn")),
        (dict(image_shape=(32, 32, 1)), names("model.mean", 3, 1)),
        (dict(std=0.0), names("model.std", 0.0)),
        (dict(std=(0.2,) * 3), names("model.std", "(0.2, 0.2, 0.2)")),
        (dict(blocks=1.5), names("model.blocks", 1.5)),
        (dict(width=3, blocks=2), names("model.width", 3)),
        (dict(polar="exact"), names("model.polar", "exact", "lot")),
        (
            dict(conv="cayley", polar="minimax"),
            names("model.polar", "minimax", "cayley"),
        ),
    ],
)
def test_shapes_without_a_network_are_refused_with_the_fix(wrong, message):
    with pytest.raises(InputError, match=message):
        lip_convnet.make(**wrong)


def test_lipschitz_constant_holds_between_random_pairs():
    model = lip_convnet.make(
        image_shape=(4, 4, 1), stages=2, width=2, num_classes=3, mean=(0.5,), std=0.5
    )
    params, state = jax.jit(model.init)(jax.random.key(0))
    x = jax.random.uniform(jax.random.key(1), (2, 64, 4, 4, 1))
    apply = jax.jit(lambda x: model.apply(params, state, x)[0])
    z = [apply(x[i]) for i in range(2)]
    gap = jnp.linalg.norm((x[0] - x[1]).reshape(64, -1), axis=1)
    difference = (z[0] - z[1])[:, :, None] - (z[0] - z[1])[:, None]
    pairwise = model.lipschitz(params, state)[0]
    assert (jnp.abs(difference) <= gap[:, None, None] * pairwise + 1e-5).all()


def test_growth_counts_what_the_steps_of_residual_layers_make_of_a_bias(x64):
    """A bias adds 4 sqrt(t) of its norm at most, t = 1 / sum |K K^T| of a small kernel."""
    model = lip_convnet.make(
        image_shape=(2, 2, 1),
        stages=1,
        blocks=1,
        width=2,
        num_classes=3,
        conv="sll",
        mean=(0.5,),
        std=0.5,
    )
    params, state = jax.jit(model.init)(jax.random.key(0))
    kernel = params["conv1_0"]["kernel"]
    params["conv1_0"]["kernel"] = 0.01 * np.eye(*kernel.shape[2:])[None, None]
    state = jax.jit(model.prepare)(params, state)
    bound = model.lipschitz_bound(params, state)
    assert bound.growth >= 4 / 0.01 > 100 * bound.pairwise.max()


def test_layers_of_equal_shape_are_orthogonalised_together(monkeypatch):
    """Kernels computed at once give the network that each layer's own kernel gives."""
    sizes = dict(stages=1, width=2, blocks=4, image_shape=(2, 2, 1), num_classes=3)
    model = lip_convnet.make(polar="minimax", mean=(0.5,), **sizes)
    params, state = jax.jit(model.init)(jax.random.key(0))
    x = jax.random.uniform(jax.random.key(1), (2, 2, 2, 1))
    shapes = []
    whole = layer.orthogonal_kernel

    def noted(kernel, side, *, polar):
        shapes.append(kernel.shape)
        assert polar == "minimax"
        return whole(kernel, side, polar=polar)

    monkeypatch.setattr(layer, "orthogonal_kernel", noted)

    def logits():
        return jax.jit(lambda p: model.apply(p, state, x, train=True)[0])(params)

    together = logits()
    assert [s[0] for s in shapes if len(s) == 5] == [1, 2, 1]
    assert len(shapes) == 4  # and the head
    monkeypatch.setattr(layer, "orthogonal_kernels", lambda convs, dtype: {})
    np.testing.assert_allclose(together, logits(), atol=1e-4)


@pytest.mark.parametrize(
    "shape,advice",
    [
        ((16, 16, 3), "set config.model.stages=4."),
        (
            (12, 9, 3),
            "stages=4 and config.model.image_shape=16,16,3, with config.data.pad=16.",
        ),
    ],
)
def test_advice_for_another_size_names_the_stages(shape, advice):
    with pytest.raises(InputError) as raised:
        lip_convnet.make(image_shape=shape, num_classes=3, width=2, stages=3)
    assert str(raised.value).endswith(advice)
    lip_convnet.make(image_shape=(16, 16, 3), num_classes=3, width=2, stages=4)
