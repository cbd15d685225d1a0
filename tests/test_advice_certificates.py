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
    ("is a denoiser: give certify.name=noised_diffusion", smoothed, dict(on="edm"), {}),
    (
        "parameter that is not finite",
        smoothed,
        dict(on=("cnn", np.nan)),
        dict(on="cnn"),
    ),
    (
        "noise must be one of gaussian",
        smoothed,
        dict(noise="x"),
        dict(noise="uniform", norm="l1"),
    ),
    (
        "give certify.norm l1, or",
        smoothed,
        dict(noise="laplace"),
        dict(noise="laplace", norm="l1"),
    ),
    ("or other noise", smoothed, dict(noise="laplace", norm="linf"), dict(norm="linf")),
    ("give certify.norm l2 or l1", smoothed, dict(norm="x"), dict(norm="l1")),
    (names("sigma", 0.0), smoothed, dict(sigma=0.0), dict(sigma=0.1)),
    ("at least 1e-06", smoothed, dict(sigma=1e-8), dict(sigma=1e-6)),
    (
        "give its std in pixels",
        smoothed,
        dict(sigma=2e38, noise="uniform", norm="l1"),
        dict(sigma=1.0, noise="uniform", norm="l1"),
    ),
    (
        "at most 16, or",
        smoothed,
        dict(noise="grid", sigma=17.0),
        dict(noise="grid", sigma=16.0),
    ),
    (
        "or certify.noise=gaussian",
        smoothed,
        dict(noise="grid", sigma=17.0),
        dict(sigma=17.0),
    ),
    (
        "procedure must be one of certify, ",
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
        "give less than 2,147,482,648 together",
        smoothed,
        dict(n=2_147_482_548),
        dict(n=2_147_482_547, n0=100),
    ),
    (names("rho", 1.0), smoothed, dict(rho=1.0), dict(rho=0.05)),
    (
        "bound must be one of union, mixture",
        smoothed,
        dict(bound="x"),
        dict(bound="mixture"),
    ),
    ("take more, at least 10 ", smoothed, dict(n=9), dict(n=10)),
    (
        "take more, at least 20 ",
        smoothed,
        dict(n=5, alpha=1e-6),
        dict(n=20, alpha=1e-6),
    ),
    ("take more, at least 13 ", smoothed, dict(n=12, **MIXED), dict(n=13, **MIXED)),
    (
        "take more than 10",
        smoothed,
        dict(n=10, procedure="predict"),
        dict(n=11, procedure="predict"),
    ),
    (
        "give numbers from 0 up in certify.radii",
        smoothed,
        RADII,
        dict(radii=(0.0,), **RADII),
    ),
    (
        "give numbers from 0 up",
        smoothed,
        dict(radii=(-1.0,), **RADII),
        dict(radii=(0.1,), **RADII),
    ),
    (
        r"take more \(100000",
        smoothed,
        dict(n=9, radii=(0.0,), **RADII),
        dict(n=10, radii=(0.0,), **RADII),
    ),
    (
        "take more, or smaller radii",
        smoothed,
        dict(radii=(1.9,), **RADII),
        dict(radii=(0.5,), **RADII),
    ),
    (
        r"100000 reach nearly 1.91",
        smoothed,
        dict(radii=(1.9,), **RADII),
        dict(radii=(1.9,), n=100_000, **RADII),
    ),
    (
        "no radius above 2.377.*: give smaller ones",
        smoothed,
        dict(radii=(2.4,), **RADII),
        dict(radii=(2.37,), n=1_000_000_0, **RADII),
    ),
    (
        "or certify.noise=grid",
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
        "linf needs image_shape: give that of",
        certified,
        dict(norm="linf", image_shape=None),
        dict(norm="linf"),
    ),
    (
        "give images of that shape",
        certified,
        dict(image=np.zeros((2, 9, 9, 1), np.float32)),
        dict(image=np.zeros((2, *SHAPE), np.float32)),
    ),
    ("give one label and one index", certified, dict(label=[0]), dict(label=[0, 1])),
    ("give the class", certified, dict(label=[0, -1]), dict(label=[0, 1])),
    (
        r"from 0 to 2\^32 - 1",
        certified,
        dict(index=[0, 2**32]),
        dict(index=[0, 2**32 - 1]),
    ),
    ("give each image its own", certified, dict(index=[1, 1]), dict(index=[1, 2])),
    (
        "give uint8 images",
        noise.check_grid,
        dict(image=GREY_PIXELS),
        dict(image=np.full((2, *SHAPE), 76, np.uint8)),
    ),
    (
        "or certify.noise=gaussian",
        certified,
        dict(image=GREY_PIXELS, noise="grid"),
        dict(image=GREY_PIXELS),
    ),
    (
        r"give classes, integers \[\d+\], or",
        certified,
        dict(vote=lambda keys, image: image),
        dict(vote=vote),
    ),
    (
        r"or logits, numbers \[\d+, 3\]",
        certified,
        dict(vote=lambda keys, image: image),
        dict(vote=lambda keys, image: image[:, :3, 0, 0]),
    ),
    (
        "make it with jaxcert.random_keys.key",
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
    ("give the workdir of an EDM", noised, dict(on="cnn"), {}),
    (
        "the EDM has a parameter that is not finite",
        noised,
        dict(on=("edm", np.inf)),
        {},
    ),
    ("give one trained with labels", noised, dict(on="edm without classes"), {}),
    ("kind must be one of apndc", noised, dict(kind="x"), dict(kind="diffpure")),
    ("search must be one of full", noised, dict(search="x"), dict(search="full")),
    (r"give 0 \(by the device\)", noised, dict(block=-1), dict(block=0)),
    (
        "second EDM in networks.unconditional",
        noised,
        dict(on=LONE),
        dict(on=LONE, unconditional="edm"),
    ),
    ("or take kind=epndc", noised, dict(on=LONE), dict(on=LONE, kind="epndc")),
    ("take search=race, or", noised, dict(kind="epndc", **SIFT), dict(kind="epndc")),
    ("or change these", noised, dict(kind="epndc", **SIFT), SIFT),
    ("or change these", noised, dict(drop_below=0.1, **SIFT), SIFT),
    ("or change these", noised, dict(noise_from="noisy", **SIFT), SIFT),
    ("or change these", noised, dict(weighting="repo", **SIFT), SIFT),
    ("give 126, or", noised, dict(levels=12, **SIFT), dict(levels=126, **SIFT)),
    ("or search=race", noised, dict(levels=12, **SIFT), dict(levels=12)),
    (
        "leave it at 'denoised'",
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
    ("go together: give both or none", noised, HYBRID, HYBRID | CNN),
    ("go together: give both or none", noised, CNN, {}),
    ("take kind=apndc", noised, dict(kind="epndc", **HYBRID | CNN), HYBRID | CNN),
    ("give 1 to 3", noised, dict(keep=4, **SIFT), dict(keep=3, **SIFT)),
    ("give 1 to 3", noised, dict(keep=0, **SIFT), dict(keep=1, **SIFT)),
    (
        "name one of the same shape",
        noised,
        HYBRID | dict(classifier="cnn of 9 pixels"),
        HYBRID | CNN,
    ),
    (
        "name one of the same classes",
        noised,
        HYBRID | dict(classifier="cnn of 4 classes"),
        HYBRID | CNN,
    ),
    (
        "holds a denoiser: name a classifier",
        noised,
        HYBRID | dict(classifier="edm"),
        HYBRID | CNN,
    ),
    (
        "networks.classifier has a parameter that is not finite",
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
        "weighting must be one of edm",
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
        "give a smaller drop_below",
        noised,
        dict(drop_below=2.0, sigma_end=2.0),
        dict(drop_below=1.0, sigma_end=2.0),
    ),
    (
        "a larger sigma_end",
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
    ("train it with --config.model.label_dropout", behind, dict(on=LONE, **CNN), CNN),
    (
        "name a classifier of the same images",
        behind,
        dict(classifier="cnn of 9 pixels"),
        CNN,
    ),
    ("name one of the same classes", behind, dict(classifier="cnn of 4 classes"), CNN),
    ("give one trained with labels", dc, dict(on="edm without classes"), {}),
    (names("n0", 0), dc, dict(n0=0), dict(n0=1)),
    (names("n", 1), dc, dict(n=1), dict(n=2)),
    (names("chunk", -1), dc, dict(chunk=-1), dict(chunk=0)),
    (names("alpha", 0.0), dc, dict(alpha=0.0), dict(alpha=0.5)),
    (
        "bound must be one of bernstein, hoeffding",
        dc,
        dict(bound="x"),
        dict(bound="hoeffding"),
    ),
    ("give at most 1000000", dc, dict(n=1_000_001), dict(n=1_000_000)),
    (r"a number in \(0, 1\]", dc, dict(cap=0.0), dict(cap=1.0)),
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
        "bound must be one of tight, torus",
        proven,
        dict(bound="x", **LIPSCHITZ),
        dict(bound="torus", **LIPSCHITZ),
    ),
    ("a Lipschitz network, such as lip_convnet", proven, {}, LIPSCHITZ),
    ("weights that are not finite", proven, dict(on=("lipschitz", np.nan)), LIPSCHITZ),
    (
        "certify the float32 weights",
        proven,
        dict(on=("lipschitz", 0.0, ml_dtypes.bfloat16)),
        LIPSCHITZ,
    ),
    ("such as dist_net", boxed, dict(radii=(0.1,)), BOXES),
    (r"radii in \(0, 1\]", boxed, BOXES | dict(radii=(0.0,)), BOXES),
    (
        r"radii in \(0, 1\]",
        boxed,
        BOXES | dict(radii=(1.5,)),
        BOXES | dict(radii=(0.0, 1.0)),
    ),
    ("bring them into that range", unit_images, dict(pixel=1.5), dict(pixel=1.0)),
    ("give images of that shape", dc_images, dict(shape=(9, 9, 1)), dict(shape=SHAPE)),
]


def test_what_is_no_lipschitz_network_is_certified_by_smoothing():
    with pytest.raises(
        InputError, match="other classifiers are certified by smoothing"
    ):
        proven(on="cnn")
    assert smoothed(on="cnn")
    with pytest.raises(InputError, match="or certify.name=smoothing"):
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
        "give its file, or 'labels'",
        cat,
        dict(soft_labels=""),
        dict(soft_labels="labels"),
    ),
    (names("method.eps", 0.0), cat, dict(eps=0.0), dict(eps=0.5)),
    (names("method.steps", 0), cat, dict(steps=0), dict(steps=1)),
    ("method.form must be one of kl, mse", same, dict(form="x"), dict(form="mse")),
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
        "train one with label_dropout above 0",
        behind_edm,
        dict(denoiser=LONE),
        dict(denoiser="edm"),
    ),
    (
        "name an EDM of the same images",
        behind_edm,
        dict(denoiser="edm of 16 pixels"),
        dict(denoiser="edm"),
    ),
    ("give model.name='edm_unet', or", denoiser_of, {}, dict(on="edm")),
    (
        names("method.P_std", 0.0),
        denoiser_of,
        dict(on="edm", P_std=0.0),
        dict(on="edm", P_std=1.0),
    ),
    (
        "method.loss must be one of gloro, trades, emma_fixed, emma",
        tight,
        LIP | dict(loss="x"),
        LIP | dict(loss="emma"),
    ),
    (names("method.lam", -1.0), tight, LIP | dict(lam=-1.0), LIP | dict(lam=0.0)),
    ("such as model.name=liresnet", tight, {}, LIP),
    (names("method.eps", 0.0), tight, LIP | dict(eps=0.0), LIP | dict(eps=0.1)),
    (
        names("method.last", 1.0),
        tight,
        LIP | dict(first=2.0, last=1.0),
        LIP | dict(first=1.0, last=2.0),
    ),
    (names("method.mix", 2.0), distant, DIST | dict(mix=2.0), DIST | dict(mix=1.0)),
    (
        "method.loss must be one of mixture, hinge, crossentropy",
        distant,
        DIST | dict(loss="x"),
        DIST | dict(loss="hinge"),
    ),
    ("set model.name=dist_net", distant, {}, DIST),
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
        "with model.hidden > 0 alone",
        distant,
        DIST | dict(eps_end=5),
        dict(on="hybrid", eps_end=5),
    ),
    (
        "method.loss must be one of mixture, ce_hinge",
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
    ("such as model.name=lip_convnet", lots, {}, LIP),
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
        "method.attack must be one of pgd, ddn, gradient_free",
        attacked,
        dict(attack="x"),
        dict(attack="ddn"),
    ),
    (
        "give method.m of 2 or more",
        attacked,
        dict(attack="gradient_free"),
        dict(attack="gradient_free", m=2),
    ),
    (
        "method.mix_step must be one of 0, 1, 2, 3",
        mixed,
        dict(mix_step=4),
        dict(mix_step=3),
    ),
    ("method.norm must be one of l2, linf", poor, dict(norm="l1"), dict(norm="linf")),
    (names("method.p_t", 2.0), poor, dict(p_t=2.0), dict(p_t=1.0)),
    (names("method.start_epoch", -1), poor, dict(start_epoch=-1), dict(start_epoch=0)),
    (
        names("method.discard_n", 0),
        poor,
        dict(discard_n=0, reweight_every=1),
        dict(discard_n=1),
    ),
    ("give 16 or more", poor, dict(reweight_n=8), dict(reweight_n=16)),
    (
        "lower method.p_t",
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
    ("give 1 numbers each", small_cnn.make, dict(mean=(0.1, 0.2)), dict(mean=(0.1,))),
    ("std above 0", small_cnn.make, dict(std=(0.0,)), dict(std=(0.1,))),
    ("for 1 channels", dist, dict(mean=(0.5, 0.5)), dict(mean=(0.5,))),
    ("one positive number", dist, dict(std=(0.2, 0.2)), dict(std=0.2)),
    (names("model.rho", 1.0), dist, dict(rho=1.0), dict(rho=0.9)),
    (names("model.num_terms", 0), dist, dict(num_terms=0), dict(num_terms=1)),
    (names("model.depth", 1), dist, dict(depth=1), dict(depth=2)),
    (names("model.depth", 2), dist, dict(hidden=4), dict(hidden=4, depth=3)),
    (names("model.group", 0), dist, dict(group=0), dict(group=1)),
    (
        "set config.model.stages=4[.]",
        convnet,
        dict(image_shape=(16, 16, 1)),
        dict(image_shape=(16, 16, 1), stages=4),
    ),
    (
        "stages=3 and config.model.image_shape=8,8,1, with config.data.pad=8",
        convnet,
        dict(image_shape=(7, 7, 1)),
        dict(image_shape=(8, 8, 1)),
    ),
    ("for 1 channels", convnet, dict(mean=(0.5, 0.5)), dict(mean=(0.5,))),
    (
        "model.activation must be one of maxmin, hh1, hh2",
        convnet,
        dict(activation="x"),
        dict(activation="hh2"),
    ),
    (
        "model.head must be one of orthogonal, lln",
        convnet,
        dict(head="x"),
        dict(head="lln"),
    ),
    (
        "use model.head=lln",
        convnet,
        dict(num_classes=33),
        dict(num_classes=33, head="lln"),
    ),
    (names("model.blocks", 0), convnet, dict(blocks=0), dict(blocks=1)),
    (
        "model.width must be even",
        convnet,
        dict(width=3, blocks=2),
        dict(width=2, blocks=2),
    ),
    (
        "stays newton_schulz",
        convnet,
        dict(conv="soc", polar="minimax"),
        dict(conv="soc"),
    ),
    (
        "for model.conv=lot",
        convnet,
        dict(conv="soc", polar="minimax"),
        dict(polar="minimax"),
    ),
    (names("model.std", 0.0), convnet, dict(std=0.0), dict(std=0.1)),
    (names("model.mean", np.inf), convnet, dict(mean=(np.inf,)), dict(mean=(0.5,))),
    ("such as lot", convnet, dict(conv="x"), dict(conv="lot")),
    ("such as lot", convnet, dict(conv="unet"), dict(conv="aol")),
    (
        "multiple of 8, not 28x28: set data.pad",
        lires,
        dict(image_shape=(28, 28, 1)),
        dict(image_shape=(32, 32, 1)),
    ),
    ("model.width and model.dense must be even", lires, dict(width=3), dict(width=4)),
    (names("model.power_steps", 0), lires, dict(power_steps=0), dict(power_steps=1)),
    ("widen the blocks", plus, dict(dense=16), dict(dense=16, width=16)),
    ("or narrow the dense layers", plus, dict(dense=16), dict(dense=8)),
    (names("model.dense_depth", -1), plus, dict(dense_depth=-1), dict(dense_depth=0)),
    (names("model.ratio", 0.0), bro_, dict(ratio=0.0), dict(ratio=1.0)),
    ("take 8, 20, 56 or 110", cifar, dict(depth=18), dict(depth=20)),
    (
        "model.dtype must be one of float32, bfloat16",
        cifar,
        dict(dtype="x"),
        dict(dtype="bfloat16"),
    ),
    (
        "model.shortcut must be one of conv, pad",
        cifar,
        dict(shortcut="x"),
        dict(shortcut="pad"),
    ),
    (
        "needs an even width",
        cifar,
        dict(shortcut="pad", width=5),
        dict(shortcut="pad", width=6),
    ),
    (r"take \(3, 4, 6, 3\)", wide, dict(stages=()), dict(stages=(3, 4, 6, 3))),
    (
        "model.dtype must be one of float32, bfloat16",
        wide,
        dict(dtype="x"),
        dict(dtype="bfloat16"),
    ),
    (
        "16x16 or more",
        lenet.make,
        dict(image_shape=(15, 16, 1)),
        dict(image_shape=(16, 16, 1)),
    ),
    (
        "model.kind must be one of ddpmpp, ncsnpp, adm",
        unet,
        dict(kind="x"),
        dict(kind="ncsnpp"),
    ),
    (
        "model.dtype must be one of float32, bfloat16",
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
        "pad them to a square whose side is a multiple of 2",
        unet,
        dict(image_shape=(7, 7, 1), multipliers=(1, 1)),
        dict(image_shape=(8, 8, 1), multipliers=(1, 1)),
    ),
    (
        "or give fewer multipliers",
        unet,
        dict(image_shape=(7, 7, 1), multipliers=(1, 1)),
        dict(image_shape=(7, 7, 1), multipliers=(1,)),
    ),
    (
        "a square whose side is a multiple of 1[.]",
        unet,
        dict(image_shape=(8, 6, 1)),
        dict(image_shape=(8, 8, 1)),
    ),
    ("there are 8", unet, dict(attention=(4,)), dict(attention=(8,))),
    ("give a larger width", unet, ADM | dict(width=32), ADM),
    ("or leave this side out", unet, ADM | dict(width=32), dict(kind="adm", width=128)),
    (
        "multiples of 64 from 128 channels up",
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
    check("p = infinity [(]p=None[)]", apply, dict(p=8), dict(p=None))
    unet = network("edm")
    with pytest.raises(InputError, match="train it with method 'edm'"):
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
        "or floats in",
        images.unit,
        dict(image=np.zeros(3, np.int32)),
        dict(image=np.zeros(3, np.uint8)),
    ),
    (
        "or give uint8",
        images.check_range,
        dict(image=np.full(3, 2.0)),
        dict(image=np.full(3, 2, np.uint8)),
    ),
    (
        "there are xla, mosaic_gpu",
        distance,
        dict(implementation="x"),
        dict(implementation="xla"),
    ),
    (
        "use implementation='xla'",
        distance,
        dict(x=jnp.bfloat16(EYE), implementation="mosaic_gpu"),
        dict(x=jnp.bfloat16(EYE), implementation="xla"),
    ),
    (r"needs x \[B,D\] and w \[D,O\]", distance, dict(w=EYE[:2]), dict(w=EYE[:, :2])),
    ("needs floating images", distance, dict(x=np.eye(3, dtype=int)), dict(x=EYE)),
    (
        "choose a larger keep probability",
        distance,
        dict(kept=np.zeros((1, 0), np.int32)),
        dict(kept=np.zeros((1, 1), np.int32)),
    ),
    (
        "3 images in groups of 2 are 2",
        distance,
        dict(kept=np.zeros((1, 1), np.int32), group=2),
        dict(kept=np.zeros((2, 1), np.int32), group=2),
    ),
    ("p must be at least 1", distance, dict(p=0.5), dict(p=1)),
    ("infinity is None", distance, dict(p=0.5), dict(p=None)),
    (
        "padding is less than the kernel",
        by(spectral.conv_bound, kernel=np.ones((3, 3, 1, 1)), side=4),
        dict(padding=3),
        dict(padding=2),
    ),
    (
        "at most the padded side",
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
        "needs images of even height and width, not 7x8: pad them",
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
        "take cross_entropy",
        by(apgd.dlr, label=jnp.zeros(1, int)),
        dict(logits=jnp.ones((1, 2))),
        dict(logits=jnp.ones((1, 3))),
    ),
    (
        "noise must be one of gaussian",
        norms.check,
        dict(noise="x", norm="l2"),
        dict(noise="grid", norm="l2"),
    ),
    ("needs draws: 1 or more", bounded, dict(values=np.ones(0)), {}),
    (r"needs values in \[0.0, 1.0\]", bounded, dict(values=np.full(9, 2.0)), {}),
    ("a number between 0 and 1", bounded, dict(alpha=0.0), dict(alpha=0.5)),
    (
        "0 <= k <= n and n >= 1",
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
    ("rho of about 7", edm.schedule, dict(steps=18, rho=1e-3), dict(steps=18, rho=7.0)),
    (
        "sigmas far enough apart",
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
        "'repo' needs 3 or more",
        by(classifiers.apndc, num_classes=3, sigma_tau=0.5, weighting="repo"),
        dict(count=2),
        dict(count=3),
    ),
    (
        "'repo' needs 8 or more",
        by(classifiers.epndc, num_classes=3, sigma_tau=0.5, weighting="repo"),
        dict(count=7),
        dict(count=8),
    ),
    (
        "'edm' needs 1 or more",
        by(classifiers.dc, num_classes=3),
        dict(count=0),
        dict(count=1),
    ),
    (
        "or more levels",
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
    ("indices of the classifier's levels", races, dict(order=(4,)), dict(order=(3,))),
    (names("block", 0), races, dict(block=0), dict(block=1)),
    (
        names("sigma_end", 3.0),
        by(sift.original, num_classes=3),
        dict(sigma_tau=9.0),
        dict(sigma_tau=0.5),
    ),
    (
        names("keep", 0),
        by(sift.original, num_classes=3, sigma_tau=0.5),
        dict(keep=0),
        dict(keep=1),
    ),
    (
        r"give \[n, T, K\] for 2 levels",
        by(errors_of_dc.margin_samples, predicted=0, dims=4, **LEVELS),
        dict(u=np.ones((5, 3, 2))),
        dict(u=np.ones((5, 2, 2))),
    ),
    (
        "give one or more, finite, none below 0",
        by(errors_of_dc.margin_samples, u=np.ones((5, 1, 2)), predicted=0, dims=4),
        dict(weights=[-1.0]),
        dict(weights=[0.0]),
    ),
    (
        "give 2, as many as weights, all above 0",
        by(errors_of_dc.lipschitz_margin, dims=4, **LEVELS),
        dict(sigma=[1.0]),
        dict(sigma=[1.0, 2.0]),
    ),
    (
        r"give \[N,D\] with N",
        quality.moments,
        dict(features=np.ones((1, 3))),
        dict(features=np.ones((2, 3))),
    ),
    (
        "are not finite: correct",
        quality.moments,
        dict(features=np.full((2, 3), np.nan)),
        dict(features=np.ones((2, 3))),
    ),
    (
        "give the same",
        by(quality.frechet_distance, a=quality.moments(np.ones((2, 3)))),
        dict(b=quality.moments(np.ones((2, 2)))),
        dict(b=quality.moments(np.zeros((2, 3)))),
    ),
    (
        "give MODULE:FUNCTION, the module",
        quality_of.find_features,
        dict(name="nowhere:mean"),
        dict(name="math:fsum"),
    ),
    (
        "give MODULE:FUNCTION, the module",
        quality_of.find_features,
        dict(name="math"),
        dict(name="math:fsum"),
    ),
    (
        "is no function: give MODULE",
        quality_of.find_features,
        dict(name="math:pi"),
        dict(name="math:fsum"),
    ),
]


@rows(PARTS)
def test_parts(said, call, fault, advised):
    check(said, call, fault, advised)
