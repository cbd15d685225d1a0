"""What `import jaxcert` offers: lazily, in one place, and the same as the parts below it."""

from __future__ import annotations

import importlib.util
import logging
import pydoc
import re
import subprocess
import sys
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from refusals import names

import jaxcert
from jaxcert import config as configs
from jaxcert import random_keys
from jaxcert.certificate import NO_LABEL, certified_accuracy
from jaxcert.certificates import lipschitz, smoothing
from jaxcert.data import recorded, sources
from jaxcert.errors import InputError
from jaxcert.interfaces import Certifier, Network, TrainState
from jaxcert.models import small_cnn
from jaxcert.workdirs.checkpoint import Checkpoints

SHAPE, CLASSES = (4, 4, 1), 4
MODEL = dict(
    name="lip_convnet",
    image_shape=SHAPE,
    num_classes=CLASSES,
    stages=2,
    blocks=1,
    width=2,
    mean=(0.5,),
    std=0.5,
)
IMAGES = np.random.default_rng(3).integers(0, 256, (6, *SHAPE), np.uint8)
LABELS = np.arange(6) % CLASSES
VOTES = dict(sigma=0.25, n0=10, n=100)


def initial(model) -> Network:
    return Network(model, *jax.jit(model.init)(random_keys.key(0)))


def brightest(image):
    """Logits [B,4]: the brightness of each row of pixels."""
    return image.sum((2, 3))


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    path = tmp_path_factory.mktemp("run")
    config = configs.base()
    config.model, config.method = MODEL, dict(name="lot")
    config.certify.update(name="lipschitz")
    configs.save(config, path / "config.json")
    net = initial(configs.build("models", config.model))
    with Checkpoints(path) as checkpoints:
        checkpoints.save_evaluation(net.params, net.state)
    return path


@pytest.fixture(scope="module")
def network(workdir):
    return jaxcert.load(workdir)


@pytest.fixture(scope="module")
def smoothed():
    return jaxcert.smooth(brightest, num_classes=CLASSES, **VOTES)


@pytest.fixture(scope="module")
def certificates(network):
    return jaxcert.certify_images(network, IMAGES, LABELS)


def same(one, other):
    for name in ("index", "label", "predicted", "radius", "n", "counts", "logits"):
        expected = getattr(other, name)
        if expected is None:
            assert getattr(one, name) is None
        else:
            np.testing.assert_allclose(getattr(one, name), expected, rtol=1e-12)


def run(code: str) -> None:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


def test_import_takes_no_package():
    run(
        "import sys, jaxcert; dir(jaxcert); jaxcert.InputError\n"
        "found = {'jax', 'flax', 'numpy', 'scipy', 'ml_collections'} & set(sys.modules)\n"
        "assert not found, found"
    )


def test_records_need_no_jax():
    run(
        "import sys; sys.modules['jax'] = None\n"
        "from jaxcert import Certificates, open_records, recheck, write_records, write_report"
    )


def test_names_are_in_the_contents_and_are_no_modules():
    listed = re.findall(r"^    (\w+)  ", jaxcert.__doc__, re.MULTILINE)
    assert sorted(listed) == sorted(jaxcert.__all__) and len(listed) == 14
    for name in jaxcert.__all__:
        assert importlib.util.find_spec(f"jaxcert.{name}") is None
        assert getattr(jaxcert, name).__doc__, name
        assert name in dir(jaxcert)
    assert not hasattr(jaxcert, "certify_image")


def test_help_reads_like_a_page_of_contents():
    page = pydoc.render_doc(jaxcert, renderer=pydoc.plaintext)
    for name in jaxcert.__all__:
        assert re.search(rf"^    (class )?{name}\(", page, re.MULTILINE), name
    assert page.index("certify_images") < page.index("PACKAGE CONTENTS")
    assert "SUBMODULES" not in page


def test_network_of_a_workdir_is_certified_as_the_command_does(network, certificates):
    expected = lipschitz.make(network).certify(
        random_keys.key(0), IMAGES, LABELS, np.arange(6)
    )
    same(certificates, expected)
    assert (certificates.radius > 0).all()
    source = sources.Source(IMAGES, LABELS.astype(np.int32), CLASSES, "any")
    header = certificates.header
    assert header["data_digest"] == recorded.data_digest(source)
    assert len(header["checkpoint"]) == 32 and header["images"] == 6


