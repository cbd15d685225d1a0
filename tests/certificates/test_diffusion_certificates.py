"""Certificates that a diffusion model gives, on the analytic denoiser of a mixture."""

from __future__ import annotations

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from analytic_denoiser import analytic
from refusals import names

from jaxcert import records
from jaxcert.analysis.recheck import recheck
from jaxcert.certificates import (
    denoised_smoothing,
    diffusion_classifier,
    noised_diffusion_classifier,
)
from jaxcert.diffusion import classifiers, lipschitz
from jaxcert.errors import InputError
from jaxcert.interfaces import Model, Network
from jaxcert.models import small_cnn

SHAPE, CLASSES = (4, 4, 1), 4
KEY = jax.random.key(0)
VOTES = dict(sigma=0.25, levels=12, n0=20, n=200)


def model(**fields):
    """A denoiser whose only parameter are the means of its classes."""

    def apply(params, state, x, *, train=False, key=None, sigma=None, label=None):
        label = jnp.full(len(x), -1) if label is None else label
        return analytic(params["mu"], jnp.zeros((CLASSES, 1)), 0.1)(
            x, sigma, label
        ), state

    known = dict(
        init=None,
        apply=apply,
        prepare=lambda params, state: state,
        num_classes=CLASSES,
        image_shape=SHAPE,
        unconditional=True,
    )
    return Model(**known | fields)


@pytest.fixture(scope="module")
def network():
    mu = np.random.default_rng(0).uniform(-0.9, 0.9, (CLASSES, 1, *SHAPE))
    return Network(model(), {"mu": jnp.asarray(mu, jnp.float32)}, {})


@pytest.fixture(scope="module")
def images(network):
    return np.asarray((network.params["mu"][:, 0] + 1) / 2)


def certified(certifier, images):
    rows = certifier.certify(
        KEY, images, np.arange(len(images)), np.arange(len(images))
    )
    found = recheck(rows)
    assert found.holds and not found.reason
    return rows


@pytest.mark.parametrize(
    "search, kind",
    [
        ("race", "apndc"),
        ("race", "epndc"),
        ("race", "diffpure"),
        ("full", "apndc"),
        pytest.param("full", "epndc", marks=pytest.mark.slow),
        pytest.param("full", "diffpure", marks=pytest.mark.slow),
    ],
)
def test_the_class_of_a_mean_is_certified_by_every_kind(network, images, kind, search):
    certifier = noised_diffusion_classifier.make(
        network, kind=kind, search=search, chunk=20, **VOTES
    )
    rows = certified(certifier, images)
    np.testing.assert_array_equal(rows.predicted, np.arange(CLASSES))
    assert (rows.radius > 0.2).all()
    assert rows.header["base"]["kind"] == kind


@pytest.mark.slow
def test_rows_do_not_depend_on_their_batch_or_chunk(network, images):
    one, other = (
        noised_diffusion_classifier.make(network, chunk=chunk, block=block, **VOTES)
        for chunk, block in ((20, 8), (7, 64))
    )
    together = certified(one, images)
    alone = [
        other.certify(KEY, images[i : i + 1], np.array([i]), np.array([i]))
        for i in range(len(images))
    ]
    np.testing.assert_array_equal(
        together.counts, np.concatenate([r.counts for r in alone])
    )


def test_a_plan_counts_the_evaluations_that_a_race_saves(network, images):
    full, race = (
        noised_diffusion_classifier.make(network, search=search, chunk=20, **VOTES)
        for search in ("full", "race")
    )
    assert full.plan(KEY, images).evaluations == 12 * CLASSES + 1
    assert 3 * CLASSES < race.plan(KEY, images).evaluations < 12 * CLASSES + 1


