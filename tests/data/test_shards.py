"""Folders of shards: read where they lie, and every fault found when they are opened."""

from __future__ import annotations

import json
import mmap
import shutil
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from refusals import names, tells

from jaxcert import config as configs
from jaxcert.data import generated, loader, opened, shards, write
from jaxcert.data.generated import open_generated
from jaxcert.data.sources import Source, checked
from jaxcert.errors import InputError
from jaxcert.training import loop

SIZES = 50, 7, 300  # the last one goes on beyond 65,536 bytes
NAMES = "part2.npz", "part10.npz", "part11.npz"  # as text, 10 and 11 come before 2


def _images(count, shape=(9, 11, 3), seed=0, classes=10):
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (count, *shape), np.uint8)
    return image, rng.permutation(np.arange(count) % classes)


def _npz_folder(folder, **settings):
    """Three npz shards of different sizes -> all images and labels in their order."""
    folder.mkdir()
    image, label = _images(sum(SIZES), **settings)
    cuts = np.cumsum(SIZES)[:-1]
    parts = zip(NAMES, np.split(image, cuts), np.split(label, cuts), strict=True)
    for name, x, y in parts:
        np.savez(folder / name, image=x, label=y)
    return image, label


def _written(folder, shape, *, count, per_record=8, per_shard=64, classes=10):
    image, label = _images(count, shape, classes=classes)
    writer = write.Writer(
        folder,
        image_shape=shape,
        num_classes=classes,
        request={"seed": 0},
        per_record=per_record,
        per_shard=per_shard,
    )
    writer.append(image, label)
    writer.close()
    return image, label


def _refused(path, *words):
    with pytest.raises(InputError, match=r"^[^\n]+: [^\n]+\.$") as caught:
        open_generated(path)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize("large", [False, True], ids=["whole", "headers only"])
@pytest.mark.parametrize(
    ("shape", "per_record", "count"),
    [
        ((3, 3, 1), 8, 200),
        ((32, 32, 3), 64, 150),  # about one image in twenty lies across two blocks
        ((32, 32, 3), 1, 90),
        ((160, 160, 3), 3, 40),  # every image lies across two or three
    ],
)
def test_every_image_of_written_shards_is_found(
    tmp_path, monkeypatch, shape, per_record, count, large
):
    if large:
        monkeypatch.setattr(generated, "_WHOLE", 0)
    image, label = _written(tmp_path, shape, count=count, per_record=per_record)
    source = open_generated(tmp_path)
    order = np.random.default_rng(1).permutation(count)
    np.testing.assert_array_equal(source.image[order], image[order])
    np.testing.assert_array_equal(source.label, label)
    assert source.image.shape == image.shape and source.num_classes == 10
    assert isinstance(source.image, shards.Images)


def test_the_layout_is_that_of_grains_reader(tmp_path):
    """A writer of another version could lay records out differently: the bytes at the
    places that are computed are those that ArrayRecord's own reader gives."""
    _written(tmp_path, (40, 50, 3), count=150, per_record=16, per_shard=80)
    source, seen = open_generated(tmp_path), 0
    for path in write.shards(tmp_path, write.read_header(tmp_path)):
        with shards.open_records(path) as reader:
            for record in reader.read_all():
                n = len(record) // (4 + 6000)
                rows = seen + np.arange(n)
                expected = source.label[rows].astype("<i4").tobytes()
                assert record == expected + source.image[rows].tobytes()
                seen += n
    assert seen == 150


def test_npz_shards_are_one_set_in_natural_order(tmp_path):
    image, label = _npz_folder(tmp_path / "set")
    for hidden in (".part3.npz", "._part2.npz"):
        (tmp_path / "set" / hidden).write_bytes(b"no npz")
    source = open_generated(tmp_path / "set")
    np.testing.assert_array_equal(source.image[np.arange(len(label))], image)
    np.testing.assert_array_equal(source.label, label)
    assert [name for name, _ in source.files] == list(NAMES)
    assert generated.size(tmp_path / "set") == sum(SIZES)
    grey = tmp_path / "grey"
    grey.mkdir()
    np.savez(grey / "a.npz", image=image[..., 0], label=label)
    np.testing.assert_array_equal(open_generated(grey).image, image[..., :1])


def test_a_part_is_drawn_across_all_shards(tmp_path):
    image, label = _npz_folder(tmp_path / "set")
    source = open_generated(tmp_path / "set", count=60, seed=2)
    rows = np.sort(np.random.default_rng(2).permutation(sum(SIZES))[:60])
    np.testing.assert_array_equal(source.image[np.arange(60)], image[rows])
    np.testing.assert_array_equal(source.label, label[rows])
    assert (rows < 50).any() and (rows >= 57).any()


