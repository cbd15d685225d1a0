"""Denoised smoothing: Carlini, Tramer, Dvijotham, Rice, Sun and Kolter, (Certified!!)
Adversarial Robustness for Free! (2023, arXiv:2206.10550).

    f(x + delta) = classifier(clip(h(2 (x + delta) - 1, 2 sigma, no class)))
    g(x) = argmax_c P(f(x + delta) = c)                           certificates/smoothing.py

A vote takes one evaluation of the denoiser, at the noise that the image has; no noise
is added again. `methods/denoised.py` fine-tunes the classifier on such images.
"""

from __future__ import annotations

import functools
from typing import Unpack

import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from jaxcert import random_keys
from jaxcert.certificates import inputs, smoothing
from jaxcert.certificates.networks import classifier_of, denoiser_of, in_float32
from jaxcert.diffusion import edm
from jaxcert.errors import InputError
from jaxcert.interfaces import Certifier, Network


@smoothing.takes_options
@random_keys.pinned()
def make(
    network: Network,
    *,
    classifier: Network,
    sigma: float,
    n: int = 100_000,
    chunk: int = 0,
    **options: Unpack[smoothing.Options],
) -> Certifier:
    """Return the certifier of a classifier behind an EDM, which is `network`. sigma in
    pixels of [0, 1]; n, chunk, options: those of smoothing.certifier.

    Raises InputError for an EDM that cannot denoise without a class, a classifier of other
    images, and what smoothing.certifier refuses.
    """
    model, judge = network.model, classifier.model
    vote = _vote(network, classifier, sigma)
    if not model.unconditional:
        raise InputError(
            "the EDM was trained with a class for every image (label_dropout 0), and this "
            "certificate denoises without one: train it with --config.model.label_dropout=0.1."
        )
    if tuple(judge.image_shape) != tuple(model.image_shape):
        raise InputError(
            f"networks.classifier takes images of {tuple(judge.image_shape)}, the EDM "
            f"{tuple(model.image_shape)}: name a classifier of the same images."
        )
    if model.num_classes and judge.num_classes != model.num_classes:
        raise InputError(
            f"networks.classifier has {judge.num_classes} classes, the EDM "
            f"{model.num_classes}: name one of the same classes."
        )
    exact = None
    if network.exact or classifier.exact:
        exact = _vote(in_float32(network), in_float32(classifier), sigma)
    inner = smoothing.certifier(
        vote,
        num_classes=judge.num_classes,
        image_shape=model.image_shape,
        exact=exact,
        sigma=sigma,
        n=n,
        chunk=chunk,
        **options,
    )
    return inputs.inside(inner, base={"name": "denoised_smoothing"})


def _vote(network: Network, classifier: Network, sigma: float) -> Partial:
    sigma = float(np.float32(sigma))
    return Partial(_vote_of(sigma), denoiser_of(network), classifier_of(classifier))


@functools.lru_cache(maxsize=8)
def _vote_of(sigma: float):
    def vote(denoise, classify, keys, noisy):
        clean = edm.one_step(denoise, noisy, sigma)
        # the rectifiers of a compiled classifier may turn NaN into 0
        finite = jnp.isfinite(clean).all((1, 2, 3))[:, None]
        return jnp.where(finite, classify(clean), jnp.nan)

    return vote
