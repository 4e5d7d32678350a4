"""Many files at once, in a bounded number of threads."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from typing import TypeVar

from rucio_inject.domain.errors import CatalogueError, DiskFull, InjectError, Interrupted
from rucio_inject.ports import Clock

T = TypeVar("T")
R = TypeVar("R")

# How soon a wish to stop is noticed, in seconds.
LOOK_UP = 0.2
CONCERNS_ALL = (CatalogueError, DiskFull)


def in_threads(
    items: Sequence[T], work: Callable[[T], R], *, workers: int, clock: Clock
) -> Iterator[list[tuple[T, R | InjectError]]]:
    """Do the work for every item; yields what has been done, a batch at a time.

    What one item's work raises as InjectError is that item's outcome and stops no other, but for
    CatalogueError and DiskFull, which concern all: they are raised when the work under way is done
    and yielded, as Interrupted is when somebody asks us to stop. Any other exception is a defect.
    """

    def attempt(item: T) -> R | InjectError:
        try:
            return work(item)
        except InjectError as error:
            return error

    with ThreadPoolExecutor(workers, thread_name_prefix="inject") as pool:
        waiting = {pool.submit(attempt, item): item for item in items}
        stopped: InjectError | None = None
        try:
            while waiting:
                done, _ = wait(waiting, timeout=LOOK_UP, return_when=FIRST_COMPLETED)
                batch = [(waiting.pop(future), future.result()) for future in done]
                ours = [(item, out) for item, out in batch if not isinstance(out, CONCERNS_ALL)]
                if ours:
                    yield ours
                stopped = stopped or _wish_to_stop(batch, clock)
                if stopped is not None:
                    waiting = {f: item for f, item in waiting.items() if not f.cancel()}
        finally:
            pool.shutdown(cancel_futures=True)
        if stopped is not None:
            raise stopped


def _wish_to_stop(batch: Sequence[tuple[T, R | InjectError]], clock: Clock) -> InjectError | None:
    for _, outcome in batch:
        if isinstance(outcome, CONCERNS_ALL):
            return outcome
    try:
        clock.check()
    except Interrupted as wish:
        return wish
    return None
