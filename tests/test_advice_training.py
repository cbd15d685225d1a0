"""What an error about checkpoints, runs and processes advises works: the fault, its sentence,
the advice followed, no error."""

from __future__ import annotations

import os
import re
import shutil
import socket
import sys
import threading
import tomllib
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from command_line import CONFIG, ROOT
from refusals import names

from jaxcert import cli, errors, sharding, study
from jaxcert import config as configs
from jaxcert.errors import InputError
from jaxcert.interfaces import Model, Network, TrainState
from jaxcert.locks import only_writer
from jaxcert.papers import study as studies
from jaxcert.training import build, evaluation, limits, loop, processes
from jaxcert.training.metrics import MetricWriter
from jaxcert.workdirs import checkpoint
from jaxcert.workdirs.runs import refuse_another

BY = "certified_0.25"


def refused(call, words):
    with pytest.raises(InputError) as caught:
        call()
    said = str(caught.value)
    assert re.search(words, said) and re.fullmatch(r"[^\n]+\.", said), said
    return said


def tiny(*words):
    return cli.parse(["--config", CONFIG, "--tiny", *words], "", needs="config").config


# checkpoints ------------------------------------------------------------------------------


def model(width=3, name="w", dtype=jnp.float32):
    return Model(
        init=lambda key: ({name: jnp.zeros(width, dtype)}, {}),
        apply=None,
        prepare=None,
        num_classes=2,
        image_shape=(1, 1, 1),
    )


THREE = model()


def state_of(step, model=THREE):
    return TrainState(jnp.int32(step), model.init(None)[0], {}, (), (), None)


def saved(workdir, steps=(1, 2), values=(None, None), of=THREE):
    with checkpoint.Checkpoints(workdir, best=BY) as checkpoints:
        for step, value in zip(steps, values, strict=True):
            state = sharding.replicate(state_of(step, of), sharding.data_mesh())
            checkpoints.save(state, state.model_state, value)
    return workdir


def loaded(workdir, of=THREE, best=""):
    mesh = sharding.data_mesh()
    return checkpoint.load_network(of, workdir, mesh=mesh, best=best).step


def restored(workdir, like=THREE):
    mesh = sharding.data_mesh()
    with checkpoint.Checkpoints(workdir) as checkpoints:
        return int(checkpoints.restore(state_of(0, like), mesh).step)


def flip(folder):
    for path in folder.rglob("d/*"):
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 255
        path.write_bytes(data)


def test_no_checkpoint_is_trained_first(tmp_path):
    refused(partial(loaded, tmp_path), "no checkpoints: train into it first")
    (tmp_path / "checkpoints").mkdir()
    refused(partial(loaded, tmp_path), "no finished checkpoint: train into it first")
    assert loaded(saved(tmp_path)) == 2


@pytest.mark.parametrize("reading", [loaded, restored])
def test_a_damaged_checkpoint_is_deleted_where_there_is_another(tmp_path, reading):
    saved(tmp_path)
    flip(tmp_path / "checkpoints" / "2")
    said = refused(partial(reading, tmp_path), "delete it to go on from another one")
    path = Path(re.search(r"checkpoint (\S+) is damaged", said)[1])
    assert path == tmp_path / "checkpoints" / "2"
    shutil.rmtree(path)
    assert reading(tmp_path) == 1


@pytest.mark.parametrize("reading", [loaded, restored])
def test_the_only_checkpoint_is_restored_or_the_run_begun_elsewhere(tmp_path, reading):
    """It is never advised to delete it."""
    saved(tmp_path / "run", steps=[1], values=[None])
    shutil.copytree(tmp_path / "run", tmp_path / "copy")
    flip(tmp_path / "run")
    said = refused(
        partial(reading, tmp_path / "run"), "and there is no other: restore it"
    )
    assert "delete" not in said and "or begin again in another --workdir" in said
    shutil.rmtree(tmp_path / "run")
    (tmp_path / "copy").rename(tmp_path / "run")
    assert reading(tmp_path / "run") == 1
    assert reading(saved(tmp_path / "another")) == 2


