"""The endpoint answers what the predictor says, within its deadline, and refuses the rest."""

from __future__ import annotations

import http.client
import io
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image

import jaxcert
from jaxcert.api import serving

SHAPE = (2, 3, 1)
DRAW = np.random.default_rng(0)


def classify(images):
    """Three classes by brightness."""
    return np.digitize(images.mean((1, 2, 3)), [0.3, 0.6])


def certifier(**options):
    options = dict(sigma=0.25, n0=10, n=200, alpha=0.01, image_shape=SHAPE) | options
    f = jaxcert.on_host(options.pop("f", classify))
    return jaxcert.smooth(f, num_classes=3, **options)


class Running:
    """A server in a thread, and what is asked of it."""

    def __init__(self, certifier, seed=5, **options):
        self.server = jaxcert.Server(
            jaxcert.predictor(certifier, seed=seed), port=0, **options
        )
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def ask(
        self, body=b"", kind="application/x-npy", path="/certify", verb="POST", **h
    ):
        place = urlsplit(self.server.url)
        line = http.client.HTTPConnection(place.hostname, place.port, timeout=60)
        headers = {"Content-Type": kind} | {
            k.replace("_", "-"): v for k, v in h.items()
        }
        line.request(verb, path, body, headers)
        answer = line.getresponse()
        found = answer.status, json.loads(answer.read())
        line.close()
        return found


@pytest.fixture(scope="module")
def running():
    with Running(certifier()) as found:
        yield found


def npy(image):
    file = io.BytesIO()
    np.save(file, image)
    return file.getvalue()


def test_answers_are_those_of_the_predictor():
    images = DRAW.integers(0, 256, (6, *SHAPE), dtype=np.uint8)
    images[0] = 127  # far from the boundaries of its class
    predict = jaxcert.predictor(certifier(), seed=5)
    with Running(certifier()) as running:
        for image in images:
            status, found = running.ask(npy(image))
            wanted = predict(image)
            assert status == 200 and found["radius"] == wanted.radius
            assert (
                (found["predicted"] is None) == found["abstained"] == wanted.abstained
            )
            assert found["predicted"] in (None, wanted.predicted)
            assert (
                found["n"] == 200 and found["alpha"] == 0.01 and found["norm"] == "l2"
            )
            assert (found["reason"] == "not sure") == wanted.abstained


def test_an_image_comes_as_npy_picture_or_json(running):
    image = np.full(SHAPE, 127, np.uint8)
    picture = io.BytesIO()
    Image.fromarray(image[..., 0]).save(picture, "png")
    text = json.dumps({"image": (image / 255).tolist()}).encode()
    for kind, body in {
        "application/x-npy": npy(image),
        "image/png": picture.getvalue(),
        "application/json": text,
    }.items():
        status, found = running.ask(body, kind)
        assert status == 200 and found["predicted"] == 1 and found["radius"] > 0.1, kind


def test_photographs_are_resized_where_the_run_resizes():
    picture = io.BytesIO()
    Image.new("L", (30, 44), 127).save(picture, "png")
    with Running(certifier(image_shape=(4, 4, 1)), resize=(4,)) as running:
        for body, kind in (
            (picture.getvalue(), "image/png"),
            (npy(np.full((9, 7, 1), 127, np.uint8)), "application/x-npy"),
        ):
            status, found = running.ask(body, kind)
            assert status == 200 and found["predicted"] == 1


def test_what_answers_is_said(running):
    status, found = running.ask(path="/", verb="GET")
    assert status == 200
    assert found["method"] == "smoothing" and found["image_shape"] == list(SHAPE)
    assert found["procedure"]["name"] == "certify" and found["num_classes"] == 3


IMAGE = npy(np.zeros(SHAPE, np.uint8))
REFUSED = {
    "another place": (404, dict(path="/"), b"{}"),
    "another place to read": (404, dict(path="/x", verb="GET"), b""),
    "another shape": (400, {}, npy(np.zeros((3, 2, 1), np.uint8))),
    "whole numbers": (400, {}, npy(np.zeros(SHAPE, np.int64))),
    "beyond 1": (400, {}, npy(np.full(SHAPE, 1.5))),
    "not finite": (400, {}, npy(np.full(SHAPE, np.nan))),
    "objects": (400, {}, npy(np.array([None]))),
    "no image": (400, {}, b"\x93NUMPY"),
    "no picture": (400, dict(kind="image/png"), b"\x89PNG"),
    "no JSON": (400, dict(kind="application/json"), b"{"),
    "another key": (400, dict(kind="application/json"), b'{"images": []}'),
    "unequal rows": (400, dict(kind="application/json"), b'{"image": [[1], [1, 2]]}'),
    "another type": (400, dict(kind="text/plain"), b"1"),
    "a deadline that is none": (400, dict(path="/certify?deadline=soon"), IMAGE),
    "a deadline of 0": (400, dict(path="/certify?deadline=0"), IMAGE),
    "a deadline of nan": (400, dict(path="/certify?deadline=nan"), IMAGE),
    "another parameter": (400, dict(path="/certify?alpha=0.5"), IMAGE),
    "a long body": (413, dict(Content_Length=str(2**40)), b"1"),
}


