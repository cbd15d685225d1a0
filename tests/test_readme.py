"""Every block of the README: commands parse, their configs resolve, Python runs, printed numbers
have the errors that are printed beside them."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import math
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from jaxcert import config as configs
from jaxcert import records
from jaxcert.errors import InputError, exit_cleanly
from jaxcert.records import files

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
SHELL = [text for kind, text in BLOCKS if kind == "bash"]
PYTHON = [text for kind, text in BLOCKS if kind == "python"]
OUTPUT = [text for kind, text in BLOCKS if kind == ""]

COMMANDS = """
function . { :; }; function pip { :; }; function python3 { :; }
function python { printf '%s\\0' "$@"; printf '\\n'; }
"""
"""What stands in for the programs that the README starts: the arguments are printed."""

TRAINED = {
    "runs/lot": "configs/quickstart.py",
    "runs/rs": "configs/smoothing/digits.py",
}
"""Workdirs that the README only speaks of."""


def commands() -> list[list[str]]:
    """Arguments of every `python ...` of the shell blocks, as bash reads them."""
    found = []
    for text in SHELL:
        done = subprocess.run(
            [shutil.which("bash"), "-c", COMMANDS + text],
            capture_output=True,
            text=True,
            env={"PATH": "/nowhere"},
        )
        assert done.returncode == 0 and not done.stderr, (text, done.stderr)
        found += [line.split("\0")[:-1] for line in done.stdout.splitlines()]
    return found


def test_every_block_is_looked_at():
    assert {kind for kind, _ in BLOCKS} == {"", "bash", "python", "json"}
    assert len(BLOCKS) * 2 == len(re.findall(r"^```", README, re.MULTILINE))
    said = sum(
        len(re.findall(r"^ *(?:\S+ && )*python -m", text, re.M)) for text in SHELL
    )
    assert len(commands()) >= said > 15


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A folder where the README's commands can be given: the configs, and its workdirs."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    for workdir, config in TRAINED.items():
        Path(workdir).mkdir(parents=True)
        configs.save(configs.load(config), Path(workdir) / "config.json")
    return tmp_path


class Reached(Exception):
    """The command has read its arguments and begins to work."""


def work(name):
    """The function of a command that gets what was parsed, and what stands in for it."""

    def train(config, workdir):
        Path(workdir).mkdir(parents=True, exist_ok=True)
        configs.save(config, Path(workdir) / "config.json")
        raise Reached

    def other(*_, **__):
        raise Reached

    names = dict(report="_run", study="runs", quality="open_set")
    return names.get(name, name), train if name == "train" else other


def test_every_command_is_one_that_its_own_parser_takes(home, monkeypatch):
    seen = set()
    for first, module, *arguments in commands():
        assert first == "-m", arguments
        if module in ("pytest", "benchmarks.run"):
            continue
        package, _, name = module.partition(".")
        assert package == "jaxcert"
        command = importlib.import_module(module)
        where, function = work(name)
        target = command
        if name == "convert":
            target = importlib.import_module("jaxcert.data.write")
        monkeypatch.setattr(target, where, function)
        try:
            command.main(arguments)
            pytest.fail(f"{module} {arguments} never began")
        except Reached:
            seen.add(name)
        except (InputError, SystemExit) as error:
            pytest.fail(f"{module} {' '.join(arguments)}: {error}")
        finally:
            monkeypatch.undo()
            monkeypatch.chdir(home)
    assert {"train", "certify", "report", "attack", "study", "quality"} <= seen


@pytest.mark.parametrize(
    "argument",
    sorted(set(re.findall(r"configs/[\w/]+\.py(?::[\w.,]*[\w])?", README))),
)
def test_every_config_of_the_text_resolves(argument, monkeypatch):
    monkeypatch.chdir(ROOT)
    configs.check(configs.load(argument), argument)


def test_files_of_the_tables_are_there():
    table = README[README.index("## Methods") : README.index("A name in a config")]
    for row in table.splitlines()[3:]:
        if not row.startswith("|"):
            continue
        folder = None
        for name in re.findall(r"`([\w/]+\.py)`", row.split("|")[2]):
            folder = Path(name).parent if "/" in name or folder is None else folder
            here = ROOT / "jaxcert" / (name if "/" in name else folder / name)
            assert here.is_file() or (ROOT / "jaxcert" / name).is_file(), name


def test_options_of_the_synopses_are_in_the_help(capsys):
    for text in re.findall(r"`python -m (jaxcert\.[^`]+)`", README):
        module, *words = text.split()
        wanted = [word for word in re.findall(r"--[a-z][a-z-]*", " ".join(words))]
        with pytest.raises(SystemExit) as ended:
            importlib.import_module(module).main(["--help"])
        said = capsys.readouterr().out
        assert ended.value.code == 0 and "usage:" in said
        assert not [word for word in wanted if word not in said], text


@pytest.mark.parametrize("text", PYTHON, ids=lambda t: t.split("\n", 1)[0])
def test_names_and_arguments_of_python_blocks_exist(text):
    tree, known = ast.parse(text), {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            for name in node.names:
                module = importlib.import_module(node.module)
                if hasattr(module, name.name):
                    known[name.name] = getattr(module, name.name)
                else:
                    path = f"{node.module}.{name.name}"
                    known[name.name] = importlib.import_module(path)
    checked = 0
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        words = ast.unparse(node.func).split(".")
        function = known.get(words[0])
        if function is None:
            continue
        for word in words[1:]:
            function = getattr(function, word)
        keywords = {word.arg: None for word in node.keywords}
        inspect.signature(function).bind(*node.args, **keywords)
        checked += 1
    assert checked >= 2


def test_example_from_python_runs_and_its_record_is_read(tmp_path, monkeypatch, capsys):
    (text,) = [block for block in PYTHON if "def vote" in block]
    monkeypatch.chdir(tmp_path)
    exec(compile(text, "README.md", "exec"), {})
    said = capsys.readouterr().out
    assert "certified accuracy in %" in said and "follow from the evidence" in said
    c = records.load("means.jsonl")
    assert len(c.index) == 5 and c.correct.sum() >= 3


def test_slip_is_answered_as_shown(capsys, monkeypatch):
    (text,) = [block for block in OUTPUT if block.startswith("$ ")]
    asked, answer = text.splitlines()
    monkeypatch.chdir(ROOT)
    from jaxcert import train

    assert exit_cleanly(lambda: train.main(asked.split()[4:])) == 2
    assert capsys.readouterr().err.strip() == answer


def test_row_of_a_record_has_what_is_shown():
    (text,) = [block for kind, block in BLOCKS if kind == "json"]
    shown = json.loads(text.replace(", ...]", "]"))
    row = records.Certificates(
        *(np.array([shown[k]]) for k in ("index", "label", "predicted", "radius", "n")),
        seconds=np.array([shown["seconds"]]),
        radius_paper=np.array([shown["radius_paper"]]),
        logits=np.array([shown["logits"]]),
    )
    (written,) = files._rows_to_json(row)
    assert written == shown and list(written) == list(shown)


def standard_error(share: float, images: int) -> str:
    share /= 100
    return f"{100 * math.sqrt(share * (1 - share) / images):.1f}"


def test_errors_in_printed_reports_are_those_of_their_shares():
    tables = [block for block in OUTPUT if block.startswith("certified accuracy")]
    assert len(tables) == 2
    for text in tables:
        title, _, head, row = text.splitlines()[:4]
        assert title.startswith("certified accuracy in % (±standard error) at l")
        cells = re.split(r"  +", row)
        assert head.split()[:2] == ["images", "abstain"]
        assert len(head.split()) == len(cells) - 1
        for cell in cells[3:]:
            share, error = cell.split(" ±")
            assert standard_error(float(share), int(cells[1])) == error


def test_errors_in_the_table_of_measurements_are_those_of_their_shares():
    checked = 0
    table = README[README.index("## Measured") : README.index("The CIFAR-10 rows are")]
    images = 0
    for row in table.splitlines():
        found = re.search(r"all ([\d,]+)|(\d+) of them", row)
        if found:
            images = int((found[1] or found[2]).replace(",", ""))
        for share, error in re.findall(r"(\d+\.\d) ± (\d\.\d) %", row):
            # the share was rounded as well
            around = (float(share) - 0.05, float(share), float(share) + 0.05)
            assert error in [standard_error(s, images) for s in around], row
            checked += 1
    assert checked >= 40


def test_what_is_printed_is_best_or_worse_only_by_its_interval():
    tables = [line for line in README.splitlines() if line.startswith("| ")]
    assert not [line for line in tables if re.search(r"\*\*\d", line)]


@pytest.mark.slow
def test_quickstart_leaves_what_is_listed(tmp_path):
    (text,) = [block for block in OUTPUT if block.startswith("runs/quickstart/")]
    listed = [line.split()[0] for line in text.splitlines()[1:]]
    command = [sys.executable, "-m", "jaxcert.train", "--tiny"]
    command += ["--config", "configs/quickstart.py", "--workdir", tmp_path / "run"]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, env={**os.environ}
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert not [name for name in listed if not (tmp_path / "run" / name).exists()]
    output = next(block for block in OUTPUT if block.startswith("certified accuracy"))
    assert done.stdout.splitlines()[0] == output.splitlines()[0]
