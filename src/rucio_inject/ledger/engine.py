"""The ledger's database, by path or URL: transactions that read, and transactions that write."""

from __future__ import annotations

import importlib.util
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import Connection, Engine, Table, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError
from sqlalchemy.pool import ConnectionPoolEntry, QueuePool

from rucio_inject.campaign.databases import with_driver
from rucio_inject.domain.errors import LedgerError
from rucio_inject.ledger.database_errors import sensible, translated
from rucio_inject.ledger.sqlite_file import BUSY_SECONDS, journal_mode

# Threads of a run that look something up at the same moment.
_CONNECTIONS = 5
_MORE_CONNECTIONS = 20
_CONNECT_SECONDS = 10
# A server that was cut off is given up a minute after its last word; systems wait a quarter of an
# hour for what they sent, and for ever for an answer.
_GIVEN_UP = {
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
}

# EXTRA is FULL, and the folder is synchronised after a rollback journal is deleted, too: without
# that a power cut may bring the journal back and undo a transaction that was reported as done.
_SQLITE_SETTINGS = ("PRAGMA foreign_keys = ON", "PRAGMA synchronous = EXTRA")
_POSTGRESQL_SETTINGS = (
    # A server may be set up to answer before a commit is on its disk.
    """SELECT set_config('synchronous_commit', 'on', false)
    WHERE current_setting('synchronous_commit') = 'off'""",
    # A process that is stopped in the middle of a transaction must not hold its locks for ever.
    "SET idle_in_transaction_session_timeout = '60s'",
    f"SET lock_timeout = '{BUSY_SECONDS:.0f}s'",
)


_ROOM = ("auto_vacuum", "freelist_count", "page_count")
_INCREMENTAL = 2


class Database:
    """A SQLite file or a PostgreSQL database; `place` names it in messages, without a password.

    May be used from several threads. Every complaint of the database is a LedgerError.
    """

    def __init__(self, engine: Engine, place: str) -> None:
        self.place = place
        self.is_sqlite = engine.dialect.name == "sqlite"
        self._engine = engine
        self._writer = engine.execution_options(immediate=True)
        # Writers of one process take turns here: SQLite's own waiting is by sleeping and retrying.
        self._turn = threading.Lock()

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A transaction that reads. Keep it short: SQLite's writer may have to wait for its end.

        LedgerError for what makes no sense of what is read: the ledger is damaged.
        """
        with sensible(self.place), translated(self.place), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction that may write: all of it is on disk when the block has ended, or, if
        anything is raised, nothing is."""
        with self._turn, translated(self.place), self._writer.begin() as connection:
            yield connection

    def serialise(self, connection: Connection, table: Table) -> None:
        """Within a transaction that writes: be the only one that adds rows to a table."""
        if not self.is_sqlite:  # whose writers are alone anyway
            name = connection.dialect.identifier_preparer.format_table(table)
            connection.exec_driver_sql(f"LOCK TABLE {name} IN SHARE ROW EXCLUSIVE MODE")

    def use_journal(self, path: Path) -> None:
        """Set SQLite's journal mode to what is safe for its version and for the file's place."""
        with translated(self.place), self._engine.connect() as connection:
            # A change of mode is refused inside a transaction.
            cursor = connection.connection.cursor()
            cursor.execute(f"PRAGMA journal_mode = {journal_mode(path)}")
            cursor.close()

    def prepare_to_shrink(self) -> None:
        """Make a new and empty SQLite file one that `give_back` can make smaller."""
        with translated(self.place), self._engine.connect() as connection:
            cursor = connection.connection.cursor()
            cursor.execute(f"PRAGMA auto_vacuum = {_INCREMENTAL}")
            cursor.close()

    def give_back(self) -> None:
        """Give pages of SQLite's file that hold nothing any more back to the disk.

        A file that was made without that is rewritten once, when more than half of it is free. If
        somebody reads meanwhile it is left for another time. PostgreSQL does it by itself.
        """
        if not self.is_sqlite:
            return
        with self._turn, translated(self.place), self._engine.connect() as connection:
            # Neither works inside a transaction.
            cursor = connection.connection.cursor()
            ask = {name: cursor.execute(f"PRAGMA {name}").fetchone()[0] for name in _ROOM}
            with suppress(sqlite3.OperationalError):
                if ask["auto_vacuum"] == _INCREMENTAL:
                    cursor.execute("PRAGMA incremental_vacuum").fetchall()
                elif 2 * ask["freelist_count"] > ask["page_count"]:
                    cursor.execute(f"PRAGMA auto_vacuum = {_INCREMENTAL}")
                    cursor.execute("VACUUM")
            cursor.close()

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()


