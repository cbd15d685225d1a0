from __future__ import annotations

import sys

import numpy as np
import pytest

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
        ("cifar10", "is not prepared as array_record"),
        ("no_such_pictures", "knows no no_such_pictures"),
        ("tiny_pictures:large", "knows no tiny_pictures/large"),
    ],
)
def test_what_is_not_there_is_one_sentence(prepared, name, fault):
    with pytest.raises(InputError, match=f"^[^\\n]*{fault}[^\\n]*\\.$"):
        sources.open(f"tfds:{name}", "train", dir=prepared)


def test_without_tensorflow_datasets_the_extra_is_named(prepared, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(InputError, match=r"pip install 'jaxcert\[tfds\]'"):
        sources.open("tfds:tiny_pictures", "train", dir=prepared)
