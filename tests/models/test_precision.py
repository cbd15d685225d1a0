"""Which products of the Lipschitz networks may be short: read from the program for a GPU."""

from __future__ import annotations

import re
from collections import Counter
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcert import sharding
from jaxcert.certificates import lipschitz
from jaxcert.interfaces import Network
from jaxcert.models import bronet, lip_convnet, lipnext, liresnet, liresnet_pp
from jaxcert.nn import aol, cayley, lot
from jaxcert.ops import linalg

EXACT, SHORT, THREE = "HIGHEST", "DEFAULT", "three products of TF32"
TINY = dict(
    image_shape=(8, 8, 1),
    depth=2,
    width=4,
    dense=4,
    num_classes=3,
    power_steps_evaluated=3,
)
TOKENS = dict(image_shape=(8, 8, 1), depth=2, width=8, patch=2, num_classes=3)
STAGES = dict(image_shape=(4, 4, 1), stages=2, mean=(0.3,), num_classes=3)
NETWORKS = {
    "liresnet": lambda **more: liresnet.make(**TINY, **more),
    "liresnet_pp": lambda **more: liresnet_pp.make(**TINY, dense_depth=1, **more),
    "bronet": lambda **more: bronet.make(**TINY, dense_depth=1, **more),
    "lipnext": lambda **more: lipnext.make(**TOKENS, **more),
    **{
        conv: lambda conv=conv, **more: lip_convnet.make(
            **STAGES, width=2, conv=conv, **more
        )
        for conv in ("lot", "cayley", "bro", "soc", "aol", "sll", "cpl")
    },
}


@pytest.fixture
def gpu(monkeypatch):
    """Forms for a GPU; the settings of the process as they were."""
    before = jax.config.jax_default_matmul_precision
    sharding.use_precision("default")
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    yield
    sharding.use_precision("default")
    jax.config.update("jax_default_matmul_precision", before)


def products(function, *arguments) -> Counter:
    """How many products and convolutions a program for CUDA has, by precision."""
    lowered = jax.jit(function).trace(*arguments).lower(lowering_platforms=("cuda",))
    found = Counter()
    for line in lowered.as_text().splitlines():
        if "stablehlo.dot_general" not in line and "stablehlo.convolution" not in line:
            continue
        if "num_primitive_operations = 3" in line:
            found[THREE] += 1
        else:
            (precision,) = set(re.findall(r"\b(DEFAULT|HIGH|HIGHEST)\b", line))
            found[precision] += 1
    return found


def gradient(function):
    """Of the sum of all outputs, with respect to every argument; squared, so that no
    product is a constant."""

    def total(*arguments):
        leaves = jax.tree.leaves(function(*arguments))
        return sum(
            jnp.sum(a * a) for a in leaves if jnp.issubdtype(a.dtype, jnp.floating)
        )

    def value_and_gradient(*arguments):
        return jax.value_and_grad(total, tuple(range(len(arguments))), allow_int=True)(
            *arguments
        )

    return value_and_gradient


def shapes_of(model):
    params, state = jax.eval_shape(model.init, jax.random.key(0))
    images = jax.ShapeDtypeStruct((2, *model.image_shape), jnp.float32)
    return params, state, images


@pytest.mark.parametrize("name", NETWORKS)
def test_only_what_meets_images_is_short(name, gpu):
    """Prepared, a network has the products of its convolutions and dense layers and no
    others; what training adds to them makes kernels or estimates norms."""
    model = NETWORKS[name]()
    params, state, images = shapes_of(model)
    ready = jax.eval_shape(model.prepare, params, state)

    def apply(params, state, x):
        return model.apply(params, state, x)[0]

    layers = products(gradient(apply), params, ready, images)
    assert set(layers) == {SHORT}

    def train(params, state, x):
        return model.apply(params, state, x, train=True)[0]

    both = products(gradient(train), params, state, images)
    if name != "soc":  # its series is shorter in training
        assert both[SHORT] == layers[SHORT]
    assert not set(both) - {SHORT, EXACT}
    if name != "liresnet":  # which makes no kernel orthogonal
        assert both[EXACT] > 0

    def constants(params, state):
        return model.lipschitz(params, state, train=True)[0]

    norms = products(gradient(constants), params, state)
    assert not set(norms) - {EXACT}
    assert (norms[EXACT] > 0) == (name in ("liresnet", "liresnet_pp", "bronet"))


def test_highest_is_for_layers_as_well(gpu):
    model = NETWORKS["liresnet"]()
    params, state, images = shapes_of(model)
    sharding.use_precision("highest")
    found = products(lambda *a: model.apply(*a)[0], params, state, images)
    assert set(found) == {EXACT}


KERNELS = {
    "lot": lambda k: lot.orthogonal_kernel(k, 4),
    "minimax": lambda k: lot.orthogonal_kernel(k, 4, polar="minimax"),
    "cayley": lambda k: cayley.orthogonal_kernel(k, jnp.float32(1), 4),
    "cholesky": lambda k: linalg.cholesky_orthogonal(k[0, 0]),
    "reflector": lambda k: linalg.block_reflector(
        lot.frequency_response(k, 6), jitter=1e-5
    ),
    "aol": aol.rescaled,
}