def test_what_the_checkpoints_say_is_restored(tmp_path, monkeypatch):
    saved(tmp_path)
    manager = checkpoint.ocp.CheckpointManager

    def broken(*args, **more):
        raise ValueError

    monkeypatch.setattr(checkpoint.ocp, "CheckpointManager", broken)
    refused(partial(loaded, tmp_path), "restore them, or train again into another")
    monkeypatch.setattr(checkpoint.ocp, "CheckpointManager", manager)
    assert loaded(tmp_path) == 2


def test_the_best_of_none_is_the_newest_if_asked_for(tmp_path):
    config = tiny(f"--config.checkpoint.best={BY}")
    opening = partial(loaded, saved(tmp_path / "a"))
    said = refused(
        partial(opening, best=config.checkpoint.best), "train further, or take"
    )
    (option,) = re.findall(r"--config\S+", said)
    config = configs.override(config, [option])
    assert opening(best=config.checkpoint.best) == 2
    saved(tmp_path / "a", steps=[3], values=[0.5])
    assert opening(best=BY) == 3


@pytest.mark.parametrize("other", [model(4), model(name="v"), model(dtype=jnp.int8)])
def test_another_network_is_opened_by_its_own_config(tmp_path, other):
    saved(tmp_path)
    for reading in (loaded, restored):
        refused(partial(reading, tmp_path, other), "use the config it was trained with")
        assert reading(tmp_path, model()) == 2


def test_doubles_are_opened_as_they_were_written(tmp_path):
    double = model(dtype=float)
    with jax.enable_x64(True):
        saved(tmp_path, of=double)
    said = refused(
        partial(restored, tmp_path), "run the command as it was trained, with"
    )
    switch = re.search(r"JAX_ENABLE_X64=(\d)\.$", said)[1]
    with jax.enable_x64(bool(int(switch))):
        assert restored(tmp_path, double) == 2


def test_an_imported_network_is_trained_elsewhere(tmp_path):
    with checkpoint.Checkpoints(tmp_path) as checkpoints:
        checkpoints.save_evaluation(*model().init(None))
    refused(partial(restored, tmp_path), "to continue from: name another --workdir")
    assert restored(saved(tmp_path / "another")) == 2


def test_a_vector_of_the_power_iteration_is_exported_as_well(tmp_path):
    whole = Model(
        init=lambda key: ({"w": jnp.zeros(3)}, {"power": {"v": jnp.ones(2)}}),
        apply=None,
        prepare=None,
        num_classes=2,
        image_shape=(1, 1, 1),
    )
    with checkpoint.Checkpoints(tmp_path / "without") as checkpoints:
        checkpoints.save_evaluation({"w": jnp.zeros(3)}, {})
    said = refused(partial(loaded, tmp_path / "without", whole), "again with it")
    assert "lacks state.power.v" in said
    with checkpoint.Checkpoints(tmp_path / "with") as checkpoints:
        checkpoints.save_evaluation(*whole.init(None))
    assert loaded(tmp_path / "with", whole) == 0


# workdirs ---------------------------------------------------------------------------------


def begun(workdir, config):
    """A workdir whose run of a config has taken steps."""
    (workdir / "checkpoints" / "1").mkdir(parents=True)
    configs.save(config, workdir / "config.json")
    return workdir


def test_a_workdir_of_another_run(tmp_path):
    config, other = tiny(), tiny("--config.optim.lr=0.5")
    run = begun(tmp_path / "run", config)
    refused(partial(refuse_another, run, other), "name another --workdir")
    refuse_another(tmp_path / "another", other)
    refuse_another(run, config)
    # of version 0.1, whose products were all float32
    old = tiny("--config.precision=highest")
    run_of_01 = begun(tmp_path / "run_of_01", old)
    said = refused(
        partial(refuse_another, run_of_01, config),
        r"precision \(highest there, default here\).*, or continue with --config.precision",
    )
    assert said.endswith("as it is there.")
    refuse_another(run_of_01, tiny("--config.precision=highest"))
    path = run / "config.json"
    whole = path.read_bytes()
    for content, words in (
        (None, "restore it or name another --workdir"),
        (whole[:50], "restore it, or train again into another --workdir"),
    ):
        path.unlink() if content is None else path.write_bytes(content)
        refused(partial(refuse_another, run, config), words)
        refuse_another(tmp_path / "another", config)
        path.write_bytes(whole)
        refuse_another(run, config)
    (tmp_path / "none").mkdir()
    refused(partial(configs.read, tmp_path / "none"), "no config.json; train into it")
    assert configs.read(run).optim.lr == config.optim.lr


