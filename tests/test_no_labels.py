"""Images without labels are certified like others, and nothing says that an answer is right."""

from __future__ import annotations

import json
from functools import partial

import jax
import numpy as np
import pytest
from refusals import names

import jaxcert
from jaxcert import attack, audit, certify, merge, random_keys, report, serve
from jaxcert import config as configs
from jaxcert.api import serving
from jaxcert.certificate import NO_LABEL
from jaxcert.certificates import inputs, recertifying
from jaxcert.data import sources
from jaxcert.interfaces import Network
from jaxcert.workdirs.checkpoint import Checkpoints
from tests.command_line import end

TEST = sources.open("digits", "test")
COUNT = 6


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    """A workdir of a network that nobody trained, with the record of the first test images, and
    the same images without labels in `images`."""
    path = tmp_path_factory.mktemp("unlabelled")
    config = configs.base()
    config.model = dict(
        name="small_cnn", image_shape=(8, 8, 1), num_classes=10, width=2
    )
    config.method = dict(name="gaussian", sigma=0.01)
    votes = dict(name="smoothing", sigma=0.01, n0=5, n=60, alpha=0.01)
    config.certify.update(stop=COUNT, **votes)
    config.reference.update(paper="A", table="1", radius=0.25, clean=90.0)
    configs.save(config, path / "config.json")
    model = configs.build("models", config.model)
    net = Network(model, *jax.jit(model.init)(random_keys.key(0)))
    with Checkpoints(path) as checkpoints:
        checkpoints.save_evaluation(net.params, net.state)
    (path / "images").mkdir()
    np.savez(path / "images" / "test.npz", image=np.asarray(TEST.image[:COUNT]))
    assert certify.main(["--workdir", str(path)]) == 0
    data = f"--config.data.name=npz:{path / 'images'}"
    out = str(path / "rows.jsonl")
    again = ["--workdir", str(path), data, "--out", out]
    for stop in (2, 0):  # continued
        assert certify.main([*again, f"--config.certify.stop={stop}"]) == 0
    return path


def test_rows_are_those_of_the_labelled_images_but_for_the_label(workdir):
    known, rows = (
        jaxcert.open_records(workdir / name)
        for name in ("certificates.jsonl", "rows.jsonl")
    )
    assert known.labelled and known.label.tolist() == TEST.label[:COUNT].tolist()
    assert (rows.label == NO_LABEL).all() and not rows.correct.any()
    assert '"label": null' in (workdir / "rows.jsonl").read_text()
    for name in ("index", "predicted", "radius", "n", "counts", "selection"):
        np.testing.assert_array_equal(getattr(rows, name), getattr(known, name))
    assert rows.header["num_classes"] == 10
    assert (rows.counted == (rows.predicted >= 0)).all()
    assert (known.counted == known.correct).all()


def test_checks_pass_and_notice_what_they_notice_with_labels(workdir, tmp_path):
    path = workdir / "rows.jsonl"
    assert audit.audit(path)[0] == 0
    assert jaxcert.recheck(jaxcert.open_records(path)).holds
    again = recertifying.recertify(workdir, path, images=2)  # of these images
    assert again.n == 60 and (again.p_value > 0.001).all()
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    row = next(row for row in lines[1:] if row["predicted"] >= 0)
    row["radius"] *= 1.01
    forged = tmp_path / "forged.jsonl"
    forged.write_text("\n".join(map(json.dumps, lines)) + "\n")
    assert audit.audit(forged)[0] == 1
    assert not jaxcert.recheck(jaxcert.open_records(forged)).holds


def test_report_has_radii_and_no_accuracy(workdir, capsys):
    path = workdir / "rows.jsonl"
    rows = jaxcert.open_records(path)
    share = f"{100 * (rows.predicted >= 0).mean():.1f}"
    forms = {}
    for form in ("text", "csv", "latex", "html"):
        assert report.main([str(path), "--format", form, "--radii", "0,0.01"]) == 0
        forms[form] = capsys.readouterr().out
    said = forms["text"].lower()
    assert "classes of the images are not known" in said and share in said
    assert "radius of the images with a class: mean" in said
    for form, text in forms.items():
        text = text.lower()
        for word in ("accuracy in %", "correctly", "wrong class", "of the correct"):
            assert word not in text, (form, word)
        assert "certified accuracy" not in text and "published" not in text, form
    assert "average radius" not in said + forms["html"].lower()
    head, row = (line.split(",") for line in forms["csv"].splitlines())
    cells = dict(zip(head, row, strict=True))
    assert float(cells["with_class_0"]) == pytest.approx((rows.predicted >= 0).mean())
    assert (
        "certified_0" not in cells and cells["acr"] == cells["wrong_certified_0"] == ""
    )


def test_what_needs_labels_is_refused(workdir, capsys):
    ends = partial(end, capsys)
    rows, known = workdir / "rows.jsonl", workdir / "certificates.jsonl"
    for form in ("tsv", "csv-classes", "csv-votes"):
        status, said = ends(report, rows, "--format", form)
        assert status == 2 and "label" in said, form
    status, said = ends(report, rows, known)
    assert status == 2 and "labels" in said
    data = f"--config.data.name=npz:{workdir / 'images'}"
    status, said = ends(
        attack, "--workdir", workdir, data, "--out", workdir / "a.jsonl"
    )
    assert status == 2 and "label" in said
    status, said = ends(merge, rows, known, "--out", workdir / "both.jsonl")
    assert status == 2 and not (workdir / "both.jsonl").exists()


def test_an_image_that_lost_its_label_is_no_accuracy_of_the_others(workdir, tmp_path):
    lines = (workdir / "certificates.jsonl").read_text().splitlines()
    row = json.loads(lines[1]) | {"label": None}
    path = tmp_path / "some.jsonl"
    header = json.loads(lines[0])
    header.pop("config"), header.pop("dataset")
    path.write_text("\n".join([json.dumps(header), json.dumps(row), *lines[2:]]) + "\n")
    some = jaxcert.open_records(path)
    assert not some.labelled and not some.correct[0]
    assert np.isnan(jaxcert.certificate.certified_accuracy(some, [0.0])).all()
    assert (some.counted == (some.predicted >= 0)).all()


def test_the_command_serves_the_run(workdir, monkeypatch, capsys):
    asked = []

    def once(server):
        asked.append((server, server.answer(np.asarray(TEST.image[0]), None)))

    monkeypatch.setattr(serving.Server, "serve_forever", once)
    given = ["--workdir", str(workdir), "--port", "0"]
    assert serve.main([*given, "--deadline", "30", "--waiting", "3"]) == 0
    assert serve.main(given) == 0
    (first, answer), (second, _) = asked
    assert first.url in capsys.readouterr().err
    assert (first.deadline, second.deadline) == (30, None) and answer["n"] == 60
    # nobody knows the noise of either
    assert first.predictor._seed != second.predictor._seed
    for words in (["--deadline", "soon"], ["--deadline", "0"], ["--port", "70000"]):
        status, said = end(capsys, serve, *given, *words)
        assert status == 2 and words[0].strip("-") in said


def test_a_label_below_none_is_refused():
    inputs.check_label([NO_LABEL, 3])
    with pytest.raises(jaxcert.InputError, match=names("label", "-1")):
        inputs.check_label([-2])