@pytest.mark.slow
def test_a_classifier_of_denoised_images_sifts(network, images):
    def apply(params, state, x, *, train=False, key=None):
        return -((x[:, None] - images) ** 2).sum((2, 3, 4)), state

    judge = Network(model(apply=apply, unconditional=None), {}, {})
    given = dict(classifier=judge, chunk=20)
    hybrid = noised_diffusion_classifier.make(
        network, search="hybrid", keep=2, **given, **VOTES
    )
    rows = certified(hybrid, images)
    np.testing.assert_array_equal(rows.predicted, np.arange(CLASSES))
    never = noised_diffusion_classifier.make(
        network, search="hybrid", keep=2, c=float("inf"), **given, **VOTES
    )
    assert never.plan(KEY, images).evaluations == 2 * 12 + 1
    denoised = denoised_smoothing.make(network, sigma=0.25, n0=20, n=200, **given)
    rows = certified(denoised, images)
    np.testing.assert_array_equal(rows.predicted, np.arange(CLASSES))
    assert (rows.radius > 0.2).all()


def test_a_second_network_denoises_where_the_first_cannot(network, images):
    conditional = network._replace(model=model(unconditional=False))
    with pytest.raises(
        InputError, match=names("apndc", "label_dropout 0", "networks.unconditional")
    ):
        noised_diffusion_classifier.make(conditional, **VOTES)
    with pytest.raises(
        InputError, match=names("label_dropout 0", "--config.model.label_dropout=0.1")
    ):
        denoised_smoothing.make(conditional, classifier=_judge(), sigma=0.25)
    certifier = noised_diffusion_classifier.make(
        conditional, unconditional=network, chunk=20, **VOTES
    )
    rows = certified(certifier, images)
    np.testing.assert_array_equal(rows.predicted, np.arange(CLASSES))
    noised_diffusion_classifier.make(conditional, kind="epndc", **VOTES)


def test_a_second_network_without_its_own_mode_is_refused(network):
    conditional = network._replace(model=model(unconditional=False))
    with pytest.raises(
        InputError, match=names("apndc", "label_dropout 0", "networks.unconditional")
    ):
        noised_diffusion_classifier.make(
            conditional, unconditional=conditional, **VOTES
        )


def test_nan_of_the_denoiser_is_no_vote_behind_a_classifier(network, images):
    never = network._replace(
        model=model(apply=lambda p, s, x, **k: (jnp.full_like(x, jnp.nan), s))
    )

    def apply(params, state, x, *, train=False, key=None):  # as compiled rectifiers do
        return jnp.nan_to_num(x).reshape(len(x), -1)[:, :CLASSES] + 1.0, state

    blind = Network(model(apply=apply, unconditional=None), {}, {})
    certifier = denoised_smoothing.make(
        never, classifier=blind, sigma=0.25, n0=5, n=50, chunk=10
    )
    rows = certifier.certify(KEY, images[:2], np.zeros(2, int), np.arange(2))
    assert (rows.predicted < 0).all() and (rows.radius == 0).all()
    broken = blind._replace(params={"w": jnp.array([jnp.nan])})
    with pytest.raises(InputError, match=names("networks.classifier", "finite")):
        denoised_smoothing.make(network, classifier=broken, sigma=0.25)


def test_pixels_outside_the_range_are_refused_and_nan_is_an_error_of_its_image(
    network, images
):
    given = dict(classifier=_plain(images), sigma=0.25, n0=5, n=50, chunk=10)
    for certifier in (
        noised_diffusion_classifier.make(network, chunk=10, **VOTES),
        denoised_smoothing.make(network, **given),
        diffusion_classifier.make(network, levels=2, n0=2, n=4),
    ):
        with pytest.raises(InputError, match=names("pixels", "[0, 1]")):
            certifier.certify(KEY, images * 5 - 2, np.arange(4), np.arange(4))
        some = images.copy()
        some[1, 0, 0] = np.nan
        rows = certifier.certify(KEY, some, np.arange(4), np.arange(4))
        assert rows.predicted[1] == -2 and (rows.predicted[[0, 2, 3]] != -2).all()
        for wrong in ([0, 1, 2, 2**32], [-1, 0, 1, 2]):
            with pytest.raises(InputError, match=names("index", "2^32 - 1")):
                certifier.certify(KEY, images, np.arange(4), np.array(wrong))
        with pytest.raises(
            InputError, match=names("4 images", "2 labels", "4 indices")
        ):
            certifier.certify(KEY, images, np.arange(2), np.arange(4))


