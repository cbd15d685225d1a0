"""Configurations: names and numbers, and where they become functions.

A config file is Python with `get_config(arg="") -> ConfigDict`. `config.method.name =
"lot"` means `jaxcert.methods.lot.make(**the other keys)`: file name = config name =
import path, so a search finds everything and a wrong key names the keys there are.
"""

from __future__ import annotations

import importlib
import inspect
import json
import os
import re
import runpy
import traceback
from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any, get_type_hints

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from jaxcert.config_types import check_type, type_of
from jaxcert.errors import InputError, check_file

_NONE = inspect.Parameter.empty
_HARMLESS = (
    "certify.",
    "eval.",
    "log.",
    "checkpoint.",
    "reference.",
    "tiny.",
    "data.dir",
    "data.download",
    "data.placement",
)
"""Keys that may change between the sessions of one run."""
PACKAGES = {"model": "models", "method": "methods", "certify": "certificates"}
"""Sections whose `name` is a module -> its package."""
_HANDED_ON = ("model", "method", "optim", "certify")
"""Sections with keys of their own, which `build` and `call` check."""
_SMOOTHING = dict(noise="gaussian", norm="l2", rho=0.05, bound="union")
"""What certify had in older versions without saying so."""
_WITHOUT = dict(
    data=dict(holdout=0.0),
    checkpoint=dict(best=""),
    eval=dict(images=0, share=0.0, certify={}),
)
"""What sections had in older versions without saying so."""
CERTIFY_STREAM = 0xCE27
EVALUATE_STREAM = 0xE7A1
"""Folded into the key of certify.seed: apart from all that training draws from, and from each
other. A checkpoint that evaluations chose depends on their noise, not on the certificate's."""


def base() -> ConfigDict:
    """Sections and defaults that every config file starts from."""
    config = ConfigDict()
    config.seed = 0
    config.model = ConfigDict(dict(name="", image_shape=(8, 8, 1), num_classes=10))
    config.method = ConfigDict(dict(name=""))
    config.data = ConfigDict(
        dict(
            # digits | mnist | cifar10 | cifar100 | tfds:<name> | npz:, npy:, folder:<path>
            name="digits",
            dir="",  # folder of the archives; empty: $JAXCERT_DATA or ~/.cache/jaxcert
            download=True,  # fetch an archive that is not there
            pad=0,  # zero-pad images to this side (an isometry); 0: as they are
            holdout=0.0,  # training images kept out: a share below 1, or their number
            batch=256,
            epochs=1,
            epoch_images=0,  # images of any origin per epoch; 0: the real training set's
            generated="",  # npz of generated images, or a folder of their shards
            generated_share=0.7,  # of each batch: int(share * batch) generated images
            generated_count=0,  # sub-set drawn by seed; 0: all generated images
            order="continuous",  # continuous | wang: how the sources are walked
            placement="auto",  # auto | host | device
            augment=ConfigDict(
                dict(
                    crop=0,
                    crop_fill="zero",
                    flip=False,
                    cutout=0,
                    generated_crop=placeholder(int),  # None: as the real images
                    randaugment=0.0,  # probability for a real image
                    resized_crop=False,  # a random part enlarged to the whole image
                    pipe="",  # edm | shift: with labels, for diffusion models
                    pipe_probability=0.12,  # of each of its transformations
                )
            ),  # pixels
        )
    )
    config.optim = ConfigDict(
        dict(
            name="sgd",  # sgd | adam | adamw | nadam
            lr=0.1,
            momentum=0.9,
            b1=0.9,
            b2=0.999,
            eps=1e-8,
            weight_decay=0.0,
            decay_only=(),  # names of parameters; none: all decay
            factors=ConfigDict(),  # on the learning rate, by name of a parameter
            schedule="cosine",  # constant | cosine | multistep | warmup | warmup_cosine
            milestones=(0.5, 0.75),  # of all steps; each divides the rate by 10
            warmup_epochs=0,
            warmup_steps=0.0,  # of schedule warmup, before accumulation
            clip_norm=0.0,  # 0: off
            accumulate=1,  # micro-batches per optimizer step
            lookahead=False,
        )
    )
    config.init = ""  # workdir of a network of the same shape, which starts the run
    config.ema = 0.0  # decay of the averaged weights; 0: off
    config.ema_halflife = 0.0  # or their half-life in images, shorter at first; 0: off
    # of float32 products of layers: default of the device (TF32) | highest | tf32x3
    config.precision = "default"
    config.batch_statistics = "global"  # or "device": training.step.on_each_device
    config.log = ConfigDict(dict(every_steps=50))
    # every_epochs 0: only at the end. keep: the newest. best: keep the best as well, and
    # certify it: [holdout: | test:]certified_R, as an evaluation writes it
    config.checkpoint = ConfigDict(dict(every_epochs=1, keep=2, best=""))
    # every_epochs 0: off. images: at most, of each split (0: all that certify names). share:
    # of the time, at most (0, or with best: no limit). certify: overrides of config.certify
    config.eval = ConfigDict(
        dict(every_epochs=0, images=2000, share=0.05, certify=ConfigDict())
    )
    config.certify = ConfigDict(
        dict(
            name="",
            split="test",
            start=0,
            stop=0,  # 0: to the end
            step=1,
            batch=100,  # an interruption loses at most these
            seed=0,
            radii=(0.0, 0.25, 0.5, 0.75, 1.0),
            after_training=False,
        )
    )
    config.reference = ConfigDict(
        dict(paper="", table="", radius=0.0, clean=0.0, certified=0.0)
    )  # published numbers, in percent, for the report
    config.tiny = ConfigDict()  # overrides, nested, that shrink the run to seconds
    return config


