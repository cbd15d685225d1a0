"""Classifiers outside of JAX: the same votes as of a JAX function, each noisy image passed once,
and what fails is never a vote for a class."""

from __future__ import annotations

import functools
import http.server
import io
import json
import re
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from refusals import names

import jaxcert
from jaxcert import audit, random_keys
from jaxcert.certificates import bounding, hosting
from jaxcert.host import answers
from jaxcert.interfaces import HostVote

SHAPE, CLASSES = (2, 3, 2), 4
IMAGES = np.random.default_rng(3).integers(0, 256, (3, *SHAPE), np.uint8)
WEIGHTS = np.random.default_rng(4).normal(size=(12, CLASSES)).astype(np.float32)
VOTES = dict(num_classes=CLASSES, sigma=0.25, n0=20, n=200)


def linear(image, np=np):
    return np.asarray(image.reshape(len(image), -1) @ WEIGHTS)


def certify(f, images=IMAGES, **options):
    return jaxcert.certify_images(jaxcert.smooth(f, **VOTES | options), images)


class Seen(list):
    """A function that keeps the images it was called with, and the images of each call."""

    def __call__(self, image):
        self.append(image)
        return linear(image)

    @property
    def images(self):
        return sum(map(len, self))


@pytest.mark.parametrize(
    "options",
    [
        dict(chunk=7, noise="grid", rival="runner_up"),
        dict(procedure="radii", radii=(0.05, 0.1, 0.2)),
    ],
)
def test_votes_are_those_of_the_same_function_in_jax(options):
    seen = Seen()
    hosted = certify(jaxcert.on_host(seen), **options)
    traced = certify(functools.partial(linear, np=jnp), **options)
    np.testing.assert_array_equal(hosted.counts, traced.counts)
    np.testing.assert_array_equal(hosted.selection, traced.selection)
    np.testing.assert_array_equal(hosted.radius, traced.radius)
    assert seen.images == hosted.n.sum() + 3 * 20  # each sample once
    assert {len(x) for x in seen[:-1]} <= {options.get("chunk", 660), 60, 300}
    noisy = np.concatenate(seen)
    assert noisy.shape[1:] == SHAPE and noisy.dtype == np.float32
    assert len(np.unique(noisy.reshape(len(noisy), -1), axis=0)) == len(noisy)


def test_a_function_may_write_into_its_images():
    def careless(image):
        image *= 2
        return linear(image)

    hosted = certify(jaxcert.on_host(careless), chunk=7)
    np.testing.assert_array_equal(
        hosted.counts, certify(jaxcert.on_host(linear)).counts
    )


def test_samples_whose_noise_was_not_drawn_are_not_passed():
    @jax.tree_util.Partial
    def noise(key, image):
        return image, jax.random.bits(key) % 2 == 0

    seen = Seen()
    vote = HostVote(lambda x, k: seen(x).argmax(1), {})
    count = hosting.counter(vote, noise, num_classes=CLASSES, chunk=16)
    work = IMAGES, np.array([0, 1]), np.array([0, 5]), np.array([30, 10])
    votes = count(random_keys.key(0), np.arange(3), *work)
    assert 5 < votes[0].sum() < 25 and votes.sum() == seen.images < 40
    alone = count(
        random_keys.key(0),
        np.arange(3),
        *(x[1:] if x is not IMAGES else x for x in work),
    )
    np.testing.assert_array_equal(votes[1:], alone)


def test_exceptions_of_a_function_arrive_as_they_are():
    def broken(image):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        certify(jaxcert.on_host(broken))


