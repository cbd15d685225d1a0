"""Fetching one file, so that an interruption costs nothing and damage is seen."""

from __future__ import annotations

import errno
import hashlib
import http.client
import urllib.error
import urllib.request
from pathlib import Path

from jaxcert.errors import InputError
from jaxcert.progress import Progress

_BLOCK = 1 << 20
_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS)


def fetch(url: str, target: Path, *, md5: str) -> Path:
    """Download `url` to `target`, by way of `target`.part, which a second try continues.

    Raises InputError if the network fails (what came stays) or the md5 differs (what came
    is removed).
    """
    part = target.with_name(target.name + ".part")
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        _receive(url, part, target.name)
    except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
        if getattr(error, "errno", None) in _DISK:
            error.filename = error.filename or str(part)
            raise
        raise InputError(
            f"could not download {url} ({getattr(error, 'reason', error)}): try again, the "
            f"download continues, or copy the file to {target} by hand."
        ) from None
    with open(part, "rb") as file:
        found = hashlib.file_digest(file, "md5").hexdigest()
    if found != md5:
        part.unlink()
        raise InputError(
            f"{url} gave a file with md5 {found}, not {md5}: it was removed; try again, or "
            f"copy a good one to {target} by hand."
        )
    return part.replace(target)


def _receive(url: str, part: Path, name: str) -> None:
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"User-Agent": "jaxcert"})
    if have:
        request.add_header("Range", f"bytes={have}-")
    try:
        response = urllib.request.urlopen(request, timeout=30)
    except urllib.error.HTTPError as error:
        if error.code == 416 and have:  # nothing is missing
            return
        raise
    with response:
        if response.status != 206:  # the server starts from the beginning
            have = 0
        missing = response.headers.get("Content-Length")
        total = have + int(missing) if missing else 0
        line = Progress(f"download {name}", total, unit="bytes")
        with open(part, "ab" if have else "wb") as file:
            while block := response.read(_BLOCK):
                file.write(block)
                have += len(block)
                line.update(have)
    if have < total:
        raise http.client.IncompleteRead(b"", total - have)
