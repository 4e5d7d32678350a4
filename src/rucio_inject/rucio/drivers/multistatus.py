"""What a WebDAV server tells of a file, or of a folder and of what is in it."""

from __future__ import annotations

import errno
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import unquote, urlsplit
from xml.etree import ElementTree

from rucio_inject.rucio.drivers.driver import Entry
from rucio_inject.rucio.secrecy import without_secrets

QUESTION = (
    '<?xml version="1.0"?><propfind xmlns="DAV:"><prop><resourcetype/><getcontentlength/>'
    "<getlastmodified/></prop></propfind>"
)
_DAV = "{DAV:}"


@dataclass(frozen=True, slots=True)
class Told:
    """A file, or a folder, whose entry has no size that means anything."""

    entry: Entry
    is_folder: bool


def read(content: bytes, url: str, paths: Collection[str]) -> tuple[Told, list[Told]]:
    """What an answer tells of a URL, and of what is in it; `paths` are its own on the server.

    FileNotFoundError only if it says that this is not there; what it says that of besides is left
    out. OSError if it says nothing of it, or makes no sense.
    """
    try:
        tree = ElementTree.fromstring(content)  # noqa: S314  without external entities
    except ElementTree.ParseError as error:
        raise _nonsense(str(error)) from error
    server = url.partition("://")[0] + "://" + urlsplit(url).netloc
    own = {_single(path) for path in paths}
    found, inside = None, []
    for part in tree.findall(f"{_DAV}response"):
        path = _path(part)
        if own & {_single(path), _single(unquote(path))}:
            found = _told(part, url)
        else:
            with suppress(FileNotFoundError):
                inside.append(_told(part, f"{server}{_single(unquote(path))}"))
    if found is None:
        raise _nonsense("nothing is told of what was asked for")
    return found, inside


def _nonsense(why: str) -> OSError:
    return OSError(errno.EIO, f"the answer makes no sense: {why}")


def _path(part: Any) -> str:
    """Where something is that is told of. XRootD writes names as they are: what would begin a
    query or a fragment is a part of them."""
    href = str(part.findtext(f"{_DAV}href", "")).strip()
    return href if href.startswith("/") else urlsplit(href).path


def _single(path: str) -> str:
    while "//" in path:
        path = path.replace("//", "/")
    return path.rstrip("/")


def _told(part: Any, url: str) -> Told:
    status = _status(part)
    known = [one for one in part.findall(f"{_DAV}propstat") if _status(one) // 100 == 2]
    if status // 100 != 2 or not known:
        number = errno.ENOENT if status == 404 else errno.EIO
        raise OSError(number, f"nothing is told of {without_secrets(url)} (status {status})")

    def tell(name: str) -> str | None:
        return next((text for one in known if (text := one.findtext(f".//{_DAV}{name}"))), None)

    is_folder = any(one.find(f".//{_DAV}collection") is not None for one in known)
    try:
        # Of a file that is still being written to there may be none.
        size = int(tell("getcontentlength") or 0)
    except ValueError as error:
        raise _nonsense(str(error)) from error
    return Told(Entry(url, size, _moment(tell("getlastmodified"))), is_folder)


def _status(part: Any) -> int:
    """The status of a part of an answer; 200 if it has none of its own."""
    told = part.findtext(f"{_DAV}status")
    words = ["HTTP/1.1", "200"] if told is None else told.split()
    if len(words) < 2 or not words[1].isdecimal():
        raise _nonsense(f"{told!r} is no status")
    return int(words[1])


def _moment(text: str | None) -> datetime | None:
    if not text:
        return None
    try:
        found = parsedate_to_datetime(text)
    except ValueError:
        return None
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
