"""Which file comes next, and whether the lake can bear it now.

Files are taken from a few datasets in turn, so that no huge one holds up all others, and from a
few only, so that each is through early. Datasets are given a lane in the order in which they were
found. The last lane is for the one with the fewest files among those that wait: a small one need
not wait until the huge ones before it are through. A dataset keeps its lane until all of its files
are taken.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from heapq import heapify, heappop
from typing import TypeAlias

from rucio_inject.domain.did import DID
from rucio_inject.domain.errors import SourceUnreadable
from rucio_inject.domain.injection import FileRecord, FileState
from rucio_inject.domain.usage import Usage
from rucio_inject.ports import Clock, Ledger

SizeOf: TypeAlias = Callable[[FileRecord], int | None]

LANES = 4
"""Datasets that files are taken from at a time; the last lane is for the smallest that waits."""
TURN = 50
"""Files taken from a dataset before it is the next one's turn."""
PORTION = 10**9
"""Bytes of files that are begun together: less than that is finished when a drain is ordered."""
LOOK_UP = 1.0
"""Seconds after which the ledger is asked again whether the campaign is drained."""
# Room is waited for until so much of a limit is free: else each file that is through would let one
# in, with questions to Rucio for each.
LOW_WATER = 0.5

TO_BE_BROUGHT = frozenset({FileState.FOUND, FileState.MEASURED})
IN_FLIGHT = frozenset(
    {FileState.UPLOADED, FileState.REGISTERED, FileState.REPLICATING, FileState.REPLICATED}
)
"""In the lake, and not yet read back from everywhere."""


@dataclass(frozen=True, slots=True)
class Ceiling:
    """What may be in flight; None is no limit."""

    bytes: int | None = None
    files: int | None = None

    def holds(self, used: Usage) -> bool:
        """Whether so much may be in flight."""
        few = self.files is None or used.files <= self.files
        return few and (self.bytes is None or used.bytes <= self.bytes)

    def lowered(self, part: float) -> Ceiling:
        """A part of it."""
        return Ceiling(
            None if self.bytes is None else int(self.bytes * part),
            None if self.files is None else int(self.files * part),
        )


def strictest(ceilings: Iterable[Ceiling]) -> Ceiling:
    """The least of several."""
    known = list(ceilings)
    sizes = [c.bytes for c in known if c.bytes is not None]
    counts = [c.files for c in known if c.files is not None]
    return Ceiling(min(sizes, default=None), min(counts, default=None))


class Valve:
    """Whether new files may be taken: not while the campaign is drained."""

    def __init__(self, ledger: Ledger, clock: Clock) -> None:
        self._ledger = ledger
        self._clock = clock
        self._open = True
        self._looked_at: float | None = None

    def is_open(self) -> bool:
        """Ask the ledger, but not more often than every `LOOK_UP` seconds; closed stays closed."""
        now = self._clock.monotonic()
        if self._open and (self._looked_at is None or now - self._looked_at >= LOOK_UP):
            self._looked_at = now
            self._open = self._ledger.drain is None
        return self._open


class FairOrder:
    """The files of a ledger's datasets, each once, in the order in which they are to be taken."""

    def __init__(
        self, datasets: Sequence[tuple[DID, int]], files: Callable[[DID], Iterator[FileRecord]]
    ) -> None:
        """`datasets` with the number of their files, the oldest first; `files` draws those of one,
        the oldest first."""
        self._files = files
        self._by_age = deque(range(len(datasets)))
        self._by_size = [(count, number) for number, (_, count) in enumerate(datasets)]
        heapify(self._by_size)
        self._datasets = datasets
        self._begun: set[int] = set()

    def __iter__(self) -> Iterator[FileRecord]:
        """All files. Not more than a page of each of `LANES` datasets is in memory."""
        lanes: list[Iterator[FileRecord] | None] = [self._next(lane) for lane in range(LANES)]
        while any(lanes):
            for lane in range(LANES):
                taken = 0
                while taken < TURN and (files := lanes[lane]) is not None:
                    record = next(files, None)
                    if record is None:
                        lanes[lane] = self._next(lane)
                        continue
                    taken += 1
                    yield record

    def _next(self, lane: int) -> Iterator[FileRecord] | None:
        """The dataset that a lane is given next."""
        while self._by_size and self._by_age:
            smallest = lane == LANES - 1
            number = heappop(self._by_size)[1] if smallest else self._by_age.popleft()
            if number not in self._begun:
                self._begun.add(number)
                return self._files(self._datasets[number][0])
        return None


