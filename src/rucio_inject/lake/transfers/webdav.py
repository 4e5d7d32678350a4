"""Third-party copies over HTTP: the copier for `davs://`. Bytes go from server to server."""

from __future__ import annotations

import base64
import contextlib
import errno
import hashlib
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

import requests

from rucio_inject.lake.transfers.copier import EXISTS, CopyControl, CopyFailed, Side, expected_of
from rucio_inject.lake.transfers.digest import MD5, Expected
from rucio_inject.lake.transfers.halves import Halves
from rucio_inject.lake.transfers.model import Clock, Task

_ERRNO = {
    401: errno.EACCES,
    403: errno.EACCES,
    404: errno.ENOENT,
    409: errno.EEXIST,
    507: errno.ENOSPC,
}
_CONNECT_SECONDS = 10.0
# A server that copies says every few seconds how far it is.
_SILENT_SECONDS = 60.0
_CHECKSUM_SECONDS = 30.0
_CHECKSUM_RATE = 50e6
# A macaroon is asked for once for many files, and not used in its last minutes.
_MACAROON_SECONDS = 3600.0
_MACAROON_USED = 3000.0


@dataclass(frozen=True, slots=True)
class Credentials:
    """What the service shows to storages, and whom it trusts: files in PEM."""

    certificate: Path
    key: Path
    trust: Path


@dataclass(frozen=True, slots=True)
class _Found:
    """A file on a server: its size and the checksum that was asked for."""

    size: int
    checksum: str | None


