"""The driver for davs:// and a server that sends it elsewhere; real ones are in tests/storage."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from rucio_inject.domain.errors import SignInFailed
from rucio_inject.rucio.credentials import Credentials
from rucio_inject.rucio.drivers import multistatus
from rucio_inject.rucio.drivers.driver import Entry, patience, walk
from rucio_inject.rucio.drivers.multistatus import Told
from rucio_inject.rucio.drivers.webdav import WebdavDriver
from rucio_inject.testing.contracts.world import measured
from rucio_inject.testing.fake_clock import FakeClock

LISTING = """<?xml version="1.0"?>
<D:multistatus xmlns:D="DAV:">
 <D:response><D:href>/pool/folder/</D:href><D:propstat><D:prop>
  <D:resourcetype><D:collection/></D:resourcetype></D:prop>
  <D:status>HTTP/1.1 200 OK</D:status></D:propstat></D:response>
 <D:response><D:href>/pool//folder/a%20b</D:href><D:propstat><D:prop><D:resourcetype/>
  <D:getcontentlength>7</D:getcontentlength>
  <D:getlastmodified>Thu, 01 Jan 2026 00:00:00 GMT</D:getlastmodified></D:prop>
  <D:status>HTTP/1.1 200 OK</D:status></D:propstat></D:response>
</D:multistatus>"""


class Door:
    """Sends whoever comes to /door to /pool on the same server, with this status."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.status = 307
        # Whether it waits for the body before it answers.
        self.patient = True
        self.files: dict[str, bytes] = {}
        self.done: list[str] = []
        # How many connections it closes just as somebody asks on them.
        self.closing = 0
        # Whether it breaks off when a byte is to be written.
        self.full = False
        # Where it sends whoever comes, if not to /pool.
        self.away: str | None = None
        # With what a refusal is told.
        self.words = b""
        # The status with which /pool is listed.
        self.tells = 207


class Handler(BaseHTTPRequestHandler):
    """Speaks for a door."""

    protocol_version = "HTTP/1.1"
    door: Door

    def _answer(self) -> None:
        door, to_door = self.door, self.path.startswith("/door")
        if door.closing:
            door.closing -= 1
            self.close_connection = True
            return
        hasty = to_door and self.command == "PUT" and not door.patient
        if not hasty:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if door.full and self.command == "PUT" and body:
            self.close_connection = True
        elif to_door and self.command == "PROPFIND" and door.status != 301:
            self._tell(404)
        elif to_door:
            self.close_connection = hasty
            location = door.away or self.path.replace("/door", "/pool")
            self._tell(door.status, door.words, location)
        elif self.command == "PROPFIND":
            self._tell(door.tells, LISTING.encode())
        else:
            door.done.append(f"{self.command} {self.path}")
            if self.command == "PUT":
                door.files[self.path] = body
            self._tell(201)

    def _tell(self, status: int, body: bytes = b"", location: str | None = None) -> None:
        self.send_response(status)
        if location:
            self.send_header("Location", location)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    # The names that http.server looks for.
    do_PUT = do_DELETE = do_MOVE = do_PROPFIND = _answer  # noqa: N815

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@contextmanager
def serving() -> Iterator[Door]:
    """A door on a free port of loopback."""

    class Ours(Handler):
        pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Ours)
    Ours.door = Door(f"http://127.0.0.1:{server.server_port}/door")
    thread = Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield Ours.door
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def door() -> Iterator[Door]:
    with serving() as made:
        yield made


@pytest.fixture
def driver() -> WebdavDriver:
    return WebdavDriver(Credentials(FakeClock(), {}))


@pytest.mark.parametrize("status", [307, 308])
@pytest.mark.parametrize("patient", [True, False])
def test_an_upload_goes_where_the_server_sends_it(
    door: Door, driver: WebdavDriver, tmp_path: Path, status: int, patient: bool
) -> None:
    door.status, door.patient = status, patient
    # More than the system takes from us before the server has read any.
    content = bytes(range(256)) * (1 << 16)
    source = tmp_path / "source"
    source.write_bytes(content)
    assert driver.send(source, f"{door.url}/file", len(content)) == measured(content)
    assert door.files == {"/pool/file": content}
    assert door.done == ["PUT /pool/file"]


@pytest.mark.parametrize("status", [301, 302, 303])
def test_what_was_asked_does_not_become_something_else(
    door: Door, driver: WebdavDriver, tmp_path: Path, status: int
) -> None:
    door.status = status
    source = tmp_path / "source"
    source.write_bytes(b"content")
    url = f"{door.url}/file"
    for ask in (
        lambda: driver.remove(url),
        lambda: driver.move(url, f"{url}.new"),
        lambda: driver._put(source, url, 7),
    ):
        with pytest.raises(OSError, match=f"answered {status} to /pool/file"):
            ask()
    assert door.done == []


