"""Data sets that the package `datasets` opens, by what stands in for it, and by itself where it
is installed."""

from __future__ import annotations

import io
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from refusals import names

from jaxcert.data import sources
from jaxcert.errors import InputError

PIXELS = np.random.default_rng(0).integers(0, 256, (5, 6, 4, 3), dtype=np.uint8)


def picture(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "png")
    return {"bytes": file.getvalue(), "path": None}


PICTURES = [picture(pixels) for pixels in PIXELS]


class Split:
    """Columns, and how they were declared, as a Dataset has them."""

    def __init__(self, columns, features=()):
        self.columns, self.column_names = columns, list(columns)
        self.features = dict.fromkeys(columns) | dict(features)

    def __len__(self):
        return len(next(iter(self.columns.values())))

    def __getitem__(self, name):
        return self.columns[name]

    def select_columns(self, which):
        (name,) = which
        return [{name: value} for value in self.columns[name]]

    def cast_column(self, name, kind):
        assert not kind.decode
        return self


class Declared:
    def __init__(self, decode=True):
        self.decode = decode


@pytest.fixture
def opens(monkeypatch):
    """What `datasets` finds, and how it was asked."""

    def load_dataset(path, config, **how):
        found.asked = (path, config, how)
        if isinstance(found.splits, Exception):
            raise found.splits
        return found.splits

    found = SimpleNamespace(splits={})
    config = lambda **how: how  # noqa: E731
    package = SimpleNamespace(
        load_dataset=load_dataset, Image=Declared, DownloadConfig=config
    )
    monkeypatch.setitem(sys.modules, "datasets", package)
    return found


THREE = SimpleNamespace(num_classes=3)


def test_pictures_and_classes_are_those_of_the_columns(opens):
    for image, label in (("image", "label"), ("img", "fine_label")):
        columns = {image: PICTURES, label: [0, 2, 1, 0, 1], "coarse_label": [0] * 5}
        declared = {image: Declared(), label: THREE}
        opens.splits = {"train": Split(columns, declared), "test": Split(columns)}
        source = sources.open("hf:some/set:small", "train", dir="/cache")
        np.testing.assert_array_equal(source.image, PIXELS)
        assert source.label.tolist() == [0, 2, 1, 0, 1] and source.num_classes == 3
        assert opens.asked == ("some/set", "small", {"cache_dir": "/cache"})
    sources.open("hf:some/set", "train", download=False)
    assert opens.asked[:2] == ("some/set", None)
    assert opens.asked[2]["download_config"] == {"local_files_only": True}


def test_numbers_of_all_splits_say_how_many_classes_there_are(opens):
    train = Split({"image": PICTURES, "label": [0, 1, 2, 3, 4]})
    opens.splits = {
        "train": train,
        "validation": Split({"image": PICTURES, "label": [0] * 5}),
    }
    source = sources.open("hf:x", "test")
    assert source.num_classes == 5 and source.label.tolist() == [0] * 5
    opens.splits["test"] = Split({"image": PICTURES, "label": [1] * 5})
    assert sources.open("hf:x", "test").label.tolist() == [1] * 5


def test_pictures_of_several_sizes_are_resized(opens):
    several = [picture(np.zeros((6 + 3 * i, 5, 3), np.uint8)) for i in range(3)]
    opens.splits = {"train": Split({"image": several, "label": [0, 1, 0]})}
    with pytest.raises(InputError, match=names("--config.data.resize")):
        sources.open("hf:x", "train")
    assert sources.open("hf:x", "train", resize=(4,)).image.shape == (3, 4, 4, 3)


def test_arrays_stand_in_for_pictures(opens):
    grey = [pixels[..., 0].tolist() for pixels in PIXELS]
    opens.splits = {"train": Split({"image": grey, "label": [0] * 5})}
    np.testing.assert_array_equal(sources.open("hf:x", "train").image, PIXELS[..., :1])


@pytest.mark.parametrize(
    "columns", [{"image": PICTURES}, {"image": PICTURES, "label": [-1] * 5}]
)
def test_without_labels_they_can_be_certified(opens, columns):
    opens.splits = {"test": Split(columns)}
    assert not sources.open("hf:x", "test", labels=False).labelled
    with pytest.raises(InputError, match="label"):
        sources.open("hf:x", "test")


REFUSED = {
    "no such split": (
        {"validation": Split({"image": PICTURES})},
        names("x", "train", "validation"),
    ),
    "no image": ({"train": Split({"text": ["a"]})}, names("text", "image or img")),
    "no label": ({"train": Split({"image": PICTURES})}, names("image", "label")),
    "words": (
        {"train": Split({"image": PICTURES, "label": ["a"] * 5})},
        names("x", "labels"),
    ),
    "a path": (
        {"train": Split({"image": [{"bytes": None, "path": "/x"}], "label": [0]})},
        names("image 0", "bytes"),
    ),
    "nothing": ({"train": Split({"image": [], "label": []})}, names("x", "no images")),
    "not there": (FileNotFoundError("no x on the Hub\nmore"), names("x", "Hub")),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_data_set_of_images_is_one_sentence(opens, case):
    opens.splits, words = REFUSED[case]
    with pytest.raises(InputError, match=words) as error:
        sources.open("hf:x", "train")
    assert "\n" not in str(error.value)


def test_the_files_of_a_folder_are_those_of_the_splits(opens, tmp_path):
    """Whatever the folders above are called."""
    folder = tmp_path / "test" / "train"
    for name in ("data/train-1.parquet", "data/train-0.parquet", "data/test.parquet"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    (folder / "data" / "notes.txt").touch()
    columns = {"image": PICTURES, "label": [0] * 5}
    opens.splits = {"train": Split(columns), "test": Split(columns)}
    for name in (folder, f"{folder}:data"):
        sources.open(f"hf:{name}", "test")
        path, config, how = opens.asked
        files = {k: [f.split("/")[-1] for f in v] for k, v in how["data_files"].items()}
        assert (path, config) == ("parquet", None)
        assert files == {
            "train": ["train-0.parquet", "train-1.parquet"],
            "test": ["test.parquet"],
        }
    for name in (tmp_path, f"{folder}:more"):
        with pytest.raises(InputError, match="parquet"):
            sources.open(f"hf:{name}", "test")


def test_without_the_package_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(InputError, match=names("datasets", "jaxcert[hf]")):
        sources.open("hf:x", "train")


def test_a_folder_of_parquet_files_is_read(tmp_path):
    datasets = pytest.importorskip("datasets")
    kind = {"image": datasets.Image(), "label": datasets.ClassLabel(num_classes=4)}
    for split, labels in (("train", [0, 2, 1, 0, 1]), ("test", [1, 1, 0, 2, 0])):
        columns = {"image": PICTURES, "label": labels}
        made = datasets.Dataset.from_dict(columns, features=datasets.Features(kind))
        made.to_parquet(str(tmp_path / f"{split}.parquet"))
    cache = tmp_path / "cache"
    for split, labels in (("train", [0, 2, 1, 0, 1]), ("test", [1, 1, 0, 2, 0])):
        source = sources.open(f"hf:{tmp_path}", split, dir=str(cache))
        np.testing.assert_array_equal(source.image, PIXELS)
        assert source.label.tolist() == labels and source.num_classes == 4
    assert sources.open(f"hf:{tmp_path}", "test", dir=str(cache), download=False)
