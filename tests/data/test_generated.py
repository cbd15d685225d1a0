from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
from refusals import names, tells

from jaxcert import convert
from jaxcert.data import write
from jaxcert.data.generated import open_generated
from jaxcert.errors import InputError

SIZE = 1000
SMALL = dict(per_record=8, per_shard=64)


@pytest.fixture
def npz(tmp_path):
    """Sorted by class as the published files are; pixel (0, 0) and (0, 1) name the image."""
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (SIZE, 3, 3, 1), dtype=np.uint8)
    image[:, 0, 0, 0], image[:, 0, 1, 0] = np.divmod(np.arange(SIZE), 256)
    path = tmp_path / "sorted.npz"
    np.savez(path, image=image, label=np.arange(SIZE) * 10 // SIZE)
    return path


def _names(source):
    image = source.image[np.arange(len(source.label))].astype(int)
    return image[:, 0, 0, 0] * 256 + image[:, 0, 1, 0]


def _is_a_part(source, path):
    with np.load(path) as file:
        names = _names(source)
        np.testing.assert_array_equal(
            source.image[np.arange(5)], file["image"][names[:5]]
        )
        np.testing.assert_array_equal(source.label, file["label"][names])
    return names


def test_an_npz_stays_on_disk(npz):
    source = open_generated(npz)
    assert isinstance(source.image, np.memmap)
    np.testing.assert_array_equal(_is_a_part(source, npz), np.arange(SIZE))
    assert source.num_classes == 10


def test_shards_hold_every_image_once_in_shuffled_order(npz, tmp_path):
    assert write.convert(npz, tmp_path / "out", seed=1, **SMALL) == SIZE
    source = open_generated(tmp_path / "out")
    names = _is_a_part(source, npz)
    np.testing.assert_array_equal(np.sort(names), np.arange(SIZE))
    # A prefix is a uniform sample: 100 of 1000 from 10 classes of 100, hypergeometric.
    counts = np.bincount(source.label[:100], minlength=10)
    assert abs(counts - 10).max() < 4 * np.sqrt(100 * 0.1 * 0.9 * 0.9)
    assert len(list((tmp_path / "out").glob("shard-*"))) == 16


@pytest.mark.parametrize("kind", ["npz", "shards"])
def test_a_sub_set_is_a_uniform_draw_by_seed_and_nested(npz, tmp_path, kind):
    path = npz
    if kind == "shards":
        path = tmp_path / "out"
        write.convert(npz, path, **SMALL)
    small, again, large, other = (
        open_generated(path, count=count, seed=seed)
        for count, seed in ((200, 3), (200, 3), (500, 3), (200, 4))
    )
    names = _is_a_part(small, npz)
    assert len(set(names)) == 200
    np.testing.assert_array_equal(names, _names(again))
    assert set(names) <= set(_names(large))
    assert set(names) != set(_names(other))
    counts = np.bincount(small.label, minlength=10)
    assert abs(counts - 20).max() < 4 * np.sqrt(200 * 0.1 * 0.9 * 0.8)
    assert small.image.shape == (200, 3, 3, 1) and len(small.image) == 200


_KILLED = """
import os, signal, sys
from jaxcert.data import write
count = 0
record = write.Writer._record
def killing(self, rows):
    global count
    count += 1
    if count == 43:
        os.kill(os.getpid(), signal.SIGKILL)
    record(self, rows)
write.Writer._record = killing
write._CHUNK = 32
write.convert(sys.argv[1], sys.argv[2], per_record=8, per_shard=64)
"""


def test_a_killed_conversion_leaves_whole_shards_and_continues(npz, tmp_path):
    out, whole = tmp_path / "out", tmp_path / "whole"
    done = subprocess.run([sys.executable, "-c", _KILLED, npz, out], timeout=120)
    assert done.returncode == -signal.SIGKILL
    shards = write.shards(out, write.read_header(out))
    assert len(shards) == 5  # 42 records of 8: five shards, and two records
    with pytest.raises(InputError, match=names("out", "finished")):
        open_generated(out)
    before = {path.name: os.stat(path).st_mtime_ns for path in shards}
    assert write.convert(npz, out, **SMALL) == SIZE
    write.convert(npz, whole, **SMALL)
    a, b = open_generated(out), open_generated(whole)
    np.testing.assert_array_equal(a.image, b.image)
    np.testing.assert_array_equal(a.label, b.label)
    assert all(os.stat(out / name).st_mtime_ns == t for name, t in before.items())
    assert not list(out.glob("*.part"))


def test_only_the_header_missing_is_put_right(npz, tmp_path):
    write.convert(npz, tmp_path, **SMALL)
    header = json.loads((tmp_path / write.HEADER).read_text())
    del header["count"]
    (tmp_path / write.HEADER).write_text(json.dumps(header | {"done": False}))
    assert write.convert(npz, tmp_path, **SMALL) == SIZE
    assert len(open_generated(tmp_path).label) == SIZE


def test_a_missing_shard_is_written_again(npz, tmp_path):
    write.convert(npz, tmp_path, **SMALL)
    before = open_generated(tmp_path)
    next(tmp_path.glob("shard-00003-*")).unlink()
    _refused(tmp_path, names(tmp_path, "1,000", "images.json"))
    assert write.convert(npz, tmp_path, **SMALL) == SIZE
    np.testing.assert_array_equal(open_generated(tmp_path).image, before.image)


def test_a_finished_folder_is_left_alone(npz, tmp_path):
    out = tmp_path / "out"
    write.convert(npz, out, **SMALL)
    before = {p.name: os.stat(p).st_mtime_ns for p in out.iterdir()}
    assert write.convert(npz, out, **SMALL) == SIZE
    assert before == {p.name: os.stat(p).st_mtime_ns for p in out.iterdir()}


def test_a_folder_of_another_request_is_refused(npz, tmp_path):
    write.convert(npz, tmp_path, seed=0, **SMALL)
    with pytest.raises(InputError, match=names("seed", 0, 1, "--out")):
        write.convert(npz, tmp_path, seed=1, **SMALL)


def test_a_folder_whose_request_says_more_is_refused(tmp_path):
    """As one that another sampler began, which this request need not name."""
    settings = dict(image_shape=(4, 4, 1), num_classes=2, per_shard=4)
    with_more = write.Writer(tmp_path, request={"seed": 0, "sampler": "x"}, **settings)
    with_more.append(np.full((8, 4, 4, 1), 9, np.uint8), np.zeros(8, int))
    with_more.close()
    with pytest.raises(InputError, match=names("sampler", "x", None, "--out")):
        write.Writer(tmp_path, request={"seed": 0}, **settings)


def test_a_folder_without_images_makes_way(npz, tmp_path):
    """Of a conversion that was interrupted in its first shard."""
    settings = dict(image_shape=(8, 8, 3), num_classes=10)
    write.Writer(tmp_path, request={"seed": 0}, **settings)
    (tmp_path / "shard-00000.part").write_bytes(b"half")
    assert write.convert(npz, tmp_path, seed=1, **SMALL) == SIZE
    assert write.read_header(tmp_path)["request"]["seed"] == 1
    assert open_generated(tmp_path).label.shape == (SIZE,)


def test_another_file_of_the_same_name_and_size_is_refused(npz, tmp_path):
    out, other = tmp_path / "out", tmp_path / "other" / npz.name
    write.convert(npz, out, **SMALL)
    other.parent.mkdir()
    with np.load(npz) as file:
        np.savez(other, image=255 - file["image"], label=file["label"])
    assert other.stat().st_size == npz.stat().st_size
    with pytest.raises(InputError, match=names("crc32", "image.npy", "--out")):
        write.convert(other, out, **SMALL)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="Linux only")
