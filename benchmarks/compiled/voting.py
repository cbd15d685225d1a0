"""One chunk of votes: smoothing, denoised smoothing, noised diffusion classifiers."""

from __future__ import annotations

import jax.numpy as jnp
from jax.tree_util import Partial

from benchmarks import floors
from benchmarks.compiled import shapes, target
from benchmarks.compiled.programs import Built
from jaxcert import config as configs
from jaxcert.certificates import denoised_smoothing, networks, smoothing, voting
from jaxcert.certificates import noise as noises
from jaxcert.certificates import noised_diffusion_classifier as diffusion

SIGMA = 0.25


def build(
    devices: int,
    *,
    config: str,
    words: str,
    noise: str = "gaussian",
    changed: bool = False,
    kind: str = "",
    search: str = "race",
) -> Built:
    """Return one chunk of votes. changed: the program that counts which votes of a
    bfloat16 network float32 would change. kind: apndc | epndc | diffpure, or denoised,
    with a ResNet-110; none: a classifier votes."""
    given = shapes.load(config, words)
    model = shapes.model_of(given)
    classes, chunk = model.num_classes, smoothing._default_chunk()
    shape = dict(image=list(model.image_shape), noise=noise)
    items, floor = chunk, None
    if not kind:
        items = chunk = smoothing._chunk_of(model.image_shape) or chunk
        vote = _classifier(model)
        if changed:
            exact = _classifier(configs.in_float32(given.model))
            vote = Partial(smoothing._differ_of(classes), vote, exact)
            classes = 2
        else:
            floor = _floor(given.model, chunk)
    elif kind == "denoised":
        vote = Partial(
            denoised_smoothing._vote_of(SIGMA), _denoiser(model), _resnet110()
        )
    else:
        chunk = diffusion._default_chunk()
        base = _base(kind, search, classes)
        vote = Partial(diffusion._vote_of(base), _denoiser(model), None, None)
        items = base.block
        shape |= dict(levels=base.levels, block=base.block, search=search)
    lowered = voting.lower(
        vote,
        noises.law(noise, SIGMA),
        shapes.Shape(model.image_shape, jnp.uint8),
        num_classes=classes,
        chunk=chunk,
        mesh=target.mesh(devices),
    )
    return Built(lowered, items, dict(chunk=chunk, **shape), floor)


def _classifier(model) -> Partial:
    return Partial(smoothing._vote_of(model.apply), *shapes.prepared(model))


def _denoiser(model) -> Partial:
    return Partial(networks.denoise_of(model.apply), *shapes.network(model))


def _resnet110() -> Partial:
    model = shapes.model_of(shapes.load("smoothing/cifar10", "gaussian,0.25,bf16"))
    return Partial(networks.classify_of(model.apply), *shapes.prepared(model))


def _base(kind: str, search: str, classes: int) -> diffusion.Base:
    """Return the base classifier as configs/diffusion_classifier has it."""
    config = shapes.load("diffusion_classifier/cifar10", f"{kind},0.25,{search},edm")
    options = {k: v for k, v in config.certify.items() if k in diffusion.Base._fields}
    options |= dict(
        sigma_tau=2 * SIGMA, num_classes=classes, block=diffusion._default_block()
    )
    return diffusion.Base(**options)


def _floor(model, samples: int) -> float:
    itemsize = 2 if model.dtype == "bfloat16" else 4
    if model.name == "resnet50":
        stages = tuple(model.get("stages", (3, 4, 6, 3)))
        return floors.certify_imagenet(stages, samples, itemsize=itemsize)[1]
    return floors.certify(model.depth, samples, itemsize=itemsize)[1]
