"""The adapters to Rucio keep the contracts on a real lake that the in-memory one keeps."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from rucio_inject.clock import SystemClock
from rucio_inject.lake.embedded import EmbeddedLake
from rucio_inject.patience import Patience, patient
from rucio_inject.rucio.session import Session, SignIn
from rucio_inject.testing.contracts.catalogue import CatalogueContract
from rucio_inject.testing.contracts.storage import PortersContract, StorageContract
from rucio_inject.testing.contracts.world import ContractWorld

if TYPE_CHECKING:
    from tests.lake.conftest import OfficialClient

    from rucio_inject.rucio.catalogue import RucioCatalogue
    from rucio_inject.rucio.storage import RucioStorage

pytestmark = [pytest.mark.lake, pytest.mark.xdist_group("lake")]

# How long the real daemons may take, in seconds.
PATIENCE = 600.0


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
    running_lake: EmbeddedLake,
    foreign_scope: str,
    official_client: OfficialClient,
    session: Session,
    tmp_path: Path,
) -> ContractWorld:
    from rucio_inject.rucio.catalogue import RucioCatalogue
    from rucio_inject.rucio.storage import RucioStorage

    def link(parent: str, child: str) -> None:
        official_client("root").update_replication_rule(parent, {"child_rule_id": child})

    # As every run asks it: two of Rucio's own processes may meet in its database.
    patience, clock = Patience(attempts=3, longest=2.0), SystemClock()
    catalogue: RucioCatalogue = patient(RucioCatalogue(session), patience, clock, lambda _: None)
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
        link=link,
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


class TestRucioStorage(StorageContract, PortersContract):
    """The real one passes."""


@pytest.fixture
def root_catalogue(
    world: ContractWorld, official_client: OfficialClient
) -> Iterator[RucioCatalogue]:
    """The adapter as root, who may ask for everybody's quota."""
    from rucio_inject.rucio.catalogue import RucioCatalogue

    official_client("root")
    session = Session(SignIn(account="root"))
    yield RucioCatalogue(session)
    session.client().session.close()


@pytest.mark.parametrize(
    ("local", "everywhere", "attribute", "left"),
    [
        (None, None, None, 0),
        (5, None, None, 5),
        (100, None, None, 100),
        (100, 5, None, 5),
        (-1, 5, None, 5),
        (-1, None, None, None),
        (5, 100, None, 5),
        (100, -1, None, 100),
        (None, 5, "admin", None),
        (None, None, "member", 0),
    ],
)
def test_quota_says_what_rucio_enforces(
    world: ContractWorld,
    root_catalogue: RucioCatalogue,
    official_client: OfficialClient,
    local: int | None,
    everywhere: int | None,
    attribute: str | None,
    left: int | None,
) -> None:
    from rucio.common.exception import InsufficientAccountLimit

    root, account = official_client("root"), f"quota{world.tag}"
    root.add_account(account, "USER", "nobody@example.org")
    if local is not None:
        root.set_local_account_limit(account, world.rse, local)
    if everywhere is not None:
        root.set_global_account_limit(account, f"{world.rse}|{world.other}", everywhere)
    if attribute:
        root.add_account_attribute(account, attribute, "True")
    assert root_catalogue.quota(account, world.rse).left == left

    did = world.registered(b"ten bytes.")
    rule = {"dids": [{"scope": did.scope, "name": did.name}], "copies": 1, "lifetime": 1}
    if left is None or left > len(b"ten bytes."):
        assert root.add_replication_rule(**rule, rse_expression=world.rse, account=account)
    else:
        with pytest.raises(InsufficientAccountLimit):
            root.add_replication_rule(**rule, rse_expression=world.rse, account=account)


def test_root_is_held_to_limits_as_others_are(
    world: ContractWorld, root_catalogue: RucioCatalogue, official_client: OfficialClient
) -> None:
    from rucio.common.exception import InsufficientAccountLimit

    assert root_catalogue.quota("root", world.rse).left == 0
    did, root = world.registered(), official_client("root")
    with pytest.raises(InsufficientAccountLimit):
        root.add_replication_rule([{"scope": did.scope, "name": did.name}], 1, world.rse)
