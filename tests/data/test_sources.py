from __future__ import annotations

import numpy as np
import pytest
from refusals import names

from jaxcert.data import sources
from jaxcert.errors import InputError

RNG = np.random.default_rng(0)
IMAGE = RNG.integers(0, 256, (6, 4, 4, 3), dtype=np.uint8)
LABEL = np.array([0, 1, 2, 0, 1, 2])


def test_digits_come_with_the_library_in_a_stratified_split():
    train, test = (sources.open("digits", split) for split in ("train", "test"))
    assert train.image.shape == (1000, 8, 8, 1) and test.image.shape == (797, 8, 8, 1)
    assert train.image.dtype == np.uint8 and train.label.dtype == np.int32
    levels = np.round(255 * np.arange(17) / 16)
    assert np.isin(train.image, levels).all() and np.isin(test.image, levels).all()
    part = np.bincount(test.label)
    exact = (part + np.bincount(train.label)) * 797 / 1797
    assert abs(part - exact).max() < 1  # only rounded
    rows = np.concatenate([train.image, test.image]).reshape(1797, 64)
    # Among 1797 scanned digits hardly two are alike: train and test share no image.
    assert len(np.unique(rows, axis=0)) > 1790


def test_padding_puts_the_image_in_the_middle_of_black():
    plain, padded = (sources.open("digits", "test", pad=pad) for pad in (0, 13))
    assert padded.image.shape == (797, 13, 13, 1)
    np.testing.assert_array_equal(padded.image[:, 2:10, 2:10], plain.image)
    assert padded.image.sum(dtype=int) == plain.image.sum(dtype=int)
    with pytest.raises(InputError, match=names("config.data.pad", 7, "8 x 8")):
        sources.open("digits", "test", pad=7)


def _save(kind, folder, image, label):
    """The same two arrays as both splits."""
    for split in ("train", "test"):
        if kind == "npz":
            np.savez(folder / f"{split}.npz", image=image, label=label)
        else:
            np.save(folder / f"{split}_image.npy", image)
            np.save(folder / f"{split}_label.npy", label)


@pytest.mark.parametrize("kind", ["npz", "npy"])
def test_own_arrays_are_mapped(tmp_path, kind):
    _save(kind, tmp_path, IMAGE, LABEL)
    source = sources.open(f"{kind}:{tmp_path}", "train")
    assert isinstance(source.image, np.memmap)
    np.testing.assert_array_equal(source.image, IMAGE)
    np.testing.assert_array_equal(source.label, LABEL)
    assert source.num_classes == 3


@pytest.mark.parametrize("kind", ["npz", "npy"])
def test_both_splits_have_the_same_number_of_classes(tmp_path, kind):
    _save(kind, tmp_path, IMAGE, LABEL)
    if kind == "npz":
        np.savez(tmp_path / "test.npz", image=IMAGE[:1], label=LABEL[:1])
    else:
        np.save(tmp_path / "test_image.npy", IMAGE[:1])
        np.save(tmp_path / "test_label.npy", LABEL[:1])
    assert sources.open(f"{kind}:{tmp_path}", "test").num_classes == 3


def test_fortran_order_and_long_member_names_are_mapped_right(tmp_path):
    _save("npz", tmp_path, np.asfortranarray(IMAGE), LABEL)
    source = sources.open(f"npz:{tmp_path}", "train")
    np.testing.assert_array_equal(source.image, IMAGE)


def test_grey_images_get_a_channel_and_floats_stay_floats(tmp_path):
    grey = RNG.random((6, 4, 4))
    _save("npy", tmp_path, grey, LABEL)
    source = sources.open(f"npy:{tmp_path}", "train")
    assert source.image.dtype == np.float32
    np.testing.assert_array_equal(source.image[..., 0], grey.astype(np.float32))


def _bad_float(value):
    image = np.full((6, 4, 4, 1), 0.5, np.float32)
    image[4, 1, 2, 0] = value
    return image


@pytest.mark.parametrize(
    ("image", "label", "fault"),
    [
        (_bad_float(np.nan), LABEL, names("pixel", "nan", 4)),
        (_bad_float(1.5), LABEL, names("pixel", 1.5, 4)),
        (_bad_float(-0.1), LABEL, names("pixel", -0.10000000149011612, 4)),
        (IMAGE.astype(np.int64), LABEL, names("int64", "uint8")),
        (IMAGE, LABEL - 1, names("label", -1)),
        (IMAGE, LABEL.astype(float), names("float64", "labels")),
        (IMAGE, LABEL[:5], names("6 images", "(5,)")),
        (IMAGE[:, 0, 0], LABEL, names("(6, 3)", "[N,H,W,C]")),
        (IMAGE[:0], LABEL[:0], names("no images")),
    ],
)
@pytest.mark.parametrize("kind", ["npz", "npy"])
def test_bad_arrays_are_one_sentence(tmp_path, kind, image, label, fault):
    _save(kind, tmp_path, image, label)
    with pytest.raises(InputError, match=fault):
        sources.open(f"{kind}:{tmp_path}", "test")


