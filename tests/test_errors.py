"""How a command ends: one sentence that is true, and a status."""

from __future__ import annotations

import errno
import os

import pytest
from command_line import ROOT, end
from refusals import names, tells

from jaxcert import config as configs
from jaxcert import convert, import_torch, quality, report, train
from jaxcert.errors import (
    InputError,
    check_file,
    exit_cleanly,
    is_stream,
    replacing,
)

FAULTS = {
    "memory": (MemoryError("Unable to allocate 3.2 PiB"), 1, "allocate 3.2 PiB"),
    "device": (
        RuntimeError("RESOURCE_EXHAUSTED: Out of memory"),
        1,
        "memory",
    ),
    "lost": (
        RuntimeError("INTERNAL: Gloo context initialization failed: Connect timeout"),
        1,
        "same commands again",
    ),
    "depth": (RecursionError("x"), 2, "nested"),
    "size": (OverflowError("int too large"), 2, "(int too large)"),
    "reading": (
        PermissionError(errno.EACCES, "Permission denied", "x"),
        1,
        "x: Permission denied",
    ),
    "circle": (OSError(errno.ELOOP, "Too many levels", "x"), 1, "in a circle"),
    "place without a name": (OSError(errno.EIO, "I/O error"), 1, "check the disk"),
    "other number": (
        OSError(errno.ENXIO, "No such device", "x"),
        1,
        "x: No such device",
    ),
    "full": (OSError(errno.ENOSPC, "No space", "x"), 1, "disk is full"),
    "bytes that are no text": (InputError("a\udcff\nb is wrong."), 2, r"a\udcff\nb is"),
}


@pytest.mark.parametrize("fault,status,words", FAULTS.values(), ids=FAULTS)
def test_faults_are_one_sentence(capsys, fault, status, words):
    def command():
        raise fault

    assert exit_cleanly(command) == status
    said = capsys.readouterr().err
    assert words in said and said.strip().endswith(".") and said.count("\n") == 2


@pytest.mark.parametrize(
    "bug", [RuntimeError("bug"), OSError("bug"), ValueError("bug")]
)
def test_a_bug_keeps_its_traceback(bug):
    def command():
        raise bug

    with pytest.raises(type(bug), match="bug"):
        exit_cleanly(command)


@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/null", "/proc/self/status", "/"])
def test_devices_are_no_files(name):
    with pytest.raises(InputError, match=names(name, "regular file")):
        check_file(name, new=True)


def test_what_is_about_to_be_written_may_be_missing(tmp_path):
    check_file(tmp_path / "new", new=True)
    (tmp_path / "link").symlink_to(tmp_path / "link")
    with pytest.raises(InputError, match=names("link", "circle")):
        check_file(tmp_path / "link", new=True)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match=names("pipe", "regular file")):
        check_file(tmp_path / "pipe", new=True)


def test_a_file_is_replaced_as_a_whole_or_not_at_all(tmp_path):
    path, other = tmp_path / "file", tmp_path / "other"
    other.write_text("mine")
    with replacing(path) as part:
        part.write_text("before")
        assert (
            part.parent == tmp_path
            and part.name.endswith(".part")
            and not path.exists()
        )
    part.symlink_to(other)  # planted
    with pytest.raises(OSError, match="file'$") as error:
        with replacing(path) as again:
            again.write_text("half")
            raise OSError(errno.ENOSPC, "full")
    assert again == part and error.value.filename == str(path)
    assert path.read_text() == "before" and other.read_text() == "mine"
    with replacing(path) as part:
        part.write_text("after")
        assert path.read_text() == "before"
    assert path.read_text() == "after" and len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("name", ["a.py", "a:b.py", "a b\n.py", "ä\udcff.py", "C:x.py"])
@pytest.mark.parametrize("row", ["", "m,400", "a:b"])
def test_file_and_row_are_told_apart(tmp_path, name, row):
    path = tmp_path / name
    path.touch()
    argument = f"{path}:{row}" if row else str(path)
    assert configs.split(argument) == (str(path), row)


def test_drives_are_not_taken_for_rows():
    assert configs.split(r"C:\x.py:row") == (r"C:\x.py", "row")
    assert configs.split("C:/x.py") == ("C:/x.py", "")
    assert configs.split("x.py:row") == ("x.py", "row")


@pytest.mark.parametrize("code", ["raise SystemExit(0)", "import sys; sys.exit('x')"])
def test_config_that_ends_the_program_is_refused(tmp_path, code):
    path = tmp_path / "c.py"
    path.write_text(f"\n{code}\n")
    with pytest.raises(InputError, match=names("c.py", "line 2", "SystemExit")):
        configs.load(str(path))


@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "/dev/null"])
def test_streams_take_text(name):
    assert is_stream(name)


def test_what_is_no_place_for_text(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for name, words in (
        ("pipe", names("pipe", "regular file")),
        ("loop", names("loop", "circle")),
        (".", names("folder")),
    ):
        with pytest.raises(InputError, match=words):
            is_stream(tmp_path / name)
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("file")
    assert not any(is_stream(tmp_path / name) for name in ("file", "link", "new"))


SORTNET = str(ROOT / "configs/sortnet/digits.py")
READERS = {
    "config": (train, "--config", "PATH", "--workdir", "WORKDIR"),
    "state": (
        import_torch,
        "--state",
        "PATH",
        "--config",
        SORTNET,
        "--workdir",
        "WORKDIR",
    ),
    "generated": (quality, "--data", "digits", "--generated", "PATH"),
    "npz": (convert, "--generated", "PATH", "--out", "WORKDIR"),
    "record": (report, "PATH"),
}


@pytest.mark.parametrize(
    "command,words", [(v[0], v[1:]) for v in READERS.values()], ids=READERS
)
def test_pipes_are_refused_and_not_waited_for(capsys, tmp_path, command, words):
    pipe = tmp_path / "pipe.npz"
    os.mkfifo(pipe)
    given = {"PATH": pipe, "WORKDIR": tmp_path / "new"}
    status, said = end(capsys, command, *(given.get(word, word) for word in words))
    assert status == 2
    assert tells(said, pipe, "regular file")
