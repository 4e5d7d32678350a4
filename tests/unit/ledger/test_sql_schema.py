"""The schema of the SQL ledger: what the migrations make, and what is refused."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from alembic import op
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text
from tests.ledger_databases import Location, clock, location, open_database

from rucio_inject.domain.errors import LedgerError
from rucio_inject.ledger import versions
from rucio_inject.ledger.engine import Database
from rucio_inject.ledger.sql_ledger import SqlLedger
from rucio_inject.ledger.tables import SCHEMA, VERSION_TABLE, metadata
from rucio_inject.testing.contracts.ledger import FILE, begun, found
from rucio_inject.testing.fake_clock import FakeClock

__all__ = ["clock", "location", "open_database"]

pytestmark = pytest.mark.usefixtures("real_migrations")

OpenDatabase = Callable[[Location], Database]


@pytest.fixture
def ledger(location: Location, clock: FakeClock) -> Location:
    """A ledger with one file in it."""
    with SqlLedger(location, "magic", clock=clock) as opened:
        opened.record([begun(), found(FILE)])
    return location


def test_the_tables_are_what_the_migrations_make(
    ledger: Location, open_database: OpenDatabase
) -> None:
    with open_database(ledger).reading() as connection:
        options = {
            "version_table": VERSION_TABLE,
            "compare_type": True,
            "compare_server_default": True,
        }
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, metadata) == []
        assert context.get_current_revision() == SCHEMA


def test_the_version_that_the_code_writes_is_the_last_one() -> None:
    assert versions.newest() == SCHEMA


@pytest.mark.parametrize("reading", [False, True])
def test_a_newer_schema_is_refused(
    ledger: Location, open_database: OpenDatabase, clock: FakeClock, reading: bool
) -> None:
    with open_database(ledger).writing() as connection:
        connection.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = '9999'"))
    with (
        pytest.raises(LedgerError, match="is of schema 9999; this version writes schema") as caught,
        SqlLedger(ledger, "magic", clock=clock, reading=reading),
    ):
        pass
    assert "version of rucio-inject that wrote it" in str(caught.value.hint)


def test_a_database_of_somebody_else_is_refused(tmp_path: Path, clock: FakeClock) -> None:
    path = tmp_path / "other.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE theirs (x)")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(LedgerError, match="holds no ledger"), SqlLedger(path, "m", clock=clock):
        pass
    assert path.read_bytes() == before


def test_a_migration_that_fails_leaves_nothing(
    location: Location,
    open_database: OpenDatabase,
    clock: FakeClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class PowerCut(BaseException):
        pass

    real = op.create_index

    def cut(name: str, table: str, columns: list[str]) -> None:
        if table == "inject_rules":
            raise PowerCut
        real(name, table, columns)

    monkeypatch.setattr(op, "create_index", cut)
    with pytest.raises(PowerCut), SqlLedger(location, "magic", clock=clock):
        pass
    monkeypatch.undo()
    with SqlLedger(location, "magic", clock=clock) as ledger:
        assert ledger.cycle == 0


def test_a_ledger_keeps_campaigns_apart(ledger: Location, clock: FakeClock) -> None:
    with (
        SqlLedger(ledger, "magic", clock=clock) as magic,
        SqlLedger(ledger, "lst", clock=clock) as lst,
    ):
        assert (magic.cycle, lst.cycle) == (1, 0)
        lst.record([begun(7), found(FILE, cycle=7)])
        assert magic.counts() == lst.counts()
        assert len(list(magic.all_files())) == 1
        lst.forget(FILE)
        assert magic.file(FILE) is not None
        assert [stored.kind for stored in magic.story(FILE)] == ["FileFound"]
