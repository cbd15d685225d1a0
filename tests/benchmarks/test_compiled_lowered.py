"""What StableHLO for CUDA shows without the plugin: the types of products and the precision
that they ask for, in small networks of the shipped configs and their certificates."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import pytest

from jaxcert import config as configs
from jaxcert import random_keys, sharding
from jaxcert.certificates import lipschitz
from jaxcert.interfaces import Run
from jaxcert.training import build

_CONFIGS = Path(__file__).parents[2] / "configs"
_TENSOR = re.compile(r"tensor<(\w+(?:<\w+>)?)>").findall
Shape = jax.ShapeDtypeStruct


class Product(NamedTuple):
    code: str
    """convolution | dot_general"""
    dtypes: tuple[str, str]
    precision: str
    """highest | default"""
    sizes: frozenset[str] = frozenset()
    """all that its operands and its result have"""


def products(text: str) -> list[Product]:
    """Convolutions and dot products of a StableHLO text."""
    found = []
    for line in text.splitlines():
        code = re.search(r"stablehlo\.(convolution|dot_general)\b", line)
        if code:
            types = [
                t.split("x", t.count("x") - ("complex" in t)) for t in _TENSOR(line)
            ]
            highest = re.search(r"precision(?:_config)? = \[[^\]]*HIGHEST", line)
            precision = "highest" if highest else "default"
            sizes = frozenset(size for t in types[-3:] for size in t[:-1])
            dtypes = types[-3][-1], types[-2][-1]
            found.append(Product(code[1], dtypes, precision, sizes))
    return found


@pytest.fixture(autouse=True)
def on_a_gpu(monkeypatch):
    before = jax.config.jax_default_matmul_precision
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    yield
    jax.config.update("jax_default_matmul_precision", before)


def small(config: str, words: str, **model):
    """A shipped config shrunk by its `tiny`, its precision in force."""
    found = configs.load(f"{_CONFIGS / config}.py:{words}")
    found = configs.tiny(found)
    found.model.update(model)
    sharding.use_precision(found.precision)
    return found


def step_of(config, phase=None) -> str:
    """Its training step for CUDA."""
    model = configs.build("models", config.model)
    run = Run(steps_per_epoch=3, total_steps=9, data_size=24)
    made = build.assemble(config, model, run, sharding.data_mesh(), networks={})
    state = build.shapes(made, jax.eval_shape(made.method.init_extra))
    size = config.data.batch
    batch = {
        "image": Shape((size, *model.image_shape), jnp.uint8),
        "label": Shape((size,), jnp.int32),
        "real": Shape((size,), bool),
        "index": Shape((size,), jnp.int32),
    }
    key = jax.eval_shape(lambda: random_keys.key(0))
    compiled = build.compiled(made, config)
    phase = phase or made.method.phase(run.total_steps - 1)
    return compiled.lower(state, batch, key, phase=phase, platforms=("cuda",)).as_text()


def test_products_are_read_out_of_a_text():
    def several(a, b):
        exact = jnp.dot(a, b, precision="highest")
        low = jnp.dot(a.astype(jnp.bfloat16), b.astype(jnp.bfloat16))
        return exact, low, jnp.dot(a * 1j, b * 1j)

    a, b = Shape((2, 3), jnp.float32), Shape((3, 5), jnp.float32)
    text = jax.jit(several).trace(a, b).lower(lowering_platforms=("cuda",)).as_text()
    sizes = frozenset({"2", "3", "5"})
    assert products(text) == [
        Product("dot_general", ("f32", "f32"), "highest", sizes),
        Product("dot_general", ("bf16", "bf16"), "default", sizes),
        Product("dot_general", ("complex<f32>", "complex<f32>"), "default", sizes),
    ]


@pytest.mark.parametrize(
    "config, words",
    [
        ("smoothing/cifar10", "gaussian,0.25,bf16"),
        pytest.param("edm/cifar10", "bf16", marks=pytest.mark.slow),
    ],
)
def test_a_bfloat16_network_convolves_in_bfloat16_forward_and_backward(config, words):
    found = products(step_of(small(config, words, dtype="bfloat16")))
    convolutions = [p for p in found if p.code == "convolution"]
    assert len(convolutions) > 20
    assert {p.dtypes for p in convolutions} == {("bf16", "bf16")}
    assert {p.precision for p in found} == {"default"}


@pytest.mark.parametrize(
    "config, words",
    [
        ("liresnet/cifar10", "l"),
        ("liresnet_pp/cifar10", "4m"),
        ("bronet/cifar10", "4m"),
        pytest.param("lot/cifar10", "s", marks=pytest.mark.slow),
    ],
)
def test_only_what_makes_kernels_and_norms_is_exact(config, words):
    given = small(config, words)
    given.data.batch = 22  # no other size is
    found = products(step_of(given))
    of_images = [p for p in found if "22" in p.sizes]
    assert len(of_images) > 10
    assert {p.precision for p in of_images} == {"default"}
    assert any(p.precision == "highest" for p in found)


@pytest.mark.parametrize(
    "config, phase",
    [
        ("linf_dist/cifar10", "p8"),
        ("sortnet/cifar10", "general"),
        ("sortnet/cifar10", "inf"),
    ],
)
def test_distances_have_no_loop_over_inputs(config, phase):
    text = step_of(small(config, ""), phase)
    assert "stablehlo.while" not in text
    assert set(re.findall(r"\b(?:bf16|f16|f64)\b", text)) == set()


@pytest.mark.parametrize(
    "config, words",
    [("lot/cifar10", "s"), ("liresnet/cifar10", "l"), ("sortnet/cifar10", "8,mlp")],
)
def test_a_certificate_multiplies_in_float64_alone(config, words):
    def wide(x):
        is_float = jnp.issubdtype(x.dtype, jnp.floating)
        return Shape(x.shape, jnp.float64) if is_float else x

    given = small(config, words)
    with jax.enable_x64(True):
        model = configs.build("models", given.model)
        params, state = jax.eval_shape(model.init, random_keys.key(0))
        params, state = jax.tree.map(wide, (params, state))
        state = jax.eval_shape(model.prepare, params, state)
        image = Shape((2, *model.image_shape), jnp.float64)
        traced = lipschitz.logits_of.trace(model.apply, params, state, image)
        text = traced.lower(lowering_platforms=("cuda",)).as_text()
    dtypes = {d for p in products(text) for d in p.dtypes}
    assert dtypes == {"f64"}
    assert not re.search(r"tensor<[^>]*xf32>", text)
