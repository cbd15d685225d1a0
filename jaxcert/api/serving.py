"""A predictor behind a small HTTP endpoint of the standard library.

    GET /             what answers: method, norm, sigma, alpha, procedure, image_shape, classes
    POST /certify     one image -> its class or an abstention, and the radius

The image is the body: a picture (image/png, image/jpeg, ...), an npy file [H,W,C]
(application/x-npy), or {"image": [[[0.5, ...], ...], ...]} in [0, 1] (application/json).
`/certify?deadline=0.2` asks for an answer within so many seconds of the request's arrival. One
image is certified at a time, and those that wait for it are at most `waiting`.
"""

from __future__ import annotations

import io
import json
import threading
import time
import traceback
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
from ml_collections import ConfigDict

from jaxcert import config as configs
from jaxcert import sharding, version
from jaxcert.api.certifying import Predictor
from jaxcert.certificate import ABSTAIN
from jaxcert.certificates import building
from jaxcert.data import pictures, resizing
from jaxcert.errors import InputError, above, whole_from, within
from jaxcert.workdirs import checkpoint

_LARGEST = 1 << 26
"""The most bytes of a request."""
_SECONDS = 30.0
"""A client that sends nothing for so long is given up."""
_NEAR = 1 / 8
"""The part of a deadline below which a count that abstains was ended by it: a piece of a count
is rarely longer, see `deadlines.in_pieces`."""
_SHOWN = ("method", "norm", "alpha", "sigma", "procedure", "num_classes")


class Server(ThreadingHTTPServer):
    """An HTTP server that answers with the certificates of a predictor. It listens already:
    `serve_forever()` answers until `shutdown()` of another thread, and `url` is its address.
    `jaxcert serve --help` describes requests and answers.

    host, port: where to listen; port 0: a free one. deadline: seconds in which a request that
    names none is answered, None: as long as it takes. waiting: images that may wait; others get
    the status 503. resize: (side,) or (side, cut), as of config.data.resize, for images of other
    sizes; radii are then those of the resized image.

    Give the predictor a secret seed where others choose the images. Raises InputError for a port,
    deadline or number that is none, and where nobody can listen there.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(
        self,
        predictor: Predictor,
        *,
        host: str = "127.0.0.1",
        port: int = 8000,
        deadline: float | None = None,
        waiting: int = 64,
        resize: tuple[int, ...] = (),
    ):
        whole_from(0, port=port)
        within("[0, 65535]", port=port)
        whole_from(1, waiting=waiting)
        if deadline is not None:
            above(0, deadline=deadline)
        resizing.check(resize)
        self.predictor, self.deadline, self.resize = predictor, deadline, resize
        self._one = threading.Lock()
        self._places = threading.BoundedSemaphore(waiting)
        try:
            super().__init__((host, port), _Handler)
        except OSError as error:
            raise InputError(
                f"nobody can listen at {host}, port {port} ({error.strerror}): give another host "
                "or port."
            ) from None

    @property
    def url(self) -> str:
        host, port = self.server_address[:2]
        return f"http://{host}:{port}"

    def describe(self) -> dict[str, Any]:
        """Return what GET / answers."""
        header = self.predictor.header
        shape = self.predictor.image_shape
        return {
            "jaxcert": version.__version__,
            **{key: header[key] for key in _SHOWN if key in header},
            "image_shape": shape and list(shape),
            "resize": list(self.resize),
            "deadline": self.deadline,
        }

    def answer(self, image: np.ndarray, end: float | None) -> dict[str, Any] | None:
        """Return the answer for an image, None where too many wait already. end: when it is
        wanted, by `time.monotonic`. Raises InputError for an image that is none."""
        if not self._places.acquire(blocking=False):
            return None
        try:
            return self._answer(image, end)
        finally:
            self._places.release()

    def _answer(self, image: np.ndarray, end: float | None) -> dict[str, Any]:
        if not self._one.acquire(timeout=-1 if end is None else max(0.0, _left(end))):
            return self._none("deadline", 0)
        try:
            deadline = None if end is None else _left(end)
            if deadline is not None and deadline <= 0:
                return self._none("deadline", 0)
            row = self.predictor.certify(image, deadline=deadline)
        finally:
            self._one.release()
        predicted, n = int(row.predicted[0]), int(row.n[0])
        if predicted >= 0:
            found = dict(predicted=predicted, radius=float(row.radius[0]), n=n)
            return found | dict(abstained=False, reason="", **self._said())
        late = deadline is not None and self.predictor.stops
        # a count ends before votes that would take longer than there is left
        late = late and (n == 0 or _left(end) <= _NEAR * deadline)
        why = "not finite" if predicted < ABSTAIN else "not sure"
        return self._none("deadline" if late else why, n)

    def _none(self, reason: str, n: int) -> dict[str, Any]:
        found = dict(predicted=None, radius=0.0, n=n, abstained=True, reason=reason)
        return found | self._said()

    def _said(self) -> dict[str, Any]:
        header = self.predictor.header
        return {key: header[key] for key in ("norm", "alpha") if key in header}


def _left(end: float) -> float:
    return end - time.monotonic()


class _Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "jaxcert", ""
    timeout = _SECONDS
    wbufsize = -1  # an answer leaves in one packet
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        if urlsplit(self.path).path == "/":
            self._send(HTTPStatus.OK, self.server.describe())
        else:
            self._refuse(HTTPStatus.NOT_FOUND, "there are GET / and POST /certify.")

    def do_POST(self) -> None:
        began, url = time.monotonic(), urlsplit(self.path)
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or len(length) > 18:
            what = "give the header Content-Length, and the image as the body."
            return self._refuse(HTTPStatus.LENGTH_REQUIRED, what)
        if int(length) > _LARGEST:
            what = f"the body has {int(length):,} bytes: give at most {_LARGEST:,}."
            return self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, what)
        body = self.rfile.read(int(length))
        if len(body) < int(length):  # the client is gone
            self.close_connection = True
            return None
        if url.path != "/certify":
            what = "there are GET / and POST /certify."
            return self._refuse(HTTPStatus.NOT_FOUND, what, read=True)
        try:
            seconds = _deadline(url.query, self.server.deadline)
            kind = self.headers.get_content_type()
            image = _image(body, kind, self.server)
            end = None if seconds is None else began + seconds
            found = self.server.answer(image, end)
        except InputError as error:
            return self._refuse(HTTPStatus.BAD_REQUEST, str(error), read=True)
        except Exception:
            traceback.print_exc()
            what = "the server failed: its standard error says how."
            return self._refuse(HTTPStatus.INTERNAL_SERVER_ERROR, what, read=True)
        if found is None:
            what = "too many images wait to be certified: ask again later."
            return self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, what, read=True)
        self._send(HTTPStatus.OK, found)
        return None

    def _refuse(self, status: HTTPStatus, what: str, read: bool = False) -> None:
        # what is left of a body would be read as the next request
        self.close_connection |= not read
        self._send(status, {"error": what})

    def _send(self, status: HTTPStatus, found: dict[str, Any]) -> None:
        body = json.dumps(found).encode() + b"\n"
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if status == HTTPStatus.SERVICE_UNAVAILABLE:
            self.send_header("Retry-After", "1")
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing: a line for each image would be longer than the answers."""


