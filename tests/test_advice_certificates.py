"""What certificates, methods, models and their operators advise works: a call with the fault
raises the sentence, the call as advised does not.

Rows are (words of the sentence, call, arguments with the fault, arguments as advised).
"""

from __future__ import annotations

from functools import cache, partial

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from refusals import names

from jaxcert import random_keys
from jaxcert.attacks import apgd
from jaxcert.certificates import (
    denoised_smoothing,
    diffusion_classifier,
    interval,
    lipschitz,
    noise,
    noised_diffusion_classifier,
    norms,
    smoothing,
    statistics,
)
from jaxcert.diffusion import classifiers, edm, racing, sampler, sift
from jaxcert.diffusion import lipschitz as errors_of_dc
from jaxcert.errors import InputError
from jaxcert.interfaces import Network, Run
from jaxcert.methods import (
    catrs,
    consistency,
    denoised,
    gaussian,
    gloro,
    linf_dist,
    logit_annealing,
    lot,
    macer,
    smoothadv,
    smoothmix,
    sortnet,
    stability,
    sun,
)
from jaxcert.methods import edm as edm_method
from jaxcert.models import (
    bronet,
    dist_net,
    edm_unet,
    lenet,
    lip_convnet,
    liresnet,
    liresnet_pp,
    resnet,
    resnet50,
    small_cnn,
)
from jaxcert.nn import _layer
from jaxcert.ops import images, norm_dist, sort_neuron, spectral
from jaxcert.papers import image_statistics as quality
from jaxcert.papers import quality as quality_of

SHAPE, CLASSES = (8, 8, 1), 3
GREY = dict(image_shape=SHAPE, num_classes=CLASSES, mean=(0.5,))
ONE_STD = dict(mean=(0.5,), std=(0.25,))


def check(said, call, fault, advised):
    with pytest.raises(InputError, match=said):
        call(**fault)
    return call(**advised)


def rows(table):
    """Parameters named after the words of their sentences."""
    return pytest.mark.parametrize(
        "said,call,fault,advised",
        table,
        ids=[f"{i}-{r[0][:30]}" for i, r in enumerate(table)],
    )


# Networks: `network` of a name with zeros for parameters, which is all that is asked of them.

UNET = dict(
    image_shape=SHAPE,
    num_classes=CLASSES,
    width=8,
    multipliers=(1,),
    blocks=1,
    attention=(),
)
MODELS = {
    "cnn": lambda: small_cnn.make(CLASSES, SHAPE, 4),
    "cnn of 4 classes": lambda: small_cnn.make(4, SHAPE, 4),
    "cnn of 9 pixels": lambda: small_cnn.make(CLASSES, (9, 9, 1), 4),
    "lipschitz": lambda: lip_convnet.make(**GREY, stages=3, blocks=1, width=4),
    "distances": lambda: dist_net.make(**GREY, depth=2, width=4),
    "hybrid": lambda: dist_net.make(**GREY, depth=3, width=4, hidden=4),
    "edm": lambda: edm_unet.make(**UNET, label_dropout=0.1),
    "edm that knows the class": lambda: edm_unet.make(**UNET),
    "edm without classes": lambda: edm_unet.make(**UNET | dict(num_classes=0)),
    "edm of 16 pixels": lambda: edm_unet.make(
        **UNET | dict(image_shape=(16, 16, 1)), label_dropout=0.1
    ),
}


@cache
def model(name):
    return MODELS[name]()


@cache
def network(name, value=0.0, dtype="float32"):
    made = model(name)
    shapes = jax.eval_shape(made.init, random_keys.key(0))
    filled = jax.tree.map(lambda leaf: np.full(leaf.shape, value, dtype), shapes)
    return Network(made, *filled)


def of(make, **settings):
    """make(network, ...) with the names of networks in place of networks."""

    def call(on="cnn", **given):
        for name in ("classifier", "unconditional", "denoiser"):
            if isinstance(named := given.get(name), str | tuple):
                given[name] = network(*([named] if isinstance(named, str) else named))
        on = network(on) if isinstance(on, str) else network(*on)
        return make(on, **settings | given)

    return call


# Certificates.

