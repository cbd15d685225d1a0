"""Polar factors: polynomials of singular values, and what a step of them differentiates."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxcert.nn import lot
from jaxcert.ops import linalg
from jaxcert.ops.linalg import Pair

polar_factor = jax.jit(lot.polar_factor, static_argnames="polar")


def pair(a):
    return Pair(jnp.asarray(a.real), jnp.asarray(a.imag))


def dense(q):
    return np.asarray(q.re) + (0 if q.im is None else 1j * np.asarray(q.im))


def draw(*shape, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=shape) + 1j * rng.normal(size=shape)


@pytest.mark.parametrize("lower,steps", [(0.03, 4), (0.1, 3), (0.5, 1)])
def test_minimax_polynomials_stay_below_one_and_equioscillate(lower, steps):
    s = np.linspace(0, 1, 200_001)
    for a, b, c in linalg.minimax_coefficients(lower, steps):
        p = a * s + b * s**3 + c * s**5
        assert (p <= 1 + 1e-12).all() and (p[1:] > 0).all()
        inside = p[s >= lower]
        at = np.flatnonzero(np.diff(np.sign(np.diff(inside)))) + 1
        ends = inside[[0, *at, -1]]  # least, greatest, least, greatest
        assert len(ends) == 4
        least = a * lower + b * lower**3 + c * lower**5
        np.testing.assert_allclose(ends[[1, 3]], 1, atol=1e-8)
        np.testing.assert_allclose(ends[[0, 2]], least, atol=1e-4)
        s, lower = np.linspace(0, 1, 200_001), least


@pytest.mark.parametrize("polar", lot.POLAR)
def test_singular_values_end_in_the_unit_interval_and_vectors_stay(x64, polar):
    f = draw(4, 6, 6)
    u, s, v = np.linalg.svd(f)
    q = dense(polar_factor(pair(f), polar=polar))
    values = np.linalg.svd(q, compute_uv=False)
    assert (values > 0).all() and (values <= 1).all()
    assert (values[s / np.linalg.norm(s, axis=-1)[:, None] > 0.2] > 0.999).all()
    diagonal = u.conj().swapaxes(1, 2) @ q @ v.conj().swapaxes(1, 2)
    rest = diagonal - np.einsum("kii->ki", diagonal)[..., None] * np.eye(6)
    assert np.abs(rest).max() < 1e-9


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 1000),
    st.sampled_from([1e-12, 1e-3, 1.0, 1e3]),
    st.integers(1, 4),
    st.sampled_from(lot.POLAR),
)
def test_float32_is_a_contraction_up_to_rounding(seed, scale, rank, polar):
    f = draw(3, 4, rank, seed=seed) @ draw(3, rank, 5, seed=seed + 1) * scale
    q = dense(polar_factor(pair(f.astype(np.complex64)), polar=polar))
    assert np.linalg.svd(q, compute_uv=False).max() <= 1 + 1e-5


@pytest.mark.parametrize("polar", lot.POLAR)
def test_rows_and_columns_may_change_places(x64, polar):
    f = draw(2, 5, 3)
    tall = dense(polar_factor(pair(f), polar=polar))
    wide = dense(polar_factor(pair(f.conj().swapaxes(1, 2)), polar=polar))
    # the jitter of ten steps is that of the larger side
    error = 1e-6 if polar == "newton_schulz" else 1e-12
    np.testing.assert_allclose(tall, wide.conj().swapaxes(1, 2), atol=error)


def test_newton_schulz_is_the_coupled_iteration_on_the_larger_side(x64):
    f = draw(2, 5, 3)
    s = f @ f.conj().swapaxes(1, 2) + lot.JITTER * np.eye(5)
    c = np.linalg.norm(s, axis=(1, 2))[:, None, None] + lot.JITTER
    y, z = s / c, np.eye(5)
    for _ in range(lot.STEPS):
        t = (3 * np.eye(5) - z @ y) / 2
        y, z = y @ t, t @ z
    found = dense(polar_factor(pair(f), polar="newton_schulz"))
    np.testing.assert_allclose(found, z @ f / np.sqrt(c), atol=1e-12)


def test_gradients_of_gram_and_square_are_those_of_the_products(x64):
    a = pair(draw(2, 4, 4))
    weight = pair(draw(2, 4, 4, seed=1))

    def value(function):
        def total(a):
            s = function(a)
            return sum(jnp.vdot(w, part) for w, part in zip(weight, s, strict=True))

        return total

    def plain(a):
        return linalg.matmul(a, linalg.adjoint(a))

    def square(f):
        return lambda a: f(plain(a))

    pairs = (
        (linalg.gram, plain),
        (
            square(linalg.square),
            square(lambda s: linalg.matmul(s, s)),
        ),
    )
    for ours, reference in pairs:
        found, expected = jax.grad(value(ours))(a), jax.grad(value(reference))(a)
        for x, y in zip(found, expected, strict=True):
            np.testing.assert_allclose(x, y, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("polar", lot.POLAR)
def test_forms_of_cpus_and_of_accelerators_agree(polar, x64, monkeypatch):
    """Matrices of which some are nearly singular, complex and real, wide and tall."""
    kernels = np.random.default_rng(0).normal(size=(2, 3, 3, 3, 4))
    kernels[1] *= 1e-3

    def found():
        @jax.jit
        def value_and_gradient(kernels):
            def value(kernels):
                q = lot.orthogonal_kernel(kernels, 2, polar=polar)
                flat = lot.orthogonal_kernel(kernels[:, 1:2, 1:2], 2, polar=polar)
                total = jnp.sum(jnp.sin(q.re)) + jnp.sum(jnp.cos(q.im + 1))
                return total + jnp.sum(jnp.sin(flat.re)), (q, flat)

            return jax.value_and_grad(value, has_aux=True)(kernels)

        (_, q), gradient = value_and_gradient(kernels)
        return jax.tree.leaves((q, gradient))

    ours = found()
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    for a, b in zip(ours, found(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9 * np.abs(a).max())


@pytest.mark.parametrize("polar", lot.POLAR)
def test_gradient_is_the_difference_quotient(x64, polar):
    kernel, way = np.random.default_rng(0).normal(size=(2, 3, 3, 3, 4))

    @jax.jit
    def value(step):
        q = lot.orthogonal_kernel(kernel + step * way, 2, polar=polar)
        return jnp.sum(jnp.sin(q.re)) + jnp.sum(jnp.cos(q.im + 1))

    h = 1e-5
    quotient = (value(h) - value(-h)) / (2 * h)
    np.testing.assert_allclose(jax.grad(value)(0.0), quotient, rtol=1e-6)


@pytest.mark.parametrize("side", [pytest.param(3, marks=pytest.mark.slow), 4])
def test_conjugate_frequencies_are_conjugate_and_equal_to_each_alone(
    x64, side, monkeypatch
):
    kernel = jnp.asarray(np.random.default_rng(0).normal(size=(3, 3, 2, 3)))
    m = side + 2
    alone = dense(lot.polar_factor(lot.frequency_response(kernel, m)))
    for least in (1, 128):  # real frequencies apart, and among the others
        monkeypatch.setattr(lot, "REAL_APART", least)
        q = dense(lot.orthogonal_kernel(kernel, side))
        np.testing.assert_allclose(q, alone, atol=1e-12)
    q = q.reshape(m, m // 2 + 1, 3, 2)
    edges = [0] if m % 2 else [0, m // 2]
    mirrored = q[-np.arange(m)][:, edges].conj()
    np.testing.assert_array_equal(q[:, edges], mirrored)


def test_minimax_is_nearer_to_orthogonal_than_ten_steps_and_near_them():
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(3, 3, 16, 16)).astype(np.float32) / 12
    identity = np.zeros_like(noise)
    identity[1, 1] = np.eye(16)
    for kernel in (noise, identity + 0.3 * noise, identity + noise):
        found = {}
        for polar in lot.POLAR:
            q = lot.orthogonal_kernel(jnp.asarray(kernel), 6, polar=polar)
            found[polar] = dense(q), np.linalg.svd(dense(q), compute_uv=False)
        (parity, ten), (fast, four) = found.values()
        assert ((1 - four) ** 2).mean() <= ((1 - ten) ** 2).mean()
        assert (1 - four).max() <= (1 - ten).max()
        if ten.min() > 0.999:
            assert np.abs(fast - parity).max() < 2e-3


def test_kernels_of_equal_shape_in_one_batch_are_those_of_each():
    kernels = jax.random.normal(jax.random.key(0), (2, 3, 3, 3, 4))
    together = lot.orthogonal_kernel(kernels, 4, polar="minimax")
    for i, kernel in enumerate(kernels):
        alone = lot.orthogonal_kernel(kernel, 4, polar="minimax")
        np.testing.assert_allclose(together.re[i], alone.re, atol=1e-5)
        np.testing.assert_allclose(together.im[i], alone.im, atol=1e-5)
