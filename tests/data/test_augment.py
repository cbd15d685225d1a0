from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from refusals import names

from jaxcert.data import augment as module
from jaxcert.errors import InputError

RNG = np.random.default_rng(0)
IMAGE = RNG.integers(1, 256, (6, 5, 7, 3), dtype=np.uint8)


def augment(key, batch, **settings):
    return jax.jit(partial(module.augment, **settings))(key, batch)


def _batch(image, real=None):
    size = len(image)
    return {
        "image": jnp.asarray(image),
        "label": jnp.zeros(size, jnp.int32),
        "real": jnp.ones(size, bool) if real is None else jnp.asarray(real),
        "index": jnp.arange(size),
    }


@pytest.mark.parametrize(("fill", "mode"), [("zero", "constant"), ("edge", "edge")])
def test_crop_and_mirror_equal_padding_then_slicing(fill, mode):
    pad = 2
    shift = RNG.integers(-pad, pad + 1, (6, 2))
    mirror = np.array([False, True] * 3)
    moved = jax.jit(module._move, static_argnames="fill")(
        jnp.asarray(IMAGE), jnp.asarray(shift), jnp.asarray(mirror), fill=fill
    )
    for i, (dy, dx) in enumerate(shift + pad):
        padded = np.pad(IMAGE[i], [(pad, pad), (pad, pad), (0, 0)], mode=mode)
        expected = padded[dy : dy + 5, dx : dx + 7]
        expected = expected[:, ::-1] if mirror[i] else expected
        np.testing.assert_array_equal(np.asarray(moved[i]), expected)


def test_nothing_asked_for_is_nothing_but_scaling():
    batch = augment(jax.random.key(0), _batch(IMAGE))
    np.testing.assert_array_equal(
        np.asarray(batch["image"]), IMAGE.astype(np.float32) / np.float32(255)
    )
    assert batch["image"].dtype == jnp.float32


def test_every_shift_and_both_mirrors_occur_evenly():
    size = 1800
    image = np.zeros((size, 5, 5, 1), np.uint8)
    image[:, 2, 2], image[:, 2, 3] = 200, 100  # a dot, and which side is right
    out = augment(jax.random.key(1), _batch(image), crop=1, flip=True)["image"]
    out = np.asarray(out)[..., 0]
    dot = out.reshape(size, -1).argmax(1)
    position, mirrored = np.divmod(dot, 5), np.zeros(size, bool)
    for i in range(size):
        y, x = position[0][i], position[1][i]
        mirrored[i] = out[i, y, x - 1] > 0
    counts = np.bincount((position[0] - 1) * 3 + position[1] - 1, minlength=9)
    # 9 cells of 200 each: 4.5 standard deviations
    assert (abs(counts - size / 9) < 4.5 * np.sqrt(size * 8 / 81)).all()
    assert abs(mirrored.sum() - size / 2) < 4.5 * np.sqrt(size / 4)


