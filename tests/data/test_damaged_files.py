"""Arrays and archives that are damaged, or made to harm, are refused in one sentence."""

from __future__ import annotations

import gzip
import io
import json
import os
import struct
import zipfile
from functools import partial

import numpy as np
import pytest
from refusals import names

from jaxcert.data import archives, files, sources, write
from jaxcert.data.augment import augment
from jaxcert.errors import InputError

IMAGE = np.random.default_rng(0).integers(0, 256, (6, 4, 4, 1), dtype=np.uint8)
LABEL = np.arange(6)


PIXELS = IMAGE.tobytes()


def npy(shape="(6, 4, 4, 1)", kind="'|u1'", data=PIXELS):
    header = f"{{'descr': {kind}, 'fortran_order': False, 'shape': {shape}}}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + data


def npz(path, image):
    label = io.BytesIO()
    np.save(label, LABEL)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("image.npy", image)
        archive.writestr("label.npy", label.getvalue())


def refused(call, *parts):
    with pytest.raises(InputError, match=names(*parts)):
        call()


HEADERS = {
    "petabytes": npy("(1125899906842624,)"),
    "around 2**64": npy("(4294967296, 4294967296)", data=b""),
    "petabytes of nothing": npy("(1152921504606846976, 0, 9999999999999)", data=b""),
    "below zero": npy("(-2, -48)"),
    "no numbers": npy("('a',)"),
    "brackets": npy("(" * 9000 + ")" * 9000),
    "objects": npy(kind="'|O'", data=bytes(48 * 16)),
    "values of no size": npy(kind="'|S0'", data=b""),
    "too short": npy(data=IMAGE.tobytes()[1:]),
    "too long": npy(data=IMAGE.tobytes() + b"x"),
    "an npz": b"PK\x03\x04" + bytes(99),
    "a pickle": b"\x80\x04N.",
    "empty": b"",
}


@pytest.mark.parametrize("content", HEADERS.values(), ids=HEADERS)
def test_headers_are_not_believed(tmp_path, content):
    npz(tmp_path / "train.npz", content)
    refused(
        lambda: files.read_npz(tmp_path / "train.npz"),
        *("train.npz", "damaged", "image.npy"),
    )
    (tmp_path / "train_image.npy").write_bytes(content)
    np.save(tmp_path / "train_label.npy", LABEL)
    refused(lambda: files.read_npy(tmp_path, "train"), "train_image.npy", "array")


def test_the_same_header_with_its_array_is_read(tmp_path):
    npz(tmp_path / "train.npz", npy())
    np.testing.assert_array_equal(files.read_npz(tmp_path / "train.npz")[0], IMAGE)


def test_npz_in_the_place_of_an_npy_is_refused(tmp_path):
    np.save(tmp_path / "train_image.npy", IMAGE)
    np.savez(tmp_path / "x.npz", LABEL)
    (tmp_path / "x.npz").rename(tmp_path / "train_label.npy")
    opening = partial(sources.open, f"npy:{tmp_path}", "train")
    refused(opening, "train_label.npy", "array")


def test_one_changed_byte_of_an_npz_is_noticed(tmp_path):
    path = tmp_path / "train.npz"
    np.savez(path, image=IMAGE, label=LABEL)
    whole = path.read_bytes()
    at = whole.index(IMAGE.tobytes())
    path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    refused(lambda: files.read_npz(path), "train.npz", "damaged", "image.npy")
    os.utime(path, ns=(1, 1))
    path.write_bytes(whole)
    files.read_npz(path)


@pytest.mark.parametrize("cut", [1, 30, 100, 300])
def test_npz_without_its_front_is_refused(tmp_path, cut):
    path = tmp_path / "train.npz"
    np.savez(path, image=IMAGE, label=LABEL)
    path.write_bytes(path.read_bytes()[cut:])
    refused(lambda: files.read_npz(path), "train.npz", "damaged", "image.npy")


PLACES = {
    "pipe": (os.mkfifo, "pipe"),
    "folder": (os.mkdir, "folder"),
    "circle": (lambda p: p.symlink_to(p), "circle"),
    "nothing": (lambda p: None, ""),
}


