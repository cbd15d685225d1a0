"""Shared by all tests: where golden arrays are, and how to look at them."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# commands that tests start as processes compile the same programs again and again
_CACHE = tempfile.TemporaryDirectory(prefix="jaxcert-xla-")
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", _CACHE.name)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.5")
os.environ["PYTHONPATH"] = str(Path(__file__).parents[1])

# tests compile far longer than they compute
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")

# a shell starts what it puts in the background deaf to Ctrl-C, and its children are as well
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

_HERE = Path(__file__).parent


@pytest.fixture(autouse=True, scope="module")
def _programs_of_a_file_end_with_it():
    """Else a run of all tests holds gigabytes of them."""
    yield
    if "jax" in sys.modules:
        sys.modules["jax"].clear_caches()


_LONG = ("benchmarks", "training", "models", "torch_import", "methods", "contracts")


@pytest.hookimpl(tryfirst=True)  # before -k selects
def pytest_collection_modifyitems(items):
    """Golden tests are found by the area that they read; folders with long tests come
    first, so that several workers end together."""
    for item in items:
        item.extra_keyword_matches |= _areas(item)
    folder = {name: i for i, name in enumerate(_LONG)}
    items.sort(key=lambda item: folder.get(item.path.parent.name, len(_LONG)))


def _areas(item) -> set[str]:
    """What its mark names: pytest.mark.golden("linf") for a test that reads golden/linf."""
    marks = list(item.iter_markers("golden"))
    if not all(mark.args for mark in marks):
        raise pytest.UsageError(f"{item.nodeid}: its mark golden names no area.")
    return {area for mark in marks for area in mark.args}


_OTHER = os.environ.get("JAXCERT_GOLDEN_DIR")
_read: set[str] = set()


def pytest_configure():
    if _OTHER and not any(Path(_OTHER).glob("*/*")):
        raise pytest.UsageError(
            f"JAXCERT_GOLDEN_DIR is {_OTHER!r}, which holds no folder of golden arrays: "
            "name one like tests/golden, or unset it."
        )


@pytest.fixture(autouse=True)
def _areas_are_those_of_the_mark(request):
    _read.clear()
    yield
    missing = _read - _areas(request.node)
    assert not missing, f"reads {missing}: name it in pytest.mark.golden"


def golden_dir(area: str) -> Path:
    """Folder of the arrays of one area: tests/golden, or the one in $JAXCERT_GOLDEN_DIR."""
    _read.add(area)
    return Path(_OTHER or _HERE / "golden") / area


def golden_files(area: str, pattern: str) -> list[Path]:
    """Files of an area by pattern (sizes and settings are part of some names).

    Where there is none, the pattern itself: pytest asks while it collects, and only the
    test that opens it should end.
    """
    return sorted(golden_dir(area).glob(pattern)) or [golden_dir(area) / pattern]


def golden_each(area: str, pattern: str):
    """Runs a test with each such file as `file`."""
    return pytest.mark.parametrize(
        "file", golden_files(area, pattern), ids=lambda file: file.stem
    )


def close(actual, expected, tolerance=1e-9):
    """Same shape, and the largest error is within tolerance of the largest entry."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape
    error = np.abs(actual - expected).max()
    assert error <= tolerance * max(np.abs(expected).max(), 1e-300)


class Golden(dict):
    """Arrays of one file; `unread()` lists those that no test has looked at. A folder of
    one's own need not have every file: its test is skipped."""

    def __init__(self, path: Path):
        _read.add(path.parent.name)
        if _OTHER and not path.is_file():
            pytest.skip(f"{path.parent} has no {path.name}")
        with np.load(path, allow_pickle=False) as file:
            super().__init__({name: file[name] for name in file.files})
        self._read: set[str] = set()

    def __getitem__(self, name: str):
        self._read.add(name)
        return super().__getitem__(name)

    def unread(self, *but: str) -> list[str]:
        skipped = tuple(but)
        return sorted(
            n for n in self if n not in self._read and not n.startswith(skipped)
        )


@pytest.fixture
def x64():
    """Double precision inside one test."""
    import jax

    with jax.enable_x64(True):
        yield


@pytest.fixture
def strict_shapes():
    """JAX as JAX_NUMPY_RANK_PROMOTION=raise sets it."""
    import jax

    jax.config.update("jax_numpy_rank_promotion", "raise")
    yield
    jax.config.update("jax_numpy_rank_promotion", "allow")