@pytest.mark.parametrize(
    "answer, said",
    [
        (lambda x: np.zeros((len(x), 5)), ("5 outputs", "4 classes")),
        (lambda x: np.full(len(x), 4), ("class 4", "num_classes is 4")),
        (lambda x: np.zeros(len(x)), ("float64", "660")),
        (lambda x: np.zeros((3, 4)), ("[3, 4]", "660")),
        (lambda x: np.zeros((len(x), 4), int), ("int64", "660")),
        (lambda x: [[1.0], [1.0, 2.0]], ("object", "660")),
        (lambda x: None, ("object", "660")),
    ],
)
def test_answers_that_are_no_votes(answer, said):
    with pytest.raises(jaxcert.InputError) as error:
        certify(jaxcert.on_host(answer))
    for part in ("f gives", *said):
        assert part in str(error.value)


def test_logits_that_are_not_finite_are_no_votes():
    def some(image):
        return np.where(image[:, :1, 0, 0] > 0.5, np.nan, linear(image))

    with pytest.warns(UserWarning, match="not finite"):
        rows = certify(jaxcert.on_host(some))
    assert (rows.counts.sum(1) < 200).any() and (rows.n == 200).all()
    clean = certify(jaxcert.on_host(linear))
    assert (rows.counts <= clean.counts).all() and (rows.radius <= clean.radius).all()
    with pytest.warns(UserWarning, match="not finite"):
        rows = certify(jaxcert.on_host(lambda x: linear(x) * np.inf))
    assert (rows.predicted == -2).all() and (rows.radius == 0).all()
    assert answers.classes_of([-7, 3], 2, 4, "f").tolist() == [-1, 3]


@pytest.mark.parametrize(
    "f", [lambda x: linear(np.asarray(x)), lambda x: np.linalg.norm(x, axis=(1, 2))]
)
def test_a_function_of_numpy_is_told_of_on_host(f):
    with pytest.raises(jaxcert.InputError, match=names("f", "on_host")):
        certify(f)


def test_what_no_classifier_is():
    for f in (3, None, IMAGES):
        with pytest.raises(jaxcert.InputError, match=names("f", type(f).__name__)):
            jaxcert.on_host(f)
    with pytest.raises(jaxcert.InputError, match=names("mesh")):
        jaxcert.smooth(
            jaxcert.on_host(linear), mesh=jax.make_mesh((1,), "data"), **VOTES
        )


def test_a_classifier_that_has_changed_is_not_certified():
    calls = []

    def check():
        calls.append("check")
        if len(calls) > 1:
            raise jaxcert.InputError("it has changed.")

    vote = jaxcert.on_host(linear)._replace(check=check)
    certifier = jaxcert.smooth(vote, **VOTES)
    jaxcert.certify_images(certifier, IMAGES)
    assert calls == ["check"]
    with pytest.raises(jaxcert.InputError, match=names("changed")):
        jaxcert.certify_images(certifier, IMAGES)


def test_records_say_what_fixes_the_classifier(tmp_path):
    rows = certify(jaxcert.on_host(linear, name="linear, version 3"))
    base = rows.header["base"]
    assert base["name"] == "function" and base["stated"] == "linear, version 3"
    assert "digest" not in base
    path = tmp_path / "rows.jsonl"
    jaxcert.write_records(path, rows)
    assert audit.audit(path)[:2] == (0, [])
    done = subprocess.run(
        [sys.executable, Path(audit.__file__), "--exact", path], capture_output=True
    )
    assert done.returncode == 0, done.stdout
    check = jaxcert.recheck(jaxcert.open_records(path))
    assert check.holds and check.checked == (rows.predicted >= 0).sum() > 0
    assert any("version 3" in note for note in check.notes)
    jaxcert.write_report(path, tmp_path / "report.txt")
    assert "function (linear, version 3)" in (tmp_path / "report.txt").read_text()


def test_the_predictor_and_the_plan_call_it():
    seen = Seen()
    certifier = jaxcert.smooth(jaxcert.on_host(seen), **VOTES)
    rows, predict = (
        jaxcert.certify_images(certifier, IMAGES),
        jaxcert.predictor(certifier),
    )
    assert [predict(x).radius for x in IMAGES] == rows.radius.tolist()
    before = seen.images
    plan = certifier.plan(random_keys.key(0), IMAGES)
    assert plan.samples == 220 and plan.rate > 0 and plan.memory > 0
    assert seen.images > before


