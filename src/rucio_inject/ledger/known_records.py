"""What a run remembers of the files that it wrote last, so that it need not read them again."""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Set as AbstractSet

from rucio_inject.domain.did import DID
from rucio_inject.domain.injection import FileRecord

REMEMBERED = 20_000
"""Files: about 2 kB each. A file's facts come close together, so the latest are enough."""


class KnownRecords:
    """Records of files as they are on disk, the `most` that were put last.

    Right only as long as nobody else writes the campaign, and every transaction that put something
    here is on disk: who is not sure begins with a new one. Not for several threads at once.
    """

    def __init__(self, most: int = REMEMBERED) -> None:
        self._most = most
        self._records: OrderedDict[DID, FileRecord] = OrderedDict()

    def get(self, did: DID) -> FileRecord | None:
        """The file's record; None if it is not remembered, which says nothing of the disk."""
        return self._records.get(did)

    def put(self, record: FileRecord) -> None:
        """Remember a record, in place of the file's last one."""
        self._records[record.did] = record
        self._records.move_to_end(record.did)
        if len(self._records) > self._most:
            self._records.popitem(last=False)

    def forget(self, did: DID) -> None:
        """Remember a file no more."""
        self._records.pop(did, None)

    def forget_all(self) -> None:
        """Remember no file."""
        self._records.clear()


class Changes:
    """Which files this process changed last, for those who draw files meanwhile.

    May be used from several threads. Of old changes only their number is left.
    """

    def __init__(self, most: int = REMEMBERED) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._number = 0
        # The last change whose files are not known any more.
        self._unknown = 0
        self._latest: deque[tuple[int, AbstractSet[DID]]] = deque()
        self._files = 0

    @property
    def number(self) -> int:
        """How many changes there were."""
        return self._number

    def add(self, dids: AbstractSet[DID] | None) -> None:
        """One more change, of these files; None: of any."""
        with self._lock:
            number = self._number + 1
            if dids is None:
                self._unknown = number
            else:
                self._latest.append((number, dids))
                self._files += len(dids)
            while self._latest and (dids is None or self._files > self._most):
                self._unknown = max(self._unknown, self._latest[0][0])
                self._files -= len(self._latest.popleft()[1])
            self._number = number

    def since(self, number: int) -> AbstractSet[DID] | None:
        """Files changed after the change of that number; None if it may be any file."""
        with self._lock:
            if number < self._unknown:
                return None
            return frozenset().union(*(dids for n, dids in self._latest if n > number))
