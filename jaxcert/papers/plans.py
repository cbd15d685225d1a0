"""Plans what the tables and figures of a paper take: trainings, certificates and measurements.

A `Row` is a workdir below that of the paper and what is done in it, step by step; `paper_runs`
does what is missing. Times are estimates: at scale cifar10 the hours
of one H200 by the counts of its compiled programs (docs/accelerator.md; nothing was timed), at
digits and mnist those of one core of a server CPU.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from copy import deepcopy
from functools import partial
from itertools import product
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from jaxcert import config as configs
from jaxcert.errors import InputError, whole_from
from jaxcert.papers import study

SCALES = ("digits", "mnist", "cifar10")
TRAIN_IMAGES = {"digits": 1000, "mnist": 60_000, "cifar10": 50_000, "cifar100": 50_000}
SEEDS = {"altstidl": 2, "chen": 1, "sun": 1}
"""Seeds at scales digits and mnist; the papers have one of each row."""


class Step(NamedTuple):
    """A piece of work in the workdir of its row."""

    what: str
    """train | certify | images | norms | votes: the functions of paper_runs"""
    config: ConfigDict
    out: str = ""
    """the file in the workdir that it writes; of images their folder, beside the workdirs"""
    more: dict[str, Any] = {}
    """further arguments of the function"""


class Row(NamedTuple):
    folder: str
    """its workdir, below that of the paper"""
    name: str
    """what it is, for people"""
    steps: tuple[Step, ...]
    seconds: float
    """of one core, or of one H200"""


def plan(paper: str, scale: str, *, workdir: str, seeds: int = 0) -> list[Row]:
    """Return the rows of a paper at a scale, in the order in which they are done. workdir: of the
    paper, whose files later rows name. seeds: how many; 0: those of the paper. Raises
    InputError for an unknown scale."""
    whole_from(0, **{"--seeds": seeds})
    if scale not in SCALES:
        raise InputError(f"--scale {scale!r}: give one of {', '.join(SCALES)}.")
    seeds = seeds or (1 if scale == "cifar10" else SEEDS[paper])
    return list(_PLANS[paper](scale, workdir, range(seeds)))


def steps_of(config: ConfigDict) -> int:
    """Return the training steps of a config."""
    data = config.data
    images = data.epoch_images or TRAIN_IMAGES[data.name]
    return data.epochs * max(1, math.ceil(images / data.batch))


def _word(**values: Any) -> list[str]:
    """model__width=8 -> --config.model.width=8"""
    return [f"--config.{k.replace('__', '.')}={v}" for k, v in values.items()]


_PADDED = dict(data__pad=32, model__image_shape="(32,32,1)")
"""MNIST for all, as the l2 networks take it: generated images are of one size."""
# the EDM of a scale: config, words, seconds a step, images a second of sampling
EDM = {
    "digits": ("edm/digits", [], 0.15, 80.0),
    "mnist": (
        "edm/digits",
        _word(
            data__name="mnist",
            data__epochs=4,
            model__multipliers="(1,2,2)",
            model__attention="(8,)",
            **_PADDED,
        ),
        2.0,
        5.0,
    ),
    "cifar10": ("edm/cifar10:dropped,bf16", [], 0.129, 380.0),
    "cifar100": ("edm/cifar100:bf16", [], 0.129, 300.0),
}


def _edm(place: str, seed: int = 0, *, images: int = 0) -> Row:
    """Return the row of an EDM, and of a set of images that it samples."""
    system, words, rate, sampled = EDM[place]
    config = configs.resolve(system, [*words, *_word(seed=seed)])
    steps = [Step("train", config)]
    name, seconds = system, rate * steps_of(config)
    if images:
        more = dict(count=images, steps=study.WANG_STEPS.get(place, 18))
        steps.append(Step("images", config, _images(place, images), more))
        name, seconds = f"{system}, {images:,} images", seconds + images / sampled
    return Row(f"edm_{place}_seed{seed}", name, tuple(steps), seconds)


def _images(place: str, images: int) -> str:
    return f"generated_{place}_{images}"


SHARES = (0.1, 0.3, 0.5, 0.7, 0.9, 1.0)
COUNTS = {"digits": (0, 1000, 5000), "mnist": (0, 10_000, 60_000)}
# config: words of two sizes, seconds a step of the larger
SYSTEMS = {
    "digits": {
        "linf_dist/digits": (dict(model__width=96), {}, 0.05),
        "sortnet/digits": (dict(model__width=96), {}, 0.05),
        "lot/digits": (dict(model__width=8), {}, 0.145),
        "liresnet/digits": (dict(model__depth=2), {}, 0.03),
    },
    "mnist": {
        "linf_dist/mnist:laptop": (dict(_PADDED, model__width=128), _PADDED, 0.25),
        "sortnet/mnist:laptop": (dict(_PADDED, model__width=128), _PADDED, 0.3),
        "lot/mnist": (dict(model__width=4), {}, 1.2),
        "liresnet/mnist": (dict(model__depth=3), {}, 0.6),
    },
}
SHARED = ("sortnet", "lot")
"""Families of which one system of each norm is trained with all shares."""
OVERHEAD = 15.0
"""Seconds to start a small run and to certify it."""


def _altstidl(scale: str, workdir: str, seeds: Iterable[int]) -> Iterable[Row]:
    """Altstidl et al.: none and some amounts of images, sizes, epochs; shares of one size."""
    if scale == "cifar10":
        yield from _altstidl_published(workdir, seeds)
        return
    counts = COUNTS[scale]
    yield _edm(scale, images=max(counts))
    place = f"{workdir}/{_images(scale, max(counts))}"
    runs = partial(study.runs, generated=place, seeds=list(seeds))
    for system, (small, large, rate) in SYSTEMS[scale].items():
        for size, words in (("small", small), ("large", large)):
            of = partial(runs, [system], words=_word(**words))
            found = of(counts=list(counts), shares=[0.7], epochs=[0.5, 1.0])
            if size == "small" and system.partition("/")[0] in SHARED:
                shares = [share for share in SHARES if share != 0.7]
                found += of(counts=[max(counts)], shares=shares, epochs=[0.5])
            for name, config in found:
                yield _of_study(f"{size}_{name}", system, config, rate)


def _of_study(folder: str, system: str, config: ConfigDict, rate: float) -> Row:
    """Return the row of a run of a study: evaluated while it trains (Figures 3 and 6), and
    certified on test and on training images."""
    config = deepcopy(config)
    every = max(1, config.data.epochs // 5)
    images = 0 if config.data.name == "digits" else 400
    config.eval.update(every_epochs=every, images=images, share=0.0)
    config.checkpoint.every_epochs = max(every, config.checkpoint.every_epochs)
    seen = deepcopy(config)
    seen.certify.update(split="train", start=0, step=1, stop=1000)
    steps = (
        Step("train", config),
        Step("certify", config, "certificates.jsonl"),
        Step("certify", seen, "train.jsonl"),
    )
    return Row(folder, system, steps, OVERHEAD + rate * steps_of(config))


# config: seconds a step of an H200; of distance nets at p = 8, while p rises, at infinity
_DISTANCE = {"linf_dist": (0.0358, 0.1771, 0.0189), "sortnet": (0.0378, 0.1723, 0.0181)}
_LIPSCHITZ = {
    **{("lot", size): s for size, s in (("s", 0.0544), ("m", 0.0967), ("l", 0.1832))},
    **{("liresnet", "xs"): 0.0040, ("liresnet", "s"): 0.0079},
    **{("liresnet", "m"): 0.0119, ("liresnet", "l"): 0.0255},
}
_AMOUNTS = {"none": 0, "1m": 1_000_000, "5m": 5_000_000, "10m": 10_000_000}


def _altstidl_published(workdir: str, seeds: Iterable[int]) -> Iterable[Row]:
    """Tables 1 and 2, the shares of Figure 4, Table 3."""
    largest, seeds = max(_AMOUNTS.values()), list(seeds)
    rows = [f"linf_dist/cifar10:hinge,{times}" for times in ("1x", "2x")]
    rows += [
        f"sortnet/cifar10:{words}" for words in ("nodrop,1x", "nodrop,2x", "1x", "2x")
    ]
    rows += [f"lot/cifar10:{s},{e}" for s in "sml" for e in (200, 400, 600)]
    sizes = ("xs", "s", "m", "l")
    rows += [f"liresnet/cifar10:{s},{e}" for s in sizes for e in (800, 1600, 2400)]
    hundred = ["linf_dist/cifar100:hinge", "sortnet/cifar100:nodrop"]
    hundred += ["lot/cifar100:l,200", "liresnet/cifar100:"]
    for place, systems in (("cifar10", rows), ("cifar100", hundred)):
        yield _edm(place, images=largest)
        generated = f"{workdir}/{_images(place, largest)}"
        cells = [(f"{row},{a}", n, 0.7) for row in systems for a, n in _AMOUNTS.items()]
        if place == "cifar10":
            figure_4 = ("lot/cifar10:s,200,5m", "linf_dist/cifar10:hinge,1x,5m")
            shares = [share for share in SHARES if share != 0.7]
            cells += [(row, _AMOUNTS["5m"], s) for row in figure_4 for s in shares]
        for system, count, share in cells:
            system = system.replace(":,", ":")
            for seed in seeds:
                words = _word(seed=seed)
                if count:
                    words += _word(data__generated=generated)
                if share != 0.7:
                    words += _word(data__generated_share=share)
                at = f"_at{share:g}" if share != 0.7 else ""
                folder = f"{configs.system_name(system)}{at}_seed{seed}"
                config = configs.resolve(system, words)
                rate = _rate(config, system)
                yield _of_study(
                    folder, system + at.replace("_at", ", share "), config, rate
                )


def _rate(config: ConfigDict, system: str) -> float:
    """Return the mean seconds a step of an H200."""
    family, _, row = system.partition("/")
    if family not in _DISTANCE:
        of = dict(_LIPSCHITZ)
        size = row.partition(":")[2].partition(",")[0]
        return of[family, size] if (family, size) in of else of[family, "l"]
    first, last = config.method.p_start, config.method.p_end
    parts = first, last - first, config.data.epochs - last
    return sum(e * s for e, s in zip(parts, _DISTANCE[family], strict=True)) / sum(
        parts
    )


CHEN_SIGMAS = {"digits": ("0.25", "0.50"), "mnist": ("0.25", "0.50")}
CHEN_SIGMAS["cifar10"] = "0.25", "0.50", "1.00"
# levels, the words of a row and of the certificate
CHEN_LEVELS = {
    "digits": ((8, ["race"]), (24, ["race"])),
    "mnist": ((8, ["race"]), (24, ["race"])),
    "cifar10": ((126, ["race"]), (126, ["full"]), (1001, ["full", "t1001"])),
}
# the images, and how many they are
CHEN_IMAGES = {
    "digits": (dict(stop=0, step=20), 40),
    "mnist": (dict(stop=0, step=500), 20),
    "cifar10": (dict(stop=512), 512),
}
_CAPPED = dict(cap=0.1, levels=4, sigma_end=1.5, n=400)
"""DC of few draws, which has radii above 0 with errors that count up to this one alone."""
DC_IMAGES = {
    "digits": (dict(_CAPPED, stop=0, step=40), 20),
    "mnist": (dict(_CAPPED, stop=0, step=500), 20),
    "cifar10": CHEN_IMAGES["cifar10"],
}
CHEN_N = {"digits": 500, "mnist": 500, "cifar10": 10_000}
_EVALUATION = {"digits": 1 / 4000, "mnist": 1 / 260, "cifar10": 0.183 / 2048}
"""Seconds of one evaluation of the EDM."""
DC_WEIGHTS = (
    dict(weighting="edm"),
    dict(weighting="uniform"),
    dict(weighting="uniform", drop_below=0.5),
)


def _chen(scale: str, workdir: str, seeds: Iterable[int]) -> Iterable[Row]:
    """Chen et al.: single votes, DC by its weights, the noised classifiers at each noise and
    number of levels, and denoised smoothing beside them."""
    shipped = f"diffusion_classifier/{'cifar10' if scale == 'cifar10' else 'digits'}"
    for seed in seeds:
        edm = _edm(scale, seed)
        yield edm
        row = partial(_of_edm, edm, _EVALUATION[scale])
        for sigma in CHEN_SIGMAS[scale]:
            system = f"{shipped}:apndc,{sigma}"
            yield row("votes", system, f"votes_{sigma}.json", 200 * 4000)
        chosen, images = DC_IMAGES[scale]
        for weights in DC_WEIGHTS:
            name = "_".join(str(v) for v in weights.values())
            each = 10 * chosen.get("levels", 126) * (10 + chosen.get("n", 1000))
            out, more = f"dc_{name}.jsonl", dict(chosen, **weights)
            yield row("certify", f"{shipped}:dc", out, images * each, **more)
        chosen, images = CHEN_IMAGES[scale]
        for (levels, words), sigma, kind in product(
            CHEN_LEVELS[scale], CHEN_SIGMAS[scale], ("epndc", "apndc", "diffpure")
        ):
            each = 10 * levels if "full" in words else min(50, 5 * levels)
            spent = images * (100 + CHEN_N[scale]) * each
            out = f"{kind}_{sigma}_{levels}_{words[0]}.jsonl"
            more = dict(chosen, levels=levels, n=CHEN_N[scale])
            system = f"{shipped}:{','.join((kind, sigma, *words))}"
            yield row("certify", system, out, spent, **more)
        classifier = _classifier(scale, seed)
        yield classifier
        networks = dict(classifier=f"{workdir}/{classifier.folder}")
        for sigma in CHEN_SIGMAS[scale]:
            spent = images * (100 + CHEN_N[scale])
            more = dict(chosen, n=CHEN_N[scale], networks=networks)
            system, out = f"{shipped}:denoised,{sigma}", f"denoised_{sigma}.jsonl"
            yield row("certify", system, out, spent, **more)


def _classifier(scale: str, seed: int) -> Row:
    """Return the row of the classifier that denoised smoothing takes, of clean images."""
    system = f"denoised/{'cifar10' if scale == 'cifar10' else 'digits'}"
    words: dict[str, Any] = {}
    if scale == "mnist":
        words = dict(data__name="mnist", data__epochs=5, **_PADDED)
    config = configs.resolve(system, _word(seed=seed, **words))
    spent = dict(digits=40, mnist=600, cifar10=SUN_STEP["gaussian"] * steps_of(config))
    steps = (Step("train", config),)
    return Row(f"classifier_{scale}_seed{seed}", system, steps, spent[scale])


def _of_edm(
    edm: Row, each: float, what: str, system: str, out: str, spent: int, **values: Any
) -> Row:
    """Return the row of a certificate of an EDM, that of another config with these values. each:
    seconds of an evaluation, of which it takes as many as `spent`."""
    config = configs.with_certificate(edm.steps[0].config, configs.load(system))
    with config.certify.unlocked():
        config.certify.update(values)
    name = out.rpartition(".")[0].replace("_", " ")
    return Row(edm.folder, name, (Step(what, config, out),), spent * each)


# seconds of training on one core: configs/smoothing/digits.py
SUN_DIGITS = dict(gaussian=40, stability=19, smoothadv=42, macer=39, consistency=20)
SUN_DIGITS |= dict(smoothmix=53, catrs=58, sun=42)
# seconds a step of an H200
SUN_STEP = dict(gaussian=0.0072, stability=0.0130, smoothadv=0.0294, macer=0.0144)
SUN_STEP |= dict(consistency=0.0073, smoothmix=0.0223, catrs=0.0224, sun=0.0144)
SUN_SIGMAS = {"digits": ("0.25", "0.50"), "mnist": ("0.25", "0.50", "1.00")}
SUN_SIGMAS["cifar10"] = SUN_SIGMAS["mnist"]
PARTS = ("discard", "reweight", "adversarial")
_SOME = (*((part,) for part in PARTS), PARTS[:2], PARTS[::2], PARTS[1:])
"""One or two of the parts."""
SUN_CERTIFY = {"digits": 797 * 1100 / 60_000, "mnist": 250 * 10_100 / 12_000}
SUN_CERTIFY["cifar10"] = 10_000 * 100_100 / 4000 * 0.0103
"""Seconds to certify a row."""


def _sun(scale: str, workdir: str, seeds: Iterable[int]) -> Iterable[Row]:
    """Sun et al.: eight methods at each sigma, the parts of theirs, gradient norms. Gaussian
    training has four copies of each image as in Table 2; with one it is the first row of Table
    3 at sigma 0.5, and gives catrs its first votes."""
    sigmas, small = SUN_SIGMAS[scale], ",small" if scale == "mnist" else ""
    for seed in seeds:
        of = partial(_method, scale, seed)
        first = "gaussian" if small else "gaussian_m1"
        for sigma in {"cifar10": ("0.25", "0.50"), "digits": ("0.50",)}.get(scale, ()):
            yield of("gaussian_m1", f"gaussian,{sigma}", sigma)
        for sigma in sigmas:
            for name in SUN_STEP:
                row = f"{name},{sigma}{',m4' if name == 'gaussian' else ''}{small}"
                words = {}
                if name == "catrs" and scale != "digits":
                    votes = f"{workdir}/{first}_0.25_seed{seed}/train.jsonl"
                    words = dict(method__soft_labels=votes)
                yield of(name, row, sigma, votes=first == name, **words)
        for sigma in sigmas:
            for parts in _SOME:
                row = f"sun,{sigma},{small.strip(',') or ','.join(parts)}"
                words = {f"method__{p}": p in parts for p in PARTS if small}
                yield of(f"sun_{'_'.join(parts)}", row, sigma, **words)


def _method(
    scale: str, seed: int, name: str, row: str, sigma: str, votes=False, **words: Any
) -> Row:
    """Return the row of a method: trained, certified, and its gradients. votes: those of its
    network at sigma 0.25 on the training images as well."""
    system, kind = f"smoothing/{scale}:{row}", name.partition("_")[0]
    few = dict(certify__step=40) if scale == "mnist" else {}
    config = configs.resolve(system, _word(seed=seed, **few, **words))
    steps = [Step("train", config), Step("certify", config, "certificates.jsonl")]
    if (votes or name == "gaussian_m1") and sigma == "0.25" and scale != "digits":
        asked = deepcopy(config)
        n = 10_000 if scale == "cifar10" else 100
        asked.certify.update(split="train", step=1, procedure="predict", n=n)
        steps.append(Step("certify", asked, "train.jsonl"))
    images = dict(images=200 if scale == "digits" else 1000)
    steps.append(Step("norms", config, "gradient_norms.json", images))
    training = SUN_STEP[kind] * steps_of(config)
    if scale != "cifar10":
        training = OVERHEAD + SUN_DIGITS[kind] * (5 if scale == "mnist" else 1)
    folder = f"{name}_{sigma}_seed{seed}"
    return Row(folder, system, tuple(steps), training + SUN_CERTIFY[scale])


_PLANS = {"altstidl": _altstidl, "chen": _chen, "sun": _sun}
