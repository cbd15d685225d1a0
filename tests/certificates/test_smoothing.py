"""CERTIFY and PREDICT on base classifiers whose smoothed classifier is known."""

from __future__ import annotations

import inspect
import json
import math
import subprocess
import sys
from pathlib import Path
from typing import get_type_hints

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial
from refusals import names
from scipy.special import ndtr, ndtri

from jaxcert import records
from jaxcert.analysis.recheck import recheck
from jaxcert.certificates import (
    denoised_smoothing,
    noise,
    noised_diffusion_classifier,
    smoothing,
    statistics,
    voting,
)
from jaxcert.errors import InputError
from jaxcert.interfaces import Model, Network
from jaxcert.models import small_cnn

pytestmark = pytest.mark.filterwarnings("ignore:pixels from")  # borders are at 0
KEY = jax.random.key(3)
SHAPE = (2, 2, 1)
SMALL = dict(num_classes=3, sigma=0.5, n0=20, n=400, alpha=0.001, chunk=64)


def half_space(keys, x):
    """Class 1 where the mean pixel is above 0: at distance |mean| sqrt(pixels)."""
    return (x.mean((1, 2, 3)) > 0).astype(jnp.int32)


def images(distance):
    """Images at these signed l2 distances from the half-space's border."""
    distance = np.asarray(distance, np.float32)
    pixel = distance / math.sqrt(math.prod(SHAPE))
    return np.broadcast_to(pixel[:, None, None, None], (len(distance), *SHAPE))


def certify(vote, image, key=KEY, index=None, **changes):
    certifier = smoothing.certifier(vote, **(SMALL | changes))
    index = np.arange(len(image)) if index is None else index
    return certifier.certify(key, image, np.zeros(len(image), np.int32), index)


def test_rows_that_no_record_takes_are_refused():
    certifier = smoothing.certifier(half_space, **SMALL)
    image, index = images([0.5, 0.25, 0.1]), np.arange(3)
    for wrong, words in (
        ([0, 0, 1], names("index", "twice")),
        ([0.5, 1.0, 2.0], names("index", "2^32 - 1")),
        ([0, 1, -1], names("index", "2^32 - 1")),
    ):
        with pytest.raises(InputError, match=words):
            certifier.certify(KEY, image, index, wrong)
    for wrong in ([0, 1, -2], [0.0, 1.0, 1.0]):
        with pytest.raises(InputError, match=names("label", 0)):
            certifier.certify(KEY, image, wrong, index)
    for wrong in ("200", 200.0, None):
        with pytest.raises(InputError, match=names("n", wrong)):
            smoothing.certifier(half_space, **SMALL | dict(n=wrong))


def test_pixels_in_another_scale_are_warned_of(recwarn):
    certify(half_space, images([0.5, 1.9]))
    assert not len(recwarn)
    certifier = smoothing.certifier(half_space, **SMALL)
    work = images([0.0, 510.0]), np.zeros(2, int), np.arange(2)
    with pytest.warns(UserWarning, match=r"\b0 to 255\b.*\bsigma\b"):
        certifier.certify(KEY, *work)
    before = len(recwarn)
    certifier.certify(KEY, *work)  # said once
    assert len(recwarn) == before


def capped(monkeypatch, least=0.05):
    """Float noise that shows no tail below."""
    monkeypatch.setattr(
        noise, "least_tail", lambda name: 0.0 if name == "grid" else least
    )


