"""l_p distances: the original's arrays, the definition, ties, NaN, and no B x out x in."""

from __future__ import annotations

import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import Golden, close, golden_each
from hypothesis import given, settings
from hypothesis import strategies as st
from refusals import names

from jaxcert.errors import InputError
from jaxcert.ops.norm_dist import norm_dist, norm_dist_bounds


def slope_tolerance(p, dtype):
    """Of the largest gradient. (|d| / y)^(p - 1) multiplies the relative error of its base,
    a difference, a quotient and y, by p - 1; sums over a batch add what a value has."""
    if dtype == "float64":
        return 1e-8
    return 1e-6 if p == np.inf else max(5e-6, 4 * (p + 3) * np.finfo(dtype).eps)


def group_of(mask):
    """Consecutive rows of a mask [B,...] that are equal, as every group of images has them."""
    changes = np.flatnonzero((mask[1:] != mask[:-1]).any(1))
    return int(changes[0]) + 1 if len(changes) else len(mask)


def power(text):
    """'_p9_3' -> 9.3"""
    return np.inf if text == "inf" else float(text.replace("_", "."))


def powers(golden, prefix="y_p"):
    return [name.removeprefix(prefix) for name in golden if name.startswith(prefix)]


@partial(jax.jit, static_argnames=("p", "group"))
def pulled_static(x, w, g, p, kept=None, group=32):
    return _pulled(x, w, g, p, kept, group)


@partial(jax.jit, static_argnames=("group",))
def pulled_traced(x, w, g, p, kept=None, group=32):
    return _pulled(x, w, g, p, kept, group)


def pulled(x, w, g, p, **kept):
    traced = isinstance(p, jax.Array)
    return (pulled_traced if traced else pulled_static)(x, w, g, p, **kept)


def _pulled(x, w, g, p, kept, group):
    y, pull = jax.vjp(lambda x, w: norm_dist(x, w, p, kept=kept, group=group), x, w)
    return y, *pull(g)


@pytest.mark.golden("linf")
@golden_each("linf", "lp_dist*.npz")
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_value_and_gradients_are_the_originals(x64, file, dtype):
    golden = Golden(file)
    x, w, g = (golden[name].astype(dtype) for name in ("x", "w", "g"))
    for name in powers(golden):
        p = power(name)
        for exponent in _ways(p, dtype):
            y, gx, gw = pulled(x, w.T, g, exponent)
            assert y.dtype == dtype
            value = 1e-9 if dtype == "float64" else 1e-6
            slope = slope_tolerance(p, dtype)
            close(y, golden[f"y_p{name}"], value)
            close(gx, golden[f"gx_p{name}"], slope)
            close(gw.T, golden[f"gw_p{name}"], slope)
    assert not golden.unread()


def _ways(p, dtype):
    """Every program that p can run in."""
    if p == np.inf:
        return [None]
    traced = jnp.asarray(p, dtype)
    return [int(p), traced] if p % 1 == 0 and p <= 16 else [traced]


@pytest.mark.golden("linf")
@golden_each("linf", "lp_dist_ties*.npz")
@pytest.mark.parametrize("p", [1, 8, 9.3, 64.0, 1000.0])
def test_ties_zero_distances_and_large_numbers_stay_finite_at_finite_p(file, p):
    golden = Golden(file)
    x, w, g = (golden[name].astype(np.float32) for name in ("x", "w", "g"))
    for exponent in _ways(p, np.float32):
        for value in pulled(x, w.T, g, exponent):
            assert np.isfinite(value).all()


@pytest.mark.golden("linf")
@golden_each("linf", "sort_stochastic*.npz")
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_kept_inputs_are_the_originals_estimator(x64, file, dtype):
    golden = Golden(file)
    x, w, g = (golden[name].astype(dtype) for name in ("x", "w", "g"))
    kept, mask_out = golden["idx_in"], golden["mask_out"]
    group = group_of(golden["mask_in"])
    for s in range(len(kept)):
        own = slice(group * s, group * (s + 1))
        for mask, index in (("mask_in", kept), ("mask_out", golden["idx_out"])):
            assert (
                golden[mask][own] == np.isin(range(golden[mask].shape[1]), index[s])
            ).all()
    for name in powers(golden):
        p = power(name)
        y, gx, gw = pulled(x, w.T, g, p, kept=jnp.asarray(kept), group=group)
        slope = slope_tolerance(p, dtype)
        value = 1e-9 if dtype == "float64" else 1e-6
        close(np.where(mask_out, y, 0), golden[f"y_p{name}"], value)
        close(gx, golden[f"gx_p{name}"], slope)
        close(gw.T, golden[f"gw_p{name}"], slope)
    assert not golden.unread()


