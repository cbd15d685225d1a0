"""The form of distances for accelerators, on a CPU: against loops, order, and its program."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import close

from jaxcert.ops import norm_dist as package
from jaxcert.ops.norm_dist import direct, form, norm_dist, norm_dist_bounds
from jaxcert.ops.sort_neuron import sort_neuron, sort_neuron_bounds

ODD, TILED = (5, 13, 7), (6, 12, 8)  # B, D, O


@pytest.fixture
def on(monkeypatch):
    """on(device, f, *arguments): f as it is traced on that device."""

    def run(device, f, *arguments):
        monkeypatch.setattr(jax, "default_backend", lambda: device)
        return jax.jit(lambda *a: f(*a))(*arguments)  # a function that has no cache yet

    return run


def drawn(shape, dtype=np.float32, seed=0):
    b, d, o = shape
    draw = np.random.default_rng(seed).normal
    return tuple(draw(size=s).astype(dtype) for s in ((b, d), (d, o), (b, o)))


def kept_of(shape, group, keep, seed=1):
    draw = np.random.default_rng(seed)
    groups = -(-shape[0] // group)
    rows = [np.sort(draw.permutation(shape[1])[:keep]) for _ in range(groups)]
    return jnp.asarray(np.stack(rows), jnp.int32)


def pulled(p, kept=None, group=32):
    """f(x, w, g) -> value twice, gradients. p: a float is traced."""

    def run(x, w, g):
        power = jnp.asarray(p, x.dtype) + 0 * g[0, 0] if isinstance(p, float) else p
        distance = lambda x, w: norm_dist(x, w, power, kept=kept, group=group)  # noqa: E731
        y, pull = jax.vjp(distance, x, w)
        return distance(x, w), y, *pull(g)

    return run


def agree(on, f, arguments, tolerance):
    loops, fused = (on(device, f, *arguments) for device in ("cpu", "gpu"))
    for expected, found in zip(loops, fused, strict=True):
        assert found.dtype == expected.dtype
        close(found, expected, tolerance)


def test_the_device_decides_the_form(monkeypatch):
    for device, name in (("cpu", "loop"), ("gpu", "direct"), ("tpu", "direct")):
        monkeypatch.setattr(jax, "default_backend", lambda device=device: device)
        assert form() == name


@pytest.mark.parametrize(
    "p,dropped",
    [
        (None, True),
        (8, False),
        (64.3, True),
        *[
            pytest.param(*row, marks=pytest.mark.slow)
            for row in [(None, False), (8, True), (64.3, False), (900.0, False)]
            + [(p, dropped) for p in (1, 7, 1.0, 9.3) for dropped in (False, True)]
        ],
    ],
)
def test_values_and_gradients_are_those_of_the_loops(on, p, dropped):
    for shape in (ODD, TILED):
        kept = dict(kept=kept_of(shape, 2, 9), group=2) if dropped else {}
        rounding = 2e-6 if p is None else max(2e-6, 4 * p * 2.0**-24)
        agree(on, pulled(p, **kept), drawn(shape), rounding)


@pytest.mark.parametrize("p", [None, 64.3])
def test_float64_keeps_its_precision(on, x64, p):
    agree(on, pulled(p), drawn(TILED, np.float64), 1e-12)


def test_sort_neurons_and_bounds_are_those_of_the_loops(on, x64):
    def run(x, w, g):
        neuron = lambda x, w: sort_neuron(x, w, rho=0.4, num_terms=4)  # noqa: E731
        y, pull = jax.vjp(neuron, x, w)
        box = x - 0.1, x + 0.2
        near = norm_dist_bounds(*box, w)
        return y, *pull(g), *near, *sort_neuron_bounds(*box, w, rho=0.4, num_terms=4)

    agree(on, run, drawn(TILED, np.float64), 1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_first_of_equal_inputs_takes_the_gradient(on, x64, dtype):
    """Few values, so that every maximum is attained several times and some are zero."""
    draw = np.random.default_rng(2)
    x, w = (draw.integers(-1, 2, s).astype(dtype) for s in ((6, 12), (12, 8)))
    w[:, 0] = x[0]
    g = np.arange(1, 49).reshape(6, 8).astype(dtype)
    agree(on, pulled(None), (x, w, g), 0)

    def sorted_terms(x, w, g):
        y, pull = jax.vjp(lambda x, w: sort_neuron(x, w, rho=0.5, num_terms=3), x, w)
        return y, *pull(g)

    agree(on, sorted_terms, (x, w, g), 1e-6)
    d = np.abs(x[:, :, None] - w)
    at = np.argsort(-d, axis=1, kind="stable")[:, :3]
    weights = np.array([4, 2, 1]) / 7
    slope = np.where(x[:, :, None] >= w, g[:, None], -g[:, None])
    expected = np.zeros_like(x)
    for k in range(3):
        chosen = np.arange(12)[:, None] == at[:, k, None]
        expected += weights[k] * (chosen * slope).sum(2)
    close(on("cpu", sorted_terms, x, w, g)[1], expected, 1e-6)
    found = direct.maximum_and_index(x[None], w)
    np.testing.assert_array_equal(found[0][0], d.max(1))
    np.testing.assert_array_equal(found[1][0], d.argmax(1))


@pytest.mark.parametrize("p", [None, 8, 64.3])
def test_zero_distance_has_no_gradient_at_finite_p(on, p):
    w = drawn(TILED)[1]
    x, g = w.T[:6].copy(), np.eye(6, 8, dtype=np.float32)
    y, _, gx, gw = on("gpu", pulled(p), x, w, g)
    np.testing.assert_array_equal(np.diag(y), 0)
    if p is not None:
        np.testing.assert_array_equal(gx, 0)
        np.testing.assert_array_equal(gw, 0)


@pytest.mark.parametrize("p", [None, 8, 64.3])
@pytest.mark.parametrize("place", ["x", "w"])
def test_what_is_not_finite_is_never_passed_over(on, p, place):
    x, w, g = drawn(TILED)
    {"x": x, "w": w}[place][1, 2] = np.nan
    _, y, gx, gw = (np.isnan(a) for a in on("gpu", pulled(p), x, w, g))
    hit = np.zeros_like(y)
    hit[(1, slice(None)) if place == "x" else (slice(None), 2)] = True
    np.testing.assert_array_equal(y, hit)
    if p is not None:  # only what the number touches
        expected = [np.isnan(a) for a in on("cpu", pulled(p), x, w, g)[2:]]
        assert expected[0].any() and expected[1].any()
        np.testing.assert_array_equal(gx, expected[0])
        np.testing.assert_array_equal(gw, expected[1])


@pytest.mark.parametrize("place", [0, 1])
def test_sort_neurons_pass_over_no_nan(on, place):
    arrays = list(drawn(TILED)[:2])
    arrays[place][1, 2] = np.nan
    hit = np.zeros((6, 8), bool)
    hit[np.s_[1] if place == 0 else np.s_[:, 2]] = True

    def run(x, w):
        bounds = sort_neuron_bounds(x, x, w, rho=0.2, num_terms=3)
        return sort_neuron(x, w, rho=0.2, num_terms=3), *bounds

    for value in on("gpu", run, *arrays):
        np.testing.assert_array_equal(np.isnan(value), hit)


def test_scattered_sums_do_not_depend_on_the_order():
    """Which no sum of floats would survive; and they are right to float32's rounding."""
    draw = np.random.default_rng(3)
    index = draw.integers(0, 3, (1, 50, 40)).astype(np.int32)
    v = (
        draw.normal(size=(1, 50, 40)) * 10.0 ** draw.integers(-3, 3, (1, 50, 40))
    ).astype(np.float32)
    gx, gw = direct.scatter(index, v, 3)
    order = draw.permutation(50)
    other_gx, other_gw = direct.scatter(index[:, order], v[:, order], 3)
    np.testing.assert_array_equal(gw, other_gw)
    np.testing.assert_array_equal(gx[:, order], other_gx)
    hot = index[0, :, :, None] == np.arange(3)
    exact = v[0, :, :, None].astype(np.float64) * hot
    error = 50 * 2.0**-26 * np.abs(v).max()
    np.testing.assert_allclose(gx[0], exact.sum(1), rtol=2e-7, atol=error)
    np.testing.assert_allclose(gw, -exact.sum(0).T, rtol=2e-7, atol=error)


