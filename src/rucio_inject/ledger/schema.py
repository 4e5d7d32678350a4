"""The version of the ledger's schema: made, brought up to date, or refused."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable
from types import ModuleType
from typing import TypeVar

from sqlalchemy import Connection, column, inspect, select, table, text

from rucio_inject.domain.errors import LedgerError, LedgerOlder
from rucio_inject.ledger import tables
from rucio_inject.ledger.database_errors import KEEP
from rucio_inject.ledger.engine import Database

# Any number that nobody else locks: processes that migrate the same PostgreSQL take turns by it.
_ADVISORY_LOCK = 0x1A7EC7
# Alembic keeps the migration under way in its own module.
_MIGRATION = threading.Lock()

T = TypeVar("T")


def make(database: Database) -> None:
    """Make the schema in a new and empty SQLite file."""
    with _MIGRATION, database.writing() as connection:
        _versions().upgrade(connection, tables.SCHEMA)


def is_current(database: Database) -> bool:
    """Whether the schema is the one that this code writes; changes nothing. False for an older
    one, and for a server's database that has none.

    LedgerError for a schema of a newer version, and for an SQLite file that is no ledger.
    """
    with database.reading() as connection:
        found = _version(connection)
    if found is None and database.is_sqlite:
        raise _no_ledger(database)
    if found is not None and found != tables.SCHEMA:
        _refuse_newer(found, database)
    return found == tables.SCHEMA


def check(database: Database) -> None:
    """LedgerError if the schema is not the one that this code reads, LedgerOlder if a run would
    make it that; changes nothing."""
    with database.reading() as connection:
        check_within(connection, database)


def check_within(connection: Connection, database: Database) -> None:
    """The same, within a transaction: what it finds holds until that ends, if it writes."""
    found = _version(connection)
    if found is None:
        raise _no_ledger(database)
    if found != tables.SCHEMA:
        _refuse_newer(found, database)
        raise LedgerOlder(
            f"ledger {database.place} is of the older schema {found}",
            hint="run its campaign once: that brings the ledger up to date",
        )


def bring_up_to_date(database: Database, in_the_way: Callable[[Connection], T | None]) -> T | None:
    """Make the schema, or migrate an older one, in one transaction; nothing is done if it is what
    this code writes.

    An older one is migrated only if nothing is in the way of it, which is asked within the
    transaction: gives what is.
    """
    with _MIGRATION, database.writing() as connection:
        if not database.is_sqlite:
            connection.execute(text(f"SELECT pg_advisory_xact_lock({_ADVISORY_LOCK})"))
        found = _version(connection)
        # Another process may have been quicker while we waited for our turn.
        if found == tables.SCHEMA:
            return None
        if found is not None:
            _refuse_newer(found, database)
            if (obstacle := in_the_way(connection)) is not None:
                return obstacle
        _versions().upgrade(connection, tables.SCHEMA)
    return None


def _version(connection: Connection) -> str | None:
    if not inspect(connection).has_table(tables.VERSION_TABLE):
        return None
    found: str | None = connection.scalar(
        select(column("version_num")).select_from(table(tables.VERSION_TABLE))
    )
    return found


def _refuse_newer(found: str, database: Database) -> None:
    if found not in _versions().known():
        raise LedgerError(
            f"ledger {database.place} is of schema {found}; this version writes schema "
            f"{tables.SCHEMA}",
            hint="use the version of rucio-inject that wrote it, or name another ledger",
        )


def _versions() -> ModuleType:
    # alembic takes a second to import, and a ledger that is up to date needs none of it.
    return importlib.import_module("rucio_inject.ledger.versions")


def _no_ledger(database: Database) -> LedgerError:
    # A file was a ledger once, or never; a server's database was made to be filled.
    hint = KEEP if database.is_sqlite else "run the campaign first, or name another ledger"
    return LedgerError(f"{database.place} is a database, but holds no ledger", hint=hint)