class Turns:
    """Gives out the files that are to be brought, as many as the lake may bear.

    A file that alone is larger than a limit goes when nothing else is in flight.
    """

    def __init__(self, ledger: Ledger, ceiling: Ceiling, valve: Valve, size_of: SizeOf) -> None:
        """`size_of` gives the bytes of a file that is not measured yet, None if nobody knows."""
        self._ledger = ledger
        self._ceiling = ceiling
        self._valve = valve
        self._size_of = size_of
        self._coming: Iterator[FileRecord] | None = None
        self._held: FileRecord | None = None
        # What was in flight when the round began: a part of it may be stuck.
        self._before = Ceiling(0, 0)

    @property
    def held_back(self) -> bool:
        """Whether the last round left a file that did not fit."""
        return self._held is not None

    def round(self) -> Iterator[FileRecord]:
        """Files, until the next one would be too much. Draw it to its end: only then have those
        before gone on."""
        before = self._in_flight(FileState.REPLICATED)
        self._before = Ceiling(before.bytes, before.files)
        used = self._in_flight()
        while (record := self._next()) is not None:
            after = self._with(used, record)
            if not self._valve.is_open() or not self._fits(used, after):
                self._held = record
                return
            used = after
            yield record

    def passing(self, batches: Iterable[list[FileRecord]]) -> Iterator[list[FileRecord]]:
        """The same files in portions of some `PORTION` bytes at most, until the campaign is
        drained: those that are handed on are brought."""
        for batch in batches:
            for portion in self._portions(batch):
                if not self._valve.is_open():
                    return
                yield portion

    def _portions(self, batch: Sequence[FileRecord]) -> Iterator[list[FileRecord]]:
        portion, held = list[FileRecord](), 0
        for record in batch:
            portion.append(record)
            held += self._size(record)
            if held >= PORTION:
                yield portion
                portion, held = [], 0
        if portion:
            yield portion

    def has_room(self) -> bool:
        """Whether so much is through that another round is worth while: until half of the limit is
        free, or as much as the round brought if more than half was in flight before it."""
        if self._held is None or not self._valve.is_open():
            return False
        used = self._in_flight(FileState.REPLICATED)
        low = self._ceiling.lowered(LOW_WATER)
        enough = low.holds(used) or self._before.holds(used)
        return used.files == 0 or (enough and self._fits(used, self._with(used, self._held)))

    def goes_on(self) -> bool:
        """Whether another round would take anything now."""
        if self._held is None or not self._valve.is_open():
            return False
        used = self._in_flight()
        return self._fits(used, self._with(used, self._held))

    def _next(self) -> FileRecord | None:
        if self._held is not None:
            record, self._held = self._ledger.file(self._held.did), None
            if record is not None and record.state in TO_BE_BROUGHT:
                return record
        if self._coming is None:
            self._coming = iter(self._order())
        return next(self._coming, None)

    def _order(self) -> FairOrder:
        def files(dataset: DID) -> Iterator[FileRecord]:
            return self._ledger.files(TO_BE_BROUGHT, dataset=dataset)

        return FairOrder(self._ledger.dataset_counts(TO_BE_BROUGHT), files)

    def _in_flight(self, *through: FileState) -> Usage:
        return in_flight(self._ledger, through)

    def _fits(self, used: Usage, after: Usage) -> bool:
        return used.files == 0 or self._ceiling.holds(after)

    def _with(self, used: Usage, record: FileRecord) -> Usage:
        size = 0 if self._ceiling.bytes is None else self._size(record)
        return Usage(used.files + 1, used.bytes + size)

    def _size(self, record: FileRecord) -> int:
        """The bytes of a file; what cannot be looked at now is told when its turn comes."""
        if record.measure is not None:
            return record.measure.size
        with suppress(SourceUnreadable):
            return self._size_of(record) or 0
        return 0


def in_flight(ledger: Ledger, through: Collection[FileState] = ()) -> Usage:
    """What is in flight by the ledger; states in `through` do not count."""
    states = IN_FLIGHT.difference(through)
    used = [held for state, held in ledger.usage().items() if state in states]
    return Usage(sum(held.files for held in used), sum(held.bytes for held in used))