def test_folder_and_file_give_the_same_batches(tmp_path):
    """Shuffled as one set: the plan knows nothing of shards."""
    image, label = _npz_folder(tmp_path / "set", shape=(8, 8, 1))
    np.savez(tmp_path / "one.npz", image=image, label=label)
    runs = []
    for path, placement in (
        (tmp_path / "one.npz", "host"),
        (tmp_path / "set", "host"),
        (tmp_path / "set", "device"),
    ):
        data = opened.open(_config(path, placement))
        batches = data.batches(5, mesh=_mesh())
        runs.append([next(batches) for _ in range(20)])
    for run in runs[1:]:
        for a, b in zip(run, runs[0], strict=True):
            for key in b:
                np.testing.assert_array_equal(a[key], b[key])


def _config(path, placement):
    config = configs.load("configs/smoothing/digits.py")
    config.data.batch = 32
    config.data.generated = str(path)
    config.data.placement = placement
    return config


def _mesh():
    from jaxcert import sharding

    return sharding.data_mesh()


def test_what_was_read_is_let_go(tmp_path, monkeypatch):
    """What stays mapped of a set beyond 1.5 GB is bounded; a small one stays mapped."""
    image, _ = _npz_folder(tmp_path / "set")
    source, calls = open_generated(tmp_path / "set"), []

    class Map(mmap.mmap):
        def madvise(self, advice):
            calls.append(advice)
            super().madvise(advice)

    monkeypatch.setattr(shards.mmap, "mmap", Map)
    monkeypatch.setattr(shards, "_MAPPED", 100_000_000)
    source = open_generated(tmp_path / "set")
    source.image[np.arange(180).repeat(20)]
    assert not calls and source.image.total < 100_000_000
    monkeypatch.setattr(shards, "_MAPPED", 50_000)
    rows = np.arange(len(image))
    np.testing.assert_array_equal(source.image[rows], image)
    assert calls == [mmap.MADV_DONTNEED] * 3
    np.testing.assert_array_equal(source.image[rows], image)


def test_faults_of_npz_shards_name_the_file(tmp_path):
    image, label = _images(20)
    first, second = (tmp_path / f"part{n}.npz" for n in (1, 2))
    np.savez(first, image=image, label=label)

    def refused(*words, **arrays):
        np.savez(second, **arrays)
        _refused(tmp_path, str(second), *words)

    refused("images of 9 x 10 x 3", image=image[:, :, :10], label=label)
    refused("float images", image=image / np.float32(255), label=label)
    refused("int64 images", image=image.astype(np.int64), label=label)
    refused("no images", image=image[:0], label=label[:0])
    refused("labels of shape (19,)", image=image, label=label[:19])
    refused("the label -1", image=image, label=label - 1)
    refused("float64 labels", image=image, label=label + 0.5)
    refused("Fortran", image=np.asfortranarray(image), label=label)
    np.savez_compressed(second, image=image, label=label)
    _refused(tmp_path, str(second), "compressed")
    np.savez(second, image=image, label=label)
    whole = second.read_bytes()
    second.write_bytes(whole[:-50])
    _refused(tmp_path, str(second), "cut off")
    second.write_bytes(b"")
    _refused(tmp_path, str(second), "cut off")


