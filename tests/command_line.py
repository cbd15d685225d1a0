"""Commands in this process: how they end and what they say."""

from __future__ import annotations

import re
from pathlib import Path

from jaxcert.errors import exit_cleanly

ROOT = Path(__file__).parents[1]
CONFIG = str(ROOT / "configs/smoothing/digits.py")


def end(capsys, command, *arguments):
    """(exit status, the one sentence that the command ends with, if any)."""
    capsys.readouterr()
    status = exit_cleanly(lambda: command.main([str(a) for a in arguments]))
    return status, sentence(capsys.readouterr().err)


def sentence(said):
    """What a command says for itself; progress and warnings may stand before it."""
    assert "Traceback" not in said
    lines = [line for line in said.splitlines() if line]
    own = [line for line in lines if line.startswith("jaxcert: ")]
    before = ("train:", "plan:", "certify:", "certify.name=", "measure:", "warning:")
    before += ("serve:", "method.name=", "model.name=")
    others = [line for line in lines if not line.startswith(before)]
    assert others == own and len(own) <= 1, said
    assert not own or own[0].endswith((".", "?"))
    return own[0] if own else ""


def assert_words(pattern, said):
    assert re.search(pattern, said), said
