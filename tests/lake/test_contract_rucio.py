"""The adapters to Rucio keep the contracts on a real lake that the in-memory one keeps."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from rucio_inject.lake.embedded import EmbeddedLake
from rucio_inject.rucio.session import Session, SignIn
from rucio_inject.testing.contracts.catalogue import CatalogueContract
from rucio_inject.testing.contracts.storage import StorageContract
from rucio_inject.testing.contracts.world import ContractWorld

if TYPE_CHECKING:
    from tests.lake.conftest import OfficialClient

    from rucio_inject.rucio.catalogue import RucioCatalogue
    from rucio_inject.rucio.storage import RucioStorage

pytestmark = [pytest.mark.lake, pytest.mark.xdist_group("lake")]

# How long the real daemons may take, in seconds.
PATIENCE = 60.0


@pytest.fixture
def session(official_client: OfficialClient) -> Iterator[Session]:
    # The official client's fixture points this process at the lake, and forgets it afterwards.
    official_client("magic")
    session = Session(SignIn(account="magic"))
    yield session
    session.client().session.close()


@pytest.fixture
def foreign_scope(official_client: OfficialClient) -> str:
    """A scope of root."""
    scope, root = "contract_root", official_client("root")
    if scope not in root.list_scopes():
        root.add_scope("root", scope)
    return scope


@pytest.fixture
def world(
    running_lake: EmbeddedLake, foreign_scope: str, session: Session, tmp_path: Path
) -> ContractWorld:
    from rucio_inject.rucio.catalogue import RucioCatalogue
    from rucio_inject.rucio.storage import RucioStorage

    catalogue: RucioCatalogue = RucioCatalogue(session)
    storage: RucioStorage = RucioStorage(session)
    return ContractWorld(
        catalogue=catalogue,
        storage=storage,
        account="magic",
        scope="MAGIC_PIC_BRUZZESE",
        foreign_scope=foreign_scope,
        rse="PIC-INJECT",
        other="LAPP-FAST",
        expression="QOS=FAST",
        tag=uuid4().hex[:8],
        folder=tmp_path,
        settle=_settle,
        numbers=count(1),
    )


def _settle(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"the lake did not settle in {PATIENCE:.0f} s")
        time.sleep(0.2)


class TestRucioCatalogue(CatalogueContract):
    """The real one passes."""


class TestRucioStorage(StorageContract):
    """The real one passes."""
