from __future__ import annotations

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from refusals import names

from jaxcert.data import archives, download, sources
from jaxcert.data.download import fetch
from jaxcert.errors import InputError

CONTENT = bytes(range(256)) * 4000  # 1 MB
MD5 = hashlib.md5(CONTENT).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    """/ranges honours Range, /plain ignores it, /short hangs up half-way."""

    def do_GET(self):
        asked = self.headers.get("Range")
        self.server.asked.append(asked)
        if self.path not in ("/ranges", "/plain", "/short"):
            return self.send_error(404)
        start = int(asked[6:-1]) if asked and self.path != "/plain" else 0
        if start >= len(CONTENT):
            return self.send_error(416)
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(CONTENT) - start))
        said = f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}"
        self.send_header("Content-Range", said)
        self.end_headers()
        end = start + (len(CONTENT) - start) // 2 if self.path == "/short" else None
        self.wfile.write(CONTENT[start:end])

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def running():
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def server(running):
    running.asked = []
    running.url = f"http://127.0.0.1:{running.server_address[1]}"
    return running


def test_a_file_comes_whole(server, tmp_path):
    path = fetch(f"{server.url}/ranges", tmp_path / "new" / "file", md5=MD5)
    assert path == tmp_path / "new" / "file" and path.read_bytes() == CONTENT
    assert [p.name for p in path.parent.iterdir()] == ["file"]


@pytest.mark.parametrize("have", [1, 5000, len(CONTENT)])
def test_a_second_try_fetches_only_what_is_missing(server, tmp_path, have):
    (tmp_path / "file.part").write_bytes(CONTENT[:have])
    path = fetch(f"{server.url}/ranges", tmp_path / "file", md5=MD5)
    assert path.read_bytes() == CONTENT
    assert server.asked == [f"bytes={have}-"]


def test_a_server_without_ranges_starts_over(server, tmp_path):
    (tmp_path / "file.part").write_bytes(b"something else")
    path = fetch(f"{server.url}/plain", tmp_path / "file", md5=MD5)
    assert path.read_bytes() == CONTENT


def test_a_broken_connection_keeps_what_came(server, tmp_path):
    for _ in range(3):
        with pytest.raises(InputError, match=names("short", "IncompleteRead")):
            fetch(f"{server.url}/short", tmp_path / "file", md5=MD5)
    assert (tmp_path / "file.part").read_bytes() == CONTENT[: len(CONTENT) * 7 // 8]
    path = fetch(f"{server.url}/ranges", tmp_path / "file", md5=MD5)
    assert path.read_bytes() == CONTENT


def test_a_wrong_checksum_is_an_error_and_leaves_nothing(server, tmp_path):
    with pytest.raises(InputError, match=names("md5", MD5, "0123")):
        fetch(f"{server.url}/ranges", tmp_path / "file", md5="0123")
    assert not list(tmp_path.iterdir())
    assert fetch(f"{server.url}/ranges", tmp_path / "file", md5=MD5).is_file()


@pytest.mark.parametrize("url", ["{}/nothing", "http://127.0.0.1:1/x"])
def test_an_unreachable_file_is_one_sentence(server, tmp_path, url):
    url = url.format(server.url)
    with pytest.raises(InputError, match=names(url, tmp_path / "file")):
        fetch(url, tmp_path / "file", md5=MD5)


def test_a_second_address_is_asked_where_the_first_fails(server, tmp_path):
    places = [f"{server.url}/{name}" for name in ("nothing", "ranges")]
    path = download.fetch_any(places, tmp_path / "file", md5=MD5)
    assert path.read_bytes() == CONTENT and len(server.asked) == 2
    # what the first one sent is continued at the second
    places = [f"{server.url}/{name}" for name in ("short", "ranges")]
    path = download.fetch_any(places, tmp_path / "other", md5=MD5)
    assert path.read_bytes() == CONTENT
    assert server.asked[-1] == f"bytes={len(CONTENT) // 2}-"
    both = names(places[0], f"{server.url}/no")
    with pytest.raises(InputError, match=both):
        download.fetch_any([places[0], f"{server.url}/no"], tmp_path / "none", md5=MD5)


def test_both_addresses_of_mnist_are_asked(tmp_path, monkeypatch):
    asked = []

    def fetch(url, target, **how):
        asked.append(url)
        raise InputError(f"{url} is not there: try again.")

    monkeypatch.setattr(download, "fetch", fetch)
    with pytest.raises(InputError, match="train-images-idx3-ubyte.gz"):
        sources.open("mnist", "train", dir=str(tmp_path))
    assert len(asked) == 2 and len({url.split("/")[2] for url in asked}) == 2
    assert all(url.endswith("/train-images-idx3-ubyte.gz") for url in asked)


def test_a_missing_archive_is_downloaded_into_the_folder(server, tmp_path, monkeypatch):
    kind = archives._CIFAR["cifar10"][0]._replace(archive="ranges", md5=MD5)
    monkeypatch.setitem(archives._CIFAR, "cifar10", (kind,))
    monkeypatch.setattr(archives, "_CIFAR_URL", f"{server.url}/")
    with pytest.raises(
        InputError, match=names("ranges", "damaged")
    ):  # it is no archive
        sources.open("cifar10", "train", dir=str(tmp_path))
    assert (tmp_path / "ranges").read_bytes() == CONTENT
