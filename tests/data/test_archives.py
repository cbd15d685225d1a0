from __future__ import annotations

import gzip
import io
import pickle
import struct
import tarfile
import warnings

import numpy as np
import pytest
from refusals import names

from jaxcert.data import archives, sources
from jaxcert.errors import InputError

pytestmark = pytest.mark.filterwarnings("ignore:.*differs from the published file")

RNG = np.random.default_rng(0)
PER_FILE = 4


@pytest.fixture(autouse=True)
def small_archives(monkeypatch):
    monkeypatch.setattr(archives, "_SIZES", {"train": 5 * PER_FILE, "test": PER_FILE})
    monkeypatch.setattr(archives, "_MNIST_SIZES", {"train": 3, "test": 3})


def _cifar10(seed=0):
    """Files of the binary version, and the images and labels of the training set."""
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (6 * PER_FILE, 32, 32, 3), dtype=np.uint8)
    label = rng.integers(0, 10, 6 * PER_FILE).astype(np.uint8)
    names = [f"data_batch_{i}.bin" for i in range(1, 6)] + ["test_batch.bin"]
    flat = image.transpose(0, 3, 1, 2).reshape(len(image), -1)
    records = np.concatenate([label[:, None], flat], 1)
    parts = np.split(records, 6)
    files = {n: part.tobytes() for n, part in zip(names, parts, strict=True)}
    return files, image, label


def _tar(path, folder, files):
    with tarfile.open(path, "w:gz") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(f"{folder}/{name}")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def _check(source, image, label):
    np.testing.assert_array_equal(source.image, image)
    np.testing.assert_array_equal(source.label, label)


@pytest.mark.parametrize(
    "place", ["archive", "sub-folder", "archive itself", "unpacked", "unpacked itself"]
)
def test_cifar10_is_found_packed_and_unpacked(tmp_path, place):
    files, image, label = _cifar10()
    where = tmp_path
    if "archive" in place or place == "sub-folder":
        folder = tmp_path / "cifar10" if place == "sub-folder" else tmp_path
        folder.mkdir(exist_ok=True)
        _tar(folder / "cifar-10-binary.tar.gz", "cifar-10-batches-bin", files)
        if place == "archive itself":
            where = folder / "cifar-10-binary.tar.gz"
    else:
        folder = tmp_path / "cifar-10-batches-bin"
        folder.mkdir()
        for name, data in files.items():
            (folder / name).write_bytes(data)
        where = folder if place == "unpacked itself" else tmp_path
    n = 5 * PER_FILE
    train, test = (
        sources.open("cifar10", split, dir=str(where)) for split in ("train", "test")
    )
    _check(train, image[:n], label[:n])
    _check(test, image[n:], label[n:])
    assert train.num_classes == 10 == len(test.class_names)


def _python_batch(image, label, key):
    flat = np.ascontiguousarray(image.transpose(0, 3, 1, 2).reshape(len(image), -1))
    return pickle.dumps(
        {b"data": flat, key: label.tolist(), b"x": [b"a.png"]}, protocol=2
    )


def test_pickled_versions_give_the_same_arrays(tmp_path):
    _, image, label = _cifar10()
    names = [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]
    files = {
        name: _python_batch(x, y, b"labels")
        for name, x, y in zip(
            names, np.split(image, 6), np.split(label, 6), strict=True
        )
    }
    _tar(tmp_path / "cifar-10-python.tar.gz", "cifar-10-batches-py", files)
    n = 5 * PER_FILE
    _check(sources.open("cifar10", "train", dir=str(tmp_path)), image[:n], label[:n])