class Failing:
    """An oracle of one image at a time that raises for the questions whose number is in
    `fails`, and keeps all that it was asked."""

    def __init__(self, fails):
        self.fails, self.asked = fails, []

    def __call__(self, image):
        self.asked.append(image.copy())
        image[:] = 0  # which must not reach the next attempt
        if self.fails(len(self.asked) - 1):
            raise OSError("the line is down")
        return linear(self.asked[-1][None])[0]


def oracle(ask, **options):
    return jaxcert.oracle(ask, **dict(name="it, version 1", wait=0.0) | options)


def test_an_oracle_is_asked_again_for_the_same_noisy_image():
    ask = Failing(lambda i: i % 3 == 1)
    rows = certify(oracle(ask), IMAGES[:1], n=40)
    np.testing.assert_array_equal(
        rows.counts, certify(jaxcert.on_host(linear), IMAGES[:1], n=40).counts
    )
    asked = np.stack(ask.asked).reshape(len(ask.asked), -1)
    np.testing.assert_array_equal(asked[1::3], asked[2::3])
    assert len(np.unique(asked, axis=0)) == 60 and len(asked) == 90


def test_what_fails_for_good_stays_in_n(tmp_path):
    ask = Failing(lambda i: i % 4 in (1, 2))
    with pytest.warns(UserWarning, match="line is down") as warned:
        rows = certify(oracle(ask, retries=1), IMAGES[:1])
    assert len(warned) == 1
    clean = certify(jaxcert.on_host(linear), IMAGES[:1])
    assert rows.n[0] == 200 > rows.counts.sum() > 100
    assert (rows.counts <= clean.counts).all()
    assert rows.predicted[0] == clean.predicted[0] and rows.radius < clean.radius
    path = tmp_path / "rows.jsonl"
    jaxcert.write_records(path, rows)
    assert audit.audit(path)[:2] == (0, []) and jaxcert.recheck(rows).checked == 1
    with pytest.raises(jaxcert.InputError, match=names("runner_up")):
        bounding.again(rows, "runner_up")
    forged = rows.header | {"procedure": rows.header["procedure"] | {"rival": "auto"}}
    with pytest.raises(jaxcert.InputError, match=names("may fail")):
        jaxcert.recheck(rows._replace(header=forged))


@pytest.mark.parametrize("option", [dict(rival="auto"), dict(procedure="predict")])
def test_answers_that_never_came_may_be_of_another_class(option):
    (value,) = option.values()
    with pytest.raises(jaxcert.InputError, match=names(value, "oracle")):
        jaxcert.smooth(oracle(len), **VOTES, **option)
    jaxcert.smooth(jaxcert.on_host(linear), **VOTES, **option)


def test_an_oracle_that_never_answered_ends_at_once():
    ask = Failing(lambda i: True)
    with pytest.raises(
        jaxcert.InputError, match=names("it, version 1", "line is down")
    ):
        certify(oracle(ask, retries=2))
    assert len(ask.asked) == 3
    calls = []

    def eleven(image):
        calls.append(image)
        return np.zeros(11)

    with pytest.raises(jaxcert.InputError, match=names("11 outputs", "4 classes")):
        certify(oracle(eleven))
    assert len(calls) == 1


@pytest.mark.filterwarnings("ignore:.*failed for good")
def test_a_budget_is_never_exceeded_and_loses_nothing():
    seen = Seen()
    with pytest.warns(UserWarning, match=names("budget", "400")):
        rows = certify(oracle(seen, batch=30, budget=400))
    assert 400 - 30 < seen.images <= 400 and {len(x) for x in seen} == {30}
    assert rows.counts.sum() + rows.selection.sum() == seen.images
    assert rows.predicted[0] >= 0 and (rows.predicted[2], rows.radius[2]) != (0, 0)
    assert jaxcert.recheck(rows).holds
    ask = Failing(lambda i: i > 0)
    with pytest.warns(UserWarning, match="budget"):
        certify(oracle(ask, retries=5, budget=10), IMAGES[:1])
    assert len(ask.asked) == 10  # asking again counts


