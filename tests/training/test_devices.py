"""The same numbers on 1 device, on 8, and as 2 processes."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

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
