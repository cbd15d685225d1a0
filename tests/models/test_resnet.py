"""CIFAR ResNets against the original networks, and the facts of their construction."""

from __future__ import annotations

import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from conftest import Golden, close, golden_each
from flax import linen as nn
from refusals import names
from torch_names import generated, resnet_place, tensor, to_trees

from jaxcert.certificates import smoothing
from jaxcert.data import sources
from jaxcert.errors import InputError
from jaxcert.interfaces import Network
from jaxcert.models import resnet
from jaxcert.models._parts import dense
from jaxcert.ops.images import unit


def _network(weights, x):
    blocks = {name.split(".")[1] for name in weights if name.startswith("layer1.")}
    model = resnet.make(
        depth=6 * len(blocks) + 2,
        num_classes=len(weights["fc.bias"]),
        image_shape=(*x.shape[2:], x.shape[1]),
        width=len(weights["conv1.weight"]),
    )
    return model, *to_trees(weights, resnet_place)


def _loss(model, params, state, x, y):
    logits, state = model.apply(params, state, x, train=True)
    picked = jnp.take_along_axis(jax.nn.log_softmax(logits), y[:, None], 1)
    return -picked.mean(), (logits, state)


@pytest.mark.golden("smoothing")
@golden_each("smoothing", "cifar_resnet*.npz")
def test_resnet_is_the_original(file, x64, monkeypatch):
    golden = Golden(file)
    if "names" in golden:
        weights = generated(golden["names"], golden["shapes"], golden["seed"])
        first = list(weights.values())[: len(golden["checksum"])]
        sums = [w.sum(dtype=np.float64) for w in first]
        np.testing.assert_allclose(sums, golden["checksum"], rtol=1e-9)
        monkeypatch.setattr(
            resnet, "_form", lambda block: "loop"
        )  # compiles in a second
    else:
        weights = {
            name: golden[name]
            for name in golden
            if name.startswith("1.") and not name.endswith("num_batches_tracked")
        }
    weights = {name.removeprefix("1."): array for name, array in weights.items()}
    model, params, state = _network(weights, golden["x"])
    x = golden["x"].transpose(0, 2, 3, 1).astype(np.float64)

    logits = jax.jit(lambda x: model.apply(params, state, x)[0])(x)
    # relative to the largest logit: others may be differences of large numbers
    close(logits, golden["logits_eval"])

    if "loss_train" in golden:
        step = jax.jit(
            jax.value_and_grad(_loss, argnums=1, has_aux=True), static_argnums=0
        )
        (loss, (logits, after)), grads = step(model, params, state, x, golden["y"])
        close(loss, golden["loss_train"])
        close(logits, golden["logits_train"])
        for name in golden:
            kind, _, inner = name.partition("/")
            if kind in ("grad", "after"):
                ours = tensor(grads, after, inner, resnet_place, golden[name].ndim)
                close(ours, golden[name])
    skipped = [name for name in golden if name.endswith("num_batches_tracked")]
    assert golden.unread(*skipped) == []


def _shapes(model):
    return jax.eval_shape(model.init, jax.random.key(0))


def _weights(model):
    """Ordinary weights by numpy: compiling jax's draws takes seconds per network."""
    return _drawn(_shapes(model))


def _drawn(shapes):
    random = np.random.default_rng(0)

    def draw(path, leaf):
        z = random.standard_normal(leaf.shape).astype(np.float32)
        if path[-1].key == "kernel":
            return z * np.sqrt(2 / np.prod(leaf.shape[-4:-1])).astype(np.float32)
        return 1 + 0.1 * np.abs(z)

    return jax.tree_util.tree_map_with_path(draw, shapes)


def _tiny(depth=20, dtype="float32"):
    return resnet.make(
        depth, width=2, image_shape=(8, 8, 1), mean=(0.3,), std=(0.4,), dtype=dtype
    )


def test_depth_110_has_1730714_parameters():
    params, _ = _shapes(resnet.make(depth=110))
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == 1_730_714