def test_a_token_is_in_no_error(driver: WebdavDriver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Credentials, "token", lambda _: " s3cret\nword")
    with pytest.raises(SignInFailed, match="cannot be sent") as told:
        driver.look("https://127.0.0.1:1/x")
    assert "s3cret" not in f"{told.value} {told.value.hint} {told.value.__cause__}"


@pytest.mark.parametrize("status", [302, 307])
def test_nor_is_one_that_a_server_gives_along(
    door: Door, driver: WebdavDriver, status: int
) -> None:
    door.status, door.away = status, "http://127.0.0.1:1/pool/file?authz=Bearer%20s3cret"
    with pytest.raises(OSError, match=r"/pool/file\?…") as told:
        driver.remove(f"{door.url}/file")
    assert "s3cret" not in str(told.value)


def test_nor_is_one_that_it_tells(door: Door, driver: WebdavDriver) -> None:
    door.status, door.words = 500, b"no such thing: /pool/file?authz=Bearer%20s3cret"
    with pytest.raises(OSError, match=r"/pool/file\?…") as told:
        driver.remove(f"{door.url}/file")
    assert "s3cret" not in str(told.value)


def test_a_delete_goes_where_the_server_sends_it(door: Door, driver: WebdavDriver) -> None:
    driver.remove(f"{door.url}/file")
    assert door.done == ["DELETE /pool/file"]


def test_a_name_goes_to_its_end(door: Door, driver: WebdavDriver) -> None:
    driver.remove(f"{door.url}/a#b?c")
    assert door.done == ["DELETE /pool/a%23b%3Fc"]


def test_a_listing_goes_where_the_server_sends_it(door: Door, driver: WebdavDriver) -> None:
    door.status = 301
    (entry,) = driver.walk(f"{door.url}/folder".replace("/door", "/pool"))
    ((again,),) = driver._found(f"{door.url}/folder", "1")[1:]
    assert again.entry == entry
    assert (entry.url.rpartition("/pool")[2], entry.size) == ("/folder/a b", 7)
    assert entry.modified is not None
    assert entry.modified.isoformat() == "2026-01-01T00:00:00+00:00"


@pytest.mark.parametrize(
    ("status", "words", "number"),
    [
        (403, b"", errno.EACCES),
        (404, b"", errno.ENOENT),
        (412, b"", errno.EEXIST),
        (500, b"write: No space left on device", errno.ENOSPC),
        (503, b"", errno.ECONNREFUSED),
        (504, b"", errno.ETIMEDOUT),
        (507, b"", errno.ENOSPC),
        (418, b"", errno.EIO),
    ],
)
def test_a_refusal_has_the_systems_number(
    door: Door, driver: WebdavDriver, status: int, words: bytes, number: int
) -> None:
    door.status, door.words = status, words
    with pytest.raises(OSError, match=f"DELETE answered {status}") as told:
        driver.remove(f"{door.url}/file")
    assert told.value.errno == number


def test_a_server_that_does_not_know_us_ends_the_run(door: Door, driver: WebdavDriver) -> None:
    door.status = 401
    with pytest.raises(SignInFailed, match="does not know us"):
        driver.remove(f"{door.url}/file")


