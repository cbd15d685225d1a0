"""Noised diffusion classifiers, smoothed: Chen, Dong, Shao, Hao, Yang, Su and Zhu, Diffusion
Models are Certifiably Robust Classifiers (2024, arXiv:2402.02316).

    f(x + delta) = argmax_y logit_y(x_tau),   x_tau = 2 (x + delta) - 1,   sigma_tau = 2 sigma
    g(x) = argmax_c P(f(x + delta) = c)                           certificates/smoothing.py

logit_y is that of EPNDC, APNDC or DiffPure and DC (diffusion/classifiers.py). f draws
noise of its own from the key of its vote. Every vote has another key, so votes are
independent and the theorem of randomized smoothing holds for P over both kinds of
noise. A search has to preserve nothing else; the classes that it skips can only cost
accuracy:

    full    all classes at all levels
    race    successive elimination (diffusion/racing.py)
    sift    Sift-and-Refine, repaired (diffusion/sift.py)
    hybrid  a race of the `keep` classes that a classifier of the denoised image names first

Votes are never extrapolated: n votes in a record are n votes that were drawn.
"""

from __future__ import annotations

import functools
from typing import NamedTuple, Unpack

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from jaxcert import random_keys
from jaxcert.certificates import inputs, smoothing
from jaxcert.certificates.networks import classifier_of, denoiser_of, in_float32
from jaxcert.diffusion import classifiers, edm, racing, sift
from jaxcert.errors import InputError, at_least, one_of
from jaxcert.interfaces import Certifier, Network
from jaxcert.ops.images import unit

KINDS = ("apndc", "epndc", "diffpure")
SEARCHES = ("full", "race", "sift", "hybrid")
_CENTER = {
    "apndc": lambda sigma_tau: 1.3 * sigma_tau,
    "epndc": lambda sigma_tau: 1.8 * sigma_tau,
    "diffpure": lambda sigma_tau: 0.5,
}
"""The noise level at which a race starts. The target of EPNDC is noise near sigma_tau."""
_TRIED = 64
"""The number of votes whose evaluations a plan counts."""


class Base(NamedTuple):
    """A base classifier. It is hashable, because it is a static part of the program."""

    kind: str
    weighting: str
    levels: int
    sigma_end: float
    drop_below: float
    noise_from: str
    search: str
    c: float
    min_levels: int
    keep: int
    threshold: float
    block: int
    sigma_tau: float
    num_classes: int


