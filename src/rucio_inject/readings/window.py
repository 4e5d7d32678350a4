"""One campaign as it is looked at again and again: its ledger and counts, kept open, and what was
worked out of them, kept for as long as it is true."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from rucio_inject.ledger import queries
from rucio_inject.ledger.engine import is_url
from rucio_inject.ledger.look import Look, looking
from rucio_inject.monitor.curves import Curves
from rucio_inject.ports import Clock
from rucio_inject.readings.funnel import Funnel, funnels
from rucio_inject.readings.transfers import Passage, passage

Value = TypeVar("Value")
RECOVERY = 10
"""What took long is not worked out again until ten times as long has passed."""
KEPT_CYCLES = 50


@dataclass(frozen=True, slots=True)
class _Kept(Generic[Value]):
    value: Value
    version: int
    good_until: float


class Window:
    """A campaign's ledger and counts. May be used from several threads; LedgerError as long as
    there is no ledger, or it cannot be read."""

    def __init__(self, name: str, ledger: str | Path, series: Path, clock: Clock) -> None:
        self.name = name
        self._place = ledger
        self._clock = clock
        self._opening = threading.Lock()
        self._open = ExitStack()
        self._look: Look | None = None
        self._file: tuple[int, int] | None = None
        self._working = threading.Lock()
        self._passages: dict[int, _Kept[Passage]] = {}
        self._funnels: _Kept[list[Funnel]] | None = None
        self._counting = threading.Lock()
        self._curves = Curves(series)

    def close(self) -> None:
        """Close the ledger; it is opened again by whoever looks at it."""
        with self._opening:
            self._look = None
            self._open.close()

    def look(self) -> Look:
        """The ledger, opened for reading. It is opened anew if another file took its place."""
        with self._opening:
            file = self._identity()
            if self._look is None or file != self._file:
                self._look = None
                self._open.close()
                self._look = self._open.enter_context(looking(self._place, self.name, self._clock))
                self._file = file
                self._passages, self._funnels = {}, None
            return self._look

    def _identity(self) -> tuple[int, int] | None:
        if is_url(self._place) or not Path(self._place).exists():
            return None
        state = Path(self._place).stat()
        return state.st_dev, state.st_ino

    def version(self) -> int:
        """A number that changes with every fact on record."""
        look = self.look()
        with look.database.reading() as connection:
            return queries.newest(connection, look.number)

    def funnels(self) -> list[Funnel]:
        """The funnel of every cycle on record, the newest first."""
        look, version = self.look(), self.version()
        with self._working:
            if self._is_stale(self._funnels, version):
                self._funnels = self._worked_out(version, lambda: funnels(look))
            assert self._funnels is not None
            return self._funnels.value

    def passage(self, cycle: int) -> Passage:
        """Which way the files of a cycle went. Of a cycle with very many files it may be as it was
        some seconds, or minutes, ago."""
        look, version = self.look(), self.version()
        with self._working:
            kept = self._passages.get(cycle)
            if kept is None or self._is_stale(kept, version):
                kept = self._worked_out(
                    version, lambda: passage(look.ledger.all_files(cycle=cycle))
                )
                self._passages[cycle] = kept
            return kept.value

    def _is_stale(self, kept: _Kept[Value] | None, version: int) -> bool:
        if kept is None:
            return True
        return kept.version != version and self._clock.monotonic() >= kept.good_until

    def _worked_out(self, version: int, work: Callable[[], Value]) -> _Kept[Value]:
        begun = self._clock.monotonic()
        value = work()
        ended = self._clock.monotonic()
        return _Kept(value, version, ended + RECOVERY * (ended - begun))

    @contextmanager
    def curves(self) -> Iterator[Curves]:
        """The counts in time, read up to now. LedgerError if they are damaged, OSError if they
        cannot be read."""
        with self._counting:
            self._curves.refresh()
            yield self._curves
