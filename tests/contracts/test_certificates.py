"""Every certificate: sound under attack, one row per image, and never for a NaN."""

from __future__ import annotations

import functools
import importlib
import inspect
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcert import audit, certificates, random_keys
from jaxcert.analysis.recheck import recheck
from jaxcert.certificates import _arithmetic, lipschitz
from jaxcert.errors import InputError
from jaxcert.interfaces import Network
from jaxcert.models import dist_net, edm_unet, lip_convnet, small_cnn
from jaxcert.records import ERROR
from tests import audit_many

SHAPE, CLASSES = (4, 4, 1), 4
KEY = jax.random.key(5)
NAMES = sorted(
    file.stem
    for file in Path(certificates.__path__[0]).glob("[!_]*.py")
    if hasattr(importlib.import_module(f"jaxcert.certificates.{file.stem}"), "make")
)


@random_keys.pinned()
def network(model, seed=0):
    return Network(model, *jax.jit(model.init)(random_keys.key(seed)))


@functools.cache
def lipschitz_network(**changes):
    """Random weights; every layer keeps its norm, so margins are as large as the radii
    allow."""
    settings = dict(
        image_shape=SHAPE,
        stages=2,
        blocks=1,
        width=2,
        num_classes=CLASSES,
        mean=(0.5,),
        std=0.5,
    )
    return network(lip_convnet.make(**settings | changes))


@functools.cache
def small_network():
    return network(small_cnn.make(CLASSES, SHAPE, width=4))


@functools.cache
def distance_network(**changes):
    settings = dict(depth=3, width=24, num_classes=CLASSES, mean=(0.5,), std=0.5)
    return network(dist_net.make(image_shape=SHAPE, **settings | changes))


@functools.cache
def denoiser():
    model = edm_unet.make(
        "ddpmpp", CLASSES, SHAPE, 8, (1,), 1, (), label_dropout=0.1, dropout=0.0
    )
    found = network(model)
    wide = lambda a: a + 0.1 * jax.random.normal(KEY, a.shape)  # noqa: E731
    return found._replace(params=jax.tree.map(wide, found.params))


NETWORKS = (small_network, lipschitz_network, distance_network, denoiser)
"""What may be certified; a certificate gets the first of them that it takes."""
NEEDS = dict(sigma=0.25, radii=(0.0, 0.001, 0.01), classifier=small_network)
"""Values of arguments without a default."""
SMALL = dict(n0=20, n=100, chunk=20, levels=3)
"""Values that make a job small, for every certificate that has the argument."""
MORE = {
    "diffusion_classifier": dict(levels=2, cap=0.05, n0=2, n=20),
    "noised_diffusion_classifier": dict(kind="epndc"),
}
"""Settings in which a certificate shows more than in its defaults; none is needed."""


def small_make(name):
    """`make` of a certificate with what it needs and what makes it small."""
    make = importlib.import_module(f"jaxcert.certificates.{name}").make
    parameters = inspect.signature(make).parameters
    keywords = list(parameters.values())[1:]  # the first is the network
    assert all(p.kind is p.KEYWORD_ONLY for p in keywords), (
        f"state every keyword of {name}.make, those of smoothing by smoothing.takes_options"
    )
    assert "mesh" in parameters, f"{name}.make takes mesh=None, the devices to work on"
    needed = {p.name for p in keywords if p.default is p.empty}
    unknown = ", ".join(sorted(needed - set(NEEDS)))
    assert not unknown, f"give NEEDS a value of {unknown}, which {name}.make needs"
    given = {key: NEEDS[key] for key in needed}
    if "classifier" in needed:
        given["classifier"] = given["classifier"]()
    small = {key: value for key, value in SMALL.items() if key in parameters}
    return partial(make, **given | small | MORE.get(name, {}))


@pytest.fixture(params=NAMES, scope="module")
def subject(request):
    """(network, make) of a certificate: the first network that it takes."""
    make, refused = small_make(request.param), []
    for build in NETWORKS:
        found = build()
        try:
            make(found)
        except InputError as error:
            refused.append(f"{build.__name__}: {error}")
        else:
            return found, make
    said = "\n".join(refused)
    pytest.fail(f"give NETWORKS one that {request.param}.make takes; not\n{said}")


def images(count):
    return np.array(jax.random.uniform(jax.random.key(9), (count, *SHAPE)))


def certify(certifier, image, index=None):
    index = np.arange(len(image)) if index is None else np.asarray(index)
    return certifier.certify(KEY, image, np.zeros(len(image), np.int32), index)


def test_there_are_certificates():
    assert {"interval", "lipschitz", "smoothing"} <= set(NAMES)
    assert set(MORE) <= set(NAMES)


