"""The commands as a user types them: bad input ends in one sentence that names fault and
fix, with an exit status that is not 0, and nothing that was computed is lost."""

from __future__ import annotations

import json
import logging
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import jax
import numpy as np
import pytest
from command_line import CONFIG, ROOT, assert_words, end, sentence
from refusals import names, tells

from jaxcert import certify, convert, import_torch, records, report, train
from jaxcert import config as configs
from jaxcert.analysis import report as reports
from jaxcert.errors import InputError, exit_cleanly, interruptible


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A trained workdir with the record of its four images."""
    workdir = tmp_path_factory.mktemp("commands") / "run"
    arguments = ["--config", CONFIG, "--tiny", "--workdir", str(workdir)]
    assert exit_cleanly(lambda: train.main(arguments)) == 0
    assert exit_cleanly(lambda: certify.main(["--workdir", str(workdir)])) == 0
    return workdir


@contextmanager
def files_below(size):
    """As on a full disk: a file that grows beyond `size` bytes cannot be written."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 1e9)  # no writing
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


@pytest.fixture
def ends(capsys):
    return partial(end, capsys)


TRAIN = {
    "no config": ("", names("--config", "missing")),
    "unknown config": ("--config=configs/nope.py", names("configs/nope.py", "file")),
    "no config file": (f"--config={__file__}", names(__file__, "get_config")),
    "unknown row": (f"--config={CONFIG}:0.3", names("row", "'0.3'", "0.25 | 0.50")),
    "unknown argument": ("--lr=1", names("argument", "'--lr=1'")),
    "misspelt": ("--wokrdir=1", names("'--wokrdir=1'", "--workdir")),
    "unknown key": ("--config.optim.lrr=1", names("--config.optim.lrr", "'lr'")),
    "odd key": (
        "--config.optim.zzz=1",
        names("--config.optim.zzz", "accumulate", "b1", "b2"),
    ),
    "section": ("--config.optim=1", names("--config.optim", "section", "accumulate")),
    "below a value": ("--config.optim.lr.x=1", names("--config.optim.lr.x", "'.x'")),
    "not a number": ("--config.optim.lr=abc", names("--config.optim.lr=abc", "float")),
    "not whole": ("--config.data.epochs=1.5", names("--config.data.epochs=1.5", "int")),
    "no value": ("--config.data.epochs", names("--config.data.epochs", "int")),
    "not a bool": (
        "--config.data.download=maybe",
        names("--config.data.download=maybe", "bool"),
    ),
    "words in a tuple": (
        "--config.model.std=(1,'a')",
        names("--config.model.std=(1,'a')", "tuple"),
    ),
    "half a tuple": (
        "--config.model.std=(1,",
        names("--config.model.std=(1,", "tuple"),
    ),
    "unknown model": ("--config.model.name=resnt", names("model", "'resnt'", "resnet")),
    "unknown method": ("--config.method.name=x", names("method", "'x'", "gaussian")),
    "method of another": ("--config.method.name=lot", names("lot", "lip_convnet")),
    "no width": ("--config.model.width=0", names("model.width", 0)),
    "no shape": (
        "--config.model.image_shape=(8,8)",
        names("model.image_shape", (8, 8)),
    ),
    "few classes": (
        "--config.model.num_classes=5",
        names("digits", "10 classes", 5, "--config.model.num_classes=10"),
    ),
    "data name": ("--config.data.name=nope", names("data set", "'nope'", "digits")),
    "data folder": (
        "--config.data.name=npz:/nope",
        names("/nope", "folder", "train.npz"),
    ),
    "batch": ("--config.data.batch=0", names("data.batch", 0)),
    "epochs": ("--config.data.epochs=0", names("data.epochs", 0)),
    "epoch images": ("--config.data.epoch_images=-5", names("data.epoch_images", -5)),
    "order": ("--config.data.order=x", names("data.order", "x")),
    "crop": ("--config.data.augment.crop=8", names("data.augment.crop", 8)),
    "fill": ("--config.data.augment.crop_fill=x", names("data.augment.crop_fill", "x")),
    "optimizer": ("--config.optim.name=x", names("optim.name", "x")),
    "schedule": ("--config.optim.schedule=x", names("optim.schedule", "x")),
    "rate": ("--config.optim.lr=nan", names("optim.lr", "nan")),
    "momentum": ("--config.optim.momentum=2", names("optim.momentum", 2.0)),
    "average": ("--config.ema=2", names("ema", 2.0)),
    "precision": (
        "--config.precision=x",
        names("precision", "x"),
    ),
    "log": ("--config.log.every_steps=0", names("log.every_steps", 0)),
    "noise": ("--config.method.sigma=0", names("method.sigma", 0.0)),
    "seed": ("--config.seed=-1", names("seed", -1)),
    "share": ("--config.data.generated_share=2", names("data.generated_share", 2.0)),
    "no generated": (
        "--config.data.generated=/nope.npz",
        names("/nope.npz", "--config.data.generated"),
    ),
    "processes": (
        "--distributed=x",
        names("--distributed", "HOST:PORT,N,I", "auto", "'x'"),
    ),
}


