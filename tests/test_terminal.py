"""Ctrl-C at any time, and streams that are closed, full or know ASCII only: no traceback."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest
from command_line import CONFIG, ROOT
from test_records import HEADER, written

from jaxcert.errors import terminal
from jaxcert.locks import LOCK
from jaxcert.records import FORMAT_1

COMMANDS = {
    "train": ("--config", CONFIG, "--tiny", "--workdir", "WORKDIR"),
    "certify": ("--workdir", "/nope"),
    "attack": ("--workdir", "/nope"),
    "report": ("/nope",),
    "study": ("--config", CONFIG, "--tiny", "--workdir", "WORKDIR"),
    "generate": ("--workdir", "/nope", "--out", "WORKDIR", "--count", "1"),
    "quality": ("--generated", "/nope", "--data", "digits"),
    "convert": ("--generated", "/nope", "--out", "WORKDIR"),
    "import_torch": ("--state", "/nope", "--config", CONFIG, "--workdir", "WORKDIR"),
    "gradient_norms": ("--workdir", "/nope"),
}
needs_dev_full = pytest.mark.skipif(
    not os.path.exists("/dev/full"), reason="Linux only"
)


def started(*words, **more):
    return subprocess.Popen(
        [sys.executable, *map(str, words)], cwd=ROOT, text=True, **more
    )


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("moment", ["jaxcert", "ml_collections"])
def test_ctrl_c_while_modules_are_imported(tmp_path, command, moment):
    """Python itself tells when a module has been imported."""
    workdir = str(tmp_path / "new")
    more = [workdir if word == "WORKDIR" else word for word in COMMANDS[command]]
    process = started(
        *("-X", "importtime", "-m", f"jaxcert.{command}"),
        *more,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    for line in process.stderr:
        if line.rpartition("|")[2].strip() == moment:
            break
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=100)
    assert process.returncode == 130, said
    assert "Traceback" not in said and f"\njaxcert: {terminal.INTERRUPTED}\n" in said
    left = os.listdir(workdir) if os.path.exists(workdir) else []
    assert set(left) <= {LOCK}


SCRIPT = """
import hashlib, os, signal, sys
sys.argv[0] = "-m"
import jaxcert
from jaxcert.errors import exit_cleanly
def kill(): os.kill(os.getpid(), signal.SIGINT)
def command():
    print("ready", flush=True)
    {body}