@pytest.mark.parametrize("large", [False, True], ids=["whole", "headers only"])
def test_a_bad_byte_is_found_where_checksums_are_compared(tmp_path, monkeypatch, large):
    """In labels always, in images of sets up to 1 GiB."""
    if large:
        monkeypatch.setattr(generated, "_WHOLE", 0)
    _npz_folder(tmp_path / "npz")
    path = tmp_path / "npz" / NAMES[1]
    _spoil(path, _middle(path, "label.npy"))
    _refused(tmp_path / "npz", str(path), "label.npy")
    shutil.rmtree(tmp_path / "npz")
    _npz_folder(tmp_path / "npz")
    _spoil(path, _middle(path, "image.npy"))
    one = tmp_path / "one.npz"
    shutil.copy(path, one)
    _written(tmp_path / "records", (32, 32, 3), count=300, per_shard=256)
    shard = write.shards(tmp_path / "records", write.read_header(tmp_path / "records"))
    _spoil(shard[0], shard[0].stat().st_size // 2)
    if large:
        for folder in (tmp_path / "npz", tmp_path / "records", one):
            open_generated(folder)
    else:
        _refused(tmp_path / "npz", str(path), "image.npy")
        _refused(one, str(one), "image.npy")
        _refused(tmp_path / "records", str(shard[0]), "damaged")


def _middle(path, member):
    with zipfile.ZipFile(path) as archive:
        info = archive.getinfo(member)
        return info.header_offset + info.file_size // 2 + 100


def _spoil(path, at):
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def test_faults_of_written_shards_name_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr(generated, "_WHOLE", 0)
    _written(tmp_path / "set", (4, 4, 1), count=200)
    header = write.read_header(tmp_path / "set")
    paths = write.shards(tmp_path / "set", header)
    whole = [path.read_bytes() for path in paths]

    def refused(number, data, *words):
        paths[number].write_bytes(data)
        _refused(tmp_path / "set", str(paths[number]), *words)
        paths[number].write_bytes(whole[number])

    for damaged in (b"", whole[1][:-1], whole[1][: len(whole[1]) // 2], b"x" * 900):
        refused(1, damaged, "damaged", "delete it and run the command that wrote")
    others = dict(per_record=8, per_shard=64)
    for name, shape, classes, words in (
        ("shape", (4, 5, 1), 10, ["damaged"]),
        ("labels", (4, 4, 1), 11, ["the label 10, above 9"]),
    ):
        folder = tmp_path / name
        _written(folder, shape, count=200, classes=classes, **others)
        other = write.shards(folder, write.read_header(folder))[1]
        refused(1, other.read_bytes(), *words)
    _written(tmp_path / "records", (4, 4, 1), count=200, per_record=16)
    other = write.shards(tmp_path / "records", write.read_header(tmp_path / "records"))
    refused(1, other[1].read_bytes(), "damaged")
    paths[1].rename(tmp_path / "gone")
    _refused(tmp_path / "set", "136", "200", "images.json")
    (tmp_path / "gone").rename(paths[1])
    assert len(open_generated(tmp_path / "set").label) == 200


def test_npz_files_beside_written_shards_are_told(tmp_path, capsys):
    """A run on the shards alone would miss their images without a word."""
    image, label = _written(tmp_path, (4, 4, 3), count=20)
    assert len(open_generated(tmp_path).label) == 20
    assert "warning" not in capsys.readouterr().err
    np.savez(tmp_path / "more.npz", image=image, label=label)
    assert len(open_generated(tmp_path).label) == 20
    assert f"warning: {tmp_path / 'more.npz'} " in capsys.readouterr().err


def test_labels_below_0_of_classes_that_are_not_known(tmp_path):
    image, label = _images(20, (4, 4, 3))
    np.savez(tmp_path / "one.npz", image=image, label=np.full_like(label, -1))
    _refused(tmp_path / "one.npz", "label -1:")
    with pytest.raises(InputError, match="label -1") as refused:
        checked(image, np.full_like(label, -1), num_classes=0, name="mine")
    assert "0..-1" not in str(refused.value)


def test_a_label_of_no_class_names_its_shard(tmp_path):
    image, label = _images(20, (8, 8, 1))
    np.savez(tmp_path / "part1.npz", image=image, label=label)
    np.savez(tmp_path / "part2.npz", image=image, label=label + 5)
    real = Source(image, np.arange(20) % 10, 10, "digits")
    for count in (0, 40):
        source = open_generated(tmp_path, count=count)
        with pytest.raises(
            InputError, match=r"\b15\b.*\blabel 1[0-4] in .*part2\.npz.* 10\b"
        ):
            loader.check(real, source, 4, devices=1)


def test_a_set_that_changed_since_the_run_began_is_refused(tmp_path):
    _npz_folder(tmp_path / "set")
    kept = tmp_path / "generated.json"

    def compared():
        generated.compare(open_generated(tmp_path / "set"), kept, begun=True)

    kept.write_text("of a run that never began")
    generated.compare(open_generated(tmp_path / "set"), kept, begun=False)
    assert [name for name, _ in json.loads(kept.read_text())] == list(NAMES)
    before = kept.read_bytes()
    compared()
    assert kept.read_bytes() == before

    def refused(name):
        with pytest.raises(
            InputError, match=names(name, tmp_path / "set", "--workdir")
        ):
            compared()
        assert kept.read_bytes() == before

    path = tmp_path / "set" / NAMES[1]
    data = path.read_bytes()
    with np.load(path) as file:
        image, label = file["image"], file["label"]
    np.savez(path, image=image, label=label[::-1])
    refused(NAMES[1])
    image[3, 2, 1] ^= 1
    np.savez(path, image=image, label=label)
    refused(NAMES[1])
    path.rename(path.with_name("part9.npz"))
    refused("part9.npz")
    path.with_name("part9.npz").unlink()
    refused(NAMES[2])
    path.write_bytes(data)
    compared()
    shutil.copy(path, path.with_name("part12.npz"))
    refused("part12.npz")
    kept.write_text("{")
    with pytest.raises(InputError, match=names("generated.json", "--workdir")):
        compared()
    kept.unlink()  # a workdir of version 0.1 has none
    generated.compare(open_generated(tmp_path / "set"), kept, begun=True, writes=False)
    assert not kept.exists()
    compared()
    assert len(json.loads(kept.read_text())) == 4


def test_a_run_is_not_continued_on_other_images(tmp_path):
    config = configs.tiny(configs.load("configs/smoothing/digits.py"))
    image, label = _images(60, (8, 8, 1))
    folder, workdir = tmp_path / "set", tmp_path / "run"
    folder.mkdir()
    np.savez(folder / "a.npz", image=image, label=label)
    config.data.generated = str(folder)
    loop.train(config, workdir)
    before = (workdir / "generated.json").read_bytes()
    np.savez(folder / "a.npz", image=255 - image, label=label)
    with pytest.raises(InputError, match=names("a.npz", "--workdir")):
        loop.train(config, workdir)
    assert (workdir / "generated.json").read_bytes() == before


def test_digest_of_records_tells_images_and_labels(tmp_path):
    header = {"image_shape": [4, 4, 1], "per_record": 8, "num_classes": 10}
    digests = []
    for number, change in enumerate((None, "image", "label")):
        folder = tmp_path / str(number)
        image, label = _images(64, (4, 4, 1))
        if change == "image":
            image[30, 1, 1] ^= 1
        if change == "label":
            label[30] = (label[30] + 1) % 10
        settings = dict(image_shape=(4, 4, 1), num_classes=10, request={}, per_record=8)
        writer = write.Writer(folder, **settings)
        writer.append(image, label)
        writer.close()
        path = write.shards(folder, write.read_header(folder))[0]
        digests.append(shards.of_records(path, header, whole=False).digest)
    assert len(set(digests)) == 3


def test_a_compressed_npz_is_converted_and_otherwise_refused(tmp_path):
    image, label = _images(300, (5, 5, 1))
    packed, plain = tmp_path / "packed.npz", tmp_path / "plain.npz"
    np.savez_compressed(packed, image=image, label=label)
    np.savez(plain, image=image, label=label)
    _refused(packed, "compressed", f"jaxcert.convert --generated {packed}")
    settings = dict(seed=3, per_record=8, per_shard=64)
    for path in (packed, plain):
        assert write.convert(path, tmp_path / path.stem, **settings) == 300
    a, b = (open_generated(tmp_path / name) for name in ("packed", "plain"))
    np.testing.assert_array_equal(a.image, b.image)
    np.testing.assert_array_equal(a.label, b.label)
    assert not list((tmp_path / "packed").glob("*.part"))
    assert write.convert(packed, tmp_path / "packed", **settings) == 300
    data = bytearray(packed.read_bytes())
    data[len(data) // 2] ^= 1
    packed.write_bytes(data)
    with pytest.raises(InputError, match=names("packed.npz", "damaged")):
        write.convert(packed, tmp_path / "other", **settings)
    assert not list((tmp_path / "other").glob("*.part"))


def test_a_disk_too_small_to_unpack_on_is_one_sentence(tmp_path, monkeypatch):
    image, label = _images(300, (5, 5, 1))
    np.savez_compressed(tmp_path / "packed.npz", image=image, label=label)
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(write.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(InputError, match=names("packed.npz", "GB", "--out")):
        write.convert(tmp_path / "packed.npz", tmp_path / "out")


_FEW_FILES = """
import resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (64, int(sys.argv[2])))
from jaxcert.data.generated import open_generated
from jaxcert.errors import InputError
try:
    source = open_generated(sys.argv[1])
    print(len(source.image), int(source.image[range(120)].sum()))
except InputError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no limit of open files there")
def test_more_shards_than_a_process_may_open(tmp_path):
    image, label = _images(120, (3, 3, 1))
    for i in range(120):
        np.savez(tmp_path / f"{i}.npz", image=image[i : i + 1], label=label[i : i + 1])

    def run(hard):
        command = [sys.executable, "-c", _FEW_FILES, str(tmp_path), str(hard)]
        return subprocess.run(command, capture_output=True, text=True, timeout=60)

    assert run(1024).stdout.split() == ["120", str(int(image.sum()))]
    assert tells(run(200).stdout, tmp_path, "120 shards", "200 files", "ulimit -n")


def test_a_shard_too_many_and_classes_that_are_not_known(tmp_path):
    _written(tmp_path, (3, 3, 1), count=200)
    header = write.read_header(tmp_path)
    path = tmp_path / write.HEADER
    path.write_text(json.dumps(header | {"count": 136}))
    _refused(tmp_path, "shard-00002", "136", "images.json")
    for shard in write.shards(tmp_path, header):
        other = header | {"num_classes": 0}
        origin = write._origin(other)
        shard.rename(shard.with_name(f"{shard.stem[:12]}{origin}{shard.suffix}"))
    path.write_text(json.dumps(other))
    assert open_generated(tmp_path).num_classes == 10
