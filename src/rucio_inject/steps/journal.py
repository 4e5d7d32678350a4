"""How a step tells what happened: to the ledger first, then to whoever looks on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from threading import RLock

from rucio_inject.domain.did import DID
from rucio_inject.domain.errors import InjectError
from rucio_inject.domain.facts import Fact, FileFailed, NameSkipped
from rucio_inject.ports import Clock, FactSink, Ledger
from rucio_inject.steps.pool import Crew


class Journal:
    """Passes facts on: they are durable before anybody is shown them."""

    def __init__(self, ledger: Ledger, onlookers: Sequence[FactSink], clock: Clock) -> None:
        self.ledger = ledger
        self.clock = clock
        self.crew = Crew(clock)
        self._onlookers = onlookers
        self._telling = RLock()
        self.changed = False
        """Whether anything has happened; a name that is skipped at every run is nothing new."""

    def tell(self, facts: Iterable[Fact]) -> None:
        """Record facts, in their order, from whichever thread. LedgerError if they cannot be made
        durable."""
        told = list(facts)
        if not told:
            return
        with self._telling:
            self.ledger.record(told)
            self.changed |= not all(isinstance(fact, NameSkipped) for fact in told)
            for onlooker in self._onlookers:
                onlooker.record(told)

    def mention(self, fact: Fact) -> None:
        """Show a fact that changes nothing to onlookers, from whichever thread."""
        with self._telling:
            for onlooker in self._onlookers:
                onlooker.record([fact])

    def failed(self, did: DID, error: InjectError) -> FileFailed:
        """The fact that a file cannot go on."""
        return FileFailed(
            at=self.clock.now(), did=did, code=error.code, reason=error.message, hint=error.hint
        )
