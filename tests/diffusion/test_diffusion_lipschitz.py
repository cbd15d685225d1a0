"""The Lipschitz certificate of the diffusion classifier: constants that are never
exceeded and nearly reached, radii without adversarial examples."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from analytic_denoiser import analytic
from conftest import Golden, golden_each
from refusals import names
from scipy.special import ndtr
from scipy.stats import binom

from jaxcert.certificates import statistics
from jaxcert.diffusion import lipschitz
from jaxcert.errors import InputError

SIGMA = np.array([0.3, 0.8, 2.0])
WEIGHTS = np.array([0.5, 0.3, 0.2])
SHAPE, DIMS, CLASSES = (2, 2, 1), 4, 3
CAPS = [1.0, 0.04]


@pytest.mark.golden("diffusion")
@golden_each("diffusion", "radii*.npz")
def test_constants_and_radii_are_the_originals(file):
    golden = Golden(file)
    sigma, dims = golden["sigma_edm"], int(golden["D"])
    one, mean = np.ones(len(sigma)), np.full(len(sigma), 1 / len(sigma))
    for name, ours in (
        ("lipschitz_repo", lipschitz.lipschitz_repo(one, sigma)),
        (
            "lipschitz_paper_logit_unit01",
            lipschitz.lipschitz_paper(one, sigma, dims=dims),
        ),
        ("lipschitz_margin_unit01", lipschitz.lipschitz_margin(mean, sigma, dims=dims)),
    ):
        np.testing.assert_allclose(ours, golden[name], rtol=1e-9, err_msg=name)
    rows, label = np.arange(len(golden["label"])), golden["label"]
    others = golden["logits"].copy()
    others[rows, label] = -np.inf
    margin = golden["logits"][rows, label] - others.max(1)
    # a difference of logits, to their rounding
    error = np.abs(margin - golden["margin"]).max()
    assert error <= 1e-12 * np.abs(golden["logits"]).max()
    repo = np.maximum(0, margin / (2 * float(golden["lipschitz_repo"])))
    scale = np.abs(golden["logits"]).max() / golden["lipschitz_repo"]
    np.testing.assert_allclose(
        repo, golden["radius_repo"], rtol=1e-9, atol=1e-12 * scale
    )
    votes = golden["nA"], golden["n"], golden["alpha"]
    lower = statistics.clopper_pearson_lower(*votes)
    np.testing.assert_allclose(lower, golden["p_lower"], rtol=1e-9)
    for name in [n for n in golden if n.startswith("radius_sigma")]:
        first, *rest = name.removeprefix("radius_sigma")  # 025 is 0.25
        ours = statistics.smoothing_radius(*votes, float(f"{first}.{''.join(rest)}"))
        np.testing.assert_allclose(ours, golden[name], rtol=1e-9)
    assert golden.unread("lipschitz_sound_logit") == []


# the analytic classifier


def _denoise():
    rng = np.random.default_rng(0)
    mu = rng.uniform(-1, 1, (CLASSES, 2, *SHAPE)).astype(np.float32)
    return analytic(jnp.asarray(mu), jnp.zeros((CLASSES, 2)), 0.1)


@functools.cache
def _errors():
    """image -> u [n,T,K] of fixed draws, n of them and their negatives."""
    denoise = _denoise()
    n = 1500
    half = np.random.default_rng(1).normal(size=(n, len(SIGMA), *SHAPE))
    eps = jnp.asarray(np.concatenate([half, -half]), jnp.float32)

    def u(image):
        def at(sigma, eps, label):
            noisy = 2 * image - 1 + sigma * eps
            return lipschitz.clipped_error(denoise(noisy, sigma, label), image)

        levels = jnp.asarray(SIGMA, jnp.float32)
        every = jax.vmap(lambda label: jax.vmap(at, (0, 1, None))(levels, eps, label))
        return every(jnp.arange(CLASSES)).transpose(2, 1, 0)

    return jax.jit(u)


def _differences(first, second, cap):
    """All margins f_a - f_b [K,K] at the second image less those at the first, and the
    standard error of each (pairs of opposite draws count as one)."""
    logits = [
        -np.einsum("t,ntk->nk", WEIGHTS, np.minimum(_errors()(x), cap))
        for x in (first, second)
    ]
    change = logits[1] - logits[0]
    change = change.reshape(2, -1, CLASSES).mean(0)
    change = change[:, :, None] - change[:, None]
    return change.mean(0), change.std(0) / len(change) ** 0.5


@pytest.mark.parametrize("cap", CAPS)
def test_no_pair_of_images_exceeds_the_constant(cap):
    rng = np.random.default_rng(2)
    constant = lipschitz.lipschitz_margin(WEIGHTS, SIGMA, dims=DIMS, cap=cap)
    largest = 0
    for distance in np.repeat([0.02, 0.1, 0.4], 15):
        first = rng.random(SHAPE, dtype=np.float32)
        step = rng.normal(size=SHAPE)
        step = distance * step / np.linalg.norm(step)
        second = np.clip(first + step, 0, 1).astype(np.float32)
        length = np.linalg.norm(second - first)
        change, error = _differences(first, second, cap)
        assert (np.abs(change) <= constant * length + 5 * error).all()
        largest = max(largest, np.abs(change).max() / length)
    assert largest > 0.05 * constant  # far from it nothing would be tested


@pytest.mark.parametrize(
    "cap", [pytest.param(c, marks=[pytest.mark.slow] * (c < 1)) for c in CAPS]
)
def test_no_adversarial_example_within_the_radius(cap):
    """The law of the noise is that of the 3,000 draws, so true margins are known: they
    stay above 0 under projected gradient descent. Far outside they do not."""
    image = np.array([0.5, 0.35, 0.4, 0.5], np.float32).reshape(SHAPE)
    u = np.asarray(_errors()(image), np.float64)
    predicted = int(u.mean(0).T.dot(WEIGHTS).argmin())
    others = np.delete(np.arange(CLASSES), predicted)

    samples, bound = lipschitz.margin_samples(
        u[np.random.default_rng(4).integers(len(u), size=20_000)],
        predicted,
        weights=WEIGHTS,
        dims=DIMS,
        cap=cap,
    )
    lower = statistics.empirical_bernstein_lower(samples, -bound, bound, 0.001)
    constant = lipschitz.lipschitz_margin(WEIGHTS, SIGMA, dims=DIMS, cap=cap)
    radius = float(lipschitz.radius(lower, constant))
    assert radius > 0.001

    @jax.jit
    def margin(x):
        total = jnp.einsum("t,ntk->k", WEIGHTS, jnp.minimum(_errors()(x), cap))
        return (total[others] - total[predicted]).min() / len(u)

    slope = jax.jit(jax.grad(margin))

    def smallest(reach):
        rng, found = np.random.default_rng(5), np.inf
        for _ in range(2):
            delta = rng.normal(size=SHAPE)
            for _ in range(12):
                delta -= reach / 3 * _unit(np.asarray(slope(image + delta)))
                delta *= min(1, reach / np.linalg.norm(delta))
                delta = np.clip(image + delta, 0, 1) - image
            found = min(found, float(margin(image + delta)))
        return found

    assert 0 < smallest(radius) < float(margin(image))
    assert smallest(1.0) < 0


def _unit(v):
    return v / max(np.linalg.norm(v), 1e-12)


# a denoiser that jumps: class a black below v x = c and white above, class b the opposite


def _jump_margin(r, c, s, dims):
    """f_a - f_b at r v, r from black (v = 1 / sqrt(D)), exact for one level of weight 1."""
    return (2 * ndtr((c - r) / s) - 1) * (1 - 2 * r / np.sqrt(dims))


@pytest.mark.parametrize("levels", [1, 5])
def test_radius_is_nearly_reached_and_that_of_the_published_code_is_false(levels):
    c, s, dims = 1e-3, 0.25, 3072
    weights, sigma = np.ones(levels), np.full(levels, 2 * s)
    margin = levels * _jump_margin(0, c, s, dims)
    constant = lipschitz.lipschitz_margin(weights, sigma, dims=dims)
    radius = lipschitz.radius([margin], constant)
    assert 0.98 * c < radius < c  # the class changes at c
    r = np.linspace(0, float(radius), 50)
    assert (_jump_margin(r, c, s, dims) > 0).all()
    # their logits: errors of [-1,1], four times those of [0,1]
    repo = 4 * margin / (2 * lipschitz.lipschitz_repo(weights, sigma))
    assert repo > 1.7 * levels * radius
    assert _jump_margin(float(repo), c, s, dims) < 0


@pytest.mark.parametrize("cap", [1.0, 0.04])
def test_terms_through_the_noise_are_reached(cap):
    """Errors that jump between 0 and the cap where the noisy image crosses a line, of one
    class up and of the other down; so many dimensions that the direct term is nothing."""
    s, step = 0.1, 1e-6
    flat = dict(weights=[1.0], sigma=[2 * s], dims=10**16, cap=cap)
    up, down = (cap * ndtr(np.array([0, sign * step]) / s) for sign in (1, -1))
    margin = np.diff(up - down)[0] / step
    np.testing.assert_allclose(lipschitz.lipschitz_margin(**flat), margin, rtol=1e-6)


@pytest.mark.parametrize("cap", [1.0, 0.04])
def test_direct_terms_are_reached(cap):
    """Denoised images that do not depend on the noise, one as much darker than the image
    as the other is brighter."""
    dims, step, apart = 64, 1e-6, min(0.5, np.sqrt(cap) - 1e-5)
    x = 0.5 + np.array([0, step / np.sqrt(dims)])
    darker, brighter = (
        np.minimum((x - h) ** 2, cap) for h in (0.5 - apart, 0.5 + apart)
    )
    flat = dict(weights=[1.0], sigma=[1e12], dims=dims, cap=cap)
    slope = np.diff(darker - brighter)[0] / step
    np.testing.assert_allclose(slope, lipschitz.lipschitz_margin(**flat), rtol=1e-3)


def test_a_cap_of_one_is_none_and_a_smaller_one_shrinks_the_constants():
    capped = [
        lipschitz.lipschitz_margin(WEIGHTS, SIGMA, dims=3072, cap=c)
        for c in (1.0, np.ones(3), 0.1, [0.01, 0.02, 0.05])
    ]
    assert capped[0] == capped[1] > 5 * capped[2] > capped[2] > capped[3]


# samples and rounding


@pytest.mark.parametrize("dims", [4, 64, 3072])
def test_float32_errors_stay_within_the_rounding(dims):
    rng = np.random.default_rng(6)
    image = rng.random((40, dims, 1, 1), dtype=np.float32)
    denoised = 2 * (image - 2.0**-12.6).astype(np.float32) - 1  # a sum loses these ...
    denoised[:20] = rng.uniform(-1.5, 1.5, (20, dims, 1, 1))
    denoised[20:, 0] = 2 * (image[20:, 0] > 0.5) - 1  # ... next to a large one
    u = np.asarray(jax.jit(lipschitz.clipped_error)(denoised, image), np.float64)
    h = np.clip((denoised + np.float32(1)) / np.float32(2), 0, 1)
    exact = ((h.astype(np.float64) - image) ** 2).mean((1, 2, 3))
    assert u.shape == (40,)
    assert (np.abs(u - exact) <= lipschitz.rounding(dims) * u).all()
    assert lipschitz.rounding(dims) < 1e-5


def test_rounding_counts_every_operation_of_rows_and_of_their_sum():
    """dims = 3,072 are 55 rows of 56 and some: 55 sums within, 55 of them, and 8 others,
    each 2^-24."""
    for dims, operations in ((4, 1 + 1 + 8), (3072, 55 + 55 + 8), (3137, 56 + 56 + 8)):
        found = lipschitz.rounding(dims)
        assert operations * 2.0**-24 < found < operations * 2.0**-24 * (1 + 1e-4)


def test_samples_lie_within_their_bound_and_below_the_exact_margins():
    rng = np.random.default_rng(7)
    u = rng.random((500, 3, 4)).astype(np.float32)
    u[0], u[1] = 1, 0
    u[:2, :, 2] = [[0], [1]]  # both ends
    for cap in (1.0, [0.5, 0.2, 1.0]):
        exact = np.einsum(
            "t,ntk->nk", WEIGHTS, np.minimum(u.astype(float), _column(cap))
        )
        exact = np.delete(exact, 2, 1) - exact[:, 2:3]
        samples, bound = lipschitz.margin_samples(
            u, 2, weights=WEIGHTS, dims=3072, cap=cap
        )
        assert np.abs(samples).max() <= bound
        np.testing.assert_allclose(bound, np.sum(WEIGHTS * cap), rtol=1e-9)
        # u as far off as rounding allows
        worst = lipschitz.rounding(3072) * np.sum(WEIGHTS * cap)
        below = exact - samples
        assert (below[2:] > 0).all() and (below <= 2 * worst + 1e-9).all()
        np.testing.assert_allclose(samples[:2], [[bound] * 3, [-bound] * 3], atol=1e-5)


def _column(cap):
    return np.broadcast_to(cap, 3)[:, None]


def test_nan_of_a_denoiser_reaches_the_bound_which_refuses_it():
    image = np.full((5, 2, 2, 1), 0.5, np.float32)
    denoised = image.copy()
    denoised[3, 1, 1] = np.nan
    u = np.asarray(lipschitz.clipped_error(denoised, image))
    assert np.isnan(u).tolist() == [False, False, False, True, False]
    u = np.stack([u, np.zeros(5)], 1)[:, None]
    samples, bound = lipschitz.margin_samples(u, 1, weights=[1.0], dims=4)
    with pytest.raises(InputError, match=names("values", "NaN")):
        statistics.empirical_bernstein_lower(samples, -bound, bound, 0.01)


def test_radius_is_rounded_down_and_zero_without_a_margin():
    lower = np.array([[0.3, 0.1], [0.3, -0.1], [0.0, 0.5], [np.nan, 0.1]])
    radius = lipschitz.radius(lower, 3.0)
    assert radius[0] < 0.1 / 3.0 and radius[0] > 0.1 / 3.0 * (1 - 1e-15)
    assert radius[1:].tolist() == [0, 0, 0] and not np.signbit(radius).any()


@pytest.mark.parametrize("classes", [2, 50])
def test_level_needs_no_correction_for_the_number_of_classes(classes):
    """The smallest margin is 0, all others 0.1: in 2,000 trials the smallest bound is above
    0 no more often than a level of alpha allows."""
    rng, trials, n, alpha = np.random.default_rng(8), 2000, 30, 0.1
    p = np.append(0.5, np.full(classes - 2, 0.55))
    values = 2.0 * (rng.random((n, trials, classes - 1)) < p) - 1
    lower = statistics.hoeffding_lower(values, -1.0, 1.0, alpha)
    false = (lipschitz.radius(lower, 1.0) > 0).sum()
    assert false <= binom.ppf(0.999, trials, alpha)
    assert false > 0 or classes > 2


@pytest.mark.parametrize(
    "change, match",
    [
        (dict(weights=[1.0, -1.0]), "weights"),
        (dict(weights=[np.nan, 1.0]), "weights"),
        (dict(sigma=[1.0]), names("noise levels", 2, "weights")),
        (dict(sigma=[1.0, 0.0]), names("noise levels", 2, "weights")),
        (dict(cap=0.0), names("cap", "(0, 1]", 0.0)),
        (dict(cap=1.5), names("cap", "(0, 1]", 1.5)),
        (dict(cap=[1.0, 1.0, 1.0]), names("cap", "(0, 1]", "[1.0, 1.0, 1.0]")),
    ],
)
def test_impossible_levels_are_refused(change, match):
    kind = dict(weights=[1.0, 1.0], sigma=[1.0, 2.0], cap=1.0) | change
    with pytest.raises(InputError, match=match):
        lipschitz.lipschitz_margin(
            kind["weights"], kind["sigma"], dims=4, cap=kind["cap"]
        )


@pytest.mark.parametrize(
    "shape, predicted", [((5, 2), 0), ((5, 3, 2), 0), ((5, 2, 2), 2)]
)
def test_impossible_errors_are_refused(shape, predicted):
    with pytest.raises(InputError, match=names(shape, "[n, T, K]")):
        lipschitz.margin_samples(np.zeros(shape), predicted, weights=[1.0, 1.0], dims=4)