@smoothing.takes_options
@random_keys.pinned()
def make(
    network: Network,
    *,
    sigma: float,
    kind: str = "apndc",
    weighting: str = "edm",
    levels: int = 126,
    sigma_end: float = 3.0,
    drop_below: float = 0.0,
    noise_from: str = "denoised",
    search: str = "race",
    c: float = 2.0,
    min_levels: int = 3,
    keep: int = 10,
    threshold: float = 0.02,
    block: int = 0,
    unconditional: Network | None = None,
    classifier: Network | None = None,
    n: int = 10_000,
    chunk: int = 0,
    **options: Unpack[smoothing.Options],
) -> Certifier:
    """Return the certifier of an EDM as a classifier. sigma is in pixels of [0, 1],
    like all radii.

    kind: apndc | epndc | diffpure; weighting, levels, sigma_end, drop_below, noise_from:
    those of diffusion/classifiers.py, with sigmas in the scale of [-1, 1]. search: full |
    race | sift | hybrid. c, min_levels: those of the race. keep, threshold: those of sift
    and hybrid. block: pairs of image and class in one forward pass (0: by the device);
    chunk: votes at a time. unconditional: another EDM for the estimate of the clean image,
    where the first was trained with a class for every image. classifier: the one that
    hybrid asks, of images in [0, 1]. n, options: those of smoothing.certifier.

    Raises InputError for a network that is not a denoiser or cannot do what is asked,
    and for what smoothing.certifier refuses.
    """
    for each in (network, unconditional):
        if each is not None:
            denoiser_of(each)  # refuses networks that are not denoisers
    base = Base(
        kind,
        weighting,
        levels,
        sigma_end,
        drop_below,
        noise_from,
        search,
        c,
        min_levels,
        keep,
        threshold,
        block or _default_block(),
        2.0 * float(np.float32(sigma)),
        network.model.num_classes,
    )
    _check(base, network, unconditional, classifier)
    _build(base)  # refuses impossible settings
    vote = _vote(base, network, unconditional, classifier)
    used = network, unconditional, classifier
    exact = None
    if any(each and each.exact for each in used):
        exact = _vote(base, *(each and in_float32(each) for each in used))
    inner = smoothing.certifier(
        vote,
        num_classes=base.num_classes,
        image_shape=network.model.image_shape,
        exact=exact,
        sigma=sigma,
        n=n,
        chunk=chunk or _default_chunk(),
        **options,
    )
    evaluations = jax.jit(functools.partial(_evaluations, base))

    @random_keys.pinned()
    def plan(key, image):
        key = random_keys.checked(key)
        assert inner.plan is not None
        found = inner.plan(key, image)
        if base.search == "full":
            return found._replace(evaluations=float(_build(base)[0].evaluations))
        copies = jnp.repeat(unit(jnp.asarray(image[:1])), _TRIED, 0)
        noisy = copies + sigma * jax.random.normal(key, copies.shape, copies.dtype)
        keys = jax.random.split(key, _TRIED)
        spent = evaluations(*vote.args, keys, noisy)  # those of a race vary by image
        return found._replace(evaluations=float(spent.mean()))

    described = {k: v for k, v in base._asdict().items() if k not in _unused(base)}
    described = {"name": "noised_diffusion_classifier", **described}
    described["keys"] = "fold_in(vote, level)"
    return inputs.inside(inner._replace(plan=plan), base=described)


@functools.lru_cache(maxsize=8)
def _build(base: Base):
    """Return (classifier, sieve or None, order and rule of the race)."""
    asked = dict(
        weighting=base.weighting, sigma_end=base.sigma_end, drop_below=base.drop_below
    )
    if base.kind == "apndc":
        asked["noise_from"] = base.noise_from
    make = getattr(classifiers, base.kind)
    law = make(base.num_classes, base.levels, base.sigma_tau, **asked)
    sieve = None
    if base.search == "sift":
        sieve = sift.repaired(
            base.num_classes,
            base.sigma_tau,
            weighting=base.weighting,
            threshold=base.threshold,
            keep=base.keep,
            sigma_end=base.sigma_end,
        )
    c = np.inf if base.search == "full" else base.c
    rule = racing.confident(c, base.min_levels)
    order = racing.closest_first(law.levels, _CENTER[base.kind](base.sigma_tau))
    return law, sieve, order, rule


def _decide(base: Base, denoise, others, classify, keys, noisy):
    """Return (classes int32 [B], evaluations int32 [B]) for noisy images [B,H,W,C] in
    [0, 1]."""
    law, sieve, order, rule = _build(base)
    x = edm.to_signed(noisy)
    noise = classifiers.draws(keys, x)

    def ask(x, sigma, label):
        if label is None:
            other = others or denoise
            return other(x, sigma, jnp.full(len(x), -1, jnp.int32))
        return denoise(x, sigma, label)

    if sieve is not None:
        found = sift.sift_and_refine(ask, sieve, x, noise, block=base.block)
        return found.label, found.evaluations

    def first(fixed):
        scores = classify(edm.to_unit(jnp.clip(fixed.target, -1, 1)))
        return scores >= jax.lax.top_k(scores, base.keep)[0][:, -1:]

    return racing.race(
        ask,
        law,
        x,
        noise,
        order=order,
        rule=rule,
        block=base.block,
        start=first if base.search == "hybrid" else None,
    )