@pytest.mark.parametrize("procedure", ["certify", "two_stage", "sequence", "radii"])
def test_no_procedure_certifies_more_than_the_noise_shows(monkeypatch, procedure):
    capped(monkeypatch)
    far = -0.5 * ndtri(0.05)
    options = dict(procedure=procedure, n=2000, radii=(0.3, far - 1e-9, far + 1e-9))
    agree = lambda keys, x: jnp.full(len(x), 2)  # noqa: E731
    with pytest.warns(UserWarning, match=r"0\.8224 .*certify\.noise=grid"):
        certifier = smoothing.certifier(agree, **SMALL | options)
    assert certifier.header["procedure"]["least_tail"] == 0.05
    assert certifier.plan(KEY, images([0.0])).radius <= far
    rows = certifier.certify(KEY, images([0.0]), np.zeros(1, int), np.arange(1))
    assert rows.radius[0] <= far and rows.radius[0] > 0.95 * far
    assert rows.p_lower[0] <= 1 - 0.05 + (procedure == "radii") * 0.05 / 4
    assert recheck(rows._replace(header=certifier.header)).holds


def test_exact_noise_alone_has_no_end(monkeypatch):
    capped(monkeypatch)
    agree = lambda keys, x: jnp.full(len(x), 2)  # noqa: E731
    pixel = np.zeros((1, *SHAPE), np.uint8)
    rows = certify(agree, pixel, n=2000, noise="grid")
    np.testing.assert_allclose(rows.radius, statistics.max_radius(2000, 0.001, 0.5))
    for name, norm in (("uniform", "l1"), ("laplace", "l1"), ("gaussian", "l2")):
        with pytest.warns(UserWarning, match=rf"^{name} .*\bfloat32\b"):
            smoothing.certifier(agree, **SMALL | dict(n=2000, noise=name, norm=norm))


def test_radii_beyond_the_noise_are_refused_whatever_n(monkeypatch):
    capped(monkeypatch)
    for n in (400, 2000):
        options = dict(procedure="radii", radii=(0.9, 1.2), n=n)
        with pytest.raises(
            InputError,
            match=names("gaussian", 0.8224, "certify.radii", "certify.noise=grid"),
        ):
            smoothing.certifier(half_space, **SMALL | options)


def test_what_few_votes_certify_is_not_touched():
    for n in (1000, 10**6):
        header = smoothing.certifier(half_space, **SMALL | dict(n=n)).header
        assert header["procedure"]["least_tail"] == 0
    with pytest.warns(UserWarning, match=r"\b1e-06\b.* 2\.377"):
        header = smoothing.certifier(half_space, **SMALL | dict(n=10**8)).header
    assert header["procedure"]["least_tail"] == 1e-6


def test_radius_of_a_half_space_is_below_its_distance():
    distance = np.repeat([-0.75, -0.25, 0.0, 0.25, 0.75], 20)
    rows = certify(half_space, images(distance), n0=100, n=1000)
    decided = rows.predicted >= 0
    # each row errs with probability <= 0.001: one of 100 would be rare, two a fault
    assert (rows.radius > np.abs(distance)).sum() <= 1
    assert (rows.predicted == (distance > 0))[np.abs(distance) > 0].all()
    assert decided[np.abs(distance) > 0].all()
    assert (~decided[distance == 0]).sum() >= 18
    # 1000 votes at p = Phi(1/2): the bound is 3 standard errors (0.02 each) below
    assert rows.radius[np.abs(distance) == 0.25].mean() > 0.15
    expected = statistics.smoothing_radius(rows.counts.max(1), 1000, 0.001, 0.5)
    np.testing.assert_array_equal(rows.radius, expected)


def test_votes_follow_the_law_of_the_noise():
    distance = np.array([-0.5, 0.1, 0.6])
    rows = certify(half_space, images(distance), n=20_000, chunk=1000)
    share = rows.counts[:, 1] / 20_000
    # 5 standard errors
    np.testing.assert_allclose(share, ndtr(distance / 0.5), atol=5 * 0.5 / 20_000**0.5)


def test_wrong_certificates_are_as_rare_as_alpha():
    """At the border p = 1/2, so every certificate is wrong."""
    rows = certify(half_space, images(np.zeros(300)), alpha=0.05, n=60)
    wrong = (rows.predicted >= 0).sum()
    # Binomial(300, <= 0.05) exceeds this with probability below 1e-6
    assert wrong <= 36


