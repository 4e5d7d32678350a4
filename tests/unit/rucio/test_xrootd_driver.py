"""What the driver for root:// tells XRootD's library; that it works is tried on real servers."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
from XRootD.client.flags import StatInfoFlags

from rucio_inject.domain.errors import SignInFailed
from rucio_inject.lake.pki import Authority, Credential
from rucio_inject.rucio.credentials import Credentials, Identity
from rucio_inject.rucio.drivers.xrootd import XrootdDriver, _full
from rucio_inject.testing.fake_clock import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def user(tmp_path: Path, clock: FakeClock) -> Credential:
    """A certificate and its key."""
    held = Credential(tmp_path / "usercert.pem", tmp_path / "userkey.pem")
    Authority(tmp_path, clock.now()).user("magic", held)
    return held


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The environment of the process, with nothing in it."""
    held: dict[str, str] = {}
    monkeypatch.setattr(os, "environ", held)
    return held


def sign(credentials: Credentials) -> None:
    """What the first call to a server does."""
    XrootdDriver(credentials)._system("root://localhost:1//file")


def test_a_name_goes_to_its_end(clock: FakeClock, environment: dict[str, str]) -> None:
    url = "root://localhost:1//folder/a#b"
    assert XrootdDriver(Credentials(clock))._system(url)[1] == "/folder/a#b"
    assert _full(url) == url


def test_a_folder_whose_name_the_protocol_ends_is_no_other(
    clock: FakeClock, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    told = SimpleNamespace(flags=StatInfoFlags.IS_DIR, modtime=0, size=0)
    shown = [SimpleNamespace(name="?a", statinfo=told)]
    driver = XrootdDriver(Credentials(clock))
    fine = SimpleNamespace(ok=True)
    system = SimpleNamespace(dirlist=lambda *_, **__: (fine, shown))
    monkeypatch.setattr(driver, "_system", lambda url: (system, url))
    with pytest.raises(OSError, match=r"name holds \?"):
        list(driver.walk("root://localhost:1//folder"))


def test_a_certificate_keeps_its_key(
    clock: FakeClock, user: Credential, environment: dict[str, str]
) -> None:
    environment |= {"X509_USER_CERT": str(user.certificate), "X509_USER_KEY": str(user.key)}
    credentials = Credentials(clock)
    sign(credentials)
    # What other drivers go by.
    assert credentials.identity() == Identity(str(user.certificate), str(user.key))
    assert environment["XrdSecGSIUSERCERT"] == str(user.certificate)
    assert environment["XrdSecGSIUSERKEY"] == str(user.key)
    assert environment["XrdSecGSICREATEPROXY"] == "0"
    assert "XrdSecGSIUSERPROXY" not in environment


def test_the_option_comes_before_the_environment(
    clock: FakeClock, user: Credential, environment: dict[str, str], tmp_path: Path
) -> None:
    other, proxy = tmp_path / "other.pem", tmp_path / "proxy.pem"
    for file in (other, proxy):
        file.write_bytes(user.certificate.read_bytes())
    environment["X509_USER_PROXY"] = str(other)
    sign(Credentials(clock, proxy=str(proxy)))
    assert environment["XrdSecGSIUSERPROXY"] == str(proxy)
    assert environment["X509_USER_PROXY"] == str(other)


def status(code: int, number: int = 0, message: str = "[ERROR] words") -> SimpleNamespace:
    """What the library says of a call."""
    return SimpleNamespace(ok=False, code=code, errno=number, message=message)


@pytest.mark.parametrize(
    ("said", "number"),
    [
        (status(400, 3011), errno.ENOENT),
        (status(400, 3018), errno.EEXIST),
        (status(400, 3010), errno.EACCES),
        (status(400, 3005, "write failed; No space left on device"), errno.ENOSPC),
        (status(400, 3999), errno.EIO),
        (status(101), errno.ECONNREFUSED),
        (status(206), errno.ETIMEDOUT),
        (status(999), errno.EIO),
        (status(108, 0, "[FATAL] no server certificate of that name"), errno.EACCES),
    ],
)
def test_what_the_library_says_has_the_systems_number(
    clock: FakeClock, said: SimpleNamespace, number: int
) -> None:
    with pytest.raises(OSError, match=r"words|space|certificate") as told:
        XrootdDriver(Credentials(clock, {}))._check(said)
    assert told.value.errno == number
    assert "[" not in str(told.value.strerror)


def test_a_server_that_does_not_know_us_ends_the_run(clock: FakeClock) -> None:
    driver = XrootdDriver(Credentials(clock, {}))
    for said in (status(204), status(199, 0, "[FATAL] Auth failed: No protocols left")):
        with pytest.raises(SignInFailed, match="does not know us"):
            driver._check(said)


def test_a_token_alone_makes_way_for_another_protocol(
    clock: FakeClock, environment: dict[str, str]
) -> None:
    environment |= {"BEARER_TOKEN": "a-macaroon"}
    with pytest.raises(ConnectionRefusedError, match="no token over root://"):
        XrootdDriver(Credentials(clock))._check(status(204))
