"""Which folders the service may touch, and how a `file://` URL names a path in them.

The service listens without sign-in, on loopback: this guard is what keeps a request from reading
or replacing anything outside of the lake's storage.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from pathlib import Path

_LOCAL = frozenset({"", "localhost", "127.0.0.1"})


class PathRefused(Exception):
    """This URL may not be touched. `number` is the errno that says so best."""

    def __init__(self, number: int, message: str) -> None:
        super().__init__(message)
        self.number = number
        self.message = message


def scheme_of(url: str) -> str:
    """What stands before `://`, in lower case; empty if nothing does."""
    scheme, separator, _ = url.partition("://")
    return scheme.lower() if separator else ""


class PathGuard:
    """Turns `file://` URLs into paths below the allowed roots, and refuses all others."""

    def __init__(self, roots: Sequence[Path], folders_of_roots: Sequence[Path] = ()) -> None:
        """`roots` are existing folders, and so is each folder that lies in one of
        `folders_of_roots`; symbolic links in what is given here are followed once."""
        # With a slash at the end: /lake/a does not allow /lake/ab, nor the root itself.
        self._single = tuple(os.path.realpath(root).rstrip("/") + "/" for root in roots)
        self._many = tuple(os.path.realpath(one).rstrip("/") + "/" for one in folders_of_roots)
        self._roots = self._single + self._many

    def path(self, url: str) -> Path:
        """The real path behind `url`, with the links of its folders followed. PathRefused if the
        URL is not a local file's, or if the path is, or leads, outside of the roots.

        Names are taken as they stand, since Rucio writes PFNs without quoting: `%20` is three
        characters.
        """
        folder, name = os.path.split(_given_path(url))
        # The last name is not followed: a link there is judged by where it points to, but it is
        # the link itself that a rename would replace.
        real = Path(_real_folder(folder), name)
        self._below_a_root(str(real), url)
        if real.is_symlink():
            self._below_a_root(os.path.realpath(real), url)
        return real

    def root_of(self, path: Path) -> Path:
        """The root that a path given by us lies in: only who mounts a storage may make it."""
        real = str(path)
        for root in self._single:
            if real.startswith(root):
                return Path(root)
        (above,) = (one for one in self._many if real.startswith(one))
        return Path(above, real.removeprefix(above).partition("/")[0])

    def _below_a_root(self, real: str, url: str) -> None:
        if not real.startswith(self._roots):
            raise PathRefused(errno.EACCES, f"{url} is outside of the lake's storage folders")


def _real_folder(folder: str) -> str:
    """`os.path.realpath`, with one question to the system where that asks one for each part of
    the path: each gives the interpreter away, and every copy comes through here."""
    try:
        descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        # Not made yet, or no folder: what there is of it is followed.
        return os.path.realpath(folder)
    try:
        return os.readlink(f"/proc/self/fd/{descriptor}")  # noqa: PTH115 - the text is wanted
    finally:
        os.close(descriptor)


def _given_path(url: str) -> str:
    if scheme_of(url) != "file":
        raise PathRefused(errno.EPROTONOSUPPORT, f"{url} is not a file:// URL")
    host, slash, rest = url.partition("://")[2].partition("/")
    if host.partition(":")[0].lower() not in _LOCAL:
        raise PathRefused(errno.EREMOTE, f"{url} names another host than this one")
    path = slash + rest
    if not rest or "\0" in path or path.endswith("/"):
        raise PathRefused(errno.EINVAL, f"{url!r} does not name a file")
    if not {"..", "."}.isdisjoint(path.split("/")):
        raise PathRefused(errno.EACCES, f"{url} has '.' or '..' in its path")
    return path