def test_abstaining_has_radius_zero_and_deciding_does_not():
    rows = certify(half_space, images(np.linspace(-0.1, 0.1, 60)))
    abstains = rows.predicted == records.ABSTAIN
    assert 5 < abstains.sum() < 55
    np.testing.assert_array_equal(abstains, rows.radius == 0)
    np.testing.assert_array_equal(abstains, rows.p_lower <= 0.5)


def test_agreeing_votes_reach_the_largest_radius():
    rows = certify(lambda keys, x: jnp.full(len(x), 2), images([0.0]))
    assert rows.predicted == [2]
    np.testing.assert_allclose(rows.radius, statistics.max_radius(400, 0.001, 0.5))
    np.testing.assert_array_equal(rows.counts, [[0, 0, 400]])


def test_estimation_uses_fresh_samples_and_exactly_n():
    """A vote that is a function of the noise alone: selection and estimation differ."""

    def noise_class(keys, x):
        return (50 * jax.scipy.stats.norm.cdf(x[:, 0, 0, 0], scale=0.5)).astype(int)

    count = voting.counter(
        Partial(noise_class),
        noise.law("gaussian", 0.5),
        num_classes=50,
        chunk=64,
        mesh=None,
    )
    index, pieces = np.array([0]), np.array([0, 0])
    counts = count(
        KEY, index, images([0.0]), pieces, np.array([0, 70]), np.array([70, 130])
    )
    np.testing.assert_array_equal(counts.sum(1), [70, 130])
    # the same draws again would make estimation repeat every vote of the selection
    assert (counts[1] < counts[0]).any()


def test_row_does_not_depend_on_batch_order_or_packing():
    x = images(np.linspace(-0.5, 0.5, 7))
    whole = certify(half_space, x)
    order = np.array([4, 0, 6, 2])
    for chunk in (64, 150):
        part = certify(half_space, x[order], index=order, chunk=chunk)
        for name in ("predicted", "radius", "p_lower", "counts", "index"):
            np.testing.assert_array_equal(
                getattr(part, name), getattr(whole, name)[order], err_msg=name
            )


def test_pieces_are_counted_apart_however_many_there_are():
    """More pieces than one call takes, of all sizes: each counts what it counts alone."""
    rng = np.random.default_rng(0)
    size = rng.integers(0, 40, 150)
    rows, start = rng.integers(0, 5, 150), rng.integers(0, 99, 150)
    x, index = images(np.linspace(-0.5, 0.5, 5)), np.arange(10, 15)
    counts = voting.counter(
        Partial(half_space),
        noise.law("gaussian", 0.5),
        num_classes=2,
        chunk=33,
        mesh=None,
    )
    together = counts(KEY, index, x, rows, start, size)
    np.testing.assert_array_equal(together.sum(1), size)
    alone = [
        counts(KEY, index, x, rows[[i]], start[[i]], size[[i]])[0]
        for i in range(0, 150, 7)
    ]
    np.testing.assert_array_equal(together[::7], alone)


def test_images_of_one_batch_and_keys_have_their_own_noise():
    same = images(np.full(4, 0.2))
    counts = certify(half_space, same).counts
    assert len(np.unique(counts[:, 0])) > 1
    assert (certify(half_space, same, jax.random.key(4)).counts != counts).any()


def test_vote_keys_are_independent_of_the_noise_and_of_each_other():
    def coin(keys, x):
        return jax.vmap(lambda k: jax.random.bernoulli(k))(keys).astype(jnp.int32)

    counts = certify(coin, images(np.zeros(3)), n=1000).counts
    assert (np.abs(counts[:, 0] - 500) < 5 * 0.5 * 1000**0.5).all()
    assert len(np.unique(counts[:, 0])) > 1


