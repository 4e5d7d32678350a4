"""The in-memory lake keeps the contracts that the real one keeps."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest

from rucio_inject.domain.did import DID
from rucio_inject.domain.errors import (
    CatalogueUnavailable,
    QuotaExceeded,
    SignInFailed,
    StorageRefused,
    StorageUnavailable,
)
from rucio_inject.domain.rule import RuleRequest, RuleState
from rucio_inject.testing.contracts.catalogue import CatalogueContract
from rucio_inject.testing.contracts.storage import PortersContract, StorageContract
from rucio_inject.testing.contracts.world import ContractWorld
from rucio_inject.testing.fake_clock import FakeClock
from rucio_inject.testing.memory_catalogue import MemoryCatalogue
from rucio_inject.testing.memory_lake import MemoryLake
from rucio_inject.testing.memory_storage import MemoryStorage


@pytest.fixture
def lake() -> MemoryLake:
    lake = MemoryLake(FakeClock())
    lake.scopes = {"magic": "magic", "cta": "cta"}
    return lake


@pytest.fixture
def world(lake: MemoryLake, tmp_path: Path) -> ContractWorld:
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


class TestMemoryCatalogue(CatalogueContract):
    """The fake passes."""


class TestMemoryStorage(StorageContract, PortersContract):
    """The fake passes."""


def test_quota_stops_a_rule_that_asks_for_too_much(lake: MemoryLake, world: ContractWorld) -> None:
    lake.rses["LAPP-FAST"].limits["magic"] = 5
    dataset = CatalogueContract().filled(world, world.registered(b"123456"))
    assert world.catalogue.held_to_limits("magic")
    assert world.catalogue.quota("magic", "LAPP-FAST").left == 5
    with pytest.raises(QuotaExceeded):
        world.catalogue.add_rules([dataset], RuleRequest("QOS=FAST"), "magic")


def test_quota_sticks_a_rule_whose_dataset_grows(lake: MemoryLake, world: ContractWorld) -> None:
    contract = CatalogueContract()
    lake.rses["LAPP-FAST"].limits["magic"] = 5
    dataset = contract.filled(world)
    contract.asked(world, dataset)
    world.catalogue.attach({dataset: [world.registered(b"123456")]})
    lake.clock.advance(1)
    assert contract.view(world, dataset).state is RuleState.STUCK
    assert "quota" in str(contract.view(world, dataset).error)


def test_a_failing_rse_sticks_and_heals(lake: MemoryLake, world: ContractWorld) -> None:
    contract = CatalogueContract()
    lake.rses["LAPP-FAST"].fails_transfers = "TRANSFER [110] timeout"
    dataset = contract.filled(world, world.registered())
    rule_id = contract.asked(world, dataset)
    lake.clock.advance(1)
    (stuck,) = world.catalogue.stuck_files(rule_id)
    assert (stuck.reason, stuck.attempts) == ("TRANSFER [110] timeout", 1)
    lake.heal("LAPP-FAST")
    lake.clock.advance(1)
    assert contract.view(world, dataset).state is RuleState.OK


def test_a_lake_that_is_down_or_does_not_know_us(lake: MemoryLake, world: ContractWorld) -> None:
    lake.signed_in = False
    with pytest.raises(SignInFailed):
        world.catalogue.whoami()
    lake.down = "connection refused"
    with pytest.raises(CatalogueUnavailable, match="connection refused"):
        world.catalogue.missing([DID("magic", "x")])


def test_storage_faults(lake: MemoryLake, world: ContractWorld) -> None:
    _, _, pfn = world.stored()
    lake.rses["PIC-INJECT"].refuses_writes = True
    with pytest.raises(StorageRefused):
        world.stored()
    lake.rses["PIC-INJECT"].offline = True
    with pytest.raises(StorageUnavailable):
        world.storage.exists("PIC-INJECT", pfn)
