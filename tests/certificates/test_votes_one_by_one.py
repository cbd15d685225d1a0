"""Votes and draws of the certificates that sample, computed again from their definition."""

from __future__ import annotations

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial
from scipy import special

from jaxcert.certificates import (
    denoised_smoothing,
    diffusion_classifier,
    noised_diffusion_classifier,
    smoothing,
    voting,
)
from jaxcert.diffusion import classifiers
from jaxcert.errors import InputError
from jaxcert.interfaces import Model, Network
from jaxcert.records import ABSTAIN

KEY = jax.random.key(5)
SHAPE, CLASSES, SIGMA = (2, 2, 1), 3, 0.25
INDEX = np.array([7, 0, 40])
IMAGES = np.random.default_rng(0).uniform(0.3, 0.7, (3, *SHAPE)).astype(np.float32)
IMAGES[1] = IMAGES[0]


def by_hand(vote, image, index, start, size):
    """Votes [CLASSES] of samples start ... of an image. Each has a key of its own, of which
    a first half draws its noise and a second what the classifier draws."""
    votes = samples(vote, size, image, index, start)
    return np.bincount(np.asarray(votes), minlength=CLASSES)


@partial(jax.jit, static_argnums=(0, 1))
def samples(vote, size, image, index, start):
    def sample(s):
        key = jax.random.fold_in(jax.random.fold_in(KEY, index), s)
        noise, own = jax.random.split(key)
        return image + SIGMA * jax.random.normal(noise, image.shape), own

    noisy, own = jax.vmap(sample)(start + jnp.arange(size))
    return vote(own, noisy)


def compare(certifier, vote, n0, n):
    """Rows of the three images, whose votes are those of `vote`."""
    rows = certifier.certify(KEY, IMAGES, np.zeros(3, int), INDEX)
    pairs = list(zip(IMAGES, INDEX, strict=True))
    found = [by_hand(vote, x, i, n0, n) for x, i in pairs]
    np.testing.assert_array_equal(rows.counts, found)
    selected = np.array([by_hand(vote, x, i, 0, n0).argmax() for x, i in pairs])
    says = rows.predicted != ABSTAIN
    np.testing.assert_array_equal(rows.predicted[says], selected[says])
    return rows, selected


def test_votes_draw_their_noise_and_their_own_chance_from_keys_of_their_own():
    def vote(keys, x):
        chance = jax.vmap(lambda key: jax.random.bernoulli(key, 0.1))(keys)
        return (x.mean((1, 2, 3)) > 0.4).astype(jnp.int32) + chance

    asked = dict(num_classes=CLASSES, sigma=SIGMA, n0=9, n=60, alpha=0.1)
    for chunk in (16, 200):
        certifier = smoothing.certifier(vote, chunk=chunk, **asked)
        rows, selected = compare(certifier, vote, 9, 60)
    assert (rows.counts[0] != rows.counts[1]).any(), "one image, two indices"
    k = rows.counts[np.arange(3), selected]
    p_lower = special.betaincinv(k, 60 - k + 1, 0.1)
    radius = SIGMA * np.maximum(special.ndtri(p_lower), 0)
    np.testing.assert_allclose(rows.radius, radius, rtol=1e-9)
    assert (rows.radius > 0).any()


def test_the_class_is_that_of_the_selection_whatever_the_other_votes_say():
    """Four of ten selections of one vote name the class that loses: no answer."""

    def vote(keys, x):
        return jax.vmap(lambda key: jax.random.bernoulli(key, 0.6))(keys).astype(int)

    asked = dict(num_classes=2, sigma=SIGMA, n0=1, n=400, alpha=0.1, chunk=401)
    image, index = np.repeat(IMAGES[:1], 40, 0), np.arange(40)
    certifier = smoothing.certifier(vote, **asked)
    rows = certifier.certify(KEY, image, np.ones(40, int), index)
    assert (rows.counts.argmax(1) == 1).all()
    assert 8 < (rows.predicted == ABSTAIN).sum() < 24
    assert (rows.predicted[rows.predicted != ABSTAIN] == 1).all()


