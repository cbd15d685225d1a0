from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import Golden, close, golden_each, golden_files
from refusals import names

from jaxcert.diffusion.edm import loss_weight
from jaxcert.errors import InputError
from jaxcert.interfaces import Run
from jaxcert.methods import edm, gaussian
from jaxcert.models import edm_unet, small_cnn
from jaxcert.torch_import.edm_unet import convert_state_dict
from jaxcert.training import optim

RUN = Run(1, 1, 8)
SMALL = dict(image_shape=(8, 8, 1), width=8, multipliers=(1,), attention=(), blocks=1)


@pytest.mark.golden("diffusion")
@pytest.mark.parametrize(
    "dtype, tolerance",
    [("float64", 1e-6), pytest.param("float32", 1e-4, marks=pytest.mark.slow)],
)
@golden_each("diffusion", "edm_loss*.npz")
def test_loss_is_the_originals(dtype, tolerance, x64, file):
    golden = Golden(file)
    weights = Golden(golden_files("diffusion", "songunet_ddpmpp*.npz")[0])
    arrays = {k[6:]: weights[k] for k in weights if k.startswith("param/")}
    _, channels, *sides = golden["images"].shape
    shape = (*sides, channels)
    params, state, facts = convert_state_dict(arrays, shape)
    model = edm_unet.make(image_shape=shape, dropout=0.0, **facts)
    image, noise = (
        jnp.asarray(np.moveaxis(golden[k], 1, -1), dtype)
        for k in ("images", "noise_unit")
    )
    normal = jnp.asarray(golden["rnd_normal"].ravel(), dtype)
    sigma = jnp.exp(1.2 * normal - 1.2)
    close(sigma, golden["sigma"].ravel(), 1e-6)
    close(loss_weight(sigma), golden["weight"].ravel(), 1e-6)
    label = jnp.asarray(golden["labels_onehot"].argmax(-1))
    # dropout is 0, so a training pass is the original's evaluation pass
    loss, (_, metrics) = edm.objective(
        model, params, state, image, label, sigma, noise, key=jax.random.key(0)
    )
    np.testing.assert_allclose(loss, golden["loss_train_scalar"], rtol=tolerance)
    pixels = image[0].size
    np.testing.assert_allclose(loss / pixels, golden["loss_mean"], rtol=tolerance)
    np.testing.assert_allclose(golden["loss"].mean(), golden["loss_mean"], rtol=1e-5)
    mse = (golden["loss"] / golden["weight"]).mean()
    np.testing.assert_allclose(metrics["mse"], mse, rtol=1e-4)
    assert golden.unread() == []


@pytest.mark.golden("diffusion")
@golden_each("diffusion", "lr_ema_schedule*.npz")
def test_rate_and_average_are_the_originals(x64, file):
    golden = Golden(file)
    batch, lr = golden["batch"].item(), golden["base_lr"].item()
    step = golden["cur_nimg"] // batch
    whole = step * batch == golden["cur_nimg"]
    assert whole.any()
    rate = optim.ramp(lr, 10e6 / batch)
    ema = optim.averaging(0.0, 0.5e6, batch=batch)
    seen = golden["cur_nimg"] / batch
    close(np.array([rate(s) for s in seen]), golden["lr"], 1e-9)
    close(np.array([ema(s) for s in step[whole]]), golden["ema_beta"][whole], 1e-9)
    life = np.minimum(0.5e6, golden["cur_nimg"] / 20)
    close(life, golden["ema_halflife_nimg"], 1e-12)
    assert golden.unread() == []


def test_an_average_counts_the_images_of_an_optimizer_step():
    one = optim.averaging(0.0, 1000.0, batch=64)
    parts = optim.averaging(0.0, 1000.0, batch=16, accumulate=4)
    for step in (0, 1, 7, 1000):
        assert float(one(step)) == float(parts(4 * step + 3))
    assert optim.averaging(0.0, 0.0, batch=64) is None
    for decay, halflife, said in (
        (1.0, 0.0, names("ema", 1.0)),
        (0.9, 5.0, names("ema_halflife", 5, "ema", 0.9)),
    ):
        with pytest.raises(InputError, match=said):
            optim.averaging(decay, halflife, batch=64)


def test_the_law_of_sigma_is_log_normal_and_the_network_sees_its_key():
    seen = {}

    def apply(params, state, x, *, train, key, sigma, label, augment):
        seen.update(sigma=sigma, label=label, train=train, key=key, x=x)
        return jnp.zeros_like(x), state

    model = edm_unet.make(**SMALL)
    method = edm.make(model._replace(apply=apply), RUN, P_mean=-1.0, P_std=0.5)
    batch = {"image": jnp.full((4000, 1, 1, 1), 0.5), "label": jnp.zeros(4000, int)}
    loss, _ = method.loss({}, {}, (), batch, jax.random.key(3), 0, None)
    logs = np.log(seen["sigma"])
    assert abs(logs.mean() + 1.0) < 4 * 0.5 / np.sqrt(4000)
    assert abs(logs.std() - 0.5) < 4 * 0.5 / np.sqrt(8000)
    assert seen["train"] and seen["key"] is not None
    # the image is 0 in [-1, 1]: what is left is the noise, of unit variance
    unit = seen["x"].ravel() / seen["sigma"]
    assert abs(unit.mean()) < 4 / np.sqrt(4000) and abs(unit.std() - 1) < 0.05
    assert float(loss) == 0.0  # its denoiser answers 0


def test_a_classifier_is_no_denoiser_and_a_denoiser_no_classifier():
    with pytest.raises(InputError, match=names("edm", "model.name='edm_unet'")):
        edm.make(small_cnn.make(), RUN)
    denoiser = edm_unet.make(**SMALL)
    method = gaussian.make(denoiser, RUN, sigma=0.5)
    batch = {"image": jnp.zeros((2, 8, 8, 1)), "label": jnp.zeros(2, int)}
    params, state = jax.eval_shape(denoiser.init, jax.random.key(0))
    with pytest.raises(InputError, match=names("edm_unet", "sigma", "edm")):
        jax.eval_shape(
            lambda p, s: method.loss(p, s, (), batch, jax.random.key(0), 0, None),
            params,
            state,
        )