smoothed = of(smoothing.make, sigma=0.5, n=100)
RADII = dict(procedure="radii")
MIXED = dict(procedure="sequence", bound="mixture")
SMOOTHED = [
    (
        names("classifier", "denoiser", "certify.name=noised_diffusion_classifier"),
        smoothed,
        dict(on="edm"),
        {},
    ),
    (
        names("network", "finite"),
        smoothed,
        dict(on=("cnn", np.nan)),
        dict(on="cnn"),
    ),
    (
        names("noise", "x"),
        smoothed,
        dict(noise="x"),
        dict(noise="uniform", norm="l1"),
    ),
    (
        names("laplace", "l2", "certify.norm l1"),
        smoothed,
        dict(noise="laplace"),
        dict(noise="laplace", norm="l1"),
    ),
    (
        names("laplace", "linf"),
        smoothed,
        dict(noise="laplace", norm="linf"),
        dict(norm="linf"),
    ),
    (
        names("gaussian", "x", "certify.norm l2"),
        smoothed,
        dict(norm="x"),
        dict(norm="l1"),
    ),
    (names("sigma", 0.0), smoothed, dict(sigma=0.0), dict(sigma=0.1)),
    (names("sigma", "1e-08", "1e-06"), smoothed, dict(sigma=1e-8), dict(sigma=1e-6)),
    (
        names("sigma", "2e+38"),
        smoothed,
        dict(sigma=2e38, noise="uniform", norm="l1"),
        dict(sigma=1.0, noise="uniform", norm="l1"),
    ),
    (
        names("sigma", 17, 16),
        smoothed,
        dict(noise="grid", sigma=17.0),
        dict(noise="grid", sigma=16.0),
    ),
    (
        names("sigma", 17, "certify.noise=gaussian"),
        smoothed,
        dict(noise="grid", sigma=17.0),
        dict(sigma=17.0),
    ),
    (
        names("procedure", "x"),
        smoothed,
        dict(procedure="x"),
        dict(procedure="two_stage"),
    ),
    (
        names("alpha", 1.0),
        smoothed,
        dict(alpha=1.0),
        dict(alpha=0.001),
    ),
    (names("n0", 0.5), smoothed, dict(n0=0.5), dict(n0=1)),
    (names("chunk", -1), smoothed, dict(chunk=-1), dict(chunk=0)),
    (
        names("n0", 100, "n", 2147482548, "2,147,482,648"),
        smoothed,
        dict(n=2_147_482_548),
        dict(n=2_147_482_547, n0=100),
    ),
    (names("rho", 1.0), smoothed, dict(rho=1.0), dict(rho=0.05)),
    (
        names("bound", "x"),
        smoothed,
        dict(bound="x"),
        dict(bound="mixture"),
    ),
    (names("n", 9, 10), smoothed, dict(n=9), dict(n=10)),
    (
        names("n", 5, "1e-06", 20),
        smoothed,
        dict(n=5, alpha=1e-6),
        dict(n=20, alpha=1e-6),
    ),
    (names("n", 12, 13), smoothed, dict(n=12, **MIXED), dict(n=13, **MIXED)),
    (
        names("n", 10, "alpha", 0.001, 10),
        smoothed,
        dict(n=10, procedure="predict"),
        dict(n=11, procedure="predict"),
    ),
    (
        names("radii", "[]", "certify.radii"),
        smoothed,
        RADII,
        dict(radii=(0.0,), **RADII),
    ),
    (
        names("radii", "[-1.0]", "certify.radii"),
        smoothed,
        dict(radii=(-1.0,), **RADII),
        dict(radii=(0.1,), **RADII),
    ),
    (
        names("n", 9, "radii", 100000),
        smoothed,
        dict(n=9, radii=(0.0,), **RADII),
        dict(n=10, radii=(0.0,), **RADII),
    ),
    (
        names("n", 100, "radii", "alpha", 0.001),
        smoothed,
        dict(radii=(1.9,), **RADII),
        dict(radii=(0.5,), **RADII),
    ),
    (
        names("n", 100, "radii", 100000, 1.91),
        smoothed,
        dict(radii=(1.9,), **RADII),
        dict(radii=(1.9,), n=100_000, **RADII),
    ),
    (
        names("gaussian", 2.377, "certify.radii"),
        smoothed,
        dict(radii=(2.4,), **RADII),
        dict(radii=(2.37,), n=1_000_000_0, **RADII),
    ),
    (
        names("gaussian", 2.377, "certify.noise=grid"),
        smoothed,
        dict(radii=(2.4,), **RADII),
        dict(radii=(2.4,), n=10_000_000, noise="grid", **RADII),
    ),
]


def vote(keys, image):
    return jnp.zeros(len(image), jnp.int32)


def certified(image=None, label=(0, 1), index=(0, 1), key=None, vote=vote, **settings):
    image = np.zeros((2, *SHAPE), np.float32) if image is None else image
    settings = dict(sigma=0.5, n=100, image_shape=SHAPE, num_classes=CLASSES) | settings
    certifier = smoothing.certifier(vote, **settings)
    key = random_keys.key(0) if key is None else key
    return certifier.certify(key, image, np.asarray(label), np.asarray(index))


GREY_PIXELS = np.full((2, *SHAPE), 0.3, np.float32)
CALLED = [
    (
        names("num_classes", 1),
        certified,
        dict(num_classes=1),
        dict(num_classes=2),
    ),
    (
        names("linf", "image_shape"),
        certified,
        dict(norm="linf", image_shape=None),
        dict(norm="linf"),
    ),
    (
        names("(9, 9, 1)", "(8, 8, 1)"),
        certified,
        dict(image=np.zeros((2, 9, 9, 1), np.float32)),
        dict(image=np.zeros((2, *SHAPE), np.float32)),
    ),
    (
        names("2 images", "1 labels", "2 indices"),
        certified,
        dict(label=[0]),
        dict(label=[0, 1]),
    ),
    (names("label", 0), certified, dict(label=[0, -2]), dict(label=[0, 1])),
    (
        names("index", "2^32 - 1"),
        certified,
        dict(index=[0, 2**32]),
        dict(index=[0, 2**32 - 1]),
    ),
    (names("index", "twice"), certified, dict(index=[1, 1]), dict(index=[1, 2])),
    (
        names("grid", "1/255", "uint8"),
        noise.check_grid,
        dict(image=GREY_PIXELS),
        dict(image=np.full((2, *SHAPE), 76, np.uint8)),
    ),
    (
        names("grid", "certify.noise=gaussian"),
        certified,
        dict(image=GREY_PIXELS, noise="grid"),
        dict(image=GREY_PIXELS),
    ),
    (
        names("float32 [20, 8, 8, 1]", "[20]"),
        certified,
        dict(vote=lambda keys, image: image),
        dict(vote=vote),
    ),
    (
        names("float32 [20, 8, 8, 1]", "[20, 3]"),
        certified,
        dict(vote=lambda keys, image: image),
        dict(vote=lambda keys, image: image[:, :3, 0, 0]),
    ),
    (
        names("key", "threefry2x32", "jaxcert.random_keys.key"),
        certified,
        dict(key=jax.random.key(0, impl="rbg")),
        dict(key=random_keys.key(0)),
    ),
]