def test_a_radius_in_linf_is_that_of_l2_over_the_root_of_the_numbers():
    def vote(keys, x):
        return (x.mean((1, 2, 3)) > 0.45).astype(jnp.int32)

    found = []
    for norm in ("l2", "linf"):
        asked = dict(num_classes=2, sigma=SIGMA, n0=9, n=60, alpha=0.1, norm=norm)
        certifier = smoothing.certifier(vote, image_shape=SHAPE, **asked)
        rows = certifier.certify(KEY, IMAGES, np.zeros(3, int), INDEX)
        found.append(rows.radius)
    assert found[0].any()
    np.testing.assert_allclose(found[1], found[0] / math.sqrt(4), rtol=1e-9)


def test_noise_that_could_not_be_drawn_is_a_vote_for_no_class():
    def half(key, image):
        return image, jax.random.bernoulli(key)

    def vote(keys, x):
        return jnp.ones(len(x), jnp.int32)

    count = voting.counter(
        Partial(vote), Partial(half), num_classes=2, chunk=50, mesh=None
    )
    found = count(KEY, np.array([0]), IMAGES[:1], np.array([0]), 0, 200)
    drawn = [
        jax.random.bernoulli(jax.random.split(jax.random.fold_in(first, s))[0])
        for first in [jax.random.fold_in(KEY, 0)]
        for s in range(200)
    ]
    assert found.tolist() == [[0, int(np.sum(drawn))]]


def test_an_index_beyond_32_bits_is_refused():
    certifier = smoothing.certifier(
        lambda keys, x: jnp.ones(len(x), int), num_classes=2, sigma=1.0, n=20
    )
    for index, refused in ((2**32, True), (2**32 - 1, False)):
        try:
            certifier.certify(KEY, IMAGES[:1], np.zeros(1, int), np.array([index]))
        except InputError:
            assert refused
        else:
            assert not refused


# behind a denoiser of which everything is known


def denoiser(seed, size=0.15):
    """h(x, sigma, y) = x / (1 + sigma^2) + mu_y."""

    def apply(params, state, x, *, train=False, key=None, sigma=None, label=None):
        label = jnp.full(len(x), -1) if label is None else label
        shrunk = x / (1 + jnp.broadcast_to(sigma, len(x))[:, None, None, None] ** 2)
        return shrunk + params["mu"][label], state

    mu = np.random.default_rng(seed).uniform(-size, size, (CLASSES + 1, *SHAPE))
    known = dict(num_classes=CLASSES, image_shape=SHAPE, unconditional=True)
    model = Model(None, apply, lambda params, state: state, **known)
    return Network(model, {"mu": jnp.asarray(mu, jnp.float32)}, {})


def asks(network, apply=None):
    """diffusion.edm.Denoise"""

    def denoise(x, sigma, label):
        f = apply or network.model.apply
        return f(network.params, {}, x, sigma=sigma, label=label)[0]

    return denoise


def judge(scale=1.0):
    """A classifier whose scores are `scale` times pixels."""

    def apply(params, state, x, *, train=False, key=None):
        return params * x.reshape(len(x), -1)[:, :CLASSES], state

    known = dict(num_classes=CLASSES, image_shape=SHAPE)
    model = Model(None, apply, lambda params, state: state, **known)
    return Network(model, jnp.float32(scale), {})


VOTES = dict(sigma=SIGMA, n0=6, n=40, alpha=0.1, chunk=46)


def scores(network, kind, keys, noisy, other=None):
    """Logits [B,K] of a diffusion classifier at twice the sigma, in the scale of [-1, 1]."""
    law = getattr(classifiers, kind)(CLASSES, 5, 2 * SIGMA)
    first, second = asks(network), asks(other or network)

    def denoise(x, sigma, label):
        return (second if label is None else first)(x, sigma, label)

    x = 2 * noisy - 1
    return classifiers.logits(denoise, law, x, classifiers.draws(keys, x))


@pytest.mark.parametrize("kind", ["apndc", "epndc"])
def test_votes_of_a_noised_diffusion_classifier(kind):
    first, second = denoiser(1), denoiser(2)
    given = dict(kind=kind, levels=5, search="full", unconditional=second)
    certifier = noised_diffusion_classifier.make(first, **given, **VOTES)

    def vote(keys, noisy):
        return scores(first, kind, keys, noisy, second).argmax(1)

    rows, _ = compare(certifier, vote, 6, 40)
    assert len(np.unique(rows.counts)) > 3


