"""Images without labels: opened to be certified, refused where classes are needed."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from refusals import names

from jaxcert.certificate import NO_LABEL
from jaxcert.config import ConfigDict
from jaxcert.data import sources
from jaxcert.errors import InputError

IMAGE = np.random.default_rng(0).integers(0, 256, (5, 4, 6, 3), dtype=np.uint8)
SHAPE = (4, 6, 3)


def npz(folder):
    np.savez(folder / "test.npz", image=IMAGE)
    return f"npz:{folder}"


def npz_beside_training(folder):
    np.savez(folder / "train.npz", image=IMAGE, label=np.arange(5))
    return npz(folder)


def npy(folder):
    np.save(folder / "test_image.npy", IMAGE)
    return f"npy:{folder}"


def pictures(place):
    place.mkdir(parents=True, exist_ok=True)
    for i, image in enumerate(IMAGE):
        Image.fromarray(image).save(place / f"{i}.png")


def in_test(folder):
    pictures(folder / "test")
    return f"folder:{folder}"


def beside_training(folder):
    pictures(folder / "train" / "cat")
    return in_test(folder)


def in_the_folder_itself(folder):
    pictures(folder)
    (folder / "notes.txt").write_text("of a camera")
    return f"folder:{folder}"


WRITERS = [
    npz,
    npz_beside_training,
    npy,
    in_test,
    beside_training,
    in_the_folder_itself,
]


@pytest.fixture(params=WRITERS, ids=lambda write: write.__name__)
def name(request, tmp_path):
    return request.param(tmp_path)


def test_images_are_there_and_no_class_is(name):
    source = sources.open(name, "test", labels=False)
    np.testing.assert_array_equal(source.image, IMAGE)
    assert (source.label == NO_LABEL).all() and source.label.dtype == np.int32
    assert not source.labelled and "no labels" in repr(source)
    sources.check_model(source, image_shape=SHAPE, num_classes=7, exactly=True)
    with pytest.raises(InputError, match=names("4 x 6 x 3", "6 x 4 x 3")):
        sources.check_model(source, image_shape=(6, 4, 3), num_classes=7)


def test_who_needs_classes_gets_a_sentence(name):
    with pytest.raises(InputError):
        sources.open(name, "test")
    section = dict(name=name, dir="", download=False, resize=(), pad=0)
    with pytest.raises(InputError):
        sources.of(ConfigDict(section), "test")
    assert not sources.of(ConfigDict(section), "test", labels=False).labelled


def test_labels_that_are_there_are_read_all_the_same(tmp_path):
    np.savez(tmp_path / "test.npz", image=IMAGE, label=np.arange(5))
    np.savez(tmp_path / "train.npz", image=IMAGE)
    source = sources.open(f"npz:{tmp_path}", "test", labels=False)
    assert source.label.tolist() == [0, 1, 2, 3, 4] and source.num_classes == 5
    for split in ("train", "test"):
        pictures(tmp_path / split / "cat")
    source = sources.open(f"folder:{tmp_path}", "test", labels=False)
    assert source.labelled and source.num_classes == 1


def test_a_folder_without_a_picture_is_refused(tmp_path):
    (tmp_path / "test").mkdir()
    with pytest.raises(InputError, match="train"):
        sources.open(f"folder:{tmp_path}", "test", labels=False)