def test_a_picture_of_another_size_is_told_what_the_network_takes(running):
    image = pytest.importorskip("PIL.Image")
    file = io.BytesIO()
    image.fromarray(np.zeros((9, 7, 3), np.uint8)).save(file, "PNG")
    status, found = running.ask(file.getvalue(), "image/png")
    assert status == 400 and f"the network takes {SHAPE}" in found["error"]
    assert "(9, 7, 3)" in found["error"]


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_request_gets_a_sentence_and_the_next_one_an_answer(running, case):
    status, how, body = REFUSED[case]
    found = running.ask(body, **how)
    assert found[0] == status and found[1]["error"].endswith((".", "}"))
    assert running.ask(IMAGE)[0] == 200


def test_a_failure_of_ours_is_500_and_the_server_stays(capsys):
    fails = [True]

    def sometimes(images):
        if fails.pop() if fails else False:
            raise ZeroDivisionError("by design")
        return classify(images)

    with Running(certifier(f=sometimes)) as running:
        status, found = running.ask(IMAGE)
        assert status == 500 and "by design" not in found["error"]
        assert running.ask(IMAGE)[0] == 200
    assert "by design" in capsys.readouterr().err


def slowly(images):
    time.sleep(0.002 * len(images))
    return classify(images)


@pytest.mark.parametrize("procedure", ["certify", "sequence"])
def test_a_deadline_ends_what_takes_longer(procedure):
    """Of 20,000 votes, which take 40 seconds."""
    options = dict(f=slowly, n=20_000, n0=5, procedure=procedure, chunk=10)
    options |= dict(rho=0.001) if procedure == "sequence" else {}
    image = npy(np.full(SHAPE, 127, np.uint8))
    with Running(certifier(**options), deadline=30.0) as running:
        began = time.monotonic()
        status, found = running.ask(image, path="/certify?deadline=1")
        assert status == 200 and time.monotonic() - began < 20
        if procedure == "certify":
            assert found["abstained"] and found["reason"] == "deadline"
            assert found["radius"] == 0 and found["predicted"] is None
            return
        if found["abstained"]:  # on a machine that is busy
            assert found["reason"] == "deadline"
            status, found = running.ask(image, path="/certify?deadline=15")
        assert found["predicted"] == 1 and 0 < found["radius"] < 0.25 * 4
        assert 100 <= found["n"] < 20_000


def test_who_waits_too_long_or_is_too_many_is_told():
    gate, began = threading.Event(), threading.Event()

    def held(images):
        began.set()
        gate.wait(60)
        return classify(images)

    with Running(certifier(f=held), waiting=2) as running, ThreadPoolExecutor() as pool:
        first = pool.submit(running.ask, IMAGE)
        assert began.wait(60)
        status, late = running.ask(IMAGE, path="/certify?deadline=0.05")
        assert status == 200 and late["reason"] == "deadline" and late["n"] == 0
        second = pool.submit(running.ask, IMAGE)
        until = time.monotonic() + 60
        while running.server._places._value and time.monotonic() < until:
            time.sleep(0.01)
        assert running.ask(IMAGE)[0] == 503
        gate.set()
        assert first.result()[0] == second.result()[0] == 200
        assert running.ask(IMAGE)[0] == 200


def test_a_network_that_is_evaluated_once_answers_too():
    seen = []

    class Once:
        header = dict(method="lipschitz", norm="l2", alpha=0)
        image_shape, stops = SHAPE, False

        def certify(self, image, *, deadline):
            seen.append(deadline)
            return jaxcert.Certificates(
                *(np.array([x]) for x in (0, -1, 2, 0.5, 1, 0.0)), header=self.header
            )

    server = serving.Server(Once(), port=0, deadline=9.0)
    with server:
        found = server.answer(np.zeros(SHAPE, np.float32), time.monotonic() + 9)
        assert found["predicted"] == 2 and found["radius"] == 0.5
        late = server.answer(np.zeros(SHAPE, np.float32), time.monotonic() - 1)
        assert late["reason"] == "deadline" and late["predicted"] is None
    assert len(seen) == 1 and 0 < seen[0] <= 9


@pytest.mark.slow
def test_many_clients_at_once_get_answers_of_their_own():
    """Load on loopback: every answer is that of its image, and no noise is used twice."""
    images = np.repeat([20, 127, 230], 100).astype(np.uint8)
    DRAW.shuffle(images)
    wanted = np.digitize(images / 255, [0.3, 0.6])
    options = dict(n=2000, procedure="sequence")
    with Running(certifier(**options), waiting=100) as running:
        running.ask(IMAGE)  # compiles

        def ask(level):
            began = time.monotonic()
            body = npy(np.full(SHAPE, level, np.uint8))
            status, found = running.ask(body, path="/certify?deadline=30")
            return status, found, time.monotonic() - began

        began = time.monotonic()
        with ThreadPoolExecutor(16) as pool:
            found = list(pool.map(ask, images))
        took = time.monotonic() - began
        assert next(running.server.predictor._calls) == len(images) + 1
    assert {status for status, _, _ in found} == {200}
    answers = [one["predicted"] for _, one, _ in found]
    answered = [(a, w) for a, w in zip(answers, wanted, strict=True) if a is not None]
    assert len(answered) > 0.9 * len(images) and all(a == w for a, w in answered)
    seconds = sorted(seconds for *_, seconds in found)
    print(f"{len(images) / took:.0f} answers/s, median {seconds[150]:.3f} s")
