"""The U-Nets of EDM against the original networks, and the facts of their construction."""

from __future__ import annotations

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import Golden, close, golden_each, golden_files
from refusals import names

from jaxcert.diffusion import edm
from jaxcert.errors import InputError
from jaxcert.models import edm_unet
from jaxcert.torch_import.edm_unet import convert_state_dict

SONG = golden_files("diffusion", "songunet_*.npz")
NETWORKS = [*SONG, *golden_files("diffusion", "dhariwal_*.npz")]
REST = dict(dropout=0.1, label_dropout=0.0, dtype="float32")


def nhwc(x):
    return np.asarray(x, np.float64).transpose(0, 2, 3, 1)


def read(file):
    """(golden, params, state, facts)"""
    golden = Golden(file)
    weights = {n.removeprefix("param/"): golden[n] for n in golden if "param/" in n}
    _, channels, *sides = golden["x"].shape
    return golden, *convert_state_dict(weights, (*sides, channels))


@pytest.mark.golden("diffusion")
@pytest.mark.parametrize(
    "file",
    [
        pytest.param(f, marks=[pytest.mark.slow] * ("grey" in f.stem), id=f.stem)
        for f in NETWORKS
    ],
)
def test_network_is_the_original(x64, file):
    golden, params, state, facts = read(file)
    x, sigma = nhwc(golden["x"]), np.float64(golden["sigma"])
    none = np.full(len(x), -1)
    label = golden["labels_onehot"].argmax(1) if facts["num_classes"] else none
    cases = [("D_x", label, 0)]
    cases += [("D_x_nolabel", none, 0)] if facts["num_classes"] else []
    cases += [("D_x_aug", label, 1)] if facts["augment_labels"] else []
    names, labels, used = zip(*cases, strict=True)
    given = [np.concatenate([a] * len(cases)) for a in (x, sigma)]
    given.append(np.concatenate(labels))
    if facts["augment_labels"]:  # zeros: not augmented
        given.append(np.concatenate([u * golden["augment_labels"] for u in used]))
    model = edm_unet.make(**facts, image_shape=x.shape[1:])

    @jax.jit
    def apply(x, sigma, label, augment=None):
        inputs = dict(sigma=sigma, label=label, augment=augment)
        return model.apply(params, state, x, **inputs)[0]

    expected = np.concatenate([nhwc(golden[name]) for name in names])
    out = apply(*given)
    close(out, expected, 2e-5)
    c = edm.preconditioning(sigma[:, None, None, None])
    f = (out[: len(x)] - c.c_skip * x) / c.c_out
    close(f, nhwc(golden["F_x_f64"]), 1e-6)
    close(f, nhwc(golden["F_x"]), 2e-5)
    assert golden.unread() == []
    if file == NETWORKS[0]:
        out = apply(np.float32(given[0]), *given[1:])
        assert out.dtype == np.float32
        close(out, expected, 2e-5)


@pytest.mark.golden("diffusion")
@golden_each("diffusion", "songunet_ncsnpp*.npz")
def test_network_inside_is_the_bare_one_of_the_original(x64, file):
    golden, params, state, facts = read(file)
    c = edm.preconditioning(np.float64(golden["sigma"]))
    module, variables = edm_unet.EDMUNet(**facts, **REST), {"params": params, **state}
    raw = jax.jit(lambda x: module.apply(variables, x, c.c_noise, method="raw"))
    f = raw(c.c_in[:, None, None, None] * nhwc(golden["x"]))
    close(f, nhwc(golden["F_x_f64"]), 1e-6)


@pytest.mark.golden("diffusion")
@golden_each("diffusion", "edm_precond*.npz")
def test_preconditioning_is_the_original(file):
    golden = Golden(file)
    c = edm.preconditioning(golden["sigma"])
    np.testing.assert_allclose(c.c_noise, golden["c_noise"], rtol=1e-5)
    c_skip, c_out, c_in = (a[:, None, None, None] for a in c[:3])
    # float32 images: of some roundings each, relative to the largest
    close(c_in * golden["x"], golden["net_input"], 1e-6)
    close(c_skip * golden["x"] + c_out * golden["F_x"], golden["D_x"], 1e-6)
    assert golden.unread() == []


def tiny(**changes):
    settings = dict(
        num_classes=3,
        image_shape=(8, 8, 1),
        width=8,
        multipliers=(1,),
        blocks=1,
        attention=(8,),
        dropout=0.0,
    )
    return edm_unet.make(**settings | changes)


TWO_LEVELS = dict(multipliers=(1, 2), attention=(4,))