noised = partial(
    of(noised_diffusion_classifier.make, sigma=0.25, n=100, keep=2), on="edm"
)
behind = partial(of(denoised_smoothing.make, sigma=0.25, n=100), on="edm")
dc = partial(of(diffusion_classifier.make, n=100, levels=8), on="edm")
LONE, HYBRID, SIFT = (
    "edm that knows the class",
    dict(search="hybrid"),
    dict(search="sift"),
)
CNN = dict(classifier="cnn")
DENOISED = [
    (names("denoiser", "classifier", "EDM"), noised, dict(on="cnn"), {}),
    (
        names("EDM", "finite"),
        noised,
        dict(on=("edm", np.inf)),
        {},
    ),
    (names("EDM", "classes", "labels"), noised, dict(on="edm without classes"), {}),
    (names("kind", "x"), noised, dict(kind="x"), dict(kind="diffpure")),
    (names("search", "x"), noised, dict(search="x"), dict(search="full")),
    (names("block", -1, 0), noised, dict(block=-1), dict(block=0)),
    (
        names("apndc", "label_dropout 0", "networks.unconditional"),
        noised,
        dict(on=LONE),
        dict(on=LONE, unconditional="edm"),
    ),
    (
        names("apndc", "label_dropout 0", "kind=epndc"),
        noised,
        dict(on=LONE),
        dict(on=LONE, kind="epndc"),
    ),
    (
        names("search=sift", "apndc", "search=race"),
        noised,
        dict(kind="epndc", **SIFT),
        dict(kind="epndc"),
    ),
    (names("search=sift", "apndc"), noised, dict(kind="epndc", **SIFT), SIFT),
    (names("search=sift", "drop_below"), noised, dict(drop_below=0.1, **SIFT), SIFT),
    (
        names("search=sift", "denoised image"),
        noised,
        dict(noise_from="noisy", **SIFT),
        SIFT,
    ),
    (
        names("search=sift", "weighting=repo"),
        noised,
        dict(weighting="repo", **SIFT),
        SIFT,
    ),
    (
        names("search=sift", "levels", 12, 126),
        noised,
        dict(levels=12, **SIFT),
        dict(levels=126, **SIFT),
    ),
    (
        names("search=sift", "levels", 12, "search=race"),
        noised,
        dict(levels=12, **SIFT),
        dict(levels=12),
    ),
    (
        names("noise_from='noisy'", "epndc", "denoised"),
        noised,
        dict(kind="epndc", noise_from="noisy"),
        dict(kind="epndc", noise_from="denoised"),
    ),
    (
        names("noise_from", "x"),
        noised,
        dict(noise_from="x"),
        dict(noise_from="noisy"),
    ),
    (
        names("drop_below", -1.0),
        noised,
        dict(drop_below=-1.0),
        dict(drop_below=0.0),
    ),
    (
        names("drop_below", np.nan),
        noised,
        dict(drop_below=np.nan),
        dict(drop_below=0.5),
    ),
    (names("search=hybrid", "networks.classifier"), noised, HYBRID, HYBRID | CNN),
    (names("search=hybrid", "networks.classifier"), noised, CNN, {}),
    (
        names("search=hybrid", "kind=apndc"),
        noised,
        dict(kind="epndc", **HYBRID | CNN),
        HYBRID | CNN,
    ),
    (names("keep=4", "1 to 3"), noised, dict(keep=4, **SIFT), dict(keep=3, **SIFT)),
    (names("keep=0", "1 to 3"), noised, dict(keep=0, **SIFT), dict(keep=1, **SIFT)),
    (
        names("(9, 9, 1)", "(8, 8, 1)"),
        noised,
        HYBRID | dict(classifier="cnn of 9 pixels"),
        HYBRID | CNN,
    ),
    (
        names("networks.classifier", 4, 3),
        noised,
        HYBRID | dict(classifier="cnn of 4 classes"),
        HYBRID | CNN,
    ),
    (
        names("networks.classifier", "denoiser"),
        noised,
        HYBRID | dict(classifier="edm"),
        HYBRID | CNN,
    ),
    (
        names("networks.classifier", "finite"),
        noised,
        HYBRID | dict(classifier=("cnn", np.nan)),
        HYBRID | CNN,
    ),
    (names("c", -1.0), noised, dict(c=-1.0), dict(c=0.0)),
    (
        names("min_levels", 1),
        noised,
        dict(min_levels=1),
        dict(min_levels=2),
    ),
    (
        names("weighting", "x"),
        noised,
        dict(weighting="x"),
        dict(weighting="elbo"),
    ),
    (
        names("sigma_end", 0.5),
        noised,
        dict(sigma_end=0.5),
        dict(sigma_end=0.6),
    ),
    (
        names(2.5, "drop_below"),
        noised,
        dict(drop_below=2.0, sigma_end=2.0),
        dict(drop_below=1.0, sigma_end=2.0),
    ),
    (
        names(2.5, "sigma_end"),
        noised,
        dict(drop_below=2.0, sigma_end=2.0),
        dict(drop_below=2.0, sigma_end=3.0),
    ),
    (
        names("threshold", -1.0),
        noised,
        dict(threshold=-1.0, **SIFT),
        dict(threshold=0.0, **SIFT),
    ),
    (
        names("label_dropout 0", "--config.model.label_dropout=0.1"),
        behind,
        dict(on=LONE, **CNN),
        CNN,
    ),
    (
        names("networks.classifier", "(9, 9, 1)", "(8, 8, 1)"),
        behind,
        dict(classifier="cnn of 9 pixels"),
        CNN,
    ),
    (
        names("networks.classifier", 4, 3),
        behind,
        dict(classifier="cnn of 4 classes"),
        CNN,
    ),
    (names("EDM", "classes", "labels"), dc, dict(on="edm without classes"), {}),
    (names("n0", 0), dc, dict(n0=0), dict(n0=1)),
    (names("n", 1), dc, dict(n=1), dict(n=2)),
    (names("chunk", -1), dc, dict(chunk=-1), dict(chunk=0)),
    (names("alpha", 0.0), dc, dict(alpha=0.0), dict(alpha=0.5)),
    (
        names("bound", "x"),
        dc,
        dict(bound="x"),
        dict(bound="hoeffding"),
    ),
    (names("n", 1000001, 1000000), dc, dict(n=1_000_001), dict(n=1_000_000)),
    (names("cap", "(0, 1]", 0.0), dc, dict(cap=0.0), dict(cap=1.0)),
]


