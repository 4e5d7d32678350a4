"""What a look takes up of what was done before: everything, or only what is new or may pass.

A run that somebody begins takes up everything, as who begins it may have mended what was wrong. So
does the first look of a watch. Nobody asks for the looks after it. They try a file that was set
aside again only if its source is another one by now, or if its failure may pass by itself. They see
to datasets with files that are still to be proved, or that something will be given up for, and to
all others once an hour.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TypeAlias

from rucio_inject.domain.checksum import Announced, Measure
from rucio_inject.domain.did import DID
from rucio_inject.domain.errors import (
    CatalogueUnavailable,
    DiskFull,
    InjectError,
    ReplicaBusy,
    StorageUnavailable,
)
from rucio_inject.domain.injection import FileRecord
from rucio_inject.measuring import Seen, measure_seen, seen_unopened
from rucio_inject.outcome import Totals
from rucio_inject.ports import Clock, SourceFile

_PASSING: tuple[type[InjectError], ...] = (
    CatalogueUnavailable,
    StorageUnavailable,
    DiskFull,
    # Somebody else brings the replica, or removes it: that comes to its end.
    ReplicaBusy,
)
MAY_PASS = frozenset(error.code for error in _PASSING)
"""Codes of failures that nobody needs to mend."""
PAUSES = (60.0, 300.0, 900.0, 3600.0)
"""Seconds until what may pass is tried again, each time; the last one goes on for ever."""


Shown: TypeAlias = tuple[Announced | None, datetime | None, Seen | None]
"""What a source shows of a file: another value as soon as that is another file."""

WHOLE_AGAIN = 3600.0
"""Seconds between two whole looks of a watch."""
TIDY_AGAIN = 86_400.0
"""Seconds after which a watch lets go of what grows with every look."""


@dataclass(frozen=True, slots=True)
class _Aside:
    """A file that was set aside, as a look found it: what its source showed, None if it offered
    nothing, and how often it was tried again since because its failure might pass."""

    shown: Shown | None
    tries: int


class Looks:
    """Which look of a watch this is, and what those before it saw. Not for several threads."""

    def __init__(self, clock: Clock, *, go_on: bool = False) -> None:
        """`go_on`: there will be more than one look."""
        self._clock = clock
        self._go_on = go_on
        self.first = True
        """Whether no look has come to its end before."""
        self.whole = True
        """Whether this look sees to everything that is kept in the lake."""
        self.closed = set[DID]()
        """Datasets that were found closed since the last whole look."""
        self.totals: Totals | None = None
        """All files in numbers, as the last look left them."""
        self._whole_at: float | None = None
        self._tidied_at: float | None = None
        self._offered: dict[DID, tuple[Shown, bool]] = {}
        self._aside: dict[DID, _Aside] = {}
        self._read: dict[Path, tuple[Measure, Seen]] = {}

    def tidies(self) -> bool:
        """Whether a day has passed since this was so; and the first time."""
        now = self._clock.monotonic()
        due = self._tidied_at is None or now - self._tidied_at >= TIDY_AGAIN
        self._tidied_at = now if due else self._tidied_at
        return due

    @contextmanager
    def look(self) -> Iterator[None]:
        """One look; the one after a look that ends by an exception is whole."""
        now, whole_at, self._whole_at = self._clock.monotonic(), self._whole_at, None
        self.whole = whole_at is None or now - whole_at >= WHOLE_AGAIN
        if self.whole:
            self.closed.clear()
            self._read.clear()
            self.totals = None
        yield
        self._whole_at = now if self.whole else whole_at
        self.first = False

    def offered(self, record: FileRecord, file: SourceFile) -> None:
        """The source of a file that was set aside offers it; `record` is from before that."""
        if self._go_on:
            seen = None if record.in_place else seen_unopened(file.path)
            written = file.modified is not None and file.modified >= record.found_at
            anew = written or file.announced != record.announced
            self._offered[record.did] = (file.announced, file.modified, seen), anew

    def measure(self, path: Path) -> Measure:
        """Read a source that is not as it was, unless a look has since the last whole one and it is
        still what was read then. Raises what `measure_file` raises."""
        seen, known = seen_unopened(path), self._read.get(path)
        if known is not None and known[1] == seen:
            return known[0]
        found = measure_seen(path)
        if self._go_on:
            self._read[path] = found
        return found[0]

    def again(self, files: Iterable[FileRecord]) -> Iterator[FileRecord]:
        """Those of all files that were set aside which are tried again. Draw it to its end."""
        aside: dict[DID, _Aside] = {}
        for record in files:
            before = self._aside.get(record.did)
            shown, written = self._offered.get(record.did, (None, False))
            anew = shown not in {None, before.shown} if before else written
            tries = 0 if before is None or anew else before.tries
            passing = self._may_have_passed(record, tries)
            if self._go_on:
                aside[record.did] = _Aside(shown, tries + passing)
            if self.first or anew or passing:
                yield record
        self._aside, self._offered = aside, {}

    def _may_have_passed(self, record: FileRecord, tries: int) -> bool:
        if record.failure is None or record.failure.code not in MAY_PASS:
            return False
        since = (self._clock.now() - record.failure.at).total_seconds()
        # A clock that was put back makes none wait.
        return not 0 <= since < PAUSES[min(tries, len(PAUSES) - 1)]
