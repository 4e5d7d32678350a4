"""Many things at once, in a bounded number of threads."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from math import inf
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

from rucio_inject.batches import BATCH
from rucio_inject.domain.errors import CatalogueError, DiskFull, InjectError, Interrupted
from rucio_inject.ports import Clock

T = TypeVar("T")
R = TypeVar("R")

# How soon a wish to stop is noticed, and what is done is told, in seconds.
LOOK_UP = 0.2
# After so many seconds without anything done, whoever brings files tells whoever places them.
SILENT = 1.0
# Items a worker that are handed out ahead: no worker waits, and no list of all items is made.
AHEAD = 4
CONCERNS_ALL = (CatalogueError, DiskFull, Interrupted)


class Crew:
    """The threads of a run, which are dismissed when it ends, however it ends."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self._pools: list[ThreadPoolExecutor] = []

    def hire(self, workers: int) -> ThreadPoolExecutor:
        """So many more threads."""
        pool = ThreadPoolExecutor(workers, thread_name_prefix="inject")
        self._pools.append(pool)
        return pool

    def let_go(self, pool: ThreadPoolExecutor) -> None:
        """Threads whose work is done need not be waited for."""
        self._pools.remove(pool)

    def dismiss(self) -> None:
        """Call off what nobody has begun, and wait for the rest."""
        while self._pools:
            self._pools.pop().shutdown(cancel_futures=True)


def in_threads(
    items: Iterable[T | None],
    work: Callable[[T], R],
    *,
    workers: int,
    crew: Crew,
    ahead: int = AHEAD,
    gather: float = LOOK_UP,
    silent: float = inf,
) -> Iterator[list[tuple[T, R | InjectError]]]:
    """Do the work for every item; yields what has been done, some at a time.

    Items are drawn as they are needed, `ahead` for each worker, in the caller's thread: they may
    come from another such iterator, whose work then goes on meanwhile; None is no item, and says
    that there is none yet. What is done is held back for `gather` seconds, so that much is told at
    once; when nothing was for `silent` seconds an empty list is yielded, so that whoever draws
    knows that time has passed. What one item's work raises as InjectError
    is that item's outcome and stops no other, but for CatalogueError, DiskFull and Interrupted,
    which concern all: they are raised when the work under way is done and yielded, as it is when
    somebody asks us to stop. Any other exception is a defect.
    """

    def work_alone(group: Sequence[T]) -> list[R | InjectError]:
        return [attempted(work, item) for item in group]

    groups = (None if item is None else (item,) for item in items)
    yield from groups_in_threads(
        groups, work_alone, workers=workers, crew=crew, ahead=ahead, gather=gather, silent=silent
    )


def attempted(work: Callable[[T], R], item: T) -> R | InjectError:
    """What comes of the work for an item, also if that is an error of ours."""
    try:
        return work(item)
    except InjectError as error:
        return error


def groups_in_threads(
    groups: Iterable[Sequence[T] | None],
    work: Callable[[Sequence[T]], Sequence[R]],
    *,
    workers: int,
    crew: Crew,
    ahead: int = AHEAD,
    gather: float = LOOK_UP,
    silent: float = inf,
) -> Iterator[list[tuple[T, R]]]:
    """The same for items that come in groups: the work for all of a group is done by one call,
    which gives the outcome of each of its items, or an InjectError in its place. `ahead` counts
    groups."""
    clock, pool = crew.clock, crew.hire(workers)
    under_way = _UnderWay(pool, groups, work, most=ahead * workers)
    done: list[tuple[T, R]] = []
    told_at = clock.monotonic()
    try:
        while under_way.refill():
            done += under_way.ended(clock, gather if done else LOOK_UP)
            passed = clock.monotonic() - told_at
            if len(done) >= BATCH or passed >= (gather if done else silent):
                yield done
                done, told_at = [], clock.monotonic()
    finally:
        # Nobody waits here: it may be Python's garbage collector that closes this iterator, amid
        # the start of a thread, and a thread that ends waits for that. The crew waits.
        pool.shutdown(wait=False, cancel_futures=True)
    pool.shutdown()
    crew.let_go(pool)
    if done:
        yield done
    if under_way.stopped is not None:
        raise under_way.stopped


class _UnderWay(Generic[T, R]):
    """Groups of items that are handed out to threads, and why no more are."""

    def __init__(
        self,
        pool: ThreadPoolExecutor,
        groups: Iterable[Sequence[T] | None],
        work: Callable[[Sequence[T]], Sequence[R]],
        *,
        most: int,
    ) -> None:
        self._pool = pool
        self._coming = iter(groups)
        self._work = work
        self._most = most
        self._waiting: dict[Future[Sequence[R]], Sequence[T]] = {}
        self._ended: SimpleQueue[Future[Sequence[R]]] = SimpleQueue()
        self.stopped: InjectError | None = None

    def refill(self) -> bool:
        """Hand out more, unless we are to stop, or something has ended that is to be told first;
        whether anything is under way."""
        while self.stopped is None and len(self._waiting) < self._most:
            if self._waiting and not self._ended.empty():
                break
            try:
                group = next(self._coming)
            except StopIteration:
                break
            except InjectError as error:
                # What cannot be drawn concerns all; what is done is told first.
                self._stop(error)
                break
            if group is None:
                continue
            future = self._pool.submit(self._work, group)
            self._waiting[future] = group
            future.add_done_callback(self._ended.put)
        return bool(self._waiting)

    def ended(self, clock: Clock, timeout: float) -> list[tuple[T, R]]:
        """Wait a moment, in seconds, for something to end; the outcomes of what did."""
        outcomes = [
            outcome
            for future in self._take(timeout)
            for outcome in zip(self._waiting.pop(future), future.result(), strict=True)
        ]
        theirs = [(item, out) for item, out in outcomes if not isinstance(out, CONCERNS_ALL)]
        for _, outcome in outcomes:
            if isinstance(outcome, CONCERNS_ALL):
                self._stop(outcome)
        try:
            clock.check()
        except Interrupted as wish:
            self._stop(wish)
        return theirs

    def _take(self, timeout: float) -> Iterator[Future[Sequence[R]]]:
        """What has ended; waits for the first, and takes what is there besides. What was called
        off is not waited for any more."""
        try:
            future = self._ended.get(timeout=timeout)
            while True:
                if future in self._waiting:
                    yield future
                future = self._ended.get_nowait()
        except Empty:
            return

    def _stop(self, why: InjectError) -> None:
        self.stopped = self.stopped or why
        self._waiting = {f: group for f, group in self._waiting.items() if not f.cancel()}