class _TwoBlocks(nn.Module):
    @nn.compact
    def __call__(self, x, train=False):
        x = resnet.repeat(resnet.Block(8, name="block"), x, train, times=2)
        return dense(5, inputs=8, dtype=x.dtype, name="head")(x)


def test_weights_are_drawn_as_in_the_original():
    x = jnp.zeros((1, 2, 2, 8))
    variables = jax.jit(_TwoBlocks().init)(jax.random.key(0), x)
    params, stats = variables["params"], variables["batch_stats"]
    first, second = kernels = params["block"]["conv1"]["kernel"]
    # N(0, 2 / (9 * 8)); the relative error of a std from N draws is 1 / sqrt(2 N)
    assert abs(kernels.std() / np.sqrt(2 / 72) - 1) < 4 / np.sqrt(2 * kernels.size)
    assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 4 / first.size**0.5
    for leaf in params["head"].values():  # uniform(-1, 1) / sqrt(inputs)
        assert 0.5 / np.sqrt(8) < np.abs(leaf).max() <= 1 / np.sqrt(8)
    assert (params["block"]["bn2"]["scale"] == 1).all()
    assert (stats["block"]["bn2"]["var"] == 1).all()


def test_loop_over_blocks_is_the_unrolled_network(monkeypatch):
    """Output, statistics, gradients and what is prepared, of float32."""
    x = np.random.default_rng(1).random((3, 4, 4, 8), np.float32)
    module, outputs = _TwoBlocks(), []
    state = _drawn(jax.eval_shape(module.init, jax.random.key(0), x))
    params, _ = state.pop("params"), state.pop("prepared")
    for form in ("slices", "unrolled", "loop"):
        monkeypatch.setattr(resnet, "_form", lambda block, form=form: form)

        def loss(params, train, mutable):
            variables = {"params": params, **state}
            y, after = module.apply(variables, x, train, mutable=mutable)
            return (y**2).sum(), (y, after)

        def both(params, loss=loss):
            take = jax.value_and_grad(loss, has_aux=True)
            return take(params, True, ["batch_stats"]), loss(
                params, False, ["prepared"]
            )

        step, (_, (y, kept)) = jax.jit(both)(params)
        if form == "slices":  # block by block
            blocks = [kept["prepared"]["block"][str(i)] for i in range(2)]
            stacked = jax.tree.map(lambda *a: jnp.stack(a), *blocks)
            kept = {"prepared": {**kept["prepared"], "block": stacked}}
        outputs += step, (y, kept)
    assert outputs[1][1]["prepared"]["block"]["bn2"]["kernel"].shape[0] == 2
    for step, prepared in (outputs[2:4], outputs[4:]):
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4),
            (step, prepared),
            tuple(outputs[:2]),
        )


def test_bfloat16_stays_inside_and_close():
    params, state = _weights(_tiny(8))
    x = np.random.default_rng(1).random((4, 8, 8, 1), np.float32)
    wide, narrow = (
        jax.jit(lambda x, m=m: m.apply(params, state, x, train=True))(x)
        for m in (_tiny(8), _tiny(8, "bfloat16"))
    )
    assert {leaf.dtype for leaf in jax.tree.leaves(narrow)} == {jnp.dtype("float32")}
    # bfloat16 keeps 8 bits; 8 layers of batch statistics amplify its rounding
    assert 0 < np.abs(wide[0] - narrow[0]).max() < 0.2 * np.abs(wide[0]).max()


@pytest.mark.slow
@pytest.mark.parametrize("dtype, tolerance", [("float32", 1e-6), ("float64", 1e-12)])
def test_prepared_network_is_the_network(dtype, tolerance, x64, monkeypatch):
    monkeypatch.setattr(resnet, "_form", lambda block: "loop")  # compiles faster
    # 8 and 16 channels are arranged as pairs of pixels, 32 for Winograd's filtering
    model = resnet.make(14, width=8, image_shape=(16, 16, 1), mean=(0.3,), std=(0.4,))
    params, state = jax.tree.map(lambda a: a.astype(dtype), _weights(model))
    prepared = jax.jit(model.prepare)(params, state)
    assert prepared.keys() - state.keys() == {"prepared"}
    shapes = {leaf.shape for leaf in jax.tree.leaves(prepared["prepared"])}
    assert {(1, 3, 4, 8, 16), (1, 6, 3, 32, 32)} <= shapes
    x = np.random.default_rng(1).random((4, 16, 16, 1)).astype(dtype)
    apply = jax.jit(lambda state: model.apply(params, state, x)[0])
    close(apply(prepared), apply(state), tolerance)
    assert model.apply(params, prepared, x)[1] is prepared


