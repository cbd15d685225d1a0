"""Who may import whom: the floors of the house, read off the syntax trees."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "jaxcert"
STANDARD = set(sys.stdlib_module_names)

NUMPY = {"numpy"}
JAX = NUMPY | {"jax"}
COMMANDS = {
    "attack",
    "train",
    "certify",
    "gradient_norms",
    "report",
    "show_configs",
    "convert",
    "generate",
    "import_torch",
    "quality",
    "study",
}
EVIDENCE = {f"certificates.{name}" for name in ("statistics", "norms", "sequential")}
"""What proves a radius, without jax."""

FLOORS = {
    # part: (outside packages, parts of jaxcert)
    "errors": (set(), set()),
    "progress": (set(), set()),
    "locks": (set(), {"errors"}),
    "certificate": (NUMPY, set()),
    "records": (NUMPY, {"certificate", "errors"}),
    "random_keys": (JAX, {"errors"}),
    "config": ({"absl", "ml_collections"}, {"errors"}),
    "interfaces": ({"jax"}, {"certificate"}),
    "configs": (set(), {"config", "errors"}),
    "__main__": (set(), {"errors", "jaxcert"}),
    "cli": ({"ml_collections"}, {"config", "errors"}),
    "ops": (
        JAX | {"jaxlib", "scipy"},
        {"certificate", "errors", "interfaces", "records"},
    ),
    "data": (
        JAX | {"grain", "array_record", "tensorflow_datasets", "PIL"},
        {"certificate", "errors", "interfaces", "records", "config", "progress", "ops"},
    ),
    "certificates.statistics": (NUMPY | {"scipy"}, {"errors", "certificates.norms"}),
    "certificates.norms": (NUMPY | {"scipy"}, {"errors"}),
    "certificates.sequential": (NUMPY | {"scipy"}, set()),
    "certificates._evidence": (NUMPY, {"certificate", "errors", *EVIDENCE}),
    "certificates.procedures": (
        NUMPY,
        {"certificate", "errors", "certificates._evidence", *EVIDENCE},
    ),
    "attacks": (JAX | {"optax"}, {"errors", "interfaces", "ops"}),
    "nn": (JAX | {"flax"}, {"certificate", "errors", "interfaces", "records", "ops"}),
    "diffusion": (JAX, {"errors", "interfaces", "ops"}),
    "models": (JAX | {"flax"}, {"errors", "interfaces", "ops", "nn", "diffusion"}),
    "methods": (
        JAX | {"optax"},
        {
            "errors",
            "interfaces",
            "certificate",
            "records",
            "ops",
            "diffusion",
            "random_keys",
            "certificates.statistics",
        },
    ),
    "certificates": (
        JAX | {"scipy"},
        {
            "errors",
            "interfaces",
            "certificate",
            "records",
            "progress",
            "ops",
            "diffusion",
            "random_keys",
            *EVIDENCE,
            "certificates._evidence",
            "certificates.procedures",
        },
    ),
    "workdirs": (set(), {"config", "errors", "interfaces", "training"}),
    "certifiers": (set(), {"config", "errors", "workdirs"}),
    "training": (
        JAX | {"optax", "orbax"},
        {
            "certificate",
            "errors",
            "interfaces",
            "records",
            "config",
            "data",
            "random_keys",
            "ops",
        },
    ),
    "training.build": (
        JAX | {"optax"},
        {
            "errors",
            "interfaces",
            "random_keys",
            "config",
            "data",
            "workdirs",
            "training",
            "training.evaluation",
        },
    ),
    "training.evaluation": (
        JAX,
        {
            "errors",
            "interfaces",
            "certificate",
            "records",
            "random_keys",
            "config",
            "data",
            "analysis",
            "certifiers",
            "training",
        },
    ),
    "analysis": (
        NUMPY | {"scipy", "matplotlib"},
        {"certificate", "errors", "records", *EVIDENCE, "certificates._evidence"},
    ),
    "torch_import": (NUMPY | {"safetensors"}, {"errors"}),
}
LAZY = {
    "grain",
    "array_record",
    "tensorflow_datasets",
    "PIL",
    "matplotlib",
    "safetensors",
}
"""Imported inside the functions that need them: not every machine has them."""


def imports(path):
    """(module, whether at the top of the file) of everything a file imports."""
    tree = ast.parse(path.read_text())
    top = set(map(id, tree.body))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for name in node.names:
                yield name.name, id(node) in top
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            for name in node.names:
                yield f"{node.module}.{name.name}", id(node) in top


def part_of(module):
    """'jaxcert.certificates.statistics.f' -> the longest name of a floor or command."""
    words = module.split(".")[1:]
    names = [".".join(words[:length]) for length in (2, 1)]
    return next((n for n in names if n in FLOORS or n in COMMANDS), module)


def files():
    for path in sorted(ROOT.rglob("*.py")):
        yield path, "jaxcert." + ".".join(path.relative_to(ROOT).with_suffix("").parts)


def check(path, name):
    """Fail where the file imports what its floor may not."""
    part = part_of(name)
    if part in COMMANDS or path.name == "__init__.py":
        return
    assert part in FLOORS, f"{name} stands on no floor: add it to FLOORS"
    outside, inside = FLOORS[part]
    for module, at_top in imports(path):
        first = module.split(".")[0]
        if first == "jaxcert":
            target = part_of(module)
            assert target not in COMMANDS, f"{name} imports the command {target}"
            assert target in inside | {part}, f"{name} imports {module}"
        elif first not in STANDARD:
            assert first in outside, f"{name} imports {module}"
            if first in LAZY and part != "analysis":
                assert not at_top, f"{name} imports {module} at the top"


@pytest.mark.parametrize(
    "path,name", list(files()), ids=lambda v: getattr(v, "stem", v)
)
def test_file_imports_only_what_its_floor_may(path, name):
    check(path, name)


@pytest.mark.parametrize(
    "name,line",
    [
        ("jaxcert.methods.x", "from jaxcert.models import resnet"),
        ("jaxcert.certificates.x", "import flax"),
        ("jaxcert.certificates.statistics", "import jax"),
        ("jaxcert.training.x", "from jaxcert.methods import lot"),
        ("jaxcert.analysis.x", "import jax.numpy as jnp"),
        ("jaxcert.torch_import.x", "import torch"),
        ("jaxcert.data.x", "from jaxcert.train import train"),
        ("jaxcert.nowhere", "import numpy"),
    ],
)
def test_a_breach_is_seen(tmp_path, name, line):
    file = tmp_path / "x.py"
    file.write_text(f"def f():\n    {line}\n")
    with pytest.raises(AssertionError):
        check(file, name)


def test_grain_at_the_top_of_a_file_is_seen(tmp_path):
    file = tmp_path / "x.py"
    file.write_text("import grain\n")
    with pytest.raises(AssertionError, match="at the top"):
        check(file, "jaxcert.data.x")


def test_an_accelerator_machine_needs_neither_grain_nor_ml_collections():
    code = (
        "import sys\n"
        "for gone in ('grain', 'ml_collections', 'matplotlib', 'PIL'):\n"
        "    sys.modules[gone] = None\n"
        "import jaxcert.models.lip_convnet, jaxcert.models.resnet, jaxcert.methods.lot\n"
        "import jaxcert.methods.gaussian, jaxcert.certificates.smoothing\n"
        "import jaxcert.certificates.lipschitz, jaxcert.data.loader, jaxcert.training.step\n"
        "import jaxcert.training.optim\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


def test_records_and_analysis_work_without_jax():
    code = (
        "import sys\n"
        "sys.modules['jax'] = None\n"
        "import jaxcert.records, jaxcert.report, jaxcert.analysis.metrics\n"
        "import jaxcert.analysis.tables, jaxcert.analysis.figures\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
