from __future__ import annotations

import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import Golden, golden_each
from refusals import names

from jaxcert import config as configs
from jaxcert.data import augment_pipe as pipe
from jaxcert.data.augment import augment
from jaxcert.errors import InputError

RNG = np.random.default_rng(0)
IMAGE = RNG.uniform(-1, 1, (6, 8, 10, 3)).astype(np.float32)
PIPES = [pipe.edm, pipe.shift]
COUNT = 6


@pytest.fixture(scope="module")
def draws():
    return pipe.draw(jax.random.key(0), COUNT)


def still(**changes):
    """Draws of which nothing but `changes` is active, at p = 1/2."""
    gates = {n: np.ones(COUNT) for n in pipe.Draws._fields if n.endswith("gate")}
    values = {n: np.zeros(COUNT) for n in pipe.Draws._fields if n not in gates}
    values["move"] = np.zeros((COUNT, 2))
    return pipe.Draws(
        **{**values, **gates, "mirror_x_gate": gates["scale_gate"]}
    )._replace(**changes, **{f"{name}_gate": np.zeros(COUNT) for name in changes})


@pytest.mark.golden("diffusion")
@golden_each("diffusion", "augment_pipe_*.npz")
def test_recorded_draws_give_the_images_and_labels_of_the_original(file):
    golden = Golden(file)
    kinds = golden["kinds"].tolist()
    recorded = [golden[f"draw{i:02d}"] for i in range(int(golden["n_draws"]))]
    size = len(golden["images"])
    # ours are [B], the two of a move [B,2]
    *others, move, gate = [
        d.T if d.shape[0] == 2 else d.reshape(size) for d in recorded
    ]
    expected = ["randint" if "mirror" in n else "rand" for n in pipe.Draws._fields]
    normal = {"scale", "stretch", "move"}
    for i, name in enumerate(pipe.Draws._fields):
        if name.endswith("gate"):
            expected[i] = "rand"
        elif name in normal:
            expected[i] = "randn"
    assert kinds == expected
    image = golden["images"].transpose(0, 2, 3, 1)
    first, *rest = re.search(r"_p(\d+)", file.stem)[1]  # p012 is 0.12
    probability = float(f"{first}.{''.join(rest)}")
    out, labels = pipe.edm(image, pipe.Draws(*others, move, gate), probability)
    np.testing.assert_allclose(labels, golden["labels"], rtol=0, atol=1e-6)
    error = np.abs(np.asarray(out).transpose(0, 3, 1, 2) - golden["out"])
    assert error.max() <= 1e-4 * np.abs(golden["images"]).max()
    assert not golden.unread()


@pytest.mark.parametrize("function", PIPES)
def test_probability_0_is_the_identity_with_zero_labels(function, draws):
    out, labels = function(IMAGE, draws, 0.0)
    np.testing.assert_allclose(out, IMAGE, atol=3e-6)
    assert labels.shape == (COUNT, pipe.LABELS)
    assert not labels.any()


@pytest.mark.parametrize("function", PIPES)
def test_a_constant_image_stays_constant(function):
    """As long as no draw looks beyond the mirrored margin; corners do by their last tap."""
    image = np.full_like(IMAGE, 0.7)
    d = pipe.draw(jax.random.key(1), COUNT)
    d = d._replace(scale=d.scale / 10, stretch=d.stretch / 10, move=d.move / 4)
    out, labels = function(image, d, 1.0)
    np.testing.assert_allclose(out, image, atol=2e-5)
    assert labels.any()


