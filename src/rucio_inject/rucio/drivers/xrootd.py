"""root:// by the Python bindings of XRootD's client: connections stay open, in this process."""

from __future__ import annotations

import errno
import os
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from XRootD import client
from XRootD.client.flags import DirListFlags, OpenFlags, QueryCode, StatInfoFlags

from rucio_inject.domain.checksum import Measure, normalise_adler32
from rucio_inject.domain.errors import SignInFailed
from rucio_inject.measuring import changed, check_unchanged, source_stat
from rucio_inject.rucio.beside import BLOCK, Beside, source_blocks
from rucio_inject.rucio.credentials import Credentials
from rucio_inject.rucio.drivers.driver import BASE_SECONDS, Entry, patience, walk
from rucio_inject.rucio.pfn import server_and_path
from rucio_inject.rucio.secrecy import without_secrets

# Blocks that are on their way at once.
_AHEAD = 2
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
        server, path = server_and_path(url)
        server = f"root://{server}"
        with self._lock:
            if server not in self._systems:
                self._sign()
                self._systems[server] = client.FileSystem(server)
            return self._systems[server], "/" + path.lstrip("/")

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
        before = source_stat(source)
        if before.st_size != size:
            raise changed(source)
        self._system(url)
        file = client.File()
        flags = OpenFlags.NEW | OpenFlags.MAKEPATH
        self._check(file.open(_full(url), flags, timeout=BASE_SECONDS)[0])
        try:
            with Beside(size) as beside:
                self._send(file, source, size, beside)
                measure = beside.measure()
        finally:
            closed, _ = file.close(timeout=patience(size))
        self._check(closed)
        check_unchanged(source, before, source_stat(source))
        return measure

    def _send(self, file: Any, source: Path, size: int, beside: Beside) -> None:
        blocks = source_blocks(source, size)
        if size <= BLOCK:
            for block in blocks:
                self._write(file, 0, block)
                beside.update(block)
            return
        with ThreadPoolExecutor(_AHEAD) as pool:
            going: deque[Future[None]] = deque()
            for number, block in enumerate(blocks):
                going.append(pool.submit(self._write, file, number * BLOCK, block))
                beside.update(block)
                if len(going) > _AHEAD:
                    going.popleft().result()
            for one in going:
                one.result()

    def fetch(self, url: str, size: int, write: Callable[[bytes], object]) -> None:
        """See the port."""
        self._system(url)
        file = client.File()
        self._check(file.open(_full(url), OpenFlags.READ, timeout=BASE_SECONDS)[0])
        try:
            came = 0
            # Reads that are under way end before the file is closed.
            with closing(self._blocks(file, size)) as blocks:
                for block in blocks:
                    write(block)
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
        return walk(url, self._inside)

    def _inside(self, folder: str) -> Iterator[tuple[Entry, bool]]:
        system, path = self._system(folder)
        status, found = system.dirlist(path, DirListFlags.STAT, timeout=2 * BASE_SECONDS)
        self._check(status)
        for entry in found or ():
            told = entry.statinfo
            if told is not None:
                moment = datetime.fromtimestamp(told.modtime, UTC)
                is_folder = bool(told.flags & StatInfoFlags.IS_DIR)
                if is_folder and "?" in entry.name:
                    # The protocol ends a path there: it would be this folder again, without end.
                    raise OSError(errno.EINVAL, f"a folder's name holds ?: {folder}/{entry.name}")
                yield Entry(f"{folder}/{entry.name}", told.size, moment), is_folder

    def _check(self, status: Any) -> None:
        if status.ok:
            return
        message = without_secrets(" ".join(str(status.message).split())).removeprefix("[ERROR] ")
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
            if self._credentials.identity() is None and self._credentials.token() is not None:
                # Another protocol of the RSE may take that.
                words = f"it takes no token over root://, and there is no proxy: {message}"
                raise ConnectionRefusedError(errno.ECONNREFUSED, words)
            raise SignInFailed(
                f"the storage does not know us: {message}",
                hint="is there a valid proxy (X509_USER_PROXY), and is its authority trusted"
                " (X509_CERT_DIR)?",
            )
        raise OSError(_CLIENT.get(status.code, errno.EIO), message)

    def _blocks(self, file: Any, size: int) -> Generator[bytes, None, None]:
        """What is read, to the end. Of a large file the next blocks come while one is used."""
        places = range(0, size + 1, BLOCK)
        if len(places) == 1:
            yield self._read(file, 0, size + 1)
            return
        with ThreadPoolExecutor(_AHEAD) as pool:
            coming: deque[Future[bytes]] = deque()
            for at in places:
                coming.append(pool.submit(self._read, file, at, BLOCK))
                if len(coming) > _AHEAD:
                    yield coming.popleft().result()
            while coming:
                yield coming.popleft().result()

    def _read(self, file: Any, at: int, size: int) -> bytes:
        status, block = file.read(at, size, timeout=patience(size))
        self._check(status)
        return bytes(block)

    def _write(self, file: Any, at: int, block: bytes) -> None:
        self._check(file.write(block, at, timeout=patience(len(block)))[0])


def _full(url: str) -> str:
    """With the two slashes that make a path absolute for the client."""
    server, path = server_and_path(url)
    return f"root://{server}//{path.lstrip('/')}"