def test_a_listing_that_makes_no_sense(
    door: Door, driver: WebdavDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(globals(), "LISTING", "<html><br></html>")
    with pytest.raises(OSError, match="the answer makes no sense"):
        driver.look(f"{door.url}/file".replace("/door", "/pool"))


PAGE = '<html xmlns="http://www.w3.org/1999/xhtml"><body>Down for maintenance</body></html>'


@pytest.mark.parametrize("status", [200, 202, 204, 304])
def test_a_page_does_not_say_that_a_file_is_not_there(
    door: Door, driver: WebdavDriver, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    monkeypatch.setitem(globals(), "LISTING", "" if status in {204, 304} else PAGE)
    door.tells = status
    url = f"{door.url}/folder".replace("/door", "/pool")
    for ask in (lambda: driver.look(url), lambda: list(driver.walk(url))):
        with pytest.raises(ConnectionRefusedError, match=f"PROPFIND answered {status}"):
            ask()


def part(path: str, status: str = "", properties: str = "", told: str = "200 OK") -> str:
    """A part of an answer: of a path, with a status of its own or with that of its properties."""
    known = f"<D:propstat><D:prop>{properties}</D:prop><D:status>HTTP/1.1 {told}</D:status>"
    inside = f"<D:status>HTTP/1.1 {status}</D:status>" if status else f"{known}</D:propstat>"
    return f"<D:response><D:href>{path}</D:href>{inside}</D:response>"


def answer(*parts: str) -> bytes:
    return f'<D:multistatus xmlns:D="DAV:">{"".join(parts)}</D:multistatus>'.encode()


def read(*parts: str) -> tuple[Told, list[Told]]:
    return multistatus.read(answer(*parts), "davs://host/x/file", ["/x/file"])


@pytest.mark.parametrize(
    "parts",
    [
        [],
        [part("/x/other", properties="<D:getcontentlength>7</D:getcontentlength>")],
        [part("/x/other", "404 Not Found")],
        [part("/x/file", "500 Internal Server Error")],
        [part("/x/file", "403 Forbidden")],
        [part("/x/file", "nonsense")],
        [part("/x/file", told="404 Not Found")],
        [part("/x/file", told="500 Internal Server Error")],
        [part("/x/file", properties="<D:getcontentlength>many</D:getcontentlength>")],
        [part("/x/file"), part("/x/file/in/it", "503 Service Unavailable")],
    ],
)
def test_nor_does_an_answer_that_says_nothing_of_it(parts: list[str]) -> None:
    with pytest.raises(OSError, match=r"makes no sense|nothing is told") as told:
        read(*parts)
    assert told.value.errno == errno.EIO


def test_only_an_answer_that_says_so_does() -> None:
    with pytest.raises(FileNotFoundError):
        read(part("/x/file", "404 Not Found"))
    # What went meanwhile from a folder does not count.
    assert read(part("/x/file"), part("/x/file/gone", "404 Not Found"))[1] == []


@pytest.mark.parametrize("path", ["/x//file", "https://host:1094/x/file", "/x/file/", "/x/f%69le"])
def test_an_answer_is_about_a_file_however_it_writes_its_path(path: str) -> None:
    size = "<D:getcontentlength>7</D:getcontentlength>"
    found, inside = read(part(path, properties=size))
    assert (found.entry, found.is_folder, inside) == (Entry("davs://host/x/file", 7), False, [])


@pytest.mark.parametrize("name", ["a#b", "a?b", "a b", "a%20b"])
def test_names_as_xrootd_writes_them(name: str) -> None:
    (found,) = read(part("/x/file"), part(f"/x/file/{name}"))[1]
    assert found.entry.url == f"davs://host/x/file/{name.replace('%20', ' ')}"


def test_a_conflict_says_only_of_what_is_written_that_its_folder_is_not_there(
    door: Door, driver: WebdavDriver, tmp_path: Path
) -> None:
    source, url = tmp_path / "source", f"{door.url}/file"
    source.write_bytes(b"content")
    door.status = 409
    with pytest.raises(FileNotFoundError):
        driver._put(source, url, 7)
    with pytest.raises(FileNotFoundError):
        driver.move(url, f"{url}.new")
    with pytest.raises(OSError, match="answered 409") as told:
        driver.remove(url)
    assert told.value.errno == errno.EIO


def test_a_look_survives_a_connection_that_is_closed(door: Door, driver: WebdavDriver) -> None:
    pool = door.url.replace("/door", "/pool")
    assert driver.look(f"{pool}/folder/a b") is not None
    door.closing = 1
    assert driver.look(f"{pool}/folder/a b") is not None
    door.closing = 2
    with pytest.raises(ConnectionResetError, match="broke the connection off"):
        driver.look(f"{pool}/folder/a b")


def test_what_changes_something_is_asked_once(door: Door, driver: WebdavDriver) -> None:
    door.closing = 1
    with pytest.raises(ConnectionResetError, match="broke the connection off"):
        driver.remove(door.url.replace("/door", "/pool"))
    assert door.closing == 0
    assert door.done == []


def test_a_storage_that_takes_no_byte_is_full(
    door: Door, driver: WebdavDriver, tmp_path: Path
) -> None:
    source, pool = tmp_path / "source", door.url.replace("/door", "/pool")
    source.write_bytes(b"content")
    door.full = True
    with pytest.raises(OSError, match="it is full") as told:
        driver._put(source, f"{pool}/file", 7)
    assert told.value.errno == errno.ENOSPC
    # What was made to find out is gone.
    assert door.done[-1] == "DELETE /pool/probe-file"
    door.full, door.done = False, []
    # Broken off once, and full at no time.
    door.closing = 1
    with pytest.raises(ConnectionResetError, match="broke the connection off"):
        driver._put(source, f"{pool}/file", 7)
    assert door.files["/pool/probe-file"] == b"?"
    assert door.done[-2:] == ["DELETE /pool/probe-file", "PUT /pool/file"]


def test_a_folder_is_walked_to_its_end() -> None:
    """The loop that all drivers share."""
    tree = {"a": ["a/1", "a/b"], "a/b": ["a/b/2", "a/gone"], "a/b/c": []}

    def inside(folder: str) -> Iterator[tuple[Entry, bool]]:
        if folder == "a/gone":
            raise FileNotFoundError
        for name in tree[folder]:
            yield Entry(name, 1), name in tree or name == "a/gone"

    assert [entry.url for entry in walk("a/", inside)] == ["a/1", "a/b/2"]
    with pytest.raises(FileNotFoundError):
        list(walk("a/gone", inside))


def test_a_large_file_is_waited_for_longer() -> None:
    assert (patience(0), patience(9_999_999), patience(10**9)) == (30, 30, 130)
