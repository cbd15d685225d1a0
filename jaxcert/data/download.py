"""Fetching one file, so that an interruption costs nothing and damage is seen."""

from __future__ import annotations

import errno
import hashlib
import http.client
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jaxcert.errors import InputError
from jaxcert.progress import Progress, say

_BLOCK = 1 << 20
_SECONDS = 30.0
"""A server that sends nothing for so long has failed."""
_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS)


def fetch(
    url: str, target: Path, *, md5: str = "", sha256: str = "", size: int | None = None
) -> Path:
    """Download `url` to `target`, by way of `target`.part, which a second try continues.

    md5 or sha256: the checksum of the file. size: its bytes, where they are known; a server that
    sends more is stopped there. Raises InputError if the network fails (what came stays), or if
    the size or the checksum differs (what came is removed).
    """
    part = target.with_name(target.name + ".part")
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with _network_errors(
            url,
            f"the download continues, or copy the file to {target} by hand",
            place=part,
        ):
            _receive(url, part, size)
        kind, wanted = ("md5", md5) if md5 else ("sha256", sha256)
        with open(part, "rb") as file:
            found = hashlib.file_digest(file, kind).hexdigest()
        if found != wanted:
            raise _Other(f"a file with {kind} {found}, not {wanted}")
    except _Other as what:
        part.unlink()
        raise InputError(
            f"{url} gave {what}: it was removed; try again, or copy a good one to {target} by "
            "hand."
        ) from None
    return part.replace(target)


def fetch_any(urls: Sequence[str], target: Path, **how: Any) -> Path:
    """`fetch` the same file from the first of several addresses that has it. Raises InputError
    with the faults of all of them, after all have failed."""
    faults = []
    for url in urls:
        if faults:
            say(f"{faults[-1]} Now from {url}.")
        try:
            return fetch(url, target, **how)
        except InputError as error:
            faults.append(str(error))
    raise InputError(" ".join(faults))


def read(url: str, *, most: int) -> bytes:
    """Return what stands at `url`. Raises InputError if the network fails, or if there are more
    than `most` bytes."""
    with _network_errors(url, "or check the address"):
        with _opened(url, 0) as response:
            content = response.read(most + 1)
    if len(content) > most:
        raise InputError(f"{url} has more than {most:,} bytes: check the address.")
    return content


class _Other(Exception):
    """Raised where the file that came is not the one that was asked for."""


@contextmanager
def _network_errors(url: str, advice: str, place: Path | None = None) -> Iterator[None]:
    try:
        yield
    except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
        if getattr(error, "errno", None) in _DISK:
            error.filename = error.filename or str(place)
            raise
        raise InputError(
            f"could not download {url} ({getattr(error, 'reason', error)}): try again, {advice}."
        ) from None


def _receive(url: str, part: Path, size: int | None) -> None:
    have = part.stat().st_size if part.exists() else 0
    try:
        response = _opened(url, have)
        if response.status == 206 and not _continues(response, have):
            response.close()  # another part than the one that is missing
            have, response = 0, _opened(url, 0)
        elif response.status != 206:  # the server starts from the beginning
            have = 0
    except urllib.error.HTTPError as error:
        if error.code == 416 and have:  # nothing is missing
            return
        raise
    with response, open(part, "ab" if have else "wb") as file:
        missing = response.headers.get("Content-Length", "")
        total = have + int(missing) if missing.isdecimal() else 0
        if size is not None and total not in (0, size):
            raise _Other(f"a file of {total:,} bytes, not {size:,}")
        line = Progress(f"download {url.rpartition('/')[2]}", total, unit="bytes")
        while block := response.read(_BLOCK):
            file.write(block)
            have += len(block)
            line.update(have)
            if size is not None and have > size:
                raise _Other(f"more than the {size:,} bytes of the file")
    if have < (total if size is None else size):
        raise http.client.IncompleteRead(b"", (size or total) - have)


def _opened(url: str, start: int) -> Any:
    """Return the answer of the server, asked for the bytes from `start` on."""
    request = urllib.request.Request(url, headers={"User-Agent": "jaxcert"})
    if start:
        request.add_header("Range", f"bytes={start}-")
    return urllib.request.urlopen(request, timeout=_SECONDS)


def _continues(response: Any, start: int) -> bool:
    """Return whether a part of a file begins at the byte `start`."""
    return response.headers.get("Content-Range", "").startswith(f"bytes {start}-")
