"""The parts of the certify command that need no network."""

from __future__ import annotations

import re
import time
from pathlib import Path

import numpy as np
import pytest

from jaxcert import config as configs
from jaxcert.certificates import run as certification
from jaxcert.data import recorded
from jaxcert.data.sources import Source
from jaxcert.errors import InputError
from jaxcert.records import Certificates
from jaxcert.training.loop import train

IMAGE = np.arange(5 * 4, dtype=np.uint8).reshape(5, 2, 2, 1)
SOURCE = Source(IMAGE, np.array([0, 1, 2, 0, 1], np.int32), 3, "mine")


def rows(index, label) -> Certificates:
    size = len(index)
    zeros = np.zeros(size)
    return Certificates(np.array(index), np.array(label), zeros, zeros, zeros, zeros)


def test_rows_of_these_images_pass_in_any_order():
    recorded.check_rows(rows([4, 0, 2], [1, 0, 2]), SOURCE, Path("f"))
    recorded.check_rows(rows(np.arange(0), []), SOURCE, Path("f"))


@pytest.mark.parametrize("index, label", [(1, 2), (5, 1), (5000, 0), (-3, 2)])
def test_row_of_another_image_is_named_with_its_line(index, label):
    sentence = (
        f"f, line 3 is of image {index} with label {label}, .* the 5 of mine: del"
    )
    with pytest.raises(InputError, match=sentence):
        recorded.check_rows(rows([0, index, 7], [0, label, 1]), SOURCE, Path("f"))


def test_digest_tells_labels_and_images_apart():
    other = IMAGE.copy()
    other[4, 1, 1] ^= 1
    sources = [
        SOURCE,
        SOURCE._replace(label=SOURCE.label[::-1]),
        SOURCE._replace(image=other),
    ]
    assert len(set(map(recorded.data_digest, sources))) == 3
    assert recorded.data_digest(SOURCE) == recorded.data_digest(
        SOURCE._replace(image=np.asfortranarray(IMAGE), name="moved")
    )


def test_digest_of_images_that_are_not_in_memory_is_that_of_their_labels():
    class Folder:
        shape = IMAGE.shape

    digest = recorded.data_digest(SOURCE._replace(image=Folder()))
    assert digest != recorded.data_digest(SOURCE)


def test_digest_of_a_test_set_takes_well_below_a_second():
    image = np.zeros((10_000, 32, 32, 3), np.uint8)
    source = Source(image, np.zeros(10_000, np.int32), 1, "zeros")
    began = time.process_time()
    recorded.data_digest(source)
    assert time.process_time() - began < 0.5


def sizes(monkeypatch, seconds, count=1000, largest=100, **how):
    """Of the batches, when the one that starts at i takes seconds(i) per image."""
    clock = [0.0]
    monkeypatch.setattr(certification.time, "monotonic", lambda: clock[0])
    index, found = list(range(count)), []
    for batch in certification.batches(index, largest, **how):
        clock[0] += seconds(batch[0]) * len(batch)
        found.append(batch)
    assert [i for batch in found for i in batch] == index
    return [len(batch) for batch in found]


def test_quick_samples_grow_to_whole_batches(monkeypatch):
    found = sizes(monkeypatch, lambda i: 1e-3, first=1, sampled=True)
    assert found == [1, 2, 4, 8, 16, 32, 64, *[100] * 8, 73]


def test_slow_samples_are_saved_image_by_image(monkeypatch):
    found = sizes(monkeypatch, lambda i: 12.0, first=2, sampled=True)
    assert found == [2] * 500


def test_samples_grow_after_a_slow_start(monkeypatch):
    """The first image waits for the compiler."""
    found = sizes(monkeypatch, lambda i: 60 if i < 1 else 0.1, first=1, sampled=True)
    assert found[:8] == [1, 1, 2, 4, 8, 16, 32, 64] and set(found[8:-1]) == {64}


def test_what_compiles_each_size_has_two_and_a_rest(monkeypatch):
    for seconds in (0.0, 60.0):
        found = sizes(monkeypatch, lambda i, s=seconds: s, first=8, sampled=False)
        assert found == [8, *[100] * 9, 92]


def test_batches_are_never_above_their_limit(monkeypatch):
    for sampled in (False, True):
        found = sizes(
            monkeypatch, lambda i: 0.0, 5, largest=2, first=8, sampled=sampled
        )
        assert found == [2, 2, 1]


def smoothed(**certify_options):
    config = configs.load("configs/smoothing/digits.py:gaussian,0.50")
    config = configs.tiny(config)
    config.certify.update(**certify_options)
    return config


def test_another_sigma_than_in_training_is_warned_of(capsys):
    certification.warn_of_sigma(0.5, 0.5)
    certification.warn_of_sigma(None, 0.5)
    assert capsys.readouterr().err == ""
    certification.warn_of_sigma(0.5, 0.25)
    said = capsys.readouterr().err
    assert re.search(r"\bsigma 0\.5\b.*\bsigma 0\.25\b", said)


@pytest.mark.slow
def test_bfloat16_votes_that_float32_changes_are_recorded(tmp_path, capsys):
    config = smoothed(n0=40, stop=6)
    config.model = dict(
        name="resnet",
        depth=8,
        num_classes=10,
        image_shape=(8, 8, 1),
        width=4,
        mean=(0.3,),
        std=(0.37,),
        dtype="bfloat16",
    )
    train(config, tmp_path)
    c = certification.certify(config, tmp_path)
    assert (
        c.changed.shape == (6,) and (c.changed >= 0).all() and (c.changed <= 40).all()
    )
    assert "plan: radius up to" in capsys.readouterr().err
