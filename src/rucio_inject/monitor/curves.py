"""Counts in time, in as much memory as they change, and in as many points as a screen can show."""

from __future__ import annotations

import os
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from pydantic import TypeAdapter, ValidationError

from rucio_inject.domain.errors import LedgerError
from rucio_inject.domain.facts import RSECounted
from rucio_inject.domain.usage import Usage
from rucio_inject.monitor.series import LONGEST_LINE

UNKNOWN = -1
"""In place of a count that a witness could not give."""
_FEW = 1000
_COUNT = TypeAdapter(RSECounted)
_CHUNK = 4_000_000  # bytes
# More than two of the longest lines, so that a whole one with its moment is in it.
_KNOWN_AGAIN = 3 * LONGEST_LINE
Counts = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Points:
    """A curve as steps: at each of `times` (seconds since 1970) the counts become these, and None
    where the witness was not to be asked. The last point is when the RSE was counted last."""

    rse: str
    times: Sequence[float]
    catalogue_files: Sequence[int | None]
    catalogue_bytes: Sequence[int | None]
    storage_files: Sequence[int | None]
    storage_bytes: Sequence[int | None]

    def samples(self) -> list[RSECounted]:
        """The steps as counts, for what draws or writes counts."""
        rows = zip(
            self.times,
            self.catalogue_files,
            self.catalogue_bytes,
            self.storage_files,
            self.storage_bytes,
            strict=True,
        )
        return [
            RSECounted(
                at=datetime.fromtimestamp(at, UTC),
                rse=self.rse,
                catalogue=_usage(known, known_bytes),
                storage=_usage(stored, stored_bytes),
            )
            for at, known, known_bytes, stored, stored_bytes in rows
        ]


def _usage(files: int | None, size: int | None) -> Usage | None:
    return None if files is None or size is None else Usage(files, size)


def counts_of(sample: RSECounted) -> Counts:
    """Files and bytes by the catalogue, then by the storage."""
    return (*_counts(sample.catalogue), *_counts(sample.storage))


def _counts(usage: Usage | None) -> tuple[int, int]:
    return (UNKNOWN, UNKNOWN) if usage is None else (usage.files, usage.bytes)


class Curve:
    """The counts of one RSE, told in the order of time. Counts that stay as they are take no
    memory: an RSE is mostly counted when nothing happens."""

    def __init__(self, rse: str) -> None:
        self.rse = rse
        self._begun = array("d")
        self._columns = tuple(array("q") for _ in range(4))
        self._last: Counts | None = None
        self._until = 0.0

    def add(self, sample: RSECounted) -> None:
        """Add a count. One from before the last, as clocks may be set back, counts as from then."""
        counts = counts_of(sample)
        self._until = max(sample.at.timestamp(), self._until)
        if counts != self._last:
            self._begun.append(self._until)
            for column, value in zip(self._columns, counts, strict=True):
                column.append(value)
            self._last = counts

    @property
    def span(self) -> tuple[float, float]:
        """The first and the last moment, in seconds since 1970."""
        return self._begun[0], self._until

    @property
    def latest(self) -> Counts:
        """The last counts."""
        assert self._last is not None
        return self._last

    def points(self, since: float, until: float, buckets: int) -> Points | None:
        """The curve between two moments. In each of `buckets` equal parts of them what comes
        first and last is kept, and the least and the most of each count: no dip is lost.

        None if it had not begun by then, or had ended before.
        """
        if self._begun[0] > until or self._until < since:
            return None
        start = max(bisect_right(self._begun, since) - 1, 0)
        stop = bisect_right(self._begun, until)
        kept = list(self._kept(start, stop, since, until, buckets))
        times = [max(self._begun[row], since) for row in kept]
        times.append(max(min(self._until, until), times[-1]))
        kept.append(kept[-1])
        columns = [
            [None if (value := column[row]) == UNKNOWN else value for row in kept]
            for column in self._columns
        ]
        return Points(self.rse, times, *columns)

    def _kept(
        self, start: int, stop: int, since: float, until: float, buckets: int
    ) -> Iterator[int]:
        width = (until - since) / buckets
        while start < stop:
            part = int((self._begun[start] - since) / width) if width else 0
            end = bisect_left(self._begun, since + (part + 1) * width, start + 1, stop)
            if end - start <= 2:
                yield from range(start, end)
            else:
                chosen = {start, end - 1}
                for column in self._columns:
                    here = column[start:end]
                    chosen |= {start + here.index(min(here)), start + here.index(max(here))}
                yield from sorted(chosen)
            start = end