def test_a_record_in_the_way(tmp_path):
    config = tiny("--config.certify.after_training=True")
    record = tmp_path / "certificates.jsonl"
    record.write_text("{}\n")
    run = SimpleNamespace(run=SimpleNamespace(total_steps=4))
    built = SimpleNamespace(data=run, state=state_of(0))
    checked = partial(loop._check_places, workdir=tmp_path, built=built)
    said = refused(partial(checked, config), "move the file away, or train with")
    option = re.search(r"--config\.certify\.after_training=\w+", said)[0]
    checked(configs.override(config, [option]))
    record.rename(tmp_path / "away.jsonl")
    checked(tiny("--config.certify.after_training=True"))


def test_a_full_disk(tmp_path, monkeypatch):
    free = [10]
    usage = lambda folder: SimpleNamespace(free=free[0] if folder == tmp_path else 99)  # noqa: E731
    monkeypatch.setattr(limits.shutil, "disk_usage", usage)
    checked = partial(limits.check_disk, needed=20)
    refused(partial(checked, tmp_path), "free space or name another place")
    checked(tmp_path / "another")
    free[0] = 20
    checked(tmp_path)


def test_a_larger_place_to_unpack_in(tmp_path, monkeypatch):
    from jaxcert.data import write

    image = np.full((4, 8, 8, 1), 9, np.uint8)
    np.savez_compressed(tmp_path / "a.npz", image=image, label=np.arange(4))
    usage = lambda folder: SimpleNamespace(free=9 if "small" in str(folder) else 9999)  # noqa: E731
    monkeypatch.setattr(write.shutil, "disk_usage", usage)
    convert = partial(write.convert, tmp_path / "a.npz")
    refused(partial(convert, tmp_path / "small"), "name a larger place by --out")
    assert convert(tmp_path / "large") == 4
    whole = (tmp_path / "a.npz").read_bytes()
    middle = len(whole) // 4
    (tmp_path / "a.npz").write_bytes(
        whole[:middle] + bytes([whole[middle] ^ 255]) + whole[middle + 1 :]
    )
    refused(partial(convert, tmp_path / "other"), "damaged or cut off.*: copy it again")
    (tmp_path / "a.npz").write_bytes(whole)
    assert convert(tmp_path / "other") == 4


def test_metrics_that_are_no_text(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b"\xff\n")
    writing = partial(MetricWriter, tmp_path, resume_step=3, per_epoch=2)
    refused(writing, "move it away, the run continues without it")
    path.rename(tmp_path / "away")
    writing().write(4, "train", {"loss": 0.5})


def test_a_folder_that_is_being_written(tmp_path):
    def entered(folder):
        with only_writer(folder, option="--workdir"):
            pass

    with only_writer(tmp_path / "a", option="--workdir"):
        words = "wait for it to end, or name another folder with --workdir"
        refused(partial(entered, tmp_path / "a"), words)
        entered(tmp_path / "b")
    entered(tmp_path / "a")