@pytest.mark.parametrize(
    "changes",
    [
        dict(conv="lot", activation="hh1"),
        dict(conv="cayley", head="lln", activation="maxmin"),
    ],
    ids=["lot", "cayley-lln"],
)
def test_no_attack_inside_the_radius_changes_the_prediction(x64, changes):
    model, params, state, _ = lipschitz_network(**changes)
    x = images(6)
    rows = certify(lipschitz.make(Network(model, params, state)), x)
    assert (rows.radius > 0.01).all()
    wide = partial(jax.tree.map, lambda a: jnp.asarray(a, jnp.float64))
    params, state = wide(params), wide(state)
    state = jax.jit(model.prepare)(params, state)

    def logits(x):
        return model.apply(params, state, x)[0]

    inside = attack(logits, x, rows.predicted, 0.9999 * rows.radius)
    assert not inside.any()
    outside = attack(logits, x, rows.predicted, 1.3 * rows.radius)
    assert outside.mean() > 0.5  # the attack finds what there is, the radius is tight


def attack(logits, x, label, radius, *, starts=6, steps=60):
    """bool [B]: whether projected gradient ascent on the margin of any other class, from
    random points of the sphere, or those points themselves, change the prediction."""
    x = np.repeat(np.asarray(x, np.float64), starts, 0)
    label = np.repeat(label, starts)
    radius = np.repeat(radius, starts)[:, None, None, None]
    target = (label + 1 + np.arange(len(label)) % (CLASSES - 1)) % CLASSES

    def unit(v):
        norm = jnp.sqrt((v**2).sum((1, 2, 3), keepdims=True))
        return v / jnp.maximum(norm, 1e-300)

    def margin(delta):
        z = logits(x + delta)
        picked = [jnp.take_along_axis(z, y[:, None], 1) for y in (target, label)]
        return (picked[0] - picked[1]).sum(), z.argmax(-1) != label

    @jax.jit
    def run(delta):
        def step(delta, _):
            grad, changed = jax.grad(margin, has_aux=True)(delta)
            delta = delta + 0.2 * radius * unit(grad)
            norm = jnp.sqrt((delta**2).sum((1, 2, 3), keepdims=True))
            return delta * jnp.minimum(1, radius / norm), changed

        delta, changed = jax.lax.scan(step, delta, length=steps)
        return changed.any(0) | margin(delta)[1]

    start = radius * unit(jax.random.normal(KEY, x.shape, jnp.float64))
    return np.asarray(run(start)).reshape(-1, starts).any(1)


def test_row_does_not_depend_on_batch_or_order(subject):
    net, make = subject
    certifier, x = make(net), images(6)
    whole = certify(certifier, x)
    order = np.array([4, 0, 5])
    some = certify(certifier, x[order], order)
    np.testing.assert_array_equal(some.predicted, whole.predicted[order])
    # sums of float64 in another order; votes and what follows from them are exact
    tolerance = 1e-12 if whole.counts is None else 0
    np.testing.assert_allclose(some.radius, whole.radius[order], rtol=tolerance)
    if whole.counts is not None:
        np.testing.assert_array_equal(some.counts, whole.counts[order])
    differ = len(set(whole.predicted.tolist())) > 1 or whole.radius.std() > 0
    if not differ:  # a bound that certifies none of them: then its evidence
        np.testing.assert_allclose(
            some.logits, whole.logits[order], rtol=1e-9, atol=1e-9
        )
        differ = whole.logits.std(0).max() > 0
    assert differ


def test_rows_hold_in_the_recheck_and_one_that_claims_more_does_not(subject):
    """The record leads to a `recheck` of its own evidence, which is not the certifier's word."""
    net, make = subject
    rows = certify(make(net), images(4))
    found = recheck(rows)
    assert not found.reason and found.holds
    assert found.checked == (rows.predicted >= 0).sum()
    claims = np.array([False, True, False, False])
    more = rows._replace(
        predicted=np.where(claims, np.maximum(rows.predicted, 0), rows.predicted),
        radius=rows.radius + claims,
    )
    found = recheck(more)
    assert not found.reason and found.failing.tolist() == [1]
    evidence = ("counts", "agreeing", "logits", "margins", "least_margins")
    blind = rows._replace(**dict.fromkeys(evidence), predicted=more.predicted)
    found = recheck(blind)
    assert found.checked == len(found.failing) == (more.predicted >= 0).sum() > 0


def test_rows_hold_for_the_auditor_and_one_that_claims_more_does_not(subject, tmp_path):
    """That knows the format of the record and nothing of the certificate."""
    net, make = subject
    made = certify(make(net), images(4))
    head, rows = made.header | dict(format=audit.FORMAT), audit_many.rows_of(made)
    path = audit_many.written(tmp_path, head, rows)
    for exact in (False, True):
        assert audit.audit(path, exact=exact)[:2] == (0, [])
    rows[1]["radius"] += 1
    rows[1]["predicted"] = max(rows[1]["predicted"], 0)
    path = audit_many.written(tmp_path, head, rows)
    assert audit_many.lines_at_fault(path) == {3}


