"""davs:// and https:// by HTTP: connections stay open, one a thread and server."""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote, unquote, urlsplit

import requests
from urllib3.exceptions import ProtocolError

from rucio_inject.domain.checksum import Measure, normalise_adler32
from rucio_inject.domain.errors import SignInFailed
from rucio_inject.measuring import changed, check_unchanged, source_stat
from rucio_inject.rucio.beside import BLOCK, Beside, source_blocks
from rucio_inject.rucio.credentials import Credentials
from rucio_inject.rucio.drivers import multistatus
from rucio_inject.rucio.drivers.driver import BASE_SECONDS, Entry, patience, walk
from rucio_inject.rucio.pfn import server_and_path
from rucio_inject.rucio.secrecy import headers_hidden, without_secrets

_ERRNO = {
    401: errno.EACCES,
    403: errno.EACCES,
    404: errno.ENOENT,
    405: errno.EOPNOTSUPP,
    408: errno.ETIMEDOUT,
    412: errno.EEXIST,
    429: errno.ETIMEDOUT,
    500: errno.EIO,
    502: errno.ECONNREFUSED,
    503: errno.ECONNREFUSED,
    504: errno.ETIMEDOUT,
    507: errno.ENOSPC,
}
# Where something is written, 409 says that its folder is not there; elsewhere it tells nothing.
_NO_FOLDER, _WRITING = 409, frozenset({"PUT", "MKCOL", "MOVE"})
_FULL = "no space left"
_CONNECT_SECONDS = 10
# Only where nothing is. XRootD does not know it, and whoever looks first has to connect anew: it
# hangs up on whoever asks for what is not there. So the name must be one that nobody else takes.
_NEW = {"If-None-Match": "*"}
# What changes nothing.
_LOOKING = frozenset({"GET", "HEAD", "PROPFIND"})
# The redirects that keep method and body.
_SAME = (307, 308)
# The status of an answer to PROPFIND.
_TELLS = 207


