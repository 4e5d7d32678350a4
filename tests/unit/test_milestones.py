"""The moments that figure 1 shows."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

from rucio_inject.api import milestones
from rucio_inject.domain import facts as f
from rucio_inject.domain.did import DID
from rucio_inject.domain.outline import FileOutline, outline
from rucio_inject.domain.story import advance, begin_file
from rucio_inject.testing.contracts.ledger import (
    FILE,
    NOON,
    SIBLING,
    begun,
    found,
    life,
    rule_facts,
)
from rucio_inject.testing.memory_ledger import MemoryLedger, Shelf


def test_the_last_moment_of_each_kind() -> None:
    ledger, later = MemoryLedger(Shelf()), timedelta(minutes=1)
    lives = [*life(FILE), *(replace(fact, at=fact.at + later) for fact in life(SIBLING))]
    ledger.record([begun(), found(FILE), found(SIBLING), *lives, *rule_facts()])
    told = {name: at for at, name in milestones(ledger)}
    assert list(told) == ["uploaded", "read back", "rules end", "gone"]
    assert told["uploaded"] == told["gone"] == life(FILE)[0].at + later
    assert milestones(MemoryLedger(Shelf())) == []


def _many() -> Iterator[FileOutline]:
    """Files that are made as they are drawn, each with a moment of its own."""
    for number in range(5_000):
        record = begin_file(found(DID("magic", f"{number:05}.root")))
        at: datetime = NOON + timedelta(seconds=number)
        for fact in life(record.did)[:3]:
            assert isinstance(fact, f.FileFact)
            record = advance(record, replace(fact, at=at))
        yield outline(record)


def test_memory_does_not_grow_with_the_files() -> None:
    ledger: Any = SimpleNamespace(outlines=_many, rules=list)
    tracemalloc.start()
    try:
        assert milestones(ledger)[0] == (NOON + timedelta(seconds=4_999), "uploaded")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 250_000