def _deadline(query: str, default: float | None) -> float | None:
    """Return the seconds that a request names, or the default."""
    given = parse_qs(query, keep_blank_values=True)
    if unknown := [key for key in given if key != "deadline"]:
        raise InputError(f"{unknown[0]!r} is no parameter: there is deadline.")
    if not given:
        return default
    try:
        seconds = float(given["deadline"][-1])
    except ValueError:
        raise InputError("deadline must be a number of seconds.") from None
    above(0, deadline=seconds)
    return seconds


def _image(body: bytes, kind: str, server: Server) -> np.ndarray:
    """Return the image of a request. Raises InputError for one that cannot be read."""
    shape, resize = server.predictor.image_shape, server.resize
    if kind.startswith("image/"):
        pixels = pictures.decoded(
            io.BytesIO(body), "the picture", shape, resize, network=True
        )
        return pixels
    readers: dict[str, Callable[[bytes], Any]] = {
        "application/x-npy": _of_npy,
        "application/json": _of_json,
    }
    if kind not in readers:
        raise InputError(
            f"the body is of the type {kind}: give the header Content-Type as image/png, "
            "application/x-npy or application/json."
        )
    try:
        image = readers[kind](body)
    except Exception:  # what is damaged can raise anything
        raise InputError(
            f"the body is no image in {kind}: give an npy file [H,W,C], or JSON as "
            '{"image": [[[0.5]]]}.'
        ) from None
    if resize and image.ndim == 3 and image.dtype in (np.uint8, np.float32):
        image = resizing.fit(image, resize, "the image")
    return image


def _of_npy(body: bytes) -> np.ndarray:
    return np.lib.format.read_array(io.BytesIO(body), allow_pickle=False)


def _of_json(body: bytes) -> np.ndarray:
    return np.asarray(json.loads(body)["image"], np.float64)


def predictor_of(config: ConfigDict, workdir: str | Path, *, seed: int) -> Predictor:
    """Return the predictor of config.certify with the newest network of a workdir, compiled
    already. Raises InputError without a finished checkpoint or with bad settings."""
    model = configs.build("models", config.model)
    sharding.use_precision(config.precision)
    mesh = sharding.data_mesh()
    best = config.checkpoint.best
    loaded = checkpoint.load_network(model, workdir, mesh=mesh, best=best)
    certifier = building.certifier_of(config, loaded.network, mesh)
    found = Predictor(certifier, seed)
    found(np.zeros(model.image_shape, np.float32))
    return found
