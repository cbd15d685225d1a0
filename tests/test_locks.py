"""A folder is written by one process at a time."""

from __future__ import annotations

import signal
import subprocess
import sys

import numpy as np
import pytest
from command_line import CONFIG, ROOT, end
from refusals import names, tells

from jaxcert import convert, import_torch, study, train
from jaxcert.errors import InputError
from jaxcert.locks import only_writer

HOLD = """
import sys, time
from jaxcert.locks import only_writer
with only_writer(sys.argv[1], option="--out"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_killed_process_holds_nothing(tmp_path):
    folder = tmp_path / "deep" / "run"
    command = [sys.executable, "-c", HOLD, str(folder)]
    holder = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(InputError, match=names(folder, "--out")):
        with only_writer(folder, option="--out"):
            pass
    holder.send_signal(signal.SIGKILL)
    holder.communicate()
    with only_writer(folder, option="--out"):
        pass


def test_a_folder_of_nothing_is_removed_and_one_with_content_stays(tmp_path):
    new = tmp_path / "deep" / "run"
    with pytest.raises(ZeroDivisionError):
        with only_writer(new, option="--out"):
            raise ZeroDivisionError
    assert not (tmp_path / "deep").exists()
    with pytest.raises(ZeroDivisionError):
        with only_writer(new, option="--out"):
            (new / "mine").touch()
            raise ZeroDivisionError
    with pytest.raises(ZeroDivisionError):
        with only_writer(tmp_path, option="--out"):
            raise ZeroDivisionError
    assert (new / "mine").exists()


@pytest.mark.parametrize("command", [train, study, convert, import_torch])
def test_commands_refuse_a_folder_that_is_being_written(tmp_path, capsys, command):
    image, label = np.full((9, 8, 8, 1), 9, np.uint8), np.arange(9)
    np.savez(tmp_path / "some.npz", image=image, label=label)
    arguments = {
        train: ["--config", CONFIG, "--workdir"],
        study: ["--config", CONFIG, "--workdir"],
        import_torch: [
            *("--config", CONFIG, "--state", tmp_path / "some.npz", "--workdir")
        ],
        convert: ["--generated", tmp_path / "some.npz", "--out"],
    }[command]
    folder = tmp_path / "run"
    with only_writer(folder, option="--out"):
        status, said = end(capsys, command, *arguments, folder)
    assert status == 2 and tells(said, "process", folder, arguments[-1])
    assert [p.name for p in folder.iterdir()] == [".lock"]