def dc_images(shape):
    certifier = dc(n=2, levels=1)
    image = np.zeros((1, *shape), np.float32)
    return certifier.certify(
        random_keys.key(0), image, np.zeros(1, int), np.zeros(1, int)
    )


proven, boxed = of(lipschitz.make), of(interval.make)
LIPSCHITZ = dict(on="lipschitz")
BOXES = dict(on="distances", radii=(0.1,))


def unit_images(pixel):
    certifier = boxed(**BOXES)
    image = np.full((1, *SHAPE), pixel, np.float32)
    return certifier.certify(None, image, np.zeros(1, int), np.zeros(1, int))


DETERMINISTIC = [
    (
        names("bound", "x"),
        proven,
        dict(bound="x", **LIPSCHITZ),
        dict(bound="torus", **LIPSCHITZ),
    ),
    (names("lipschitz", "lip_convnet"), proven, {}, LIPSCHITZ),
    (names("weights", "finite"), proven, dict(on=("lipschitz", np.nan)), LIPSCHITZ),
    (
        names("16-bit", "float32"),
        proven,
        dict(on=("lipschitz", 0.0, ml_dtypes.bfloat16)),
        LIPSCHITZ,
    ),
    (names("interval", "dist_net"), boxed, dict(radii=(0.1,)), BOXES),
    (
        names("(0, 1]", "certify.radii", "(0.0,)"),
        boxed,
        BOXES | dict(radii=(0.0,)),
        BOXES,
    ),
    (
        names("(0, 1]", "certify.radii", "(1.5,)"),
        boxed,
        BOXES | dict(radii=(1.5,)),
        BOXES | dict(radii=(0.0, 1.0)),
    ),
    (names("pixels", 1.5, "[0, 1]"), unit_images, dict(pixel=1.5), dict(pixel=1.0)),
    (
        names("(9, 9, 1)", "(8, 8, 1)"),
        dc_images,
        dict(shape=(9, 9, 1)),
        dict(shape=SHAPE),
    ),
]


def test_what_is_no_lipschitz_network_is_certified_by_smoothing():
    with pytest.raises(InputError, match=names("lipschitz", "smoothing")):
        proven(on="cnn")
    assert smoothed(on="cnn")
    with pytest.raises(InputError, match=names("denoiser", "certify.name=smoothing")):
        noised(on="cnn")


@rows(SMOOTHED + CALLED + DENOISED + DETERMINISTIC)
@pytest.mark.filterwarnings("ignore:.*noise of float32 shows no")
def test_certificates(said, call, fault, advised):
    check(said, call, fault, advised)


# Methods.

RUN = Run(steps_per_epoch=2, total_steps=20, data_size=20)


def method(module, **settings):
    def call(on="cnn", **given):
        if isinstance(given.get("denoiser"), str):
            given["denoiser"] = network(given["denoiser"])
        return module.make(model(on), RUN, **settings | given)

    return call


