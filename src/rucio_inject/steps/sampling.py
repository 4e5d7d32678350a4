"""Which files of a run are read back whole, where a campaign lets a sample speak for the others."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from heapq import nsmallest
from math import ceil
from threading import Lock

from rucio_inject.domain.did import DID
from rucio_inject.domain.injection import FileRecord, FileState
from rucio_inject.ports import Ledger


@dataclass(frozen=True, slots=True)
class Sample:
    """A share of a dataset's files, or so many of them; at least one in any case."""

    share: float | None = None
    files: int | None = None

    def size(self, files: int) -> int:
        """How many of so many files are read."""
        wanted = self.files if self.share is None else ceil(self.share * files)
        return max(1, wanted or 0)


class Sampling:
    """Chooses files by their DIDs alone: whoever asks again gets the same ones.

    A dataset that grows may get further ones; what was read once stays on record as read.
    """

    def __init__(self, ledger: Ledger, sample: Sample | None) -> None:
        """`sample` None: every file is read."""
        self._ledger = ledger
        self._sample = sample
        self._chosen: dict[DID, frozenset[DID]] = {}
        self._choosing = Lock()

    @property
    def chooses(self) -> bool:
        """Whether some files are not read."""
        return self._sample is not None

    def reads(self, record: FileRecord) -> bool:
        """Whether a file is read back whole."""
        return self._sample is None or record.did in self._of(record.dataset)

    def speaks(self, dataset: DID) -> bool:
        """Whether every chosen file of a dataset was read back, and was the same."""
        if self._sample is None:
            return True
        chosen = self._ledger.known(sorted(self._of(dataset)))
        return all(r.state is FileState.VERIFIED and not r.sampled for r in chosen.values())

    def _of(self, dataset: DID) -> frozenset[DID]:
        if self._sample is None:
            return frozenset()
        # All that read ask at once, and a dataset may be huge.
        with self._choosing:
            if dataset not in self._chosen:
                dids = [record.did for record in self._ledger.files(dataset=dataset)]
                first = nsmallest(self._sample.size(len(dids)), dids, key=_rank)
                self._chosen[dataset] = frozenset(first)
            return self._chosen[dataset]


def _rank(did: DID) -> bytes:
    """A number that nobody chooses and that never changes."""
    return hashlib.sha256(str(did).encode()).digest()
