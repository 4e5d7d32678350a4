"""What identifies us to storages, and when it ends."""

from __future__ import annotations

import base64
import json
import os
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from rucio_inject.domain.errors import SignInFailed
from rucio_inject.renewal import Keeper, Renewal
from rucio_inject.rucio.credentials import Credentials
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