class WebdavDriver:
    """See `Driver`."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials
        self._local = threading.local()

    def look(self, url: str) -> Entry | None:
        """See the port."""
        try:
            found, _ = self._found(url, "0")
        except FileNotFoundError:
            return None
        return None if found.is_folder else found.entry

    def send(self, source: Path, url: str, size: int) -> Measure:
        """See the port."""
        before = source_stat(source)
        if before.st_size != size:
            raise changed(source)
        try:
            measure = self._put(source, url, size)
        except FileNotFoundError:
            self._make_folder(url.rpartition("/")[0])
            measure = self._put(source, url, size)
        check_unchanged(source, before, source_stat(source))
        return measure

    def _put(self, source: Path, url: str, size: int) -> Measure:
        with _Body(source, size) as body:
            try:
                # An empty body would not be asked for its bytes.
                data = body if size else b"".join(body)
                self._call("PUT", url, headers=_NEW, data=data, seconds=patience(size))
            except ConnectionError as error:
                if self._takes_no_byte(url):
                    words = "it makes a file and takes no byte of it: it is full"
                    raise OSError(errno.ENOSPC, words) from error
                # A server that refuses, or sends us elsewhere, may close the connection while the
                # bytes are sent, and what it said is lost. It tells it again when nothing comes.
                elsewhere = self._call("PUT", url, data=b"", redirects=False).next
                if elsewhere is None:
                    raise
                elsewhere.prepare_body(body, None)
                self._send(elsewhere, patience(size))
            return body.measure()

    def _takes_no_byte(self, url: str) -> bool:
        """Whether a server makes an empty file beside this one and breaks off at its first byte:
        so does XRootD when it has no room, and says no word."""
        folder, _, name = url.rpartition("/")
        beside = f"{folder}/probe-{name}"
        try:
            if self._call("PUT", beside, data=b"?", redirects=False).is_redirect:
                return False
        except ConnectionError:
            if self._call("PUT", beside, data=b"", redirects=False).is_redirect:
                return False
            full = True
        else:
            full = False
        with suppress(OSError):
            self.remove(beside)
        return full

    def fetch(self, url: str, size: int, write: Callable[[bytes], object]) -> None:
        """See the port."""
        headers = {"Accept-Encoding": "identity"}
        came = 0
        with self._errors(), self._call("GET", url, headers=headers, stream=True) as answer:
            for block in answer.iter_content(BLOCK):
                came += len(block)
                write(block)
        if came < size:
            raise OSError(errno.EIO, f"only {came} of {size} bytes came")

    def adler32(self, url: str, size: int) -> str | None:
        """See the port."""
        headers = {"Want-Digest": "adler32"}
        answer = self._call("HEAD", url, headers=headers, seconds=patience(size))
        for part in answer.headers.get("Digest", "").split(","):
            name, _, value = part.strip().partition("=")
            if name.lower() == "adler32" and value:
                return normalise_adler32(value)
        return None

    def move(self, url: str, new: str) -> None:
        """See the port."""
        self._call("MOVE", url, headers={"Destination": _https(new), "Overwrite": "F"})

    def remove(self, url: str) -> None:
        """See the port."""
        self._call("DELETE", url)

    def walk(self, url: str) -> Iterator[Entry]:
        """See the port."""
        return walk(url, self._inside)

    def _inside(self, folder: str) -> Iterator[tuple[Entry, bool]]:
        for one in self._found(folder, "1")[1]:
            yield one.entry, one.is_folder

    def _found(self, url: str, depth: str) -> tuple[multistatus.Told, list[multistatus.Told]]:
        """What a server tells of a file, or of a folder and what is in it. FileNotFoundError only
        if it says that this is not there."""
        headers = {"Depth": depth}
        answer = self._call("PROPFIND", url, headers=headers, data=multistatus.QUESTION)
        if answer.status_code != _TELLS:
            # The page of something in between, perhaps while the storage is away.
            words = f"PROPFIND answered {answer.status_code} {answer.reason}, as no storage does"
            raise ConnectionRefusedError(errno.ECONNREFUSED, words)
        # It may have sent us on to another name.
        paths = (server_and_path(url)[1], unquote(urlsplit(answer.url).path))
        return multistatus.read(answer.content, url, paths)

    def _make_folder(self, url: str) -> None:
        """Make a folder and those above it."""
        answer = self._call("MKCOL", url, fine=(404, 405, 409))
        if answer.status_code in {404, 409} and server_and_path(url)[1].count("/") > 1:
            self._make_folder(url.rpartition("/")[0])
            # 405: another thread has just made it.
            self._call("MKCOL", url, fine=(405,))

    def _call(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        data: object = None,
        stream: bool = False,
        seconds: int = BASE_SECONDS,
        fine: tuple[int, ...] = (),
        redirects: bool = True,
    ) -> Any:
        def ask() -> Any:
            return self._session().request(
                method,
                _https(url),
                headers={**(headers or {}), **self._token()},
                data=data,
                stream=stream,
                timeout=(_CONNECT_SECONDS, seconds),
                allow_redirects=redirects,
            )

        with self._errors():
            try:
                answer = ask()
            except requests.ConnectionError as error:
                # A server may close a connection that rests just as we ask on it. Who only looks
                # asks again, on another one.
                if method not in _LOOKING or not _broken_off(error):
                    raise
                answer = ask()
        if not answer.ok and answer.status_code not in fine:
            self._refuse(answer)
        return answer

    def _send(self, prepared: Any, seconds: int) -> None:
        session = self._session()
        with self._errors():
            answer = session.send(
                prepared,
                verify=session.verify,
                cert=session.cert,
                timeout=(_CONNECT_SECONDS, seconds),
            )
        if not answer.ok:
            self._refuse(answer)

    def _refuse(self, answer: Any) -> None:
        words = without_secrets(" ".join(answer.text.split()))[:300] or answer.reason
        number = _ERRNO.get(answer.status_code, errno.EIO)
        if answer.status_code == _NO_FOLDER and answer.request.method in _WRITING:
            number = errno.ENOENT
        if _FULL in words.lower():
            number = errno.ENOSPC
        if answer.status_code == 401:
            raise SignInFailed(
                f"the storage does not know us: {words}",
                hint="is there a valid proxy (X509_USER_PROXY) or token (BEARER_TOKEN)?",
            )
        if answer.status_code == 403:
            # It may have expired on the way; then nothing is wrong with the file.
            self._credentials.token()
        raise OSError(number, f"{answer.request.method} answered {answer.status_code} {words}")

    def _token(self) -> dict[str, str]:
        token = self._credentials.token()
        return {} if token is None else {"Authorization": f"Bearer {token}"}

    def _session(self) -> Any:
        """This thread's connections. Another certificate is another session."""
        token = self._credentials.token()
        identity = None if token else self._credentials.identity()
        # Of a token, too: a server may go by what it was shown first on a connection.
        stamp: object = token
        if identity is not None:
            stamp = identity, Path(identity.certificate).stat().st_mtime_ns
        held = getattr(self._local, "held", None)
        if held is None or held[0] != stamp:
            if held is not None:
                held[1].close()
            session = requests.Session()
            session.hooks["response"] = [_keep_request]
            session.trust_env = False
            session.verify = self._credentials.authorities or True
            if identity is not None:
                session.cert = identity.certificate, identity.key
            held = self._local.held = stamp, session
        return held[1]

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            with headers_hidden("cannot ask the storage"):
                yield
        except requests.exceptions.SSLError as error:
            words = without_secrets(str(error))
            if "expired" in words.lower():
                raise SignInFailed(
                    f"the storage refuses our certificate: {words}",
                    hint="make a new proxy; is the clock of this machine right?",
                ) from error
            if "EOF" in words:
                words = f"it broke the connection off: {words}"
                raise ConnectionResetError(errno.ECONNRESET, words) from error
            raise ConnectionRefusedError(errno.ECONNREFUSED, f"no TLS: {words}") from error
        except requests.Timeout as error:
            words = without_secrets(f"no answer: {error}")
            raise TimeoutError(errno.ETIMEDOUT, words) from error
        except requests.ConnectionError as error:
            words = without_secrets(str(error))
            if _broken_off(error):
                words = f"it broke the connection off: {words}"
            raise ConnectionResetError(errno.ECONNRESET, words) from error
        except requests.RequestException as error:
            # A body of ours that could not be read is the source's error.
            raise ConnectionResetError(errno.ECONNRESET, without_secrets(str(error))) from error