def test_generated_images_may_have_a_crop_of_their_own():
    image = np.zeros((400, 9, 9, 1), np.uint8)
    image[:, 4, 4] = 255
    real = np.arange(400) < 200
    batch = _batch(image, real)
    out = augment(jax.random.key(2), batch, crop=3, generated_crop=1)["image"]
    dot = np.asarray(out).reshape(400, -1).argmax(1)
    distance = np.maximum(abs(dot // 9 - 4), abs(dot % 9 - 4))
    assert distance[real].max() == 3
    assert distance[~real].max() == 1


def test_cutout_is_one_black_square_cut_off_at_the_border():
    image = np.full((300, 8, 8, 1), 255, np.uint8)
    out = augment(jax.random.key(3), _batch(image), cutout=4)["image"]
    black = np.asarray(out)[..., 0] == 0
    areas = black.sum((1, 2))
    assert areas.max() == 16 and areas.min() >= 4
    rows, columns = black.any(2).sum(1), black.any(1).sum(1)
    np.testing.assert_array_equal(areas, rows * columns)


def test_float_images_keep_their_values():
    image = RNG.random((4, 5, 5, 1)).astype(np.float32)
    out = augment(jax.random.key(0), _batch(image), crop=1, crop_fill="edge", flip=True)
    assert np.isin(np.asarray(out["image"]), image).all()


@pytest.mark.slow
def test_randaugment_changes_that_share_of_the_real_images_after_crop_and_mirror():
    size = 600
    image = RNG.integers(0, 256, (size, 6, 6, 3), dtype=np.uint8)
    batch = _batch(image, np.arange(size) < 500)

    def moved(probability):
        settings = dict(crop=1, flip=True, randaugment=probability)
        out = augment(jax.random.key(4), batch, **settings)["image"]
        return np.asarray(out).reshape(size, -1)

    never, some, always = moved(0.0), moved(0.3), moved(1.0)
    np.testing.assert_array_equal(always[500:], never[500:])
    unchanged, changed = (some == never).all(1), (some == always).all(1)
    assert (unchanged | changed).all()
    differ = (never != always).any(1)  # the others drew identities
    assert differ.sum() > 300
    expected = 0.3 * differ.sum()
    assert abs(changed[differ].sum() - expected) < 4.5 * np.sqrt(0.7 * expected)


def test_parts_have_the_areas_and_ratios_of_the_law():
    """Simulated: ten tries each, and the whole image where none fits."""
    size, side = 4000, 224
    corner, part = map(np.asarray, module._part(jax.random.key(5), (size, side, side)))
    draw = np.random.default_rng(0)
    area = side**2 * draw.uniform(0.08, 1, (20_000, 10))
    ratio = np.exp(draw.uniform(np.log(3 / 4), np.log(4 / 3), area.shape))
    h, w = np.round(np.sqrt(area / ratio)), np.round(np.sqrt(area * ratio))
    fits = (h <= side) & (w <= side)
    rows = np.arange(len(h)), fits.argmax(1)
    h, w = (np.where(fits.any(1), x[rows], side) for x in (h, w))

    for ours, expected in (
        (part[:, 0], h),
        (part[:, 1], w),
        (part.prod(1), h * w),
        (part[:, 1] / part[:, 0], w / h),
    ):
        levels = np.quantile(expected, np.arange(0.1, 1, 0.1))
        shares = [(x[:, None] <= levels).mean(0) for x in (ours, expected)]
        # 5 standard errors of a difference of shares
        error = 5 * np.sqrt(0.25 * (1 / size + 1 / len(h)))
        np.testing.assert_allclose(*shares, atol=error)
    room = side - part
    assert (corner >= 0).all() and (corner <= room).all()
    inner = room > 20  # anywhere in there with equal probability
    place = (corner / np.maximum(room, 1))[inner]
    assert abs(place.mean() - 0.5) < 5 * np.sqrt(1 / 12 / inner.sum())
    assert (corner[inner] == 0).any() and (corner == room)[inner].any()


@pytest.mark.parametrize(
    "sides,expected", [((10, 40), (0, 13, 10, 13)), ((40, 12), (12, 0, 16, 12))]
)
def test_images_that_no_part_fits_give_their_centre(monkeypatch, sides, expected):
    """One draw of nearly the whole area, wider or higher than these."""
    monkeypatch.setattr(module, "_SHARE", (0.99, 1.0))
    corner, part = module._part(jax.random.key(6), (50, *sides))
    found = np.unique(np.concatenate([corner, part], 1), axis=0)
    np.testing.assert_array_equal(found, [expected])


@pytest.mark.parametrize("image", [IMAGE, IMAGE / np.float32(255)])
def test_the_whole_image_as_its_part_is_the_image(image):
    corner, part = np.zeros((6, 2), int), np.broadcast_to([5, 7], (6, 2))
    same = jax.jit(module._enlarge)(image, corner, part)
    assert same.dtype == image.dtype
    np.testing.assert_array_equal(np.asarray(same), image)


def test_enlarged_parts_are_those_of_pillow_inside_the_border():
    from PIL import Image

    side = 40
    image = RNG.integers(0, 256, (4, side, side, 3), dtype=np.uint8)
    corner = np.array([[0, 0], [3, 20], [17, 4], [30, 30]])
    part = np.array([[40, 40], [30, 20], [12, 33], [10, 10]])
    ours = np.asarray(jax.jit(module._enlarge)(image, corner, part)).astype(int)
    for i, ((y, x), (h, w)) in enumerate(zip(corner, part, strict=True)):
        cut = Image.fromarray(image[i, y : y + h, x : x + w])
        expected = np.asarray(cut.resize((side, side), Image.Resampling.BILINEAR), int)
        border = [int(np.ceil(side / n / 2)) for n in (h, w)]
        inside = tuple(slice(n, side - n) for n in border)
        # each rounds once more
        assert np.abs(ours[i] - expected)[inside].max() <= 1


def test_every_image_draws_a_part_of_its_own_whatever_the_batch():
    image = np.broadcast_to(RNG.random((1, 12, 12, 1), np.float32), (30, 12, 12, 1))
    batch = _batch(image)
    out = augment(jax.random.key(7), batch, resized_crop=True, flip=True)["image"]
    out = np.asarray(out).reshape(30, -1)
    assert len(np.unique(out, axis=0)) > 25
    assert out.dtype == np.float32 and 0 <= out.min() and out.max() <= 1


@pytest.mark.parametrize(
    "bad,key,value",
    [
        (dict(crop=1, crop_fill="mirror"), "data.augment.crop_fill", "mirror"),
        (dict(pipe="x"), "data.augment.pipe", "x"),
        (dict(resized_crop=True, crop=1), "crop", 1),
        (dict(resized_crop=True, generated_crop=2), "crop", 2),
        (dict(crop=5), "data.augment.crop", 5),
        (dict(cutout=-1), "data.augment.cutout", -1),
        (dict(randaugment=1.5), "data.augment.randaugment", 1.5),
        (dict(randaugment=-0.1), "data.augment.randaugment", -0.1),
        (dict(pipe_probability=np.nan), "data.augment.pipe_probability", "nan"),
    ],
)
def test_bad_settings_are_one_sentence(bad, key, value):
    with pytest.raises(InputError, match=names(key, value)):
        module.augment(jax.random.key(0), _batch(IMAGE), **bad)


@pytest.mark.parametrize("image", [IMAGE / np.float32(255), IMAGE[..., :2]])
def test_randaugment_of_floats_or_two_channels_is_refused_in_one_sentence(image):
    with pytest.raises(InputError, match=names("data.augment.randaugment", "uint8", 0)):
        module.augment(jax.random.key(0), _batch(image), randaugment=0.5)
