"""Rows of a config file: the words after the colon of `FILE:WORD,WORD`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from jaxcert.errors import InputError


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
