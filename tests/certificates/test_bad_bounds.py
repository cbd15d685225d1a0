"""Bounds that are asked for where nothing can be proven: no theorem, no votes, too few of them."""

from __future__ import annotations

import re

import jax.numpy as jnp
import numpy as np
import pytest
from refusals import names

import jaxcert
from jaxcert.analysis import familywise
from jaxcert.certificate import ABSTAIN, ERROR, Certificates
from jaxcert.certificates import bounding, norms, runner_up, statistics
from jaxcert.errors import InputError

SHAPE, CLASSES = (2, 2, 1), 10
IMAGES = np.zeros((3, *SHAPE), np.uint8)
WITHOUT = [
    (noise, norm)
    for noise in (*norms.RADII, "cauchy")
    for norm in ("l2", "l1", "linf", "l0")
    if norm not in norms.RADII.get(noise, ())
]


def smooth(f=lambda x: x[:, 0, 0, 0].astype(jnp.int32), **how):
    given = dict(num_classes=CLASSES, sigma=0.5, n0=10, n=100) | how
    return jaxcert.smooth(f, image_shape=SHAPE, **given)


def record(counts, predicted, *, n=1000, **procedure) -> Certificates:
    counts = np.asarray(counts)
    zero = np.zeros(len(counts))
    return Certificates(
        index=np.arange(len(counts)),
        label=np.zeros(len(counts), int),
        predicted=np.asarray(predicted),
        radius=zero,
        n=np.full(len(counts), n),
        seconds=zero,
        p_lower=zero,
        counts=counts,
        header=dict(
            method="smoothing",
            norm="l2",
            alpha=0.001,
            sigma=0.5,
            num_classes=counts.shape[1],
            procedure=dict(name="certify", n0=10, n=n, noise="gaussian") | procedure,
        ),
    )


@pytest.mark.parametrize("noise, norm", WITHOUT)
def test_a_pair_of_noise_and_norm_without_a_theorem(noise, norm):
    law = dict(noise=noise, norm=norm, sigma=0.5, d=4)
    said = repr(norm) if noise in norms.RADII else "noise must be one of"
    for asked in (
        lambda: norms.radius(0.1, **law),
        lambda: norms.radius(0.1, 0.05, **law),
        lambda: norms.p_needed(0.1, **law),
        *(
            (lambda rival=rival: smooth(noise=noise, norm=norm, rival=rival))
            for rival in runner_up.NAMES
        ),
    ):
        with pytest.raises(InputError, match=said):
            asked()
    c = record([[1000, 0, 0]], [0], noise=noise)
    c.header["norm"] = norm
    for asked in (
        lambda: bounding.again(c, "runner_up"),
        lambda: familywise.together(c, familywise.Family("holm"), 1.0),
        lambda: jaxcert.recheck(c),
    ):
        with pytest.raises(InputError, match=said):
            asked()


@pytest.mark.parametrize("rival", runner_up.NAMES)
@pytest.mark.parametrize("procedure", runner_up.PROCEDURES)
def test_votes_for_no_class_prove_nothing(procedure, rival):
    """-1, and a class that there is not, such as 10 of a count from 1."""
    for nothing in (-1, CLASSES):
        never = smooth(
            lambda x, nothing=nothing: jnp.full(len(x), nothing),
            procedure=procedure,
            rival=rival,
            n=400,
        )
        rows = jaxcert.certify_images(never, IMAGES)
        assert (rows.predicted == ERROR).all() and (rows.radius == 0).all()
        assert not rows.counts.any() and jaxcert.recheck(rows).holds


@pytest.mark.parametrize("rival", ["single", "runner_up"])
def test_a_record_of_votes_for_no_class_is_bounded_again_by_nothing(rival):
    c = record(np.zeros((3, 4), int), [2, ABSTAIN, ERROR])
    found = bounding.again(c, rival)
    assert found.predicted.tolist() == [ABSTAIN, ABSTAIN, ERROR]
    assert not found.radius.any() and not found.p_lower.any()
    assert jaxcert.recheck(c).failing.tolist() == [0]


@pytest.mark.parametrize("rival", runner_up.NAMES)
@pytest.mark.parametrize("procedure", runner_up.PROCEDURES)
def test_the_least_n_that_is_named_is_the_least(procedure, rival):
    how = dict(procedure=procedure, rival=rival, alpha=0.001)
    with pytest.raises(InputError) as error:
        smooth(n=4, **how)
    least = int(re.search(r"at least (\d+)", str(error.value))[1])
    split = 1 if rival == "single" else 2
    assert least == 1 + int(np.log2(split / 0.001))
    with pytest.raises(InputError, match=names("n", least - 1)):
        smooth(n=least - 1, **how)
    smooth(n=least, **how)


@pytest.mark.parametrize("rival, split", [("single", 1), ("runner_up", 2)])
def test_the_least_n_of_a_set(rival, split):
    """16 images: votes that all agree prove a radius at alpha / 16 from 14 on, or 15."""
    least = 1 + int(np.log2(16 * split / 0.001))
    assert least == statistics.min_n_for_any_radius(0.001 / 16 / split)
    family = familywise.Family("bonferroni")
    for n, fits in ((least - 1, False), (least, True)):
        votes = np.zeros((16, 3), int)
        votes[:, 0] = n
        c = record(votes, np.zeros(16, int), n=n, rival=rival)
        if fits:
            assert (familywise.together(c, family, 1.0).radius > 0).all()
            continue
        with pytest.raises(InputError, match=names("n", n)) as error:
            familywise.together(c, family, 1.0)
        assert f"at least {least}" in str(error.value)
