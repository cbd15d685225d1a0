"""The programs by name; the files beside this one build them, and `--list` shows all.

To add one: a line in `_LIST`, then `--update-budgets` with its name. A name that ends in @8
is the program on eight devices; a parallel program takes any number of them that exists.
"""

from __future__ import annotations

import importlib
from typing import Any, NamedTuple

from benchmarks.compiled import target
from jaxcert.errors import InputError

DEVICES = 8
"""The numbers of devices, besides one, for which the table has programs."""


class Built(NamedTuple):
    """A program that is lowered and not compiled yet."""

    lowered: Any
    items: int
    """the number of images, samples, or pairs of image and class that one device works
    on"""
    shape: dict[str, Any]
    floor_bytes: float | None = None
    """the floor of bytes of one device, where floors.py knows it; None: arguments and
    results, once"""


class Program(NamedTuple):
    name: str
    what: str
    module: str
    """the file beside this that has `build`"""
    arguments: dict[str, Any]
    """the arguments of its `build`, which takes the number of devices first"""
    unit: str
    """the slowest unit that its products are meant for: bf16, tf32, f32 or f64"""
    parallel: bool = False
    """whether it runs on several devices"""
    loops: dict[str, int] = {}
    """the loops of `count.count`"""

    def build(self, devices: int) -> Built:
        module = importlib.import_module(f"benchmarks.compiled.{self.module}")
        return module.build(devices, **self.arguments)


def _smoothing(method: str, words: str = "", **more) -> Program:
    return Program(
        f"train_{method}",
        f"training step, {method}, ResNet-110 in bfloat16",
        "training",
        dict(config="smoothing/cifar10", words=f"{method},0.25,bf16{words}", **more),
        "bf16",
        parallel=True,
    )


def _train(name: str, what: str, config: str, words: str = "", **more) -> Program:
    unit, loops = more.pop("unit", "tf32"), more.pop("loops", {})
    arguments = dict(config=config, words=words, **more)
    what = f"training step, {what}"
    return Program(f"train_{name}", what, "training", arguments, unit, True, loops)


def _distances(name: str, what: str, config: str) -> list[Program]:
    """Return a training step for every phase; all products are meant for float32."""
    phases = {"p8": "p = 8", "general": "any p", "inf": "p = inf"}
    return [
        _train(f"{name}_{phase}", f"{what}, {p}", config, phase=phase, unit="f32")
        for phase, p in phases.items()
    ]


def _certify(name: str, what: str, config: str, words: str, **more) -> Program:
    unit = more.pop("unit", "bf16")
    arguments = dict(config=config, words=words, **more)
    what = f"CERTIFY and PREDICT, {what}: one chunk"
    return Program(f"certify_{name}", what, "voting", arguments, unit, True, _ONE_CHUNK)


def _votes(kind: str, search: str) -> Program:
    return Program(
        f"votes_{kind}_{search}",
        f"votes of {kind}, {search}, DDPM++ in bfloat16: a block of pairs at one level",
        "voting",
        dict(config="edm/cifar10", words="dropped,bf16", kind=kind, search=search),
        "bf16",
        parallel=True,
        loops=_ONE_BLOCK,
    )


def _float64(which: str, name: str, what: str, config: str, words: str = "") -> Program:
    does = {
        "forward": "certificate, logits",
        "interval": "certificate, interval bounds",
        "prepare": "certificate, preparation",
    }
    arguments = dict(config=config, words=words, which=which)
    title = f"{does[which]} in float64, {what}"
    return Program(f"float64_{which}_{name}", title, "float64", arguments, "f64")


def _edm(which: str, name: str, what: str, config: str, **more) -> Program:
    arguments = dict(which=which, config=config, **more)
    parallel = which == "sample"
    return Program(f"{which}_{name}", what, "denoising", arguments, "bf16", parallel)


def _small(name: str, what: str, unit: str = "tf32", **arguments) -> Program:
    return Program(name, what, "small", arguments, unit)


_ONE_CHUNK = {"voting.py:one_device": 1}
"""A call runs as many chunks as its votes need; a row has one."""
_ONE_BLOCK = _ONE_CHUNK | {"racing.py:eliminate": 1, "racing.py:_in_blocks": 1}
"""Levels end when all votes are decided, and blocks when all remaining pairs of image
and class were evaluated; a row has one of each."""
_OF_NORM_ONE = {"manifold.py:_by_squaring": 4}
"""Squarings of the exponential of a step of norm 1, from which on there are any."""