def _plain(images):
    def apply(params, state, x, *, train=False, key=None):
        return -((x[:, None] - images) ** 2).sum((2, 3, 4)), state

    return Network(model(apply=apply, unconditional=None), {}, {})


def base_of(certifier):
    """Of search=full; what it does not use is not in its header."""
    said = certifier.header["base"].items()
    asked = {k: v for k, v in said if k not in ("name", "keys")}
    unused = dict(c=2.0, min_levels=3, keep=10, threshold=0.02, block=8)
    return noised_diffusion_classifier.Base(**asked, **unused)


def test_a_chunk_that_is_not_full_is_not_raced(network, images):
    """Votes that fill it up take one evaluation each, that of the clean image."""
    spent = []

    def apply(params, state, x, *, sigma, label=None, **more):
        there = jnp.isfinite(x).all((1, 2, 3)).sum()
        jax.debug.callback(lambda n: spent.append(int(n)), there)
        return network.model.apply(params, state, x, sigma=sigma, label=label, **more)

    counted = network._replace(model=network.model._replace(apply=apply))
    totals = []
    for chunk in (64, 256):
        certifier = noised_diffusion_classifier.make(
            counted, chunk=chunk, block=8, **VOTES | dict(n0=64, n=64, alpha=0.1)
        )
        spent.clear()
        certifier.certify(KEY, images[:1], np.zeros(1, int), np.zeros(1, int))
        jax.effects_barrier()
        totals.append(sum(spent))
    assert totals[1] == totals[0] > 64 * 10


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nan_and_infinity_are_errors_in_every_certificate(network, images, bad):
    def apply(params, state, x, **more):
        return jnp.full_like(x, bad), state

    broken = network._replace(model=network.model._replace(apply=apply))
    given = dict(sigma=0.25, n0=5, n=50, chunk=10)
    for certifier in (
        denoised_smoothing.make(broken, classifier=_plain(images), **given),
        diffusion_classifier.make(broken, levels=4, n0=2, n=10),
        noised_diffusion_classifier.make(broken, levels=4, **given),
    ):
        rows = certifier.certify(KEY, images[:2], np.arange(2), np.arange(2))
        assert (rows.predicted == -2).all() and not rows.radius.any()


def test_votes_of_one_noisy_image_differ_by_their_keys_alone(network):
    """Between two classes the classifier's own noise decides."""
    mu = network.params["mu"]
    close = network._replace(
        params={"mu": jnp.concatenate([mu[:1], mu[:1] + 0.05] * 2)}
    )
    certifier = noised_diffusion_classifier.make(close, search="full", **VOTES)
    base = base_of(certifier)
    noisy = jnp.repeat((mu[0] + 1.025) / 2, 64, 0)

    def denoise(x, sigma, label):
        return close.model.apply(close.params, {}, x, sigma=sigma, label=label)[0]

    def labels(keys):
        decide = noised_diffusion_classifier._decide
        return np.asarray(decide(base, denoise, None, None, keys, noisy)[0])

    assert len(set(labels(jax.random.split(KEY, 64)).tolist())) > 1
    assert len(set(labels(jnp.repeat(KEY[None], 64)).tolist())) == 1


def _judge(**fields):
    return Network(model(unconditional=None, **fields), {}, {})


