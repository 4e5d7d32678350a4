"""What the commands ask of the SQL ledger, beyond the port."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.ledger_databases import Location, clock, location

from rucio_inject.domain import facts as f
from rucio_inject.domain.did import DID
from rucio_inject.domain.errors import LedgerError
from rucio_inject.domain.injection import FileState
from rucio_inject.domain.usage import Usage
from rucio_inject.ledger.fact_json import KINDS
from rucio_inject.ledger.sql_ledger import SqlLedger
from rucio_inject.testing.contracts.ledger import (
    FILE,
    NOON,
    RUN,
    SIBLING,
    begun,
    found,
    life,
    rule_facts,
)
from rucio_inject.testing.fake_clock import FakeClock

__all__ = ["clock", "location"]


@pytest.fixture
def ledger(location: Location, clock: FakeClock) -> SqlLedger:
    """A ledger that is not open, with a file of each of two cycles, the first one gone."""
    made = SqlLedger(location, "magic", clock=clock)
    with made:
        made.record([begun(), found(FILE), *life(FILE), *rule_facts()])
        made.record([begun(2), found(SIBLING, cycle=2), life(SIBLING)[0]])
    return made


def test_a_story_is_every_fact_in_order(ledger: SqlLedger) -> None:
    with ledger:
        story = list(ledger.story(FILE))
        assert [stored.fact for stored in story] == [found(FILE), *life(FILE)]
        assert [stored.sequence for stored in story] == sorted({s.sequence for s in story})
        assert (story[0].at, story[0].kind) == (NOON, "FileFound")
        assert [stored.fact for stored in ledger.rule_story("r1")] == rule_facts()[1:]
        assert [stored.fact for stored in ledger.story(RUN)] == rule_facts()[:1]
        assert list(ledger.story(DID("magic", "unknown"))) == []


def test_a_long_story_comes_whole(ledger: SqlLedger) -> None:
    waits = [
        f.FileWaits(at=NOON, did=SIBLING, rse="A", reason=str(number)) for number in range(1100)
    ]
    with ledger:
        ledger.record(waits)
        assert [stored.fact for stored in ledger.story(SIBLING)][2:] == waits


def test_every_kind_of_fact_has_its_name() -> None:
    assert {"FileFound", "RuleAsked", "CycleEnded"} <= set(KINDS)
    assert not {"Fact", "FileFact"} & set(KINDS)


def test_what_is_for_onlookers_only_is_not_kept(ledger: SqlLedger) -> None:
    counted = f.RSECounted(at=NOON, rse="A", catalogue=None, storage=None)
    asked = f.CollectionEnding(at=NOON, did=RUN)
    with ledger:
        ledger.record([counted])
        ledger.record([counted, asked])
        assert [stored.kind for stored in ledger.story(RUN)] == ["RuleAsked", "CollectionEnding"]


def test_files_of_every_cycle(ledger: SqlLedger) -> None:
    with ledger:
        assert [record.did for record in ledger.all_files()] == [FILE, SIBLING]
        assert [record.did for record in ledger.all_files({FileState.MEASURED})] == [SIBLING]
        assert [record.did for record in ledger.all_files(cycle=1)] == [FILE]
        assert list(ledger.all_files(cycle=3)) == []


def test_bytes_by_state(ledger: SqlLedger) -> None:
    with ledger:
        ledger.record([found(DID("magic", "c.root"), cycle=2)])
        assert ledger.usage() == {FileState.FOUND: Usage(1, 0), FileState.MEASURED: Usage(1, 5)}
        assert ledger.usage(cycle=1) == {FileState.GONE: Usage(1, 5)}


@pytest.mark.parametrize("length", [0, 1, 14])
def test_what_is_nowhere_can_be_forgotten(ledger: SqlLedger, length: int) -> None:
    did = DID("magic", "c.root")
    with ledger:
        ledger.record([found(did, cycle=2), *life(did)[:length]])
        ledger.forget(did)
        assert ledger.file(did) is None
        assert FileState.FOUND not in ledger.counts()
        assert len(list(ledger.story(did))) == length + 1
        ledger.record([found(did, cycle=2)])
        assert [record.did for record in ledger.files()] == [SIBLING, did]


@pytest.mark.parametrize("length", range(2, 13))
def test_what_may_be_somewhere_cannot_be_forgotten(ledger: SqlLedger, length: int) -> None:
    did = DID("magic", "c.root")
    with ledger:
        ledger.record([found(did, cycle=2), *life(did)[:length]])
        with pytest.raises(LedgerError, match="still be at A"):
            ledger.forget(did)
        assert ledger.file(did) is not None


def test_what_an_upload_left_nowhere_can_be_forgotten(ledger: SqlLedger) -> None:
    did = DID("magic", "c.root")
    begun = f.UploadBegun(at=NOON, did=did, rse="A")
    nothing = f.UploadLeftNothing(at=NOON, did=did, rse="A")
    failed = f.FileFailed(at=NOON, did=did, code="c", reason="r", hint=None)
    with ledger:
        ledger.record([found(did, cycle=2), begun, nothing, failed])
        ledger.record([f.FileRetried(at=NOON, did=did), begun])
        with pytest.raises(LedgerError, match="still be at A, where an upload of it was begun"):
            ledger.forget(did)
        ledger.record([nothing, failed])
        ledger.forget(did)
        assert ledger.file(did) is None


def test_what_is_unknown_cannot_be_forgotten(ledger: SqlLedger) -> None:
    with ledger, pytest.raises(LedgerError, match="not on record"):
        ledger.forget(DID("magic", "unknown"))


def test_reading_goes_on_beside_a_run(
    ledger: SqlLedger, location: Location, clock: FakeClock
) -> None:
    with ledger, SqlLedger(location, "magic", clock=clock, reading=True) as reader:
        drawn = reader.files()
        ledger.record([found(DID("magic", "c.root"), cycle=2)])
        assert reader.counts() == {FileState.FOUND: 1, FileState.MEASURED: 1}
        assert len(list(drawn)) == 2
        with pytest.raises(LedgerError, match="for reading only"):
            reader.record([begun(3)])
        with pytest.raises(LedgerError, match="for reading only"):
            reader.forget(SIBLING)
    with SqlLedger(location, "magic", clock=clock, reading=True) as reader:
        assert reader.cycle == 2


def test_reading_what_is_not_there(ledger: SqlLedger, location: Location, clock: FakeClock) -> None:
    with (
        pytest.raises(LedgerError, match="no campaign lst; it holds magic"),
        SqlLedger(location, "lst", clock=clock, reading=True),
    ):
        pass


def test_reading_makes_no_ledger(tmp_path: Path, clock: FakeClock) -> None:
    with (
        pytest.raises(LedgerError, match="there is no ledger"),
        SqlLedger(tmp_path / "magic.db", "magic", clock=clock, reading=True),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_reason_may_hold_anything(ledger: SqlLedger) -> None:
    facts = [
        f.NameSkipped(at=NOON, path="/data/x", code="name", reason="a\0b\udcff", hint=None),
        f.FileFailed(at=NOON, did=SIBLING, code="storage", reason="a\0b\udcff", hint=None),
    ]
    with ledger:
        ledger.record(facts)
        record = ledger.file(SIBLING)
        assert record is not None
        assert record.failure is not None
        assert record.failure.reason == "a\0b\udcff"
        assert list(ledger.story(SIBLING))[-1].fact == facts[1]