@pytest.mark.parametrize("function", PIPES)
def test_compiled_equals_eager(function, draws):
    eager = function(IMAGE, draws, 0.5)
    compiled = jax.jit(partial(function, probability=0.5))(IMAGE, draws)
    for one, other in zip(eager, compiled, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


@pytest.mark.parametrize("function", PIPES)
def test_the_mirror_is_exact_and_labelled(function):
    out, labels = function(IMAGE, still(mirror_x=np.ones(COUNT)), 0.5)
    np.testing.assert_allclose(out, IMAGE[:, :, ::-1], atol=3e-6)
    np.testing.assert_array_equal(labels, np.eye(9)[[0] * COUNT])


@pytest.mark.parametrize("function", PIPES)
def test_a_move_by_whole_pixels_brings_in_the_mirror_image(function):
    x, y = 2, -1  # right, up
    sides = np.array([10, 8]) / 8
    move = np.tile(np.array([x, y]) / sides, (COUNT, 1))
    out, labels = function(IMAGE, still(move=move), 0.5)
    padded = np.pad(IMAGE, ((0, 0), (0, 1), (2, 0), (0, 0)), mode="reflect")
    np.testing.assert_allclose(out, padded[:, 1:, :10], atol=2e-5)
    np.testing.assert_allclose(labels[:, 7:], move, rtol=1e-6)
    assert not labels[:, :7].any()


def test_a_quarter_turn_turns_a_smooth_image_anticlockwise():
    """Up to the filter, which is not symmetric."""
    y, x = np.mgrid[:8, :8] * np.pi / 7
    image = np.tile((np.cos(x) + 0.5 * np.cos(y))[None, ..., None], (COUNT, 1, 1, 1))
    quarter = np.full(COUNT, 0.75)  # r = pi / 2
    out, labels = pipe.edm(image, still(rotation=quarter), 0.5)
    np.testing.assert_allclose(out, np.rot90(image, 1, (1, 2)), atol=0.05)
    np.testing.assert_allclose(labels[:, 3:5], np.tile([-1, 1], (COUNT, 1)), atol=1e-6)


def test_labels_follow_from_the_draws(draws):
    labels = np.asarray(pipe.edm(IMAGE, draws, 1.0)[1])
    d = {name: np.asarray(value) for name, value in draws._asdict().items()}
    r, a = (np.pi * (2 * d[n] - 1) for n in ("rotation", "stretch_angle"))
    a = np.where(d["stretch_angle_gate"] < 0.5, a, 0)
    expected = [d["mirror_x"], d["mirror_y"], d["scale"], np.cos(r) - 1, np.sin(r)]
    expected += [d["stretch"] * np.cos(a), d["stretch"] * np.sin(a), *d["move"].T]
    np.testing.assert_allclose(labels, np.stack(expected, 1), atol=1e-6)


def test_labels_of_the_shift_tell_the_whole_pixels_it_moved(draws):
    labels = np.asarray(pipe.shift(IMAGE, draws, 1.0)[1])
    pixels = labels[:, 7:] * np.array([10, 8]) / 8
    np.testing.assert_allclose(pixels, np.round(pixels), atol=1e-6)
    assert (np.abs(pixels - draws.move * np.array([10, 8]) / 8) <= 0.5 + 1e-6).all()


def test_each_transformation_is_active_with_the_probability():
    size, p = 4000, 0.12
    labels = jax.jit(lambda d: pipe.edm(jnp.zeros((size, 2, 2, 1)), d, p)[1])(
        pipe.draw(jax.random.key(2), size)
    )
    share = (np.asarray(labels)[:, [0, 1, 2, 4, 5, 7, 8]] != 0).mean(0)
    expected = np.array([0.5, p / 2, p, p, p, p, p])
    # 4.5 standard deviations
    assert (
        abs(share - expected) < 4.5 * np.sqrt(expected * (1 - expected) / size)
    ).all()


def _batch(image):
    size = len(image)
    whole = dict(label=jnp.zeros(size, int), index=jnp.arange(size))
    return {"image": jnp.asarray(image), "real": jnp.ones(size, bool), **whole}


@pytest.mark.parametrize("name", ["edm", "shift"])
def test_the_batch_gets_labels_beside_images_of_pixels_from_0_to_1(name):
    image = RNG.integers(0, 256, (COUNT, 8, 8, 1), dtype=np.uint8)
    settings = dict(pipe=name, pipe_probability=0.0)
    batch = augment(jax.random.key(0), _batch(image), **settings)
    np.testing.assert_allclose(batch["image"], image / 255, atol=3e-6)
    assert batch["augment"].shape == (COUNT, 9)
    assert batch["image"].dtype == batch["augment"].dtype == jnp.float32
    assert set(batch) == {"image", "label", "real", "index", "augment"}


def test_without_a_pipe_there_are_no_labels():
    image = np.zeros((COUNT, 8, 8, 1), np.uint8)
    assert "augment" not in augment(jax.random.key(0), _batch(image))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (dict(pipe="ada"), names("data.augment.pipe", "ada")),
        (
            dict(pipe="edm", pipe_probability=1.2),
            names("data.augment.pipe_probability", 1.2),
        ),
        (
            dict(pipe="edm", pipe_probability=float("nan")),
            names("data.augment.pipe_probability", "nan"),
        ),
    ],
)
def test_what_is_no_pipe_is_refused(settings, said):
    with pytest.raises(InputError, match=said):
        augment(jax.random.key(0), _batch(np.zeros((2, 4, 4, 1), np.uint8)), **settings)


def test_a_workdir_without_the_keys_gets_them(tmp_path):
    config = configs.base()
    with config.unlocked():
        del config.data.augment["pipe"], config.data.augment["pipe_probability"]
    configs.save(config, tmp_path / "config.json")
    assert configs.read(tmp_path).data.augment.pipe == ""
    assert configs.read(tmp_path).data.augment.pipe_probability == 0.12
