"""The planted faults fit the code that they are planted in; `python -m tests.mutants`
plants them."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

from tests.mutants.__main__ import compares, run_tests
from tests.mutants.faults import FAULTS

ROOT = Path(__file__).parents[2]


@cache
def names(file):
    """Of the functions and classes of a file of tests, and class::method."""
    tree = ast.parse((ROOT / file).read_text())
    named = [node for node in tree.body if hasattr(node, "name")]
    return {node.name for node in named} | {
        f"{node.name}::{method.name}"
        for node in named
        for method in node.body
        if hasattr(method, "name")
    }


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_fault_can_be_planted_and_its_tests_exist(fault):
    source = (ROOT / fault.file).read_text()
    assert source.count(fault.text) == 1
    changed = source.replace(fault.text, fault.replacement)
    assert ast.dump(ast.parse(changed)) != ast.dump(ast.parse(source))
    for test in fault.tests:
        file, name = test.split("::", 1)
        assert name.split("[")[0] in names(file)


def test_names_of_faults_differ():
    names = [fault.name for fault in FAULTS]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    "message, counts",
    [
        ("assert 1 == 2", True),
        ("AssertionError: Arrays are not equal", True),
        ("Failed: DID NOT RAISE InputError", True),
        ("AssertionError: (shapes (2,), (3,) mismatch)", False),
        ("TypeError: bad operand", False),
        ("ImportError: no module", False),
    ],
)
def test_errors_of_another_kind_are_no_comparison(message, counts):
    assert compares(message) == counts


def test_only_a_comparison_of_values_in_a_test_counts(tmp_path):
    (tmp_path / "tests").mkdir()
    (tmp_path / "library.py").write_text("def f(x):\n    assert x == 2\n")
    (tmp_path / "tests" / "test_it.py").write_text(
        "import jax, library, numpy as np\n"
        "def test_value():\n    assert np.ones(2).sum() == 3\n"
        "def test_array():\n    np.testing.assert_allclose(np.ones(2), [1, 2])\n"
        "def test_tree():\n"
        "    jax.tree.map(np.testing.assert_array_equal, [np.ones(2)], [np.zeros(2)])\n"
        "def test_shape():\n    assert np.ones(2).shape == (3,)\n"
        "def test_shapes():\n    np.testing.assert_array_equal(np.ones(2), np.ones(3))\n"
        "def test_library():\n    library.f(1)\n"
    )
    status, messages = run_tests(tmp_path, ("tests/test_it.py",))
    assert status == 1
    assert [compares(m) for m in messages] == [True] * 3 + [False] * 3
