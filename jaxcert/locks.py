"""A folder that one process writes at a time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from jaxcert.errors import InputError

try:
    import fcntl
except ImportError:  # Windows: folders are not locked there
    fcntl = None

LOCK = ".lock"


@contextmanager
def only_writer(
    folder: str | Path, *, option: str, wait: bool = False
) -> Iterator[None]:
    """Hold the lock of a folder, which is made if it is not there, while the body runs.

    The system releases it when the process ends, however it ends. If the body fails and has
    written nothing, a folder that was made here is removed again. option: the argument that
    names the folder. wait: wait for another process that holds the lock. Raises InputError if
    one holds it that is not waited for, OSError if the folder cannot be written.
    """
    folder = Path(folder)
    made = _make(folder)
    path = folder / LOCK
    file = _lock(path, option, wait)
    try:
        yield
    except BaseException:
        if made and os.listdir(folder) == [LOCK]:
            path.unlink()
            for each in made:
                with suppress(OSError):  # another process wrote into it meanwhile
                    each.rmdir()
        raise
    finally:
        os.close(file)


def _make(folder: Path) -> list[Path]:
    """Make a folder and those above it; return the new ones, the deepest first."""
    missing = [p for p in (folder, *folder.parents) if not p.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    return missing


def _lock(path: Path, option: str, wait: bool) -> int:
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            if fcntl is not None:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB * (not wait))
        except BlockingIOError:
            os.close(file)
            raise InputError(
                f"another process is writing into {path.parent}: wait for it to end, or name "
                f"another folder with {option}."
            ) from None
        except OSError:  # a file system that has no locks
            return file
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file), os.stat(path)):
                return file
        os.close(file)  # its holder removed the file between our opening and locking it
        path.parent.mkdir(parents=True, exist_ok=True)
