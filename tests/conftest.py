"""Shared by all tests: where golden arrays are, and how to look at them."""

from __future__ import annotations

import os
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

_HERE = Path(__file__).parent


@pytest.fixture(autouse=True, scope="module")
def _programs_of_a_file_end_with_it():
    """Else a run of all tests holds gigabytes of them."""
    yield
    if "jax" in sys.modules:
        sys.modules["jax"].clear_caches()


_LONG = ("benchmarks", "training", "models", "torch_import", "methods", "contracts")


def pytest_collection_modifyitems(items):
    """Folders with long tests first, so that several workers end together."""
    folder = {name: i for i, name in enumerate(_LONG)}
    items.sort(key=lambda item: folder.get(item.path.parent.name, len(_LONG)))


def golden_dir(area: str) -> Path:
    """Folder of the arrays of one area: tests/golden, or the one in $JAXCERT_GOLDEN_DIR."""
    return Path(os.environ.get("JAXCERT_GOLDEN_DIR", _HERE / "golden")) / area


def golden_files(area: str, pattern: str) -> list[Path]:
    """Files of an area by pattern (sizes are part of some names).

    Where there is none, the pattern itself: pytest asks while it collects, and only the
    test that opens it should fail.
    """
    return sorted(golden_dir(area).glob(pattern)) or [golden_dir(area) / pattern]


def close(actual, expected, tolerance=1e-9):
    """Same shape, and the largest error is within tolerance of the largest entry."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape
    error = np.abs(actual - expected).max()
    assert error <= tolerance * max(np.abs(expected).max(), 1e-300)


class Golden(dict):
    """Arrays of one file; `unread()` lists those that no test has looked at."""

    def __init__(self, path: Path):
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
