"""Copies what metrics.jsonl gets to programs that draw it while a run goes on.

`config.track` names them: tensorboard (event files in the folder `tensorboard` of the workdir),
wandb (Weights & Biases, whose files are in `wandb` of the workdir) and trackio. Each is a package
of its own. A run that is continued goes on in the same run of the program, by the name that
`tracking.txt` of the workdir holds. metrics.jsonl stays what reports read.
"""

from __future__ import annotations

import importlib.util
import os
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from jaxcert.errors import InputError, own_file
from jaxcert.progress import say

PROJECT = "jaxcert"
"""The project of the run in wandb and trackio; $WANDB_PROJECT is another one of wandb."""


class _Tracker(NamedTuple):
    write: Callable[[int, dict[str, float]], None]
    """(step, {split/name: value})"""
    close: Callable[[], None]


class Trackers:
    """The programs that `to` names, a text such as 'tensorboard,wandb'; a context that closes
    them. Raises InputError for another name and for a package that is not installed."""

    def __init__(self, to: str):
        self._names = [name.strip() for name in to.split(",") if name.strip()]
        self._open: dict[str, _Tracker] = {}
        for name in self._names:
            if name not in _START:
                raise InputError(
                    f"track is {to!r}: give some of {', '.join(_START)}, with commas between."
                )
            if importlib.util.find_spec(name) is None:
                raise InputError(
                    f"track={name} needs a package that is not installed: `pip install {name}`, "
                    "or leave it out."
                )

    def start(self, workdir: Path, config: dict[str, Any], step: int) -> None:
        """Begin, or continue after a step, in each program. What was written of later steps is
        written again; TensorBoard then shows the new values. Raises InputError for a program
        that cannot begin."""
        name = _name_of_run(workdir, step) if self._names else ""
        for program in self._names:
            try:
                self._open[program] = _START[program](workdir, name, config, step)
            except Exception as error:  # each has classes of its own
                raise InputError(
                    f"track={program} cannot begin ({_first_line(error)}): log in or set it to "
                    "work offline, as its manual says, or leave it out."
                ) from None

    def write(self, step: int, split: str, values: dict[str, float]) -> None:
        """Hand the values of a split at a step on. A program that fails is left out from then
        on, with a warning: the run goes on."""
        named = {f"{split}/{key}": value for key, value in values.items()}
        for program, tracker in list(self._open.items()):
            self._try(program, lambda tracker=tracker: tracker.write(step, named))

    def __enter__(self) -> Trackers:
        return self

    def __exit__(self, *_: object) -> None:
        for program, tracker in list(self._open.items()):
            self._try(program, tracker.close)

    def _try(self, program: str, call: Callable[[], None]) -> None:
        try:
            call()
        except Exception as error:  # each has classes of its own
            del self._open[program]
            say(
                f"train: {program} gets nothing more, as it failed ({_first_line(error)}); the run "
                "and metrics.jsonl go on"
            )


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


def _name_of_run(workdir: Path, step: int) -> str:
    """Return the name of the run, a new one where it begins at step 0."""
    path = own_file(workdir, "tracking.txt")
    if step and path.is_file():
        return path.read_text("utf-8").strip()
    name = f"{Path(workdir).resolve().name}-{secrets.token_hex(4)}"
    path.write_text(f"{name}\n", "utf-8")
    return name


def _tensorboard(workdir, name, config, step) -> _Tracker:
    from tensorboard.compat.proto import event_pb2, summary_pb2
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    writer = EventFileWriter(str(workdir / "tensorboard"))
    if step:  # hides what an earlier session wrote of later steps
        started = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
        now = dict(wall_time=time.time(), step=step + 1)
        writer.add_event(event_pb2.Event(**now, session_log=started))

    def write(step, values):
        summary = summary_pb2.Summary(
            value=[
                summary_pb2.Summary.Value(tag=tag, simple_value=value)
                for tag, value in values.items()
            ]
        )
        writer.add_event(
            event_pb2.Event(wall_time=time.time(), step=step, summary=summary)
        )
        writer.flush()

    return _Tracker(write, writer.close)


def _wandb(workdir, name, config, step) -> _Tracker:
    import wandb

    run = wandb.init(
        project=os.environ.get("WANDB_PROJECT", PROJECT),
        id=name,
        name=name,
        dir=str(workdir),
        config=config,
        resume="allow",
    )
    return _Tracker(lambda step, values: run.log(values, step=step), run.finish)


def _trackio(workdir, name, config, step) -> _Tracker:
    import trackio

    run = trackio.init(project=PROJECT, name=name, config=config, resume="allow")
    return _Tracker(lambda step, values: run.log(values, step=step), trackio.finish)


_START: dict[str, Callable[[Path, str, dict[str, Any], int], _Tracker]] = {
    "tensorboard": _tensorboard,
    "wandb": _wandb,
    "trackio": _trackio,
}
