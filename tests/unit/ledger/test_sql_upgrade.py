"""A ledger of an older version is brought up to date, and never under a run that is at work."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import inspect, select, text, update
from tests.ledger_databases import (
    Location,
    as_first_schema,
    clock,
    location,
    open_database,
)

from rucio_inject.domain.did import DID
from rucio_inject.domain.errors import LedgerError, LedgerUnavailable
from rucio_inject.domain.facts import FileFound
from rucio_inject.ledger import tables, versions
from rucio_inject.ledger.engine import Database
from rucio_inject.ledger.holder import this_process
from rucio_inject.ledger.lease import LEASE_SECONDS, Lease
from rucio_inject.ledger.look import looking
from rucio_inject.ledger.sql_ledger import SqlLedger
from rucio_inject.ledger.tables import VERSION_TABLE, files, leases
from rucio_inject.readings.funnel import funnels
from rucio_inject.testing.contracts.ledger import FILE, SIBLING, begun, found
from rucio_inject.testing.fake_clock import FakeClock
from rucio_inject.testing.scenes import Scene

__all__ = ["clock", "location", "open_database"]

pytestmark = pytest.mark.usefixtures("real_migrations")

NEXT = '''"""Another schema."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade():
    op.add_column("inject_campaigns", sa.Column("note", sa.Text()))
    op.create_index("ix_note", "inject_campaigns", ["note"])
