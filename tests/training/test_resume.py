"""kill -9 and the same command again end bit for bit where an uninterrupted run ends."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from refusals import names

from jaxcert import config as configs
from jaxcert import sharding
from jaxcert.errors import InputError
from jaxcert.training import loop
from jaxcert.workdirs import checkpoint

ROOT = Path(__file__).parents[2]
CONFIG = "configs/smoothing/digits.py"
TIMES = ("images_per_s", "seconds", "cpu_seconds")
"""Columns of metrics.jsonl that differ between two runs of one config."""
COMMAND = [
    sys.executable,
    "-m",
    "jaxcert.train",
    "--config",
    CONFIG,
    "--tiny",
]
SETTINGS = [
    "--config.data.epochs=8",
    "--config.data.epoch_images=80",
    "--config.data.batch=20",
    "--config.log.every_steps=3",
    "--config.ema=0.9",
    "--config.checkpoint.every_epochs=1",
    "--config.eval.every_epochs=1",
    "--config.eval.share=0",
    "--config.certify.n=20",
]


def start(workdir, *extra):
    return subprocess.Popen(
        [*COMMAND, *SETTINGS, "--workdir", str(workdir), *extra],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    )


def digests(workdir):
    """Of the newest checkpoint: state and evaluation item."""
    steps = [
        int(p.name) for p in (workdir / "checkpoints").iterdir() if p.name.isdigit()
    ]
    meta = workdir / "checkpoints" / str(max(steps)) / "meta" / "metadata"
    return max(steps), json.loads(meta.read_text())["digest"]


def untimed(workdir):
    """metrics.jsonl without the columns that tell the time."""
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    return [
        {k: v for k, v in json.loads(line).items() if k not in TIMES} for line in lines
    ]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("whole")
    process = start(workdir)
    _, said = process.communicate(timeout=300)
    assert process.returncode == 0, said[-3000:]
    return workdir


def test_killed_run_ends_bit_for_bit_where_the_whole_run_ends(whole, tmp_path):
    process, folder = start(tmp_path), tmp_path / "checkpoints"
    sixteenth = re.compile(r"16(\.orbax.*)?$")  # as soon as it is there or half there
    while process.poll() is None:
        if folder.is_dir() and any(sixteenth.match(p.name) for p in folder.iterdir()):
            os.kill(process.pid, signal.SIGKILL)
            break
        time.sleep(0.005)
    assert process.wait() == -signal.SIGKILL
    process.stderr.close()
    process = start(tmp_path)
    _, said = process.communicate(timeout=300)
    assert process.returncode == 0, said[-3000:]
    assert digests(tmp_path) == digests(whole)
    lines = [untimed(d) for d in (tmp_path, whole)]
    assert lines[0] == lines[1]
    assert "certified_0" in str(lines[0])


@pytest.mark.slow
def test_interrupted_run_saves_its_step_and_ends_as_the_whole_run(whole, tmp_path):
    process = start(tmp_path, "--config.checkpoint.every_epochs=0")
    while not (tmp_path / "metrics.jsonl").exists() and process.poll() is None:
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=300)
    assert process.returncode == 130, said[-3000:]
    assert "interrupted" in said and "Traceback" not in said
    assert 0 < digests(tmp_path)[0] < 32
    process = start(tmp_path)
    process.communicate(timeout=300)
    assert digests(tmp_path) == digests(whole)


def finished(whole, tmp_path):
    """A copy of the finished run to damage."""
    shutil.copytree(whole, tmp_path / "run")
    return tmp_path / "run"


def small(**changes):
    config = configs.tiny(configs.load(str(ROOT / CONFIG)))
    config.data.update(epochs=8, epoch_images=80, batch=20)
    config.log.every_steps, config.ema, config.checkpoint.every_epochs = 3, 0.9, 1
    for key, value in changes.items():
        section, name = key.split("__")
        config[section][name] = value
    return config


def test_half_written_checkpoint_is_not_loaded(whole, tmp_path):
    run = finished(whole, tmp_path)
    (run / "checkpoints" / "99.orbax-checkpoint-tmp").mkdir()
    before = digests(run)
    loop.train(small(), run)
    assert digests(run) == before


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def zero(path):
    path.write_bytes(bytes(path.stat().st_size))


@pytest.mark.parametrize("damage", [flip, cut, zero, Path.unlink])
def test_altered_checkpoint_is_refused_by_name(whole, tmp_path, damage):
    run = finished(whole, tmp_path)
    step, _ = digests(run)
    for data in (run / "checkpoints" / str(step) / "state").rglob("d/*"):
        damage(data)
    with pytest.raises(InputError, match=names(f"checkpoints/{step}", "ValueError")):
        loop.train(small(), run)


def test_workdir_of_another_config_is_refused_naming_the_key(whole, tmp_path):
    run = finished(whole, tmp_path)
    with pytest.raises(InputError, match=names("optim.lr", 0.1, 0.2)):
        loop.train(small(optim__lr=0.2), run)
    loop.train(small(certify__batch=7), run)  # of no importance to training


def test_checkpoints_of_no_known_config_are_refused_and_kept(whole, tmp_path):
    run = finished(whole, tmp_path)
    (run / "config.json").unlink()
    before = digests(run)
    with pytest.raises(InputError, match=names("config.json", "--workdir")):
        loop.train(small(), run)
    assert digests(run) == before and not (run / "config.json").exists()


def test_loss_that_is_not_finite_stops_the_run_and_keeps_the_checkpoint(
    whole, tmp_path
):
    config = small(optim__lr=1e9, checkpoint__every_epochs=1)
    config.optim.clip_norm = 0.0
    with pytest.raises(InputError, match=names("step", 2, "optim.lr")):
        loop.train(config, tmp_path / "bad")
    saved = [
        p for p in (tmp_path / "bad" / "checkpoints").iterdir() if p.name.isdigit()
    ]
    assert not saved


def test_checkpoint_in_another_precision_is_not_called_damaged(whole, tmp_path, x64):
    run = finished(whole, tmp_path)
    before = digests(run)
    with pytest.raises(InputError, match=names("checkpoints/32", "JAX_ENABLE_X64=0")):
        loop.train(small(), run)
    model = configs.build("models", small().model)
    loaded = checkpoint.load_network(model, run, mesh=sharding.data_mesh())
    leaves = jax.tree.leaves(loaded.network.params)
    assert {leaf.dtype for leaf in leaves} == {np.dtype(np.float32)}
    assert digests(run) == before