@pytest.mark.golden("linf")
@golden_each("linf", "bounds*.npz")
def test_interval_bounds_are_the_originals(x64, file):
    golden = Golden(file)
    box = (golden[name].astype(np.float64) for name in ("lower", "upper"))
    low, high = norm_dist_bounds(*box, golden["w"].T)
    close(low, golden["inf_lower"])
    close(high, golden["inf_upper"])
    assert not golden.unread("sort")


def test_int_and_traced_p_agree_and_p_does_not_recompile():
    draw = np.random.default_rng(0)
    x, w = (draw.normal(size=s).astype(np.float32) for s in ((5, 13), (13, 7)))
    close(norm_dist(x, w, 8), norm_dist(x, w, jnp.float32(8)), 1e-6)
    traced = jax.jit(lambda p: norm_dist(x, w, p))
    for p in (1.0, 9.3, 15.9, 16.0, 64.3, 1000.0, 5000.0):
        with np.errstate(all="ignore"):
            truth = (np.abs(x[:, :, None] - w.astype(float)) ** p).sum(1) ** (1 / p)
        if np.isfinite(truth).all() and (truth > 0).all():
            close(traced(p), truth, 1e-6)
    assert traced._cache_size() == 1


@settings(max_examples=20, deadline=None)
@given(st.floats(16, 2047), st.integers(0, 10**6))
def test_series_is_the_power_to_float32_rounding(p, seed):
    """Value and gradient of both ways to compute a power, which the same p never mixes,
    against float64; the series may not lose more than rounding does anyway."""
    draw = np.random.default_rng(seed)
    x = draw.normal(size=(3, 64)).astype(np.float32)
    w = draw.normal(size=(64, 4)).astype(np.float32)
    d = x[:, :, None] - w.astype(np.float64)
    m = np.abs(d).max(1)
    y = m * ((np.abs(d) / m[:, None]) ** p).sum(1) ** (1 / p)
    slope = np.sign(d) * (np.abs(d) / y[:, None]) ** (p - 1)
    got, gx, gw = PULLED(x, w, jnp.float32(p))
    close(got, y, 5e-7)
    tolerance = 1e-6 + p * 2.0**-22  # r: a difference, a quotient and y, all rounded
    close(gx, slope.sum(2), tolerance)
    close(gw, -slope.sum(0), tolerance)


PULLED = jax.jit(lambda x, w, p: pulled(x, w, jnp.ones((3, 4)), p))


