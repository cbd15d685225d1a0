"""Notebooks run from top to bottom in an empty folder, and are stored with their outputs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def cells_of(path: Path) -> list[dict]:
    return [
        c for c in json.loads(path.read_text())["cells"] if c["cell_type"] == "code"
    ]


@pytest.mark.slow
@pytest.mark.parametrize("path", BOOKS, ids=lambda path: path.stem)
def test_cells_run_in_order(path, tmp_path):
    """.ci/run does this for two of them, with the wheel in an environment of its own."""
    command = [sys.executable, ROOT / "tests/run_notebook.py", path]
    environment = {**os.environ, "MPLBACKEND": "Agg"}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.parametrize("path", BOOKS, ids=lambda path: path.stem)
def test_outputs_are_stored_and_hold_no_error_and_no_place(path):
    cells = cells_of(path)
    kinds = {out["output_type"] for cell in cells for out in cell["outputs"]}
    assert "stream" in kinds, "run it, and store it with its outputs"
    assert "error" not in kinds
    assert [c["execution_count"] for c in cells] == list(range(1, len(cells) + 1))
    text = json.dumps([cell["outputs"] for cell in cells])
    assert "/root/" not in text and "/home/" not in text and "/tmp/" not in text


@pytest.mark.parametrize("path", BOOKS, ids=lambda path: path.stem)
def test_first_cell_installs_from_one_place(path):
    first = "".join(cells_of(path)[0]["source"])
    assert 'SOURCE = os.environ.get("JAXCERT_SOURCE", "")' in first
    others = ["".join(cell["source"]) for cell in cells_of(path)[1:]]
    assert not [code for code in others if "pip" in code.split()]


def test_first_cell_says_what_to_set_where_nothing_is_installed(monkeypatch):
    first = "".join(cells_of(BOOKS[0])[0]["source"])
    monkeypatch.delenv("JAXCERT_SOURCE", raising=False)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SystemExit, match="SOURCE"):
        exec(first, {})
