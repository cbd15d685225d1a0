"""Images that cannot be used end a command in one sentence, before anything is written."""

from __future__ import annotations

import gzip
import io
import tarfile
from functools import partial

import numpy as np
import pytest
from command_line import CONFIG, assert_words, end
from refusals import names, tells

from jaxcert import convert, train


@pytest.fixture
def ends(capsys):
    return partial(end, capsys)


IMAGE = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 1)).astype(np.uint8)
LABEL = np.arange(40) % 10
DATA = {
    "label below": (dict(label=LABEL - 1), names("label", -1)),
    "label above": (dict(label=LABEL + 1), names("11 classes", 10)),
    "labels that are floats": (dict(label=LABEL / 2), names("float64", "labels")),
    "few labels": (dict(label=LABEL[:5]), names("40 images", "(5,)")),
    "bright": (dict(image=IMAGE / 254), names("pixel", "[0, 1]")),
    "nan": (dict(image=IMAGE * np.nan), names("pixel", "nan", "image 0")),
    "wide integers": (dict(image=IMAGE.astype(int)), names("int64", "uint8")),
    "no images": (dict(image=IMAGE[:0], label=LABEL[:0]), names("no images")),
    "no pixels": (dict(image=IMAGE[:, :0]), names("0 x 8 x 1")),
    "other size": (
        dict(image=IMAGE[:, :4]),
        names("4 x 8 x 1", "8 x 8 x 1"),
    ),
    "no axes": (dict(image=IMAGE[:, 0, 0, 0]), names("(40,)", "[N,H,W,C]")),
}


@pytest.mark.parametrize("changed,words", DATA.values(), ids=DATA)
def test_images_that_cannot_be_used_are_refused(ends, tmp_path, changed, words):
    for split in ("train", "test"):
        np.savez(tmp_path / f"{split}.npz", **dict(image=IMAGE, label=LABEL) | changed)
    status, said = _train_on(ends, tmp_path, f"--config.data.name=npz:{tmp_path}")
    assert status == 2
    assert_words(words, said)


@pytest.mark.parametrize("after_training", [True, False])
def test_test_images_of_another_size_are_refused_before_training(
    ends, tmp_path, after_training
):
    np.savez(tmp_path / "train.npz", image=IMAGE, label=LABEL)
    np.savez(tmp_path / "test.npz", image=IMAGE[:, :4], label=LABEL)
    status, said = _train_on(
        ends,
        tmp_path,
        f"--config.data.name=npz:{tmp_path}",
        f"--config.certify.after_training={after_training}",
    )
    assert status == 2
    assert_words("images of 4 x 8 x 1, the model takes 8 x 8 x 1", said)


def _train_on(ends, tmp_path, *more):
    workdir = tmp_path / "new"
    end = ends(train, "--config", CONFIG, "--tiny", "--workdir", workdir, *more)
    assert not workdir.exists()
    return end


FILES = {
    "other arrays": (
        lambda p: np.savez(p, x=IMAGE),
        names("train.npz", "`image`", "x"),
    ),
    "compressed": (
        lambda p: np.savez_compressed(p, image=IMAGE, label=LABEL),
        "train.npz .*compressed.* (np.savez |jaxcert.convert )",
    ),
    "cut off": (lambda p: p.write_bytes(npz()[:500]), names("train.npz", "cut off")),
    "no zip": (lambda p: p.write_bytes(b"no"), names("train.npz", "npz file")),
}
GENERATED = {
    "empty": (dict(image=IMAGE[:0], label=LABEL[:0]), names("g.npz", "no images")),
    "floats": (dict(image=IMAGE / 255), names("float", "uint8")),
    "other size": (dict(image=IMAGE[:, :4]), names("uint8 4x8x1", "uint8 8x8x1")),
    "more classes": (dict(label=LABEL + 5), names("15 classes", 10)),
}


def npz(**changed):
    file = io.BytesIO()
    np.savez(file, **dict(image=IMAGE, label=LABEL) | changed)
    return file.getvalue()


@pytest.mark.parametrize("write,words", FILES.values(), ids=FILES)
def test_npz_that_cannot_be_read_is_refused(ends, tmp_path, write, words):
    write(tmp_path / "train.npz")
    arguments = (
        f"--config.data.name=npz:{tmp_path}",
        f"--config.data.generated={tmp_path}/train.npz",
    )
    for argument in arguments:
        status, said = _train_on(ends, tmp_path, argument)
        assert status == 2
        assert_words(words, said)
    out = tmp_path / "shards"
    status, said = ends(convert, "--generated", tmp_path / "train.npz", "--out", out)
    if "jaxcert.convert" in words:  # which this does
        assert status == 0
        return
    assert status == 2
    assert_words(words, said)