@pytest.mark.parametrize("argument,words", TRAIN.values(), ids=TRAIN)
def test_train_refuses(ends, tmp_path, argument, words):
    arguments = ["--config", CONFIG] if argument else []
    workdir = tmp_path / "new"
    status, said = ends(train, *arguments, *argument.split(), "--workdir", workdir)
    assert status == 2
    assert_words(words, said)
    assert not workdir.exists()  # so the corrected command finds it free


BROKEN = {
    "syntax": ("def get_config(arg='')\n  pass", "line 1: SyntaxError"),
    "import": (
        "\nimport no_such_thing",
        "line 2: ModuleNotFoundError: .*no_such_thing",
    ),
    "signature": ("def get_config(): return 1", names("get_config", "row")),
    "a dict": ("def get_config(arg=''): return {}", "gives no ConfigDict"),
    "inside": ("def get_config(arg=''):\n  return 1 / 0", "line 2: ZeroDivisionError"),
}


@pytest.mark.parametrize("code,words", BROKEN.values(), ids=BROKEN)
def test_broken_config_file_is_named_with_its_line(ends, tmp_path, code, words):
    path = tmp_path / "mine.py"
    path.write_text(code)
    status, said = ends(train, "--config", path, "--workdir", tmp_path / "new")
    assert status == 2
    assert str(path) in said
    assert_words(words, said)