@pytest.mark.parametrize("p", [None, 8, 64.3])
@pytest.mark.parametrize("place", ["x", "w"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_is_never_passed_over(p, place, value):
    draw = np.random.default_rng(1)
    arrays = {
        "x": draw.normal(size=(3, 9)).astype(np.float32),
        "w": draw.normal(size=(9, 4)).astype(np.float32),
    }
    arrays[place][1, 2] = value
    y = np.asarray(norm_dist(arrays["x"], arrays["w"], p))
    hit = np.zeros_like(y, bool)
    hit[(1, slice(None)) if place == "x" else (slice(None), 2)] = True
    assert not np.isfinite(y[hit]).any()
    assert np.isfinite(y[~hit]).all()


def test_first_of_equal_inputs_takes_the_gradient_and_equal_is_to_the_right():
    x, w = np.array([[1.0, 3.0, -3.0]], np.float32), np.zeros((3, 1), np.float32)
    _, gx, gw = pulled(x, w, np.ones((1, 1), np.float32), None)
    np.testing.assert_array_equal(gx, [[0, 1, 0]])
    _, gx, gw = pulled(0 * x, w, np.ones((1, 1), np.float32), None)
    np.testing.assert_array_equal(gx, [[1, 0, 0]])
    np.testing.assert_array_equal(gw, [[-1], [0], [0]])


def test_multiplied_powers_neither_overflow_nor_vanish():
    w = np.zeros((3, 2), np.float32)
    for scale in (1e30, 1.0, 1e-30):
        x = np.full((2, 3), scale, np.float32)
        y, gx, _ = pulled(x, w, np.ones((2, 2), np.float32), 8)
        close(y, np.full((2, 2), scale * 3 ** (1 / 8)), 1e-5)
        close(gx, np.full((2, 3), 2 * 3 ** (-7 / 8)), 1e-5)


@pytest.mark.parametrize("p", [1, 7, 8, 10])
def test_gradients_survive_half_precision_and_huge_cotangents(p):
    draw = np.random.default_rng(0)
    x, w = draw.uniform(-1, 1, (4, 50)), draw.uniform(-1, 1, (50, 8))
    w[0, 0] = -10.0  # as at identity initialisation
    g = np.ones((4, 8))
    exact = pulled(*(a.astype(np.float32) for a in (x, w, g)), p)
    half = pulled(*(a.astype(np.float16) for a in (x, w, g)), p)
    for ours, true in zip(half[1:], exact[1:], strict=True):
        close(np.asarray(ours, np.float32), true, 0.01)
    huge = (g * 2e38).astype(np.float32)
    small = pulled(x[:, :2].astype(np.float32), w[:2].astype(np.float32), huge / 8, p)
    for part in small[1:]:
        assert np.isfinite(part).all()


@pytest.mark.parametrize("p", [None, 8, 64.3])
def test_kernels_give_what_xla_gives(p):
    draw = np.random.default_rng(0)
    shapes = ((3, 10), (10, 4), (3, 4))
    x, w, g = (draw.normal(size=s).astype(np.float32) for s in shapes)

    def run(implementation):
        f = partial(norm_dist, p=p, implementation=implementation)
        y, pull = jax.vjp(f, x, w)
        return f(x, w), y, *pull(g)

    pairs = zip(run("mosaic_gpu_interpret"), run("xla"), strict=True)
    for kernel, xla in pairs:
        close(kernel, xla, 5e-5)


def test_unknown_or_unfit_implementation_is_refused():
    x, w = jnp.ones((2, 3)), jnp.ones((3, 4))
    with pytest.raises(InputError, match=names("triton", "xla", "mosaic_gpu")):
        norm_dist(x, w, implementation="triton")
    with pytest.raises(InputError, match=names("mosaic_gpu", "float32", "bfloat16")):
        norm_dist(x.astype(jnp.bfloat16), w, implementation="mosaic_gpu")
    kept = jnp.zeros((1, 2), jnp.int32)
    with pytest.raises(InputError, match=names("mosaic_gpu", "float32", "kept")):
        norm_dist(x, w, kept=kept, implementation="mosaic_gpu")


@pytest.mark.parametrize("p", [None, 8, "traced"])
def test_memory_is_that_of_inputs_and_outputs(p):
    """1024 -> 1024 at batch 64: the naive gradient takes 604 MB of scratch."""
    shapes = [jax.ShapeDtypeStruct(s, jnp.float32) for s in ((64, 1024), (1024, 1024))]
    exponent = jax.ShapeDtypeStruct((), jnp.float32)

    def both(x, w, traced):
        return pulled(x, w, jnp.ones((64, 1024)), traced if p == "traced" else p)

    compiled = jax.jit(both).lower(*shapes, exponent).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < 12e6
    assert not re.search(r"\[64,1024,1024\]|\[1024,64,1024\]", compiled.as_text())


@pytest.mark.parametrize(
    "arguments,words",
    [
        (((2, 3), (3, 4), 0.5), names("p", 1, 0.5)),
        (((2, 3), (3, 4), float("nan")), names("p", 1, "nan")),
        (((2, 3), (4, 3), None), names("x [B,D]", "w [D,O]", "(2, 3)", "(4, 3)")),
        (((2, 3), (3, 0), None), names("x [B,D]", "w [D,O]", "(2, 3)", "(3, 0)")),
        (((2, 3), (3, 1), jnp.float32(0.5)), names("p", 1, 0.5)),
        (((2, 3), (3, 1), jnp.float32(jnp.nan)), names("p", 1, "nan")),
    ],
)
def test_impossible_input_is_refused(arguments, words):
    x, w, p = arguments
    with pytest.raises(InputError, match=words):
        norm_dist(jnp.zeros(x), jnp.zeros(w), p)


def test_keeping_no_input_is_refused():
    with pytest.raises(InputError, match=names("kept [S,k]", "(1, 0)")):
        norm_dist(
            jnp.zeros((2, 3)), jnp.zeros((3, 1)), kept=jnp.zeros((1, 0), jnp.int32)
        )