@pytest.mark.parametrize(
    "fault, change",
    [
        (names("sigma_end", 3.0), dict(sigma=1.6)),
        (names("kind", "dc"), dict(kind="dc")),
        (names("search", "fast"), dict(search="fast")),
        (names("keep=5", 4, 1), dict(search="sift", keep=5, levels=126)),
        (names("search=hybrid", "networks.classifier"), dict(search="hybrid")),
        (names("search=sift", "apndc"), dict(search="sift", kind="epndc", keep=2)),
        (
            names("search=sift", "denoised image"),
            dict(search="sift", noise_from="noisy", keep=2),
        ),
        (
            names("search=sift", "weighting=repo"),
            dict(search="sift", weighting="repo", keep=2),
        ),
        (
            names("threshold", "nan"),
            dict(search="sift", threshold=float("nan"), keep=2, levels=126),
        ),
        (names("search=sift", 50, 126, "search=race"), dict(search="sift", keep=2)),
        (
            names("noise_from='noisy'", "apndc", "epndc"),
            dict(kind="epndc", noise_from="noisy"),
        ),
        (names("drop_below", -1.0), dict(drop_below=-1.0)),
        (names("c", -1.0), dict(c=-1.0)),
        (names(9, "drop_below"), dict(drop_below=9.0)),
        (names("n", 1, "alpha", 0.001), dict(n=1)),
    ],
)
def test_what_cannot_be_certified_is_one_sentence(network, images, fault, change):
    with pytest.raises(InputError, match=r"^[^\n]+\.$") as caught:
        certifier = noised_diffusion_classifier.make(network, **VOTES | change)
        certifier.certify(KEY, images, np.arange(4), np.arange(4))
    assert re.search(fault, str(caught.value))


def test_a_classifier_or_a_denoiser_without_classes_is_refused(network):
    cnn = small_cnn.make(image_shape=SHAPE, num_classes=CLASSES, width=4)
    params, state = cnn.init(KEY)
    for make in (noised_diffusion_classifier.make, diffusion_classifier.make):
        given = dict(sigma=0.25) if make is noised_diffusion_classifier.make else {}
        with pytest.raises(
            InputError, match=names("denoiser", "classifier", "certify.name=smoothing")
        ):
            make(Network(cnn, params, state), **given)
        none = network._replace(model=model(num_classes=0))
        with pytest.raises(InputError, match=names("EDM", "classes", "labels")):
            make(none, **given)


def test_a_denoiser_that_is_not_finite_certifies_nothing(network, images):
    def apply(params, state, x, *, train=False, key=None, sigma=None, label=None):
        good, _ = network.model.apply(params, state, x, sigma=sigma, label=label)
        bad = x.mean((1, 2, 3), keepdims=True) > jnp.mean(2 * images[0] - 1)
        return jnp.where(bad, jnp.nan, good), state

    broken = network._replace(model=model(apply=apply))
    some = noised_diffusion_classifier.make(broken, chunk=20, **VOTES)
    rows = some.certify(KEY, images[:1], np.zeros(1, int), np.zeros(1, int))
    assert rows.counts.sum() < 200 * 0.7 and rows.radius[0] < 0.2
    never = network._replace(
        model=model(apply=lambda p, s, x, **k: (jnp.full_like(x, jnp.nan), s))
    )
    votes = noised_diffusion_classifier.make(never, chunk=20, **VOTES)
    certain = diffusion_classifier.make(never, levels=4, n=20)
    for certifier in (votes, certain):
        rows = certifier.certify(KEY, images[:2], np.zeros(2, int), np.arange(2))
        assert (rows.predicted < 0).all() and (rows.radius == 0).all()
    assert (rows.predicted == -2).all()
    with pytest.raises(InputError, match=names("EDM", "finite")):
        diffusion_classifier.make(
            network._replace(params={"mu": jnp.full((4, 1, *SHAPE), jnp.nan)})
        )


CLEAN = dict(weighting="uniform", levels=6, sigma_end=0.5, drop_below=0.2, n0=5, n=2000)