@pytest.mark.parametrize("name", KERNELS)
def test_kernels_are_made_of_exact_products(name, gpu):
    kernel = jax.ShapeDtypeStruct((3, 3, 4, 4), jnp.float32)
    found = products(gradient(KERNELS[name]), kernel)
    assert set(found) == {EXACT}


@pytest.mark.parametrize("polar", lot.POLAR)
def test_steps_take_three_products_where_a_config_asks_for_them(polar, gpu, x64):
    sharding.use_precision("tf32x3")

    def of(dtype):
        kernel = jax.ShapeDtypeStruct((3, 3, 4, 4), dtype)
        how = dict(polar=polar)
        return products(gradient(lambda k: lot.orthogonal_kernel(k, 4, **how)), kernel)

    single = of(jnp.float32)
    # the response of the kernel and its gradient, of cosines and of sines, and of those
    # frequencies alone that are their own conjugates, where there are these
    assert single[THREE] > single[EXACT] > 0 and not single[SHORT]
    assert set(of(jnp.float64)) == {EXACT}
    model = NETWORKS["lot"](polar=polar)
    params, state, images = shapes_of(model)
    ready = jax.eval_shape(model.prepare, params, state)
    layers = products(lambda *a: model.apply(*a)[0], params, ready, images)
    assert set(layers) == {SHORT}


def test_rotations_are_joined_in_three_products_where_a_config_asks_for_them(gpu):
    """R M^T of LipNeXt; what is measured of it stays exact."""
    sharding.use_precision("tf32x3")
    model = NETWORKS["lipnext"]()
    params, state, images = shapes_of(model)

    def train(params, state, x):
        return model.apply(params, state, x, train=True)[0]

    found = products(train, params, state, images)
    assert found[THREE] == 1 and not found[EXACT]
    prepared = products(model.prepare, params, state)
    assert set(prepared) == {THREE}


def test_three_products_are_for_gpus_alone():
    sharding.use_precision("tf32x3")
    assert linalg.iterated(jnp.float32) == linalg.EXACT
    sharding.use_precision("default")


def tf32(x):
    """The first eleven of the 24 bits of each number, as tensor cores cut them off."""
    bits = jax.lax.bitcast_convert_type(x, jnp.uint32) & jnp.uint32(0xFFFFE000)
    return jax.lax.bitcast_convert_type(bits, jnp.float32)


def short(a, b, precision=None):
    return tf32(a) @ tf32(b)


def in_three(a, b, precision=None):
    high, low = tf32(a), tf32(b)
    rest, other = a - high, b - low
    return high @ low + (tf32(rest) @ low + high @ tf32(other))


@pytest.mark.parametrize("polar", lot.POLAR)
def test_three_products_are_nearly_as_orthogonal_as_float32(polar, monkeypatch):
    """By emulation: how far singular values are from those of the float64 iteration."""
    re, im = np.random.default_rng(0).normal(size=(2, 4, 64, 64)) / 8
    re = re + 3 * np.eye(64)  # as trained kernels: all values converge

    def values(dtype):
        jax.clear_caches()
        f = linalg.Pair(jnp.asarray(re, dtype), jnp.asarray(im, dtype))
        q = lot.polar_factor(f, polar=polar)
        q = np.asarray(q.re, np.float64) + 1j * np.asarray(q.im)
        return np.linalg.svd(q, compute_uv=False)

    with jax.enable_x64(True):
        true = values(np.float64)
    errors = []
    for replacement in (linalg.product, in_three, short):
        monkeypatch.setattr(linalg, "product", replacement)
        errors.append(np.abs(values(np.float32) - true).max())
    jax.clear_caches()
    exact, three, one = errors
    assert three < 10 * exact < one / 10
    assert three < 5e-6 and np.abs(true - 1).max() < 1e-4


@pytest.mark.parametrize(
    "name",
    [
        "liresnet",
        "bronet",
        "lipnext",
        *(pytest.param(n, marks=pytest.mark.slow) for n in ("lot", "aol")),
    ],
)
def test_constants_and_certificates_do_not_depend_on_the_type_of_layers(name):
    """Whichever type a network trains in, the same weights have the same certificates, bit
    by bit; what it answers in training differs."""
    found, answers = [], []
    for dtype in ("float32", "bfloat16"):
        model = NETWORKS[name](dtype=dtype)
        params, state = jax.jit(model.init)(jax.random.key(0))
        image = (
            np.random.default_rng(0).random((4, *model.image_shape)).astype(np.float32)
        )
        train = jax.jit(partial(model.apply, train=True))
        logits, _ = train(params, state, image)
        assert logits.dtype == jnp.float32
        answers.append(np.asarray(logits))
        constants = jax.jit(partial(model.lipschitz, train=True))(params, state)[0]
        certifier = lipschitz.make(Network(model, params, state))
        records = certifier.certify(None, image, np.zeros(4, np.int32), np.arange(4))
        found.append(
            (
                np.asarray(constants),
                certifier.header["pairwise_bound"],
                certifier.header["procedure"]["logit_slack"],
                records.logits,
                records.radius,
            )
        )
    for single, half in zip(*found, strict=True):
        np.testing.assert_array_equal(single, half)
    difference = np.abs(answers[0] - answers[1]).max() / np.abs(answers[0]).max()
    assert 1e-5 < difference < 0.1