noisy = method(gaussian, sigma=0.5)
cat = method(catrs, sigma=0.5, soft_labels="labels")
same = method(consistency, sigma=0.5)
behind_edm = method(denoised, sigma=0.5)
denoiser_of = method(edm_method)
tight = method(gloro)
distant = method(linf_dist, eps=0.1)
sorted_ = method(sortnet, eps=0.1)
annealed = method(logit_annealing)
lots = method(lot)
robust = method(macer, sigma=0.5)
attacked = method(smoothadv, sigma=0.5)
mixed = method(smoothmix, sigma=0.5)
stable = method(stability, sigma=0.5)
poor = method(sun, sigma=0.5)
DIST, LIP = dict(on="distances"), dict(on="lipschitz")
METHODS = [
    (names("method.sigma", 0.0), noisy, dict(sigma=0.0), dict(sigma=0.1)),
    (names("method.m", 0), noisy, dict(m=0), dict(m=4)),
    (names("method.lbd", -1), cat, dict(lbd=-1), dict(lbd=0)),
    (
        names("method.double_eps_epoch", -1),
        cat,
        dict(double_eps_epoch=-1),
        dict(double_eps_epoch=0),
    ),
    (
        names("method.soft_labels", "labels"),
        cat,
        dict(soft_labels=""),
        dict(soft_labels="labels"),
    ),
    (names("method.eps", 0.0), cat, dict(eps=0.0), dict(eps=0.5)),
    (names("method.steps", 0), cat, dict(steps=0), dict(steps=1)),
    (names("method.form", "x"), same, dict(form="x"), dict(form="mse")),
    (names("method.m", 1), same, dict(m=1), dict(m=2)),
    (names("method.eta", -1.0), same, dict(eta=-1.0), dict(eta=0.0)),
    (
        names("method.warmup_epochs", 0),
        same,
        dict(warmup_epochs=0),
        dict(warmup_epochs=1),
    ),
    (names("method.lbd", np.inf), stable, dict(lbd=np.inf), dict(lbd=2.0)),
    (
        names("networks.denoiser", "label_dropout", 0),
        behind_edm,
        dict(denoiser=LONE),
        dict(denoiser="edm"),
    ),
    (
        names("networks.denoiser", "(16, 16, 1)", "(8, 8, 1)"),
        behind_edm,
        dict(denoiser="edm of 16 pixels"),
        dict(denoiser="edm"),
    ),
    (names("edm", "model.name='edm_unet'"), denoiser_of, {}, dict(on="edm")),
    (
        names("method.P_std", 0.0),
        denoiser_of,
        dict(on="edm", P_std=0.0),
        dict(on="edm", P_std=1.0),
    ),
    (
        names("method.loss", "x"),
        tight,
        LIP | dict(loss="x"),
        LIP | dict(loss="emma"),
    ),
    (names("method.lam", -1.0), tight, LIP | dict(lam=-1.0), LIP | dict(lam=0.0)),
    (names("l2", "model.name=liresnet"), tight, {}, LIP),
    (names("method.eps", 0.0), tight, LIP | dict(eps=0.0), LIP | dict(eps=0.1)),
    (
        names("method.last", 1.0),
        tight,
        LIP | dict(first=2.0, last=1.0),
        LIP | dict(first=1.0, last=2.0),
    ),
    (names("method.mix", 2.0), distant, DIST | dict(mix=2.0), DIST | dict(mix=1.0)),
    (
        names("method.loss", "x"),
        distant,
        DIST | dict(loss="x"),
        DIST | dict(loss="hinge"),
    ),
    (names("l_inf", "model.name=dist_net"), distant, {}, DIST),
    (names("method.eps", 0.0), distant, DIST | dict(eps=0.0), DIST | dict(eps=0.1)),
    (
        names("method.p_end", 5),
        distant,
        DIST | dict(p_start=9, p_end=5),
        DIST | dict(p_start=5, p_end=9),
    ),
    (
        names("method.lam_end", 0.0),
        distant,
        DIST | dict(lam_end=0.0),
        DIST | dict(lam_end=0.1),
    ),
    (
        names("method.lam_end", 0.0),
        distant,
        DIST | dict(lam_end=0.0),
        DIST | dict(lam=0.0, lam_end=0.0),
    ),
    (
        names("method.lam", np.nan),
        distant,
        DIST | dict(lam=np.nan),
        DIST | dict(lam=0.1),
    ),
    (
        names("method.eps_end", 0),
        distant,
        dict(on="hybrid", eps_start=5),
        dict(on="hybrid", eps_start=5, eps_end=9),
    ),
    (
        names("method.eps_end", -1),
        distant,
        DIST | dict(eps_end=-1),
        DIST | dict(eps_end=0),
    ),
    (
        names("method.eps_end", "model.hidden"),
        distant,
        DIST | dict(eps_end=5),
        dict(on="hybrid", eps_end=5),
    ),
    (
        names("method.loss", "x"),
        sorted_,
        DIST | dict(loss="x"),
        DIST | dict(loss="ce_hinge"),
    ),
    (
        names("method.temperature", 0.0),
        annealed,
        LIP | dict(temperature=0.0),
        LIP | dict(temperature=0.1),
    ),
    (names("method.gamma", -1.0), lots, LIP | dict(gamma=-1.0), LIP | dict(gamma=0.0)),
    (names("lot", "model.name=lip_convnet"), lots, {}, LIP),
    (
        names("method.beta", 0.0),
        robust,
        dict(beta=0.0),
        dict(beta=0.1, lbd=0.0),
    ),
    (
        names("method.start_epoch", -1),
        robust,
        dict(start_epoch=-1),
        dict(start_epoch=0),
    ),
    (
        names("method.attack", "x"),
        attacked,
        dict(attack="x"),
        dict(attack="ddn"),
    ),
    (
        names("method.attack", "gradient_free", "method.m", 2),
        attacked,
        dict(attack="gradient_free"),
        dict(attack="gradient_free", m=2),
    ),
    (
        names("method.mix_step", 4),
        mixed,
        dict(mix_step=4),
        dict(mix_step=3),
    ),
    (names("method.norm", "l1"), poor, dict(norm="l1"), dict(norm="linf")),
    (names("method.p_t", 2.0), poor, dict(p_t=2.0), dict(p_t=1.0)),
    (names("method.start_epoch", -1), poor, dict(start_epoch=-1), dict(start_epoch=0)),
    (
        names("method.discard_n", 0),
        poor,
        dict(discard_n=0, reweight_every=1),
        dict(discard_n=1),
    ),
    (names("method.reweight_n", 8, 16), poor, dict(reweight_n=8), dict(reweight_n=16)),
    (
        names("50%", "method.p_t"),
        sun.keep,
        dict(share=np.array([0.4]), p_t=0.5),
        dict(share=np.array([0.4]), p_t=0.3),
    ),
]


@rows(METHODS)
def test_methods(said, call, fault, advised):
    check(said, call, fault, advised)


def test_any_number_of_copies_from_the_advised_one_gives_a_weight():
    assert all(sun.weight(np.zeros(1, int), n) > 0 for n in range(16, 200))


# Models.

dist = partial(dist_net.make, **GREY, width=4, depth=2)
convnet = partial(lip_convnet.make, **GREY, stages=3, width=4, blocks=1)
lires = partial(
    liresnet.make, image_shape=SHAPE, num_classes=CLASSES, depth=1, width=4, dense=8
)
plus = partial(
    liresnet_pp.make,
    image_shape=SHAPE,
    num_classes=CLASSES,
    depth=1,
    width=8,
    dense=8,
    dense_depth=1,
)
bro_ = partial(
    bronet.make,
    image_shape=SHAPE,
    num_classes=CLASSES,
    depth=1,
    width=8,
    dense=8,
    dense_depth=1,
)
cifar = partial(
    resnet.make, depth=8, num_classes=CLASSES, image_shape=SHAPE, width=4, **ONE_STD
)
wide = partial(
    resnet50.make,
    stages=(1,),
    num_classes=CLASSES,
    image_shape=SHAPE,
    width=4,
    **ONE_STD,
)
unet = partial(edm_unet.make, **UNET)
ADM = dict(kind="adm", width=64, attention=(8,))


