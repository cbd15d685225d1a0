from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from analytic_denoiser import analytic, decide
from conftest import Golden, close, golden_each
from refusals import names

from jaxcert.diffusion import classifiers
from jaxcert.errors import InputError


def nhwc(array, dtype="float64"):
    return jnp.asarray(np.moveaxis(array, -3, -1), dtype)


def mixture(classes=4, size=4, scale=0.3):
    """Denoiser and means [K,2,H,W,1]."""
    mu = scale * jax.random.normal(jax.random.key(1), (classes, 2, size, size, 1))
    return analytic(mu, jnp.log(jnp.full((classes, 2), 0.5)), 0.15), mu


@pytest.mark.golden("diffusion")
@pytest.mark.parametrize(
    "dtype", ["float64", pytest.param("float32", marks=pytest.mark.slow)]
)
@golden_each("diffusion", "diffusion_classifiers*.npz")
def test_logits_are_the_originals(dtype, x64, file):
    golden = Golden(file)
    denoise = analytic(
        nhwc(golden["mu"], dtype),
        jnp.asarray(golden["logpi"], dtype),
        golden["s0"].item(),
    )

    def logits(classifier, x01, noise):
        x, eps = 2 * nhwc(golden[x01], dtype) - 1, nhwc(golden[noise], dtype)
        assert eps.shape[1] == len(classifier.levels.sigma)
        out = classifiers.logits(denoise, classifier, x, lambda t: eps[:, t])
        assert out.dtype == dtype
        return out

    grid, classes = golden["dc_sigma_grid"], len(golden["mu"])
    dc = classifiers.dc(classes, len(grid), weighting="repo")
    close(dc.levels.sigma, grid[1:-1], 1e-6)
    close(classifiers.density(grid[:-1].astype(float), "repo"), golden["dc_p_x"], 1e-6)
    step = np.diff(dc.levels.sigma)[0]
    close(golden["dc_dt"], np.full(len(grid) - 1, step), 1e-5)
    close(logits(dc, "x01", "dc_noise"), golden["dc_logits"], 1e-4)
    # their grid less its last point, with a weight that knows no grid
    elbo = classifiers.dc(
        classes, len(grid) - 2, weighting="elbo", sigma_end=grid[-2].item()
    )
    close(logits(elbo, "x01", "dc_noise"), golden["dc_elbo_logits"], 1e-4)

    makers = {
        "epndc": classifiers.epndc,
        "apndc": classifiers.apndc,
        "apndc_from_xtau": functools.partial(classifiers.apndc, noise_from="noisy"),
    }
    for x01 in [name for name in golden if name.startswith("xtau01_")]:
        sigma = x01.removeprefix("xtau01_")
        for name, make in makers.items():
            grid = golden[f"{name}_grid_{sigma}"]
            classifier = make(classes, len(grid), 2 * float(sigma), weighting="repo")
            levels = classifier.levels.sigma
            close(levels, grid[-1 - len(levels) : -1], 1e-6)
            found = logits(classifier, x01, f"{name}_noise_{sigma}")
            close(found, golden[f"{name}_logits_{sigma}"], 1e-4)
            if name == "epndc":
                exact = 1e-9 if dtype == "float64" else 1e-4
                close(found, golden[f"epndc_logits_f64_{sigma}"], exact)
                close(classifier.levels.weight, golden[f"epndc_weff_{sigma}"], 1e-9)
    assert golden.unread() == []


