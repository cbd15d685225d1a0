"""Where a config is found, the words of its rows, and that what a file gets wrong is said in one
sentence before anything is written."""

from __future__ import annotations

import json
import shutil
from contextlib import chdir
from copy import deepcopy
from functools import partial

import pytest
from command_line import CONFIG, ROOT, end
from refusals import names

from jaxcert import cli, train
from jaxcert import config as configs
from jaxcert.errors import InputError


@pytest.fixture
def ends(capsys):
    return partial(end, capsys)


def written(tmp_path, line):
    """A config file that changes one thing of the digits' config."""
    path = tmp_path / "mine.py"
    path.write_text(
        "import runpy\n"
        "from ml_collections import ConfigDict\n"
        "def get_config(arg=''):\n"
        f"    config = runpy.run_path({CONFIG!r})['get_config'](arg)\n"
        f"    {line}\n"
        "    return config\n"
    )
    return path


# (line of a config file, what the sentence names, the key, the value and what fits)
WRONG = {
    "rate": (
        "config.optim = dict(config.optim, lr='0.1')",
        ["mine.py", "optim.lr", "'0.1'", "float"],
    ),
    "milestones": (
        "config.optim = dict(config.optim, milestones=0.5)",
        ["optim.milestones", "0.5", "tuple[float"],
    ),
    "factors": (
        "config.optim.factors.scale = 'a'",
        ["optim", "factors", "dict[str, float]"],
    ),
    "no optimizer": ("config.optim = None", ["optim", "None", "section"]),
    "few keys": ("config.optim = dict(name='sgd')", ["mine.py", "optim.accumulate"]),
    "no name": ("del config.model.name", ["model.name"]),
    "noise": (
        "config.method = dict(name='gaussian', sigma='0.25')",
        ["gaussian", "sigma", "'0.25'", "float"],
    ),
    "copies": (
        "config.method = dict(config.method, m=True)",
        ["gaussian", "m", "True", "int"],
    ),
    "key of the loop": ("config.method.run = 1", ["'run'", "sigma, m"]),
    "shape": (
        "config.model = dict(config.model, image_shape=(8, 8, 'a'))",
        ["small_cnn", "image_shape", "(8, 8, 'a')", "tuple"],
    ),
    "seed": (
        "config = ConfigDict(dict(config.to_dict(), seed='a'))",
        ["mine.py", "seed", "'a'", "int"],
    ),
    "average": (
        "config = ConfigDict(dict(config.to_dict(), ema='a'))",
        ["mine.py", "ema", "'a'", "float"],
    ),
    "large seed": ("config.seed = 2**32", ["seed", "4294967296"]),
    "seed below": ("config.certify.seed = -1", ["certify.seed", "-1"]),
    "crop": (
        "config.data.augment = dict(config.data.augment, generated_crop='a')",
        ["data.augment.generated_crop", "'a'", "int | None"],
    ),
    "radii": ("config.certify.radii = ('a',)", ["certify.radii", "('a',)"]),
    "section": (
        "config.log = dict(every_steps=dict(a=1))",
        ["log.every_steps", "section", "int"],
    ),
    "evaluation": (
        "config.eval.certify = dict(n='a')",
        ["eval.certify.n", "'a'", "int"],
    ),
    "tiny value": (
        "config.tiny.data = dict(epochs='1')",
        ["tiny.data.epochs", "'1'", "int"],
    ),
    "tiny section": (
        "config.tiny.dataa = dict(x=1)",
        ["tiny.dataa", "batch_statistics, certify"],
    ),
    "tiny key": ("config.tiny.data.epoch = 1", ["tiny.data.epoch", "augment"]),
    "tiny scalar": ("config.tiny = dict(data=1)", ["tiny.data", "1", "section"]),
    "tiny key of a model": (
        "config.tiny.model.widht = 1",
        ["small_cnn", "'widht'", "width"],
    ),
}


@pytest.mark.parametrize("line,named", WRONG.values(), ids=WRONG)
def test_wrong_value_in_a_config_file_is_refused(ends, tmp_path, line, named):
    path, workdir = written(tmp_path, line), tmp_path / "new"
    status, said = ends(train, "--config", path, "--tiny", "--workdir", workdir)
    assert status == 2
    assert [part for part in named if part not in said] == []
    assert not workdir.exists()