def by(call, **settings):
    """The call with settings that rows may replace."""
    return lambda **given: call(**settings | given)


MADE = [
    (
        names("model.num_classes", 1),
        small_cnn.make,
        dict(num_classes=1),
        dict(num_classes=2),
    ),
    (names("model.width", 0), small_cnn.make, dict(width=0), dict(width=1)),
    (
        names("mean", "(0.1, 0.2)", 1),
        small_cnn.make,
        dict(mean=(0.1, 0.2)),
        dict(mean=(0.1,)),
    ),
    (names("std", "(0.0,)", 0), small_cnn.make, dict(std=(0.0,)), dict(std=(0.1,))),
    (names("model.mean", 2, 1), dist, dict(mean=(0.5, 0.5)), dict(mean=(0.5,))),
    (names("model.std", "(0.2, 0.2)"), dist, dict(std=(0.2, 0.2)), dict(std=0.2)),
    (names("model.rho", 1.0), dist, dict(rho=1.0), dict(rho=0.9)),
    (names("model.num_terms", 0), dist, dict(num_terms=0), dict(num_terms=1)),
    (names("model.depth", 1), dist, dict(depth=1), dict(depth=2)),
    (names("model.depth", 2), dist, dict(hidden=4), dict(hidden=4, depth=3)),
    (names("model.group", 0), dist, dict(group=0), dict(group=1)),
    (
        names("8x8", "16x16", "config.model.stages=4"),
        convnet,
        dict(image_shape=(16, 16, 1)),
        dict(image_shape=(16, 16, 1), stages=4),
    ),
    (
        names("8x8", "7x7", "config.model.stages=3", "config.data.pad=8"),
        convnet,
        dict(image_shape=(7, 7, 1)),
        dict(image_shape=(8, 8, 1)),
    ),
    (names("model.mean", 2, 1), convnet, dict(mean=(0.5, 0.5)), dict(mean=(0.5,))),
    (
        names("model.activation", "x"),
        convnet,
        dict(activation="x"),
        dict(activation="hh2"),
    ),
    (
        names("model.head", "x"),
        convnet,
        dict(head="x"),
        dict(head="lln"),
    ),
    (
        names(32, 33, "model.head=lln"),
        convnet,
        dict(num_classes=33),
        dict(num_classes=33, head="lln"),
    ),
    (names("model.blocks", 0), convnet, dict(blocks=0), dict(blocks=1)),
    (
        names("model.width", 3),
        convnet,
        dict(width=3, blocks=2),
        dict(width=2, blocks=2),
    ),
    (
        names("model.polar", "newton_schulz", "minimax", "soc"),
        convnet,
        dict(conv="soc", polar="minimax"),
        dict(conv="soc"),
    ),
    (
        names("model.polar", "model.conv=lot", "minimax", "soc"),
        convnet,
        dict(conv="soc", polar="minimax"),
        dict(polar="minimax"),
    ),
    (names("model.std", 0.0), convnet, dict(std=0.0), dict(std=0.1)),
    (names("model.mean", np.inf), convnet, dict(mean=(np.inf,)), dict(mean=(0.5,))),
    (names("x", "jaxcert/nn", "lot"), convnet, dict(conv="x"), dict(conv="lot")),
    (names("unet", "jaxcert/nn", "lot"), convnet, dict(conv="unet"), dict(conv="aol")),
    (
        names(8, "28x28", "data.pad"),
        lires,
        dict(image_shape=(28, 28, 1)),
        dict(image_shape=(32, 32, 1)),
    ),
    (names("model.width", "model.dense", 3, 8), lires, dict(width=3), dict(width=4)),
    (names("model.power_steps", 0), lires, dict(power_steps=0), dict(power_steps=1)),
    (names("model.dense", 16, 8), plus, dict(dense=16), dict(dense=16, width=16)),
    (names("model.dense", 16, 8), plus, dict(dense=16), dict(dense=8)),
    (names("model.dense_depth", -1), plus, dict(dense_depth=-1), dict(dense_depth=0)),
    (names("model.ratio", 0.0), bro_, dict(ratio=0.0), dict(ratio=1.0)),
    (names("depth", 18, "8, 20, 56 or 110"), cifar, dict(depth=18), dict(depth=20)),
    (
        names("model.dtype", "x"),
        cifar,
        dict(dtype="x"),
        dict(dtype="bfloat16"),
    ),
    (
        names("model.shortcut", "x"),
        cifar,
        dict(shortcut="x"),
        dict(shortcut="pad"),
    ),
    (
        names("pad", 5),
        cifar,
        dict(shortcut="pad", width=5),
        dict(shortcut="pad", width=6),
    ),
    (
        names("stages", "()", "(3, 4, 6, 3)"),
        wide,
        dict(stages=()),
        dict(stages=(3, 4, 6, 3)),
    ),
    (
        names("model.dtype", "x"),
        wide,
        dict(dtype="x"),
        dict(dtype="bfloat16"),
    ),
    (
        names("16x16", "(15, 16)"),
        lenet.make,
        dict(image_shape=(15, 16, 1)),
        dict(image_shape=(16, 16, 1)),
    ),
    (
        names("model.kind", "x"),
        unet,
        dict(kind="x"),
        dict(kind="ncsnpp"),
    ),
    (
        names("model.dtype", "x"),
        unet,
        dict(dtype="x"),
        dict(dtype="bfloat16"),
    ),
    (names("model.blocks", 0), unet, dict(blocks=0), dict(blocks=1)),
    (
        names("model.num_classes", -1),
        unet,
        dict(num_classes=-1),
        dict(num_classes=0, augment_labels=0),
    ),
    (names("model.dropout", -0.1), unet, dict(dropout=-0.1), dict(dropout=0.0)),
    (
        names("model.label_dropout", 1.0),
        unet,
        dict(label_dropout=1.0),
        dict(label_dropout=0.9),
    ),
    (
        names("7x7", "2 levels"),
        unet,
        dict(image_shape=(7, 7, 1), multipliers=(1, 1)),
        dict(image_shape=(8, 8, 1), multipliers=(1, 1)),
    ),
    (
        names("7x7", "2 levels"),
        unet,
        dict(image_shape=(7, 7, 1), multipliers=(1, 1)),
        dict(image_shape=(7, 7, 1), multipliers=(1,)),
    ),
    (
        names("8x6", "1 levels"),
        unet,
        dict(image_shape=(8, 6, 1)),
        dict(image_shape=(8, 8, 1)),
    ),
    (
        r"^(?!.*fewer multipliers).*8x6",  # they make no square of it
        unet,
        dict(image_shape=(8, 6, 1), multipliers=(1, 1)),
        dict(image_shape=(8, 8, 1), multipliers=(1, 1)),
    ),
    (names("attention's", 4, 8), unet, dict(attention=(4,)), dict(attention=(8,))),
    (names("attention", 8, 32, 64), unet, ADM | dict(width=32), ADM),
    (
        names("attention", 8, 32, 64),
        unet,
        ADM | dict(width=32),
        dict(kind="adm", width=128),
    ),
    (
        names(200, 3, 64, 128),
        unet,
        ADM | dict(width=200),
        ADM | dict(width=192),
    ),
]


