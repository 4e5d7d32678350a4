"""Whatever gfal2 reaches (davs, root, srm, gsiftp), by its Python bindings."""

from __future__ import annotations

import errno
import stat
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import gfal2

from rucio_inject.domain.checksum import Measure, normalise_adler32
from rucio_inject.measuring import check_unchanged, measure_file, source_stat
from rucio_inject.rucio.credentials import Credentials
from rucio_inject.rucio.drivers.driver import BASE_SECONDS, Entry, patience, walk
from rucio_inject.rucio.secrecy import without_secrets

_READ = 1 << 20


class GfalDriver:
    """See `Driver`."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials
        self._local = threading.local()

    def _context(self) -> Any:
        """This thread's; another certificate, or the same renewed, is another context."""
        token = self._credentials.token()
        identity = None if token else self._credentials.identity()
        stamp: object = token
        if identity is not None:
            stamp = identity, Path(identity.certificate).stat().st_mtime_ns
        held = getattr(self._local, "held", None)
        if held is None or held[0] != stamp:
            context = gfal2.creat_context()
            context.set_opt_string("XROOTD PLUGIN", "XRD.WANTPROT", "gsi,unix")
            # Neither takes names of arguments.
            context.set_opt_boolean("XROOTD PLUGIN", "NORMALIZE_PATH", False)  # noqa: FBT003
            context.set_opt_boolean("HTTP PLUGIN", "RETRIEVE_BEARER_TOKEN", False)  # noqa: FBT003
            for plugin in ("HTTP PLUGIN", "XROOTD PLUGIN", "CORE"):
                context.set_opt_integer(plugin, "OPERATION_TIMEOUT", BASE_SECONDS)
            if token:
                context.set_opt_string("BEARER", "TOKEN", token)
            elif identity is not None:
                context.set_opt_string("X509", "CERT", identity.certificate)
                context.set_opt_string("X509", "KEY", identity.key)
            held = self._local.held = stamp, context
        return held[1]

    def _call(self, name: str, *arguments: object) -> Any:
        try:
            return getattr(self._context(), name)(*arguments)
        except gfal2.GError as error:
            raise _told(error) from error

    def look(self, url: str) -> Entry | None:
        """See the port."""
        try:
            found = self._call("stat", url)
        except FileNotFoundError:
            return None
        if not stat.S_ISREG(found.st_mode):
            return None
        return Entry(url, found.st_size, datetime.fromtimestamp(found.st_mtime, UTC))

    def send(self, source: Path, url: str, size: int) -> Measure:
        """See the port."""
        before = source_stat(source)
        measure = measure_file(source)
        parameters = self._context().transfer_parameters()
        parameters.create_parent = True
        parameters.overwrite = False
        parameters.timeout = patience(size)
        self._call("filecopy", parameters, f"file://{quote(str(source.absolute()))}", url)
        check_unchanged(source, before, source_stat(source))
        return measure

    def fetch(self, url: str, size: int, write: Callable[[bytes], object]) -> None:
        """See the port."""
        came = 0
        try:
            file = self._context().open(url, "r")
            while block := file.read_bytes(_READ):
                came += len(block)
                write(bytes(block))
        except gfal2.GError as error:
            raise _told(error) from error
        if came < size:
            raise OSError(errno.EIO, f"only {came} of {size} bytes came")

    def adler32(self, url: str, size: int) -> str | None:
        """See the port. How long it may take is told to the library for all calls."""
        del size
        try:
            told = self._call("checksum", url, "adler32")
        except OSError as error:
            if error.errno in {errno.ENOSYS, errno.EOPNOTSUPP}:
                return None
            raise
        return normalise_adler32(told)

    def move(self, url: str, new: str) -> None:
        """See the port."""
        self._call("rename", url, new)

    def remove(self, url: str) -> None:
        """See the port."""
        self._call("unlink", url)

    def walk(self, url: str) -> Iterator[Entry]:
        """See the port."""
        return walk(url, self._inside)

    def _inside(self, folder: str) -> Iterator[tuple[Entry, bool]]:
        for name, found in self._entries(folder):
            moment = datetime.fromtimestamp(found.st_mtime, UTC)
            yield Entry(f"{folder}/{name}", found.st_size, moment), stat.S_ISDIR(found.st_mode)

    def _entries(self, folder: str) -> Iterator[tuple[str, Any]]:
        """Names and stats in a folder, in one question where the protocol can do that."""
        directory = self._call("opendir", folder)
        while True:
            try:
                entry, found = directory.readpp()
            except gfal2.GError as error:
                raise _told(error) from error
            if entry is None or not entry.d_name:
                return
            if entry.d_name not in {".", ".."}:
                yield entry.d_name.rstrip("/"), found


def _told(error: Any) -> OSError:
    """gfal2's error, whose code is an errno."""
    words = without_secrets(" ".join(str(error.message).split()))
    if "no space left" in words.lower():
        return OSError(errno.ENOSPC, words)
    if error.code == errno.ECOMM:
        return ConnectionError(errno.ECONNRESET, words)
    return OSError(error.code, words)
