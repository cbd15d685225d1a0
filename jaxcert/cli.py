"""Command lines: `--config FILE[:row]`, `--workdir`, and `--config.key=value` overrides."""

from __future__ import annotations

import argparse
import difflib
import inspect
import logging
import math
import sys
from copy import deepcopy
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from absl import flags
from ml_collections import ConfigDict, config_flags
from ml_collections.config_dict import placeholder

from jaxcert import config as configs
from jaxcert.errors import InputError


def parse(
    argv: list[str] | None,
    doc: str,
    *,
    needs: str,
    takes_out: bool = False,
    takes_state: bool = False,
    takes_radii: bool = False,
    takes_certificate: bool = False,
) -> argparse.Namespace:
    """Arguments of a command, with the resolved `config` and `workdir`.

    needs: 'config' (a config file; workdir defaults to runs/<system_name>) or 'workdir' (whose
    config.json is read). Overrides are typed by the value they replace. Raises InputError.
    """
    summary, _, epilog = doc.partition("\n")
    parser = argparse.ArgumentParser(
        description=summary,
        epilog=epilog + "\nAny value of the config: --config.section.key=value",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    if needs == "config":
        parser.add_argument("--config", help="config file, a row of it after a colon")
        parser.add_argument(
            "--workdir",
            help="where the run lives (runs/<folder>_<file>_<row> of the config)",
        )
        parser.add_argument(
            "--tiny", action="store_true", help="the same run, shrunk to seconds"
        )
        if not takes_state:
            parser.add_argument(
                "--distributed",
                metavar="HOST:PORT,N,I",
                help="this is process I of N; HOST:PORT is process 0 ('auto': ask the "
                "cluster)",
            )
            parser.add_argument(
                "--distributed-wait",
                metavar="SECONDS",
                type=int,
                default=300,
                help="at most, for the other processes (300)",
            )
    else:
        parser.add_argument("--workdir", help="folder of a trained run")
    if takes_certificate:
        parser.add_argument(
            "--config",
            metavar="FILE[:ROW]",
            help="certify as its `certify` says, not as the run's own",
        )
    if takes_state:
        parser.add_argument(
            "--state",
            metavar="FILE",
            help="npz or safetensors file of a state dict, FILE:PART of one of several",
        )
    if takes_out:
        parser.add_argument("--out", help="record file (WORKDIR/certificates.jsonl)")
        parser.add_argument(
            "--tiny",
            action="store_true",
            help="few images and samples: the config's tiny.certify, or ten images",
        )
    if takes_radii:
        parser.add_argument(
            "--radii",
            metavar="R,R,...",
            help="try these, fractions allowed: 0,0.25,36/255; of smoothing by "
            "certify.procedure=radii, of the interval certificate instead of certify.radii",
        )
    args, rest = parser.parse_known_args(argv)
    quiet()
    examples = {"config": "configs/quickstart.py", "workdir": "runs/quickstart"}
    for needed in (needs, "state") if takes_state else (needs,):
        if getattr(args, needed) is None:
            example = examples.get(needed, "model.npz")
            raise InputError(
                f"--{needed} is missing; for example --{needed} {example}."
            )
    wrong = [word for word in rest if not word.startswith("--config.")]
    if wrong:
        raise InputError(f"unknown argument {wrong[0]!r}; --help lists what there is.")
    if needs == "config":
        args.workdir = args.workdir or f"runs/{system_name(args.config)}"
        config = configs.load(args.config)
        config = configs.tiny(config) if args.tiny else config
        path = args.config
    else:
        config, path = configs.read(args.workdir), Path(args.workdir) / "config.json"
        configs.check(config, path)
        if not any(word.startswith("--config.data.dir=") for word in rest):
            # to no place that only the workdir names, which may be of somebody else
            config.data.download = config.data.download and not config.data.dir
        if takes_certificate and args.config:
            path, other = args.config, configs.load(args.config)
            config.update(certify=other.certify, tiny=other.tiny)
        if takes_out and args.tiny:
            config = _tiny_certificate(config)
    row = deepcopy(config)
    args.config = override(config, rest)
    if needs == "config":
        configs.without_reference(args.config, row)
    if takes_radii and args.radii is not None:
        asked = any(word.startswith("--config.certify.procedure=") for word in rest)
        _try_radii(args.config.certify, args.radii, asked)
    configs.check(args.config, path)
    return args


def system_name(argument: str) -> str:
    """`configs/lot/cifar10.py:s,200` -> `lot_cifar10_s_200`."""
    path, row = configs.split(argument)
    parts = [Path(path).absolute().parent.name, Path(path).stem, *row.split(",")]
    return "_".join(part for part in parts if part and part != "configs")


def quiet() -> None:
    """Libraries that log what they raise as well."""
    logging.getLogger("absl").setLevel(logging.CRITICAL)  # orbax
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)  # its writers


def _tiny_certificate(config: ConfigDict) -> ConfigDict:
    """The config with the `certify` of its `tiny`, or without one for ten images, with few
    samples where it draws some."""
    small = config.tiny.get("certify", ConfigDict()).to_dict()
    if not small:
        chosen = config.certify
        small = {"stop": chosen.start + 10 * chosen.step}
        small |= {key: n for key, n in _FEW.items() if key in chosen}
        if chosen.stop:
            small["stop"] = min(small["stop"], chosen.stop)
    with config.unlocked():
        config.certify.update(small)
    return config


_FEW = {"n": 50, "n0": 10}
"""Samples of a tiny certificate."""


