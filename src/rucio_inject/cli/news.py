"""What one run has done, as opposed to what is on record of its cycle."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from enum import StrEnum

from rucio_inject.domain import facts as f


class Done(StrEnum):
    """What can be done with a file."""

    INJECTED = "injected"
    """We brought it into the catalogue."""
    ADOPTED = "adopted"
    """The catalogue had it, with the same content."""
    REPLICATED = "replicated"
    """Every lock of its rules is OK."""
    VERIFIED = "verified"
    """It was read back from everywhere."""
    FREED = "freed"
    """Its source was removed."""
    GONE = "gone"
    """It was proved to be nowhere any more."""


_OF_FACTS: dict[type[f.Fact], Done] = {
    f.FileReplicated: Done.REPLICATED,
    f.FileVerified: Done.VERIFIED,
    f.SourceFreed: Done.FREED,
    f.FileGone: Done.GONE,
}


class News:
    """An onlooker that counts what a run does, and remembers why it skipped names."""

    def __init__(self) -> None:
        self.done: Counter[Done] = Counter()
        self.skips: list[str] = []

    def record(self, facts: Sequence[f.Fact]) -> None:
        """See `ports.FactSink`."""
        for fact in facts:
            match fact:
                case f.NameSkipped():
                    self.skips.append(fact.reason)
                case f.FileRegistered():
                    self.done[Done.ADOPTED if fact.adopted else Done.INJECTED] += 1
                case _ if type(fact) in _OF_FACTS:
                    self.done[_OF_FACTS[type(fact)]] += 1
