"""The floors of the house, read off the imports: `python -m tests.test_imports` prints them.

A part is a file or folder of the library, or the benchmarks. It stands one floor above the
highest part that it imports, anywhere in its files.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HIGHEST = 8
STANDARD = set(sys.stdlib_module_names)

NUMPY = {"numpy"}
JAX = NUMPY | {"jax"}
OUTSIDE = {
    "certificate": NUMPY,
    "version": set(),
    "progress": set(),
    "errors": set(),
    "locks": set(),
    "random_keys": JAX,
    "audit_layers": NUMPY | {"scipy"},
    "audit_models": NUMPY | {"audit_layers"},
    "interfaces": JAX,
    "records": NUMPY | {"pandas"},
    "config": {"absl", "ml_collections"},
    "configs": {"ml_collections"},
    "ops": JAX | {"jaxlib", "scipy"},
    "cli": {"ml_collections"},
    "sharding": JAX,
    "nn": JAX | {"flax"},
    "diffusion": JAX,
    "machine": JAX,
    "host": NUMPY | {"torch", "onnxruntime"},
    "data": JAX | {"grain", "array_record", "tensorflow_datasets", "datasets", "PIL"},
    "workdirs": JAX | {"orbax", "ml_collections"},
    "zoos": {"ml_collections"},
    "models": JAX | {"flax"},
    "image_generation": JAX,
    "certificates": JAX | {"scipy", "ml_collections"},
    "torch_import": JAX | {"safetensors", "ml_collections"},
    "methods": JAX | {"optax"},
    "analysis": NUMPY | {"scipy", "matplotlib"},
    "training": JAX | {"optax", "ml_collections", "tensorboard", "wandb", "trackio"},
    "attacks": JAX | {"optax", "ml_collections"},
    "api": JAX | {"ml_collections"},
    "papers": JAX | {"scipy", "optax", "matplotlib", "ml_collections"},
}
"""Packages that a part of the library may import. Parts that are not named are commands."""
EVIDENCE = [
    f"certificates/{name}.py"
    for name in ("statistics", "norms", "sequential", "procedures", "rechecking")
]
"""What proves a radius, without jax."""
LAZY = {"grain", "array_record", "tensorflow_datasets", "PIL", "safetensors", "pandas"}
LAZY |= {"torch", "onnxruntime", "datasets", "tensorboard", "wandb", "trackio"}
"""Imported inside the functions that need them: not every machine has them."""


def imports(path: Path):
    """(module, whether at the top of the file) of everything a file imports."""
    tree = ast.parse(path.read_text("utf-8"))
    top = set(map(id, tree.body))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for name in node.names:
                yield name.name, id(node) in top
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            for name in node.names:
                yield f"{node.module}.{name.name}", id(node) in top


def part_of(module: str) -> str | None:
    """'jaxcert.nn.lot.Conv' -> 'nn'; None for what is not ours, or is jaxcert itself."""
    first, *rest = module.split(".")
    if first == "benchmarks":
        return first
    return rest[0] if first == "jaxcert" and rest else None


def library() -> dict[str, list[Path]]:
    """The files of each part. What hands the public names out lazily, and what maps the word
    after `jaxcert` to a command, import nothing of it."""
    parts: dict[str, list[Path]] = {}
    for path in sorted((ROOT / "jaxcert").rglob("*.py")):
        part = path.relative_to(ROOT / "jaxcert").parts[0].removesuffix(".py")
        if part not in ("__init__", "__main__"):
            parts.setdefault(part, []).append(path)
    parts["benchmarks"] = sorted((ROOT / "benchmarks").rglob("*.py"))
    return parts


def graph() -> dict[str, set[str]]:
    """Each part -> the parts that it imports."""
    return {
        part: {
            target
            for path in paths
            for module, _ in imports(path)
            if (target := part_of(module)) not in (None, part)
        }
        for part, paths in library().items()
    }


def floors(imported: dict[str, set[str]]) -> dict[str, int]:
    """Each part -> its floor. Raises AssertionError for a circle."""
    found: dict[str, int] = {}

    def floor(part: str, above: tuple[str, ...]) -> int:
        assert part not in above, f"circle: {' -> '.join((*above, part))}"
        if part not in found:
            below = (floor(other, (*above, part)) for other in imported[part])
            found[part] = 1 + max(below, default=0)
        return found[part]

    for part in imported:
        floor(part, ())
    return found


def test_no_circle_and_no_more_floors_than_that():
    assert max(floors(graph()).values()) <= HIGHEST


def test_nobody_imports_a_command():
    imported = graph()
    commands = set(imported) - set(OUTSIDE) - {"benchmarks"}
    assert {"train", "certify", "report"} <= commands
    for part, below in imported.items():
        assert not below & commands, f"{part} imports {below & commands}"


def test_a_circle_is_noticed():
    with pytest.raises(AssertionError, match="a -> b -> a"):
        floors({"a": {"b"}, "b": {"a"}})
    assert floors({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == dict(a=3, b=2, c=1)


@pytest.mark.parametrize("part", OUTSIDE)
def test_packages_that_a_part_imports(part):
    for path in library()[part]:
        for module, at_top in imports(path):
            first = module.split(".")[0]
            if first in STANDARD or first == "jaxcert":
                continue
            assert first in OUTSIDE[part], f"{path} imports {module}"
            assert first not in LAZY or not at_top, (
                f"{path} imports {module} at the top"
            )


@pytest.mark.parametrize("name", EVIDENCE)
def test_what_proves_a_radius_needs_no_jax(name):
    found = {module.split(".")[0] for module, _ in imports(ROOT / "jaxcert" / name)}
    assert found - STANDARD <= {"numpy", "scipy", "jaxcert"}


def test_private_names_are_imported_by_nobody_else():
    files = {p: p.relative_to(ROOT).parent for ps in library().values() for p in ps}
    for path, folder in files.items():
        for module, _ in imports(path):
            place, _, name = module.rpartition(".")
            if part_of(module) and name.startswith("_") and name != "__version__":
                private = ROOT / place.replace(".", "/") / f"{name}.py"
                assert private.is_file(), f"{path} imports {module}"
                assert place == ".".join(folder.parts), f"{path} imports {module}"


def test_models_methods_and_certificates_are_found_by_name():
    """Of their files the rest of the library knows none, but those that every run needs."""
    imported = graph()
    for part in ("training", "workdirs", "data", "papers", "analysis"):
        assert not imported[part] & {"models", "methods"}, part
    assert not imported["models"] & {"methods", "certificates"}
    assert "models" not in imported["methods"] | imported["certificates"]


def without(gone: str, modules: str) -> None:
    code = "".join(
        [
            "import sys\n",
            *(f"sys.modules[{name!r}] = None\n" for name in gone.split()),
            *(f"import jaxcert.{name}\n" for name in modules.split()),
        ]
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


def test_an_accelerator_machine_needs_neither_grain_nor_ml_collections():
    without(
        "grain ml_collections matplotlib PIL",
        "models.lip_convnet models.resnet methods.lot methods.gaussian "
        "certificates.smoothing certificates.lipschitz data.loader training.step "
        "training.optim",
    )


def test_records_and_analysis_work_without_jax():
    without("jax", "records report analysis.metrics analysis.tables analysis.figures")


def test_files_of_the_library_are_short():
    for part, paths in library().items():
        for path in paths if part not in ("configs", "benchmarks") else ():
            lines = len(path.read_text("utf-8").splitlines())
            assert lines <= 450, f"{path} has {lines} lines"


def picture() -> str:
    """The floors from the top down, each part with what it imports."""
    imported = graph()
    on = floors(imported)
    rows = []
    for part in sorted(on, key=lambda part: (-on[part], part)):
        rows.append(
            f"{on[part]}  {part:18} {' '.join(sorted(imported[part]))}".rstrip()
        )
    return "\n".join(rows)


if __name__ == "__main__":
    print(picture())
