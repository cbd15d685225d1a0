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
COMMANDS = {"train", "certify", "report", "convert"}

FLOORS = {
    # part: (outside packages, parts of jaxcert)
    "errors": (set(), set()),
    "progress": (set(), set()),
    "records": (NUMPY, {"errors"}),
    "config": ({"ml_collections"}, {"errors"}),
    "interfaces": ({"jax"}, {"records"}),
    "cli": ({"absl", "ml_collections"}, {"config", "errors"}),
    "ops": (JAX | {"scipy"}, {"errors", "interfaces", "records"}),
    "data": (
        JAX | {"grain", "array_record", "tensorflow_datasets", "PIL"},
        {"errors", "interfaces", "records", "config", "progress", "ops"},
    ),
    "certificates.statistics": (NUMPY | {"scipy"}, {"errors"}),
    "nn": (JAX | {"flax"}, {"errors", "interfaces", "records", "ops"}),
    "models": (JAX | {"flax"}, {"errors", "interfaces", "ops", "nn"}),
    "methods": (JAX | {"optax"}, {"errors", "interfaces", "records", "ops"}),
    "certificates": (
        JAX | {"scipy"},
        {"errors", "interfaces", "records", "ops", "certificates.statistics"},
    ),
    "training": (
        JAX | {"optax", "orbax"},
        {"errors", "interfaces", "records", "config", "data"},
    ),
    "analysis": (
        NUMPY | {"scipy", "matplotlib"},
        {"errors", "records", "certificates.statistics"},
    ),
}
LAZY = {"grain", "array_record", "tensorflow_datasets", "PIL", "matplotlib"}
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
    """'jaxcert.certificates.statistics.f' -> the most specific part of FLOORS."""
    words = module.split(".")[1:]
    for length in (2, 1):
        if ".".join(words[:length]) in FLOORS or words[0] in COMMANDS:
            return ".".join(words[:length]) if words[0] not in COMMANDS else words[0]
    return words[0] if words else "jaxcert"


def files():
    for path in sorted(ROOT.rglob("*.py")):
        yield path, "jaxcert." + ".".join(path.relative_to(ROOT).with_suffix("").parts)


@pytest.mark.parametrize(
    "path,name", list(files()), ids=lambda v: getattr(v, "stem", v)
)
def test_file_imports_only_what_its_floor_may(path, name):
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
            assert target in inside | {part, "jaxcert"}, f"{name} imports {module}"
        elif first not in STANDARD:
            assert first in outside, f"{name} imports {module}"
            if first in LAZY and part != "analysis":
                assert not at_top, f"{name} imports {module} at the top"


def test_a_breach_is_seen(tmp_path):
    file = tmp_path / "x.py"
    file.write_text("def f():\n    from jaxcert.models import resnet\n")
    found = list(imports(file))
    assert found == [("jaxcert.models.resnet", False)]
    assert part_of(found[0][0]) not in FLOORS["methods"][1]


def test_an_accelerator_machine_needs_neither_grain_nor_ml_collections():
    code = (
        "import sys\n"
        "for gone in ('grain', 'ml_collections', 'absl', 'matplotlib', 'PIL'):\n"
        "    sys.modules[gone] = None\n"
        "import jaxcert.models.lip_convnet, jaxcert.models.resnet, jaxcert.methods.lot\n"
        "import jaxcert.methods.gaussian, jaxcert.certificates.smoothing\n"
        "import jaxcert.certificates.lipschitz, jaxcert.data.loader, jaxcert.training.step\n"
        "import jaxcert.training.optim\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    # jax and flax import absl themselves where they need it
    if "absl" in done.stderr:
        code = code.replace("'absl', ", "")
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True
        )
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
