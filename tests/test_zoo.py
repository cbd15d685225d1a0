"""Zoos: of the package, of folders, and of a server on this machine that errs in every way."""

from __future__ import annotations

import gzip
import json
import shutil
import threading
from contextlib import suppress
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from command_line import end
from refusals import names, tells

import jaxcert
from benchmarks import zoo as making
from jaxcert import audit, audit_network, publish, zoo
from jaxcert import config as configs
from jaxcert.analysis import facts
from jaxcert.api import cards, sharing
from jaxcert.data import download, sources
from jaxcert.errors import InputError
from jaxcert.workdirs import checkpoint
from jaxcert.zoos import index, networks, places

NAME = "lipnext-digits"
"""A network of the package that is loaded quickly."""
OWN = places.listed()
EDM = "edm-cifar10-laptop"
"""The one whose record is of votes, and of a hundred images."""
CLASSIFIERS = [name for name in OWN if name != EDM]
IMAGES = dict(digits=797, cifar10=10_000)
"""All test images."""
# a record of 10,000 images takes the auditor some seconds
BY_SIZE = [
    pytest.param(name, marks=[pytest.mark.slow] * (one.unpacked > 10**6))
    for name, one in OWN.items()
]


def record_of(name, folder):
    path = folder / f"{name}.jsonl"
    places.unpack_record("", OWN[name], path)
    return path


# The zoo of the package


def test_the_package_has_a_small_zoo_of_every_file_that_is_listed():
    there = {path.name for path in places.OWN.iterdir()} - {".lock"}
    files = [f for n in OWN.values() for f in (n.weights, n.config, n.record)]
    assert there == {index.FILE} | {file.name for file in files}
    assert {places.path_of("", file).name for file in files} < there
    assert 6 <= len(OWN) and sum(file.size for file in files) < 25e6
    rows = dict(digits="", cifar10="-laptop")
    kinds = [f"{n.family}-{n.dataset}{rows[n.dataset]}" for n in OWN.values()]
    assert kinds == list(OWN)


@pytest.mark.parametrize("name", BY_SIZE)
def test_records_of_the_package_hold(name, tmp_path):
    path = record_of(name, tmp_path)
    assert audit.audit(path)[:2] == (0, [])
    c = jaxcert.open_records(path)
    check = jaxcert.recheck(c)
    every = 100 if name == EDM else 1
    asked = range(0, IMAGES[OWN[name].dataset], every)
    assert c.index.tolist() == list(asked)
    assert check.holds and check.checked == (c.predicted >= 0).sum() > 0
    assert c.header["checkpoint"] == OWN[name].digest


def audited_by_network(name, path, most=None):
    """By the program that shares no code with what certified."""
    weights = audit_network.read_weights(places.path_of("", OWN[name].weights))
    found = audit_network.audit(path, weights, most=most)
    assert (found.status, found.faults) == (0, [])
    if OWN[name].dataset == "digits":  # the others' images are not in the package
        assert f"{most or 797} rows computed again" in " ".join(found.notes)


def test_weights_of_the_package_give_its_record(tmp_path):
    audited_by_network(NAME, record_of(NAME, tmp_path), most=8)


@pytest.mark.slow
@pytest.mark.parametrize("name", CLASSIFIERS)
def test_every_network_of_the_package_gives_its_record(name, tmp_path):
    path = record_of(name, tmp_path)
    audited_by_network(name, path)
    if OWN[name].dataset == "digits":
        certified_again(name, path)


def test_a_network_that_is_loaded_certifies_as_its_record_says(tmp_path):
    certified_again(NAME, record_of(NAME, tmp_path))


def certified_again(name, path):
    """The first 20 images, of a network that was loaded from the package."""
    was, settings = jaxcert.open_records(path), {}
    if was.header["method"] == "interval":
        settings = dict(certificate="interval", radii=was.procedure["radii"])
    data = sources.open("digits", "test")
    image, label = data.image[:20], data.label[:20]
    now = jaxcert.certify_images(jaxcert.load(f"zoo:{name}"), image, label, **settings)
    assert now.header["checkpoint"] == was.header["checkpoint"]
    for column in ("predicted", "label"):
        np.testing.assert_array_equal(getattr(now, column), getattr(was, column)[:20])
    for column in ("radius", "logits"):
        given = getattr(was, column)[:20]
        np.testing.assert_allclose(getattr(now, column), given, rtol=1e-9, atol=1e-12)
    assert (was.radius[:20] > 0).sum() > 10


