"""Commands that a file of results says."""

import argparse
from pathlib import Path

from benchmarks.commands import command_of


def test_a_command_has_what_was_given_with_words_for_paths():
    given = argparse.Namespace(
        rows=["a.py", "b.py optim.lr=1"],
        seeds=3,
        tiny=True,
        epochs=0,
        against=[Path("x")],
        out=Path("y"),
        dir=None,
        fast=False,
    )
    assert command_of("over_seeds", given) == (
        "python -m benchmarks.over_seeds a.py 'b.py optim.lr=1' --seeds 3 --tiny --epochs 0 "
        "--against AGAINST --out OUT"
    )
