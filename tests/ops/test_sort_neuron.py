"""The sort neuron: the original's arrays, its definition, its bounds, its expectation."""

from __future__ import annotations

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import Golden, close, golden_each
from refusals import names

from jaxcert.errors import InputError
from jaxcert.ops.norm_dist import norm_dist
from jaxcert.ops.sort_neuron import sort_neuron, sort_neuron_bounds


def pulled(x, w, g, rho, terms):
    def both(x, w, g):
        y, pull = jax.vjp(
            lambda x, w: sort_neuron(x, w, rho=rho, num_terms=terms), x, w
        )
        return y, *pull(g)

    return jax.jit(both)(x, w, g)


@pytest.mark.golden("linf")
@golden_each("linf", "sort_neuron*.npz")
@pytest.mark.parametrize(
    "dtype", [pytest.param("float64", marks=pytest.mark.slow), "float32"]
)
def test_value_and_gradients_are_the_originals(x64, file, dtype):
    golden = Golden(file)
    x, w, g = (golden[name].astype(dtype) for name in ("x", "w", "g"))
    names = [n for n in golden if n.startswith("y_")]
    if dtype == "float32":  # a long sorted list takes seconds to compile
        names = [n for n in names if not n.endswith("all")]
    for name in names:
        rho, terms = re.fullmatch(r"y_rho(\d+)_k(\w+)", name).groups()
        terms = len(w.T) if terms == "all" else int(terms)
        found = pulled(x, w.T, g, int(rho) / 100, terms)
        tolerance = 1e-8 if dtype == "float64" else 1e-6
        for which, value in zip("y gx gw".split(), found, strict=True):
            expected = golden[name.replace("y", which, 1)]
            close(value.T if which == "gw" else value, expected, tolerance)
    assert dtype == "float32" or not golden.unread()


@pytest.mark.golden("linf")
@golden_each("linf", "bounds*.npz")
def test_interval_bounds_are_the_originals(x64, file):
    golden = Golden(file)
    box = [golden[name].astype(np.float64) for name in ("lower", "upper")]
    for name in [n for n in golden if re.fullmatch(r"sort\d+_lower", n)]:
        rho = int(re.search(r"\d+", name)[0]) / 100
        low, high = sort_neuron_bounds(*box, golden["w"].T, rho=rho)
        close(low, golden[name])
        close(high, golden[name.replace("lower", "upper")])
    assert not golden.unread("inf_")


def test_points_of_the_box_stay_inside_its_bounds(x64):
    draw = np.random.default_rng(0)
    x, w = draw.normal(size=(3, 12)), draw.normal(size=(12, 5))
    eps = 0.3
    low, high = sort_neuron_bounds(x - eps, x + eps, w, rho=0.4, num_terms=4)
    for _ in range(200):
        corner = draw.choice([-eps, eps, 0.5 * eps], size=x.shape)
        y = sort_neuron(x + corner, w, rho=0.4, num_terms=4)
        assert (y >= low - 1e-12).all() and (y <= high + 1e-12).all()
        assert (abs(y - sort_neuron(x, w, rho=0.4, num_terms=4)) <= eps + 1e-12).all()


def test_is_the_mean_of_the_distance_over_random_subsets(x64):
    """Every subset of 6 inputs with its probability: the untruncated neuron."""
    draw = np.random.default_rng(1)
    x, w, keep = draw.normal(size=(2, 6)), jnp.asarray(draw.normal(size=(6, 3))), 0.7
    mean = np.zeros((2, 3))
    for subset in range(1, 2**6):
        kept = np.flatnonzero([subset >> i & 1 for i in range(6)])
        share = keep ** len(kept) * (1 - keep) ** (6 - len(kept))
        mean += share * np.asarray(norm_dist(x, w, kept=jnp.asarray(kept)[None]))
    mean /= 1 - (1 - keep) ** 6
    close(sort_neuron(x, w, rho=1 - keep, num_terms=6), mean)


def test_without_drops_it_is_the_distance():
    draw = np.random.default_rng(2)
    x, w = (draw.normal(size=s).astype(np.float32) for s in ((4, 9), (9, 5)))
    np.testing.assert_array_equal(sort_neuron(x, w, rho=0.0), norm_dist(x, w))


@pytest.mark.parametrize("place", [0, 1])
def test_nan_is_never_passed_over(place):
    arrays = [np.ones((3, 9), np.float32), np.zeros((9, 4), np.float32)]
    arrays[place][1, 2] = np.nan
    hit = np.s_[1] if place == 0 else np.s_[:, 2]
    x, w = arrays
    assert np.isnan(sort_neuron(x, w, rho=0.2)[hit]).all()
    for bound in sort_neuron_bounds(x, x, w, rho=0.2):
        assert np.isnan(bound[hit]).all()


@pytest.mark.parametrize("rho", [1.0, -0.1, np.nan])
def test_rho_outside_its_range_is_refused(rho):
    with pytest.raises(InputError, match=names("rho", rho)):
        sort_neuron(jnp.zeros((1, 2)), jnp.zeros((2, 1)), rho=rho)
