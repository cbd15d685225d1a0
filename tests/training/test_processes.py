"""Processes of one training: how they meet, and what is said when one does not come."""

from __future__ import annotations

import re
import socket
import threading

import pytest
from refusals import names

from jaxcert.errors import InputError
from jaxcert.training import processes


@pytest.fixture
def port():
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


@pytest.mark.parametrize("text", ["h:0,2,0", "h:65536,2,0", "h:999999,2,1"])
def test_a_port_that_is_none_is_refused(text):
    with pytest.raises(InputError, match=names("--distributed=h", "65535")):
        processes.parse(text)
    assert processes.parse("h:65535,2,1") == ("h", 65535, 2, 1)


def test_three_processes_meet_in_any_order(port):
    came = []

    def run(number):
        processes.gather("127.0.0.1", port, 3, number, limit=20)
        came.append(number)

    threads = [threading.Thread(target=run, args=(number,)) for number in (2, 1, 0)]
    for thread in threads[:2]:
        thread.start()
    threads[0].join(0.5)
    assert not came  # nobody goes on before the first process is there
    threads[2].start()
    for thread in threads:
        thread.join(20)
    assert sorted(came) == [0, 1, 2]


@pytest.mark.parametrize("number, words", [(0, ["number 1"]), (1, ["2,0"])])
def test_a_process_that_stays_alone_ends_in_a_sentence(port, capsys, number, words):
    with pytest.raises(InputError, match=names(*words, "1 s", "--distributed-wait")):
        processes.gather("127.0.0.1", port, 2, number, limit=1)
    assert re.search("train: .*1 s", capsys.readouterr().err)


def test_a_port_that_another_program_has_is_refused(port):
    with socket.create_server(("", port)):
        with pytest.raises(InputError, match=names("--distributed")):
            processes.gather("127.0.0.1", port, 2, 0, limit=5)
    with pytest.raises(
        InputError, match=names("--distributed", "no-such-host.invalid")
    ):
        processes.gather("no-such-host.invalid", port, 2, 1, limit=1)
