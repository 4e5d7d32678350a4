"""The in-memory lake keeps the contract of declaring replicas bad."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest

from rucio_inject.domain.errors import NotPermitted
from rucio_inject.testing.contracts.catalogue import BadReplicasContract
from rucio_inject.testing.contracts.world import ContractWorld
from rucio_inject.testing.fake_clock import FakeClock
from rucio_inject.testing.memory_catalogue import MemoryCatalogue
from rucio_inject.testing.memory_lake import MemoryLake
from rucio_inject.testing.memory_storage import MemoryStorage


@pytest.fixture
def lake() -> MemoryLake:
    """An empty lake."""
    lake = MemoryLake(FakeClock())
    lake.scopes = {"magic": "magic"}
    return lake


@pytest.fixture
def world(lake: MemoryLake, tmp_path: Path) -> ContractWorld:
    """The lake, for the contract."""

    def settle(condition: Callable[[], bool]) -> None:
        for _ in range(50):
            if condition():
                return
            lake.clock.advance(1)
        pytest.fail("the lake did not settle")

    return ContractWorld(
        catalogue=MemoryCatalogue(lake),
        storage=MemoryStorage(lake),
        account="magic",
        scope="magic",
        foreign_scope="cta",
        rse="PIC-INJECT",
        other="LAPP-FAST",
        expression="QOS=FAST",
        tag="t",
        folder=tmp_path,
        settle=settle,
        link=lake.link,
        numbers=count(1),
    )


class TestMemoryBadReplicas(BadReplicasContract):
    """The fake passes."""


def test_an_account_that_may_not(lake: MemoryLake, world: ContractWorld) -> None:
    did = world.registered()
    lake.may_mark_bad = False
    with pytest.raises(NotPermitted):
        world.catalogue.mark_bad(world.rse, [did], "it is not there")
