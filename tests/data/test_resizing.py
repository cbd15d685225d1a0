"""Pictures of several sizes: the short side resized, the centre cut out."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from refusals import names

from jaxcert.data import resizing, sources
from jaxcert.errors import InputError

RNG = np.random.default_rng(0)


def gradient(height, width):
    """uint8 [H,W,3] that grows evenly along the rows, along the columns, and along neither."""
    down, right = np.mgrid[0:height, 0:width].astype(np.float64)
    even = np.full((height, width), 77.0)
    image = np.stack([255 * down / (height - 1), 255 * right / (width - 1), even], -1)
    return np.round(image).astype(np.uint8)


@pytest.mark.parametrize("height, width", [(64, 96), (96, 64), (64, 64), (65, 97)])
def test_an_even_gradient_stays_one_and_its_centre_the_centre(height, width):
    found = resizing.fit(gradient(height, width), (16,), "x").astype(int)
    assert found.shape == (16, 16, 3)
    assert (found[..., 2] == 77).all()
    for axis, size in enumerate((height, width)):
        seen = found.mean(1 - axis)[:, axis]
        step = 255 * min(height, width) / 16 / (size - 1)
        inner = np.diff(seen)[1:-1]  # at the ends the mean is of fewer pixels
        np.testing.assert_allclose(inner, step, atol=1.3)
        np.testing.assert_allclose(seen[[0, -1]].sum(), 255, atol=1.1 * step + 2)


def test_of_a_larger_picture_all_pixels_count():
    """4 to 1 is a weighted mean, and no choice of every fourth pixel."""
    image = np.zeros((64, 64, 1), np.uint8)
    image[::2] = 200
    found = resizing.fit(image, (16,), "x")
    np.testing.assert_allclose(found[1:-1], 100, atol=1)


def test_the_side_that_is_cut_out_may_be_a_smaller_one():
    image = RNG.integers(0, 256, (32, 48, 3), dtype=np.uint8)
    whole = resizing.fit(image, (32,), "x")
    np.testing.assert_array_equal(whole, image[:, 8:40])  # nothing but cut out
    part = resizing.fit(image, (32, 28), "x")
    np.testing.assert_array_equal(part, image[2:30, 10:38])
    assert resizing.fit(image, (), "x") is image


def test_floats_stay_floats_in_0_to_1():
    image = RNG.random((20, 30, 2), dtype=np.float32)
    found = resizing.fit(np.round(image), (11, 7), "x")
    assert found.shape == (7, 7, 2) and found.dtype == np.float32
    assert found.min() >= 0 and found.max() <= 1 and 0.3 < found.mean() < 0.7


@pytest.mark.parametrize("resize", [(0,), (-4,), (8, 9), (8, 0), (8, 8, 8), (2.0,)])
def test_sizes_that_are_none_are_refused(resize):
    with pytest.raises(InputError, match=names("data.resize")):
        sources.open("digits", "test", resize=resize)


def test_a_line_of_pixels_is_refused():
    with pytest.raises(InputError, match=names("line.png", "2 x 4000")):
        resizing.fit(np.zeros((2, 4000, 3), np.uint8), (8,), "line.png")


def test_photographs_of_several_sizes_become_one_array(tmp_path):
    sizes = [(40, 60), (90, 30), (33, 33)]
    for split in ("train", "test"):
        for name, (height, width) in zip("abc", sizes, strict=True):
            (tmp_path / split / name).mkdir(parents=True)
            picture = Image.fromarray(gradient(height, width))
            turned = Image.Exif()
            turned[0x0112] = 6  # a quarter to the right
            if name == "b":
                picture.save(tmp_path / split / name / "0.png", exif=turned)
            else:
                picture.save(tmp_path / split / name / "0.png")
    source = sources.open(f"folder:{tmp_path}", "test", resize=(32, 24))
    assert source.image.shape == (3, 24, 24, 3) and source.label.tolist() == [0, 1, 2]
    turned = np.rot90(gradient(90, 30), -1)
    wanted = resizing.fit(np.ascontiguousarray(turned), (32, 24), "b")
    np.testing.assert_array_equal(source.image[1], wanted)
    with pytest.raises(InputError, match=names("--config.data.resize")):
        sources.open(f"folder:{tmp_path}", "test")


def test_arrays_are_resized_as_well():
    plain, small = (
        sources.open("digits", "test", resize=resize) for resize in ((), (4,))
    )
    assert small.image.shape == (797, 4, 4, 1)
    np.testing.assert_array_equal(
        small.image[5], resizing.fit(plain.image[5], (4,), "x")
    )
    np.testing.assert_array_equal(small.label, plain.label)
