"""The line of progress, with a clock that the test winds."""

from __future__ import annotations

import pytest

from jaxcert import progress


@pytest.fixture
def clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_compilation_before_the_first_update_is_not_counted_as_work(clock, capsys):
    line = progress.Progress("train", 300, "steps", start=100)
    said = []
    for clock[0], done in ((60, 101), (80, 121), (259, 300)):
        line.update(done)
        said.append(capsys.readouterr().err.strip())
    assert said == [
        "train: 101 of 300 steps",
        "train: 121 of 300 steps, 1/s, 2:59 left",
        "train: 300 of 300 steps, 1/s",
    ]


def test_work_of_one_update_has_its_speed(clock, capsys):
    line = progress.Progress("certify", 20, start=10)
    clock[0] = 20
    line.update(20)
    assert capsys.readouterr().err == "certify: 20 of 20 images, 0.5/s\n"