def test_unfinished_votes_count_for_no_class():
    def sometimes(keys, x):
        return jnp.where(x[:, 0, 0, 0] > 0, 1, -1)

    rows = certify(sometimes, images([0.0, 5.0, -5.0]))
    assert rows.predicted.tolist() == [records.ABSTAIN, 1, records.ERROR]
    assert rows.counts[0].sum() < 400 and (rows.n == 400).all()
    assert rows.radius[2] == 0 and np.isnan(rows.p_lower[2])


def test_uint8_images_are_pixels_of_255():
    pixel = np.array([0, 77, 255], np.uint8)[:, None, None, None] * np.ones(
        (1, *SHAPE), np.uint8
    )

    np.testing.assert_array_equal(
        certify(half_space, pixel).counts,
        certify(half_space, (pixel / 255).astype(np.float32)).counts,
    )


def test_predict_abstains_at_a_tie_only():
    rows = certify(half_space, images([-0.6, 0.0, 0.6]), procedure="predict")
    assert rows.predicted.tolist() == [0, records.ABSTAIN, 1]
    assert (rows.radius == 0).all() and rows.p_lower is None
    assert (rows.counts.sum(1) == 400).all()


def test_predict_marks_an_image_without_votes():
    rows = certify(
        lambda keys, x: -jnp.ones(len(x), int), images([0.0]), procedure="predict"
    )
    assert rows.predicted == [records.ERROR]


def test_nothing_is_compiled_again_for_another_batch():
    before = voting._count._cache_size()
    for count in (1, 3, 8):
        certify(half_space, images(np.zeros(count)), n=333, chunk=61)
    certify(half_space, images([0.0]), n=333, chunk=61, sigma=0.7)
    assert voting._count._cache_size() == before + 1


def _linear_network(weight):
    """Logits (-z, z, NaN where |z| > 200), z = weight * (mean pixel - 1/2)."""

    def apply(params, state, x, *, train=False, key=None):
        z = params * (x.mean((1, 2, 3)) - 0.5)
        return jnp.stack([-z, z, jnp.where(abs(z) > 200, jnp.nan, -99.0)], 1), state

    model = Model(lambda key: None, apply, lambda p, s: s, 3, SHAPE)
    return Network(model, jnp.float32(weight), {})


def test_network_votes_by_argmax_and_not_where_a_logit_is_not_finite():
    network = _linear_network(40.0)
    small = {k: v for k, v in SMALL.items() if k != "num_classes"}
    certifier = smoothing.make(network, **small)
    x = images([0.0, 2.0])  # all pixels 0, and all 1
    rows = certifier.certify(KEY, x, np.zeros(2, int), np.arange(2))
    assert rows.predicted.tolist() == [0, 1]
    assert certifier.header["num_classes"] == 3
    # other weights of the same network are arguments of the same program
    compiled = voting._count._cache_size()
    flipped = smoothing.make(network._replace(params=jnp.float32(-40.0)), **small)
    rows = flipped.certify(KEY, x, np.zeros(2, int), np.arange(2))
    assert rows.predicted.tolist() == [1, 0]
    huge = smoothing.make(network._replace(params=jnp.float32(1e9)), **small)
    rows = huge.certify(KEY, x, np.zeros(2, int), np.arange(2))
    assert rows.predicted.tolist() == [records.ERROR] * 2
    assert voting._count._cache_size() == compiled


def test_rows_survive_the_record_file_and_an_interruption(tmp_path):
    certifier = smoothing.certifier(half_space, **SMALL)
    x, label = images(np.linspace(-0.5, 0.5, 6)), np.array([0, 0, 0, 1, 1, 1])

    def write(path, batches):
        for batch in batches:
            with records.Writer(path, certifier.header) as writer:
                rows = [i for i in batch if i not in writer.done]
                writer.append(certifier.certify(KEY, x[rows], label[rows], rows))
        return records.load(path)

    once = write(tmp_path / "once.jsonl", [range(6)])
    twice = write(tmp_path / "twice.jsonl", [range(2), range(4), range(6)])
    for name in ("index", "label", "predicted", "radius", "p_lower", "counts", "n"):
        np.testing.assert_array_equal(getattr(once, name), getattr(twice, name))
    assert once.header["procedure"] == dict(
        name="certify", n0=20, n=400, noise="gaussian", scale=0.5, least_tail=0.0
    )