def test_radii_ask_no_more_than_they_need():
    seen = Seen()
    asked = dict(procedure="radii", radii=(0.01,), n=10_000)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rows = certify(oracle(seen, batch=50, budget=2000), **asked)
    assert (rows.radius == 0.01).any() and seen.images == rows.n.sum() + 60 < 2000


@pytest.mark.parametrize(
    "given, said",
    [
        (dict(budget=0), ("budget", "0")),
        (dict(retries=-1), ("retries", "-1")),
        (dict(wait=np.nan), ("wait", "nan")),
        (dict(batch=1.5), ("batch", "1.5")),
        (dict(name=""), ("name",)),
        (dict(ask="ftp://host/x"), ("ask", "http://")),
        (dict(ask=3), ("ask", "int")),
    ],
)
def test_an_oracle_that_cannot_be_asked(given, said):
    with pytest.raises(jaxcert.InputError, match=names(*said)):
        oracle(**dict(ask=len) | given)


@pytest.fixture
def served(monkeypatch):
    """(address, the images of each question, statuses to answer with first)."""
    images, statuses = [], []
    monkeypatch.setenv("no_proxy", "127.0.0.1")

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            images.append(np.load(io.BytesIO(body), allow_pickle=False))
            status = statuses.pop(0) if statuses else 200
            self.send_response(status)
            self.end_headers()
            x = images[-1]
            found = (linear(x.reshape(-1, *SHAPE)) * 64).round()
            found = found.argmax(1) if self.path == "/classes" else found.astype(int)
            found = found if x.ndim == 4 else found[0]
            self.wfile.write(json.dumps(found.tolist()).encode())

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", images, statuses
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    "path, batch", [("/classes", 25), ("/logits", 25), ("/logits", 0)]
)
def test_an_address_is_asked(served, path, batch):
    address, images, statuses = served
    statuses += [200, 503, 429]
    rows = certify(oracle(address + path, batch=batch), IMAGES[:1], n=30)
    expected = certify(
        jaxcert.on_host(lambda x: (linear(x) * 64).round()), IMAGES[:1], n=30
    )
    np.testing.assert_array_equal(rows.counts, expected.counts)
    np.testing.assert_array_equal(images[1], images[3])
    assert (
        images[0].shape == (25, *SHAPE)[not batch :] and images[0].dtype == np.float32
    )
    assert len(images) == 2 + (2 if batch else 50)
    assert address not in json.dumps(rows.header)


def test_an_address_that_refuses_is_not_asked_again(served):
    address, images, statuses = served
    statuses += [403]
    with pytest.raises(jaxcert.InputError, match=names("it, version 1", "403")):
        certify(oracle(address + "/classes"))
    assert len(images) == 1
    statuses += [200, 404]
    with pytest.warns(UserWarning, match="404"):
        rows = certify(oracle(address + "/classes", batch=50), IMAGES[:1])
    assert rows.counts.sum() + rows.selection.sum() == 170 and len(images) == 1 + 5


def blocks(page, *without):
    """The examples of a page that do without some packages."""
    found = re.findall(
        r"^```python\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE
    )
    return [text for text in found if not any(word in text for word in without)]


@pytest.mark.filterwarnings("ignore:.*budget")
def test_examples_of_the_page_run_and_are_continued(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page = Path(__file__).parents[1] / "docs/howto/existing.md"
    found = blocks(page, "torch", "onnx")
    assert len(found) == 3
    for text in (*found, found[-1]):
        names = {"__name__": "example"}
        exec(compile(text, "example", "exec"), names)
    assert audit.audit("rows.jsonl")[:2] == (0, [])
    rows = jaxcert.open_records("rows.jsonl")
    assert rows.index.tolist() == list(range(20)) and (rows.radius > 0).any()