# Workdirs, and zoos in folders


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    path = tmp_path_factory.mktemp("zoo") / "run"
    networks.unpack(f"zoo:{NAME}", path)
    return path


@pytest.fixture(scope="module")
def folder(workdir):
    path = workdir.parent / "shared"
    sharing.add(workdir, path, "mine.v1")
    return path


@pytest.fixture
def ends(capsys):
    return partial(end, capsys)


def test_a_network_comes_unpacked(workdir):
    made = {"config.json", "checkpoints", "certificates.jsonl", "weights.safetensors"}
    assert {path.name for path in workdir.iterdir()} == made | {".lock"}
    loaded = jaxcert.load(workdir)
    assert checkpoint.network_digest(loaded) == OWN[NAME].digest
    was = jaxcert.load(workdir / "weights.safetensors")
    assert checkpoint.network_digest(was) == OWN[NAME].digest
    assert jaxcert.open_records(workdir).header["model"]["name"] == "lipnext"
    assert configs.read(workdir).data.name == "digits"


def test_a_workdir_that_is_added_comes_back(workdir, folder, tmp_path):
    assert {path.name for path in folder.iterdir()} == {
        *(index.FILE, ".lock"),
        *(f"mine.v1{suffix}" for suffix in index.SUFFIXES.values()),
    }
    listed = places.listed(str(folder))["mine.v1"]
    assert (
        listed._replace(name=NAME, family=OWN[NAME].family).digest == OWN[NAME].digest
    )
    assert (listed.family, listed.norm) == (OWN[NAME].family, OWN[NAME].norm)
    networks.unpack(f"{folder}#mine.v1", tmp_path / "again")
    rows = [path / "certificates.jsonl" for path in (tmp_path / "again", workdir)]
    assert rows[0].read_bytes() == rows[1].read_bytes()
    again, before = (configs.read(path) for path in (tmp_path / "again", workdir))
    assert again.to_dict() == before.to_dict()
    assert checkpoint.network_digest(jaxcert.load(tmp_path / "again")) == listed.digest
    (shown,) = sharing.listed(str(folder))
    assert sharing.row(shown)[5] in sharing.text(sharing.listed())


def test_a_card_says_what_is_certified_and_keeps_what_stands_around(
    workdir, tmp_path, capsys
):
    zoo_folder = tmp_path / "shared"
    for name in ("first", "second_one"):
        words = [f"--workdir={workdir}", f"--zoo={zoo_folder}", f"--name={name}"]
        assert publish.main(words) is None
        assert name in capsys.readouterr().out
        text = (zoo_folder / cards.FILE).read_text()
        mine = f"Ours, for {name}.\n"
        (zoo_folder / cards.FILE).write_text(mine + text + mine)
    added = places.listed(str(zoo_folder))["first"]
    text = (zoo_folder / cards.FILE).read_text()
    assert text.startswith(
        "Ours, for second_one.\nOurs, for first.\n---\nlibrary_name:"
    )
    assert text.count("Ours, for first.") == 2 and text.count("## first\n") == 1
    assert "## second\\_one" in text and added.weights.sha256 in text
    (shown, _) = sharing.listed(str(zoo_folder))
    for i in range(len(shown.entry.summary.radii)):
        assert f" | {facts.certified_share(shown.entry.summary, i)}" in text
    assert text == cards.card(zoo_folder), "it is made again as it is"
    (zoo_folder / cards.FILE).write_text(text.replace(cards._END, ""))
    before = {p.name: p.read_bytes() for p in zoo_folder.iterdir()}
    with pytest.raises(InputError, match=names(cards.FILE, "lost")):
        cards.publish(workdir, zoo_folder, "third")
    assert before == {p.name: p.read_bytes() for p in zoo_folder.iterdir()}


