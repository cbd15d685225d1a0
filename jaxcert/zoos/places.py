"""Where zoos are: in the package, in a folder, on a web server.

An address is `NAME`, a network of the package, or `PLACE#NAME`, where PLACE is a folder or an
address that begins with http:// or https:// and that the names of files are put behind. It may
begin with `zoo:`.

What comes from a server lies in `zoo` of the cache folder under its SHA-256 and is fetched once.
Every file is compared with the size and the SHA-256 of the index each time it is asked for.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import re
import sys
import urllib.parse
import zlib
from pathlib import Path

from jaxcert.data import download
from jaxcert.errors import InputError, check_file, home
from jaxcert.locks import only_writer
from jaxcert.zoos import index
from jaxcert.zoos.index import File, Listed

PREFIX = "zoo:"
OWN = Path(__file__).with_name("own")
"""The zoo of the package."""
_MOST = 2**24
"""The largest index, in bytes."""
_BLOCK = 2**20


def split(address: str) -> tuple[str, str]:
    """Return (place, name) of an address; the place is empty for the zoo of the package. Raises
    InputError for a place that is neither a folder nor a web address."""
    place, mark, name = address.removeprefix(PREFIX).rpartition("#")
    if mark and not place:
        raise InputError(f"{address!r} has no place before the '#': leave the '#' out.")
    if re.match("[A-Za-z][A-Za-z0-9+.-]+://", place):
        _check_url(place)
    return place, name


def listed(place: str = "") -> dict[str, Listed]:
    """Return the networks of a zoo by name. Raises InputError for a place that has no index, and
    for a server that fails."""
    if _is_url(place):
        where = _url(place, index.FILE)
        return index.parsed(download.read(where, most=_MOST), where)
    path = _folder(place) / index.FILE
    check_file(path)
    with open(path, "rb") as file:
        return index.parsed(file.read(_MOST), str(path))


def found(address: str) -> tuple[str, Listed]:
    """Return (place, the network) of an address. Raises InputError as `listed`, and for a name
    that is not there."""
    place, name = split(address)
    networks = listed(place)
    if name not in networks:
        there = f"there are {', '.join(networks)}" if networks else "it is empty"
        raise InputError(
            f"no network {name!r} in {place or 'the zoo of the package'}: {there}."
        )
    return place, networks[name]


def path_of(place: str, file: File) -> Path:
    """Return the path of a file with the size and the checksum of its index; one of a server is
    fetched first, unless it is in the cache.

    Raises InputError for a file that differs; a download that differs is removed. Several
    processes may ask at once: one fetches, and the others wait.
    """
    if not _is_url(place):
        path = _folder(place) / file.name
        check_file(path)
        if not _is(path, file):
            raise InputError(
                f"{path} is damaged, it is not the file that {index.FILE} lists: copy it again."
            )
        return path
    folder = cache() / "zoo"
    path = folder / (file.sha256 + Path(file.name).suffix)
    if path.exists() and _is(path, file):
        return path
    with only_writer(folder, option="$JAXCERT_CACHE", wait=True):
        if path.exists() and not _is(path, file):
            path.unlink()
        if not path.exists():  # another process may have fetched it meanwhile
            url = _url(place, file.name)
            download.fetch(url, path, sha256=file.sha256, size=file.size)
    return path


def unpack_record(place: str, network: Listed, out: Path) -> None:
    """Write the record of a network, as it was before it was compressed, to `out`. Raises
    InputError as `path_of`, and for one that has another size than its index says."""
    path, size = path_of(place, network.record), 0
    with gzip.open(path) as packed, open(out, "wb") as file:
        while size <= network.unpacked and (block := _block(packed)):
            size += file.write(block)
    if size != network.unpacked:
        raise InputError(
            f"{path} does not hold a record of {network.unpacked:,} bytes, as {index.FILE} "
            f"says: {network.name} must be made again."
        )


def cache() -> Path:
    """Return the folder of what was fetched: $JAXCERT_CACHE, else where this system keeps such
    files."""
    if named := os.environ.get("JAXCERT_CACHE"):
        return home(named)
    if sys.platform == "darwin":
        return home("~/Library/Caches/jaxcert")
    if sys.platform == "win32":
        local = os.environ.get("LOCALAPPDATA") or home("~/AppData/Local")
        return Path(local) / "jaxcert" / "Cache"
    given = os.environ.get("XDG_CACHE_HOME", "")
    usual = Path(given) if os.path.isabs(given) else home("~/.cache")
    return usual / "jaxcert"


def _block(packed: gzip.GzipFile) -> bytes:
    """Return the next bytes; none where the file is no longer, or not, what gzip writes."""
    try:
        return packed.read(_BLOCK)
    except (gzip.BadGzipFile, EOFError, zlib.error):
        return b""


def _is(path: Path, file: File) -> bool:
    if path.stat().st_size != file.size:
        return False
    with open(path, "rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest() == file.sha256


def _folder(place: str) -> Path:
    path = home(place) if place else OWN
    if not path.is_dir():
        raise InputError(f"there is no folder {path}: check the place of the zoo.")
    return path


def _is_url(place: str) -> bool:
    return place.startswith(("http://", "https://"))


def _url(place: str, name: str) -> str:
    return f"{place.rstrip('/')}/{name}"


def _check_url(place: str) -> None:
    try:
        parts = urllib.parse.urlsplit(place)
        fits = _is_url(place) and parts.hostname and parts.port != 0
        fits = fits and re.fullmatch(r"[!-~]+", place) and not set(place) & set("?@#")
    except ValueError:  # a port that is none, half an address of version 6
        fits = False
    if not fits:
        raise InputError(
            f"the place {place!r} is no address of a web server: give "
            "http://HOST/FOLDER or https://HOST/FOLDER, or the path of a folder."
        )