def test_loading_logs_nothing_and_leaves_the_logger_alone(workdir, caplog):
    logger = logging.getLogger("absl")
    before = logger.level  # a command that ran in this process has set it
    try:
        logger.setLevel(logging.NOTSET)
        jaxcert.load(workdir)
        assert not caplog.records and logger.level == logging.NOTSET
        logger.setLevel(logging.INFO)
        jaxcert.load(workdir)
        assert caplog.records and logger.level == logging.INFO
    finally:
        logger.setLevel(before)


def test_weights_of_a_state_dict(tmp_path):
    with pytest.raises(InputError) as error:
        jaxcert.load_weights({}, "no_such_net")
    assert "no_such_net" in str(error.value)


def test_without_labels_nothing_is_said_of_accuracy(network, certificates, tmp_path):
    rows = jaxcert.certify_images(network, IMAGES)
    same(rows._replace(label=certificates.label), certificates)
    assert (rows.label == NO_LABEL).all() and not rows.labelled
    assert not rows.correct.any()
    assert not rows._replace(predicted=rows.label).correct.any()  # abstentions neither
    assert np.isnan(certified_accuracy(rows, [0.0, 1.0])).all()
    assert jaxcert.recheck(rows).holds and jaxcert.recheck(rows).checked == 6
    jaxcert.write_records(tmp_path / "rows.jsonl", rows)
    assert '"label": null' in (tmp_path / "rows.jsonl").read_text()
    again = jaxcert.open_records(tmp_path / "rows.jsonl")
    same(again, rows)
    assert jaxcert.recheck(again).holds and jaxcert.recheck(again).checked == 6
    for name in ("report.txt", "report.csv", "report.html"):
        jaxcert.write_report(tmp_path / "rows.jsonl", tmp_path / name)
        assert (tmp_path / name).read_text()
    with pytest.raises(InputError) as error:
        jaxcert.write_report(tmp_path / "rows.jsonl", tmp_path / "table.tsv")
    assert "label" in str(error.value)


def test_rows_stand_in_the_order_of_the_images(smoothed):
    whole = jaxcert.certify_images(smoothed, IMAGES, LABELS)
    order = np.array([4, 0, 5, 1, 3, 2])
    asked = dict(index=order, batch=4)
    rows = jaxcert.certify_images(smoothed, IMAGES[order], LABELS[order], **asked)
    np.testing.assert_array_equal(rows.index, order)
    np.testing.assert_array_equal(rows.counts, whole.counts[order])
    np.testing.assert_array_equal(rows.label, whole.label[order])
    other = jaxcert.certify_images(smoothed, IMAGES, LABELS, seed=1)
    assert (other.counts != whole.counts).any()
    assert "requests" in whole.header and "requests" not in rows.header


def test_smooth_is_the_certifier_of_a_function(smoothed):
    def vote(keys, image):
        return brightest(image)

    expected = smoothing.certifier(vote, num_classes=CLASSES, **VOTES)
    key = jax.random.fold_in(random_keys.key(7), configs.CERTIFY_STREAM)
    rows = jaxcert.certify_images(smoothed, IMAGES, LABELS, seed=7)
    same(rows, expected.certify(key, IMAGES, LABELS, np.arange(6)))
    assert smoothed.header == expected.header
    assert (rows.radius > 0).any()


def test_smooth_takes_arrays_that_are_no_constants():
    f = jax.tree_util.Partial(lambda scale, image: scale * brightest(image), 2.0)
    certifier = jaxcert.smooth(f, num_classes=CLASSES, procedure="predict", **VOTES)
    rows = jaxcert.certify_images(certifier, IMAGES[:2])
    assert rows.header["procedure"]["name"] == "predict" and (rows.radius == 0).all()


def test_predictor_says_what_the_rows_do(network, certificates, smoothed):
    for subject, rows in (
        (network, certificates),
        (smoothed, jaxcert.certify_images(smoothed, IMAGES)),
    ):
        predict = jaxcert.predictor(subject)
        said = [predict(image) for image in IMAGES]
        assert [one.predicted for one in said] == rows.predicted.tolist()
        np.testing.assert_allclose([p.radius for p in said], rows.radius, rtol=1e-12)
        assert [one.abstained for one in said] == (rows.predicted < 0).tolist()
        assert type(said[0].predicted) is int and type(said[0].radius) is float


def test_predictor_abstains():
    def coin(image):
        return (image.mean((1, 2, 3)) > 0.5).astype(jnp.int32)

    predict = jaxcert.predictor(jaxcert.smooth(coin, num_classes=2, **VOTES))
    assert predict(np.full(SHAPE, 0.5)) == (-1, 0.0, True)


