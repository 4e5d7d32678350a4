"""A lake whose storages are real XRootD servers: one for all tests of a session."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from ruamel.yaml import YAML
from tests.lake.campaigns import ORIGIN, wait_until

from rucio_inject.lake.bringup import StartOptions
from rucio_inject.lake.content import default_text
from rucio_inject.lake.embedded import EmbeddedLake
from rucio_inject.rucio.session import Session, SignIn
from rucio_inject.testing.contracts.world import ContractWorld

if TYPE_CHECKING:
    from rucio.client.client import Client


@pytest.fixture(scope="session")
def grid_lake() -> Iterator[EmbeddedLake]:
    """Three XRootD servers, certificates, and a sign-in by proxy; one RSE is an origin, whose files
    have names of their own."""
    folder = Path(tempfile.mkdtemp(prefix="ri-", dir="/tmp"))
    folder.chmod(0o711)
    content, known = folder / "content.yaml", YAML(typ="safe").load(default_text())
    known["rses"][ORIGIN] = {"deterministic": False}
    known["limits"]["magic"][ORIGIN] = "unlimited"
    with content.open("w") as file:
        YAML().dump(known, file)
    lake = EmbeddedLake(folder / "lake")
    lake.start(StartOptions(storage="xrootd", sign_in="x509_proxy", content=content))
    yield lake
    lake.reset()
    shutil.rmtree(folder)


@pytest.fixture
def as_user(grid_lake: EmbeddedLake, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """This process is a user of the lake. Rucio keeps its configuration for the whole process."""
    from rucio.common.config import clean_cached_config

    for name, value in grid_lake.environment("magic").items():
        monkeypatch.setenv(name, value)
    monkeypatch.syspath_prepend(str(grid_lake.paths.modules))
    clean_cached_config()
    yield
    clean_cached_config()


@pytest.fixture
def session(as_user: None) -> Iterator[Session]:
    """Signed in with a proxy."""
    session = Session(SignIn(account="magic"))
    yield session
    session.client().session.close()


@pytest.fixture
def official(as_user: None) -> Iterator[Client]:
    """Rucio's own client."""
    from rucio.client.client import Client

    client = Client()
    yield client
    client.session.close()


@pytest.fixture
def make_world(session: Session, tmp_path: Path) -> Callable[..., ContractWorld]:
    """A lake as the contract suites need it, reached in a certain way."""
    from rucio_inject.rucio.catalogue import RucioCatalogue
    from rucio_inject.rucio.storage import RucioStorage

    def make(**ways: object) -> ContractWorld:
        return ContractWorld(
            catalogue=RucioCatalogue(session),
            storage=RucioStorage(session, **ways),  # type: ignore[arg-type]
            account="magic",
            scope="MAGIC_PIC_BRUZZESE",
            foreign_scope="",
            rse="PIC-INJECT",
            other="LAPP-FAST",
            expression="QOS=FAST",
            tag=uuid4().hex[:8],
            folder=tmp_path,
            settle=wait_until,
            link=_no_links,
            numbers=count(1),
        )

    return make


def _no_links(parent: str, child: str) -> None:
    """Rules are of the catalogue's contract."""
    raise NotImplementedError(f"{parent} → {child}")


def environment(lake: EmbeddedLake) -> dict[str, str]:
    """The environment of a user's shell."""
    return {**os.environ, **lake.environment("magic")}
