"""Sphinx builds the pages of this folder: `python -m sphinx -W -b html docs docs/_build/html`.

The pages are Markdown (MyST). The reference in `docs/api` is written anew by every build: one
page for each part of the package, found by `pkgutil`, so that no module can be left out.
"""

from __future__ import annotations

import inspect
import os
import pkgutil
import re
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jaxcert  # noqa: E402

project = "jaxcert"
author = "The jaxcert authors"
copyright = "The jaxcert authors, Apache-2.0"
version = release = jaxcert.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.mathjax"]
exclude_patterns = ["_build"]
html_theme = "alabaster"
html_theme_options = {
    "description": "Certified robustness in JAX",
    "page_width": "70em",
}
myst_heading_anchors = 3
autodoc_default_options = {
    "members": True,
    "member-order": "bysource",
    "ignore-module-all": True,  # each name stands with the file that defines it
}
autodoc_inherit_docstrings = False
autodoc_type_aliases = {
    "ArrayLike": "ArrayLike"
}  # else all that numpy takes is written out
# two classes may have one name, such as Run, and types are shown without their module
suppress_warnings = ["ref.python"]

_LEFT_OUT = ("jaxcert.configs", "jaxcert.__main__")
"""Configs say what they hold at their own head; `jaxcert configs` lists them."""
_CODE = re.compile(r"(`[^`]+`)")
_ARGUMENT = re.compile(r"\w+(, \w+)*: ")
_SPECIAL = re.compile(r"([\\*_|`])")


def write_reference(_app) -> None:
    """Write `docs/api`: a page for each package of jaxcert, one for all commands, and one for
    the modules that stand alone."""
    folder = HERE / "api"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    pages: dict[str, list[str]] = {}
    for found in pkgutil.walk_packages(jaxcert.__path__, "jaxcert."):
        if found.name.startswith(_LEFT_OUT) or "._" in found.name:
            continue
        part = found.name.split(".")[1]
        if not (Path(jaxcert.__path__[0]) / part).is_dir():
            source = Path(jaxcert.__path__[0], f"{part}.py").read_text()
            part = "commands" if re.search(r"^def main\(", source, re.M) else "modules"
        pages.setdefault(part, []).append(found.name)
    _write(folder / "jaxcert.rst", "jaxcert", map(_public, ["", *_names()]))
    for part, modules in pages.items():
        title = "Other modules" if part == "modules" else part
        _write(folder / f"{part}.rst", title, map(_module, modules))
    index = [
        "API reference",
        "=============",
        "",
        ".. toctree::",
        "   :maxdepth: 1",
        "",
    ]
    first = ["jaxcert", "commands"]
    rest = sorted(pages.keys() - {"commands", "modules"})
    index += [f"   {part}" for part in (*first, *rest, "modules")]
    (folder / "index.rst").write_text("\n".join(index) + "\n")


def _write(path: Path, title: str, parts: Iterable[str]) -> None:
    path.write_text(f"{title}\n{'=' * len(title)}\n\n" + "\n".join(parts))


def _names() -> list[str]:
    """The public names of jaxcert, in the order in which it lists them."""
    return [name for name in getattr(jaxcert, "__all__", ()) if name[:1] != "_"]


def _public(name: str) -> str:
    """What `import jaxcert` itself offers: its docstring, or one name of it."""
    if not name:
        return ".. automodule:: jaxcert\n   :no-members:\n"
    kind = "autoclass" if inspect.isclass(getattr(jaxcert, name)) else "autofunction"
    return f".. {kind}:: jaxcert.{name}\n   :no-index:\n"


def _module(name: str) -> str:
    line = f"``{name}``"
    return f"{line}\n{'-' * len(line)}\n\n.. automodule:: {name}\n\n"


def as_text(_app, _what, _name, _obj, _options, lines: list[str]) -> None:
    """Docstrings are plain text with `names` in single backticks, not reStructuredText: show
    paragraphs and lists as such, and whatever is indented or set in columns as it stands."""
    shown = []
    for block in re.split(r"\n\s*\n", "\n".join(lines).strip("\n")):
        rows = block.split("\n")
        indented = all(row.startswith((" ", "\t")) for row in rows)
        columns = any(re.search(r"\S {2,}\S|^\|", row) for row in rows)
        if indented or columns:
            shown += ["::", "", *("   " + row for row in rows), ""]
            continue
        arguments = sum(map(bool, map(_ARGUMENT.match, rows))) > 1
        starts = r"\n(?=\s*- |\w+(?:, \w+)*: )" if arguments else r"\n(?=\s*- )"
        for paragraph in re.split(starts, block):
            item = "- " if arguments and _ARGUMENT.match(paragraph) else ""
            shown += [item + _plain(" ".join(paragraph.split())), ""]
    lines[:] = shown


def _plain(text: str) -> str:
    """reStructuredText that shows this text, with `code` as code."""
    parts = [
        f"`{part}`\\ " if _CODE.fullmatch(part) else _SPECIAL.sub(r"\\\1", part)
        for part in _CODE.split(text)
    ]
    return "".join(parts).removesuffix("\\ ")


def with_names_of_aliases(_app, _what, _name, _obj, _options, signature, returns):
    """Show `autodoc_type_aliases` by their names alone."""
    alias = re.compile(r"TypeAliasForwardRef\('(\w+)'\)")
    return tuple(text and alias.sub(r"\1", text) for text in (signature, returns))


def setup(app) -> None:
    app.connect("builder-inited", write_reference)
    app.connect("autodoc-process-docstring", as_text)
    app.connect("autodoc-process-signature", with_names_of_aliases)