def test_epndc_is_the_distance_of_the_two_posterior_means():
    tau, count = 0.5, 40
    levels = classifiers.epndc(2, count, tau, weighting="elbo").levels
    rng = np.random.default_rng(0)
    x_tau, eps, h = rng.normal(size=(3, 5))
    for t in range(1, count):
        low, s = levels.sigma[t - 1], levels.sigma[t]
        r2, a = s**2 - tau**2, s**2 - low**2
        x_next = x_tau + np.sqrt(r2) * eps
        m_q = (a * x_tau + (low**2 - tau**2) * x_next) / r2
        m_p = (a * h + low**2 * x_next) / s**2
        target = x_tau - levels.pull[t] * eps
        close(m_q - m_p, a / s**2 * (target - h), 1e-9)
    # the weight of the ELBO in this form is that of DC where levels are dense
    dense = classifiers.epndc(2, 4000, tau, weighting="elbo").levels
    s, low = dense.sigma[200:], dense.sigma[199:-1]
    r2, a = s**2 - tau**2, s**2 - low**2
    exact = r2 / (2 * (low**2 - tau**2) * a) * (a / s**2) ** 2
    assert np.abs(dense.weight[200:] / exact - 1).max() < 0.01


def test_weightings_are_what_they_say():
    make = functools.partial(classifiers.apndc, 4, 2000, 1.0, sigma_end=5.0)
    of = {
        name: make(weighting=name).levels.weight
        for name in classifiers.WEIGHTINGS
        if name != "repo"
    }
    s = make().levels.sigma
    assert s[0] > 1 and s[-1] == 5 and len(s) == 2000
    close(of["paper"], of["edm"] * s)
    close(of["stabilised"], of["edm"] * (1 - 1 / s**2))
    close(of["elbo"], 0.002 / s**3)
    assert (of["uniform"] == 1).all()
    wide = np.linspace(1e-4, 40, 400_001)
    assert abs(np.trapezoid(classifiers.density(wide), wide) - 1) < 1e-3
    # lambda(2) is 4.25 and ln 2 is 1.578 deviations from the mean
    expected = 4.25 * np.exp(-(1.57762**2) / 2) / (2 * 1.2 * 2.506628) * 0.002
    assert abs(of["edm"][499] / expected - 1) < 1e-4


def test_drop_below_is_an_interval_of_sigma_whatever_the_number_of_levels():
    for count, left in ((25, 23), (50, 45)):
        for make in (classifiers.epndc, classifiers.apndc):
            levels = make(4, count, 0.5, drop_below=0.26).levels
            assert abs(levels.sigma[0] - 0.8) < 1e-9
            assert {len(v) for v in levels} == {left}
    assert classifiers.dc(4, 12, drop_below=0.6).levels.sigma[0] > 0.6


def test_classes_are_found_by_every_kind():
    denoise, mu = mixture(size=8, scale=0.5)
    label = jnp.arange(40) % 4
    keys = jax.random.split(jax.random.key(2), 40)
    clean = mu[label, 1]
    noisy = clean + 0.5 * jax.random.normal(jax.random.key(3), clean.shape)
    noise = classifiers.draws(keys, clean)
    for x, classifier in [
        (clean, classifiers.dc(4, 6)),
        (noisy, classifiers.epndc(4, 6, 0.5)),
        (noisy, classifiers.epndc(4, 6, 0.5, weighting="stabilised")),
        (noisy, classifiers.apndc(4, 6, 0.5)),
        (noisy, classifiers.apndc(4, 6, 0.5, noise_from="noisy")),
        (noisy, classifiers.diffpure(4, 6, 0.5)),
    ]:
        logits = classifiers.logits(denoise, classifier, x, noise)
        assert (decide(logits) == label).mean() > 0.9


def test_diffpure_is_dc_of_the_one_step_estimate():
    denoise, mu = mixture()
    x = mu[:, 0] + 0.5
    eps = jax.random.normal(jax.random.key(0), (5, *x.shape))
    pure = classifiers.diffpure(4, 5, 0.5, drop_below=0.1)
    found = classifiers.logits(denoise, pure, x, lambda t: eps[t])
    clean = denoise(x, 0.5, -1)
    plain = classifiers.dc(4, 5, drop_below=0.1)
    close(found, classifiers.logits(denoise, plain, clean, lambda t: eps[t]), 1e-6)


