"""How a command ends: with a status, and on a fault with one sentence on stderr."""

from __future__ import annotations

import errno
import os
import re
import sys
import warnings
from collections.abc import Callable
from contextlib import suppress

from jaxcert.errors import terminal
from jaxcert.errors.input_error import InputError

_ADVICE = {
    errno.EACCES: "change its permissions or name another place",
    errno.EPERM: "change its permissions or name another place",
    errno.EROFS: "name a place that can be written",
    errno.ENOENT: "check the path",
    errno.ENOTDIR: "check the path",
    errno.ELOOP: "a link there leads in a circle, name another path",
    errno.EEXIST: "name a place that is free",
    errno.EISDIR: "name a file",
    errno.ENAMETOOLONG: "give a shorter name",
    errno.EMFILE: "raise the limit of open files (`ulimit -n`)",
    errno.EIO: "check the disk",
}
"""Advice by error number of the system, the same for reading and for writing."""
_LOST = r"(?i)\bgloo\b|\bnccl\b|CoordinationService|coordination service"
"""It is found in the errors that jax raises where another process of a run does not answer."""


def exit_cleanly(command: Callable[[], int | None]) -> int:
    """Run a command; a fault of the input becomes one sentence on stderr and a non-zero
    status.

    A bug of ours still ends in a traceback. Returns the exit status: 0, 2 (input), 1
    (the machine: disk full, no permission, no memory) or 130 (Ctrl-C).
    """
    warnings.formatwarning = _one_line
    sys.unraisablehook = _but_for_closed_loops
    terminal.prepare_streams()
    try:
        with terminal.interrupts_raised():
            return _status(command)
    except KeyboardInterrupt:
        return _say(terminal.INTERRUPTED, terminal.STATUS)


def _status(command: Callable[[], int | None]) -> int:
    try:
        try:
            return command() or 0
        finally:  # also of `--help`, which is a SystemExit
            sys.stdout.flush()
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:
        if terminal.interrupted():  # an import of C code makes an ImportError of it
            raise KeyboardInterrupt from None
        found = _sentence(error)
        if found is None:
            raise
        return _say(*found)


def _sentence(error: BaseException) -> tuple[str, int] | None:
    """Return what to say of an exception, and the exit status; None for a bug."""
    if isinstance(error, InputError):
        return str(error), 2
    if isinstance(error, BrokenPipeError):
        return "", 1  # `... | head`: nobody reads on, nothing is wrong
    if isinstance(error, OSError):
        sentence = _of_the_system(error)
        return None if sentence is None else (sentence, 1)
    if isinstance(error, RecursionError):
        return (
            "the input is nested too deeply to be read: check the files and the config that "
            "were given.",
            2,
        )
    if isinstance(error, OverflowError):
        return f"a number is too large ({error}): check the numbers that were given.", 2
    exhausted = str(error).startswith("RESOURCE_EXHAUSTED")  # jax has its own class
    if isinstance(error, MemoryError) or isinstance(error, RuntimeError) and exhausted:
        return _of_memory(error), 1
    if isinstance(error, RuntimeError) and re.search(_LOST, str(error)):
        why = str(error).splitlines()[0]
        return (
            "the processes of this run lost each other: end those that are left and give the same "
            f"commands again, which continue from the newest checkpoint ({why[-200:]}).",
            1,
        )
    return None


def _of_the_system(error: OSError) -> str | None:
    """Return the sentence of an error that the system has given; None for one of other
    origin."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        where = f" while writing {_name(error)}" if error.filename else ""
        return (
            f"the disk is full or the quota reached{where}; what was complete is kept: "
            "free space and run the same command again."
        )
    if error.errno == errno.ENOMEM:
        return _of_memory(error)
    if error.errno in _ADVICE or error.filename is not None and error.errno:
        place = f"{_name(error)}: " if error.filename is not None else ""
        advice = _ADVICE.get(error.errno, "name another place")
        return f"{place}{error.strerror}; {advice}."
    return None


def _name(error: OSError) -> str:
    name = error.filename
    return os.fsdecode(name) if isinstance(name, bytes | os.PathLike) else str(name)


def _of_memory(error: Exception) -> str:
    asked = re.search(r"(?i)allocat\w* ([\d,.]+ ?[A-Za-z]+)", str(error))
    amount = f" to allocate {asked[1]}" if asked else ""
    return (
        f"there is not enough memory{amount}: give smaller batches, images or networks; what "
        "was finished is kept."
    )


def _but_for_closed_loops(unraisable, otherwise=sys.unraisablehook) -> None:
    """Reads and writes that were under way when another one of the checkpoint failed. Ctrl-C
    in a callback, from where Python does not raise it, ends the command."""
    if unraisable.exc_type is KeyboardInterrupt and terminal.interrupted():
        terminal.end_at_once()
    if str(unraisable.exc_value) != "Event loop is closed":
        otherwise(unraisable)


def _one_line(message, *_: object, **__: object) -> str:
    return f"warning: {message}\n"


def _say(sentence: str, status: int) -> int:
    sentence = "".join(c if c.isprintable() else repr(c)[1:-1] for c in sentence)
    terminal.drop_unwritable()
    if sentence:
        with suppress(OSError):
            print(f"\njaxcert: {sentence}", file=sys.stderr, flush=True)
    return status
