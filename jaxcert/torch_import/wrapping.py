"""Finds a network in a state dict, or in what contains one.

Tools wrap what they save: a prefix on all names (`module.`, `_orig_mod.`, `model.`,
`net.`, `1.`, any of them in any order), wrappers of single layers
(`layer1.module.0.conv1`), a dict around it ({"net": ..., "epoch": 3}, a checkpoint of
Lightning), a file whose keys are those of such dicts joined by dots or slashes. Every
network has an anchor, a tensor that it alone has, and what precedes that tensor's own
name is the prefix.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from jaxcert.errors import InputError

Arrays = dict[str, np.ndarray]

_WRAPPERS = (
    "module",
    "_orig_mod",
    "_fsdp_wrapped_module",
    "_fpw_module",
    "_checkpoint_wrapped_module",
)
"""Words that DataParallel, torch.compile, FSDP and activation checkpointing insert into
names wherever they wrap a module; no network here has a module of such a name."""

_SECTION = re.compile(
    r"(\w+_)?(optim(izer)?|sched(uler)?|scaler|hparams|hyper_parameters|callback|rng)s?(_\w+)?"
    r"|amp|loops|args|config"
)
"""Keys under which training keeps something other than a network."""

_NUMBER = re.compile(r"\w*(epoch|iter|step|acc|loss|prec|err|lr)\w*")
"""Last words of the names of single numbers that training keeps; whole numbers are
recognised anyway."""


class _Leaf(NamedTuple):
    name: str
    tensor: Any
    container: str
    """the part of the name that stands for the dicts around it"""


def network_in(state: Mapping[str, Any], *anchors: str, network: str) -> Arrays:
    """Return the tensors of the only network in a state dict, by the names that the
    network itself gives them.

    state: tensors of PyTorch on the CPU or arrays by name, also in nested dicts, lists
    and modules
    anchors: names one of which the network has; the first that is there counts

    What training keeps beside a network is ignored. Raises InputError if there is no
    anchor or there are several networks, for tensors beside the network that may
    compute something, and for what numpy cannot read.
    """
    leaves, found = list(_leaves(state)), {}
    for anchor in anchors:
        for leaf in leaves:
            prefix = _prefix(leaf.name, anchor)
            if prefix is not None:
                found[prefix] = leaf.container
        if found:
            break
    if not found:
        raise InputError(
            f"the state dict lacks {anchors[0]}: export all tensors of {network}."
        )
    if len(found) > 1:
        raise _several(sorted(found))
    ((prefix, container),) = found.items()
    if not prefix.startswith(container):  # a dict inside the network
        container = ""
    before, inside = _unwrapped(prefix), {}
    for leaf in leaves:
        name = _unwrapped(leaf.name)
        if name.startswith(before):
            twin = inside.setdefault(name.removeprefix(before), leaf)
            if twin is not leaf:
                raise InputError(
                    f"the state dict has both {twin.name} and {leaf.name}: leave one out."
                )
        elif leaf.name.startswith(container) and _computes(leaf.tensor):
            raise InputError(
                f"the state dict has {leaf.name} beside the network under {prefix[:-1]}: give "
                "a normalisation as model.mean and model.std; if the network needs nothing "
                f"else, take it alone by part={prefix[:-1]!r}, or FILE:{prefix[:-1]} on the "
                "command line."
            )
    return {name: _array(name, leaf.tensor) for name, leaf in inside.items()}


def part_of(state: Mapping[str, Any], part: str) -> dict[str, Any]:
    """Return the tensors whose names begin with `part` and a dot, by the rest of their
    names. Raises InputError if there are none."""
    wanted, leaves = part.replace("/", ".").strip(".") + ".", list(_leaves(state))
    found = {
        leaf.name.removeprefix(wanted): leaf.tensor
        for leaf in leaves
        if leaf.name.startswith(wanted)
    }
    if not found:
        there = dict.fromkeys(leaf.name.partition(".")[0] for leaf in leaves)
        raise InputError(
            f"the state dict has no part {part!r}: its names begin with "
            f"{', '.join(there) or 'nothing'}."
        )
    return found


def _leaves(state: Mapping, before: str = "") -> Iterator[_Leaf]:
    """Yield the tensors in nested dicts, lists and modules, except for those of
    training."""
    for key, value in state.items():
        word = str(key).replace("/", ".").strip(".")
        if any(_SECTION.fullmatch(part) for part in word.split(".")):
            continue
        if hasattr(value, "state_dict"):  # a module itself
            value = value.state_dict()
        if isinstance(value, list | tuple):
            value = dict(enumerate(value))
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{before}{word}.")
        elif hasattr(value, "shape") and hasattr(value, "dtype"):
            kept = _floats(value) and not _NUMBER.fullmatch(word.rpartition(".")[2])
            if len(value.shape) or kept:
                yield _Leaf(before + word, value, before)


def _prefix(name: str, anchor: str) -> str | None:
    """Return what precedes the anchor in a name, with the last dot; None if the name
    does not end with the anchor. Wrappers may interrupt the anchor."""
    words, wanted = name.split("."), anchor.split(".")
    while wanted and words:
        word = words.pop()
        if word == wanted[-1]:
            wanted.pop()
        elif word not in _WRAPPERS:
            return None
    return None if wanted else "".join(f"{word}." for word in words)


def _unwrapped(name: str) -> str:
    return ".".join(word for word in name.split(".") if word not in _WRAPPERS)


def _several(prefixes: list[str]) -> InputError:
    names = [prefix[:-1] for prefix in prefixes]
    places = " and ".join(f"under {name}" if name else "at its top" for name in names)
    return InputError(
        f"the state dict has {len(names)} networks, {places}: choose one by its part, such as "
        f"part={names[-1]!r}, or FILE:{names[-1]} on the command line."
    )


def _computes(tensor: Any) -> bool:
    """Return whether a tensor has axes, none of them empty, and floating-point numbers."""
    return bool(len(tensor.shape)) and 0 not in tuple(tensor.shape) and _floats(tensor)


def _floats(tensor: Any) -> bool:
    of_torch = getattr(tensor.dtype, "is_floating_point", None)
    return np.dtype(tensor.dtype).kind in "fcV" if of_torch is None else of_torch


def _array(name: str, tensor: Any) -> np.ndarray:
    try:
        return np.asarray(tensor)
    except (TypeError, RuntimeError):
        raise InputError(
            f"{name} is no array that numpy reads: give the state_dict() of the model in "
            "float32 and on the CPU."
        ) from None