@pytest.mark.parametrize("images_before", [0, 64])
def test_a_full_disk_keeps_the_whole_shards(npz, tmp_path, images_before):
    number = images_before // SMALL["per_shard"]
    part = tmp_path / f"shard-{number:05d}.part"
    part.symlink_to("/dev/full")
    with pytest.raises(OSError) as caught:
        write.convert(npz, tmp_path, **SMALL)
    assert caught.value.errno == errno.ENOSPC and caught.value.filename == str(part)
    assert len(write.shards(tmp_path, write.read_header(tmp_path))) == number
    part.unlink()
    assert write.convert(npz, tmp_path, **SMALL) == SIZE


def _refused(path, fault, **settings):
    with pytest.raises(InputError, match=fault):
        open_generated(path, **settings)


def test_bad_generated_sets_are_one_sentence(npz, tmp_path):
    _refused(tmp_path / "none.npz", names("none.npz", "--config.data.generated"))
    _refused(npz, names("data.generated_count", "1,001", "1,000"), count=SIZE + 1)
    _refused(npz, names("data.generated_count", -1), count=-1)
    (tmp_path / "empty").mkdir()
    _refused(tmp_path / "empty", names("empty", "images.json", "npz"))
    image, label = np.zeros((4, 2, 2, 1), np.uint8), np.arange(4)
    bad = tmp_path / "bad.npz"
    np.savez(bad, image=image[:0], label=label[:0])
    _refused(bad, names("bad.npz", "no images"))
    np.savez(bad, image=image.astype(np.float32), label=label)
    _refused(bad, names("bad.npz", "float", "uint8"))
    np.savez_compressed(bad, image=image, label=label)
    _refused(bad, names("bad.npz", "compressed", "--out"))
    np.savez(bad, x=image, label=label)
    _refused(bad, names("bad.npz", "`image`", "x, label"))
    np.savez(bad, image=image + 1, label=label)
    _refused(bad, names("bad.npz", "1 of 255", "round(255 x)"))
    np.savez(bad, image=image, label=label - 1)
    _refused(bad, names("bad.npz", "label", -1))