def test_paths(tmp_path, monkeypatch):
    refused(partial(errors.check_file, "a\0b"), "can be no path: give another")
    errors.check_file(tmp_path / "b", new=True)
    run = tmp_path / "run"
    run.mkdir()
    (run / "x").symlink_to(tmp_path / "outside")
    refused(partial(errors.own_file, run, "x"), "remove the link")
    (run / "x").unlink()
    assert errors.own_file(run, "x") == run / "x"
    known = Path.expanduser

    def expanded(self):
        if "HOME" not in os.environ:
            raise RuntimeError
        return known(self)

    monkeypatch.setattr(Path, "expanduser", expanded)
    monkeypatch.delenv("HOME")
    refused(partial(errors.home, "~/x"), r"or set \$HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert errors.home("~/x") == tmp_path / "x"


# settings of a run ------------------------------------------------------------------------

NUMBERS = [
    (
        "checkpoint.every_epochs=-1",
        names("checkpoint.every_epochs", -1),
        "checkpoint.every_epochs=0",
    ),
    ("eval.every_epochs=-1", names("eval.every_epochs", -1), "eval.every_epochs=0"),
    ("checkpoint.keep=0", names("checkpoint.keep", 0), "checkpoint.keep=1"),
    ("model.depth=20000", "give at most 10,000", "model.depth=10000"),
    ("data.placement=x", names("data.placement", "x"), "data.placement=device"),
    ("eval.images=-1", names("eval.images", -1), "eval.images=0"),
    ("eval.share=2", names("eval.share", 2.0), "eval.share=1"),
    (
        f"checkpoint.best={BY}",
        "set eval.every_epochs",
        f"checkpoint.best={BY} eval.every_epochs=1 data.holdout=0.1",
    ),
    (
        f"eval.every_epochs=1 checkpoint.best={BY}",
        "set data.holdout, such as 0.1",
        f"eval.every_epochs=1 checkpoint.best={BY} data.holdout=0.1",
    ),
    (
        f"eval.every_epochs=1 checkpoint.best={BY}",
        f"or checkpoint.best=test:{BY}",
        f"eval.every_epochs=1 checkpoint.best=test:{BY}",
    ),
    (
        "eval.every_epochs=1 checkpoint.best=x",
        "give one of certified_0, certified_0.25",
        f"eval.every_epochs=1 checkpoint.best={BY} data.holdout=0.1",
    ),
    (
        "eval.every_epochs=1 checkpoint.best=x",
        "with 'test:' before it",
        f"eval.every_epochs=1 checkpoint.best=test:{BY}",
    ),
]


@pytest.mark.parametrize("fault,words,advised", NUMBERS)
def test_numbers_of_a_run(fault, words, advised):
    def checked(text):
        words = [f"--config.{word}" for word in text.split()]
        if "depth" in text:
            words = ["--config.model.name=liresnet", *words]
        config = tiny(*words)
        build._check_numbers(config)
        evaluation._check_numbers(config)

    refused(partial(checked, fault), words)
    checked(advised)


def test_a_start_of_another_shape():
    config = tiny("--config.init=other")
    for other, same in ((model(4), False), (model(name="v"), False), (model(3), True)):
        network = Network(other, *other.init(None))
        checked = partial(build._check_start, config, model(3), network)
        if same:
            checked()
        else:
            refused(checked, "give one of the same config.model")


def test_a_loss_that_is_not_finite(tmp_path):
    """The last checkpoint of the run starts another one, in another workdir."""
    log = object.__new__(loop._Log)
    from jaxcert.training.step import Totals

    fields = {name: 0 for name in Totals._fields}
    totals = Totals(**fields | dict(bad_step=2))
    said = refused(partial(log.write, (3, totals)), "not finite at step 2")
    config = tiny()
    run = begun(tmp_path / "run", config)
    for key, value in (("lr", 0.01), ("clip_norm", 1.0)):
        assert f"optim.{key}" in said and "into another --workdir" in said
        other = tiny(f"--config.optim.{key}={value}")
        refused(partial(refuse_another, run, other), "name another --workdir")
        refuse_another(tmp_path / "another", other)


# studies ----------------------------------------------------------------------------------


def test_studies(tmp_path, monkeypatch):
    edm = str(ROOT / "configs/edm/digits.py")
    said = refused(partial(studies._edm_config, CONFIG, tiny=True), "config of an EDM")
    studies._edm_config(str(ROOT / re.search(r"such as (\S+)\.$", said)[1]), tiny=True)
    (tmp_path / "generated_8").mkdir()
    others = studies._refuse_other_images
    refused(partial(others, tmp_path, 9), "same largest number, or another --workdir")
    others(tmp_path, 8)
    others(tmp_path / "another", 9)

    def ended(*words):
        study.main(
            ["--config", CONFIG, "--tiny", "--workdir", str(tmp_path / "s"), *words]
        )

    monkeypatch.setattr(studies, "study", lambda *a, **k: [])
    monkeypatch.setattr(studies, "make_images", lambda *a, **k: None)
    monkeypatch.setattr(studies, "_check", lambda *a, **k: 0)
    monkeypatch.setattr("jaxcert.training.loop.check", lambda config: 0)
    monkeypatch.setattr("jaxcert.papers.study_report.show", lambda folders: 0)
    image = np.full((9, 8, 8, 1), 9, np.uint8)
    few, more = str(tmp_path / "few.npz"), str(tmp_path / "more.npz")
    np.savez(few, image=image, label=np.arange(9))
    np.savez(more, image=np.concatenate([image, image]), label=np.arange(18) % 9)
    refused(partial(ended, "--lr=1"), "--help lists what there is")
    both = ["--generated", few, "--edm", edm, "--counts", "5"]
    refused(partial(ended, *both), "give one of them")
    ended(*both[:2], *both[4:])
    ended(*both[2:])
    refused(partial(ended, "--generated", few, "--counts", "10"), "or a larger set")
    ended("--generated", few, "--counts", "9")
    ended("--generated", more, "--counts", "10")


# processes --------------------------------------------------------------------------------


@pytest.fixture
def port():
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


def together(*calls):
    """Run each in a thread -> what they raised."""
    raised = []

    def run(call):
        try:
            call()
        except InputError as error:
            raised.append(str(error))

    threads = [threading.Thread(target=run, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return raised


def gathered(address, limit=20):
    return partial(processes.gather, *processes.parse(address), limit=limit)


@pytest.mark.parametrize("number", [0, 1])
def test_a_process_that_waits_is_joined_by_the_others(port, number, capsys):
    """Both are started as the sentence says, the one that stands there and the other."""
    address = f"127.0.0.1:{port},2,{number}"
    said = refused(gathered(address, limit=1), "or wait longer with --distributed-wait")
    (other,) = re.findall(r"--distributed=([\w.:]+,\d+,\w)", said)
    other = re.sub(r",I$", ",1", other)
    assert processes.parse(other)[3] == 1 - number
    assert together(gathered(address), gathered(other)) == []


def test_numbers_ports_and_hosts(port):
    address = f"127.0.0.1:{port},3,"
    twice = [gathered(address + n, limit=2) for n in "011"]
    assert any("give --distributed each number once" in x for x in together(*twice))
    assert together(*(gathered(address + n) for n in "012")) == []
    with socket.create_server(("", 0)) as server:
        taken = f"127.0.0.1:{server.getsockname()[1]}"
        refused(gathered(f"{taken},2,0"), "give --distributed a free port")

        def answer():
            link, _ = server.accept()
            link.recv(64)
            link.sendall(b"HTTP/")
            link.close()

        threading.Thread(target=answer).start()
        refused(gathered(f"{taken},2,1"), "another program .* a free port")
    free = f"127.0.0.1:{port},2,"
    assert together(gathered(free + "0"), gathered(free + "1")) == []
    refused(gathered("no-such-host.invalid:1,2,0"), "correct it")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jax.distributed, "initialize", _no_cluster)
        refused(partial(processes.join, "auto", limit=1), "give HOST:PORT,N,I")
        refused(
            partial(processes.join, "x:1,1,0", limit=0), names("--distributed-wait", 0)
        )
        patch.setattr(jax.distributed, "initialize", lambda *a, **k: None)
        processes.join(f"127.0.0.1:{port},1,0", limit=1)


def _no_cluster(*args, **more):
    raise ValueError


# data sets of TensorFlow ------------------------------------------------------------------


def test_the_extra_of_tensorflow_datasets(monkeypatch):
    from jaxcert.data import sources

    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    said = refused(partial(sources.open, "tfds:mnist", "train"), "pip install")
    (extra,) = re.findall(r"'jaxcert\[(\w+)\]'", said)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    packages = project["optional-dependencies"][extra]
    assert any(package.startswith("tensorflow-datasets") for package in packages)
