"""`python -m jaxcert.quality` on sets of which the answer is known."""

from __future__ import annotations

import json
from functools import partial

import numpy as np
import pytest
from command_line import CONFIG, assert_words, end
from refusals import names

from jaxcert import quality, train
from jaxcert.data import sources, write
from jaxcert.papers import quality as quality_of

DIGITS = {split: sources.open("digits", split) for split in ("train", "test")}
FEATURES = "def mean(image):\n    return image.mean((1, 2)) / 255.0\nnone = 3\n"
FEATURES += "def flat(image):\n    return image.mean()\n"


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    """A classifier after a few steps."""
    path = tmp_path_factory.mktemp("quality") / "run"
    train.main(["--config", CONFIG, "--tiny", "--workdir", str(path)])
    return path


@pytest.fixture
def ends(capsys):
    return partial(end, capsys, quality)


def save(path, image, label):
    np.savez(path, image=image, label=label)
    return path


@pytest.fixture
def held_out(tmp_path):
    """The test images, as if a perfect model had made them."""
    return save(tmp_path / "held_out.npz", DIGITS["test"].image, DIGITS["test"].label)


def measured(ends, path, *more, out=None):
    arguments = [f"--generated={path}", "--data=digits", *more]
    status, said = ends(*arguments)
    assert status == 0, said
    folder = out or path.with_name(f"{path.stem}_quality")
    assert (folder / "images.png").stat().st_size > 1000
    return json.loads((folder / "quality.json").read_text())


def test_test_images_themselves_score_as_the_test_images(ends, held_out):
    found = measured(ends, held_out)
    for key in ("images", "frechet", "median", "close", "closer", "copies", "repeats"):
        assert found[key] == pytest.approx(found[f"test_{key}"]), key
    assert found["frechet"] > 0.01 and found["copies"] == 0
    np.testing.assert_array_equal(found["per_class"], np.bincount(DIGITS["test"].label))


def test_a_set_of_training_images_is_seen_as_memorised(ends, tmp_path):
    rows = np.arange(1000)
    rows[:10] = 20
    data = DIGITS["train"]
    found = measured(ends, save(tmp_path / "x.npz", data.image[rows], data.label[rows]))
    assert (found["copies"], found["repeats"]) == (1000, 10)
    assert found["median"] == 0 and found["close"] == found["closer"] == 1
    assert found["frechet"] < 0.1 * found["test_frechet"]


def test_shards_are_read_and_a_sample_drawn(ends, held_out, tmp_path):
    folder = tmp_path / "shards"
    write.convert(held_out, folder)
    out = tmp_path / "there" / "deeper"
    found = measured(ends, folder, "--count=300", f"--out={out}", out=out)
    assert (found["images"], found["test_images"]) == (300, 300)
    assert found["training_images"] == 1000


def test_a_classifier_agrees_with_labels_that_it_gave(
    tmp_path, workdir, capsys, strict_shapes
):
    data = DIGITS["test"]
    predict, _ = quality_of.predictions(workdir, data)
    label = predict(data.image)
    assert len(set(label)) > 1
    path = save(tmp_path / "x.npz", data.image[::2], label[::2])
    quality.main([f"--generated={path}", "--data=digits", f"--classifier={workdir}"])
    assert_words(f"label predicted by {workdir} +100.0%", capsys.readouterr().out)
    found = json.loads((tmp_path / "x_quality/quality.json").read_text())
    assert found["agreement"] == 1
    assert found["test_agreement"] == pytest.approx((label == data.label).mean())
    assert set(found["agreement_per_class"]) <= {1.0, None}


def test_features_of_ones_own(ends, held_out, tmp_path, monkeypatch, capsys):
    (tmp_path / "own_features.py").write_text(FEATURES)
    monkeypatch.syspath_prepend(tmp_path)
    arguments = [f"--generated={held_out}", "--data=digits"]
    quality.main([*arguments, "--features=own_features:mean"])
    assert_words("Frechet distance of own_features:mean", capsys.readouterr().out)
    found = json.loads((tmp_path / "held_out_quality/quality.json").read_text())
    assert found["frechet"] < 0.01  # one feature
    for wrong, fault in {
        "own_features:gone": "own_features:gone cannot be imported",
        "no_such_module:f": "cannot be imported .*No module named",
        "own_features": "give MODULE:FUNCTION",
        "own_features:none": "is no function",
        "own_features:flat": "array of shape .* give .B,D.",
    }.items():
        status, sentence = ends(*arguments, f"--features={wrong}")
        assert status == 2
        assert_words(fault, sentence)


def test_the_table_says_what_the_distance_is_of(held_out, capsys):
    quality.main([f"--generated={held_out}", "--data=digits"])
    said = capsys.readouterr().out
    assert_words("Frechet distance of pixels", said)
    assert_words("images per class: ([0-9]+ ?){10}", said)


def test_help_explains_every_line_of_the_table(capsys):
    with pytest.raises(SystemExit):
        quality.main(["--help"])
    said = capsys.readouterr().out
    for word in (
        "Frechet distance",
        "nearest training",
        "close",
        "copies",
        "classifier",
    ):
        assert word in said


@pytest.mark.parametrize(
    ("shape", "label", "said"),
    [
        (
            (28, 28, 1),
            9,
            names("x.npz", "28 x 28 x 1", "digits", "8 x 8 x 1", "--data"),
        ),
        ((8, 8, 3), 9, names("x.npz", "8 x 8 x 3", "digits", "8 x 8 x 1", "--data")),
        ((8, 8, 1), 10, names("x.npz", "11 classes", "digits", "10 classes", "--data")),
    ],
)
def test_images_unlike_the_data_set_are_refused(ends, tmp_path, shape, label, said):
    path = save(
        tmp_path / "x.npz", np.full((2, *shape), 9, np.uint8), np.array([0, label])
    )
    status, sentence = ends(f"--generated={path}", "--data=digits")
    assert status == 2
    assert_words(said, sentence)


def test_bad_input_ends_in_one_sentence(ends, held_out, tmp_path, workdir):
    write.Writer(
        tmp_path / "part", image_shape=(8, 8, 1), num_classes=10, request={"seed": 0}
    )
    (tmp_path / "empty").mkdir()
    one = save(tmp_path / "one.npz", DIGITS["test"].image[:1], np.zeros(1, int))
    for arguments, fault in {
        f"{tmp_path}/gone --data=digits": "no generated images at .*gone: check --gen",
        f"{tmp_path}/part --data=digits": "part is not finished: run the command",
        f"{tmp_path}/empty --data=digits": "it is no folder of generated images",
        f"{one} --data=digits": "have no covariance",
        f"{held_out} --data=digit": "no data set is called 'digit'",
        f"{held_out} --data=digits --count=-1": names("--count", -1),
        f"{held_out} --data=digits --pad=9": "8 x 8 x 1 .* 9 x 9 x 1 .* or --pad",
        f"{held_out} --data=digits --classifier={tmp_path}": "is no workdir",
    }.items():
        status, sentence = ends("--generated", *arguments.split())
        assert status == 2, arguments
        assert_words(fault, sentence)
    big = save(
        tmp_path / "big.npz", np.full((20, 9, 9, 1), 9, np.uint8), np.arange(20) % 10
    )
    arguments = [f"--generated={big}", "--data=digits", "--pad=9"]
    status, sentence = ends(*arguments, f"--classifier={workdir}")
    assert status == 2
    assert_words(r"holds no classifier of images of \(9, 9, 1\)", sentence)
