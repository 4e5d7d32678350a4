"""A board of campaigns that other processes run: from cron, by hand, or on another machine."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from rucio_inject.domain.did import DID
from rucio_inject.domain.errors import LedgerError, UsageError
from rucio_inject.domain.facts import Fact, RSECounted
from rucio_inject.ledger import queries
from rucio_inject.ledger.look import looking
from rucio_inject.ledger.retry import retry_files
from rucio_inject.ledger.sql_ledger import SqlLedger
from rucio_inject.monitor.curves import Reader
from rucio_inject.ports import Clock
from rucio_inject.ports.board import Health, Listener, Posted

POLLING = 1.0
"""Seconds between two looks at a ledger."""
PATIENCE = 2.0
"""Seconds that the first looks are waited for."""


class Tail:
    """Tells what is added to a campaign's ledger and counts, by looking again and again."""

    def __init__(self, posted: Posted, clock: Clock) -> None:
        self._posted = posted
        self._clock = clock
        self._counts = Reader(posted.series, at_end=True)
        # The moment of the last count that was told, or that was there before.
        self._counted = clock.now()
        self._sequence: int | None = None

    def fresh(self) -> list[Fact]:
        """What was added since the last time; nothing at first. Of much only the end is told, and
        nothing while a ledger or file cannot be read: who shows the campaign says why."""
        return [*self._facts(), *self._samples()]

    def _facts(self) -> list[Fact]:
        try:
            with (
                looking(self._posted.ledger, self._posted.name, self._clock) as look,
                look.database.reading() as connection,
            ):
                if self._sequence is None:
                    self._sequence = queries.newest(connection, look.number)
                    return []
                stored = queries.facts_since(connection, look.number, self._sequence)
        except LedgerError:
            # Not begun yet, or away: all of it is news when it comes.
            self._sequence = self._sequence or 0
            return []
        if stored:
            self._sequence = stored[-1].sequence
        return [one.fact for one in stored]

    def _samples(self) -> list[RSECounted]:
        try:
            fresh = [sample for counts in self._counts.fresh() for sample in counts]
        except (LedgerError, OSError):
            return []
        if self._counts.replaced:
            # Of what was thinned only the end may be news.
            fresh = [sample for sample in fresh if sample.at > self._counted]
        self._counted = max((sample.at for sample in fresh), default=self._counted)
        return fresh


class LedgerBoard:
    """Implements `ports.Board` on ledgers alone. A context manager: inside, listeners are told.

    Each ledger is looked at by a thread of its own: one that does not answer holds up no other.
    """

    def __init__(self, campaigns: Sequence[Posted], clock: Clock) -> None:
        self._posted = {posted.name: posted for posted in campaigns}
        self._clock = clock
        self._tails = {name: Tail(posted, clock) for name, posted in self._posted.items()}
        self._begun = {name: threading.Event() for name in self._posted}
        self._listeners: list[Listener] = []
        self._changing = threading.Lock()
        self._ended = threading.Event()
        self._threads = [
            threading.Thread(
                target=self._watch, args=(name, begun), name="ledger-tail", daemon=True
            )
            for name, begun in self._begun.items()
        ]

    def __enter__(self) -> Self:
        """Begin to look: whatever is added from now on is told, or, of a ledger that does not
        answer, from when it does."""
        for thread in self._threads:
            thread.start()
        end = self._clock.monotonic() + PATIENCE
        for begun in self._begun.values():
            begun.wait(max(end - self._clock.monotonic(), 0.0))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Look no more."""
        self._ended.set()
        for thread in self._threads:
            thread.join(POLLING)

    def campaigns(self) -> Sequence[Posted]:
        """See the port."""
        return tuple(self._posted.values())

    def health(self) -> Health:
        """See the port: the threads that look are alive."""
        alive = all(thread.is_alive() for thread in self._threads)
        return Health(alive, {"watching": "at work" if alive else "has ended"})

    def ready(self) -> Health:
        """See the port: ledgers may come later, so only the watching counts."""
        return self.health()

    def retry(self, campaign: str, dids: Sequence[DID]) -> int:
        """See the port."""
        posted = self._posted.get(campaign)
        if posted is None:
            raise UsageError(f"there is no campaign {campaign} here")
        if not dids:
            return 0
        with SqlLedger(posted.ledger, posted.name, clock=self._clock) as ledger:
            return retry_files(ledger, dids, None, self._clock)

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """See the port."""
        with self._changing:
            self._listeners.append(listener)

        def cancel() -> None:
            with self._changing:
                if listener in self._listeners:
                    self._listeners.remove(listener)

        return cancel

    def metrics(self) -> str:
        """See the port: who only watches measures nothing."""
        return ""

    def _watch(self, name: str, begun: threading.Event) -> None:
        tail = self._tails[name]
        tail.fresh()
        begun.set()
        while not self._ended.wait(POLLING):
            if facts := tail.fresh():
                with self._changing:
                    listeners = list(self._listeners)
                for listener in listeners:
                    listener(name, facts)
