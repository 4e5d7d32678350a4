"""The JSON ledger keeps the ledger's contract."""

from __future__ import annotations

from pathlib import Path

import pytest

from rucio_inject.ledger.json_ledger import JsonLedger
from rucio_inject.testing.contracts.ledger import LedgerContract, OpenLedger


@pytest.fixture
def open_ledger(tmp_path: Path) -> OpenLedger:
    return lambda: JsonLedger(tmp_path / "magic.json", "magic")


class TestJsonLedger(LedgerContract):
    """The real one passes."""
