from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps
from refusals import names

from jaxcert.data import randaugment as module
from jaxcert.errors import InputError

RNG = np.random.default_rng(0)
WIDE = RNG.integers(0, 256, (20, 27, 3), dtype=np.uint8)
# a constant channel, a narrow one and one that few pixels fill
NARROW = np.stack(
    [
        np.full((20, 27), 77),
        RNG.integers(60, 180, (20, 27)),
        RNG.binomial(200, 0.4, (20, 27)),
    ],
    axis=-1,
).astype(np.uint8)
IMAGES = {"wide": WIDE, "narrow": NARROW, "gray": NARROW[..., 2:]}
OPERATIONS = {f.__name__: f for f in module.SIGNED + module.UNSIGNED}


def _affine(*inverse):
    return lambda image: image.transform(image.size, Image.Transform.AFFINE, inverse)


def _pixels(side, m):
    return int(150 / 331 * side * m / 30)


PILLOW = {
    "shear_x": lambda x, m: _affine(1, m / 100, 0, 0, 1, 0)(x),
    "shear_y": lambda x, m: _affine(1, 0, 0, m / 100, 1, 0)(x),
    "translate_x": lambda x, m: _affine(1, 0, -_pixels(x.width, m), 0, 1, 0)(x),
    "translate_y": lambda x, m: _affine(1, 0, 0, 0, 1, -_pixels(x.height, m))(x),
    "rotate": lambda x, m: x.rotate(m),
    "brightness": lambda x, m: ImageEnhance.Brightness(x).enhance(1 + 0.03 * m),
    "color": lambda x, m: ImageEnhance.Color(x).enhance(1 + 0.03 * m),
    "contrast": lambda x, m: ImageEnhance.Contrast(x).enhance(1 + 0.03 * m),
    "sharpness": lambda x, m: ImageEnhance.Sharpness(x).enhance(1 + 0.03 * m),
    "identity": lambda x, m: x,
    "posterize": lambda x, m: ImageOps.posterize(x, 8 - round(4 * m / 30)),
    "solarize": lambda x, m: ImageOps.solarize(x, 255 - 8.5 * m),
    "autocontrast": lambda x, m: ImageOps.autocontrast(x),
    "equalize": lambda x, m: ImageOps.equalize(x),
}
CUTS_OFF = ("brightness", "color", "contrast", "sharpness", "autocontrast")


def _all_magnitudes(name, image):
    least = -module.STEPS if OPERATIONS[name] in module.SIGNED else 0
    m = np.arange(least, module.STEPS + 1)
    run = jax.jit(jax.vmap(OPERATIONS[name], (None, 0)))
    return m, np.asarray(run(image.astype(np.int32), m))


def test_the_operations_are_the_fourteen_of_the_paper():
    assert set(OPERATIONS) == set(PILLOW) and len(OPERATIONS) == 14


@pytest.mark.parametrize("image", IMAGES.values(), ids=IMAGES)
@pytest.mark.parametrize("name", PILLOW)
def test_operation_is_pillows_at_every_magnitude(name, image):
    pillow = Image.fromarray(image if image.shape[2] == 3 else image[..., 0])
    magnitudes, ours = _all_magnitudes(name, image)
    for m, out in zip(magnitudes, ours, strict=True):
        expected = np.asarray(PILLOW[name](pillow, int(m))).reshape(image.shape)
        more = out - expected.astype(int)
        # Floating point of Pillow may fall below a whole number and is cut off.
        assert more.min() >= 0 and more.max() <= (name in CUTS_OFF), m
        assert (more != 0).mean() < 0.05, m
    if name in CUTS_OFF[:4]:  # the magnitude that recipes take: to the last level
        expected = PILLOW[name](pillow, 9)
        np.testing.assert_array_equal(
            ours[magnitudes == 9].squeeze(), np.asarray(expected).squeeze()
        )


@pytest.mark.parametrize(
    "name", sorted(OPERATIONS.keys() - {"autocontrast", "equalize"})
)
def test_magnitude_zero_is_the_identity(name):
    image = np.minimum(WIDE, 254)  # solarize turns 255 at any magnitude
    magnitudes, ours = _all_magnitudes(name, image)
    np.testing.assert_array_equal(ours[magnitudes == 0][0], image)


def test_color_of_gray_and_sharpness_of_two_rows_change_nothing():
    for name, image in (("color", WIDE[..., :1]), ("sharpness", WIDE[:2])):
        _, ours = _all_magnitudes(name, image)
        np.testing.assert_array_equal(ours, np.broadcast_to(image, ours.shape))


def test_operations_and_directions_are_drawn_evenly():
    image = RNG.integers(60, 180, (20, 27, 3), dtype=np.uint8)
    outcomes, chances = [], []
    for name, operation in OPERATIONS.items():
        magnitudes, ours = _all_magnitudes(name, image)
        signs = (9, -9) if operation in module.SIGNED else (9,)
        outcomes += [ours[magnitudes == m][0].ravel() for m in signs]
        chances += [1 / 14 / len(signs)] * len(signs)
    size, chances = 2800, np.array(chances)
    keys = jax.random.split(jax.random.key(0), size)
    one = partial(module.randaugment, image=jnp.asarray(image), operations=1)
    drawn = np.asarray(jax.jit(partial(jax.lax.map, one))(keys)).reshape(size, -1)
    same = np.stack([(drawn == outcome).all(1) for outcome in outcomes])
    assert (same.sum(0) == 1).all()
    spread = np.sqrt(size * chances * (1 - chances))
    assert (abs(same.sum(1) - size * chances) < 4.5 * spread).all()


def test_operations_follow_each_other_each_with_its_direction(monkeypatch):
    monkeypatch.setattr(module, "SIGNED", (module.translate_x,))
    monkeypatch.setattr(module, "UNSIGNED", ())
    image = jnp.zeros((3, 81, 1), jnp.uint8).at[:, 40].set(255)
    keys = jax.random.split(jax.random.key(2), 60)
    three = partial(module.randaugment, image=image, operations=3)
    out = np.asarray(jax.jit(partial(jax.lax.map, three))(keys))
    line = out[:, 1, :, 0].argmax(1) - 40
    assert set(line) == {-33, -11, 11, 33}  # one moves by int(150 / 331 * 81 * 0.3)


def test_images_at_once_and_one_by_one_are_the_same():
    images = jnp.asarray(RNG.integers(0, 256, (12, 8, 9, 3), dtype=np.uint8))
    keys = jax.random.split(jax.random.key(1), 12)
    at_once = jax.jit(jax.vmap(module.randaugment))(keys, images)
    assert at_once.dtype == jnp.uint8 and at_once.shape == images.shape
    alone = jax.jit(module.randaugment)
    for key, image, out in zip(keys, images, at_once, strict=True):
        np.testing.assert_array_equal(alone(key, image), out)


def test_x64_changes_no_type(x64):
    out = jax.eval_shape(module.randaugment, jax.random.key(0), jnp.asarray(WIDE))
    assert out.dtype == jnp.uint8


@pytest.mark.parametrize(
    ("image", "magnitude", "words"),
    [
        (
            WIDE.astype(np.float32),
            9,
            names("data.augment.randaugment", "uint8", "float32 of 3"),
        ),
        (WIDE[..., :2], 9, names("data.augment.randaugment", "uint8", "uint8 of 2")),
        (WIDE, 31, names("magnitude", 31)),
    ],
)
def test_what_cannot_be_is_refused(image, magnitude, words):
    with pytest.raises(InputError, match=words):
        module.randaugment(jax.random.key(0), jnp.asarray(image), magnitude=magnitude)
