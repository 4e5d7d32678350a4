"""A Rucio client that speaks to a server which answers as the test wants."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.unit.rucio.fake_rucio import FakeServer, serving

from rucio_inject.rucio.session import Session, SignIn

if TYPE_CHECKING:
    from rucio_inject.rucio.catalogue import RucioCatalogue


@pytest.fixture
def server() -> Iterator[FakeServer]:
    """The server."""
    with serving() as server:
        yield server


@pytest.fixture
def rucio_cfg(
    server: FakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """A rucio.cfg that points at the server; forgotten afterwards."""
    from rucio.common.config import clean_cached_config

    path = tmp_path / "rucio.cfg"
    path.write_text(
        f"[client]\nrucio_host = {server.url}\nauth_host = {server.url}\nauth_type = userpass\n"
        f"username = somebody\npassword = secret\naccount = magic\n"
        f"auth_token_file_path = {tmp_path}/tokens/token\n"
    )
    for name in ("RUCIO_ACCOUNT", "RUCIO_AUTH_TYPE", "RUCIO_HOME", "X509_USER_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RUCIO_CONFIG", str(path))
    monkeypatch.setenv("RUCIO_CLIENT_MODE", "1")
    clean_cached_config()
    yield path
    clean_cached_config()


@pytest.fixture
def session(rucio_cfg: Path) -> Iterator[Session]:
    """Signed in at the server."""
    session = Session(SignIn())
    session.client()
    yield session
    session.client().session.close()


@pytest.fixture
def catalogue(session: Session) -> RucioCatalogue:
    """The adapter, speaking to the server."""
    from rucio_inject.rucio.catalogue import RucioCatalogue

    return RucioCatalogue(session)


@pytest.fixture
def pool(tmp_path: Path, rucio_cfg: Path) -> Path:
    """The folder of an RSE."""
    folder = tmp_path / "pool"
    folder.mkdir()
    return folder
