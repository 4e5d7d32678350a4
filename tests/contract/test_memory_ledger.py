"""The in-memory ledger keeps the contract that the real one keeps."""

from __future__ import annotations

import pytest

from rucio_inject.testing.contracts.ledger import LedgerContract, OpenLedger
from rucio_inject.testing.contracts.ledger_queries import LedgerQueriesContract
from rucio_inject.testing.memory_ledger import MemoryLedger, Shelf


@pytest.fixture
def open_ledger() -> OpenLedger:
    shelf = Shelf()
    return lambda: MemoryLedger(shelf)


class TestMemoryLedger(LedgerContract):
    """The fake passes."""


class TestMemoryLedgerQueries(LedgerQueriesContract):
    """The fake passes."""
