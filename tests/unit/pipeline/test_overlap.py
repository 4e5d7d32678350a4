"""What goes on at the same time: nobody waits for what another can do meanwhile."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from threading import Event

import pytest
from tests.injection_world import MOCK, Witness, World

from rucio_inject.domain import facts as f
from rucio_inject.domain.did import DID, DIDType
from rucio_inject.domain.injection import FileRecord, FileState
from rucio_inject.domain.rule import RuleRequest
from rucio_inject.domain.story import begin_file
from rucio_inject.ports import Stored
from rucio_inject.steps.place import LONGEST_WAIT, _gathered
from rucio_inject.testing.contracts.ledger import FILE, SIBLING, found
from rucio_inject.testing.fake_clock import FakeClock
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


def test_a_file_is_in_the_lake_before_a_larger_one_is_copied(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    registered, put, record = Event(), MemoryStorage.put, Witness.record

    def tell(self: Witness, facts: Sequence[f.Fact]) -> None:
        record(self, facts)
        if any(isinstance(fact, f.FileOrganised) for fact in facts):
            registered.set()

    def hours(self: MemoryStorage, rse: str, path: Path, did: DID) -> Stored:
        def is_registered() -> bool:
            world.clock.advance(LONGEST_WAIT)
            return registered.wait(0.05)

        if ".001_" in path.name:
            assert any(is_registered() for _ in range(400)), "the other file waited for this one"
        return put(self, rse, path, did)

    monkeypatch.setattr(Witness, "record", tell)
    monkeypatch.setattr(MemoryStorage, "put", hours)
    assert dict(world.run().by_state) == {FileState.VERIFIED: 2}
    assert world.broken() == []


def test_the_first_of_a_call_waits_a_second_for_others() -> None:
    clock, one, other = FakeClock(), begin_file(found(FILE)), begin_file(found(SIBLING))

    def uploaded() -> Iterator[list[FileRecord]]:
        yield [one]
        yield []
        clock.advance(LONGEST_WAIT)
        yield []
        yield [other]

    assert list(_gathered(uploaded(), clock)) == [None, [one], None, [other]]


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