RIGHT = (
    "config.optim = dict(config.optim, lr=1)",  # a whole number where any is due
    "config.certify.radii = (0, 0.25)",
    "config.data.augment.generated_crop = 2",
    "config.optim = dict(config.optim, decay_only=('bias',), factors=dict(bias=1))",
    "config.tiny.model = dict(name='lenet', image_shape=(28, 28, 1))",
    "config.seed = 2**32 - 1",
    "config.eval.certify = dict(n=20, chunk=10)",
    "config.lock()",
)


@pytest.mark.parametrize("line", RIGHT)
def test_values_of_the_right_type_are_taken(tmp_path, line):
    config = configs.load(str(written(tmp_path, line)))
    configs.check(configs.tiny(config), "tiny")


VALUES = {
    "number": (1, 0.5, "a", True),
    "whole": (1, 2, 0.5, True),
    "flag": (True, False, 1),
    "word": ("a", "", 1),
    "numbers": ((0, 0.5), (), (0, "a")),
    "named": ({"a": 1}, {}, {"a": "b"}),
    "maybe": (None, 3, "a"),
    "anything": (None, "a"),
}


def test_values_are_compared_with_the_annotations_of_a_function():
    def make(
        *,
        number: float = 0,
        whole: int = 0,
        flag: bool = False,
        word: str = "",
        numbers: tuple[float, ...] = (),
        named: dict[str, float] | None = None,
        maybe: int | None = None,
        anything=0,
    ):
        return locals()

    for name, values in VALUES.items():
        right, wrong = (values, ()) if name == "anything" else (values[:2], values[2:])
        for value in right:
            assert configs.call(make, {name: value}, what="x")[name] == value
        for value in wrong:
            with pytest.raises(InputError, match=names("x", name)):
                configs.call(make, {name: value}, what="x")


def test_overrides_of_the_evaluation_are_typed_by_the_certificate():
    config = configs.load(CONFIG)
    words = ["--config.eval.certify.n=20", "--config.eval.certify.radii=(0.0,0.1)"]
    configs.override(config, [*words, "--config.eval.certify.n=30"])
    assert config.eval.certify.to_dict() == dict(n=30, radii=(0.0, 0.1))
    assert config.certify.n == 1000
    for word, kind in (("n=a", "int"), ("radii=(1,'a')", "tuple")):
        option = f"--config.eval.certify.{word}"
        with pytest.raises(InputError, match=names(option, kind)):
            configs.override(config, [option])
    with pytest.raises(
        InputError, match=names("--config.eval.certify.alhpa", "alhpa", "alpha")
    ):
        configs.override(config, ["--config.eval.certify.alhpa=1"])


def test_what_trains_another_run_is_told_apart_from_the_rest():
    one = configs.load(CONFIG)
    for key, value, told in (
        ("optim.lr", 0.5, True),
        ("data.batch", 7, True),
        ("data.name", "mnist", True),
        ("model.width", 3, True),
        ("seed", 5, True),
        ("certify.n", 5, False),
        ("log.every_steps", 5, False),
        ("data.dir", "elsewhere", False),
    ):
        other = configs.load(CONFIG)
        with other.unlocked():
            other.update_from_flattened_dict({key: value})
        found = configs.differences(one, other)
        assert [words.split()[0] for words in found] == [key] * told


def test_workdir_of_an_older_version_is_read(tmp_path):
    """Certifying and continuing it work as before the newer keys."""
    config = configs.base()
    config.optim.lr = 0.05
    configs.save(config, tmp_path / "config.json")
    old = json.loads((tmp_path / "config.json").read_text())
    for key in ("b1", "b2", "eps", "decay_only", "factors"):
        del old["optim"][key]
    del old["data"]["augment"]["resized_crop"]
    del old["data"]["holdout"], old["checkpoint"]["best"], old["batch_statistics"]
    del old["eval"]["images"], old["eval"]["share"]
    (tmp_path / "config.json").write_text(json.dumps(old))
    found = configs.read(tmp_path)
    assert configs.differences(found, config) == []
    assert found.optim.lr == 0.05
    assert (found.data.holdout, found.checkpoint.best) == (0, "")
    assert (found.eval.images, found.eval.share) == (0, 0)  # without limits, as it was
    configs.check(found, "old")


