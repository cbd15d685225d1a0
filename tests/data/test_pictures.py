"""Pictures of every kind are read rightly or refused in one sentence."""

from __future__ import annotations

import io
import os
import struct
import zlib

import numpy as np
import pytest
from PIL import Image
from refusals import names

from jaxcert.data import sources
from jaxcert.errors import InputError

RNG = np.random.default_rng(0)
BYTES = RNG.integers(0, 256, (4, 6), dtype=np.uint8)
COLOUR = RNG.integers(0, 256, (4, 6, 3), dtype=np.uint8)
WORDS = RNG.integers(0, 65536, (4, 6), dtype=np.uint16)


def folder(tmp_path, write, name="0.png"):
    """A data set whose only picture `write` makes at a path."""
    for split in ("train", "test"):
        (tmp_path / split / "a").mkdir(parents=True)
        write(tmp_path / split / "a" / name)
    return f"folder:{tmp_path}"


def read(tmp_path, write, name="0.png"):
    return sources.open(folder(tmp_path, write, name), "test").image[0]


def refused(tmp_path, write, name="0.png"):
    with pytest.raises(InputError, match=r"^[^\n]+: [^\n]+\.$") as caught:
        read(tmp_path, write, name)
    return str(caught.value)


def saved(image, **more):
    return lambda path: image.save(path, **more)


@pytest.mark.parametrize("name", ["0.png", "0.pgm"])
def test_grey_of_16_bits_is_a_share_of_65535(tmp_path, name):
    image = read(tmp_path, saved(Image.fromarray(WORDS)), name)
    assert image.dtype == np.float32
    np.testing.assert_array_equal(image[..., 0], WORDS / np.float32(65535))


READ = {
    "grey": (Image.fromarray(BYTES), BYTES[..., None]),
    "colour": (Image.fromarray(COLOUR), COLOUR),
    "one bit": (Image.fromarray(BYTES > 99), ((BYTES > 99) * np.uint8(255))[..., None]),
    "opaque colour": (
        Image.fromarray(np.dstack([COLOUR, np.full_like(BYTES, 255)])),
        COLOUR,
    ),
    "opaque grey": (
        Image.merge("LA", [Image.fromarray(BYTES), Image.new("L", (6, 4), 255)]),
        BYTES[..., None],
    ),
    "palette": (
        Image.fromarray(BYTES // 64 * 64).convert("RGB").quantize(4),
        np.dstack([BYTES // 64 * 64] * 3),
    ),
}


@pytest.mark.parametrize("picture,expected", READ.values(), ids=READ)
def test_kinds_of_pictures(tmp_path, picture, expected):
    image = read(tmp_path, saved(picture))
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, expected)


@pytest.mark.parametrize(
    "number,expected",
    [(2, COLOUR[:, ::-1]), (6, np.rot90(COLOUR, -1))],
    ids=["mirrored", "first row at the right"],
)
def test_orientation_is_followed(tmp_path, number, expected):
    exif = Image.Exif()
    exif[0x0112] = number
    image = read(tmp_path, saved(Image.fromarray(COLOUR), exif=exif))
    np.testing.assert_array_equal(image, expected)


def _chunk(kind, data):
    whole = kind + data
    return struct.pack(">I", len(data)) + whole + struct.pack(">I", zlib.crc32(whole))


def bomb(path):
    """A PNG of 50,000 x 50,000 grey pixels that takes some bytes."""
    header = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 0, 0, 0, 0)
    parts = _chunk(b"IHDR", header), _chunk(b"IDAT", zlib.compress(bytes(99)))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts) + _chunk(b"IEND", b""))


def cut_off(path):
    file = io.BytesIO()
    Image.fromarray(RNG.integers(0, 256, (40, 40), np.uint8)).save(file, "PNG")
    path.write_bytes(file.getvalue()[:300])


SOME = np.where(BYTES > 99, 255, BYTES).astype(np.uint8)  # the others are opaque
CLEAR = Image.fromarray(np.dstack([COLOUR, SOME]))
FRAMES = dict(save_all=True, append_images=[Image.new("RGB", (6, 4))])
REFUSED = {
    "transparent": (saved(CLEAR), "0.png", "transparent pixels"),
    "a transparent colour": (
        saved(Image.fromarray(BYTES), transparency=int(BYTES[1, 2])),
        "0.png",
        "transparent pixels",
    ),
    "frames": (saved(Image.fromarray(COLOUR), **FRAMES), "0.png", "2 frames"),
    "32 bits under the name of a png": (
        lambda p: Image.fromarray(np.full((4, 6), 300, np.int32)).save(p, "TIFF"),
        "0.png",
        "kind I,",
    ),
    "bomb": (bomb, "0.png", "more pixels than"),
    "cut off": (cut_off, "0.png", "no picture"),
    "no picture": (lambda p: p.write_bytes(b"no"), "0.jpg", "no picture"),
    "empty": (lambda p: p.touch(), "0.png", "no picture"),
    "pipe": (os.mkfifo, "0.png", "is no file"),
    "folder": (os.mkdir, "0.png", "is no file"),
    "circle": (lambda p: p.symlink_to(p), "0.png", "is no file"),
}


@pytest.mark.parametrize("write,name,words", REFUSED.values(), ids=REFUSED)
def test_other_pictures_are_one_sentence(tmp_path, write, name, words):
    assert words in refused(tmp_path, write, name)


def test_kinds_and_sizes_are_not_mixed(tmp_path):
    name = folder(tmp_path, saved(Image.fromarray(BYTES)))
    for pixels, words in (
        (WORDS, names("1.png", "16 bits")),
        (COLOUR, names("1.png", "(4, 6, 3)", "(4, 6, 1)")),
        (BYTES.T, names("1.png", "(6, 4, 1)", "(4, 6, 1)")),
        (BYTES[:2], names("1.png", "(2, 6, 1)", "(4, 6, 1)")),
    ):
        Image.fromarray(pixels).save(tmp_path / "test" / "a" / "1.png")
        with pytest.raises(InputError, match=words):
            sources.open(name, "test")


def test_what_programs_leave_behind_is_neither_class_nor_picture(tmp_path, recwarn):
    name = folder(tmp_path, saved(Image.fromarray(BYTES)))
    for split in ("train", "test"):
        for hidden in (".ipynb_checkpoints", "__MACOSX", "@eaDir"):
            (tmp_path / split / hidden).mkdir()
            (tmp_path / split / hidden / "0.png").write_bytes(b"no")
        (tmp_path / split / ".DS_Store").touch()
        for hidden in ("._0.png", ".DS_Store", "Thumbs.db"):
            (tmp_path / split / "a" / hidden).write_bytes(b"no")
    source = sources.open(name, "test")
    assert source.num_classes == 1 and source.label.tolist() == [0]
    assert not recwarn
    (tmp_path / "test" / "a" / "1.tif").touch()
    with pytest.warns(UserWarning, match=r"^1 .*\b1\.tif\b"):
        sources.open(name, "test")


@pytest.mark.parametrize("name", ["a b", "a\nb", "a:b", "\udcff", "ä猫", "-x", "*"])
def test_classes_may_be_called_anything(tmp_path, name):
    for split in ("train", "test"):
        (tmp_path / name / split / name).mkdir(parents=True)
        Image.fromarray(BYTES).save(tmp_path / name / split / name / "0.png")
    source = sources.open(f"folder:{tmp_path / name}", "test")
    np.testing.assert_array_equal(source.image[0, ..., 0], BYTES)
    assert source.class_names == (name,)