def test_predictor_gives_no_class_where_no_output_is_finite():
    f = jaxcert.smooth(lambda x: brightest(x) * jnp.nan, num_classes=CLASSES, **VOTES)
    assert jaxcert.predictor(f)(IMAGES[0]) == (-2, 0.0, True)


@pytest.mark.parametrize(
    "f", [lambda x: brightest(x) * jnp.nan, lambda x: jnp.full(len(x), CLASSES)]
)
def test_images_without_a_class_are_warned_of(f):
    with pytest.warns(UserWarning, match=f"6 of 6 images .* 0 to {CLASSES - 1}"):
        rows = jaxcert.certify_images(
            jaxcert.smooth(f, num_classes=CLASSES, **VOTES), IMAGES
        )
    assert set(rows.predicted.tolist()) == {-2} and not rows.radius.any()


@pytest.mark.parametrize(
    "f, told",
    [
        (lambda x: np.zeros(len(np.asarray(x)), int), "function of NumPy arrays"),
        (lambda x: x @ jnp.zeros((7, 7)), "correct f"),
    ],
)
def test_a_function_that_takes_no_images_is_told_why(f, told):
    certifier = jaxcert.smooth(f, num_classes=CLASSES, **VOTES)
    with pytest.raises(InputError, match=told):
        jaxcert.certify_images(certifier, IMAGES)


def test_outputs_of_other_classes_name_their_number():
    certifier = jaxcert.smooth(
        lambda x: jnp.zeros((len(x), CLASSES + 1)), num_classes=CLASSES, **VOTES
    )
    with pytest.raises(InputError, match=f"num_classes={CLASSES + 1}"):
        jaxcert.certify_images(certifier, IMAGES)


def test_a_call_of_the_predictor_draws_noise_of_its_own(smoothed):
    image = np.full(SHAPE, 128, np.uint8)
    image[0] = 190
    rows = jaxcert.certify_images(smoothed, np.stack([image] * 4))
    assert len(set(rows.radius.tolist())) > 1
    predict = jaxcert.predictor(smoothed)
    with pytest.raises(InputError):
        predict(image / 1.0)  # counts for nothing
    assert [predict(image).radius for _ in range(4)] == rows.radius.tolist()


def test_other_certificates_of_a_network_by_their_settings():
    net = initial(small_cnn.make(CLASSES, SHAPE, width=2))
    rows = jaxcert.certify_images(net, IMAGES[:2], **VOTES)  # smoothing, its default
    assert rows.header["method"] == "smoothing" and rows.header["sigma"] == 0.25
    expected = smoothing.make(net, **VOTES)
    same(rows, jaxcert.certify_images(expected, IMAGES[:2]))


def test_records_are_written_once_and_read_again(certificates, tmp_path):
    path = tmp_path / "certificates.jsonl"
    jaxcert.write_records(path, certificates)
    same(jaxcert.open_records(path), certificates)
    same(jaxcert.open_records(tmp_path), certificates)
    before, others = path.read_bytes(), certificates._replace(index=np.arange(6, 12))
    with pytest.raises(InputError) as error:
        jaxcert.write_records(path, others)
    assert str(path) in str(error.value) and path.read_bytes() == before


def test_rows_that_are_refused_leave_no_file(certificates, tmp_path):
    path = tmp_path / "certificates.jsonl"
    twice = certificates._replace(index=np.zeros_like(certificates.index))
    with pytest.raises(InputError, match=names(path)):
        jaxcert.write_records(path, twice)
    assert not path.exists()
    jaxcert.write_records(path, certificates)


def test_a_path_is_no_certificates(tmp_path):
    for call in (jaxcert.recheck, lambda c: jaxcert.write_records(tmp_path / "x", c)):
        with pytest.raises(InputError) as error:
            call("certificates.jsonl")
        assert "certificates" in str(error.value) and "str" in str(error.value)
    with pytest.raises(InputError) as error:
        jaxcert.write_report([])
    assert str(error.value).startswith("paths ")


def test_recheck_finds_a_radius_that_is_too_large(certificates):
    assert jaxcert.recheck(certificates).holds
    radius = certificates.radius * np.where(np.arange(6) == 2, 1.001, 1)
    assert jaxcert.recheck(certificates._replace(radius=radius)).failing.tolist() == [2]


