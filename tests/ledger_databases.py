"""Databases for tests of the ledger: a file, and a database on a private PostgreSQL server.

A test module imports the fixtures that it needs; the server's is everybody's, so that there is one
for all modules. A PostgreSQL that is not there is a failure.
"""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest
from sqlalchemy import text
from tests import in_memory

from rucio_inject.clock import SystemClock
from rucio_inject.lake import process
from rucio_inject.lake.environment import for_postgres
from rucio_inject.lake.nobody import database_identity, give
from rucio_inject.lake.paths import LakePaths
from rucio_inject.lake.postgres import ROLE, STOP_SIGNALS, Cluster
from rucio_inject.lake.postgres_binaries import find_binaries, within_reach
from rucio_inject.ledger.engine import Database, postgresql_database, sqlite_database
from rucio_inject.ledger.tables import VERSION_TABLE
from rucio_inject.testing.fake_clock import FakeClock

PASSWORD = "s3cret-of-the-test"
"""Of the role `locked`, the only one that the server asks for one."""

KINDS = ("sqlite", "postgresql")
Location = str | Path


@dataclass(frozen=True)
class Server:
    """A PostgreSQL server that listens in a folder, and nowhere else."""

    socket: Path
    owner: psycopg.Connection
    numbers: Iterator[int]

    def url(self, user: str = ROLE, database: str = "postgres") -> str:
        """What a campaign file would name."""
        return _url(self.socket, user, database)

    def execute(self, statement: str) -> None:
        """Do something as the server's owner."""
        self.owner.execute(statement.encode())

    def new_place(self) -> str:
        """The URL of a new and empty schema: made a hundred times faster than a database is."""
        name = f"ledger_{next(self.numbers)}"
        self.execute(f"CREATE SCHEMA {name}")
        return f"{self.url()}&options=-csearch_path={name}"


def _url(socket: Path, user: str = ROLE, database: str = "postgres") -> str:
    return f"postgresql://{user}@/{database}?host={quote(str(socket))}"


@contextmanager
def postgresql() -> Iterator[Server]:
    """A server, stopped and deleted at the end."""
    # Short, as a socket's path must be, and open to `nobody`, as whom it runs when we are root.
    root = Path(tempfile.mkdtemp(prefix="ri-ledger-", dir=in_memory.PLACE))
    root.chmod(0o711)
    paths = LakePaths(root)
    identity = database_identity()
    for folder in (paths.postgres, paths.logs):
        folder.mkdir()
    give(paths.postgres, identity)
    binaries = within_reach(find_binaries("auto", os.environ), identity, paths.postgres_copy)
    cluster = Cluster(paths, binaries, identity, for_postgres(paths, os.environ))
    cluster.initialise(durable=False)
    rules = paths.postgres_data / "pg_hba.conf"
    rules.write_text("local all locked scram-sha-256\nlocal all all trust\n")
    with (paths.postgres_data / "postgresql.conf").open("a") as settings:
        # A lake's server looks every other second whether a table has grown; these live for less.
        settings.write("autovacuum = off\n")
    socket = cluster.socket_folder(None)
    member = cluster.start(socket, durable=False)
    try:
        cluster.await_ready(member, SystemClock())
        with psycopg.connect(_url(socket), autocommit=True) as owner:
            owner.execute(f"CREATE ROLE locked LOGIN PASSWORD '{PASSWORD}'".encode())
            yield Server(socket, owner, itertools.count())
    finally:
        process.stop([member], ((signal.SIGQUIT, 10.0), *STOP_SIGNALS), SystemClock())
        shutil.rmtree(root)


@pytest.fixture(params=[pytest.param(k, marks=pytest.mark.xdist_group("ledger")) for k in KINDS])
def location(request: pytest.FixtureRequest) -> Iterator[Location]:
    """Where a ledger can be kept that is not there yet; each test runs with either database."""
    if request.param == "postgresql":
        server: Server = request.getfixturevalue("postgresql_server")
        yield server.new_place()
        return
    with in_memory.quick_folder() as folder:
        yield folder / "magic.db"


def as_first_schema(database: Database) -> None:
    """Make a ledger's database what the first version wrote."""
    with database.writing() as connection:
        for statement in (
            "DROP INDEX ix_inject_files_sampled",
            "ALTER TABLE inject_files DROP COLUMN sampled",
            f"UPDATE {VERSION_TABLE} SET version_num = '0001'",
        ):
            connection.execute(text(statement))


@pytest.fixture
def clock() -> FakeClock:
    """Time that only the test lets pass."""
    return FakeClock()


@pytest.fixture
def open_database() -> Iterator[Callable[[Location], Database]]:
    """Looks into a ledger's database directly; closed at the test's end."""
    opened: list[Database] = []

    def database(location: Location) -> Database:
        made = (
            sqlite_database(location)
            if isinstance(location, Path)
            else postgresql_database(location)
        )
        opened.append(made)
        return made

    yield database
    for one in opened:
        one.close()