def split(argument: str) -> tuple[str, str]:
    """(file, row) of FILE[:ROW]. A file's name may have colons itself, as a drive of Windows
    has: the longest part before one that is a file counts."""
    if Path(argument).is_file():
        return argument, ""
    ends = [at for at, letter in enumerate(argument) if letter == ":"]
    for at in reversed(ends):
        if Path(argument[:at]).is_file():
            return argument[:at], argument[at + 1 :]
    drive = re.match(r"[A-Za-z]:[\\/]", argument)
    at = argument.find(":", 2 if drive else 0)
    return (argument, "") if at < 0 else (argument[:at], argument[at + 1 :])


def load(argument: str) -> ConfigDict:
    """`configs/lot/cifar10.py:m,400` -> its config. Raises InputError for a missing or
    broken file."""
    path, row = split(argument)
    if os.path.lexists(path):
        check_file(path)
    if not Path(path).is_file():
        raise InputError(f"no config file {path}: `ls configs/*` lists them.")
    try:
        namespace = runpy.run_path(path)
        if "get_config" not in namespace:
            raise InputError(f"{path} has no get_config(arg=''): it is no config file.")
        config = namespace["get_config"](row)
    except (InputError, KeyboardInterrupt):
        raise
    except BaseException as error:  # a config file is code: even SystemExit
        frames = traceback.extract_tb(error.__traceback__)
        line = [getattr(error, "lineno", 1)]
        line += [frame.lineno for frame in frames if frame.filename == path]
        what = " ".join(str(error).split())
        raise InputError(
            f"{path}, line {line[-1]}: {type(error).__name__}: {what}; correct the file."
        ) from error
    if not isinstance(config, ConfigDict):
        raise InputError(
            f"get_config of {path} gives no ConfigDict: start from jaxcert.config.base()."
        )
    check(config, path)
    return config


def row(arg: str, groups: Mapping[str, Iterable[str]]) -> dict[str, str]:
    """Words of a row by their group: `m,400` -> {"size": "m", "epochs": "400"}.

    groups: name -> the words of which a row has at most one. Groups that the row does not
    name are left out. Raises InputError for a word that is unknown, empty, or the second of
    its group.
    """
    found: dict[str, str] = {}
    for word in arg.split(",") if arg else ():
        if not word:
            raise InputError(f"row {arg!r} has an empty word: leave that comma out.")
        name = next((name for name, words in groups.items() if word in words), None)
        if name is None:
            there = "; ".join(" | ".join(words) for words in groups.values())
            raise InputError(f"no row {word!r}: there are {there or 'none'}.")
        if name in found:
            raise InputError(
                f"row {arg!r} has both {found[name]!r} and {word!r}: give one of "
                f"{' | '.join(groups[name])}."
            )
        found[name] = word
    return found


