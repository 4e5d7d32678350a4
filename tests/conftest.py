"""Fixtures that tests of more than one kind use."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser
    from tests.lake.campaigns import Bench
    from tests.ledger_databases import Server

    from rucio_inject.lake.embedded import EmbeddedLake


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A browser that runs: a process may drive one, and no second one beside it."""
    from tests.web.browser import browsing

    with browsing() as running:
        yield running


@pytest.fixture
def bench(running_lake: EmbeddedLake, tmp_path: Path) -> Bench:
    """A fresh folder to run campaigns in, against the lake that runs."""
    # Late: unit tests need no server side.
    from tests.lake.campaigns import Bench

    return Bench(tmp_path, running_lake)


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[Server]:
    """One PostgreSQL for all ledgers of a worker's tests."""
    # Late: most tests need none.
    from tests.ledger_databases import postgresql

    with postgresql() as server:
        yield server
