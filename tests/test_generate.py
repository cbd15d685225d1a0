"""Sampling an EDM into shards: what is written, by whom, and after an interruption."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys

import jax
import numpy as np
import pytest
from refusals import names

from jaxcert import config as configs
from jaxcert import generate, image_generation
from jaxcert.data import write
from jaxcert.data.generated import open_generated
from jaxcert.diffusion import edm as edm_levels
from jaxcert.diffusion import sampler
from jaxcert.errors import InputError
from jaxcert.workdirs import networks
from jaxcert.workdirs.checkpoint import Checkpoints
from jaxcert.workdirs.networks import open_edm

SAMPLER = dict(steps=3, sigma_max=5.0)


def workdir(path, config, **model):
    """A workdir of a network with its first weights."""
    config.model.update(model)
    network = configs.build("models", config.model)
    params, state = network.init(jax.random.key(1))
    path.mkdir()
    configs.save(config, path / "config.json")
    with Checkpoints(path) as checkpoints:
        checkpoints.save_evaluation(params, state)
    return path


def tiny(name):
    return configs.tiny(configs.load(f"configs/{name}"))


@pytest.fixture(scope="module")
def edm(tmp_path_factory):
    return workdir(tmp_path_factory.mktemp("edm") / "run", tiny("edm/digits.py"))


def test_images_are_balanced_and_do_not_depend_on_the_batch(edm, tmp_path):
    a, b = tmp_path / "a", tmp_path / "b"
    assert image_generation.generate(edm, a, count=33, batch=8, **SAMPLER) == 33
    assert image_generation.generate(edm, b, count=33, batch=33, **SAMPLER) == 33
    one, other = open_generated(a), open_generated(b)
    np.testing.assert_array_equal(one.label, np.arange(33) % 10)
    np.testing.assert_array_equal(one.label, other.label)
    assert one.image.shape == (33, 8, 8, 1) and one.num_classes == 10
    image = np.asarray(one.image)
    difference = np.abs(image.astype(int) - np.asarray(other.image))
    assert difference.max() <= 1  # of 255: rounding
    assert len(np.unique(image.reshape(33, -1), axis=0)) == 33
    header = write.read_header(a)
    assert header["request"]["seed"] == 0 and header["request"]["steps"] == 3
    assert len(header["request"]["edm"]) >= 16
    before = [os.stat(p).st_mtime_ns for p in sorted(a.iterdir())]
    assert image_generation.generate(edm, a, count=33, batch=8, **SAMPLER) == 33
    assert before == [os.stat(p).st_mtime_ns for p in sorted(a.iterdir())]


def test_churn_and_seed_make_other_images(edm, tmp_path):
    plain, churned, seeded = tmp_path / "p", tmp_path / "c", tmp_path / "s"
    image_generation.generate(edm, plain, count=8, **SAMPLER)
    image_generation.generate(
        edm, churned, count=8, churn=(1.0, 0.0, 9.0, 1.0), **SAMPLER
    )
    image_generation.generate(edm, seeded, count=8, seed=1, **SAMPLER)
    images = [np.asarray(open_generated(p).image) for p in (plain, churned, seeded)]
    assert not np.array_equal(images[0], images[1])
    assert not np.array_equal(images[0], images[2])


def test_churn_draws_new_noise_from_the_image_s_key_at_every_step(edm):
    network, _ = open_edm(edm, _mesh())
    levels, churn = (
        edm_levels.schedule(3, sigma_max=5.0),
        sampler.Churn(2.0, 0.0, 9.0, 1.0),
    )
    sample = image_generation.compiled(network, levels, churn, _mesh())
    key, number = jax.random.key(5), np.arange(4)
    label = np.arange(4, dtype=np.int32)
    keys = [jax.random.fold_in(key, i) for i in number]
    draws = [
        np.stack(
            [jax.random.normal(jax.random.fold_in(k, at), (8, 8, 1)) for k in keys]
        )
        for at in range(4)
    ]

    def denoise(x, sigma):
        sigma = np.full(4, 1.0, np.float32) * sigma
        return network.model.apply(
            network.params, network.state, x, sigma=sigma, label=label
        )[0]

    noise = np.stack(draws[1:])
    image = sampler.heun(
        denoise,
        draws[0],
        levels,
        churn=churn,
        noise=lambda t: jax.numpy.asarray(noise)[t],
    )
    expected = np.clip(np.asarray(image) * 127.5 + 128, 0, 255).astype(int)
    found = np.asarray(sample(key, number, label)).astype(int)
    assert np.abs(found - expected).max() <= 1
    assert np.abs(expected - expected[:1]).max() > 50


_KILLED = """
import os, signal, sys
from jaxcert import image_generation as generate
from jaxcert.data import write

