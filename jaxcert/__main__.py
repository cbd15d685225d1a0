"""`jaxcert COMMAND ...` and `python -m jaxcert COMMAND ...`, the same as
`python -m jaxcert.COMMAND ...`."""

from __future__ import annotations

import ast
import difflib
import importlib
import sys
from pathlib import Path

import jaxcert
from jaxcert.errors import InputError, exit_cleanly

COMMANDS = {
    "train": "train",
    "certify": "certify",
    "report": "report",
    "audit": "audit",
    "serve": "serve",
    "recertify": "recertify",
    "audit_network": "audit_network",
    "bound": "bound",
    "merge": "merge",
    "configs": "show_configs",
    "attack": "attack",
    "generate": "generate",
    "import_torch": "import_torch",
    "export": "export",
    "publish": "publish",
    "zoo": "zoo",
    "convert": "convert",
    "study": "study",
    "paper": "paper",
    "quality": "quality",
    "gradient_norms": "gradient_norms",
    "doctor": "doctor",
}
"""Command -> the module of jaxcert whose `main` it calls."""


def main(argv: list[str] | None = None) -> int:
    """Run the command that the first argument names with the arguments after it. Returns the
    exit status."""
    words = sys.argv[1:] if argv is None else argv
    return exit_cleanly(lambda: _run(words))


def _run(words: list[str]) -> int:
    word = words[0] if words else "--help"
    if word in ("-h", "--help"):
        print(_help())
        return 0 if words else 2
    if word == "--version":
        print(jaxcert.__version__)
        return 0
    command = word.replace("-", "_")
    if command not in COMMANDS:
        near = difflib.get_close_matches(command, COMMANDS, 2)
        meant = f"did you mean {' or '.join(near)}? " if near else ""
        raise InputError(
            f"there is no command {word!r}: {meant}`jaxcert --help` lists them."
        )
    return importlib.import_module(f"jaxcert.{COMMANDS[command]}").main(words[1:])


def _help() -> str:
    """The commands and what each does: the first line of its module, which is not imported."""
    width = max(map(len, COMMANDS)) + 2
    lines = [f"  {name:{width}}{_summary(file)}" for name, file in COMMANDS.items()]
    return "\n".join(
        (
            "usage: jaxcert COMMAND [OPTIONS]",
            "",
            (jaxcert.__doc__ or "").partition("\n")[0],
            "",
            "commands (jaxcert COMMAND --help has the options of each):",
            *lines,
            "",
            "jaxcert --version prints the version. `python -m jaxcert COMMAND` is the same as",
            "`jaxcert COMMAND`, and so is `python -m jaxcert.COMMAND`, but for configs, whose",
            "module is show_configs.",
        )
    )


def _summary(module: str) -> str:
    source = Path(__file__).with_name(f"{module}.py").read_text("utf-8")
    return (ast.get_docstring(ast.parse(source)) or "").partition("\n")[0]


if __name__ == "__main__":
    sys.exit(main())