def _vote(base, network, unconditional, classifier) -> Partial:
    arrays = [denoiser_of(network), None, None]
    if unconditional is not None:
        arrays[1] = denoiser_of(unconditional)
    if classifier is not None:
        arrays[2] = classifier_of(classifier)
    return Partial(_vote_of(base), *arrays)


@functools.lru_cache(maxsize=8)
def _vote_of(base: Base):
    def vote(denoise, others, classify, keys, noisy):
        return _decide(base, denoise, others, classify, keys, noisy)[0]

    return vote


def _evaluations(base, denoise, others, classify, keys, noisy):
    return _decide(base, denoise, others, classify, keys, noisy)[1]


def _unused(base: Base) -> set[str]:
    """Return the fields that do not change the votes."""
    unused = {"block"}
    if base.kind != "apndc":
        unused |= {"noise_from"}
    if base.search in ("full", "sift"):
        unused |= {"c", "min_levels"}
    if base.search in ("full", "race"):
        unused |= {"keep"}
    if base.search != "sift":
        unused |= {"threshold"}
    return unused


def _check(base: Base, network, unconditional, classifier) -> None:
    model = network.model
    one_of(KINDS, kind=base.kind)
    one_of(SEARCHES, search=base.search)
    if base.block < 1:
        raise InputError(f"block {base.block}: give 0 (by the device) or more.")
    if base.num_classes < 2:
        raise InputError(
            "the EDM has no classes, so it classifies nothing: give one trained with labels."
        )
    able = (unconditional or network).model.unconditional
    if base.kind != "epndc" and not able:
        raise InputError(
            f"{base.kind} denoises without a class, and the EDM was trained with a class for "
            "every image (label_dropout 0): name a second EDM in networks.unconditional, or "
            "take kind=epndc."
        )
    plain = base.noise_from == "denoised" and not base.drop_below
    if base.search == "sift" and not (
        base.kind == "apndc" and plain and base.weighting != "repo"
    ):
        raise InputError(
            "search=sift needs apndc, from the denoised image, without drop_below and not "
            "with weighting=repo: take search=race, or change these."
        )
    if base.search == "sift" and base.levels != sift.REFINE:
        raise InputError(
            f"search=sift has {sift.SIFT} and {sift.REFINE} levels of its own, and levels is "
            f"{base.levels}: give {sift.REFINE}, or search=race."
        )
    if base.noise_from != "denoised" and base.kind != "apndc":
        raise InputError(
            f"noise_from={base.noise_from!r} needs apndc, and kind is {base.kind}: leave it "
            "at 'denoised'."
        )
    at_least(0, drop_below=base.drop_below)
    if (base.search == "hybrid") != (classifier is not None):
        raise InputError(
            "search=hybrid and networks.classifier go together: give both or none."
        )
    if base.search == "hybrid" and base.kind == "epndc":
        raise InputError("search=hybrid classifies a denoised image: take kind=apndc.")
    if base.search in ("sift", "hybrid") and not 1 <= base.keep <= base.num_classes:
        raise InputError(
            f"keep={base.keep} of {base.num_classes} classes: give 1 to {base.num_classes}."
        )
    for other in (unconditional, classifier):
        if other and tuple(other.model.image_shape) != tuple(model.image_shape):
            raise InputError(
                f"a second network takes images of {tuple(other.model.image_shape)}, the EDM "
                f"{tuple(model.image_shape)}: name one of the same shape."
            )
    if classifier and classifier.model.num_classes != base.num_classes:
        raise InputError(
            f"networks.classifier has {classifier.model.num_classes} classes, the EDM "
            f"{base.num_classes}: name one of the same classes."
        )


def _default_chunk() -> int:
    """Return the number of votes at a time; those that are still undecided share
    forward passes."""
    return 256 if jax.default_backend() == "cpu" else 512


def _default_block() -> int:
    return 64 if jax.default_backend() == "cpu" else 2048