@cache
def weights(**changes):
    """Ordinary ones, drawn by numpy, of a network that its authors start near zero."""
    random = np.random.default_rng(0)

    def draw(leaf):
        z = random.standard_normal(leaf.shape).astype(np.float32)
        if leaf.ndim == 1:
            return 1 + 0.1 * z
        return z / np.float32(np.sqrt(np.prod(leaf.shape[:-1])))

    return jax.tree.map(draw, jax.eval_shape(tiny(**changes).init, jax.random.key(0)))


def drawn(count=3):
    random = np.random.default_rng(1)
    x = random.standard_normal((count, 8, 8, 1)).astype(np.float32)
    sigma = np.float32([0.1, 1.0, 5.0])[:count]
    return x, sigma, np.int32([0, 2, -1])[:count]


@pytest.mark.slow
def test_gradients_are_those_of_finite_differences(x64):
    sizes = TWO_LEVELS | dict(kind="ncsnpp", augment_labels=2)
    (params, state), model = jax.tree.map(np.float64, weights(**sizes)), tiny(**sizes)
    x, sigma, label = drawn()
    random = np.random.default_rng(2)
    weight = random.standard_normal(x.shape)
    augment = random.standard_normal((3, 2))

    @jax.jit
    @jax.value_and_grad
    def loss(at):
        params, x = at
        inputs = dict(sigma=np.float64(sigma), label=label, augment=augment)
        out = model.apply(params, state, x, train=True, **inputs)[0]
        return (weight * out).sum()

    at, h = (params, np.float64(x)), 1e-6
    _, gradient = loss(at)
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(gradient))
    for _ in range(3):
        way = jax.tree.map(lambda a: random.standard_normal(a.shape), at)
        ends = [jax.tree.map(lambda a, w, s=s: a + s * w, at, way) for s in (h, -h)]
        slope = (loss(ends[0])[0] - loss(ends[1])[0]) / (2 * h)
        products = jax.tree.map(lambda g, w: (g * w).sum(), gradient, way)
        np.testing.assert_allclose(sum(jax.tree.leaves(products)), slope, rtol=1e-6)


def test_an_image_does_not_depend_on_its_batch():
    model, (params, state) = tiny(), weights()
    apply = jax.jit(lambda x, s, y: model.apply(params, state, x, sigma=s, label=y)[0])
    given = drawn()
    together = apply(*given)
    alone = [apply(*(a[i : i + 1] for a in given))[0] for i in range(3)]
    np.testing.assert_allclose(together, alone, rtol=1e-5, atol=1e-5)


def test_bfloat16_stays_inside_and_close():
    params, state = weights()
    x, sigma, label = drawn()
    wide, narrow = (
        jax.jit(lambda x, m=m: m.apply(params, state, x, sigma=sigma, label=label)[0])(
            x
        )
        for m in (tiny(), tiny(dtype="bfloat16"))
    )
    assert wide.dtype == narrow.dtype == jnp.float32
    # what F adds has 8 bits and some twenty roundings in a row
    c_skip, c_out, *_ = edm.preconditioning(sigma)
    error = np.abs(wide - narrow).max((1, 2, 3)) / c_out
    size = np.abs(wide - c_skip[:, None, None, None] * x).max((1, 2, 3)) / c_out
    assert (0 < error).all() and (error < 0.05 * size).all()


def test_evaluation_draws_nothing_and_returns_the_state_itself():
    model = tiny(kind="ncsnpp", dropout=0.5, label_dropout=0.5)
    plain = tiny(kind="ncsnpp")
    params, state = weights(kind="ncsnpp")
    x, sigma, label = drawn()
    inputs = dict(sigma=sigma, label=label)
    out = jax.jit(lambda x: model.apply(params, state, x, **inputs)[0])(x)
    training = jax.jit(lambda x: plain.apply(params, state, x, train=True, **inputs))
    expected, after = training(x)
    # an evaluation on a CPU has its own form of convolutions
    np.testing.assert_allclose(out, expected, rtol=1e-5, atol=1e-5)
    jax.tree.map(np.testing.assert_array_equal, after, state)
    given = (params, state, jax.ShapeDtypeStruct(x.shape, x.dtype))
    seen = []
    jax.eval_shape(lambda *a: seen.append(model.apply(*a, **inputs)[1] is a[1]), *given)
    assert seen == [True]