def is_url(location: str | Path) -> bool:
    """Whether a location is a database's URL, and no path."""
    return isinstance(location, str) and "://" in location


def sqlite_database(path: Path, *, read_only: bool = False) -> Database:
    """The database in a file, which must be there."""

    def connect() -> sqlite3.Connection:
        return sqlite3.connect(
            # Never `rwc`: a file that somebody took away must not come back empty.
            f"file:{quote(str(path.absolute()))}?mode=rw",
            uri=True,
            timeout=BUSY_SECONDS,
            isolation_level=None,  # the driver's own idea of when to begin is too late
            check_same_thread=False,  # the pool gives a connection to one thread at a time
        )

    engine = create_engine(
        "sqlite://",
        creator=connect,
        poolclass=QueuePool,
        pool_size=_CONNECTIONS,
        max_overflow=_MORE_CONNECTIONS,
    )
    only = ("PRAGMA query_only = ON",) if read_only else ()
    _on_connect(engine, (*_SQLITE_SETTINGS, *only))
    event.listen(engine, "begin", _begin)
    return Database(engine, str(path))


def _begin(connection: Connection) -> None:
    # A writer that begins as a reader may meet another one half-way, and neither could go on.
    immediate = connection.get_execution_options().get("immediate", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")


def postgresql_database(location: str, *, read_only: bool = False) -> Database:
    """The database of a `postgresql://` URL. LedgerError if it is no such URL."""
    url = _parsed(location)
    if importlib.util.find_spec("psycopg") is None:
        raise LedgerError(
            "a ledger on PostgreSQL needs the Python package psycopg, which is not installed",
            hint="pip install 'rucio-inject[postgresql]'",
        )
    defaults: dict[str, str | int] = {
        "connect_timeout": _CONNECT_SECONDS,
        "application_name": "rucio-inject",
        **_GIVEN_UP,
    }
    engine = create_engine(
        url,
        connect_args={name: value for name, value in defaults.items() if name not in url.query},
        pool_size=_CONNECTIONS,
        max_overflow=_MORE_CONNECTIONS,
        pool_pre_ping=True,  # a server that was restarted closed what is in the pool
    )
    only = ("SET default_transaction_read_only = on",) if read_only else ()
    _on_connect(engine, (*_POSTGRESQL_SETTINGS, *only))
    return Database(engine, _shown(url))


def _parsed(location: str) -> URL:
    hint = "a ledger is a path, or postgresql://USER:PASSWORD@HOST/DATABASE"
    scheme = location.partition("://")[0]
    if scheme not in {"postgresql", "postgres", "postgresql+psycopg"}:
        raise LedgerError(f"a ledger cannot be kept at a URL of the kind {scheme}://", hint=hint)
    try:
        return with_driver(make_url(location))
    except (ArgumentError, ValueError):  # its text would show the password
        raise LedgerError("the ledger's URL cannot be read", hint=hint) from None


def _shown(url: URL) -> str:
    # The driver takes a password among the options, too.
    harmless = {name: url.query[name] for name in ("host", "port") if name in url.query}
    shown = url.set(drivername="postgresql", query=harmless, password=None)
    return shown.render_as_string().replace("%2F", "/")


def _on_connect(engine: Engine, settings: tuple[str, ...]) -> None:
    def set_up(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
        cursor = connection.cursor()
        for setting in settings:
            cursor.execute(setting)
        cursor.close()
        connection.commit()

    event.listen(engine, "connect", set_up)