@rows(MADE)
def test_models(said, call, fault, advised):
    made = check(said, call, fault, advised)
    jax.eval_shape(made.init, random_keys.key(0))  # it is a network


def test_distances_are_evaluated_at_infinity_and_denoisers_trained_by_their_method():
    image = np.zeros((1, *SHAPE), np.float32)
    distances = network("distances")
    apply = partial(distances.model.apply, distances.params, distances.state, image)
    check(names("p = infinity", "p=None"), apply, dict(p=8), dict(p=None))
    unet = network("edm")
    with pytest.raises(InputError, match=names("edm_unet", "sigma", "edm")):
        jax.eval_shape(lambda: unet.model.apply(unet.params, unet.state, image))
    assert denoiser_of(on="edm")


# Operators and the parts of diffusion.

EYE = np.eye(3, dtype=np.float32)
distance = by(norm_dist.norm_dist, x=EYE, w=EYE)
LEVELS = dict(weights=[1.0, 1.0])
bounded = by(
    statistics.hoeffding_lower, values=np.ones(9), low=0.0, high=1.0, alpha=0.1
)
DC = classifiers.dc(CLASSES, 4)


def races(order=(0, 1), block=1, **kwargs):
    """A race on a denoiser that says 0."""
    noise_of = classifiers.draws(random_keys.key(0)[None], jnp.zeros((1, *SHAPE)))

    def denoise(x, sigma, label):
        return jnp.zeros_like(x)

    return racing.race(
        denoise,
        DC,
        jnp.zeros((1, *SHAPE)),
        noise_of,
        order=np.asarray(order),
        rule=racing.confident(2.0),
        block=block,
    )