def test_radii_option_of_the_interval_certificate_names_what_it_tries():
    certify = configs.ConfigDict(dict(name="interval", radii=(0.0, 0.05)))
    cli._try_radii(certify, "0,8/255", False)
    assert certify.radii == (0.0, 8 / 255)
    certify = configs.ConfigDict(dict(name="lipschitz", radii=(0.0,)))
    with pytest.raises(InputError, match=names("--radii", "lipschitz")):
        cli._try_radii(certify, "0.5", False)


ROW = "configs/lot/cifar10.py:m,400,5m"


@pytest.mark.parametrize("word", ["seed=3", "data.generated=x", "data.dir=x"])
def test_published_numbers_stay_beside_what_the_paper_trained(word):
    config = configs.load(ROW)
    known = config.reference.to_dict()
    row = deepcopy(config)
    changed = configs.override(config, [f"--config.{word}"])
    assert configs.without_reference(changed, row).reference.to_dict() == known
    assert known["certified"] == 68.17


@pytest.mark.parametrize("word", ["model.width=8", "data.epochs=2", "optim.lr=1.0"])
def test_published_numbers_are_left_out_of_another_training(word):
    config = configs.load(ROW)
    row = deepcopy(config)
    changed = configs.override(config, [f"--config.{word}"])
    blank = configs.base().reference.to_dict()
    assert configs.without_reference(changed, row).reference.to_dict() == blank
    assert configs.tiny(row).reference.to_dict() == blank
    own = configs.override(
        deepcopy(row), [f"--config.{word}", "--config.reference.clean=9"]
    )
    assert configs.without_reference(own, row).reference.clean == 9.0


# where a config is looked for ------------------------------------------------------------

OWN = """
from jaxcert.configs.lot import cifar10
def get_config(arg=""):
    config = cifar10.get_config(arg)
    config.seed = 7
    return config
"""


def loaded(folder, argument):
    """The config of an argument that is given in a folder."""
    with chdir(folder):
        return configs.load(argument)


def test_an_existing_file_comes_before_the_packaged_config_of_its_name(tmp_path):
    file, name = "configs/lot/cifar10.py:m,400", "lot/cifar10:m,400"
    packaged = loaded(tmp_path, name).to_dict()
    assert packaged["seed"] == 0 and loaded(tmp_path, file).to_dict() == packaged
    (tmp_path / "configs/lot").mkdir(parents=True)
    (tmp_path / "configs/lot/cifar10.py").write_text(OWN)
    assert loaded(tmp_path, file).to_dict() == packaged | {"seed": 7}
    assert loaded(tmp_path, name).seed == 0
    (tmp_path / "lot/cifar10").mkdir(parents=True)  # a folder is no config
    assert loaded(tmp_path, name).seed == 0
    (tmp_path / "quickstart").write_text(OWN)
    assert loaded(tmp_path, "quickstart").seed == 7


@pytest.mark.parametrize(
    "argument, near",
    [
        ("lot/cifr10", ["lot/cifar10", "lot/cifar100"]),
        ("configs/lot/cifr10.py:m", ["lot/cifar10"]),
        ("lot", ["lot/cifar10", "lot/cifar100", "lot/digits", "lot/mnist"]),
        ("quickstrat", ["quickstart"]),
        ("mine", ["mine.py"]),
        ("../lot/cifar10/x", ["lot/cifar10"]),
        ("xyz", []),
    ],
)
def test_what_is_neither_a_file_nor_packaged_names_both_places_and_the_nearest(
    tmp_path, argument, near
):
    (tmp_path / "mine.py").write_text(OWN)
    with pytest.raises(InputError) as refused:
        loaded(tmp_path, argument)
    said, path = str(refused.value), argument.partition(":")[0]
    name = path.removeprefix("configs/").removesuffix(".py")
    assert f"{tmp_path / path}" in said and f"no config {name};" in said
    meant = said.partition("did you mean ")[2].partition("?")[0].split(" or ")
    assert set(near) <= set(meant) if near else meant == [""]