@pytest.mark.parametrize(
    "out, form, begins",
    [
        ("report.html", None, "<!DOCTYPE html>"),
        ("report.csv", None, "record,method,"),
        ("report.txt", None, "certified accuracy"),
        ("report.txt", "latex", "%"),
    ],
)
def test_form_of_a_report_follows_its_file(certificates, tmp_path, out, form, begins):
    jaxcert.write_records(tmp_path / "rows.jsonl", certificates)
    jaxcert.write_report(tmp_path / "rows.jsonl", tmp_path / out, form=form)
    assert (tmp_path / out).read_text().lower().startswith(begins.lower())


def test_report_is_printed_without_a_file(certificates, tmp_path, capsys):
    jaxcert.write_records(tmp_path / "rows.jsonl", certificates)
    jaxcert.write_report([tmp_path / "rows.jsonl"], radii=[0, 0.125])
    assert "0.125" in capsys.readouterr().out
    with pytest.raises(InputError) as error:
        jaxcert.write_report(tmp_path / "rows.jsonl", form="pdf")
    assert "form" in str(error.value) and "pdf" in str(error.value)


def test_objects_say_what_they_are_in_one_line(network, smoothed, certificates):
    state = TrainState(np.int32(3), network.params, network.state, (), (), None)
    with jax.enable_x64(True):
        wide = jax.tree.map(np.float64, network.params)
        bound = network.model.lipschitz_bound(
            wide, jax.jit(network.model.prepare)(wide, network.state)
        )
    empty = certificates._replace(
        **{
            k: v[:0]
            for k, v in certificates._asdict().items()
            if isinstance(v, np.ndarray)
        }
    )
    for one in (
        sources.open("digits", "test"),
        network,
        network.model,
        smoothed,
        Certifier({}, print),
        certificates,
        empty,
        state,
        bound,
        jaxcert.recheck(certificates),
    ):
        said = repr(one)
        assert said.startswith(f"{type(one).__name__}("), said
        assert "\n" not in said and len(said) < 130, said
    assert "797" in repr(sources.open("digits", "test"))
    assert "sigma 0.25" in repr(smoothed) and "6 images" in repr(certificates)


NAN = np.where(np.arange(6)[:, None, None, None] == 4, np.nan, IMAGES / 255)


@pytest.mark.parametrize(
    "named, value, given",
    [
        ("images", "(4, 4, 1)", dict(images=IMAGES[0])),
        ("images", "(6, 1, 4, 4)", dict(images=IMAGES.transpose(0, 3, 1, 2))),
        ("images", "(6, 5, 5, 1)", dict(images=np.zeros((6, 5, 5, 1), np.uint8))),
        ("images", "(0, 4, 4, 1)", dict(images=IMAGES[:0])),
        ("images", "int64", dict(images=IMAGES.astype(np.int64))),
        ("images", "255", dict(images=np.full((6, *SHAPE), 255.0))),
        ("images[4]", "finite", dict(images=NAN)),
        ("labels", "(5,)", dict(labels=LABELS[:5])),
        ("labels", "(6, 4)", dict(labels=np.eye(CLASSES)[LABELS])),
        ("labels", "float64", dict(labels=LABELS / 1)),
        ("labels", "4", dict(labels=LABELS + 1)),
        ("labels", "-1", dict(labels=LABELS - 1)),
        ("index", "(2,)", dict(index=[0, 1])),
        ("index", "twice", dict(index=[0, 1, 2, 3, 4, 4])),
        ("index", "whole", dict(index=[0.5, 1, 2, 3, 4, 5])),
        ("index", "2^32", dict(index=[0, 1, 2, 3, 4, 2**32])),
        ("images", "unequal", dict(images=[[1, 2], [3]])),
        ("batch", "0", dict(batch=0)),
        ("seed", "-1", dict(seed=-1)),
        ("network", "str", dict(network="runs/quickstart")),
        ("certificate", "lipshitz", dict(certificate="lipshitz")),
        ("sigma", "smoothing", dict(certificate="smoothing")),
        ("sigma", "lipschitz", dict(sigma=0.5)),
    ],
)
def test_a_mistake_names_its_argument(network, named, value, given):
    given = dict(network=network, images=IMAGES, labels=LABELS) | given
    with pytest.raises(InputError) as error:
        jaxcert.certify_images(**given)
    assert named in str(error.value) and value in str(error.value)


