from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np
import pytest
from refusals import names

from jaxcert.data import sources
from jaxcert.errors import InputError

tfds = pytest.importorskip("tensorflow_datasets")


class TinyPictures(tfds.core.GeneratorBasedBuilder):
    """Twenty training and seven test pictures whose grey level is their number."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        features = tfds.features.FeaturesDict(
            {
                "image": tfds.features.Tensor(shape=(4, 4, 1), dtype=np.uint8),
                "label": tfds.features.ClassLabel(num_classes=3),
            }
        )
        return tfds.core.DatasetInfo(builder=self, features=features)

    def _split_generators(self, dl_manager):
        return {
            "train": self._generate_examples(20),
            "test": self._generate_examples(7),
        }

    def _generate_examples(self, count):
        for i in range(count):
            yield i, {"image": np.full((4, 4, 1), i, np.uint8), "label": i % 3}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tfds")
    TinyPictures(data_dir=folder, file_format="array_record").download_and_prepare()
    return str(folder)


def test_a_prepared_data_set_is_read_without_tensorflow(prepared):
    for split, size in (("train", 20), ("test", 7)):
        source = sources.open("tfds:tiny_pictures", split, dir=prepared)
        assert source.image.shape == (size, 4, 4, 1) and source.image.dtype == np.uint8
        number = source.image[:, 0, 0, 0]
        np.testing.assert_array_equal(np.sort(number), np.arange(size))
        np.testing.assert_array_equal(source.label, number % 3)
        assert source.num_classes == 3
    assert "tensorflow" not in sys.modules


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("cifar10", names("cifar10", "array_record")),
        ("no_such_pictures", names("no_such_pictures", "--config.data.dir")),
        ("tiny_pictures:large", names("tiny_pictures/large", "--config.data.dir")),
    ],
)
def test_what_is_not_there_is_one_sentence(prepared, name, fault):
    with pytest.raises(InputError, match=fault):
        sources.open(f"tfds:{name}", "train", dir=prepared)


def test_without_tensorflow_datasets_the_extra_is_named(prepared, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(InputError, match=names("tensorflow-datasets", "jaxcert[tfds]")):
        sources.open("tfds:tiny_pictures", "train", dir=prepared)


class Records(list):
    def __getitems__(self, rows):
        return [self[row] for row in rows]


def picture(side, label=0):
    return {"image": np.full((side, side, 1), 9, np.uint8), "label": label}


CLASSES = tfds.features.ClassLabel(num_classes=3)
SETS = {  # features, what there is by split, words
    "no class": (
        {"image": None, "objects": None},
        {"train": [picture(4)]},
        names("image, objects", "`image`", "`label`"),
    ),
    "sizes": (
        {"image": None, "label": CLASSES},
        {"train": [picture(4), picture(5)]},
        names("(5, 5, 1)", "(4, 4, 1)"),
    ),
    "splits": (
        {"image": None, "label": CLASSES},
        {"validation": [picture(4)]},
        names("train", "validation"),
    ),
}


@pytest.mark.parametrize("features,records,words", SETS.values(), ids=SETS)
def test_a_data_set_of_another_kind(prepared, monkeypatch, features, records, words):
    """And the one that is advised, with labelled images of one size."""

    def as_data_source(split):
        if split not in records:
            raise ValueError
        return Records(records[split])

    info = SimpleNamespace(features=features, splits=records)
    builder = SimpleNamespace(as_data_source=as_data_source, info=info)
    with monkeypatch.context() as patch:
        patch.setattr(tfds, "builder", lambda name, data_dir: builder)
        with pytest.raises(InputError, match=words):
            sources.open("tfds:x", "train")
        features, records = {"image": None, "label": CLASSES}, {"train": [picture(4)]}
        info.features = features
        assert sources.open("tfds:x", "train").num_classes == 3
    assert sources.open("tfds:tiny_pictures", "train", dir=prepared).num_classes == 3


def test_a_prepared_data_set_is_found_where_its_folder_is_given(prepared, tmp_path):
    """`give its folder by --config.data.dir`, `check the name and --config.data.dir`."""
    name = "tfds:tiny_pictures"
    with pytest.raises(
        InputError, match=names("tiny_pictures", "array_record", "--config.data.dir")
    ):
        sources.open(name, "train", dir=str(tmp_path))
    with pytest.raises(InputError, match=names("tiny_picturesx", "--config.data.dir")):
        sources.open(f"{name}x", "train", dir=prepared)
    assert len(sources.open(name, "train", dir=prepared).label) == 20
