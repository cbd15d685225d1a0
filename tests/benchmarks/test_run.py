"""The benchmark command: do all sides compute the same, is its file always valid?"""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from benchmarks import (
    liresnet,
    measure,
    norm_dist,
    run,
    smoothing,
    suite,
    table,
    training,
)
from jaxcert import config

ROOT = Path(__file__).parents[2]
COMPARED = {cell.name for cell in suite.PLAN if cell.peers}
PEERS = {"peer", "strong"} if importlib.util.find_spec("torch") else set()


def benchmark(tmp_path, *options):
    out = tmp_path / "result.json"
    command = [sys.executable, "-m", "benchmarks.run", "--tiny", "--out", str(out)]
    done = subprocess.run(
        [*command, *options], cwd=ROOT, capture_output=True, text=True
    )
    return done, json.loads(out.read_text())


ALL = ",".join(cell.name for cell in suite.PLAN)


@pytest.mark.parametrize(
    "cells",
    [
        pytest.param("micro,norm_dist", id="some"),
        pytest.param(ALL, id="all", marks=pytest.mark.slow),
    ],
)
def test_cells_run_and_all_sides_agree(tmp_path, cells):
    done, result = benchmark(tmp_path, "--cells", cells)
    assert done.returncode == 0, done.stdout + done.stderr
    assert {row["cell"] for row in result["rows"]} == set(cells.split(","))
    assert not result["skipped"]
    for row in result["rows"]:
        assert row["status"] == "ok", row
        assert row["rounds"] == 2
        assert not any("error" in side for side in row["sides"].values())
        if row["cell"] in COMPARED:
            compared = set(row.get("agreement", {}))
            # plain PyTorch has no strong form of the polynomials
            sides = PEERS - {"strong"} if "polar" in row["shape"] else PEERS
            assert compared == sides or "alone" in row["workload"]
    lines = done.stdout.splitlines()
    assert sum(line.startswith("| ") for line in lines[-40:]) == len(result["rows"]) + 2


def test_a_run_without_time_leaves_a_valid_file(tmp_path):
    done, result = benchmark(tmp_path, "--budget", "0.5", "--cells", "micro,aa")
    assert done.returncode == 0
    states = [row["status"] for row in result["rows"]]
    assert set(states) <= {"ok", "cut"}  # a fast machine ends a row or two in time
    assert len(result["skipped"]) > 2
    assert all(s.startswith("no time left") for s in result["skipped"].values())
    assert [path.name for path in tmp_path.iterdir()] == ["result.json"]
    assert table.text(result)


def test_the_plan_fits_its_budget():
    assert sum(cell.box for cell in suite.PLAN) <= 540


def test_distances_on_a_gpu_come_by_xla_and_by_the_kernels():
    rows = norm_dist.rows("gpu", tiny=False)
    shapes = [row.shape for row in rows]
    for xla, kernel in zip(shapes[::2], shapes[1::2], strict=True):
        assert kernel == {**xla, "implementation": "mosaic_gpu"} != xla
    assert {shape["p"] for shape in shapes} == set(norm_dist.POWERS)
    with_cdist = [row.shape for row in rows if "strong" in row.sides]
    assert all("depth" not in shape and shape["p"] != 64.3 for shape in with_cdist)
    assert json.loads(json.dumps(shapes)) == shapes


def test_certification_of_an_imagenet_network_runs():
    row = next(r for r in smoothing.rows("gpu", tiny=False) if "stages" in r.shape)
    small = {**row.shape, "stages": (1,), "side": 8, "n": 20}
    job = smoothing.jaxcert(row._replace(shape=small, dtype="float32"), "cpu")
    program = job.program()
    assert program.static["chunk"] == 20 and program.loops == 6  # of 100 and 20 samples
    assert job.run().counts.sum() == 20


def test_steps_of_liresnet_on_a_gpu_lower_without_one(monkeypatch):
    rows = liresnet.rows("gpu", tiny=False)
    assert [row.shape["power_steps"] for row in rows] == [10, 10, 2]
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    program = liresnet.jaxcert(rows[0], "gpu").program()
    traced = program.jitted.trace(*program.args)
    text = traced.lower(lowering_platforms=("cuda",)).as_text()
    assert text.count("stablehlo.convolution") < 40  # the 12 blocks are a loop