@pytest.mark.parametrize(
    "named, given",
    [
        ("sigma", dict(images=IMAGES, sigma=0.5)),
        ("certificate", dict(images=IMAGES, certificate="smoothing")),
        ("images", dict(images=IMAGES / 1.0)),
        ("labels", dict(images=IMAGES, labels=LABELS + 1)),
    ],
)
def test_a_mistake_with_a_certifier_names_its_argument(smoothed, named, given):
    with pytest.raises(InputError) as error:
        jaxcert.certify_images(smoothed, **given)
    assert str(error.value).startswith(f"{named} ")


@pytest.mark.parametrize(
    "image, value",
    [
        (IMAGES, "(6, 4, 4, 1)"),
        (IMAGES[0] / 1.0, "to 2"),
        (NAN[4], "finite"),
        (np.zeros((4, 4)), "(4, 4)"),
    ],
)
def test_a_mistake_in_one_image_is_named(network, image, value):
    with pytest.raises(InputError) as error:
        jaxcert.predictor(network)(image)
    assert str(error.value).startswith("image ") and value in str(error.value)


def test_what_cannot_be_smoothed():
    module = type("Linear", (), {"__module__": "torch.nn", "__call__": len})()
    for f in (IMAGES, module):
        with pytest.raises(InputError) as error:
            jaxcert.smooth(f, num_classes=CLASSES, **VOTES)
        assert str(error.value).startswith("f ")
    with pytest.raises(InputError) as error:
        jaxcert.smooth(brightest, num_classes=CLASSES, samples=9, **VOTES)
    assert str(error.value).startswith("samples ")


def test_numbers_of_numpy_can_be_written(tmp_path):
    given = dict(num_classes=np.int64(CLASSES), alpha=np.float32(0.01), n=np.int32(100))
    one = jaxcert.smooth(brightest, sigma=np.float32(0.25), **given)
    rows = jaxcert.certify_images(one, IMAGES, LABELS, seed=np.int64(1))
    jaxcert.write_records(tmp_path / "rows.jsonl", rows)
    assert jaxcert.recheck(jaxcert.open_records(tmp_path / "rows.jsonl")).holds


def test_only_the_first_call_of_a_predictor_compiles(network, caplog):
    own = jaxcert.smooth(lambda x: brightest(x), num_classes=CLASSES, **VOTES)
    for subject in (network, own):
        predict = jaxcert.predictor(subject)
        with jax.log_compiles():
            predict(IMAGES[0])
            if subject is own:  # the network's program may be there already
                assert "Compiling" in caplog.text
            caplog.clear()
            for image in IMAGES[1:]:
                predict(image)
        assert "Compiling" not in caplog.text


def test_images_have_four_dimensions_and_an_image_three():
    certifier = jaxcert.smooth(
        lambda x: x.mean((1, 2)), num_classes=3, sigma=0.5, n0=5, n=20
    )
    image = np.zeros((4, 5, 3), np.float32)  # as rows of pixels it would have 3 logits
    with pytest.raises(InputError, match=names("images", "(4, 5, 3)", "[N,H,W,C]")):
        jaxcert.certify_images(certifier, image)
    with pytest.raises(InputError, match=names("image", "(4, 5)", "[H,W,C]")):
        jaxcert.predictor(certifier)(image[..., 0])
    assert "Predictor(" in repr(jaxcert.predictor(certifier))


@pytest.mark.parametrize(
    "call,said",
    [
        (lambda: jaxcert.load(None), ("workdir", "NoneType")),
        (lambda: jaxcert.open_records([]), ("path", "list", "[]")),
        (lambda: jaxcert.write_report(None), ("paths", "NoneType")),
        (lambda: jaxcert.write_report("a.jsonl", out=3), ("out", "int", 3)),
        (lambda: jaxcert.write_report("a.jsonl", out="b.xyz"), ("out", "'.xyz'")),
    ],
)
def test_what_is_no_path_is_refused_by_the_name_of_its_argument(call, said):
    with pytest.raises(InputError, match=names(*said)):
        call()


def test_images_that_look_like_channels_first_are_warned_of():
    votes = jaxcert.smooth(
        lambda x: x.reshape(len(x), -1)[:, :CLASSES],
        num_classes=CLASSES,
        sigma=0.5,
        n=20,
    )
    image = np.zeros((2, 3, 8, 8), np.float32)
    with pytest.warns(UserWarning, match=r"\(2, 3, 8, 8\).*np\.moveaxis\(images, -3"):
        jaxcert.certify_images(votes, image)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        jaxcert.certify_images(votes, np.moveaxis(image, -3, -1))
    with pytest.warns(UserWarning, match=r"image has the shape \(3, 8, 8\)"):
        jaxcert.predictor(votes)(image[0])
