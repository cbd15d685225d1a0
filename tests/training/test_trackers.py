"""Programs that get the metrics as well: the adapter, and the real local writers where they are
installed."""

from __future__ import annotations

import importlib.util
import json
import struct
from pathlib import Path

import pytest
from refusals import names

from jaxcert.errors import InputError
from jaxcert.training import trackers
from jaxcert.training.metrics import MetricWriter
from jaxcert.training.trackers import Trackers

CONFIG = dict(optim=dict(lr=0.1), milestones=(0.5, 0.75))


class Program:
    """One that keeps what it gets, and fails when it is told to."""

    def __init__(self):
        self.got, self.closed, self.names = [], 0, []

    def start(self, workdir, name, config, step):
        self.names.append(name)
        return trackers._Tracker(lambda *line: self.got.append(line), self.close)

    def close(self):
        self.closed += 1


@pytest.fixture
def program(monkeypatch):
    found = Program()
    monkeypatch.setitem(trackers._START, "wandb", found.start)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    return found


def test_every_line_goes_to_the_program_and_to_the_file(tmp_path, program):
    with Trackers("wandb") as to:
        to.start(tmp_path, CONFIG, 0)
        writer = MetricWriter(tmp_path, resume_step=0, per_epoch=2, trackers=to)
        writer.write(4, "train", {"loss": 0.5})
        assert not program.closed
    (line,) = map(json.loads, (tmp_path / "metrics.jsonl").read_text().splitlines())
    ((step, values),) = program.got
    assert step == line["step"] == 4 and program.closed == 1
    assert values == {
        f"train/{k}": v for k, v in line.items() if k not in ("step", "split")
    }
    assert values["train/loss"] == 0.5 and values["train/epoch"] == 2


def test_a_run_that_is_continued_keeps_its_name(tmp_path, program):
    for step in (0, 5, 0):
        with Trackers("wandb") as to:
            to.start(tmp_path, CONFIG, step)
    first, again, new = program.names
    assert first == again != new and first.startswith(f"{tmp_path.name}-")


def test_a_program_that_fails_is_left_out_and_the_run_goes_on(
    tmp_path, program, monkeypatch, capsys
):
    def fails(*_):
        raise ConnectionError("no network\nat all")

    failing = trackers._Tracker(fails, fails)
    monkeypatch.setitem(trackers._START, "trackio", lambda *_: failing)
    with Trackers("trackio, wandb") as to:
        to.start(tmp_path, CONFIG, 0)
        to.write(1, "train", {"loss": 1.0})
        to.write(2, "train", {"loss": 2.0})
    assert [step for step, _ in program.got] == [1, 2] and program.closed == 1
    said = capsys.readouterr().err
    assert said.count("trackio gets nothing more") == 1 and "(no network)" in said
    monkeypatch.setitem(trackers._START, "trackio", fails)
    with pytest.raises(InputError, match=names("track=trackio", "no network")):
        Trackers("trackio").start(tmp_path, CONFIG, 0)


def test_other_names_and_missing_packages_are_refused(monkeypatch):
    with pytest.raises(InputError, match=names("track", "'comet'", "tensorboard")):
        Trackers("comet")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=names("track=wandb", "pip install wandb")):
        Trackers("wandb")
    Trackers("")


def two_sessions(program: str, workdir: Path) -> None:
    """Steps 1 to 3; then again from a checkpoint at step 2."""
    for resumed, steps in ((0, (1, 2, 3)), (2, (3, 4))):
        with Trackers(program) as to:
            to.start(workdir, CONFIG, resumed)
            for step in steps:
                to.write(step, "train", {"loss": step + resumed / 4})
    assert to._open, "it failed"


def test_tensorboard_reads_its_event_files_back(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing import event_accumulator

    two_sessions("tensorboard", tmp_path)
    found = event_accumulator.EventAccumulator(str(tmp_path / "tensorboard"))
    found.Reload()
    values = [(e.step, e.value) for e in found.Scalars("train/loss")]
    assert values == [(1, 1.0), (2, 2.0), (3, 3.5), (4, 4.5)]


def test_wandb_writes_two_sessions_of_one_run_offline(tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    from wandb.proto import wandb_internal_pb2

    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    two_sessions("wandb", tmp_path)
    found, ids = [], set()
    for file in sorted((tmp_path / "wandb").glob("offline-run-*/*.wandb")):
        data, at = file.read_bytes(), 7  # below the magic number
        while at < len(data):  # a checksum, a length, a kind, and the record
            _, size, _ = struct.unpack("<IHB", data[at : at + 7])
            record = wandb_internal_pb2.Record()
            record.ParseFromString(data[at + 7 : at + 7 + size])
            at += 7 + size
            items = record.history.item
            line = {i.key or "/".join(i.nested_key): i.value_json for i in items}
            if line:
                found.append((int(line["_step"]), float(line["train/loss"])))
            if record.WhichOneof("record_type") == "run":
                ids.add(record.run.run_id)
    assert found == [(1, 1.0), (2, 2.0), (3, 3.0), (3, 3.5), (4, 4.5)]
    assert ids == {(tmp_path / "tracking.txt").read_text().strip()}


def test_trackio_keeps_both_sessions_in_one_run(tmp_path, monkeypatch):
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))  # read at its import
    pytest.importorskip("trackio")
    from trackio import sqlite_storage

    (tmp_path / "run").mkdir()
    two_sessions("trackio", tmp_path / "run")
    name = (tmp_path / "run" / "tracking.txt").read_text().strip()
    lines = sqlite_storage.SQLiteStorage.get_logs(trackers.PROJECT, name)
    found = [(line["step"], line["train/loss"]) for line in lines]
    assert found == [(1, 1.0), (2, 2.0), (3, 3.0), (3, 3.5), (4, 4.5)]