def test_folders_of_this_machine_are_left_out(workdir, tmp_path):
    path = tmp_path / "run"
    shutil.copytree(workdir, path)
    config = configs.read(path)
    config.data.dir = str(tmp_path)
    config.checkpoint.best = ""
    configs.save(config, path / "config.json")
    head, *rows = (path / "certificates.jsonl").read_text().splitlines(True)
    head = json.loads(head)
    head["config"]["data"]["dir"] = str(tmp_path)
    (path / "certificates.jsonl").write_text(json.dumps(head) + "\n" + "".join(rows))
    sharing.add(path, tmp_path / "zoo", "a")
    networks.unpack(f"{tmp_path}/zoo#a", tmp_path / "b")
    for name in ("config.json", "certificates.jsonl", "weights.safetensors"):
        assert str(tmp_path).encode() not in (tmp_path / "b" / name).read_bytes(), name
    config, was = configs.read(tmp_path / "b"), configs.read(workdir)
    assert config.to_dict() == was.to_dict()
    assert (tmp_path / "b" / "certificates.jsonl").read_text().endswith("".join(rows))


def lines(path):
    return [json.loads(line) for line in (path / "certificates.jsonl").open()]


def other_network(head, rows):
    head["checkpoint"] = "0" * 32


def other_model(head, rows):
    for where in (head, head["config"]):
        where["model"]["rho"] = 2.0


def larger_radius(head, rows):
    max(rows, key=lambda row: row["radius"])["radius"] *= 1.001


def unfinished(head, rows):
    rows.pop()


def no_requests(head, rows):
    del head["requests"]


def no_row(head, rows):
    rows.clear()


def unknown(head, rows):
    head["method"] = head["config"]["certify"]["name"] = "mine"


WRONG = [other_network, other_model, larger_radius, unfinished]
WRONG += [no_requests, no_row, unknown]


@pytest.mark.parametrize("change", WRONG, ids=lambda change: change.__name__)
def test_a_record_that_does_not_belong_to_it_is_refused(workdir, tmp_path, change):
    head, *rows = lines(workdir)
    change(head, rows)
    path = tmp_path / "record.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in (head, *rows)))
    with pytest.raises(InputError, match="record.jsonl"):
        sharing.add(workdir, tmp_path / "zoo", "a", record=path)
    assert not (tmp_path / "zoo").exists()


def test_what_else_cannot_be_added(ends, workdir, folder, tmp_path):
    before = (folder / index.FILE).read_bytes()
    for words in (
        (workdir, "--name", "mine.v1"),
        (workdir, "--name", "MINE.V1"),
        (workdir, "--name", "../mine"),
        (workdir, "--name", ".."),
        (workdir, "--name", "b", "--record", tmp_path / "none"),
        (tmp_path, "--name", "b"),
    ):
        status, said = ends(making, *words, "--zoo", folder)
        assert status == 2 and said, words
    assert (folder / index.FILE).read_bytes() == before
    assert not [*tmp_path.iterdir()]


def test_the_command_lists_and_unpacks(ends, capsys, folder, tmp_path, monkeypatch):
    assert ends(zoo, f"{folder}#") == (0, "")
    monkeypatch.chdir(tmp_path)
    assert zoo.main([f"zoo:{folder}#mine.v1"]) == 0
    assert OWN[NAME].digest in capsys.readouterr().out
    assert (tmp_path / "runs" / "mine.v1" / "config.json").is_file()
    for words, parts in {
        (f"{folder}#mine.v1",): ("runs/mine.v1", "--workdir"),
        ("nope",): ("'nope'", NAME),
        (f"{folder}#nope",): ("'nope'", folder, "mine.v1"),
        ("--workdir", "x"): ("--workdir", "name"),
        (f"{tmp_path}/none#a",): (tmp_path / "none",),
        (f"{tmp_path}#a",): (tmp_path / index.FILE,),
        ("#a",): ("'#a'",),
    }.items():
        status, said = ends(zoo, *words)
        assert status == 2 and tells(said, *parts), said
    assert not (tmp_path / "x").exists()


def test_damage_in_a_folder_is_noticed_and_leaves_no_workdir(folder, tmp_path):
    for suffix in index.SUFFIXES.values():
        shutil.copytree(folder, tmp_path / "zoo")
        path = tmp_path / "zoo" / f"mine.v1{suffix}"
        content = bytearray(path.read_bytes())
        content[-20] ^= 1
        path.write_bytes(content)
        with pytest.raises(InputError, match=names(path.name, index.FILE)):
            networks.unpack(f"{tmp_path}/zoo#mine.v1", tmp_path / "run")
        assert not (tmp_path / "run").exists() and path.read_bytes() == content
        shutil.rmtree(tmp_path / "zoo")


