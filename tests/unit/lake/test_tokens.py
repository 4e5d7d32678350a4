"""Tokens of the lake's issuer; that XRootD takes them is tried in tests/storage."""

from __future__ import annotations

import json
import sqlite3
from datetime import timedelta
from pathlib import Path

import jwt
import pytest
from jwt import PyJWK

from rucio_inject.lake.tokens import AUDIENCE, ISSUER, LIVES, Issuer
from rucio_inject.rucio.credentials import token_end
from rucio_inject.testing.fake_clock import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def published(folder: Path) -> PyJWK:
    """The key that a server is given."""
    database = sqlite3.connect(folder / "scitokens" / "scitokens_cpp.sqllite")
    (row,) = database.execute("SELECT issuer, keys FROM keycache").fetchall()
    database.close()
    assert row[0] == ISSUER
    (key,) = json.loads(row[1])["jwks"]["keys"]
    assert "d" not in key, "the private part"
    return PyJWK(key)


def test_a_token_is_what_it_says(tmp_path: Path, clock: FakeClock) -> None:
    issuer = Issuer(tmp_path)
    settings = issuer.publish(tmp_path, clock.now())
    assert f"issuer = {ISSUER}\n" in settings.read_text()
    token = issuer.token("magic", clock.now(), LIVES)
    # Its time is another test's: the clock is not this machine's.
    claims = jwt.decode(
        token,
        published(tmp_path),
        algorithms=["ES256"],
        audience=AUDIENCE,
        issuer=ISSUER,
        options={"verify_exp": False, "verify_nbf": False, "verify_iat": False},
    )
    assert (claims["sub"], claims["wlcg.ver"]) == ("magic", "1.0")
    assert "storage.modify:/" in claims["scope"].split()
    assert jwt.get_unverified_header(token)["kid"] == "lake"


@pytest.mark.parametrize("lives", [LIVES, timedelta(minutes=-10)])
def test_it_ends_when_it_should(tmp_path: Path, clock: FakeClock, lives: timedelta) -> None:
    token = Issuer(tmp_path).token("magic", clock.now(), lives)
    assert token_end(token) == clock.now() + lives
    claims = jwt.decode(token, options={"verify_signature": False})
    assert claims["nbf"] < claims["exp"]


def test_an_issuer_keeps_its_key(tmp_path: Path, clock: FakeClock) -> None:
    key = tmp_path / "issuer.key"
    first = Issuer(tmp_path)
    assert key.stat().st_mode & 0o777 == 0o600
    content = key.read_bytes()
    first.publish(tmp_path, clock.now())
    Issuer(tmp_path).publish(tmp_path, clock.now())
    assert key.read_bytes() == content
    published(tmp_path)