_LIPSCHITZ = (
    ("lot_l", "LOT-L", "lot/cifar10", "l"),
    ("liresnet_l", "LiResNet-L", "liresnet/cifar10", "l"),
    ("liresnet_pp", "LiResNet++", "liresnet_pp/cifar10", "4m"),
    ("bronet", "BRONet", "bronet/cifar10", "4m"),
    ("lipnext", "LipNeXt of 32 blocks of width 1024", "lipnext/cifar10", "l32w1024"),
)
_FIVE_MINUTES = (
    ("lot", "LOT-S, minimax,"),
    ("liresnet", "LiResNet-S, two power steps,"),
    ("bronet", "BRONet, narrow,"),
    ("lipnext", "LipNeXt L16W512 in bfloat16"),
)
_DISTANCES = (
    ("linf_dist", "l_inf-dist net", "linf_dist/cifar10"),
    ("sortnet", "SortNet", "sortnet/cifar10"),
)

_LIST = (
    _certify(
        "resnet110", "ResNet-110 in bfloat16", "smoothing/cifar10", "gaussian,0.25,bf16"
    ),
    _certify(
        "resnet110_float32",
        "ResNet-110 in float32",
        "smoothing/cifar10",
        "gaussian,0.25",
        unit="tf32",
    ),
    _certify(
        "resnet110_grid",
        "ResNet-110 in bfloat16, grid noise",
        "smoothing/cifar10",
        "gaussian,0.25,bf16",
        noise="grid",
    ),
    _certify(
        "resnet110_changed",
        "ResNet-110 in bfloat16 against float32",
        "smoothing/cifar10",
        "gaussian,0.25,bf16",
        changed=True,
        unit="tf32",
    ),
    _certify(
        "resnet50",
        "ResNet-50 in bfloat16, 224x224",
        "smoothing/imagenet",
        "gaussian,0.25,bf16",
    ),
    _certify(
        "denoised",
        "ResNet-110 behind DDPM++, both in bfloat16",
        "edm/cifar10",
        "dropped,bf16",
        kind="denoised",
    ),
    _smoothing("gaussian", ",m1"),
    _train(
        "gaussian_float32",
        "gaussian, ResNet-110 in float32",
        "smoothing/cifar10",
        "gaussian,0.25,m1",
    ),
    _train(
        "gaussian_device_statistics",
        "gaussian, ResNet-110 in bfloat16, statistics of each device",
        "smoothing/cifar10",
        "gaussian,0.25,m1,bf16",
        statistics="device",
        unit="bf16",
    ),
    _smoothing("stability"),
    _smoothing("smoothadv", ",m2"),
    _smoothing("macer"),
    _smoothing("consistency"),
    _smoothing("smoothmix"),
    _smoothing("catrs", first_votes=True),
    _smoothing("sun"),
    _train(
        "gaussian_resnet50",
        "gaussian, ResNet-50 in bfloat16, 224x224",
        "smoothing/imagenet",
        "gaussian,0.25,bf16",
        unit="bf16",
    ),
    _train(
        "denoised",
        "a classifier of denoised images, ResNet-110",
        "denoised/cifar10",
        "0.25",
        denoiser="dropped,bf16",
    ),
    *(
        _train(f"lot_{size}", f"LOT-{size.upper()}, Newton-Schulz", "lot/cifar10", size)
        for size in "sml"
    ),
    *(
        _train(
            f"lot_{size}_minimax",
            f"LOT-{size.upper()}, minimax",
            "lot/cifar10",
            f"{size},fast",
        )
        for size in "sml"
    ),
    _train(
        "lip_convnet_bro_l",
        "LipConvnet-40 with block reflectors",
        "bronet/lip_convnet",
        "cifar10,l",
    ),
    *(
        _train(
            f"liresnet_{size}{suffix}",
            f"LiResNet-{size.upper()}, {steps} power steps",
            "liresnet/cifar10",
            f"{size}{word}",
        )
        for size in "sl"
        for suffix, word, steps in (("", "", "ten"), ("_fast", ",fast", "two"))
    ),
    _train("liresnet_pp", "LiResNet++, ten power steps", "liresnet_pp/cifar10", "4m"),
    _train(
        "liresnet_pp_fast",
        "LiResNet++, two power steps",
        "liresnet_pp/cifar10",
        "4m,fast",
    ),
    _train("bronet", "BRONet", "bronet/cifar10", "4m"),
    _train(
        "lipnext",
        "LipNeXt of 32 blocks of width 1024 in bfloat16, a step that ends an epoch",
        "lipnext/cifar10",
        "l32w1024,bf16",
        unit="bf16",
        loops=_OF_NORM_ONE,
    ),
    *(
        _train(
            f"five_minutes_{name}",
            f"{what} of five minutes, an epoch of 195 steps as one program",
            f"{name}/cifar10",
            "five_minutes",
            epoch=True,
            unit="bf16" if name == "lipnext" else "tf32",
            loops=_OF_NORM_ONE if name == "lipnext" else {},
        )
        for name, what in _FIVE_MINUTES
    ),
    *(step for net in _DISTANCES for step in _distances(*net)),
    _train("ddpmpp", "EDM, DDPM++ in bfloat16", "edm/cifar10", "bf16", unit="bf16"),
    _train(
        "adm",
        "EDM, ADM in bfloat16, 64x64, 128 images a device (4,096 on 32)",
        "edm/imagenet64",
        "bf16",
        batch=128,
        unit="bf16",
    ),
    _edm("evaluate", "ddpmpp", "one evaluation of DDPM++", "edm/cifar10", batch=1024),
    _edm("evaluate", "adm", "one evaluation of ADM", "edm/imagenet64", batch=256),
    _edm(
        "sample",
        "ddpmpp",
        "images by DDPM++, 18 steps",
        "edm/cifar10",
        batch=1024,
        steps=18,
    ),
    _edm(
        "sample",
        "adm",
        "images by ADM, 256 steps with churn",
        "edm/imagenet64",
        batch=256,
        steps=256,
        churn=(40.0, 0.05, 50.0, 1.003),
    ),
    _votes("apndc", "full"),
    _votes("apndc", "race"),
    _votes("epndc", "race"),
    _votes("diffpure", "race"),
    _votes("apndc", "sift"),
    *(_float64("forward", *net) for net in (*_LIPSCHITZ, *_DISTANCES)),
    *(_float64("interval", *net) for net in _DISTANCES),
    *(_float64("prepare", *net) for net in _LIPSCHITZ),
    _small(
        "attack_liresnet_l",
        "Auto-PGD, 100 steps, LiResNet-L",
        which="attack",
        config="liresnet/cifar10",
        words="l",
    ),
    _small(
        "attack_sortnet",
        "PGD, 100 steps, SortNet",
        "f32",
        which="attack",
        config="sortnet/cifar10",
    ),
    _small("gather", "a batch out of 1,050,000 images", which="gather"),
    _small(
        "augment_crop",
        "crop and flip, 256 images",
        which="augment",
        config="smoothing/cifar10",
        words="gaussian,0.25",
    ),
    _small(
        "augment_randaugment",
        "RandAugment, 1,024 images",
        which="augment",
        config="liresnet_pp/cifar10",
        words="4m",
    ),
    _small(
        "augment_edm",
        "EDM's pipe, 512 images",
        "f32",
        which="augment",
        config="edm/cifar10",
    ),
    *(
        _small(
            f"mosaic_{which}_{p}",
            f"Mosaic kernels, {which} of a layer 5120 to 5120, p = {p}",
            "f32",
            which="mosaic",
            p=p,
            step=which == "step",
        )
        for which in ("forward", "step")
        for p in ("8", "general", "inf")
    ),
)