class WebdavCopier:
    """Lets the destination's server fetch the file under a temporary name, then moves it."""

    def __init__(
        self, credentials: Credentials, endpoints: Sequence[str], clock: Clock, halves: Halves
    ) -> None:
        """`endpoints` are the only servers that are spoken to, as `localhost:1094`: the service
        listens without sign-in, and must not lend its certificate to whoever asks."""
        self._credentials = credentials
        self._endpoints = frozenset(endpoints)
        self._clock = clock
        self._local = threading.local()
        self._macaroons: dict[str, tuple[float, str]] = {}
        self._halves = halves
        self._lock = threading.Lock()

    def copy(self, task: Task, control: CopyControl) -> None:
        """See the port."""
        expected = expected_of(task)
        source = self._url(task.source, Side.SOURCE)
        destination = self._url(task.destination, Side.DESTINATION)
        found = self._source(task, source, expected)
        if self._done_before(task, found, destination, expected):
            return
        control.check()
        part = _part_of(destination, task.label)
        with self._removed_on_failure(part):
            self._make_folder(destination)
            self._clean(destination)
            self._pull(source, part, control)
            self._verify(task, part, found, expected)
            control.publish(lambda: self._give_name(task, part, destination))

    def forget(self, task: Task) -> None:
        """See the port."""
        with contextlib.suppress(CopyFailed):
            destination = self._url(task.destination, Side.DESTINATION)
            self._remove(_part_of(destination, task.label))

    def _url(self, given: str, side: Side) -> str:
        parts = urlsplit(given)
        if parts.scheme not in {"davs", "https"}:
            text = f"{given} is not reached over davs://: both ends must be"
            raise CopyFailed(side, errno.EPROTONOSUPPORT, text)
        names = unquote(parts.path).split("/")
        if parts.netloc not in self._endpoints or {"..", "."}.intersection(names):
            raise CopyFailed(side, errno.EACCES, f"{given} is outside of the lake's storages")
        return f"https://{parts.netloc}{parts.path}"

    def _source(self, task: Task, url: str, expected: Expected) -> _Found:
        found = self._look(url, Side.SOURCE, expected)
        if found is None:
            raise CopyFailed(Side.SOURCE, errno.ENOENT)
        if task.size is not None and found.size != task.size:
            text = f"User-defined and source file sizes do not match ({task.size} {found.size})"
            raise CopyFailed(Side.SOURCE, errno.EIO, text)
        known = expected.value
        if task.verify.at_source and known is not None and found.checksum != known:
            text = _mismatch("User-defined and source", expected, known, found.checksum)
            raise CopyFailed(Side.SOURCE, errno.EIO, text)
        return found

    def _done_before(
        self, task: Task, source: _Found, destination: str, expected: Expected
    ) -> bool:
        """Whether a killed process had finished this copy; raises if the name is taken."""
        if task.overwrite:
            return False
        there = self._look(destination, Side.DESTINATION, expected)
        if there is None:
            return False
        if task.resumed and there == source:
            return True
        raise CopyFailed(Side.DESTINATION, errno.EEXIST, EXISTS)

    def _pull(self, source: str, part: str, control: CopyControl) -> None:
        """Have the destination's server fetch the bytes. Its status says nothing: it is sent when
        the copy begins, and how it ended is the last line of what follows."""
        headers = {
            "Source": source,
            "TransferHeaderAuthorization": f"Bearer {self._macaroon(source)}",
            "Overwrite": "T",
            "Credential": "none",
        }
        with self._blame(Side.DESTINATION):
            answer = self._session().request(
                "COPY",
                part,
                headers=headers,
                stream=True,
                timeout=(_CONNECT_SECONDS, _SILENT_SECONDS),
            )
            with answer:
                if answer.status_code not in {201, 202}:
                    _refuse(answer, Side.DESTINATION)
                follow(answer.iter_lines(chunk_size=1), control)

    def _verify(self, task: Task, part: str, source: _Found, expected: Expected) -> None:
        written = self._look(part, Side.DESTINATION, expected)
        if written is None or written.size != source.size:
            size = None if written is None else written.size
            text = f"Source and destination file sizes do not match ({source.size} {size})"
            raise CopyFailed(Side.DESTINATION, errno.EIO, text)
        known = expected.value
        against, wanted = ("source", source.checksum) if known is None else ("User-defined", known)
        if task.verify.at_target and written.checksum != wanted:
            text = _mismatch(f"{against} and destination", expected, wanted, written.checksum)
            raise CopyFailed(Side.DESTINATION, errno.EIO, text)

    def _give_name(self, task: Task, part: str, destination: str) -> None:
        # Some servers replace what is there whatever they are told.
        if not task.overwrite and self._look(destination, Side.DESTINATION, None) is not None:
            raise CopyFailed(Side.DESTINATION, errno.EEXIST, EXISTS)
        headers = {"Destination": destination, "Overwrite": "T" if task.overwrite else "F"}
        self._call("MOVE", part, Side.DESTINATION, headers=headers)

    def _make_folder(self, url: str) -> None:
        """Make the folder of a file, and those above it that are missing."""
        missing = []
        folder = url.rpartition("/")[0]
        while urlsplit(folder).path.count("/") > 1 and not self._shows(folder):
            missing.append(folder)
            folder = folder.rpartition("/")[0]
        for name in reversed(missing):
            # 405: another copy has just made it.
            self._call("MKCOL", name, Side.DESTINATION, fine=(405, 409))

    def _shows(self, folder: str) -> bool:
        answer = self._call("HEAD", folder, Side.DESTINATION, fine=(404,))
        return bool(answer.status_code != 404)

    def _look(self, url: str, side: Side, expected: Expected | None) -> _Found | None:
        headers = {} if expected is None else {"Want-Digest": expected.algorithm.lower()}
        seconds = _SILENT_SECONDS
        if expected is not None:
            plain = self._look(url, side, None)
            if plain is None:
                return None
            seconds = _CHECKSUM_SECONDS + plain.size / _CHECKSUM_RATE
        answer = self._call("HEAD", url, side, headers=headers, fine=(404,), seconds=seconds)
        if answer.status_code == 404:
            return None
        checksum = None if expected is None else _digest(answer.headers, expected)
        if expected is not None and checksum is None:
            raise CopyFailed(side, errno.EIO, f"it does not tell the {expected.algorithm}")
        return _Found(int(answer.headers["Content-Length"]), checksum)

    def _macaroon(self, source: str) -> str:
        """What lets another server read the files of an RSE here: the certificate stays with us."""
        parts = urlsplit(source)
        place = f"https://{parts.netloc}/{parts.path.lstrip('/').partition('/')[0]}"
        now = self._clock.now().timestamp()
        with self._lock:
            since, held = self._macaroons.get(place, (0.0, ""))
            if held and now - since < _MACAROON_USED:
                return held
        wanted = {
            "caveats": ["activity:DOWNLOAD,LIST"],
            "validity": f"PT{_MACAROON_SECONDS:.0f}S",
        }
        with self._blame(Side.SOURCE):
            answer = self._session().post(
                place,
                json=wanted,
                headers={"Content-Type": "application/macaroon-request"},
                timeout=(_CONNECT_SECONDS, _SILENT_SECONDS),
            )
            if answer.status_code != 200:
                _refuse(answer, Side.SOURCE)
            fresh = str(answer.json()["macaroon"])
        with self._lock:
            self._macaroons[place] = now, fresh
        return fresh

    def _call(
        self,
        method: str,
        url: str,
        side: Side,
        *,
        headers: Mapping[str, str] | None = None,
        fine: Sequence[int] = (),
        seconds: float = _SILENT_SECONDS,
    ) -> requests.Response:
        with self._blame(side):
            answer = self._session().request(
                method, url, headers=dict(headers or {}), timeout=(_CONNECT_SECONDS, seconds)
            )
            if not answer.ok and answer.status_code not in fine:
                _refuse(answer, side)
            return answer

    def _session(self) -> requests.Session:
        """This thread's connections, which stay open."""
        session: requests.Session | None = getattr(self._local, "session", None)
        if session is None:
            session = self._local.session = requests.Session()
            session.cert = (str(self._credentials.certificate), str(self._credentials.key))
            session.verify = str(self._credentials.trust)
            # Loopback is reached directly, whatever proxies this machine has.
            session.trust_env = False
        return session

    @contextlib.contextmanager
    def _blame(self, side: Side) -> Iterator[None]:
        try:
            yield
        except requests.Timeout as error:
            raise CopyFailed(side, errno.ETIMEDOUT, f"no answer: {error}") from error
        except requests.ConnectionError as error:
            raise CopyFailed(side, errno.ECONNREFUSED, f"not reached: {error}") from error
        except (requests.RequestException, ValueError, KeyError) as error:
            raise CopyFailed(side, errno.EIO, f"the answer makes no sense: {error}") from error

    @contextlib.contextmanager
    def _removed_on_failure(self, part: str) -> Iterator[None]:
        try:
            yield
        except BaseException:
            # It has no name that anybody reads: why the copy failed is what counts.
            self._remove(part)
            raise

    def _remove(self, part: str) -> None:
        """Remove a half, now or when something else is copied to its server."""
        try:
            self._call("DELETE", part, Side.DESTINATION, fine=(404,), seconds=_CONNECT_SECONDS)
        except CopyFailed:
            self._halves.add(part)
        else:
            self._halves.discard(part)

    def _clean(self, destination: str) -> None:
        """Remove the halves that were left on a server which answers again."""
        for part in self._halves.on(urlsplit(destination).netloc):
            self._remove(part)


