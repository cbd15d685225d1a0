"""A config that is written for a data set fits it, and trains."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from jaxcert import certify, show_configs, train
from jaxcert import config as configs
from jaxcert.data import opened, sources
from jaxcert.errors import InputError, exit_cleanly
from tests.command_line import end

DRAW = np.random.default_rng(0)


def arrays(folder, shape, classes=3, count=40, **images):
    """An npz data set; returns its name and its images."""
    folder.mkdir(parents=True, exist_ok=True)
    for split in ("train", "test"):
        image = DRAW.integers(30, 226, (count, *shape), dtype=np.uint8)
        image[..., 0] //= 2
        label = np.arange(count) % classes
        np.savez(folder / f"{split}.npz", image=images.get(split, image), label=label)
    return f"npz:{folder}"


@pytest.fixture
def new(tmp_path, capsys):
    """Write a config for a data set and return it with what was said."""

    def write(*arguments, out=tmp_path / "mine" / "own.py"):
        words = ["--new", *map(str, arguments), "--out", str(out)]
        assert show_configs.main(words) == 0
        return configs.load(str(out)), out

    return write


def test_an_override_beside_new_is_refused(tmp_path, capsys):
    words = ["--new", "digits", "--config.data.resize=64"]
    with pytest.raises(InputError, match="--config.data.resize=64 .*--resize"):
        show_configs.main(words)


@pytest.mark.parametrize(
    "shape, model",
    [
        ((8, 8, 1), "small_cnn"),
        ((28, 20, 3), "small_cnn"),
        ((32, 32, 3), "resnet"),
        ((96, 80, 3), "resnet18"),
    ],
)
def test_a_config_says_what_the_images_are(tmp_path, new, shape, model):
    name = arrays(tmp_path / "data", shape)
    config, out = new(name)
    image = sources.open(name, "train").image / 255
    assert config.model.name == model and config.data.name == name
    assert config.model.image_shape == shape and config.model.num_classes == 3
    np.testing.assert_allclose(config.model.mean, image.mean((0, 1, 2)), rtol=1e-3)
    np.testing.assert_allclose(config.model.std, image.std((0, 1, 2)), rtol=1e-3)
    assert config.data.batch == 32 <= len(image)
    configs.check(config, str(out))
    configs.check(configs.resolve(str(out), [], tiny=True), str(out))
    for row, sigma in (("0.12", 0.12), ("1.00", 1.0)):
        chosen = configs.load(f"{out}:{row}")
        assert chosen.method.sigma == chosen.certify.sigma == sigma
    text = out.read_text()
    assert f"train --config {out}" in text and "FILE" not in text
    assert "40 images of" in text and "13 to 14 training images" in text


def test_training_begins_with_it(tmp_path, new):
    config, _ = new(arrays(tmp_path / "data", (8, 8, 1)))
    model = configs.build("models", config.model)
    data = opened.open(config, ["test"])
    for split in ("train", "test"):
        sources.check_model(
            data.images[split],
            image_shape=model.image_shape,
            num_classes=model.num_classes,
            exactly=True,
        )
    assert data.run.total_steps >= config.data.epochs


def test_photographs_are_resized_in_the_config_as_well(tmp_path, new):
    from PIL import Image

    for split in ("train", "test"):
        for name, size in (("cat", (40, 30)), ("dog", (25, 60))):
            (tmp_path / "photos" / split / name).mkdir(parents=True)
            pixels = DRAW.integers(0, 256, (*size, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / split / name / "0.png")
    config, _ = new(f"folder:{tmp_path / 'photos'}", "--resize", "24,16")
    assert config.data.resize == (24, 16) and config.model.image_shape == (16, 16, 3)
    assert sources.of(config.data, "test").image.shape == (2, 16, 16, 3)


def test_without_a_file_the_text_is_printed(tmp_path, capsys):
    assert show_configs.main(["--new", "digits"]) == 0
    said = capsys.readouterr().out
    compile(said, "digits.py", "exec")
    assert "1,000 images of 8 x 8 x 1" in said and "797 for testing" in said


def test_a_channel_that_is_everywhere_the_same_divides_by_1(tmp_path, new):
    flat = np.full((40, 8, 8, 1), 51, np.uint8)
    config, _ = new(arrays(tmp_path / "data", (8, 8, 1), train=flat))
    assert config.model.mean == (0.2,) and config.model.std == (1.0,)


def test_what_no_config_can_be_written_for_is_one_sentence(tmp_path, capsys):
    ends = partial(end, capsys)
    one = arrays(tmp_path / "one", (8, 8, 1), classes=1)
    sizes = arrays(
        tmp_path / "sizes", (8, 8, 1), test=np.zeros((40, 9, 9, 1), np.uint8)
    )
    (tmp_path / "bare").mkdir()
    np.savez(tmp_path / "bare" / "train.npz", image=np.zeros((4, 2, 2), np.uint8))
    for arguments, word in (
        (["--new", one], "class"),
        (["--new", sizes], "--resize"),
        (["--new", f"npz:{tmp_path / 'bare'}"], "label"),
        (["--new", "digits", "--resize", "half"], "--resize"),
        (["--new", "digits", "--resize", "0"], "data.resize"),
        (["--new", "digits", "lot/digits"], "--new"),
        (["--new", "digits", "--out", tmp_path / "one" / "train.npz"], "--out"),
    ):
        status, said = ends(show_configs, *arguments)
        assert status == 2 and word in said, arguments


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(8, 8, 1), (32, 32, 3), (66, 66, 3)])
def test_it_trains_and_certifies(tmp_path, new, shape):
    _, out = new(arrays(tmp_path / "data", shape))
    workdir = ["--workdir", str(tmp_path / "run")]
    given = ["--config", str(out), "--tiny", *workdir]
    assert exit_cleanly(lambda: train.main(given)) == 0
    assert exit_cleanly(lambda: certify.main(workdir)) == 0