def test_the_header_names_the_file_of_the_certificate(subject, request):
    """As the config does, with which a re-check compares it."""
    net, make = subject
    settings = make(net).settings
    name = settings.get("base", settings).get("name", settings["method"])
    assert name == request.node.callspec.params["subject"]


def test_image_with_a_nan_is_an_error_and_its_neighbours_are_not(subject):
    net, make = subject
    x = images(3)
    whole = certify(make(net), x)
    x[1, 2, 3] = np.nan
    rows = certify(make(net), x)
    assert rows.predicted[1] == ERROR and rows.radius[1] == 0
    assert not rows.correct[1]
    np.testing.assert_array_equal(rows.predicted[[0, 2]], whole.predicted[[0, 2]])


def test_a_certifier_is_made_of_shapes_and_does_no_work_before_it_is_asked(subject):
    """As before a training, whose certificate is looked at before its first step."""
    net, make = subject

    def works(*_, **__):
        raise NotImplementedError("prepares or bounds")

    model = net.model._replace(
        prepare=works,
        lipschitz=net.model.lipschitz and works,
        lipschitz_bound=net.model.lipschitz_bound and works,
    )
    shapes = jax.eval_shape(lambda: (net.params, net.state))
    mesh = jax.make_mesh((1,), ("data",))
    made = make(Network(model, *shapes), mesh=mesh)
    if net.model.norm is None:  # no bound stands in its header
        assert made.header == make(net).header
    else:
        with pytest.raises(NotImplementedError):
            make(net._replace(model=model)).header  # noqa: B018


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_network_with_broken_weights_certifies_nothing(subject, value):
    net, make = subject
    leaves, tree = jax.tree.flatten(net.params)
    kernel = max(range(len(leaves)), key=lambda i: leaves[i].size)
    leaves[kernel] = leaves[kernel].at[(0,) * leaves[kernel].ndim].set(value)
    broken = net._replace(params=jax.tree.unflatten(tree, leaves))
    try:
        rows = certify(make(broken), images(2))
    except InputError as refused:
        assert "not finite" in str(refused)
    else:
        assert (rows.predicted == ERROR).all() and (rows.radius == 0).all()


def test_images_outside_the_range_of_the_network_are_refused(subject):
    net, make = subject
    certifier = make(net)
    for wrong in (images(2) * 255, images(2) - 0.5, np.full((2, *SHAPE), 1e30)):
        wrong = wrong.astype(np.float32)
        with pytest.raises(InputError, match=r"pixels from .* outside \[0, 1\]"):
            certify(certifier, wrong)
        if certifier.plan:
            with pytest.raises(InputError, match="outside"):
                certifier.plan(KEY, wrong)
    rounded = np.float32(1) + np.float32(2**-22) * np.array([1, -1])
    certify(certifier, images(2) * 0 + rounded.reshape(2, 1, 1, 1))


def test_no_certificate_where_programs_are_inexact(subject, monkeypatch):
    net, make = subject

    def inexact():
        raise InputError("compiled programs here get isfinite wrong")

    monkeypatch.setattr(_arithmetic, "check", inexact)
    with pytest.raises(InputError, match="isfinite wrong"):
        make(net)


def test_settings_of_jax_change_no_row(subject):
    """Nor stop one: NaN stays an error of its image."""
    net, make = subject
    x = images(2)
    x[1, 0, 0] = np.nan
    plain = certify(make(net), x)
    with (
        jax.threefry_partitionable(False),
        jax.default_prng_impl("rbg"),
        jax.numpy_rank_promotion("raise"),
        jax.numpy_dtype_promotion("strict"),
        jax.debug_nans(True),
        jax.transfer_guard("disallow"),
    ):
        certifier = make(net)
        rows = certify(certifier, x)
        if certifier.plan:
            certifier.plan(KEY, x[:1])
    assert plain.predicted[1] == ERROR
    for name in ("predicted", "radius", "counts", "logits", "p_lower"):
        one, other = getattr(plain, name), getattr(rows, name)
        assert (one is None) == (other is None)
        if one is not None:
            np.testing.assert_array_equal(one, other)


def test_keys_of_another_generator_are_refused_by_what_samples(subject):
    net, make = subject
    certifier = make(net)
    sampled = certifier.header["alpha"] > 0
    generator = certifier.header.get("generator", {})
    assert generator | random_keys.GENERATOR == generator or not sampled
    assert ("keys" in generator) == sampled
    if sampled:
        x, zeros = images(2), np.zeros(2, np.int32)
        for wrong in (jax.random.key(0, impl="rbg"), jax.random.split(KEY), 5):
            with pytest.raises(InputError, match="draw from threefry2x32"):
                certifier.certify(wrong, x, zeros, np.arange(2))
            with pytest.raises(InputError, match="draw from threefry2x32"):
                certifier.plan(wrong, x)