def tiny(config: ConfigDict) -> ConfigDict:
    """The config with its `tiny` overrides applied: the same run, shrunk to seconds."""
    small = deepcopy(config)
    with small.unlocked():
        small.update(config.tiny.to_dict())
    return without_reference(small, config)


def without_reference(config: ConfigDict, row: ConfigDict) -> ConfigDict:
    """The config, in which the published numbers of the row that it was made of are left
    out if it trains something else."""
    same = config.reference.to_dict() == row.reference.to_dict()
    if same and any(k.split(" ")[0] not in _OF_A_RUN for k in differences(config, row)):
        with config.unlocked():
            config.reference = deepcopy(base().reference)
    return config


_OF_A_RUN = ("seed", "data.generated", "optim.accumulate")
"""Keys in which runs of one row differ."""


def save(config: ConfigDict, path: str | Path) -> None:
    """As JSON; on a full disk the file that was there stays."""
    part = Path(path).with_suffix(".part")
    part.write_text(json.dumps(config.to_dict(), indent=1, default=list) + "\n")
    part.replace(path)


def read(workdir: str | Path) -> ConfigDict:
    """config.json of a workdir; one of an older version gets the keys that came since, at
    the values it had without them. Raises InputError if there is none
    or it cannot be read."""
    path = Path(workdir) / "config.json"
    if not path.is_file():
        raise InputError(
            f"{workdir} is no workdir: it has no config.json; train into it first."
        )
    try:
        config = ConfigDict(
            _tuples(json.loads(path.read_text("utf-8"))), convert_dict=True
        )
        if isinstance(config.get("optim"), ConfigDict):
            config.optim = base().optim.to_dict() | config.optim.to_dict()
        for section, keys in _WITHOUT.items():
            if isinstance(config.get(section), ConfigDict):
                config[section] = keys | config[section].to_dict()
        if isinstance(config.get("data", {}).get("augment"), ConfigDict):
            known = base().data.augment.to_dict()
            config.data.augment = known | config.data.augment.to_dict()
        for key in ("ema_halflife", "init", "batch_statistics"):
            config[key] = config.get(key, base()[key])
        if config.get("certify", {}).get("name") == "smoothing":
            config.certify = _SMOOTHING | config.certify.to_dict()
        return config
    except (ValueError, TypeError, AttributeError, RecursionError, MemoryError):
        fault = f"{path} is damaged: it is no config"
        raise InputError(
            f"{fault}; restore it, or train again into another --workdir."
        ) from None


def differences(one: ConfigDict, other: ConfigDict) -> list[str]:
    """Dotted keys in which two configs train different runs."""
    flat = [dict(_flat(c.to_dict())) for c in (one, other)]
    keys = sorted(set(flat[0]) | set(flat[1]))
    return [
        f"{k} ({flat[0].get(k)} there, {flat[1].get(k)} here)"
        for k in keys
        if flat[0].get(k) != flat[1].get(k) and not k.startswith(_HARMLESS)
    ]


def build(
    package: str,
    section: ConfigDict,
    *,
    needs: Mapping[str, Any] | None = None,
    **context: Any,
) -> Any:
    """`build("methods", config.method, model=...)` -> jaxcert.methods.<name>.make(...).

    context: what `make` gets if it takes it; needs: what it must take. Raises InputError for
    an unknown name or key, listing those there are.
    """
    arguments = dict(section.to_dict())
    name = arguments.pop("name")
    make = maker(package, name)
    what, takes = f"{package[:-1]} {name}", inspect.signature(make).parameters
    for key in needs or {}:
        if key not in takes:
            raise InputError(
                f"{what} takes no network {key!r}: leave it out of networks."
            )
    option = next(key for key, value in PACKAGES.items() if value == package)
    given = {**context, **(needs or {})}
    return call(make, arguments, what=what, option=f"--config.{option}", **given)


def maker(package: str, name: str) -> Callable:
    """`make` of jaxcert.<package>.<name>. Raises InputError for an unknown name."""
    names = _modules(package)
    if name not in names:
        raise InputError(
            f"no {package[:-1]} is called {name!r}; there are {', '.join(names)}."
        )
    return importlib.import_module(f"jaxcert.{package}.{name}").make


