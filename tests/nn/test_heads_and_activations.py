"""Heads, activations and the certificate-regularised loss against the original."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import Golden, close, golden_files

from jaxcert.methods import lot
from jaxcert.nn import activations
from jaxcert.nn.heads import LLN
from jaxcert.ops import margins

EXACT = 1e-12


def nhwc(x):
    return jnp.asarray(np.moveaxis(x, 1, -1))


@pytest.mark.golden("lipschitz_l2")
def test_activations_equal_the_original_in_value_and_gradient(x64):
    for path in golden_files("lipschitz_l2", "activations*.npz"):
        g = Golden(path)
        cases = {
            "maxmin": (activations.maxmin, ()),
            "hh1": (activations.householder1, ("theta",)),
            "hh2": (activations.householder2, ("theta0", "theta1", "theta2")),
        }
        for name, (function, thetas) in cases.items():
            x = nhwc(g[f"{name}_x"])
            angles = [jnp.asarray(g[f"{name}_{t}"].reshape(-1)) for t in thetas]
            y, vjp = jax.vjp(function, x, *angles)
            gx, *g_angles = vjp(nhwc(g[f"{name}_gy"]))
            close(y, nhwc(g[f"{name}_y"]), EXACT)
            close(gx, nhwc(g[f"{name}_gx"]), EXACT)
            for t, ours in zip(thetas, g_angles, strict=True):
                close(ours, g[f"{name}_g_{t}"].reshape(-1), EXACT)
        x, layer = nhwc(g["hh1_x"]), activations.Householder1()
        y, variables = layer.init_with_output(jax.random.key(0), x)
        start = np.asarray(variables["params"]["theta"])
        np.testing.assert_allclose(start, g["hh1_init_theta"].reshape(-1), rtol=1e-7)
        close(y, nhwc(g["hh1_init_y"]), 1e-6)  # of an angle in float32
        assert not g.unread()


@pytest.mark.golden("lipschitz_l2")
def test_head_loss_and_radii_equal_the_original(x64):
    for path in golden_files("lipschitz_l2", "heads_certificates_cr*.npz"):
        g = Golden(path)
        x, label = jnp.asarray(g["lln_x"]), jnp.asarray(g["labels"])
        weight, scale = g["lln_weight"], float(g["L"])
        head = LLN(*weight.shape)
        params = {"kernel": jnp.asarray(weight.T), "bias": jnp.asarray(g["lln_bias"])}
        y, vjp = jax.vjp(lambda p, x, m=head: m.apply({"params": p}, x), params, x)
        grads, gx = vjp(jnp.asarray(g["lln_gy"]))
        close(y, g["lln_y"], 1e-10)
        close(y, g["logits"], 1e-10)
        close(gx, g["lln_gx"], 1e-10)
        close(grads["kernel"].T, g["lln_g_weight"], 1e-10)
        close(grads["bias"], g["lln_g_bias"], 1e-10)

        k = len(weight)
        orthogonal = jnp.full((k, k), np.sqrt(2) * scale)

        def pairwise(params, kind, head=head, orthogonal=orthogonal, scale=scale):
            if kind == "ortho":
                return orthogonal
            return head.apply({"params": params}, method="pairwise") * scale

        for kind in ("lln", "ortho"):
            prefix = f"cr_{kind}_loss_gamma"
            name = next(n for n in g if n.startswith(prefix))
            gamma = float(name.removeprefix(prefix))

            def loss(
                params,
                kind=kind,
                head=head,
                x=x,
                label=label,
                pairwise=pairwise,
                gamma=gamma,
            ):
                z = head.apply({"params": params}, x)
                constants = pairwise(params, kind)
                return lot.regularised_loss(z, constants, label, gamma=gamma)

            (value, cert), grads = jax.value_and_grad(loss, has_aux=True)(params)
            close(cert, g[f"cr_{kind}_cert"], 1e-10)
            close(value, g[name], 1e-10)
            close(grads["kernel"].T, g[f"cr_{kind}_gweight"], 1e-10)
            predicted = y.argmax(1)
            np.testing.assert_array_equal(predicted, g["eval_pred"])
            radius = margins.radius(y, pairwise(params, kind), predicted)
            close(radius, g[f"eval_radius_{kind}"], 1e-10)
        bound = head.apply({"params": params}, method="pairwise_bound")
        exact = np.asarray(pairwise(params, "lln")) / scale
        assert (bound >= exact).all() and (bound <= exact + 1e-11).all()  # of unit rows
        assert not g.unread("cayley_linear")  # read in test_cayley.py


@pytest.mark.parametrize("name", sorted(activations.ACTIVATIONS))
def test_activations_never_expand_a_distance(name):
    layer = activations.ACTIVATIONS[name]()
    x = jax.random.normal(jax.random.key(0), (2, 4000, 6))
    variables = layer.init(jax.random.key(1), x[0])
    y = [layer.apply(variables, x[i]) for i in range(2)]
    before = jnp.linalg.norm(x[0] - x[1], axis=1)
    assert (jnp.linalg.norm(y[0] - y[1], axis=1) <= before * (1 + 1e-5)).all()


@pytest.mark.parametrize("name", sorted(activations.ACTIVATIONS))
def test_gradients_are_finite_at_zero_and_at_ties(name):
    layer = activations.ACTIVATIONS[name]()
    x = jnp.stack([jnp.zeros(6), jnp.ones(6)])
    variables = layer.init(jax.random.key(1), x)
    grads = jax.grad(lambda v, x: layer.apply(v, x).sum(), argnums=(0, 1))(variables, x)
    assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(grads))


def test_radius_ignores_the_diagonal_and_its_gradient():
    logits, pairwise = jnp.array([[3.0, 1.0, 0.0]]), jnp.ones((3, 3)) - jnp.eye(3)
    value, grad = jax.value_and_grad(
        lambda p: margins.radius(logits, p, jnp.array([0]))[0]
    )(pairwise)
    assert value == 2.0
    np.testing.assert_array_equal(grad, [[0, -2, 0], [0, 0, 0], [0, 0, 0]])
