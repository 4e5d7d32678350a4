"""Finding files: what is new, what is not, and in which order it is told."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rucio_inject.domain import facts as f
from rucio_inject.domain.checksum import Announced
from rucio_inject.domain.did import DID
from rucio_inject.domain.errors import UsageError
from rucio_inject.domain.injection import FileState
from rucio_inject.domain.place import Place
from rucio_inject.domain.story import begin_file
from rucio_inject.ports import SourceFile
from rucio_inject.steps import discover
from rucio_inject.steps.discover import Discover
from rucio_inject.steps.journal import Journal
from rucio_inject.testing.contracts.ledger import FILE, NOON, SIBLING, begun, found
from rucio_inject.testing.fake_clock import FakeClock
from rucio_inject.testing.memory_ledger import MemoryLedger, Shelf

DATASET = found(FILE).dataset
# Just before Python makes a set of so many four times as large.
NAMES = 19_000


def place(name: str) -> Place:
    """Everything in one dataset."""
    return Place(DID("magic", Path(name).name), DATASET, found(FILE).containers, {})


def finder(
    ledger: Any, *names: str, placing: Callable[[str], Place] = place
) -> tuple[Discover, list[f.Fact]]:
    """A step that is offered these files, and what it tells."""
    told: list[f.Fact] = []
    onlooker: Any = SimpleNamespace(record=told.extend)
    source: Any = SimpleNamespace(files=lambda: (SourceFile(Path(n), n) for n in names))
    return Discover(Journal(ledger, [onlooker], FakeClock()), source, placing, 1), told


@pytest.mark.parametrize("between", [0, 3])
def test_two_files_of_one_name(between: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(discover, "BATCH", 2)
    others = [f"/x/{number}" for number in range(between)]
    step, told = finder(MemoryLedger(Shelf()), "/x/a", *others, "/y/a")
    assert step.run() == 1
    (skipped,) = [fact for fact in told if isinstance(fact, f.NameSkipped)]
    assert skipped.reason == "/y/a would be magic:a, as /x/a is already"


def test_another_file_of_its_name_announces_nothing_of_a_file() -> None:
    ledger = MemoryLedger(Shelf())
    ledger.record([begun(), found(FILE)])
    source: Any = SimpleNamespace()
    step = Discover(Journal(ledger, [], FakeClock()), source, place, 1)
    for where, told in (("/y/a", None), (found(FILE).path, Announced(size=7))):
        file = SourceFile(Path(where), FILE.name, announced=Announced(size=7))
        source.files = lambda file=file: iter([file])
        step.run()
        record = ledger.file(FILE)
        assert record is not None
        assert record.announced == told


def test_digests_that_agree_by_chance_skip_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(discover, "digest", lambda did: 1)
    step, told = finder(MemoryLedger(Shelf()), "/x/a", "/x/b")
    assert step.run() == 0
    assert sum(isinstance(fact, f.FileFound) for fact in told) == 2


def test_a_campaign_that_is_refused_sets_nothing_going() -> None:
    ledger = MemoryLedger(Shelf())
    failed = f.FileFailed(at=NOON, did=FILE, code="storage", reason="full", hint=None)
    ledger.record([begun(), found(FILE), failed, found(SIBLING)])

    def elsewhere(name: str) -> Place:
        return Place(DID("magic", Path(name).name), DID("magic", "other"), (), {})

    step, told = finder(ledger, f"/x/{SIBLING.name}", placing=elsewhere)
    with pytest.raises(UsageError, match=r"naming\.dataset has changed"):
        step.run()
    assert told == []
    step, told = finder(ledger, f"/x/{SIBLING.name}")
    step.run()
    assert [type(fact) for fact in told] == [f.FileRetried]
    assert ledger.counts() == {FileState.FOUND: 2}


def test_names_that_were_offered_take_little_memory() -> None:
    record = begin_file(found(FILE))
    ledger: Any = SimpleNamespace(
        known=lambda dids: dict.fromkeys(dids, record),
        files=lambda states: iter(()),
        counts=dict,
        cycle=1,
        cycle_ended=False,
    )

    def offered() -> Iterator[SourceFile]:
        for number in range(NAMES):
            yield SourceFile(where, f"20200203_M1_05089063.{number:07}_Y_CrabNebula-W0.40.root")

    def placing(name: str) -> Place:
        return Place(DID("magic", name), DATASET, record.containers, {})

    # Of the same path all of them: what pathlib keeps of paths is not counted here.
    where = Path("/data")
    source: Any = SimpleNamespace(files=offered)
    step = Discover(Journal(ledger, [], FakeClock()), source, placing, 1)
    tracemalloc.start()
    try:
        assert step.run() == 0
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < NAMES * 100
