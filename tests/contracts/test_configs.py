"""Every config file: all rows load, name what exists, and the tiny run works.

A file in jaxcert/configs/ needs `get_config(arg="")`, WORDS, the groups of words of its rows,
and ROWS, the rows that are looked at. A file of the same name in configs/ hands it out.
"""

from __future__ import annotations

import importlib
import inspect
import json
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from ml_collections import ConfigDict
from refusals import names, tells

from jaxcert import config as configs
from jaxcert import image_generation
from jaxcert.analysis.recheck import recheck
from jaxcert.certificates import building
from jaxcert.certificates import run as certification
from jaxcert.data import normalisation
from jaxcert.data.augment import augment
from jaxcert.errors import InputError
from jaxcert.interfaces import Network, Run
from jaxcert.models import edm_unet
from jaxcert.training import loop, optim

ROOT = Path(__file__).parents[2]
TOP = ROOT / "configs"
NAMES = configs.shipped()
FAST = ("smoothing/digits",)
"""These are trained in every run of the tests, the others by hand; distance nets also in
test_attack.py."""

FIRST = {name: configs.load(name).to_dict() for name in NAMES}
"""The default row of each file, made before any other."""

DENOISER = edm_unet.make(
    image_shape=(8, 8, 1), width=8, multipliers=(1,), attention=(), label_dropout=0.1
)


def module(name):
    return importlib.import_module("jaxcert.configs." + name.replace("/", "."))


def rows(name):
    """Argument -> config of every row, the default one first."""
    file = module(name)
    return {row: file.get_config(row) for row in ("", *file.ROWS)}


@pytest.fixture(params=NAMES, scope="module")
def loaded(request):
    return rows(request.param)


def test_there_are_configs():
    assert len(NAMES) >= 40
    assert {"quickstart", "lot/cifar10", "edm/imagenet64"} < set(NAMES)


def test_all_rows_load_without_jax():
    code = (
        "import sys, importlib\n"
        "sys.modules['jax'] = None\n"
        "for name in sys.argv[1:]:\n"
        "    file = importlib.import_module(f'jaxcert.configs.{name}')\n"
        "    for row in ('', *file.ROWS):\n"
        "        file.get_config(row)\n"
    )
    names = [name.replace("/", ".") for name in NAMES]
    command = [sys.executable, "-c", code, *names]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


def test_configs_at_the_top_hand_out_those_of_the_package():
    files = {f.relative_to(TOP): f for f in TOP.rglob("*.py")}
    assert sorted(f.with_suffix("").as_posix() for f in files) == NAMES
    for relative, file in files.items():
        source = module(relative.with_suffix("").as_posix())
        namespace = runpy.run_path(str(file))
        assert namespace["get_config"] is source.get_config
        assert namespace["ROWS"] is source.ROWS
        summary = source.__doc__.split("\n\n")[0]
        assert namespace["__doc__"].startswith(f"{summary}\n\n")
        assert f"jaxcert/configs/{relative.as_posix()};" in namespace["__doc__"]


@pytest.mark.parametrize(
    "row", ["quickstart", "lot/cifar10:m,400,5m", "smoothing/mnist:catrs,0.25,small"]
)
def test_a_name_and_the_file_of_either_tree_are_one_config(row, tmp_path, monkeypatch):
    name, _, words = row.partition(":")
    tail = f"{name}.py" + f":{words}" * bool(words)
    expected = configs.load(row).to_dict()
    for folder in (ROOT / "jaxcert/configs", TOP):
        assert configs.load(f"{folder}/{tail}").to_dict() == expected
    monkeypatch.chdir(tmp_path)  # as beside an installed package
    assert configs.load(row).to_dict() == expected
    assert configs.load(f"configs/{tail}").to_dict() == expected


@pytest.mark.parametrize("name", NAMES)
def test_a_config_is_the_same_each_time(name):
    """Files import each other, so what one changes in place the next would find."""
    file = module(name)
    assert rows(name)
    assert file.get_config().to_dict() == FIRST[name]


def test_mean_and_std_of_a_row_are_those_of_a_data_set_or_none(loaded):
    for row, config in loaded.items():
        mean = set(config.model.get("mean", ()))
        known = tuple(config.model.get("mean", ())) in normalisation.KNOWN
        assert known or mean <= {0.0}, row
        assert (normalisation.of_another(config) is None) or ":" in config.data.name
        if known:
            config = ConfigDict(config.to_dict() | {"data": {"name": "folder:mine"}})
            said = normalisation.of_another(config)
            assert tells(
                said, "folder:mine", config.model["mean"], "--config.model.mean"
            )


def test_a_tiny_row_holds_out_a_share_that_its_images_allow(loaded):
    """Not the number of images that the row itself holds out."""
    for row, config in loaded.items():
        assert configs.tiny(config).data.holdout < 1, row


