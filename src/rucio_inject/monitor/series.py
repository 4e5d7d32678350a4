"""Counts of files and bytes on RSEs as they change in time, kept as JSON lines."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, Self

from pydantic import TypeAdapter, ValidationError

from rucio_inject.domain.errors import CatalogueError, LedgerError, StorageError
from rucio_inject.domain.facts import RSECounted
from rucio_inject.domain.usage import Usage
from rucio_inject.ports import Catalogue, Clock, Storage
from rucio_inject.whole_files import replacing

_COUNT = TypeAdapter(RSECounted)
# No count is longer, in bytes.
LONGEST_LINE = 4096
# All RSEs are counted together: of a hundred the last counts are in so many bytes.
_AT_END = 100 * LONGEST_LINE
RECOVERY = 10
# Seconds that a count under way is waited for when the work has ended by an exception.
GRACE = 0.3


class Series:
    """A file with one count a line, which grows at its end."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def append(self, counts: Sequence[RSECounted]) -> None:
        """Add counts; a last line that a crash cut off is dropped. OSError as the system raises
        it."""
        lines = b"".join(_COUNT.dump_json(count) + b"\n" for count in counts)
        with self._path.open("a+b") as file:
            self._drop_cut_line(file)
            file.write(lines)

    def thin(self, *, whole_since: datetime, since: datetime) -> None:
        """Leave of the counts before `whole_since` one a minute and RSE, and none from before
        `since`. Not while somebody appends. OSError as the system raises it; nothing has changed
        then."""
        if not self._path.exists():
            return
        with self._path.open("rb") as file:
            first = _moment(file.readline())
        if first is None or first >= whole_since:
            return
        seen: set[tuple[str, str]] = set()
        with replacing(self._path) as part, self._path.open("rb") as old, part.open("wb") as new:
            for line in old:
                if _is_kept(line, seen, whole_since, since):
                    new.write(line)

    @staticmethod
    def _drop_cut_line(file: BinaryIO) -> None:
        end = file.seek(0, os.SEEK_END)
        file.seek(max(end - LONGEST_LINE, 0))
        tail = file.read()
        if tail and not tail.endswith(b"\n"):
            file.truncate(end - len(tail) + tail.rfind(b"\n") + 1)

    def read(self, since: datetime | None = None) -> list[RSECounted]:
        """All counts since a moment; a last line that was cut off by a crash is left out.

        LedgerError for any other line that is no count.
        """
        if not self._path.exists():
            return []
        counts = []
        lines = self._path.read_bytes().splitlines()
        for number, line in enumerate(lines):
            try:
                counts.append(_COUNT.validate_json(line))
            except ValidationError:
                if number != len(lines) - 1:
                    raise LedgerError(
                        f"{self._path} is damaged in line {number + 1}: that is no count",
                        hint="remove that line; nothing else rests on it",
                    ) from None
        return [count for count in counts if since is None or count.at >= since]

    def last(self) -> list[RSECounted]:
        """The last count of each RSE, as far as they are at the end of the file; nothing if it
        cannot be read: whoever needs all of it tells why."""
        try:
            with self._path.open("rb") as file:
                file.seek(max(file.seek(0, os.SEEK_END) - _AT_END, 0))
                lines = file.read().splitlines()
        except OSError:
            return []
        found = {}
        for line in lines:
            # The first one may have lost its beginning, and the last one its end.
            with suppress(ValidationError):
                count = _COUNT.validate_json(line)
                found[count.rse] = count
        return list(found.values())


def _moment(line: bytes) -> datetime | None:
    """When a count was taken; None if the line is no count."""
    try:
        return _COUNT.validate_json(line).at
    except ValidationError:
        return None


def _is_kept(
    line: bytes, seen: set[tuple[str, str]], whole_since: datetime, since: datetime
) -> bool:
    try:
        count = _COUNT.validate_json(line)
    except ValidationError:
        # Damage is for whoever reads it.
        return True
    if count.at >= whole_since:
        return True
    minute = (count.rse, f"{count.at:%Y-%m-%dT%H:%M}")
    first = minute not in seen
    seen.add(minute)
    return first and count.at >= since


class Sampler:
    """Counts RSEs in a thread of its own while a campaign runs.

    A context manager: it counts once when it begins and once more when it ends; a block that ends
    by an exception is left at once. A witness that cannot be asked is told as None; the campaign is
    not disturbed by it. `failure` is why counting stopped early: an OSError when the series cannot
    be written, or else what nobody expected, which is raised when the block ends well.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        storage: Storage,
        clock: Clock,
        *,
        rses: Sequence[str],
        interval: float,
        series: Series,
        mention: Callable[[RSECounted], None] | None = None,
    ) -> None:
        """`interval`: seconds between two counts, or more: see `pause`. `mention` is shown each
        count."""
        self._mention = mention
        self._catalogue = catalogue
        self._storage = storage
        self._clock = clock
        self._rses = rses
        self._interval = interval
        self._series = series
        self._took = 0.0
        self.failure: BaseException | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sampler", daemon=True)

    def __enter__(self) -> Self:
        """Begin to count; nobody waits for the first count."""
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Count a last time, unless an exception is on its way."""
        self._ended.set()
        if kind is not None:
            # The thread may be in a listing that takes minutes; it does not hold up the process.
            self._thread.join(GRACE)
            return
        self._thread.join()
        if self.failure is None:
            self._append()
        elif not isinstance(self.failure, OSError):
            raise self.failure

    @property
    def pause(self) -> float:
        """Seconds until the next count. A storage that takes long to be listed is given ten times
        as long to recover."""
        return max(self._interval, RECOVERY * self._took)

    def count(self) -> list[RSECounted]:
        """Count every RSE now."""
        begun = self._clock.monotonic()
        counts = [
            RSECounted(
                at=self._clock.now(),
                rse=rse,
                catalogue=_asked(self._catalogue.usage, rse),
                storage=_asked(self._storage.count, rse),
            )
            for rse in self._rses
        ]
        self._took = self._clock.monotonic() - begun
        return counts

    def _run(self) -> None:
        try:
            self._append()
            while self.failure is None and not self._ended.wait(self.pause):
                self._append()
        except BaseException as error:  # noqa: BLE001 -- a thread's would be lost; raised at the end
            self.failure = error

    def _append(self) -> None:
        counts = self.count()
        try:
            self._series.append(counts)
        except OSError as error:
            self.failure = error
        if self._mention is not None:
            for count in counts:
                self._mention(count)


def _asked(witness: Callable[[str], Usage | None], rse: str) -> Usage | None:
    try:
        return witness(rse)
    except (CatalogueError, StorageError):
        return None
