"""The images of a config, and those that are held out of training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from refusals import names

from jaxcert import config as configs
from jaxcert.data import opened, sources
from jaxcert.errors import InputError

QUICKSTART = str(Path(__file__).parents[2] / "configs" / "quickstart.py")


def small(**data):
    config = configs.tiny(configs.load(QUICKSTART))
    config.data.update(data)
    return config


@pytest.mark.parametrize("holdout,count", [(0.1, 100), (0.001, 1), (999, 999), (1, 1)])
def test_held_out_are_as_many_as_asked_for(holdout, count):
    kept_out = opened.held_out(1000, holdout)
    assert len(kept_out) == count
    assert np.all(np.diff(kept_out) > 0) and 0 <= kept_out[0] <= kept_out[-1] < 1000


def test_fewer_held_out_images_are_among_more():
    few, many = opened.held_out(1000, 50), opened.held_out(1000, 0.2)
    assert len(few) == 50 and len(many) == 200 and set(few) < set(many)


@pytest.mark.parametrize(
    "holdout,words",
    [
        (-0.1, names("data.holdout", -0.1)),
        (1.5, names("data.holdout", 1.5)),
        (float("nan"), names("data.holdout", "nan")),
        (float("inf"), names("data.holdout", "inf")),
        (0.0004, names("data.holdout", 0.0004, "0 of 1,000")),
        (1000, names("data.holdout", 1000, "1,000 of 1,000")),
        (0.9999, names("data.holdout", 0.9999, "1,000 of 1,000")),
        (2000, names("data.holdout", 2000, "2,000 of 1,000")),
    ],
)
def test_holdout_that_is_none_is_refused(holdout, words):
    with pytest.raises(InputError, match=words):
        opened.held_out(1000, holdout)


def test_nothing_held_out_is_the_whole_set():
    assert len(opened.held_out(1000, 0)) == 0
    data = opened.open(small())
    assert data.images.keys() == {"train"} and data.run.data_size == 1000


def test_training_never_sees_what_is_held_out():
    """Both parts together are the training set; the seed of the run does not matter."""
    whole = sources.open("digits", "train")
    config = small(holdout=0.25, batch=50, epoch_images=0, epochs=2)
    data = opened.open(config, ["test"])
    assert data.run.data_size == 750 and data.run.steps_per_epoch == 15
    assert len(data.images["test"].label) == 797
    place = opened.held_out(1000, 0.25)
    part = data.images["holdout"]
    np.testing.assert_array_equal(part.image, whole.image[place])
    np.testing.assert_array_equal(part.label, whole.label[place])
    rest = np.delete(np.arange(1000), place)
    np.testing.assert_array_equal(data.images["train"].image, whole.image[rest])
    config.seed = 7
    again = opened.open(config).images["holdout"]
    np.testing.assert_array_equal(again.image, part.image)


def test_held_out_images_of_a_file_are_not_read(tmp_path):
    """They stay where they are, as the others do."""
    image = np.arange(40 * 4, dtype=np.uint8).reshape(40, 2, 2, 1)
    for split in ("train", "test"):
        np.save(tmp_path / f"{split}_image.npy", image)
        np.save(tmp_path / f"{split}_label.npy", np.arange(40) % 10)
    config = small(name=f"npy:{tmp_path}", holdout=10, batch=5)
    data = opened.open(config)
    part = data.images["holdout"]
    assert type(part.image) is not np.ndarray and part.image.shape == (10, 2, 2, 1)
    place = opened.held_out(40, 10)
    np.testing.assert_array_equal(part.image[np.array([0, 9])], image[place[[0, 9]]])


def test_batch_above_the_images_is_refused():
    opened.open(small(batch=1000))
    for change, there in ((dict(batch=1001), "1,000"), (dict(holdout=0.5), "500")):
        with pytest.raises(InputError, match=names("data.batch", there)):
            opened.open(small(**(dict(batch=501) | change)))


def test_steps_that_cannot_be_counted_are_refused():
    config = small(batch=1000, epochs=2**31 - 1, epoch_images=1000)
    assert opened.open(config).run.total_steps == 2**31 - 1
    config.data.epochs += 1
    with pytest.raises(
        InputError,
        match=names("data.epochs", "data.epoch_images", "2,147,483,648", "2**31 - 1"),
    ):
        opened.open(config)
