"""Command lines: `--config FILE[:row]`, `--workdir`, and `--config.key=value` overrides."""

from __future__ import annotations

import argparse
import logging
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from ml_collections import ConfigDict

from jaxcert import config as configs
from jaxcert.errors import InputError


class _Help(
    argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter
):
    """Ends the help of an option with its default, where that is a value."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        if action.default is None or action.default is False or action.default == "":
            return action.help
        return super()._get_help_string(action)


EXAMPLES = {
    "--config": "configs/quickstart.py",
    "--workdir": "runs/quickstart",
    "--state": "model.npz",
}
"""The examples that an error gives where an option that a command needs is missing."""


class Parser(argparse.ArgumentParser):
    """A parser of one command, whose faults are InputErrors as all others are.

    doc: of the command's module, whose first line is the summary, and the rest what follows
    the options.
    """

    def __init__(self, doc: str, *, more: str = ""):
        summary, _, epilog = doc.partition("\n")
        super().__init__(
            prog=program(),
            description=summary,
            epilog=epilog + more,
            formatter_class=_Help,
            allow_abbrev=False,
        )

    def error(self, message: str) -> NoReturn:
        _, required, missing = message.partition("arguments are required: ")
        option = missing.partition(",")[0]
        if required and option in EXAMPLES:
            example = f"{option} {EXAMPLES[option]}"
            raise InputError(f"{option} is missing; for example {example}.")
        raise InputError(f"{message}; --help lists what there is.")


ANY_VALUE = "\nAny value of the config: --config.section.key=value"


def parse(
    argv: list[str] | None,
    doc: str,
    *,
    needs: str,
    record: str = "",
    add: Callable[[Parser], None] = lambda parser: None,
) -> argparse.Namespace:
    """Parse the arguments of a command that works on one config -> those of its options, with the
    resolved `config` and `workdir`.

    needs: 'config' (a config file; workdir defaults to runs/<system_name>) or 'workdir' (whose
    config.json is read). record: the record file of the workdir, for a command that writes one.
    add: gives the parser the command's own options; of these `config` is the config of another
    certificate, and `radii` those that it tries. Overrides are typed by the value they replace.
    Raises InputError.
    """
    parser = Parser(doc, more=ANY_VALUE)
    add(parser)
    _add_common(parser, needs, record)
    args, rest = parser.parse_known_args(argv)
    quiet()
    check_words(rest)
    if needs == "config":
        args.workdir = args.workdir or f"runs/{configs.system_name(args.config)}"
        path = args.config
        args.config = configs.resolve(path, rest, tiny=args.tiny)
    else:
        path = getattr(args, "config", None) or Path(args.workdir) / "config.json"
        args.config = _of_workdir(args, rest)
    if getattr(args, "radii", None) is not None:
        asked = any(word.startswith("--config.certify.procedure=") for word in rest)
        _try_radii(args.config.certify, args.radii, asked)
    configs.check(args.config, path)
    return args


def _add_common(parser: Parser, needs: str, record: str) -> None:
    if needs == "config":
        parser.add_argument(
            "--config",
            required=True,
            metavar="FILE[:ROW]",
            help="the config: one of the package, such as lot/cifar10, or a file of yours; a "
            "row of it after a colon",
        )
        parser.add_argument(
            "--workdir",
            metavar="DIR",
            help="where config, metrics and checkpoints are written (default: "
            "runs/<folder>_<file>_<row> of the config)",
        )
        parser.add_argument(
            "--tiny",
            action="store_true",
            help="run the same, shrunk to seconds by the config's section tiny",
        )
        return
    parser.add_argument(
        "--workdir", required=True, metavar="DIR", help="folder of a trained run"
    )
    if record:
        parser.add_argument(
            "--out",
            metavar="FILE",
            help=f"record file to write or continue (default: WORKDIR/{record})",
        )
        parser.add_argument(
            "--tiny",
            action="store_true",
            help="take few images and samples: those of the config's tiny.certify, or ten "
            "images",
        )


def _of_workdir(args: argparse.Namespace, words: list[str]) -> ConfigDict:
    """Return the config of a workdir, with the certificate of another one where asked."""
    config = configs.read(args.workdir)
    configs.check(config, Path(args.workdir) / "config.json")
    if not any(word.startswith("--config.data.dir=") for word in words):
        # to no place that only the workdir names, which may be of somebody else
        config.data.download = config.data.download and not config.data.dir
    if getattr(args, "config", None):
        other = configs.load(args.config)
        config.update(certify=other.certify, tiny=other.tiny)
    if getattr(args, "tiny", False):
        config = _tiny_certificate(config)
    return configs.override(config, words)


def program() -> str:
    """Return what the running command was called as: `jaxcert train`, `python -m jaxcert train` or
    `python -m jaxcert.train`."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    module = spec.name if spec else Path(sys.argv[0]).stem
    words = " ".join(sys.argv[1:2])
    if module == "jaxcert.__main__":
        return f"python -m jaxcert {words}"
    if module.startswith("jaxcert."):
        return f"python -m {module}"
    return f"jaxcert {words}" if module == "jaxcert" else Path(sys.argv[0]).name


def check_words(words: list[str]) -> None:
    """Raises InputError for words that no option takes and that are no --config.key=value."""
    wrong = [word for word in words if not word.startswith("--config.")]
    if wrong:
        raise InputError(f"unknown argument {wrong[0]!r}; --help lists what there is.")


def quiet() -> None:
    """Silence libraries that also log what they raise."""
    logging.getLogger("absl").setLevel(logging.CRITICAL)  # orbax
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)  # its writers


def _tiny_certificate(config: ConfigDict) -> ConfigDict:
    """Return the config with the `certify` of its `tiny` or, where it has none, for ten
    images and with few samples."""
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
    takes = configs.settings("certify", certify.name)
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
