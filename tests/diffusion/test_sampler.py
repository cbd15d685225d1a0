from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from analytic_denoiser import analytic
from conftest import Golden, close, golden_each
from refusals import names

from jaxcert.diffusion import edm, sampler
from jaxcert.errors import InputError


def nhwc(array):
    return np.moveaxis(array, -3, -1)


@pytest.mark.golden("diffusion")
@golden_each("diffusion", "heun_*.npz")
@pytest.mark.parametrize("dtype, tolerance", [("float64", 1e-9), ("float32", 1e-4)])
def test_every_call_and_the_images_are_the_originals(file, dtype, tolerance, x64):
    golden = Golden(file)
    settings = {k[3:]: golden[k].item() for k in golden if k.startswith("kw_")}
    steps = settings.pop("num_steps", 18)
    grid = {
        k: settings.pop(k) for k in ("sigma_min", "sigma_max", "rho") if k in settings
    }
    levels = edm.schedule(steps, **grid)
    denoise = analytic(
        jnp.asarray(nhwc(golden["mu"]), dtype),
        jnp.asarray(golden["logpi"], dtype),
        float(golden["s0"]),
    )
    label = jnp.asarray(golden["labels_onehot"].argmax(-1))
    calls = []

    def recording(x, sigma):
        out = denoise(x, sigma, label)
        jax.debug.callback(lambda *a: calls.append(a), x, sigma, out, ordered=True)
        return out

    draws = jnp.asarray(nhwc(golden["noise"]), dtype)
    image = sampler.heun(
        recording,
        jnp.asarray(nhwc(golden["latents"]), dtype),
        levels,
        churn=sampler.Churn(**settings),
        noise=lambda step: draws[step],
    )
    jax.effects_barrier()
    assert image.dtype == dtype
    close(image, nhwc(golden["x_final"]), tolerance)
    x, sigma, out = (np.stack(values) for values in zip(*calls, strict=True))
    close(sigma, golden["net_sigma"], tolerance)
    close(x, nhwc(golden["net_x"]), tolerance)
    close(out, nhwc(golden["net_out"]), tolerance)
    assert golden.unread() == []


@pytest.mark.golden("diffusion")
@golden_each("diffusion", "sigma_schedule*.npz")
def test_levels_are_the_originals(file):
    golden = Golden(file)
    for name in golden:
        steps, low, high, rho = (
            float(part.lstrip("minaxrho")) for part in name.split("_")
        )
        levels = edm.schedule(int(steps), sigma_min=low, sigma_max=high, rho=rho)
        np.testing.assert_allclose(levels, golden[name], rtol=1e-10)
    assert golden.unread() == []


def test_a_program_holds_the_network_once():
    def denoise(x, sigma):
        return jnp.sin(x)

    def calls(steps):
        levels, latent = edm.schedule(steps), np.ones((1, 2, 2, 1))
        program = jax.make_jaxpr(lambda x: sampler.heun(denoise, x, levels))(latent)
        return str(program).count(" sin ")

    assert calls(2) == calls(40) == 1


def test_a_gaussian_is_sampled_with_its_mean_and_deviation():
    mean, deviation = 0.3, 0.2
    denoise = analytic(jnp.full((1, 1, 1, 1, 1), mean), jnp.zeros((1, 1)), deviation)
    latent = jax.random.normal(jax.random.key(0), (4000, 1, 1, 1))
    noise = jax.random.normal(jax.random.key(1), (60, 4000, 1, 1, 1))
    for churn in (sampler.Churn(), sampler.Churn(S_churn=20, S_min=0.01, S_max=50)):
        image = sampler.heun(
            lambda x, sigma: denoise(x, sigma, -1),
            latent,
            edm.schedule(60),
            churn=churn,
            noise=lambda step: noise[step],
        )
        assert abs(image.mean() - mean) < 4 * deviation / np.sqrt(4000) + 2e-3
        assert abs(image.std() / deviation - 1) < 4 / np.sqrt(8000) + 1e-2


@pytest.mark.parametrize(
    "churn, fault",
    [
        (sampler.Churn(S_churn=-1), names("S_churn", -1)),
        (sampler.Churn(S_churn=float("nan")), names("S_churn", "nan")),
        (sampler.Churn(S_noise=0), names("S_noise", 0)),
        (sampler.Churn(S_min=2, S_max=1), names("S_max", 1)),
    ],
)
def test_impossible_churn_is_one_sentence(churn, fault):
    with pytest.raises(InputError, match=fault):
        sampler.check(churn)


@pytest.mark.parametrize(
    "steps, settings, fault",
    [
        (1, {}, names("steps", 1)),
        (18, dict(sigma_min=0.0), names("sigma_min", 0.0)),
        (18, dict(sigma_min=90.0), names("sigma_max", 80.0)),
        (18, dict(rho=0.0), names("rho", 0.0)),
    ],
)
def test_impossible_levels_are_one_sentence(steps, settings, fault):
    with pytest.raises(InputError, match=fault):
        edm.schedule(steps, **settings)