@pytest.mark.slow
def test_shared_noise_makes_differences_of_logits_less_random():
    # images differ more inside a class than classes do
    inside, between = jax.random.normal(jax.random.key(0), (2, 4, 4, 4, 1))
    mu = 0.3 * inside[None] + 0.03 * between[:, None]
    denoise = analytic(mu, jnp.zeros((4, 4)), 0.15)
    x = jnp.repeat(mu[:1, 0], 300, axis=0)

    def logits(classifier, keys):
        noise = classifiers.draws(keys, x)
        return np.asarray(classifiers.logits(denoise, classifier, x, noise))

    keys = jax.random.split(jax.random.key(0), (2, len(x)))
    for make in (classifiers.epndc, classifiers.apndc):
        one, other = (logits(make(4, 6, 0.5), k) for k in keys)
        shared = (one[:, 0] - one[:, 1]).var()
        separate = (one[:, 0] - other[:, 1]).var()
        assert shared < separate / 4


def test_draws_are_of_the_key_and_the_level_alone():
    keys = jax.random.split(jax.random.key(0), 3)
    noise = classifiers.draws(keys, jnp.zeros((3, 40, 40, 1)))
    alone = classifiers.draws(keys[1:2], jnp.zeros((1, 40, 40, 1)))
    close(noise(4)[1:2], alone(4), 0)
    both = jnp.stack([noise(4), noise(5)]).reshape(6, -1)
    assert np.abs(np.corrcoef(both) - np.eye(6)).max() < 0.12


@pytest.mark.parametrize("bad", [jnp.nan, jnp.inf])
@pytest.mark.parametrize("where", ["one class", "no class"])
def test_an_output_that_is_not_finite_is_no_vote(bad, where):
    denoise, mu = mixture()
    x = mu[:, 0].at[2, 0, 0, 0].set(7.0)

    def broken(x, sigma, label):
        of_class = label == 3 if label is not None else False
        hit = of_class if where == "one class" else label is None
        hit = hit & (x[:, 0, 0, 0] > 4)  # the third image alone is that bright
        return jnp.where(hit[:, None, None, None], bad, denoise(x, sigma, label))

    classifier = classifiers.apndc(4, 3, 0.5, noise_from="noisy")
    logits = classifiers.logits(broken, classifier, x, lambda t: jnp.zeros_like(x))
    vote = decide(logits)
    assert vote.dtype == jnp.int32
    np.testing.assert_array_equal(np.asarray(vote) == -1, np.arange(4) == 2)


def test_a_program_holds_the_network_once():
    def denoise(x, sigma, label):
        return jnp.sin(x) * (label[:, None, None, None] + 1)

    def calls(count):
        classifier = classifiers.epndc(3, count, 0.5)
        program = jax.make_jaxpr(
            lambda x: classifiers.logits(denoise, classifier, x, lambda t: x)
        )
        return str(program(np.ones((2, 2, 2, 1), np.float32))).count(" sin ")

    assert calls(2) == calls(60) == 1


@pytest.mark.parametrize(
    "make, fault",
    [
        (lambda: classifiers.dc(4, 8, weighting="best"), names("weighting", "best")),
        (lambda: classifiers.dc(4, 0), names("0 levels", "edm", 1)),
        (lambda: classifiers.dc(4, 2, weighting="repo"), names("2 levels", "repo", 3)),
        (
            lambda: classifiers.epndc(4, 7, 0.5, weighting="repo"),
            names("7 levels", "repo", 8),
        ),
        (lambda: classifiers.epndc(4, 8, 3.0), names("sigma_end", 3.0)),
        (lambda: classifiers.apndc(4, 8, 0.0), names("sigma_tau", 0.0)),
        (lambda: classifiers.apndc(4, 8, float("nan")), names("sigma_tau", "nan")),
        (
            lambda: classifiers.apndc(4, 8, 0.5, noise_from="x"),
            names("noise_from", "x"),
        ),
        (
            lambda: classifiers.apndc(4, 8, 0.5, drop_below=2.5),
            names(3, "drop_below", "sigma_end"),
        ),
        (lambda: classifiers.diffpure(4, 8, -1.0), names("sigma_tau", -1.0)),
    ],
)
def test_impossible_levels_are_one_sentence(make, fault):
    with pytest.raises(InputError, match=fault):
        make()
