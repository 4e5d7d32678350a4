"""What goes on at the same time: nobody waits for what another can do meanwhile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import Event

import pytest
from tests.injection_world import MOCK, World

from rucio_inject.domain.did import DID, DIDType
from rucio_inject.domain.injection import FileState
from rucio_inject.domain.rule import RuleRequest
from rucio_inject.ports import Stored
from rucio_inject.testing.memory_catalogue import MemoryCatalogue
from rucio_inject.testing.memory_storage import MemoryStorage


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path, {"end": None})


def test_datasets_get_their_rules_while_the_bytes_are_copied(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    ruled, put, add_rules = Event(), MemoryStorage.put, MemoryCatalogue.add_rules

    def tell(
        self: MemoryCatalogue, dids: Sequence[DID], request: RuleRequest, account: str
    ) -> Mapping[DID, str]:
        rules = add_rules(self, dids, request, account)
        ruled.set()
        return rules

    def wait(self: MemoryStorage, rse: str, path: Path, did: DID) -> Stored:
        assert ruled.wait(300), "no rule was asked for before the first bytes had come"
        return put(self, rse, path, did)

    monkeypatch.setattr(MemoryCatalogue, "add_rules", tell)
    monkeypatch.setattr(MemoryStorage, "put", wait)
    assert dict(world.run().by_state) == {FileState.VERIFIED: 2}
    assert world.broken() == []


def test_a_defect_beside_the_copies_is_not_lost(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = Event()

    def defect(self: MemoryCatalogue, collections: Mapping[DID, DIDType]) -> frozenset[DID]:
        begun.set()
        raise KeyError(next(iter(collections)))

    monkeypatch.setattr(MemoryCatalogue, "add_collections", defect)
    with pytest.raises(KeyError):
        world.run()
    assert begun.is_set()


def test_the_rules_of_a_dataset_just_made_are_not_asked_for(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody had it before: each call counts."""
    asked: list[list[DID]] = []
    rules = MemoryCatalogue.rules

    def note(self: MemoryCatalogue, dids: list[DID], account: str) -> object:
        asked.append(list(dids))
        return rules(self, dids, account)

    monkeypatch.setattr(MemoryCatalogue, "rules", note)
    monkeypatch.setattr(MemoryCatalogue, "place_files", _full_stop)
    with pytest.raises(KeyboardInterrupt):
        world.run()
    assert asked == []


def test_datasets_just_made_get_a_rule_in_one_call(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.changes["source"] = {**MOCK, "runs": 3, "subruns": 1}
    asked: list[list[DID]] = []
    add_rules = MemoryCatalogue.add_rules

    def note(
        self: MemoryCatalogue, dids: Sequence[DID], request: RuleRequest, account: str
    ) -> Mapping[DID, str]:
        asked.append(list(dids))
        return add_rules(self, dids, request, account)

    monkeypatch.setattr(MemoryCatalogue, "add_rules", note)
    world.changes["rules"] = [{"rse_expression": "PIC-DCACHE"}]
    assert dict(world.run().by_state) == {FileState.VERIFIED: 3}
    assert [len(dids) for dids in asked] == [3] * 2
    asked.clear()
    # Rucio evaluates what is in a dataset within the call: each has one of its own then.
    world.changes["rules"] = [{"rse_expression": e} for e in ("PIC-DCACHE", "QOS=FAST")]
    assert dict(world.run().by_state) == {FileState.VERIFIED: 3}
    assert [len(dids) for dids in asked] == [1] * 3


def _full_stop(*_: object, **__: object) -> None:
    raise KeyboardInterrupt