def test_dropout_changes_training_alone_and_follows_its_key():
    params, state = weights()
    x, sigma, label = drawn()
    model = tiny(dropout=0.3)

    @jax.jit
    def apply(key):
        given = dict(sigma=sigma, label=label, train=True, key=key)
        return model.apply(params, state, x, **given)[0]

    one, two = apply(jax.random.key(1)), apply(jax.random.key(2))
    assert (one != two).any()
    np.testing.assert_array_equal(one, apply(jax.random.key(1)))


def test_label_dropout_hides_the_class_of_its_share_of_images():
    params, state = weights()
    n, share = 256, 0.3
    model = tiny(label_dropout=share)
    image, _, _ = drawn(1)
    x, sigma = np.repeat(image, n, 0), np.ones(n, np.float32)
    given = dict(sigma=sigma, train=True, key=jax.random.key(3))

    @jax.jit
    def denoised(label):
        label = jnp.full(n, label)
        return model.apply(params, state, x, label=label, **given)[0]

    out, hidden = np.asarray(denoised(1)), np.asarray(denoised(-1)[0])
    known = out[np.abs(out - hidden).max((1, 2, 3)).argmax()]
    is_known, is_hidden = (
        np.isclose(out, one, rtol=1e-4, atol=1e-4).all((1, 2, 3))
        for one in (known, hidden)
    )
    assert (is_known ^ is_hidden).all()
    assert abs(is_hidden.mean() - share) < 4 * np.sqrt(share * (1 - share) / n)


@pytest.mark.parametrize(
    "model, count",
    [
        (dict(augment_labels=9), 55_735_299),
        (dict(num_classes=0, augment_labels=9), 55_733_891),
        (
            dict(
                kind="adm",
                num_classes=1000,
                image_shape=(64, 64, 3),
                width=192,
                multipliers=(1, 2, 3, 4),
                blocks=3,
                attention=(32, 16, 8),
            ),
            295_899_267,
        ),
    ],
    ids=["CIFAR-10", "CIFAR-10 without classes", "ImageNet-64"],
)
def test_published_networks_have_their_number_of_parameters(model, count):
    params, _ = jax.eval_shape(edm_unet.make(**model).init, jax.random.key(0))
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == count


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ddpmpp", "adm"])
def test_network_starts_as_the_rescaled_image(kind):
    model = tiny(kind=kind, attention=())
    x, sigma, label = drawn()

    @jax.jit
    def start(key):
        params, state = model.init(key)
        return params, model.apply(params, state, x, sigma=sigma, label=label)[0]

    params, out = start(jax.random.key(0))
    c_skip = edm.preconditioning(sigma).c_skip[:, None, None, None]
    np.testing.assert_allclose(out, c_skip * x, rtol=1e-6, atol=1e-4 * (kind != "adm"))
    kernel = params["enc_8x8_block0"]["conv0"]["kernel"]
    bound = 1 / np.sqrt(72) if kind == "adm" else np.sqrt(6 / 144)
    assert 0.95 * bound < np.abs(kernel).max() <= bound


def test_only_a_network_that_saw_no_class_says_so():
    assert tiny(label_dropout=0.1).unconditional is True
    assert tiny(num_classes=0).unconditional is True
    assert tiny().unconditional is False


def test_a_caller_of_classifiers_is_told_what_this_is():
    params, state = weights()
    with pytest.raises(InputError, match=names("edm_unet", "sigma", "edm")):
        tiny().apply(params, state, drawn()[0])


REFUSED = [
    (dict(kind="unet"), names("model.kind", "unet")),
    (dict(dtype="float16"), names("model.dtype", "float16")),
    (dict(image_shape=(7, 7, 1)), names("7x7", "2 levels")),
    (dict(image_shape=(8, 4, 1)), names("8x4", "2 levels")),
    (dict(attention=(16,)), names(16, "8, 4")),
    (dict(kind="adm"), names("attention", 4, 16, 64)),
    (dict(kind="adm", width=200, attention=()), names(400, 6, 64)),
    (dict(multipliers=()), names("model.multipliers", "(1, 2)")),
    (dict(multipliers=(1, 0)), names("model.multipliers", 0)),
    (dict(image_shape=(8, 8)), names("model.image_shape", "(H,W,C)", "(8, 8)")),
    (dict(blocks=0), names("model.blocks", 0)),
    (dict(num_classes=-1), names("model.num_classes", -1)),
    (dict(dropout=1.0), names("model.dropout", 1.0)),
    (dict(label_dropout=-0.1), names("model.label_dropout", -0.1)),
]


@pytest.mark.parametrize("wrong, fault", REFUSED)
def test_network_that_does_not_exist_is_refused(wrong, fault):
    with pytest.raises(InputError, match=fault):
        tiny(**TWO_LEVELS | wrong)