def override(config: ConfigDict, words: list[str]) -> ConfigDict:
    """The config with `--config.optim.lr=0.01` and the like applied, another certificate
    first: it starts from its own defaults, with the keys that mean the same in both."""
    naming = "--config.certify.name="
    for word in sorted(words, key=lambda word: not word.startswith(naming)):
        if word.startswith(naming):
            _change_certificate(config, word.removeprefix(naming))
        key = word.removeprefix("--config.").partition("=")[0]
        section, last = _place(config, key)
        before, kind = section[last], section.get_type(last).__name__
        values, arguments = flags.FlagValues(), ["jaxcert", word]
        try:
            config_flags.DEFINE_config_dict(
                "config", config, flag_values=values, sys_argv=arguments
            )
            values(arguments)
            if kind == "tuple" and _numbers(before) and not _numbers(section[last]):
                raise ValueError
        except (flags.Error, TypeError, ValueError):
            example = str(before).replace(" ", "")
            such = "" if before is None else f", such as {example}"
            raise InputError(
                f"{word} does not fit: give a value of type {kind}{such}."
            ) from None
    return config


def _change_certificate(config: ConfigDict, name: str) -> None:
    """Take the keys of the former certificate out, but for those that the one of this name
    has too, with the same default, and say so on stderr."""
    certify = config.certify
    if name == certify.name:
        return
    takes = _settings("certify", name)
    had = _settings("certify", certify.name) if certify.name else takes
    own = [key for key in certify if key not in configs.base().certify]
    dropped = [k for k in own if k not in takes or takes[k] != had.get(k, takes[k])]
    for section in (certify, config.eval.certify):
        with section.unlocked():
            for key in {*dropped} & {*section}:
                del section[key]
    if dropped:
        print(
            f"certify.name={name} starts from its own defaults, without "
            f"{', '.join(dropped)} of {certify.name or 'the config'}",
            file=sys.stderr,
        )


def _settings(section: str, name: str) -> dict[str, Any]:
    """Keys that the model, method or certificate of a name takes -> the default of each, or
    its type where there is none; those of other networks are in `networks`. Raises InputError
    for an unknown name."""
    make = configs.maker(configs.PACKAGES[section], name)
    kinds, found, networks = get_type_hints(make), {}, {}
    for key, parameter in inspect.signature(make).parameters.items():
        kind = next(iter(get_args(kinds[key])), kinds[key])
        kind = tuple if get_origin(kinds[key]) is tuple else kind
        if kind in (bool, int, float, str, tuple):
            without = parameter.default in (None, inspect.Parameter.empty)
            found[key] = kind if without else parameter.default
        elif kind.__name__ == "Network" and key != "network":
            networks[key] = ""
    return found | ({"networks": networks} if networks else {})


def parse_radii(text: str) -> tuple[float, ...]:
    """'0,0.25,36/255' -> numbers. Raises InputError."""
    radii = []
    for part in text.split(","):
        try:
            above, _, below = part.partition("/")
            radius = float(above) / float(below or 1)
        except (ValueError, ZeroDivisionError):
            radius = math.nan
        if not 0 <= radius < math.inf:
            raise InputError(
                f"--radii has {part.strip()!r}: give numbers from 0 up, such as "
                "0,0.25,36/255."
            )
        radii.append(radius)
    return tuple(radii)


def _try_radii(certify: ConfigDict, text: str, asked: bool) -> None:
    takes = _settings("certify", certify.name)
    if "radii" not in takes:
        raise InputError(
            f"--radii is for certificates that try radii, and {certify.name} has all of them "
            "at once: certify without it, and give --radii to `python -m jaxcert.report`."
        )
    if "procedure" not in takes:  # it tries each radius as it is
        certify.radii = parse_radii(text)
        return
    if asked and certify.procedure != "radii":
        raise InputError(
            f"--radii takes the procedure radii, and certify.procedure={certify.procedure} "
            "was asked for: leave one of them out."
        )
    with certify.unlocked():
        certify.update(procedure="radii", radii=parse_radii(text))


def _place(config: ConfigDict, key: str) -> tuple[ConfigDict, str]:
    """Section and last word of a dotted key. One that a section lacks, but its model, method
    or certificate takes, starts at its default; one of eval.certify as config.certify has it.
    Raises InputError if there is no such key."""
    value, words = config, key.split(".")
    for depth, part in enumerate(words):
        section = value
        if not isinstance(section, ConfigDict):
            raise InputError(
                f"--config.{key}: there is no key {part!r}, what it would be in is the "
                f"value {section!r}; leave '.{part}' out."
            )
        if part not in section:
            known = _others(config, words[:depth])
            if part not in known:
                there = sorted({*section, *known})
                near = difflib.get_close_matches(part, there, 1)
                listed = ", ".join(there) or "none"
                hint = f"did you mean {near[0]!r}?" if near else f"there are {listed}."
                raise InputError(f"--config.{key}: there is no key {part!r}; {hint}")
            start = known[part]
            with section.unlocked():
                section[part] = placeholder(start) if type(start) is type else start
        value = section[part]
    if isinstance(value, ConfigDict):
        there = ", ".join(sorted(value)) or "none"
        raise InputError(f"--config.{key} is a section: name one of its keys, {there}.")
    return section, words[-1]


def _others(config: ConfigDict, where: list[str]) -> dict[str, Any]:
    """Keys that the section at a place may have besides those it has -> what they start as."""
    if where == ["eval", "certify"]:
        return _others(config, ["certify"]) | dict(config.certify)
    if where[-1:] == ["networks"]:
        return _others(config, where[:-1]).get("networks", {})
    if len(where) != 1 or where[0] not in configs.PACKAGES:
        return {}
    return _settings(where[0], config[where[0]].name)


def _numbers(values: tuple) -> bool:
    return all(isinstance(v, int | float) for v in values)
