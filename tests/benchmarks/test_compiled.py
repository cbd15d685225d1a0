"""The command that compiles for an H200: names, sentences, rows, budgets and the table. No
program is compiled here."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections import namedtuple

import pytest
from refusals import names, tells

from benchmarks.compiled import (
    __main__ as command,
)
from benchmarks.compiled import (
    budgets,
    child,
    count,
    programs,
    results,
    table,
    target,
)
from jaxcert.errors import InputError

ROW = dict(
    program="gather",
    status="ok",
    items=4,
    kernels=10,
    bytes=4000,
    bytes_per_item=1000.0,
    floor_bytes=2000.0,
    floor="benchmarks/floors.py",
    flops=dict(bf16=2e12, f32=1e9, vector=5e12),
    temp_bytes=50,
    copy_bytes=5,
    collectives={"all-reduce": 3},
    slower_flops=0,
    compile_cpu_s=7.0,
    estimate_s=0.001,
    host_transfers=[],
    heaviest=[],
)


def test_every_program_has_a_name_of_its_own():
    names = programs.names()
    assert len(set(names)) == len(names) == len(programs._LIST) + len(programs.ON_EIGHT)
    assert all(programs.find(name)[1] in (1, 8) for name in names)


@pytest.mark.parametrize(
    "name, said",
    [
        ("resnet", ["'resnet'", "--list"]),
        ("certify_resnet110@9", ["topology", 9, "1 to 8"]),
        ("certify_resnet110@0", ["topology", 0, "1 to 8"]),
        ("certify_resnet110@two", ["'certify_resnet110@two'", "certify_resnet110@8"]),
        ("float64_forward_lot_l@8", ["float64_forward_lot_l", "one device", "@8"]),
    ],
)
def test_what_cannot_be_compiled_is_refused_before_anything_is(
    name, said, tmp_path, capsys
):
    out = tmp_path / "rows.json"
    assert command.main(["gather", name, "--out", str(out)]) == 2
    assert tells(capsys.readouterr().err, *said)
    assert not out.exists()


def test_a_missing_plugin_and_an_old_python_get_a_sentence_each(monkeypatch):
    version = namedtuple("version", "major minor micro")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(sys, "version_info", version(3, 12, 0))
    with pytest.raises(InputError, match=names("H200", "jaxcert[cuda13]")):
        target.check()
    monkeypatch.setattr(sys, "version_info", version(3, 11, 9))
    with pytest.raises(InputError, match=names("3.12", "3.11")):
        target.check()


def test_code_that_asks_for_the_backend_hears_of_a_gpu():
    import jax

    with target.as_gpu():
        assert jax.default_backend() == "gpu"
    assert jax.default_backend() == "cpu"


_FAKE = """
import faulthandler, json, os, sys
faulthandler.enable()
name, out = sys.argv[1:]
if name == "crashes":
    code = compile("import os; os.abort()", "/x/jaxcert/ops/conv.py", "exec")
    exec(code)
if name == "exits":
    sys.exit(3)
