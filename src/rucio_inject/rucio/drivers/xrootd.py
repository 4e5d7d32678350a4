"""root:// by the Python bindings of XRootD's client: connections stay open, in this process."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from XRootD import client
from XRootD.client.flags import DirListFlags, OpenFlags, QueryCode, StatInfoFlags

from rucio_inject.domain.checksum import Measure, normalise_adler32
from rucio_inject.domain.errors import SignInFailed
from rucio_inject.measuring import measure_file
from rucio_inject.rucio.credentials import Credentials
from rucio_inject.rucio.drivers.driver import BASE_SECONDS, Entry, patience

_READ = 1 << 20
# The client would try to connect for minutes, and then not again for half an hour: we tell what is
# wrong, and try again ourselves.
_SETTINGS = {
    "ConnectionWindow": 10,
    "ConnectionRetry": 1,
    "StreamErrorWindow": 1,
    "RequestTimeout": 120,
    "TimeoutResolution": 1,
}
# What a server says (kXR_…), in the system's words.
_SERVER = {
    3002: errno.EINVAL,
    3005: errno.EIO,
    3007: errno.EIO,
    3008: errno.ENOMEM,
    3009: errno.ENOSPC,
    3010: errno.EACCES,
    3011: errno.ENOENT,
    3013: errno.EOPNOTSUPP,
    3015: errno.EISDIR,
    3016: errno.EISDIR,
    3018: errno.EEXIST,
    3019: errno.EIO,
    3021: errno.EDQUOT,
    3030: errno.EACCES,
}
# What the client says of the way to the server (XrdCl::err…).
_ERROR_RESPONSE = 400
_CLIENT = {
    101: errno.ECONNREFUSED,
    102: errno.ECONNREFUSED,
    103: errno.ECONNREFUSED,
    104: errno.ECONNREFUSED,
    105: errno.ECONNRESET,
    106: errno.ECONNRESET,
    107: errno.ECONNRESET,
    108: errno.ECONNREFUSED,
    109: errno.ECONNRESET,
    201: errno.EACCES,
    204: errno.EACCES,
    206: errno.ETIMEDOUT,
}
_NO_SECURITY = frozenset({201, 204})
_FULL = "no space left"


class XrootdDriver:
    """See `Driver`."""

    def __init__(self, credentials: Credentials) -> None:
        for name, value in _SETTINGS.items():
            client.EnvPutInt(name, value)
        self._credentials = credentials
        self._systems: dict[str, Any] = {}
        self._lock = threading.Lock()

    def _system(self, url: str) -> tuple[Any, str]:
        """What speaks to a server, and the path of a URL there."""
        parts = urlsplit(url)
        server = f"root://{parts.netloc}"
        with self._lock:
            if server not in self._systems:
                self._sign()
                self._systems[server] = client.FileSystem(server)
            return self._systems[server], "/" + parts.path.lstrip("/")

    def _sign(self) -> None:
        """Let the library find what we found. It looks at these before it does at X509_USER_…,
        which are left as they are: `Credentials` reads them anew."""
        found = self._credentials.identity()
        if found is None:
            return
        if found.certificate == found.key:
            told = {"XrdSecGSIUSERPROXY": found.certificate}
        else:
            told = {
                "XrdSecGSIUSERCERT": found.certificate,
                "XrdSecGSIUSERKEY": found.key,
                # It would make a proxy of them, for which it wants a terminal.
                "XrdSecGSICREATEPROXY": "0",
            }
        os.environ.update(told)

    def look(self, url: str) -> Entry | None:
        """See the port."""
        system, path = self._system(url)
        status, found = system.stat(path, timeout=BASE_SECONDS)
        try:
            self._check(status)
        except FileNotFoundError:
            return None
        if found.flags & (StatInfoFlags.IS_DIR | StatInfoFlags.OTHER):
            return None
        return Entry(url, found.size, datetime.fromtimestamp(found.modtime, UTC))

    def send(self, source: Path, url: str, size: int) -> Measure:
        """See the port."""
        self._system(url)
        file = client.File()
        flags = OpenFlags.NEW | OpenFlags.MAKEPATH
        self._check(file.open(_full(url), flags, timeout=BASE_SECONDS)[0])
        at, failed = 0, None

        def write(block: memoryview) -> None:
            nonlocal at
            status, _ = file.write(bytes(block), at, timeout=patience(len(block)))
            # Not as an OSError: it would be taken for one of the source.
            if not status.ok:
                raise _WriteFailed(status)
            at += len(block)

        try:
            measure = measure_file(source, write)
        except _WriteFailed as error:
            failed = error.args[0]
        finally:
            closed, _ = file.close(timeout=patience(size))
        self._check(failed or closed)
        return measure

    def fetch(self, url: str, size: int, write: Callable[[memoryview], object]) -> None:
        """See the port."""
        self._system(url)
        file = client.File()
        self._check(file.open(_full(url), OpenFlags.READ, timeout=BASE_SECONDS)[0])
        try:
            came = 0
            # A read that is under way ends before the file is closed.
            with closing(self._blocks(file, size)) as blocks:
                for block in blocks:
                    write(memoryview(block))
                    came += len(block)
        finally:
            file.close(timeout=BASE_SECONDS)
        if came < size:
            raise OSError(errno.EIO, f"only {came} of {size} bytes came")

    def adler32(self, url: str, size: int) -> str | None:
        """See the port."""
        system, path = self._system(url)
        question = f"{path}?cks.type=adler32"
        status, told = system.query(QueryCode.CHECKSUM, question, timeout=patience(size))
        if not status.ok and status.errno == 3013:
            return None
        self._check(status)
        name, _, value = told.decode().strip("\0 \n").partition(" ")
        return normalise_adler32(value) if name == "adler32" else None

    def move(self, url: str, new: str) -> None:
        """See the port."""
        system, path = self._system(url)
        self._check(system.mv(path, self._system(new)[1], timeout=BASE_SECONDS)[0])

    def remove(self, url: str) -> None:
        """See the port."""
        system, path = self._system(url)
        self._check(system.rm(path, timeout=BASE_SECONDS)[0])

    def walk(self, url: str) -> Iterator[Entry]:
        """See the port."""
        system, path = self._system(url)
        waiting = [(url.rstrip("/"), path.rstrip("/"))]
        while waiting:
            place, folder = waiting.pop()
            status, found = system.dirlist(folder, DirListFlags.STAT, timeout=2 * BASE_SECONDS)
            try:
                self._check(status)
            except FileNotFoundError:
                if place == url.rstrip("/"):
                    raise
                continue
            for entry in found or ():
                told = entry.statinfo
                inside = f"{place}/{entry.name}"
                if told is None:
                    continue
                if told.flags & StatInfoFlags.IS_DIR:
                    waiting.append((inside, f"{folder}/{entry.name}"))
                else:
                    yield Entry(inside, told.size, datetime.fromtimestamp(told.modtime, UTC))

    def _check(self, status: Any) -> None:
        if status.ok:
            return
        message = " ".join(str(status.message).split()).removeprefix("[ERROR] ")
        message = message.removeprefix("[FATAL] ").removeprefix("Server responded with an error: ")
        if status.code == _ERROR_RESPONSE:
            number = _SERVER.get(status.errno, errno.EIO)
            if _FULL in message.lower():
                number = errno.ENOSPC
            raise OSError(number, message)
        if "server certificate" in message.lower():
            raise PermissionError(errno.EACCES, f"it is not whom it should be: {message}")
        if status.code in _NO_SECURITY or "auth" in message.lower():
            # The server does not say why; a proxy that has expired is the usual reason.
            self._credentials.identity()
            raise SignInFailed(
                f"the storage does not know us: {message}",
                hint="is there a valid proxy (X509_USER_PROXY), and is its authority trusted"
                " (X509_CERT_DIR)?",
            )
        raise OSError(_CLIENT.get(status.code, errno.EIO), message)

    def _blocks(self, file: Any, size: int) -> Generator[bytes, None, None]:
        """What is read, to the end. Of a large file the next block comes while one is used."""
        if size <= _READ:
            yield self._read(file, 0)
            return
        with ThreadPoolExecutor(1) as ahead:
            coming, at = ahead.submit(self._read, file, 0), 0
            while block := coming.result():
                at += len(block)
                # A short answer is the last one.
                if len(block) == _READ:
                    coming = ahead.submit(self._read, file, at)
                yield block
                if len(block) < _READ:
                    return

    def _read(self, file: Any, at: int) -> bytes:
        status, block = file.read(at, _READ, timeout=patience(_READ))
        self._check(status)
        return bytes(block)


class _WriteFailed(Exception):
    """A block did not arrive."""


def _full(url: str) -> str:
    """With the two slashes that make a path absolute for the client."""
    parts = urlsplit(url)
    return f"root://{parts.netloc}//{parts.path.lstrip('/')}"