status = exit_cleanly(command)
{after}
sys.exit(status)
"""
IN_C = "hashlib.pbkdf2_hmac('sha256', b'', b'', 2**31 - 1)"
MOMENTS = {
    "once": ("kill(); print('on')", "", True),
    "as another exception": (
        "try: kill()\n    except BaseException: raise ImportError('numpy')",
        "",
        True,
    ),
    "while it unwinds": ("try: kill()\n    finally: kill(); print('on')", "", True),
    "in a callback": (
        "X = type('X', (), {'__del__': lambda self: kill()}); X(); print('on')",
        "",
        True,
    ),
    "after the end": ("return 0", "kill(); print('on')", True),
    "dropped and again": (
        "try: kill()\n    except BaseException: pass\n    kill(); print('on')",
        "",
        True,
    ),
    "in an import": (
        "open(sys.argv[1] + '/m.py', 'w').write('import __main__; __main__.kill()'); "
        "sys.path.insert(0, sys.argv[1])\n    try: import m\n    except BaseException: "
        "print('on')",
        "",
        True,
    ),
    "never": ("return 3", "", False),
}


@pytest.mark.parametrize("body,after,came", MOMENTS.values(), ids=MOMENTS)
def test_ctrl_c_while_a_command_runs(tmp_path, body, after, came):
    script = SCRIPT.format(body=body, after=after)
    pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process = started("-c", script, tmp_path, **pipes)
    out, said = process.communicate(timeout=100)
    assert process.returncode == (130 if came else 3), said
    assert out == "ready\n"
    assert said == (f"\njaxcert: {terminal.INTERRUPTED}\n" if came else "")


def test_a_second_ctrl_c_ends_a_call_that_python_cannot_interrupt(tmp_path):
    script = SCRIPT.format(body=IN_C, after="")
    pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process = started("-c", script, tmp_path, **pipes)
    process.stdout.readline()
    for _ in range(2):  # it is in C by then, and stays there after the first
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.5)
        process.send_signal(signal.SIGINT)
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
    said = process.communicate()[1]
    assert process.returncode == 130 and terminal.INTERRUPTED in said


def test_a_program_that_imports_the_library_keeps_its_handlers():
    script = "import signal, jaxcert.errors as e; e.exit_cleanly(lambda: 0); "
    script += "assert signal.getsignal(2) is signal.default_int_handler"
    assert started("-c", script).wait(100) == 0


@pytest.fixture
def workdir(tmp_path):
    """With a record, and a config whose letters are no ASCII."""
    folder = tmp_path / "r\u00e4n"
    folder.mkdir()
    header = HEADER | dict(dataset="d\u00e4", format=FORMAT_1)
    written(folder / "certificates.jsonl", 4, 7, header=header)
    text = json.dumps(
        dict(reference=dict(paper="M\u00fcller", clean=1)), ensure_ascii=False
    )
    (folder / "config.json").write_text(text, encoding="utf-8")
    return folder


def closed(*numbers):
    return lambda: [os.close(number) for number in numbers]


ASCII = dict(LC_ALL="C", PYTHONCOERCECLOCALE="0", PYTHONUTF8="0")
HTML = ("--format", "html")
STREAMS = {
    "ascii": (dict(env=ASCII), HTML),
    "ascii alone": (dict(env=dict(PYTHONIOENCODING="ascii")), ()),
    "no stdout": (dict(preexec_fn=closed(1)), ("--help",)),
    "no stderr": (dict(preexec_fn=closed(2)), ()),
    "no streams": (dict(preexec_fn=closed(0, 1, 2)), HTML),
}


@pytest.mark.parametrize("how,words", STREAMS.values(), ids=STREAMS)
def test_report_into_odd_streams(workdir, how, words):
    how = dict(how, env={**os.environ, **how.get("env", {})})
    pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process = started("-m", "jaxcert.report", workdir, *words, **pipes, **how)
    out, said = process.communicate(timeout=100)
    assert process.returncode == 0, said
    assert "jaxcert: " not in said and "Traceback" not in said
    if how.get("preexec_fn") is None:
        assert "100.0" in out and "sigma" in out


@pytest.mark.parametrize("words", [(), ("/nope",)], ids=["report", "refusal"])
@pytest.mark.parametrize("stream", ["stdout", "stderr"])
@pytest.mark.parametrize("end", ["/dev/full", "pipe"])
@needs_dev_full
def test_streams_that_take_nothing(workdir, end, stream, words):
    if end == "pipe":  # nobody reads
        reads, writes = os.pipe()
        os.close(reads)
    else:
        writes = os.open(end, os.O_WRONLY)
    other = "stderr" if stream == "stdout" else "stdout"
    pipes = {stream: writes, other: subprocess.PIPE}
    process = started("-m", "jaxcert.report", *(words or [workdir]), **pipes)
    os.close(writes)
    told = "".join(text or "" for text in process.communicate(timeout=100))
    assert "Traceback" not in told and "Exception" not in told
    assert process.returncode == (2 if words else 1)
    if stream == "stdout" and not words:
        assert ("disk" in told) == (end == "/dev/full")


def test_files_do_not_take_the_place_of_closed_streams(tmp_path):
    script = (
        "import os, sys; [os.close(n) for n in (0, 1, 2)]; "
        "from jaxcert.errors import terminal; terminal._fill_closed_descriptors(); "
        "file = open(sys.argv[1], 'w'); os.write(2, b'of C'); "
        "file.write(str(file.fileno() > 2))"
    )
    assert started("-c", script, tmp_path / "f").wait(100) == 0
    assert (tmp_path / "f").read_text() == "True"