def relisted(place, **changed):
    """A copy of the index in which the entry has other values."""
    manifest = json.loads((place / index.FILE).read_text())
    (entry,) = manifest["models"]
    for key, value in changed.items():
        part, _, inner = key.partition("__")
        if inner:
            entry[part][inner] = value
        else:
            entry[part] = value
    return json.dumps(manifest).encode()


def test_a_record_that_unpacks_to_more_than_its_index_says(folder, tmp_path):
    path = tmp_path / "zoo"
    shutil.copytree(folder, path)
    size = places.listed(str(path))["mine.v1"].unpacked
    for lie in (size - 1, size + 1):
        (path / index.FILE).write_bytes(relisted(path, record__unpacked_bytes=lie))
        with pytest.raises(InputError, match=names("mine.v1.jsonl.gz", f"{lie:,}")):
            networks.unpack(f"{path}#mine.v1", tmp_path / "run")
    large = path / "mine.v1.jsonl.gz"
    large.write_bytes(gzip.compress(bytes(10**8)))  # 100 MB of zeros in 100 kB
    said = dict(record__unpacked_bytes=1000, record__size_bytes=large.stat().st_size)
    said["record__sha256"] = sha256(large)
    (path / index.FILE).write_bytes(relisted(path, **said))
    out = tmp_path / "out"
    with pytest.raises(InputError, match=names("mine.v1.jsonl.gz", "1,000")):
        places.unpack_record(str(path), places.listed(str(path))["mine.v1"], out)
    assert out.stat().st_size <= 2**20
    large.write_bytes(b"no gzip at all")
    said |= dict(record__size_bytes=14, record__sha256=sha256(large))
    (path / index.FILE).write_bytes(relisted(path, **said))
    with pytest.raises(InputError, match=names("mine.v1.jsonl.gz", "1,000")):
        places.unpack_record(str(path), places.listed(str(path))["mine.v1"], out)


def sha256(path):
    return sharing.sizes(path)["sha256"]


HOSTILE = {
    "up": dict(name="../mine"),
    "root": dict(name="/etc/mine"),
    "dots": dict(name=".."),
    "windows": dict(name="a\\b"),
    "drive": dict(name="C:x"),
    "empty": dict(name=""),
    "a number": dict(name=3),
    "newline": dict(name="a\n"),
    "long": dict(name="a" * 101),
    "terminal": dict(family="\x1b[2J"),
    "no size": dict(size_bytes=0),
    "negative": dict(size_bytes=-1),
    "huge": dict(size_bytes=10**15),
    "a float": dict(size_bytes=1e3),
    "true": dict(record__size_bytes=True),
    "no sum": dict(sha256=""),
    "sum up": dict(config__sha256="../" * 21 + "x"),
    "digest": dict(digest="x"),
    "list": dict(record=[]),
    "schema": dict(record__unpacked_bytes=None),
}


@pytest.mark.parametrize("changed", HOSTILE.values(), ids=HOSTILE)
def test_an_index_that_lies_is_refused(folder, changed):
    assert index.parsed(relisted(folder), "it")
    with pytest.raises(InputError, match=names("it", "index")):
        index.parsed(relisted(folder, **changed), "it")


@pytest.mark.parametrize(
    "text", [b"", b"{", b"[]", b"<html>", b"\xff\xfe", b"[" * 10**5, b'{"models": []}']
)
def test_what_is_no_index(text):
    with pytest.raises(InputError, match=names("it", "index")):
        index.parsed(text, "it")


def test_a_name_that_comes_twice_and_networks_that_were_only_exported(folder):
    manifest = json.loads((folder / index.FILE).read_text())
    (entry,) = manifest["models"]
    plain = {k: v for k, v in entry.items() if k not in ("record", "name")}
    manifest["models"] = [plain, entry]
    assert [*index.parsed(json.dumps(manifest).encode(), "it")] == ["mine.v1"]
    manifest["models"] = [entry, entry | {"name": "MINE.v1"}]
    with pytest.raises(InputError, match=names("it", "index")):
        index.parsed(json.dumps(manifest).encode(), "it")


# Servers


