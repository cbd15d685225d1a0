"""MACER against the original step, and the images that its hinge drops."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import Golden, golden_each
from refusals import names
from scipy.special import ndtri, softmax
from scipy.stats import norm
from smoothing_step import check_gradients, network

from jaxcert.errors import InputError
from jaxcert.interfaces import Run
from jaxcert.methods import macer
from jaxcert.models import small_cnn


@pytest.mark.golden("smoothing")
@golden_each("smoothing", "loss_macer_*.npz")
def test_step_is_the_original(x64, file):
    golden = Golden(file)
    model, params, state = network(golden["x"])
    x = golden["x"].transpose(0, 2, 3, 1)
    draws = golden["noise_std_normal"].transpose(0, 2, 3, 1)
    draws = draws.reshape(len(x), int(golden["m"]), *x.shape[1:]).swapaxes(0, 1)
    options = {k: float(golden[k]) for k in ("sigma", "lbd", "beta", "gamma")}

    def step(params):
        noise = options["sigma"] * draws
        return macer.objective(model, params, state, x, golden["y"], noise, **options)

    (loss, (after, metrics)), grads = jax.jit(jax.value_and_grad(step, has_aux=True))(
        params
    )
    np.testing.assert_allclose(loss, golden["loss"], rtol=1e-9)
    assert metrics["loss"] == loss
    check_gradients(golden, grads, after)


@pytest.mark.golden("smoothing")
@golden_each("smoothing", "macer_logits_*.npz")
def test_terms_are_the_original(x64, file):
    golden = Golden(file)
    logits = golden["logits"].swapaxes(0, 1)
    options = {k: float(golden[k]) for k in ("sigma", "beta", "gamma")}

    def value(logits):
        first, second = macer.terms(logits, golden["y"], **options)
        return first + float(golden["lbd"]) * second

    loss, grad = jax.jit(jax.value_and_grad(value))(logits)
    assert grad.dtype == golden["logits"].dtype
    known, uncertain, rounding = _certainty(golden)
    error = np.abs(grad.swapaxes(0, 1) - golden["grad"]).max((1, 2))
    size = np.abs(golden["grad"]).max((1, 2))
    relative = 1e-4 if grad.dtype == np.float32 else 1e-9
    assert (error <= (relative + uncertain) * size + rounding)[known].all()
    if known.all():
        hinge = golden["lbd"] * golden["sigma"] / 2 * uncertain.mean()
        assert abs(loss - golden["loss"]) <= relative * golden["loss"] + hinge
    assert np.isfinite(loss) and np.isfinite(grad).all()
    assert golden.unread() == []


def _certainty(golden):
    """By image: whether rounding leaves no doubt that it counts or does not; the relative
    and the absolute error that rounding leaves to its gradient.

    A probability p loses some eps (a softmax, a sum and a quotient: four). Then
    z = Phi^-1(p) moves by dz = eps / phi(z), and 1 / phi(z) in the gradient by |z| dz of
    itself; and where p is near 1 there is nothing but eps in the 1 - p of the softmax.
    """
    eps = 4 * np.finfo(golden["logits"].dtype).eps
    batch, m, _ = golden["logits"].shape
    beta, gamma = float(golden["beta"]), float(golden["gamma"])
    p = np.sort(softmax(beta * golden["logits"].astype(np.float64), -1).mean(1), -1)
    first, second = np.minimum(p[:, -1], 1 - 1e-16), p[:, -2]
    z = ndtri(first)
    dz = eps / norm.pdf(z)
    certain = 1 - p[:, -1] < eps / 64  # 1 in this type, so dropped
    gap = z - ndtri(second) - gamma
    known = certain | ((1 - first > 4 * eps) & (np.abs(gap) > 4 * dz))
    steep = first / norm.pdf(z) + second / norm.pdf(ndtri(second))
    steep = np.where(
        certain | (gap > 0), 0, golden["lbd"] * golden["sigma"] / 2 * steep
    )
    rounding = eps * (1 + beta * steep) / (batch * m)
    return known, np.where(certain | (gap > 0), 0, z * dz), rounding


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
    "key,value",
    [
        ("sigma", 0.0),
        ("m", 0),
        ("lbd", -1.0),
        ("beta", 0.0),
        ("gamma", float("nan")),
        ("start_epoch", -1),
    ],
)
def test_nonsense_is_refused(key, value):
    with pytest.raises(InputError, match=names(f"method.{key}", value)):
        macer.make(None, None, **{"sigma": 0.25, key: value})
