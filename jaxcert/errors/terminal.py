"""Ctrl-C and the streams of a command, from the first line of `python -m jaxcert.X` on.

Ctrl-C while modules are imported ends the process: nothing has begun. Later on the first one
raises KeyboardInterrupt; a second one ends the process at once, and so does one after the
command's end. What was finished is on disk by then, as after `kill -9`. A program that imports
the library keeps its own ways.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

INTERRUPTED = "interrupted; what was finished is kept, the same command continues."
STATUS = 128 + signal.SIGINT

_came = False
"""Whether a first Ctrl-C has raised KeyboardInterrupt."""
_ending = threading.Lock()
"""Held by the thread that ends the process, for ever."""


def begin() -> None:
    """Called once, as the package is imported by `python -m`; nothing is done about Ctrl-C
    where it is ignored, as with nohup."""
    _fill_closed_descriptors()
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        signal.signal(signal.SIGINT, end_at_once)
        _watch()


def end_at_once(*_: object) -> None:
    """End the process with one sentence: of the handler and the thread of `_watch`, which may
    both come here for one Ctrl-C, the first says it."""
    if _ending.acquire(timeout=1):
        with suppress(OSError):
            os.write(2, f"\njaxcert: {INTERRUPTED}\n".encode())
    os._exit(STATUS)


def note(handler: object) -> None:
    """Called as KeyboardInterrupt is about to be raised, maybe in place of `handler`."""
    global _came
    _came = _came or handler is raise_once


def raise_once(number: int, frame: FrameType | None) -> None:
    while frame is not None:
        # modules in C do not bear an exception while they are imported
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            end_at_once()
        frame = frame.f_back
    note(raise_once)
    signal.signal(signal.SIGINT, end_at_once)
    raise KeyboardInterrupt


@contextmanager
def interrupts_raised() -> Iterator[None]:
    """While the body runs, the first Ctrl-C of a command raises KeyboardInterrupt."""
    ours = signal.getsignal(signal.SIGINT) is end_at_once and not _came
    try:
        if ours:
            signal.signal(signal.SIGINT, raise_once)
        yield
    finally:
        if ours:
            signal.signal(signal.SIGINT, end_at_once)


@contextmanager
def interruptible(*, at_once: bool) -> Iterator[Callable[[], bool]]:
    """Yields `stop_requested()`, for a loop that ends between two steps. The first Ctrl-C or
    SIGTERM only sets it; a second one ends the process.

    at_once: the first one raises KeyboardInterrupt where the program is, and again in
    `stop_requested()`, because Python drops what is raised in a callback from C.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    came = []
    signals = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in signals}

    def handle(number, frame):
        came.append(number)
        for each in signals:
            signal.signal(each, after(before[each]))
        if at_once:
            note(before[signal.SIGINT])
            raise KeyboardInterrupt

    def stop_requested():
        if came and at_once:
            raise KeyboardInterrupt
        return bool(came)

    for number in signals:
        signal.signal(number, handle)
    try:
        yield stop_requested
    finally:
        for number in signals:
            handler = before[number]
            signal.signal(number, after(handler) if came else handler)


def interrupted() -> bool:
    """Returns whether Ctrl-C came: libraries turn its exception into others, or drop it."""
    return _came


def after(handler: Any) -> Any:
    """Returns the handler to install for the next Ctrl-C, once one came that `handler` would
    otherwise have been called for."""
    return end_at_once if handler is raise_once else handler


def _watch() -> None:
    """End at the second Ctrl-C also within a call of C, such as the compiler, that Python
    cannot interrupt."""
    reads, writes = os.pipe()
    os.set_blocking(writes, False)
    signal.set_wakeup_fd(writes, warn_on_full_buffer=False)

    def count() -> None:
        came = 0
        while came < 2:
            came += os.read(reads, 64).count(signal.SIGINT)
        end_at_once()

    threading.Thread(target=count, daemon=True).start()


def _fill_closed_descriptors() -> None:
    """Else the next file that is opened takes the place of the closed stream, and what C code
    prints goes into it."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free


def prepare_streams() -> None:
    """Let stdout and stderr take any text: one that is closed drops it, and characters that
    the encoding lacks are printed as codes, as those of a file's name may be any bytes."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", errors="backslashreplace"))
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def drop_unwritable() -> None:
    """Let streams that cannot be written go nowhere: Python would try again at its end."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
