"""`jaxcert COMMAND`, and `jaxcert configs`."""

from __future__ import annotations

import argparse
import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

import jaxcert
from jaxcert import __main__ as commands
from jaxcert import config as configs
from jaxcert import show_configs
from jaxcert.errors import InputError, exit_cleanly

FOLDER = Path(jaxcert.__file__).parent


def has_main(file):
    names = [getattr(node, "name", "") for node in ast.parse(file.read_text()).body]
    return "main" in names and not file.name.startswith("_")


def test_every_module_with_a_main_is_a_command():
    modules = {file.stem for file in FOLDER.glob("*.py") if has_main(file)}
    assert modules == set(commands.COMMANDS.values())


def test_help_lists_commands_with_their_first_line_and_imports_none():
    code = (
        "import sys\n"
        "for gone in ('jax', 'ml_collections', 'numpy'):\n"
        "    sys.modules[gone] = None\n"
        "from jaxcert.__main__ import main\n"
        "sys.exit(main(['--help']))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for command, module in commands.COMMANDS.items():
        text = ast.get_docstring(ast.parse((FOLDER / f"{module}.py").read_text()))
        line = next(
            x for x in done.stdout.splitlines() if x.startswith(f"  {command} ")
        )
        assert line.split(maxsplit=1)[1] == text.splitlines()[0]


@pytest.mark.parametrize(
    "words, status, said",
    [
        (["--version"], 0, jaxcert.__version__),
        ([], 2, "usage: jaxcert COMMAND"),
        (["trian"], 2, "train"),
        (["import-trch"], 2, "import_torch"),
        (["--config"], 2, "jaxcert --help"),
    ],
)
def test_what_is_no_command(capsys, words, status, said):
    assert commands.main(words) == status
    shown = capsys.readouterr()
    assert said in shown.out + shown.err


def test_words_after_a_command_are_its_arguments(monkeypatch):
    given = []
    monkeypatch.setattr(show_configs, "main", lambda argv: given.append(argv) or 3)
    assert commands.main(["configs", "x", "--tiny"]) == 3
    assert given == [["x", "--tiny"]]


@pytest.mark.parametrize(
    "start, name",
    [
        (["-m", "jaxcert", "configs"], "python -m jaxcert configs"),
        (["-m", "jaxcert.show_configs"], "python -m jaxcert.show_configs"),
        (["{folder}/jaxcert", "configs"], "jaxcert configs"),
    ],
)
def test_help_names_the_program_as_it_was_called(tmp_path, start, name):
    script = tmp_path / "jaxcert"  # as pip writes it
    script.write_text(
        "import sys\nfrom jaxcert.__main__ import main\nsys.exit(main())\n"
    )
    words = [word.format(folder=tmp_path) for word in start]
    done = subprocess.run(
        [sys.executable, *words, "--help"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"usage: {name} [-h]")


def test_configs_lists_every_config_and_its_words(capsys):
    assert show_configs.main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    names = [line.split(":")[0] for line in lines if not line.startswith(" ")]
    assert names == configs.shipped()
    after = lines[
        lines.index(next(x for x in lines if x.startswith("lot/cifar10:"))) + 1
    ]
    assert after == (
        "    s | m | l; 200 | 400 | 600; none | 1m | 5m | 10m; multistep; narrow; fast; "
        "five_minutes"
    )


def test_configs_prints_one_as_a_workdir_would_have_it(capsys, tmp_path):
    words = ["lot/cifar10:m,400,5m", "--config.optim.lr=0.5"]
    assert show_configs.main(words) == 0
    (tmp_path / "config.json").write_text(capsys.readouterr().out)
    config = configs.load(words[0])
    config.optim.lr = 0.5
    config.reference = configs.base().reference  # the paper did not train that
    assert configs.read(tmp_path).to_dict() == config.to_dict()
    assert show_configs.main([*words, "--tiny"]) == 0
    small = json.loads(capsys.readouterr().out)
    assert small["data"]["name"] == "digits" and small["optim"]["lr"] == 0.5


@pytest.mark.parametrize(
    "words",
    [["lot/cifar10:x"], ["nope"], ["quickstart", "--x"], ["--config.seed=1", "."]],
)
def test_configs_refuses_what_it_cannot_print(capsys, words):
    with pytest.raises(InputError):
        show_configs.main(words)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("command", commands.COMMANDS)
def test_help_says_of_every_option_what_it_is_and_what_it_defaults_to(
    command, monkeypatch
):
    found = []

    def stop(parser, *_):
        found.append(parser)
        raise SystemExit

    monkeypatch.setattr(argparse.ArgumentParser, "parse_known_args", stop)
    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", stop)
    with pytest.raises(SystemExit):
        exit_cleanly(lambda: commands.main([command]))
    (parser,) = found
    text = " ".join(parser.format_help().split())
    assert parser.description and f"jaxcert.{command} " in text.replace(
        "jaxcert configs", "jaxcert.configs"
    )
    for action in parser._actions:
        assert action.help, action.dest
        if action.default not in (None, "", "==SUPPRESS==") and action.nargs != 0:
            default = action.default
            assert f"(default: {default})" in text, action.dest
