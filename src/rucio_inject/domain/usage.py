"""How much an RSE holds."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Usage:
    """Files and bytes on an RSE, as one witness (the catalogue or the storage) counts them."""

    files: int
    bytes: int


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