def test_a_hybrid_takes_the_best_of_the_classes_that_its_classifier_names_first():
    network = denoiser(1)
    given = dict(levels=5, search="hybrid", keep=2, c=float("inf"), classifier=judge())
    certifier = noised_diffusion_classifier.make(network, **given, **VOTES)

    def vote(keys, noisy):
        all_classes = scores(network, "apndc", keys, noisy)
        level = jnp.full(len(noisy), 2 * SIGMA)
        clean = asks(network)(2 * noisy - 1, level, None)
        named = ((jnp.clip(clean, -1, 1) + 1) / 2).reshape(len(noisy), -1)[:, :CLASSES]
        kept = named > named.min(1, keepdims=True)
        return jnp.where(kept, all_classes, -jnp.inf).argmax(1)

    compare(certifier, vote, 6, 40)


def test_votes_of_denoised_smoothing_and_those_that_float32_changes():
    network = denoiser(1)

    def turned(params, state, x, **inputs):
        clean, state = network.model.apply(params, state, x, **inputs)
        return -clean, state

    computed = network._replace(
        model=network.model._replace(apply=turned), exact=network.model
    )
    certifier = denoised_smoothing.make(computed, classifier=judge(), **VOTES)

    def vote(keys, noisy, apply=turned):
        level = jnp.full(len(noisy), 2 * SIGMA)
        clean = asks(network, apply)(2 * noisy - 1, level, None)
        return jnp.clip(clean, -1, 1).reshape(len(noisy), -1)[:, :CLASSES].argmax(1)

    rows, _ = compare(certifier, vote, 6, 40)

    def differ(keys, noisy):
        return (vote(keys, noisy) != vote(keys, noisy, None)).astype(jnp.int32)

    changed = [
        by_hand(differ, x, i, 0, 6)[1] for x, i in zip(IMAGES, INDEX, strict=True)
    ]
    assert rows.changed.tolist() == changed and max(changed) > 0


@pytest.mark.parametrize("chunk", [1, 64])
def test_bounds_of_a_diffusion_classifier_come_from_draws_that_did_not_choose(chunk):
    """By Hoeffding's inequality, of draws n0 ... n0 + n - 1 of errors in [0, cap]."""
    network, n0, n, cap = denoiser(1, 0.6), 3, 200, 0.1
    asked = dict(weighting="uniform", levels=4, sigma_end=1.0)
    votes = dict(n0=n0, n=n, alpha=0.3, cap=cap, bound="hoeffding", chunk=chunk)
    certifier = diffusion_classifier.make(network, **asked, **votes)
    rows = certifier.certify(KEY, IMAGES, np.zeros(3, int), INDEX)
    law = classifiers.dc(CLASSES, 4, weighting="uniform", sigma_end=1.0).levels

    @partial(jax.jit, static_argnums=2)
    def errors(image, key, t):
        """u of all draws, [n0 + n, K]"""
        keys = jax.vmap(lambda j: jax.random.fold_in(key, j))(jnp.arange(n0 + n))
        signed = jnp.broadcast_to(2 * image - 1, (n0 + n, *SHAPE))
        noisy = signed + law.sigma[t] * classifiers.draws(keys, signed)(t)
        level = jnp.full(n0 + n, law.sigma[t], jnp.float32)
        h = jnp.stack([asks(network)(noisy, level, c) for c in range(CLASSES)], 1)
        return ((jnp.clip((h + 1) / 2, 0, 1) - image) ** 2).mean((2, 3, 4))

    w, dims = law.weight, 4
    slope = cap * math.sqrt(2 / math.pi) / (law.sigma / 2)
    constant = np.sum(w * (slope + min(2, 4 * math.sqrt(cap)) / math.sqrt(dims)))
    np.testing.assert_allclose(certifier.header["pairwise_bound"], constant, rtol=1e-6)
    width = 2 * cap * w.sum() * math.sqrt(-math.log(0.3) / (2 * n))
    for row, (image, index) in enumerate(zip(IMAGES, INDEX, strict=True)):
        key = jax.random.fold_in(KEY, index)
        u = np.stack([errors(image, key, t) for t in range(len(w))], 1)
        total = np.einsum("t,ntk->nk", w, np.minimum(u, cap))
        a = total[:n0].mean(0).argmin()
        lower = (total[n0:] - total[n0:, [a]]).mean(0) - width
        lower[a] = 0
        expected = -np.maximum(lower, -cap * w.sum())
        np.testing.assert_allclose(rows.logits[row], expected, atol=1e-5)
        radius = max(np.delete(lower, a).min() / constant, 0)
        np.testing.assert_allclose(rows.radius[row], radius, atol=1e-5)
        assert rows.predicted[row] == (a if radius > 0 else ABSTAIN)