class _Body:
    """A local file as the body of a request, measured beside it."""

    def __init__(self, path: Path, size: int) -> None:
        self._path = path
        self._size = size

    def __enter__(self) -> Self:
        self._beside = Beside(self._size)
        return self

    def __exit__(self, *_: object) -> None:
        self._beside.close()

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[bytes]:
        # Asked again when a server sends us elsewhere.
        self._beside.close()
        self._beside = Beside(self._size)
        for block in source_blocks(self._path, self._size):
            self._beside.update(block)
            yield block

    def measure(self) -> Measure:
        """What was sent."""
        return self._beside.measure()


def _broken_off(error: requests.ConnectionError) -> bool:
    """Whether there was a connection, and the server closed it without an answer."""
    return bool(error.args) and isinstance(error.args[0], ProtocolError)


def _keep_request(answer: Any, **_: object) -> None:
    """OSError for a redirect that would not be followed with what was asked: those that are not
    307 or 308 lose the body, and most become a GET, whose answer would be taken for a DELETE's."""
    method, number = answer.request.method, answer.status_code
    # PROPFIND stays what it is, and asks for all there is without a body: a server may send us on
    # to a folder's name with a slash.
    harmless = method in {"GET", "HEAD"} or (method == "PROPFIND" and number == 301)
    if answer.is_redirect and number not in _SAME and not harmless:
        place = without_secrets(answer.headers["Location"])
        answer.close()
        raise OSError(errno.EIO, f"{method} answered {number} to {place}: only a GET can follow")


def _https(url: str) -> str:
    server, path = server_and_path(url)
    scheme = "http" if urlsplit(url).scheme in {"http", "dav"} else "https"
    return f"{scheme}://{server}{quote(path)}"
