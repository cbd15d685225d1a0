"""metrics.jsonl: what a resumed run keeps of it, and files that it cannot read."""

from __future__ import annotations

import json

import pytest
from refusals import names

from jaxcert.errors import InputError
from jaxcert.training.metrics import MetricWriter


def test_resumed_run_keeps_the_steps_before_it(tmp_path):
    path = tmp_path / "metrics.jsonl"
    writer = MetricWriter(tmp_path, resume_step=0, per_epoch=2)
    for step in (1, 2, 3):
        writer.write(step, "train", {"loss": 0.5})
    odd = ['{"step": "x"}', '{"step": null}', "[1]", "[" * 100_000, '{"step": 3, "lo']
    path.write_text(path.read_text() + "\n".join(odd))
    MetricWriter(tmp_path, resume_step=2, per_epoch=2)
    assert [json.loads(x)["step"] for x in path.read_text().splitlines()] == [1, 2]


def test_times_go_on_where_the_kept_lines_end(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1, "seconds": 50, "cpu_seconds": 100}\n')
    MetricWriter(tmp_path, resume_step=1, per_epoch=2).write(2, "train", {})
    last = json.loads(path.read_text().splitlines()[-1])
    assert 50 <= last["seconds"] < 100 <= last["cpu_seconds"] < 150


def test_file_that_is_not_text_is_refused_and_kept(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"step": 1}\n\xff\xfe\n')
    with pytest.raises(InputError, match=names("metrics.jsonl")):
        MetricWriter(tmp_path, resume_step=1, per_epoch=2)
    assert path.read_bytes() == b'{"step": 1}\n\xff\xfe\n'
