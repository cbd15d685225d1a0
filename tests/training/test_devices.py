"""The same numbers on 1 device, on 8, and as 2 processes."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from jaxcert import config as configs
from jaxcert import sharding
from jaxcert.workdirs import checkpoint

HERE = Path(__file__).parent


def run(*systems):
    environment = {
        **os.environ,
        "XLA_FLAGS": "--xla_force_host_platform_device_count=8",
    }
    done = subprocess.run(
        [sys.executable, str(HERE / "run_on_devices.py"), *systems],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def found():
    return run("gaussian")


def test_eight_devices_take_the_same_steps_as_one(found):
    check_steps(found, "gaussian")


def test_statistics_per_device_are_those_of_a_loop_over_shards(found):
    """And the running ones those of the first."""
    separate, loop = np.array(found["separate"]), np.array(found["loop"])
    np.testing.assert_allclose(separate, loop, rtol=1e-4, atol=2e-5)
    one = np.array(found["gaussian1"]["params"])
    assert np.abs(separate[: len(one)] - one).max() > 1e-3  # another training


def test_devices_share_the_noisy_copies_and_add_few_times(found):
    """A step of which every device computed all images would add nothing."""
    assert found["sums"]["device"] == 1
    # two for each of two normalisations, and at most four for gradient and metrics
    assert 4 < found["sums"]["global"] <= 8


@pytest.mark.slow
def test_eight_devices_train_and_certify_other_systems_as_one():
    found = run("lot", "sortnet")
    check_steps(found, "sortnet")
    check_steps(found, "lot")
    np.testing.assert_allclose(found["radius8"], found["radius1"], atol=1e-4)


def check_steps(found, system):
    one, eight = found[f"{system}1"], found[f"{system}8"]
    # float32 sums in another order; a gradient summed instead of averaged is 8 times off
    np.testing.assert_allclose(eight["losses"], one["losses"], rtol=1e-4)
    np.testing.assert_allclose(eight["params"], one["params"], atol=2e-5)
    np.testing.assert_allclose(
        eight["statistics"], one["statistics"], rtol=1e-4, atol=1e-6
    )
    np.testing.assert_allclose(eight["ema"], one["ema"], rtol=1e-5)
    assert np.std(one["losses"]) > 0


def test_a_distance_layer_adds_over_devices_once(found):
    """Not once per input, which is what the partitioner makes of the loop alone."""
    assert found["reductions"] == 1


@pytest.mark.slow
def test_two_processes_train_what_one_trains(tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    common = [
        sys.executable,
        "-m",
        "jaxcert.train",
        "--config",
        "configs/smoothing/digits.py",
    ]
    common += ["--tiny", "--config.data.epoch_images=300"]

    def start(workdir, *extra):
        return subprocess.Popen(
            [*common, "--workdir", str(tmp_path / workdir), *extra],
            cwd=HERE.parents[1],
            stderr=subprocess.PIPE,
            text=True,
        )

    pair = [start("two", "--distributed", f"127.0.0.1:{port},2,{i}") for i in range(2)]
    for process in pair:
        _, said = process.communicate(timeout=300)
        assert process.returncode == 0, said[-3000:]
    alone = start("one")
    _, said = alone.communicate(timeout=300)
    assert alone.returncode == 0, said[-3000:]
    losses = [
        [json.loads(line)["loss"] for line in open(tmp_path / name / "metrics.jsonl")]
        for name in ("two", "one")
    ]
    assert len(losses[0]) == len(losses[1]) > 0
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-4)


@pytest.mark.slow
def test_a_slurm_job_that_is_killed_and_requeued_trains_what_one_at_once_does(tmp_path):
    """Two tasks of four devices each, which find each other as `--distributed auto` does under
    SLURM. Both end by SIGKILL after the first checkpoint, and the same command goes on."""
    whole = job(tmp_path / "whole")
    assert [task.wait(600) for task in whole] == [0, 0], said(tmp_path / "whole")
    checkpoints = tmp_path / "cut" / "checkpoints"
    cut, end = job(tmp_path / "cut"), time.monotonic() + 600
    while not saved(checkpoints):
        assert all(task.poll() is None for task in cut), said(tmp_path / "cut")
        assert time.monotonic() < end
        time.sleep(0.05)
    for task in cut:
        task.kill()
        assert task.wait() == -signal.SIGKILL
    done = max(saved(checkpoints))
    again = job(tmp_path / "cut")
    assert [task.wait(600) for task in again] == [0, 0], said(tmp_path / "cut")
    lines = [
        [json.loads(line) for line in open(tmp_path / name / "metrics.jsonl")]
        for name in ("whole", "cut")
    ]
    assert 0 < done < lines[0][-1]["step"] == lines[1][-1]["step"]
    for one, other in zip(*lines, strict=True):
        assert one["step"] == other["step"] and one["loss"] == other["loss"]
    model = configs.build("models", configs.read(tmp_path / "cut").model)
    digests = {
        checkpoint.load_network(
            model, tmp_path / name, mesh=sharding.local_mesh()
        ).digest
        for name in ("whole", "cut")
    }
    assert len(digests) == 1


def saved(checkpoints):
    """The steps of whole checkpoints; one that is being written has a longer name."""
    return [int(p.name) for p in checkpoints.glob("[0-9]*") if p.name.isdecimal()]


def job(workdir):
    """The processes of a job of two tasks, with the variables that SLURM gives them."""
    with socket.socket() as probe:
        while True:  # jax makes the port of the number of the job
            number = random.randrange(2**12)
            with suppress(OSError):
                probe.bind(("127.0.0.1", 2**16 - 2**12 + number))
                break
    command = [sys.executable, "-m", "jaxcert.train", "--config=smoothing/digits"]
    command += ["--tiny", "--config.data.epochs=12", "--config.data.epoch_images=160"]
    command += ["--config.data.batch=32", "--config.log.every_steps=5"]
    command += ["--config.checkpoint.every_epochs=2"]
    command += [f"--workdir={workdir}", "--distributed=auto"]
    slurm = dict(SLURM_JOB_ID=number, SLURM_STEP_NODELIST="127.0.0.1", SLURM_NTASKS=2)
    tasks = []
    for task in range(2):
        more = slurm | dict(SLURM_PROCID=task, SLURM_LOCALID=task)
        more["XLA_FLAGS"] = "--xla_force_host_platform_device_count=4"
        environment = os.environ | {k: str(v) for k, v in more.items()}
        with open(f"{workdir}_{task}.log", "a") as log:
            tasks.append(subprocess.Popen(command, env=environment, stderr=log))
    return tasks


def said(workdir):
    """The ends of what both tasks said."""
    return "".join(Path(f"{workdir}_{i}.log").read_text()[-2000:] for i in range(2))