ALL: dict[str, Program] = {program.name: program for program in _LIST}

ON_EIGHT = (
    "certify_resnet110",
    "certify_resnet50",
    "train_gaussian",
    "train_gaussian_device_statistics",
    "train_stability",
    "train_smoothadv",
    "train_macer",
    "train_consistency",
    "train_smoothmix",
    "train_catrs",
    "train_sun",
    "train_gaussian_resnet50",
    "train_lot_l",
    "train_lot_l_minimax",
    "train_liresnet_l",
    "train_liresnet_pp",
    "train_bronet",
    "train_lipnext",
    "train_linf_dist_p8",
    "train_linf_dist_general",
    "train_linf_dist_inf",
    "train_sortnet_p8",
    "train_sortnet_general",
    "train_sortnet_inf",
    "train_ddpmpp",
    "train_adm",
    "sample_ddpmpp",
)
"""The programs that the table has on eight devices as well; the others differ from one
of these in a detail."""


def names() -> list[str]:
    """Return the names of the rows of the table."""
    return [*ALL, *(f"{name}@{DEVICES}" for name in ON_EIGHT)]


def find(name: str) -> tuple[Program, int]:
    """Return (program, devices) of `certify_resnet110` or `certify_resnet110@8`. Raises
    InputError for a program or a number of devices that does not exist."""
    stem, at, number = name.partition("@")
    if stem not in ALL:
        raise InputError(
            f"no program is called {stem!r}: python -m benchmarks.compiled --list shows all."
        )
    program = ALL[stem]
    if at and not number.isdecimal():
        raise InputError(
            f"{name!r}: after @ give a number of devices, such as {stem}@8."
        )
    devices = int(number) if at else 1
    target.check_devices(devices)
    if devices > 1 and not program.parallel:
        raise InputError(f"{stem} is compiled for one device: leave @{devices} away.")
    return program, devices
