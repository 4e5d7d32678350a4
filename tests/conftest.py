"""Fixtures that tests of more than one kind use, and how examples are drawn."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from playwright.sync_api import Browser
    from tests.lake.campaigns import Bench
    from tests.ledger_databases import Server

    from rucio_inject.lake.embedded import EmbeddedLake

# The same examples each time, however slow the machine is: a change fails by what it does. Another
# draw is asked for by `--hypothesis-profile=default`.
settings.register_profile(
    "same",
    deadline=None,
    derandomize=True,
    print_blob=False,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("same")


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
