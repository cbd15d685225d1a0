"""The one exception of user input, and how a command ends on it."""

from __future__ import annotations

import errno
import os
import re
import signal
import stat
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from jaxcert import terminal

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

_NEITHER_FILE_NOR_FOLDER = "(/dev/(std|fd/)|/proc/)"
"""Paths of open descriptors: what stands behind them is not ours to read back."""


class InputError(ValueError):
    """Something the user gave is wrong. The message is one sentence: the fault and its
    fix."""


def check_file(path: str | Path, *, new: bool = False) -> None:
    """Raises InputError unless the path is a regular file, and not a folder, a pipe, a
    device or a link in a circle. new: it may also be missing, as what is about to be
    written is."""
    try:
        mode = os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        if new:
            return
        raise InputError(f"there is no file {path}: check the path.") from None
    except ValueError:  # a zero byte
        raise InputError(f"{str(path)!r} can be no path: give another.") from None
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise InputError(
            f"{path} is a link that leads in a circle: name another file."
        ) from None
    kind = "folder" if stat.S_ISDIR(mode) else "pipe or a device"
    if not stat.S_ISREG(mode) or re.match(_NEITHER_FILE_NOR_FOLDER, str(path)):
        raise InputError(f"{path} is a {kind}: name a regular file.")


def is_stream(path: str | Path) -> bool:
    """Returns whether text for this path goes to a device or an open descriptor, not to a file.
    Raises InputError for a folder, a link in a circle, or a pipe, where writing waits until
    somebody reads."""
    if re.match(_NEITHER_FILE_NOR_FOLDER, str(path)):
        return True
    with suppress(OSError, ValueError):
        if stat.S_ISCHR(os.stat(path).st_mode):
            return True
    check_file(path, new=True)
    return False


def own_file(workdir: str | Path, name: str) -> Path:
    """The path of a file of a workdir that is about to be written.

    Raises InputError for a link that leads out of the workdir: one from somebody else could
    have any file written so.
    """
    path = Path(workdir) / name
    if os.path.islink(path):
        there, folder = os.path.realpath(path), os.path.realpath(workdir)
        if os.path.commonpath((there, folder)) != folder:
            raise InputError(
                f"{path} is a link that leads out of its workdir, to {there}: remove the link."
            )
    return path


def home(path: str | Path) -> Path:
    """The path with its `~` as the home folder. Raises InputError where there is none."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise InputError(
            f"{path} is in a home folder that is not known: give the whole path, or set "
            "$HOME."
        ) from None


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
    """What to say of an exception, and the exit status; None for a bug."""
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
    return None


def _of_the_system(error: OSError) -> str | None:
    """The sentence of an error that the system has given; None for one of other origin."""
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
            signal.signal(each, terminal.after(before[each]))
        if at_once:
            terminal.note(before[signal.SIGINT])
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
            handler = before[number]
            signal.signal(number, terminal.after(handler) if came else handler)


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
