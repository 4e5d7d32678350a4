"""Many files at a time."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from rucio_inject.domain.errors import (
    CatalogueUnavailable,
    InjectError,
    Interrupted,
    StorageUnavailable,
)
from rucio_inject.steps.pool import AHEAD, Crew, in_threads
from rucio_inject.testing.fake_clock import FakeClock


def everything(items: Any, work: Any, clock: FakeClock, workers: int = 2) -> dict[Any, Any]:
    """Outcomes by item."""
    batches = in_threads(items, work, workers=workers, crew=Crew(clock))
    return {item: outcome for batch in batches for item, outcome in batch}


class TestPool:
    """Many files at once."""

    def test_every_item_has_its_outcome(self) -> None:
        assert everything(range(50), lambda n: n * n, FakeClock()) == {n: n * n for n in range(50)}

    def test_items_are_drawn_as_they_are_needed(self) -> None:
        worked: list[int] = []
        ahead: list[int] = []

        def items() -> Iterator[int]:
            for number in range(1, 10_001):
                # A thread that is held up may keep one item for as long as others do many.
                ahead.append(number - len(worked))
                yield number

        done = everything(items(), worked.append, FakeClock())
        assert len(done) == 10_000
        assert max(ahead) <= 2 * AHEAD

    def test_what_is_done_is_told_before_an_error_in_drawing(self) -> None:
        def items() -> Iterator[int]:
            yield from range(5)
            raise CatalogueUnavailable("no answer")

        begun: list[int] = []
        told: list[int] = []
        batches = in_threads(items(), begun.append, workers=2, crew=Crew(FakeClock()))
        with pytest.raises(CatalogueUnavailable):
            told.extend(item for batch in batches for item, _ in batch)
        assert begun
        assert sorted(told) == sorted(begun)

    def test_nothing_to_do(self) -> None:
        assert everything([], lambda n: n, FakeClock()) == {}

    def test_no_item_is_no_work(self) -> None:
        items = [None, 1, None, None, 2, None]
        assert everything(items, lambda n: n + 1, FakeClock()) == {1: 2, 2: 3}

    def test_what_is_done_is_told_before_more_is_waited_for(self) -> None:
        """Whoever brings the items has none yet, and says so."""
        told: list[int] = []

        def items() -> Iterator[int | None]:
            yield 1
            while not told:
                yield None
            yield 2

        for batch in in_threads(items(), abs, workers=1, crew=Crew(FakeClock()), gather=0):
            told.extend(item for item, _ in batch)
        assert told == [1, 2]

    def test_time_that_passes_without_anything_done_is_told(self) -> None:
        clock, waited_for = FakeClock(), threading.Event()

        def work(_: int) -> bool:
            clock.advance(5)
            return waited_for.wait(20)

        batches = in_threads([1], work, workers=1, crew=Crew(clock), silent=5)
        first = next(iter(batches))
        waited_for.set()
        assert [first, *batches] == [[], [(1, True)]]

    def test_one_failure_stops_no_other(self) -> None:
        def work(number: int) -> int:
            if number == 3:
                raise StorageUnavailable("no answer")
            return number

        outcomes = everything(range(10), work, FakeClock())
        assert isinstance(outcomes.pop(3), StorageUnavailable)
        assert outcomes == {n: n for n in range(10) if n != 3}

    def test_who_is_stopped_amid_his_work_has_not_failed(self) -> None:
        def work(number: int) -> int:
            if number == 2:
                raise Interrupted("stopped while waiting for one's turn")
            return number

        yielded: list[int | InjectError] = []
        batches = in_threads(range(5000), work, workers=1, crew=Crew(FakeClock()))
        with pytest.raises(Interrupted):
            yielded.extend(outcome for batch in batches for _, outcome in batch)
        assert {0, 1} <= set(yielded)
        assert all(isinstance(outcome, int) for outcome in yielded)

    def test_a_catalogue_that_is_gone_stops_all(self) -> None:
        done: list[int] = []

        def work(number: int) -> int:
            if number == 2:
                raise CatalogueUnavailable("no answer")
            threading.Event().wait(0.001)
            done.append(number)
            return number

        yielded: list[int | InjectError] = []
        batches = in_threads(range(5000), work, workers=1, crew=Crew(FakeClock()))
        with pytest.raises(CatalogueUnavailable):
            yielded.extend(outcome for batch in batches for _, outcome in batch)
        assert len(done) < 5000
        assert set(yielded) == set(done), "what was done is told before the error is raised"

    def test_a_wish_to_stop_lets_work_under_way_end(self) -> None:
        clock = FakeClock()
        done: list[int] = []
        told: list[int | InjectError] = []

        def work(number: int) -> int:
            clock.stop()
            threading.Event().wait(0.001)
            done.append(number)
            return number

        batches = in_threads(range(5000), work, workers=1, crew=Crew(clock))
        with pytest.raises(Interrupted):
            told.extend(outcome for batch in batches for _, outcome in batch)
        assert set(told) == set(done)
        assert 0 < len(told) < 5000

    def test_a_defect_is_raised_as_it_is(self) -> None:
        def work(number: int) -> float:
            return 1 / number

        with pytest.raises(ZeroDivisionError):
            everything(range(3), work, FakeClock())

    def test_no_more_at_once_than_workers(self) -> None:
        lock, now, most = threading.Lock(), 0, 0

        def work(_: int) -> None:
            nonlocal now, most
            with lock:
                now += 1
                most = max(most, now)
            threading.Event().wait(0.002)
            with lock:
                now -= 1

        everything(range(30), work, FakeClock(), workers=3)
        assert most <= 3

    def test_a_reader_who_leaves_ends_the_threads(self) -> None:
        before, crew = threading.active_count(), Crew(FakeClock())
        batches = in_threads(range(100), lambda n: n, workers=4, crew=crew)
        next(iter(batches))
        del batches
        crew.dismiss()
        assert threading.active_count() == before

    def test_a_reader_who_leaves_waits_for_nobody(self) -> None:
        """It may be the garbage collector that closes the iterator, holding any lock."""
        crew, begun, go_on = Crew(FakeClock()), threading.Event(), threading.Event()
        done: list[int] = []

        def work(number: int) -> None:
            if number:
                begun.set()
                go_on.wait(300)
            else:
                begun.wait(300)
            done.append(number)

        batches = iter(in_threads(range(100), work, workers=2, crew=crew, gather=0))
        next(batches)
        del batches
        assert done == [0]
        go_on.set()
        crew.dismiss()
        # One or both threads had another under way, which has ended; no more were begun.
        assert sorted(done) in ([0, 1], [0, 1, 2])
