"""Joining the processes of one training."""

from __future__ import annotations

import re
import socket
import time
from contextlib import suppress

import jax

from jaxcert.errors import InputError, at_least
from jaxcert.progress import say

_SILENT = 5.0
"""Seconds of waiting after which a process says what it waits for."""
_GO, _TWICE = b"go on", b"twice"


def join(address: str, *, limit: int) -> None:
    """Join the processes of `--distributed`: HOST:PORT,N,I, or 'auto' on a cluster that jax
    knows. Waits at most `limit` seconds for the others.

    Raises InputError for an impossible address, a port that another program has, or
    processes that do not come in time.
    """
    at_least(1, **{"--distributed-wait": limit})
    if address == "auto":
        try:
            jax.distributed.initialize(initialization_timeout=limit)
        except ValueError:
            raise InputError(
                "--distributed=auto finds no cluster that jax knows: give HOST:PORT,N,I."
            ) from None
        return
    host, port, count, number = parse(address)
    gather(host, port, count, number, limit=limit)
    jax.distributed.initialize(f"{host}:{port}", num_processes=count, process_id=number)


def gather(host: str, port: int, count: int, number: int, *, limit: float) -> None:
    """Return in every process once all of them are there, at most after `limit` seconds.

    The first process listens at the port that JAX will use, each other one tells it its
    number. JAX's own waiting ends the process without a word of its own when nobody comes.
    Raises InputError for a host that is not known, a port that is taken, a number that
    comes twice, or processes that do not come in time.
    """
    host, end = host.strip("[]"), time.monotonic() + limit
    try:
        socket.getaddrinfo(host, port)
    except OSError:
        raise InputError(
            f"--distributed names the host {host}, which is not known here: correct it."
        ) from None
    if count > 1:
        (_meet if number == 0 else _report)(host, port, count, number, end, limit)


def _meet(host, port, count, number, end, limit) -> None:
    """Of the first process: wait for the number of every other one, then let all of
    them go."""
    try:
        server = socket.create_server(("", port), backlog=count)
    except OSError as error:
        raise InputError(
            f"port {port} of {host} cannot be listened at ({error.strerror}): give "
            "--distributed a free port."
        ) from None
    waiting: dict[int, socket.socket] = {}
    told = _Told(limit)
    with server:
        while len(waiting) < count - 1:
            left = sorted(set(range(1, count)) - waiting.keys())
            shown = ", ".join(map(str, left[:8])) + ", ..." * (len(left) > 8)
            if time.monotonic() > end:
                raise InputError(
                    f"of {count} processes number {shown} did not come within {limit:g} s: "
                    f"start each with --distributed={host}:{port},{count},I, or wait longer "
                    "with --distributed-wait."
                )
            told.once(f"waiting for process {shown} of {count}, at most {limit:g} s")
            server.settimeout(0.5)
            with suppress(OSError):
                other, _ = server.accept()
                other.settimeout(2.0)
                name = other.recv(64).decode("ascii", "replace")
                match = re.fullmatch(rf"jaxcert (\d+) of {count}\n", name)
                if match is None or not 0 < int(match[1]) < count:
                    other.close()
                elif int(match[1]) in waiting:
                    other.sendall(_TWICE)
                    other.close()
                else:
                    waiting[int(match[1])] = other
    for other in waiting.values():
        with suppress(OSError), other:
            other.sendall(_GO)
            other.recv(1)  # it closes first, so that the port is free at once


def _report(host, port, count, number, end, limit) -> None:
    """Of every other process: tell the first one our number, and wait until all have
    come."""
    told, answer = _Told(limit), b""
    first = f"the first process (--distributed={host}:{port},{count},0)"
    while True:
        left = end - time.monotonic()
        if left <= 0:
            raise InputError(
                f"{first} was not there, or not all others, within {limit:g} s: start it, or "
                "wait longer with --distributed-wait."
            )
        told.once(f"waiting for {first} and the others, at most {limit:g} s")
        with suppress(OSError):
            with socket.create_connection((host, port), timeout=min(2.0, left)) as link:
                link.sendall(f"jaxcert {number} of {count}\n".encode())
                while time.monotonic() < end:
                    told.once(
                        f"waiting for {first} and the others, at most {limit:g} s"
                    )
                    link.settimeout(0.5)
                    with suppress(TimeoutError):
                        answer = link.recv(len(_GO))
                        break
        if answer == _GO:
            return
        if answer == _TWICE:
            raise InputError(
                f"another process has number {number} of {count}: give --distributed each "
                "number once."
            )
        if answer:
            raise InputError(
                f"another program answers at {host}:{port}: give --distributed a free port."
            )
        time.sleep(0.2)


class _Told:
    """Says one sentence, once, after some seconds of waiting."""

    def __init__(self, limit: float):
        self._at = time.monotonic() + min(_SILENT, limit / 2)

    def once(self, text: str) -> None:
        if time.monotonic() > self._at:
            say(f"train: {text}")
            self._at = float("inf")


def parse(address: str) -> tuple[str, int, int, int]:
    """Parse 'HOST:PORT,N,I' into (host, port, N, I). Raises InputError for another
    form, a port outside 1 to 65535, or an I that is not below N."""
    match = re.fullmatch(r"(.+):(\d{1,9}),(\d{1,9}),(\d{1,9})", address)
    port, count, number = (int(x) for x in match.groups()[1:]) if match else (1, 0, 0)
    if number >= count:
        raise InputError(
            f"--distributed wants HOST:PORT,N,I or auto, not {address!r}: process I of N, "
            "from 0 to N - 1."
        )
    if not 0 < port < 2**16:
        raise InputError(
            f"--distributed={address} has the port {port}: give one from 1 to 65535."
        )
    return match[1], port, count, number