DEVICES = """
import json, jax, numpy as np, jax.numpy as jnp
from jax.sharding import Mesh
from jaxcert.certificates import smoothing
def vote(keys, x): return (x.mean((1, 2, 3)) > 0).astype(jnp.int32)
x = np.linspace(-.3, .3, 11, dtype=np.float32)[:, None, None, None] * np.ones((1, 2, 2, 1))
x = x.astype(np.float32)
out = []
for mesh in (None, Mesh(np.array(jax.devices()), ("data",))):
    c = smoothing.certifier(vote, num_classes=2, sigma=.5, n0=20, n=400, mesh=mesh, chunk=64)
    rows = c.certify(jax.random.key(3), x, np.zeros(11, int), np.arange(11))
    out.append([rows.counts.tolist(), rows.radius.tolist()])
print(json.dumps([len(jax.devices()), *out]))
"""


def test_one_and_eight_devices_give_the_same_rows():
    environment = {
        "XLA_FLAGS": "--xla_force_host_platform_device_count=8",
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": str(Path(smoothing.__file__).parents[2]),
    }
    out = subprocess.run(
        [sys.executable, "-c", DEVICES],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    devices, one, eight = json.loads(out.stdout)
    assert devices == 8
    assert one == eight


@pytest.mark.parametrize(
    "wrong, fault",
    [
        (dict(sigma=0.0), names("sigma", 0.0)),
        (dict(sigma=float("nan")), names("sigma", "nan")),
        (dict(sigma=1e-46), names("sigma", "1e-46", "1e-06")),
        (dict(sigma=1e-9), names("sigma", "1e-09", "1e-06")),
        (dict(sigma=1e39), names("sigma", "1e+39", "1e-06")),
        (dict(sigma=float("inf")), names("sigma", "inf")),
        (dict(alpha=0.0), names("alpha", 0.0)),
        (dict(alpha=1.0), names("alpha", 1.0)),
        (dict(n0=0), names("n0", 0)),
        (dict(n=0), names("n", 0)),
        (dict(n=9.5), names("n", 9.5)),
        (dict(chunk=-1), names("chunk", -1)),
        (dict(n=9), names("n", 9, "alpha", 0.001, 10)),
        (dict(n=10, procedure="predict"), names("n", 10, "alpha", 0.001, 10)),
        (dict(procedure="guess"), names("procedure", "guess")),
        (dict(procedure="radii"), names("radii", "[]", "certify.radii")),
        (
            dict(procedure="radii", radii=(2.0,)),
            names("n", 400, "radii", "alpha", 0.001),
        ),
        (
            dict(procedure="radii", radii=(9.0,)),
            names("gaussian", 2.377, "certify.radii", "certify.noise=grid"),
        ),
        (
            dict(procedure="radii", radii=(-1.0,)),
            names("radii", "[-1.0]", "certify.radii"),
        ),
        (dict(procedure="two_stage", rho=0.0), names("rho", 0.0)),
        (dict(procedure="sequence", bound="guess"), names("bound", "guess")),
        (dict(noise="salt"), names("noise", "salt")),
        (dict(noise="uniform", norm="l1", sigma=3e38), names("sigma", "3e+38")),
        (
            dict(noise="grid", sigma=100.0),
            names("sigma", 100, 16, "certify.noise=gaussian"),
        ),
        (
            dict(procedure="sequence", bound="mixture", n=12),
            names("n", 12, "alpha", 0.001, 13),
        ),
        (dict(noise="uniform"), names("uniform", "l2", "certify.norm l1 or linf")),
        (dict(norm="linf"), names("linf", "image_shape")),
    ],
)
def test_request_that_certifies_nothing_is_refused(wrong, fault):
    with pytest.raises(InputError, match=fault):
        smoothing.certifier(half_space, **(SMALL | wrong))


def test_header_claims_the_sigma_that_is_drawn():
    header = smoothing.certifier(half_space, **SMALL | dict(sigma=0.1)).header
    assert header["sigma"] == float(np.float32(0.1))


@pytest.mark.parametrize("procedure", ["radii", "two_stage", "sequence"])
def test_other_procedures_certify_the_same_half_space(procedure):
    """Radii below the distance, near what CERTIFY says, with fewer votes."""
    distance = np.repeat([-0.7, 0.0, 0.4], 15)
    options = dict(n=20_000, chunk=500, radii=(0.0, 0.3, 0.6), rho=0.1)
    rows = certify(half_space, images(distance), procedure=procedure, **options)
    assert (rows.radius > np.abs(distance)).sum() <= 1
    certain = distance != 0
    assert (rows.predicted == (distance > 0))[certain].all()
    expected = [0.3, 0.6] if procedure == "radii" else [0.8 * 0.4, 0.8 * 0.7]
    for at, least in zip((0.4, -0.7), expected, strict=True):
        assert np.median(rows.radius[distance == at]) >= least
    assert rows.n.mean() < 0.8 * 20_000
    assert (rows.p_lower[rows.predicted >= 0] >= 0.5).all()


def test_changed_votes_of_float32_are_counted():
    def coarse(keys, x):
        return (x.mean((1, 2, 3)) > 0.1).astype(jnp.int32)

    rows = certify(coarse, images([0.0, 5.0]), n0=2000, exact=Partial(half_space))
    # P(0 < mean < 0.1) with std 0.5 / 2 of the mean
    share = ndtr(0.1 / 0.25) - 0.5
    np.testing.assert_allclose(
        rows.changed / 2000, [share, 0], atol=5 * 0.4 / 2000**0.5
    )


def test_plan_says_what_is_reachable_and_how_fast():
    certifier = smoothing.certifier(half_space, **SMALL | dict(procedure="two_stage"))
    plan = certifier.plan(KEY, images([0.0]))
    np.testing.assert_allclose(plan.radius, statistics.max_radius(400, 0.001, 0.5))
    assert plan.samples == 20 + 1000 + 400
    assert plan.memory > 64 * 4 * 4 and plan.rate > 0


def test_an_image_of_another_shape_is_refused():
    certifier = smoothing.certifier(half_space, **SMALL | dict(image_shape=(3, 3, 1)))
    with pytest.raises(InputError, match=names("(2, 2, 1)", "(3, 3, 1)")):
        certifier.certify(KEY, images([0.0]), np.zeros(1, int), np.arange(1))


def test_logits_vote_for_their_argmax_unless_one_is_not_finite():
    def logits(keys, x):
        z = x.mean((1, 2, 3))
        return jnp.stack([-z, z, jnp.where(z > 3, jnp.nan, -10.0)], 1)

    x = images([-0.6, 0.3, 0.6, 20.0])
    rows, votes = certify(logits, x), certify(half_space, x)
    np.testing.assert_array_equal(rows.counts[:3, :2], votes.counts[:3, :2])
    assert rows.predicted[3] == records.ERROR and rows.counts[3].sum() == 0


@pytest.mark.parametrize(
    "wrong, shape",
    [
        (lambda keys, x: jnp.zeros(len(x)), "float32 [64]"),
        (lambda keys, x: jnp.zeros((len(x), 1), int), "int32 [64, 1]"),
        (lambda keys, x: jnp.zeros(1, int), "int32 [1]"),
    ],
)
def test_a_classifier_of_another_shape_is_refused(wrong, shape):
    with pytest.raises(InputError, match=names(shape, 64)):
        certify(wrong, images([0.0]))


def test_a_classifier_of_more_classes_is_refused():
    with pytest.raises(InputError, match=names("4 outputs", "3 classes", 4)):
        certify(lambda keys, x: jnp.zeros((len(x), 4)), images([0.0]))


@pytest.mark.parametrize(
    "dtype, number", [("int32", 7), ("int8", -5), ("uint8", 250), ("uint32", 2**31 + 1)]
)
def test_a_class_that_does_not_exist_is_no_vote(dtype, number):
    rows = certify(lambda keys, x: jnp.full(len(x), number, dtype), images([0.0]))
    assert rows.predicted == [records.ERROR] and rows.counts.sum() == 0


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16"])
def test_narrow_integers_vote_for_the_class_they_name(dtype):
    for classes in (256, 300, 40_000):
        rows = certify(
            lambda keys, x: jnp.full(len(x), 100, dtype),
            images([0.0]),
            num_classes=classes,
        )
        assert rows.predicted == [100] and rows.counts[0, 100] == 400


@pytest.mark.parametrize("what", [None, (1, 2), 3])
def test_a_classifier_of_another_kind_is_refused(what):
    with pytest.raises(InputError, match=names(type(what).__name__, 64)):
        certify(lambda keys, x: what, images([0.0]))


def test_one_label_and_one_index_for_each_image():
    certifier = smoothing.certifier(half_space, **SMALL)
    for x, label, index in ((3, 2, 3), (3, 3, 2), (0, 0, 0)):
        with pytest.raises(
            InputError,
            match=names(f"{x} images", f"{label} labels", f"{index} indices"),
        ):
            certifier.certify(
                KEY, images(np.zeros(x)), np.zeros(label, int), range(index)
            )


@pytest.mark.parametrize("where", ["params", "state", "variance"])
def test_a_network_that_is_not_finite_is_refused(where):
    """Its logits are, on a CPU, where a rectifier follows the convolution."""
    model = small_cnn.make(3, (8, 8, 1), width=4)
    params, state = jax.jit(model.init)(jax.random.key(0))
    if where == "params":
        params["conv1"]["kernel"] = params["conv1"]["kernel"].at[0].set(jnp.nan)
    else:
        moved = "mean" if where == "state" else "var"
        stats = state["batch_stats"]["bn1"]
        stats[moved] = stats[moved].at[1].set(jnp.inf if where == "state" else -1.0)
    with pytest.raises(InputError, match=names("network", "finite")):
        smoothing.make(Network(model, params, state), sigma=0.5, n=100)


def test_an_image_that_is_not_finite_is_an_error():
    x = np.array(images([0.6, 0.6, 0.6]))
    x[1, 0, 0, 0] = np.nan
    rows = certify(half_space, x)
    assert rows.predicted.tolist() == [1, records.ERROR, 1]
    assert rows.radius[1] == 0 and np.isnan(rows.p_lower[1])


def test_an_accelerator_takes_more_small_images_at_once(monkeypatch):
    small, large = (32, 32, 3), (224, 224, 3)
    assert smoothing._chunk_of(small) == smoothing._chunk_of(large) == 0
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert smoothing._chunk_of(small) == 4000
    assert smoothing._chunk_of(large) == 0


@pytest.mark.parametrize(
    "make, n",
    [
        (smoothing.make, 100_000),
        (denoised_smoothing.make, 100_000),
        (noised_diffusion_classifier.make, 10_000),  # whose votes cost more
    ],
    ids=["smoothing", "denoised_smoothing", "noised_diffusion_classifier"],
)
def test_certificates_by_votes_take_the_options_of_certifier(make, n):
    """Under their names, with their defaults and types, for a config to fill in."""

    def of(function):
        kinds, parameters = get_type_hints(function), inspect.signature(function)
        keys = smoothing.Options.__annotations__.keys() | {"n", "chunk"}
        return {k: (parameters.parameters[k].default, kinds[k]) for k in keys}

    assert of(make) == of(smoothing.certifier) | {"n": (n, int)}
    assert len(of(make)) == 12
    assert "options" not in inspect.signature(make).parameters