@pytest.mark.parametrize("make,words", PLACES.values(), ids=PLACES)
def test_what_is_no_regular_file_is_refused(tmp_path, make, words):
    make(tmp_path / "train.npz")
    opening = partial(sources.open, split="train")
    refused(partial(opening, f"npz:{tmp_path}"), "train.npz", words)
    make(tmp_path / "train_image.npy")
    refused(partial(opening, f"npy:{tmp_path}"), "train_image.npy", words)


def test_archives_unpack_only_as_far_as_published_ones(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "_LARGEST", 1 << 16)
    packed = tmp_path / "t10k-images-idx3-ubyte.gz"
    packed.write_bytes(gzip.compress(bytes(1 << 22)))
    assert packed.stat().st_size < 1 << 16
    opening = partial(sources.open, "mnist", "test", dir=str(tmp_path))
    refused(opening, packed, "unpacks", "0 MB")
    packed.unlink()
    with open(tmp_path / "t10k-images-idx3-ubyte", "wb") as file:
        file.truncate(1 << 22)
    refused(opening, packed.with_suffix(""), "0 MB")


def test_sizes_of_an_idx_file_are_not_believed(tmp_path):
    header = struct.pack(">4I", 0x0803, 1 << 31, 1 << 31, 4)  # 0 modulo 2**64
    (tmp_path / "t10k-images-idx3-ubyte").write_bytes(header)
    opening = partial(sources.open, "mnist", "test", dir=str(tmp_path))
    refused(opening, "t10k-images-idx3-ubyte", "cut off")


HEADER = {
    "format": write.FORMAT,
    "image_shape": [4, 4, 1],
    "num_classes": 3,
    "per_record": 64,
    "per_shard": 128,
    "request": {},
    "done": True,
    "count": 6,
}
WRONG = {
    "format": "other",
    "image_shape": [4, 4],
    "num_classes": "three",
    "per_record": 0,
    "per_shard": 1.5,
    "request": [],
    "done": "yes",
    "count": -1,
}


def test_fields_of_images_json_are_looked_at(tmp_path):
    path = tmp_path / write.HEADER
    path.write_text(json.dumps(HEADER))
    assert write.read_header(tmp_path) == HEADER
    whole = [HEADER | {key: value} for key, value in WRONG.items()]
    for key in HEADER.keys() - {"request"}:
        whole.append({k: v for k, v in HEADER.items() if k != key})
    for header in (*whole, [], None, 3):
        path.write_text(json.dumps(header))
        refused(lambda: write.read_header(tmp_path), tmp_path, "images.json")
    for text in ("[" * 1_000_000, '{"format":', b"\xff"):
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        refused(lambda: write.read_header(tmp_path), tmp_path, "images.json")
    path.unlink()
    os.mkfifo(path)
    refused(lambda: write.read_header(tmp_path), tmp_path, "images.json")


def test_bytes_of_0_and_1_are_not_taken_for_two_blacks(tmp_path):
    for split in ("train", "test"):
        np.savez(tmp_path / f"{split}.npz", image=IMAGE % 2, label=LABEL)
    opening = partial(sources.open, f"npz:{tmp_path}", "train")
    refused(opening, "1 of 255", "round(255 x)")


def test_labels_that_are_no_classes_are_refused():
    for label in (2**40, 2**32, 2**24):
        with pytest.raises(InputError, match=names("label", label)):
            sources.checked(
                IMAGE, np.array([label] * 6, np.uint64), num_classes=0, name="x"
            )


def test_home_that_is_not_known_is_named(monkeypatch):
    def none(self):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("JAXCERT_DATA", raising=False)
    monkeypatch.setattr("pathlib.Path.expanduser", none)
    for name in ("mnist", "npz:~/x"):
        refused(partial(sources.open, name, "test"), "home", "$HOME")


def test_cutout_that_leaves_nothing_is_refused():
    batch = {"image": np.full((64, 4, 4, 1), 255, np.uint8), "real": np.ones(64, bool)}
    import jax

    assert augment(jax.random.key(0), batch, cutout=6)["image"].max() == 1
    with pytest.raises(InputError, match=names("data.augment.cutout", 7)):
        augment(jax.random.key(0), batch, cutout=7)