def test_lipschitz_radii_hold_and_follow_from_their_evidence(network, images):
    certifier = diffusion_classifier.make(network, cap=0.05, **CLEAN)
    rows = certified(certifier, images)
    np.testing.assert_array_equal(rows.predicted, np.arange(CLASSES))
    assert (rows.radius > 0).all()
    assert (rows.radius <= certifier.plan(KEY, images).radius).all()
    # no other mean is inside: there the other class is the right answer
    distance = np.linalg.norm((images[:, None] - images).reshape(4, 4, -1), axis=-1)
    nearest = np.where(np.eye(4, dtype=bool), np.inf, distance).min(1)
    assert (rows.radius < nearest / 2).all()
    again = certifier.certify(KEY, images[2:3], np.array([2]), np.array([2]))
    np.testing.assert_allclose(again.radius, rows.radius[2:3], rtol=1e-5)


@pytest.mark.parametrize("bound", ["bernstein", "hoeffding"])
def test_bounds_of_margins_follow_from_means_and_variances(
    network, images, bound, tmp_path
):
    certifier = diffusion_classifier.make(network, cap=0.05, bound=bound, **CLEAN)
    rows = certified(certifier, images)
    with records.Writer(tmp_path / "c.jsonl", rows.header) as writer:
        writer.append(rows)
    rows = records.load(tmp_path / "c.jsonl")
    assert recheck(rows).holds and recheck(rows).checked == 4
    asked, own = rows.header["procedure"], np.eye(4, dtype=bool)
    assert (rows.means[own] == 0).all() and (rows.variances[own] == 0).all()
    # by the formulas of docs/records.md
    n, log = 2000, np.log(2 / 0.001)
    w, s = np.array(asked["weights"]), np.array(asked["sigmas"]) / 2
    most = 0.05 * w.sum()
    width = np.sqrt(2 * rows.variances * log / n) + 14 * most * log / (3 * (n - 1))
    if bound == "hoeffding":
        width = 2 * most * np.sqrt(np.log(1 / 0.001) / (2 * n))
    lower = np.maximum(rows.means - width, -most)
    np.testing.assert_allclose(
        -rows.logits[~own], lower[~own], rtol=0, atol=1e-9 * most
    )
    constant = (w * (0.05 * np.sqrt(2 / np.pi) / s + 4 * 0.05**0.5 / 4)).sum()
    np.testing.assert_allclose(rows.header["pairwise_bound"], constant, rtol=1e-11)
    first = np.arange(4)[:, None] == 0
    for changes in (
        dict(means=rows.means - 1e-6 * most * (first & ~own)),
        dict(means=np.where(first & ~own, 2 * most, rows.means)),
        dict(variances=rows.variances * np.where(first, -1, 1)),
        dict(logits=rows.logits - 1e-6 * most * (first & ~own)),
    ):
        assert recheck(rows._replace(**changes)).failing.tolist() == [0], changes
    for name in ("means", "variances"):
        assert len(recheck(rows._replace(**{name: None})).failing) == 4
    less = rows.header["pairwise_bound"] * (1 - 1e-9)
    for part, changes in (
        ("procedure", dict(weights=[x / 2 for x in asked["weights"]])),
        ("procedure", dict(sigmas=[2 * x for x in asked["sigmas"]])),
        ("procedure", dict(weights=None)),
        ("procedure", dict(cap=0.04)),
        ("procedure", dict(bound="normal")),
        ("network", dict(image_shape=[8, 8, 1])),
        ("network", dict(norm="linf")),
        ("", dict(pairwise_bound=less)),
        ("generator", dict(implementation="rbg")),
    ):
        head = rows.header | changes
        if part:
            head = rows.header | {part: rows.header[part] | changes}
        with pytest.raises(InputError):
            recheck(rows._replace(header=head))
    # half the weights, with all that follows from them, are not those of the levels
    half = dict(procedure=asked | dict(weights=(w / 2).tolist()))
    half |= dict(pairwise_bound=rows.header["pairwise_bound"] / 2)
    with pytest.raises(InputError):
        recheck(rows._replace(header=rows.header | half))


