"""How much an RSE holds."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime

# A walk of many files asks so often whether it is to rest.
_STRIDE = 256


@dataclass(frozen=True, slots=True)
class Usage:
    """Files and bytes on an RSE, as one witness (the catalogue or the storage) counts them."""

    files: int
    bytes: int


def counted(sizes: Iterable[int], breathe: Callable[[], None] | None = None) -> Usage:
    """Files of these sizes, in bytes. `breathe` is called now and then meanwhile."""
    files = held = 0
    for size in sizes:
        files += 1
        held += size
        if breathe is not None and not files % _STRIDE:
            breathe()
    return Usage(files, held)


@dataclass(frozen=True, slots=True)
class Room:
    """The bytes that a place can hold, and those that are used. `told_at`: when somebody told so;
    None if it was just looked at."""

    total: int
    used: int
    told_at: datetime | None = None

    @property
    def free(self) -> int:
        """Bytes that still fit."""
        return max(self.total - self.used, 0)

    @property
    def share(self) -> float:
        """Which share of it is used; all of it where nothing fits at all."""
        return self.used / self.total if self.total else 1.0

    def beyond(self, share: float) -> int:
        """Bytes that are used beyond a share of it."""
        return max(self.used - int(share * self.total), 0)
