"""How long something took, over many times that it was done."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil


@dataclass(frozen=True, slots=True)
class Spread:
    """Durations in seconds: the one in the middle, the one that 95 of 100 do not pass, the
    longest."""

    count: int
    p50: float
    p95: float
    longest: float


class Durations:
    """Collects durations; 8 bytes each."""

    def __init__(self) -> None:
        self._seconds = array("d")

    def add(self, seconds: float) -> None:
        """Add one. A clock that was set back makes it nothing, not less."""
        self._seconds.append(max(seconds, 0.0))

    def spread(self) -> Spread | None:
        """Their spread; None if there is none."""
        if not self._seconds:
            return None
        ordered = sorted(self._seconds)
        return Spread(len(ordered), _rank(ordered, 0.50), _rank(ordered, 0.95), ordered[-1])


def _rank(ordered: Sequence[float], share: float) -> float:
    """The smallest of the values that `share` of all do not pass: always one that was measured."""
    return ordered[max(ceil(share * len(ordered)) - 1, 0)]