@pytest.mark.parametrize("scale", [3e38, 1.0, 1e-30])
def test_scattered_sums_neither_overflow_nor_vanish(scale):
    index = np.zeros((1, 4, 1), np.int32)
    v = np.array([1.0, -1.0, 1.0, -0.5], np.float32).reshape(1, 4, 1) * np.float32(
        scale
    )
    gx, gw = direct.scatter(index, v, 2)
    np.testing.assert_allclose(gx[0, :, 0], v[0, :, 0], rtol=1e-6)
    np.testing.assert_allclose(gw, [[-0.5 * scale], [0]], rtol=1e-6)
    spoilt = direct.scatter(index, v * np.float32(np.nan), 2)
    assert all(np.isnan(part).all() for part in spoilt)


@pytest.mark.parametrize("p", [None, 8, 64.3])
def test_program_for_a_gpu_has_no_loop_and_adds_no_floats_in_any_order(monkeypatch, p):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    kept = jax.ShapeDtypeStruct((16, 4352), jnp.int32)
    shapes = [
        jax.ShapeDtypeStruct(s, jnp.float32)
        for s in ((512, 5120), (5120, 5120), (512, 5120))
    ]

    def step(x, w, g, kept):
        return pulled(p, kept)(x, w, g)[1:]

    traced = jax.jit(step).trace(*shapes, kept)
    text = traced.lower(lowering_platforms=("cuda",)).as_text()
    assert "stablehlo.while" not in text and "stablehlo.case" not in text
    added = [
        s for s in text.split("stablehlo.scatter")[1:] if "stablehlo.add" in s[:900]
    ]
    assert len(added) == (4 if p is None else 0)
    for scatter in added:
        assert "tensor<i32>, %" in scatter[:400] or ": tensor<i32>" in scatter[:900]


