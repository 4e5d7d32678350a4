"""The version of the ledger's schema: made, brought up to date, or refused."""

from __future__ import annotations

import importlib
import threading
from types import ModuleType

from sqlalchemy import Connection, column, inspect, select, table, text

from rucio_inject.domain.errors import LedgerError
from rucio_inject.ledger.database_errors import KEEP
from rucio_inject.ledger.engine import Database
from rucio_inject.ledger.tables import SCHEMA, VERSION_TABLE

# Any number that nobody else locks: processes that migrate the same PostgreSQL take turns by it.
_ADVISORY_LOCK = 0x1A7EC7
# Alembic keeps the migration under way in its own module.
_MIGRATION = threading.Lock()


def make(database: Database) -> None:
    """Make the schema in a new and empty SQLite file."""
    _bring_up_to_date(database)


def ensure(database: Database) -> None:
    """See that the schema is what this code writes; older ones are migrated, in one transaction.

    LedgerError for a schema of a newer version, and for an SQLite file that is no ledger.
    """
    with database.reading() as connection:
        found = _version(connection)
        if found is None and database.is_sqlite:
            raise _no_ledger(database)
    if found != SCHEMA:
        _bring_up_to_date(database)


def check(database: Database) -> None:
    """LedgerError if the schema is not the one that this code reads; changes nothing."""
    with database.reading() as connection:
        found = _version(connection)
    if found is None:
        raise _no_ledger(database)
    if found != SCHEMA:
        _refuse_newer(found, database)
        raise LedgerError(
            f"ledger {database.place} is of the older schema {found}",
            hint="run its campaign once: that brings the ledger up to date",
        )


def _bring_up_to_date(database: Database) -> None:
    with _MIGRATION, database.writing() as connection:
        if not database.is_sqlite:
            connection.execute(text(f"SELECT pg_advisory_xact_lock({_ADVISORY_LOCK})"))
        found = _version(connection)
        # Another process may have been quicker while we waited for our turn.
        if found == SCHEMA:
            return
        if found is not None:
            _refuse_newer(found, database)
        _versions().upgrade(connection, SCHEMA)


def _version(connection: Connection) -> str | None:
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    found: str | None = connection.scalar(
        select(column("version_num")).select_from(table(VERSION_TABLE))
    )
    return found


def _refuse_newer(found: str, database: Database) -> None:
    if found not in _versions().known():
        raise LedgerError(
            f"ledger {database.place} is of schema {found}; this version writes schema {SCHEMA}",
            hint="use the version of rucio-inject that wrote it, or name another ledger",
        )


def _versions() -> ModuleType:
    # alembic takes a second to import, and a ledger that is up to date needs none of it.
    return importlib.import_module("rucio_inject.ledger.versions")


def _no_ledger(database: Database) -> LedgerError:
    # A file was a ledger once, or never; a server's database was made to be filled.
    hint = KEEP if database.is_sqlite else "run the campaign first, or name another ledger"
    return LedgerError(f"{database.place} is a database, but holds no ledger", hint=hint)
