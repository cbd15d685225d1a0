"""MACER against the original step, and the images that its hinge drops."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import Golden, golden_files
from smoothing_step import check_gradients, network

from jaxcert.errors import InputError
from jaxcert.interfaces import Run
from jaxcert.methods import macer
from jaxcert.models import small_cnn


@pytest.mark.golden
@pytest.mark.parametrize("lbd", [0, 12])
def test_step_is_the_original(x64, lbd):
    golden = Golden(golden_files("smoothing", f"loss_macer_lbd{lbd}.npz")[0])
    model, params, state = network()
    x = golden["x"].transpose(0, 2, 3, 1)
    draws = golden["noise_std_normal"].transpose(0, 2, 3, 1)
    draws = draws.reshape(len(x), int(golden["m"]), *x.shape[1:]).swapaxes(0, 1)
    options = {k: float(golden[k]) for k in ("sigma", "lbd", "beta", "gamma")}
    assert options["lbd"] == lbd

    def step(params):
        noise = options["sigma"] * draws
        return macer.objective(model, params, state, x, golden["y"], noise, **options)

    (loss, (after, metrics)), grads = jax.jit(jax.value_and_grad(step, has_aux=True))(
        params
    )
    np.testing.assert_allclose(loss, golden["loss"], rtol=1e-9)
    assert metrics["loss"] == loss
    check_gradients(golden, grads, after)


@pytest.mark.golden
@pytest.mark.parametrize(
    "path", golden_files("smoothing", "macer_logits_*.npz"), ids=lambda p: p.stem[13:]
)
def test_terms_are_the_original(x64, path):
    golden = Golden(path)
    logits = golden["logits"].swapaxes(0, 1)
    options = {k: float(golden[k]) for k in ("sigma", "beta", "gamma")}

    def value(logits):
        first, second = macer.terms(logits, golden["y"], **options)
        return first + float(golden["lbd"]) * second

    loss, grad = jax.jit(jax.value_and_grad(value))(logits)
    assert grad.dtype == golden["logits"].dtype
    single = grad.dtype == np.float32
    rtol, atol = (1e-4, 1e-6) if single else (1e-9, 1e-11)
    np.testing.assert_allclose(loss, golden["loss"], rtol=rtol)
    np.testing.assert_allclose(
        grad.swapaxes(0, 1), golden["grad"], rtol=rtol, atol=atol
    )
    assert golden.unread() == []


def test_certain_image_has_neither_value_nor_gradient_of_the_hinge():
    logits = jnp.zeros((3, 2, 4)).at[:, :, 1].set(100.0)

    def robustness(logits):
        options = dict(sigma=0.5, beta=16.0, gamma=8.0)
        return macer.terms(logits, jnp.array([1, 2]), **options)[1]

    value, grad = jax.value_and_grad(robustness)(logits)
    assert value == 0 and not grad.any()


def test_hinge_waits_for_its_epoch():
    model = small_cnn.make(image_shape=(4, 4, 1), width=4)
    params, state = model.init(jax.random.key(0))
    run = Run(steps_per_epoch=5, total_steps=20, data_size=8)
    batch = dict(image=jnp.zeros((8, 4, 4, 1)), label=jnp.zeros(8, jnp.int32))
    method = macer.make(model, run, sigma=0.5, m=2, lbd=3.0, start_epoch=2)

    @jax.jit
    def parts(step):
        key = jax.random.key(1)
        loss, (_, m) = method.loss(params, state, (), batch, key, step, None)
        return loss, m["robustness"]

    losses, robustness = zip(*(parts(t) for t in (9, 10)), strict=True)
    assert robustness[0] == robustness[1] > 0
    np.testing.assert_allclose(losses[1] - losses[0], 3 * robustness[0], rtol=1e-5)


@pytest.mark.parametrize(
    "wrong,words",
    [
        (dict(sigma=0.0), "sigma"),
        (dict(m=0), "m 0"),
        (dict(lbd=-1.0), "lbd"),
        (dict(beta=0.0), "beta"),
        (dict(gamma=float("nan")), "gamma"),
        (dict(start_epoch=-1), "start_epoch"),
    ],
)
def test_nonsense_is_refused(wrong, words):
    with pytest.raises(InputError, match=words):
        macer.make(None, None, **{"sigma": 0.25, **wrong})
