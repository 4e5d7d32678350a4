"""Many things at once, in a bounded number of threads."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
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
    clock, pool = crew.clock, crew.hire(workers)
    under_way = _UnderWay(pool, items, work, most=ahead * workers)
    done: list[tuple[T, R | InjectError]] = []
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
    """Items that are handed out to threads, and why no more are."""

    def __init__(
        self,
        pool: ThreadPoolExecutor,
        items: Iterable[T | None],
        work: Callable[[T], R],
        *,
        most: int,
    ) -> None:
        self._pool = pool
        self._coming = iter(items)
        self._work = work
        self._most = most
        self._waiting: dict[Future[R | InjectError], T] = {}
        self._ended: SimpleQueue[Future[R | InjectError]] = SimpleQueue()
        self.stopped: InjectError | None = None

    def refill(self) -> bool:
        """Hand out more, unless we are to stop, or something has ended that is to be told first;
        whether anything is under way."""
        while self.stopped is None and len(self._waiting) < self._most:
            if self._waiting and not self._ended.empty():
                break
            try:
                item = next(self._coming)
            except StopIteration:
                break
            except InjectError as error:
                # What cannot be drawn concerns all; what is done is told first.
                self._stop(error)
                break
            if item is None:
                continue
            future = self._pool.submit(self._attempt, item)
            self._waiting[future] = item
            future.add_done_callback(self._ended.put)
        return bool(self._waiting)

    def _attempt(self, item: T) -> R | InjectError:
        try:
            return self._work(item)
        except InjectError as error:
            return error

    def ended(self, clock: Clock, timeout: float) -> list[tuple[T, R | InjectError]]:
        """Wait a moment, in seconds, for something to end; the outcomes of what did."""
        ended = self._take(timeout)
        outcomes = [(self._waiting.pop(future), future.result()) for future in ended]
        theirs = [(item, out) for item, out in outcomes if not isinstance(out, CONCERNS_ALL)]
        for _, outcome in outcomes:
            if isinstance(outcome, CONCERNS_ALL):
                self._stop(outcome)
        try:
            clock.check()
        except Interrupted as wish:
            self._stop(wish)
        return theirs

    def _take(self, timeout: float) -> Iterator[Future[R | InjectError]]:
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
        self._waiting = {f: item for f, item in self._waiting.items() if not f.cancel()}
