"""Every config file: all rows load, name what exists, and the tiny run works.

A file in configs/ needs `get_config(arg="")` and ROWS, the arguments it knows.
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

from jaxcert import certifiers, certify, generate, train
from jaxcert import config as configs
from jaxcert.analysis.recheck import recheck
from jaxcert.data import normalisation
from jaxcert.data.augment import augment
from jaxcert.errors import InputError
from jaxcert.interfaces import Network, Run
from jaxcert.models import edm_unet
from jaxcert.training import optim

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "configs").rglob("*.py"))
NAMES = [str(f.relative_to(ROOT)) for f in FILES]
FAST = ("configs/smoothing/digits.py",)
"""These are trained in every run of the tests, the others by hand; distance nets also in
test_attack.py."""

DENOISER = edm_unet.make(
    image_shape=(8, 8, 1), width=8, multipliers=(1,), attention=(), label_dropout=0.1
)


def rows(file):
    """Argument -> config of every row, the default one first."""
    namespace = runpy.run_path(str(file))
    return {row: namespace["get_config"](row) for row in ("", *namespace["ROWS"])}


@pytest.fixture(params=FILES, ids=NAMES, scope="module")
def loaded(request):
    return rows(request.param)


def test_there_are_configs():
    assert len(FILES) >= 7


def test_all_rows_load_without_jax():
    code = (
        "import sys, runpy\n"
        "sys.modules['jax'] = None\n"
        "for file in sys.argv[1:]:\n"
        "    names = runpy.run_path(file)\n"
        "    for row in ('', *names['ROWS']):\n"
        "        names['get_config'](row)\n"
    )
    command = [sys.executable, "-c", code, *map(str, FILES)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


def test_mean_and_std_of_a_row_are_those_of_a_data_set_or_none(loaded):
    for row, config in loaded.items():
        mean = set(config.model.get("mean", ()))
        known = tuple(config.model.get("mean", ())) in normalisation.KNOWN
        assert known or mean <= {0.0}, row
        assert (normalisation.of_another(config) is None) or ":" in config.data.name
        if known:
            config = ConfigDict(config.to_dict() | {"data": {"name": "folder:mine"}})
            said = normalisation.of_another(config)
            assert said.startswith("folder:mine is normalised by the mean ")


@pytest.mark.parametrize("file", FILES, ids=NAMES)
def test_wrong_word_is_refused_with_the_words_there_are(file):
    namespace = runpy.run_path(str(file))
    words = {word for row in namespace["ROWS"] for word in row.split(",")}
    with pytest.raises(InputError, match="no (row|variant) 'nonsense'") as refused:
        namespace["get_config"]("nonsense")
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
            k: v for k, v in config.certify.items() if k not in certifiers.SELECTION
        }
        chosen.pop("name")
        known = {"network", "mesh", "radii", *chosen.pop("networks", {})}
        context = known & set(inspect.signature(make.make).parameters)
        _takes(make.make, chosen, *context)
        assert set(certifiers.SELECTION) <= set(config.certify)


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
    "file",
    [
        pytest.param(f, id=name, marks=[pytest.mark.slow] * (name not in FAST))
        for f, name in zip(FILES, NAMES, strict=True)
    ],
)
def test_tiny_run_of_the_default_row_trains_certifies_and_holds(file, tmp_path):
    _run_tiny(configs.load(str(file)), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("file", FILES, ids=NAMES)
def test_tiny_runs_of_all_other_rows_hold(file, tmp_path):
    """Rows that are the same tiny run, apart from published numbers, run once."""
    different = {}
    for row, config in rows(file).items():
        small = configs.tiny(config)
        del small.reference
        different.setdefault(json.dumps(small.to_dict(), sort_keys=True), row)
    for number, row in enumerate(sorted(set(different.values()) - {""})):
        _run_tiny(configs.load(f"{file}:{row}"), tmp_path / str(number))


def _run_tiny(config, workdir):
    config = configs.tiny(config)
    config.certify.stop = 4
    if config.init:
        config.init = ""
        config.method.networks.denoiser = _first("edm", workdir)
    if "classifier" in config.certify.get("networks", {}):
        if "denoised" in config.certify.name or config.certify.search == "hybrid":
            config.certify.networks.classifier = _first("denoised", workdir)
    state = train.train(config, workdir)
    assert int(state.step) == 3
    if not config.certify.name:
        settings = dict(count=4, steps=2, sigma_max=1.0)
        assert generate.generate(workdir, workdir / "images", **settings) == 4
        return
    record = certify.certify(config, workdir)
    assert record.index.tolist() == [0, 1, 2, 3]
    found = recheck(record)
    assert found.holds and not found.reason


def _first(name, workdir):
    """Workdir of another network that a run takes."""
    folder = workdir.parent / f"{workdir.name}_{name}"
    train.train(configs.tiny(configs.load(f"configs/{name}/digits.py")), folder)
    return str(folder)
