"""GloRo losses and logit annealing against the originals."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import Golden, close, golden_files

from jaxcert.methods import gloro, logit_annealing
from jaxcert.methods.cross_entropy import cross_entropy
from jaxcert.ops import linalg, margins


def annealed(z, k, y, eps):
    return logit_annealing.logit_annealing(gloro.emma(z, k, y, eps=eps), y)


def trades(z, k, y, eps):
    return gloro.trades(z, k, y, eps=eps, lam=1.0)


def after(modified):
    return lambda z, k, y, eps: cross_entropy(modified(z, k, y, eps=eps), y)


def bottom(z, k, y, *, eps):
    return gloro.with_bottom(z, k, eps=eps)


CASES = {  # loss, modified logits
    "trades_v1": (trades, bottom),
    "trades_v2": (trades, bottom),
    "emma_fixed_eps_v1": (after(gloro.emma_fixed), gloro.emma_fixed),
    "margin_v2": (after(gloro.emma_fixed), gloro.emma_fixed),
    "emma_v2": (after(gloro.emma), gloro.emma),
    "la_emma": (annealed, gloro.emma),
}


def pairwise_of(head, lc):
    rows = head / linalg.safe_norm(head)[:, None]
    return lc * linalg.pairwise_row_distances(rows)


@pytest.mark.golden("lipschitz_l2")
@pytest.mark.parametrize("case", CASES)
def test_losses_and_gradients_are_the_originals(x64, case):
    loss, modified = CASES[case]
    for path in golden_files("lipschitz_l2", "gloro_losses*.npz"):
        g = Golden(path)
        y, eps = jnp.asarray(g["labels"]), float(g["eps"])
        inputs = (g["logits"], g["head_weight"], g["lc"])
        inputs = tuple(jnp.asarray(a) for a in inputs)

        def value(z, head, lc, y=y, eps=eps):
            return loss(z, pairwise_of(head, lc), y, eps)

        found, grads = jax.value_and_grad(value, argnums=(0, 1, 2))(*inputs)
        close(found, g[f"{case}_loss"], 1e-11)
        for name, grad in zip(("glogits", "ghead", "glc"), grads, strict=True):
            close(grad, g[f"{case}_{name}"], 1e-10)
        moved = modified(inputs[0], pairwise_of(*inputs[1:]), y, eps=eps)
        expected = g[f"{case}_ymod"]
        # only differences count: some of the originals subtract the label's logit
        own = np.arange(len(y)), np.asarray(y)
        close(
            moved - np.asarray(moved)[own][:, None],
            expected - expected[own][:, None],
            1e-10,
        )


@pytest.mark.golden("lipschitz_l2")
def test_plain_annealing_and_certificates_are_the_originals(x64):
    for path in golden_files("lipschitz_l2", "gloro_losses*.npz"):
        g = Golden(path)
        z, y = jnp.asarray(g["logits"]), jnp.asarray(g["labels"])
        value, grad = jax.value_and_grad(logit_annealing.logit_annealing)(z, y)
        close(value, g["la_plain_loss"], 1e-11)
        close(grad, g["la_plain_glogits"], 1e-10)
        pairwise = pairwise_of(jnp.asarray(g["head_weight"]), float(g["lc"]))
        radius = margins.radius(z, pairwise, z.argmax(1))
        close(radius, g["eval_radius"], 1e-10)
        hit = (z.argmax(1) == y) & (radius > float(g["eps"]))
        np.testing.assert_array_equal(hit, g["eval_vra_hit"])


def test_gradient_of_row_distances_is_that_of_other_rows_when_compiled():
    """Compilers compute rows twice, and w_i - w_i is then no exact zero."""
    kernel = jax.random.normal(jax.random.key(0), (8, 10))

    def value(kernel):
        rows = kernel.T / jnp.linalg.norm(kernel.T, axis=1, keepdims=True)
        return jnp.sin(linalg.pairwise_row_distances(rows)).sum()

    compiled = jax.jit(jax.grad(value))(kernel)
    np.testing.assert_allclose(compiled, jax.grad(value)(kernel), rtol=1e-4, atol=1e-5)