def in_float32(section: ConfigDict) -> Any:
    """The model of config.model in float32 if it computes in bfloat16, else None."""
    if section.get("dtype") != "bfloat16":
        return None
    return build("models", ConfigDict(section.to_dict() | {"dtype": "float32"}))


def check(config: ConfigDict, path: str | Path) -> None:
    """Raises InputError unless keys and types of values are those of base(). Sections that
    `build` and `call` hand on may have other keys: they look at those."""
    known = base()
    known.model = known.method = dict(name="")  # all that every one of them has
    _compare(config, known, path)
    _compare(
        config.eval.certify,
        config.certify,
        path,
        "eval.certify.",
        partly=True,
        own=True,
    )
    _compare(config.tiny, config, path, "tiny.", partly=True)
    _check_seeds(config)


def _check_seeds(config: ConfigDict) -> None:
    seeds = {
        "seed": config.seed,
        "certify.seed": config.certify.seed,
        "eval.certify.seed": config.eval.certify.get("seed", 0),
    }
    for key, seed in seeds.items():
        if not 0 <= seed < 2**32:
            raise InputError(f"{key} is {seed}: give 0 or more, and less than 2**32.")


def _compare(
    section: ConfigDict,
    known: ConfigDict,
    path: str | Path,
    prefix: str = "",
    *,
    partly: bool = False,
    own: bool = False,
) -> None:
    """Raises InputError unless a section has the keys of `known`, with values of its types;
    partly: not all of them, own: others as well. An empty `known` says nothing."""
    unknown = set() if own else set(section) - set(known)
    missing = set() if partly else set(known) - set(section)
    for fault, odd in (("has the unknown", unknown), ("lacks the", missing)):
        if odd:
            raise InputError(
                f"{path} {fault} key {prefix}{sorted(odd)[0]}: there are "
                f"{', '.join(sorted(known))}."
            )
    for key in sorted(set(section) & set(known)):
        value, like, what = section[key], known[key], f"{path}: {prefix}{key}"
        if not isinstance(like, ConfigDict):
            check_type(value, type_of(known, key), what)
        elif not isinstance(value, ConfigDict):
            raise InputError(f"{what} is {value!r}: make it a section, with keys.")
        elif len(like):
            deeper = dict(partly=partly, own=key in _HANDED_ON)
            _compare(value, like, path, f"{prefix}{key}.", **deeper)


def call(
    function: Callable, section: Any, *, what: str, option: str = "", **context: Any
) -> Any:
    """`function` with the keys of a section, and those of `context` that it takes. option:
    the words of a command line before a key of the section.

    Raises InputError for an unknown or missing key, listing those there are, or a value
    that does not fit the parameter's annotation.
    """
    parameters = inspect.signature(function).parameters
    known = [k for k in parameters if k not in context]
    unknown = [key for key in section if key not in known]
    if unknown:
        there = ", ".join(known) or "none at all"
        raise InputError(f"{what} has no key {unknown[0]!r} but {there}: leave it out.")
    missing = [k for k in known if parameters[k].default is _NONE and k not in section]
    kinds = get_type_hints(function)
    for key in missing[:1]:
        if getattr(kinds.get(key), "__name__", "") == "Network":
            raise InputError(
                f"{what} needs a network {key!r}: give its workdir as "
                f"{option}.networks.{key}=DIR."
            )
        where = f", or as {option}.{key}=VALUE" if option else ""
        raise InputError(f"{what} needs the key {key!r}: give it in the config{where}.")
    for key, value in section.items():
        check_type(value, kinds.get(key, object), f"{what}: {key}")
    given = {k: v for k, v in context.items() if k in parameters}
    return function(**given, **section)


def _modules(package: str) -> list[str]:
    folder = Path(__file__).parent / package
    return sorted(
        f.stem
        for f in folder.glob("[!_]*.py")
        if re.search(r"^def make\(", f.read_text("utf-8"), re.MULTILINE)
    )


def _tuples(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_tuples(v) for v in value)
    if isinstance(value, dict):
        return {k: _tuples(v) for k, v in value.items()}
    return value


def _flat(section: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    pairs = []
    for key, value in section.items():
        if isinstance(value, dict):
            pairs += _flat(value, f"{prefix}{key}.")
        else:
            pairs.append((prefix + key, value))
    return pairs
