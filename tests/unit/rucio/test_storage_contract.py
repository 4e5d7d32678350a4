"""The adapter keeps the contract of storages without a lake: in a folder of this machine, and over
a protocol of Rucio's."""

from __future__ import annotations

from itertools import count
from pathlib import Path
from typing import Any

import pytest
from tests.unit.rucio.test_storage import settings_of
from tests.unit.rucio.test_storage_listing import storage_of

from rucio_inject.testing.contracts.storage import PortersContract, StorageContract
from rucio_inject.testing.contracts.world import ContractWorld
from rucio_inject.testing.fake_clock import FakeClock
from rucio_inject.testing.memory_catalogue import MemoryCatalogue
from rucio_inject.testing.memory_lake import MemoryLake


def world_of(settings: dict[str, Any], folder: Path, **named: Any) -> ContractWorld:
    """An RSE with these settings; what else the contract of storages does not use."""
    return ContractWorld(
        catalogue=MemoryCatalogue(MemoryLake(FakeClock())),
        storage=storage_of(settings, **named),
        account="magic",
        scope="magic",
        foreign_scope="cta",
        rse="RSE",
        other="RSE",
        expression="RSE",
        tag="t",
        folder=folder,
        settle=lambda condition: None,
        link=lambda parent, child: None,
        numbers=count(1),
    )


@pytest.fixture
def settings(tmp_path: Path, rucio_cfg: Path) -> dict[str, Any]:
    """Of an RSE in a folder."""
    (tmp_path / "pool").mkdir()
    return settings_of(tmp_path / "pool")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What the contract's files are in."""
    made = tmp_path / "work"
    made.mkdir()
    return made


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rucio's protocols do not tell whose disk is full: it is looked at."""

    class Usage:
        free = 0

    monkeypatch.setattr("shutil.disk_usage", lambda _: Usage)


class Named(StorageContract):
    """There is no server that would give names."""

    def test_the_pfn_is_the_one_that_the_catalogue_gives(self, world: ContractWorld) -> None:
        did, _, pfn = world.stored()
        assert pfn.endswith(f"/{did.name}")


class TestFolder(Named, PortersContract):
    """A folder of this machine."""

    @pytest.fixture
    def world(self, settings: dict[str, Any], folder: Path) -> ContractWorld:
        return world_of(settings, folder)


class TestDurableFolder(Named, PortersContract):
    """One whose files are on the disk at once."""

    @pytest.fixture
    def world(self, settings: dict[str, Any], folder: Path) -> ContractWorld:
        return world_of(settings, folder, durable=True)


class TestRemote(Named):
    """One over a protocol, which is not listed."""

    @pytest.fixture
    def world(self, settings: dict[str, Any], folder: Path) -> ContractWorld:
        settings["protocols"][0]["scheme"] = "davs"
        return world_of(settings, folder)

    def test_there_are_no_porters(self, world: ContractWorld) -> None:
        assert world.storage.porters(world.rse, 4) is None

    def test_a_listing_counts_files_and_bytes(self, world: ContractWorld) -> None:
        assert world.storage.count(world.rse) is None

    def test_a_listing_names_what_each_place_is_for(self, world: ContractWorld) -> None:
        assert world.storage.listing(world.rse, world.scope) is None

    test_a_scope_that_holds_nothing_is_listed = test_a_listing_names_what_each_place_is_for

    def test_what_lies_below_a_folder(self, world: ContractWorld) -> None:
        assert world.storage.files_below(world.rse, "") is None

    test_no_folder_is_not_an_empty_one = test_what_lies_below_a_folder

    @pytest.mark.usefixtures("full_disk")
    def test_a_copy_for_which_there_is_no_room(self, world: ContractWorld) -> None:
        super().test_a_copy_for_which_there_is_no_room(world)