def test_an_image_between_two_classes_abstains(network, images):
    certifier = diffusion_classifier.make(network, cap=0.05, **CLEAN)
    middle = (images[:1] + images[1:2]) / 2
    rows = certified(certifier, middle)
    assert rows.predicted[0] == -1 and rows.radius[0] == 0


def test_constant_of_a_diffusion_classifier_is_that_of_the_noise_that_is_drawn(network):
    """Levels of float32, which differ from those of float64 in the eighth digit."""
    found = diffusion_classifier.make(network, levels=12, n=20).header["pairwise_bound"]
    options = dict(weighting="edm", sigma_end=3.0, drop_below=0.0)
    levels = classifiers.dc(CLASSES, 12, **options).levels
    drawn = levels.sigma.astype(np.float32).astype(np.float64)
    expected, asked = (
        lipschitz.lipschitz_margin(levels.weight, sigma, dims=16)
        for sigma in (drawn, levels.sigma)
    )
    np.testing.assert_allclose(found, expected, rtol=1e-14)
    assert abs(asked / expected - 1) > 1e-11


def test_what_the_lipschitz_certificate_refuses(network, images):
    for fault, change in (
        (names("n", 1), dict(n=1)),
        (names("n", 1000001, 1000000), dict(n=10**6 + 1)),
        (names("bound", "normal"), dict(bound="normal")),
        (names(9, "drop_below", "sigma_end"), dict(drop_below=9.0)),
    ):
        with pytest.raises(InputError, match=fault):
            diffusion_classifier.make(network, **CLEAN | change)
    certifier = diffusion_classifier.make(network, **CLEAN)
    with pytest.raises(InputError, match=names("pixels", "[0, 1]")):
        certifier.certify(KEY, images + 0.5, np.arange(4), np.arange(4))
    with pytest.raises(InputError, match=names("(2, 4, 1)", "(4, 4, 1)")):
        certifier.certify(KEY, images[:, :2], np.arange(4), np.arange(4))


@pytest.mark.parametrize(
    "which", [pytest.param("network", marks=pytest.mark.slow), "unconditional"]
)
def test_votes_that_float32_changes_are_counted(network, images, which):
    """Of the second network as of the first; here float32 is another network or the same."""
    turned = {"mu": jnp.roll(network.params["mu"], 1, 0)}

    def other(params, state, x, **inputs):
        return network.model.apply(turned, state, x, **inputs)

    for exact, kind, changed in (
        (model(apply=other), "epndc", 20),  # every class is called by another name
        (network.model, "apndc", 0),
    ):
        given = dict(kind=kind, chunk=20)
        first = network
        if which == "network":
            first = network._replace(exact=exact)
        else:
            given["unconditional"] = network._replace(exact=network.model)
            changed = 0
        certifier = noised_diffusion_classifier.make(first, **given, **VOTES)
        rows = certifier.certify(KEY, images[:1], np.zeros(1, int), np.zeros(1, int))
        assert rows.changed.tolist() == [changed]


def test_votes_are_those_of_the_pure_functions(network, images):
    """The certificate asks what diffusion/classifiers.py defines, at twice the sigma."""
    law = classifiers.apndc(CLASSES, 12, 0.5)
    keys = jax.random.split(KEY, 8)
    noisy = images[:1] + 0.25 * jax.random.normal(KEY, (8, *SHAPE))
    x = 2 * noisy - 1

    def denoise(x, sigma, label):
        return network.model.apply(network.params, {}, x, sigma=sigma, label=label)[0]

    logits = classifiers.logits(denoise, law, x, classifiers.draws(keys, x))
    vote = noised_diffusion_classifier.make(network, search="full", **VOTES)
    base = base_of(vote)
    label, _ = noised_diffusion_classifier._decide(
        base, denoise, None, None, keys, noisy
    )
    np.testing.assert_array_equal(label, logits.argmax(-1))