def _telling(lines: Sequence[bytes]) -> Iterator[bytes]:
    """Lines that tell something: of many, those that differ from the one before of the same RSE in
    more than their moment, and the last of each RSE. Most of a month's lines do not."""
    if len(lines) <= _FEW:
        yield from lines
        return
    seen: dict[bytes, bytes] = {}
    skipped: dict[bytes, bytes] = {}
    for line in lines:
        _, _, rest = line.partition(b',"rse":')
        rse, _, _ = rest.partition(b",")
        if rest and seen.get(rse) == rest:
            skipped[rse] = line
        else:
            seen[rse] = rest
            skipped.pop(rse, None)
            yield line
    yield from skipped.values()


class Reader:
    """Reads a file of counts that may grow meanwhile: each `fresh` reads on."""

    def __init__(self, path: Path, *, at_end: bool = False) -> None:
        """`at_end`: what is in the file now is not told."""
        self._path = path
        self._read = 0
        self._inode: int | None = None
        # What was read last: a new file may get the inode of the one that it replaced.
        self._end = b""
        self.replaced = False
        """Whether the file was another one, or shorter, than before when it was read last."""
        if at_end and path.exists():
            state = path.stat()
            self._inode, self._read = state.st_ino, state.st_size

    def fresh(self) -> Iterator[list[RSECounted]]:
        """What has been added, in lists of some thousand counts; of counts that only repeat what
        was counted before, perhaps not all. A line that is not whole yet waits.

        A file that was replaced is read anew. LedgerError for a line that is no count, OSError if
        the file cannot be read.
        """
        self.replaced = False
        try:
            file = self._path.open("rb")
        except FileNotFoundError:
            self._start_anew(None)
            return
        with file:
            state = os.fstat(file.fileno())
            if state.st_ino != self._inode or not self._goes_on(file):
                self._start_anew(state.st_ino)
            file.seek(self._read)
            while chunk := file.read(_CHUNK):
                whole, _, rest = chunk.rpartition(b"\n")
                counts = [self._count(line) for line in _telling(whole.splitlines())]
                told = len(chunk) - len(rest)
                self._read += told
                last = chunk[max(told - _KNOWN_AGAIN, 0) : told]
                self._end = (self._end + last)[-_KNOWN_AGAIN:]
                yield counts
                if len(chunk) < _CHUNK:
                    return
                file.seek(self._read)

    def _goes_on(self, file: BinaryIO) -> bool:
        """Whether what was read last is still where it was."""
        if os.fstat(file.fileno()).st_size < self._read:
            return False
        file.seek(self._read - len(self._end))
        return file.read(len(self._end)) == self._end

    def _start_anew(self, inode: int | None) -> None:
        self.replaced = self._read > 0
        self._inode, self._read, self._end = inode, 0, b""

    def _count(self, line: bytes) -> RSECounted:
        try:
            return _COUNT.validate_json(line)
        except ValidationError:
            raise LedgerError(
                f"{self._path} is damaged: {line[:60].decode(errors='replace')!r} is no count",
                hint="remove that line; nothing else rests on it",
            ) from None


class Curves:
    """The curves of a file of counts, which may grow meanwhile. For one thread at a time."""

    def __init__(self, path: Path) -> None:
        self._reader = Reader(path)
        self._curves: dict[str, Curve] = {}

    def refresh(self) -> None:
        """Read what has been added. Raises what `Reader.fresh` raises."""
        for counts in self._reader.fresh():
            if self._reader.replaced:
                self._curves = {}
                self._reader.replaced = False
            for sample in counts:
                self._curves.setdefault(sample.rse, Curve(sample.rse)).add(sample)
        if self._reader.replaced:
            self._curves = {}

    @property
    def span(self) -> tuple[float, float] | None:
        """The first and last moment of all curves; None if there is none."""
        spans = [curve.span for curve in self._curves.values()]
        return (min(s[0] for s in spans), max(s[1] for s in spans)) if spans else None

    @property
    def latest(self) -> Mapping[str, Counts]:
        """The last counts of each RSE."""
        return {rse: curve.latest for rse, curve in self._curves.items()}

    def points(self, since: float, until: float, buckets: int) -> list[Points]:
        """All curves between two moments, in the order in which RSEs were counted first."""
        found = [curve.points(since, until, buckets) for curve in self._curves.values()]
        return [points for points in found if points is not None]
