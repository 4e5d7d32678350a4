"""What identifies us to storages, and when it ends."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from rucio_inject.domain.errors import SignInFailed
from rucio_inject.domain.facts import CredentialEnds, Fact
from rucio_inject.lake.pki import Authority, Credential, make_proxy
from rucio_inject.renewal import Keeper, Renewal
from rucio_inject.rucio.credentials import Credentials, Identity
from rucio_inject.testing.fake_clock import FakeClock


def token(ends: datetime) -> str:
    """A JSON web token that expires then."""
    claims = base64.urlsafe_b64encode(json.dumps({"exp": ends.timestamp()}).encode())
    return f"head.{claims.decode().rstrip('=')}.signature"


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def places(name: str, text: str, folder: Path) -> dict[str, str]:
    """An environment where a token lies in this place."""
    if name == "BEARER_TOKEN":
        return {name: text}
    file = folder / f"bt_u{os.geteuid()}"
    file.write_text(text + "\n")
    return {name: str(file if name == "BEARER_TOKEN_FILE" else folder)}


@pytest.mark.parametrize("place", ["BEARER_TOKEN", "BEARER_TOKEN_FILE", "XDG_RUNTIME_DIR"])
def test_the_end_of_a_token_is_known_wherever_it_lies(
    clock: FakeClock, tmp_path: Path, place: str
) -> None:
    expired = clock.now() - timedelta(minutes=1)
    held = Credentials(clock, places(place, token(expired), tmp_path))
    assert held.ends() == expired
    with pytest.raises(SignInFailed, match="token expired"):
        held.token()


@pytest.mark.parametrize("text", ["eyJ.s3cret\nsecond", "eyJ.s3cret second", "eyJ.s3crét"])
@pytest.mark.parametrize("place", ["BEARER_TOKEN", "BEARER_TOKEN_FILE", "XDG_RUNTIME_DIR"])
def test_what_is_no_token_is_told_without_showing_it(
    clock: FakeClock, tmp_path: Path, place: str, text: str
) -> None:
    held = Credentials(clock, places(place, text, tmp_path))
    named = place if place == "BEARER_TOKEN" else str(tmp_path / f"bt_u{os.geteuid()}")
    for ask in (held.token, held.ends):
        with pytest.raises(SignInFailed, match=f"what {named} holds is no bearer token") as told:
            ask()
        assert "s3cr" not in f"{told.value} {told.value.hint}"


@pytest.mark.parametrize("ends", ["1764316800000", "1e300", "-1e300", "NaN", "Infinity", '"soon"'])
def test_an_end_that_is_no_moment_is_not_known(clock: FakeClock, ends: str) -> None:
    claims = base64.urlsafe_b64encode(f'{{"exp": {ends}}}'.encode()).decode().rstrip("=")
    held = Credentials(clock, {"BEARER_TOKEN": f"head.{claims}.signature"})
    assert held.ends() is None
    assert held.token() == f"head.{claims}.signature"


def test_a_token_file_that_has_expired_is_renewed(clock: FakeClock, tmp_path: Path) -> None:
    named = places("BEARER_TOKEN_FILE", token(clock.now() - timedelta(minutes=1)), tmp_path)
    held = Credentials(clock, named)
    new = token(clock.now() + timedelta(hours=1))
    command = f"echo {new} > {named['BEARER_TOKEN_FILE']}"
    Keeper(held, Renewal(command), clock, lambda _: None).look()
    assert held.token() == new


def test_a_token_file_that_cannot_be_read(clock: FakeClock, tmp_path: Path) -> None:
    held = Credentials(clock, {"BEARER_TOKEN_FILE": str(tmp_path)})
    for ask in (held.token, held.ends):
        with pytest.raises(SignInFailed, match="cannot read the token"):
            ask()


def test_a_token_file_that_is_not_there_is_told_to_whoever_needs_it(
    clock: FakeClock, tmp_path: Path
) -> None:
    held = Credentials(clock, {"BEARER_TOKEN_FILE": str(tmp_path / "none")})
    assert held.ends() is None
    with pytest.raises(SignInFailed, match="cannot read the token"):
        held.token()


@pytest.fixture
def proxy(tmp_path: Path, clock: FakeClock) -> Callable[[timedelta], Path]:
    """Makes a proxy that is good for so long."""
    user = Credential(tmp_path / "usercert.pem", tmp_path / "userkey.pem")
    Authority(tmp_path, clock.now()).user("magic", user)

    def make(lives: timedelta) -> Path:
        make_proxy(user, tmp_path / "proxy", clock.now(), lives)
        return tmp_path / "proxy"

    return make


PAST, SOON = timedelta(minutes=-1), timedelta(hours=1)


@pytest.mark.parametrize("lost", ["expired", "gone"])
def test_a_proxy_does_where_a_token_does_not(
    clock: FakeClock, tmp_path: Path, proxy: Callable[[timedelta], Path], lost: str
) -> None:
    path = proxy(SOON)
    named = {"X509_USER_PROXY": str(path), "BEARER_TOKEN": token(clock.now() + PAST)}
    if lost == "gone":
        named |= {"BEARER_TOKEN": "", "BEARER_TOKEN_FILE": str(tmp_path / "none")}
    held = Credentials(clock, named)
    assert held.token() is None
    assert held.identity() == Identity(str(path), str(path))
    assert held.ends() == clock.now() + SOON


def test_a_proxy_that_has_expired_too_does_not(
    clock: FakeClock, proxy: Callable[[timedelta], Path]
) -> None:
    named = {"X509_USER_PROXY": str(proxy(PAST)), "BEARER_TOKEN": token(clock.now() + PAST)}
    held = Credentials(clock, named)
    with pytest.raises(SignInFailed, match="token expired"):
        held.token()
    assert held.used
    assert held.ends() == clock.now() + PAST


@pytest.mark.parametrize("name", ["BEARER_TOKEN_FILE", "X509_USER_PROXY"])
def test_what_is_named_and_not_there_yet_is_made(
    clock: FakeClock, tmp_path: Path, proxy: Callable[[timedelta], Path], name: str
) -> None:
    place = tmp_path / "made"
    held = Credentials(clock, {name: str(place), "XDG_RUNTIME_DIR": str(tmp_path)})
    source = tmp_path / "token"
    source.write_text(token(clock.now() + SOON))
    if name == "X509_USER_PROXY":
        source = proxy(SOON)
    assert held.missing()
    Keeper(held, Renewal(f"cp {source} {place}"), clock, lambda _: None).look()
    assert not held.missing()
    assert held.ends() == clock.now() + SOON
    assert (held.token() if name == "BEARER_TOKEN_FILE" else held.identity()) is not None


def test_a_token_that_cannot_be_made_is_told_where_a_proxy_does(
    clock: FakeClock, tmp_path: Path, proxy: Callable[[timedelta], Path]
) -> None:
    named = {"X509_USER_PROXY": str(proxy(SOON)), "BEARER_TOKEN_FILE": str(tmp_path / "none")}
    told: list[Fact] = []
    keeper = Keeper(Credentials(clock, named), Renewal("exit 3"), clock, told.append)
    for _ in range(3):
        keeper.look()
        clock.advance(60)
    (fact,) = told
    assert isinstance(fact, CredentialEnds)
    assert "exit code 3" in fact.reason