def test_a_fast_side_is_repeated_and_a_slow_one_is_not(monkeypatch):
    seconds, asked = dict(jaxcert=0.1, peer=2.0), []

    def ask(worker, *, deadline, **request):
        asked.append((worker.side, request["times"]))
        return dict(wall=seconds[worker.side], cpu=0.0, peak_bytes=0)

    monkeypatch.setattr(measure.processes, "ask", ask)
    workers = [SimpleNamespace(side=side) for side in seconds]
    ends = [time.monotonic() + 60] * 2
    measure._rounds(workers, ends, device="cpu", shortest=0.3)
    assert asked[2:] == [("jaxcert", 3), ("peer", 1), ("peer", 1), ("jaxcert", 3)]


def test_training_steps_multiply_as_the_shipped_configs_do():
    assert training.PRECISION == config.base().precision


def test_an_unknown_cell_is_refused_by_name(capsys):
    with pytest.raises(SystemExit):
        run.main(["--out", "x.json", "--cells", "nothing"])
    assert re.search("'nothing'.* micro\\b", capsys.readouterr().err)


@pytest.mark.parametrize(
    "words, said",
    [
        (["--budget", "nan"], r"--budget .*\b604800\b.*\bnan\b"),
        (["--budget", "inf"], r"--budget .*\b604800\b.*\binf\b"),
        (["--out", f"{__file__}/x.json"], rf"{__file__}/x\.json .*File exists.*--out"),
    ],
)
def test_a_budget_or_a_file_that_cannot_be_is_refused(words, said, tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        run.main(["--out", str(tmp_path / "x.json"), *words])
    assert ended.value.code == 2
    assert re.search(said, capsys.readouterr().err)


def test_a_wrong_output_is_an_error_above_tolerance(tmp_path):
    a, b = tmp_path / "a.npz", tmp_path / "b.npz"
    np.savez(a, y=np.ones(3), z=np.ones(2))
    np.savez(b, y=np.ones(3), z=np.array([1.0, 1.1]))
    found = measure._errors(a, b, dict(y=1e-3, z=1e-3))
    assert not found["ok"] and found["where"] == "z"
    assert measure._errors(a, b, dict(y=1e-3, z=0.2))["ok"]


def test_outputs_of_another_shape_or_not_finite_never_agree():
    assert suite.relative_error(np.ones(2), np.ones(3)) == np.inf
    assert suite.relative_error(np.array([1, np.nan]), np.ones(2)) == np.inf
    assert suite.relative_error(np.ones(2), np.full(2, 4.0)) == 0.75


def test_a_run_is_void_when_the_same_version_differs_or_the_machine_is_loaded():
    def result(ratio, load):
        again = {"jaxcert-again": dict(median=ratio, min=ratio, max=ratio)}
        rows = [dict(cell="aa", ratio=again)]
        return dict(device="cpu", rows=rows, load=load, cores=2)

    assert run.void(result(1.02, 2.5)) == ""
    assert "twice gave 1.040" in run.void(result(1.04, 2.5))
    assert "load average 3.5" in run.void(result(1.0, 3.5))
    assert "timed" in run.void({**result(1.0, 2.5), "rows": []})


def test_the_ratio_is_the_median_over_rounds_of_the_same_round():
    clock = [dict(jaxcert=2.0, peer=1.0), dict(jaxcert=3.0, peer=6.0)]
    clock.append(dict(jaxcert=1.0, peer=1.0))
    rounds = dict(wall=clock, cpu=clock, peak_bytes=clock)
    result = dict(sides={})
    row = suite.Row("w", {}, "float32", items=10)
    measure._reduce(result, row, rounds, device="cpu", ceilings=None)
    assert result["ratio"]["peer"] == dict(median=1.0, min=0.5, max=2.0)
    assert result["items_per_s"] == 5.0
