from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from analytic_denoiser import analytic, decide
from conftest import Golden, close, golden_each
from refusals import names

from jaxcert.diffusion import classifiers, edm, sift
from jaxcert.errors import InputError

TAU = 0.5


def nhwc(array, dtype):
    return jnp.asarray(np.moveaxis(array, -3, -1), dtype)


def problem(votes, classes=14):
    mu = 0.3 * jax.random.normal(jax.random.key(1), (classes, 1, 8, 8, 1))
    denoise = analytic(mu, jnp.zeros((classes, 1)), 0.15)
    label = jnp.arange(votes) % classes
    x = mu[label, 0] + TAU * jax.random.normal(jax.random.key(2), (votes, 8, 8, 1))
    keys = jax.random.split(jax.random.key(3), votes)
    return denoise, x, label, classifiers.draws(keys, x)


def original(
    num_classes, tau, *, denoise_at=0.5, threshold=5e-5, keep=10, points=1001, end=3.0
):
    """The sieve of the authors' code. points: of the grid whose step is in the weights."""
    sigma = [np.linspace(tau, end, n) for n in (sift.SIFT, sift.REFINE)]
    share = np.repeat([1.0, 1 / sift.REFINE], (sift.SIFT, sift.REFINE))
    s = np.concatenate(sigma)
    density = classifiers.density(s, "repo")
    weight = edm.loss_weight(s) * density * (end - tau) / (points - 1) * share
    levels = classifiers.Levels(s, weight, noise=s, pull=np.zeros_like(s))
    classifier = classifiers.Classifier(
        levels, num_classes, denoise_at, from_input=False
    )
    return sift.Sieve(classifier, np.arange(sift.SIFT), threshold, keep)


def run(denoise, sieve, x, noise, block=128):
    return jax.jit(
        lambda x: sift.sift_and_refine(denoise, sieve, x, noise, block=block)
    )(x)


@pytest.mark.golden("diffusion")
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@golden_each("diffusion", "sift_refine*.npz")
def test_logits_are_the_originals(dtype, x64, file):
    golden = Golden(file)
    denoise = analytic(
        nhwc(golden["mu"], dtype),
        jnp.asarray(golden["logpi"], dtype),
        golden["s0"].item(),
    )
    x = 2 * nhwc(golden["xtau01"], dtype) - 1
    tau = 2 * golden["sigma_rs"].item()
    # where a race should have ended there is noise that would show
    eps = np.full((len(x), sift.SIFT + sift.REFINE, *x.shape[1:]), 1e3)
    visits = []
    for i in range(len(x)):
        drawn = nhwc(golden[f"sift_noise_{i}"], "float64")
        visits.append(len(drawn))
        eps[i, : len(drawn)] = drawn
        eps[i, sift.SIFT :] = nhwc(golden[f"refine_noise_{i}"], "float64")
    eps = jnp.asarray(eps, dtype)

    threshold, keep = golden["threshold"].item(), golden["keep"].item()
    classes = len(golden["mu"])
    points = round((3 - tau) / golden["dt"].item()) + 1
    sieve = original(classes, tau, threshold=threshold, keep=keep, points=points)
    close((3 - tau) / (points - 1), golden["dt"], 2e-6)
    out = run(denoise, sieve, x, lambda t: eps[:, t])
    survives = golden["logits"] != -999
    np.testing.assert_array_equal(out.logits != sift.DROPPED, survives)
    assert out.logits.dtype == dtype
    for i in range(len(x)):
        mine = survives[i]
        close(out.logits[i][mine], golden["logits"][i][mine], 1e-4)
    np.testing.assert_array_equal(out.label, golden["logits"].argmax(-1))
    # all classes at the first level, and those of the last at every level of refine
    least = 1 + classes + np.array(visits) - 1 + sift.REFINE * survives.sum(1)
    most = least + (classes - 1) * (np.array(visits) - 1)
    assert ((least <= out.evaluations) & (out.evaluations <= most)).all()
    assert golden.unread() == []


def test_the_image_is_estimated_at_its_own_noise():
    assert sift.repaired(4, 2.0).classifier.denoise_at == 2.0


def test_the_repaired_threshold_is_the_originals_for_the_step_of_its_levels():
    first, second = original(4, TAU), sift.repaired(4, TAU, weighting="edm")
    steps = (3 - TAU) / 1000, (3 - TAU) / sift.SIFT
    assert abs(first.threshold / steps[0] - second.threshold / steps[1]) < 1e-12
    levels = second.classifier.levels
    # nearest to 1.3 sigma_tau first; no level at sigma_tau itself
    assert abs(levels.sigma[second.order[0]] / (1.3 * TAU) - 1) < 0.1
    assert sorted(second.order) == list(range(sift.SIFT))
    assert levels.sigma.min() > TAU and first.classifier.levels.sigma.min() == TAU
    # the sums of both parts are over the same integral
    sums = np.split(levels.weight, [sift.SIFT])
    assert abs(sums[0].sum() / sums[1].sum() - 1) < 0.1


def test_few_evaluations_find_the_class():
    denoise, x, truth, noise = problem(56)
    out = run(denoise, sift.repaired(14, TAU, keep=3), x, noise)
    assert (out.label == truth).mean() > 0.9
    np.testing.assert_array_equal(out.logits.argmax(-1), out.label)
    assert ((out.logits != sift.DROPPED).sum(-1) <= 3).all()
    assert out.evaluations.mean() < 0.4 * 14 * sift.REFINE
    alone = run(denoise, sift.repaired(14, TAU, keep=3), x, noise, block=50)
    np.testing.assert_array_equal(out.label, alone.label)
    np.testing.assert_array_equal(out.evaluations, alone.evaluations)


def test_the_least_sums_go_on_when_the_levels_end():
    denoise, x, _, noise = problem(6)
    none = sift.repaired(14, TAU, threshold=1e6, keep=2)
    out = run(denoise, none, x, noise)
    assert ((out.logits != sift.DROPPED).sum(-1) == 2).all()
    assert (out.evaluations == 1 + sift.SIFT * 14 + sift.REFINE * 2).all()
    few = run(denoise, sift.repaired(14, TAU, keep=14), x, noise)
    assert (few.evaluations == 1 + sift.REFINE * 14).all()


@pytest.mark.parametrize("keep", [3, 14])
def test_an_output_that_is_not_finite_is_no_vote(keep):
    denoise, x, truth, noise = problem(4)
    x = x.at[2, 0, 0, 0].set(30.0)

    def broken(x, sigma, label):
        of_class = label == truth[2] if label is not None else False
        hit = of_class & (x[:, 0, 0, 0] > 15)
        return jnp.where(hit[:, None, None, None], jnp.nan, denoise(x, sigma, label))

    sieve = sift.repaired(14, TAU, keep=keep)
    sieve = sieve._replace(classifier=sieve.classifier._replace(from_input=True))
    out = run(broken, sieve, x, noise)
    for vote in (out.label, decide(out.logits)):
        np.testing.assert_array_equal(vote == -1, np.arange(4) == 2)


def test_impossible_sieves_are_one_sentence():
    make = sift.repaired
    with pytest.raises(InputError, match=names("keep", 0)):
        make(4, TAU, keep=0)
    for tau, key, value in (
        (0.0, "sigma_tau", 0.0),
        (3.0, "sigma_end", 3.0),
        (float("nan"), "sigma_tau", "nan"),
    ):
        with pytest.raises(InputError, match=names(key, value)):
            make(4, tau)
