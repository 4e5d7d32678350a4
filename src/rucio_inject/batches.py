"""Many things a call: so many at a time, and fewer when one of them is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import TypeVar

from rucio_inject.domain.errors import (
    CatalogueRefused,
    InjectError,
    NotFound,
    NotPermitted,
    QuotaExceeded,
)

T = TypeVar("T")

# Files in one call, and in one transaction of the ledger.
BATCH = 500
# What Rucio says no to for what is asked, not because it cannot answer now.
REFUSALS = (NotFound, NotPermitted, QuotaExceeded, CatalogueRefused)


def batches(items: Iterable[T], size: int = BATCH) -> Iterator[list[T]]:
    """The items in lists of `size`; the last one is shorter."""
    coming = iter(items)
    while batch := list(islice(coming, size)):
        yield batch


def divided(
    items: Sequence[T],
    work: Callable[[Sequence[T]], None],
    refused: Callable[[T, InjectError], None],
) -> None:
    """Do idempotent work for all items at once; if Rucio refuses, by halves, until the item that
    it refuses is alone and is handed to `refused`. One bad item so never stops the others."""
    if not items:
        return
    try:
        work(items)
    except REFUSALS as error:
        if len(items) == 1:
            refused(items[0], error)
            return
        middle = len(items) // 2
        for half in (items[:middle], items[middle:]):
            divided(half, work, refused)