@pytest.mark.parametrize("changed,words", GENERATED.values(), ids=GENERATED)
def test_generated_set_that_does_not_fit_is_refused(ends, tmp_path, changed, words):
    path = tmp_path / "g.npz"
    path.write_bytes(npz(**changed))
    status, said = _train_on(ends, tmp_path, f"--config.data.generated={path}")
    assert status == 2
    assert_words(words, said)


def test_generated_set_that_is_too_small_is_refused(ends, tmp_path):
    (tmp_path / "g.npz").write_bytes(npz())
    words = f"--config.data.generated={tmp_path}/g.npz --config.data.generated_count=41"
    status, said = _train_on(ends, tmp_path, *words.split())
    assert status == 2 and tells(said, "data.generated_count", 41, 40)


def test_shards_are_continued_refused_or_found_damaged(ends, tmp_path):
    source, folder = tmp_path / "g.npz", tmp_path / "shards"
    source.write_bytes(npz())
    convert_it = [convert, "--generated", source, "--out"]
    assert ends(*convert_it, folder) == (0, "")
    assert ends(*convert_it, folder) == (0, "")
    status, said = ends(*convert_it, folder, "--seed", "1")
    assert status == 2 and tells(said, "seed", 0, 1, "--out")
    assert ends(*convert_it, folder, "--seed", "-1")[0] == 2
    status, said = ends(*convert_it, source)
    assert status == 1 and tells(said, source, "File exists")
    shard = next(folder.glob("shard*"))
    shard.write_bytes(shard.read_bytes()[:100])
    status, said = _train_on(ends, tmp_path, f"--config.data.generated={folder}")
    assert status == 2 and tells(said, shard, "cut off")


COLOURS = (
    "--config.data.name=cifar10 --config.data.download=False "
    "--config.model.image_shape=(32,32,3) --config.model.mean=(0.5,0.5,0.5) "
    "--config.model.std=(0.2,0.2,0.2)"
).split()


def cifar(path, *, images=2, label=0):
    record = bytes([label]) + bytes(3072)
    with tarfile.open(path, "w:gz") as tar:
        for name in [f"data_batch_{i}.bin" for i in range(1, 6)]:
            info = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            info.size = images * len(record)
            tar.addfile(info, io.BytesIO(record * images))


ARCHIVES = {
    "missing": (lambda p: None, names("cifar10", "cifar-10-binary.tar.gz")),
    "no archive": (
        lambda p: p.write_bytes(b"no"),
        names("cifar-10-binary.tar.gz", "damaged"),
    ),
    "cut off": (
        lambda p: (cifar(p), p.write_bytes(p.read_bytes()[:200])),
        "cut off",
    ),
    "few images": (cifar, names("10 images", "train", "50,000")),
    "label": (lambda p: cifar(p, label=11), names("label", 11, "0..9")),
}


@pytest.mark.parametrize("write,words", ARCHIVES.values(), ids=ARCHIVES)
def test_archive_that_is_not_whole_is_refused(ends, tmp_path, write, words):
    write(tmp_path / "cifar-10-binary.tar.gz")
    more = [*COLOURS, f"--config.data.dir={tmp_path}"]
    status, said = _train_on(ends, tmp_path, *more)
    assert status == 2
    assert_words(words, said)


def test_folder_of_archives_that_is_none_is_refused(ends, tmp_path):
    more = [*COLOURS, f"--config.data.dir={tmp_path}/nope"]
    status, said = _train_on(ends, tmp_path, *more)
    assert status == 2 and tells(said, tmp_path / "nope", "--config.data.dir")


def test_damaged_gzip_of_mnist_is_refused(ends, tmp_path):
    content = bytearray(gzip.compress(bytes(5000)))
    content[-8] ^= 255  # its checksum
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(content)
    more = [*COLOURS, f"--config.data.dir={tmp_path}", "--config.data.name=mnist"]
    status, said = _train_on(ends, tmp_path, *more)
    assert status == 2 and tells(said, "train-images-idx3-ubyte.gz", "damaged")