PARTS = [
    (
        names("uint8", "[0, 1]", "int32"),
        images.unit,
        dict(image=np.zeros(3, np.int32)),
        dict(image=np.zeros(3, np.uint8)),
    ),
    (
        names("pixels", 2, "[0, 1]", "uint8"),
        images.check_range,
        dict(image=np.full(3, 2.0)),
        dict(image=np.full(3, 2, np.uint8)),
    ),
    (
        names("x", "xla", "mosaic_gpu"),
        distance,
        dict(implementation="x"),
        dict(implementation="xla"),
    ),
    (
        names("mosaic_gpu", "float32", "implementation='xla'"),
        distance,
        dict(x=jnp.bfloat16(EYE), implementation="mosaic_gpu"),
        dict(x=jnp.bfloat16(EYE), implementation="xla"),
    ),
    (
        names("x [B,D]", "w [D,O]", "(3, 3)", "(2, 3)"),
        distance,
        dict(w=EYE[:2]),
        dict(w=EYE[:, :2]),
    ),
    (names("norm_dist", "int64"), distance, dict(x=np.eye(3, dtype=int)), dict(x=EYE)),
    (
        names("kept [S,k]", "(1, 0)"),
        distance,
        dict(kept=np.zeros((1, 0), np.int32)),
        dict(kept=np.zeros((1, 1), np.int32)),
    ),
    (
        names("kept", 1, 3, 2, 2),
        distance,
        dict(kept=np.zeros((1, 1), np.int32), group=2),
        dict(kept=np.zeros((2, 1), np.int32), group=2),
    ),
    (names("p", 1, 0.5), distance, dict(p=0.5), dict(p=1)),
    (names("p", 0.5, "None"), distance, dict(p=0.5), dict(p=None)),
    (
        names("3x3", "3 zeros", "4x4"),
        by(spectral.conv_bound, kernel=np.ones((3, 3, 1, 1)), side=4),
        dict(padding=3),
        dict(padding=2),
    ),
    (
        names("3x3", "0 zeros", "2x2"),
        by(spectral.conv_bound, kernel=np.ones((3, 3, 1, 1))),
        dict(side=2),
        dict(side=2, padding=1),
    ),
    (
        names("rho", 1.0),
        by(sort_neuron.sort_neuron, x=EYE, w=EYE),
        dict(rho=1.0),
        dict(rho=0.5),
    ),
    (
        names("stride 2", "7x8"),
        _layer.space_to_depth,
        dict(x=np.zeros((1, 7, 8, 1))),
        dict(x=np.zeros((1, 8, 8, 1))),
    ),
    (
        names("num_terms", 0),
        by(sort_neuron.sort_neuron, x=EYE, w=EYE, rho=0.5),
        dict(num_terms=0),
        dict(num_terms=1),
    ),
    (
        names("dlr", 3, 2, "cross_entropy"),
        by(apgd.dlr, label=jnp.zeros(1, int)),
        dict(logits=jnp.ones((1, 2))),
        dict(logits=jnp.ones((1, 3))),
    ),
    (
        names("noise", "x"),
        norms.check,
        dict(noise="x", norm="l2"),
        dict(noise="grid", norm="l2"),
    ),
    (names("draws", 1), bounded, dict(values=np.ones(0)), {}),
    (names("[0.0, 1.0]", "NaN"), bounded, dict(values=np.full(9, 2.0)), {}),
    (names("alpha", 0, 1), bounded, dict(alpha=0.0), dict(alpha=0.5)),
    (
        names("0 <= k <= n", "n >= 1"),
        by(statistics.upper_tail, n=9, alpha=0.1),
        dict(k=10),
        dict(k=9),
    ),
    (names("steps", 1), edm.schedule, dict(steps=1), dict(steps=2)),
    (
        names("sigma_max", 80.0),
        edm.schedule,
        dict(steps=9, sigma_min=99.0),
        dict(steps=9, sigma_min=9.0),
    ),
    (
        names("rho", 0.001, 7),
        edm.schedule,
        dict(steps=18, rho=1e-3),
        dict(steps=18, rho=7.0),
    ),
    (
        names("18 levels", 1.0, "rho", 7),
        by(edm.schedule, steps=18, sigma_min=1.0),
        dict(sigma_max=np.nextafter(1, 2)),
        dict(sigma_max=2.0),
    ),
    (
        names("S_churn", -1.0),
        sampler.check,
        dict(churn=sampler.Churn(-1.0)),
        dict(churn=sampler.Churn(0.0)),
    ),
    (
        names("S_max", 1.0),
        sampler.check,
        dict(churn=sampler.Churn(S_min=2.0, S_max=1.0)),
        dict(churn=sampler.Churn(S_min=1.0, S_max=2.0)),
    ),
    (
        names("sigma_tau", 0.0),
        by(classifiers.apndc, num_classes=3, count=4),
        dict(sigma_tau=0.0),
        dict(sigma_tau=0.1),
    ),
    (
        names("2 levels", "repo", 3),
        by(classifiers.apndc, num_classes=3, sigma_tau=0.5, weighting="repo"),
        dict(count=2),
        dict(count=3),
    ),
    (
        names("7 levels", "repo", 8),
        by(classifiers.epndc, num_classes=3, sigma_tau=0.5, weighting="repo"),
        dict(count=7),
        dict(count=8),
    ),
    (
        names("0 levels", "edm", 1),
        by(classifiers.dc, num_classes=3),
        dict(count=0),
        dict(count=1),
    ),
    (
        names(2.5, "sigma_end"),
        by(classifiers.dc, num_classes=3, drop_below=2.5, weighting="repo"),
        dict(count=4),
        dict(count=20),
    ),
    (
        names("center", 0.0),
        by(racing.closest_first, levels=DC.levels),
        dict(center=0.0),
        dict(center=0.5),
    ),
    (names("order", "levels"), races, dict(order=(4,)), dict(order=(3,))),
    (names("block", 0), races, dict(block=0), dict(block=1)),
    (
        names("sigma_end", 3.0),
        by(sift.repaired, num_classes=3, weighting="edm"),
        dict(sigma_tau=9.0),
        dict(sigma_tau=0.5),
    ),
    (
        names("keep", 0),
        by(sift.repaired, num_classes=3, weighting="edm", sigma_tau=0.5),
        dict(keep=0),
        dict(keep=1),
    ),
    (
        names("(5, 3, 2)", "[n, T, K]"),
        by(errors_of_dc.margin_samples, predicted=0, dims=4, **LEVELS),
        dict(u=np.ones((5, 3, 2))),
        dict(u=np.ones((5, 2, 2))),
    ),
    (
        names("weights", "finite", 0),
        by(errors_of_dc.margin_samples, u=np.ones((5, 1, 2)), predicted=0, dims=4),
        dict(weights=[-1.0]),
        dict(weights=[0.0]),
    ),
    (
        names("noise levels", 2, "weights", 0),
        by(errors_of_dc.lipschitz_margin, dims=4, **LEVELS),
        dict(sigma=[1.0]),
        dict(sigma=[1.0, 2.0]),
    ),
    (
        names("(1, 3)", "[N,D]", 2),
        quality.moments,
        dict(features=np.ones((1, 3))),
        dict(features=np.ones((2, 3))),
    ),
    (
        names("features", "finite"),
        quality.moments,
        dict(features=np.full((2, 3), np.nan)),
        dict(features=np.ones((2, 3))),
    ),
    (
        names("3 features", 2),
        by(quality.frechet_distance, a=quality.moments(np.ones((2, 3)))),
        dict(b=quality.moments(np.ones((2, 2)))),
        dict(b=quality.moments(np.zeros((2, 3)))),
    ),
    (
        names("--features", "nowhere:mean", "MODULE:FUNCTION"),
        quality_of.find_features,
        dict(name="nowhere:mean"),
        dict(name="math:fsum"),
    ),
    (
        names("--features", "math", "MODULE:FUNCTION"),
        quality_of.find_features,
        dict(name="math"),
        dict(name="math:fsum"),
    ),
    (
        names("--features", "math:pi", "MODULE:FUNCTION"),
        quality_of.find_features,
        dict(name="math:pi"),
        dict(name="math:fsum"),
    ),
]


@rows(PARTS)
def test_parts(said, call, fault, advised):
    check(said, call, fault, advised)