@pytest.mark.parametrize("name", NAMES)
def test_wrong_word_is_refused_with_the_words_there_are(name):
    file = module(name)
    words = {word for row in file.ROWS for word in row.split(",")}
    with pytest.raises(InputError, match=names("nonsense")) as refused:
        file.get_config("nonsense")
    missing = [word for word in words if word not in str(refused.value)]
    assert not missing


def test_every_row_is_another_config(loaded):
    texts = {row: json.dumps(c.to_dict(), sort_keys=True) for row, c in loaded.items()}
    texts.pop("")
    assert len(set(texts.values())) == len(texts)


def test_sections_have_the_keys_that_are_read(loaded):
    base = configs.base()
    for config in [*loaded.values(), *map(configs.tiny, loaded.values())]:
        assert set(config) == set(base)
        for name in ("data", "log", "checkpoint", "eval", "reference"):
            assert set(config[name]) == set(base[name]), name
        _takes(augment, config.data.augment, "key", "batch")
        _takes(optim.make, config.optim, "run")
        if not config.certify.name:  # of a denoiser
            assert config.model.name == "edm_unet"
            continue
        make = importlib.import_module(f"jaxcert.certificates.{config.certify.name}")
        chosen = {
            k: v for k, v in config.certify.items() if k not in building.SELECTION
        }
        chosen.pop("name")
        known = {"network", "mesh", "radii", *chosen.pop("networks", {})}
        context = known & set(inspect.signature(make.make).parameters)
        _takes(make.make, chosen, *context)
        assert set(building.SELECTION) <= set(config.certify)


def _takes(function, section, *context):
    parameters = inspect.signature(function).parameters
    given = {*section.keys(), *context}
    assert given <= set(parameters), f"unknown: {given - set(parameters)}"
    assert {k for k, p in parameters.items() if p.default is p.empty} <= given


def test_models_methods_and_rates_of_all_rows_can_be_built(loaded):
    run = Run(steps_per_epoch=1000, total_steps=1_000_000, data_size=1000)
    different = {}  # rows that differ in their data alone are built once
    for config in [*loaded.values(), *map(configs.tiny, loaded.values())]:
        built = [config[key].to_dict() for key in ("model", "method", "optim")]
        different.setdefault(json.dumps(built, sort_keys=True), config)
    for config in different.values():
        model = configs.build("models", config.model)
        assert tuple(config.model.image_shape) == model.image_shape
        method = config.method.to_dict()
        denoiser = DENOISER._replace(image_shape=model.image_shape)
        needs = dict.fromkeys(method.pop("networks", {}), Network(denoiser, {}, {}))
        method = ConfigDict(method)
        configs.build("methods", method, needs=needs, model=model, run=run)
        configs.call(optim.make, config.optim, what="optim", run=run)


def test_published_numbers_stand_at_a_radius_of_the_report(loaded):
    for config in loaded.values():
        reference = config.reference
        if reference.paper:
            assert reference.radius in config.certify.radii
            assert 0 < reference.certified < reference.clean < 100


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] * (name not in FAST))
        for name in NAMES
    ],
)
def test_tiny_run_of_the_default_row_trains_certifies_and_holds(name, tmp_path):
    _run_tiny(configs.load(name), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_tiny_runs_of_all_other_rows_hold(name, tmp_path):
    """Rows that are the same tiny run, apart from published numbers, run once."""
    different = {}
    for row, config in rows(name).items():
        small = configs.tiny(config)
        del small.reference
        different.setdefault(json.dumps(small.to_dict(), sort_keys=True), row)
    for number, row in enumerate(sorted(set(different.values()) - {""})):
        _run_tiny(configs.load(f"{name}:{row}"), tmp_path / str(number))


def _run_tiny(config, workdir):
    config = configs.tiny(config)
    config.certify.stop = 4
    if config.init:
        config.init = ""
        config.method.networks.denoiser = _first("edm", workdir)
    if "classifier" in config.certify.get("networks", {}):
        if "denoised" in config.certify.name or config.certify.search == "hybrid":
            config.certify.networks.classifier = _first("denoised", workdir)
    state = loop.train(config, workdir)
    assert int(state.step) == 3
    if not config.certify.name:
        settings = dict(count=4, steps=2, sigma_max=1.0)
        assert image_generation.generate(workdir, workdir / "images", **settings) == 4
        return
    record = certification.certify(config, workdir)
    assert record.index.tolist() == [0, 1, 2, 3]
    found = recheck(record)
    assert found.holds and not found.reason


def _first(name, workdir):
    """Workdir of another network that a run takes."""
    folder = workdir.parent / f"{workdir.name}_{name}"
    loop.train(configs.tiny(configs.load(f"{name}/digits")), folder)
    return str(folder)
