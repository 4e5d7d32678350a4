"""Counts of files and bytes on RSEs as they change in time, kept as JSON lines."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import BinaryIO, NamedTuple, Self

from pydantic import TypeAdapter, ValidationError

from rucio_inject.domain.errors import CatalogueError, LedgerError, StorageError
from rucio_inject.domain.facts import RSECounted
from rucio_inject.domain.usage import Usage, counted
from rucio_inject.ports import Catalogue, Clock, Storage
from rucio_inject.whole_files import replacing

_COUNT = TypeAdapter(RSECounted)
# No count is longer, in bytes.
LONGEST_LINE = 4096
# All RSEs are counted together: of a hundred the last counts are in so many bytes.
_AT_END = 100 * LONGEST_LINE
# All counts begin so, as they are written here.
_HEAD = re.compile(rb'\{"at":"([^"]+Z)","rse":("(?:[^"\\]|\\.)*")')
RECOVERY = 10
# A listing rests as soon as it has worked for so many seconds.
BREATH = 0.005
# Seconds that a count under way is waited for when the work has ended by an exception.
GRACE = 0.3
# The same when it has ended well, the last count included: whoever listed for so long lists
# millions of files.
SLOW = 30.0


class _Line(NamedTuple):
    """A line, and what it begins with: many are only looked at."""

    number: int
    text: bytes
    at: datetime
    rse: bytes


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
        `since`. What is appended meanwhile may be lost. OSError as the system raises it; nothing
        has changed then."""
        if not self._path.exists():
            return
        with self._path.open("rb") as file:
            first = _moment(file.readline())
        if first is None or first >= whole_since:
            return
        seen: dict[bytes, datetime] = {}
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

    def read(self, since: datetime | None = None, *, most: int | None = None) -> list[RSECounted]:
        """All counts since a moment; a last line that was cut off by a crash is left out. `most`:
        of each RSE about so many at most, evenly in time, and its last one. No more than what is
        given is in memory.

        LedgerError for any other line that is no count; of lines from before only their beginning
        is looked at.
        """
        lines = self._since(since)
        if most is not None:
            lines = _spread(lines, max((count.at for count in self.last()), default=None), most)
        counts = [self._count(line) for line in lines]
        return counts if most is None else sorted(counts, key=attrgetter("at"))

    def _since(self, since: datetime | None) -> Iterator[_Line]:
        if not self._path.exists():
            return
        with self._path.open("rb") as file:
            for number, text in enumerate(file, 1):
                if not file.peek(1) and _moment(text) is None:
                    return
                head = _head(text)
                if head is None:
                    raise self._damaged(number)
                if since is None or head[0] >= since:
                    yield _Line(number, text, *head)

    def _count(self, line: _Line) -> RSECounted:
        try:
            return _COUNT.validate_json(line.text)
        except ValidationError:
            raise self._damaged(line.number) from None

    def _damaged(self, number: int) -> LedgerError:
        return LedgerError(
            f"{self._path} is damaged in line {number}: that is no count",
            hint="remove that line; nothing else rests on it",
        )

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


def _head(line: bytes) -> tuple[datetime, bytes] | None:
    """When a count was taken, and of which RSE, without reading all of it; None if it does not
    begin as a count."""
    found = _HEAD.match(line)
    if found is None:
        return None
    try:
        return datetime.fromisoformat(found[1].decode()), found[2]
    except ValueError:
        return None


def _spread(lines: Iterator[_Line], end: datetime | None, most: int) -> Iterator[_Line]:
    """Of each RSE the first line in each of `most` equal parts of the time until `end`; then the
    last ones."""
    step, begin = timedelta.resolution, None
    seen: dict[bytes, int] = {}
    left: dict[bytes, _Line] = {}
    for line in lines:
        if begin is None:
            begin = line.at
            step = max((end - begin) / most, step) if end is not None else step
        part = (line.at - begin) // step
        if seen.get(line.rse) == part:
            left[line.rse] = line
        else:
            seen[line.rse] = part
            left.pop(line.rse, None)
            yield line
    yield from left.values()


def _is_kept(
    line: bytes, seen: dict[bytes, datetime], whole_since: datetime, since: datetime
) -> bool:
    """`seen`: the minute of each RSE's last line."""
    head = _head(line)
    if head is None:
        # Damage is for whoever reads it.
        return True
    at, rse = head
    if at >= whole_since:
        return True
    minute = at.replace(second=0, microsecond=0)
    first = seen.get(rse) != minute
    seen[rse] = minute
    return first and at >= since


class _Work:
    """The seconds that a listing has worked, with rests between that are ten times as long: the
    storage, and this machine, are for others meanwhile."""

    def __init__(self, clock: Clock, rest: Callable[[float], object]) -> None:
        self._clock = clock
        self._rest = rest
        self._since = clock.monotonic()
        self._before = 0.0

    @property
    def without_rest(self) -> float:
        """Seconds since the last rest."""
        return self._clock.monotonic() - self._since

    @property
    def took(self) -> float:
        """Seconds in all, without the rests."""
        return self._before + self.without_rest

    def breathe(self) -> None:
        """Rest, if it is time."""
        worked = self.without_rest
        if worked >= BREATH:
            self._before += worked
            self._rest(RECOVERY * worked)
            self._since = self._clock.monotonic()


