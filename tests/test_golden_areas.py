"""`pytest -m golden -k AREA` picks every test that reads golden/AREA: conftest takes the
areas from the mark, and fails a test that reads one which its mark does not name."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
READS = {  # files whose paths do not name the area
    "lipschitz_l2": "tests/ops/test_spectral.py",
    "linf": "tests/ops/test_sort_neuron.py",
    "smoothing": "tests/certificates/test_statistics.py",
    "diffusion": "tests/data/test_mixture.py",
}
COLLECT = """
import sys, pytest
files, areas = sys.argv[1].split(), sys.argv[2].split()
for area in areas:
    print("area:", area)
    chosen = ["-m", "golden", "-k", area, "--collect-only", "-q", "-p", "no:cacheprovider"]
    pytest.main([*chosen, *files])
"""


def test_each_area_picks_the_tests_that_read_it():
    given = " ".join(READS.values()), " ".join(READS)
    command = [sys.executable, "-c", COLLECT, *given]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    said = dict(part.split("\n", 1) for part in ran.stdout.split("area: ")[1:])
    assert set(said) == set(READS), ran.stdout + ran.stderr
    for area, lines in said.items():
        picked = {line.split("::")[0] for line in lines.splitlines() if "::" in line}
        assert picked == {READS[area]}, (area, lines)


UNMARKED = """
import pytest
from conftest import Golden, golden_files

@pytest.mark.golden("linf")
def test_another_area():
    Golden(golden_files("smoothing", "predict*.npz")[0])

def test_without_a_mark():
    Golden(golden_files("smoothing", "predict*.npz")[0])
"""


def test_what_reads_an_area_must_name_it(tmp_path):
    """Else -k would not pick it."""
    file = tmp_path / "test_unmarked.py"
    file.write_text(UNMARKED)
    (tmp_path / "conftest.py").write_text((ROOT / "tests" / "conftest.py").read_text())
    (tmp_path / "golden").symlink_to(ROOT / "tests" / "golden")
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        str(file),
    ]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert ran.stdout.count("pytest.mark.golden") >= 2, ran.stdout
    assert "2 errors" in ran.stdout, ran.stdout