def test_cifar100_takes_fine_labels_in_both_versions(tmp_path):
    n = 5 * PER_FILE
    image = RNG.integers(0, 256, (n, 32, 32, 3), dtype=np.uint8)
    fine = RNG.integers(0, 100, n).astype(np.uint8)
    flat = image.transpose(0, 3, 1, 2).reshape(n, -1)
    records = np.concatenate([fine[:, None] // 5, fine[:, None], flat], 1)
    binary, pickled = tmp_path / "a" / "cifar-100-binary", tmp_path / "b"
    binary.mkdir(parents=True)
    pickled.mkdir()
    (binary / "train.bin").write_bytes(records.tobytes())
    files = {"train": _python_batch(image, fine, b"fine_labels")}
    _tar(pickled / "cifar-100-python.tar.gz", "cifar-100-python", files)
    for folder in (tmp_path / "a", pickled):
        source = sources.open("cifar100", "train", dir=str(folder))
        _check(source, image, fine)
        assert source.num_classes == 100


class _Evil:
    def __reduce__(self):
        return print, ("code ran",)


def test_a_pickle_cannot_run_code(tmp_path, capsys):
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    for name in [f"data_batch_{i}" for i in range(1, 6)]:
        (folder / name).write_bytes(pickle.dumps({b"data": _Evil()}, protocol=2))
    with pytest.raises(InputError, match=names("data_batch_1", "cifar10")):
        sources.open("cifar10", "train", dir=str(tmp_path))
    assert "code ran" not in capsys.readouterr().out


def test_another_md5_is_a_warning_and_the_right_one_is_none(tmp_path, monkeypatch):
    files, *_ = _cifar10()
    _tar(tmp_path / "cifar-10-binary.tar.gz", "cifar-10-batches-bin", files)
    with pytest.warns(UserWarning, match=r"\btest_batch\.bin\b"):
        sources.open("cifar10", "test", dir=str(tmp_path))
    kind = archives._CIFAR["cifar10"][0]
    md5 = archives.hashlib.md5(files["test_batch.bin"]).hexdigest()
    good = kind._replace(test={"test_batch.bin": md5})
    monkeypatch.setitem(archives._CIFAR, "cifar10", (good,))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sources.open("cifar10", "test", dir=str(tmp_path))


def _refused(name, folder, fault, split="train"):
    with pytest.raises(InputError, match=fault):
        sources.open(name, split, dir=str(folder), download=False)


def test_damaged_cifar_archives_are_one_sentence(tmp_path):
    path = tmp_path / "cifar-10-binary.tar.gz"
    folder = "cifar-10-batches-bin"
    files, *_ = _cifar10()
    _tar(path, folder, files)
    whole = path.read_bytes()
    for size in (0, 100, len(whole) // 2, len(whole) * 3 // 4):
        path.write_bytes(whole[:size])
        _refused("cifar10", tmp_path, names("cifar-10-binary.tar.gz", "cut off"))
    one_less = dict(list(files.items())[1:])
    _tar(path, folder, one_less)
    _refused("cifar10", tmp_path, names("cifar-10-binary.tar.gz", "data_batch_1.bin"))
    _tar(path, folder, files | {"data_batch_3.bin": files["data_batch_3.bin"][:-5]})
    _refused("cifar10", tmp_path, "no whole number of records")
    _tar(path, folder, files | {"data_batch_3.bin": files["data_batch_3.bin"][:-3073]})
    _refused("cifar10", tmp_path, names(19, "train", 20))
    bad = b"\x0a" + files["data_batch_3.bin"][1:]
    _tar(path, folder, files | {"data_batch_3.bin": bad})
    _refused("cifar10", tmp_path, names("label", 10, "0..9"))


def test_one_flipped_bit_of_an_archive_is_noticed(tmp_path):
    path = tmp_path / "cifar-10-binary.tar.gz"
    files, *_ = _cifar10()
    _tar(path, "cifar-10-batches-bin", files)
    whole = path.read_bytes()
    for place in np.linspace(50, len(whole) - 1, 40).astype(int):  # behind the name
        damaged = bytearray(whole)
        damaged[place] ^= 4
        path.write_bytes(damaged)
        for split in ("train", "test"):
            _refused("cifar10", tmp_path, "cut off or damaged", split)


def _cifar10_c(folder, corruptions=("fog", "jpeg_compression")):
    """Files of CIFAR-10-C, and the images of the first corruption and their labels."""
    folder.mkdir(parents=True, exist_ok=True)
    size = 5 * PER_FILE
    image = RNG.integers(0, 256, (len(corruptions), size, 32, 32, 3), dtype=np.uint8)
    label = np.tile(RNG.integers(0, 10, PER_FILE), 5).astype(np.uint8)
    for name, one in zip(corruptions, image, strict=True):
        np.save(folder / f"{name}.npy", one)
    np.save(folder / "labels.npy", label)
    return image[0], label


@pytest.mark.parametrize("place", ["", "CIFAR-10-C"])
def test_cifar10_c_has_five_severities_one_after_the_other(tmp_path, place):
    image, label = _cifar10_c(tmp_path / place)
    _check(sources.open("cifar10_c:fog", "test", dir=str(tmp_path)), image, label)
    for level in range(1, 6):
        part = slice((level - 1) * PER_FILE, level * PER_FILE)
        source = sources.open(f"cifar10_c:fog:{level}", "test", dir=str(tmp_path))
        _check(source, image[part], label[part])
        assert source.num_classes == 10


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("rain", names("rain", "fog, jpeg_compression")),
        ("labels", names("labels", "fog")),
        ("../fog", names("fog")),
        ("fog:6", names("6", "1 to 5")),
        ("fog:0", names("0", "1 to 5")),
        ("fog:hard", names("hard", "1 to 5")),
    ],
)
def test_what_cifar10_c_has_not_is_refused(tmp_path, name, words):
    _cifar10_c(tmp_path)
    with pytest.raises(InputError, match=words):
        sources.open(f"cifar10_c:{name}", "test", dir=str(tmp_path))


def test_a_part_of_cifar10_c_is_no_whole_one(tmp_path):
    image, label = _cifar10_c(tmp_path)
    np.save(tmp_path / "fog.npy", image[:-1])
    with pytest.raises(InputError, match=names("fog.npy")):
        sources.open("cifar10_c:fog:1", "test", dir=str(tmp_path))
    np.save(tmp_path / "fog.npy", image)
    np.save(tmp_path / "labels.npy", label + 10)
    with pytest.raises(InputError, match=names("labels.npy")):
        sources.open("cifar10_c:fog:1", "test", dir=str(tmp_path))


def test_missing_data_names_the_folder_and_the_file(tmp_path, monkeypatch):
    _refused("cifar10", tmp_path, names("cifar10", tmp_path, "cifar-10-binary.tar.gz"))
    _refused("mnist", tmp_path, names("mnist", tmp_path, "train-images-idx3-ubyte.gz"))
    _refused("cifar10_c:fog", tmp_path, names("CIFAR-10-C", tmp_path), "test")
    with pytest.raises(InputError, match=names("none", "--config.data.dir")):
        sources.open("mnist", "train", dir=str(tmp_path / "none"), download=True)
    monkeypatch.setenv("JAXCERT_DATA", str(tmp_path / "from environment"))
    _refused("cifar100", "", "from environment")


def _idx(array):
    header = struct.pack(f">I{array.ndim}I", 0x0800 + array.ndim, *array.shape)
    return header + array.tobytes()


def _mnist(folder, image, label, stem="t10k", pack=True):
    for name, array in (("images-idx3", image), ("labels-idx1", label)):
        data = _idx(array)
        path = folder / f"{stem}-{name}-ubyte{'.gz' if pack else ''}"
        path.write_bytes(gzip.compress(data) if pack else data)


@pytest.mark.parametrize("pack", [True, False])
@pytest.mark.parametrize("place", ["", "mnist", "MNIST/raw"])
def test_mnist_is_found_packed_and_unpacked(tmp_path, pack, place):
    image = RNG.integers(0, 256, (3, 28, 28), dtype=np.uint8)
    label = np.array([7, 0, 9], np.uint8)
    folder = tmp_path / place
    folder.mkdir(parents=True, exist_ok=True)
    _mnist(folder, image, label, pack=pack)
    source = sources.open("mnist", "test", dir=str(tmp_path), pad=32)
    _check(source, np.pad(image, [(0, 0), (2, 2), (2, 2)])[..., None], label)


def test_damaged_mnist_files_are_one_sentence(tmp_path):
    image, label = np.zeros((3, 28, 28), np.uint8), np.array([1, 2, 3], np.uint8)

    def refused(fault):
        _refused("mnist", tmp_path, fault, split="test")

    _mnist(tmp_path, image, np.array([1, 2, 11], np.uint8))
    refused("the label 11")
    _mnist(tmp_path, image[:2], label)
    refused("not 3 of 28 x 28")
    _mnist(tmp_path, image, label)
    path = tmp_path / "t10k-images-idx3-ubyte.gz"
    whole = path.read_bytes()
    path.write_bytes(whole[:-12])
    refused("cut off")
    path.write_bytes(gzip.compress(_idx(image)[:-1]))
    refused("cut off")
    path.write_bytes(gzip.compress(b"\0\0"))
    refused("no idx file")
    path.write_bytes(b"")
    refused("no idx file")
