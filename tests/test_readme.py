"""README.md and the pages of docs: commands parse, their configs resolve, links lead somewhere,
Python runs, tables are what the committed results say."""

from __future__ import annotations

import ast
import glob
import importlib
import inspect
import json
import math
import os
import re
import shutil
import subprocess
import sys
from copy import deepcopy
from pathlib import Path

import jax
import numpy as np
import pytest
from scipy.special import ndtri

from docs import tables
from jaxcert import __main__ as entry
from jaxcert import config as configs
from jaxcert import merge, records, version
from jaxcert.analysis import report
from jaxcert.data import sources
from jaxcert.errors import InputError, exit_cleanly
from jaxcert.records import files
from jaxcert.training import processes
from jaxcert.zoos import places

ROOT = Path(__file__).parents[1]
PAGES = {path.relative_to(ROOT): path.read_text() for path in tables.PAGES}
README = PAGES[Path("README.md")]
BLOCKS = [
    (page, *block)
    for page, text in PAGES.items()
    for block in re.findall(r"^```(\S*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
]
SHELL = [text for _, kind, text in BLOCKS if kind == "bash"]
PYTHON = [(page, text) for page, kind, text in BLOCKS if kind == "python"]
for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
    cells = json.loads(path.read_text())["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    PYTHON.append((path.relative_to(ROOT), "\n".join(code)))
OUTPUT = [text for _, kind, text in BLOCKS if kind == ""]
TOP = ("jaxcert", "tests", "benchmarks", "configs", "docs", "notebooks")
MADE_UP = {
    "jaxcert/models/mlp.py",
    "jaxcert/nn/foo.py",
    "jaxcert/methods/bar.py",
    "jaxcert/certificates/baz.py",
    "docs/api",
}
"""Files that the recipes write, or a build."""
NOT_NEEDED = ("torch", "pandas")
"""Packages that examples import and the tests do without."""
KINDS = {"", "bash", "text", "python", "json", "{toctree}"}

COMMANDS = """
function . { :; }; function pip { :; }; function python3 { :; }
function srun { while [[ $1 == -* ]]; do shift; done; "$@"; }
function python { printf '%s\\0' "$@"; printf '\\n'; }
"""
"""What stands in for the programs that the pages start: the arguments are printed."""

TRAINED = {
    "runs/lot": "configs/quickstart.py",
    "runs/rs": "configs/smoothing/digits.py",
    "runs/theirs": "configs/quickstart.py",
    "runs/lipnext": "configs/lipnext/digits.py",
}
"""Workdirs that the pages only speak of."""


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
    assert {kind for _, kind, _ in BLOCKS} == KINDS
    fences = sum(len(re.findall(r"^```", text, re.M)) for text in PAGES.values())
    assert len(BLOCKS) * 2 == fences
    said = sum(
        len(re.findall(r"^ *(?:\S+ && |srun (?:-\S+ )*)*python -m", text, re.M))
        for text in SHELL
    )
    assert len(commands()) >= said > 30


def test_readme_is_short():
    assert len(README.splitlines()) <= 150


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_links_lead_to_a_page(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", PAGES[page]):
        if not target.startswith("https://arxiv.org/abs/"):
            name, _, anchor = target.partition("#")
            path = ROOT / page.parent / name
            assert path.is_file(), target
            text = path.read_text() if path.suffix == ".md" else ""
            headings = re.findall(r"^#+ (.*)$", text, flags=re.M)
            anchors = {heading.lower().replace(" ", "-") for heading in headings}
            assert anchor in anchors | {""}, target


@pytest.mark.parametrize("page", [*PAGES, Path("CONTRIBUTING.md")], ids=str)
def test_files_that_a_page_names_are_there(page):
    text = re.sub(r"^```.*?^```", "", (ROOT / page).read_text(), flags=re.M | re.S)
    for name in re.findall(r"`([\w.]+(?:/[\w.]+)*/[\w.]*)`", text):
        top = name.split("/")[0]
        if name in MADE_UP or not (top in TOP or (ROOT / "jaxcert" / top).is_dir()):
            continue
        assert (ROOT / name).exists() or (ROOT / "jaxcert" / name).exists(), name


def test_citation_has_the_version():
    cited = (ROOT / "CITATION.cff").read_text()
    assert f"version: {version.__version__}\n" in cited


def test_every_page_is_in_the_contents():
    docs = {page.relative_to("docs") for page in PAGES if page.parts[0] == "docs"}
    listed = [text for _, kind, text in BLOCKS if kind == "{toctree}"]
    text = " ".join(line for line in "".join(listed).splitlines() if line[:1] != ":")
    names = {Path(f"{name}.md") for name in text.split()}
    assert names == docs - {Path("index.md")} | {Path("api/index.md")}


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_tables_are_those_of_the_committed_results(page):
    assert tables.filled(PAGES[page]) == PAGES[page], "python -m docs.tables writes it"


def test_results_state_their_origin():
    """A command or a description, and the commit and date of the numbers."""
    results = json.loads((ROOT / "benchmarks/results/runs.json").read_text())
    for run in results["runs"]:
        assert run["config"].partition(":")[0] in run["command"]
    stated = [run["first_stated"] for run in results["runs"]]
    for table in results["tables"].values():
        assert table["about"] and table["first_stated"]
        stated += table["first_stated"]
    for origin in stated:
        assert re.fullmatch("[0-9a-f]{7}", origin["commit"])
        assert re.fullmatch(r"\d{4}-\d\d-\d\d", origin["date"])


def test_a_number_that_was_typed_is_written_over(tmp_path, monkeypatch, capsys):
    page = tmp_path / "results.md"
    right = PAGES[Path("docs/results.md")]
    page.write_text(right.replace("69.5 ± 3.3", "99.9 ± 0.1"))
    monkeypatch.setattr(tables, "PAGES", (page,))
    monkeypatch.setattr(tables, "ROOT", tmp_path)
    assert tables.main(["--check"]) == 1 and page.read_text() != right
    assert tables.main([]) == 0 and page.read_text() == right
    assert tables.main(["--check"]) == 0


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_no_table_of_results_is_typed(page):
    text = re.sub(
        r"<!-- (table|compiled): .*?<!-- (end|compiled).*?-->",
        "",
        PAGES[page],
        flags=re.S,
    )
    number = re.compile(r"[-+±]?\d[\d,.]*( ± [\d.]+)?( %)?")
    for line in text.splitlines():
        if line.startswith("|"):
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            assert sum(map(bool, map(number.fullmatch, cells))) < 2, line


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A folder where the commands of the pages can be given: the configs, and workdirs."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    for workdir, config in TRAINED.items():
        Path(workdir).mkdir(parents=True)
        configs.save(configs.load(config), Path(workdir) / "config.json")
    return tmp_path


class Reached(Exception):
    """The command has read its arguments and begins to work."""


WORK = {
    "train": "jaxcert.training.loop.train",
    "certify": "jaxcert.certificates.run.certify",
    "serve": "jaxcert.api.serving.predictor_of",
    "report": "jaxcert.analysis.report.show",
    "report --study": "jaxcert.papers.study_report.show",
    "attack": "jaxcert.attacks.audit.attack",
    "audit": "jaxcert.audit.audit",
    "bound": "jaxcert.api.files.open_records",
    "audit_network": "jaxcert.audit_network.read_weights",
    "export": "jaxcert.workdirs.weights.export",
    "publish": "jaxcert.api.cards.publish",
    "zoo": "jaxcert.zoos.places.split",
    "generate": "jaxcert.image_generation.generate",
    "merge": "jaxcert.merge.merge",
    "import_torch": "jaxcert.torch_import.workdir.import_torch",
    "convert": "jaxcert.data.write.convert",
    "study": "jaxcert.papers.study.run",
    "quality": "jaxcert.papers.quality.look",
    "recertify": "jaxcert.records.load",
    "gradient_norms": "jaxcert.papers.gradient_norms.measure",
    "paper --scale": "jaxcert.papers.plans.plan",
    "paper altstidl": "jaxcert.papers.altstidl_page.show",
    "paper sun": "jaxcert.papers.sun_page.show",
}
"""The function that a command calls with what it has parsed."""


def makes_a_workdir(*given):
    config, workdir = given[-2:]
    Path(workdir).mkdir(parents=True, exist_ok=True)
    configs.save(config, Path(workdir) / "config.json")
    raise Reached


def reached(*_, **__):
    raise Reached


def test_every_command_is_one_that_its_own_parser_takes(home, monkeypatch):
    seen = set()
    for first, module, *arguments in commands():
        assert first == "-m", arguments
        if module.partition(".")[0] in ("pytest", "benchmarks", "docs"):
            continue
        if arguments[:1] == ["configs"]:  # only prints
            assert not entry.main(arguments)
            continue
        package, _, name = module.partition(".")
        assert package == "jaxcert"
        command = importlib.import_module(module)
        makes = name in ("train", "import_torch")
        which = " --study" if "--study" in arguments else ""
        if name == "paper":
            which = " --scale" if "--scale" in arguments else f" {arguments[0]}"
        monkeypatch.setattr(WORK[name + which], makes_a_workdir if makes else reached)
        monkeypatch.setattr(
            processes,
            "join",
            lambda asked, limit: asked == "auto" or processes.parse(asked),
        )
        try:
            command.main(arguments)
            pytest.fail(f"{module} {arguments} never began")
        except Reached:
            seen.add(name)
            if name == "zoo" and "--workdir" in arguments:
                workdir = Path(arguments[arguments.index("--workdir") + 1])
                config = places.OWN / f"{arguments[0]}.json"
                if config.is_file():  # no zoo of somebody else
                    workdir.mkdir(parents=True, exist_ok=True)
                    shutil.copy(config, workdir / "config.json")
        except (InputError, SystemExit) as error:
            pytest.fail(f"{module} {' '.join(arguments)}: {error}")
        finally:
            monkeypatch.undo()
            monkeypatch.chdir(home)
    assert seen == set("train certify report attack generate import_torch".split()) | {
        *"convert study quality audit bound merge export recertify".split(),
        *"audit_network paper publish zoo serve".split(),
    }


@pytest.mark.parametrize(
    "argument",
    sorted(
        {
            found
            for text in PAGES.values()
            for found in re.findall(r"configs/[\w/]+\.py(?::[\w.,]*[\w])?", text)
        }
    ),
)
def test_every_config_of_the_text_resolves(argument, monkeypatch):
    monkeypatch.chdir(ROOT)
    configs.check(configs.load(argument), argument)


def test_files_of_the_table_of_papers_are_there():
    table = README[README.index("| paper |") : README.index("## Where to read on")]
    found = 0
    for row in table.splitlines()[2:]:
        if not row.startswith("|"):
            continue
        assert re.search(r"\[\d{4}\.\d{5}\]\(https://arxiv.org/abs/\d{4}\.\d{5}\)", row)
        folder = None
        for name in re.findall(r"`([\w/]+\.py)`", row.split("|")[2]):
            folder = Path(name).parent if "/" in name or folder is None else folder
            here = ROOT / "jaxcert" / (name if "/" in name else folder / name)
            assert here.is_file() or (ROOT / "jaxcert" / name).is_file(), name
            found += 1
    assert found >= 50


def test_options_of_the_synopses_are_in_the_help(capsys):
    said = "\n".join(PAGES.values())
    for text in re.findall(r"`python -m (jaxcert\.[^`]+)`", said):
        module, *words = text.split()
        wanted = [word for word in re.findall(r"--[a-z][a-z-]*", " ".join(words))]
        with pytest.raises(SystemExit) as ended:
            importlib.import_module(module).main(["--help"])
        help = capsys.readouterr().out
        assert ended.value.code == 0 and "usage:" in help
        assert not [word for word in wanted if word not in help], text


@pytest.mark.parametrize("page, text", PYTHON, ids=lambda part: str(part)[:20])
def test_names_and_arguments_of_python_blocks_exist(page, text):
    tree, known = ast.parse(text), {}
    for node in ast.walk(tree):
        names = node.names if isinstance(node, ast.Import | ast.ImportFrom) else ()
        for name in names:
            module = getattr(node, "module", None)
            if (module or name.name).split(".")[0] in NOT_NEEDED:
                continue
            if module is None:
                known[name.asname or name.name] = importlib.import_module(name.name)
            elif hasattr(importlib.import_module(module), name.name):
                found = getattr(importlib.import_module(module), name.name)
                known[name.asname or name.name] = found
            else:
                found = importlib.import_module(f"{module}.{name.name}")
                known[name.asname or name.name] = found
    checked = 0
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        words = ast.unparse(node.func).split(".")
        function = known.get(words[0])
        if function is None or not all(map(str.isidentifier, words)):
            continue
        for word in words[1:]:
            function = getattr(function, word)
        checked += 1
        if not any(isinstance(part, ast.Starred) for part in node.args):
            keywords = {word.arg: None for word in node.keywords}
            inspect.signature(function).bind(*node.args, **keywords)
    assert checked >= 1


def example(words: str) -> str:
    """The only Python block that has these words."""
    (text,) = [block for _, block in PYTHON if words in block]
    return text


def run(words: str) -> dict:
    names = {"__name__": "example"}
    exec(compile(example(words), "example", "exec"), names)
    return names


def test_example_of_smoothing_runs_and_its_record_is_read(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    run("means.jsonl")
    said = capsys.readouterr().out
    assert "certified accuracy in %" in said and "follow from the evidence" in said
    c = records.load("means.jsonl")
    assert len(c.index) == 5 and c.correct.sum() >= 3


def test_example_of_records_reads_and_rechecks_them(tmp_path, monkeypatch, capsys):
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs/quickstart").symlink_to(tables.RECORD)
    monkeypatch.chdir(tmp_path)
    names = run("jaxcert.recheck")
    assert names["check"].holds and names["check"].checked == 797
    assert "<!doctype html>" in Path("quickstart.html").read_text().lower()


def test_example_of_a_config_is_one(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(example("import base"))
    config = configs.load(str(path))
    configs.check(config, path)
    assert config.model.conv == "cayley"
    configs.build("models", config.model)


def test_example_of_rows_reads_its_words(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(example("row = configs.words"))
    config = configs.load(f"{path}:m,fast,60")
    assert (config.model.width, config.data.epochs) == (32, 60)
    assert config.model.polar == "minimax"
    assert configs.load(str(path)).data.epochs == 30


def test_example_of_a_model_computes(tmp_path, monkeypatch):
    (tmp_path / "example_mlp.py").write_text(example("class Mlp"))
    monkeypatch.syspath_prepend(tmp_path)
    make = importlib.import_module("example_mlp").make
    model = make(num_classes=3, image_shape=(2, 2, 1), width=4)
    params, state = model.init(jax.random.key(0))
    logits, _ = model.apply(params, state, np.zeros((5, 2, 2, 1), np.float32))
    assert logits.shape == (5, 3)


def test_example_of_data_is_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run("np.savez")
    source = sources.open("npz:.", "test")
    assert source.image.shape == (100, 8, 8, 1) and source.num_classes == 10


def test_example_that_joins_records_leaves_one_that_is_checked(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    whole = records.load(tables.RECORD / "certificates.jsonl")
    Path("runs/lot_s").mkdir(parents=True)
    for number in range(1, 9):
        images = range(number - 1, 797, 8)
        asked = dict(start=images[0], stop=images[-1] + 1, step=8)
        config = deepcopy(whole.header["config"])
        config["certify"] |= dict(start=number - 1, step=8)
        part = whole._replace(
            **{
                key: column[images]
                for key, column in whole._asdict().items()
                if isinstance(column, np.ndarray)
            },
            header=whole.header
            | {"part": f"{number}/8", "requests": [asked], "config": config},
        )
        records.save(
            f"runs/lot_s/certificates-{number}-of-8.jsonl", part.header, [part]
        )
    (arguments,) = [
        rest for _, module, *rest in commands() if module == "jaxcert.merge"
    ]
    found = glob.glob(arguments.pop(0))  # as a shell does
    assert not exit_cleanly(lambda: merge.main([*found, *arguments]))
    joined = records.load("runs/lot_s/certificates.jsonl")
    assert joined.index.tolist() == list(range(797))
    assert joined.header["requests"] == [dict(start=0, stop=797, step=1)]
    said = report.report(["runs/lot_s"])
    assert "All 797 predictions and radii follow" in said
    assert "request" not in said


def test_slip_is_answered_as_shown(capsys, monkeypatch):
    (text,) = [block for block in OUTPUT if block.startswith("$ ")]
    asked, answer = text.splitlines()
    monkeypatch.chdir(ROOT)
    from jaxcert import train

    assert exit_cleanly(lambda: train.main(asked.split()[4:])) == 2
    assert capsys.readouterr().err.strip() == answer


def test_row_of_a_record_has_what_is_shown():
    text, by_hand = [block for _, kind, block in BLOCKS if kind == "json"]
    shown = json.loads(text)
    row = records.Certificates(
        *(np.array([shown[k]]) for k in ("index", "label", "predicted", "radius", "n")),
        seconds=np.array([shown["seconds"]]),
        radius_paper=np.array([shown["radius_paper"]]),
        logits=np.array([shown["logits"]]),
    )
    (written,) = files._rows_to_json(row)
    assert written == shown and list(written) == list(shown)
    few = json.loads(by_hand)  # all votes: p^n = alpha
    proven = 0.001 ** (1 / few["n"])
    assert few["p_lower"] == math.floor(proven * 1e6) / 1e6
    assert few["radius"] == math.floor(0.25 * ndtri(proven) * 1e5) / 1e5


def standard_error(share: float, images: int) -> str:
    share /= 100
    return f"{100 * math.sqrt(share * (1 - share) / images):.1f}"


def test_errors_in_the_printed_report_are_those_of_its_shares():
    (text,) = [block for block in OUTPUT if block.startswith("certified accuracy")]
    title, _, head, row = text.splitlines()[:4]
    assert title.startswith("certified accuracy in % (±standard error) at l2")
    cells = re.split(r"  +", row)
    assert head.split()[:2] == ["images", "abstain"]
    assert len(head.split()) == len(cells) - 1
    for cell in cells[3:]:
        share, error = cell.split(" ±")
        assert standard_error(float(share), int(cells[1])) == error


RUNS = json.loads((tables.RESULTS / "runs.json").read_text())["runs"]


@pytest.mark.parametrize("measured", RUNS, ids=lambda measured: measured["config"])
def test_errors_of_measured_runs_are_those_of_their_shares(measured):
    shares = [measured["clean"], *measured["certified"]]
    for share in shares:
        # the share was rounded as well
        around = [share["percent"] + step for step in (-0.05, 0.0, 0.05)]
        errors = [standard_error(value, measured["images"]) for value in around]
        assert f"{share['error']:.1f}" in errors
    falling = [share["percent"] for share in shares]
    assert falling == sorted(falling, reverse=True)


def test_what_is_printed_is_best_or_worse_only_by_its_interval():
    for text in PAGES.values():
        rows = [line for line in text.splitlines() if line.startswith("| ")]
        assert not [line for line in rows if re.search(r"\*\*\d", line)]


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
    # a tiny run may have shares of 0, which have an interval instead
    title = done.stdout.splitlines()[0].replace(" or [95 % interval]", "")
    assert title == output.splitlines()[0]
