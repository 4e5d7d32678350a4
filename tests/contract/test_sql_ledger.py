"""The SQL ledger keeps the ledger's contract, on SQLite and on PostgreSQL."""

from __future__ import annotations

import pytest
from tests.ledger_databases import Location, clock, location

from rucio_inject.ledger.sql_ledger import SqlLedger
from rucio_inject.testing.contracts.ledger import LedgerContract, OpenLedger
from rucio_inject.testing.contracts.ledger_queries import LedgerQueriesContract
from rucio_inject.testing.fake_clock import FakeClock

__all__ = ["clock", "location"]


@pytest.fixture
def open_ledger(location: Location, clock: FakeClock) -> OpenLedger:
    return lambda: SqlLedger(location, "magic", clock=clock)


class TestSqlLedger(LedgerContract):
    """As the port says."""


class TestSqlLedgerQueries(LedgerQueriesContract):
    """As the port says, where files are many."""