class _Handler(BaseHTTPRequestHandler):
    """Files of server.folder. server.does[file name], once each: what to do instead."""

    def do_GET(self):
        name = self.path.partition("?")[0].rpartition("/")[2]
        asked = self.headers.get("Range")
        self.server.asked.append((name, asked))
        path = self.server.folder / name
        does = self.server.does.pop(name, "")
        if does == "404" or not path.is_file():
            return self.send_error(404)
        if does == "elsewhere":  # as hubs of models do with large files
            self.send_response(302)
            self.send_header("Location", f"/cdn/{name}?signature=x/y")
            return self.end_headers()
        if does == "hang":
            return self.server.end.wait(20)
        content, start = path.read_bytes(), int(asked[6:-1]) if asked else 0
        content = self.server.instead.get(name, content)
        if start >= len(content):
            return self.send_error(416)
        said = start
        if does == "another part":
            start, said = start // 2, start // 2
        self.send_response(206 if asked else 200)
        self.send_header("Content-Range", f"bytes {said}-{len(content) - 1}/*")
        if does != "no length":
            self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        body = content[start:]
        self.wfile.write(body[: len(body) // 2] if does == "break" else body)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def running(folder):
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.folder, server.end = folder, threading.Event()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.end.set()
    server.shutdown()
    server.server_close()


@pytest.fixture
def server(running, tmp_path, monkeypatch):
    running.asked, running.does, running.instead = [], {}, {}
    running.place = f"http://127.0.0.1:{running.server_address[1]}/some/where"
    running.cache = tmp_path / "cache"
    monkeypatch.setenv("JAXCERT_CACHE", str(running.cache))
    return running


WEIGHTS = "mine.v1.safetensors"


def weights_of(server):
    place, network = places.found(f"zoo:{server.place}#mine.v1")
    return places.path_of(place, network.weights)


def kept(server):
    folder = server.cache / "zoo"
    names = [path.name for path in folder.iterdir()] if folder.exists() else []
    return sorted(set(names) - {".lock"})


def test_a_network_of_a_server_is_fetched_once(server, folder, tmp_path):
    loaded = jaxcert.load(f"zoo:{server.place}/#mine.v1")
    assert checkpoint.network_digest(loaded) == OWN[NAME].digest
    assert [name for name, _ in server.asked] == [index.FILE, WEIGHTS]
    networks.unpack(f"{server.place}#mine.v1", tmp_path / "run")
    asked = [name for name, _ in server.asked]
    assert asked.count(WEIGHTS) == 1 and len(kept(server)) == 3
    assert checkpoint.network_digest(jaxcert.load(tmp_path / "run")) == OWN[NAME].digest
    (shown,) = sharing.listed(server.place)
    assert shown.listed == places.listed(str(folder))["mine.v1"]


def test_a_download_that_broke_goes_on_where_it_stopped(server, folder):
    content = (folder / WEIGHTS).read_bytes()
    server.does[WEIGHTS] = "break"
    with pytest.raises(InputError, match=names(WEIGHTS)):
        weights_of(server)
    (part,) = kept(server)
    half = len(content) // 2
    assert part.endswith(".safetensors.part")
    assert (server.cache / "zoo" / part).read_bytes() == content[:half]
    assert weights_of(server).read_bytes() == content
    assert server.asked[-1] == (WEIGHTS, f"bytes={half}-")


def test_a_server_that_sends_elsewhere_is_followed(server, folder):
    """With the part of the file that is missing."""
    content = (folder / WEIGHTS).read_bytes()
    server.does[WEIGHTS] = "break"
    with pytest.raises(InputError, match=names(WEIGHTS)):
        weights_of(server)
    server.does[WEIGHTS] = "elsewhere"
    assert weights_of(server).read_bytes() == content
    assert [asked for _, asked in server.asked[-2:]] == [
        f"bytes={len(content) // 2}-"
    ] * 2


def test_a_server_that_sends_another_part_is_asked_again(server, folder):
    content = (folder / WEIGHTS).read_bytes()
    server.does[WEIGHTS] = "break"
    with pytest.raises(InputError, match=names(WEIGHTS)):
        weights_of(server)
    server.does[WEIGHTS] = "another part"
    with suppress(InputError):
        weights_of(server)
    assert server.asked[-1] == (WEIGHTS, None)
    assert weights_of(server).read_bytes() == content
    assert server.asked[-1] == (index.FILE, None)  # the file was there already


def test_a_corrupt_file_is_refused_and_removed(server, folder):
    content = bytearray((folder / WEIGHTS).read_bytes())
    content[-1] ^= 1
    server.instead[WEIGHTS] = bytes(content)
    wanted = places.listed(str(folder))["mine.v1"].weights.sha256
    with pytest.raises(InputError, match=names(WEIGHTS, "sha256", wanted)):
        weights_of(server)
    assert not kept(server)
    server.instead.clear()
    path = weights_of(server)
    path.write_bytes(content)  # in the cache: fetched again
    assert weights_of(server).read_bytes() == (folder / WEIGHTS).read_bytes()


@pytest.mark.parametrize("lie", ["shorter", "longer"])
@pytest.mark.parametrize("does", ["", "no length"])
def test_sizes_that_lie(server, folder, lie, does):
    """Of a longer file no more is read than the index says, and a block."""
    content = (folder / WEIGHTS).read_bytes()
    longer = content + bytes(5 * 2**20)
    server.instead[WEIGHTS] = content[:-9] if lie == "shorter" else longer
    server.does[WEIGHTS] = does
    said = [] if (lie, does) == ("shorter", "no length") else [f"{len(content):,}"]
    with pytest.raises(InputError, match=names(WEIGHTS, *said)):
        weights_of(server)
    left = [server.cache / "zoo" / name for name in kept(server)]
    assert all(p.name.endswith(".part") for p in left) and len(left) <= 1
    assert sum(path.stat().st_size for path in left) <= len(content)
    server.instead.clear()
    assert weights_of(server).read_bytes() == content


def test_a_server_that_hangs_or_has_nothing(server, monkeypatch):
    place, network = places.found(f"{server.place}#mine.v1")
    calls = {
        index.FILE: lambda: places.listed(place),
        WEIGHTS: lambda: places.path_of(place, network.weights),
    }
    for name, call in calls.items():
        server.does[name] = "404"
        with pytest.raises(InputError, match=names(f"{place}/{name}")):
            call()
        server.does[name] = "hang"
        with monkeypatch.context() as patch:
            patch.setattr(download, "_SECONDS", 0.2)
            with pytest.raises(InputError, match=names(f"{place}/{name}", "timed out")):
                call()
    assert not kept(server)
    assert weights_of(server).is_file()


def test_an_index_of_a_server(server, folder, monkeypatch):
    server.instead[index.FILE] = b"<html>not here</html>"
    with pytest.raises(InputError, match=names(f"{server.place}/{index.FILE}")):
        weights_of(server)
    server.instead[index.FILE] = relisted(folder, name="../../mine")
    with pytest.raises(InputError, match=names(f"{server.place}/{index.FILE}")):
        weights_of(server)
    server.instead.clear()
    monkeypatch.setattr(places, "_MOST", 100)
    with pytest.raises(InputError, match=names(f"{server.place}/{index.FILE}", 100)):
        weights_of(server)
    assert not kept(server)


def test_several_at_once_fetch_a_file_once(server, folder):
    found = []

    def fetch():
        found.append(weights_of(server))

    work = [threading.Thread(target=fetch) for _ in range(3)]
    for each in work:
        each.start()
    for each in work:
        each.join()
    assert len(set(found)) == 1 and len(found) == 3
    assert [name for name, _ in server.asked].count(WEIGHTS) == 1


@pytest.mark.parametrize(
    "place",
    "ftp://h/x file:///etc http:// http://h:x/ http://h:99999 http://[::1 https://h/?a "
    "http://u:p@h/x HTTP://h".split()
    + ["http://h/a b", "http://h/ä", "http://h/#"],
)
def test_addresses_that_are_none(place):
    with pytest.raises(InputError, match=names(place)):
        jaxcert.load(f"zoo:{place}#mine")


def test_where_the_cache_is(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(places.sys, "platform", "linux")
    monkeypatch.delenv("JAXCERT_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert places.cache() == tmp_path / ".cache/jaxcert"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert places.cache() == tmp_path / ".cache/jaxcert"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "x"))
    assert places.cache() == tmp_path / "x/jaxcert"
    monkeypatch.setattr(places.sys, "platform", "darwin")
    assert places.cache() == tmp_path / "Library/Caches/jaxcert"
    monkeypatch.setattr(places.sys, "platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "l"))
    assert places.cache() == tmp_path / "l/jaxcert/Cache"
    monkeypatch.setenv("JAXCERT_CACHE", "~/mine")
    assert places.cache() == tmp_path / "mine"
    assert not Path(places.cache()).is_relative_to(Path(jaxcert.__file__).parent)
