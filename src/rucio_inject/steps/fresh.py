"""What a run has proved itself. Times on record tell it not: a clock may be put back, and runs may
be on machines with different ones."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

from rucio_inject.domain.did import DID
from rucio_inject.domain.injection import FileRecord

# Files that are remembered, in some 60 MB; of more, the first ones are proved once more.
REMEMBERED = 250_000

How: TypeAlias = tuple[str, bool]
"""An RSE, and whether the replica there was read."""


class ProvedNow:
    """Files whose replicas were found to be the same since the run began."""

    def __init__(self, remembered: int = REMEMBERED) -> None:
        self._remembered = remembered
        self._known: dict[DID, frozenset[How]] = {}
        # Most files are proved in one of a few ways.
        self._ways: dict[frozenset[How], frozenset[How]] = {}

    def note(self, did: DID, proofs: Iterable[How]) -> None:
        """Every replica of a file that should be there was the same."""
        ways = frozenset(proofs)
        self.forget(did)
        self._known[did] = self._ways.setdefault(ways, ways)
        if len(self._known) > self._remembered:
            del self._known[next(iter(self._known))]

    def forget(self, did: DID) -> None:
        """A file was found to be another."""
        self._known.pop(did, None)

    def covers(self, record: FileRecord, *, read: bool) -> bool:
        """Whether each replica on record was proved; with `read`, by reading it."""
        known = self._known.get(record.did, frozenset())
        return record.replicas.keys() <= {rse for rse, was_read in known if was_read or not read}