def test_labels_outside_the_classes_are_refused():
    with pytest.raises(InputError, match=names("label", 2, "0..1")):
        sources.checked(IMAGE, LABEL, num_classes=2, name="x")


def test_bad_npz_files_are_one_sentence(tmp_path):
    name, path = f"npz:{tmp_path}", tmp_path / "train.npz"

    def refused(*parts):
        with pytest.raises(InputError, match=names(path.name, *parts)):
            sources.open(name, "train")

    refused("path")
    np.savez(path, images=IMAGE, label=LABEL)
    refused("`image`", "images, label")
    np.savez_compressed(path, image=IMAGE, label=LABEL)
    refused("compressed")
    np.savez(path, image=IMAGE, label=LABEL)
    path.write_bytes(path.read_bytes()[:-40])
    refused("npz", "cut off")
    np.savez(path, image=np.array([{}] * 6, object), label=LABEL, allow_pickle=True)
    refused("damaged", "image.npy")
    np.save(tmp_path / "train_image.npy", IMAGE)
    np.save(tmp_path / "train_label.npy", LABEL)
    name, path = f"npy:{tmp_path}", tmp_path / "train_image.npy"
    path.write_bytes(path.read_bytes()[:-40])
    refused("array", "cut off", "np.save")
    path.unlink()
    refused("train_label.npy")


def _pictures(folder, classes=("cat", "dog"), splits=("train", "test")):
    from PIL import Image

    for split in splits:
        for k, name in enumerate(classes):
            place = folder / split / name
            place.mkdir(parents=True)
            for i in range(2):
                Image.fromarray(IMAGE[2 * k + i]).save(place / f"{i}.png")


def test_pictures_are_numbered_by_the_names_of_their_folders(tmp_path):
    _pictures(tmp_path)
    source = sources.open(f"folder:{tmp_path}", "test")
    np.testing.assert_array_equal(source.image, IMAGE[:4])
    assert source.label.tolist() == [0, 0, 1, 1] and source.num_classes == 2


def test_bad_pictures_are_one_sentence(tmp_path):
    from PIL import Image

    _pictures(tmp_path, splits=("train",))

    def refused(*parts, split="train"):
        with pytest.raises(InputError, match=names(*parts)):
            sources.open(f"folder:{tmp_path}", split)

    refused(tmp_path / "test", "test/<class>/", split="test")
    (tmp_path / "test" / "bird").mkdir(parents=True)
    refused("bird", "class", tmp_path / "train", split="test")
    (tmp_path / "test" / "bird").rmdir()
    refused("no pictures", tmp_path / "test/<class>/", ".png", split="test")
    Image.fromarray(IMAGE[0, :3]).save(tmp_path / "train" / "dog" / "9.png")
    refused("9.png", "(3, 4, 3)", "(4, 4, 3)")
    (tmp_path / "train" / "dog" / "9.png").write_bytes(b"no picture")
    refused("9.png", "no picture")


@pytest.mark.parametrize(
    "name, there_are",
    [
        ("digit", "digits, mnist"),
        ("npz:", "npz:<folder>"),
        ("tfds:", "tfds:<name>"),
        ("npz", "npz:<folder>"),
        ("folder:", "folder:<folder>"),
        ("npz:/nowhere", "train.npz and test.npz"),
        ("folder:/nowhere", "train/<class>/ and test/<class>/"),
    ],
)
def test_unknown_names_are_one_sentence(name, there_are):
    with pytest.raises(InputError, match=names(name, there_are)):
        sources.open(name, "train")


def test_unknown_split_is_one_sentence():
    with pytest.raises(InputError, match=names("split", "validation")):
        sources.open("digits", "validation")


def test_a_model_of_another_shape_or_fewer_classes_is_refused():
    source = sources.open("digits", "test")
    sources.check_model(source, image_shape=(8, 8, 1), num_classes=10)
    with pytest.raises(InputError, match=names("8 x 8 x 1", "32 x 32 x 3")):
        sources.check_model(source, image_shape=(32, 32, 3), num_classes=10)
    with pytest.raises(InputError, match=names("test", "8 x 8 x 1", "4 x 4 x 1")):
        sources.check_model(source, image_shape=(4, 4, 1), num_classes=10, split="test")
    with pytest.raises(
        InputError, match=names("10 classes", 4, "--config.model.num_classes=10")
    ):
        sources.check_model(source, image_shape=(8, 8, 1), num_classes=4)