def test_depth_110_in_bfloat16_lowers_for_a_gpu_without_normalisations(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    model = resnet.make(110, dtype="bfloat16")
    params, state = _shapes(model)
    state = jax.eval_shape(model.prepare, params, state)
    x = jax.ShapeDtypeStruct((4, 32, 32, 3), "float32")
    traced = jax.jit(lambda *a: model.apply(*a)[0]).trace(params, state, x)
    text = traced.lower(lowering_platforms=("cuda",)).as_text()
    convolutions = [line for line in text.splitlines() if "convolution(" in line]
    # stem, three first blocks with two shortcuts, the three that are called 17 times
    assert len(convolutions) == 1 + 3 * 2 + 2 + 3 * 2
    assert all(line.endswith("xbf16>") for line in convolutions)
    assert len(re.findall(r"call @one_block(_\d+)?\(", text)) == 3 * 17
    # a loop over blocks copies the activation once a block
    assert "rsqrt" not in text and "while" not in text


def _digits(dtype):
    return resnet.make(
        8, width=4, image_shape=(8, 8, 1), mean=(0.3,), std=(0.4,), dtype=dtype
    )


def _trained(image, label, sigma):
    """(params, state) after 80 steps under noise."""
    model, optimizer = _digits("float32"), optax.adam(1e-2)
    image, label = unit(image), jnp.asarray(label)
    params, state = _weights(model)

    def step(params, state, moments, key):
        chosen, drawn = jax.random.split(key)
        i = jax.random.randint(chosen, (64,), 0, len(image))
        x = image[i] + sigma * jax.random.normal(drawn, (64, 8, 8, 1))
        loss = jax.value_and_grad(_loss, argnums=1, has_aux=True)
        (_, (_, state)), grads = loss(model, params, state, x, label[i])
        change, moments = optimizer.update(grads, moments)
        return optax.apply_updates(params, change), state, moments

    carry, step = (params, state, optimizer.init(params)), jax.jit(step)
    for key in jax.random.split(jax.random.key(0), 80):
        carry = step(*carry, key)
    return carry[:2]


@pytest.mark.slow
def test_bfloat16_changes_less_than_one_vote_in_a_hundred():
    train, test = (sources.open("digits", split) for split in ("train", "test"))
    params, state = _trained(train.image, train.label, sigma := 0.5)
    image, label, rows = test.image[:32], test.label[:32], {}
    for dtype in ("float32", "bfloat16"):
        network = Network(_digits(dtype), params, state)
        certifier = smoothing.make(network, sigma=sigma, n=200, chunk=100)
        rows[dtype] = certifier.certify(jax.random.key(1), image, label, np.arange(32))
        assert (rows[dtype].counts.sum(1) == 200).all()
    wide, narrow = rows["float32"], rows["bfloat16"]
    assert wide.correct.mean() > 0.5  # it has learned something
    # the noise is the same: a vote that changes leaves one class for another
    changed = np.abs(wide.counts - narrow.counts).sum(1) / 2
    assert 0 < changed.sum() < 0.01 * 32 * 200


@pytest.mark.parametrize(
    "wrong, fault",
    [
        (dict(depth=18), names("depth", 18)),
        (dict(depth=2), names("depth", 2)),
        (dict(dtype="float16"), names("model.dtype", "float16")),
        (dict(shortcut="x"), names("model.shortcut", "x")),
        (dict(image_shape=(8, 8, 1)), names("mean", "std", 1)),
    ],
)
def test_network_that_does_not_exist_is_refused(wrong, fault):
    with pytest.raises(InputError, match=fault):
        resnet.make(**wrong)
