"""The one exception of user input, and how a command ends on it."""

from __future__ import annotations

import errno
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_PLACES = (
    errno.EACCES,
    errno.EROFS,
    errno.EPERM,
    errno.ENOENT,
    errno.EEXIST,
    errno.EISDIR,
    errno.ENOTDIR,
    errno.ENAMETOOLONG,
)
"""Paths at which nothing can be read or written."""


class InputError(ValueError):
    """Something the user gave is wrong. The message is one sentence: the fault and its
    fix."""


def exit_cleanly(command: Callable[[], int | None]) -> int:
    """Run a command; a fault of the input becomes one sentence on stderr and a non-zero
    status.

    A bug of ours still ends in a traceback. Returns the exit status: 0, 2 (input), 1
    (the machine: disk full, no permission) or 130 (Ctrl-C).
    """
    warnings.formatwarning = _one_line
    sys.unraisablehook = _but_for_closed_loops
    try:
        return command() or 0
    except InputError as error:
        return _say(str(error), 2)
    except KeyboardInterrupt:
        return _say(
            "interrupted; what was finished is kept, the same command continues.", 130
        )
    except BrokenPipeError:  # `... | head`: nobody reads on, nothing is wrong
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            where = f" while writing {error.filename}" if error.filename else ""
            return _say(
                f"the disk is full or the quota reached{where}; what was complete is kept: "
                "free space and run the same command again.",
                1,
            )
        if error.filename is not None and error.errno in _PLACES:
            return _say(
                f"{error.filename}: {error.strerror}; choose a writable place.", 1
            )
        raise


@contextmanager
def interruptible(*, at_once: bool) -> Iterator[Callable[[], bool]]:
    """Whether Ctrl-C or SIGTERM came, for a loop that ends between two steps; a second one
    ends at once.

    at_once: the first raises KeyboardInterrupt where it comes, and where the loop asks:
    Python drops what is raised in a callback from C.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    came = []
    signals = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in signals}

    def note(number, frame):
        came.append(number)
        for each in signals:
            signal.signal(each, before[each])
        if at_once:
            raise KeyboardInterrupt

    def asked():
        if came and at_once:
            raise KeyboardInterrupt
        return bool(came)

    for number in signals:
        signal.signal(number, note)
    try:
        yield asked
    finally:
        for number in signals:
            signal.signal(number, before[number])


def _but_for_closed_loops(unraisable, otherwise=sys.unraisablehook) -> None:
    """Reads and writes that were under way when another one of the checkpoint failed."""
    if str(unraisable.exc_value) != "Event loop is closed":
        otherwise(unraisable)


def _one_line(message, *_: object, **__: object) -> str:
    return f"warning: {message}\n"


def _say(sentence: str, status: int) -> int:
    print(f"\njaxcert: {sentence}", file=sys.stderr, flush=True)
    return status