def test_no_reduction_has_more_operands_than_are_fused(monkeypatch):
    """XLA would store what it does not fuse: 64 operands are 54 GB at full size."""
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    reduce, counts = jax.lax.reduce, set()

    def counted(operands, *how):
        counts.add(len(operands))
        return reduce(operands, *how)

    monkeypatch.setattr(direct.lax, "reduce", counted)
    x, w = (jax.ShapeDtypeStruct(s, jnp.float32) for s in ((8, 20), (20, 24)))

    def bounds(x, w):
        return sort_neuron_bounds(x, x, w, rho=0.3, num_terms=3)

    jax.eval_shape(lambda x, w: (bounds(x, w), norm_dist(x, w)), x, w)
    assert counts == {16, 32}


@pytest.mark.parametrize("bounds", [False, True])
def test_reductions_of_a_sort_neuron_read_the_same_arrays_and_share_no_terms(
    monkeypatch, bounds
):
    """XLA must not compute what comes before once more in each of them: rounded otherwise, a
    term that counted already would count again. Terms that several have in common it stores:
    108 GB for a layer."""
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    x, w = (jax.ShapeDtypeStruct(s, jnp.float64) for s in ((8, 20), (20, 24)))

    def run(x, w):
        how, x = dict(rho=0.3, num_terms=3), 3 * x - 1
        return (
            sort_neuron_bounds(x, x, w, **how) if bounds else sort_neuron(x, w, **how)
        )

    with jax.enable_x64(True):
        text = jax.jit(run).trace(x, w).lower(lowering_platforms=("cuda",)).as_text()
    between = text.split("optimization_barrier")
    # one for the weights, then one before each of the three reductions
    found = ["stablehlo.maximum" in part for part in between[1:]]
    assert "stablehlo.maximum" not in between[0]
    assert found == [False, True, True, True] * (2 if bounds else 1)


def test_names_of_forms_are_no_implementations():
    assert not {"loop", "direct"} & set(package.IMPLEMENTATIONS)
