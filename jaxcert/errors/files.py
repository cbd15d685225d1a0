"""Checks of the paths that a user gives, before anything is read or written."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from jaxcert.errors.input_error import InputError

_NEITHER_FILE_NOR_FOLDER = "(/dev/(std|fd/)|/proc/)"
"""Paths of open descriptors: what stands behind them is not ours to read back."""


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


UNFINISHED = ".part"
"""The end of the names of files that are not finished."""


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Give a path beside this one to write to. It takes the place of this one when all is
    written; until then, and where it cannot be, whatever was there stays. An OSError names
    this path."""
    path = Path(path)
    part = path.with_name(f".{path.name}.{os.getpid()}{UNFINISHED}")
    part.unlink(missing_ok=True)  # a link as well: it may lead anywhere
    try:
        yield part
        os.replace(part, path)
    except OSError as error:
        error.filename = str(path)
        raise
    finally:
        part.unlink(missing_ok=True)


def own_file(workdir: str | Path, name: str) -> Path:
    """Return the path of a file of a workdir that is about to be written.

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
    """Return the path with its `~` as the home folder. Raises InputError where there is
    none."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise InputError(
            f"{path} is in a home folder that is not known: give the whole path, or set "
            "$HOME."
        ) from None


def path_of(value: object, name: str) -> Path:
    """Return the path that an argument names. Raises InputError for what is no path."""
    if isinstance(value, str | os.PathLike):
        return Path(value)
    raise InputError(f"{name} must be a path, not {type(value).__name__}: {value!r}.")