def test_shards_of_two_origins_in_one_folder_are_refused(npz, tmp_path):
    one, other = tmp_path / "one", tmp_path / "other"
    write.convert(npz, one, seed=0, **SMALL)
    write.convert(npz, other, seed=1, **SMALL)
    foreign = next(other.glob("shard-00003*"))
    (one / foreign.name).write_bytes(foreign.read_bytes())
    _refused(one, names("one", "images.json", "origin"))


def test_damaged_shards_are_one_sentence(npz, tmp_path):
    out = tmp_path / "out"
    write.convert(npz, out, **SMALL)
    _refused(out, names("data.generated_count", "1,001", "1,000"), count=SIZE + 1)
    last = write.shards(out, write.read_header(out))[-1]
    data = last.read_bytes()
    damaged = bytearray(data)
    damaged[len(data) // 2] ^= 1
    for bad in (b"", data[: len(data) // 2], data[:-1], bytes(damaged), b"x" * 900):
        last.write_bytes(bad)
        _refused(out, r"/shard-00015-\w+\.array_record .*\bdamaged\b")
    last.unlink()
    _refused(out, names(out, "1,000", "images.json"))


def test_the_command_converts_and_explains(npz, tmp_path, capsys):
    out = tmp_path / "out"
    convert.main(["--generated", str(npz), "--out", str(out)])
    assert capsys.readouterr().out == f"{out} holds 1,000 images.\n"
    assert len(open_generated(out).label) == SIZE
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "jaxcert.convert",
            "--generated",
            "no.npz",
            "--out",
            "x",
        ],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=os.getcwd(),
    )
    assert done.returncode == 2
    assert tells(done.stderr, "jaxcert", "no.npz") and done.stderr.count("\n") == 2
