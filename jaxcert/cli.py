"""Command lines: `--config FILE[:row]`, `--workdir`, and `--config.key=value` overrides."""

from __future__ import annotations

import argparse
import difflib
import logging
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

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


Options = Mapping[str, tuple[Any, str]]
"""Name and metavar of each option -> (default, help): see `Parser.add`."""

EXAMPLES = {
    "--config": "configs/quickstart.py",
    "--workdir": "runs/quickstart",
    "--state": "model.npz",
}
"""The examples that an error gives where an option that a command needs is missing."""


class Parser(argparse.ArgumentParser):
    """A parser of one command, whose faults are InputErrors as all others are.

    doc: of the command's module, whose first line is the summary, and the rest what follows
    the options. options: as of `add`.
    """

    def __init__(self, doc: str, options: Options | None = None, *, more: str = ""):
        summary, _, epilog = doc.partition("\n")
        super().__init__(
            prog=program(),
            description=summary,
            epilog=epilog + more,
            formatter_class=_Help,
            allow_abbrev=False,
        )
        self.add(options or {})

    def add(self, options: Options) -> None:
        """Add options: the name and its metavar, `--count N`, -> (default, help). A type in
        the default's place makes an option required; the default False makes a flag, one of
        several values an option that takes them with commas between."""
        for words, (default, what) in options.items():
            name, _, metavar = words.partition(" ")
            more: dict[str, Any] = {"metavar": metavar, "default": default}
            if default is False:
                more = {"action": "store_true"}
            elif isinstance(default, type):
                more = {"metavar": metavar, "required": True, "type": default}
            elif isinstance(default, tuple):
                more["type"] = _list_of(type(default[0]) if default else str)
                more["default"] = ",".join(map(str, default))
            elif default is not None:
                more["type"] = type(default)
            self.add_argument(name, help=what, **more)

    def parse_known_args(self, args=None, namespace=None) -> Any:
        """As argparse's, with InputErrors; an option that there is not is named before one that
        is missing, as it may be that one misspelt."""
        words = sys.argv[1:] if args is None else [*args]
        for word in words[: words.index("--")] if "--" in words else words:
            name = word.partition("=")[0]
            known = name in self._option_string_actions or name.startswith("--config.")
            if name.startswith("--") and not known:
                there = [option.strip("-") for option in self._option_string_actions]
                raise _unknown(word, difflib.get_close_matches(name[2:], there, 1))
        return super().parse_known_args(words, namespace)

    def error(self, message: str) -> NoReturn:
        _, required, missing = message.partition("arguments are required: ")
        option = missing.partition(",")[0]
        if required and option in EXAMPLES:
            example = f"{option} {EXAMPLES[option]}"
            raise InputError(f"{option} is missing; for example {example}.")
        raise InputError(f"{message}; --help lists what there is.")


def _list_of(kind: type) -> Callable[[str], list[Any]]:
    def parse(text):
        values = [kind(part) for part in text.split(",")] if text else []
        return list(dict.fromkeys(values))

    parse.__name__ = f"list of {kind.__name__}"  # in argparse's errors
    return parse


ANY_VALUE = "\nAny value of the config: --config.section.key=value"

_OF_CONFIG: Options = {
    "--config FILE[:ROW]": (
        str,
        "the config: one of the package, such as lot/cifar10, or a file of yours; a row of it "
        "after a colon",
    ),
    "--workdir DIR": (
        None,
        "where config, metrics and checkpoints are written (default: "
        "runs/<folder>_<file>_<row> of the config)",
    ),
    "--tiny": (False, "run the same, shrunk to seconds by the config's section tiny"),
}
_OF_WORKDIR: Options = {"--workdir DIR": (str, "folder of a trained run")}


def _of_record(name: str) -> Options:
    return {
        "--out FILE": (
            None,
            f"record file to write or continue (default: WORKDIR/{name})",
        ),
        "--tiny": (
            False,
            "take few images and samples: those of the config's tiny.certify, or ten images",
        ),
    }


def parse(
    argv: list[str] | None,
    doc: str,
    options: Options | None = None,
    *,
    needs: str,
    record: str = "",
) -> argparse.Namespace:
    """Parse the arguments of a command that works on one config -> those of its options, with the
    resolved `config` and `workdir`.

    options: the command's own; of these `config` is the config of another certificate, and
    `radii` those that it tries. needs: 'config' (a config file; workdir defaults to
    runs/<system_name>) or 'workdir' (whose config.json is read). record: the record file of the
    workdir, for a command that writes one. Overrides are typed by the value they replace.
    Raises InputError.
    """
    parser = Parser(doc, options, more=ANY_VALUE)
    parser.add(_OF_CONFIG if needs == "config" else _OF_WORKDIR)
    parser.add(_of_record(record) if record else {})
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


def _of_workdir(args: argparse.Namespace, words: list[str]) -> ConfigDict:
    """Return the config of a workdir, with the certificate of another one where asked."""
    config = configs.read(args.workdir)
    configs.check(config, Path(args.workdir) / "config.json")
    if not any(word.startswith("--config.data.dir=") for word in words):
        # to no place that only the workdir names, which may be of somebody else
        config.data.download = config.data.download and not config.data.dir
    if getattr(args, "config", None):
        config = configs.with_certificate(config, configs.load(args.config))
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
        raise _unknown(wrong[0])


def _unknown(word: str, near: Sequence[str] = ()) -> InputError:
    hint = f"did you mean --{near[0]}?" if near else "--help lists what there is."
    return InputError(f"unknown argument {word!r}; {hint}")


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
