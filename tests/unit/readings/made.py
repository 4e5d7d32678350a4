"""Ledgers made of scenes, for what reads them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rucio_inject.clock import SystemClock
from rucio_inject.ledger.look import Look, looking
from rucio_inject.ledger.sql_ledger import SqlLedger
from rucio_inject.testing.scenes import Scene

NAME = "magic"


def record(place: str | Path, scenes: Sequence[Scene]) -> None:
    """Put scenes on record."""
    with SqlLedger(place, NAME, clock=SystemClock()) as ledger:
        for scene in scenes:
            for facts in scene.facts():
                ledger.record(facts)


@contextmanager
def looked_at(place: str | Path, *scenes: Scene) -> Iterator[Look]:
    """A ledger that holds scenes, opened for reading."""
    record(place, scenes)
    with looking(place, NAME, SystemClock()) as look:
        yield look