held = json.load(open({rows!r}))["rows"] if os.path.exists({rows!r}) else []
settings = [k for k in os.environ if k.startswith("JAX_")]
row = dict({row!r}, program=name, held=len(held), settings=settings)
json.dump(row, open(out, "w"))
"""


def test_a_program_that_crashes_has_a_row_and_the_others_go_on(tmp_path, monkeypatch):
    out, script = tmp_path / "rows.json", tmp_path / "fake.py"
    script.write_text(_FAKE.format(rows=str(out), row=ROW))
    monkeypatch.setattr(results, "CHILD", (sys.executable, str(script)))
    result = results.open(out)
    names = ["first", "crashes", "exits", "last"]
    results.compile_all(names, result, out, jobs=1)
    rows = {row["program"]: row for row in json.loads(out.read_text())["rows"]}
    assert [rows[n]["status"] for n in names] == [
        "ok",
        "crashed: SIGABRT",
        "crashed: exit status 3",
        "ok",
    ]
    assert rows["crashes"]["source"] == "jaxcert/ops/conv.py:1"
    assert rows["last"]["held"] == 3  # the file had every row before it
    assert "JAX_DISABLE_MOST_OPTIMIZATIONS" not in rows["last"]["settings"]
    assert "JAX_SKIP_CUDA_CONSTRAINTS_CHECK" in rows["last"]["settings"]


def test_a_run_that_was_cut_goes_on_where_it_stopped():
    def row(name, status="ok", commit="abc", jax="1"):
        return dict(program=name, status=status, commit=commit, jax=jax)

    rows = [row("a"), row("b", "crashed"), row("c", commit="old"), row("d", jax="0")]
    result = dict(rows=rows, commit="abc", versions=dict(jax="1"))
    assert results.missing(result, list("abcde")) == list("bcde")
    # files that were changed since the commit may be other programs
    changed = dict(result, commit="abc+", rows=[row("a", commit="abc+")])
    assert results.missing(changed, ["a"]) == ["a"]


def test_rows_and_budgets_that_were_written_do_not_change_what_is_compiled(
    tmp_path, monkeypatch
):
    def git(*words):
        same = ("-c", "user.name=a", "-c", "user.email=a@b")
        subprocess.run(["git", *same, *words], cwd=tmp_path, check=True)

    for name in ("jaxcert", "configs", "benchmarks/results", "benchmarks/compiled"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "jaxcert/a.py").write_text("1")
    git("init", "-q")
    git("add", "-A")
    git("commit", "-q", "-m", "first")
    monkeypatch.setattr(results, "ROOT", tmp_path)
    (tmp_path / "benchmarks/results/rows.json").write_text("{}")
    (tmp_path / "benchmarks/compiled/budgets.json").write_text("{}")
    assert not results._commit().endswith("+")
    (tmp_path / "jaxcert/a.py").write_text("2")
    assert results._commit().endswith("+")


def test_a_file_of_something_else_is_not_overwritten(tmp_path, capsys):
    out = tmp_path / "other.json"
    out.write_text('{"format": "jaxcert-benchmarks-1"}')
    assert command.main(["gather", "--out", str(out)]) == 2
    formats = "jaxcert-benchmarks-1", "jaxcert-compiled-1"
    assert tells(capsys.readouterr().err, out, *formats)
    assert json.loads(out.read_text()) == {"format": "jaxcert-benchmarks-1"}


def test_a_folder_that_cannot_be_made_is_refused_before_anything_is(tmp_path, capsys):
    (tmp_path / "file").touch()
    assert command.main(["gather", "--out", str(tmp_path / "file" / "rows.json")]) == 2
    out = tmp_path / "file" / "rows.json"
    assert tells(capsys.readouterr().err, out, "File exists", "--out")


def test_a_program_that_fails_names_the_line_of_the_library():
    import numpy as np

    from jaxcert.ops.images import check_range

    with pytest.raises(InputError) as caught:
        check_range(np.full((1, 2), 300.0, np.float32))
    row = child.failed("gather", caught.value)
    assert row["status"].startswith("failed: InputError: ")
    assert row["source"].startswith("jaxcert/ops/images.py:")


def test_a_compiler_that_names_a_line_is_heard():
    said = (
        'INTERNAL: loc(callsite("/a/jaxcert/jaxcert/ops/conv.py":103:8 at "f")) is bad'
    )
    row = child.failed("gather", RuntimeError(said))
    assert row["source"] == "jaxcert/ops/conv.py:103"
    unknown = count.UnknownLoop("a loop", "jaxcert/diffusion/racing.py:202")
    assert (
        child.failed("gather", unknown)["source"] == "jaxcert/diffusion/racing.py:202"
    )


def test_products_in_slower_units_than_meant_are_told():
    flops = dict(bf16=8, tf32=4, f32=2, f64=1, vector=100)
    found = [child.slower(flops, unit) for unit in ("bf16", "tf32", "f32", "f64")]
    assert found == [7, 3, 1, 0]


@pytest.fixture
def file(tmp_path, monkeypatch):
    path = tmp_path / "budgets.json"
    path.write_text("{}")
    monkeypatch.setattr(budgets, "FILE", path)
    return path


def test_a_row_over_its_budget_is_told_field_by_field(file):
    assert tells(budgets.exceeded(ROW)[0], "gather", "--update-budgets")
    file.write_text(json.dumps({"gather": budgets.amounts(ROW)}))
    assert budgets.exceeded(ROW) == []
    for field in (
        "kernels",
        "bytes_per_item",
        "temp_bytes",
        "copy_bytes",
        "slower_flops",
    ):
        found = budgets.exceeded(ROW | {field: ROW[field] + 1})
        assert len(found) == 1 and f"gather: {field} " in found[0]
    more = ROW | dict(collectives={"all-reduce": 2, "all-gather": 2})
    assert tells(budgets.exceeded(more)[0], "gather", "collectives", 4, 3)
    # seconds of another CPU may be twice as many
    assert budgets.exceeded(ROW | dict(compile_cpu_s=14.0)) == []
    assert budgets.exceeded(ROW | dict(compile_cpu_s=14.1))
    transfers = budgets.exceeded(ROW | dict(host_transfers=["x"]))
    assert tells(transfers[0], "gather", "host", "x")


def test_budgets_are_only_lowered(file):
    budgets.lower([ROW])
    assert budgets.read()["gather"]["bytes_per_item"] == 1020
    budgets.lower([ROW | dict(bytes_per_item=900.0, temp_bytes=99)])
    found = budgets.read()["gather"]
    assert (found["bytes_per_item"], found["temp_bytes"]) == (918, 51)


def test_a_missed_target_needs_its_reason():
    budget = dict(kernels=500, temp_bytes=10, targets=dict(kernels=400, temp_bytes=10))
    assert budgets.unexplained(budget) == ["kernels"]
    assert budgets.unexplained(budget | dict(kernels=400)) == []
    assert budgets.unexplained(budget | dict(missed="a loop of the attack")) == []


def test_the_table_has_a_line_for_every_row():
    result = dict(
        versions=dict(jax="0.12"),
        commit="abc",
        rows=[
            ROW,
            ROW | dict(program="other", floor="arguments and results"),
            dict(program="bad", status="failed: no|thing", source="jaxcert/x.py:3"),
        ],
    )
    lines = table.text(result).splitlines()[-3:]
    cells = [c.strip() for c in lines[0].strip("|").split("|")]
    assert cells[:5] == ["gather", "10", "4e-06", "0.001", "2.00"]
    assert cells[7:9] == ["bf16 2 T", "3"]
    assert lines[1].split("|")[5].strip() == ""  # no floor is known
    assert "failed: no/thing jaxcert/x.py:3" in lines[2]
    assert len({line.count("|") for line in lines}) == 1


def test_a_table_goes_between_its_marks_and_leaves_the_page_as_it_is(tmp_path):
    page, result = (
        tmp_path / "page.md",
        dict(versions=dict(jax="1"), commit="a", rows=[]),
    )
    page.write_text(f"before\n{table.BEGIN}\nold\n{table.END}\nafter\n")
    for _ in range(2):
        table.write(page, result)
        between = table.text(result)
        assert page.read_text() == (
            f"before\n{table.BEGIN}\n{between}\n{table.END}\nafter\n"
        )
    table.write(tmp_path / "new.md", result)
    assert (tmp_path / "new.md").read_text() == between + "\n"
