"""Which file comes next: no dataset starves, each is through early, and no limit is exceeded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from math import ceil

from hypothesis import given, settings
from hypothesis import strategies as st

from rucio_inject.domain.checksum import Measure
from rucio_inject.domain.did import DID
from rucio_inject.domain.facts import (
    CycleBegun,
    DrainOrdered,
    FileFailed,
    FileFound,
    FileMeasured,
    FileUploaded,
)
from rucio_inject.domain.injection import FileRecord, FileState
from rucio_inject.domain.story import begin_file
from rucio_inject.domain.usage import Usage
from rucio_inject.steps.turns import (
    LANES,
    LOOK_UP,
    TURN,
    Ceiling,
    FairOrder,
    Turns,
    Valve,
    in_flight,
    strictest,
)
from rucio_inject.testing.fake_clock import FakeClock
from rucio_inject.testing.memory_ledger import MemoryLedger, Shelf

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
SIZES = st.lists(st.integers(1, 4 * TURN), min_size=1, max_size=9)


def found(dataset: DID, number: int) -> FileFound:
    return FileFound(
        at=NOON,
        did=DID(dataset.scope, f"{dataset.name}.{number:05d}"),
        path=f"/data/{dataset.name}.{number:05d}",
        dataset=dataset,
        containers=(),
        cycle=1,
        generated=False,
    )


class Datasets:
    """Datasets of so many files, and a count of what is drawn from them."""

    def __init__(self, sizes: list[int]) -> None:
        self.sizes = {DID("S", f"{number:03d}"): size for number, size in enumerate(sizes)}
        self.drawn: Counter[DID] = Counter()

    def files(self, dataset: DID) -> Iterator[FileRecord]:
        for number in range(self.sizes[dataset]):
            self.drawn[dataset] += 1
            yield begin_file(found(dataset, number))

    def order(self) -> list[FileRecord]:
        return list(FairOrder(list(self.sizes.items()), self.files))


@settings(max_examples=40, deadline=None)
@given(sizes=SIZES)
def test_every_file_comes_once_and_a_datasets_files_in_their_order(sizes: list[int]) -> None:
    datasets = Datasets(sizes)
    taken = datasets.order()
    by_dataset: dict[DID, list[str]] = {}
    for record in taken:
        by_dataset.setdefault(record.dataset, []).append(record.did.name)
    assert {dataset: len(names) for dataset, names in by_dataset.items()} == datasets.sizes
    assert all(names == sorted(names) for names in by_dataset.values())


@settings(max_examples=40, deadline=None)
@given(sizes=SIZES)
def test_few_datasets_are_begun_and_not_through(sizes: list[int]) -> None:
    datasets = Datasets(sizes)
    left = Counter(datasets.sizes)
    begun: set[DID] = set()
    for record in FairOrder(list(datasets.sizes.items()), datasets.files):
        begun.add(record.dataset)
        left[record.dataset] -= 1
        assert sum(left[dataset] > 0 for dataset in begun) <= LANES
        # Nothing is drawn before its turn: what is in memory does not grow with the datasets.
        assert sum(datasets.drawn.values()) == sum(datasets.sizes.values()) - left.total()


@settings(max_examples=40, deadline=None)
@given(sizes=SIZES)
def test_no_dataset_waits_for_longer_than_those_before_it_take(sizes: list[int]) -> None:
    datasets = Datasets(sizes)
    last = {record.dataset: number for number, record in enumerate(datasets.order(), 1)}
    turns_before = 0
    for dataset, size in datasets.sizes.items():
        turns = ceil(size / TURN)
        # All lanes but the last work on older ones until this one has its own.
        waits = ceil(turns_before / (LANES - 1)) + 1
        assert last[dataset] <= (waits + turns) * LANES * TURN
        turns_before += turns


def test_a_small_dataset_does_not_wait_for_the_huge_ones_before_it() -> None:
    huge = 20 * TURN
    datasets = Datasets([*[huge] * 6, 3])
    small = list(datasets.sizes)[-1]
    last = max(n for n, record in enumerate(datasets.order(), 1) if record.dataset == small)
    assert last <= LANES * TURN


def test_a_datasets_turn_is_the_next_ones_after_some_files() -> None:
    names = [record.dataset.name for record in Datasets([2 * TURN, 2 * TURN]).order()]
    assert names == ["000"] * TURN + ["001"] * TURN + ["000"] * TURN + ["001"] * TURN


class Lake:
    """Files on record, that are taken round by round and come through."""

    def __init__(self, sizes: list[list[int]]) -> None:
        self.clock = FakeClock()
        self.ledger = MemoryLedger(Shelf())
        self.size = {
            (record := found(DID("S", f"{number:03d}"), index)).did: (record, size)
            for number, dataset in enumerate(sizes)
            for index, size in enumerate(dataset)
        }
        begun = CycleBegun(at=NOON, cycle=1)
        self.ledger.record([begun, *(record for record, _ in self.size.values())])
        self.valve = Valve(self.ledger, self.clock)

    def turns(self, ceiling: Ceiling) -> Turns:
        return Turns(self.ledger, ceiling, self.valve, lambda record: self.size[record.did][1])

    def upload(self, record: FileRecord) -> None:
        size = self.size[record.did][1]
        measure = Measure(size, "0" * 8, "0" * 32)
        self.ledger.record(
            [
                FileMeasured(at=NOON, did=record.did, measure=measure),
                FileUploaded(at=NOON, did=record.did, rse="A", pfn="pfn"),
            ]
        )

    def see_through(self, count: int) -> None:
        """So many of the files in flight come to something: are set aside, as far as limits go."""
        gone = [record.did for record in self.ledger.files({FileState.UPLOADED})][:count]
        self.ledger.record(
            [FileFailed(at=NOON, did=did, code="x", reason="x", hint=None) for did in gone]
        )


CEILINGS = st.builds(
    Ceiling,
    bytes=st.none() | st.integers(1, 100),
    files=st.none() | st.integers(1, 10),
)
LAKES = st.lists(st.lists(st.integers(0, 60), min_size=1, max_size=5), min_size=1, max_size=5)


@settings(max_examples=60, deadline=None)
@given(sizes=LAKES, ceiling=CEILINGS, through=st.lists(st.integers(1, 5), min_size=1))
def test_limits_are_never_exceeded_and_all_files_go(
    sizes: list[list[int]], ceiling: Ceiling, through: list[int]
) -> None:
    lake = Lake(sizes)
    turns, taken, rounds = lake.turns(ceiling), 0, 0
    while True:
        for record in turns.round():
            lake.upload(record)
            taken += 1
            used = in_flight(lake.ledger)
            assert ceiling.holds(used) or used.files == 1
        if not turns.held_back:
            break
        # The lake brings some through, until there is room for more.
        while not turns.has_room():
            assert in_flight(lake.ledger).files > 0
            lake.see_through(through[rounds % len(through)])
        assert turns.goes_on()
        rounds += 1
    assert taken == len(lake.size)
    assert not turns.goes_on()


def test_without_limits_all_go_in_one_round() -> None:
    lake = Lake([[5] * 70, [5] * 3])
    turns = lake.turns(Ceiling())
    assert len(list(turns.round())) == 73
    assert (turns.held_back, turns.has_room(), turns.goes_on()) == (False, False, False)


def test_what_an_earlier_run_left_in_flight_counts() -> None:
    lake = Lake([[40, 40, 40]])
    first = next(lake.turns(Ceiling(bytes=100)).round())
    lake.upload(first)
    later = lake.turns(Ceiling(bytes=100))
    assert [record.did for record in later.round()] == [
        did for did in list(lake.size)[1:2] if did != first.did
    ]
    assert in_flight(lake.ledger) == Usage(1, 40)


def test_a_file_larger_than_the_limit_goes_alone() -> None:
    lake = Lake([[10, 500, 10]])
    turns = lake.turns(Ceiling(bytes=100))
    rounds = []
    while True:
        taken = list(turns.round())
        for record in taken:
            lake.upload(record)
        rounds.append([lake.size[record.did][1] for record in taken])
        if not turns.held_back:
            break
        assert not turns.has_room()
        lake.see_through(10)
        assert turns.has_room()
    assert rounds == [[10], [500], [10]]


def test_a_drained_campaign_gives_out_no_more() -> None:
    lake = Lake([[1] * 10])
    turns = lake.turns(Ceiling())
    coming = turns.round()
    next(coming)
    lake.ledger.record([DrainOrdered(at=NOON, on=True, by="me on here")])
    # It is looked at once in a while.
    next(coming)
    lake.clock.wait(LOOK_UP)
    assert list(coming) == []
    assert (turns.held_back, turns.goes_on(), lake.valve.is_open()) == (True, False, False)
    lake.ledger.record([DrainOrdered(at=NOON, on=False, by="me on here")])
    assert len(list(Lake.turns(lake, Ceiling()).round())) == 0
    lake.valve = Valve(lake.ledger, lake.clock)
    assert len(list(lake.turns(Ceiling()).round())) == 10


def test_batches_that_were_looked_up_are_not_begun_once_it_is_drained() -> None:
    lake = Lake([[6 * 10**8] * 4])
    turns = lake.turns(Ceiling())
    passing = turns.passing([list(turns.round())])
    assert len(next(passing)) == 2
    lake.ledger.record([DrainOrdered(at=NOON, on=True, by="me on here")])
    lake.clock.wait(LOOK_UP)
    assert list(passing) == []


def test_the_strictest_of_limits_counts() -> None:
    assert strictest([Ceiling(5, None), Ceiling(7, 3), Ceiling()]) == Ceiling(5, 3)
    assert strictest([]) == Ceiling()
