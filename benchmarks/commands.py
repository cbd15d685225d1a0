"""The command of a script of this folder, for the file of its results."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path


def command_of(script: str, given: argparse.Namespace) -> str:
    """Return the command that repeats a script with the arguments it was given. Paths are
    of one machine: a word in capitals stands for each."""
    words = ["python", "-m", f"benchmarks.{script}"]
    for name, value in vars(given).items():
        values = value if isinstance(value, list) else [value]
        if value is None or value is False or values == []:
            continue
        words += [f"--{name}"] * (name != "rows")  # which have no option
        if value is not True:
            words += [name.upper() if isinstance(x, Path) else f"{x}" for x in values]
    return shlex.join(words)