'''
COLUMN = "note"


@pytest.fixture
def database(location: Location, open_database: Callable[[Location], Database]) -> Database:
    """The ledger's database, of today's schema, with a file in it."""
    with SqlLedger(location, "magic", clock=FakeClock()) as opened:
        opened.record([begun(), found(FILE)])
    return open_database(location)


@pytest.fixture
def newer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From when it is called on, this process is of a version that has one more schema."""
    folder = tmp_path / "migrations"
    shutil.copytree(versions.FOLDER, folder)
    (folder / "versions" / "v0003_note.py").write_text(NEXT)

    def become_newer() -> None:
        monkeypatch.setattr(versions, "FOLDER", folder)
        monkeypatch.setattr(tables, "SCHEMA", "0003")

    return become_newer


def is_upgraded(database: Database) -> bool:
    """Whether the tables are of the newer schema; they must be of one, and whole."""
    with database.reading() as connection:
        columns = {column["name"] for column in inspect(connection).get_columns("inject_campaigns")}
        indexes = {index["name"] for index in inspect(connection).get_indexes("inject_campaigns")}
        version = connection.scalar(text(f"SELECT version_num FROM {VERSION_TABLE}"))
    assert (COLUMN in columns, "ix_note" in indexes) == (version == "0003",) * 2
    return bool(version == "0003")


def test_an_older_ledger_is_brought_up_to_date(
    location: Location,
    database: Database,
    newer: Callable[[], None],
    clock: FakeClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    newer()
    with (
        pytest.raises(LedgerError, match="is of the older schema 0002"),
        SqlLedger(location, "magic", clock=clock, reading=True),
    ):
        pass
    assert not is_upgraded(database)
    with SqlLedger(location, "magic", clock=clock) as ledger:
        assert ledger.file(FILE) is not None
        ledger.record([found(SIBLING)])
    assert is_upgraded(database)
    monkeypatch.undo()
    with (
        pytest.raises(LedgerError, match="is of schema 0003; this version writes schema 0002"),
        SqlLedger(location, "magic", clock=clock),
    ):
        pass


@pytest.mark.parametrize("campaign", ["magic", "another"])
def test_not_under_a_run_that_is_at_work(
    location: Location,
    database: Database,
    newer: Callable[[], None],
    clock: FakeClock,
    campaign: str,
) -> None:
    with SqlLedger(location, "magic", clock=clock) as older:
        newer()
        with (
            pytest.raises(LedgerUnavailable, match="is in use by process") as caught,
            SqlLedger(location, campaign, clock=clock),
        ):
            pass
        assert caught.value.holder == this_process().name
        assert not is_upgraded(database)
        older.record([found(SIBLING)])
    with SqlLedger(location, campaign, clock=clock):
        assert is_upgraded(database)


def test_a_run_that_was_taken_for_dead_writes_no_more(
    location: Location, database: Database, newer: Callable[[], None], clock: FakeClock
) -> None:
    with SqlLedger(location, "magic", clock=clock) as older:
        with database.writing() as connection:
            connection.execute(update(leases).values(expires_at=1))
        newer()
        with SqlLedger(location, "another", clock=clock):
            assert is_upgraded(database)
        with pytest.raises(LedgerError, match="was taken over"):
            older.record([found(SIBLING)])


def test_a_lease_that_nobody_renews_is_waited_for_and_taken_for_dead(
    location: Location, database: Database, newer: Callable[[], None], clock: FakeClock
) -> None:
    with SqlLedger(location, "magic", clock=clock):
        newer()
        with database.writing() as connection:
            far = {"place": "far", "process": "7 1", "expires_at": 4_000_000_000_000_000}
            connection.execute(update(leases).values(far))
        begun_at = clock.monotonic()
        with pytest.raises(LedgerUnavailable), SqlLedger(location, "magic", clock=clock, wait=20):
            pass
        assert clock.monotonic() - begun_at == 20
        with SqlLedger(location, "magic", clock=clock, wait=10 * LEASE_SECONDS):
            assert is_upgraded(database)
        assert LEASE_SECONDS <= clock.monotonic() - begun_at - 20 <= LEASE_SECONDS + 2


def test_who_looked_before_the_upgrade_takes_no_lease_after_it(
    location: Location, database: Database, newer: Callable[[], None], clock: FakeClock
) -> None:
    """An older version opens the ledger, and is overtaken before it has its lease."""
    with database.writing() as connection:
        connection.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = '0003'"))
    with pytest.raises(LedgerError, match="is of schema 0003; this version writes schema 0002"):
        Lease(database, 1, clock).acquire()


def test_an_upgrade_that_is_cut_short_leaves_all_as_it_was(
    location: Location,
    database: Database,
    newer: Callable[[], None],
    clock: FakeClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class PowerCut(BaseException):
        pass

    def cut(*_: object) -> None:
        raise PowerCut

    newer()
    with monkeypatch.context() as broken:
        broken.setattr("alembic.op.create_index", cut)
        with pytest.raises(PowerCut), SqlLedger(location, "magic", clock=clock):
            pass
    assert not is_upgraded(database)
    with SqlLedger(location, "magic", clock=clock) as ledger:
        assert is_upgraded(database)
        assert ledger.file(FILE) is not None


@pytest.fixture
def first_schema(location: Location, open_database: Callable[[Location], Database]) -> Database:
    """A ledger's database as the first version wrote it, with files that a sample speaks for."""
    with SqlLedger(location, "magic", clock=FakeClock()) as opened:
        for facts in Scene(files=5, sampled=3).facts():
            opened.record(facts)
    database = open_database(location)
    as_first_schema(database)
    return database


def test_a_ledger_of_the_first_schema_counts_what_a_sample_speaks_for(
    location: Location, first_schema: Database, clock: FakeClock
) -> None:
    with (
        pytest.raises(LedgerError, match="is of the older schema 0001"),
        SqlLedger(location, "magic", clock=clock, reading=True),
    ):
        pass
    with SqlLedger(location, "magic", clock=clock) as ledger:
        assert ledger.sampled() == 3
        for facts in Scene(2, files=4, sampled=4).facts():
            ledger.record(facts)
        assert ledger.sampled() == 4
    with first_schema.reading() as connection:
        indexes = {index["name"] for index in inspect(connection).get_indexes("inject_files")}
    assert "ix_inject_files_sampled" in indexes
    with looking(location, "magic", clock) as look:
        assert [funnel.sampled for funnel in funnels(look)] == [4, 3]


def test_a_path_that_is_no_text_is_no_obstacle(
    location: Location, open_database: Callable[[Location], Database], clock: FakeClock
) -> None:
    """Its record is written by another encoder."""
    odd = "/data/M\udcfcnchen/x.root"
    scene = Scene(files=6, sampled=3)
    sampled = {scene.did(number) for number in range(3)}
    odd_ones = {scene.did(number) for number in (0, 5)}
    with SqlLedger(location, "magic", clock=clock) as opened:
        for facts in scene.facts():
            opened.record(
                [
                    replace(fact, path=odd)
                    if isinstance(fact, FileFound) and fact.did in odd_ones
                    else fact
                    for fact in facts
                ]
            )
    database = open_database(location)
    as_first_schema(database)
    with SqlLedger(location, "magic", clock=clock) as ledger:
        records = {record.did: record for record in ledger.files()}
        assert {did for did, record in records.items() if record.path == odd} == odd_ones
        assert {did for did, record in records.items() if record.sampled} == sampled
        assert ledger.sampled() == 3
    with database.reading() as connection:
        marked = connection.execute(select(files.c.scope, files.c.name).where(files.c.sampled))
        assert {DID(scope, name) for scope, name in marked} == sampled


def test_what_a_sample_speaks_for_is_counted_by_its_index(database: Database) -> None:
    lite = database.is_sqlite
    count = f"SELECT count(*) FROM inject_files WHERE campaign = 1 AND sampled{' = 1' * lite}"
    with database.reading() as connection:
        if not lite:
            # It would read so small a table as a whole.
            connection.execute(text("SET LOCAL enable_seqscan = off"))
        plan = connection.execute(text(f"EXPLAIN {'QUERY PLAN ' * lite}{count}")).all()
    assert "ix_inject_files_sampled" in str(plan)