def follow(lines: Iterable[bytes], control: CopyControl) -> None:
    """Read how far a copy is, to its end, and stop it if somebody wants that. CopyFailed unless the
    last line says that it succeeded."""
    last = ""
    for line in lines:
        control.check()
        last = line.decode("utf-8", errors="replace").strip() or last
    if not last.lower().startswith("success"):
        reason = last.partition(":")[2].strip() if last.startswith("failure") else _broken_off(last)
        raise CopyFailed(Side.TRANSFER, errno.EIO, reason or "it failed without a word")


def _broken_off(last: str) -> str:
    return f"the copy was broken off{f' after: {last}' if last else ' without a word'}"


def _refuse(answer: requests.Response, side: Side) -> None:
    number = _ERRNO.get(answer.status_code, errno.EIO)
    words = " ".join(answer.text.split())[:300] if answer.request.method != "HEAD" else ""
    text = f"{answer.request.method} answered {answer.status_code} {words or answer.reason}"
    raise CopyFailed(side, number, text)


def _digest(headers: Mapping[str, str], expected: Expected) -> str | None:
    """The checksum in an answer: hexadecimal, or as RFC 3230 has it for md5, base64."""
    for part in headers.get("Digest", "").split(","):
        name, _, value = part.strip().partition("=")
        if name.upper() != expected.algorithm:
            continue
        length = hashlib.md5(usedforsecurity=False).digest_size
        if expected.algorithm == MD5 and len(value) != 2 * length:
            return base64.b64decode(value).hex()
        return value.lower()
    return None


def _mismatch(sides: str, expected: Expected, wanted: str | None, found: str | None) -> str:
    return f"CHECKSUM MISMATCH {sides} {expected.algorithm} do not match ({wanted} {found})"


def _part_of(url: str, label: str) -> str:
    """The temporary name beside a file; the same for the same copy after a restart."""
    folder, _, name = url.rpartition("/")
    part = f"{name}.part-{label}"
    return f"{folder}/{part if len(part) <= 255 else f'.part-{label}'}"
