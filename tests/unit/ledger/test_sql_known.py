"""What a run remembers of files that it wrote is what is on disk, whatever happened meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import Connection, func, select, update
from tests.ledger_databases import Location, clock, location, open_database

from rucio_inject.domain import facts as f
from rucio_inject.domain.did import DID
from rucio_inject.domain.errors import LedgerError, LedgerUnavailable
from rucio_inject.domain.injection import FileState
from rucio_inject.domain.usage import Usage
from rucio_inject.ledger import queries, sql_ledger, tables
from rucio_inject.ledger.engine import Database
from rucio_inject.ledger.fact_json import file_from, file_text
from rucio_inject.ledger.known_records import Changes, KnownRecords
from rucio_inject.ledger.sql_ledger import SqlLedger
from rucio_inject.ledger.tables import files, leases
from rucio_inject.testing.contracts.ledger import FILE, NOON, SIBLING, begun, found, life
from rucio_inject.testing.contracts.world import measured
from rucio_inject.testing.fake_clock import FakeClock
from rucio_inject.testing.memory_ledger import MemoryLedger, Shelf

__all__ = ["clock", "location", "open_database"]

DIDS = [DID("magic", f"{number}.root") for number in range(5)]
RETRIED: list[f.Fact] = [
    f.FileFailed(at=NOON, did=DIDS[2], code="storage", reason="full", hint=None),
    f.FileRetried(at=NOON, did=DIDS[2]),
]


@pytest.fixture
def ledger(location: Location, clock: FakeClock) -> Iterator[SqlLedger]:
    """An open ledger with one measured file, which it remembers."""
    with SqlLedger(location, "magic", clock=clock) as ledger:
        ledger.record([begun(), found(FILE), life(FILE)[0]])
        yield ledger


def steps() -> list[list[f.Fact]]:
    """Calls of `record`: a few files, step by step, one of them retried and all found again."""
    lives = [life(did)[:9] for did in DIDS]
    every: list[f.Fact] = [found(did) for did in DIDS]
    again: list[f.Fact] = [found(did, cycle=2) for did in DIDS]
    first = [every, *([facts[n] for facts in lives] for n in range(9))]
    return [[begun()], *first[:4], RETRIED[:1], RETRIED[1:], *first[4:], [begun(2)], again]


def test_a_name_that_every_run_skips_does_not_fill_the_record(
    ledger: SqlLedger, location: Location, open_database: Callable[[Location], Database]
) -> None:
    database = open_database(location)

    def skip(path: str, reason: str) -> f.NameSkipped:
        return f.NameSkipped(at=NOON, path=path, code="name", reason=reason, hint=None)

    def events() -> int:
        with database.reading() as connection:
            count = select(func.count()).select_from(tables.events)
            return int(connection.execute(count).scalar_one())

    names = [skip(f"notes-{number}.txt", "no grammar") for number in range(600)]
    ledger.record(names)
    before = events()
    ledger.record([*names, found(SIBLING)])
    assert events() == before + 1
    ledger.record([skip("notes-7.txt", "another reason")])
    assert events() == before + 2


def test_a_file_is_not_read_again(ledger: SqlLedger, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr("rucio_inject.ledger.queries.file_from", refuse)
    ledger.record(life(FILE)[1:5])
    assert ledger.counts() == {FileState.REPLICATING: 1}


@pytest.mark.parametrize("most", [1, 2, 4, 100])
def test_what_is_remembered_changes_no_answer(
    location: Location, clock: FakeClock, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sql_ledger, "KnownRecords", lambda: KnownRecords(most))
    shelf = Shelf()
    with SqlLedger(location, "magic", clock=clock) as ledger, MemoryLedger(shelf) as memory:
        for facts in steps():
            ledger.record(facts)
            memory.record(facts)
            assert list(ledger.files()) == list(memory.files())
            assert ledger.counts() == memory.counts()
            assert ledger.usage() == memory.usage()


def test_columns_say_what_the_record_says(
    location: Location, clock: FakeClock, open_database: Callable[[Location], Database]
) -> None:
    elsewhere = replace(found(DIDS[0], cycle=2), dataset=DID("magic", "other"))
    grown = f.FileMeasured(at=NOON, did=DIDS[1], measure=measured(b"more bytes"))
    more: list[list[f.Fact]] = [[elsewhere], life(DIDS[1])[:1], [grown]]
    with SqlLedger(location, "magic", clock=clock) as ledger:
        for facts in (*steps(), *more):
            ledger.record(facts)
            for row in rows(open_database(location)):
                record = file_from(row.record, "it")
                measure, failure = record.measure, record.failure
                assert (row.scope, row.name) == (record.did.scope, record.did.name)
                assert (row.state, row.source) == (record.state, record.source)
                assert (row.cycle, row.dataset) == (record.cycle, str(record.dataset))
                assert row.size == (measure and measure.size)
                assert row.failure == (failure and failure.code)


def rows(database: Database) -> list[Any]:
    """The files as they lie in the database."""
    with database.reading() as connection:
        return list(connection.execute(select(files)))


def test_what_did_not_come_to_disk_is_not_remembered(
    ledger: SqlLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = ledger._database.writing

    @contextmanager
    def cut_off() -> Iterator[Connection]:
        with real() as connection:
            yield connection
            raise LedgerUnavailable("away")

    monkeypatch.setattr(ledger._database, "writing", cut_off)
    with pytest.raises(LedgerError, match="away"):
        ledger.record([found(SIBLING), life(FILE)[1]])
    monkeypatch.undo()
    with pytest.raises(LedgerError, match=r"b\.root is not on record"):
        ledger.record([life(SIBLING)[0]])
    ledger.record([life(FILE)[2]])
    record = ledger.file(FILE)
    assert record is not None
    assert record.upload_begun_at is None


def test_a_refused_fact_leaves_what_is_known(ledger: SqlLedger) -> None:
    with pytest.raises(LedgerError, match="cannot go"):
        ledger.record([life(FILE)[1], life(FILE)[13]])
    ledger.record([life(FILE)[2]])
    record = ledger.file(FILE)
    assert record is not None
    assert record.upload_begun_at is None


def test_what_was_forgotten_is_not_remembered(ledger: SqlLedger) -> None:
    ledger.forget(FILE)
    with pytest.raises(LedgerError, match="not on record"):
        ledger.record([life(FILE)[1]])
    ledger.record([found(FILE)])
    assert ledger.usage() == {FileState.FOUND: Usage(1, 0)}


def test_what_another_run_wrote_between(
    ledger: SqlLedger, location: Location, clock: FakeClock
) -> None:
    ledger.__exit__(None, None, None)
    with SqlLedger(location, "magic", clock=clock) as second:
        second.record([*life(FILE)[1:3], found(SIBLING)])
    with ledger:
        ledger.record([life(FILE)[3], life(SIBLING)[0]])
        assert ledger.counts() == {FileState.REGISTERED: 1, FileState.MEASURED: 1}


def test_a_database_that_was_put_back(
    ledger: SqlLedger, location: Location, open_database: Callable[[Location], Database]
) -> None:
    record = ledger.file(FILE)
    assert record is not None
    moved = replace(record, path="/elsewhere")
    with open_database(location).writing() as connection:
        connection.execute(update(files).values(record=file_text(moved)))
        connection.execute(update(leases).values(expires_at=leases.c.expires_at - 1))
    ledger.record([life(FILE)[1]])
    after = ledger.file(FILE)
    assert after is not None
    assert after.path == "/elsewhere"


def test_damage_is_found_by_the_first_who_reads(
    ledger: SqlLedger, location: Location, clock: FakeClock
) -> None:
    with ledger._database.writing() as connection:
        connection.execute(update(files).values(record='{"did": 3}'))
    ledger.__exit__(None, None, None)
    with ledger, pytest.raises(LedgerError, match=r"holds of magic:a\.root cannot be read, at did"):
        ledger.record([life(FILE)[1]])


@pytest.mark.parametrize("number", [9, 10, 99, 100, 603, 1191])
def test_any_number_of_rows_comes_in_order(ledger: SqlLedger, number: int) -> None:
    dids = [DID("magic", f"{n * 7919 % 2003:04}") for n in range(number)]
    ledger.record([found(did) for did in dids])
    ledger.record([life(did)[0] for did in reversed(dids)])
    assert [record.did for record in ledger.files()] == [FILE, *dids]
    assert ledger.counts() == {FileState.MEASURED: number + 1}
    with ledger._database.reading() as connection:
        told = connection.exec_driver_sql("SELECT subject FROM inject_events ORDER BY id").scalars()
        assert list(told)[3:] == [str(did) for did in (*dids, *reversed(dids))]


def test_only_files_that_changed_are_asked_for_again(
    ledger: SqlLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger.record([found(did) for did in DIDS])
    drawn = ledger.files()
    next(drawn)
    ledger.record([life(DIDS[3])[0], life(FILE)[1]])
    asked = []
    real = ledger._database.reading

    def counted() -> AbstractContextManager[Connection]:
        asked.append(1)
        return real()

    monkeypatch.setattr(ledger._database, "reading", counted)
    assert [record.state for record in drawn] == [FileState.FOUND] * 3 + [
        FileState.MEASURED,
        FileState.FOUND,
    ]
    assert len(asked) == 1


@pytest.mark.parametrize("most", [1, 100])
def test_many_changes_while_files_are_drawn(
    location: Location, clock: FakeClock, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sql_ledger, "Changes", lambda: Changes(most))
    monkeypatch.setattr(queries, "PAGE", 3)
    with SqlLedger(location, "magic", clock=clock) as ledger:
        ledger.record([begun(), *(found(did) for did in DIDS)])
        drawn = ledger.files({FileState.FOUND})
        assert next(drawn).did == DIDS[0]
        ledger.record([life(DIDS[1])[0]])
        ledger.record([life(DIDS[0])[0], life(DIDS[4])[0]])
        ledger.forget(DIDS[2])
        assert [record.did for record in drawn] == [DIDS[3]]


def test_a_cycle_that_begins_while_files_are_drawn(ledger: SqlLedger) -> None:
    ledger.record([found(did) for did in DIDS])
    drawn = ledger.files()
    next(drawn)
    ledger.record([begun(2), found(DIDS[1], cycle=2)])
    assert [(record.did, record.cycle) for record in drawn] == [(DIDS[1], 2)]


def test_old_changes_are_changes_of_any_file() -> None:
    changes = Changes(most=3)
    changes.add({FILE})
    changes.add({SIBLING, DIDS[0]})
    assert changes.since(0) == {FILE, SIBLING, DIDS[0]}
    assert changes.since(1) == {SIBLING, DIDS[0]}
    assert changes.since(2) == set()
    changes.add({DIDS[1]})
    assert changes.since(0) is None
    assert changes.since(1) == {SIBLING, DIDS[0], DIDS[1]}
    changes.add(None)
    assert changes.since(3) is None
    assert changes.since(changes.number) == set()
    changes.add(set(DIDS))
    assert changes.since(4) is None
    assert changes.since(5) == set()


def test_the_latest_are_remembered(ledger: SqlLedger) -> None:
    record = ledger.file(FILE)
    assert record is not None
    known = KnownRecords(2)
    known.put(record)
    known.put(replace(record, did=SIBLING))
    later = replace(record, cycle=2)
    known.put(later)
    known.put(replace(record, did=DIDS[0]))
    assert known.get(FILE) is later
    assert known.get(SIBLING) is None
    known.forget(FILE)
    known.forget(SIBLING)
    assert known.get(FILE) is None