def test_unknown_key_of_a_config_file_is_refused(ends, tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(
        f"import runpy\ndef get_config(arg=''):\n"
        f"    config = runpy.run_path({CONFIG!r})['get_config'](arg)\n"
        f"    config.optim.learning_rate = 0.1\n    return config\n"
    )
    status, said = ends(train, "--config", path, "--workdir", tmp_path / "new")
    assert (status, tells(said, "optim", "learning_rate")) == (2, True)


def test_generated_crop_can_be_set_although_it_is_none(ends, tmp_path):
    more = ["--config.data.augment.generated_crop=9", "--workdir", tmp_path / "new"]
    status, said = ends(train, "--config", CONFIG, "--tiny", *more)
    assert status == 2 and tells(said, "data.augment.generated_crop", 9)


CERTIFY = {
    "sigma": ("sigma=0", names("sigma", 0.0)),
    "negative sigma": ("sigma=-1", names("sigma", -1.0)),
    "infinite sigma": ("sigma=inf", names("smoothing", "sigma", "inf")),
    "sigma nan": ("sigma=nan", names("smoothing", "sigma", "nan")),
    "alpha 0": ("alpha=0", names("alpha", 0.0)),
    "alpha 1": ("alpha=1", names("alpha", 1.0)),
    "alpha nan": ("alpha=nan", names("smoothing", "alpha", "nan")),
    "n": ("n=0", names("n", 0)),
    "n0": ("n0=0", names("n0", 0)),
    "few": ("n=5", names("n", "5 samples", "alpha", 0.001, 10)),
    "many": ("n=4000000000", names("n", 4_000_000_000, "32 bits")),
    "chunk": ("chunk=-1", names("chunk", -1)),
    "procedure": ("procedure=x", names("procedure", "x")),
    "name": ("name=x", names("certificate", "'x'", "denoised_smoothing")),
    "not lipschitz": (
        "name=lipschitz",
        names("lipschitz", "lip_convnet"),
    ),
    "batch": ("batch=0", names("certify.batch", 0)),
    "step": ("step=0", names("certify.step", 0)),
    "start": ("start=5000", names("certify.start=5000", 797)),
    "split": ("split=valid", names("split", "valid")),
    "radii": ("radii=(1,'a')", names("--config.certify.radii=(1,'a')", "tuple")),
    "negative radius": ("radii=(0.,-1.)", names("certify.radii", -1.0)),
    "radius nan": ("radii=(nan,)", names("--config.certify.radii=(nan,)", "tuple")),
    "infinite radius": ("radii=(1e999,)", names("certify.radii", "(inf,)")),
}


@pytest.mark.parametrize("argument,words", CERTIFY.values(), ids=CERTIFY)
def test_certify_refuses(ends, run, tmp_path, argument, words):
    out = tmp_path / "new.jsonl"
    argument = f"--config.certify.{argument}"
    status, said = ends(certify, "--workdir", run, "--out", out, argument)
    assert status == 2
    assert_words(words, said)
    assert not out.exists()


def test_certificate_takes_keys_that_its_config_lacks(ends, run, tmp_path, capsys):
    """Those of `make`, as the error advises; another certificate starts afresh."""
    config = configs.read(run)
    del config.certify["sigma"], config.certify["noise"]
    shutil.copytree(run, tmp_path / "run")
    configs.save(config, tmp_path / "run" / "config.json")
    arguments = ["--workdir", tmp_path / "run", "--out", tmp_path / "new.jsonl"]
    status, said = ends(certify, *arguments)
    assert status == 2
    assert_words(names("'sigma'", "--config.certify.sigma=VALUE"), said)
    more = ["--config.certify.sigma=0.5", "--config.certify.noise=grid"]
    assert ends(certify, *arguments, *more) == (0, "")
    header = records.load(tmp_path / "new.jsonl").header
    assert (header["sigma"], header["config"]["certify"]["noise"]) == (0.5, "grid")
    status, said = ends(certify, *arguments, "--config.certify.nois=grid")
    assert status == 2
    assert_words(names("--config.certify.nois", "'noise'"), said)


def test_network_that_a_certificate_lacks_is_asked_for_where_it_is_taken(ends, run):
    more = ["--workdir", run, "--config.certify.name=denoised_smoothing"]
    status, said = ends(certify, *more, "--config.certify.stop=1")
    assert status == 2
    assert_words(
        names("'classifier'", "--config.certify.networks.classifier=DIR"), said
    )
    more.append("--config.certify.networks.classifier=/nope")
    status, said = ends(certify, *more)
    assert status == 2
    assert_words(names("/nope", "workdir", "config.json"), said)
    status, said = ends(certify, *more, "--config.certify.networks.edm=x")
    assert status == 2
    assert_words(names("--config.certify.networks.edm", "classifier"), said)


def test_another_certificate_starts_from_its_own_defaults(capsys):
    config = configs.load(CONFIG)
    config.certify.n, config.certify.stop, config.certify.alpha = 7, 5, 0.25
    config.eval.certify = dict(n=3, start=1)
    words = ["--config.certify.bound=torus", "--config.certify.name=lipschitz"]
    configs.override(config, words)
    assert re.search(r"lipschitz .*\balpha, .*\bn0\b", capsys.readouterr().err)
    own = dict(configs.base().certify, name="lipschitz", bound="torus", stop=5)
    assert config.certify.to_dict() == own | {"radii": config.certify.radii}
    assert config.eval.certify.to_dict() == dict(start=1)
    config = configs.load(CONFIG)
    config.certify.n, config.certify.alpha, config.certify.n0 = 7, 0.25, 9
    configs.override(config, ["--config.certify.name=noised_diffusion_classifier"])
    kept = config.certify
    assert (kept.alpha, kept.n0, "n" in kept, kept.sigma) == (0.25, 9, False, 0.5)
    with pytest.raises(InputError, match=names("x", "smoothing")):
        configs.override(config, ["--config.certify.name=x"])


def test_another_method_starts_from_its_own_defaults(capsys):
    """The radius to train for means the same in both; where it ends has another default."""
    config = configs.load("configs/bronet/digits.py")
    config.method.update(eps=0.2, last=2.0)
    words = ["--config.method.loss=emma", "--config.method.name=gloro"]
    configs.override(config, words)
    assert re.search(r"method.name=gloro .*\bbeta, .*\bxi\b", capsys.readouterr().err)
    method = config.method.to_dict()
    assert method == dict(name="gloro", loss="emma", eps=0.2, first=0.1)
    with pytest.raises(InputError, match=names("lott", "gloro")):
        configs.override(config, ["--config.method.name=lott"])


def test_another_model_starts_from_its_own_defaults_and_keeps_the_data(capsys):
    """Also in what --tiny applies later."""
    config = configs.load("configs/lipnext/digits.py")
    assert "patch" in config.tiny.model
    words = ["--config.model.name=small_cnn", "--config.model.width=4"]
    configs.override(config, words)
    assert re.search(r"model.name=small_cnn .*\bpatch\b", capsys.readouterr().err)
    data = dict(image_shape=(8, 8, 1), num_classes=10)
    assert config.model.to_dict() == dict(name="small_cnn", width=4) | data
    assert "patch" not in config.tiny.model


def test_tiny_certification(ends, run, tmp_path):
    shutil.copytree(run, tmp_path / "run")
    config = configs.read(run)
    config.certify.update(n=200, stop=3)
    config.tiny.certify = dict(n=20, stop=2)
    configs.save(config, tmp_path / "run" / "config.json")
    out = tmp_path / "new.jsonl"
    more = ["--workdir", tmp_path / "run", "--out", out, "--tiny"]
    assert ends(certify, *more) == (0, "")
    assert records.load(out).n.tolist() == [20, 20]
    config.tiny, config.certify.stop = {}, 0
    configs.save(config, tmp_path / "run" / "config.json")
    out.unlink()
    assert ends(certify, *more, "--config.certify.step=2") == (0, "")
    rows = records.load(out)
    assert rows.n.tolist() == [50] * 5 and rows.index.tolist() == [0, 2, 4, 6, 8]


def test_certify_of_another_network_is_refused(ends, run, tmp_path):
    more = ["--config.model.width=8", "--out", tmp_path / "new.jsonl"]
    status, said = ends(certify, "--workdir", run, *more)
    assert status == 2 and tells(said, "run", "network")


def test_what_is_no_workdir_is_refused(ends, run, tmp_path):
    assert ends(certify)[0] == 2
    for command in (certify, report):
        argument = ["--workdir"] * (command is certify)
        status, said = ends(command, *argument, tmp_path)
        assert status == 2 and str(tmp_path) in said
    shutil.copy(run / "config.json", tmp_path)
    status, said = ends(certify, "--workdir", tmp_path)
    assert status == 2 and tells(said, tmp_path, "no checkpoints")
    (tmp_path / "config.json").write_text("{")
    status, said = ends(certify, "--workdir", tmp_path)
    assert status == 2 and tells(said, "config.json", "damaged")


def test_workdir_of_another_config_is_refused_and_kept(ends, run):
    before = contents(run)
    arguments = ["--config", CONFIG, "--tiny", "--workdir", run]
    status, said = ends(train, *arguments, "--config.optim.lr=0.3")
    assert status == 2
    assert tells(said, "optim.lr", 0.1, 0.3, "--workdir")
    assert contents(run) == before


def test_record_of_another_request_is_refused_and_kept(ends, run):
    before = contents(run)
    status, said = ends(certify, "--workdir", run, "--config.certify.sigma=0.25")
    assert status == 2
    assert tells(said, "sigma", 0.5, 0.25, "--out")
    assert contents(run) == before


def contents(folder):
    return {p: p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_places_that_cannot_be_written_are_named(ends, run, tmp_path):
    (tmp_path / "file").write_text("mine")
    for out, status_of_it, words in (
        (tmp_path, 2, names(tmp_path, "folder")),
        (
            tmp_path / "file" / "x.jsonl",
            1,
            names(tmp_path / "file", "File exists"),
        ),
        ("/proc/x/y.jsonl", 1, names("/proc/x", "No such file or directory")),
    ):
        status, said = ends(certify, "--workdir", run, "--out", out)
        assert status == status_of_it
        assert_words(words, said)
    assert (tmp_path / "file").read_text() == "mine"


def test_altered_checkpoint_is_refused(ends, run, tmp_path):
    shutil.copytree(run, tmp_path / "run")
    for data in (tmp_path / "run").rglob("d/*"):
        content = bytearray(data.read_bytes())
        content[len(content) // 2] ^= 255
        data.write_bytes(content)
    out = tmp_path / "new.jsonl"
    status, said = ends(certify, "--workdir", tmp_path / "run", "--out", out)
    assert status == 2
    assert tells(said, "checkpoints/3", "damaged", "--workdir")


@pytest.mark.parametrize("line", ["{}", '{"index": 3}', "0\t1\t2", '{"format": "x"}'])
def test_foreign_line_in_a_record_is_named_and_kept(ends, run, tmp_path, line):
    lines = (run / "certificates.jsonl").read_text().splitlines()
    path = tmp_path / "certificates.jsonl"
    path.write_text("\n".join([*lines[:2], line, *lines[2:]]) + "\n")
    before = path.read_bytes()
    for command in ([certify, "--workdir", run, "--out", path], [report, path]):
        status, said = ends(*command)
        assert status == 2
        assert tells(said, "line 3", "certificate")
    assert path.read_bytes() == before


def rows(path):
    """Header's request and the rows without what may differ between two machines."""
    lines = [json.loads(line) for line in Path(path).read_text().splitlines()]
    return records.identity(lines[0]), [{**row, "seconds": 0} for row in lines[1:]]


def test_row_cut_off_in_the_middle_is_certified_again(ends, run, tmp_path):
    whole = run / "certificates.jsonl"
    path = tmp_path / "certificates.jsonl"
    path.write_bytes(whole.read_bytes()[:-9])
    assert ends(certify, "--workdir", run, "--out", path) == (0, "")
    assert rows(path) == rows(whole)


def test_full_disk_stops_a_training_that_continues_when_there_is_space(
    ends, run, tmp_path, capsys
):
    arguments = ["--config", CONFIG, "--tiny", "--workdir", str(tmp_path)]
    with files_below(3000):
        status = exit_cleanly(lambda: train.main(arguments))
    assert status == 1
    assert tells(sentence(capsys.readouterr().err), "disk", "quota", tmp_path)
    assert ends(train, *arguments) == (0, "")
    digests = [
        json.loads((folder / "checkpoints/3/meta/metadata").read_text())["digest"]
        for folder in (tmp_path, run)
    ]
    assert digests[0] == digests[1]


def test_full_disk_keeps_complete_rows_and_the_same_command_continues(
    ends, run, tmp_path
):
    whole = (run / "certificates.jsonl").read_bytes()
    path = tmp_path / "certificates.jsonl"
    command = (certify, "--workdir", run, "--out", path, "--config.certify.batch=1")
    ends_at = [i + 1 for i, byte in enumerate(whole) if byte == ord("\n")]
    with files_below(ends_at[2] + 40):
        status, said = ends(*command)
    assert status == 1
    assert tells(said, "disk", "quota", path)
    kept = path.read_bytes()
    assert kept.endswith(b"\n") and len(kept.splitlines()) == 3
    assert ends(*command) == (0, "")
    assert path.read_bytes().startswith(kept)
    assert rows(path)[1] == rows(run / "certificates.jsonl")[1]


def process(module, *arguments, **environment):
    return subprocess.Popen(
        [sys.executable, "-m", f"jaxcert.{module}", *map(str, arguments)],
        env={**os.environ, "JAX_DISABLE_MOST_OPTIMIZATIONS": "1", **environment},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_interrupted_certification_continues_to_the_same_rows(ends, run, tmp_path):
    more = ["--config.certify.batch=1", "--config.certify.stop=400"]
    more += ["--config.certify.n=100"]
    path = tmp_path / "stopped.jsonl"
    started = process("certify", "--workdir", run, "--out", path, *more)
    while started.poll() is None and len(lines_of(path)) < 3:
        time.sleep(0.002)
    started.send_signal(signal.SIGINT)
    _, said = started.communicate(timeout=120)
    assert started.returncode == 130, said
    assert tells(sentence(said), "interrupted")
    kept = path.read_bytes()
    assert 2 < len(lines_of(path)) < 401 and kept.endswith(b"\n")
    for out in (path, tmp_path / "whole.jsonl"):
        assert ends(certify, "--workdir", run, "--out", out, *more) == (0, "")
    assert path.read_bytes().startswith(kept)
    assert rows(path) == rows(tmp_path / "whole.jsonl")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_whose_exception_is_lost_is_seen_by_the_loop(number):
    before = signal.getsignal(number)
    with interruptible(at_once=True) as ends:
        assert not ends()
        with suppress(KeyboardInterrupt):  # as callbacks from C do
            signal.raise_signal(number)
            pytest.fail("nothing was raised")
        with pytest.raises(KeyboardInterrupt):
            ends()
        assert signal.getsignal(number) is before
    with interruptible(at_once=False) as ends:
        signal.raise_signal(number)
        assert ends()
    assert signal.getsignal(number) is before


def lines_of(path):
    return path.read_bytes().splitlines() if path.exists() else []


def test_batch_that_the_devices_do_not_divide_is_refused(tmp_path):
    flags = "--xla_force_host_platform_device_count=8"
    more = ["--tiny", "--config.data.batch=12", "--workdir", tmp_path / "new"]
    started = process("train", "--config", CONFIG, *more, XLA_FLAGS=flags)
    _, said = started.communicate(timeout=120)
    assert started.returncode == 2
    assert tells(sentence(said), "data.batch", 12, "8 devices")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("command", [train, certify, report, convert, import_torch])
def test_help_shows_an_example(command, capsys):
    with pytest.raises(SystemExit) as ended:
        command.main(["--help"])
    assert not ended.value.code
    after = capsys.readouterr().out.partition("options:")[2]
    assert f"python -m {command.__name__} " in after


@pytest.mark.parametrize("command", [report, convert])
def test_missing_argument_is_named(command, capsys):
    assert exit_cleanly(lambda: command.main([])) == 2
    said = capsys.readouterr().err
    assert ("PATH" if command is report else "--generated") in said
    assert "--help" in said and "Traceback" not in said


def test_radii_that_n_cannot_certify_are_told_and_not_tried(run, tmp_path, capsys):
    out = ["--out", str(tmp_path / "radii.jsonl"), "--config.certify.n=200"]
    asked = ["--config.certify.stop=2", "--radii", "0,0.25,1,9"]
    assert not certify.main(["--workdir", str(run), *out, *asked])
    said = capsys.readouterr().err
    assert re.search(r"\b1, .*\b200 samples\b.*\bcertify\.n\b", said)
    assert re.search(r"\b9, .*\bfloat32\b.*\bcertify\.noise=grid\b", said)
    rows = records.load(tmp_path / "radii.jsonl")
    generator = dict(implementation="threefry2x32", partitionable=True)
    generator |= dict(
        keys="split(fold_in(fold_in(key, index), sample)): noise, vote",
        key="fold_in((0, seed mod 2^32), 52775)",
    )
    assert rows.header["generator"] == generator
    assert rows.header["xla_flags"] == os.environ.get("XLA_FLAGS", "")
    assert rows.header["procedure"]["radii"] == [0, 0.25]
    assert "--" in reports.report([tmp_path / "radii.jsonl"], radii=[0.25, 9])


def test_radii_and_another_procedure_are_refused_together(ends, run):
    more = ["--radii", "0.25", "--config.certify.procedure=sequence"]
    status, said = ends(certify, "--workdir", run, *more)
    assert status == 2 and tells(said, "--radii", "certify.procedure=sequence")


def test_report_refuses_radii_that_are_none(ends, run):
    status, said = ends(report, run, "--radii", "0,x")
    assert status == 2 and tells(said, "--radii", "x")


def test_radius_above_its_evidence_fails_the_report(ends, run, tmp_path):
    lines = (run / "certificates.jsonl").read_text().splitlines()
    row = json.loads(lines[1]) | dict(predicted=0, radius=9.0, counts=[50] + [0] * 9)
    path = tmp_path / "certificates.jsonl"
    path.write_text("\n".join([lines[0], json.dumps(row), *lines[2:]]) + "\n")
    status, said = ends(report, path)
    assert status == 2 and tells(said, "1 radii", path, 2, "--out")


# Records that are there already: whose they are, and whether they are of these images.


def test_file_of_somebody_else_is_refused_and_kept(ends, run, tmp_path):
    path = tmp_path / "mine.json"
    for content in ('{"my":"results"}', '{"my":"results"}\n{"and":"mo', "my notes"):
        path.write_text(content)
        status, said = ends(certify, "--workdir", run, "--out", path)
        assert status == 2 and tells(said, path, "--out")
        assert path.read_text() == content


@pytest.mark.parametrize("key,value", [("label", 9), ("index", 5000), ("index", -3)])
def test_row_that_is_not_of_these_images_is_named(ends, run, tmp_path, key, value):
    lines = (run / "certificates.jsonl").read_text().splitlines()
    row = json.loads(lines[2])
    assert row[key] != value
    path = tmp_path / "certificates.jsonl"
    lines[2] = json.dumps(row | {key: value})
    path.write_text("\n".join(lines) + "\n")
    before = path.read_bytes()
    status, said = ends(certify, "--workdir", run, "--out", path)
    assert status == 2
    assert tells(said, path, "line 3", "image", 797, "digits")
    assert path.read_bytes() == before
    path.write_text("\n".join([*lines[:2], *lines[3:]]) + "\n")
    assert ends(certify, "--workdir", run, "--out", path) == (0, "")


def test_record_of_replaced_images_is_refused_and_kept(ends, run, tmp_path):
    def save(label):
        for split in ("train", "test"):
            image = np.zeros((12, 8, 8, 1), np.uint8)
            np.savez(tmp_path / f"{split}.npz", image=image, label=label)

    path = tmp_path / "certificates.jsonl"
    command = [certify, "--workdir", run, "--out", path]
    command.append(f"--config.data.name=npz:{tmp_path}")
    save(np.arange(12) % 10)
    assert ends(*command) == (0, "")
    before = path.read_bytes()
    save(np.arange(12)[::-1] % 10)
    status, said = ends(*command)
    assert status == 2
    assert tells(said, path, "data_digest", "--out")
    assert path.read_bytes() == before


def test_two_processes_do_not_certify_into_one_file(ends, run, tmp_path):
    path = tmp_path / "certificates.jsonl"
    shutil.copy(run / "certificates.jsonl", path)
    header = json.loads(path.read_text().splitlines()[0])
    with records.Writer(path, header):
        status, said = ends(certify, "--workdir", run, "--out", path)
        assert status == 2
        assert tells(said, path, "--out")
    assert ends(certify, "--workdir", run, "--out", path) == (0, "")
    assert path.read_bytes() == (run / "certificates.jsonl").read_bytes()


def test_record_of_an_older_checkpoint_is_refused_with_a_way_out(ends, run, tmp_path):
    """What training with after_training finds where a user certified before the end."""
    shutil.copytree(run, tmp_path / "run")
    path = tmp_path / "run" / "certificates.jsonl"
    header, *lines = path.read_text().splitlines()
    header = json.dumps(json.loads(header) | dict(checkpoint="older"))
    path.write_text("\n".join([header, *lines]) + "\n")
    before = path.read_bytes()
    arguments = ["--config", CONFIG, "--tiny", "--workdir", tmp_path / "run"]
    status, said = ends(train, *arguments, "--config.certify.after_training=True")
    assert status == 2
    assert tells(said, path, "checkpoint", '"older"', "--out")
    assert path.read_bytes() == before


def test_first_row_is_saved_before_the_first_whole_batch(
    ends, run, tmp_path, monkeypatch
):
    appended, append = [], records.Writer.append

    def count(self, rows):
        appended.append(len(rows.index))
        append(self, rows)

    monkeypatch.setattr(records.Writer, "append", count)
    more = ["--out", tmp_path / "new.jsonl", "--config.certify.stop=40"]
    assert ends(certify, "--workdir", run, *more) == (0, "")
    assert appended[0] == jax.device_count() and sum(appended) == 40


BEFORE = {
    "placement": ("data.placement=foo", names("data.placement", "foo")),
    "large seed": (f"seed={10**20}", names("seed", 10**20)),
    "seed below": ("certify.seed=-1", names("certify.seed", -1)),
    "unknown in eval": ("eval.certify.nn=20", names("--config.eval.certify.nn", "'n'")),
    "typed in eval": ("eval.certify.n=a", names("--config.eval.certify.n=a", "int")),
    "no example": (
        "data.augment.generated_crop=x",
        names("--config.data.augment.generated_crop=x", "int"),
    ),
    "alpha": ("certify.alpha=0", names("alpha", 0.0)),
    "few": ("certify.n=5", names("n", "5 samples", "alpha", 0.001, 10)),
    "sigma": ("certify.sigma=0", names("sigma", 0.0)),
    "name": (
        "certify.name=lipschitz",
        names("lipschitz", "lip_convnet"),
    ),
    "split": ("certify.split=valid", names("split", "valid")),
    "images": ("certify.start=5000", names("certify.start=5000", 797)),
    "alpha in eval": ("eval.certify.alpha=0", names("alpha", 0.0)),
    "radius": ("certify.radii=(-1.,)", names("certify.radii", -1.0)),
    "radius in eval": ("eval.certify.radii=(-1.,)", names("certify.radii", -1.0)),
    "images in eval": ("eval.certify.start=900", names("certify.start=900", 797)),
}


@pytest.mark.parametrize("argument,words", BEFORE.values(), ids=BEFORE)
def test_train_refuses_before_any_work(ends, tmp_path, argument, words):
    """Also what an evaluation, or the certificate at the end, would refuse later."""
    due = (
        "eval.every_epochs=2" if "eval." in argument else "certify.after_training=True"
    )
    more = [f"--config.{word}" for word in (due, argument)]
    workdir = tmp_path / "new"
    status, said = ends(train, "--config", CONFIG, *more, "--workdir", workdir)
    assert status == 2
    assert_words(words, said)
    assert not workdir.exists()


@pytest.mark.parametrize(
    "arguments,words",
    [
        (["certify.split=valid"], names("certify.split", "valid")),
        (["certify.start=9", "certify.stop=9"], names("certify.start=9", "stop=9")),
    ],
)
def test_train_refuses_images_of_a_later_certificate(ends, tmp_path, arguments, words):
    workdir = tmp_path / "new"
    more = [f"--config.{word}" for word in ["certify.after_training=False", *arguments]]
    status, said = ends(train, "--config", CONFIG, *more, "--workdir", workdir)
    assert status == 2
    assert_words(words, said)
    assert not workdir.exists()


DAMAGE = {
    "no keys": (
        dict(certify={}),
        names("config.json", "lacks", "certify.after_training"),
    ),
    "no name": (dict(model={}), names("config.json", "lacks", "model.name")),
    "no section": (dict(model=5), names("config.json", "model", 5, "section")),
    "a word": (dict(seed="x"), names("config.json", "seed", "'x'", "int")),
    "a word for a number": (
        dict(sigma="x"),
        names("smoothing", "sigma", "'x'", "float"),
    ),
}


@pytest.mark.parametrize("changes,words", DAMAGE.values(), ids=DAMAGE)
def test_damaged_config_of_a_workdir_is_refused(ends, run, tmp_path, changes, words):
    shutil.copytree(run, tmp_path / "run")
    path = tmp_path / "run" / "config.json"
    config = json.loads(path.read_text())
    (config["certify"] if "sigma" in changes else config).update(changes)
    path.write_text(json.dumps(config))
    out = tmp_path / "new.jsonl"
    status, said = ends(certify, "--workdir", tmp_path / "run", "--out", out)
    assert status == 2
    assert_words(words, said)
    assert not out.exists()


@pytest.mark.parametrize("address", ["127.0.0.1:9999,2,5", "127.0.0.1,2,0", "x:1,0,0"])
def test_process_that_is_none_of_all_is_refused(ends, tmp_path, address):
    more = ["--workdir", tmp_path / "new", "--distributed", address]
    status, said = ends(train, "--config", CONFIG, *more)
    assert status == 2
    assert tells(said, "HOST:PORT,N,I", address)


def test_auto_off_a_cluster_is_refused(tmp_path):
    more = ["--workdir", tmp_path / "new", "--distributed", "auto"]
    started = process("train", "--config", CONFIG, *more)
    _, said = started.communicate(timeout=120)
    assert started.returncode == 2
    assert tells(sentence(said), "cluster", "HOST:PORT,N,I")


def test_writers_of_a_checkpoint_say_nothing_beside_the_sentence(ends):
    log = logging.getLogger("asyncio")
    log.setLevel(logging.NOTSET)
    assert ends(train, "--config", CONFIG, "--config.ema=2")[0] == 2
    assert not log.isEnabledFor(logging.ERROR)


def test_train_ends_with_the_next_command(run, capsys):
    assert train.main(["--config", CONFIG, "--tiny", "--workdir", str(run)]) == 0
    said = capsys.readouterr().out
    assert f"next: python -m jaxcert.certify --workdir {run}\n" in said


def test_default_workdirs_of_two_families_and_rows_are_apart():
    files = ["configs/lot/digits.py", "configs/sortnet/digits.py"]
    files += [f"{CONFIG}:0.25", f"{CONFIG}:gaussian,0.25", "configs/quickstart.py"]
    names = [configs.system_name(file) for file in files]
    assert names[:2] == ["lot_digits", "sortnet_digits"]
    assert names[2:] == [
        "smoothing_digits_0.25",
        "smoothing_digits_gaussian_0.25",
        "quickstart",
    ]