class Listings:
    """How long it takes to list the storages, kept from one look of a watch to the next."""

    def __init__(self) -> None:
        self.took = 0.0
        """Seconds of the last one that came to its end, without its rests."""
        self.recovery = 0.0
        """Seconds that the storages are given to recover from the last one: ten times as long as
        it took since its last rest."""
        self.rested_at = 0.0
        """When they have had them; of the clock that never runs backwards."""
        self.under_way = False
        """Also one that an earlier look did not wait for."""

    @property
    def slow(self) -> bool:
        """Whether nobody waits for another one."""
        return self.took > SLOW

    @contextmanager
    def one(self, clock: Clock, rest: Callable[[float], object]) -> Iterator[_Work]:
        """A listing; `rest` takes the seconds of each of its rests."""
        self.under_way, work = True, _Work(clock, rest)
        try:
            yield work
        finally:
            self.took, self.under_way = work.took, False
            self.recovery = RECOVERY * work.without_rest
            self.rested_at = clock.monotonic() + self.recovery


class Sampler:
    """Counts RSEs in a thread of its own while a campaign runs.

    A context manager: it counts once when it begins and once more when it ends; a block that ends
    by an exception is left at once, and none waits for a storage that is slow to be listed. A
    witness that cannot be asked is told as None; the campaign is not disturbed by it. `failure` is
    why counting stopped early: an OSError when the series cannot be written, or else what nobody
    expected, which is raised when the block ends well.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        storage: Storage | None,
        clock: Clock,
        *,
        rses: Sequence[str],
        interval: float,
        series: Series,
        scope: str | None = None,
        listings: Listings | None = None,
        mention: Callable[[RSECounted], None] | None = None,
    ) -> None:
        """`storage` None: only the catalogue is asked; `interval`: seconds between two counts, or
        more: see `pause`; `scope`: of each storage only what lies below its place is counted;
        `listings` are known from earlier looks. `mention` is shown each count."""
        self._mention = mention
        self._catalogue = catalogue
        self._storage = storage
        self._clock = clock
        self._rses = rses
        self._interval = interval
        self._series = series
        self._scope = scope
        self._listings = listings or Listings()
        self.failure: BaseException | None = None
        self._ended = threading.Event()
        self._hurried = False
        self._left = False
        self._telling = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="sampler", daemon=True)

    def __enter__(self) -> Self:
        """Begin to count; nobody waits for the first count."""
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """See that it is counted a last time, unless an exception is on its way; of a storage that
        is slow to be listed, by the catalogue alone."""
        self._hurried = kind is not None
        self._ended.set()
        # The thread may be in a listing that takes hours; it does not hold up the process.
        self._thread.join(GRACE if self._hurried or self._listings.slow else SLOW)
        with self._telling:
            # What it counts from now on nobody is told.
            self._left = True
        if self._hurried:
            return
        if self._thread.is_alive():
            self._tell(self.count(storages=False))
        if self.failure is not None and not isinstance(self.failure, OSError):
            raise self.failure

    @property
    def pause(self) -> float:
        """Seconds until the next count. A storage that takes long to be listed is given ten times
        as long to recover, during the listing if it can be."""
        return max(self._interval, self._listings.recovery)

    def count(self, *, storages: bool = True) -> list[RSECounted]:
        """Count every RSE now; its storage, too, unless one is being listed still."""
        storage = self._storage if storages and not self._listings.under_way else None
        if storage is None:
            return [self._counted(rse, None) for rse in self._rses]
        # Nobody who has ended waits for the rests.
        with self._listings.one(self._clock, self._ended.wait) as work:
            count = partial(self._stored, storage, work.breathe)
            return [self._counted(rse, count) for rse in self._rses]

    def _counted(self, rse: str, stored: Callable[[str], Usage | None] | None) -> RSECounted:
        return RSECounted(
            at=self._clock.now(),
            rse=rse,
            catalogue=_asked(self._catalogue.usage, rse),
            storage=None if stored is None else _asked(stored, rse),
        )

    def _stored(self, storage: Storage, breathe: Callable[[], None], rse: str) -> Usage | None:
        if self._scope is None:
            return storage.count(rse, breathe)
        listing = storage.listing(rse, self._scope)
        if listing is None:
            return None
        return counted((file.size or 0 for file in listing), breathe)

    def _run(self) -> None:
        try:
            rest = self._listings.rested_at - self._clock.monotonic()
            ended = rest > 0 and self._ended.wait(rest)
            while self.failure is None and not ended:
                self._append()
                ended = self._ended.wait(self.pause)
            if self.failure is None and not self._hurried:
                self._append(storages=not self._listings.slow)
        except BaseException as error:  # noqa: BLE001 -- a thread's would be lost; raised at the end
            self.failure = error

    def _append(self, *, storages: bool = True) -> None:
        counts = self.count(storages=storages)
        with self._telling:
            if not self._left:
                self._tell(counts)

    def _tell(self, counts: Sequence[RSECounted]) -> None:
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