generate.PER_SHARD = 64
append = write.Writer.append

def dying(self, image, label):
    append(self, image, label)
    if self.written >= 128:
        os.kill(os.getpid(), signal.SIGKILL)

if "die" in sys.argv:
    write.Writer.append = dying
count = generate.generate(sys.argv[1], sys.argv[2], count=300, batch=50, steps=3, sigma_max=5.0)
"""


def test_a_killed_run_continues_without_duplicate_or_gap(edm, tmp_path):
    def run(out, *more):
        command = [sys.executable, "-c", _KILLED, edm, out, *more]
        return subprocess.run(command, timeout=200).returncode

    killed, whole = tmp_path / "killed", tmp_path / "whole"
    assert run(killed, "die") == -signal.SIGKILL
    with pytest.raises(InputError, match=names("killed", "finished")):
        open_generated(killed)
    shards = write.shards(killed, write.read_header(killed))
    before = {p: os.stat(p).st_mtime_ns for p in shards}
    assert 2 <= len(before) < 4
    assert run(killed) == run(whole) == 0
    assert all(os.stat(p).st_mtime_ns == t for p, t in before.items())
    a, b = (open_generated(p) for p in (killed, whole))
    np.testing.assert_array_equal(a.label, b.label)
    assert np.abs(np.asarray(a.image, int) - np.asarray(b.image)).max() <= 1


def test_without_a_class_a_classifier_labels(edm, tmp_path):
    classifier = workdir(tmp_path / "run", tiny("smoothing/digits.py"))
    out = tmp_path / "out"
    image_generation.generate(edm, out, count=20, classifier=classifier, **SAMPLER)
    source = open_generated(out)
    assert write.read_header(out)["request"]["labels"].startswith("classifier ")
    labels, classes, _ = networks.predictor(classifier, (8, 8, 1), _mesh())
    assert classes == 10
    np.testing.assert_array_equal(source.label, labels(np.asarray(source.image)))


def _mesh():
    from jaxcert import sharding

    return sharding.local_mesh()


def test_what_cannot_be_generated_is_one_sentence(edm, tmp_path):
    def refused(fault, source=edm, out=tmp_path / "out", **settings):
        settings = dict(count=5) | SAMPLER | settings
        with pytest.raises(InputError, match=fault):
            image_generation.generate(source, out, **settings)

    classifier = workdir(tmp_path / "cls", tiny("smoothing/digits.py"))
    always = workdir(tmp_path / "always", tiny("edm/digits.py"), label_dropout=0.0)
    never = workdir(tmp_path / "never", tiny("edm/digits.py"), num_classes=0)
    refused(names("cls", "classifier", "EDM"), classifier)
    refused(names("label_dropout 0", "--classifier"), always, classifier=classifier)
    refused(names("EDM", "classes"), never)
    refused(names("run", "classifier", "(8, 8, 1)"), classifier=edm)
    refused(names("nowhere", "workdir"), tmp_path / "nowhere")
    refused(names("--count", 0), count=0)
    refused(names("--seed", -1), seed=-1)
    refused(names("steps", 1), steps=1)
    refused(names("S_churn", -1.0), churn=(-1.0, 0.0, 1.0, 1.0))
    image_generation.generate(edm, tmp_path / "out", count=5, **SAMPLER)
    refused(names("seed", 0, 1, "--out"), seed=1)
    refused(names("count", 5, 6, "--out"), count=6)


def test_a_full_disk_keeps_the_whole_shards(edm, tmp_path, monkeypatch):
    monkeypatch.setattr(image_generation, "PER_SHARD", 64)
    part = tmp_path / "shard-00001.part"
    part.symlink_to("/dev/full")
    settings = dict(count=150, batch=50, **SAMPLER)
    with pytest.raises(OSError, match=f"Errno {errno.ENOSPC}"):
        image_generation.generate(edm, tmp_path, **settings)
    assert len(write.shards(tmp_path, write.read_header(tmp_path))) == 1
    part.unlink()
    assert image_generation.generate(edm, tmp_path, **settings) == 150


def test_help_and_the_sentence_at_the_end(edm, tmp_path, capsys):
    with pytest.raises(SystemExit) as caught:
        generate.main(["--help"])
    assert caught.value.code == 0 and "Classes are balanced" in capsys.readouterr().out
    out = str(tmp_path / "out")
    generate.main(["--workdir", str(edm), "--out", out, "--count", "7", "--steps", "2"])
    assert capsys.readouterr().out == f"{out} holds 7 images.\n"
    assert json.loads((tmp_path / "out" / write.HEADER).read_text())["done"]
