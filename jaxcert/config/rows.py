"""Rows of a config file: the words after the colon of `FILE:WORD,WORD`."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from itertools import product
from types import SimpleNamespace

from jaxcert.errors import InputError


def words(arg: str, **groups: Mapping[str, object] | Iterable[str]) -> SimpleNamespace:
    """Return the words of a row by their group, such as
    `words("m,400", size=("s", "m", "l"), epochs=("200", "400"), fast=("fast",))` with
    `size="m"`, `epochs="400"` and `fast=False`.

    groups: the words of which a row has at most one. Of a group that lists several, the word
    is returned, or "" if the row has none of them; of a group with a single one, whether the
    row has it; of a mapping, the value of its word, or None. Raises InputError for a word
    that is unknown, empty, or the second of its group, and for one of the group `budget`,
    which fixes everything, beside another.
    """
    chosen: dict[str, str] = {}
    for word in arg.split(",") if arg else ():
        if not word:
            raise InputError(f"row {arg!r} has an empty word: leave that comma out.")
        name = next((name for name, group in groups.items() if word in group), None)
        if name is None:
            if not groups:
                raise InputError(f"this config has no rows: leave {word!r} out.")
            known = [known for group in groups.values() for known in group]
            near = difflib.get_close_matches(word, known, 1)
            meant = f"did you mean {near[0]!r}? There are" if near else "there are"
            raise InputError(f"no row {word!r}: {meant} {listed(groups)}.")
        if chosen.get(name) == word:
            raise InputError(f"row {arg!r} has {word!r} twice: leave one of them out.")
        if name in chosen:
            raise InputError(
                f"row {arg!r} has both {chosen[name]!r} and {word!r}: give one of "
                f"{' | '.join(groups[name])}."
            )
        chosen[name] = word
    if "budget" in chosen and len(chosen) > 1:
        alone = chosen["budget"]
        raise InputError(
            f"row {arg!r} has words beside {alone!r}, which fixes size, epochs and all else: "
            f"give {alone!r} alone, and change single values by --config.KEY=VALUE."
        )
    return SimpleNamespace(
        **{name: _value(group, chosen.get(name, "")) for name, group in groups.items()}
    )


def _value(group: Mapping[str, object] | Iterable[str], word: str) -> object:
    if isinstance(group, Mapping):
        return group.get(word)
    return bool(word) if len(tuple(group)) == 1 else word


def listed(groups: Mapping[str, Iterable[str]]) -> str:
    """Return the words of all groups as text, such as `s | m | l; 200 | 400; fast`."""
    return "; ".join(" | ".join(group) for group in groups.values())


def rows(groups: Mapping[str, Iterable[str]]) -> tuple[str, ...]:
    """Return every row that has one word of each group, of which one of a single word may be
    left out, and the words of the group `budget`, each by itself."""
    alone = tuple(groups.get("budget", ()))
    choices = [
        tuple(group) if len(tuple(group)) > 1 else ("", *group)
        for name, group in groups.items()
        if name != "budget"
    ]
    return (*(",".join(filter(None, row)) for row in product(*choices)), *alone)