@pytest.mark.parametrize(
    "name", ["../evil", "os", "jaxcert.cli", "lot/__init__", "", "."]
)
def test_names_are_those_of_shipped_configs_alone(tmp_path, name):
    (tmp_path / "in").mkdir()
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(InputError):
        loaded(tmp_path / "in", name)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "argument, name",
    [
        ("lot/cifar10:s", "lot_cifar10_s"),
        ("configs/lot/cifar10.py:s", "lot_cifar10_s"),
        ("./configs/lot/cifar10.py:s", "lot_cifar10_s"),
        ("quickstart", "quickstart"),
        ("configs/quickstart.py", "quickstart"),
        ("mine.py:a,b", "folder_mine_a_b"),
    ],
)
@pytest.mark.parametrize("clone", [True, False])
def test_default_workdir_does_not_depend_on_how_a_config_is_named(
    tmp_path, clone, argument, name
):
    folder = tmp_path / "folder"
    folder.mkdir()
    if clone:
        shutil.copytree(ROOT / "configs", folder / "configs")
    with chdir(folder):
        found = configs.system_name(argument)
    assert found == name


# rows ------------------------------------------------------------------------------------

GROUPS = dict(size=("s", "m"), eps={"eps1": 1.0, "eps2": 2.0}, bf16=("bf16",))


@pytest.mark.parametrize(
    "row, size, eps, bf16",
    [("", "", None, False), ("m", "m", None, False), ("bf16,eps2,s", "s", 2.0, True)],
)
def test_words_of_a_row_are_found_by_their_group(row, size, eps, bf16):
    found = configs.words(row, **GROUPS)
    assert vars(found) == dict(size=size, eps=eps, bf16=bf16)


@pytest.mark.parametrize(
    "row, named",
    [
        ("x", ["'x'", "s | m; eps1 | eps2; bf16"]),
        ("s,m", ["'s'", "'m'", "s | m"]),
        ("s,s", ["'s'", "twice"]),
        ("eps1,eps2", ["'eps1'", "'eps2'"]),
        ("s,", ["'s,'", "empty"]),
        (",", ["empty"]),
    ],
)
def test_words_that_are_unknown_empty_or_contradictory_are_refused(row, named):
    with pytest.raises(InputError) as refused:
        configs.words(row, **GROUPS)
    assert [part for part in named if part not in str(refused.value)] == []


def test_every_row_has_a_word_of_each_group_but_for_groups_of_one_word():
    assert configs.rows(GROUPS) == (
        *("s,eps1", "s,eps1,bf16", "s,eps2", "s,eps2,bf16"),
        *("m,eps1", "m,eps1,bf16", "m,eps2", "m,eps2,bf16"),
    )
    assert configs.rows({}) == ("",)


def test_a_budget_stands_alone():
    groups = GROUPS | {"budget": {"laptop": {"seed": 1}}}
    assert configs.rows(groups) == (*configs.rows(GROUPS), "laptop")
    assert configs.words("laptop", **groups).budget == {"seed": 1}
    assert configs.words("m", **groups).budget is None
    with pytest.raises(InputError, match=names("m,laptop", "laptop")):
        configs.words("m,laptop", **groups)


@pytest.mark.parametrize(
    "argument,words",
    [
        ("quickstart:xx", names("rows", "xx")),
        ("lot/cifar10:m,m", names("m,m", "m")),
        ("smoothing/digits:gausian,0.50", names("gausian", "gaussian")),
    ],
)
def test_what_is_wrong_with_a_row_is_said(argument, words):
    with pytest.raises(InputError, match=words):
        configs.load(argument)


def test_a_config_that_takes_no_row_is_told_how_to(tmp_path):
    (tmp_path / "own.py").write_text("def get_config():\n    return None\n")
    with pytest.raises(InputError, match=names("own.py", "get_config(arg='')")):
        configs.load(str(tmp_path / "own.py"))


@pytest.mark.parametrize("name", ["config.json", "lot-digits.json"])
def test_a_config_that_was_saved_is_read_as_json(name, tmp_path):
    """Run as a Python file, it would only say that `true` is not defined."""
    config, path = configs.load("lot/digits"), tmp_path / name
    configs.save(config, path)
    found = configs.load(str(path))
    assert configs.differences(found, config) == []
    with pytest.raises(InputError, match=names(name, ":s")):
        configs.load(f"{path}:s")
    path.write_text("{")
    with pytest.raises(InputError, match=names(name, "damaged")):
        configs.load(str(path))
