"""A campaign ends in time, keeps what it has, and survives what its rows do."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks import campaign, run, suite, table

ROOT = Path(__file__).parents[2]
FAKES = "tests.benchmarks.fake_cells"
CELLS = (suite.Cell(FAKES, None, 0),)


@pytest.fixture
def fakes(tmp_path, monkeypatch):
    """A campaign of such rows; the folder remembers every attempt."""
    seen = tmp_path / "seen"
    seen.mkdir()
    monkeypatch.setenv("FAKE_FOLDER", str(seen))
    monkeypatch.setattr(campaign, "HANGS_S", dict(gpu=2, cpu=2))

    def start(words, *, seconds=600, checks="right"):
        monkeypatch.setenv("FAKE_ROWS", words)
        monkeypatch.setenv("FAKE_CHECKS", checks)
        return campaign.campaign(
            device="cpu",
            seconds=seconds,
            folder=tmp_path / "out",
            tiny=True,
            cells=CELLS,
            checks=FAKES,
        )

    start.seen, start.out = seen, tmp_path / "out"
    return start


def states(result):
    """workload -> status"""
    return {row["workload"]: row["status"] for row in result["rows"]}


def runs(start, what="run"):
    """Attempts in their order."""
    files = sorted(start.seen.glob(f"{what}-*"), key=lambda f: f.stat().st_mtime_ns)
    return [f.name.split("-", 3)[3] for f in files]


def test_a_row_that_hangs_or_fails_is_marked_and_the_others_are_measured(fakes):
    result = fakes("hangs,fails,kills itself,works")
    found = states(result)
    assert found["works"] == "ok" and found["hangs"] == "cut"
    assert found["fails"] == "failed: jaxcert: ValueError: planted in a row"
    assert found["kills itself"] == "failed: jaxcert ended with 9"
    hung = next(row for row in result["rows"] if row["workload"] == "hangs")
    assert hung["why"] == "jaxcert did not answer and was ended"
    compiled = sorted(runs(fakes, "compile"))  # side by side
    assert compiled == ["fails", "hangs", "kills-itself", "works"]
    file = next(fakes.out.glob("*-cpu-campaign.json"))
    assert json.loads(file.read_text()) == run.rounded(result)
    assert "planted in a row" in table.text(result)


def test_started_again_it_keeps_what_is_done_and_tries_what_hung_last(fakes):
    fakes("hangs once,fails,works")
    before = len(runs(fakes))
    result = fakes("hangs once,fails,works,new")
    order = list(dict.fromkeys(runs(fakes)[before:]))
    assert order == ["new", "fails", "hangs-once"]
    assert states(result)["hangs once"] == "ok" and len(result["rows"]) == 4
    tries = {row["workload"]: row["tries"] for row in result["rows"]}
    assert tries == {"hangs once": 2, "fails": 2, "works": 1, "new": 1}
    compiled = sorted(runs(fakes, "compile"))
    assert compiled == ["fails", "hangs-once", "new", "works"]


def test_it_ends_in_time_and_names_the_rows_that_it_had_no_time_for(fakes, monkeypatch):
    monkeypatch.setattr(campaign, "HANGS_S", dict(cpu=1000))
    started = time.monotonic()
    result = fakes("hangs,works,compiles long,works last", seconds=16)
    assert time.monotonic() - started < 16
    assert not result["rows"]
    why = {name.split(" folder")[0]: why for name, why in result["skipped"].items()}
    words = ("hangs", "works", "works last", "compiles long")
    assert list(why) == [f"{FAKES}: {word}" for word in words]
    assert why.pop(f"{FAKES}: hangs") == "no time left: it was begun and not over"
    short = "no time left: it needs about 1 s and there are 0 s"
    assert set(why.values()) == {short}
    long = [e for name, e in result["warm"].items() if "compiles long" in name]
    assert long == [dict(status="no time left")]


def test_wrong_numbers_end_it_before_anything_is_timed(fakes):
    result = fakes("works", checks="right,wrong,crashes")
    assert result["smoke"].get("wrong") == "wrong computes something else"
    assert result["smoke"]["checks"]["crashes"]["status"].startswith("failed")
    assert not result["rows"] and not runs(fakes)
    assert fakes("works", checks="right")["rows"]


def test_a_folder_of_another_campaign_is_refused(fakes):
    fakes("works")
    with pytest.raises(campaign.Failed, match=r"/out .*--device cpu --tiny"):
        campaign.campaign(device="cpu", seconds=9, folder=fakes.out, tiny=False)


def test_a_folder_that_is_a_file_or_holds_a_damaged_campaign_is_refused(
    tmp_path, capsys
):
    words = ["--minutes", "1", "--device", "cpu", "--tiny", "--out"]
    (tmp_path / "file").touch()
    assert campaign.main([*words, str(tmp_path / "file")]) == 2
    said = capsys.readouterr().err
    assert re.search(f"{tmp_path / 'file'} .*Not a directory.*--out", said)
    there = tmp_path / "2026-01-01-cpu-campaign.json"
    for text in ("{", "[]", '{"format": "jaxcert-compiled-1"}'):
        there.write_text(text)
        assert campaign.main([*words, str(tmp_path)]) == 2
        assert re.search(f"{there} .*damaged.*--out", capsys.readouterr().err)
        assert there.read_text() == text


@pytest.mark.parametrize("minutes", ["nan", "inf", "0", "-1", "1e300"])
def test_minutes_that_no_campaign_has_are_refused(minutes, tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        campaign.main([f"--minutes={minutes}", "--out", str(tmp_path)])
    assert ended.value.code == 2
    assert re.search("--minutes .*\\b0 .*\\b1440\\b", capsys.readouterr().err)


def test_without_a_gpu_one_sentence_says_so(tmp_path):
    words = ["--minutes", "1", "--out", str(tmp_path)]
    command = [sys.executable, "-m", "benchmarks.campaign", *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "GPU" in line and "--device cpu" in line


def test_a_time_in_which_nothing_can_start_is_one_sentence(tmp_path, capsys):
    words = ["--minutes", "0.001", "--out", str(tmp_path), "--device", "cpu", "--tiny"]
    assert campaign.main(words) == 2
    said = "jaxcert did not start within --minutes 0.001: give more.\n"
    assert capsys.readouterr().err == said


def test_a_campaign_that_is_ended_leaves_no_process_and_goes_on(fakes, tmp_path):
    call = (
        "import sys; from pathlib import Path; from benchmarks import campaign, suite;"
        f"campaign.campaign(device='cpu', seconds=600, folder=Path({str(fakes.out)!r}),"
        f"tiny=True, cells=(suite.Cell({FAKES!r}, None, 0),), checks={FAKES!r})"
    )
    env = dict(os.environ, FAKE_ROWS="works,hangs", FAKE_FOLDER=str(fakes.seen))
    env["PYTHONPATH"] = os.pathsep.join([str(ROOT), env.get("PYTHONPATH", "")])
    process = subprocess.Popen([sys.executable, "-c", call], cwd=ROOT, env=env)
    until = time.monotonic() + 120
    while "hangs" not in runs(fakes) and time.monotonic() < until:
        time.sleep(0.05)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
    process.send_signal(signal.SIGKILL)
    process.wait()
    for child in children.split():
        while Path(f"/proc/{child}").exists() and not _ended(child):
            assert time.monotonic() < until
            time.sleep(0.05)
    assert children
    result = fakes("works,hangs,new")
    assert states(result) == {"works": "ok", "new": "ok", "hangs": "cut"}
    assert sorted(runs(fakes, "compile")) == ["hangs", "new", "works"]


def _ended(child):
    return Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


def test_rows_of_a_gpu_have_names_of_their_own_and_come_by_value():
    rows = campaign._rows(suite.PLAN, "gpu", tiny=False)
    names = [suite.label(*pair) for pair in rows]
    assert len(set(names)) == len(names)
    first = [cell.name for cell, _ in rows[: len(suite.PLAN)]]
    assert first == [cell.name for cell in suite.PLAN]
    compiled = [row for _, row in rows if "strong" in row.warm]
    assert {row.shape.get("depth", 50) for row in compiled} == {110, 50}
    assert all(row.shape["strong"] == "torch.compile" for row in compiled)


def test_estimates_of_the_newest_compiled_programs_stand_beside_the_rows(tmp_path):
    for day, seconds in (("2026-01-01", 9.0), ("2026-01-02", 2.0)):
        program = dict(program="certify_resnet110", items=1000, estimate_s=seconds)
        rows = dict(rows=[program, dict(program="failed", status="failed: x")])
        (tmp_path / f"{day}-compiled-h200.json").write_text(json.dumps(rows))
    (row,) = (
        row
        for _, row in campaign._rows(suite.PLAN, "gpu", tiny=False)
        if row.workload == "CERTIFY ResNet-110" and row.dtype == "bfloat16"
    )
    assert campaign.estimate(row, campaign.compiled(tmp_path)) == pytest.approx(200.2)
    assert campaign.estimate(row, campaign.compiled(tmp_path / "none")) is None


@pytest.mark.slow
def test_every_program_compiles_for_an_h200():
    pytest.importorskip("jax_cuda13_plugin")
    command = [sys.executable, "-m", "benchmarks.compiled.campaign"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    names = {cell.name for cell in suite.PLAN}
    assert {line.partition(".")[0] for line in done.stdout.splitlines()} == names - {
        "input"
    }


def test_rows_need_no_package_that_a_machine_with_a_gpu_lacks():
    """The others build on less than these."""
    code = (
        "import sys\n"
        "for name in ('grain', 'ml_collections', 'orbax', 'matplotlib'):\n"
        "    sys.modules[name] = None\n"
        "from benchmarks import input, liresnet, sampler\n"
        "liresnet.trainer(liresnet.rows('cpu', True)[0].shape)\n"
        "sampler.network(sampler.rows('cpu', True)[0])\n"
        "(row,) = input.rows('cpu', True)\n"
        "input.jaxcert(row, 'cpu').run()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
